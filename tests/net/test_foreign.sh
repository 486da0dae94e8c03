#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Programs of others on the hooks that weft uses, attached before and after it, by XDP, by TCX and as
# filters: they keep running while weft runs, when its agent is replaced and when it is gone. In
# front of weft they see everything, behind it what weft leaves to the stack.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

ROUNDS=200
PINGS=10

# sees NAME… -- PACKETS COMMAND…: each of them counts at least so many more meanwhile
sees() {
	local names=() before=() after i
	while [ "$1" != -- ]; do
		names+=("$1")
		before+=("$(count_of "$1")") || return
		shift
	done
	local packets=$2
	shift 2
	"$@" || return
	for i in "${!names[@]}"; do
		after=$(count_of "${names[i]}") || return
		echo "${names[i]}: ${before[i]}, then $after"
		[ $((after - before[i])) -ge "$packets" ] || return
	done
}

overlay() { udp 1p1 10.244.2.2 ${ROUNDS}x100; }
underlay() { at 1 ping -q -c $PINGS -i 0.02 -W 2 192.0.2.2; }

# By way of the pod's port to the node's own stack
outside() { at 1p1 ping -q -c $PINGS -i 0.02 -W 2 192.0.2.1; }

# What no lease covers is refused at the overlay device, after its hook.
no_lease() {
	at 1p1 ping -q -c $PINGS -i 0.02 -W 1 10.244.9.9 > "$WORK/ping"
	grep "$PINGS packets transmitted" "$WORK/ping"
}

# weft's part is done fast meanwhile; the flow's first packet asks the host for leave
overlay_fast() {
	mark && overlay || return
	shown gains 1 | awk -v n=$ROUNDS '$2 == "fast" && $3 == "ok" { fast[$1] = $4 }
		END { exit !(fast["port"] >= n - 1 && fast["uplink"] >= n - 1) }'
}

endpoint_known() { weft_on "$1" endpoints -j | jq -e 'length == 1'; }

# take_over HOW: node 1's agent dies, a new one comes
take_over() {
	lab_agent_stop 1 KILL
	lab_agent_start 1 --datapath bpf --attach "$1"
}

warm() { pings 1p1 10.244.2.2 && within 2 endpoint_known 1 && within 2 endpoint_known 2; }

hows="tcx clsact" kind=link
if ! linux_since 6.6; then
	skip "tcx: programs of others beside weft's" "no TCX before Linux 6.6"
	hows=clsact kind=filter
fi
# weft's TCX links run behind the links that were there before, its filters behind all links and
# filters of a lower priority.
for how in $hows; do
	front="xdp wire port"
	[ $how = tcx ] || front="$front wire_filter port_filter"
	check "$how: two nodes" lab_up
	serve 1p1 2p1
	check "$how: somebody's XDP program at the wire" foreign xdp xdp wire0
	check "$how: somebody's program at the wire" foreign wire $kind wire0 ingress
	check "$how: and at the pod's port" foreign port $kind veth1 ingress
	check "$how: and a filter at the wire" foreign wire_filter filter wire0 ingress
	check "$how: and at the pod's port" foreign port_filter filter veth1 ingress
	check "$how: agents get ready" lab_agents_start --datapath bpf --attach $how
	check "$how: the agents know the pods" warm
	# shellcheck disable=SC2086 # a list of words
	check "$how: those in front of weft see what takes the fast path" \
		sees $front -- $ROUNDS overlay_fast
	check "$how: more at the wire" foreign wire2 $kind wire0 ingress
	check "$how: and at the pod's port" foreign port2 $kind veth1 ingress
	check "$how: and at the overlay device's egress" foreign tun $kind flannel0 egress
	check "$how: those at the wire see what weft leaves to the stack" \
		sees xdp wire wire2 wire_filter -- $PINGS underlay
	check "$how: those at the port, too" sees port port2 port_filter -- $PINGS outside
	check "$how: that at the overlay device, too" sees tun -- $PINGS no_lease
	check "$how: the fast path is taken as before" overlay_fast
	check "$how: another agent takes over" take_over $how
	# shellcheck disable=SC2086
	check "$how: those in front of it still see all" sees $front -- $ROUNDS overlay_fast
	check "$how: the agent stops and cleans up" eval \
		"lab_agent_stop 1 && has_programs 1 && weft_on 1 cleanup"
	check "$how: nothing of weft is left on a hook" no_programs 1
	check "$how: all programs of others still run at the wire" \
		sees xdp wire wire2 wire_filter -- $PINGS underlay
	check "$how: and at the pod's port" sees port port2 port_filter -- $PINGS outside
done
