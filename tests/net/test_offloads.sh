#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# 64 MB arrive byte for byte with every combination of transmit checksum, receive checksum, TSO, GSO
# and GRO at the pods' devices, at the underlay's, and at both at once; no receiver sees a wrong
# checksum. FULL=1 crosses every setting of the pods with every one of the underlay.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

BYTES=$((64 << 20))
FEATURES="tx rx tso gso gro"
COMBINATIONS=31 # 2^5 - 1

# bit MASK N: on or off
bit() { if (($1 >> $2 & 1)); then echo on; else echo off; fi; }

# words MASK: "tx on rx off …"
words() {
	local n=0 feature
	for feature in $FEATURES; do
		echo "$feature $(bit "$1" $n)"
		n=$((n + 1))
	done | xargs
}

# Which features are off, for the name of a test
named() {
	local off
	off=$(words "$1" | sed 's/\([a-z]*\) on *//g; s/ off//g' | xargs)
	echo "${off:+without }${off:-all on}"
}

# now_is PLACE DEVICE MASK: as asked; without tx checksums TSO and GSO are the kernel's to decide
now_is() {
	at "$1" ethtool -k "$2" | sed 's/: \(on\|off\).*/ \1/' |
		awk -v device="$1 $2" -v tx="$(bit "$3" 0)" -v rx="$(bit "$3" 1)" \
			-v tso="$(bit "$3" 2)" -v gso="$(bit "$3" 3)" -v gro="$(bit "$3" 4)" '
			BEGIN {
				want["tx-checksumming"] = tx; want["rx-checksumming"] = rx
				want["generic-receive-offload"] = gro
				if (tx == "on") {
					want["tcp-segmentation-offload"] = tso
					want["generic-segmentation-offload"] = gso
				}
			}
			$1 in want && want[$1] == $2 { right++ }
			$1 in want && want[$1] != $2 { print device, $1, "is", $2 }
			END { exit right != length(want) }'
}

# set_device PLACE DEVICE MASK [FEATURE STATE…]
set_device() {
	local place=$1 device=$2 mask=$3
	shift 3
	# Its status tells whether anything changed; what counts is what holds afterwards.
	# shellcheck disable=SC2046
	at "$place" ethtool -K "$device" $(words "$mask") "$@"
	now_is "$place" "$device" "$mask"
}

# At the underlay TSO means all segmentation a device could do, that of tunnels too, as in lab_wire.
set_underlay() {
	local i tso
	tso=$(bit "$1" 2)
	for i in 1 2; do
		set_device $i wire0 "$1" tx-udp_tnl-segmentation "$tso" \
			tx-udp_tnl-csum-segmentation "$tso" tx-ipxip4-segmentation "$tso" \
			tx-udp-segmentation "$tso" || return
	done
}

# Both ends of the pods' links
set_pods() {
	local i
	for i in 1 2; do
		set_device ${i}p1 eth0 "$1" && set_device $i veth1 "$1" || return
	done
}

# Segments and datagrams with a wrong checksum, both pods and both nodes
checksum_errors() {
	local place
	for place in 1p1 2p1 1 2; do
		at $place cat /proc/net/snmp || return
	done | awk '
		$1 != "Tcp:" && $1 != "Udp:" { next }
		$2 ~ /[a-zA-Z]/ { # the line of names
			for (i = 2; i <= NF; i++) if ($i == "InCsumErrors") column = i
			next
		}
		{ sum += $column; n++ }
		END { if (n != 8 || !column) exit 1; print sum }'
}

# arrives PODS-MASK UNDERLAY-MASK
arrives() {
	local before after
	set_pods "$1" && set_underlay "$2" || return
	before=$(checksum_errors) || return
	tcp 1p1 "$(addr 2p1)" $BYTES || return
	udp 2p1 "$(addr 1p1)" 10x9 10x1001 10x1444 10x5000 || return
	burst 1p1 "$(addr 2p1)" 40x1444 7x1001 || return
	after=$(checksum_errors) || return
	echo "checksum errors: $before, then $after"
	[ "$before" = "$after" ]
}

