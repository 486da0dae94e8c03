#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The wire formats: weft with weft, in each and in two at once; weft with the kernel's own vxlan as
# flannel sets it up; and a cluster that changes its format node by node while traffic runs.
# Arguments: the sections to run, all unless told.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
LIB_ADDR=$(declare -f addr)
# shellcheck source-path=SCRIPTDIR source=etcd.sh
. "$NET_ROOT/tests/net/etcd.sh"
ETCD_ADDR=$(declare -f addr)

BYTES=${BYTES:-16000000} # of each transfer; 64000000 is the long variant
SIZES="20x8 20x100 20x1000 20x1422"
PLAIN_MTU=1450 # of the pods: fits every format

# talks LABEL [POD]: pods of nodes 1 and 2, both ways. POD: whose bursts nobody can cut
talks() {
	local a b
	serve 1p1 2p1 || return
	for a in 1 2; do
		b=$((3 - a))
		check "$1: ping from pod $a" within 10 pings ${a}p1 "$(addr ${b}p1)"
		check "$1: TCP from pod $a" tcp ${a}p1 "$(addr ${b}p1)" $BYTES
		# shellcheck disable=SC2086 # a list of words
		check "$1: UDP from pod $a" udp ${a}p1 "$(addr ${b}p1)" $SIZES
		if [ "${2:-}" = $a ]; then
			skip "$1: bursts of UDP from pod $a" "a raw socket does not hear where to cut"
		else
			check "$1: bursts of UDP from pod $a" \
				burst ${a}p1 "$(addr ${b}p1)" 40x1422 7x1001
		fi
	done
}

# Pairs of weft

# two TIER1 FORMAT1 TIER2 FORMAT2 WIRE
two() {
	lab_up --mtu $PLAIN_MTU --wire "$5" && lab_agent_start 1 --datapath "$1" --format "$2" &&
		lab_agent_start 2 --datapath "$3" --format "$4"
}

# formats_are FORMAT1 FORMAT2, of what they call their own
formats_are() { status_is 1 format "$1" && status_is 2 format "$2"; }

# Ping, TCP and UDP took the way they should: nothing else came in at the uplink
mostly_fast() {
	local i fast slow
	for i in 1 2; do
		fast=$(gained $i uplink fast ok) slow=$(gained $i socket slow ok)
		[ "$fast" -gt 200 ] && [ "$slow" -lt 20 ] || { gains $i; return 1; }
	done
}

pairs() {
	local wire format tiers label
	eval "$LIB_ADDR"
	for wire in superpacket mtu; do
		for format in vxlan ipip; do
			for tiers in "bpf bpf" "tun tun" "bpf tun"; do
				label="$format, ${tiers/ //}, $wire wire"
				# shellcheck disable=SC2086 # two words
				set -- $tiers
				check "$label: agents" two "$1" $format "$2" $format $wire || continue
				check "$label: format" formats_are $format $format
				mark
				talks "$label"
				[ "$tiers" != "bpf bpf" ] || check "$label: it was fast" mostly_fast
			done
		done
	done
	for tiers in "bpf bpf" "tun tun" "tun bpf"; do
		# shellcheck disable=SC2086 # two words
		set -- $tiers
		label="vxlan to ipip, ${tiers/ //}"
		check "$label: agents" two "$1" vxlan "$2" ipip mtu || continue
		talks "$label"
	done
}

# How the uplink's packets are merged

receives_by() { status_is 1 receive "$1" && status_is 2 receive "$1"; }

# Before that a veth has no GRO of its own, so that nothing merges in this lab
veth_merges() { linux_since 5.13; }
becomes() { [ "$1" = aggregate ] && ! veth_merges && echo strip || echo "$1"; }
has_device() { ip -n "$LAB-n1" link show "flannel0-$1"; }

