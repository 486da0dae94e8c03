#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# flannel's masquerade and forward rules by nftables: what they are, what they do to addresses, and
# that they come back; and the settings of the host that the overlay needs.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

TABLE="weft-flannel0"

table() { at 1 nft list table ip $TABLE; }
no_table() { ! table; }

forward_chain() {
	cat <<-'END'
		chain forward {
			type filter hook forward priority filter; policy accept;
			ip saddr 10.244.0.0/16 accept comment "weft forward"
			ip daddr 10.244.0.0/16 accept comment "weft forward"
		}
	END
}

clamp_chain() {
	cat <<-'END'
		chain clamp {
			type filter hook forward priority mangle; policy accept;
			ip saddr 10.244.0.0/16 tcp flags syn / syn,rst tcp option maxseg size set rt mtu comment "weft clamp"
			ip daddr 10.244.0.0/16 tcp flags syn / syn,rst tcp option maxseg size set rt mtu comment "weft clamp"
		}
	END
}

# mss FROM TO: of the SYN that arrives from a pod whose own MTU is larger than the overlay's
mss() {
	capture "$2" eth0 1 'tcp[tcpflags] == tcp-syn'
	at "$1" timeout 2 socat -u /dev/null "TCP:$(addr "$2"):9" < /dev/null > /dev/null 2>&1
	captured > /dev/null || return
	sed -n 's/.*mss \([0-9]*\).*/\1/p' "$WORK/capture"
}

postrouting_chain() {
	cat <<-'END'
		chain postrtg {
			type nat hook postrouting priority srcnat; policy accept;
			meta mark & 0x00004000 == 0x00004000 return comment "weft masq"
			ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return comment "weft masq"
			ip saddr 10.244.0.0/16 ip daddr 10.244.1.0/24 return comment "weft masq"
			ip saddr != 10.244.0.0/16 ip daddr 10.244.1.0/24 return comment "weft masq"
			ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random comment "weft masq"
			ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random comment "weft masq"
		}
	END
}

# is_whole CHAIN…: these and nothing else, in this order
is_whole() {
	diff <(echo "table ip $TABLE {"; for chain; do "$chain"; done; echo "}") <(table) -Bw
}

both() { is_whole postrouting_chain forward_chain; }
masq_is() { grep -qx "FLANNEL_IPMASQ=$1" "$(lab_subnet_env 1)"; }
again() { lab_agent_stop 1; lab_agent_start 1 "$@"; }

# Addresses

# tells PLACE: a server that tells its clients their address
tells() {
	at "$1" socat TCP-LISTEN:9000,fork,reuseaddr SYSTEM:'echo $SOCAT_PEERADDR' \
		< /dev/null > /dev/null 2>&1 &
	within 3 eval "at '$1' ss -Hltn 'sport = :9000' | grep -q ."
}

# seen_as ADDRESS FROM TO [OPTION]: whom the server takes the client for
seen_as() {
	local said
	said=$(at "$2" timeout 5 socat - "TCP:$3:9000${4:-}" < /dev/null)
	[ "$said" = "$1" ] || { echo "seen as $said"; return 1; }
}

# as_itself: a pod in the world, which has a way back that is not the overlay's
as_itself() {
	local rc=0
	ip -n "$LAB-n2" route add 10.244.1.2 via 192.0.2.1 && seen_as 10.244.1.2 1p1 192.0.2.2 || rc=1
	ip -n "$LAB-n2" route del 10.244.1.2
	return $rc
}

mark_pods() {
	at 1 nft "add table ip kube; add chain ip kube pre { type filter hook prerouting priority 0; };
		add rule ip kube pre ip daddr 192.0.2.2 meta mark set meta mark or 0x4000"
}

addresses() {
	check "masq: a pod reaches the world as its node" seen_as 192.0.2.1 1p1 192.0.2.2
	check "masq: and another pod as itself" seen_as 10.244.1.2 1p1 10.244.2.2
	check "masq: the other way as well" seen_as 10.244.2.2 2p1 10.244.1.2
	check "masq: its own host as itself" seen_as 10.244.1.2 1p1 10.244.1.1
	check "masq: the host reaches a remote pod by the overlay's address" \
		seen_as 10.244.1.0 1 10.244.2.2 ,bind=192.0.2.1
	check "masq: and a local pod as itself" seen_as 192.0.2.1 1 10.244.1.2 ,bind=192.0.2.1
	check "masq: what kube-proxy has marked is kube-proxy's" eval \
		"mark_pods && as_itself"
	at 1 nft delete table ip kube
}

# Repair

# repaired COMMAND…: within a second
repaired() { "$@" && within 1 both; }
a_rule_less() {
	at 1 nft delete rule ip $TABLE postrtg handle \
		"$(at 1 nft -a list table ip $TABLE | sed -n 's/.* masquerade .*# handle //p' | head -1)"
}

# After a repair it is over: nobody changes anything
quiet() {
	timeout 2 nsenter --net="/run/netns/$(place_ns 1)" -- nft monitor > "$WORK/monitor" 2>&1 < /dev/null
	[ ! -s "$WORK/monitor" ]
}

said_times() { grep -c "$2" "$(lab_log "$1")"; }

