#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# How little the agent needs, what it gives up, and what it lets others do. Agents run as a user of
# their own, confined as the systemd unit confines them (init/weft.service), with real traffic.
# shellcheck disable=SC2016 # quoted for `check`, which evaluates it later
. "$(dirname "$0")/lib.sh"

AGENT=4711 # a user that nothing else has
GROUP=games # and a group, whose members may ask; Debian has it on every machine
GID=$(getent group $GROUP | cut -d: -f3)
UNIT=$NET_ROOT/init/weft.service
ROOTS_WEFT=$WEFT

# unit KEY: its values, one line
unit() { sed -n "s/^$1=//p" "$UNIT" | tr '\n' ' '; }

# caps [WITHOUT]: of the unit, as setpriv has them: +net_admin,+bpf…
caps() { unit AmbientCapabilities | tr '[:upper:] ' '[:lower:]\n' | sed -n 's/^cap_/+/p' | grep -vx "+${1:-none}" | paste -sd,; }

# As the unit's own words for it
lab_subnet_env() { echo "$(lab_dir)/env$1/subnet.env"; }

# dirs_give NODE: what tmpfiles makes for the unit, for this node
dirs_give() {
	local dir
	for dir in "$(lab_state "$1")" "$(pin_dir "$1")" "$(dirname "$(lab_subnet_env "$1")")"; do
		mkdir -p "$dir" && chown $AGENT:"$GID" "$dir" && chmod 700 "$dir" || return
	done
	chmod 710 "$(lab_state "$1")" && chmod 755 "$(dirname "$(lab_subnet_env "$1")")"
}

# confine NODE CAPABILITIES: write $WORK/weftNODE, which is weft as the unit has it: this user, these
# capabilities, nothing to write but its three directories and the TUN device, no bpffs but its own
confine() {
	local i=$1 state pins env
	state=$(lab_state "$i") pins=$(pin_dir "$i") env=$(dirname "$(lab_subnet_env "$i")")
	[ -e "$WORK/tun" ] || mknod -m 666 "$WORK/tun" c 10 200 || return
	cp --remove-destination "$ROOTS_WEFT" "$(lab_dir)/weft" && mkdir -p "$WORK/pins$i" || return
	cat > "$WORK/confined$i" <<-END
		#!/bin/sh -e
		mount --bind $pins $WORK/pins$i
		mount -t tmpfs -o mode=755 none /sys/fs/bpf
		mkdir $pins
		mount --bind $WORK/pins$i $pins
		mount --bind $WORK/tun /dev/net/tun
		mount --bind $state $state
		mount --bind $env $env
		[ ! -e $WORK/modules ] || mount --bind $WORK/modules /sys/module
		mount -o remount,bind,ro /
		mount -o remount,bind,ro /run 2> /dev/null || :
		mount -o remount,bind,ro /tmp 2> /dev/null || :
		ulimit -Sn 256
		exec setpriv --reuid $AGENT --regid $GID --clear-groups --no-new-privs \\
			--inh-caps=-all,$2 --ambient-caps=-all,$2 --bounding-set=-all,$2 \\
			-- $(lab_dir)/weft "\$@"
	END
	printf '#!/bin/sh\nexec unshare -m sh %s "$@"\n' "$WORK/confined$i" > "$WORK/weft$i"
	chmod 755 "$WORK/confined$i" "$WORK/weft$i"
}

# confined_start NODE [FLAG…]
confined_start() { WEFT=$WORK/weft$1 lab_agent_start "$@"; }

# both_start [FLAG…]: with what the unit gives
both_start() {
	local i
	for i in 1 2; do
		lab_agent_stop $i
		dirs_give $i && confine $i "$(caps)" && confined_start $i "$@" || return
	done
}

traffic() {
	within 10 pings 1p1 "$(addr 2p1)" 1 && udp 1p1 "$(addr 2p1)" 50x100 50x1400 &&
		tcp 1p1 "$(addr 2p1)" $((4 << 20)) && tcp 2p1 "$(addr 1p1)" $((4 << 20))
}