# merged LEAST: bytes of an average packet at node 2's uplink
merged() {
	local n
	n=$(weft_on 2 stats -j | jq '[.counters[] | select(.hook == "uplink" and .verdict == "fast")] |
		(map(.bytes) | add) / (map(.packets) | add) | floor')
	echo "average packet: $n bytes"
	[ "$n" -ge "$1" ]
}

# The kernel's receiver of format udp, where it has one; else the agent says so
receive_fou() {
	local has=false
	! kernel_has udp || has=true
	check "receive udp by kernel: agents" eval "lab_up --mtu $PLAIN_MTU --wire mtu &&
		lab_agents_start --datapath bpf --receive kernel" || return
	if ! $has; then
		check "receive udp by kernel: not here" eval "receives_by strip && ! has_device fou &&
			grep -q 'does not receive there (FOU)' '$(lab_log 1)'"
		return
	fi
	check "receive udp by kernel: said" receives_by kernel
	serve 1p1 2p1
	check "receive udp by kernel: TCP" tcp 1p1 "$(addr 2p1)" $BYTES
	check "receive udp by kernel: size of packets" merged 5000
	check "receive udp by kernel: a new agent adopts it" eval \
		"lab_agent_stop 2 KILL; lab_agent_start 2 --datapath bpf && receives_by kernel"
	check "receive udp by kernel: given up for the socket" eval \
		"lab_agent_stop 2 && lab_agent_start 2 --datapath tun && ! ip -n $LAB-n2 link show flannel0-fou"
	check "receive udp by kernel: which has the port" udp 1p1 "$(addr 2p1)" 20x1000
	check "receive udp by kernel: and back" eval \
		"lab_agent_stop 2 && lab_agent_start 2 --datapath bpf && status_is 2 receive kernel"
	check "receive udp by kernel: UDP arrives" udp 1p1 "$(addr 2p1)" 20x1000
	check "receive udp by kernel: one source port for all cannot be had with it" eval \
		"lab_agent_stop 2 && lab_agent_start 2 --source-port-entropy off && status_is 2 receive aggregate"
	check "receive udp by kernel: cleaned up" eval "lab_agent_stop 2 &&
		lab_agent_start 2 && lab_agent_stop 2 && weft_on 2 cleanup --tun flannel0 &&
		! ip -n $LAB-n2 link show flannel0-fou && ! ip -n $LAB-n2 fou show | grep -q 8285"
	check "receive udp by kernel: cleaned up where somebody deleted its device" eval "
		lab_agent_start 2 && lab_agent_stop 2 && ip -n $LAB-n2 link del flannel0-fou &&
		ip -n $LAB-n2 fou show | grep -q 8285 && weft_on 2 cleanup &&
		! ip -n $LAB-n2 fou show | grep -q 8285"
	check "receive udp by kernel: a peer of format ipip" eval "lab_up --mtu $PLAIN_MTU &&
		kernel_end_ipip && kernel_store ipip && lab_agent_start 1 --format udp &&
		status_is 1 receive kernel && serve 1p1 2p1"
	check "receive udp by kernel: its fragments arrive" fragments
	check "receive udp by kernel: by the device, too" by_vtep slow ok 20
}

receive() {
	local row
	eval "$LIB_ADDR"
	for row in "vxlan kernel 5000" "ipip kernel 5000" "vxlan strip 1000" "vxlan aggregate 1000" \
		"udp aggregate 1000" "udp strip 1000" "udp xdp 1000" "vxlan xdp 1000" "ipip xdp 1000"; do
		# shellcheck disable=SC2086 # three words
		set -- $row
		check "receive $1 by $2: agents" eval "lab_up --mtu $PLAIN_MTU --wire mtu &&
			lab_agents_start --datapath bpf --format $1 --receive $2" || continue
		check "receive $1 by $2: said" receives_by "$(becomes "$2")"
		serve 2p1
		check "receive $1 by $2: TCP" tcp 1p1 "$(addr 2p1)" $BYTES
		check "receive $1 by $2: size of packets" merged \
			"$(veth_merges && echo "$3" || echo 1000)"
	done
	receive_fou
	check "receive: vxlan again" eval "lab_up --mtu $PLAIN_MTU && lab_agents_start --format vxlan"
	check "receive: its device" has_device vx
	check "receive: ipip in its place" eval \
		"lab_agents_stop && lab_agents_start --format ipip && ! has_device vx && ! has_device rx"
	check "receive: vxlan in tier tun" eval \
		"lab_agents_stop && lab_agents_start --format vxlan --datapath tun && ! has_device vx"
	check "receive: back to vxlan in tier bpf" eval \
		"lab_agents_stop && lab_agents_start --format vxlan && has_device vx"
	check "receive: cleaned up" eval \
		"lab_agents_stop && weft_on 1 cleanup --tun flannel0 && ! has_device vx"
	ip -n "$LAB-n1" link add other type vxlan id 7 dstport 8472
	ip -n "$LAB-n1" link set other up
	check "receive: the port is another's" eval "! lab_agent_start 1 --format vxlan &&
		grep -q 'cannot receive format vxlan' '$(lab_log 1)'"
	check "receive: which matters to nobody else" lab_agent_start 1 --format ipip
}

# Native XDP in front of the uplink

# by_strip LEAST: so many packets lost their outer headers there, and as many bytes came on merged
by_strip() {
	local gains stripped uplink
	gains=$(shown gains 2) || return
	stripped=$(packets_of "strip fast ok" <<< "$gains")
	uplink=$(packets_of "uplink fast ok" <<< "$gains")
	[ "$stripped" -ge "$1" ] && [ "$uplink" -lt "$stripped" ]
}

xdp_on() { at 1 bpftool -j net show | jq -e '[.[].xdp[] | select(.devname == "wire0")] | length == 1'; }
has_strip_pin() { link_ids 1 | grep '^strip-'; }

receive_xdp() {
	local format
	eval "$LIB_ADDR"
	for format in udp vxlan ipip; do
		check "xdp: $format: agents" eval "lab_up --mtu $PLAIN_MTU --wire mtu &&
			lab_agents_start --datapath bpf --format $format --receive xdp" || continue
		check "xdp: $format: status and link" eval "receives_by xdp && xdp_on && has_strip_pin"
		mark
		talks "xdp: $format"
		check "xdp: $format: stripped and merged" by_strip 1000
		check "xdp: $format: fragments of a datagram" udp 1p1 "$(addr 2p1)" 20x3000
	done
	check "xdp: killed and replaced under traffic" eval '
		before=$(link_ids 1) && flow_start 1p1 2p1 1000 && lab_agent_stop 1 KILL; sleep 0.3
		lab_agent_start 1 --format ipip --receive xdp && [ "$(link_ids 1)" = "$before" ] &&
		flow_end 1p1 2p1 1000 && flow_whole 1p1 2p1'
	check "xdp: given up: detached" eval \
		"lab_agent_stop 1 && lab_agent_start 1 --format ipip && ! xdp_on && ! has_strip_pin"
	check "xdp: packets arrive" pings 1p1 "$(addr 2p1)"
	lab_agent_stop 1
	check "xdp: another's program is there" eval 'at 1 "$NETBIN/foreign" xdp wire0 && xdp_on'
	check "xdp: it is left there, the agent does without" eval \
		'lab_agent_start 1 --format ipip --receive xdp && status_is 1 receive kernel &&
		grep -q "without native XDP" "$(lab_log 1)" && xdp_on && ! has_strip_pin'
	check "xdp: cleaned up" eval 'lab_agent_stop 2 && weft_on 2 cleanup --tun flannel0 &&
		! at 2 ip link show wire0 | grep -q xdp'
}

# The kernel at the other end

KERNEL_MAC=4a:00:00:00:00:02
WEFT_MAC=0e:66:c0:00:02:01 # what weft makes of 192.0.2.1

# Node 2 as flannel's backend of that name would leave it, without weft
kernel_end_vxlan() {
	local ns=$LAB-n2
	ip -n "$ns" link add flannel.1 address $KERNEL_MAC mtu 1450 type vxlan id 1 local 192.0.2.2 \
		dev wire0 dstport 8472 nolearning &&
		ip -n "$ns" addr add 10.244.2.0/32 dev flannel.1 && ip -n "$ns" link set flannel.1 up &&
		ip -n "$ns" route add 10.244.1.0/24 via 10.244.1.0 dev flannel.1 onlink &&
		ip -n "$ns" neigh replace 10.244.1.0 lladdr $WEFT_MAC dev flannel.1 nud permanent &&
		in_ns "$ns" bridge fdb append $WEFT_MAC dev flannel.1 dst 192.0.2.1
}

# kernel_end_ipip [ENCAPSULATION…]: the outer packet can be fragmented where the inner one can
kernel_end_ipip() {
	local ns=$LAB-n2
	ip -n "$ns" link add flannel.ipip mtu 1450 type ipip local 192.0.2.2 dev wire0 nopmtudisc "$@" &&
		ip -n "$ns" addr add 10.244.2.0/32 dev flannel.ipip &&
		ip -n "$ns" link set flannel.ipip up &&
		ip -n "$ns" route add 10.244.1.0/24 via 192.0.2.1 dev flannel.ipip onlink
}

kernel_end_udp() {
	ip -n "$LAB-n2" fou add port 8285 ipproto 4 &&
		kernel_end_ipip encap fou encap-sport 8285 encap-dport 8285
}

# kernel_store FORMAT [PUBLIC-IP]: node 2's lease as flannel's backend announces it
kernel_store() {
	lab_store "$(lab_dir)/store.json" && jq --arg format "$1" --arg ip "${2:-192.0.2.2}" \
		--arg mac $KERNEL_MAC '
		.Backend = {Type: $format} | .Leases[1] += {PublicIP: $ip, BackendType: $format} |
		if $format == "vxlan" then .Leases[1].BackendData = {VNI: 1, VtepMAC: $mac}
		else . end' "$(lab_dir)/store.json" > "$WORK/store" &&
		mv "$WORK/store" "$(lab_dir)/store.json"
}

# with_kernel FORMAT TIER WIRE
with_kernel() {
	lab_up --mtu $PLAIN_MTU --wire "$3" && "kernel_end_$1" && kernel_store "$1" &&
		lab_agent_start 1 --datapath "$2"
}

# Outer fragments: the kernel's end takes the way for narrower than it is, and the pod does not
# forbid them
fragments() {
	mark 1
	at 2p1 sysctl -qw net.ipv4.ip_no_pmtu_disc=1
	ip -n "$LAB-n2" route replace 192.0.2.1 dev wire0 src 192.0.2.2 mtu lock 1200
	udp 2p1 "$(addr 1p1)" 20x1422
	local rc=$?
	ip -n "$LAB-n2" route del 192.0.2.1
	return $rc
}

# by_vtep VERDICT REASON LEAST: at the device behind the kernel's socket
by_vtep() { [ "$(gained 1 vtep "$1" "$2")" -ge "$3" ] || { gains 1; return 1; }; }

# kernel_fast FORMAT: the kernel's vxlan sends checksums, which no device has verified on a veth
kernel_fast() {
	local gains
	gains=$(shown gains 1) || return
	[ "$(packets_of "port fast ok" <<< "$gains")" -gt 100 ] &&
		{ [ "$1" = vxlan ] || [ "$(packets_of "uplink fast ok" <<< "$gains")" -gt 100 ]; }
}

# elsewhere FORMAT: what is sent to another address of node 1, which the kernel's socket hears, too
elsewhere() {
	local rc=0
	ip -n "$LAB-n1" addr add 192.0.2.101/24 dev wire0
	at 2 nft -f - <<-END || rc=1
		table ip elsewhere {
			chain out {
				type route hook output priority 0;
				ip daddr 192.0.2.1 ip daddr set 192.0.2.101
			}
		}
	END
	mark 1
	! udp 2p1 "$(addr 1p1)" 1x100 || rc=1
	by_vtep drop not_overlay 1 || rc=1
	[ "$(gained 1 vtep slow ok)" = 0 ] || rc=1
	at 2 nft delete table ip elsewhere
	ip -n "$LAB-n1" addr del 192.0.2.101/24 dev wire0
	return $rc
}

# own_mac MAC: node 1's lease has it, and so has node 2, a stranger no more; nothing else changes
own_mac() {
	jq --arg mac "$1" '.Leases[1].PublicIP = "192.0.2.2" | .Leases[0] += {BackendType: "vxlan",
		BackendData: {VNI: 1, VtepMAC: $mac}}' "$(lab_dir)/store.json" > "$WORK/store" &&
		mv "$WORK/store" "$(lab_dir)/store.json" &&
		ip -n "$LAB-n2" neigh replace 10.244.1.0 lladdr "$1" dev flannel.1 nud permanent &&
		in_ns "$LAB-n2" bridge fdb append "$1" dev flannel.1 dst 192.0.2.1
}

