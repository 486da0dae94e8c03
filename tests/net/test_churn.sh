#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Links, addresses, MTU, MAC, bridge and pods change under 10,000 numbered datagrams a second each
# way. What is disturbed is fast again within the time promised, what is not loses nothing, and
# afterwards the agents hold what they held before.
# PODS=250 is the long variant: 1,000 devices.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

PODS=${PODS:-30}
BACK_S=2 # to be fast again
STANDING=2 # pods of a node

# fast_flow NODE: the flows that run are fast at both hooks, as dense as they are meant to be, and
# nothing of them is slow or refused; looks for 200 ms
fast_flow() {
	mark "$1" && sleep 0.2 && gains "$1" | tee "$WORK/fast$1" |
		awk -v floor=$((FLOW_RATE * 15 / 100)) '
		$3 == "not_ipv4" || $3 == "not_overlay" || $3 == "local" { next }
		{ n[$1] += $4 }
		'"$ASKS"' && $4 < 20 { next }
		$2 != "fast" { bad = 1 }
		END { exit bad || n["port"] < floor || n["uplink"] < floor }'
}

# back NODE…: within the time, counted from now
back() {
	local i end=$((${EPOCHREALTIME/./} + BACK_S * 1000000))
	for i; do
		until fast_flow "$i"; do
			[ "${EPOCHREALTIME/./}" -lt $end ] && continue
			echo "node $i is not fast after $BACK_S s:"
			cat "$WORK/fast$i"
			return 1
		done
	done
}

# gap_below MILLISECONDS: neither way was longer without an arrival, and nothing was lost but in
# that gap
gap_below() {
	local flow gap lost
	for flow in "1p1 2p1" "2p1 1p1"; do
		# shellcheck disable=SC2086 # two places
		gap=$(flow_figure $flow gap) lost=$(flow_figure $flow lost)
		[ "$gap" -lt "$1" ] && [ "$lost" -le $((gap * 12 + 500)) ] || return
	done
}

# disturbed MILLISECONDS COMMAND…: the command ends the disturbance, before it returns
disturbed() {
	local limit=$1 rc=0
	shift
	load_start || return
	sleep 0.5
	"$@" && back 1 2 || rc=1
	load_end && gap_below "$limit" && return $rc
}

# The uplink

flap() {
	at 1 ip link set wire0 down
	sleep 0.5
	within 1 status_is 1 ready false || return
	at 1 ip link set wire0 up
}

readdress() {
	at 1 ip addr del 192.0.2.1/24 dev wire0
	sleep 0.5
	within 1 status_is 1 ready false || return
	at 1 ip addr add 192.0.2.1/24 dev wire0
}

uplink_renamed() {
	local rc=0
	load_start && at 1 ip link set wire0 name wire9 || return
	sleep 0.5
	fast_flow 1 && status_is 1 ready true || rc=1
	at 1 ip link set wire9 name wire0
	sleep 0.2
	load_lossless && status_is 1 ready true && return $rc
}

ready_again() { within $BACK_S status_is 1 ready true; }

# remac ADDRESS: node 2 is another machine from one moment to the next
remac() {
	local old
	old=$(mac 2 wire0)
	at 2 ip link set wire0 address "$1" && at sw bridge fdb del "$old" dev n2 master
}

# One way, so that no packet of the peer's tells of its new address
remac_one_way() {
	flow_start 1p1 2p1 || return
	sleep 0.5
	remac "$1"
	sleep 1.5
	flow_end 1p1 2p1 && [ "$(flow_figure 1p1 2p1 gap)" -lt 1000 ] &&
		[ "$(flow_figure 1p1 2p1 lost)" -lt 10000 ] && fast_after_all
}

fast_after_all() {
	mark && pings 1p1 10.244.2.2 20 && gained_flow 1 port 20 &&
		gained_flow 2 port 20
}

