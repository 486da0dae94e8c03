#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Agents are killed, replaced, doubled, stopped and cleaned up, change their tier and identity, and
# are refused what they may not have. The load is 10,000 numbered datagrams a second each way, of
# which none may be lost, and connections that idle.
# ROUNDS=20 DEAD=30 (seconds without an agent) is the long variant.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=lives.sh
. "$(dirname "$0")/lives.sh"

ROUNDS=${ROUNDS:-3}
DEAD=${DEAD:-1}
STORE=$(lab_dir)/store.json

# Killed, and replaced

# victims ROUND: each node's agent alone, then both
victims() {
	case $(($1 % 3)) in
	1) echo 1 ;;
	2) echo 2 ;;
	0) echo 1 2 ;;
	esac
}

# kill_and_replace NODES [FLAG…]: nothing is lost or leaves the fast path, the same links hold new
# programs
kill_and_replace() {
	local nodes=$1 i before
	shift
	before=$(link_ids 1; link_ids 2)
	mark && idle_start && load_start || return
	sleep 0.5
	# shellcheck disable=SC2086 # a list of numbers
	for i in $nodes; do
		lab_agent_stop "$i" KILL
	done
	sleep "$DEAD"
	for i in $nodes; do
		lab_agent_start "$i" --datapath bpf "$@" || return
	done
	sleep 0.5
	load_end && idle_alive || return
	flow_whole 1p1 2p1 && flow_whole 2p1 1p1 || return
	[ "$(link_ids 1; link_ids 2)" = "$before" ] || { echo "other links"; return 1; }
	load_fast
}

stopped_still_forwards() {
	load_start || return
	sleep 0.5
	lab_agents_stop TERM || return
	sleep 1
	load_lossless
}

# Refused

second_refused() {
	local out rc
	out=$(timeout 10 nsenter --net="/run/netns/$(lab_node 1)" "$WEFT" run \
		--store "static:$STORE" --iface wire0 --state-dir "$(lab_state 1)" 2>&1)
	rc=$?
	echo "$rc $out"
	[ $rc = 1 ] && [[ $out == *"another agent is running, pid $(agent_pid 1)"* ]]
}

newer_maps() { mkdir "$(pin_dir 1)/maps-99"; }

spoil_layout() {
	local pin
	pin=$(map_pin 1 endpoints)
	rm "$pin" && bpftool map create "$pin" type array key 4 value 8 entries 1 name endpoints
}

# incompatible SPOIL MESSAGE: refused with 3 while the old programs forward; cleanup ends it
incompatible() {
	lab_agent_stop 1 && load_start || return
	"$1" || return
	refused_unchanged 3 "$2" 1 -- --datapath bpf || return
	refused_unchanged 3 "$2" 1 -- --datapath auto || return
	load_lossless
}

recovers() {
	cleaned 1 && lab_agent_start 1 --datapath bpf && fast_again
}

# Root's powers but for these: BPF needs one of them
WITHOUT=-bpf,-sys_admin,-perfmon
NO_BPF=(setpriv --bounding-set "$WITHOUT" --inh-caps "$WITHOUT")
POWERLESS=(setpriv --bounding-set -all --inh-caps -all)

# Cleaned up

teardown_on_exit() {
	lab_agent_start 1 --datapath bpf --teardown-on-exit || return
	lab_agent_stop 1 && gone 1
}

# Tiers

hooks_of() { weft_on "$1" status -j | jq -r '.hooks[] | "\(.hook) \(.ifname) \(.attach)"' | sort; }

hooks_are() { [ "$(shown hooks_of "$1")" = "$2" ]; }

bpf_hooks() {
	local receive=(aggregate flannel0-rx)
	linux_since 5.13 || receive=()
	! kernel_has udp || receive=(vtep flannel0-fou)
	printf '%s %s '"$1"'\n' "${receive[@]}" bridge cni0 deliver veth1 enter flannel0 \
		port veth1 tun flannel0 uplink wire0 | sort
}

# The slow path is there before the fast one goes
becomes_tun() {
	load_start || return
	lab_agent_stop 1 && lab_agent_start 1 --datapath tun || return
	sleep 0.5
	load_end && changed_unseen && status_is 1 datapath tun && hooks_are 1 ""
}