device_mac() { [ "$(ip -n "$LAB-n1" -j link show flannel0-vx | jq -r '.[0].address')" = "$1" ]; }

# uncut FORMAT TIER WIRE: whose bursts come whole to a raw socket, by docs/kernels.md
uncut() {
	[ "$1 $2 $3" = "ipip tun superpacket" ] || return 0
	! in_ns "$LAB-n2" ethtool -k flannel.ipip | grep -q "^tx-udp-segmentation: on" || echo 2
}

# with_tiers FORMAT
with_tiers() {
	local wire tier label
	for wire in superpacket mtu; do
		for tier in bpf tun; do
			label="kernel $1 and $tier, $wire wire"
			check "$label: raised" with_kernel "$1" $tier $wire || continue
			mark 1
			talks "$label" "$(uncut "$1" $tier $wire)"
			check "$label: its format" eval \
				"weft_on 1 peers -j | jq -e '.[0].backend == \"$1\"'"
			[ $tier = tun ] || check "$label: it was fast" kernel_fast "$1"
			check "$label: fragments of the outer packet" fragments
			[[ $tier.$1 = bpf.@(vxlan|udp) ]] || continue
			check "$label: are the device's to judge" by_vtep slow ok 20
			! linux_since 5.18 || check "$label: another address of ours does not do" elsewhere
			kernel_store "$1" 192.0.2.77
			within 3 eval '[ "$(weft_on 1 peers -j | jq -r ".[0].public_ip")" = 192.0.2.77 ]'
			check "$label: a stranger's do not pass" eval "! fragments"
			check "$label: and are counted" by_vtep drop unknown_peer 1
			[ "$1" = vxlan ] || continue
			check "$label: another MAC of ours" own_mac 4a:00:00:00:00:01
			check "$label: is the device's" within 5 device_mac 4a:00:00:00:00:01
			check "$label: fragments come to it" within 5 fragments
		done
	done
}

