#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Agents are killed, replaced, doubled, stopped and cleaned up; the store changes; the underlay
# changes. Traffic is one ping per millisecond, each way, of which none may be lost.
# ROUNDS and DEAD (seconds without agents) make it the long test.
set -u
LAB=wt-lifecycle
ROUNDS=${ROUNDS:-3}
DEAD=${DEAD:-1}
# shellcheck source-path=SCRIPTDIR source=tap.sh
. "$(dirname "$0")/tap.sh"
trap tap_end EXIT

# load_start SECONDS, load_lossless: pings both ways in the background, then none was lost
load_start() {
	local n=$(($1 * 1000))
	on_pod 1 1 ping -q -i 0.001 -c $n -W 1 10.244.2.2 >"$(lab_dir)/a" 2>&1 </dev/null &
	load_a=$!
	on_pod 2 1 ping -q -i 0.001 -c $n -W 1 10.244.1.2 >"$(lab_dir)/b" 2>&1 </dev/null &
	load_b=$!
}

load_lossless() {
	wait "$load_a" "$load_b"
	cat "$(lab_dir)/a" "$(lab_dir)/b"
	[ "$(grep -hoE '[0-9.]+% packet loss' "$(lab_dir)/a" "$(lab_dir)/b" | sort -u)" = "0% packet loss" ]
}

