#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The datapath in the agent, `--datapath tun`, with either `--tun-io`: they understand each other
# and tier bpf, keep the order, merge and cut what may be and nothing else, refuse what must be
# refused, stand in where there is no bpf(), and come and go under load.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

CPUS=$(nproc)
GATEWAY1=02:00:0a:f4:01:01 # cni0 of node 1, see lab.sh

# Modes: bpf, batch or plain

flags_of() {
	if [ "$1" = bpf ]; then echo --datapath bpf; else echo --datapath tun --tun-io "$1"; fi
}

# becomes NODE MODE: a new agent
becomes() {
	lab_agent_stop "$1" || return
	# shellcheck disable=SC2046 # words
	lab_agent_start "$1" $(flags_of "$2")
}

mode_is() {
	if [ "$2" = bpf ]; then
		status_is "$1" datapath bpf
	else
		status_is "$1" datapath tun && status_is "$1" tun_io "$2"
	fi
}

# nodes MODE1 MODE2 [LAB-OPTION…]: a lab with these agents and servers in the first pods
nodes() {
	local mode1=$1 mode2=$2
	shift 2
	lab_up "$@" && becomes 1 "$mode1" && becomes 2 "$mode2" && serve 1p1 2p1
}

# udp_byte FROM ADDRESS: a datagram of one byte and back, which `talk` cannot number
udp_byte() {
	# shellcheck disable=SC2016 # for the other shell
	at "$1" bash -c 'exec 3<> "/dev/udp/$0/$1" && printf x >&3 &&
		read -r -t 2 -N 1 byte <&3 && [ "$byte" = x ]' "$2" $PORT
}

# all_sizes FROM TO: of one byte, of the largest that need no fragments, and of such that do
all_sizes() {
	udp_byte "$1" "$(addr "$2")" && udp "$1" "$(addr "$2")" 10x100 10x1400 10x3000 10x9000
}

# Everybody with everybody

pairing() {
	local label="$1/$2, $3 wire"
	mode_is 1 "$1" || check "$label: node 1 gets ready" becomes 1 "$1" || return
	mode_is 2 "$2" || check "$label: node 2 gets ready" becomes 2 "$2" || return
	check "$label: in the modes as asked for" mode_is 1 "$1" && mode_is 2 "$2"
	check "$label: ping" pings 1p1 "$(addr 2p1)"
	check "$label: 64 MB there" tcp 1p1 "$(addr 2p1)" $((64 << 20))
	check "$label: 64 MB back" tcp 2p1 "$(addr 1p1)" $((64 << 20))
	check "$label: UDP of 1 to 9,000 bytes" all_sizes 1p1 2p1
}

pairings() {
	local wire a b
	for wire in superpacket mtu; do
		check "$wire wire: nodes get ready" nodes bpf bpf --wire $wire || continue
		for a in bpf batch plain; do
			for b in bpf batch plain; do
				pairing $a $b $wire
			done
		done
	done
}

# Order

