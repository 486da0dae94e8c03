#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The control socket under clients that stall, flood it and talk nonsense, with 3,000 routes to ask
# for: another client is always served, and the agent forwards, does not grow and does not complain.
# shellcheck source-path=SCRIPTDIR source=../net/lib.sh
. "$(dirname "$0")/../net/lib.sh"

STALLED=64
RANDOM_REQUESTS=${RANDOM_REQUESTS:-100000}
PROMPT_MS=100 # the median of a polite client's answers
LATEST_MS=2000 # a machine with other work may be late; a loop that waits for a client is by 5 s
LEASES=3000
SOCKET=$(lab_state 1)/ctl.sock
declare -a RUDE

undo() { [ ${#RUDE[@]} = 0 ] || kill "${RUDE[@]}"; }

rude() { timeout $((300 * SLOWNESS)) "$NETBIN/rude" "$SOCKET" "$@"; }

many_leases() {
	jq --argjson n $LEASES '.Network = "10.0.0.0/8" | .Leases += [range($n) |
		{Subnet: "10.\(1 + . / 256 | floor).\(. % 256).0/24",
		PublicIP: "198.18.\(. / 256 | floor).\(. % 256)"}]' \
		"$(lab_dir)/store.json" > "$WORK/store" && mv "$WORK/store" "$(lab_dir)/store.json"
}

ready() {
	lab_up && many_leases && lab_agents_start --datapath bpf && pings 1p1 "$(addr 2p1)"
}

# polite: nobody is refused, half of the answers come at once and none waits for somebody's time-out
polite() {
	rude ask 100 | tee "$WORK/asked" || return
	awk -v slow=$SLOWNESS '{ exit !($6 < '$PROMPT_MS' * slow && $8 < '$LATEST_MS' * slow) }' \
		"$WORK/asked"
}

stall_start() {
	: > "$WORK/stall"
	"$NETBIN/rude" "$SOCKET" stall $STALLED < /dev/null > "$WORK/stall" 2>&1 &
	RUDE+=($!)
	within 20 grep -q stalling "$WORK/stall"
}

# While some stall, others come again and again
stalled() {
	local rc=0
	stall_start && polite && stall_start && polite || rc=1
	kill "${RUDE[@]}"
	RUDE=()
	return $rc
}

flooded() {
	local rc=0
	rude random "$RANDOM_REQUESTS" 8285 > "$WORK/random" 2>&1 &
	RUDE=($!)
	polite && kill -0 "${RUDE[@]}" || rc=1 # the flood has outlasted it
	wait "${RUDE[@]}" || rc=1
	RUDE=()
	cat "$WORK/random"
	grep -qx "sent $RANDOM_REQUESTS" "$WORK/random" && return $rc
}

# grown: resident memory in kB and descriptors
held() {
	awk '/^VmRSS:/ { print $2 }' "/proc/$(agent_pid 1)/status"
	find "/proc/$(agent_pid 1)/fd" -type l | wc -l
}

fds_are() { [ "$(held | tail -n 1)" = "$1" ]; }

not_grown() {
	local now
	mapfile -t now < <(held)
	echo "memory $1, then ${now[0]} kB"
	[ $((now[0] - $1)) -lt 1024 ] && within 10 fds_are "$2"
}

same_agent() {
	[ "$(status_of 1 pid)" = "$PID" ] && ! grep -E '^weft: error|Sanitizer' "$(lab_log 1)" &&
		[ "$(wc -l < "$(lab_log 1)")" -le $((LOG_LINES + 12)) ]
}

check "two nodes, $LEASES leases" ready
PID=$(status_of 1 pid)
check "a polite client, alone" polite
check "$STALLED clients stall, and as many more: another is served" stalled
check "all is said to it: a large answer" eval "[ \"\$(weft_on 1 routes -j | jq length)\" -gt $LEASES ]"
check "warm: random requests" rude random 2000 1
mapfile -t HELD < <(held)
LOG_LINES=$(wc -l < "$(lab_log 1)")
check "$RANDOM_REQUESTS random requests: another is served" flooded
check "$STALLED clients stall again" stalled
check "memory within 1 MB, descriptors as before" not_grown "${HELD[@]}"
check "the same agent, which did not complain" same_agent
check "it forwards" pings 1p1 "$(addr 2p1)" 5
