#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# --metrics under real agents: the figures are those of the verbs and move with traffic, readiness
# goes both ways and says why, and no client, however slow, rude or many, stops or grows the agent.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

HTTP=9100
PER_ADDRESS=8 # connections, of HTTP_CONNECTIONS
HTTP_CONNECTIONS=16
LIFETIME=10 # seconds of one
COUNT_AGE=30 # seconds that a count of the approvals stands

# Requests

# get PLACE URL-OR-PATH [CURL-FLAG…]: the body on stdout, and fails as curl does
get() {
	local place=$1 url=$2
	shift 2
	[[ $url == http:* ]] || url=http://127.0.0.1:$HTTP$url
	at "$place" curl -sS --max-time 5 "$@" "$url"
}

# code PLACE URL-OR-PATH [CURL-FLAG…]
code() { get "$@" -o /dev/null -w '%{http_code}\n'; }
code_is() { local want=$1; shift; [ "$(shown code "$@")" = "$want" ]; }

# sample NODE NAME: its value; NAME with its labels, if it has any
sample() { get "$1" /metrics | awk -v name="$2" '$1 == name { print $2; n++ } END { exit n != 1 }'; }
sample_is() { [ "$(shown sample "$1" "$2")" = "$3" ]; }

# quick COMMAND…: within a second
quick() {
	local start=${EPOCHREALTIME/./} us
	"$@" || return
	us=$((${EPOCHREALTIME/./} - start))
	echo "took $((us / 1000)) ms"
	[ "$us" -lt $((1000000 * SLOWNESS)) ]
}

quick_status() { quick weft_on 1 status -j > /dev/null && quick code_is 200 1 /healthz; }

# Figures

# Strict: what the text format 0.0.4 allows, of which weft uses a part
# shellcheck disable=SC2016 # not for the shell
PROMETHEUS='
	function bad(why) { printf "line %d: %s: %s\n", NR, why, $0; wrong = 1; exit 1 }
	function begin(name) {
		if (name != family && name in over)
			bad("family in two places")
		if (family != "" && name != family)
			over[family] = 1
		family = name
	}
	/^# (HELP|TYPE) / {
		if ($3 !~ /^[a-zA-Z_:][a-zA-Z0-9_:]*$/)
			bad("name")
		begin($3)
		if (($2, $3) in said)
			bad("said twice")
		if ($3 in samples)
			bad("behind a sample")
		said[$2, $3] = 1
		if ($2 == "TYPE" && (NF != 4 || $4 !~ /^(counter|gauge)$/))
			bad("type")
		if ($2 == "HELP" && NF < 4)
			bad("no help")
		if ($2 == "TYPE" && ($4 == "counter") != ($3 ~ /_total$/))
			bad("only counters are totals")
		next
	}
	/^#/ || !NF { bad("neither comment nor sample") }
	{
		if (!match($0, /^[a-zA-Z_:][a-zA-Z0-9_:]*/))
			bad("name")
		name = substr($0, 1, RLENGTH)
		rest = substr($0, RLENGTH + 1)
		if (name != family || !(("HELP", name) in said) || !(("TYPE", name) in said))
			bad("no HELP and TYPE before it")
		labels = ""
		if (match(rest, /^\{[a-z_]+="([^"\\]|\\["\\n])*"(,[a-z_]+="([^"\\]|\\["\\n])*")*\}/)) {
			labels = substr(rest, 1, RLENGTH)
			rest = substr(rest, RLENGTH + 1)
		}
		if (rest !~ /^ [0-9]+(\.[0-9]+)?$/)
			bad("value")
		if ((name, labels) in seen)
			bad("sample twice")
		seen[name, labels] = 1
		samples[name] = 1
		n++
	}
	END { if (!wrong) print n + 0 " samples"; exit wrong || !n }'