# worker_runs NODE: how often each thread that moves packets has been waiting and was woken
worker_runs() {
	local task
	for task in "/proc/$(agent_pid "$1")/task"/*; do
		[ "$(cat "$task/comm")" != weft-forward ] ||
			awk '$1 == "voluntary_ctxt_switches:" { print $2 }' "$task/status"
	done
}

# all_workers_run: of both nodes, for packets of many flows
all_workers_run() {
	local i
	worker_runs 1 > "$WORK/runs1" && worker_runs 2 > "$WORK/runs2" || return
	inject 1p1 dev=eth0 eth_dst=$GATEWAY1 src=10.244.1.2 dst=10.244.2.2 count=4000 || return
	for i in 1 2; do
		worker_runs $i | paste "$WORK/runs$i" - | tee /dev/stderr |
			awk -v want="$CPUS" '$2 - $1 >= 10 { n++ } END { exit n != want }' || return
	done
}

# queue_drops: of every queue between the pods that can be full because its reader gets no CPU
queue_drops() {
	local i
	{
		backlog_drops
		for i in 1 2; do
			ip -n "$(place_ns $i)" -s -j link show flannel0 | jq '.[0].stats64.tx.dropped'
			at $i nstat -asz UdpRcvbufErrors UdpSndbufErrors | awk '/^Udp/ { print $2 }'
			counter $i tunfd drop send
		done
	} | awk '{ n += $1 } END { printf "%d\n", n }'
}

# order SECONDS RATE: numbered datagrams both ways, and streams beside them
order() {
	local end before rc=0
	before=$(queue_drops)
	flow_start 1p1 2p1 "$2" && flow_start 2p1 1p1 "$2" || return
	end=$((SECONDS + $1))
	while [ $SECONDS -lt $end ]; do
		tcp 1p1 "$(addr 2p1)" $((64 << 20)) && tcp 2p1 "$(addr 1p1)" $((64 << 20)) || rc=1
	done
	flow_end 1p1 2p1 "$2" || rc=1
	flow_end 2p1 1p1 "$2" || rc=1
	QUEUE_DROPS=$(($(queue_drops) - before))
	return $rc
}

# accounted FROM TO: nothing came twice, and nothing is missing that no full queue has counted
accounted() {
	local name
	for name in duplicated stray; do
		[ "$(shown flow_figure "$1" "$2" $name)" = 0 ] || return
	done
	echo "full queues dropped $QUEUE_DROPS"
	[ "$(shown flow_figure "$1" "$2" lost)" -le "$QUEUE_DROPS" ]
}

in_order() { [ "$(shown flow_figure "$1" "$2" reordered)" = 0 ]; }

workers() {
	check "$label: a queue for each CPU, node 1" status_is 1 tun_queues "$CPUS"
	check "$label: a queue for each CPU, node 2" status_is 2 tun_queues "$CPUS"
	check "$label: every worker has its share" all_workers_run
}

# Rates that leave streams some room beside them even if an agent gets half a processor only: else
# datagrams that nothing slows down fill every queue
ordered() {
	local modes wire rate label i
	while read -r modes wire rate; do
		label="order, $modes, $wire wire"
		check "$label: nodes get ready" nodes "${modes%/*}" "${modes#*/}" --wire "$wire" ||
			continue
		[ "$modes" != batch/batch ] || workers
		# A worker that gets no CPU for 50 ms is no fault of its own
		for i in 1 2; do at $i ip link set flannel0 txqueuelen 5000; done
		check "$label: $rate a second both ways beside streams" order 4 "$rate"
		check "$label: nothing missing or doubled on the way there" accounted 1p1 2p1
		check "$label: nothing missing or doubled on the way back" accounted 2p1 1p1
		check "$label: nothing overtaken on the way there" in_order 1p1 2p1
		check "$label: nothing overtaken on the way back" in_order 2p1 1p1
	done <<-END
		batch/batch superpacket 20000
		batch/batch mtu 20000
		plain/batch mtu 5000
	END
}

# Merged and cut

# device_packets NODE rx|tx: of flannel0; rx is what the agent has written
device_packets() {
	ip -n "$(place_ns "$1")" -s -j link show flannel0 | jq ".[0].stats64.$2.packets"
}

# bulk BYTES: the receiver counts every segment, and its device and the sender's saw far fewer
bulk() {
	local written segments cut
	mark
	written=$(device_packets 2 rx)
	tcp 1p1 "$(addr 2p1)" "$1" || return
	written=$(($(device_packets 2 rx) - written))
	segments=$(gained 2 socket slow ok)
	cut=$(gained 1 tunfd slow ok)
	echo "cut $cut packets to $segments segments, which were written as $written packets"
	# 1,420 bytes are the largest payload of a segment
	[ "$segments" -ge $(($1 / 1420)) ] && [ $((written * 10)) -le "$segments" ] &&
		[ $((cut * 10)) -le "$segments" ]
}

merged() {
	local wire
	for wire in superpacket mtu; do
		check "$wire wire: nodes get ready" nodes batch batch --wire $wire || continue
		check "$wire wire: 256 MB go through the devices in large packets" \
			bulk $((256 << 20))
	done
}

# Refused

N=100
STRANGER=192.0.2.77
MEMBER=192.0.2.2

