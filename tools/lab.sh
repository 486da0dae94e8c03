# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Functions that raise a cluster of network namespaces. Sourced by lab, demo, bench and tests/net.
#
# Every namespace is called $LAB-…, every file lives below /run/weft-lab/$LAB, so that several labs
# exist side by side. A node is named by its number, a pod by node and number: "1" and "1 2".
# Names of namespaces are those of nsenter, never of ip-netns-exec, which remounts /sys and hides
# bpffs from the agent.

LAB=${LAB:-weft}
# A machine of software is slower by this; everything is waited for so many times longer.
SLOWNESS=${SLOWNESS:-1}
LAB_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WEFT=${WEFT:-$LAB_ROOT/build/weft}
PERF=${PERF:-$LAB_ROOT/build/tools/perf}

# What `lab_up` was asked for; kept in the lab's directory for later commands.
lab_defaults() {
	LAB_NODES=2
	LAB_PODS=1
	LAB_MTU=1472
	LAB_WIRE=superpacket
	LAB_ROUTED=0
	LAB_SYSTEM=
}
lab_defaults

lab_die() { echo "lab: $*" >&2; return 1; }
lab_dir() { echo "/run/weft-lab/$LAB"; }
lab_node() { echo "$LAB-n$1"; }
lab_pod() { echo "$LAB-n${1}p${2:-1}"; }
lab_pod_ip() { echo "10.244.$1.$((${2:-1} + 1))"; }
lab_state() { echo "$(lab_dir)/n$1"; }
lab_log() { echo "$(lab_dir)/n$1.log"; }
lab_subnet_env() { echo "$(lab_dir)/n$1.env"; }

lab_wire_ip() {
	if [ "$LAB_ROUTED" = 1 ] && [ "$1" -ge 2 ]; then
		echo "198.51.100.$1"
	else
		echo "192.0.2.$1"
	fi
}

# in_ns NAMESPACE COMMAND…
in_ns() {
	local ns=$1
	shift
	nsenter --net="/run/netns/$ns" -- "$@"
}

on_node() { local i=$1; shift; in_ns "$(lab_node "$i")" "$@"; }
on_pod() { local i=$1 j=$2; shift 2; in_ns "$(lab_pod "$i" "$j")" "$@"; }

# weft_on NODE VERB [FLAG…]
weft_on() {
	local i=$1 verb=$2
	shift 2
	on_node "$i" "$WEFT" "$verb" --state-dir "$(lab_state "$i")" "$@"
}

# lab_namespaces: those of this lab, nodes before their pods
lab_namespaces() {
	ip netns list 2> /dev/null | awk '{ print $1 }' | grep -E "^$LAB-(n[0-9]+(p[0-9]+)?|sw|rt)$" | sort || true
}

lab_ns_add() {
	ip netns add "$1"
	in_ns "$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	# Thousands of short connections a second must not end for want of a source port.
	in_ns "$1" sysctl -qw net.ipv4.tcp_tw_reuse=1 net.ipv4.ip_local_port_range="2000 65000"
	in_ns "$1" sysctl -qw net.ipv4.tcp_tw_reuse_delay=100 2>/dev/null || true
	# No measurement starts with what TCP remembers of the one before.
	in_ns "$1" sysctl -qw net.ipv4.tcp_no_metrics_save=1
	ip -n "$1" link set lo up
}

lab_bridge_add() {
	ip -n "$1" link add "$2" address "$3" type bridge
	ip -n "$1" link set "$2" up
}

lab_pod_add() {
	local i=$1 j=$2 node pod mac
	node=$(lab_node "$i")
	pod=$(lab_pod "$i" "$j")
	mac=$(printf '02:00:0a:f4:%02x:%02x' "$i" $((j + 1)))
	lab_ns_add "$pod"
	ip -n "$node" link add "veth$j" mtu "$LAB_MTU" type veth \
		peer name eth0 mtu "$LAB_MTU" address "$mac" netns "$pod"
	ip -n "$node" link set "veth$j" master cni0 up
	ip -n "$pod" link set eth0 up
	ip -n "$pod" addr add "$(lab_pod_ip "$i" "$j")/24" dev eth0
	ip -n "$pod" route add default via "10.244.$i.1"
}

