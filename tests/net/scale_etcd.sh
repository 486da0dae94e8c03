#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A node among 10,000: what its agent needs to know them all, and to follow their changes. The other
# nodes are keys in a real etcd. LEASES, RATE (changes a second) and SECONDS_LONG change the size.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=etcd.sh
. "$NET_ROOT/tests/net/etcd.sh"

LEASES=${LEASES:-10000}
RATE=${RATE:-100}
SECONDS_LONG=${SECONDS_LONG:-30}
REGISTRY=$BUILD/tools/registry
FIRST="10.1.0.0 172.16.0.1" # subnet and owner of the first lease
NETWORK='{"Network":"10.0.0.0/8","SubnetLen":24,"SubnetMin":"10.200.0.0"}'

simulate() { at sw "$REGISTRY" "$ETCD_URL" $ETCD_PREFIX "$@"; }
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
memory() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$(agent_pid 1)/status"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$(agent_pid 1)/stat"; }
n_routes() { weft_on 1 routes -j | jq length; }

# The owners are far away, behind one router
underlay() { ip -n "$LAB-sw" addr add 192.0.2.254/24 dev br0 && ip -n "$LAB-n1" route add default via 192.0.2.254; }

# in_maps: of the kernel, which is what packets meet
in_maps() {
	bpftool -j map dump pinned "$(map_pin 1 routes)" | jq '[.[] | select(.formatted.value != 0)] | length'
}

first_set() {
	local start
	start=$(now_ms)
	member 1 && [ "$(n_routes)" = $((LEASES + 1)) ] || return
	FULL_MS=$(($(now_ms) - start))
	echo "$FULL_MS ms from the start of the agent"
	[ "$FULL_MS" -le 4000 ]
}

small() { echo "RSS $(memory VmRSS) kB, at most $(memory VmHWM) kB"; [ "$(memory VmHWM)" -lt 65536 ]; }

churns() {
	local before
	before=$(ticks)
	# shellcheck disable=SC2086
	simulate churn "$LEASES" $FIRST "$RATE" "$SECONDS_LONG" > "$WORK/changes" || return
	CPU=$((($(ticks) - before) * 100 / (SECONDS_LONG * 100)))
	echo "$(wc -l < "$WORK/changes") changes, $CPU % of a core"
	[ "$(wc -l < "$WORK/changes")" = $((RATE * SECONDS_LONG)) ] && [ $CPU -lt 20 ]
}

# A cell of the kernel's table of routes: "MS VALUE" whenever it changes
watch_cell() {
	local value last=
	while [ -e "$WORK/watching" ]; do
		value=$(bpftool -j map lookup pinned "$(map_pin 1 routes)" key 0x00 0x64 0x00 0x00 | jq -c .value)
		[ "$value" = "$last" ] || echo "$(now_ms) $value"
		last=$value
	done
}

# One more node changes its owner twice a second, beside the others' changes: of each four changes of
# the simulator's the last two are that.
delays() {
	touch "$WORK/watching"
	simulate fill 1 10.100.0.0 172.20.0.1 && within 2 eval '[ -n "$(routes_to 1 10.100.0.0/24)" ]' || return
	watch_cell > "$WORK/cell" &
	# shellcheck disable=SC2086
	simulate churn "$LEASES" $FIRST "$RATE" 17 > /dev/null &
	sleep 0.5
	simulate churn 1 10.100.0.0 172.20.0.1 4 15 > "$WORK/changes"
	sleep 1
	rm "$WORK/watching"
	wait %?watch_cell %?churn
	# The first line of the cell is how it was; a removal that comes back in time shows as well.
	awk 'FNR == NR { if (FNR > 1) seen[++n] = $1; next }
		FNR % 4 == 3 || FNR % 4 == 0 { while (at <= n && seen[at] < $1) at++
			if (at <= n) print seen[at] - $1 }' at=1 "$WORK/cell" "$WORK/changes" | sort -n > "$WORK/delays"
	awk '{ d[NR] = $1 } END { print "median", d[int((NR + 1) / 2)], "ms, most", d[NR], "ms of", NR
		exit !(NR > 20 && d[int((NR + 1) / 2)] < 200) }' "$WORK/delays"
}

same_as_etcd() {
	diff <(registry | awk '{ sub(/-/, "/", $1); split($2, v, "\""); print $1, v[4] }' | sort) <(routes_of 1)
}

check "scale: a lab" eval "etcd_lab 3 && underlay && simulate config '$NETWORK'"
# shellcheck disable=SC2086
check "scale: $LEASES leases" simulate fill "$LEASES" $FIRST
check "scale: the agent knows them all" first_set && sed 's/^/#   /' "$WORK/check"
check "scale: below 64 MB" small && sed 's/^/#   /' "$WORK/check"
check "scale: $RATE changes a second: below a fifth of a core" churns
sed 's/^/#   /' "$WORK/check"
check "scale: nothing is missed" within 3 same_as_etcd
check "scale: changes show within 200 ms" delays
sed 's/^/#   /' "$WORK/check"
check "scale: still below 64 MB" small && sed 's/^/#   /' "$WORK/check"
check "scale: the log is quiet" [ "$(wc -l < "$(lab_log 1)")" -lt 30 ]
