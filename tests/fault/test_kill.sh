#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The agent is killed at every point of every operation that has more than one step: before each
# call that changes something which outlives the process, which is to say after the one before, and
# at moments of chance. One start without fault must then find everything, leave nothing and agree
# with the configuration; and meanwhile nothing is lost that the kernel can carry on its own.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

ROUNDS=${ROUNDS:-40} # at moments of chance
POINTS=0
FAILED=0

ready() { pair bpf bpf && known_both && remember one 1; }

# recovers NAME: by one start
recovers() {
	lab_agent_start 1 --datapath bpf && pings 1p1 10.244.2.2 && pings 2p1 10.244.1.2 &&
		is_whole "$1" 1
}

# each_point OPERATION NAME: OPERATION N kills it before the N-th call, and returns 1 when there was
# no such call; NAME is the state afterwards
each_point() {
	local n=1 rc bad=0
	while :; do
		"$1" $n > "$WORK/point" 2>&1
		rc=$?
		[ $rc != 1 ] || break
		POINTS=$((POINTS + 1))
		if [ $rc != 0 ] || ! recovers "$2" >> "$WORK/point" 2>&1; then
			echo "point $n, before $(call_at $n): status $rc"
			cat "$WORK/point" "$(lab_log 1)"
			bad=$((bad + 1))
			# What follows starts from a state that is whole
			lab_agent_stop 1 KILL
			weft_on 1 cleanup
			lab_agent_start 1 --datapath bpf || return
			[ $bad -lt 5 ] || return
		fi
		n=$((n + 1))
	done
	[ "$(lasting)" -lt $n ] || { echo "call $n has killed nobody"; return 1; }
	lab_agent_stop 1
	lab_agent_start 1 --datapath bpf
	[ $bad = 0 ] && [ $n -gt 1 ]
	rc=$?
	FAILED=$((FAILED + bad))
	return $rc
}

# killed_or COMMAND…: waits until the agent was killed (status 0) or the command comes true (1); an end
# of any other kind is none that was asked for (2)
killed_or() {
	ended_or 1 "$@" || return
	[ "$ENDED" = 137 ] || { echo "it ended by itself, status $ENDED"; return 2; }
}

# Killed N…

first_start() {
	lab_agent_stop 1 KILL
	weft_on 1 cleanup || return 2
	faulty_start 1 FAULT_LASTING=1 FAULT_AT="$1" FAULT_DO=kill
	killed_or lab_agent_ready 1
}

adopting_start() {
	lab_agent_stop 1
	faulty_start 1 FAULT_LASTING=1 FAULT_AT="$1" FAULT_DO=kill
	killed_or lab_agent_ready 1
}

# armed N [FLAG…]: a running one, to be killed at the N-th call from here on
armed() {
	local n=$1
	shift
	rm -f "$ARM"
	lab_agent_stop 1
	faulty_start 1 FAULT_LASTING=1 FAULT_AT="$n" FAULT_DO=kill FAULT_ARM="$ARM" -- "$@"
	within 10 lab_agent_ready 1 || return
	touch "$ARM"
}

more_leases() {
	edit '.Leases |= .[0:2]'
	armed "$1" || return 2
	edit "$LEASES"
	killed_or settled leases 5
}

fewer_leases() {
	edit '.Leases |= .[0:2]'
	edit "$LEASES"
	armed "$1" || return 2
	edit '.Leases |= .[0:2]'
	killed_or settled leases 2
}

settled() { status_is 1 "$@" && sleep 0.1 && alive 1; }

# The whole program starts anew, in the same process
port() { edit ".Backend.Port = $1"; }

other_port() {
	port 8285
	armed "$1" || return 2
	port 8999
	killed_or settled port 8999
}

# on_port PORT: both nodes
on_port() { port "$1" && within 3 status_is 1 port "$1" && within 3 status_is 2 port "$1"; }

new_pod() {
	[ ! -e "/run/netns/$(lab_pod 1 2)" ] || lab_pod_del 1 2
	armed "$1" || return 2
	lab_pod_add 1 2
	killed_or pod_known
}