# status_line NODE KEY: of the process
status_line() { sed -n "s/^$2:[ \t]*//p" "/proc/$(agent_pid "$1")/status"; }
user_is() { [ "$(status_line "$1" Uid | cut -f1)" = "$2" ]; }

# cap_mask NAME…: as the kernel prints it
cap_mask() {
	local -A bit=([CAP_NET_BIND_SERVICE]=10 [CAP_NET_ADMIN]=12 [CAP_NET_RAW]=13 [CAP_PERFMON]=38 [CAP_BPF]=39)
	local cap mask=0
	for cap; do mask=$((mask | 1 << bit[$cap])); done
	printf '%016x' $mask
}

# has_only NODE MASK: every thread of the agent, for good
has_only() {
	local pid task
	pid=$(agent_pid "$1")
	for task in "/proc/$pid/task"/*; do
		cat "$task/comm"
		grep -E '^(Cap|NoNew|Seccomp|Groups)' "$task/status"
		[ "$(sed -n 's/^Cap\(Prm\|Eff\):\t//p' "$task/status" | sort -u)" = "$2" ] &&
			[ "$(sed -n 's/^CapBnd:\t//p' "$task/status")" = "$2" ] &&
			[ -z "$(sed -n 's/^Cap\(Inh\|Amb\):\t0*//p' "$task/status" | tr -d '\n')" ] &&
			grep -qx 'NoNewPrivs:.1' "$task/status" &&
			grep -qx 'Seccomp:.2' "$task/status" || return
	done
	[ "$(ls "/proc/$pid/task" | wc -l)" -ge 2 ]
}

no_core() {
	grep -E '^Max core file size +0 +0 ' "/proc/$(agent_pid "$1")/limits" &&
		[ "$(stat -c %u "/proc/$(agent_pid "$1")/environ")" = 0 ] # not dumpable: root's
}

# files_raised NODE: as many as it may have, and the unit lets it have two for each of 1024 pods
files_raised() {
	local soft hard
	read -r soft hard < <(sed -n 's/^Max open files *//p' "/proc/$(agent_pid "$1")/limits")
	echo "soft $soft hard $hard"
	[ "$soft" = "${hard%% *}" ] && [ "$soft" -gt 256 ] && [ "$(unit LimitNOFILE)" -ge 4096 ]
}

# Without one capability

# refuses NODE CAPABILITY MESSAGE [FLAG…]: exit status 4 and a plain message
refuses() {
	local i=$1 what=$2 message=$3
	shift 3
	dirs_give "$i" && confine "$i" "$(caps "$what")" || return
	exits 4 at "$i" timeout 10 "$WORK/weft$i" run --store "static:$(lab_dir)/store.json" \
		--iface wire0 --state-dir "$(lab_state "$i")" --subnet-file "$(lab_subnet_env "$i")" \
		"$@" > "$WORK/refusal" 2>&1 || { cat "$WORK/refusal"; return 1; }
	cat "$WORK/refusal"
	grep -qi "cap_$what is missing: $message" "$WORK/refusal"
}

# degrades NODE CAPABILITY TIER [FLAG…]
degrades() {
	local i=$1 what=$2 tier=$3
	shift 3
	dirs_give "$i" && confine "$i" "$(caps "$what")" && confined_start "$i" "$@" &&
		grep -i "cap_$what is missing" "$(lab_log "$i")" && status_is "$i" datapath "$tier" &&
		traffic
}

# Legacy iptables: which tables there are is for root only

approved() { weft_on 1 flows -j | jq -e --arg is "$1" 'any(.egress == $is)'; }

# notices_legacy: a new rule, which has what was approved approved anew. Where the kernel has no
# modules for tables, it is told by what other kernels show
notices_legacy() {
	local rc=0
	[ -e /sys/module/ip_tables ] || mkdir -p "$WORK/modules/ip_tables" "$WORK/modules/iptable_filter"
	both_start --datapath bpf --group $GROUP --approve-ttl 3600 && traffic && within 3 approved approved &&
		at 1 iptables-legacy -I FORWARD -s 203.0.113.9 -j DROP &&
		within 4 eval '! approved approved && approved generation' || rc=1
	weft_on 1 flows
	rm -rf "$WORK/modules"
	at 1 iptables-legacy -D FORWARD -s 203.0.113.9 -j DROP && return $rc
}