# parses NODE [LABEL]: and there are the families that a node always has
parses() {
	local name
	get "$1" /metrics > "$WORK/text" || return
	awk "$PROMETHEUS" "$WORK/text" || return
	[ "$(tail -c 1 "$WORK/text" | od -An -tx1)" = " 0a" ] || return
	for name in weft_peers weft_peers_resolved weft_leases weft_store_up weft_ready \
		weft_start_time_seconds process_resident_memory_bytes process_open_fds \
		process_cpu_seconds_total weft_store_refused_total; do
		grep -q "^$name [0-9]" "$WORK/text" || { echo "no $name"; return 1; }
	done
	grep "^weft_build_info{version=\"[^\"]\+\",datapath=\"$2\",format=\"udp\"} 1$" "$WORK/text"
}

checker_refuses() {
	! printf '%b' "$1" | awk "$PROMETHEUS"
}

checker_is_strict() {
	local head='# HELP a b\n# TYPE a gauge\n'
	printf '%b' "${head}a 1\n" | awk "$PROMETHEUS" || return
	checker_refuses 'a 1\n' && checker_refuses '# HELP a b\na 1\n' &&
		checker_refuses "${head}a 1\na 1\n" && checker_refuses "${head}a{b=\"c\"\"} 1\n" &&
		checker_refuses "${head}a{b=\"c\\\\x\"} 1\n" && checker_refuses "${head}a x\n" &&
		checker_refuses "${head}a 1\n# HELP b b\n# TYPE b gauge\nb 1\n${head}a 2\n" &&
		checker_refuses "${head}${head}a 1\n" && checker_refuses "${head}\na 1\n" &&
		checker_refuses '# HELP a_total b\n# TYPE a_total gauge\na_total 1\n'
}

# Both as "hook verdict reason packets bytes"
stats_figures() {
	weft_on "$1" stats -j | jq -r '.counters[] |
		"\(.hook) \(.verdict) \(.reason) \(.packets) \(.bytes)"' | sort
}

metrics_figures() {
	get "$1" /metrics | sed -n 's/^weft_\(packets\|bytes\)_total{hook="\([a-z]*\)",verdict="\([a-z]*\)",reason="\([a-z0-9_]*\)"} \([0-9]*\)$/\2 \3 \4 \1 \5/p' |
		awk '{ key = $1 " " $2 " " $3 } $4 == "packets" { packets[key] = $5 }
			$4 == "bytes" { bytes[key] = $5 }
			END { for (key in packets) print key, packets[key], bytes[key] }' | sort
}

# Something may be counted between two looks; then they are taken again.
agrees_once() {
	stats_figures "$1" > "$WORK/stats" && metrics_figures "$1" > "$WORK/metrics" &&
		[ -s "$WORK/stats" ] && diff "$WORK/stats" "$WORK/metrics"
}

agrees() {
	within 5 agrees_once "$1" && wc -l < "$WORK/stats" && return
	diff "$WORK/stats" "$WORK/metrics"
	return 1
}

# moves HOOK VERDICT: by so many packets as are sent, and by their bytes
moves() {
	local name="{hook=\"$1\",verdict=\"$2\",reason=\"ok\"}" packets bytes
	packets=$(sample 1 "weft_packets_total$name") && bytes=$(sample 1 "weft_bytes_total$name") ||
		return
	at 1p1 ping -q -e 77 -c 50 -i 0.02 -W 2 10.244.2.2 || return
	packets=$(($(sample 1 "weft_packets_total$name") - packets))
	bytes=$(($(sample 1 "weft_bytes_total$name") - bytes))
	echo "$packets packets, $bytes bytes"
	# A ping is 84 bytes of IPv4; the flow's first one asks for leave
	[ $packets -ge 49 ] && [ $packets -le 50 ] && [ $bytes -ge $((packets * 84)) ] &&
		[ $bytes -le $((packets * (84 + 14))) ]
}

# drops: what an outsider sends is refused, counted, and found by its reason
drops() {
	local name='weft_packets_total{hook="uplink",verdict="drop",reason="unknown_peer"}' before
	before=$(sample 1 "$name" || echo 0)
	inject 2 dev=wire0 eth_dst="$(mac 1 wire0)" outer_src=192.0.2.99 outer_dst=192.0.2.1 \
		src=10.244.2.2 dst=10.244.1.2 count=25 || return
	echo "was $before"
	within 2 sample_is 1 "$name" $((before + 25))
}

