# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# For the tests in network namespaces. Sourced first; a script then raises labs and says
# `check NAME COMMAND…`, which prints one TAP line. The lab is named after the script, so that
# scripts can run side by side (the same one twice with different $NET_LAB), and it is gone however
# the script ends.
set -u -o pipefail
export PATH="$PATH:/usr/sbin:/sbin"

LAB=$(basename "$0" .sh)
LAB=${NET_LAB:-wt}-${LAB#test_}
NET_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Relative to the tree, as for make
BUILD=$(cd "$NET_ROOT" && realpath -m "${BUILD:-build}")
WEFT=${WEFT:-$BUILD/weft}
PERF=${PERF:-$BUILD/tools/perf}
NETBIN=${NETBIN:-$BUILD/tests/net}
FAULTBIN=${FAULTBIN:-$BUILD/tests/fault}
# shellcheck source-path=SCRIPTDIR source=../../tools/lab.sh
. "$NET_ROOT/tools/lab.sh"

PORT=7000 # of `talk`
METERED=7777 # inner port of what `inject` makes and a meter counts
STATUS=0
WORK=
CHECK= # the one that is being made
exec {SAID}>&1 # where its result goes, while what it says goes elsewhere

# What a script has made outside of its lab, to be undone however it ends
undo() { :; }

net_cleanup() {
	trap - EXIT
	if [ -n "$CHECK" ]; then # a variable that is not set ends a script, and no check would be amiss
		echo "not ok $CHECK: the script ended in it" >&$SAID
		tail -n 5 "$WORK/check" >&$SAID
		[ $STATUS != 0 ] || STATUS=1
	fi
	lab_down
	undo
	[ -z "$WORK" ] || rm -rf "$WORK"
	exit $STATUS
}
trap net_cleanup EXIT
trap 'STATUS=130; exit' INT TERM
WORK=$(mktemp -d)

# check NAME COMMAND…: passes if the command does; what it said is shown if it does not
check() {
	local name=$1 rc=0
	shift
	CHECK=$name
	"$@" > "$WORK/check" 2>&1 < /dev/null || rc=1
	CHECK=
	if [ $rc = 0 ]; then
		echo "ok $name"
		return 0
	fi
	echo "not ok $name"
	tail -n 25 "$WORK/check" | sed 's/^/#   /'
	STATUS=1
	return 1
}

# skip NAME REASON: a check that cannot be made here
skip() { echo "ok $1 # SKIP $2"; }

# linux_since VERSION: is it this kernel, or an older one?
linux_since() { printf '%s\n' "$1" "$(uname -r)" | sort -VC; }

# kernel_has FORMAT: as a device of its own; FOU is UDP and nothing else, as format udp, and of use
# with programs since 5.14
kernel_has() {
	case $1 in
	vxlan) true ;;
	udp) linux_since 5.14 && modprobe -q fou && kernel_has ipip ;;
	ipip) modprobe -q ipip ;;
	esac
}

# ways_to_attach: --attach of this kernel
ways_to_attach() {
	! linux_since 6.6 || echo tcx
	echo clsact
}

# shown COMMAND…: its output, and the same for the reader of a failed check
shown() {
	local out
	out=$("$@") || return
	printf '%s\n' "$out" >&2
	printf '%s\n' "$out"
}

# within SECONDS COMMAND…: waits for a condition, fails if it does not come true in time
within() {
	local end=$((${EPOCHREALTIME/./} + $1 * SLOWNESS * 1000000))
	shift
	until "$@" > /dev/null 2>&1; do
		[ "${EPOCHREALTIME/./}" -lt $end ] || { echo "not within time: $*"; return 1; }
		sleep 0.02
	done
}

# Labs

# pair TIER1 TIER2 [LAB-OPTION…] [-- AGENT-FLAG…]: two nodes with agents, or more of TIER2
pair() {
	local tier1=$1 tier2=$2 i options=()
	shift 2
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift $(($# > 0))
	lab_up "${options[@]}" || return
	lab_agent_start 1 --datapath "$tier1" "$@" || return
	for i in $(seq 2 "$LAB_NODES"); do
		lab_agent_start "$i" --datapath "$tier2" "$@" || return
	done
}

# translate: the router of a routed lab gives node 1 another address for its peers, one for one, and
# the store has that
PUBLISHED=203.0.113.1
translate() {
	in_ns "$LAB-rt" nft -f - <<-END || return
		table ip nat {
			chain prerouting {
				type nat hook prerouting priority dstnat;
				ip daddr $PUBLISHED dnat to 192.0.2.1
			}
			chain postrouting {
				type nat hook postrouting priority srcnat;
				ip saddr 192.0.2.1 snat to $PUBLISHED
			}
		}
	END
	jq --arg ip $PUBLISHED '.Leases[0].PublicIP = $ip' "$(lab_dir)/store.json" > "$WORK/store" &&
		mv "$WORK/store" "$(lab_dir)/store.json"
}

# place_ns PLACE: a node "1", a pod "1p1" or the switch "sw"
place_ns() {
	case $1 in
	[0-9]*) echo "$LAB-n$1" ;;
	*) echo "$LAB-$1" ;;
	esac
}

