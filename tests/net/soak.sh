#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Half an hour of bad input and faults under load; no part of `make check`.
# Nodes 1 and 2 exchange streams and numbered datagrams while their peers and pods send garbage,
# routes come and go each second, and one fault follows the other: a peer's agent and uplink go, the
# own uplink goes, the underlay's MTU changes, queues overflow, sending is refused. After each fault
# everything must pass within 5 seconds. The agent of node 1 lives through all of it: it must not
# grow, leak or complain, must have counted what it or its programs refused, and its maps must hold
# in the end what they held before.
#
#   TIER=bpf              or tun
#   SECONDS_LONG=1800     of the faults
#   TUN_IO=batch          or plain
#   SEED=1                of the garbage
#   RSS_SPREAD_KB=1024    that memory may grow; sanitizers keep what was freed
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

TIER=${TIER:-bpf}
SECONDS_LONG=${SECONDS_LONG:-1800}
TUN_IO=${TUN_IO:-batch}
SEED=${SEED:-1}
CALM_S=5 # until everything passes after a fault
OUTAGE_S=2 # well below what ends a stream of `talk`
RSS_SPREAD_KB=${RSS_SPREAD_KB:-1024}
WARM_S=$((SECONDS_LONG < 300 ? SECONDS_LONG / 5 : 60))
SAMPLE_S=$((SECONDS_LONG < 300 ? 3 : 10))
GARBAGE_PPS=200
N=3000 # of an exact count
STRANGER=192.0.2.77
STORE=$(lab_dir)/store.json
FLAGS=(--datapath "$TIER" --tun-io "$TUN_IO")

# Garbage, see garbage.c

# The place of a sender and its arguments, by name
declare -A GARBAGE=(
	[member]="2 from=192.0.2.2 to=192.0.2.1 src=10.244.2.2 dst=10.244.1.2"
	[stranger]="3 from=$STRANGER to=192.0.2.1 src=10.244.2.2 dst=10.244.1.2"
	[back]="1 from=192.0.2.1 to=192.0.2.2 src=10.244.1.2 dst=10.244.2.2"
	[pod1]="1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 dst=10.244.2.2"
	[pod2]="2p1 dev=eth0 eth_dst=02:00:0a:f4:02:01 src=10.244.2.2 dst=10.244.1.2"
)
declare -A GARBAGE_PID

garbage_start() {
	local name args
	for name in "${!GARBAGE[@]}"; do
		read -r -a args <<< "${GARBAGE[$name]}"
		nsenter --net="/run/netns/$(place_ns "${args[0]}")" -- "$NETBIN/garbage" \
			"${args[@]:1}" pps=$GARBAGE_PPS seed="$SEED" \
			< /dev/null > "$WORK/garbage-$name" 2>&1 &
		GARBAGE_PID[$name]=$!
	done
}

garbage_stop() {
	local name rc=0
	for name in "${!GARBAGE_PID[@]}"; do
		kill "${GARBAGE_PID[$name]}" && wait "${GARBAGE_PID[$name]}" || rc=1
		echo "$name: $(< "$WORK/garbage-$name")"
	done
	GARBAGE_PID=()
	return $rc
}

# garbage NAME [KEY=VALUE…]: N of a kind, to ports that nobody listens at; writes $WORK/sent
garbage() {
	local args
	read -r -a args <<< "${GARBAGE[$1]}"
	shift
	at "${args[0]}" timeout 60 "$NETBIN/garbage" "${args[@]:1}" count=$N pps=2000 \
		dport=9 seed="$SEED" "$@" > "$WORK/sent" && cat "$WORK/sent"
}

# figure FILE NAME: of what a sender printed
figure() {
	awk -v name="$2" '{ for (i = 1; i < NF; i++) if ($i == name) print $(i + 1) }' "$1"
}

# total HOOK VERDICT: packets of node 1 since the mark, whatever the reason
total() {
	gains 1 | awk -v want="$1 $2" '$1 " " $2 == want { n += $4 } END { print n + 0 }'
}