# lab_pod_del NODE POD: as a runtime does it, the namespace and with it the veth
lab_pod_del() {
	lab_ns_kill "$(lab_pod "$1" "$2")"
	ip netns del "$(lab_pod "$1" "$2")"
}

lab_node_add() {
	local i=$1 j node
	node=$(lab_node "$i")
	lab_ns_add "$node"
	in_ns "$node" sysctl -qw net.ipv4.ip_forward=1
	lab_bridge_add "$node" cni0 "$(printf '02:00:0a:f4:%02x:01' "$i")"
	ip -n "$node" addr add "10.244.$i.1/24" dev cni0
	for j in $(seq "$LAB_PODS"); do
		lab_pod_add "$i" "$j"
	done
}

lab_wire_up() {
	ip -n "$(lab_node "$1")" addr add "$(lab_wire_ip "$1")/24" dev wire0
	ip -n "$(lab_node "$1")" link set wire0 up
}

# The far end of node I's wire0 is device $3 in namespace $2.
lab_wire_add() {
	ip -n "$(lab_node "$1")" link add wire0 type veth peer name "$3" netns "$2"
	ip -n "$2" link set "$3" up
	lab_wire_up "$1"
}

lab_wires_routed() {
	lab_ns_add "$LAB-rt"
	in_ns "$LAB-rt" sysctl -qw net.ipv4.ip_forward=1
	lab_wire_add 1 "$LAB-rt" n1
	lab_wire_add 2 "$LAB-rt" n2
	ip -n "$LAB-rt" addr add 192.0.2.254/24 dev n1
	ip -n "$LAB-rt" addr add 198.51.100.254/24 dev n2
	ip -n "$(lab_node 1)" route add default via 192.0.2.254
	ip -n "$(lab_node 2)" route add default via 198.51.100.254
}

lab_wires_switched() {
	local i
	lab_ns_add "$LAB-sw"
	lab_bridge_add "$LAB-sw" br0 02:00:c0:00:02:00
	for i in $(seq "$LAB_NODES"); do
		lab_wire_add "$i" "$LAB-sw" "n$i"
		ip -n "$LAB-sw" link set "n$i" master br0
	done
}

lab_wires_add() {
	if [ "$LAB_ROUTED" = 1 ]; then
		lab_wires_routed
	elif [ "$LAB_NODES" = 2 ]; then
		ip -n "$(lab_node 1)" link add wire0 type veth \
			peer name wire0 netns "$(lab_node 2)"
		lab_wire_up 1
		lab_wire_up 2
	else
		lab_wires_switched
	fi
}

# lab_settle: the kernel reports a new link's carrier with a delay
lab_settle() {
	local i end=$((SECONDS + 3 * SLOWNESS))
	for i in $(seq "$LAB_NODES"); do
		while ip -n "$(lab_node "$i")" -br link | grep -qE '^(wire0|cni0|veth).* (DOWN|LOWER)'; do
			[ $SECONDS -lt $end ] || return 0
			sleep 0.02
		done
	done
}

# lab_wire superpacket|mtu: what the underlay carries, 64 KB aggregates whole or frames of MTU size
lab_wire() {
	local i far tso=on gro=off
	case $1 in
	superpacket) ;;
	mtu) tso=off gro=on ;;
	*) lab_die "wire is superpacket or mtu, not $1"; return ;;
	esac
	LAB_WIRE=$1
	far=$LAB-sw
	[ "$LAB_ROUTED" = 0 ] || far=$LAB-rt
	for i in $(seq "$LAB_NODES"); do
		lab_offloads "$(lab_node "$i")" wire0 $tso $gro
		[ ! -e "/run/netns/$far" ] || lab_offloads "$far" "n$i" $tso $gro
	done
	lab_save
}

lab_offloads() {
	in_ns "$1" ethtool -K "$2" tso "$3" tx-udp_tnl-segmentation "$3" \
		tx-udp_tnl-csum-segmentation "$3" tx-ipxip4-segmentation "$3" \
		tx-udp-segmentation "$3" gso on gro "$4"
}