# tells_blindness: there it is said, as nothing can be asked
tells_blindness() {
	both_start --datapath bpf --group $GROUP && cat "$(lab_log 1)" &&
		grep -q 'changes of legacy iptables are not noticed (Permission denied)' "$(lab_log 1)"
}

legacy() {
	if ! at 1 iptables-legacy -L -n > /dev/null; then
		skip "unit: legacy iptables" "none in this kernel"
		return
	fi
	check "unit: a rule of legacy iptables is noticed" notices_legacy
	if [ -e /sys/module/ip_tables ]; then
		skip "unit: legacy iptables cannot be watched, and that is said" "its modules are there"
	else
		check "unit: legacy iptables cannot be watched, and that is said" tells_blindness
	fi
}

# Who else

NOBODY=(setpriv --reuid nobody --regid nogroup --clear-groups)
MEMBER=(setpriv --reuid nobody --regid nogroup --groups "$GROUP")

# denied COMMAND…: and for want of permission
denied() { ! "$@" > "$WORK/denied" 2>&1 && cat "$WORK/denied" && grep -qi 'permission denied' "$WORK/denied"; }

# pins_denied NODE: each to another user; first by the directory, then, as if that were open and
# nearer, by its own mode
pins_denied() {
	local dir
	dir=$(pin_dir "$1")
	denied "${NOBODY[@]}" ls "$dir" || return
	mkdir -p "$(lab_dir)/pins" && chmod 755 "$dir" "$dir"/*/
	unshare -m bash -c 'mount --bind "$0" "$1" && cd "$1" && find . -type f | grep . &&
		! find . -type f -exec "${@:2}" sh -c "cat {} && echo {} is open; echo >> {} && echo {} is open" \;' \
		"$dir" "$(lab_dir)/pins" "${NOBODY[@]}" > "$WORK/pins" 2> "$WORK/denials"
	chmod 700 "$dir" "$dir"/*/
	cat "$WORK/pins" "$WORK/denials"
	# Reading and writing, each
	[ "$(grep -ci 'permission denied' "$WORK/denials")" = $((2 * $(wc -l < "$WORK/pins"))) ] &&
		[ "$(wc -l < "$WORK/pins")" -ge 15 ] && ! grep 'is open' "$WORK/pins"
}

# modes_are NODE: owner, type and mode of everything it made, below its directories
modes() {
	find "$(lab_state "$1")" "$(pin_dir "$1")" "$(lab_subnet_env "$1")" -printf '%U %y %m %f\n' |
		sed -E "s/ (n$1|weft-run-.*)\$/ ./; s/ maps-[0-9]+\$/ maps/; s/ [a-z]+-[0-9]+\$/ LINK/" | sort -u
}

modes_are() {
	local dir
	modes "$1" > "$WORK/modes"
	cat "$WORK/modes"
	# One kind at a time: whose, what it is, and who may touch it
	! grep -v "^$AGENT " "$WORK/modes" &&
		[ "$(awk '$2 == "s" { print $3, $4 }' "$WORK/modes")" = "660 ctl.sock" ] &&
		[ "$(awk '$2 == "d" { print $3, $4 }' "$WORK/modes" | sort)" = "$(
			printf '%s\n' '700 .' '700 links' '700 maps' '710 .')" ] &&
		[ "$(awk '$2 == "f" { print $3 }' "$WORK/modes" | sort -u)" = "$(printf '%s\n' 600 644)" ] &&
		[ "$(awk '$3 == 644 { print $4 }' "$WORK/modes")" = subnet.env ]
}

# asks WHO… -- VERB…
asks() {
	local who=()
	while [ "$1" != -- ]; do
		who+=("$1")
		shift
	done
	shift
	at 1 "${who[@]}" "$(lab_dir)/weft" "$@" --state-dir "$(lab_state 1)" -j
}

# flows_denied WHO… -- VERB…: and why
flows_denied() {
	local rc
	asks "$@" 2> "$WORK/denied"
	rc=$?
	cat "$WORK/denied"
	grep -q "^weft: not permitted to look at the flows of .*: Permission denied$" "$WORK/denied" || rc=255
	return $rc
}

