#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What takes the fast path, and what does not: that is counted with its reason, delivered all the
# same, or answered as a router would. The figures are exact: a packet too many fails like one
# too few.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

ROUNDS=10000
FLOOR=9990

# bounds NODE HOOK: FLOOR at least of the rounds' packets were fast here, none was lost or doubled
bounds() {
	shown gains "$1" | awk -v hook="$2" -v rounds=$ROUNDS -v floor=$FLOOR '
		$1 == hook && $3 != "not_ipv4" { all += $4 }
		$1 == hook && $2 == "fast" && $3 == "ok" { fast += $4 }
		END { exit !(fast >= floor && all >= rounds && all <= rounds + 5) }'
}

# answer PLACE PATTERN PING-ARGUMENT…: the ping fails with this, from somewhere
answer() {
	local place=$1 pattern=$2
	shift 2
	shown_ping "$place" "$@" | grep -qE "$pattern"
}

# Its status says only that nobody replied, which is meant to be
shown_ping() {
	local place=$1
	shift
	at "$place" ping -n -i 0.2 -W 2 "$@" > "$WORK/ping"
	cat "$WORK/ping" >&2
	cat "$WORK/ping"
}

# answers N PLACE PATTERN PING-ARGUMENT…: exactly N times
answers() {
	local n=$1 place=$2 pattern=$3
	shift 3
	[ "$(shown_ping "$place" "$@" | grep -cE "$pattern")" -eq "$n" ]
}

# hops ADDRESS…: that traceroute shows from pod 1 to pod 2, and nothing else
hops() {
	local way=$1 got
	shift
	got=$(at 1p1 traceroute -n -q 1 -w 2 -m 5 "$way" 10.244.2.2 | tee "$WORK/trace" |
		awk 'NR > 1 { print $2 }' | xargs)
	cat "$WORK/trace"
	[ "$got" = "$*" ]
}