lab_save() {
	mkdir -p "$(lab_dir)"
	printf '%s\n' "LAB_NODES=$LAB_NODES" "LAB_PODS=$LAB_PODS" "LAB_MTU=$LAB_MTU" \
		"LAB_WIRE=$LAB_WIRE" "LAB_ROUTED=$LAB_ROUTED" \
		"LAB_SYSTEM=$LAB_SYSTEM" > "$(lab_dir)/lab.conf"
}

# lab_load: take over what an earlier `lab up` wrote
lab_load() {
	[ -r "$(lab_dir)/lab.conf" ] || { lab_die "no lab \"$LAB\" is up"; return; }
	# shellcheck disable=SC1091
	. "$(lab_dir)/lab.conf"
}

lab_options() {
	lab_defaults
	while [ $# -gt 0 ]; do
		case $1 in
		--nodes) LAB_NODES=$2; shift 2 ;;
		--pods) LAB_PODS=$2; shift 2 ;;
		--mtu) LAB_MTU=$2; shift 2 ;;
		--wire) LAB_WIRE=$2; shift 2 ;;
		--routed) LAB_ROUTED=1; shift ;;
		*) lab_die "unknown option $1"; return ;;
		esac
	done
	if [ "$LAB_ROUTED" = 1 ] && [ "$LAB_NODES" != 2 ]; then
		lab_die "--routed is for two nodes"
	fi
}

# lab_up [--nodes N] [--pods P] [--mtu BYTES] [--wire superpacket|mtu] [--routed]
lab_up() {
	local i
	lab_options "$@" || return
	lab_down
	for i in $(seq "$LAB_NODES"); do
		lab_node_add "$i"
	done
	lab_wires_add
	lab_wire "$LAB_WIRE"
	lab_settle
	lab_store "$(lab_dir)/store.json"
}

lab_ns_kill() {
	local pids try
	for try in TERM TERM TERM KILL; do
		pids=$(ip netns pids "$1" 2>/dev/null) || return 0
		[ -n "$pids" ] || return 0
		# shellcheck disable=SC2086
		kill -s $try $pids 2>/dev/null || true
		sleep 0.1
	done
}

# lab_down: end every process inside, what weft made, the namespaces and the files
lab_down() {
	local ns state
	for ns in $(lab_namespaces); do
		lab_ns_kill "$ns"
	done
	for ns in $(lab_namespaces); do
		state=$(lab_dir)/${ns#"$LAB"-}
		if [ -d "$state" ] && [ -x "$WEFT" ]; then
			in_ns "$ns" timeout $((5 * SLOWNESS)) "$WEFT" cleanup --state-dir "$state" >/dev/null 2>&1 || true
		fi
	done
	for ns in $(lab_namespaces); do
		ip netns del "$ns"
	done
	rm -rf "$(lab_dir)"
	rmdir /run/weft-lab 2>/dev/null || true
}

# lab_store FILE: the static store of the lab's nodes
lab_store() {
	local i tmp=$1.new
	mkdir -p "$(dirname "$1")"
	for i in $(seq "$LAB_NODES"); do
		printf '{"Subnet":"10.244.%d.0/24","PublicIP":"%s"}\n' "$i" "$(lab_wire_ip "$i")"
	done | jq -s '{Network: "10.244.0.0/16", SubnetLen: 24,
		Backend: {Type: "udp", Port: 8285}, Leases: .}' > "$tmp"
	mv "$tmp" "$1"
}

lab_agent_ready() {
	grep -qs 'ready: subnet' "$(lab_log "$1")" &&
		[ "$(weft_on "$1" status -j 2>/dev/null | jq -r .ready 2>/dev/null)" = true ]
}