kernel() {
	local format
	eval "$LIB_ADDR"
	for format in vxlan ipip udp; do
		if kernel_has $format; then
			with_tiers $format
		else
			skip "kernel $format" "this kernel has no such device"
		fi
	done
}

# What was stripped goes on: a pod that routes to somebody behind it

# onward DEVICE ADDRESS: where pod 2 sends what comes to its port
onward() {
	at 2p1 nft -f - <<-END
		add table ip onward
		delete table ip onward
		table ip onward {
			chain in {
				type nat hook prerouting priority dstnat;
				iifname "eth0" tcp dport $PORT dnat to $1
			}
		}
	END
}

# behind FORMAT WIRE: 2p9, reached through pod 2 by a device that cuts large packets in software, or
# by a VXLAN of the pod's own on top of it
behind() {
	lab_up --mtu $PLAIN_MTU --wire "$2" && lab_agents_start --datapath bpf --format "$1" &&
		lab_ns_add "$LAB-n2p9" || return
	local near=$LAB-n2p1 far=$LAB-n2p9 ns
	ip -n "$near" link add z0 mtu 1450 type veth peer name z0 mtu 1450 netns "$far" &&
		ip -n "$near" link add vx mtu 1400 type vxlan id 42 local 172.16.0.1 \
			remote 172.16.0.2 dstport 4789 dev z0 &&
		ip -n "$far" link add vx mtu 1400 type vxlan id 42 local 172.16.0.2 \
			remote 172.16.0.1 dstport 4789 dev z0 || return
	for ns in 1 2; do
		set -- "$near" "$far"
		ip -n "${!ns}" addr add 172.16.0.$ns/24 dev z0 && ip -n "${!ns}" link set z0 up &&
			ip -n "${!ns}" addr add 172.17.0.$ns/24 dev vx && ip -n "${!ns}" link set vx up ||
			return
	done
	at 2p1 sysctl -qw net.ipv4.ip_forward=1
	at 2p1 ethtool -K z0 tso off tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off &&
		ip -n "$far" route add default via 172.16.0.1 && serve 2p9
}

