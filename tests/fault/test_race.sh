#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Agents race for one state directory, and many clients ask one agent at the same time. OPERATIONS is
# how many each of the eight clients does.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

ROUNDS=${ROUNDS:-10}
CLIENTS=8
OPERATIONS=${OPERATIONS:-500}

ready() {
	pair bpf bpf && pings 1p1 10.244.2.2 && within 2 endpoint_known 1 10.244.1.2 && remember one 1
}

# racer NAME: its pid in $!
racer() {
	nsenter --net="/run/netns/$(lab_node 1)" -- "$WEFT" run --store "static:$STORE" \
		--iface wire0 --bridge cni0 --tun flannel0 --state-dir "$(lab_state 1)" \
		--subnet-file "$(lab_subnet_env 1)" --datapath bpf < /dev/null > "$WORK/racer.$1" 2>&1 &
}

# Two start at once: one becomes ready, the other says who is there and goes
race() {
	local pids=() loser winner rc
	racer 0
	pids[0]=$!
	racer 1
	pids[1]=$!
	wait -n "${pids[@]}"
	rc=$?
	loser=0
	kill -0 "${pids[0]}" 2> /dev/null && loser=1
	winner=$((1 - loser))
	echo "${pids[winner]}" > "$(lab_dir)/n1.pid"
	cat "$WORK/racer.$loser"
	[ $rc = 1 ] && grep -q "another agent is running, pid ${pids[winner]}:" \
		"$WORK/racer.$loser" && within 10 status_is 1 ready true && is_whole one 1
}

races() {
	local round end=TERM
	for round in $(seq "$ROUNDS"); do
		lab_agent_stop 1 $end
		race || { echo "round $round"; return 1; }
		[ $end = TERM ] && end=KILL || end=TERM
	done
}

# operations N SEED: in the node's namespace; one line for each that ends otherwise than it should
operations() {
	local i want rc said verb verbs=(status peers routes endpoints stats "flows" "flows flush" cleanup)
	for i in $(seq "$1"); do
		verb=${verbs[(i + $2) % 8]}
		want=0
		[ "$verb" != cleanup ] || want=1
		# shellcheck disable=SC2086 # a verb of two words
		said=$("$WEFT" $verb --state-dir "$STATE" 2>&1 > /dev/null)
		rc=$?
		[ $rc = $want ] || echo "$verb: status $rc, want $want: $said"
	done
}

generation() { weft_on 1 flows flush | sed -n 's/^generation //p'; }

# As many flushes, one after the other, would have left the same
crowd() {
	local i pids=() before after expected
	before=$(generation)
	for i in $(seq $CLIENTS); do
		nsenter --net="/run/netns/$(lab_node 1)" -- bash -c "$(declare -f operations)
			WEFT=$WEFT STATE=$(lab_state 1) operations $OPERATIONS $i" \
			< /dev/null > "$WORK/client.$i" 2>&1 &
		pids+=($!)
	done
	wait "${pids[@]}"
	cat "$WORK"/client.*
	! grep -q . "$WORK"/client.* || return
	after=$(generation)
	# Each client's share of 500 is 62 or 63, by where it begins
	expected=$(for i in $(seq $CLIENTS); do
		for k in $(seq "$OPERATIONS"); do echo $(((i + k) % 8)); done
	done | grep -c '^6$')
	echo "generation $before, $expected flushes, then $after"
	[ $((after - before - 1)) = "$expected" ]
}

# The one that it was, and no other
one_agent() { [ "$(at 1 fuser "$(lab_state 1)/lock" 2> /dev/null | wc -w)" = 1 ] && alive 1; }

nothing_left() { lab_agent_stop 1 && weft_on 1 cleanup && [ ! -e "$(lab_state 1)" ]; }

check "two nodes get ready" ready
check "two agents race for a state directory, $ROUNDS times: one gets it" races
check "$CLIENTS clients, $OPERATIONS operations each: all answered, the state as if one by one" crowd
check "the agent is the one it was" one_agent
check "the node is whole" is_whole one 1
check "no lock is left over" nothing_left