# lab_agent_start NODE [FLAG…]: returns when it is ready; flags come last and so win
lab_agent_start() {
	local i=$1 pid end
	shift
	mkdir -p "$(lab_dir)"
	rm -f "$(lab_log "$i")" # an earlier run's "ready" must not count
	# Not through in_ns: the background process has to be the agent itself, not a shell around it.
	nsenter --net="/run/netns/$(lab_node "$i")" -- "$WEFT" run \
		--store "static:$(lab_dir)/store.json" --iface wire0 --bridge cni0 --tun flannel0 \
		--state-dir "$(lab_state "$i")" --subnet-file "$(lab_subnet_env "$i")" "$@" \
		< /dev/null > "$(lab_log "$i")" 2>&1 &
	pid=$!
	echo $pid > "$(lab_dir)/n$i.pid"
	end=$((SECONDS + 30 * SLOWNESS))
	until lab_agent_ready "$i"; do
		if ! kill -0 $pid 2>/dev/null || [ $SECONDS -ge $end ]; then
			cat "$(lab_log "$i")" >&2
			lab_die "node $i: the agent did not get ready"
			return
		fi
		sleep 0.05
	done
}

# lab_agent_stop NODE [SIGNAL]: waits for the end, returns the agent's exit status where this shell
# started it (128 + signal if killed), 124 if it had to be killed after 5 s
lab_agent_stop() {
	local i=$1 sig=${2:-TERM} pid end rc=0
	pid=$(cat "$(lab_dir)/n$i.pid" 2>/dev/null) || return 0
	rm -f "$(lab_dir)/n$i.pid"
	end=$((SECONDS + 5 * SLOWNESS))
	kill -s "$sig" "$pid" 2>/dev/null || true
	while kill -0 "$pid" 2>/dev/null; do
		if [ $SECONDS -ge $end ]; then
			[ $rc = 0 ] || break # not to be ended, or not ours
			kill -s KILL "$pid" 2>/dev/null || true
			rc=124
			end=$((SECONDS + 5 * SLOWNESS))
		fi
		sleep 0.05
	done 2>/dev/null # where bash would report the end of a killed job
	[ $rc = 0 ] || return $rc
	wait "$pid" 2>/dev/null || rc=$?
	[ $rc != 127 ] || rc=0
	return $rc
}

# lab_agents_start [FLAG…], lab_agents_stop [SIGNAL]: on every node
lab_agents_start() {
	local i
	for i in $(seq "$LAB_NODES"); do
		lab_agent_start "$i" "$@" || return
	done
}

lab_agents_stop() {
	local i rc=0
	for i in $(seq "$LAB_NODES"); do
		lab_agent_stop "$i" "$@" || rc=$?
	done
	return $rc
}

# lab_hostgw: the peers' subnets are plain routes, no encapsulation
lab_hostgw() {
	local i k
	for i in $(seq "$LAB_NODES"); do
		for k in $(seq "$LAB_NODES"); do
			[ "$i" = "$k" ] || ip -n "$(lab_node "$i")" route replace \
				"10.244.$k.0/24" via "$(lab_wire_ip "$k")"
		done
	done
}

# lab_vxlan: the kernel's vxlan exactly as flannel's backend sets it up
lab_vxlan() {
	local i k ns mac
	for i in $(seq "$LAB_NODES"); do
		ns=$(lab_node "$i")
		ip -n "$ns" link add flannel.1 address "$(printf '02:00:56:58:00:%02x' "$i")" \
			type vxlan id 1 local "$(lab_wire_ip "$i")" dev wire0 dstport 8472 nolearning
		ip -n "$ns" addr add "10.244.$i.0/32" dev flannel.1
		ip -n "$ns" link set flannel.1 up
		for k in $(seq "$LAB_NODES"); do
			[ "$i" != "$k" ] || continue
			mac=$(printf '02:00:56:58:00:%02x' "$k")
			ip -n "$ns" route add "10.244.$k.0/24" via "10.244.$k.0" dev flannel.1 onlink
			ip -n "$ns" neigh replace "10.244.$k.0" lladdr "$mac" dev flannel.1 nud permanent
			in_ns "$ns" bridge fdb append "$mac" dev flannel.1 dst "$(lab_wire_ip "$k")"
		done
	done
}