member_reads() {
	local verb
	asks "${MEMBER[@]}" -- status | jq -e .ready || return
	for verb in peers routes endpoints stats; do
		asks "${MEMBER[@]}" -- $verb | jq -e . || return
	done
}

# told VERB TEXT: what a member is answered that talks to the socket itself
told() {
	echo "$1" | timeout 5 "${MEMBER[@]}" \
		socat -t 3 - "UNIX-CONNECT:$(lab_state 1)/ctl.sock" > "$WORK/told"
	cat "$WORK/told"
	grep -q "$2" "$WORK/told"
}

# Somebody was there first

# root_start: as root, for the exit status; nothing of it may stay
root_start() {
	exits "$1" at 1 timeout 10 "$ROOTS_WEFT" run --store "static:${2:-$(lab_dir)/store.json}" \
		--iface wire0 --state-dir "$(lab_state 1)" --subnet-file "$WORK/env/subnet.env" \
		"${@:3}" > "$WORK/refusal" 2>&1 && return
	cat "$WORK/refusal"
	return 1
}

# hostile DIRECTORY HOW: put it there; the target of a link is $WORK/victim
hostile() {
	rm -rf "$1"
	case $2 in
	link) ln -s "$WORK/victim" "$1" ;;
	open) mkdir -m 777 "$1" ;;
	group) mkdir -m 770 "$1" ;;
	theirs) mkdir -m 700 "$1" && chown nobody "$1" ;;
	fifo) mkfifo -m 666 "$1" ;;
	file) : > "$1" ;;
	esac
}

# refused_dir DIRECTORY HOW MESSAGE: and neither a start nor a cleanup touches what a link leads to
refused_dir() {
	local rc
	mkdir -p "$WORK/victim/maps" "$WORK/victim/links" && : > "$WORK/victim/maps/keep" &&
		: > "$WORK/victim/lock" && hostile "$1" "$2" || return
	root_start 4 "" --datapath bpf && grep -q "$3" "$WORK/refusal"
	rc=$?
	cat "$WORK/refusal"
	[ "$2" != link ] || weft_on 1 cleanup
	find "$WORK/victim" | sed "s|$WORK/||" | sort
	[ "$(find "$WORK/victim" | wc -l)" = 5 ] || rc=1
	rm -rf "$1"
	return $rc
}

refused_everywhere() {
	local how
	for how in link open group theirs fifo file; do
		check "hostile: state directory: $how" refused_dir "$(lab_state 1)" $how 'not a private directory of ours\|Not a directory'
	done
	for how in link open group theirs; do
		check "hostile: pins: $how" refused_dir "$(pin_dir 1)" $how \
			'not a private directory of ours' # bpffs has no other kinds
	done
}

# planted FILE HOW: in the state directory of root's agent, which starts and harms nothing
planted() {
	local path rc
	path=$(lab_state 1)/$1
	mkdir -p "$(lab_state 1)" && chmod 700 "$(lab_state 1)" && rm -rf "$path" && echo "keep me" > "$WORK/precious" || return
	case $2 in
	link) ln -s "$WORK/precious" "$path" ;;
	fifo) mkfifo -m 666 "$path" ;;
	esac
	lab_agent_start 1 && [ "$(cat "$WORK/precious")" = "keep me" ] && [ ! -L "$path" ] &&
		[ ! -p "$path" ] && [ -z "$(find "$(lab_state 1)" -mindepth 1 -perm /077)" ]
	rc=$?
	lab_agent_stop 1
	return $rc
}

# A lock by another name is no lock, and what it leads to is not emptied
lock_refused() {
	local path rc
	path=$(lab_state 1)/lock
	mkdir -p "$(lab_state 1)" && chmod 700 "$(lab_state 1)" && rm -f "$path" && echo "keep me" > "$(lab_dir)/precious" || return
	case $1 in
	link) ln -s "$(lab_dir)/precious" "$path" ;;
	second) ln "$(lab_dir)/precious" "$path" ;;
	fifo) mkfifo "$path" ;;
	esac
	exits "$2" at 1 timeout 10 "$ROOTS_WEFT" run --store "static:$(lab_dir)/store.json" \
		--iface wire0 --state-dir "$(lab_state 1)" && [ "$(cat "$(lab_dir)/precious")" = "keep me" ]
	rc=$?
	rm -f "$path"
	return $rc
}