# An idle connection that must still work after SECONDS.
idle_start() {
	on_pod 2 1 timeout 60 socat TCP-LISTEN:9100,fork,reuseaddr EXEC:cat </dev/null >/dev/null 2>&1 &
	until_true 3 on_pod 2 1 sh -c 'ss -ltn | grep -q :9100'
	on_pod 1 1 bash -c "exec 3<>/dev/tcp/10.244.2.2/9100; sleep $1; echo still >&3
		read -r -t 3 x <&3; [ \"\$x\" = still ]" </dev/null >/dev/null 2>&1 &
	idle=$!
}

kill_and_replace() {
	idle_start $((DEAD + 2))
	load_start $((DEAD + 3))
	sleep 0.5
	lab_agent_stop 1 KILL
	lab_agent_stop 2 KILL
	sleep "$DEAD"
	lab_agents_start --datapath bpf "$@" || return 1
	load_lossless && wait $idle
}

stopped_still_forwards() {
	lab_agents_stop || return 1
	on_pod 1 1 ping -q -c 100 -i 0.005 -W 1 10.244.2.2
}

second_refused() {
	local out rc
	out=$(weft_on 1 run --store "static:$(lab_dir)/store.json" --iface wire0 2>&1)
	rc=$?
	echo "$rc $out"
	[ $rc = 1 ] && [[ $out == *"another agent is running, pid $(cat "$(lab_dir)/n1.pid")"* ]]
}

cleanup_refused() { ! weft_on 1 cleanup; }

# gone NODE: nothing of weft is left in this namespace, on bpffs, or in files
gone() {
	local pins
	pins=/sys/fs/bpf/weft$(lab_state "$1" | tr / -)
	ip -n "$(lab_node "$1")" -br link
	tc -n "$(lab_node "$1")" qdisc show
	! ip -n "$(lab_node "$1")" -br link | grep flannel || return 1
	! tc -n "$(lab_node "$1")" qdisc show | grep clsact || return 1
	[ ! -e "$pins" ] && [ ! -e "$(lab_state "$1")" ] && [ ! -e "$(lab_subnet_env "$1")" ]
}

cleaned() { weft_on "$1" cleanup && gone "$1" && weft_on "$1" cleanup; }

teardown_on_exit() {
	lab_agent_start 1 --datapath bpf --teardown-on-exit || return 1
	lab_agent_stop 1 && gone 1
}

exits() {
	local want=$1 rc
	shift
	"$@"
	rc=$?
	echo "exit status $rc, want $want"
	[ $rc = "$want" ]
}

# The store: replaced under traffic by other states and by broken ones.
reload_many() {
	local i
	load_start 3
	for i in $(seq 100); do
		jq --arg s "10.244.$((i % 50 + 100)).0/24" '.Leases += [{Subnet: $s, PublicIP: "192.0.2.77"}]' \
			"$(lab_dir)/store.json" >"$(lab_dir)/next"
		[ -e "$(lab_dir)/base" ] || cp "$(lab_dir)/store.json" "$(lab_dir)/base"
		mv "$(lab_dir)/next" "$(lab_dir)/store.json"
		sleep 0.01
		cp "$(lab_dir)/base" "$(lab_dir)/next"
		mv "$(lab_dir)/next" "$(lab_dir)/store.json"
		sleep 0.01
	done
	load_lossless
}

broken_refused() {
	printf '{"Network": "10.244.0.0/16", "Leases": [{"Subnet": "10.9.0.0/24", "PublicIP": "192.0.2.1"}]}' \
		>"$(lab_dir)/next"
	mv "$(lab_dir)/next" "$(lab_dir)/store.json"
	until_true 3 store_error_is 'Leases\[0\].Subnet' || return 1
	[ "$(weft_on 1 status -j | jq .leases)" = 2 ]
	cp "$(lab_dir)/base" "$(lab_dir)/next"
	mv "$(lab_dir)/next" "$(lab_dir)/store.json"
	until_true 3 store_error_is '^$'
}

store_error_is() { weft_on 1 status -j | jq -r .store_error | grep -q "$1"; }

# The underlay.
mac_changes() {
	load_start 3
	sleep 1
	ip -n "$(lab_node 2)" link set wire0 address "$1"
	wait "$load_a" "$load_b"
	cat "$(lab_dir)/a" "$(lab_dir)/b"
	# At 1,000 a second: fewer than 1,000 lost is less than a second.
	[ "$(awk '/transmitted/ { print $1 - $4 }' "$(lab_dir)/a")" -lt 1000 ] &&
		[ "$(awk '/transmitted/ { print $1 - $4 }' "$(lab_dir)/b")" -lt 1000 ]
}

mtu_follows() {
	local i
	for i in 1 2; do ip -n "$(lab_node $i)" link set wire0 mtu "$1"; done
	until_true 2 grep -q "FLANNEL_MTU=$(($1 - 28))" "$(lab_subnet_env 1)" || return 1
	ip -n "$(lab_node 1)" link show flannel0 | grep "mtu $(($1 - 28))"
}

wire_flaps() {
	ip -n "$(lab_node 1)" link set wire0 down
	sleep 0.5
	ip -n "$(lab_node 1)" link set wire0 up
	until_true 2 on_pod 1 1 ping -c 1 -W 1 10.244.2.2
}

address_flaps() {
	ip -n "$(lab_node 1)" addr del 192.0.2.1/24 dev wire0
	sleep 0.5
	ip -n "$(lab_node 1)" addr add 192.0.2.1/24 dev wire0
	until_true 2 on_pod 1 1 ping -c 1 -W 1 10.244.2.2
}

pods_come_and_go() {
	local j fds
	fds=$(ls "/proc/$(cat "$(lab_dir)/n1.pid")/fd" | wc -l)
	for j in $(seq 2 21); do lab_pod_add 1 "$j"; done
	until_true 5 on_pod 1 20 ping -c 1 -W 1 10.244.2.2 || return 1
	for j in $(seq 2 21); do lab_pod_del 1 "$j"; done
	until_true 5 ports_are 1 || return 1
	ls "/proc/$(cat "$(lab_dir)/n1.pid")/fd" | wc -l
	[ "$(ls "/proc/$(cat "$(lab_dir)/n1.pid")/fd" | wc -l)" = "$fds" ]
}

ports_are() { [ "$(weft_on 1 status -j | jq '[.hooks[] | select(.hook == "port")] | length')" = "$1" ]; }

lab_up
lab_agents_start --datapath bpf
tap "the pods see each other" until_true 3 on_pod 1 1 ping -c 1 -W 1 10.244.2.2
for round in $(seq "$ROUNDS"); do
	tap "round $round: kill -9 of both agents and a new start lose nothing" kill_and_replace
done
tap "subnet.env is flannel's" diff "$(lab_subnet_env 1)" <(printf '%s\n' FLANNEL_NETWORK=10.244.0.0/16 \
	FLANNEL_SUBNET=10.244.1.1/24 FLANNEL_MTU=1472 FLANNEL_IPMASQ=false)
tap "a second agent on one state directory is refused" second_refused
tap "cleanup is refused while an agent runs" cleanup_refused
tap "200 reloads under traffic lose nothing" reload_many
tap "a broken store is refused with its place" broken_refused
tap "a peer's MAC changes: back within a second" mac_changes 02:aa:00:00:00:01
tap "the underlay's MTU is lowered" mtu_follows 1400
tap "a large ping hears the new MTU" sh -c \
	"nsenter --net=/run/netns/$LAB-n1p1 ping -c 2 -i 0.2 -W 1 -M do -s 1400 10.244.2.2 2>&1 | grep 'mtu.*1372'"
tap "and back" mtu_follows 1500
tap "the uplink goes down and up" wire_flaps
tap "the uplink's address goes and comes" address_flaps
tap "pods come and go without a leak" pods_come_and_go
tap "stopped agents leave the datapath forwarding" stopped_still_forwards
tap "cleanup leaves nothing, twice" cleaned 1
tap "teardown on exit leaves nothing" teardown_on_exit
lab_agents_start --datapath bpf --attach clsact
tap "clsact: kill -9 and a new start lose nothing" kill_and_replace --attach clsact
lab_agent_stop 1 KILL
tap "clsact: cleanup after kill -9 leaves nothing" cleaned 1
tap "a wrong flag exits 2" exits 2 weft_on 1 run --no-such-flag
tap "approve host is refused with 2" exits 2 weft_on 1 run --store static:/dev/null --approve host
tap "a missing store exits 2" exits 2 weft_on 1 run --store static:/nonexistent