# The kernel stops a device for a moment to remove clsact from it
changed_unseen() {
	if linux_since 6.6; then
		flow_whole 1p1 2p1 && flow_whole 2p1 1p1
	else
		[ "$(flow_figure 1p1 2p1 gap)" -lt 300 ] && [ "$(flow_figure 2p1 1p1 gap)" -lt 300 ]
	fi
}

nothing_of_bpf() {
	[ ! -e "$(pin_dir 1)" ] && ! ip -n "$(lab_node 1)" link show flannel0-tx &&
		at 1 nft list tables | grep -q "bridge weft-flannel0"
}

becomes_bpf() {
	lab_agent_stop 1 && lab_agent_start 1 --datapath bpf || return
	status_is 1 datapath bpf && hooks_are 1 "$(bpf_hooks "$(ways_to_attach | head -n 1)")" &&
		! at 1 nft list tables | grep "bridge weft-flannel0"
}

# attach_changes HOW LINKS: the kernel stops a device for a moment to add or remove clsact
attach_changes() {
	local how=$1 links=$2 i
	load_start && lab_agents_stop TERM &&
		lab_agents_start --datapath bpf --attach "$how" && load_end || return
	[ "$(flow_figure 1p1 2p1 gap)" -lt 300 ] && [ "$(flow_figure 2p1 1p1 gap)" -lt 300 ] ||
		return
	for i in 1 2; do
		hooks_are $i "$(bpf_hooks "$how")" && [ "$(link_ids $i | wc -l)" = "$links" ] ||
			return
		[ "$(clsacts $i)" = $((links ? 0 : 5)) ] || return
	done
	fast_again
}

clsacts() { at "$1" tc qdisc show | grep -c clsact; }

# The overlay device, the maps and the routes are there by then
port_taken() {
	local pid rc=0
	weft_on 1 cleanup || return
	nsenter --net="/run/netns/$(lab_node 1)" socat -u UDP-RECV:8285 OPEN:/dev/null &
	pid=$!
	within 2 eval 'at 1 ss -Hlun "sport = :8285" | grep -q .' || return
	refused_unchanged 1 "cannot receive format udp" 1 -- --datapath bpf && gone 1 || rc=1
	kill $pid
	return $rc
}

auto_takes_tun() {
	local rc
	nsenter --net="/run/netns/$(lab_node 1)" "${NO_BPF[@]}" "$WEFT" run \
		--store "static:$STORE" --iface wire0 --state-dir "$(lab_state 1)" \
		--subnet-file "$(lab_subnet_env 1)" < /dev/null > "$WORK/auto" 2>&1 &
	echo $! > "$(lab_dir)/n1.pid"
	within 5 status_is 1 ready true
	cat "$WORK/auto"
	grep -q "datapath tun: bpf is not available" "$WORK/auto" && status_is 1 datapath tun &&
		pings_count 1 tunfd slow 1 socket slow
	rc=$?
	lab_agent_stop 1 && return $rc
}

# Identity

# store JQ-FILTER
store() { jq "$1" "$STORE" > "$STORE.next" && mv "$STORE.next" "$STORE"; }

# Not that of FOU's device, which has its port
lasting_links() { { link_ids 1; link_ids 2; } | grep -v '^vtep-'; }

# becomes FIELD VALUE FILTER: both agents do, by the filter on the store, as the same processes and
# with the same links
becomes() {
	local field=$1 value=$2 i pids before
	before=$(lasting_links)
	pids=$(agent_pid 1; agent_pid 2)
	store "$3" || return
	for i in 1 2; do
		within 3 status_is "$i" "$field" "$value" && within 3 status_is "$i" ready true ||
			return
		grep "starting anew" "$(lab_log $i)" || return
	done
	[ "$(status_of 1 pid; status_of 2 pid)" = "$pids" ] || return
	[ "$(lasting_links)" = "$before" ] && fast_again
}

# The wire shows it: only datagrams to this port
wire_port() {
	local lines
	: > "$WORK/tcpdump" # an earlier one said "listening", too
	at 1 timeout 10 tcpdump -lnqi wire0 -c 20 udp < /dev/null \
		> "$WORK/wire" 2> "$WORK/tcpdump" &
	within 5 grep -q listening "$WORK/tcpdump" && pings 1p1 10.244.2.2 10 && wait $! || return
	cat "$WORK/wire"
	lines=$(grep -c " > 192\.0\.2\.[12]\.$1: " "$WORK/wire")
	[ "$lines" = 20 ]
}

