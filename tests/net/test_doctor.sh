#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# weft doctor: quiet where all is well; each fault is really made, named, and nothing else is; undone,
# it is quiet again. Node 1 is asked. Its peers are weft in tier tun, and what flannel would be.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

doctor() { on_node 1 timeout 30 "$WEFT" doctor --state-dir "$(lab_state 1)" -j > "$WORK/doctor"; }

# found: "status check subject" of all that is not well
found() { jq -r '.[] | select(.status != "ok") | "\(.status) \(.check) \(.subject)"' "$WORK/doctor"; }

is_well() {
	doctor
	local rc=$?
	jq -c '.[] | select(.status != "ok")' "$WORK/doctor"
	[ $rc = 0 ] && [ -z "$(found)" ] && jq -e 'length > 12' "$WORK/doctor"
}

# names FINDING…: these and no others, each with evidence and advice
names() {
	doctor
	local rc=$?
	jq -c '.[] | select(.status != "ok")' "$WORK/doctor"
	[ $rc = 1 ] && diff <(printf '%s\n' "$@" | sort) <(found | sort -u) &&
		jq -e 'all(.[]; .status == "ok" or (.evidence != "" and .advice != ""))' "$WORK/doctor"
}

# fault NAME FINDING BREAK MEND: the two are commands for eval
fault() {
	check "$1: made" eval "$3"
	check "$1: named, and only it" names "$2"
	check "$1: undone" eval "$4"
	check "$1: quiet" within 5 is_well
}

# fleeting NAME FINDING BREAK: the agent mends it, sometimes before the doctor has looked
fleeting() {
	check "$1: named, and only it" named_once "$2" "$3"
	check "$1: quiet" within 5 is_well
}

named_once() {
	local n
	for n in 1 2 3 4 5 6 7 8; do
		echo "attempt $n" && eval "$2" && names "$1" && return
		sleep 1.2
	done
	return 1
}

way_is() { weft_on 1 peers -j | jq -e --argjson mtu "$1" 'any(.mtu == $mtu)'; }

# nft_at NODE FAMILY TABLE HOOK RULE: that table, with one chain
nft_at() {
	at "$1" nft -f - <<-END
		table $2 $3 {
			chain broken {
				type filter hook $4 priority 0
				$5
			}
		}
	END
}

drop_at_2() { nft_at 2 ip broken input "$1"; }
mend_2() { at 2 nft delete table ip broken; }

# A program of weft that no agent attached: that of the uplink, as a filter of lo
orphan() {
	local id
	id=$(weft_on 1 status -j | jq '.hooks[] | select(.hook == "uplink").prog_id')
	bpftool prog pin id "$id" "/sys/fs/bpf/$LAB-orphan" &&
		at 1 tc qdisc add dev lo clsact &&
		nsenter --net="/run/netns/$(lab_node 1)" -- tc filter add dev lo ingress bpf da \
			object-pinned "/sys/fs/bpf/$LAB-orphan"
	local rc=$?
	rm -f "/sys/fs/bpf/$LAB-orphan"
	return $rc
}

# encrypt ATTRIBUTE…: what goes to the peer; where there is no key it lets pass, but it would
encrypt() {
	at 1 ip xfrm policy add dir out src 192.0.2.1/32 dst 192.0.2.2/32 proto udp dport 8285 "$@" \
		tmpl proto esp mode transport level use
}
# bypass ATTRIBUTE…: as it is
bypass() { at 1 ip xfrm policy add dir out src 192.0.2.0/24 dst 192.0.2.0/24 "$@"; }
policy_del() { at 1 ip xfrm policy flush; }

# spared NAME COMMAND: of such policies, which do not encrypt what the agent sends, nothing is said
spared() {
	check "$1: made" eval "$2"
	check "$1: spared" is_well
	check "$1: undone" policy_del
}

uplink_pin() { echo "$(pin_dir 1)/links/uplink-$(at 1 ip -j link show wire0 | jq '.[0].ifindex')"; }

stale_mac() { at 1 ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:99 dev wire0 nud permanent; }
fresh_mac() { at 1 ip neigh del 192.0.2.2 dev wire0 && within 5 at 1 ping -q -c 1 -W 1 10.244.2.0; }

deaf_2() {
	nft_at 2 arp broken input "policy drop" && nft_at 2 ip broken input "policy drop"
}
hearing_2() {
	at 2 nft delete table arp broken && at 2 nft delete table ip broken &&
		within 5 at 1 ping -q -c 1 -W 1 10.244.2.0
}

