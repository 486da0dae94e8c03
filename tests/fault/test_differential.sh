#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The same frames, 20,000 each way, by every path that weft has for them: the agent packet by packet
# (flannel's loop, the reference), the agent in batches, BPF, and the agent behind programs that pass
# everything. The same again from pod to pod in the formats vxlan and ipip. Among them is all that no sound sender makes; all are sent twice, as a flow's first
# packet asks the host for leave. What a pod is given must be the same frames byte for byte, Ethernet
# header and hop count included, whichever way they went.
#   SEED=1            of the garbage
#   PATHS="…"         beside the reference
#   FORMATS="…"       of the underlay
# shellcheck source-path=SCRIPTDIR source=../net/lib.sh
. "$(dirname "$0")/../net/lib.sh"

SEED=${SEED:-1}
PATHS=${PATHS:-batch bpf passed}
FORMATS=${FORMATS:-udp vxlan ipip}
FORMAT=udp
PPS=5000
EACH=1000 # of a kind of garbage
VALID=3000
FRAMES=20000 # each way, at least
GATEWAY=02:00:0a:f4:01:01 # cni0 of node 1, see lab.sh
STRANGER=192.0.2.77
PODS="1p1 2p1"
declare -A WITNESS

# Paths

path_up() {
	local lab=(--nodes 3 --mtu 1500 -- --format "$FORMAT")
	case $1 in
	plain) pair tun tun "${lab[@]}" --tun-io plain ;;
	batch) pair tun tun "${lab[@]}" ;;
	bpf | passed) pair bpf bpf "${lab[@]}" ;;
	esac && settled $1 || return
	[ "$1" != passed ] || { within 5 stay_passing 1 && within 5 stay_passing 2; }
}