# `ip netns exec`, which remounts /sys and so hides bpffs

# exec_outlived: without any bpffs, so that the agent has to mount its own
exec_outlived() {
	local pid before
	ip netns exec "$(lab_node 1)" "$WEFT" run --store "static:$STORE" --iface wire0 \
		--state-dir "$(lab_state 1)" --subnet-file "$(lab_subnet_env 1)" --datapath bpf \
		< /dev/null > "$WORK/exec" 2>&1 &
	pid=$!
	if ! within 5 status_is 1 ready true || ! fast_again; then
		cat "$WORK/exec"
		return 1
	fi
	echo "/sys/fs/bpf: $(stat -f -c %T /sys/fs/bpf) $(stat -c %A /sys/fs/bpf)"
	[ "$(stat -f -c %T /sys/fs/bpf)" = bpf_fs ] || return
	[[ $(stat -c %A /sys/fs/bpf) == drwx-----[-T] ]] || return
	before=$(link_ids 1)
	echo "$before"
	[ "$(grep -c . <<< "$before")" = "$(linux_since 6.6 && echo 7 || echo 0)" ] && mark && load_start || return
	kill -s KILL $pid && wait $pid
	sleep 0.5
	lab_agent_start 1 --datapath bpf && load_lossless || return
	[ "$(link_ids 1)" = "$before" ] && load_fast && lab_agent_stop 1 && cleaned 1
}

# Told that it is ready

# ready_told: a service manager hears nothing while the uplink has no carrier, and once when it has
ready_told() {
	local manager rc=0
	at 2 ip link set wire0 down || return
	socat -u "UNIX-RECV:$WORK/notify" - > "$WORK/notified" &
	manager=$!
	within 3 test -S "$WORK/notify" || return
	NOTIFY_SOCKET=$WORK/notify nsenter --net="/run/netns/$(lab_node 1)" -- "$WEFT" run \
		--store "static:$STORE" --iface wire0 --state-dir "$(lab_state 1)" \
		--subnet-file "$(lab_subnet_env 1)" < /dev/null > "$(lab_log 1)" 2>&1 &
	echo $! > "$(lab_dir)/n1.pid"
	within 10 grep -q "not ready" "$(lab_log 1)" && status_is 1 ready false &&
		[ ! -s "$WORK/notified" ] || rc=1
	at 2 ip link set wire0 up
	within 5 grep -q . "$WORK/notified" && status_is 1 ready true || rc=1
	cat "$(lab_log 1)"
	kill $manager
	lab_agent_stop 1 && [ "$(cat "$WORK/notified")" = READY=1 ] &&
		[ "$(grep -c "ready: subnet" "$(lab_log 1)")" = 1 ] && return $rc
}

# waiting_told: what is said of an agent that waits for its store, to whoever asks it
waiting_told() {
	local pid said rc=0
	nsenter --net="/run/netns/$(lab_node 1)" -- "$WEFT" run --store etcd:http://127.0.0.1:1 \
		--iface wire0 --state-dir "$(lab_state 1)" --subnet-file "$(lab_subnet_env 1)" \
		< /dev/null > "$(lab_log 1)" 2>&1 &
	pid=$!
	echo $pid > "$(lab_dir)/n1.pid"
	said="the agent (pid $pid) is starting, and may be waiting for its store: see its log"
	within 5 eval '[ "$(weft_on 1 status 2>&1)" = "weft: $said" ]' &&
		exits 1 weft_on 1 status || rc=1
	weft_on 1 doctor | tee "$WORK/doctor"
	grep -qF "fail agent $(lab_state 1): $said" "$WORK/doctor" || rc=1
	# Nobody holds it any more
	lab_agent_stop 1 KILL
	weft_on 1 status > "$WORK/status" 2>&1
	grep "no agent in" "$WORK/status" && return $rc
}

ready() { pair bpf bpf && known; }

ready_again() {
	lab_agents_stop TERM
	lab_agents_start --datapath bpf && known
}

check "agents get ready" ready
for round in $(seq "$ROUNDS"); do
	nodes=$(victims "$round")
	check "round $round, node ${nodes/ / and }: kill -9, $DEAD s, start: nothing is lost" \
		kill_and_replace "$nodes"
