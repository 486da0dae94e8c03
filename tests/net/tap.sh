# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# For tests in a lab: sourced after LAB is set. A test is a function or command; one TAP line each.
# shellcheck source-path=SCRIPTDIR source=../../tools/lab.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/lab.sh"

tap_failed=0
tap_log=$(mktemp)

# tap NAME COMMAND…: passes when the command does; its output is shown when it does not
tap() {
	local name=$1
	shift
	if "$@" >"$tap_log" 2>&1 </dev/null; then
		echo "ok - $name"
	else
		echo "not ok - $name"
		sed 's/^/# /' "$tap_log" | tail -n 25
		tap_failed=1
	fi
}

tap_end() {
	rm -f "$tap_log"
	lab_down
	exit "$tap_failed"
}

# counter NODE HOOK VERDICT REASON: packets counted so far; "." for REASON means all of them
counter() {
	weft_on "$1" stats -j | jq --arg h "$2" --arg v "$3" --arg r "$4" \
		'[.counters[] | select(.hook == $h and .verdict == $v and ($r == "." or .reason == $r))
		  | .packets] | add // 0'
}

# until_true SECONDS COMMAND…: waits for a condition; fails when it does not come true in time
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}
