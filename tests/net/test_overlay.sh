#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Two nodes, every pairing of tiers, both wires: pods and hosts reach each other, transfers arrive
# unharmed, the counters show the path, and the odd packets are answered as the kernel would.
set -u
LAB=wt-overlay
# shellcheck source-path=SCRIPTDIR source=tap.sh
. "$(dirname "$0")/tap.sh"
trap tap_end EXIT

pings() { on_node_or_pod "$1" ping -c 3 -i 0.1 -W 2 "$2"; }

# on_node_or_pod 1|1p1 COMMAND…
on_node_or_pod() {
	local where=$1
	shift
	in_ns "$LAB-n$where" "$@"
}

# transfer FROM-WHERE TO-WHERE ADDRESS MEGABYTES: TCP, compared by hash
transfer() {
	local sent got
	in_ns "$LAB-n$2" timeout 30 socat -u TCP-LISTEN:9000,reuseaddr,bind="$3" - 2>/dev/null |
		sha256sum >"$(lab_dir)/got" &
	until_true 3 in_ns "$LAB-n$2" sh -c 'ss -ltn | grep -q :9000' || return 1
	head -c "$4"M /dev/urandom >"$(lab_dir)/data"
	sent=$(sha256sum <"$(lab_dir)/data")
	in_ns "$LAB-n$1" timeout 30 socat -u "FILE:$(lab_dir)/data" "TCP:$3:9000" || return 1
	wait $!
	got=$(cat "$(lab_dir)/got")
	echo "sent $sent got $got"
	[ "$sent" = "$got" ]
}

# datagrams SIZE: one way, each must arrive
datagrams() {
	local n=20 i
	in_ns "$LAB-n2p1" timeout 5 tcpdump -l -n -i eth0 -c $n "udp dst port 9001" \
		>"$(lab_dir)/seen" 2>/dev/null &
	sleep 0.4
	for i in $(seq $n); do
		in_ns "$LAB-n1p1" socat -b 20000 -u "EXEC:head -c $1 /dev/zero" UDP-SENDTO:10.244.2.2:9001
	done
	wait $!
	[ "$(grep -c IP "$(lab_dir)/seen")" -ge $n ]
}

connectivity() {
	tap "$1 ping pod to pod" pings 1p1 10.244.2.2
	tap "$1 ping back" pings 2p1 10.244.1.2
	tap "$1 ping host to remote pod" pings 1 10.244.2.2
	tap "$1 ping pod to remote host" pings 1p1 10.244.2.1
	tap "$1 ping pod to remote overlay device" pings 1p1 10.244.2.0
	tap "$1 large ping, fragmented" on_pod 1 1 ping -c 2 -i 0.1 -W 2 -s 9000 10.244.2.2
	tap "$1 TCP pod to pod, 64 MB" transfer 1p1 2p1 10.244.2.2 64
	tap "$1 TCP back, 8 MB" transfer 2p1 1p1 10.244.1.2 8
	tap "$1 TCP host to remote pod, 8 MB" transfer 1 2p1 10.244.2.2 8
	tap "$1 TCP pod to remote host, 8 MB" transfer 1p1 2 10.244.2.1 8
}

hops_are() {
	local hops
	hops=$(on_pod 1 1 traceroute -I -n -q 1 -w 2 -m 5 10.244.2.2 | awk 'NR > 1 { print $2 }' | xargs)
	echo "$hops"
	[ "$hops" = "$1" ]
}

# answered PATTERN PING-FLAGS…: what ping hears of a packet that does not arrive
answered() {
	local pattern=$1
	shift
	on_pod 1 1 ping -c 1 -W 2 "$@" | tee /dev/stderr | grep -q "$pattern"
}

odd_packets() {
	tap "$1 TTL 1 is answered by node 1" answered 'From 10.244.1.1 .*Time to live' -t 1 10.244.2.2
	tap "$1 TTL 2 is answered by node 2" answered 'From 10.244.2.0 .*Time to live' -t 2 10.244.2.2
	tap "$1 no lease is answered with unreachable" answered 'Net Unreachable' 10.244.9.9
	tap "$1 IP options pass" on_pod 1 1 ping -c 1 -R -W 2 10.244.2.2
	tap "$1 datagrams of 3000 bytes" datagrams 3000
	tap "$1 datagrams of 9000 bytes" datagrams 9000
	tap "$1 traceroute shows both nodes" hops_are "10.244.1.1 10.244.2.0 10.244.2.2"
}

# rises HOOK VERDICT REASON COMMAND…: node 1's counter goes up by at least one meanwhile
rises() {
	local before after h=$1 v=$2 r=$3
	shift 3
	before=$(counter 1 "$h" "$v" "$r")
	"$@"
	after=$(counter 1 "$h" "$v" "$r")
	echo "$h $v $r: $before then $after"
	[ "$after" -gt "$before" ]
}

reasons() {
	tap "counted: TTL" rises port slow ttl on_pod 1 1 ping -c 1 -t 1 -W 1 10.244.2.2
	tap "counted: fragments" rises port slow fragment on_pod 1 1 ping -c 1 -s 3000 10.244.2.2
	tap "counted: options" rises port slow ip_options on_pod 1 1 ping -c 1 -R 10.244.2.2
	tap "counted: no route" rises port slow no_route on_pod 1 1 ping -c 1 -W 1 10.244.9.9
	tap "counted: not ours" rises port slow not_overlay on_pod 1 1 ping -c 1 -W 1 192.0.2.2
	tap "counted: local" rises port slow local on_pod 1 1 ping -c 1 10.244.1.1
	tap "counted: host traffic at the overlay device" \
		rises tun fast ok on_node 1 ping -c 1 10.244.2.2
	tap "counted: for the host itself" rises uplink fast host on_node 1 ping -c 1 10.244.2.1
}

# Nearly every one of 10,000 exchanges must be fast on both hooks of both nodes.
fast_share() {
	local i h before=() after=()
	for i in 1 2; do for h in port uplink; do before+=("$(counter $i $h fast ok)"); done; done
	on_pod 1 1 ping -q -c 10000 -i 0 -f -W 1 10.244.2.2 || return 1
	for i in 1 2; do for h in port uplink; do after+=("$(counter $i $h fast ok)"); done; done
	for i in 0 1 2 3; do
		echo "${before[$i]} then ${after[$i]}"
		[ $((after[i] - before[i])) -ge 9990 ] || return 1
	done
}

for wire in superpacket mtu; do
	for pair in "bpf bpf" "tun tun" "bpf tun" "tun bpf"; do
		# shellcheck disable=SC2086
		set -- $pair
		lab_up --wire $wire
		lab_agent_start 1 --datapath "$1"
		lab_agent_start 2 --datapath "$2"
		connectivity "$wire $1/$2:"
		[ $wire = mtu ] || odd_packets "$1/$2:"
		if [ "$wire $pair" = "superpacket bpf bpf" ]; then
			reasons
			tap "9,990 of 10,000 exchanges are fast" fast_share
		fi
	done
done
lab_up
lab_agents_start --datapath bpf --attach clsact
tap "clsact: hooks say so" sh -c "[ \"$(weft_on 1 status -j | jq -r '[.hooks[].attach] | unique | .[]')\" = clsact ]"
connectivity "clsact:"
lab_up --routed
lab_agents_start --datapath bpf
connectivity "routed:"
tap "routed: the peer is reached through the router" sh -c \
	"[ \"$(weft_on 1 peers -j | jq -r '.[0].next_hop')\" = 192.0.2.254 ]"