# attack KEY=VALUE…: datagrams from the switch to node 1
attack() {
	inject sw dev=n1 eth_dst="$WIRE_MAC" outer_src=$MEMBER outer_dst=192.0.2.1 src=10.244.2.2 \
		dst=10.244.1.2 count=$N "$@"
}

# forge KEY=VALUE…: packets of the pod of node 1
forge() {
	inject 1p1 dev=eth0 eth_dst=$GATEWAY1 src=10.244.1.2 dst=10.244.2.2 count=$N "$@"
}

# Nodes 1 and 2 of three that have a lease, and a switch where strangers may be
ready_to_refuse() {
	local i
	nodes "$1" "$1" --nodes 3 --mtu 1500 || return
	WIRE_MAC=$(mac 1 wire0)
	# The kernel's own filter would refuse some of this before weft sees it.
	for i in 1 2; do
		at $i sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.cni0.rp_filter=0 \
			net.ipv4.conf.flannel0.rp_filter=0 || return
	done
	at 1 ip route add 203.0.113.0/24 dev flannel0 && meter 1p1 eth0 && meter 2p1 eth0 || return
	udp 1p1 "$(addr 2p1)" 10x100
}

# counted HOOK VERDICT REASON: node 1 has counted all N as this and has refused nothing else
counted() {
	gained_is 1 "$1" "$2" "$3" $N || return
	shown gains 1 | awk -v want="$1 $2 $3" '
		$2 == "drop" && $1 " " $2 " " $3 != want && $3 != "not_ipv4" { bad = 1 }
		END { exit bad }'
}

# refused HOOK REASON COMMAND…: and nothing of it is delivered
refused() {
	local hook=$1 reason=$2
	shift 2
	mark 1 2 && meter_reset 1p1 eth0 && meter_reset 2p1 eth0 || return
	"$@" && counted "$hook" drop "$reason" || return
	echo "delivered: $(metered 1p1 eth0) and $(metered 2p1 eth0)"
	[ "$(metered 1p1 eth0)" = 0 ] && [ "$(metered 2p1 eth0)" = 0 ]
}

metered_is() { [ "$(metered "$1" eth0)" -eq "$2" ]; }

# delivered HOOK PLACE COMMAND…: every one of it
delivered() {
	local hook=$1 place=$2
	shift 2
	mark 1 2 && meter_reset "$place" eth0 || return
	"$@" && counted "$hook" slow ok || return
	within 3 metered_is "$place" $N
}

# without_ttl COMMAND…: what the pod of node 1 sends has no hop left when it reaches the device
without_ttl() {
	local rc
	at 1 nft 'add table ip weft_ttl;
		add chain ip weft_ttl out { type filter hook postrouting priority 0; };
		add rule ip weft_ttl out oifname flannel0 ip ttl set 0' || return
	"$@"
	rc=$?
	at 1 nft delete table ip weft_ttl
	return $rc
}

# told MTU: a pod hears how large its packets may be
told() {
	at 1p1 ip route flush cache
	at 1p1 ping -c 2 -i 0.2 -W 1 -M "do" -s 1400 "$(addr 2p1)" > "$WORK/ping"
	cat "$WORK/ping"
	grep -q "Frag needed and DF set (mtu = $1)" "$WORK/ping"
}

# The way to node 2 carries less than the device lets through
narrow() {
	at 1 ip route add 192.0.2.2/32 dev wire0 mtu 1400 || return
	within 3 peer_mtu_is 1400
}

peer_mtu_is() {
	weft_on 1 peers -j |
		jq -e --argjson mtu "$1" 'any(.public_ip == "192.0.2.2" and .mtu == $mtu)'
}

