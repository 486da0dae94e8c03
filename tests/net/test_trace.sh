#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# weft trace: a record for every packet that was counted, no more and no less, whatever tier or hook;
# only what was asked for; and nothing stays switched on when client or agent go.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

declare -A TRACER

# trace NAME NODE [FLAG…]: in the background, into $WORK/NAME
trace() {
	local name=$1 node=$2
	shift 2
	nsenter --net="/run/netns/$(lab_node "$node")" -- "$WEFT" trace \
		--state-dir "$(lab_state "$node")" "$@" \
		< /dev/null > "$WORK/$name" 2> "$WORK/$name.err" &
	TRACER[$name]=$!
	within 3 grep -qx "weft: tracing" "$WORK/$name.err"
}

# quiet FILE: nothing has come for a while
quiet() {
	local before
	before=$(stat -c %s "$1")
	sleep 0.2
	[ "$(stat -c %s "$1")" = "$before" ]
}

# trace_end NAME [SIGNAL]: after what was counted has been fetched
trace_end() {
	within 3 quiet "$WORK/$1"
	kill -s "${2:-TERM}" "${TRACER[$1]}"
	{ wait "${TRACER[$1]}"; } 2> /dev/null
	! grep -v "^weft: tracing" "$WORK/$1.err"
}

# wish NODE: the programs' word that switches tracing on
wish() {
	local prog
	prog=$(weft_on "$1" status -j | jq '.hooks[] | select(.hook == "uplink").prog_id')
	for map in $(bpftool -j prog show id "$prog" | jq '.map_ids[]'); do
		[ "$(bpftool -j map show id "$map" | jq -r .name)" = weft_bpf.bss ] || continue
		bpftool -j map dump id "$map" |
			jq '.[0].formatted.value[".bss"][].trace_wish // empty | .sample'
		return
	done
	return 1
}

wish_is() { [ "$(shown wish "$1")" = "$2" ]; }

# The overlay's packets: nobody knows when ARP or a router solicitation comes
# shellcheck disable=SC2016 # not for the shell
OURS='$3 !~ /^not_(ipv4|overlay|gateway)$/'

# told NAME: "hook verdict reason packets" of the records
told() {
	jq -r 'select(.hook) | "\(.hook) \(.verdict) \(.reason)"' "$WORK/$1" | sort | uniq -c |
		awk '{ print $2, $3, $4, $1 }' | awk "$OURS" | sort
}

# all_told NODE COMMAND…: each packet that the command has counted is in the trace
all_told() {
	local node=$1
	shift
	trace all "$node" -j || return
	mark "$node" && "$@" && sleep 0.2
	gains "$node" | awk "$OURS" | sort > "$WORK/counted"
	trace_end all || return
	told all > "$WORK/told"
	echo "counted:" && cat "$WORK/counted"
	diff "$WORK/counted" "$WORK/told" && [ -s "$WORK/counted" ]
}

# is_told NAME WANT…: the records, each as its fields without time, in order
is_told() {
	local name=$1
	shift
	jq -c 'del(.time)' "$WORK/$name" > "$WORK/got"
	printf '%s\n' "$@" > "$WORK/want"
	diff "$WORK/want" "$WORK/got"
}

exact_ping() {
	local ends='"src":"10.244.1.2","dst":"10.244.2.2","icmp_type":8,"icmp_code":0'
	local at='"ifname":"veth1","length":98,"protocol":"icmp"'
	local outer='"outer_src":"192.0.2.1","outer_dst":"192.0.2.2","format":"udp"'
	trace pinged 1 -j --hook port --host 10.244.2.2 || return
	pings 1p1 10.244.2.2 2 || return
	trace_end pinged || return
	is_told pinged "{\"hook\":\"port\",\"verdict\":\"slow\",\"reason\":\"unapproved\",$at,$ends}" \
		"{\"hook\":\"port\",\"verdict\":\"fast\",\"reason\":\"ok\",$at,$ends,$outer}"
}

exact_text() {
	trace text 1 --hook port --verdict fast --reason ok --count 1 || return
	pings 1p1 10.244.2.2 2 || return
	within 3 test -s "$WORK/text" && wait "${TRACER[text]}" || return
	cat "$WORK/text"
	grep -qE '^[0-9:]{8}\.[0-9]{6} port fast ok veth1 10\.244\.1\.2 > 10\.244\.2\.2 icmp type 8 length 98 \(192\.0\.2\.1 > 192\.0\.2\.2\)$' \
		"$WORK/text" && [ "$(wc -l < "$WORK/text")" = 1 ]
}

# has_told NAME RECORDS: so many at least
has_told() { [ "$(jq -c .hook "$WORK/$1" | wc -l)" -ge "$2" ]; }