env_replaced() {
	local rc
	rm -rf "$WORK/env" && mkdir "$WORK/env" && echo "keep me" > "$WORK/precious" &&
		ln -s "$WORK/precious" "$WORK/env/subnet.env" &&
		ln -s "$WORK/precious" "$WORK/env/subnet.env.tmp" || return
	lab_agent_start 1 --subnet-file "$WORK/env/subnet.env" &&
		[ "$(cat "$WORK/precious")" = "keep me" ] && [ ! -L "$WORK/env/subnet.env" ] &&
		grep FLANNEL_SUBNET "$WORK/env/subnet.env" &&
		[ "$(stat -c %a "$WORK/env/subnet.env")" = 644 ]
	rc=$?
	lab_agent_stop 1
	rm -rf "$WORK/env"
	return $rc
}

env_refused() {
	hostile "$WORK/env" open
	root_start 4 && grep -q "others may write there" "$WORK/refusal"
	local rc=$?
	weft_on 1 cleanup
	rm -rf "$WORK/env"
	return $rc
}

# store_refused CHANGE MESSAGE: done to a good file
store_refused() {
	rm -f "$WORK/store" && cp "$(lab_dir)/store.json" "$WORK/store" && eval "$1" || return
	root_start 2 "$WORK/store" && grep -q "$2" "$WORK/refusal" || return
	exits 2 "$ROOTS_WEFT" check --store "static:$WORK/store" 2>&1 | grep "$2"
}

# What root's cleanup makes of a state directory that another user filled
cleanup_of_others() {
	local file
	rm -rf "$WORK/victim" && mkdir -p "$WORK/victim/maps" && dirs_give 1 || return
	echo "keep me" > "$WORK/precious"
	echo "keep me" > "$WORK/victim/maps/keep"
	printf '{"tun":"flannel0","subnet_file":"%s","pin_dir":"%s","conntrack_liberal":false}\n' \
		"$WORK/precious" "$WORK/victim" > "$(lab_state 1)/made"
	chown $AGENT "$(lab_state 1)/made"
	ln -s "$WORK/victim/maps" "$(pin_dir 1)/maps"
	at 1 "$ROOTS_WEFT" cleanup --state-dir "$(lab_state 1)" --subnet-file "$WORK/env/subnet.env"
	for file in precious victim/maps/keep; do
		[ "$(cat "$WORK/$file")" = "keep me" ] || return
	done
	rm -f "$(pin_dir 1)/maps"
	at 1 "$ROOTS_WEFT" cleanup --state-dir "$(lab_state 1)" --subnet-file "$WORK/env/subnet.env" &&
		[ ! -e "$(lab_state 1)" ] && [ ! -e "$(pin_dir 1)" ]
}

# The unit

unit_is_sound() {
	mkdir -p "$WORK/root/usr/local/sbin" "$WORK/root/etc/systemd/system" &&
		make --no-print-directory -C "$NET_ROOT" -o all BUILD="$BUILD" DESTDIR="$WORK/inst" install &&
		sed "s|^ExecStart=[^ ]*|ExecStart=$WORK/inst/usr/local/sbin/weft|" \
			"$WORK/inst/usr/local/lib/systemd/system/weft.service" > "$WORK/weft.service" || return
	systemd-analyze verify --man=no "$WORK/weft.service" 2>&1 | tee "$WORK/verify"
	! grep -q "weft.service" "$WORK/verify" &&
		systemd-analyze security --offline=true --threshold=30 --no-pager "$WORK/weft.service" | tail -n 2
}