# In a mount and PID namespace where nobody mounted a bpffs
without_bpffs() {
	nsenter --net="/run/netns/$(lab_node 1)" -- unshare --mount --pid --fork --mount-proc \
		bash -c "umount /sys/fs/bpf && exec '$WEFT' doctor --state-dir '$(lab_state 1)' -j" \
		> "$WORK/doctor"
	found
	found | grep -qx "warn bpffs /sys/fs/bpf"
}

as_nobody() {
	on_node 1 setpriv --reuid 65534 --regid 65534 --clear-groups \
		"$WEFT" doctor --state-dir "$(lab_state 1)" -j > "$WORK/doctor"
	found
	found | grep -q "agent" && found | grep -qx "warn hook programs"
}

before_filters() {
	exits 1 on_node 2 "$WEFT" doctor --state-dir "$(lab_state 2)" > "$WORK/text"
	cat "$WORK/text"
	grep -q "^warn foreign wire0: tcx ingress: .* runs before ours" "$WORK/text"
}

as_text() {
	at 1 sysctl -qw net.ipv4.ip_forward=0
	on_node 1 "$WEFT" doctor --state-dir "$(lab_state 1)" > "$WORK/text"
	local rc=$?
	at 1 sysctl -qw net.ipv4.ip_forward=1
	cat "$WORK/text"
	[ $rc = 1 ] && grep -q "^fail ip_forward net.ipv4.ip_forward: is 0: " "$WORK/text" &&
		[ "$(wc -l < "$WORK/text")" = 3 ] && tail -n 1 "$WORK/text" | grep -q " 1 findings, 1 peers$"
}

PEER_TUN=peer0
flannel_2() {
	lab_agent_stop 2 || return
	weft_on 2 cleanup || return
	at 2 ip tuntap add $PEER_TUN mode tun && at 2 ip addr add 10.244.2.0/32 dev $PEER_TUN &&
		at 2 ip link set $PEER_TUN mtu 1472 up && at 2 ip route add 10.244.0.0/16 dev $PEER_TUN ||
		return
	nsenter --net="/run/netns/$(lab_node 2)" -- "$NETBIN/udp_peer" $PEER_TUN 192.0.2.2 \
		10.244.1.0/24=192.0.2.1 < /dev/null > "$WORK/peer" 2>&1 &
	within 3 at 1 ping -q -c 1 -W 1 10.244.2.0
}

# Behind NAT, and with no pod on either node
nat() {
	lab_up --pods 0 --routed && translate &&
		lab_agent_start 1 --datapath bpf --public-ip $PUBLISHED && lab_agent_start 2 --datapath bpf
}

# Any byte but '/' and space may be in a device's name
odd_name() {
	lab_agent_stop 1
	lab_agent_start 1 --datapath bpf --public-ip $PUBLISHED --bridge $'cni\xff' &&
		status_is 1 bridge "cni?" && names "warn bridge cni?"
}

# Of another bridge than the pods'
other_port() {
	at 1 ip link add br9 type bridge && at 1 ip link set br9 up &&
		at 1 ip link add v9 mtu 9000 type veth peer name v9p mtu 9000 &&
		at 1 ip link set v9 master br9 up && at 1 ip link set v9p up && is_well &&
		at 1 ip link del v9 && at 1 ip link del br9
}

check "raise a lab: bpf and tun" pair bpf tun || exit
check "all is well" within 5 is_well
fault "ip_forward" "fail ip_forward net.ipv4.ip_forward" \
	"at 1 sysctl -qw net.ipv4.ip_forward=0" "at 1 sysctl -qw net.ipv4.ip_forward=1"
fault "rp_filter" "warn rp_filter flannel0" "at 1 sysctl -qw net.ipv4.conf.flannel0.rp_filter=1" \
	"at 1 sysctl -qw net.ipv4.conf.flannel0.rp_filter=0"
fault "conntrack" "warn conntrack net.netfilter.nf_conntrack_tcp_be_liberal" \
	"at 1 sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=0" \
	"at 1 sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1"
fault "bridge" "warn bridge cni0" "at 1 ip addr del 10.244.1.1/24 dev cni0" \
	"at 1 ip addr add 10.244.1.1/24 dev cni0"
fault "a policy of IPsec" "fail ipsec 192.0.2.2" encrypt policy_del
spared "a policy of IPsec for an xfrm interface" "encrypt if_id 7"
spared "a policy of IPsec for a mark" "encrypt mark 5 mask 7"
fault "a policy of IPsec for no mark" "fail ipsec 192.0.2.2" "encrypt mark 0 mask 7" policy_del
spared "a policy of IPsec behind a bypass" "encrypt priority 20 && bypass priority 10"
spared "a policy of IPsec, newer than a bypass" "bypass && encrypt"
fault "a policy of IPsec before a bypass" "fail ipsec 192.0.2.2" \
	"bypass priority 20 && encrypt priority 10" policy_del