at() { local place=$1; shift; in_ns "$(place_ns "$place")" "$@"; }

# addr PLACE: a pod's address, or that of a node's overlay device
addr() {
	case $1 in
	*p*) lab_pod_ip "${1%p*}" "${1#*p}" ;;
	*) echo "10.244.$1.0" ;;
	esac
}

# serve PLACE…: the far ends of tcp and udp, until the lab goes
serve() {
	local place
	for place; do
		at "$place" "$NETBIN/talk" serve $PORT || return
	done
}

# Traffic: each fails unless everything came back as it was sent

# Each with an identifier of its own, so that it is a new flow; ping's random ones come back.
pings() {
	local id
	id=$(($(cat "$WORK/ping_id" 2> /dev/null || echo 1000) + 1))
	echo $id > "$WORK/ping_id"
	at "$1" ping -q -e $id -c "${3:-3}" -i 0.02 -W 2 "$2" && ! grep -q duplicates "$WORK/check"
}
tcp() { at "$1" timeout $((${TALK_S:-60} * SLOWNESS)) "$NETBIN/talk" tcp "$2" $PORT "$3" "${4:-1}"; }
udp() { local place=$1 to=$2; shift 2; at "$place" timeout $((60 * SLOWNESS)) "$NETBIN/talk" udp "$to" $PORT "$@"; }

burst() { local place=$1 to=$2; shift 2; at "$place" timeout $((60 * SLOWNESS)) "$NETBIN/talk" burst "$to" $PORT "$@"; }

# inject PLACE KEY=VALUE…: see inject.c; it may take a minute more than its pace says
inject() {
	local place=$1 arg count=1 pps=20000
	shift
	for arg; do
		case $arg in
		count=*) count=${arg#*=} ;;
		pps=*) pps=${arg#*=} ;;
		esac
	done
	at "$place" timeout $(((60 + count / pps) * SLOWNESS)) "$NETBIN/inject" "$@"
}

# mac PLACE DEVICE
mac() { at "$1" ip -j link show "$2" | jq -r '.[0].address'; }

# Captures

# capture PLACE DEVICE COUNT FILTER: what arrives, in the background
capture() {
	: > "$WORK/tcpdump"
	nsenter --net="/run/netns/$(place_ns "$1")" -- timeout $((20 * SLOWNESS)) \
		tcpdump -i "$2" -n -l -x -Q in -c "$3" "$4" \
		< /dev/null > "$WORK/capture" 2> "$WORK/tcpdump" &
	CAPTURE=$!
	within 3 grep -q 'listening on' "$WORK/tcpdump"
}

# captured: one line of hex a packet, from the IP header on
captured() {
	wait "$CAPTURE" || { cat "$WORK/tcpdump" >&2; return 1; }
	awk '/^\t0x/ { sub(/^[^:]*: */, ""); gsub(/ /, ""); hex = hex $0; next }
		hex { print hex } { hex = "" } END { if (hex) print hex }' "$WORK/capture"
}

# Counters of weft

# stats_lines NODE: "hook verdict reason packets"
stats_lines() {
	weft_on "$1" stats -j |
		jq -r '.counters[] | "\(.hook) \(.verdict) \(.reason) \(.packets)"'
}

packets_of() { awk -v want="$1" '$1 " " $2 " " $3 == want { n = $4 } END { print n + 0 }'; }

# counter NODE HOOK VERDICT REASON: packets so far
counter() {
	stats_lines "$1" | packets_of "$2 $3 $4"
}