# tmpfiles and sysusers take theirs, in a root of their own
unit_files_work() {
	mkdir -p "$WORK/sys/etc" "$WORK/sys/usr/lib/sysusers.d" "$WORK/sys/usr/lib/tmpfiles.d" &&
		cp "$NET_ROOT/init/sysusers.conf" "$WORK/sys/usr/lib/sysusers.d/weft.conf" &&
		cp "$NET_ROOT/init/tmpfiles.conf" "$WORK/sys/usr/lib/tmpfiles.d/weft.conf" &&
		systemd-sysusers --root="$WORK/sys" weft.conf && grep '^weft:' "$WORK/sys/etc/passwd" &&
		systemd-tmpfiles --root="$WORK/sys" --create weft.conf &&
		(cd "$WORK/sys" && stat -c '%a %n' run/weft run/flannel sys/fs/bpf/weft) | tee "$WORK/dirs" &&
		[ "$(cut -d' ' -f1 "$WORK/dirs" | paste -sd,)" = 710,755,700 ]
}

# Every system call that the agent's own filter allows passes the unit's
filters_agree() {
	local set
	for set in $(unit SystemCallFilter); do
		case $set in
		@*) systemd-analyze syscall-filter "$set" ;;
		*) echo "    $set" ;;
		esac
	done > "$WORK/sets"
	# Sets hold sets
	while grep -oE '^ +@[a-z-]+' "$WORK/sets" | tr -d ' ' > "$WORK/inner" && [ -s "$WORK/inner" ]; do
		sed -i -E '/^ +@[a-z-]+/d' "$WORK/sets"
		while read -r set; do systemd-analyze syscall-filter "$set" >> "$WORK/sets"; done < "$WORK/inner"
	done
	# A leak checker runs in no unit
	grep -v '^#' "$NET_ROOT/user/syscall_filter.c" | grep -oE '^\s+\{?"[a-z0-9_]+"|"[a-z0-9_]+",' |
		grep -oE '[a-z0-9_]+' | sort -u > "$WORK/ours"
	[ "$(wc -l < "$WORK/ours")" -gt 100 ] && ! grep -vxFf <(tr -d ' ' < "$WORK/sets") "$WORK/ours"
}

floor() {
	check "unit: two nodes" lab_up
	check "unit: agents start confined as it says" both_start --datapath bpf --group $GROUP
	serve 1p1 2p1
	check "unit: as their own user" user_is 1 $AGENT
	check "unit: in tier bpf, ready" eval 'status_is 1 datapath bpf && status_is 1 ready true'
	check "unit: pods talk" traffic
	# shellcheck disable=SC2046 # a list
	check "unit: every thread has these capabilities for good, and the filter" \
		has_only 1 "$(cap_mask $(unit AmbientCapabilities))"
	check "unit: no core, no look at its memory" no_core 1
	check "unit: descriptors for many pods" files_raised 1
	check "unit: bounding set is ambient set" [ "$(unit AmbientCapabilities)" = "$(unit CapabilityBoundingSet)" ]
	check "unit: systemd takes it, exposure below 3.0" unit_is_sound
	check "unit: its user and its directories" unit_files_work
	check "unit: lets the agent make the calls it makes" filters_agree
	check "unit: another network is taken on without exec" restarts
	check "unit: the agent goes, and comes back to its pins" comes_back
	legacy
}

# As another subnet's owner, in the same process
restarts() {
	local pid
	pid=$(agent_pid 1)
	jq '.Network = "10.244.0.0/15"' "$(lab_dir)/store.json" > "$(lab_dir)/next" &&
		mv "$(lab_dir)/next" "$(lab_dir)/store.json" || return
	within 5 grep -q 'starting anew' "$(lab_log 1)" &&
		WEFT=$WORK/weft1 within 5 status_is 1 network 10.244.0.0/15 &&
		WEFT=$WORK/weft1 within 5 status_is 1 ready true && [ "$(agent_pid 1)" = "$pid" ] &&
		kill -0 "$pid" && within 5 traffic
}

comes_back() {
	local before
	before=$(link_ids 1)
	[ "$(wc -l <<< "$before")" -ge 5 ] && lab_agent_stop 1 && confined_start 1 --datapath bpf --group $GROUP &&
		[ "$(link_ids 1)" = "$before" ] && traffic
}