refusals() {
	local mode label
	for mode in batch plain; do
		label="refusals, $mode"
		check "$label: nodes get ready" ready_to_refuse $mode || continue
		check "$label: not forged: all delivered" delivered socket 1p1 attack
		check "$label: a stranger's" \
			refused socket unknown_peer attack outer_src=$STRANGER
		check "$label: a member's from another member's pod" \
			refused socket spoofed_inner attack src=10.244.3.2
		check "$label: a member's from our own pod" \
			refused socket spoofed_inner attack src=10.244.1.3
		check "$label: for another node's pod" \
			refused socket foreign_dst attack dst=10.244.3.2
		check "$label: for the loopback" refused socket foreign_dst attack dst=127.0.0.1
		check "$label: without a hop left" refused socket ttl attack ttl=0
		check "$label: not forged: all of a pod's delivered" delivered tunfd 2p1 forge
		check "$label: to a subnet that nobody has" \
			refused tunfd no_route forge dst=10.244.9.9
		check "$label: to outside the overlay" \
			refused tunfd not_overlay forge dst=203.0.113.1
		check "$label: from a remote pod" refused tunfd spoofed_local forge src=10.244.2.2
		check "$label: a pod's without a hop left" \
			refused tunfd ttl without_ttl forge
		check "$label: the way to node 2 becomes narrow" narrow
		check "$label: too big and not to be cut" \
			refused tunfd too_big forge len=1400 frag=0x4000
		check "$label: as big and to be cut: all delivered" \
			delivered tunfd 2p1 forge len=1400
		check "$label: the pod is told the way's MTU" told 1372
		check "$label: traffic as before" udp 1p1 "$(addr 2p1)" 20x100 20x1444
	done
}

# Without bpf()

# without_caps, without_bpf: `weft` that may not or cannot; $WEFT of a start
commands_write() {
	local real
	real=$(printf '%q' "$WEFT")
	cat > "$WORK/without_caps" <<-END
		#!/bin/sh
		exec setpriv --bounding-set -bpf,-perfmon,-sys_admin \
			--inh-caps -bpf,-perfmon,-sys_admin $real "\$@"
	END
	cat > "$WORK/without_bpf" <<-END
		#!/bin/sh
		exec $(printf '%q' "$NETBIN/no_bpf") $real "\$@"
	END
	chmod +x "$WORK/without_caps" "$WORK/without_bpf"
}

# automatic [COMMAND]: new agents of both nodes, run by the command or as ever
automatic() {
	local i
	for i in 1 2; do
		lab_agent_stop $i && WEFT=${1:-$WEFT} lab_agent_start $i --datapath auto || return
	done
}

datapath_is() { status_is 1 datapath "$1" && status_is 2 datapath "$1"; }
log_says() { cat "$(lab_log "$1")" && grep "$2" "$(lab_log "$1")"; }

passes() {
	pings 1p1 "$(addr 2p1)" && tcp 1p1 "$(addr 2p1)" $((16 << 20)) &&
		tcp 2p1 "$(addr 1p1)" $((16 << 20)) && all_sizes 1p1 2p1
}

unprivileged() {
	local how what i
	commands_write
	check "auto: nodes get ready" nodes bpf bpf
	for how in caps bpf; do
		[ $how = caps ] && what="without capabilities for BPF" || what="bpf() denied"
		check "auto, $what: the agents take over from BPF" automatic "$WORK/without_$how"
		check "auto, $what: they move the packets" datapath_is tun
		for i in 1 2; do
			check "auto, $what: node $i says why" log_says $i \
				'datapath tun: bpf is not available (Operation not permitted)'
		done
		check "auto, $what: ping, TCP, UDP" passes
		check "auto, $what: with privilege" automatic
		check "auto, $what: BPF moves them again" datapath_is bpf
		check "auto, $what: ping, TCP, UDP as before" passes
	done
	check "auto, nothing of BPF before: nodes get ready" nodes batch batch
	check "auto, nothing of BPF before: bpf() denied" automatic "$WORK/without_bpf"
	check "auto, nothing of BPF before: the agents move the packets" datapath_is tun
	check "auto, nothing of BPF before: ping, TCP, UDP" passes
}

# Under load

# load_starts: streams from pod 1 to pod 2, one after the other, until load_ends; any that fails
# ends them
load_starts() {
	nsenter --net="/run/netns/$(place_ns 1p1)" -- "$NETBIN/talk" tcp "$(addr 2p1)" $PORT \
		$((64 << 20)) 100000 < /dev/null > "$WORK/load" 2>&1 &
	LOAD=$!
	load_goes_on
}

