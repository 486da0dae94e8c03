#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Everybody reaches everybody: pods and hosts of two nodes by ping, TCP and UDP, both ways, in all
# pairs of tiers, over both wires, through a router, and with either way of attaching programs.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

BYTES=${BYTES:-4000000}
# From a header's worth to the largest datagram that leaves the pod in one piece
SIZES="20x8 20x100 20x1000 20x1444"

# talks LABEL FROM NAME ADDRESS: FROM is a place
talks() {
	local what="$1: $3"
	check "$what: ping" pings "$2" "$4"
	check "$what: TCP" tcp "$2" "$4" $BYTES
	# shellcheck disable=SC2086 # a list of words
	check "$what: UDP" udp "$2" "$4" $SIZES
}

# everybody LABEL: from node 1 to node 2 and back
everybody() {
	local a b
	serve 1 2 1p1 2p1 || return
	for a in 1 2; do
		b=$((3 - a))
		talks "$1" "${a}p1" "pod $a to pod $b" "$(addr ${b}p1)"
		talks "$1" "$a" "host $a to pod $b" "$(addr ${b}p1)"
		talks "$1" "${a}p1" "pod $a to host $b" "10.244.$b.1"
		if ! linux_since 5.14; then
			skip "$1: overlay device $b" "its address is the bridge's broadcast address"
			continue
		fi
		talks "$1" "${a}p1" "pod $a to overlay device $b" "$(addr $b)"
		talks "$1" "$a" "host $a to host $b" "$(addr $b)"
	done
}

tiers_are() {
	[ "$(weft_on 1 status -j | jq -r .datapath)" = "$1" ] &&
		[ "$(weft_on 2 status -j | jq -r .datapath)" = "$2" ]
}

# attached_by HOW: every hook of both nodes
attached_by() {
	local i
	for i in 1 2; do
		shown weft_on $i status -j | jq -e --arg how "$1" \
			'.hooks | length >= 4 and all(.attach == $how)' || return
	done
}

# next_hop NODE ADDRESS: how weft reaches its only peer
next_hop() { shown weft_on "$1" peers -j | jq -e --arg hop "$2" '.[0].next_hop == $hop'; }

for wire in superpacket mtu; do
	for tiers in "bpf bpf" "tun tun" "bpf tun" "tun bpf"; do
		label="${tiers/ //}, $wire wire"
		# shellcheck disable=SC2086
		check "$label: both agents get ready" pair $tiers --wire $wire || continue
		# shellcheck disable=SC2086
		check "$label: tiers as asked for" tiers_are $tiers
		everybody "$label"
	done
	label="bpf/bpf, $wire wire, routed"
	check "$label: both agents get ready" pair bpf bpf --wire $wire --routed || continue
	check "$label: node 1 sends to the router" next_hop 1 192.0.2.254
	check "$label: node 2 sends to the router" next_hop 2 198.51.100.254
	everybody "$label"
done

for how in $(ways_to_attach); do
	label="bpf/bpf, superpacket wire, $how"
	check "$label: both agents get ready" pair bpf bpf -- --attach $how || continue
	check "$label: all hooks attached by $how" attached_by $how
	everybody "$label"
done

# A switch in between, and a third node that neither of the two is
label="three nodes, switched"
check "$label: agents get ready" pair bpf bpf --nodes 3
serve 1p1 2p1 3p1
for a in 1 2 3; do
	for b in 1 2 3; do
		[ $a = $b ] || talks "$label" "${a}p1" "pod $a to pod $b" "$(addr ${b}p1)"
	done
done

# Behind a router that gives node 1 another address for its peers: each way, both tiers

behind_nat() {
	lab_up --routed && translate &&
		lab_agent_start 1 --datapath "$1" --public-ip $PUBLISHED &&
		lab_agent_start 2 --datapath "$1"
}

# fast_to NODE POD POD: a flow each way, all of it fast but for what asks
both_fast() {
	mark && udp 1p1 "$(addr 2p1)" 500x100 &&
		gained_flow 1 port 500 && gained_flow 2 port 500 &&
		gained_flow 1 uplink 500 && gained_flow 2 uplink 500
}

for tier in bpf tun; do
	label="$tier, behind NAT"
	check "$label: both agents get ready" behind_nat $tier || continue
	everybody "$label"
	[ $tier = tun ] || check "$label: the fast path carries it" both_fast
done
