#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Namespaces are destroyed with agents, programs, maps and links in place, in which every other round
# tells the agent's next life about it by `weft cleanup`, as the last one always does, and the others
# leave it to find out. After each round nothing of the one before exists any more in the kernel:
# every program, map and link is looked for by its id, by which it was found before.
#   ROUNDS=20        100 is the long variant
# shellcheck source-path=SCRIPTDIR source=../net/lib.sh
. "$(dirname "$0")/../net/lib.sh"

ROUNDS=${ROUNDS:-20}

# objects: "kind id" of all that node 1 and node 2 hold in the kernel
objects() {
	local i pin
	for i in 1 2; do
		for pin in "$(pin_dir $i)"/links/*; do
			[ ! -e "$pin" ] || bpftool -j link show pinned "$pin" |
				jq -r '"link \(.id)", "prog \(.prog_id)"'
		done
		for pin in "$(pin_dir $i)"/maps-*/*; do
			[ ! -e "$pin" ] || bpftool -j map show pinned "$pin" | jq -r '"map \(.id)"'
		done
		weft_on $i status -j | jq -r '.hooks[] | "prog \(.prog_id)"'
	done | sort -u
}

# exist FILE: those of these objects that are still there
exist() {
	local kind id
	while read -r kind id; do
		! bpftool -j "$kind" show id "$id" > /dev/null 2>&1 || echo "$kind $id"
	done < "$1"
}

# there FILE TCX: all of them, and some of each kind; links are of no use to clsact
there() {
	local kind
	[ "$(grep -c ^prog "$1")" -ge 5 ] || return
	for kind in prog map ${2:+link}; do
		grep -q "^$kind " "$1" || { echo "no $kind"; return 1; }
	done
	exist "$1" | diff "$1" -
}

# gone FILE: the kernel frees them when no program can be running any more
gone() { [ -z "$(exist "$1")" ]; }

# destroyed: the namespaces as they are, agents and pods in them killed
destroyed() {
	local ns
	kill -KILL "$(agent_pid 1)" # the other one is told to stop
	for ns in $(lab_namespaces); do
		lab_ns_kill "$ns"
	done
	for ns in $(lab_namespaces); do
		ip netns del "$ns" || return
	done
}

cleaned() {
	local i
	for i in 1 2; do
		# The node is gone, so from a namespace that has nothing of it
		unshare --net "$WEFT" cleanup --state-dir "$(lab_state $i)" || return
		[ ! -e "$(pin_dir $i)" ] || { find "$(pin_dir $i)"; return 1; }
	done
}

# up FLAG…: like lab_up, but what an earlier life has left stays
up() {
	local i
	lab_options
	for i in 1 2; do lab_node_add $i; done
	lab_wires_add && lab_wire superpacket && lab_settle && lab_store "$(lab_dir)/store.json" &&
		lab_agents_start --datapath bpf "$@" && pings 1p1 "$(addr 2p1)"
}

# life N: one round, in which the one before must have ended
life() {
	local flags=() tcx
	tcx=$(ways_to_attach | grep tcx)
	case $(($1 % 4)) in
	1) flags=(--format vxlan) ;;
	2) flags=(--format ipip) ;;
	3) flags=(--attach clsact) tcx= ;;
	esac
	up "${flags[@]}" || return
	if [ -s "$WORK/objects" ]; then
		# Maps of the same layout are adopted
		objects > "$WORK/now" && comm -23 "$WORK/objects" "$WORK/now" > "$WORK/old"
		within 10 gone "$WORK/old" || { exist "$WORK/old"; return 1; }
	fi
	objects > "$WORK/objects"
	there "$WORK/objects" "$tcx" && destroyed || return
	[ $(($1 % 2)) = 0 ] || [ "$1" = "$ROUNDS" ] || return 0
	cleaned && within 10 gone "$WORK/objects" || { exist "$WORK/objects"; return 1; }
	: > "$WORK/objects"
}

lives() {
	local n
	for n in $(seq "$ROUNDS"); do
		life "$n" || { echo "round $n"; return 1; }
	done
	echo "$ROUNDS rounds"
}

lab_down
check "$ROUNDS times destroyed with everything attached: nothing is left of it" lives