# mostly_fast NODE HOOK: nearly all that passed since the mark was fast
mostly_fast() {
	shown gains "$1" | awk -v hook="$2" '$1 == hook && $2 == "fast" { fast += $4 }
		$1 == hook && $2 != "fast" { slow += $4 }
		END { exit !(fast > 20 * slow && fast > 1000) }'
}

# segment_size_known: a superpacket tells its receiver how large the sender's segments were. The
# receiver takes note of up to what its own MTU allows, so that is raised for once.
segment_size_known() {
	local rc=1 sender mtu
	set_pods $all && set_underlay $all || return
	mtu=$(at 2p1 ip -j link show eth0 | jq '.[0].mtu') && at 2p1 ip link set eth0 mtu 9000 || return
	nsenter --net="/run/netns/$(place_ns 1p1)" -- timeout 60 \
		"$NETBIN/talk" tcp "$(addr 2p1)" $PORT $((4 << 30)) < /dev/null &
	sender=$!
	within 5 receives_segments_of $((1500 - 28 - 52)) && rc=0
	at 2p1 ss -tin state established sport = :$PORT
	kill $sender
	wait $sender
	at 2p1 ip link set eth0 mtu "$mtu"
	return $rc
}

receives_segments_of() {
	at 2p1 ss -tinH state established sport = :$PORT |
		grep -q "rcvmss:$1 .*bytes_received:[0-9]\{8\}"
}

# wrong_sums_refused: GRO at the underlay (veth: of a sender without TSO) vouches for the outer
# checksum, never for the inner one
wrong_sums_refused() {
	local before
	set_pods $all && set_underlay $((all - 4)) || return
	before=$(checksum_errors) || return
	mark
	inject 2 count=100 dev=wire0 eth_dst="$(mac 1 wire0)" outer_src=192.0.2.2 \
		outer_dst=192.0.2.1 src="$(addr 2p1)" dst="$(addr 1p1)" dport=$PORT sports=1 bad_sum=1 &&
		gained_flow 1 uplink 100 || return
	echo "checksum errors: $before, then $(checksum_errors)"
	[ "$(checksum_errors)" -eq $((before + 100)) ]
}

all=$COMBINATIONS
check "bpf/bpf: agents get ready" pair bpf bpf
serve 2p1 1p1
mark
for mask in $(seq 0 $all); do
	check "bpf/bpf: pods $(named "$mask"): 64 MB as sent" arrives "$mask" $all
done
for mask in $(seq 0 $all); do
	check "bpf/bpf: underlay $(named "$mask"): 64 MB as sent" arrives $all "$mask"
done
for mask in $(seq 0 $all); do
	check "bpf/bpf: pods and underlay $(named "$mask"): 64 MB as sent" arrives "$mask" "$mask"
done
check "bpf/bpf: it was the fast path that carried it, node 1" mostly_fast 1 port
check "bpf/bpf: it was the fast path that carried it, node 2" mostly_fast 2 uplink
check "bpf/bpf: a wrong inner checksum arrives as one" wrong_sums_refused
check "bpf/bpf: the receiver of superpackets knows the sender's segment size" segment_size_known

if [ "${FULL:-0}" = 1 ]; then
	for pods in $(seq 0 $all); do
		for underlay in $(seq 0 $all); do
			check "bpf/bpf: pods $(named "$pods"), underlay $(named "$underlay")" \
				arrives "$pods" "$underlay"
		done
	done
fi

# All, none, and each feature alone missing
for tiers in "tun tun" "bpf tun" "tun bpf"; do
	# shellcheck disable=SC2086
	check "${tiers/ //}: agents get ready" pair $tiers
	serve 2p1 1p1
	for mask in $all 0 $((all - 1)) $((all - 2)) $((all - 4)) $((all - 8)) $((all - 16)); do
		check "${tiers/ //}: pods and underlay $(named "$mask"): 64 MB as sent" \
			arrives "$mask" "$mask"
	done
done