# What comes from the underlay is judged by the uplink's program, and by the agent what that leaves
refused() { echo $(($(total uplink drop) + $(total socket drop))); }
let_in() { echo $(($(total uplink fast) + $(total socket slow))); }
refused_is() { [ "$(refused)" -eq "$1" ]; }

# exact_garbage NAME: node 1 has counted every datagram, and refused exactly those that are wrong;
# others may bring answers of the pods'
exact_garbage() {
	local bad sent rc=0
	mark 1 && garbage "$1" || return
	sent=$(figure "$WORK/sent" sent) bad=$(figure "$WORK/sent" refused)
	[ "$1" = member ] || bad=$sent
	within 5 refused_is "$bad" || rc=1
	[ "$(let_in)" -ge $((sent - bad)) ] && [ "$(let_in)" -le $((sent - bad + 100)) ] || rc=1
	gains 1
	[ "$(figure "$WORK/sent" unsent)" = 0 ] && return $rc
}

# given: packets that the overlay device of node 1 has handed to the agent
given() { ip -n "$(place_ns 1)" -s -j link show flannel0 | jq '.[0].stats64.tx.packets'; }
all_given() { [ $(($(given) - $1)) -eq $(($(total tunfd slow) + $(total tunfd drop))) ]; }

# exact_pod: every packet that came through the overlay device has been counted
exact_pod() {
	local before
	mark 1 && before=$(given) && garbage pod1 || return
	within 5 all_given "$before"
	echo "the device gave $(($(given) - before)), counted:"
	gains 1
	[ "$(given)" -gt "$before" ] && all_given "$before"
}

exact() {
	check "$1: a member's garbage is counted, each by its reason" exact_garbage member
	check "$1: a stranger's garbage is counted" exact_garbage stranger
	check "$1: a pod's garbage is counted" exact_pod
}

# Load: each loop ends when $WORK/go does

# streams FROM TO: one after the other
streams() {
	while [ -e "$WORK/go" ]; do
		tcp "$1" "$(addr "$2")" $((4 << 20)) < /dev/null >> "$WORK/streams-$1" 2>&1
		sleep 0.3
	done
}

# store_write: the three nodes, and others that come and go
store_write() {
	local i
	{
		printf '{"Network": "10.244.0.0/16", "SubnetLen": 24, "Leases": ['
		printf '{"Subnet": "10.244.1.0/24", "PublicIP": "192.0.2.1"}'
		for i in 2 3 $(shuf -i 100-220 -n $((RANDOM % 60))); do
			printf ',{"Subnet": "10.244.%s.0/24", "PublicIP": "192.0.2.%s"}' "$i" "$i"
		done
		printf '], "Backend": {"Type": "udp", "Port": 8285}}\n'
	} > "$STORE.churn" && mv -T "$STORE.churn" "$STORE"
}

churn() {
	while [ -e "$WORK/go" ]; do
		store_write
		sleep 1
	done
}

# sample: RSS, PSS, anonymous memory in kB, open files
sample() {
	local pid
	pid=$(agent_pid 1)
	awk '/^(VmRSS|Pss|Anonymous):/ { printf "%s ", $2 }' "/proc/$pid/status" \
		"/proc/$pid/smaps_rollup" && find "/proc/$pid/fd" -type l | wc -l
}

samples() {
	sleep "$WARM_S"
	while [ -e "$WORK/go" ]; do
		echo "$(sample) $(cat "$WORK/fault")"
		sleep "$SAMPLE_S"
	done > "$WORK/samples" 2> /dev/null < /dev/null
}

LOOPS=()
soak_start() {
	touch "$WORK/go" "$WORK/peer"
	echo start > "$WORK/fault"
	stats_lines 1 > "$WORK/before" || return
	garbage_start
	streams 1p1 2p1 &
	LOOPS+=($!)
	streams 2p1 1p1 &
	LOOPS+=($!)
	churn &
	LOOPS+=($!)
	samples &
	LOOPS+=($!)
}

soak_stop() {
	rm -f "$WORK/go"
	garbage_stop || return
	wait "${LOOPS[@]}"
	lab_store "$STORE"
}

# Faults: each returns when it is over