# counts COMMAND… -- NODE HOOK VERDICT REASON PACKETS [NODE …]…: exactly these rise by exactly that
counts() {
	local command=()
	while [ "$1" != -- ]; do
		command+=("$1")
		shift
	done
	shift
	mark || return
	"${command[@]}" || return
	while [ $# -gt 0 ]; do
		gained_is "$1" "$2" "$3" "$4" "$5" || return
		shift 5
	done
}

# A pod's first packets go slow until the agent has heard of it.
warm() {
	pings 1p1 10.244.2.2 && within 2 endpoint_known 1 10.244.1.2 &&
		within 2 endpoint_known 2 10.244.2.2
}

# Node 1 knows its pod and node 2, not the latter's MAC; then its agent dies.
orphan() {
	lab_up && at 2 sysctl -qw net.ipv4.conf.wire0.arp_ignore=8 &&
		lab_agent_start 1 --datapath bpf && at 1p1 ping -q -c 1 -W 1 10.244.1.1 &&
		within 3 endpoint_known 1 10.244.1.2 || return
	lab_agent_stop 1 KILL
	at 2 sysctl -qw net.ipv4.conf.wire0.arp_ignore=0
	lab_agent_start 2 --datapath bpf && at 1 ip neigh flush dev wire0 nud all
}

# asked_for PACKETS: so many at least, as the next agent tells by the maps
asked_for() {
	lab_agent_start 1 --datapath bpf && [ "$(counter 1 port fast no_neighbor)" -ge "$1" ] &&
		[ "$(counter 1 tun fast no_neighbor)" -ge 300 ]
}

# Slow by hook and reason, and delivered or answered
odd_packets() {
	check "fragments are slow at the port and uplink, fast at the overlay device" counts \
		at 1p1 ping -q -c 10 -i 0.02 -W 2 -s 3000 10.244.2.2 -- \
		1 port slow fragment 30 1 tun fast ok 30 2 uplink slow fragment 30 \
		2 port slow fragment 30 2 tun fast ok 30 1 uplink slow fragment 30
	check "IP options (record route) are slow, the ping is answered" counts \
		at 1p1 ping -q -c 10 -i 0.02 -W 2 -R 10.244.2.2 -- \
		1 port slow ip_options 10 1 tun fast ok 10 2 uplink slow ip_options 10 \
		2 port slow ip_options 10 2 tun fast ok 10 1 uplink slow ip_options 10
	check "IP options (timestamp) are slow, the ping is answered" counts \
		at 1p1 ping -q -c 10 -i 0.02 -W 2 -T tsonly 10.244.2.2 -- 1 port slow ip_options 10
	check "record route shows both nodes" \
		answer 1p1 '10\.244\.2\.1$' -c 1 -R 10.244.2.2
	check "TTL 1 ends at node 1" counts \
		answers 5 1p1 'From 10.244.1.1 .*Time to live exceeded' -c 5 -t 1 10.244.2.2 -- \
		1 port slow ttl 5 2 uplink fast ok 0 2 uplink slow ttl 0
	check "TTL 2 ends at node 2" counts \
		answers 5 1p1 'From 10.244.2.0 .*Time to live exceeded' -c 5 -t 2 10.244.2.2 -- \
		1 port slow unapproved 1 1 port fast ok 4 2 uplink slow ttl 5
	check "TTL 3 arrives" counts at 1p1 ping -q -c 5 -i 0.02 -t 3 10.244.2.2 -- \
		1 port slow unapproved 1 1 port fast ok 4 2 uplink slow unapproved 1 \
		2 uplink fast ok 4
	check "no lease: net unreachable" counts \
		answers 3 1p1 'Destination Net Unreachable' -c 3 10.244.9.9 -- \
		1 port slow no_route 3 1 tun slow no_route 3 1 tunfd drop no_route 3
	check "unassigned address: host unreachable from node 2" counts \
		answers 1 1p1 'From 10.244.2.0 .*Host Unreachable' -c 1 -W 5 10.244.2.77 -- \
		1 port slow unapproved 1 1 tun fast ok 1 2 uplink slow no_endpoint 1
	check "outside the overlay: the host's business" counts \
		at 1p1 ping -q -c 3 -i 0.02 192.0.2.1 -- 1 port slow not_overlay 3
	check "the node's own address on the bridge: local" counts \
		at 1p1 ping -q -c 3 -i 0.02 10.244.1.1 -- 1 port slow local 3
	check "for the host behind the overlay: fast, reason host" counts \
		at 1p1 ping -q -c 3 -i 0.02 10.244.2.1 -- 1 port slow unapproved 1 \
		1 port fast ok 2 2 uplink fast host 3
}

odd_packets_tun() {
	check "tun: fragments arrive" counts \
		at 1p1 ping -q -c 10 -i 0.02 -W 2 -s 3000 10.244.2.2 -- \
		1 tunfd slow ok 30 2 socket slow ok 30 2 tunfd slow ok 30 1 socket slow ok 30
	check "tun: IP options pass" counts at 1p1 ping -q -c 10 -i 0.02 -W 2 -R 10.244.2.2 -- \
		1 tunfd slow ok 10 2 socket slow ok 10
	check "tun: record route shows both nodes" \
		answer 1p1 '10\.244\.2\.1$' -c 1 -R 10.244.2.2
	check "tun: TTL 1 ends at node 1" \
		answers 5 1p1 'From 10.244.1.1 .*Time to live exceeded' -c 5 -t 1 10.244.2.2
	check "tun: TTL 2 ends at node 2" \
		answers 5 1p1 'From 10.244.2.0 .*Time to live exceeded' -c 5 -t 2 10.244.2.2
	check "tun: TTL 3 arrives" at 1p1 ping -q -c 5 -i 0.02 -t 3 10.244.2.2
	check "tun: no lease: net unreachable" counts \
		answers 3 1p1 'Destination Net Unreachable' -c 3 10.244.9.9 -- \
		1 tunfd drop no_route 3
	check "tun: unassigned address: host unreachable from node 2" counts \
		answers 1 1p1 'From 10.244.2.0 .*Host Unreachable' -c 1 -W 5 10.244.2.77 -- \
		1 tunfd slow ok 1 2 socket slow ok 1
}

mtu_is() { weft_on "$1" status -j | jq -e --argjson mtu "$2" '.mtu == $mtu'; }

# Pods with a larger MTU than the overlay has learn the right one from the answer.
oversize() {
	local label=$1
	check "$label: larger than the overlay with DF: the answer names 1472" \
		answer 1p1 'Frag needed.*mtu = 1472' -c 2 -M "do" -s 1472 10.244.2.2
	check "$label: 1472 bytes with DF arrive" \
		at 1p1 ping -q -c 3 -i 0.02 -W 2 -M "do" -s 1444 10.244.2.2
	check "$label: larger, DF clear: arrives in fragments" \
		at 1p1 ping -q -c 3 -i 0.02 -W 2 -M dont -s 1472 10.244.2.2
	at 1 ip link set wire0 mtu 1448
	at 2 ip link set wire0 mtu 1448
	check "$label: the underlay shrinks: node 1 has MTU 1420" within 2 mtu_is 1 1420
	check "$label: the underlay shrinks: node 2 has MTU 1420" within 2 mtu_is 2 1420
	at 1p1 ip route flush cache
	check "$label: larger than that with DF: the answer names 1420" \
		answer 1p1 'Frag needed.*mtu = 1420' -c 2 -M "do" -s 1400 10.244.2.2
	check "$label: 1420 bytes with DF arrive" \
		at 1p1 ping -q -c 3 -i 0.02 -W 2 -M "do" -s 1392 10.244.2.2
	check "$label: TCP finds its size" tcp 1p1 10.244.2.2 4000000
	check "$label: TCP finds its size, back" tcp 2p1 10.244.1.2 4000000
	check "$label: large datagrams arrive" udp 1p1 10.244.2.2 50x100 50x3000 50x9000
}

# Of 600 small datagrams all but the first, which asks the host for leave; the others come in pieces, three, seven or 45 each
small_ones_fast() {
	shown gains 1 | awk '$1 == "port" && $2 == "fast" { fast = $4 }
		$1 == "port" && $3 == "fragment" { pieces = $4 }
		END { exit !(fast >= 599 && pieces == 200 * 3 + 300 * 7 + 100 * 45) }'
}

check "bpf: agents get ready" pair bpf bpf
serve 1p1 2p1
check "bpf: the agents know the pods" warm
mark
check "of $ROUNDS round trips none is lost" udp 1p1 10.244.2.2 ${ROUNDS}x100
for i in 1 2; do
	for hook in port uplink; do
		check "at least $FLOOR are fast at the $hook of node $i, each counted once" \
			bounds $i $hook
	done
done
odd_packets
for way in -I -U -T; do
	check "bpf: traceroute $way shows both nodes" hops $way 10.244.1.1 10.244.2.0 10.244.2.2
done

check "next hop unknown, no agent: one agent gets ready and dies" orphan
serve 1p1 2p1
check "next hop unknown, no agent: the kernel asks" within 10 udp 1p1 10.244.2.2 1x100
check "next hop unknown, no agent: nothing is lost" udp 1p1 10.244.2.2 1000x100 100x3000
check "next hop unknown, no agent: all went the short way" asked_for 999

check "oversize, bpf: agents get ready" pair bpf bpf --mtu 1500
serve 1p1 2p1
check "oversize, bpf: the agents know the pods" warm
check "oversize, bpf: too big is slow at the port" counts \
	answer 1p1 'Frag needed.*mtu = 1472' -c 1 -M "do" -s 1472 10.244.2.2 -- \
	1 port slow too_big 1 1 port fast ok 0 2 uplink fast ok 0
at 1p1 ip route flush cache
oversize "oversize, bpf"

check "tun: agents get ready" pair tun tun
odd_packets_tun
for way in -I -U -T; do
	check "tun: traceroute $way shows both nodes" hops $way 10.244.1.1 10.244.2.0 10.244.2.2
done
check "oversize, tun: agents get ready" pair tun tun --mtu 1500
serve 1p1 2p1
oversize "oversize, tun"

for tiers in "bpf bpf" "tun tun" "bpf tun" "tun bpf"; do
	for wire in superpacket mtu; do
		label="large datagrams of a fast flow, ${tiers/ //}, $wire wire"
		# shellcheck disable=SC2086
		check "$label: agents get ready" pair $tiers --wire $wire
		serve 1p1 2p1
		[ "$tiers" != "bpf bpf" ] || check "$label: the agents know the pods" warm
		mark
		check "$label: pod 1 to pod 2 and back" \
			udp 1p1 10.244.2.2 500x100 200x3000 200x9000 100x100 100x9000 100x65000
		if [ "$tiers" = "bpf bpf" ]; then
			check "$label: the small ones were fast" small_ones_fast
		fi
		check "$label: pod 2 to pod 1 and back" \
			udp 2p1 10.244.1.2 500x100 200x3000 200x9000 100x100 100x9000 100x65000
	done
done