pod_known() {
	at 1p2 ping -q -c 1 -W 1 10.244.1.1 && endpoint_known 1 10.244.1.3 && sleep 0.1 && alive 1
}
pod_forgotten() { ! endpoint_known 1 10.244.1.3 && sleep 0.3 && alive 1; }

old_pod() {
	[ -e "/run/netns/$(lab_pod 1 2)" ] || lab_pod_add 1 2
	# By the agent before: one that learns of it under arms may be killed by that
	within 5 pod_known && armed "$1" || return 2
	lab_pod_del 1 2
	killed_or pod_forgotten
}

# cleanup, which has to be done again, to the end
cleanup() {
	local rc
	lab_agent_stop 1
	rm -f "$CALLED"
	at 1 env LD_PRELOAD="$CALLS" FAULT_LOG="$CALLED" FAULT_LASTING=1 FAULT_AT="$1" \
		FAULT_DO=kill "$WEFT" cleanup --state-dir "$(lab_state 1)"
	rc=$?
	if [ $rc = 0 ]; then
		lab_agent_start 1 --datapath bpf
		return 1
	fi
	[ $rc = 137 ] && weft_on 1 cleanup && gone 1 || return 2
}

gone() {
	local path
	! ip -n "$(lab_node "$1")" -o link | grep flannel || return
	! at "$1" nft list tables | grep weft || return
	no_programs "$1" || return
	for path in "$(pin_dir "$1")" "$(lab_state "$1")" "$(lab_subnet_env "$1")"; do
		[ ! -e "$path" ] || { echo "there is $path"; return 1; }
	done
}

teardown_on_exit() {
	armed "$1" --teardown-on-exit || return 2
	kill "$(agent_pid 1)"
	ended 1
	case $? in
	137) return 0 ;;
	0) return 1 ;;
	*) return 2 ;;
	esac
}

# At a moment of chance

chance() {
	local round
	for round in $(seq "$ROUNDS"); do
		"$1" "$round" || { echo "round $round"; return 1; }
	done
}

chance_start() {
	lab_agent_stop 1 KILL
	faulty_start 1
	sleep "0.$(printf %03d $((RANDOM % 500)))"
	lab_agent_stop 1 KILL
	POINTS=$((POINTS + 1))
	recovers one
}

# Leases come and go as fast as they can
chance_reload() {
	local end
	end=$((${EPOCHREALTIME/./} + 100000 + RANDOM * 15))
	while [ "${EPOCHREALTIME/./}" -lt $end ]; do
		edit "$LEASES"
		edit '.Leases |= .[0:2]'
	done
	lab_agent_stop 1 KILL
	edit '.Leases |= .[0:2]'
	POINTS=$((POINTS + 1))
	recovers one
}

# points NAME COMMAND…
points() {
	local name=$1 before=$POINTS
	shift
	check "$name" "$@"
	echo "# $name: $((POINTS - before)) points"
}

check "two nodes get ready" ready
points "first start" each_point first_start one
points "adopting start" under_load each_point adopting_start one
points "adopting start at moments of chance" under_load chance chance_start
edit "$LEASES"
within 3 status_is 1 leases 5
sleep 0.5
remember five 1
points "leases come" under_load each_point more_leases five
edit '.Leases |= .[0:2]'
points "leases go" under_load each_point fewer_leases one
points "leases come and go, at moments of chance" under_load chance chance_reload
points "a pod goes" under_load each_point old_pod one
lab_pod_add 1 2
within 5 pod_known
remember pod 1
points "a pod comes" under_load each_point new_pod pod
lab_pod_del 1 2
check "another port" eval "on_port 8999 && within 10 known_both && remember port 1"
points "the port changes, and all starts anew" each_point other_port port
check "the old port" on_port 8285
points "cleanup" each_point cleanup one
points "teardown on exit" each_point teardown_on_exit one
echo "# in all: $POINTS points"
