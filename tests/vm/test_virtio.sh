#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Two nodes with a virtio network card each, as tests/vm/run gives them to its machine: every format,
# merged as the agent chooses, and behind native XDP.
# shellcheck source-path=SCRIPTDIR source=../net/lib.sh
. "$(dirname "$0")/../net/lib.sh"

BYTES=${BYTES:-4000000}
SIZES="20x8 20x100 20x1000 20x1422"

# card NODE: its name in this namespace
card() {
	ip -j link | jq -er --arg mac "02:00:c0:00:02:0$1" '.[] | select(.address == $mac) | .ifname'
}

# nodes FORMAT RECEIVE: cards come back from a namespace that goes
nodes() {
	local i
	lab_up --mtu 1450 && ip -n "$LAB-n1" link del wire0 || return
	for i in 1 2; do
		within 5 card $i && ip link set "$(card $i)" netns "$LAB-n$i" name wire0 &&
			lab_wire_up $i || return
	done
	lab_agents_start --datapath bpf --format "$1" --receive "$2"
}

# talks LABEL
talks() {
	local a b
	serve 1p1 2p1 || return
	for a in 1 2; do
		b=$((3 - a))
		check "$1: ping from pod $a" within 10 pings ${a}p1 "$(addr ${b}p1)"
		check "$1: TCP from pod $a" tcp ${a}p1 "$(addr ${b}p1)" $BYTES
		# shellcheck disable=SC2086 # a list of words
		check "$1: UDP from pod $a" udp ${a}p1 "$(addr ${b}p1)" $SIZES
	done
}

fast() { shown gains 2 | awk '/^uplink fast ok/ { n = $4 } END { exit n < 100 }'; }

# What the uplink program had was stripped before and, of TCP, merged
stripped() {
	local gains strip uplink
	gains=$(shown gains 2) || return
	strip=$(packets_of "strip fast ok" <<< "$gains")
	uplink=$(packets_of "uplink fast ok" <<< "$gains")
	[ "$strip" -gt 1000 ] && [ "$uplink" -lt "$strip" ]
}

card 1 > /dev/null && card 2 > /dev/null || { echo "not ok there are two virtio cards"; exit 1; }
for format in udp vxlan ipip; do
	label="virtio, $format"
	check "$label: nodes" nodes $format auto || continue
	mark
	talks "$label"
	check "$label: fast" fast
	label="virtio, $format, xdp"
	check "$label: nodes" nodes $format xdp || continue
	if ! status_is 1 receive xdp; then
		skip "$label: stripped" "$(grep -m 1 'without native XDP' "$(lab_log 1)")"
		continue
	fi
	mark
	talks "$label"
	check "$label: stripped" stripped
done
