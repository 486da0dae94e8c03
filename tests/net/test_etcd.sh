#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Nodes that get their subnets from a real etcd, as flannel's do: keys and values, leases, races,
# and what may befall a registry while traffic runs. AWAY=60 (seconds without etcd) is the long
# variant. Arguments: the sections to run, all unless told.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=etcd.sh
. "$NET_ROOT/tests/net/etcd.sh"

AWAY=${AWAY:-5}

# Coming up

# member_soon NODE [FLAG…]: its agent; does not wait for it
member_soon() {
	local i=$1
	shift
	nsenter --net="/run/netns/$(lab_node "$i")" -- "$WEFT" run --store "$ETCD_STORE" \
		--lease-ttl 60 --ip-masq --iface wire0 --state-dir "$(lab_state "$i")" \
		--subnet-file "$(lab_subnet_env "$i")" "$@" < /dev/null > "$(lab_log "$i")" 2>&1 &
	echo $! > "$(lab_dir)/n$i.pid"
}

waits() {
	local said
	said=$(cat "$(lab_log "$1")")
	[ "$(grep -c 'such key' <<< "$said")" = 1 ] && [ "$(wc -l <<< "$said")" -le 3 ] &&
		! grep -q ready <<< "$said"
}

all_ready() { for i in 1 2 3; do lab_agent_ready $i || return; done; }