# sent: by node 1 to the wire, whoever moves it
sent() { ip -n "$(place_ns 1)" -s -j link show wire0 | jq '.[0].stats64.tx.bytes'; }
sent_more() { [ "$(sent)" -ge "$1" ]; }

# load_goes_on: by far more than the probes of a stream that stands still
load_goes_on() {
	local now
	now=$(sent) && within 5 sent_more $((now + (64 << 20))) && kill -0 "$LOAD" && return
	cat "$WORK/load"
	return 1
}

load_ends() {
	kill "$LOAD" && ! wait "$LOAD"
	cat "$WORK/load"
}

# stops_soon NODE: with status 0, as a service manager asks for it
stops_soon() {
	local begin=${EPOCHREALTIME/./}
	lab_agent_stop "$1" || return
	echo "after $(((${EPOCHREALTIME/./} - begin) / 1000)) ms"
	[ $((${EPOCHREALTIME/./} - begin)) -lt 1000000 ]
}

# replaced_at_once NODE MODE: the one before has no time to leave
replaced_at_once() {
	kill -s KILL "$(agent_pid "$1")" || return
	# shellcheck disable=SC2046 # words
	lab_agent_start "$1" $(flags_of "$2") || return
	! grep -i busy "$(lab_log "$1")" || return
	mode_is "$1" "$2"
}

stopped() {
	local i mode label queues
	for mode in batch plain; do
		queues=1
		[ $mode = plain ] || queues=$CPUS
		label="under load, $mode"
		check "$label: nodes get ready" nodes $mode $mode --wire mtu || continue
		check "$label: streams start" load_starts
		for i in 1 2; do
			check "$label: node $i: an agent that is to stop does so within a second" \
				stops_soon $i
			check "$label: node $i: the next one starts" becomes $i $mode
			check "$label: node $i: the stream goes on" load_goes_on
			check "$label: node $i: an agent is killed, the next one takes over" \
				replaced_at_once $i $mode
			check "$label: node $i: with all queues" status_is $i tun_queues "$queues"
			check "$label: node $i: the stream goes on again" load_goes_on
		done
		check "$label: streams end" load_ends
		check "$label: and another one" tcp 2p1 "$(addr 1p1)" $((16 << 20))
	done
}

# Left alone

PACKETS=320
WITHOUT_SUM=0 # 1: node 1 takes the UDP checksum off

# as_routed STEPS: packets in hex as so many routers leave them
as_routed() {
	awk -v steps="$1" '
		function number(s,   i, n) {
			n = 0
			for (i = 1; i <= length(s); i++)
				n = 16 * n + index("0123456789abcdef", substr(s, i, 1)) - 1
			return n
		}
		{
			head = substr($0, 1, 16) sprintf("%02x", number(substr($0, 17, 2)) - steps)
			head = head substr($0, 19, 2)
			rest = substr($0, 25, 8 * number(substr($0, 2, 1)) - 24)
			sum = 0
			for (i = 1; i <= length(head rest); i += 4)
				sum += number(substr(head rest, i, 4))
			while (sum > 65535)
				sum = sum % 65536 + int(sum / 65536)
			print head sprintf("%04x", 65535 - sum) substr($0, 25)
		}'
}

# arrive KEY=VALUE…: one flow in one burst through both agents; every packet is there in its turn,
# byte for byte but for the two hops
arrive() {
	local bytes='s/^(.{52}).{4}/\10000/' # of the UDP checksum behind 20 bytes
	capture 2p1 eth0 $PACKETS "ip src 10.244.1.2 and not icmp" && mark || return
	WRITTEN=$(device_packets 2 rx)
	inject 1p1 dev=eth0 eth_dst=$GATEWAY1 src=10.244.1.2 dst=10.244.2.2 count=$PACKETS \
		pps=1000000 sports=1 print=1 len=100 "$@" > "$WORK/sent" || return
	captured > "$WORK/arrived" || return
	[ $WITHOUT_SUM = 0 ] || sed -E -i "$bytes" "$WORK/sent"
	as_routed 2 < "$WORK/sent" | diff - "$WORK/arrived" > "$WORK/diff" ||
		{ head -n 2 "$WORK/diff"; grep -m 1 "^>" "$WORK/diff"; return 1; }
	WRITTEN=$(($(device_packets 2 rx) - WRITTEN))
	echo "$(gained 2 socket slow ok) packets, written as $WRITTEN"
	gained_is 2 socket slow ok $PACKETS
}

