#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Pins go, one or all, by hand or with the file system that they are on, while the agent runs and
# while it does not, with programs of others in front of ours and behind them. Then there is one
# program of ours on each hook again, with the pinned maps, and those of others still run.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=../net/lives.sh
. "$(dirname "$0")/../net/lives.sh"

RATE=1000 # datagrams a second and way, where the slow path has to do

ready() {
	pair bpf bpf && known_both && remember one 1
}

# What may be taken away: each names what it leaves without a pin

link_of_port() { rm "$(pin_dir 1)"/links/port-*; }
link_of_uplink() { rm "$(pin_dir 1)"/links/uplink-*; }
map_state() { rm "$(pin_dir 1)"/maps*/state; }
map_routes() { rm "$(pin_dir 1)"/maps*/routes; }
all_links() { rm "$(pin_dir 1)"/links/*; }
all_maps() { rm "$(pin_dir 1)"/maps*/*; }
the_directory() { rm -r "$(pin_dir 1)"; }

# Somebody's other map under the name of ours
another_map() {
	local pin
	pin=$(echo "$(pin_dir 1)"/maps*/members)
	rm "$pin" && bpftool map create "$pin" type hash key 4 value 4 entries 65536 name other
}

# The same map but for its name, as a kernel leaves it that did not take names
nameless() {
	local pin shape
	pin=$(echo "$(pin_dir 1)"/maps*/members)
	read -r -a shape <<< "$(bpftool -j map show pinned "$pin" |
		jq -r '"type \(.type) key \(.bytes_key) value \(.bytes_value) entries \(.max_entries) flags \(.flags)"')"
	rm "$pin" && bpftool map create "$pin" "${shape[@]}" name other
}

# mended WHAT: by the agent itself; packets take the slow path meanwhile
mended() {
	flow_start 1p1 2p1 $RATE && flow_start 2p1 1p1 $RATE && "$1" || return
	within 8 status_is 1 ready true && within 8 looks_whole || { is_whole one 1; return 1; }
	flow_end 1p1 2p1 $RATE && flow_end 2p1 1p1 $RATE || return
	echo "lost: $(flow_figure 1p1 2p1 lost) and $(flow_figure 2p1 1p1 lost)"
	[ "$(flow_figure 1p1 2p1 gap)" -lt 1000 ] && [ "$(flow_figure 2p1 1p1 gap)" -lt 1000 ]
}

looks_whole() { sort "$WORK/whole.one" > "$WORK/whole.one.sorted" && looks_like one 1; }

# told PIN FAULT: readiness tells of it as long as there is a directory in the pin's place
told() {
	local pin pid
	# shellcheck disable=SC2086
	pin=$(echo "$(pin_dir 1)"/$1) # a pattern
	pid=$(agent_pid 1)
	kill -s STOP "$pid" && rm "$pin" && mkdir "$pin" && kill -s CONT "$pid" &&
		within 3 tells 1 "$2" || return
	sleep 2
	tells 1 "$2" && rmdir "$pin" && within 8 is_whole one 1
}

tells() {
	weft_on "$1" status -j |
		jq -e --arg fault "$2" '.ready == false and any(.not_ready[]; . == $fault)'
}

# replaced WHAT: the agent dies, it goes, another agent comes
replaced() {
	lab_agent_stop 1 KILL
	"$1"
	lab_agent_start 1 --datapath bpf && pings 1p1 10.244.2.2 && is_whole one 1
}

# A mount namespace of our own, whose first process we are, with a bpffs of our own

# on_bpffs COMMAND…: functions of this script, with a bpffs that nobody else sees
on_bpffs() { in_mounts "own_bpffs && $*"; }

own_bpffs() {
	mount -t bpf bpf /sys/fs/bpf -o mode=0700 && mkdir -p "$WORK/held"
}

# Somebody else has it still, so the links live; here it is out of sight
out_of_sight() {
	mount --bind /sys/fs/bpf "$WORK/held" && umount -l /sys/fs/bpf &&
		[ -z "$(ls -A /sys/fs/bpf)" ]
}

start_here() {
	lab_agent_start 1 --datapath bpf && pings 1p1 10.244.2.2 && fast_again
}

# The agent may not mount one, but it has what was pinned
unmounted_running() {
	start_here && load_start && umount -l /sys/fs/bpf &&
		within 3 tells 1 "map state is not pinned" && fast_flow_alone || return
	mount -t bpf bpf /sys/fs/bpf -o mode=0700
	within 10 is_whole one 1 || { is_whole one 1; return 1; }
	load_lossless && fast_again
}

# Nothing was slow for a while
fast_flow_alone() {
	mark 1 && sleep 0.5 && gains 1 | tee "$WORK/gains" |
		awk '$1 != "port" || $3 == "not_ipv4" { next } $2 == "fast" { n = $4; next } { bad = 1 }
			END { exit bad || n < 1000 }' || { cat "$WORK/gains"; return 1; }
}

unmounted_dead() {
	start_here && load_start || return
	lab_agent_stop 1 KILL
	out_of_sight && sleep 0.3 && lab_agent_start 1 --datapath bpf || return
	within 5 is_whole one 1 || { is_whole one 1; return 1; }
	load_lossless && fast_again
}

# An empty one over it, as an init system may mount it late
mounted_over() {
	start_here && load_start || return
	lab_agent_stop 1 KILL
	mount -t bpf bpf /sys/fs/bpf -o mode=0700 && lab_agent_start 1 --datapath bpf || return
	within 5 is_whole one 1 || { is_whole one 1; return 1; }
	load_lossless && lab_agent_stop 1 && cleans_up
}