uplink() {
	check "the uplink goes down for 0.5 s: fast again within $BACK_S s" \
		disturbed $((500 + BACK_S * 1000)) flap
	check "ready again" ready_again
	check "the address goes for 0.5 s: fast again within $BACK_S s" \
		disturbed $((500 + BACK_S * 1000)) readdress
	check "ready again, with the address back" ready_again
	check "it has another name for a while: nothing is lost or slow" uplink_renamed
}

# A switch that knows where each address is: frames for a former one reach nobody
peer_mac() {
	check "a switch between: agents get ready, the load is fast and loses nothing" \
		ready --nodes 3
	at sw ip link set n2 type bridge_slave flood off
	check "a peer's MAC changes: a gap of less than a second" \
		disturbed 1000 remac 02:aa:00:00:00:01
	check "and once more" disturbed 1000 remac 02:aa:00:00:00:02
	check "and while packets go one way only" remac_one_way 02:aa:00:00:00:03
}

# The underlay's MTU

# mtu BYTES: on both ends, and the agents have followed
mtu() {
	local i
	for i in 1 2; do at $i ip link set wire0 mtu "$1"; done
	for i in 1 2; do
		within $BACK_S status_is $i mtu $(($1 - 28)) &&
			grep -qx "FLANNEL_MTU=$(($1 - 28))" "$(lab_subnet_env $i)" &&
			at $i ip link show flannel0 | grep "mtu $(($1 - 28)) " || return
	done
}

acked() {
	at 1p1 ss -Htin "dport = :$PORT" | grep -o 'bytes_acked:[0-9]*' | cut -d: -f2 |
		sort -n | tail -n 1
}
acked_more() { [ "$(acked)" -ge "$1" ]; }

# goes_on: the transfer gets on by a megabyte within a second
goes_on() {
	local now
	now=$(acked)
	[ -n "$now" ] || { echo "no transfer is running"; return 1; }
	within 1 acked_more $((now + 1000000))
}

# A paced transfer, which lasts six seconds where nothing disturbs it
transfer_start() {
	# The burst lets aggregates pass whole
	at 1p1 tc qdisc add dev eth0 root tbf rate 100mbit burst 256kb latency 50ms
	at 1p1 "$NETBIN/talk" tcp 10.244.2.2 $PORT 75000000 < /dev/null \
		> "$WORK/transfer" 2>&1 &
	TRANSFER=$!
	sleep 0.5
	goes_on
}

transfer_whole() {
	wait "$TRANSFER"
	local rc=$?
	cat "$WORK/transfer"
	at 1p1 tc qdisc del dev eth0 root
	return $rc
}

# told_mtu SIZE MTU: each of two large pings is answered by what it should have been
told_mtu() {
	at 1p1 ip route flush cache
	at 1p1 ping -c 2 -i 0.2 -W 1 -M "do" -s "$1" 10.244.2.2 > "$WORK/ping" 2>&1
	cat "$WORK/ping"
	grep -qE "(Frag needed.*mtu = $2\)|message too long, mtu[:=] ?$2)" "$WORK/ping" &&
		! grep -q "bytes from" "$WORK/ping"
}

largest_arrives() {
	at 1p1 ping -q -c 5 -i 0.02 -W 1 -M "do" -s $(($1 - 28)) 10.244.2.2
}

underlay_mtu() {
	serve 1p1 2p1
	check "a transfer is on its way" transfer_start
	check "the underlay's MTU falls to 1400: devices and files follow" mtu 1400
	check "the transfer goes on at once" goes_on
	check "a large ping is told mtu 1372" told_mtu 1400 1372
	check "the largest one that fits arrives" largest_arrives 1372
	check "the MTU rises to 1500: devices and files follow" mtu 1500
	check "the transfer goes on" goes_on
	check "it ends with every byte as sent" transfer_whole
	at 1p1 ip route flush cache
	check "a ping of the former size arrives" largest_arrives 1472
	load_start
	check "10,000 datagrams a second do not care: MTU falls" mtu 1400
	check "10,000 datagrams a second do not care: MTU rises" mtu 1500
	check "none was lost" load_lossless
}

# The overlay device, and what else is the agent's

