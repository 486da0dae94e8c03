# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# For the tests of faults. Sourced first; what it adds to net/lib.sh: agents with preload_calls.c in
# them, and the question whether a node is whole.
# shellcheck source-path=SCRIPTDIR source=../net/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../net/lib.sh"

CALLS=$FAULTBIN/preload_calls.so
STORE=$(lab_dir)/store.json
CALLED=$WORK/called # what the last agent with a fault in it called
export ARM=$WORK/arm # calls count from the moment that it is there, of an agent started with it

# faulty_start NODE VARIABLE=VALUE… [-- FLAG…]: in the background; VARIABLE as in preload_calls.c
faulty_start() {
	local i=$1 fault=(LD_PRELOAD="$CALLS" FAULT_LOG="$CALLED")
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		fault+=("$1")
		shift
	done
	shift $(($# > 0))
	rm -f "$CALLED" "$(lab_log "$i")"
	nsenter --net="/run/netns/$(lab_node "$i")" -- env "${fault[@]}" "$WEFT" run \
		--store "static:$STORE" --iface wire0 --bridge cni0 --tun flannel0 \
		--state-dir "$(lab_state "$i")" --subnet-file "$(lab_subnet_env "$i")" \
		--datapath bpf "$@" < /dev/null > "$(lab_log "$i")" 2>&1 &
	echo $! > "$(lab_dir)/n$i.pid"
}

# edit JQ-FILTER: of the store
edit() { jq "$1" "$STORE" > "$STORE.next" && mv "$STORE.next" "$STORE"; }

# Three more than those of the nodes
# shellcheck disable=SC2034 # for those who source this
LEASES='.Leases += [{"Subnet": "10.244.9.0/24", "PublicIP": "192.0.2.9"},
	{"Subnet": "10.244.10.0/26", "PublicIP": "192.0.2.10"},
	{"Subnet": "10.244.10.64/26", "PublicIP": "192.0.2.11"}]'

# Each node knows its first pod
known_both() {
	pings 1p1 10.244.2.2 && within 2 endpoint_known 1 10.244.1.2 &&
		within 2 endpoint_known 2 10.244.2.2
}

alive() { kill -0 "$(agent_pid "$1")" 2> /dev/null; }

# ended NODE [SECONDS]: waits for that, returns its exit status; 255: it has not
ended() {
	local i=$1 pid end=$((${EPOCHREALTIME/./} + ${2:-30} * SLOWNESS * 1000000))
	pid=$(agent_pid "$i")
	while kill -0 "$pid" 2> /dev/null; do
		[ "${EPOCHREALTIME/./}" -lt $end ] || return 255
		sleep 0.02
	done
	rm -f "$(lab_dir)/n$i.pid"
	wait "$pid" 2> /dev/null
}

# ended_or NODE COMMAND…: waits until the agent has ended (status 0; its own in ENDED) or the command
# comes true (1)
ended_or() {
	local i=$1 end=$((${EPOCHREALTIME/./} + 30 * SLOWNESS * 1000000))
	shift
	while alive "$i"; do
		"$@" > /dev/null 2>&1 && return 1
		[ "${EPOCHREALTIME/./}" -lt $end ] || return 2
		sleep 0.02
	done
	ended "$i"
	# shellcheck disable=SC2034 # for those who source this
	ENDED=$?
	return 0
}

# lasting: how many calls of the last agent changed something that outlives it
lasting() { grep -c ' lasting$' "$CALLED"; }

# call_at N: the name of the N-th call of the last agent
call_at() { awk -v n="$1" '$1 == n { print $2 }' "$CALLED" | tail -n 1; }

# files NODE: of the agent
files() { find "$(lab_state "$1")" "$(lab_subnet_env "$1")"* 2> /dev/null | sort; }

# remember NAME NODE: what a whole node looks like
remember() { audit "$2" > "$WORK/whole.$1" && files "$2" > "$WORK/files.$1"; }

looks_like() {
	audit "$2" | sort | diff "$WORK/whole.$1.sorted" - && files "$2" | diff "$WORK/files.$1" -
}

# is_whole NAME NODE: ready, no hook without its program or with two, pins and maps of one state, and
# that the one remembered; nothing left over
is_whole() {
	sort "$WORK/whole.$1" > "$WORK/whole.$1.sorted"
	status_is "$2" ready true || { echo "node $2 is not ready"; weft_on "$2" status; return 1; }
	within 3 looks_like "$1" "$2" || { looks_like "$1" "$2"; return 1; }
}

RATE=1000 # datagrams a second and way, while something goes on

# under_load COMMAND…: a flow each way loses nothing
under_load() {
	local rc=0
	flow_start 1p1 2p1 $RATE && flow_start 2p1 1p1 $RATE || return
	"$@" || rc=1
	flow_end 1p1 2p1 $RATE || rc=1
	flow_end 2p1 1p1 $RATE || rc=1
	flow_whole 1p1 2p1 && flow_whole 2p1 1p1 && return $rc
}