# What the bench and the demo compare. A system is raised in a lab of its own, with two nodes and
# the pod MTU that it would have in a cluster; LAB_SYSTEM then says who talks to whom.
LAB_SYSTEMS="underlay host-gw vxlan weft-bpf weft-vxlan weft-ipip weft-none weft-tun weft-plain"

# lab_system_up SYSTEM [FLAG…]: flags of `weft run` for the systems that are weft
lab_system_up() {
	local system=$1
	shift
	case $system in
	underlay) lab_up --pods 0 ;;
	host-gw) lab_up --mtu 1500 && lab_hostgw ;;
	vxlan) lab_up --mtu 1450 && lab_vxlan ;;
	weft-bpf) lab_up && lab_agents_start --datapath bpf "$@" ;;
	weft-vxlan) lab_up --mtu 1450 && lab_agents_start --datapath bpf --format vxlan "$@" ;;
	weft-ipip) lab_up --mtu 1480 && lab_agents_start --datapath bpf --format ipip "$@" ;;
	weft-none) lab_up && lab_agents_start --datapath bpf --approve none "$@" ;;
	weft-tun) lab_up && lab_agents_start --datapath tun "$@" ;;
	weft-plain) lab_up && lab_agents_start --datapath tun --tun-io plain "$@" ;;
	*) lab_die "unknown system $system; there are: $LAB_SYSTEMS" ;;
	esac || return
	LAB_SYSTEM=$system
	lab_save
	lab_servers_start "$(lab_end 2)" "$(lab_end_ip 2)" || return
	in_ns "$(lab_end 1)" ping -q -c 1 -W 3 "$(lab_end_ip 2)" > /dev/null ||
		lab_die "$system: no answer to a ping"
}

# lab_end NODE, lab_end_ip NODE: where the traffic of LAB_SYSTEM starts and ends
lab_end() {
	if [ "$LAB_SYSTEM" = underlay ]; then lab_node "$1"; else lab_pod "$1" 1; fi
}

lab_end_ip() {
	if [ "$LAB_SYSTEM" = underlay ]; then lab_wire_ip "$1"; else lab_pod_ip "$1" 1; fi
}

# lab_one_cpu CPU: from now on all that this shell starts shares one CPU, ahead of other users of it
lab_one_cpu() {
	taskset -pc "$1" $$ > /dev/null
	renice -n -15 -p $$ > /dev/null
}

# lab_measure TEST SECONDS: one JSON object on stdout. TCP bulk is measured by iperf3, all else by
# tools/perf. TEST may name TCP's congestion control, as in tcp_stream:cubic; without, it is the
# machine's default.
lab_measure() {
	case $1 in
	tcp_stream | tcp_stream:*) lab_iperf3 "$1" "$2" ;;
	*) lab_perf "$1" "$2" ;;
	esac
}

lab_iperf3() {
	local out cc=()
	[ "${1%%:*}" = "$1" ] || cc=(-C "${1#*:}")
	# jq runs afterwards: it would share the CPU with the transfer's first moments.
	out=$(in_ns "$(lab_end 1)" timeout 60 iperf3 -c "$(lab_end_ip 2)" -t "$2" "${cc[@]}" -J \
		2> /dev/null < /dev/null) || return
	jq -c '.end | {test: "tcp_stream", rate: (.sum_received.bits_per_second / 8),
		unit: "bytes/s", secs: .sum_received.seconds,
		retransmits: .sum_sent.retransmits}' <<< "$out"
}

lab_perf() {
	in_ns "$(lab_end 1)" timeout 60 "$PERF" client --to "$(lab_end_ip 2)" --port 5000 \
		--test "$1" --secs "$2" --json
}

# lab_servers_start NAMESPACE ADDRESS: of both, in the background, until lab_down
lab_servers_start() {
	[ -x "$PERF" ] || { lab_die "$PERF is not built"; return; }
	nsenter --net="/run/netns/$1" -- "$PERF" server --bind "$2" --port 5000 \
		< /dev/null > /dev/null &
	disown
	in_ns "$1" iperf3 -s -D -B "$2"
}