peer_stops() { peer_gone TERM; }
peer_killed() { peer_gone KILL; }
peer_gone() {
	local rc
	lab_agent_stop 2 "$1"
	rc=$?
	[ "$rc" = 0 ] || [ "$1 $rc" = "KILL 137" ] || echo "ended with $rc" >> "$WORK/peer"
	grep '^weft: error' "$(lab_log 2)" >> "$WORK/peer"
	sleep $OUTAGE_S
	lab_agent_start 2 "${FLAGS[@]}" || echo "did not start" >> "$WORK/peer"
}

link_flaps() {
	at "$1" ip link set "$2" down
	sleep $OUTAGE_S
	at "$1" ip link set "$2" up
}
peer_unplugged() { link_flaps sw n2; }
peer_link_down() { link_flaps 2 wire0; }
own_link_down() { link_flaps 1 wire0; }

# Both ends differ for a while, which loses what is large
mtu_changes() {
	local mtu i
	for mtu in 1400 1280 1500; do
		for i in 1 2; do
			at sw ip link set n$i mtu $mtu && at $i ip link set wire0 mtu $mtu
			sleep 0.5
		done
	done
}

store_broken() {
	local i
	for i in 1 2 3 4 5; do
		head -c 200 "$STORE" > "$STORE.broken" && mv -T "$STORE.broken" "$STORE"
		sleep 0.3
	done
	store_write
}

# burst [PACKETS]: of a pod to the peer, more than any queue holds
burst() {
	inject 1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 dst=10.244.2.2 len=1400 \
		dport=9 count="${1:-20000}" pps=20000
}

# The wire takes little, and what does not fit is lost behind the socket
wire_overflows() {
	at 1 tc qdisc replace dev wire0 root tbf rate 20mbit burst 10kb limit 3000
	burst
	at 1 tc qdisc del dev wire0 root
}

# The wire takes little but forgets nothing: the socket's buffer fills up, and sending is refused,
# as EAGAIN, or as ENOBUFS where the packet has to leave as fragments
socket_overflows() {
	local before
	before=$(counter 1 tunfd drop send)
	at 1 ip route add 192.0.2.2/32 dev wire0 mtu 1400
	at 1 tc qdisc replace dev wire0 root tbf rate 1mbit burst 10kb limit 100mb
	burst
	at 1 tc qdisc del dev wire0 root
	at 1 ip route del 192.0.2.2/32 dev wire0
	echo "$(($(counter 1 tunfd drop send) - before)) not sent, so far" \
		"$(at 1 nstat -asz UdpSndbufErrors | tail -n 1)" >> "$WORK/refused"
}

device_overflows() {
	at 1 ip link set flannel0 txqueuelen 2
	burst
	at 1 ip link set flannel0 txqueuelen 500
}

FAULTS="peer_stops mtu_changes wire_overflows peer_link_down socket_overflows store_broken
	peer_killed device_overflows peer_unplugged own_link_down"

# The soak

passes() {
	pings 1p1 "$(addr 2p1)" && pings 2p1 "$(addr 1p1)" &&
		at 1p1 timeout 3 "$NETBIN/talk" tcp "$(addr 2p1)" $PORT 1000000 &&
		at 2p1 timeout 3 "$NETBIN/talk" tcp "$(addr 1p1)" $PORT 1000000 &&
		at 1p1 timeout 1 "$NETBIN/talk" udp "$(addr 2p1)" $PORT 10x100 10x1400 2x9000
}

passes_noted() { passes > "$WORK/calm" 2>&1 < /dev/null; }

# fault NAME: and what became of the traffic
fault() {
	local start
	echo "$1" > "$WORK/fault"
	"$1" > "$WORK/fault.out" 2>&1 < /dev/null
	start=${EPOCHREALTIME/./}
	echo "after $1" > "$WORK/fault"
	if within $CALM_S passes_noted > /dev/null; then
		echo "$1 passed $(((${EPOCHREALTIME/./} - start) / 1000)) ms"
	else
		echo "$1 failed: $(tail -n 3 "$WORK/calm" "$WORK/fault.out" | tr '\n' ' ')"
	fi >> "$WORK/faults"
	sleep 1
}

