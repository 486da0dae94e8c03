# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# For tests of agents' lives: what must outlive an agent, and what it leaves. Sourced after lib.sh.

IDLE=8 # connections

# Idle connections

echo_listens() { at 2p1 ss -Hltn "sport = :9100" | grep -q .; }

idle_inside() {
	local fd fds=() line
	for _ in $(seq "$IDLE"); do
		exec {fd}<> /dev/tcp/10.244.2.2/9100 || return
		fds+=("$fd")
	done
	touch "$WORK/idle"
	until [ -e "$WORK/speak" ]; do sleep 0.05; done
	for fd in "${fds[@]}"; do
		echo "still $fd" >&"$fd"
		read -r -t 3 line <&"$fd" && [ "$line" = "still $fd" ] || return
	done
}

# idle_start: they exist when it returns, and say nothing until idle_alive
idle_start() {
	at 2p1 socat TCP-LISTEN:9100,fork,reuseaddr EXEC:cat < /dev/null > /dev/null 2>&1 &
	within 3 echo_listens || return
	rm -f "$WORK/speak" "$WORK/idle"
	nsenter --net="/run/netns/$(place_ns 1p1)" -- \
		bash -c "$(declare -f idle_inside); IDLE=$IDLE WORK=$WORK idle_inside" \
		< /dev/null > /dev/null 2>&1 &
	IDLE_PID=$!
	within 3 [ -e "$WORK/idle" ]
}

resets() {
	{ at 1p1 nstat -asz TcpEstabResets && at 2p1 nstat -asz TcpEstabResets; } |
		awk '/^Tcp/ { n += $2 } END { print n }'
}

idle_alive() {
	touch "$WORK/speak"
	wait "$IDLE_PID" || { echo "an idle connection is dead"; return 1; }
	[ "$(resets)" = 0 ] || { echo "connections were reset"; return 1; }
}

# The fast path