others() {
	check "others: modes are 0700, 0600, 0660" modes_are 1
	check "others: every pin is denied" pins_denied 1
	check "others: the socket is denied" denied asks "${NOBODY[@]}" -- status
	check "others: so are flows" exits 4 flows_denied "${NOBODY[@]}" -- flows
	check "others: and their flush" exits 4 flows_denied "${NOBODY[@]}" -- flows flush
	check "others: and a cleanup" exits 4 asks "${NOBODY[@]}" -- cleanup
	check "others: a member of the group reads" member_reads
	check "others: but may change nothing" exits 4 flows_denied "${MEMBER[@]}" -- flows flush
	check "others: nor ask for more" told trace "permission denied"
	check "others: the owner reads, too" eval 'WEFT=$WORK/weft1 status_is 1 ready true'
	check "others: and root" status_is 1 ready true
	check "others: a group that there is not" exits 2 "$ROOTS_WEFT" run --store static:x --group no-such-group
	check "cleanup by the agent's user" eval 'lab_agent_stop 1 && at 1 "$WORK/weft1" cleanup --state-dir "$(lab_state 1)" &&
		[ -z "$(ls "$(pin_dir 1)" "$(lab_state 1)" | grep -v :)" ] && ! ip -n "$(lab_node 1)" link show flannel0'
}

one_by_one() {
	check "without CAP_NET_ADMIN" refuses 1 net_admin "no device"
	check "without CAP_BPF, bpf demanded" refuses 1 bpf "no datapath bpf" --datapath bpf
	check "without CAP_PERFMON, bpf demanded" refuses 1 perfmon "no datapath bpf" --datapath bpf
	check "without CAP_NET_RAW, format ipip" refuses 1 net_raw "no slow path" --format ipip
	check "without CAP_BPF: datapath tun" degrades 1 bpf tun
	lab_agent_stop 1
	check "without CAP_PERFMON: datapath tun" degrades 1 perfmon tun
	lab_agent_stop 1
	check "without CAP_NET_RAW: format udp" degrades 1 net_raw bpf
	lab_agent_stop 1
	lab_agent_stop 2
	for i in 1 2; do at $i "$WORK/weft$i" cleanup --state-dir "$(lab_state $i)"; done > /dev/null 2>&1
}

# Root's agent gives up the rest by itself
roots() {
	for i in 1 2; do rm -rf "$(lab_state $i)" "$(pin_dir $i)" "$(dirname "$(lab_subnet_env $i)")"; done
	lab_subnet_env() { echo "$(lab_dir)/n$1.env"; }
	check "root: agents start" lab_agents_start --datapath bpf
	check "root: pods talk" traffic
	check "root: keeps five capabilities" has_only 1 "$(cap_mask CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_BPF CAP_PERFMON)"
	check "root: no core, no look at its memory" no_core 1
	lab_agents_stop
	check "root: nothing is readable for others" eval '[ -z "$(find "$(lab_state 1)" "$(pin_dir 1)" -perm /077)" ]'
	for i in 1 2; do weft_on $i cleanup; done > /dev/null
	refused_everywhere
	for file in made made.tmp ctl.sock; do
		check "hostile: $file: link" planted $file link
		check "hostile: $file: fifo" planted $file fifo
	done
	check "hostile: lock: link" lock_refused link 1
	check "hostile: lock: another name of a file" lock_refused second 4
	check "hostile: lock: fifo" lock_refused fifo 4
	check "hostile: subnet file: links are replaced" env_replaced
	check "hostile: subnet file: a directory for all" env_refused
	check "hostile: store: fifo" store_refused 'rm "$WORK/store"; mkfifo "$WORK/store"' 'not a regular file'
	check "hostile: store: writable for all" store_refused 'chmod 606 "$WORK/store"' 'others than its owner may write it'
	check "hostile: store: writable for a group" store_refused 'chmod 660 "$WORK/store"' 'others than its owner may write it'
	check "root's cleanup does not go by another user's word" cleanup_of_others
}

sections=("$@")
[ $# -gt 0 ] || sections=(floor others one_by_one roots)
for section in "${sections[@]}"; do
	$section
done