# devices_whole DEVICE…: they are there and up, flannel0 with its address and route
devices_whole() {
	local dev
	for dev; do
		at 1 ip -o link show dev "$dev" up | grep -q LOWER_UP || return
	done
	[ "$(at 1 ip -4 -o addr show dev flannel0 | awk '{ print $4 }')" = 10.244.1.0/32 ] &&
		[ "$(at 1 ip route show 10.244.0.0/16)" = "10.244.0.0/16 dev flannel0 proto static src 10.244.1.0 " ]
}

# spoiled COMMAND…: what it takes away is back within the time
spoiled() {
	local rc=0
	load_start && sleep 0.2 || return
	"$@" && within $BACK_S devices_whole flannel0 flannel0-tx flannel0-rx &&
		within $BACK_S status_is 1 ready true || rc=1
	load_end && return $rc
}

# A running flow does not notice
spoiled_unseen() { spoiled "$@" && flow_whole 1p1 2p1 && flow_whole 2p1 1p1 && fast_after_all; }
# The approvals are gone with the device: what has to ask while there is none is lost
spoiled_shortly() { spoiled "$@" && gap_below 1000 && fast_after_all; }

overlay_device() {
	check "flannel0 is set down: it is as before within $BACK_S s, a running flow loses nothing" \
		spoiled_unseen at 1 ip link set flannel0 down
	check "flannel0 loses its address" spoiled_unseen at 1 ip addr flush dev flannel0
	check "flannel0 loses its route" spoiled_unseen at 1 ip route del 10.244.0.0/16
	check "the network's route is led elsewhere" \
		spoiled_unseen at 1 ip route replace 10.244.0.0/16 dev cni0
	check "the merging pair is set down" spoiled_unseen at 1 ip link set flannel0-rx down
	check "the merging pair is deleted" spoiled_unseen at 1 ip link del flannel0-tx
	check "flannel0 is deleted: it is there again, a gap of less than a second" \
		spoiled_shortly at 1 ip link del flannel0
	check "flannel0 is moved away: another one is there" \
		spoiled_shortly at 1 ip link set flannel0 netns "$(place_ns 1p2)"
	at 1p2 ip link del flannel0
}

# The bridge

bridge_new() {
	local j
	at 1 ip link del cni0
	sleep 0.3
	lab_bridge_add "$(lab_node 1)" cni0 02:00:0a:f4:01:01
	at 1 ip addr add 10.244.1.1/24 dev cni0
	for j in $(seq $STANDING); do
		at 1 ip link set "veth$j" master cni0
	done
}

bridge_held() {
	weft_on 1 status -j | jq -e --arg n "$STANDING" '[.hooks[].hook] |
		(map(select(. == "bridge")) | length == 1) and
		(map(select(. == "port")) | length == ($n | tonumber))'
}

# Ports

# hooked PORT: the agent says so
hooked() {
	weft_on 1 status -j | jq -e --arg port "$1" \
		'any(.hooks[]; .hook == "port" and .ifname == $port)'
}

port_renamed() {
	load_start && at 1 ip link set veth1 name pod1 && within $BACK_S hooked pod1 &&
		at 1 ip link set pod1 name veth1 && within $BACK_S hooked veth1 && load_lossless
}

port_moved() {
	local away
	away=$(place_ns 1p2)
	at 1 ip link set veth1 netns "$away"
	sleep 0.3
	ip -n "$away" link set veth1 netns "$(place_ns 1)" && at 1 ip link set veth1 master cni0 up
}

speaks() { pings "1p$1" 10.244.2.3 && endpoint_within "$1"; }

# Pods

pods() { seq $((STANDING + 1)) $((STANDING + PODS)); }

# reaches POD: a pod that came is an ordinary one, in both directions
reaches() { on_pod 1 "$1" ping -q -c 1 -W 2 10.244.2.3 > "$WORK/ping" && endpoint_within "$1"; }
endpoint_within() { within 3 endpoint_known 1 "10.244.1.$(($1 + 1))"; }