# forged HOOK OUTER [FIELD…]: what nobody may send; the forger is named as OUTER where he was refused
forged() {
	local hook=$1 outer=$2
	shift 2
	trace forged 1 -j --verdict drop || return
	inject 2 dev=wire0 src=10.244.2.2 dst=10.244.1.2 outer_src=192.0.2.99 outer_dst=192.0.2.1 \
		eth_dst="$(mac 1 wire0)" count=3 "$@" || return
	within 3 has_told forged 3 # else what is shown below is not enough
	trace_end forged || return
	jq -c '[.hook, .reason, .src, .dst, .dst_port, .outer_src]' "$WORK/forged" |
		sort | uniq -c | tee "$WORK/got"
	grep -qE "^ +3 \\[\"$hook\",\"unknown_peer\",\"10.244.2.2\",\"10.244.1.2\",7777,$outer\\]" \
		"$WORK/got" && [ "$(wc -l < "$WORK/got")" = 1 ]
}

two_clients() {
	trace one 1 -j --hook port && trace two 1 -j --hook uplink --host 10.244.2.2 || return
	pings 1p1 10.244.2.2 3 || return
	trace_end one || return
	wish_is 1 1 || return
	pings 1p1 10.244.2.2 3 || return
	trace_end two || return
	[ "$(told one | awk '{ n += $4 } END { print n }')" = 3 ] &&
		[ "$(told two | awk '{ n += $4 } END { print n }')" = 6 ] &&
		[ "$(jq -r .hook "$WORK/one" "$WORK/two" | sort -u | xargs)" = "port uplink" ]
}

# Four at a time; the fifth is told, and all of them leave no slot of the control socket's taken
too_many() {
	local i rc=0
	for i in 1 2 3 4; do
		trace "c$i" 1 || return
	done
	exits 1 weft_on 1 trace 2>&1 | tee "$WORK/got"
	grep -q "refused: too many of these" "$WORK/got" || rc=1
	weft_on 1 status > /dev/null || rc=1
	for i in 1 2 3 4; do
		trace_end "c$i" KILL || rc=1
	done
	return $rc
}

killed_client() {
	trace gone 1 || return
	wish_is 1 1 && trace_end gone KILL && within 3 wish_is 1 0
}

killed_agent() {
	local rc=0
	trace left 1 || return
	lab_agent_stop 1 KILL
	wait "${TRACER[left]}" || rc=$?
	cat "$WORK/left.err"
	[ $rc = 1 ] && grep -q "the agent ended" "$WORK/left.err" || return
	lab_agent_start 1 --datapath bpf || return
	wish_is 1 0 && pings 1p1 10.244.2.2
}

# pod_sends N: distinct packets from pod to pod, all of which arrive
pod_sends() {
	meter_reset 2p1 eth0
	inject 1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 dst=10.244.2.2 \
		dport=$METERED count="$1" pps=10000 && arrived 2p1 eth0 "$1"
}

# A client that does not read, and packets that all arrive; what it misses is said, in whole lines
flood() {
	trace stalled 1 -j || return
	kill -STOP "${TRACER[stalled]}"
	pod_sends 20000 || return
	weft_on 1 status > /dev/null || return
	kill -CONT "${TRACER[stalled]}"
	within 3 grep -q lost "$WORK/stalled" || return
	trace_end stalled || return
	jq -s '[(map(select(.lost).lost) | add), length]' "$WORK/stalled" &&
		jq -e -s 'map(select(.lost).lost) | add > 1000' "$WORK/stalled"
}

sampled() {
	local n
	trace some 1 -j --hook port --sample 10 || return
	pod_sends 5000 && trace_end some || return
	n=$(jq -r 'select(.hook).hook' "$WORK/some" | wc -l)
	echo "$n of 5000"
	# Six standard deviations of a fair sample
	[ "$n" -gt 372 ] && [ "$n" -lt 628 ]
}

as_nobody() {
	on_node 1 setpriv --reuid 65534 --regid 65534 --clear-groups \
		"$WEFT" trace --state-dir "$(lab_state 1)" --count 1
}

check "raise a lab: bpf and tun" pair bpf tun || exit
check "the first pings" pings 1p1 10.244.2.2
check "the exact records of a ping" exact_ping
check "as text" exact_text
check "all that bpf counts is told" all_told 1 pings 1p1 10.244.2.2 5
check "all that tun counts is told" all_told 2 pings 1p1 10.244.2.2 5
check "a forged packet at the uplink" forged uplink '"192.0.2.99"'
if kernel_has udp; then
	check "a forged packet at the kernel's receiver" forged vtep null outer_options=1
else
	skip "a forged packet at the kernel's receiver" "no FOU in this kernel"
fi
check "two clients" two_clients
check "too many clients" too_many
check "a killed client leaves tracing off" killed_client
check "a killed agent leaves tracing off" killed_agent
check "unknown hook: usage" exits 2 weft_on 1 trace --hook none
check "no agent: failure" exits 1 "$WEFT" trace --state-dir "$WORK/none"
check "nobody may not trace" exits 4 as_nobody
lab_down

check "raise a lab: tun" pair tun tun || exit
check "all that tier tun counts is told" all_told 1 pings 1p1 10.244.2.2 5
check "a forged packet at the socket" forged socket '"192.0.2.99"'
lab_down

check "raise a lab: receive xdp" pair bpf bpf -- --receive xdp || exit
check "all that xdp strips is told" all_told 1 pings 1p1 10.244.2.2 5
check "a meter" meter 2p1 eth0
check "a flood hurts neither traffic nor agent" flood
check "a sample" sampled
lab_down
