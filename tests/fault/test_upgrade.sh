#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Agents are replaced by those of a build whose maps are of a newer version and another layout, by
# others of the same version, and by the older ones again. The load is 10,000 numbered datagrams a
# second each way, of which none may be lost, and connections that idle.
# ROUNDS=20 upgrades, CRASHES=20 that are killed on their way.
# shellcheck source-path=SCRIPTDIR source=../net/lib.sh
. "$(dirname "$0")/../net/lib.sh"
# shellcheck source=../net/lives.sh
. "$(dirname "$0")/../net/lives.sh"

ROUNDS=${ROUNDS:-20}
CRASHES=${CRASHES:-20}
VERSION=$(sed -n 's/^#define WEFT_ABI_VERSION \([0-9]*\)$/\1/p' "$NET_ROOT/include/weft/abi.h")
NEXT=$((VERSION + 1))
NEW=$BUILD/next/weft     # of the next version
OTHER=$BUILD/other/weft  # of the same version, other instructions

build() {
	local make=(make --no-print-directory -C "$NET_ROOT" -j"$(nproc)")
	"${make[@]}" BUILD="$BUILD/next" ABI="$NEXT" "$NEW" &&
		"${make[@]}" BUILD="$BUILD/other" BPF_OPT=-O3 "$OTHER"
}

# by BUILD COMMAND…: with its program in place of the usual one
by() {
	local WEFT=$1
	shift
	"$@"
}

# versions NODE: of the maps that are pinned there
versions() {
	local dir
	for dir in "$(pin_dir "$1")"/maps-*; do
		echo "${dir##*-}"
	done | paste -sd ' '
}

# programs NODE: ids of those attached
programs() { weft_on "$1" status -j | jq '.hooks[].prog_id'; }