again() {
	local wire format label
	eval "$LIB_ADDR"
	for wire in superpacket mtu; do
		for format in udp vxlan ipip; do
			label="again: $format, $wire wire"
			check "$label: a pod that routes" behind $format $wire || continue
			onward 172.16.0.2
			check "$label: cut in software" tcp 1p1 "$(addr 2p1)" $BYTES
			onward 172.17.0.2
			check "$label: in another overlay" tcp 1p1 "$(addr 2p1)" $BYTES
		done
	done
}

# What outer packets say of their class

# marked TOS: all that a pod's packets of TOS 0xba (EF, ECT(0)) become on the wire
marked() {
	capture 2 wire0 20 "src 192.0.2.1 and (udp port 8285 or udp port 8472 or ip proto 4)" &&
		mark 1 && at 1p1 ping -q -i 0.02 -c 20 -W 2 -Q 0xba 10.244.2.2 &&
		captured > "$WORK/frames" || return
	cut -c 3-4 "$WORK/frames" | sort | uniq -c > "$WORK/marks"
	cat "$WORK/marks"
	[ "$(xargs < "$WORK/marks")" = "20 $(printf %02x "$1")" ]
}

# Flannel's udp backend loses the inner ECN field, so its packets have none (design, section 4.3)
dscp() {
	local tier format option ecn label
	if [ $SLOWNESS -gt 1 ]; then
		skip "dscp: of outer packets" "too many agents to start; tests/prog has the programs' part"
		return
	fi
	for tier in bpf tun; do
		for format in udp vxlan ipip; do
			ecn=2
			[ $format != udp ] || ecn=0
			check "dscp: $tier, $format" eval "lab_up --mtu $PLAIN_MTU &&
				lab_agent_start 2 --datapath $tier --format $format"
			for option in 0:0 12:12 63:63 inherit:46; do
				label="dscp: $tier, $format, --outer-dscp ${option%:*}"
				check "$label" eval "lab_agent_start 1 --datapath $tier --format $format \
					--outer-dscp ${option%:*} && within 3 pings 1p1 10.244.2.2 &&
					marked $((${option#*:} * 4 + ecn))"
				[ $tier = tun ] || check "$label: was fast" fast_most 15
				lab_agent_stop 1
			done
		done
	done
}

fast_most() { [ "$(gained 1 port fast ok)" -ge "$1" ] || { gains 1; return 1; }; }

# A narrow link on the way, which only its router knows of

# narrow FORMAT: the way to node 2, with what has been learnt and told until then
narrow() {
	lab_up --mtu $PLAIN_MTU --routed && lab_agents_start --datapath bpf --format "$1" &&
		ip -n "$LAB-rt" link set n2 mtu 1300 && ip -n "$LAB-n2" link set wire0 mtu 1300
}

mtu_to() { weft_on 1 peers -j | jq '.[0].mtu'; }

# told MTU: what pod 1 knows of the way to pod 2
told() { shown at 1p1 ip route get "$(addr 2p1)" | grep -q "mtu $1 "; }

# A megabyte in five seconds
tcp_soon() { at 1p1 timeout $((5 * SLOWNESS)) "$NETBIN/talk" tcp "$(addr 2p1)" $PORT 1000000 1; }

path() {
	local row
	eval "$LIB_ADDR"
	for row in "udp 1272" "vxlan 1250" "ipip 1280"; do
		# shellcheck disable=SC2086 # two words
		set -- $row
		check "path: a narrow link, $1" narrow "$1" || continue
		serve 2p1
		check "path: TCP finds its way, $1" tcp_soon
		check "path: known to the agent, $1" eval '[ "$(mtu_to)" = 1300 ]'
		check "path: and to the pod, $1" told "$2"
	done
}

# Migration

MESH="1 2 3 4"

mesh_start() {
	local a b
	for a in $MESH; do
		for b in $MESH; do
			[ "$a" = "$b" ] || FLOW_PORT=$((7100 + a)) flow_start "${a}p1" "${b}p1" 100 || return
		done
	done
}

# All that was sent has arrived, once
mesh_end() {
	local a b rc=0
	for a in $MESH; do
		for b in $MESH; do
			[ "$a" != "$b" ] || continue
			flow_end "${a}p1" "${b}p1" 100 && flow_whole "${a}p1" "${b}p1" || rc=1
		done
	done
	return $rc
}

# roll FORMAT: node by node
roll() {
	local i
	for i in $MESH; do
		lab_agent_stop "$i" && member "$i" --format "$1" --datapath bpf || return
		sleep 0.3
	done
}

# all_send FORMAT: what every node knows of the others
all_send() {
	local i
	for i in $MESH; do
		weft_on "$i" peers -j | jq -e --arg format "$1" \
			'length == 3 and all(.backend == $format and .routed)' || return
	done
}

# What is in the registry, byte for byte
announced() {
	local i end=
	for i in $MESH; do
		[ "$1" = udp ] || end=",\"BackendType\":\"$1\""
		[ "$1" != vxlan ] || end+=",\"BackendData\":{\"VNI\":1,\"VtepMAC\":\"0e:66:c0:00:02:0$i\"}"
		registry | grep -F "$(net_of "$i").0-24 {\"PublicIP\":\"192.0.2.$i\",\"PublicIPv6\":null$end} " ||
			{ registry; return 1; }
	done
}

migration() {
	local format i
	eval "$ETCD_ADDR"
	check "migration: four nodes" eval 'etcd_lab 4 && configure'
	check "migration: udp" eval "for i in $MESH; do member \$i --datapath bpf || exit; done"
	for i in $MESH; do pod_add "$i"; done
	for i in $MESH; do
		check "migration: pod $i" within 10 pings "${i}p1" "$(addr "$((i % 4 + 1))p1")"
	done
	check "migration: traffic" mesh_start
	for format in vxlan ipip udp; do
		check "migration: to $format, node by node" roll $format
		check "migration: all are sent $format" within 5 all_send $format
		check "migration: and say so" announced $format
	done
	check "migration: no datagram was lost" mesh_end
	if [ $SLOWNESS -gt 1 ]; then
		# The agents start anew, and what takes the slow path waits that long
		skip "migration: by a configuration" "the overlay device's queue is too short"
		etcd_stop
		return
	fi
	# By the network's configuration, which all nodes follow by themselves
	for i in $MESH; do lab_agent_stop "$i" && member "$i" --datapath bpf; done
	check "migration: traffic again" mesh_start
	check "migration: a configuration says vxlan" configure \
		'{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'
	check "migration: all follow" within 20 all_send vxlan
	check "migration: and say so" within 5 announced vxlan
	check "migration: no datagram was lost then" mesh_end
	etcd_stop
}

sections=("$@")
[ $# -gt 0 ] || sections=(pairs receive receive_xdp kernel again dscp path migration)
for section in "${sections[@]}"; do
	$section
done