cluster_figures() {
	sample_is 1 weft_peers 1 && sample_is 1 weft_peers_resolved 1 && sample_is 1 weft_leases 2 &&
		sample_is 1 weft_store_up 1 && ! sample 1 weft_lease_expires_seconds
}

process_figures() {
	local pid rss fds start now
	pid=$(agent_pid 1)
	rss=$(($(sample 1 process_resident_memory_bytes) / 1024))
	fds=$(sample 1 process_open_fds)
	start=$(sample 1 weft_start_time_seconds)
	now=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
	echo "rss $rss kB, VmRSS $now kB, fds $fds, started $start"
	# The kernel counts pages in batches for each thread; a connection is open while it counts
	[ $((rss - now)) -lt 1024 ] && [ $((now - rss)) -lt 1024 ] &&
		[ $((fds - $(fds_of 1))) -le 1 ] && [ $((fds - $(fds_of 1))) -ge 0 ] &&
		[ "${start%.*}" -le "$(date +%s)" ] && [ "${start%.*}" -gt $(($(date +%s) - 600)) ]
}

# entries_are NODE MAP ENTRIES
entries_are() { sample_is "$1" "weft_map_entries{map=\"$2\"}" "$3"; }

flows() { weft_on "$1" flows -j | jq length; }

map_figures() {
	# A cell is a subnet; of two, one is this node's own
	entries_are 1 routes 2 && entries_are 1 peers 1 &&
		entries_are 1 endpoints "$(weft_on 1 endpoints -j | jq length)" &&
		entries_are 1 approvals "$(shown flows 1)" &&
		sample_is 1 'weft_map_max_entries{map="approvals"}' 262144 &&
		sample_is 1 'weft_map_max_entries{map="routes"}' 65536
}

# many_approvals NODE N: of flows that there never were; more than one batch
many_approvals() {
	local pin
	pin=$(map_pin "$1" approvals)
	seq "$2" | awk -v pin="$pin" '{
		printf "map update pinned %s key 203 0 113 1 203 0 113 2", pin
		printf " %d %d 0 1 6 0 0 0", $1 / 256, $1 % 256
		print " value 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"
	}' > "$WORK/batch"
	bpftool batch file "$WORK/batch" > "$WORK/batch.out" && [ "$(flows "$1")" -ge "$2" ]
}

counts_in_batches() {
	many_approvals 2 9000 || return
	# The first answer comes before the walk is done
	! sample 2 'weft_map_entries{map="approvals"}' || return
	within 2 entries_are 2 approvals "$(shown flows 2)"
}

# Readiness

# not_ready NODE LINE: 503, and among its lines this one; the verb and the figure say the same
not_ready() {
	code_is 503 "$1" /readyz && get "$1" /readyz > "$WORK/body" || return
	cat "$WORK/body"
	grep -qxF "$2" "$WORK/body" || return
	weft_on "$1" status -j | jq -r '.not_ready[]' | diff "$WORK/body" - &&
		status_is "$1" ready false && sample_is "$1" weft_ready 0 && code_is 200 "$1" /healthz
}

is_ready() {
	code_is 200 "$1" /readyz && [ "$(get "$1" /readyz)" = ready ] &&
		status_is "$1" ready true && sample_is "$1" weft_ready 1 &&
		[ "$(status_of "$1" not_ready)" = "[]" ]
}

uplink_down() { at 1 ip link set wire0 down && within 2 not_ready 1 "uplink wire0 is down"; }
uplink_back() { at 1 ip link set wire0 up && within 3 is_ready 1; }

address_gone() {
	at 1 ip addr del 192.0.2.1/24 dev wire0 &&
		within 2 not_ready 1 "uplink wire0 lacks the address 192.0.2.1"
}
address_back() { at 1 ip addr add 192.0.2.1/24 dev wire0 && within 3 is_ready 1; }