pods_come() {
	local j
	for j in $(pods); do lab_pod_add 1 "$j" || return; done
	for j in $(pods); do reaches "$j" || return; done
	endpoints_are $((STANDING + PODS))
}

pods_go() {
	local j
	for j in $(pods); do lab_pod_del 1 "$j" || return; done
}

pods_turn_over() {
	local j
	for j in $(pods); do
		lab_pod_add 1 "$j" && lab_pod_del 1 "$j" || return
	done
}

endpoints() { weft_on 1 endpoints -j | jq length; }
back_to_standing() { within $BACK_S endpoints_are $STANDING || endpoints_are $STANDING; }
endpoints_are() {
	[ "$(endpoints)" = "$1" ] || { weft_on 1 endpoints; return 1; }
}

# What is held

# held NODE: descriptors by kind, what is pinned by kind, hooks and endpoints
held() {
	local i=$1
	fd_kinds "$i" | uniq -c
	find "$(pin_dir "$i")" -type f -printf '%P\n' | sed 's/-[0-9]*$//' | sort | uniq -c
	weft_on "$i" status -j | jq -r '.hooks[] | "\(.hook) \(.ifname)"' | sort
	weft_on "$i" endpoints -j | jq -r '.[] | "\(.address) \(.ifname)"' | sort
}

same_held() {
	local i
	for i in 1 2; do
		held $i | diff "$WORK/held$i" - || return
	done
}

held_as_before() { within 5 same_held || same_held; }

# devices_exist: the agents' hooks and pins name no device that is gone
devices_exist() {
	local i pin dev there
	for i in 1 2; do
		there=$(at $i ip -o link)
		for pin in "$(pin_dir $i)"/links/*; do
			grep -q "^${pin##*-}: " <<< "$there" || { echo "gone: $pin"; return 1; }
		done
		weft_on $i status -j | jq -r '.hooks[].ifname' | while read -r dev; do
			at $i ip link show "$dev" > /dev/null || return
		done || return
	done
}

ready() {
	local i j
	pair bpf bpf --pods $STANDING "$@" || return
	for j in $(seq $STANDING); do
		at "1p$j" ping -q -c 2 -i 0.02 "10.244.2.$((j + 1))" || return
		for i in 1 2; do
			within 2 endpoint_known $i "10.244.$i.$((j + 1))" || return
		done
	done
	load_start && back 1 2 && load_lossless
}

# large_fast: of 500 small round trips each packet but the first is fast, then large ones of the same flow, none
# of which is lost
large_fast() {
	mark && udp 1p1 10.244.2.2 500x100 || return
	gained_flow 1 port 500 && gained_flow 2 uplink 500 && gained_flow 2 port 500 &&
		gained_flow 1 uplink 500 || return
	mark && udp 1p1 10.244.2.2 100x100 200x3000 200x9000 100x100 || return
	# In three pieces or seven
	gained_is 1 port slow fragment $((200 * 3 + 200 * 7)) && gained_is 1 port fast ok 199
}

peer_mac
check "agents get ready, the load is fast and loses nothing" ready
for i in 1 2; do held $i > "$WORK/held$i"; done

uplink
underlay_mtu
overlay_device
check "the bridge is deleted and made anew: its pods are fast again within $BACK_S s" \
	disturbed $((1000 + BACK_S * 1000)) bridge_new
check "its hooks are those of the new one" bridge_held
check "its silent pod is known again when it speaks" speaks 2

check "a pod's port gets another name and the old one again: nothing is lost" port_renamed
check "it is moved away and comes back: fast again within $BACK_S s" \
	disturbed $((300 + BACK_S * 1000)) port_moved

load_start
check "$PODS pods come, reach others and are endpoints" pods_come
check "they go" pods_go
check "$PODS pods come and go at once" pods_turn_over
check "10,000 datagrams a second between pods that stay: none is lost" load_lossless
check "no endpoint is left of them" back_to_standing
check "no hook or pin names a device that is gone" devices_exist

check "datagrams of 3,000 and 9,000 bytes on a fast flow: all arrive" large_fast
check "the agents hold what they held before" held_as_before