# state_of NODE: of its programs, in STATE; the flags of the half in force begin at byte AT, see
# weft/abi.h
state_of() {
	mapfile -t STATE < <(bpftool -j map dump pinned "$(map_pin "$1" state)" | jq -r '.[0].value[]')
	[ ${#STATE[@]} -eq 224 ] && AT=$((64 + 80 * STATE[0]))
}

# stay_passing NODE: without flag READY, as before the first configuration, and the agent, which may
# have a change of a device to follow, does not write another one
stay_passing() {
	state_of "$1" || return
	STATE[AT]=$((STATE[AT] & ~1))
	bpftool map update pinned "$(map_pin "$1" state)" key 0 0 0 0 value "${STATE[@]}" || return
	sleep 0.5
	state_of "$1" && [ $((STATE[AT] & 1)) = 0 ]
}

settled() {
	local i
	pings 1p1 "$(addr 2p1)" && pings 2p1 "$(addr 1p1)" || return
	for i in 1 2; do
		within 3 endpoint_known $i "$(addr ${i}p1)" || return
		# The kernel's own filter would refuse some of this before weft sees it.
		at $i sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.cni0.rp_filter=0 \
			net.ipv4.conf.flannel0.rp_filter=0 net.ipv4.conf.wire0.rp_filter=0 &&
			at $i ip link set flannel0 txqueuelen 5000 || return
		# What was merged is cut in front of the pod.
		at $i ethtool -K veth1 tx off tx-udp-segmentation off gso off > /dev/null
		at ${i}p1 nft 'table ip silent {
			chain in { type filter hook prerouting priority -400; policy drop; }; }' ||
			return
	done
	WIRE_MAC=$(mac 1 wire0)
}

# Frames

garbage() {
	local place=$1
	shift
	for _ in 1 2; do
		at "$place" timeout 60 "$NETBIN/garbage" count=$EACH pps=$PPS seed="$SEED" dport=9 \
			"$@" || return
	done
}

# from_pod KEY=VALUE…: of pod 1 of node 1 to that of node 2
from_pod() {
	inject 1p1 dev=eth0 eth_dst=$GATEWAY src=10.244.1.2 dst=10.244.2.2 count=20 pps=$PPS "$@"
}

# edge: payload of the largest UDP datagram that fits the format's outer packets
edge() {
	local -A overhead=([udp]=28 [vxlan]=50 [ipip]=20)
	echo $((1500 - overhead[$FORMAT] - 28))
}

pod_sends() {
	local kind value edge
	edge=$(edge)
	for kind in random truncated header l4 fragment checksum flow huge; do
		garbage 1p1 dev=eth0 eth_dst=$GATEWAY src=10.244.1.2 dst=10.244.2.2 kind=$kind ||
			return
	done
	for value in 0 1 2 3 64 255; do from_pod ttl=$value || return; done
	from_pod count=512 tos_step=1 || return
	for value in 0x2000 0x4000 0x8000 0x0010 0x2001 0x6000; do from_pod frag=$value || return; done
	for value in $((edge - 1)) $edge $((edge + 1)) 1460 1472; do
		from_pod len=$value && from_pod len=$value frag=0x4000 || return
	done
	for value in 1 2 4 6 47 132 253; do from_pod proto=$value || return; done
	for value in 10.244.1.0 10.244.1.1 10.244.1.3 10.244.2.2 192.0.2.1 $STRANGER 127.0.0.1; do
		from_pod src=$value || return
	done
	for value in 10.244.9.9 10.244.2.0 10.244.2.1 10.244.2.77 10.244.2.255 224.0.0.1 \
		192.0.2.2 127.0.0.1; do
		from_pod dst=$value || return
	done
	from_pod options=1 && from_pod bad_sum=1 && from_pod len=0 &&
		from_pod eth_dst="$(mac 1 veth1)" && from_pod count=$((2 * VALID)) sports=$VALID
}

# to_node KEY=VALUE…: what the underlay brings to node 1
to_node() {
	inject sw dev=n1 eth_dst="$WIRE_MAC" outer_src=192.0.2.2 outer_dst=192.0.2.1 \
		src=10.244.2.2 dst=10.244.1.2 count=20 pps=$PPS "$@"
}

peer_sends() {
	local kind value both=(from=192.0.2.2 to=192.0.2.1 src=10.244.2.2 dst=10.244.1.2)
	for kind in random truncated header l4 fragment checksum flow; do
		garbage 2 "${both[@]}" nocheck=1 kind=$kind || return
	done
	garbage 2 "${both[@]}" nocheck=1 kind=huge count=100 pps=200 &&
		garbage 2 "${both[@]}" kind=glued count=200 pps=200 &&
		garbage 2 "${both[@]}" kind=l4 && garbage 2 "${both[@]}" kind=header || return
	for value in 0 1 2 3 64 255; do to_node ttl=$value || return; done
	for value in 0 1 2 3; do to_node count=512 tos_step=1 outer_tos=$value || return; done
	for value in 0x2000 0x4000 0x8000 0x0010 0x2001; do to_node frag=$value || return; done
	for value in 10.244.1.2 10.244.1.3 10.244.2.0 10.244.3.2 10.244.9.9 192.0.2.2 127.0.0.1; do
		to_node src=$value || return
	done
	for value in 10.244.1.0 10.244.1.1 10.244.1.77 10.244.2.2 10.244.3.2 10.244.1.255 \
		192.0.2.1 127.0.0.1 224.0.0.1; do
		to_node dst=$value || return
	done
	to_node outer_src=$STRANGER && to_node outer_src=192.0.2.3 && to_node port=8286 &&
		to_node outer_dst=192.0.2.255 && to_node outer_options=1 && to_node options=1 &&
		to_node bad_sum=1 && to_node len=0 && to_node proto=253 &&
		to_node count=$((2 * VALID)) sports=$VALID
}

# What was delivered

witnesses_start() {
	local pod
	for pod in $PODS; do
		nsenter --net="/run/netns/$(place_ns $pod)" -- "$NETBIN/witness" eth0 \
			< /dev/null > "$WORK/seen-$pod" 2>&1 &
		WITNESS[$pod]=$!
		within 3 grep -q listening "$WORK/seen-$pod" || return
	done
}

quiet() {
	local before
	before=$(cat "$WORK/seen-1p1" "$WORK/seen-2p1" | wc -c)
	sleep 0.5
	[ "$(cat "$WORK/seen-1p1" "$WORK/seen-2p1" | wc -c)" = "$before" ]
}

# witnesses_end PATH: what was seen, sorted, without the nodes' own answers (ICMP from their
# addresses), which they limit as they like
witnesses_end() {
	local pod rc=0
	within 10 quiet
	for pod in $PODS; do
		kill "${WITNESS[$pod]}" && wait "${WITNESS[$pod]}" || rc=1
		! grep lost "$WORK/seen-$pod" || rc=1
		grep -v listening "$WORK/seen-$pod" |
			grep -vE '^.{46}01.{4}(0af4010[01]|0af4020[01]|c000020[12])' |
			sort > "$WORK/$1-$pod"
		echo "$pod was given $(wc -l < "$WORK/$1-$pod")"
	done
	return $rc
}

# dense FILE: so many frames at least are on their way, by what was said of them
dense() {
	awk '$1 == "sent" { sent += $2 } $5 == "unsent" { unsent += $6 }
		END { print FILENAME ": sent", sent + 0, "unsent", unsent + 0; exit sent < '$FRAMES' }' "$1"
}

# In other formats than udp no peer sends what a pod would not
walk() {
	: > "$WORK/sent.peer"
	witnesses_start && mark && pod_sends > "$WORK/sent" || { tail -n 3 "$WORK/sent"; return 1; }
	[ $FORMAT != udp ] || peer_sends > "$WORK/sent.peer" ||
		{ tail -n 3 "$WORK/sent.peer"; return 1; }
	witnesses_end "$1" && dense "$WORK/sent" &&
		{ [ $FORMAT != udp ] || dense "$WORK/sent.peer"; }
}

# same PATH POD: as by the reference, which is not nothing
same() {
	local want=$WORK/plain-$2 got=$WORK/$1-$2
	echo "by the reference $(wc -l < "$want"), by this path $(wc -l < "$got")"
	[ "$(wc -l < "$want")" -gt $VALID ] || return
	diff "$want" "$got" > "$WORK/diff" && return
	echo "missing: $(grep -c '^<' "$WORK/diff"), not by the reference: $(grep -c '^>' "$WORK/diff")"
	cut -c 1-150 "$WORK/diff" | grep '^[<>]' | head -n 16
	return 1
}

# many NODE HOOK VERDICT REASON: all that is valid was counted there
many() { [ "$(gained "$@")" -gt $VALID ] || { gains "$1"; return 1; }; }

# took PATH: the way it was meant to go
took() {
	case $1 in
	batch) many 1 tunfd slow ok ;;
	bpf) many 1 port fast ok && many 2 uplink fast ok &&
		{ [ $FORMAT != udp ] || many 1 uplink fast ok; } ;;
	passed) many 1 port slow disabled && many 1 socket slow ok ;;
	esac
}

# compare FORMAT POD…: what these pods are given by each path
compare() {
	local label path pod
	FORMAT=$1
	shift
	check "$FORMAT, plain: nodes get ready" path_up plain
	check "$FORMAT, plain: frames are sent" walk plain
	for path in $PATHS; do
		# What programs pass, a kernel's own receiver of another format takes
		[ "$path" != passed ] || [ $FORMAT = udp ] || continue
		label="$FORMAT, $path"
		check "$label: nodes get ready" path_up "$path" || continue
		check "$label: frames are sent" walk "$path"
		check "$label: they went this way" took "$path"
		for pod; do
			check "$label: $pod is given the same frames" same "$path" "$pod"
		done
	done
}

for format in $FORMATS; do
	case $format in
	udp) compare udp 1p1 2p1 ;;
	*) compare "$format" 2p1 ;;
	esac
done