repairs() {
	check "repair: after flush ruleset" repaired at 1 nft flush ruleset
	check "repair: is said" [ "$(said_times 1 'table ip weft-flannel0 was changed: put back')" = 1 ]
	check "repair: after the table is deleted" repaired at 1 nft delete table ip $TABLE
	check "repair: after a rule is deleted" repaired a_rule_less
	check "repair: after a rule is added" repaired at 1 nft insert rule ip $TABLE forward drop
	check "repair: after a chain is flushed" repaired at 1 nft flush chain ip $TABLE postrtg
	check "repair: not said for each" [ "$(said_times 1 'put back')" -le 2 ]
	check "repair: then all is quiet" quiet
	check "repair: among changes of others" among_many
	check "repair: others' tables are theirs" eval \
		"at 1 nft add table ip other && sleep 0.3 && at 1 nft list table ip other && both"
	check "repair: no agent, no repair, but the rules stay" eval "lab_agent_stop 1 KILL; both"
}

shadow() {
	at 1 nft "add table inet fw; add chain inet fw mine { type filter hook forward priority 0; policy drop; }" &&
		within 1 eval '[ "$(said_times 1 "chain inet fw mine drops by policy")" = 1 ]' &&
		at 1 nft add rule inet fw mine accept && sleep 0.3 &&
		[ "$(said_times 1 "chain inet fw mine drops by policy")" = 1 ]
}

settings() {
	at 1 sysctl -qw net.ipv4.ip_forward=0 net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.all.rp_filter=1
	check "settings: a host that does not forward" again
	check "settings: forwards now, and it is said" eval \
		'[ "$(at 1 sysctl -n net.ipv4.ip_forward)" = 1 ] && grep -q "ip_forward was 0: switched on" "$(lab_log 1)"'
	check "settings: the overlay device filters loosely, and it is said" eval \
		'[ "$(at 1 sysctl -n net.ipv4.conf.flannel0.rp_filter)" = 2 ] &&
		 grep -q "flannel0.rp_filter was strict: loose now" "$(lab_log 1)"'
	check "settings: said once" eval 'again && ! grep -qE "ip_forward|rp_filter" "$(lab_log 1)"'
	at 1 sysctl -qw net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.all.rp_filter=0
}

# Rules of others that change all the time, as kube-proxy's on a large node
among_many() {
	local rc=0 pid
	at 1 nft add table ip busy
	nsenter --net="/run/netns/$(place_ns 1)" -- bash -c 'while nft "add chain ip busy c; delete chain ip busy c"; do
		sleep 0.02; done' < /dev/null > /dev/null 2>&1 &
	pid=$!
	at 1 nft delete table ip $TABLE && within 2 both || rc=1
	kill $pid
	at 1 nft delete table ip busy
	return $rc
}

# A kernel without nftables
without_nft() {
	local weft=$WEFT rc=0
	lab_agent_stop 1
	printf '%s\n' '#!/bin/sh' "exec $NETBIN/no_nft $weft \"\$@\"" > "$WORK/weft" && chmod 755 "$WORK/weft"
	WEFT=$WORK/weft
	"$@" || rc=1
	WEFT=$weft
	return $rc
}

demanded() {
	local rc=0
	at 1 timeout 10 "$WEFT" run --store "static:$(lab_dir)/store.json" --iface wire0 --ip-masq \
		--state-dir "$(lab_state 1)" --subnet-file "$(lab_subnet_env 1)" > "$WORK/said" 2>&1 || rc=$?
	cat "$WORK/said"
	[ $rc = 4 ] && grep -q -- "--ip-masq: no nftables" "$WORK/said"
}

check "default: agents" pair auto auto
tells 1p1 && tells 2p1 && tells 1 && tells 2
check "default: forward rules alone" is_whole forward_chain
check "default: subnet.env tells the CNI plugin to masquerade" masq_is false
check "default: a pod reaches the world as itself" as_itself
check "off: without rules there is no table" eval "again --forward-rules off && no_table"
check "masq: with both" eval "again --ip-masq && both"
check "masq: subnet.env tells the CNI plugin not to" masq_is true
addresses
check "masq: a chain that drops by policy is named, once" shadow
at 1 nft delete table inet fw
repairs
check "masq: alone" eval "lab_agent_start 1 --ip-masq --forward-rules off && is_whole postrouting_chain"
settings
check "clamp: a table of its own" eval "again --mss-clamp && is_whole forward_chain clamp_chain"
for i in 1 2; do
	ip -n "$LAB-n${i}p1" link set eth0 mtu 1500
	ip -n "$LAB-n$i" link set veth1 mtu 1500
done
check "clamp: segments fit the overlay" eval '[ "$(mss 1p1 2p1)" = 1432 ]'
check "clamp: also those to us" eval '[ "$(mss 2p1 1p1)" = 1432 ]'
check "clamp: alone" eval "again --mss-clamp --forward-rules off && is_whole clamp_chain"
check "clamp: not without being told" again
check "clamp: a pod's own segments" eval '[ "$(mss 1p1 2p1)" = 1460 ]'
check "no nftables: --ip-masq is refused" without_nft demanded
check "no nftables: the rest works, and it is said" eval "without_nft lab_agent_start 1 &&
	[ \$(said_times 1 'no nftables: the host') = 1 ]"
check "no nftables: in datapath tun as well" without_nft lab_agent_start 1 --datapath tun
check "cleanup: takes the table along" eval "lab_agent_stop 1; weft_on 1 cleanup && no_table"