# Byte for byte what flannel writes, under a lease
registered() {
	local i line
	for i in 1 2 3; do
		line=$(registry | grep "^$(net_of $i).0-24 ") || return
		[[ $line =~ ^[0-9.]+-24\ \{\"PublicIP\":\"192.0.2.$i\",\"PublicIPv6\":null\}\ [1-9][0-9]+$ ]] ||
			{ echo "$line"; return 1; }
	done
	[ "$(registry | wc -l)" = 3 ]
}

# lease_left NODE: seconds, by etcd
lease_left() {
	local id
	id=$(registry | awk -v key="$(net_of "$1").0-24" '$1 == key { print $3 }')
	api lease/timetolive "{\"ID\":\"$id\"}" | jq -r .TTL
}

distinct() { [ "$(for i in 1 2 3; do net_of $i; done | sort -u | wc -l)" = 3 ]; }
in_range() { for i in 1 2 3; do [[ $(subnet_of $i) =~ ^10\.244\.([1-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])\.1/24$ ]] || return; done; }

# knows_all NODE: a route to each subnet, and no other
knows_all() {
	local i
	diff <(for i in 1 2 3; do echo "$(net_of $i).0/24 192.0.2.$i"; done | sort) <(routes_of "$1")
}

# everybody_knows [SECONDS]
everybody_knows() { for i in 1 2 3; do within "${1:-5}" knows_all $i || { knows_all $i; return 1; }; done; }

pods_talk() {
	local pair
	for pair in "1p1 2p1" "2p1 3p1" "3p1 1p1"; do
		# shellcheck disable=SC2086
		set -- $pair
		within 10 pings "$1" "$(addr "$2")" && tcp "$1" "$(addr "$2")" 1000000 || return
	done
}

coming_up() {
	check "up: a switch, three nodes, no etcd" eval 'etcd_lab 3 && etcd_stop && rm -rf "$WORK/etcd"'
	member_soon 1
	sleep 1
	check "up: etcd without a configuration" etcd_start
	member_soon 2
	check "up: agents wait, and say for what" within 15 eval "waits 1 && waits 2"
	check "up: a configuration" configure
	member_soon 3
	check "up: all get ready" within 10 all_ready
	check "up: distinct subnets" distinct
	check "up: of the range flannel takes them from" in_range
	check "up: keys and values as flannel writes them" registered
	check "up: leases of the length asked for" eval '[ "$(lease_left 1)" -gt 40 ]'
	check "up: everybody knows everybody" everybody_knows
	check "up: pods" eval "pod_add 1 && pod_add 2 && pod_add 3"
	serve 1p1 2p1 3p1
	check "up: pods talk" pods_talk
	check "up: check says what is there" eval \
		"weft_check | grep -qx '$ETCD_URL: ok, 3 leases'"
}

weft_check() { at 1 "$WEFT" check --store "$ETCD_STORE"; }

# Staying, leaving, coming back

# same_after COMMAND…: node 3's subnet is the same afterwards
same_after() {
	local before
	before=$(subnet_of 3)
	"$@" && within 10 lab_agent_ready 3 && [ "$(subnet_of 3)" = "$before" ]
}

restart() { lab_agent_stop 3 && member 3 --lease-ttl 6; }
file_gone() { rm -f "$(lab_subnet_env 3)" && restart; }
expired() { ! registry | grep -q "\"192.0.2.3\""; }
forgotten() { [ -z "$(routes_to 1 "$(net_of 3).0/24")" ] && [ -z "$(routes_to 2 "$(net_of 3).0/24")" ]; }

renewed() {
	local key
	key=$(registry | grep "^$(net_of 3).0-24 ")
	sleep 8
	# The key has not been written again: nobody had to look at it
	[ "$(registry | grep "^$(net_of 3).0-24 ")" = "$key" ] && [ "$(lease_left 3)" -ge 2 ]
}

# From a key for both families, under a lease of another length, as flannel leaves it
both_families() {
	local id
	lab_agent_stop 3
	id=$(api lease/grant '{"TTL":"90"}' | jq -r .ID)
	delete "$(key_of 3)" && put "$(key_of 3)&fd00:9:17::-64" \
		'{"PublicIP":"192.0.2.3","PublicIPv6":"2001:db8::3"}' "$id" &&
		within 2 eval '[ "$(routes_to 1 "$(net_of 3).0/24")" = 192.0.2.3 ]' && member 3
}

staying() {
	check "stay: restarted, a node keeps its subnet" same_after restart
	check "stay: even without its file" same_after file_gone
	check "stay: a lease is renewed without a write" renewed
	check "stay: stopped, its lease ends" eval "lab_agent_stop 3 && within 15 expired"
	check "stay: the others forget it" within 2 forgotten
	check "stay: it comes back to its old subnet" same_after member 3
	check "stay: and the others to it" everybody_knows
	check "stay: from a key that flannel wrote for both families" same_after both_families
	check "stay: which has become one for IPv4" registered
	check "stay: and everybody knows everybody" everybody_knows
	check "stay: pods talk" pods_talk
}

key_of() { echo "$ETCD_PREFIX/subnets/$(net_of "$1").0-24"; }
mine_again() { get "$(key_of 3)" | grep -q '"192.0.2.3"'; }

# The key removed, by accident or by an end of the lease that nobody noticed
losing() {
	local before
	check "lose: a removed key is back at once" eval "delete '$(key_of 3)' && within 2 mine_again"
	check "lose: nonsense in a key is set right by its owner" eval \
		"put '$(key_of 2)' nonsense && within 3 eval 'get \"\$(key_of 2)\" | grep -q 192.0.2.2'"
	check "lose: everybody knows everybody" everybody_knows
	check "lose: traffic" eval "flow_start 1p1 3p1 $RATE && flow_start 3p1 1p1 $RATE"
	check "lose: another's address in our key" claim
	check "lose: nobody believes it" eval "sleep 0.5; everybody_knows"
	check "lose: all say so" eval "for i in 1 2 3; do
		grep -q '192.0.2.77 claims what is 192.0.2.3.s' \$(lab_log \$i) || exit; done"
	check "lose: it is set right" within 3 mine_again
	check "lose: again: there is no fight" eval "claim && sleep 2 && ! mine_again"
	check "lose: and still nobody believes it" everybody_knows
	check "lose: the claim withdrawn, all is as it was" eval \
		"delete '$(key_of 3)' && within 2 mine_again && everybody_knows"
	check "lose: no datagram was lost" eval "flow_end 1p1 3p1 $RATE && flow_end 3p1 1p1 $RATE &&
		flow_whole 1p1 3p1 && flow_whole 3p1 1p1"
	before=$(subnet_of 3)
	check "lose: the subnet becomes another's: the agent ends with 1" taken_over
	check "lose: and has withdrawn" eval "! ip -n $LAB-n3 link show flannel0"
	check "lose: started again, it gets another subnet" eval \
		"member 3 && [ \"\$(subnet_of 3)\" != '$before' ]"
	check "lose: the other's goes" delete "$ETCD_PREFIX/subnets/${before%.1/24}.0-24"
	check "lose: a pod of the new one" new_pod 3
	check "lose: everybody knows everybody" everybody_knows
	check "lose: pods talk" pods_talk
	before=$(subnet_of 3)
	check "lose: the old subnet's key is nonsense: started again, it gets another" eval \
		"lab_agent_stop 3; put '$(key_of 3)' '{\"PublicIP\":\"10.244.9.9\"}' && member 3 &&
			[ \"\$(subnet_of 3)\" != '$before' ]"
	check "lose: the nonsense goes" delete "$ETCD_PREFIX/subnets/${before%.1/24}.0-24"
	check "lose: a pod of the new subnet" new_pod 3
	check "lose: pods talk again" eval "everybody_knows && pods_talk"
}

# Removed and made by somebody else, while the agent does not look
taken_over() {
	local pid rc=0
	pid=$(agent_pid 3)
	kill -STOP "$pid" && delete "$(key_of 3)" && claim && kill -CONT "$pid" || return
	within 10 eval "! kill -0 $pid" || return
	wait "$pid" || rc=$?
	[ $rc = 1 ] && grep -q "has ended and is now 192.0.2.77's: withdrawing" "$(lab_log 3)"
}

new_pod() {
	lab_ns_kill "$LAB-n${1}p1"
	ip netns del "$LAB-n${1}p1" && pod_add "$1" && serve "${1}p1"
}

claim() { put "$(key_of 3)" '{"PublicIP":"192.0.2.77","PublicIPv6":null}'; }

# The node's own address changes: its subnet does not

readdress() { ip -n "$LAB-n3" addr del "$1/24" dev wire0 && ip -n "$LAB-n3" addr add "$2/24" dev wire0; }
is_at() { [ "$(routes_to 1 "$(net_of 3).0/24")" = "$1" ] && [ "$(routes_to 2 "$(net_of 3).0/24")" = "$1" ]; }
value_is() { [ "$(get "$(key_of 3)")" = "{\"PublicIP\":\"$1\",\"PublicIPv6\":null}" ]; }

# moved_to ADDRESS: the agent has seen it, whatever the registry knows
moved_to() { grep -q "address changed from 192.0.2.3 to $1\$" "$(lab_log 3)"; }
# settled ADDRESS: the registry, the other nodes and the node itself agree on it
settled() { value_is "$1" && is_at "$1" && status_is 3 registry.up true && lab_agent_ready 3; }
same_subnet() { [ "$(subnet_of 3)" = "$1" ] && [ "$(registry | grep -c '"192.0.2.3')" = 1 ]; }

# What happens to the address while there is no registry to tell
moving_unheard() {
	local before=$1
	check "move: without etcd: another address" eval "etcd_stop && readdress 192.0.2.3 192.0.2.34 &&
		within 10 moved_to 192.0.2.34"
	check "move: and back: nothing has changed" eval "readdress 192.0.2.34 192.0.2.3 &&
		within 10 grep -q '192.0.2.3 again' '$(lab_log 3)' && etcd_start && within 10 settled 192.0.2.3"
	check "move: it is the same subnet" same_subnet "$before"
	check "move: without etcd: two more addresses" eval "etcd_stop && readdress 192.0.2.3 192.0.2.35 &&
		within 10 moved_to 192.0.2.35 && readdress 192.0.2.35 192.0.2.36 && within 10 moved_to 192.0.2.36"
	check "move: the last one counts" eval "etcd_start && within 15 settled 192.0.2.36"
	check "move: it is still the same subnet" same_subnet "$before"
	check "move: back again" eval "readdress 192.0.2.36 192.0.2.3 && within 15 settled 192.0.2.3"
	lab_agent_stop 3
	rm -f "$(lab_state 3)/registry.json"
	etcd_stop
	member_soon 3 --log-level debug
	check "move: an agent that waits for etcd" within 5 grep -q 'joining as 192.0.2.3$' "$(lab_log 3)"
	check "move: its address changes, and etcd comes" eval "readdress 192.0.2.3 192.0.2.33 && etcd_start"
	check "move: it is followed" within 20 settled 192.0.2.33
	check "move: to the same subnet" same_subnet "$before"
	check "move: back once more" eval "readdress 192.0.2.33 192.0.2.3 && within 15 settled 192.0.2.3"
}

# enslave, free: the interface becomes a bridge's port, and the bridge has the address
enslave() {
	ip -n "$LAB-n3" link add br9 type bridge && ip -n "$LAB-n3" link set br9 up &&
		ip -n "$LAB-n3" link set wire0 master br9 && ip -n "$LAB-n3" addr del 192.0.2.3/24 dev wire0 &&
		ip -n "$LAB-n3" addr add 192.0.2.3/24 dev br9
}

free() { ip -n "$LAB-n3" link del br9 && ip -n "$LAB-n3" addr add 192.0.2.3/24 dev wire0; }
uplink_is() { weft_on 3 status -j | jq -e --arg name "$1" '.ready and any(.hooks[]; .hook == "uplink" and .ifname == $name)'; }

moving() {
	local before
	before=$(subnet_of 3)
	check "move: another address" readdress 192.0.2.3 192.0.2.33
	check "move: the lease follows" within 10 value_is 192.0.2.33
	check "move: the others follow" within 5 is_at 192.0.2.33
	check "move: the node is ready, with its subnet" eval \
		"within 10 lab_agent_ready 3 && [ '$before' = \"\$(subnet_of 3)\" ]"
	check "move: pods talk" pods_talk
	check "move: and back" eval "readdress 192.0.2.33 192.0.2.3 && within 10 value_is 192.0.2.3 &&
		within 5 is_at 192.0.2.3 && within 10 lab_agent_ready 3 && pods_talk"
	moving_unheard "$before"
	check "move: an agent that goes by the address" eval \
		"lab_agent_stop 3 && member 3 --iface-regex '^192\\.0\\.2\\.3\$'"
	check "move: the interface becomes a bridge's port" enslave
	check "move: the bridge is the uplink" within 15 uplink_is br9
	check "move: pods talk by it" pods_talk
	check "move: without the bridge" free
	check "move: the interface is the uplink" within 15 uplink_is wire0
	check "move: pods talk by that" pods_talk
	check "move: a smaller MTU is followed" eval "ip -n $LAB-n3 link set wire0 mtu 1400 &&
		within 3 grep -qx FLANNEL_MTU=1372 '$(lab_subnet_env 3)'"
	check "move: and the old one" eval "ip -n $LAB-n3 link set wire0 mtu 1500 &&
		within 3 grep -qx FLANNEL_MTU=1472 '$(lab_subnet_env 3)'"
}

# Leases of others

VXLAN='{"PublicIP":"192.0.2.98","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"4a:00:00:00:00:07"}}'
FOREIGN='{"PublicIP":"192.0.2.99","PublicIPv6":null,"BackendType":"host-gw"}'

shown_unrouted() {
	weft_on 1 peers -j | jq -e 'any(.subnet == "10.244.200.0/24" and .public_ip == "192.0.2.99" and
		.backend == "host-gw" and .routed == false)' && [ -z "$(routes_to 1 10.244.200.0/24)" ]
}

sent_vxlan() {
	weft_on 1 peers -j | jq -e 'any(.subnet == "10.244.201.0/24" and .backend == "vxlan" and .routed)'
}

others() {
	check "others: flannel's udp lease" put $ETCD_PREFIX/subnets/10.244.201.0-24 \
		'{"PublicIP":"192.0.2.98","PublicIPv6":null}'
	check "others: is routed" within 2 eval '[ "$(routes_to 1 10.244.201.0/24)" = 192.0.2.98 ]'
	check "others: flannel's vxlan lease" put $ETCD_PREFIX/subnets/10.244.201.0-24 "$VXLAN"
	check "others: is sent vxlan" within 2 sent_vxlan
	check "others: flannel's host-gw lease" put $ETCD_PREFIX/subnets/10.244.200.0-24 "$FOREIGN"
	check "others: is shown and not routed" within 2 shown_unrouted
	check "others: a node that changes its address" put $ETCD_PREFIX/subnets/10.244.201.0-24 \
		'{"PublicIP":"192.0.2.97","PublicIPv6":null}'
	check "others: is followed" within 2 eval '[ "$(routes_to 1 10.244.201.0/24)" = 192.0.2.97 ]'
	check "others: a second subnet of one node" put $ETCD_PREFIX/subnets/10.244.202.0-24 \
		'{"PublicIP":"192.0.2.97","PublicIPv6":null}'
	check "others: is routed as well" within 2 eval '[ "$(routes_to 1 10.244.202.0/24)" = 192.0.2.97 ]'
	for key in 10.244.200.0-24 10.244.201.0-24 10.244.202.0-24; do
		delete $ETCD_PREFIX/subnets/$key > /dev/null
	done
	check "others: gone, as if they had not been" everybody_knows
}

# A node with two leases, as after a loss of its file. What goes to either is fast, to its MAC.

SECOND=10.244.203

# sent_fast PREFIX: of three pings there, to whoever does not answer, the first one asks for leave
sent_fast() {
	capture 3 wire0 3 "udp port 8285 and ether dst $(mac 3 wire0)" && mark 1 || return
	at 1p1 ping -q -c 3 -i 0.02 -W 0.1 "$1.99"
	gained_is 1 port slow unapproved 1 && gained_is 1 port fast ok 2 || return
	captured > "$WORK/captured" && [ "$(wc -l < "$WORK/captured")" = 3 ]
}

both_sent_fast() { sent_fast "$(net_of 3)" && sent_fast $SECOND; }

# new_mac MAC: of node 3, known to node 1
new_mac() {
	ip -n "$LAB-n3" link set wire0 address "$1" &&
		ip -n "$LAB-n1" neigh replace 192.0.2.3 lladdr "$1" dev wire0 nud reachable
}

second_lease() {
	local before
	before=$(mac 3 wire0)
	check "second: a second subnet of node 3" put $ETCD_PREFIX/subnets/$SECOND.0-24 \
		'{"PublicIP":"192.0.2.3","PublicIPv6":null}'
	check "second: is routed" within 2 eval "[ \"\$(routes_to 1 $SECOND.0/24)\" = 192.0.2.3 ]"
	check "second: both are sent fast" within 10 both_sent_fast
	check "second: another MAC" new_mac 02:00:c0:00:02:33
	check "second: both are sent to it, fast" within 10 both_sent_fast
	check "second: an agent that finds both" eval \
		"lab_agent_stop 1 && weft_on 1 cleanup && member 1 && new_mac 02:00:c0:00:02:34"
	check "second: sends both fast" within 10 both_sent_fast
	new_mac "$before"
	delete $ETCD_PREFIX/subnets/$SECOND.0-24 > /dev/null
	# A node whose connection went with its MAC misses the key in a new listing, and keeps it for 20 s
	check "second: gone, as if it had not been" everybody_knows 30
	check "second: pods talk" pods_talk
}

# Faults, with 2,000 numbered datagrams a second each way between the pods of nodes 1 and 2

RATE=2000

# ticks NODE: CPU time of the agent so far, in hundredths of a second
ticks() { awk '{ print $14 + $15 }' "/proc/$(agent_pid "$1")/stat"; }
lines() { wc -l < "$(lab_log "$1")"; }

# calm_start, calm_end [LINES]: below 10 % of a core, and 12 lines a minute, but so many (1) at once
calm_start() {
	CALM_AT=${EPOCHREALTIME/./}
	CALM_TICKS=$(ticks 1)
	CALM_LINES=$(lines 1)
}

calm_end() {
	local ms=$(((${EPOCHREALTIME/./} - CALM_AT) / 1000)) spent=$(($(ticks 1) - CALM_TICKS))
	local said=$(($(lines 1) - CALM_LINES))
	echo "in $ms ms: $spent ticks, $said lines"
	tail -n "$said" "$(lab_log 1)"
	[ $((spent * 100)) -lt "$ms" ] && [ "$said" -le $((${1:-1} + 12 * ms / 60000)) ]
}

# fault NAME BREAK HEAL HEALED [LINES]: broken for a while, in which an agent that hears of it late
# says so many lines at once; then everybody has to see within 10 s what is
fault() {
	local name=$1
	check "$name: traffic" eval "flow_start 1p1 2p1 $RATE && flow_start 2p1 1p1 $RATE"
	check "$name: it happens" eval "$2"
	calm_start
	sleep "$AWAY"
	check "$name: the agent is calm" calm_end "${5:-1}"
	check "$name: it is over" eval "$3"
	check "$name: seen within 10 s" within 10 eval "$4"
	check "$name: no datagram was lost" eval "flow_end 1p1 2p1 $RATE && flow_end 2p1 1p1 $RATE &&
		flow_whole 1p1 2p1 && flow_whole 2p1 1p1"
}

LATE=10.244.203.0-24
LATE_VALUE='{"PublicIP":"192.0.2.96","PublicIPv6":null}'
sees_late() { [ "$(routes_to 1 10.244.203.0/24)" = 192.0.2.96 ] && [ "$(routes_to 2 10.244.203.0/24)" = 192.0.2.96 ]; }
# As leases of a day do in a long night
none_registered() { ! registry | grep -qE '"192.0.2.[123]"'; }

late_comer() { put $ETCD_PREFIX/subnets/$LATE "$LATE_VALUE"; }
late_goes() { delete $ETCD_PREFIX/subnets/$LATE; }
everybody_up() { for i in 1 2 3; do [ "$(status_of $i registry.up)" = true ] || return; done; }
nobody_up() { for i in 1 2 3; do [ "$(status_of $i registry.up)" = false ] || return; done; }

hole() {
	at sw nft "add table ip hole; add chain ip hole in { type filter hook input priority 0; };
		add rule ip hole in iifname br0 tcp dport 2379 drop"
}

fill_hole() { at sw nft delete table ip hole; }

# While nobody listens: leases come and go, and etcd forgets how
compacted() {
	local revision
	etcd_stop && fill_hole && etcd_start && late_comer && late_goes && late_comer || return
	revision=$(api kv/range '{"key":"YQ=="}' | jq -r .header.revision)
	api kv/compaction "{\"revision\":\"$revision\"}"
}

# An agent that starts while etcd is away, on a node whose pods go on
replaced_without() {
	etcd_stop && lab_agent_stop 1 KILL
	member 1 && [ "$(status_of 1 registry.up)" = false ] && knows_all 1
}

cached() { grep -q "$(net_of 3).0-24" "$(lab_state 1)/registry.json" && ! grep -q $LATE "$(lab_state 1)/registry.json"; }

all_registered() { [ "$(registry | grep -cE '"192.0.2.[123]"')" = 3 ]; }

faults() {
	fault "etcd stopped" "etcd_stop" "etcd_start && late_comer" sees_late
	late_goes > /dev/null
	fault "etcd killed" "etcd_stop KILL" "etcd_start && late_comer" sees_late
	late_goes > /dev/null
	fault "etcd out of reach" hole "fill_hole && late_comer" sees_late
	late_goes > /dev/null
	for i in 1 2 3; do lab_agent_stop $i && member $i --lease-ttl 8; done
	AWAY=$((AWAY < 10 ? 10 : AWAY)) fault "leases ran out" hole "within 20 none_registered &&
		late_comer && fill_hole" "all_registered && sees_late"
	late_goes > /dev/null
	check "leases ran out: subnets are what they were" registered
	for i in 1 2 3; do lab_agent_stop $i && member $i; done
	fault "changes compacted" "hole" compacted sees_late
	late_goes > /dev/null
	fault "registry empty" 'etcd_stop && rm -rf "$WORK/etcd" && etcd_start' configure \
		"all_registered && everybody_up" 5
	check "registry empty: subnets are what they were" registered
	check "registry empty: everybody knows everybody" everybody_knows
	check "faults: pods talk" pods_talk
	check "faults: the cache is written" within 15 cached
	fault "agent replaced while etcd is away" replaced_without "etcd_start && late_comer" sees_late
	late_goes > /dev/null
	check "faults: it has its subnet, and everybody knows" everybody_knows
	check "faults: changes, and etcd goes at once" eval "late_comer && within 2 sees_late && late_goes &&
		within 2 eval '! sees_late' && late_comer && within 2 sees_late && etcd_stop"
	check "faults: the last of them is in the cache" within 20 grep -q $LATE "$(lab_state 1)/registry.json"
	check "faults: etcd again" eval "etcd_start && within 10 everybody_up && late_goes && everybody_knows"
}

# Garbage

# garbage KEY VALUE REASON: refused by its name, and nothing else changes
garbage() {
	check "garbage: $1 ${2:0:30}" eval "put '$ETCD_PREFIX/subnets/$1' '$2'"
	check "garbage: $1: refused by name" within 3 eval \
		"status_of 1 registry.refusal | grep -qF '$ETCD_PREFIX/subnets/$1: $3'"
	delete "$ETCD_PREFIX/subnets/$1" > /dev/null
}

big() {
	head -c 1000000 /dev/zero | tr '\0' x > "$WORK/big"
	{ printf '{"key":"%s","value":"' "$(base64_of "$ETCD_PREFIX/subnets/10.244.210.0-24")"
		base64 -w 0 < "$WORK/big" && printf '"}'; } > "$WORK/big.json"
	api kv/put "@$WORK/big.json"
}

# A lease that was good and is garbage now: the node is still where it was
turned_bad() {
	late_comer && within 2 sees_late && put $ETCD_PREFIX/subnets/$LATE '{"PublicIP":7}' &&
		sleep 1 && sees_late && late_goes && within 2 eval '! sees_late'
}

named() { grep -q "refused: $ETCD_PREFIX/subnets/10.244.21" "$(lab_log 1)"; }

short_lease() { lab_agent_stop 3 && member 3 --lease-ttl 6; }
config_refused() { for i in 1 2 3; do status_of $i registry.refusal | grep -F "$ETCD_PREFIX/config: $1" || return; done; }
nothing_refused() { for i in 1 2 3; do status_is $i registry.refused 0 && status_is $i registry.refusal "" || return; done; }
said_once() { [ "$(grep -c "refused: $ETCD_PREFIX/config" "$(lab_log 3)")" = 2 ]; }

# Whatever the configuration's key says: leases are followed and renewed
goes_on() { everybody_up && late_comer && within 2 sees_late && renewed && late_goes && within 2 eval '! sees_late'; }

garbage_keys() {
	local own
	own=$(net_of 1)
	check "garbage: traffic" eval "flow_start 1p1 2p1 $RATE && flow_start 2p1 1p1 $RATE"
	calm_start
	garbage 10.244.211.0-24 'no JSON' 'the value is not JSON'
	garbage 10.244.212.0-24 '[1,2]' '$: must be an object'
	garbage 10.244.213.0-24 '{"PublicIP":17}' '$.PublicIP: must be a string'
	garbage 10.244.214.0-24 '{"PublicIP":"192.0.2.300"}' '$.PublicIP: '
	garbage 10.244.215.0-24 '{"PublicIP":"10.244.9.9"}' '$.PublicIP: '
	garbage 10.244.216.0-24 '{"PublicIPv6":null}' '$.PublicIP: missing'
	garbage 10.245.1.0-24 "$LATE_VALUE" 'outside Network'
	garbage 10.244.217.7-24 "$LATE_VALUE" "the key"
	garbage 10.244.218.0-32 "$LATE_VALUE" 'the subnet is smaller'
	garbage nonsense "$LATE_VALUE" 'the key is not that of a lease'
	check "garbage: a value of 1 MB" big
	check "garbage: a value of 1 MB: refused by name" within 3 eval \
		"status_of 1 registry.refusal | grep -qF '10.244.210.0-24: the value is not JSON'"
	delete $ETCD_PREFIX/subnets/10.244.210.0-24 > /dev/null
	check "garbage: half of our own subnet" put "$ETCD_PREFIX/subnets/$own.0-25" "$LATE_VALUE"
	check "garbage: twice our own subnet" put "$ETCD_PREFIX/subnets/10.244.$((${own##*.} & 254)).0-23" \
		"$LATE_VALUE"
	sleep 1
	check "garbage: our subnet is ours" [ "$(routes_to 1 "$own.0/24")" = 192.0.2.1 ]
	check "garbage: nobody follows it" everybody_knows
	delete "$ETCD_PREFIX/subnets/$own.0-25" > /dev/null
	delete "$ETCD_PREFIX/subnets/10.244.$((${own##*.} & 254)).0-23" > /dev/null
	check "garbage: a good lease turns bad: the node stays" turned_bad
	check "garbage: a lease of a few seconds" short_lease
	check "garbage: a wrong configuration" configure '{"Network":"10.244.0.0/33"}'
	check "garbage: is refused by its name" within 10 config_refused '$.Network'
	check "garbage: the one there was stays in force" goes_on
	check "garbage: no configuration" delete "$ETCD_PREFIX/config"
	check "garbage: is refused as well" within 10 config_refused 'no such key'
	check "garbage: and the one there was stays in force" goes_on
	check "garbage: each is said once" said_once
	check "garbage: the right one again" configure
	check "garbage: nothing is refused any more" within 10 nothing_refused
	check "garbage: a lease of the usual length" eval "lab_agent_stop 3; member 3"
	check "garbage: the log names keys" named
	# Each by its name, six a minute at most
	check "garbage: the agent is calm" calm_end 6
	check "garbage: no datagram was lost" eval "flow_end 1p1 2p1 $RATE && flow_end 2p1 1p1 $RATE &&
		flow_whole 1p1 2p1 && flow_whole 2p1 1p1"
	check "garbage: everybody knows everybody" everybody_knows
}

# Pods by the CNI plugins, which know the overlay by subnet.env alone

# delegate NODE: what the flannel plugin hands to the bridge plugin
delegate() {
	local FLANNEL_NETWORK FLANNEL_SUBNET FLANNEL_MTU FLANNEL_IPMASQ
	# shellcheck disable=SC1090
	. "$(lab_subnet_env "$1")"
	jq -n --arg network "$FLANNEL_NETWORK" --arg subnet "${FLANNEL_SUBNET/.1\//.0/}" \
		--argjson mtu "$FLANNEL_MTU" --argjson masq "$FLANNEL_IPMASQ" --arg dir "$WORK/cni$1" \
		'{cniVersion: "0.4.0", name: "cbr0", type: "bridge", mtu: $mtu, ipMasq: ($masq | not),
		  isGateway: true, isDefaultGateway: true, hairpinMode: true,
		  ipam: {type: "host-local", subnet: $subnet, dataDir: $dir,
			 routes: [{dst: $network}]}}'
}

# cni COMMAND NODE POD
cni() {
	delegate "$2" | at "$2" env CNI_COMMAND="$1" CNI_CONTAINERID="pod$3" CNI_IFNAME=eth0 \
		CNI_NETNS="/run/netns/$LAB-n${2}p$3" CNI_PATH=/usr/lib/cni /usr/lib/cni/bridge
}

# cni_pod NODE: without the bridge there was, as the plugin makes its own
cni_pod() {
	lab_ns_kill "$LAB-n${1}p1"
	ip netns del "$LAB-n${1}p1" && ip -n "$LAB-n$1" link del cni0
	lab_ns_add "$LAB-n${1}p1" && cni ADD "$1" 1
}

mtu_is() { [ "$(ip -n "$LAB-n${1}" -j link show eth0 | jq -r '.[0].mtu')" = 1472 ]; }
by_cni() { ip -n "$LAB-n${1}" -4 -br addr show eth0 | grep -q " $(net_of "${1%p*}").2/24"; }

cni_plugins() {
	local i
	for i in 1 2 3; do
		check "cni: the bridge plugin makes a pod on node $i" cni_pod $i
		check "cni: node $i: of its subnet" by_cni ${i}p1
		check "cni: node $i: of the overlay's MTU" mtu_is ${i}p1
	done
	serve 1p1 2p1 3p1
	check "cni: pods talk" pods_talk
	check "cni: fast" eval "within 3 endpoint_known 1 \$(addr 1p1) && within 3 endpoint_known 2 \$(addr 2p1) &&
		udp 1p1 \$(addr 2p1) 200x100 && gained_fast"
	check "cni: a pod goes" cni DEL 3 1
	check "cni: and is forgotten" within 3 eval '! endpoint_known 3 "$(addr 3p1)"'
	check "cni: and another one comes" eval "cni_pod 3 && pings 1p1 \$(net_of 3).3"
}

gained_fast() { weft_on 1 stats -j | jq -e 'any(.counters[]; .hook == "port" and .verdict == "fast" and .packets >= 200)'; }

# Without root

CAPS="+net_admin,+bpf,+perfmon"

# as_nobody CAPABILITIES: from now on agents run as nobody with these. The device is for everybody,
# as udev has it.
as_nobody() {
	local i
	cp --remove-destination "$BUILD/weft" "$(lab_dir)/weft" && rm -f "$WORK/tun" && mknod -m 666 "$WORK/tun" c 10 200 || return
	cat > "$WORK/weft" <<-END
		#!/bin/sh
		exec unshare -m sh -c 'mount --bind $WORK/tun /dev/net/tun && mount --bind $WORK/bpf /sys/fs/bpf && exec setpriv --reuid nobody \\
			--regid nogroup --clear-groups --inh-caps=-all,$1 --ambient-caps=-all,$1 \\
			--bounding-set=-all,$1 -- "\$@"' sh $(lab_dir)/weft "\$@"
	END
	chmod 755 "$WORK/weft"
	WEFT=$WORK/weft
	for i in 1 2 3; do
		mkdir -p "$(lab_state $i)" "$(dirname "$(lab_subnet_env $i)")" &&
			chown -R nobody "$(lab_state $i)" "$(dirname "$(lab_subnet_env $i)")" &&
			chmod 700 "$(lab_state $i)" || return
	done
}

is_nobody() { [ "$(stat -c %U "/proc/$(agent_pid 1)")" = nobody ] && grep -q '^CapEff:.*[1-9a-f]' "/proc/$(agent_pid 1)/status"; }

# lacks CAPABILITY REASON: what is said without it
lacks() {
	as_nobody "$1" && member 2 && grep -q "$2" "$(lab_log 2)" && status_is 2 datapath tun
	local rc=$?
	cat "$(lab_log 2)"
	lab_agent_stop 2
	return $rc
}

undo() { ! mountpoint -q "$WORK/bpf" || umount "$WORK/bpf"; }

unprivileged() {
	local root=$WEFT
	for i in 1 2 3; do lab_agent_stop $i; done
	for i in 1 2 3; do at $i "$WEFT" cleanup --state-dir "$(lab_state $i)"; done > /dev/null
	configure > /dev/null
	lab_subnet_env() { echo "$(lab_dir)/env$1/subnet.env"; }
	# The machine's own may be closed to other users
	mkdir -p "$WORK/bpf" && mount -t bpf -o mode=1777 none "$WORK/bpf"
	check "nobody: three capabilities" as_nobody "$CAPS"
	check "nobody: agents get ready" eval "member 1 && member 2 && member 3"
	check "nobody: in tier bpf" eval "status_is 1 datapath bpf && status_is 2 datapath bpf"
	check "nobody: without root" is_nobody
	check "nobody: everybody knows everybody" everybody_knows
	for i in 1 2 3; do new_pod $i; done
	check "nobody: pods talk" pods_talk
	lab_agent_stop 2
	check "nobody: without CAP_BPF" lacks "+net_admin,+perfmon" "bpf is not available (Operation not permitted)"
	check "nobody: without CAP_PERFMON" lacks "+net_admin,+bpf" "bpf is not available"
	as_nobody "$CAPS"
	weft_on 2 cleanup
	check "nobody: without CAP_NET_ADMIN" eval '! lacks +bpf,+perfmon . && grep -q permitted "$(lab_log 2)"'
	for i in 1 2 3; do lab_agent_stop $i; done
	as_nobody "$CAPS"
	check "nobody: cleans up" eval 'weft_on 1 cleanup && ! ip -n "$LAB-n1" link show flannel0'
	WEFT=$root
	undo
}

# One subnet for two

contest() {
	configure '{"Network":"10.244.0.0/16","SubnetMin":"10.244.9.0","SubnetMax":"10.244.9.0"}' &&
		member_soon 1 && member_soon 2 && within 10 eval "lab_agent_ready 1 || lab_agent_ready 2"
}

loser() { if lab_agent_ready 1; then echo 2; else echo 1; fi; }

one_subnet() {
	local lost won
	for i in 1 2 3; do lab_agent_stop $i; done
	etcd_stop
	rm -rf "$WORK/etcd" "$(lab_subnet_env 1)" "$(lab_subnet_env 2)" "$(lab_subnet_env 3)"
	for i in 1 2 3; do at $i "$WEFT" cleanup --state-dir "$(lab_state $i)"; done > /dev/null
	check "race: etcd anew" etcd_start
	check "race: two nodes, one subnet: one gets it" contest
	lost=$(loser)
	won=$((3 - lost))
	check "race: the other says why" within 5 grep -q 'out of subnets' "$(lab_log "$lost")"
	check "race: and keeps trying, quietly" eval "sleep 3; ! lab_agent_ready $lost &&
		[ \$(wc -l < '$(lab_log "$lost")') -le 4 ] && kill -0 $(agent_pid "$lost")"
	check "race: it is one lease" eval '[ "$(registry | wc -l)" = 1 ]'
	check "race: given back, it is the other's" eval \
		"lab_agent_stop $won && delete '$(key_of "$won")' && within 40 lab_agent_ready $lost"
}

# A network that has the node's own address: all would refuse its lease

says_where() { grep -q "address 192.0.2.1 is not one a node of Network 192.0.0.0/16 can have" "$(lab_log 1)"; }

inside() {
	for i in 1 2 3; do lab_agent_stop $i; done
	etcd_stop
	rm -rf "$WORK/etcd" "$(lab_subnet_env 1)"
	at 1 "$WEFT" cleanup --state-dir "$(lab_state 1)" > /dev/null
	check "inside: a network around the node" eval "etcd_start && configure '{\"Network\":\"192.0.0.0/16\"}'"
	member_soon 1
	check "inside: the node says so" within 5 says_where
	check "inside: and has written nothing" [ -z "$(registry)" ]
	check "inside: another network: it joins" eval "configure && within 10 lab_agent_ready 1"
	check "inside: with one lease" eval '[ "$(registry | wc -l)" = 1 ]'
}

sections=("$@")
[ $# -gt 0 ] || sections=(coming_up staying losing moving others second_lease faults garbage_keys
	cni_plugins one_subnet inside unprivileged)
for section in "${sections[@]}"; do
	$section
done