# maps_are_pinned NODE: every program has the pinned maps, and its own ones of `weft trace`
maps_are_pinned() {
	local pin id map pinned
	pinned=$(for pin in "$(pin_dir "$1")"/maps-*/*; do
		bpftool -j map show pinned "$pin" | jq .id
	done | paste -sd ,)
	for id in $(programs "$1"); do
		for map in $(bpftool -j prog show id "$id" | jq ".map_ids - [$pinned] | .[]"); do
			bpftool -j map show id "$map" | jq -e '.name | test("^traces$|bss$")' > /dev/null ||
				{ echo "program $id of node $1: map $map is not pinned"; return 1; }
		done
	done
}

# is_whole NODE VERSION: what an agent of that version is to leave
is_whole() {
	[ "$(versions "$1")" = "$2" ] || { echo "node $1 has maps of $(versions "$1")"; return 1; }
	maps_are_pinned "$1" && status_is "$1" ready true
}

# replaced NODES BUILD SIGNAL [FLAG…]: under load, which stays whole and fast, with the same links;
# what is counted, before and afterwards, makes all of it
replaced() {
	local nodes=$1 build=$2 sig=$3 i before
	local ASKS_FEW=1000 # while one hook's program has the one version's approvals, another's the other
	shift 3
	before=$(link_ids 1; link_ids 2)
	mark && idle_start && load_start || return
	sleep 0.5
	# shellcheck disable=SC2086 # a list of numbers
	for i in $nodes; do
		lab_agent_stop "$i" "$sig"
		by "$build" lab_agent_start "$i" --datapath bpf "$@" || return
	done
	sleep 0.5
	load_end && idle_alive || return
	flow_whole 1p1 2p1 && flow_whole 2p1 1p1 || return
	[ "$(link_ids 1; link_ids 2)" = "$before" ] || { echo "other links"; return 1; }
	load_fast
}

# upgraded NODES SIGNAL [FLAG…]
upgraded() {
	local nodes=$1 sig=$2 i
	shift 2
	replaced "$nodes" "$NEW" "$sig" "$@" || return
	# shellcheck disable=SC2086 # a list of numbers
	for i in $nodes; do
		is_whole "$i" "$NEXT" || return
	done
	fast_again
}

# downgrade_refused NODES: by the older program, which leaves all as it is
downgrade_refused() {
	local i
	load_start || return
	for i in $1; do
		lab_agent_stop "$i"
		refused_unchanged 3 "state of version $NEXT, this program knows $VERSION" "$i" -- \
			--datapath auto || return
		exits 3 weft_on "$i" flows || return
	done
	load_lossless
}

# started_anew NODES [FLAG…]: the older program removes what the newer one made, and starts
started_anew() {
	local i nodes=$1
	shift
	for i in $nodes; do
		cleaned "$i" && lab_agent_start "$i" --datapath bpf "$@" &&
			is_whole "$i" "$VERSION" || return
	done
	within 10 known
}

# round N [FLAG…]: each node alone, then both; ended as asked, then killed
round() {
	local n=$1 nodes sig=TERM
	shift
	nodes=$(case $((n % 3)) in 1) echo 1 ;; 2) echo 2 ;; 0) echo 1 2 ;; esac)
	[ $((n % 2)) = 0 ] || sig=KILL
	upgraded "$nodes" $sig "$@" && downgrade_refused "$nodes" && started_anew "$nodes" "$@"
}

# crash MS: an upgrade of node 1 is killed so long after its start. The older program goes on if
# nothing has been done yet, else it refuses and the newer one gets through.
crash() {
	local pid
	load_start && lab_agent_stop 1 || return
	nsenter --net="/run/netns/$(lab_node 1)" -- "$NEW" run --store "static:$(lab_dir)/store.json" \
		--iface wire0 --state-dir "$(lab_state 1)" --subnet-file "$(lab_subnet_env 1)" \
		--datapath bpf < /dev/null > "$WORK/crash" 2>&1 &
	pid=$!
	sleep "$(printf '0.%03d' "$1")"
	kill -s KILL $pid && wait $pid
	echo "killed after $1 ms, maps of $(versions 1): $(tail -n 1 "$WORK/crash")"
	if [ "$(versions 1)" = "$VERSION" ]; then
		lab_agent_start 1 --datapath bpf || return
		load_lossless && is_whole 1 "$VERSION" && fast_again
		return
	fi
	refused_unchanged 3 "state of version $NEXT" 1 || return
	by "$NEW" lab_agent_start 1 --datapath bpf || return
	load_lossless && is_whole 1 "$NEXT" && fast_again &&
		lab_agent_stop 1 && started_anew 1
}

# The port of the slow path is taken, which is found out when the new maps are there
failed_upgrade() {
	local rc pid
	lab_agent_stop 1
	nsenter --net="/run/netns/$(lab_node 1)" -- socat UDP-LISTEN:8285,bind=192.0.2.1 - \
		< /dev/null > /dev/null 2>&1 &
	pid=$!
	within 3 port_taken && load_start || return
	by "$NEW" refused_unchanged 1 "cannot receive" 1 -- --datapath bpf
	rc=$?
	kill $pid
	[ $rc = 0 ] && lab_agent_start 1 --datapath bpf && load_lossless && is_whole 1 "$VERSION"
}

port_taken() { at 1 ss -Hlun "sport = :8285" | grep -q .; }

# The link of a hook that only a newer version has
unknown_link() {
	mv "$(pin_dir 1)/links/bridge-"* "$(pin_dir 1)/links/future-7" && lab_agent_stop 1 && cleaned 1
}

tags() { for id in $(programs "$1"); do bpftool -j prog show id "$id" | jq .tag; done; }
approvals() { bpftool -j map show pinned "$(map_pin "$1" approvals)" | jq .id; }

# Other programs, the same approvals: not one datagram asks for leave again
same_version() {
	local ASKS_FEW=0 tags maps
	lab_agents_stop TERM && lab_agents_start --datapath bpf --approve none && known || return
	tags=$(tags 1)
	maps=$(approvals 1; approvals 2)
	load_start || return
	sleep 0.5 # The flow's own first packets ask
	mark || return
	for i in 1 2; do
		lab_agent_stop $i KILL
		by "$OTHER" lab_agent_start $i --datapath bpf --approve none || return
	done
	sleep 0.5
	load_lossless && all_fast 1 1000 1000 && all_fast 2 1000 1000 || return
	[ "$(tags 1)" != "$tags" ] || { echo "not another build"; return 1; }
	[ "$(approvals 1; approvals 2)" = "$maps" ] || { echo "other maps"; return 1; }
	is_whole 1 "$VERSION" && is_whole 2 "$VERSION"
}

# Format vxlan: what the uplink hook leaves to the kernel meets a program that drops what it does not
# know
vxlan_upgraded() {
	upgraded "1 2" TERM --format vxlan && ! stats_lines 1 | grep disabled &&
		! stats_lines 2 | grep disabled
}

check "two more builds" build || exit
check "agents get ready" eval 'pair bpf bpf && known'
for n in $(seq "$ROUNDS"); do
	check "round $n: upgraded, nothing is lost; downgrade exits 3; cleanup, start" round "$n"
done
for n in $(seq "$CRASHES"); do
	check "upgrade $n is killed on its way: one start goes on, nothing is lost" \
		crash $((n * 400 / CRASHES))
done
check "an upgrade that fails leaves the older version in place" failed_upgrade
check "another build of the same version keeps what is approved" same_version
check "cleanup removes a link that it does not know" unknown_link
check "clsact: agents get ready" eval 'lab_agent_stop 2; cleaned 2 &&
	lab_agents_start --datapath bpf --attach clsact && known'
for n in 1 2 3; do
	check "clsact, round $n" round "$n" --attach clsact
done
check "vxlan: agents get ready" eval 'lab_agents_stop TERM;
	lab_agents_start --datapath bpf --format vxlan && known'
check "vxlan: upgraded, no packet meets a program without a configuration" vxlan_upgraded
