#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A bad underlay: frames between the nodes are lost, doubled, held back so that others overtake
# them, or have a bit flipped, in every format and both tiers. Streams arrive whole all the same, and
# no datagram is delivered that was not sent. Then the nodes are parted, and find each other again.
#   PARTITION_S=20     how long; 60 is the long variant
# shellcheck source-path=SCRIPTDIR source=../net/lib.sh
. "$(dirname "$0")/../net/lib.sh"

PARTITION_S=${PARTITION_S:-20}
BACK_S=2 # after the two can reach each other again
WAYS="n1:n2 n2:n1" # through the switch
FLOW=2000 # datagrams a second
declare -A IMPAIR

# impaired KIND EVERY: both ways, from now on
impaired() {
	local way
	for way in $WAYS; do
		: > "$WORK/impair-${way%:*}"
		nsenter --net="/run/netns/$(place_ns sw)" -- "$NETBIN/impair" "${way%:*}" "${way#*:}" \
			"$1" "$2" < /dev/null > "$WORK/impair-${way%:*}" 2>&1 &
		IMPAIR[${way%:*}]=$!
		within 3 grep -q impairing "$WORK/impair-${way%:*}" ||
			{ cat "$WORK/impair-${way%:*}"; return 1; }
	done
}

# repaired: and some frames each way were not left alone
repaired() {
	local port rc=0
	for port in "${!IMPAIR[@]}"; do
		kill "${IMPAIR[$port]}" && wait "${IMPAIR[$port]}" || rc=1
		echo "$port: $(tail -n 1 "$WORK/impair-$port")"
		awk '$1 == "frames" { hit = $4 } END { exit !(hit >= 10) }' "$WORK/impair-$port" ||
			rc=1
	done
	IMPAIR=()
	return $rc
}

# Every checksum is a real one, and nobody has verified it before the bit is flipped.
ready() {
	local i
	lab_up --nodes 3 --mtu 1450 --wire mtu && lab_agent_start 1 --datapath "$1" --format "$2" &&
		lab_agent_start 2 --datapath "$1" --format "$2" && serve 1p1 2p1 || return
	for i in 1 2; do
		at $i ethtool -K wire0 tx off > /dev/null
		at sw ethtool -K n$i gro off > /dev/null
		at ${i}p1 ethtool -K eth0 tx off > /dev/null
	done
	pings 1p1 "$(addr 2p1)" && udp 1p1 "$(addr 2p1)" 50x100
}

# numbers KIND: what became of a flow of numbered datagrams each way
numbers() {
	local flow rc=0 sent received
	flow_start 1p1 2p1 $FLOW && flow_start 2p1 1p1 $FLOW || return
	sleep 2
	for flow in "1p1 2p1" "2p1 1p1"; do
		# shellcheck disable=SC2086 # two places
		flow_end $flow $((FLOW / 2)) || rc=1
		# shellcheck disable=SC2086
		sent=$(flow_figure $flow sent) received=$(flow_figure $flow received)
		# shellcheck disable=SC2086
		"numbers_$1" $flow || { echo "not as a wire that will $1"; rc=1; }
		[ $((received * 100)) -ge $((sent * 80)) ] || rc=1
	done
	return $rc
}

none() { [ "$(flow_figure "$1" "$2" "$3")" -eq 0 ]; }
some() { [ "$(flow_figure "$1" "$2" "$3")" -gt 0 ]; }
numbers_drop() { some "$@" lost && none "$@" duplicated && none "$@" stray && none "$@" reordered; }
numbers_double() { none "$@" lost && some "$@" duplicated && none "$@" stray; }
numbers_hold() { none "$@" lost && none "$@" duplicated && none "$@" stray && some "$@" reordered; }
numbers_flip() { some "$@" lost && none "$@" duplicated && none "$@" stray; }

# wire KIND EVERY BYTES
wire() {
	local rc=0
	impaired "$1" "$2" || return
	tcp 1p1 "$(addr 2p1)" "$3" && tcp 2p1 "$(addr 1p1)" "$3" && numbers "$1" || rc=1
	repaired && return $rc
}

# csum_errors: segments and datagrams refused by the pods, or already by the nodes, whose sockets
# find what an outer checksum covers
csum_errors() {
	local place
	for place in 1 2 1p1 2p1; do
		at "$place" nstat -asz TcpInCsumErrors UdpInCsumErrors
	done | awk '/Csum/ { n += $2 } END { print n }'
}

# flips: some were for a checksum to find
flips() {
	local before
	before=$(csum_errors)
	wire "$@" || return
	echo "refused for their checksum: $(($(csum_errors) - before))"
	[ "$(csum_errors)" -gt "$before" ]
}

bad_wires() {
	local label=$1
	check "$label: one frame in 100 is lost" wire drop 100 4000000
	check "$label: one in 10 is lost" wire drop 10 400000
	check "$label: one in 10 comes twice" wire double 10 8000000
	check "$label: one in 20 is overtaken" wire hold 20 4000000
	check "$label: one in 50 has a bit flipped" flips flip 50 4000000
	check "$label: as before" udp 1p1 "$(addr 2p1)" 100x100
}

# Parted

# known NODE: what it tells of the other one, as it should be at rest
known() { weft_on "$1" peers -j | jq -c '.[] | [.public_ip, .subnet, .resolved, .mac?]'; }

as_known() { known 1 | diff "$WORK/known1" - && known 2 | diff "$WORK/known2" -; }

answered() { at 1p1 ping -q -c 1 -W 0.2 "$(addr 2p1)" && at 2p1 ping -q -c 1 -W 0.2 "$(addr 1p1)"; }

# both_send: for as long as the nodes are parted
both_send() {
	local first rc=0
	inject 1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 src="$(addr 1p1)" dst="$(addr 2p1)" \
		count=$((100 * PARTITION_S)) pps=100 &
	first=$!
	inject 2p1 dev=eth0 eth_dst=02:00:0a:f4:02:01 src="$(addr 2p1)" dst="$(addr 1p1)" \
		count=$((100 * PARTITION_S)) pps=100 || rc=1
	wait $first && return $rc
}

# parted: while both sides go on sending
parted() {
	local start ms rc=0
	known 1 > "$WORK/known1" && known 2 > "$WORK/known2" || return
	at sw ip link set n2 down || return
	both_send || rc=1
	! answered || { echo "they were not parted"; rc=1; }
	at sw ip link set n2 up && [ $rc = 0 ] || return
	start=${EPOCHREALTIME/./}
	within $BACK_S answered || return
	ms=$(((${EPOCHREALTIME/./} - start) / 1000))
	echo "back after $ms ms"
	within $BACK_S as_known || { known 1; known 2; return 1; }
}

for tier in bpf tun; do
	for format in udp vxlan ipip; do
		check "$tier, $format: nodes get ready" ready $tier $format || continue
		bad_wires "$tier, $format"
	done
	check "$tier: parted for $PARTITION_S s, together again within $BACK_S s" parted
	check "$tier: streams as before" tcp 1p1 "$(addr 2p1)" 8000000
done