# mark [NODE…]: gains count from here; all nodes if none is named
mark() {
	local i
	# shellcheck disable=SC2046 # a list of numbers
	[ $# -gt 0 ] || set -- $(seq "$LAB_NODES")
	for i; do
		stats_lines "$i" > "$WORK/mark$i" || return
	done
}

# gains NODE: "hook verdict reason packets" of what rose since the mark
gains() {
	stats_lines "$1" > "$WORK/now" || return
	awk 'FILENAME == ARGV[1] { old[$1 " " $2 " " $3] = $4; next }
		{ gain = $4 - old[$1 " " $2 " " $3] } gain > 0 { print $1, $2, $3, gain }' \
		"$WORK/mark$1" "$WORK/now"
}

# gained NODE HOOK VERDICT REASON: packets since the mark
gained() {
	gains "$1" | packets_of "$2 $3 $4"
}

# gained_is NODE HOOK VERDICT REASON PACKETS: exactly, as soon as the agent's loop has seen them
gained_is() {
	local n end=$((SECONDS + 3 * SLOWNESS))
	n=$(gained "$1" "$2" "$3" "$4") || return
	while [ "$n" -lt "$5" ] && [ $SECONDS -lt $end ]; do
		sleep 0.05
		n=$(gained "$1" "$2" "$3" "$4") || return
	done
	[ "$n" -eq "$5" ] && return
	echo "node $1: $2 $3 $4 rose by $n, not $5; all that rose:"
	gains "$1"
	return 1
}

# gained_flow NODE HOOK PACKETS: of a new flow all but the first packet are fast; that one asks the
# host for leave
gained_flow() {
	gained_is "$1" "$2" slow unapproved 1 && gained_is "$1" "$2" fast ok $(($3 - 1))
}

# For awk: a line of gains that is a packet's way to its flow's approval
# shellcheck disable=SC2016 # not for the shell
export ASKS='$3 ~ /^(unapproved|stale|generation|declined|control)$/ || $1 ~ /^(enter|deliver)$/'
# Of a flow of 10,000 packets a second, all of them until one has come through
export ASKS_FEW=$((200 + 20 * (SLOWNESS - 1)))

# Meters: an nft counter at a device's ingress, the last word on what was delivered

# meter PLACE DEVICE [PORT]: of packets to a port, METERED unless told
meter() {
	at "$1" nft -f - <<-END
		table netdev weft_meter_$2 {
			counter seen { }
			chain arrives {
				type filter hook ingress device "$2" priority 0; policy accept;
				udp dport ${3:-$METERED} counter name seen
			}
		}
	END
}

# metered PLACE DEVICE
metered() {
	at "$1" nft -j list counter netdev "weft_meter_$2" seen |
		jq '.nftables[] | .counter // empty | .packets'
}

metered_is() { [ "$(metered "$1" "$2")" -eq "$3" ]; }

# arrived PLACE DEVICE PACKETS: so many have come within 3 s, and no more a moment later
arrived() {
	within 3 metered_is "$@" && sleep 0.1 && metered_is "$@" && return
	echo "$1: $(metered "$1" "$2") arrived, not $3"
	return 1
}

meter_reset() { at "$1" nft reset counter netdev "weft_meter_$2" seen > /dev/null; }

# Programs of others, see foreign.c

# foreign NAME HOW DEVICE [DIRECTION]: a program at node 1
foreign() {
	local id
	id=$(at 1 "$NETBIN/foreign" "${@:2}") && echo "$id" > "$WORK/id.$1"
}

count_of() { "$NETBIN/foreign" count "$(cat "$WORK/id.$1")"; }

# Flows: numbered datagrams from one pod to another, see flow.c

FLOW_PORT=7001
# Datagrams a second, unless told
FLOW_RATE=$((10000 / SLOWNESS))
FLOW_S=${FLOW_S:-$((SLOWNESS > 1 ? 3600 : 900))} # at most
declare -A FLOW_SENDER FLOW_RECEIVER

# flow_start FROM TO [RATE]: until flow_end, one flow to a pod at a time
flow_start() {
	local flow=$1-$2 out=$WORK/flow-$1-$2
	# What a check left that failed on its way
	if [ -n "${FLOW_SENDER[$flow]:-}" ]; then
		kill "${FLOW_SENDER[$flow]}" "${FLOW_RECEIVER[$flow]}"
		wait "${FLOW_SENDER[$flow]}" "${FLOW_RECEIVER[$flow]}"
	fi 2> /dev/null
	rm -f "$out" # of an earlier flow, it says "listening", too
	nsenter --net="/run/netns/$(place_ns "$2")" -- "$NETBIN/flow" receive $FLOW_PORT \
		< /dev/null > "$out" 2>&1 &
	FLOW_RECEIVER[$flow]=$!
	within 3 grep -q listening "$out" || return
	nsenter --net="/run/netns/$(place_ns "$1")" -- \
		"$NETBIN/flow" send "$(addr "$2")" $FLOW_PORT "${3:-$FLOW_RATE}" "$FLOW_S" \
		< /dev/null > "$out.sent" 2>&1 &
	FLOW_SENDER[$flow]=$!
}

# flow_end FROM TO [RATE]: shows what became of it; fails if the flow was not as dense as meant
flow_end() {
	local flow=$1-$2 out=$WORK/flow-$1-$2 rc=0
	kill "${FLOW_SENDER[$flow]}" || return
	wait "${FLOW_SENDER[$flow]}" && wait "${FLOW_RECEIVER[$flow]}" || rc=1
	unset "FLOW_SENDER[$flow]" "FLOW_RECEIVER[$flow]"
	echo "from $1 to $2:" && cat "$out.sent" "$out"
	[ $rc = 0 ] || return
	awk -v rate="${3:-$FLOW_RATE}" '{ exit !($6 > 0 && $2 * 1000 >= $6 * rate * 0.9) }' "$out.sent"
}

# flow_figure FROM TO NAME: of a flow that has ended: sent, received, lost, duplicated, reordered,
# stray, gap (milliseconds)
flow_figure() {
	awk -v name="$3" '$1 == "sent" {
		for (i = 1; i < NF; i += 2)
			if ($i == name)
				print $(i + 1)
		}' "$WORK/flow-$1-$2"
}

