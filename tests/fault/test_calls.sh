#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The k-th call that changes something fails, for each k and each error, and so do those that make
# maps and programs. The agent goes on and is whole, or lacks the pair that merges segments and says
# why; or it ends, says which error it was and of what, and leaves what was there before: nothing
# after a first start, all of it under an adopting one.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

# shellcheck disable=SC2206 # a list of words
ERRNOS=(${ERRNOS:-EPERM ENOMEM EBUSY E2BIG ENOSPC EINTR})
declare -A NUMBER=([EPERM]=1 [EINTR]=4 [E2BIG]=7 [ENOMEM]=12 [EBUSY]=16 [ENOSPC]=28)
declare -A TEXT=([EPERM]="Operation not permitted" [EINTR]="Interrupted system call"
	[E2BIG]="Argument list too long" [ENOMEM]="Cannot allocate memory"
	[EBUSY]="Device or resource busy" [ENOSPC]="No space left on device")
FLOW_S=3600 # 1,500 faults under one load

ready() {
	pair bpf bpf && known_both && remember one 1
}

# What a node is like without the pair
lean() {
	lab_agent_stop 1
	lab_agent_start 1 --datapath bpf --receive strip && known_both && remember lean 1 || return
	lab_agent_stop 1
	lab_agent_start 1 --datapath bpf && known_both && is_whole one 1
}

# An error line: what could not be done, and the error; of a map or program of ours, that it is one.
# libbpf has an error of its own for what it asks the kernel in order to know what it can.
said() {
	local what=.+ error=${TEXT[$1]} call object
	read -r _ call object <<< "$(line_at "$AT")"
	case $call in
	bpf.btf_load | bpf.info) error=.+ ;;
	bpf.map_create | bpf.prog_load)
		what="cannot load the BPF programs"
		[[ -n $object && $object != libbpf_* ]] || what=.+ error=.+
		;;
	esac
	grep -E "^weft: error: $what: $error" "$2" || { echo "no error line names $1"; return 1; }
}

# line_at N: of the log of calls; none if there were not so many
line_at() { grep "^$1 " "$CALLED"; }

# Whole, or lean with a word of it; a hook that failed is tried again after five seconds
goes_on() {
	local state=$STATE
	! grep "^weft: warn: no receive aggregation: " "$(lab_log 1)" || state=lean
	within 7 is_whole $state 1
}

# Nothing in the kernel, no file but the lock
nothing() {
	local path
	! ip -n "$(lab_node "$1")" -o link | grep flannel || return
	no_programs "$1" || return
	! at "$1" nft list tables | grep weft || return
	for path in "$(pin_dir "$1")" "$(lab_subnet_env "$1")"; do
		[ ! -e "$path" ] || { find "$path"; return 1; }
	done
}

# What was there goes on without an agent; the files may say less, never something else
as_before() { audit 1 | sort | diff "$WORK/whole.$1.sorted" -; }

# outcome ERROR BEFORE…: of a start that had a fault in it
outcome() {
	local error=$1
	shift
	ended_or 1 lab_agent_ready 1
	case $? in
	1) goes_on ;;
	0) [ "$ENDED" -gt 0 ] && [ "$ENDED" -lt 128 ] && said "$error" "$(lab_log 1)" && "$@" ;;
	*) echo "neither ready nor ended"; return 1 ;;
	esac
}

# Each of them: OPERATION ERROR VARIABLE=VALUE…

first_start() {
	lab_agent_stop 1 KILL
	weft_on 1 cleanup || return
	faulty_start 1 FAULT_DO="${NUMBER[$1]}" "${@:2}"
	outcome "$1" nothing 1
}

adopting_start() {
	lab_agent_stop 1
	faulty_start 1 FAULT_DO="${NUMBER[$1]}" "${@:2}"
	outcome "$1" as_before "$STATE"
}

# A running one: calls count from the change on
armed() {
	rm -f "$ARM"
	lab_agent_stop 1
	faulty_start 1 FAULT_DO="${NUMBER[$1]}" FAULT_ARM="$ARM" "${@:2}"
	within 10 lab_agent_ready 1 && touch "$ARM"
}