port_pin() { echo "$(pin_dir 1)/links/port-$(at 1 ip -j link show veth1 | jq ".[0].ifindex")"; }

# The link goes with its pin, and a directory in its place keeps the agent from attaching again; it
# must not be quicker than we are.
hook_detached() {
	local pin pid
	pin=$(port_pin)
	pid=$(agent_pid 1)
	kill -s STOP "$pid" && rm "$pin" && mkdir "$pin" && kill -s CONT "$pid" &&
		within 2 not_ready 1 "hook port on veth1 does not hold our program"
}

hook_attached() { rmdir "$(port_pin)" && within 8 is_ready 1 && [ -f "$(port_pin)" ]; }

# The agent puts it back.
filter_detached() {
	at 1 tc filter del dev veth1 ingress && within 3 filter_attached && is_ready 1
}

filter_attached() { at 1 tc filter show dev veth1 ingress | grep weft_port; }

port_anew() {
	at 1 ip link set veth1 nomaster && at 1 ip link set veth1 master cni0 && within 3 is_ready 1
}

# A file read right after its change is read again with the next event: once or twice
was_refused() { [ "$(shown sample 1 weft_store_refused_total)" -ge 1 ]; }

# Both nodes read this file: only one of them is asked
refused_stays_ready() {
	local store
	store=$(lab_dir)/store.json
	cp "$store" "$WORK/store" && echo '{' > "$store.new" && mv "$store.new" "$store" || return
	within 3 sample_is 1 weft_store_up 0 && was_refused && is_ready 1
	local rc=$?
	cp "$WORK/store" "$store.new" && mv "$store.new" "$store" || return
	within 3 sample_is 1 weft_store_up 1 && was_refused && return $rc
}

# Protocol

head_is_short() {
	get 1 /metrics -I > "$WORK/head" || return
	cat "$WORK/head"
	grep -q '^HTTP/1.1 200 ' "$WORK/head" && ! grep weft_ "$WORK/head" &&
		grep -qi '^Content-Type: text/plain; version=0.0.4; charset=utf-8.$' "$WORK/head" &&
		[ "$(grep -i '^content-length' "$WORK/head" | tr -dc 0-9)" -gt 1000 ]
}

# not_allowed METHOD [CURL-FLAG…]
not_allowed() {
	local method=$1
	shift
	get 1 /metrics -X "$method" -D "$WORK/head" "$@" > "$WORK/body" || return
	cat "$WORK/head" "$WORK/body"
	grep -q '^HTTP/1.1 405 ' "$WORK/head" && grep -qi '^Allow: GET, HEAD.$' "$WORK/head" &&
		[ "$(cat "$WORK/body")" = "method not allowed" ]
}

other_methods() {
	local method
	for method in POST PUT DELETE OPTIONS PATCH TRACE get; do
		not_allowed $method || return
	done
	not_allowed POST -d "$(head -c 4000 /dev/zero | tr '\0' x)"
}

other_paths() {
	local path
	for path in / /metric /metrics/ /metricsx /healthz/x /READYZ /%2e%2e /../etc/passwd; do
		code_is 404 1 "$path" --path-as-is || return
	done
	code_is 200 1 "/metrics?name=x" && code_is 200 1 "/healthz?" && code_is 200 1 /%6detrics
}

one_answer_each() {
	printf 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n%.0s' 1 2 3 |
		at 1 socat -t 5 - "TCP:127.0.0.1:$HTTP" > "$WORK/answers"
	cat "$WORK/answers"
	[ "$(grep -c '^HTTP/1.1 200' "$WORK/answers")" = 1 ] &&
		grep -qi '^Connection: close' "$WORK/answers"
}

# Rude clients

fds_of() { find "/proc/$(agent_pid "$1")/fd" -mindepth 1 | wc -l; }
fds_are() { [ "$(fds_of "$1")" = "$2" ]; }
rss_of() { awk '/^VmRSS/ { print $2 }' "/proc/$(agent_pid "$1")/status"; } # kB
# In hundredths of a second
cpu_of() { awk '{ print $14 + $15 }' "/proc/$(agent_pid "$1")/stat"; }

