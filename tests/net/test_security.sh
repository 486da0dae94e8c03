#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Forged packets, 10,000 of each kind: none is delivered, each is counted as what it is, in both
# tiers. The underlay's attacker sits at the switch and sends what it likes to node 1; a pod of node
# 1 pretends to be others. Meters behind every device that could deliver see nothing, and see all of
# the same packets when they are not forged.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

N=10000
PPS=20000
STRANGER=192.0.2.77
MEMBER=192.0.2.2
SERVICE=198.18.0.1
SECOND=192.0.2.101 # of node 1, which is not its lease's

# attack KEY=VALUE…: datagrams from the switch to node 1
attack() {
	inject sw dev=n1 eth_dst="$WIRE_MAC" outer_src=$MEMBER outer_dst=192.0.2.1 src=10.244.2.2 \
		dst=10.244.1.2 count=$N pps=$PPS "$@"
}

# forge KEY=VALUE…: packets of pod 1 of node 1 to pod 1 of node 3
forge() {
	inject 1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 dst=10.244.3.2 count=$N \
		pps=$PPS "$@"
}

METERS="1p1:eth0 1p2:eth0 2p1:eth0 3p1:eth0 1:flannel0 2:wire0 2:flannel0 3:wire0 3:flannel0"

meters_add() {
	local m
	for m in $METERS; do
		meter "${m%:*}" "${m#*:}" || return
	done
}

meters_reset() {
	local m
	for m in $METERS; do
		meter_reset "${m%:*}" "${m#*:}" || return
	done
}

# shellcheck disable=SC2120 # the argument is for the one caller that names other pods
meters_are_zero() {
	local m n bad=0
	for m in $METERS; do
		n=$(metered "${m%:*}" "${m#*:}") || return
		[ "$n" = 0 ] || { echo "$m saw $n"; bad=1; }
	done
	return $bad
}

