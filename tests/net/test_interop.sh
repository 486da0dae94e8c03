#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Node 2 is not weft: udp_peer moves raw packets between a TUN device and a UDP socket there, as
# flannel does. Traffic both ways in both tiers of node 1, and every byte on the wire and at the
# pods compared with what was sent: only TTL and header checksum may differ, each node one step.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

PEER_TUN=peer0
RECORD=$WORK/wire
CRAFTED=400 # packets that crafted() sends
GATEWAY1=02:00:0a:f4:01:01 # cni0 of node 1 and 2, see lab.sh
GATEWAY2=02:00:0a:f4:02:01

# peer_start [--record FILE]
peer_start() {
	nsenter --net="/run/netns/$(lab_node 2)" -- "$NETBIN/udp_peer" "$@" $PEER_TUN 192.0.2.2 \
		10.244.1.0/24=192.0.2.1 < /dev/null > "$WORK/peer" 2>&1 &
	PEER=$!
	within 3 port_bound 2 8285
}

port_bound() { at "$1" ss -Hlun "sport = :$2" | grep -q .; }

peer_stop() {
	kill "$PEER" && wait "$PEER"
}

# foreign_node TIER [LAB-OPTION…]: weft at node 1 in this tier, the peer at node 2
foreign_node() {
	local tier=$1
	shift
	lab_up "$@" || return
	at 2 ip tuntap add $PEER_TUN mode tun || return
	at 2 ip addr add 10.244.2.0/32 dev $PEER_TUN
	at 2 ip link set $PEER_TUN mtu 1472 up
	at 2 ip route add 10.244.0.0/16 dev $PEER_TUN
	peer_start || return
	# What leaves a real device is finished. A veth hands checksums and segments on as work to
	# be done, to a peer that, unlike weft, takes what its socket gives for whole.
	at 1 ethtool -K wire0 tx off > /dev/null || return
	lab_agent_start 1 --datapath "$tier"
}

# header_sum HEX: the one's complement sum of an IPv4 header's words, ffff when it is right
header_sum() {
	local sum=0 i
	for ((i = 0; i < 8 * 0x${1:1:1}; i += 4)); do
		sum=$((sum + 0x${1:i:4}))
	done
	while ((sum >> 16)); do
		sum=$(((sum & 0xffff) + (sum >> 16)))
	done
	printf '%04x\n' $sum
}

but_ttl() { echo "${1:0:16}${1:18:2}${1:24}"; }

# by_id FILE: packets in the order of their identification; most are flows of their own, which may
# pass each other
by_id() { sort -k 1.9,1.12 "$1"; }

# same_but_ttl SENT ARRIVED STEPS: files of hex lines; equal but for TTL - STEPS and its checksum
same_but_ttl() {
	local sent arrived n=0
	while read -r sent <&3; do
		n=$((n + 1))
		read -r arrived <&4 || { echo "packet $n did not arrive"; return 1; }
		if [ "$(but_ttl "$sent")" != "$(but_ttl "$arrived")" ] ||
			[ $((0x${sent:16:2} - 0x${arrived:16:2})) -ne "$3" ] ||
			[ "$(header_sum "$arrived")" != ffff ]; then
			printf 'packet %d\nsent    %s\narrived %s\n' $n "$sent" "$arrived"
			return 1
		fi
	done 3< <(by_id "$1") 4< <(by_id "$2")
	[ "$(wc -l < "$2")" -eq $n ] || { echo "more arrived than the $n sent"; return 1; }
	echo "$n packets"
	[ $n -gt 0 ]
}

# crafted PLACE GATEWAY SRC DST: distinct packets of many shapes, in hex as sent
crafted() {
	local place=$1 to=(dev=eth0 eth_dst="$2" src="$3" dst="$4" pps=2000 print=1)
	inject "$place" "${to[@]}" count=40 id=100 len=0
	inject "$place" "${to[@]}" count=40 id=200 len=1
	inject "$place" "${to[@]}" count=40 id=300 len=1001 tos=0xb8 ttl=7
	inject "$place" "${to[@]}" count=40 id=400 len=1444 frag=0x4000 ttl=255
	inject "$place" "${to[@]}" count=40 id=500 len=77 proto=253
	inject "$place" "${to[@]}" count=40 id=600 len=64 proto=6 tos=3
	inject "$place" "${to[@]}" count=40 id=700 len=0 proto=200
	inject "$place" "${to[@]}" count=40 id=0 len=500 ttl=4 frag=0x4000
	inject "$place" "${to[@]}" count=40 id=800 len=96 options=1
	inject "$place" "${to[@]}" count=40 id=900 len=96 frag=0x2000
}

# records rx|tx SOURCE: payloads that the peer saw go that way from this address (in hex). Not ICMP:
# the far pod has no use for the crafted packets and says so. Nor the last words of a connection of
# before, to or from TCP port 7000.
records() {
	awk -v dir="$1" -v src="$2" '$1 == dir && substr($4, 25, 8) == src &&
		substr($4, 19, 2) != "01" &&
		!(substr($4, 19, 2) == "06" && substr($4, 41, 8) ~ /^1b58|1b58$/) { print $4 }' "$RECORD"
}