fault "a policy of IPsec, older than a bypass" "fail ipsec 192.0.2.2" "encrypt && bypass" policy_del
fault "forward policy" "warn forward_policy inet other broken" \
	"nft_at 1 inet other forward 'policy drop'" \
	"at 1 nft delete table inet other"
fault "a pod's MTU" "warn pod_mtu veth1" "at 1 ip link set veth1 mtu 1500" \
	"at 1 ip link set veth1 mtu 1472"
check "another bridge's port is none of the pods'" other_port
fleeting "the overlay's MTU" "fail mtu flannel0" "at 1 ip link set flannel0 mtu 1500"
fault "a smaller way" "warn mtu 192.0.2.2" \
	"at 1 ip route add 192.0.2.2 dev wire0 mtu 1400 && within 2 way_is 1400" \
	"at 1 ip route del 192.0.2.2 && within 2 way_is 1500"
fault "an orphan" "fail orphan lo" orphan "at 1 tc qdisc del dev lo clsact"
fleeting "a pin gone" "fail pins wire0" 'rm "$(uplink_pin)"'
fleeting "a hook gone" "fail hook wire0" 'bpftool link detach pinned "$(uplink_pin)"'
fault "a stale MAC" "fail stale_mac 192.0.2.2" stale_mac fresh_mac
fault "a peer that is deaf" "fail peer 192.0.2.2" deaf_2 hearing_2
fault "a blocked port" "fail port 192.0.2.2" "drop_at_2 'udp dport 8285 drop'" mend_2
fault "large packets vanish" "fail mtu 192.0.2.2" \
	"drop_at_2 'udp dport 8285 meta length > 1300 drop'" mend_2
fault "no agent there" "fail port 192.0.2.2" "lab_agent_stop 2" "lab_agent_start 2 --datapath tun"
check "a closed port is told from a silent one" \
	eval 'lab_agent_stop 2; doctor; lab_agent_start 2 --datapath tun; grep -q "8285 is closed" "$WORK/doctor"'
if linux_since 6.6; then
	check "a foreign filter" at 1 "$NETBIN/foreign" filter wire0 ingress
	check "a foreign filter: named, and only it" names "warn foreign wire0"
	check "a foreign filter: behind ours" grep -q "tc ingress: .* runs after ours" "$WORK/doctor"
	check "a foreign filter: undone" at 1 tc qdisc del dev wire0 clsact
	fault "a foreign filter towards a pod" "warn foreign veth1" \
		"at 1 '$NETBIN/foreign' filter veth1 egress" "at 1 tc qdisc del dev veth1 clsact"
	check "a foreign program" at 1 "$NETBIN/foreign" link wire0 ingress
	check "a foreign program: named, and only it" names "warn foreign wire0"
	check "a foreign program: behind ours" grep -q "runs after ours" "$WORK/doctor"
else
	skip "a foreign program" "no TCX in this kernel"
fi
lab_down

check "raise a lab again: bpf and tun" pair bpf tun || exit
check "as text" as_text
check "no bpffs" without_bpffs
check "nobody is told what cannot be looked at" as_nobody
fault "no agent here" "fail agent $(lab_state 1)" "lab_agent_stop 1" "lab_agent_start 1 --datapath bpf"
check "a peer like flannel" flannel_2
check "checksum offload: named, and only it" names "fail checksum 192.0.2.2"
check "checksum offload: undone" at 1 ethtool -K wire0 tx off
check "checksum offload: quiet" within 5 is_well
lab_down

check "raise a lab: behind NAT, without pods" nat
check "all is well behind NAT, with a bridge that has no port" within 5 is_well
fault "the bridge is set down" "warn bridge cni0" "at 1 ip link set cni0 down" "at 1 ip link set cni0 up"
fault "a peer that is deaf, seen through NAT" "fail peer 198.51.100.2" deaf_2 hearing_2
check "a name that is no text is shown, and in the finding about it" odd_name
lab_down

check "raise a lab: tun and vxlan by filters" \
	eval "lab_up --mtu 1450 && lab_agent_start 1 --datapath tun --format vxlan &&
		lab_agent_start 2 --datapath bpf --attach clsact --format vxlan"
check "all is well in tier tun" within 5 is_well
check "all is well with filters" eval 'on_node 2 "$WEFT" doctor --state-dir "$(lab_state 2)"'
if linux_since 6.6; then
	check "a foreign program beside our filters" at 2 "$NETBIN/foreign" link wire0 ingress
	check "a foreign program beside our filters: before ours" before_filters
else
	skip "a foreign program beside our filters" "no TCX in this kernel"
fi
lab_down