flows_end() {
	local flow
	for flow in "1p1 2p1" "2p1 1p1"; do
		# shellcheck disable=SC2086 # two places
		flow_end $flow 500 > "$WORK/flow" 2>&1 < /dev/null
		# shellcheck disable=SC2086
		echo "$flow sent $(flow_figure $flow sent) received $(flow_figure $flow received)" \
			"duplicated $(flow_figure $flow duplicated) gap $(flow_figure $flow gap)"
	done >> "$WORK/flows"
}

# soak: rounds of all faults, at least one
soak() {
	local end=$((SECONDS + SECONDS_LONG)) name
	soak_start || return
	while :; do
		flow_start 1p1 2p1 500 && flow_start 2p1 1p1 500 || return
		for name in $FAULTS; do
			[ $SECONDS -lt $end ] && fault "$name"
		done
		flows_end
		[ $SECONDS -lt $end ] || break
	done
	soak_stop
}

# Judgement

faults_pass() {
	grep ' failed' "$WORK/faults"
	awk '$2 == "passed" { n++; if ($3 > max) max = $3 }
		END { print n, "of", NR, "passed, the slowest after", max, "ms"; exit n != NR }' \
		"$WORK/faults"
}

same_agent() { [ "$(agent_pid 1) $(cut -d ' ' -f 22 "/proc/$(agent_pid 1)/stat")" = "$AGENT" ]; }

# rss_flat: from the end of the warm-up on
rss_flat() {
	awk '{ print }
		NR == 1 || $1 < min { min = $1 }
		$1 > max { max = $1 }
		END { print "RSS from", min, "to", max, "kB,", NR, "samples"
			exit !(NR > 2 && max - min <= spread) }' spread="$RSS_SPREAD_KB" "$WORK/samples"
}

# Without the moment's clients and questions for a path's MTU
files_are() { [ "$(sample | awk '{ print $4 }')" = "$1" ]; }
files_flat() {
	within 3 files_are "$FILES" || { ls -l "/proc/$(agent_pid 1)/fd"; return 1; }
}

# streams_right FROM: no byte was wrong in any; those that had no way for 10 s may be incomplete
streams_right() {
	local n bad broken
	n=$(grep -c ' 1 of 1 as sent' "$WORK/streams-$1")
	bad=$(awk '$1 == "sent" && $4 != $6' "$WORK/streams-$1" | wc -l)
	broken=$(($(grep -cvE '^sent |1 of 1 as sent' "$WORK/streams-$1") - bad))
	echo "$n streams as sent, $bad not, $broken broken" | tee -a "$WORK/summary"
	grep -v '1 of 1 as sent' "$WORK/streams-$1" | sort | uniq -c | tee -a "$WORK/summary"
	[ "$n" -gt 0 ] && [ "$bad" = 0 ]
}

flows_right() {
	cat "$WORK/flows"
	awk '{ if ($6 < $4 / 5 || $8 != 0) bad = 1 } END { exit bad || !NR }' "$WORK/flows"
}