send_raw() { at 1 timeout 5 socat -t 2 - "TCP:127.0.0.1:$HTTP" 2> /dev/null; }

garbage() {
	local i
	for i in $(seq 20); do
		head -c 20000 /dev/urandom | send_raw > /dev/null
	done
	for i in '\r\n\r\n' 'GET\r\n\r\n' 'GET  HTTP/1.1\r\n\r\n' '\0\0\0\0' 'GET /metrics HTTP/9.9\r\n\r\n' \
		'GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n' 'GET /%%%zz HTTP/1.1\r\n\r\n' \
		'POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n' \
		'GET /metrics HTTP/1.1\nHost: x\n\n' ': : :\r\n: \r\n\r\n'; do
		printf '%b' "$i" | send_raw > "$WORK/out"
		! grep -a '^HTTP/[0-9.]* 500' "$WORK/out" || return
		quick_status || return
	done
}

# long_header BYTES: refused as too large, or cut off
long_header() {
	{
		printf 'GET /metrics HTTP/1.1\r\nX: '
		head -c "$1" /dev/zero | tr '\0' a
		printf '\r\n\r\n'
	} | send_raw > "$WORK/out"
	head -n 1 "$WORK/out"
	! grep -q '^HTTP/1.1 200' "$WORK/out" && quick_status
}

long_path() { code_is 414 1 "/$(head -c 20000 /dev/zero | tr '\0' a)"; }

# quiet: no connection is left; one that was cut off in the middle may last its time
quiet() { within $((LIFETIME + 2)) fds_are 1 "$FDS"; }

# idle PLACE ADDRESS N: connections that say nothing, until idle_end; those refused stay open here
idle() {
	nsenter --net="/run/netns/$(place_ns "$1")" -- bash -c '
		for _ in $(seq '"$3"'); do exec {fd}<> /dev/tcp/'"$2/$HTTP"'; done
		: > '"$WORK/idle-$1"'; exec sleep 60' < /dev/null > /dev/null 2>&1 &
	IDLE_PIDS+=($!)
	within 8 [ -e "$WORK/idle-$1" ] && rm "$WORK/idle-$1"
}

idle_end() {
	kill "${IDLE_PIDS[@]}"
	wait "${IDLE_PIDS[@]}"
	IDLE_PIDS=()
} 2> /dev/null

# One address has its share of the connections; the rest of the 200 are closed, all in time.
idle_200() {
	local cpu rc=0
	IDLE_PIDS=()
	quiet || return
	idle 2 192.0.2.1 200 || rc=1
	quick_status || rc=1
	within 1 fds_are 1 $((FDS + PER_ADDRESS)) || rc=1
	echo "$(fds_of 1) descriptors, $FDS before"
	cpu=$(cpu_of 1)
	sleep 2
	echo "CPU $(($(cpu_of 1) - cpu)) of 200"
	[ $(($(cpu_of 1) - cpu)) -lt 20 ] || rc=1
	quiet || rc=1
	idle_end
	return $rc
}

# Two addresses fill the house: a third waits, while the agent sleeps, until it empties by itself.
full_house() {
	local cpu rc=0
	IDLE_PIDS=()
	quiet || return
	idle 2 192.0.2.1 20 && idle 1p1 10.244.1.1 20 || rc=1
	within 2 fds_are 1 $((FDS + HTTP_CONNECTIONS)) || rc=1
	echo "$(fds_of 1) descriptors, $FDS before"
	quick weft_on 1 status -j > /dev/null || rc=1
	cpu=$(cpu_of 1)
	code_is 200 1 /metrics --max-time $((LIFETIME + 2)) || rc=1
	echo "CPU $(($(cpu_of 1) - cpu))"
	[ $(($(cpu_of 1) - cpu)) -lt 50 ] || rc=1
	quiet || rc=1
	idle_end
	return $rc
}