# Links that nobody can see any more are cleaned up, too
unmounted_cleanup() {
	start_here && lab_agent_stop 1 && out_of_sight && cleans_up
}

cleans_up() { has_programs 1 && weft_on 1 cleanup && no_programs 1; }

# Nor do they go on with what no agent keeps any more
unmounted_tun() {
	start_here && lab_agent_stop 1 && out_of_sight && has_programs 1 &&
		lab_agent_start 1 --datapath tun && no_programs 1 && pings 1p1 10.244.2.2 &&
		lab_agent_stop 1
}

# Filters need no pin
filters_cleanup() {
	lab_agent_start 1 --datapath bpf --attach clsact && lab_agent_stop 1 &&
		rm -r "$(pin_dir 1)" && cleans_up
}

# The bpffs of process 1, from a mount namespace that hides it: it takes privileges to get there
hidden() {
	cat > "$WORK/hidden" <<-END && chmod +x "$WORK/hidden" && WEFT=$WORK/hidden
		#!/bin/sh
		exec unshare --mount sh -c 'mount -t tmpfs none /sys/fs/bpf && exec "\$@"' - "$WEFT" "\$@"
	END
}

hidden_tun() {
	local WEFT=$WEFT
	hidden && lab_agent_start 1 --datapath bpf && lab_agent_stop 1 && [ -d "$(pin_dir 1)" ] &&
		has_programs 1 && lab_agent_start 1 --datapath tun && no_programs 1 &&
		[ ! -e "$(pin_dir 1)" ] && lab_agent_stop 1
}

# As init/weft.service has it: of a bpffs our directory alone
in_unit() {
	local dir
	dir=$(pin_dir 1)
	mkdir "$WORK/bpf" && mount -t bpf bpf "$WORK/bpf" -o mode=0700 && mkdir -m 700 "$WORK/bpf/weft" &&
		mount -t tmpfs none /sys/fs/bpf && mkdir "$dir" && mount --bind "$WORK/bpf/weft" "$dir" &&
		start_here && all_maps && all_links || return
	within 10 is_whole one 1 || { is_whole one 1; return 1; }
	fast_again
}

# A map and a hook that cannot be mended keep no other from it
amid_broken() {
	local state tun port pid
	state=$(map_pin 1 state) tun=$(echo "$(pin_dir 1)"/links/enter-*)
	port=$(echo "$(pin_dir 1)"/links/port-*) pid=$(agent_pid 1)
	kill -s STOP "$pid" && rm "$state" "$tun" "$port" "$(map_pin 1 members)" &&
		mkdir "$state" "$tun" && kill -s CONT "$pid" || return
	within 8 [ -f "$port" ] && within 8 [ -f "$(dirname "$state")/members" ] &&
		tells 1 "map state is not pinned" && rmdir "$state" "$tun" && within 8 is_whole one 1
}

# Programs of others

# others_see N: each of those in front of ours counts so many packets more
others_see() {
	local name before after
	for name in xdp front_wire front_port; do
		before=$(count_of $name) || return
		pings 1p1 10.244.2.2 "$1" || return
		after=$(count_of $name) || return
		echo "$name: $before, then $after"
		[ $((after - before)) -ge "$1" ] || return
	done
}

amid_others() {
	lab_agent_stop 1 && weft_on 1 cleanup && foreign xdp xdp wire0 &&
		foreign front_wire link wire0 ingress &&
		foreign front_port link veth1 ingress && lab_agent_start 1 --datapath bpf &&
		foreign back_wire link wire0 ingress && foreign back_port link veth1 ingress &&
		pings 1p1 10.244.2.2 && is_whole one 1 && others_see 10
}

still_amid_others() { "$@" && others_see 10; }

check "two nodes get ready" ready
for what in link_of_port link_of_uplink map_state map_routes all_links all_maps the_directory; do
	check "$what goes: the agent puts it back" mended $what
	check "$what goes while no agent runs: one start puts it back" replaced $what
done
check "somebody's map is in the place of ours: the agent puts its own back" mended another_map
check "one with another name is there while no agent runs: one start puts its own back" \
	replaced nameless
check "readiness tells of a link" told "links/port-*" "hook port on veth1 does not hold our program"
check "readiness tells of a map" told "maps*/state" "map state is not pinned"
check "what cannot be mended keeps nothing else from it" amid_broken

check "programs of others in front and behind" amid_others
check "amid others: all links go" still_amid_others mended all_links
check "amid others: the directory goes while no agent runs" \
	still_amid_others replaced the_directory

lab_agent_stop 1
check "the node is cleaned up" weft_on 1 cleanup
check "bpffs is unmounted, the agent runs: its links go on, and are pinned when there is one again" \
	on_bpffs unmounted_running
check "cleaned up" eval 'lab_agent_stop 1 KILL; weft_on 1 cleanup && no_programs 1'
check "bpffs is unmounted while no agent runs: the same" on_bpffs unmounted_dead
check "cleaned up again" eval 'lab_agent_stop 1 KILL; weft_on 1 cleanup && no_programs 1'
check "another bpffs comes over it: the same, and cleanup ends them" on_bpffs mounted_over
check "bpffs is unmounted: cleanup finds the links" on_bpffs unmounted_cleanup
check "cleaned up once more" eval 'lab_agent_stop 1 KILL; weft_on 1 cleanup && no_programs 1'
check "bpffs is unmounted: datapath tun ends the programs" on_bpffs unmounted_tun
check "pins are removed by hand: cleanup finds the filters" filters_cleanup
check "pins are process 1's, out of sight: datapath tun ends the programs, and removes them" \
	on_bpffs hidden_tun
check "of a bpffs only the directory is in sight: all pins go: the agent puts them back" \
	on_bpffs in_unit