# It stays, and what failed is done in the end
more_leases() {
	edit '.Leases |= .[0:2]'
	armed "$@" || return
	edit "$LEASES"
	within 5 status_is 1 leases 5 && alive 1 && within 7 is_whole five 1
}

fewer_leases() {
	edit '.Leases |= .[0:2]'
	edit "$LEASES"
	armed "$@" || return
	edit '.Leases |= .[0:2]'
	within 5 status_is 1 leases 2 && alive 1 && within 7 is_whole one 1
}

# What is taken from the overlay device comes back, too
spoiled_device() {
	armed "$@" && at 1 ip addr flush dev flannel0 && at 1 ip link set flannel0 down || return
	within 7 device_whole && within 7 is_whole one 1
}

device_whole() {
	at 1 ip -4 -o addr show dev flannel0 up | grep -qF " 10.244.1.0/32 " &&
		at 1 ip route show 10.244.0.0/16 | grep -F "dev flannel0 proto static src 10.244.1.0"
}

# By one start without fault
recovers() {
	lab_agent_stop 1
	lab_agent_start 1 --datapath bpf && pings 1p1 10.244.2.2 && pings 2p1 10.244.1.2 &&
		is_whole "$STATE" 1
}

# each_call OPERATION STATE VARIABLE=VALUE…: STATE is what it leads to
each_call() {
	local operation=$1 error n calls bad=0
	STATE=$2
	sort "$WORK/whole.$STATE" > "$WORK/whole.$STATE.sorted"
	shift 2
	# Some of them are made again and again, as long as the agent runs
	"$operation" "${ERRNOS[0]}" "$@" || return
	calls=$(wc -l < "$CALLED")
	[ "$calls" -gt 0 ] || { echo "no call"; return 1; }
	recovers || return
	for error in "${ERRNOS[@]}"; do
		for ((n = 1; n <= calls; n++)); do
			AT=$n
			if ! "$operation" "$error" FAULT_AT=$n "$@" > "$WORK/point" 2>&1; then
				cp "$(lab_log 1)" "$WORK/point.log"
				echo "call $n, $(call_at $n), $error:"
				cat "$WORK/point" "$WORK/point.log"
				bad=$((bad + 1))
			fi
			! line_at $n > "$WORK/line" || CALLS_FAILED=$((CALLS_FAILED + 1))
			recovers > "$WORK/point" 2>&1 || {
				echo "no recovery from call $n, $(call_at $n), $error:"
				cat "$WORK/point" "$(lab_log 1)"
				return 1
			}
			[ $bad -lt "${MOST:-5}" ] || return
		done
	done
	echo "$CALLS_FAILED of $((calls * ${#ERRNOS[@]})) calls were there to fail"
	[ $bad = 0 ] && [ $CALLS_FAILED -gt 0 ]
}

# calls NAME COMMAND…
calls() {
	local name=$1
	CALLS_FAILED=0
	shift
	check "$name" "$@"
	echo "# $name: $CALLS_FAILED calls failed"
}

check "two nodes get ready" ready
check "and without the pair" lean
calls "first start, each lasting call" each_call first_start one FAULT_LASTING=1
for call in bpf.map_create bpf.prog_load bpf.btf_load map.mmap; do
	calls "first start, each $call" each_call first_start one FAULT_CALL=$call
done
calls "adopting start, each lasting call" \
	under_load each_call adopting_start one FAULT_LASTING=1
for call in bpf.obj_get bpf.info bpf.prog_load; do
	calls "adopting start, each $call" \
		under_load each_call adopting_start one FAULT_CALL=$call
done
edit "$LEASES"
within 3 status_is 1 leases 5
sleep 0.5
remember five 1
calls "leases come" under_load each_call more_leases five FAULT_LASTING=1
edit '.Leases |= .[0:2]'
calls "leases go" under_load each_call fewer_leases one FAULT_LASTING=1
calls "the overlay device is spoiled" each_call spoiled_device one FAULT_LASTING=1