# flow_whole FROM TO: everything that was sent arrived, once
flow_whole() {
	[ "$(flow_figure "$1" "$2" sent)" -gt 0 ] && [ "$(flow_figure "$1" "$2" lost)" -eq 0 ] &&
		[ "$(flow_figure "$1" "$2" duplicated)" -eq 0 ] &&
		[ "$(flow_figure "$1" "$2" stray)" -eq 0 ] && return
	echo "from $1 to $2, not whole:" && cat "$WORK/flow-$1-$2"
	return 1
}

# load_start, load_end: such a flow each way between the first pods of nodes 1 and 2
load_start() {
	BACKLOG_DROPS=$(backlog_drops)
	flow_start 1p1 2p1 && flow_start 2p1 1p1
}

load_end() {
	local rc=0
	flow_end 1p1 2p1 || rc=1
	flow_end 2p1 1p1 || rc=1
	echo "dropped by this machine's CPUs: $(($(backlog_drops) - BACKLOG_DROPS))"
	return $rc
}

# What never met a program: a CPU was too late to take it
backlog_drops() {
	local n=0 drops
	while read -r _ drops _; do
		n=$((n + 16#$drops))
	done < /proc/net/softnet_stat
	echo $n
}

load_lossless() { load_end && flow_whole 1p1 2p1 && flow_whole 2p1 1p1; }

# The agent of a node

agent_pid() { cat "$(lab_dir)/n$1.pid"; }
status_of() { weft_on "$1" status -j | jq -r ".$2"; }
status_is() { [ "$(status_of "$1" "$2")" = "$3" ]; }
# fd_kinds NODE: what its descriptors are; a link is named by how it was come by
fd_kinds() {
	find "/proc/$(agent_pid "$1")/fd" -type l -printf '%l\n' |
		sed 's/[0-9]\+//g; s/bpf-link/bpf_link/' | sort
}
pin_dir() { echo "/sys/fs/bpf/weft$(lab_state "$1" | tr /. -)"; }
# map_pin NODE NAME: of the one version there
map_pin() { echo "$(pin_dir "$1")"/maps-*/"$2"; }

audit() { at "$1" "$FAULTBIN/audit" "$(pin_dir "$1")"; }

# programs NODE: weft's on its hooks, a line each. bpftool sees no TCX, audit nothing else; what it
# says of pins is not asked here.
programs() {
	local net tcx rc
	net=$(at "$1" bpftool net show) || return
	tcx=$(audit "$1")
	rc=$?
	[ $rc -le 1 ] || return
	grep -F weft_ <<< "$net"
	grep '^hook ' <<< "$tcx"
	return 0
}

has_programs() {
	local found
	found=$(programs "$1") && [ -n "$found" ] || { echo "node $1 has no program of weft's"; return 1; }
}

# no_programs NODE: to be asked where has_programs was true before
no_programs() {
	local found
	found=$(programs "$1") && [ -z "$found" ] || { echo "$found"; return 1; }
}

endpoint_known() {
	weft_on "$1" endpoints -j | jq -e --arg addr "$2" 'any(.address == $addr)'
}

# link_ids NODE: of its pinned links, by pin; a link that was replaced is another one
link_ids() {
	local pin
	for pin in "$(pin_dir "$1")"/links/*; do
		[ -e "$pin" ] || continue
		echo "${pin##*/} $(bpftool -j link show pinned "$pin" | jq .id)"
	done
}

# exits STATUS COMMAND…
exits() {
	local want=$1 rc
	shift
	"$@"
	rc=$?
	echo "exit status $rc, want $want"
	[ $rc = "$want" ]
}