meter_is() { [ "$(metered "${1%:*}" "${1#*:}")" -eq "$2" ]; }

# refused NODE HOOK VERDICT REASON COMMAND…: counted as this, all of them and nothing else, and
# nothing delivered. An agent's loop is asked until it has seen the last one.
refused() {
	local node=$1 hook=$2 verdict=$3 reason=$4
	shift 4
	mark && meters_reset || return
	"$@" || return
	gained_is "$node" "$hook" "$verdict" "$reason" $N || return
	others_quiet "$hook $verdict $reason" && meters_are_zero
}

# others_quiet COUNTER: no other counter of any node rose by more than chance traffic
others_quiet() {
	local i
	for i in 1 2 3; do
		gains $i
	done > "$WORK/all"
	cat "$WORK/all"
	awk -v want="^($1${PASSING:+|$PASSING})\$" '$3 == "not_ipv4" { next }
		$1 " " $2 " " $3 ~ want { next }
		$4 > 10 { print "unexpected:", $0; bad = 1 } END { exit bad }' "$WORK/all"
}

delivered() {
	local to=$1
	shift
	meters_reset || return
	"$@" || return
	within 3 meter_is "$to" $N || { echo "$to: $(metered "${to%:*}" "${to#*:}")"; return 1; }
}

ready() {
	local i
	pair "$1" "$1" --nodes 3 --pods 2 || return
	serve 1p1 1p2 2p1 3p1 || return
	WIRE_MAC=$(mac 1 wire0)
	# The kernel's own filter would refuse some of this before weft sees it.
	for i in 1 2 3; do
		at $i sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.cni0.rp_filter=0 \
			net.ipv4.conf.flannel0.rp_filter=0 || return
		# At this pace the agent may be late by 25 ms before the device's queue overflows.
		at $i ip link set flannel0 txqueuelen 5000 || return
	done
	meters_add && meter 1 veth1 && meter 1 wire0 "{ 8285, 8286 }" &&
		at 1 ip addr add $SECOND/24 dev wire0 || return
	for i in 1p1 1p2 2p1; do
		udp $i "$(addr 3p1)" 10x100 && udp 3p1 "$(addr $i)" 10x100 || return
	done
	within 3 endpoints_known
}

endpoints_known() {
	weft_on 1 endpoints -j | jq -e 'length == 2' && weft_on 3 endpoints -j | jq -e 'length >= 1'
}

# underlay HOOK: the hook of node 1 that refuses what comes by the wire
underlay() {
	check "$tier: not forged: all delivered" delivered 1p1:eth0 attack
	check "$tier: a stranger's" refused 1 "$1" drop unknown_peer attack outer_src=$STRANGER
	check "$tier: a stranger's, for the host" \
		refused 1 "$1" drop unknown_peer attack outer_src=$STRANGER dst=10.244.1.1
	check "$tier: a member's from another member's pod" \
		refused 1 "$1" drop spoofed_inner attack src=10.244.3.2
	check "$tier: a member's from our own pod" \
		refused 1 "$1" drop spoofed_inner attack src=10.244.1.3
	check "$tier: a member's from the other member, for the host" \
		refused 1 "$1" drop spoofed_inner attack src=10.244.3.0 dst=10.244.1.0
	check "$tier: a member's from a subnet without a lease" \
		refused 1 "$1" drop spoofed_inner attack src=10.244.9.9
	check "$tier: a member's from outside the overlay" \
		refused 1 "$1" drop spoofed_inner attack src=192.0.2.2
	check "$tier: a member's fragments from another member's pod" \
		refused 1 "$1" drop spoofed_inner attack src=10.244.3.2 frag=0x2000
	check "$tier: for another node's pod" refused 1 "$1" drop foreign_dst attack dst=10.244.3.2
	check "$tier: for another node" refused 1 "$1" drop foreign_dst attack dst=192.0.2.3
	check "$tier: for the loopback" refused 1 "$1" drop foreign_dst attack dst=127.0.0.1
}

# A pod that speaks the overlay's language to node 2: with the node's own address, which a rule of
# the host may give it, all of it would be believed there.
tunnel() {
	inject 1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 outer_src=10.244.1.2 outer_dst=192.0.2.2 \
		src=10.244.1.3 dst=10.244.2.2 count=$N pps=$PPS "$@"
}

as_node() {
	check "$tier: a pod as a node" refused 1 port drop spoofed_local tunnel
	check "$tier: a pod as a node, fragments" refused 1 port drop spoofed_local tunnel outer_frag=0x2000
	check "$tier: a pod as a node, with IP options" \
		refused 1 port drop spoofed_local tunnel outer_options=1
	check "$tier: a pod as a node, with a priority tag" \
		refused 1 port drop spoofed_local tunnel tags=1
	check "$tier: a pod as a node, padded" refused 1 port drop spoofed_local tunnel pad=1
	check "$tier: a pod as a node, vxlan" refused 1 port drop spoofed_local tunnel port=8472
	check "$tier: a pod as a node, ipip" refused 1 port drop spoofed_local tunnel outer_proto=4
}

# A service of the host's: its address stands for pod 1 of node 3.
service_add() {
	at 1 nft -f - <<-END
		table ip service {
			chain prerouting {
				type nat hook prerouting priority dstnat;
				ip daddr $SERVICE dnat to 10.244.3.2
			}
		}
	END
}

# What a pod says by way of the service, and what it says as its neighbour
neighbour() {
	check "$tier: a service is set up" service_add
	check "$tier: not forged: through the service all delivered" \
		delivered 3p1:eth0 forge dst=$SERVICE
	check "$tier: a pod as its neighbour" refused 1 port drop spoofed_local forge src=10.244.1.3
	check "$tier: a pod as its neighbour, fragments" \
		refused 1 port drop spoofed_local forge src=10.244.1.3 frag=0x2000
	check "$tier: a pod as its neighbour, with IP options" \
		refused 1 port drop spoofed_local forge src=10.244.1.3 options=1
	check "$tier: a pod as its neighbour, padded" \
		refused 1 port drop spoofed_local forge src=10.244.1.3 pad=1
	check "$tier: a pod as its neighbour, with a priority tag" \
		refused 1 port drop spoofed_local forge src=10.244.1.3 tags=1
	check "$tier: a pod as its neighbour, with two" \
		refused 1 port drop not_ipv4 forge src=10.244.1.3 tags=2
	check "$tier: a pod as its neighbour, through the service" \
		refused 1 port drop spoofed_local forge src=10.244.1.3 dst=$SERVICE
	check "$tier: a pod as its neighbour, to its node" \
		refused 1 port drop spoofed_local forge src=10.244.1.3 dst=10.244.1.1
	check "$tier: a pod as its neighbour, by its port's MAC" \
		refused 1 port drop spoofed_local forge src=10.244.1.3 eth_dst="$(mac 1 veth1)"
	check "$tier: a pod as its neighbour, to that neighbour" refused 1 port drop \
		spoofed_local forge src=10.244.1.3 dst=10.244.1.3 eth_dst="$(mac 1p2 eth0)"
}

# underlay_detour HOOK [PASSING]: what the uplink's program leaves to the kernel is refused by HOOK.
underlay_detour() {
	PASSING=${2-}
	check "$tier: a stranger's behind IP options" \
		refused 1 "$1" drop unknown_peer attack outer_src=$STRANGER outer_options=1
	check "$tier: a member's behind IP options, from another member's pod" \
		refused 1 "$1" drop spoofed_inner attack src=10.244.3.2 outer_options=1
	check "$tier: a member's behind IP options, for another node" \
		refused 1 "$1" drop foreign_dst attack dst=192.0.2.3 outer_options=1
	PASSING=
}

# nobody_counts METER COMMAND…: all come by there, and weft has nothing to do with it
nobody_counts() {
	local arrivals=$1
	mark && meters_reset && meter_reset "${arrivals%:*}" "${arrivals#*:}" || return
	"${@:2}" && within 3 meter_is "$arrivals" $N || { metered "${arrivals%:*}" "${arrivals#*:}"; return 1; }
	others_quiet none && meters_are_zero
}

no_ports() { at 1 nstat -asz UdpNoPorts | awk '/UdpNoPorts/ { print $2 }'; }

no_ports_is() { [ "$(no_ports)" -eq "$1" ]; }

# unheard COMMAND…: the kernel has no socket for any of them
unheard() {
	local before
	before=$(no_ports)
	nobody_counts 1:wire0 "$@" && no_ports_is $((before + N)) && return
	echo "without a socket: $(($(no_ports) - before))"
	return 1
}

# The guard's table

GUARD="bridge weft-flannel0" # two words
# is_whole SET ELEMENT: that is there, and the rules are
# shellcheck disable=SC2086
is_whole() {
	at 1 nft get element $GUARD "$1" "{ $2 }" && [ "$(at 1 nft list table $GUARD | grep -c drop)" = 5 ]
}

repairs() { grep -c "table $GUARD was changed: put back" "$(lab_log 1)"; }

# mended SET ELEMENT COMMAND…: what the command has done there is found, and undone, no more than once
mended() {
	local before
	before=$(repairs)
	"${@:3}" && within 3 is_whole "$1" "$2" && sleep 1 && is_whole "$1" "$2" || return
	echo "put back: $(($(repairs) - before)) times"
	[ "$(repairs)" -le $((before + 1)) ]
}

# What was saved before 10.244.1.3 was there
# shellcheck disable=SC2086
older() {
	{ echo "flush ruleset bridge" && at 1 nft list table $GUARD | sed 's/, 10\.244\.1\.3 }/ }/'; } \
		> "$WORK/older"
	grep "elements = { 10.244.1.2 }" "$WORK/older" && at 1 nft -f - < "$WORK/older"
}

tier=bpf
check "$tier: three nodes get ready" ready $tier
underlay uplink
underlay_detour "$(kernel_has udp && echo vtep || echo socket)" "uplink slow outer_options"
check "$tier: wrong port" refused 1 uplink slow not_overlay attack port=8286
if ! kernel_has udp; then
	check "$tier: wrong address" refused 1 uplink slow not_overlay attack outer_dst=$SECOND
elif linux_since 5.18; then
	PASSING="uplink slow not_overlay"
	check "$tier: wrong address" refused 1 vtep drop not_overlay attack outer_dst=$SECOND
	PASSING=
else
	skip "$tier: wrong address" "this kernel's own socket hears all of them, and does not tell"
fi
check "$tier: not forged: all of a pod's delivered" delivered 3p1:eth0 forge
neighbour
check "$tier: a pod as its gateway" refused 1 port drop spoofed_local forge src=10.244.1.1
check "$tier: a pod as its node" refused 1 port drop spoofed_local forge src=10.244.1.0
check "$tier: a pod as a remote pod" refused 1 port drop spoofed_local forge src=10.244.2.2
check "$tier: a pod as another node" refused 1 port drop spoofed_local forge src=192.0.2.2
check "$tier: a pod as anybody" refused 1 port drop spoofed_local forge src=203.0.113.9
as_node
check "$tier: pods are still reached" udp 3p1 10.244.1.2 100x100

tier=tun
check "$tier: three nodes get ready" ready $tier
underlay socket
underlay_detour socket
check "$tier: wrong port" unheard attack port=8286
check "$tier: wrong address" unheard attack outer_dst=$SECOND
check "$tier: not forged: all of a pod's delivered" delivered 3p1:eth0 forge
neighbour
check "$tier: a pod as its gateway" nobody_counts 1:veth1 forge src=10.244.1.1
check "$tier: a pod as its node" nobody_counts 1:veth1 forge src=10.244.1.0
check "$tier: a pod as a remote pod" refused 1 tunfd drop spoofed_local forge src=10.244.2.2
check "$tier: a pod as another node" refused 1 tunfd drop spoofed_local forge src=192.0.2.2
check "$tier: a pod as anybody" refused 1 tunfd drop spoofed_local forge src=203.0.113.9
as_node
for change in "flush ruleset bridge" "flush set $GUARD endpoints" "flush chain $GUARD from-pods"; do
	# shellcheck disable=SC2086 # words
	check "$tier: nft $change: mended" mended endpoints "veth2 . 10.244.1.3" at 1 nft $change
done
check "$tier: older rules are restored: mended" mended addresses 10.244.1.3 older
check "$tier: a pod as its neighbour, again" refused 1 port drop spoofed_local forge src=10.244.1.3
check "$tier: pods are still reached" udp 3p1 10.244.1.2 100x100