# garbage_counted: what was refused on the whole; a link that was down took its share
garbage_counted() {
	local sent refused reason
	sent=$(($(figure "$WORK/garbage-member" refused) + $(figure "$WORK/garbage-stranger" sent)))
	soak_gains | tee -a "$WORK/summary"
	refused=$(soak_gains | awk '$1 ~ /^(uplink|socket)$/ && $2 == "drop" && $3 != "send" { n += $4 }
		END { print n + 0 }')
	echo "sent $sent, refused $refused" | tee -a "$WORK/summary"
	[ "$refused" -le "$sent" ] && [ "$refused" -ge $((sent / 2)) ] || return
	for reason in short bad_ip4 not_ipv4 ttl spoofed_inner foreign_dst unknown_peer; do
		soak_gains | grep -qE "^(uplink|socket) drop $reason " || { echo "no $reason"; return 1; }
	done
}

soak_gains() {
	awk 'FILENAME == ARGV[1] { old[$1 " " $2 " " $3] = $4; next }
		{ gain = $4 - old[$1 " " $2 " " $3] } gain > 0 { print $1, $2, $3, gain }' \
		"$WORK/before" "$WORK/after"
}

entries_as_before() { pings 1p1 "$(addr 2p1)" && entries | diff "$WORK/entries" -; }

# sending_refused: each time when the socket was full
sending_refused() {
	cat "$WORK/refused"
	awk '$1 == 0 { bad = 1 } END { exit bad || !NR }' "$WORK/refused"
}

peer_well() { cat "$WORK/peer" && [ ! -s "$WORK/peer" ]; }
log_clean() { ! grep -E '^weft: error|Sanitizer|runtime error' "$(lab_log 1)"; }

# kernel_clean: since the line that the soak wrote when it began, or all that is still there
kernel_clean() {
	! dmesg | awk -v from="$KERNEL_LINE" '{ out = out $0 "\n" }
		index($0, from) { out = "" } END { printf "%s", out }' |
		grep -E 'BUG|WARNING:|Oops|general protection|refcount|rcu.*stall|segfault'
}

# buffers_filled: the agent of node 1 has used all of its memory for packets, which the kernel gives
# it by the page: queues that have filled up while it was stopped
buffers_filled() {
	local i pid
	pid=$(agent_pid 1)
	for i in $(seq 10); do
		kill -STOP "$pid" || return
		garbage member kind=huge count=200 seed="$i" > /dev/null && burst 2000 > /dev/null
		kill -CONT "$pid" && sleep 0.2
	done
}

ready() {
	local i
	pair "$TIER" "$TIER" --nodes 3 -- --tun-io "$TUN_IO" && serve 1p1 2p1 || return
	at 3 ip addr add $STRANGER/32 dev wire0 || return
	for i in 1p1 2p1; do
		# Where garbage looks for connections
		at $i sysctl -qw net.ipv4.ip_local_port_range="40000 40999" || return
	done
	for i in 1 2; do
		at $i sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.wire0.rp_filter=0 \
			net.ipv4.conf.flannel0.rp_filter=0 || return
	done
	within 5 passes && buffers_filled && within 5 passes
}

# entries: what the maps hold of the cluster; pods speak again after a fault
entries() {
	local verb
	for verb in routes peers endpoints; do
		echo "$verb $(weft_on 1 $verb -j | jq length)"
	done
	echo "members $(bpftool -j map dump pinned "$(map_pin 1 members)" | jq length)"
}

# remember: what must not change
remember() {
	[ "$TIER" = tun ] || entries > "$WORK/entries"
	AGENT="$(agent_pid 1) $(cut -d ' ' -f 22 "/proc/$(agent_pid 1)/stat")"
	FILES=$(sample | awk '{ print $4 }')
	KERNEL_LINE="weft soak $$ begins"
	echo "$KERNEL_LINE" > /dev/kmsg
}

judge() {
	check "after each fault everything passes within $CALM_S s" faults_pass
	check "the agent of node 1 is the same" same_agent
	check "its memory is flat within $RSS_SPREAD_KB kB" rss_flat
	check "its open files are as many as before" files_flat
	check "no stream from node 1 was wrong" streams_right 1p1
	check "no stream from node 2 was wrong" streams_right 2p1
	check "numbered datagrams kept flowing, none doubled" flows_right
	check "the garbage of the soak was counted" garbage_counted
	if [ "$TIER" = tun ]; then
		check "a full socket refused to send" sending_refused
	else
		check "its maps have as many entries as before" within 5 entries_as_before
	fi
	check "the agent of node 2 started and ended well each time" peer_well
	check "the agent of node 1 ends well" lab_agent_stop 1
	check "the agent of node 1 reported no error" log_clean
	check "the kernel did not complain" kernel_clean
}

# figures: for the reader of a run that passes
figures() {
	faults_pass
	rss_flat | tail -n 1
	cat "$WORK/samples" "$WORK/faults" "$WORK/flows" "$WORK/refused" "$WORK/summary" "$WORK"/garbage-*
}

if check "three nodes get ready, $TIER, $TUN_IO" ready; then
	remember
	exact "before"
	check "soaked for $SECONDS_LONG s" soak
	stats_lines 1 > "$WORK/after"
	exact "after"
	judge
	figures | sed 's/^/# /'
fi