alone() { arrive "$@" && [ "$WRITTEN" -eq $PACKETS ]; }

# Datagrams are merged only where there are many: not in the first 10 ms (forward_pace.h), and not
# where other work keeps them from being sent as fast as that
together() {
	local PACKETS=8000 end=$((SECONDS + 30))
	while [ $SECONDS -lt $end ]; do
		arrive pps=100000 "$@" || return
		[ $((WRITTEN * 3)) -gt $((PACKETS * 2)) ] || return 0
	done
	return 1
}

without_sum() {
	local rc
	at 1 nft 'add table ip weft_sum;
		add chain ip weft_sum out { type filter hook postrouting priority 0; };
		add rule ip weft_sum out oifname flannel0 udp checksum set 0' || return
	WITHOUT_SUM=1
	"$@"
	rc=$?
	WITHOUT_SUM=0
	at 1 nft delete table ip weft_sum
	return $rc
}

left_alone() {
	local wire label
	for wire in superpacket mtu; do
		label="one flow, $wire wire"
		check "$label: nodes get ready" nodes batch batch --wire $wire || continue
		# Else what was merged would be cut and summed nowhere before the pod
		at 2 ethtool -K veth1 tx off tx-udp-segmentation off gso off > /dev/null
		# The agent may have to wait for the processor while a whole burst comes.
		at 1 ip link set flannel0 txqueuelen 10000
		check "$label: what may be merged is, and arrives as sent" together
		check "$label: with DF, too" together frag=0x4000 id=300
		check "$label: IP options are left alone" alone options=1
		check "$label: fragments that are the first" alone frag=0x2000
		check "$label: fragments that are not" alone frag=0x0010
		check "$label: a wrong checksum" alone bad_sum=1
		check "$label: no checksum" without_sum alone
		check "$label: another protocol" alone proto=253
		check "$label: nothing in it" alone len=0
	done
}

# Less than everything

queues_are() { status_is "$1" tun_queues "$2"; }

# segments NODE: does the kernel leave segmentation to the agent? on or off
segments() { at "$1" ethtool -k flannel0 | awk '$1 == "tcp-segmentation-offload:" { print $2 }'; }
segments_are() { [ "$(segments "$1")" = "$2" ]; }

# found_device: made by somebody before the first start
found_device() {
	lab_up && at 1 ip tuntap add dev flannel0 mode tun && becomes 1 batch && becomes 2 batch &&
		serve 1p1 2p1
}

less() {
	local mode
	check "a device of one queue: nodes get ready" found_device
	check "a device of one queue: it is taken as it is" queues_are 1 1
	[ "$CPUS" = 1 ] || check "a device of one queue: the log says so" \
		log_says 1 "flannel0: 1 of $CPUS queues"
	check "a device of one queue: ping, TCP, UDP" passes
	for mode in plain batch; do
		check "a device of one queue: then $mode" becomes 1 $mode
		check "a device of one queue: then $mode: ping, TCP, UDP" passes
	done
	check "from batch to plain: nodes get ready" nodes batch batch
	check "from batch to plain: segmentation is left to batch" segments_are 1 on
	check "from batch to plain: the device changes hands" becomes 1 plain
	check "from batch to plain: not to plain" segments_are 1 off
	check "from batch to plain: ping, TCP, UDP" passes
	check "from batch to plain: and back" becomes 1 batch
	check "from batch to plain: and back: segmentation is left to batch again" segments_are 1 on
	check "from batch to plain: and back: all queues" queues_are 1 "$CPUS"
	check "from batch to plain: and back: ping, TCP, UDP" passes
}

[ $# -gt 0 ] || set -- pairings ordered merged left_alone refusals less unprivileged stopped
for part; do "$part"; done
