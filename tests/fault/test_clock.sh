#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The wall clock jumps, forwards and back, by an hour and by years: of node 1's agent, that is, as
# preload_clock.c tells it. No lease, approval, timer or watch may care.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=../net/etcd.sh
. "$NET_ROOT/tests/net/etcd.sh"

YEAR=31536000
STEPS=(3600 -3600 "$YEAR" "-${YEAR}0" 0)
STEP=$WORK/step

jump() { echo "$1" > "$STEP.new" && mv "$STEP.new" "$STEP"; }

# The agent's log tells its clock
said_year() { tail -n 1 "$(lab_log 1)" | jq -r '.time[:4]'; }

# start NODE [FLAG…]: with a clock of its own
start() {
	local i=$1
	shift
	lab_agent_start "$i" "$@"
	lab_agent_stop "$i"
	rm -f "$(lab_log "$i")"
	nsenter --net="/run/netns/$(lab_node "$i")" -- env CLOCK_STEP="$STEP" \
		LD_PRELOAD="$FAULTBIN/preload_clock.so" "$WEFT" run --iface wire0 --bridge cni0 \
		--tun flannel0 --state-dir "$(lab_state "$i")" \
		--subnet-file "$(lab_subnet_env "$i")" --log-json "$@" < /dev/null > "$(lab_log "$i")" 2>&1 &
	echo $! > "$(lab_dir)/n$i.pid"
	within 10 lab_agent_ready "$i"
}

# With a file as the store

file_ready() {
	jump 0 && lab_up && lab_agent_start 2 --datapath bpf &&
		start 1 --store "static:$STORE" --datapath bpf && pings 1p1 10.244.2.2 &&
		within 2 endpoint_known 1 10.244.1.2 && within 2 endpoint_known 2 10.244.2.2
}

# With every jump: what is approved stays so, the store is still followed, a removed rule comes back
jumps() {
	local step pin
	pin=$(echo "$(pin_dir 1)"/links/bridge-*)
	load_start && mark 1 || return
	for step in "${STEPS[@]}"; do
		jump "$step"
		sleep 0.5
		edit '.Leases += [{"Subnet": "10.244.9.0/24", "PublicIP": "192.0.2.9"}]'
		within 3 status_is 1 leases 3 || return
		edit '.Leases |= .[0:2]'
		within 3 status_is 1 leases 2 && within 3 status_is 1 ready true || return
		rm "$pin" && within 5 test -e "$pin" || return
	done
	load_lossless || return
	shown gains 1 | awk -v few=$ASKS_FEW "$ASKS"' { asked += $4 } END { exit asked > few }'
}

clock_is_told() {
	jump $((10 * YEAR))
	kill -s HUP "$(agent_pid 1)"
	within 3 log_is_late
	local rc=$?
	jump 0
	return $rc
}

log_is_late() { [ "$(said_year)" -gt $(($(date +%Y) + 8)) ]; }

# With a registry: leases of 60 s, renewed by then

etcd_ready() {
	jump 0 && etcd_lab 3 && configure && member 2 &&
		start 1 --store "$ETCD_STORE" --lease-ttl 60 && within 5 leases_known
}

leases_known() { [ "$(registry | wc -l)" = 2 ] && status_is 1 leases 2; }
lease_id() { registry | awk -v key="$(net_of 1).0-24" '$1 == key { print $3 }'; }
watched() { [ "$(routes_to 1 10.244.99.0/24)" = "$1" ]; }

# With every jump: the same lease, the watch goes on, and so it does after etcd has been away
registry_jumps() {
	local step id other
	id=$(lease_id)
	other=$ETCD_PREFIX/subnets/10.244.99.0-24
	for step in "${STEPS[@]}"; do
		jump "$step"
		put "$other" '{"PublicIP":"192.0.2.99"}' && within 5 watched 192.0.2.99 || return
		delete "$other" && within 5 watched "" || return
		[ "$(lease_id)" = "$id" ] && status_is 1 ready true || return
	done
	jump $((-10 * YEAR))
	etcd_stop && etcd_start && within 15 eval 'put "$other" "{\"PublicIP\":\"192.0.2.98\"}"' &&
		within 15 watched 192.0.2.98 && [ "$(lease_id)" = "$id" ]
}

check "file: two nodes get ready" file_ready
check "file: the agent's wall clock can be set" clock_is_told
check "file: jumps of the clock: no flow is asked anew, nothing is lost" jumps
check "registry: two nodes get ready" etcd_ready
check "registry: jumps of the clock: the lease stays, the watch goes on" registry_jumps
etcd_stop
