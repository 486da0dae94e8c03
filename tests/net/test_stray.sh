#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What goes where it should not: a packet that two nodes send to each other ends, at once where it is
# no business of the other's, by its hop count where a host's own route sends it back; and a pod that
# calls itself a router (IPv6) is believed neither by its node nor by its neighbours.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

TTL=64
SENT_BACK=10.244.2.9

# Loops

# wire_packets: what node 1 has sent and got by the underlay
wire_packets() {
	ip -n "$(place_ns 1)" -s -j link show wire0 | jq '.[0].stats64 | .tx.packets + .rx.packets'
}

# Else the kernel would refuse what it has sent itself
no_rp_filter() {
	at "$1" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wire0.rp_filter=0 \
		net.ipv4.conf.flannel0.rp_filter=0 net.ipv4.conf.cni0.rp_filter=0
}

# disputed TIER: subnet 10.244.9.0/24 is the other node's for either of them, and each has a route of
# the host's back to the overlay for what the other sends it all the same
disputed() {
	local i store
	store=$(lab_dir)/store.json
	lab_up || return
	for i in 1 2; do
		jq --arg own "192.0.2.$i" --arg other "192.0.2.$((3 - i))" --arg flag "$i" '
			.Leases = [{Subnet: "10.244.\($flag).0/24", PublicIP: $own},
				{Subnet: "10.244.9.0/24", PublicIP: $other}]' "$store" \
			> "$(lab_dir)/store$i.json"
	done
	for i in 1 2; do
		lab_agent_start $i --datapath "$1" --peer-check off \
			--store "static:$(lab_dir)/store$i.json" || return
		no_rp_filter $i && at $i ip route add 10.244.9.0/24 dev flannel0 || return
	done
}

# looping TIER: node 2's host sends what comes for an address of its own subnet to node 1 again, by
# the underlay, and node 1's host to the overlay
looping() {
	pair "$1" "$1" && no_rp_filter 1 && no_rp_filter 2 &&
		at 2 ip route add $SENT_BACK via 192.0.2.1 dev wire0
}

# ends LEAST MOST COMMAND…: so many frames on the wire, and none after a second
ends() {
	local least=$1 most=$2 before after
	shift 2
	before=$(wire_packets)
	mark && "$@" && sleep 1 || return
	after=$(wire_packets)
	sleep 1
	echo "$((after - before)) frames in a second, $(($(wire_packets) - after)) in the next"
	gains 1
	# Neighbours are asked for now and then
	[ $((after - before)) -ge "$least" ] && [ $((after - before)) -le $((most + 4)) ] &&
		[ $(($(wire_packets) - after)) -le 4 ]
}

# turned_away HOOK COMMAND…: the other node refuses the one frame of it, which is for a third one
turned_away() {
	ends 1 1 "${@:2}" && gained_is 2 "$1" drop foreign_dst 1
}

loop_packet() {
	inject 1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 ttl=$TTL "$@"
}

# A packet of the overlay inside one of the overlay, to the node that it comes from
tunnel_to_self() {
	inject 1 dev=wire0 eth_dst="$(mac 2 wire0)" outer_src=192.0.2.1 outer_dst=192.0.2.2 \
		src=10.244.1.2 dst=10.244.9.9 ttl=$TTL
}

# loops TIER HOOK: of node 2, where the overlay's packets arrive
loops() {
	check "$1: two nodes, each takes the other for the owner" disputed "$1"
	check "$1: one packet: refused at once" turned_away "$2" loop_packet dst=10.244.9.9
	check "$1: its fragments, too" turned_away "$2" loop_packet dst=10.244.9.9 frag=0x2000
	check "$1: from the wire, too" turned_away "$2" tunnel_to_self
	check "$1: two nodes, one sends back what is for it" looping "$1"
	check "$1: one packet: goes round, $TTL frames at most, then silence" \
		ends $((TTL / 2)) $TTL loop_packet dst=$SENT_BACK
	check "$1: its fragments, too" ends $((TTL / 2)) $TTL loop_packet dst=$SENT_BACK frag=0x2000
}

# Router advertisements

# ipv6_on PLACE DEVICE: as a host has it by default
ipv6_on() {
	at "$1" sysctl -qw "net.ipv6.conf.$2.disable_ipv6=0" "net.ipv6.conf.$2.accept_ra=2" \
		"net.ipv6.conf.$2.accept_ra_defrtr=1" "net.ipv6.conf.$2.autoconf=1" \
		"net.ipv6.conf.$2.router_solicitations=0"
}

ipv6_of() {
	at "$1" ip -6 route show table all | grep -vE '^(local|multicast|fe80::/|ff00::/)' | sort
	at "$1" ip -6 -o addr show scope global | awk '{ print $2, $4 }' | sort
}

# unnoticed: what a pod advertises twenty times
unnoticed() {
	ipv6_of 1 > "$WORK/host" && ipv6_of 1p2 > "$WORK/pod" || return
	at 1p1 "$NETBIN/advert" eth0 20 || return
	sleep 1
	ipv6_of 1 | diff "$WORK/host" - && ipv6_of 1p2 | diff "$WORK/pod" -
}

# noticed: or else the test says nothing
noticed() { ! unnoticed > "$WORK/noticed" && cat "$WORK/noticed" && grep -q default "$WORK/noticed"; }

# own_devices NODE: take no advertisements, and are silent
own_devices() {
	local dev n=0
	for dev in $(ip -n "$(place_ns "$1")" -o link | awk -F'[:@ ]+' '/flannel0/ { print $2 }'); do
		n=$((n + 1))
		[ "$(at "$1" sysctl -n "net.ipv6.conf.$dev.accept_ra" \
			"net.ipv6.conf.$dev.disable_ipv6" | xargs)" = "0 1" ] ||
			{ echo "$dev"; return 1; }
	done
	echo "$n devices"
	[ $n -ge "$2" ]
}

adverts_ready() {
	lab_up --pods 2 || return
	# What the kernel gives a device that is made later
	at 1 sysctl -qw net.ipv6.conf.default.disable_ipv6=0 net.ipv6.conf.all.disable_ipv6=0
	at 1p2 sysctl -qw net.ipv6.conf.all.disable_ipv6=0
	at 1p1 sysctl -qw net.ipv6.conf.all.disable_ipv6=0
	ipv6_on 1 cni0 && ipv6_on 1p2 eth0
}

adverts() {
	local row
	if [ ! -e /proc/sys/net/ipv6 ]; then
		skip "a pod's router advertisement" "this kernel has no IPv6"
		return
	fi
	check "without weft: two pods, IPv6 on" adverts_ready
	check "without weft: a pod's router advertisement gives routes" noticed
	for row in "bpf udp 3" "bpf vxlan 2" "tun udp 1"; do
		# shellcheck disable=SC2086 # three words
		set -- $row
		check "$1, $2: two pods, IPv6 on" adverts_ready
		check "$1, $2: the agent gets ready" lab_agent_start 1 --datapath "$1" --format "$2"
		check "$1, $2: the agent knows the pod" eval \
			'pings 1p1 10.244.1.1 && within 3 endpoint_known 1 10.244.1.2'
		check "$1, $2: nobody believes a pod's router advertisement" unnoticed
		check "$1, $2: nor does any device of weft's" own_devices 1 "$3"
	done
	check "tun, udp: IPv6 between pods is left alone" at 1p1 ping -6 -q -c 2 -W 2 \
		"$(at 1p2 ip -6 -o addr show dev eth0 scope link | awk '{ split($4, a, "/"); print a[1] }')%eth0"
}

loops bpf uplink
loops tun socket
adverts