wire_to_peer() {
	crafted 1p1 $GATEWAY1 10.244.1.2 10.244.2.2 > "$WORK/sent" || return
	within 3 records_are rx 0af40102 "$(wc -l < "$WORK/sent")"
	records rx 0af40102 > "$WORK/arrived"
	same_but_ttl "$WORK/sent" "$WORK/arrived" 1
}

records_are() { [ "$(records "$1" "$2" | wc -l)" -ge "$3" ]; }

wire_from_peer() {
	capture 1p1 eth0 $CRAFTED "ip src 10.244.2.2 and not icmp" || return
	crafted 2p1 $GATEWAY2 10.244.2.2 10.244.1.2 > "$WORK/sent" || return
	captured > "$WORK/arrived" || return
	records tx 0af40202 > "$WORK/wired"
	# Two routers before the wire: node 2's host stack and the peer, which is flannel's way.
	same_but_ttl "$WORK/sent" "$WORK/wired" 2 && same_but_ttl "$WORK/wired" "$WORK/arrived" 1
}

# Of the datagrams that carry crafted packets to the peer
outer_headers() {
	capture 2 wire0 $CRAFTED "udp dst port 8285" || return
	crafted 1p1 $GATEWAY1 10.244.1.2 10.244.2.2 > "$WORK/sent" || return
	captured > "$WORK/outer" || return
	# Addresses, ports, DF; lengths that agree with the inner one
	awk -v want="c0000201c0000202" -v packets=$CRAFTED '
		function hex(s,   i, n) {
			n = 0
			for (i = 1; i <= length(s); i++)
				n = 16 * n + index("0123456789abcdef", substr(s, i, 1)) - 1
			return n
		}
		{
			inner = hex(substr($0, 61, 4))
			source = hex(substr($0, 41, 4))
			if (substr($0, 1, 2) != "45") bad = "version, options"
			else if (substr($0, 25, 16) != want) bad = "addresses"
			else if (substr($0, 13, 4) != "4000") bad = "DF"
			else if (substr($0, 19, 2) != "11") bad = "protocol"
			else if (hex(substr($0, 45, 4)) != 8285) bad = "destination port"
			else if (source != 8285 && source < 49152) bad = "source port"
			else if (hex(substr($0, 5, 4)) != inner + 28) bad = "IP length"
			else if (hex(substr($0, 49, 4)) != inner + 8) bad = "UDP length"
			else if (length($0) != 2 * (inner + 28)) bad = "bytes behind the packet"
			else next
			print bad, $0
			exit
		}
		END { exit bad != "" || NR != packets }' "$WORK/outer"
}

# sources_are FIRST LAST: ports of ours that the datagrams come from which the peer received
sources_are() {
	awk -v first="$1" -v last="$2" '$1 == "rx" { n++; split($2, from, ":")
			if (from[1] != "192.0.2.1" || $3 != "192.0.2.2:8285") { print; bad = 1 }
			if (from[2] < first || from[2] > last) { print; bad = 1 } }
		END { print n, "datagrams"; exit bad || !n }' "$RECORD"
}

for tier in bpf tun; do
	label="weft $tier"
	check "$label: node with a foreign peer gets ready" foreign_node $tier
	serve 1 2 1p1 2p1
	for there_and_back in "1p1 10.244.2.2 pod to foreign pod" \
		"2p1 10.244.1.2 foreign pod to pod" "1 10.244.2.2 host to foreign pod" \
		"1p1 10.244.2.1 pod to foreign host" \
		"2p1 10.244.1.1 foreign pod to host" "2 10.244.1.2 foreign host to pod"; do
		read -r from to name <<< "$there_and_back"
		check "$label: $name: ping" pings "$from" "$to"
		check "$label: $name: TCP" tcp "$from" "$to" 4000000
		check "$label: $name: UDP" udp "$from" "$to" 20x8 20x100 20x1444 5x3000 5x9000
	done
	check "$label: the peer starts to record" peer_stop && : > "$RECORD"
	peer_start --record "$RECORD"
	check "$label: what the peer receives is what the pod sent" wire_to_peer
	if [ $tier = bpf ]; then
		check "$label: from our address, source ports of the hash" sources_are 49152 65535
	else
		check "$label: from our address, source ports of the workers" \
			sources_are 61440 65535
	fi
	check "$label: what the pod receives is what the foreign pod sent" wire_from_peer
	check "$label: outer headers as flannel's" outer_headers
done

for tier in bpf tun; do
	label="weft $tier, no entropy"
	check "$label: node with a foreign peer gets ready" \
		foreign_node $tier --wire mtu && lab_agent_stop 1
	check "$label: the agent takes the switch" \
		lab_agent_start 1 --datapath $tier --source-port-entropy=off
	check "$label: the peer starts to record" peer_stop && : > "$RECORD"
	peer_start --record "$RECORD"
	check "$label: what the peer receives is what the pod sent" wire_to_peer
	check "$label: from our address and port" sources_are 8285 8285
done