# A byte a second: never silent for long, and cut off all the same
slow_client() {
	local start=$SECONDS seconds
	at 1 bash -c '
		exec 3<> /dev/tcp/127.0.0.1/'$HTTP'
		printf "GET /metrics HTTP/1.1\r\nX: " >&3
		trap "" PIPE
		for _ in $(seq 25); do
			printf a >&3 || exit 0
			read -r -t 1 -N 1 <&3
			[ $? -gt 128 ] || exit 0
		done
		exit 1' < /dev/null &
	for _ in 1 2 3 4; do
		sleep 1
		quick_status || return
	done
	wait $! || { echo "never cut off"; return 1; }
	seconds=$((SECONDS - start))
	echo "cut off after $seconds s"
	[ $seconds -ge $((LIFETIME - 1)) ] && [ $seconds -le $((LIFETIME + 2)) ]
}

# A request, and not a byte of the answer is read
deaf_client() {
	local rc
	nsenter --net="/run/netns/$(place_ns 2)" -- bash -c '
		for _ in $(seq 30); do
			exec {fd}<> /dev/tcp/192.0.2.1/'$HTTP' && printf "GET /metrics HTTP/1.1\r\n\r\n" >&$fd
		done 2> /dev/null
		exec sleep 60' < /dev/null > /dev/null 2>&1 &
	quick_status && quiet
	rc=$?
	kill $!
	wait $! 2> /dev/null
	return $rc
}

# many_scrapes N: one after the other from two places at a time
many_scrapes() {
	at 1 bash -c 'for _ in $(seq '"$1"'); do
		curl -sS --max-time 5 -o /dev/null http://127.0.0.1:'$HTTP'/metrics || exit; done' &
	at 2 bash -c 'for _ in $(seq '"$1"'); do
		curl -sS --max-time 5 -o /dev/null http://192.0.2.1:'$HTTP'/metrics || exit; done' &&
		wait $!
}

# After all the attacks, of which a first round has been: nothing has grown
flat() {
	local rss
	quiet
	rss=$(rss_of 1)
	echo "RSS $rss kB, $RSS before; $(fds_of 1) descriptors, $FDS before"
	[ $((rss - RSS)) -le 1024 ] && fds_are 1 "$FDS"
}

rude_round() {
	garbage && long_header 1000000 && many_scrapes 50
}

# Refused starts

# refused STATUS MESSAGE FLAG…: of an agent of node 1 that must not begin
refused() {
	local want=$1 message=$2
	shift 2
	exits "$want" timeout 10 nsenter --net="/run/netns/$(lab_node 1)" "$WEFT" run \
		--store "static:$(lab_dir)/store.json" --iface wire0 --state-dir "$(lab_state 1)" \
		--subnet-file "$(lab_subnet_env 1)" "$@" > "$WORK/refusal" 2>&1
	local rc=$?
	cat "$WORK/refusal"
	[ $rc = 0 ] && grep -qF -- "$message" "$WORK/refusal" && untouched
}

untouched() {
	! at 1 ip link show flannel0 && [ ! -e "$(pin_dir 1)" ] && [ ! -e "$(lab_subnet_env 1)" ] &&
		! at 1 nft list tables | grep weft && ! at 1 ip route | grep 10.244.0.0/16
}

in_use() {
	local rc
	nsenter --net="/run/netns/$(place_ns 1)" -- \
		socat "TCP-LISTEN:$HTTP,bind=127.0.0.1,reuseaddr" - < /dev/null > /dev/null 2>&1 &
	within 3 at 1 bash -c "ss -Hltn 'sport = :$HTTP' | grep -q ." || return
	refused 1 "cannot serve metrics on $1: Address already in use" --metrics "$1"
	rc=$?
	kill $!
	wait $! 2> /dev/null
	return $rc
}

ready() { pair bpf bpf -- --metrics ":$HTTP" && pings 1p1 10.244.2.2 5; }

