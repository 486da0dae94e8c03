# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A real etcd in the lab's switch, and nodes that get their subnets from it. Sourced after lib.sh.

ETCD_IP=192.0.2.250
ETCD_URL=http://$ETCD_IP:2379
ETCD_STORE=etcd:$ETCD_URL
ETCD_PREFIX=/coreos.com/network

# etcd_start: with the data it had
etcd_start() {
	nsenter --net="/run/netns/$LAB-sw" -- etcd --logger=zap --data-dir "$WORK/etcd" \
		--listen-client-urls "$ETCD_URL" --advertise-client-urls "$ETCD_URL" \
		< /dev/null > "$WORK/etcd.log" 2>&1 &
	ETCD_PID=$!
	within 10 etcd_answers
}

etcd_answers() { at sw curl -sfm 1 "$ETCD_URL/health"; }

# etcd_stop [SIGNAL]
etcd_stop() {
	[ -n "${ETCD_PID:-}" ] || return 0
	kill -s "${1:-TERM}" "$ETCD_PID" 2> /dev/null
	wait "$ETCD_PID" 2> /dev/null
	return 0
}

# etcd_lab NODES: a switch with etcd in it and nodes without pods
etcd_lab() {
	lab_up --nodes "$1" --pods 0 && ip -n "$LAB-sw" addr add $ETCD_IP/24 dev br0 &&
		rm -rf "$WORK/etcd" && etcd_start
}

base64_of() { printf '%s' "$1" | base64 -w 0; }

# api PATH JSON: one request; fails unless etcd does as asked
api() {
	at sw curl -sfm 5 "$ETCD_URL/v3/$1" -d "$2"
}

# put KEY VALUE [LEASE]
put() {
	api kv/put "{\"key\":\"$(base64_of "$1")\",\"value\":\"$(base64_of "$2")\",\"lease\":\"${3:-0}\"}"
}

delete() { api kv/deleterange "{\"key\":\"$(base64_of "$1")\"}"; }

# get KEY: its value; nothing when there is none
get() {
	api kv/range "{\"key\":\"$(base64_of "$1")\"}" | jq -r '.kvs[]?.value | @base64d'
}

# registry: "KEY VALUE LEASE" of each lease, the key's last part
registry() {
	local from=$ETCD_PREFIX/subnets/
	api kv/range "{\"key\":\"$(base64_of "$from")\",\"range_end\":\"$(base64_of "${from%/}0")\"}" |
		jq -r '.kvs[]? | [(.key | @base64d | split("/") | last), (.value | @base64d),
			(.lease // "0")] | join(" ")'
}

configure() { put "$ETCD_PREFIX/config" "${1:-{\"Network\":\"10.244.0.0/16\"\}}"; }

# member NODE [FLAG…]: its agent, in the background; see lab_agent_start
member() {
	local i=$1
	shift
	lab_agent_start "$i" --store "$ETCD_STORE" --lease-ttl 60 --ip-masq "$@"
}

# subnet_of NODE: as the CNI plugin reads it, 10.244.7.1/24
subnet_of() { sed -n 's/^FLANNEL_SUBNET=//p' "$(lab_subnet_env "$1")"; }

# net_of NODE: the part that is common to all its addresses, 10.244.7
net_of() { subnet_of "$1" | sed 's/\.[0-9]*\/.*//'; }

# pod_add NODE: a pod with the second address of the node's subnet
pod_add() {
	local node=$LAB-n$1 pod=$LAB-n${1}p1 net
	net=$(net_of "$1")
	[ -n "$net" ] || return
	lab_ns_add "$pod" && ip -n "$node" addr flush dev cni0 &&
		ip -n "$node" addr add "$net.1/24" dev cni0 &&
		ip -n "$node" link add veth1 mtu 1472 type veth peer name eth0 mtu 1472 netns "$pod" &&
		ip -n "$node" link set veth1 master cni0 up &&
		ip -n "$pod" addr add "$net.2/24" dev eth0 && ip -n "$pod" link set eth0 up &&
		ip -n "$pod" route add default via "$net.1"
}

# of lib.sh: a pod's address here
addr() {
	case $1 in
	*p*) echo "$(net_of "${1%p*}").2" ;;
	*) echo "$(net_of "$1").0" ;;
	esac
}

# routes_of NODE: "SUBNET PUBLIC-IP" of each, sorted
routes_of() { weft_on "$1" routes -j | jq -r '.[] | "\(.subnet) \(.public_ip)"' | sort; }

# routes_to NODE SUBNET: whose it is
routes_to() { routes_of "$1" | awk -v subnet="$2" '$1 == subnet { print $2 }'; }