done
check "subnet.env is flannel's" diff "$(lab_subnet_env 1)" <(printf '%s\n' \
	FLANNEL_NETWORK=10.244.0.0/16 FLANNEL_SUBNET=10.244.1.1/24 FLANNEL_MTU=1472 \
	FLANNEL_IPMASQ=false)
check "a second agent on one state directory is refused" second_refused
check "cleanup is refused while an agent runs" exits 1 weft_on 1 cleanup
check "the first one is not disturbed by either" fast_both_ways

check "the port changes: same processes, same links, fast again" becomes port 8999 \
	'.Backend.Port = 8999'
check "datagrams go to the new port, no other" wire_port 8999
check "the network grows: same processes, same links, fast again" becomes network 10.240.0.0/12 \
	'.Network = "10.240.0.0/12"'
check "both change back" becomes network 10.244.0.0/16 \
	'.Network = "10.244.0.0/16" | .Backend.Port = 8285'
check "and the port, too" wire_port 8285

check "stopped agents leave the datapath forwarding" stopped_still_forwards
check "started again they adopt it" lab_agents_start --datapath bpf
check "state of a newer version exits 3, is left alone and goes on forwarding" \
	incompatible newer_maps "state of version 99, this program knows"
check "cleanup and a new start recover from it" recovers
check "a map of another layout exits 3, is left alone and goes on forwarding" \
	incompatible spoil_layout "made by an incompatible version"
check "cleanup and a new start recover from that" recovers

check "datapath bpf becomes tun" becomes_tun
check "nothing of bpf is left" nothing_of_bpf
check "packets go through the agent" pings_count 1 tunfd slow 1 socket slow 2 port fast
check "datapath tun becomes bpf: its hooks, no port guard" becomes_bpf
check "packets are fast again" fast_again

lab_agent_stop 1
check "without the privilege for BPF, a running state is left alone, status 4" \
	refused_unchanged 4 "datapath bpf is not available" 1 "${NO_BPF[@]}" -- --datapath bpf
check "it goes on forwarding" pings 1p1 10.244.2.2 20
check "cleanup leaves nothing, twice" cleaned 1
check "without the privilege for BPF, datapath bpf leaves nothing, status 4" \
	refused_unchanged 4 "datapath bpf is not available" 1 "${NO_BPF[@]}" -- --datapath bpf
weft_on 1 cleanup # Whatever came of that
check "without any privilege: status 4, nothing is left" \
	refused_unchanged 4 "ermi" 1 "${POWERLESS[@]}" --
check "with another's socket on its port, a first start leaves nothing, status 1" port_taken
check "a first start as tun" lab_agent_start 1 --datapath tun
lab_agent_stop 1
check "cleanup after it leaves nothing" cleaned 1
check "without the privilege for BPF, auto takes tun and says why" auto_takes_tun
check "cleanup after that leaves nothing" cleaned 1
check "teardown on exit leaves nothing" teardown_on_exit

check "ip netns exec, no bpffs yet: its mount outlives kill -9, another agent adopts the pins" \
	in_mounts exec_outlived
check "agents get ready on the machine's own bpffs" ready_again

if linux_since 6.6; then
	check "tcx becomes clsact under traffic" attach_changes clsact 0
else
	skip "tcx becomes clsact under traffic" "no TCX before Linux 6.6"
fi
check "clsact: kill -9 of both, $DEAD s, start: nothing is lost" \
	kill_and_replace "1 2" --attach clsact
if linux_since 6.6; then
	check "clsact becomes tcx under traffic" attach_changes tcx 7
	check "and clsact again" attach_changes clsact 0
else
	lab_agent_stop 1
	check "tcx is refused with 4" refused_unchanged 4 "no TCX before Linux 6.6" 1 -- \
		--datapath bpf --attach tcx
	lab_agent_start 1 --datapath bpf
fi
lab_agent_stop 1 KILL
check "clsact: cleanup after kill -9 leaves nothing" cleaned 1

check "started without carrier: ready, and said to be, when there is one" ready_told

check "while it waits for its store, that is said" waiting_told

check "a wrong flag exits 2" exits 2 weft_on 1 run --no-such-flag
check "an unknown format exits 2" exits 2 weft_on 1 run --store "static:$STORE" --format geneve
check "a missing store exits 2" exits 2 weft_on 1 run --store static:/nonexistent
check "a store without this node's lease exits 2" exits 2 start_status 1 -- \
	--public-ip 192.0.2.99 --iface wire0