# settled: every neighbour is known, and what the pings made has been seen
settled() { within 3 endpoint_known 1 10.244.1.2 && within 3 sample_is 1 weft_peers_resolved 1; }

check "the checker of Prometheus' text refuses what is wrong" checker_is_strict
check "agents get ready, metrics on all addresses" ready
check "ready" is_ready 1
check "and reached from elsewhere, at any of its addresses" \
	code_is 200 2 "http://192.0.2.1:$HTTP/readyz"
check "node 2: 9,000 approvals more are counted in batches" counts_in_batches
check "the pod and the peer are known" settled
check "/metrics is Prometheus' text format" parses 1 bpf
check "each counter is that of weft stats" agrees 1
check "of the other node, too" agrees 2
check "leases and peers are those of the store" cluster_figures
check "maps hold what the verbs list" map_figures
check "memory, descriptors and start are the process's" process_figures
check "counters move with traffic" moves port fast
check "those of drops, too" drops
check "and still are those of weft stats" agrees 1

check "HEAD has no body, and the length of one" head_is_short
check "other methods: 405, Allow" other_methods
check "other paths: 404" other_paths
check "one answer a connection" one_answer_each
check "a path of 20 kB: 414" long_path

check "the uplink goes down: 503, and why" uplink_down
check "it is back: 200" uplink_back
check "the uplink's address goes: 503, and why" address_gone
check "it is back: 200" address_back
check "a hook is detached: 503, and which" hook_detached
check "it can be attached again, and is: 200" hook_attached
check "the port comes anew: 200" port_anew
check "a state that is refused: store down, still ready" refused_stays_ready

check "rude clients, a first round" rude_round
sleep $((LIFETIME + 1)) # until the last connection of these is gone
RSS=$(rss_of 1)
FDS=$(fds_of 1)
check "garbage" garbage
check "a header of 1 MB" long_header 1000000
check "200 silent connections of one client" idle_200
check "two clients hold all connections, a third waits" full_house
check "a byte a second" slow_client
check "a client that reads nothing" deaf_client
check "200 scrapes" many_scrapes 100
check "descriptors are what they were, memory within 1 MB" flat
check "the same agent forwards" pings 1p1 10.244.2.2 5
check "approvals are counted again after $COUNT_AGE s" within $((COUNT_AGE + 5)) map_figures

check "restarted: the port is free at once" eval \
	'lab_agent_stop 1 && lab_agent_start 1 --datapath bpf --attach clsact --metrics 127.0.0.1:$HTTP'
check "127.0.0.1 only: not reached from elsewhere" eval \
	'is_ready 1 && ! get 2 "http://192.0.2.1:$HTTP/healthz"'
check "clsact: a filter that somebody deletes comes back" filter_detached
check "clsact: the port comes anew: 200" port_anew

check "datapath tun: no maps, all else" eval \
	'lab_agent_stop 1 && lab_agent_start 1 --datapath tun --metrics "*:$HTTP" &&
	pings 1p1 10.244.2.2 5 && parses 1 tun && agrees 1 && is_ready 1 &&
	! grep "^weft_map_entries{" "$WORK/text"'
check "datapath tun: the uplink goes down: 503, and why" uplink_down
check "datapath tun: it is back: 200" uplink_back
check "without --metrics nothing listens" eval \
	'lab_agent_stop 1 && lab_agent_start 1 && ! get 1 /healthz'

check "stopped and cleaned up" eval 'lab_agent_stop 1 && weft_on 1 cleanup'
check "port in use: status 1, the address named, nothing made" in_use ":$HTTP"
check "port in use at one address: the same" in_use "127.0.0.1:$HTTP"
check "not an address of this node: status 1, nothing made" refused 1 \
	"cannot serve metrics on 203.0.113.9:$HTTP: Cannot assign requested address" \
	--metrics "203.0.113.9:$HTTP"
for address in 9100 localhost:9100 127.0.0.1: :0 :65536 ::9100 "[::]:9100" ""; do
	check "--metrics \"$address\": status 2" refused 2 "--metrics $address: must" \
		--metrics "$address"
done