# pings_count NODE HOOK VERDICT…: 20 round trips, as many packets counted there; fast are all but the
# first
pings_count() {
	mark && pings 1p1 10.244.2.2 20 || return
	while [ $# -gt 0 ]; do
		if [ "$3" = fast ]; then
			gained_flow "$1" "$2" 20
		else
			gained_is "$1" "$2" "$3" ok 20
		fi || return
		shift 3
	done
}

fast_both_ways() {
	pings_count 1 port fast 1 uplink fast 2 port fast 2 uplink fast
}

# fast_again: as soon as a start's own changes have settled; each attempt waits for its counters
fast_again() { within 10 fast_both_ways; }

known() {
	pings 1p1 10.244.2.2 && within 2 endpoint_known 1 10.244.1.2 &&
		within 2 endpoint_known 2 10.244.2.2 && fast_again
}

# The load of load_start, on its path

# all_fast NODE SENT RECEIVED: since the mark so many datagrams at least were fast here, and nothing
# that is ours was slow or refused, but for the few that asked for leave
all_fast() {
	shown gains "$1" | awk -v sent="$2" -v received="$3" -v few=$ASKS_FEW '
		$3 == "not_ipv4" || $3 == "not_overlay" { next }
		{ n[$1] += $4 }
		'"$ASKS"' { asked += $1 == "port" || $1 == "uplink" ? $4 : 0; next }
		$2 != "fast" { bad = 1 }
		END { exit bad || asked > few || n["port"] < sent || n["uplink"] < received }'
}

load_fast() {
	local there back
	there=$(flow_figure 1p1 2p1 sent)
	back=$(flow_figure 2p1 1p1 sent)
	all_fast 1 "$there" "$back" && all_fast 2 "$back" "$there"
}

# What is refused changes nothing

# start_status NODE [COMMAND…] [-- FLAG…]: of an agent that is to refuse; its words in $WORK/refusal
start_status() {
	local i=$1 command=() rc
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		command+=("$1")
		shift
	done
	shift $(($# > 0))
	timeout 10 nsenter --net="/run/netns/$(lab_node "$i")" "${command[@]}" "$WEFT" run \
		--store "static:$(lab_dir)/store.json" --iface wire0 --bridge cni0 --tun flannel0 \
		--state-dir "$(lab_state "$i")" --subnet-file "$(lab_subnet_env "$i")" "$@" \
		< /dev/null > "$WORK/refusal" 2>&1
	rc=$?
	cat "$WORK/refusal"
	return $rc
}

# made NODE: all that an agent has made here, links with their ids and programs
made() {
	local i=$1 node pins pin
	node=$(lab_node "$i")
	pins=$(pin_dir "$i")
	ip -n "$node" -o addr | awk '{ print $2, $4 }'
	ip -n "$node" -o link | awk -F'[:@]' '{ print $2 }'
	ip -n "$node" route | sed 's/ linkdown//' # while no agent holds the overlay device
	tc -n "$node" filter show dev wire0 ingress
	at "$i" nft list tables
	find "$pins" -printf '%y %p\n' 2>/dev/null | sort
	# The lock and the list of what to remove do no harm
	find "$(lab_state "$i")" -mindepth 1 ! -name lock ! -name made 2>/dev/null
	for pin in "$pins"/links/*; do
		[ -e "$pin" ] && bpftool -j link show pinned "$pin" | jq -c '[.id, .prog_id]'
	done
	for pin in "$pins"/maps-*/*; do
		[ -e "$pin" ] && bpftool -j map show pinned "$pin" | jq -c '[.id, .name]'
	done
	[ ! -e "$(lab_subnet_env "$i")" ] || cat "$(lab_subnet_env "$i")"
}

# refused_unchanged STATUS MESSAGE NODE [COMMAND…] [-- FLAG…]: and everything is as it was
refused_unchanged() {
	local want=$1 message=$2
	shift 2
	made "$1" > "$WORK/made"
	exits "$want" start_status "$@" || return
	grep -q "$message" "$WORK/refusal" || { echo "it does not say: $message"; return 1; }
	made "$1" | diff "$WORK/made" -
}

# Cleaned up

# gone NODE: nothing of weft is left in this namespace, on bpffs, or in files
gone() {
	local i=$1 node dev path
	node=$(lab_node "$i")
	for dev in $(ip -n "$node" -o link | awk -F'[:@] *' '{ print $2 }'); do
		[[ $dev != flannel* ]] || { echo "there is $dev"; return 1; }
		! tc -n "$node" filter show dev "$dev" ingress | grep . || return
		! tc -n "$node" filter show dev "$dev" egress | grep . || return
	done
	! tc -n "$node" qdisc show | grep clsact || return
	! at "$i" nft list tables | grep weft || return
	for path in "$(pin_dir "$i")" "$(lab_state "$i")" "$(lab_subnet_env "$i")"; do
		[ ! -e "$path" ] || { echo "there is $path"; return 1; }
	done
}

cleaned() { weft_on "$1" cleanup && gone "$1" && weft_on "$1" cleanup; }

# Mounts

# in_mounts COMMAND…: functions of the script, in mounts of our own as their init process, without any
# bpffs. All processes end with it, and what it noted of them are numbers that out here are anybody's.
in_mounts() {
	local state rc=0
	state=$(declare -f; declare -p LAB LAB_ROOT LAB_NODES WEFT NETBIN ${FAULTBIN+FAULTBIN} WORK STORE \
		FLOW_PORT FLOW_RATE FLOW_S SLOWNESS ASKS ASKS_FEW)
	timeout 120 unshare --pid --mount --fork --kill-child --mount-proc bash -c \
		"$state; declare -A FLOW_SENDER FLOW_RECEIVER; bpffs_away && $*" || rc=$?
	rm -f "$(lab_dir)/n1.pid"
	return $rc
}

bpffs_away() {
	while umount -l /sys/fs/bpf 2> /dev/null; do :; done
	[ "$(stat -f -c %T /sys/fs/bpf)" != bpf_fs ]
}
