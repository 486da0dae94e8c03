#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Netfilter stays in charge: services and network policies, by nftables and by both kinds of
# iptables, hold as they do without weft; conntrack sees connections come and go; nothing is
# approved but what the host let through unchanged.
# IDLE=600 is the long variant.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

IDLE=${IDLE:-5}        # seconds that a connection rests
CONNECTIONS=1000
SERVICE=10.96.0.10
NODE_PORT=30080        # masqueraded, to any backend
LOCAL_PORT=30081       # as it comes, to the node's own backend
BACKENDS="10.244.1.3 10.244.2.2 10.244.3.2"
DIALECTS="nft iptables-nft iptables-legacy"
STOPS_S=1              # until a new rule holds; legacy iptables is looked at once a second
SMALL=4096             # flows remembered where eviction is the matter

# Rules, as kube-proxy writes them in its nftables and its iptables mode, and flannel's masquerade

# backends_map: "0 : goto endpoint-0, …"
backends_map() {
	local n=0 addr sep=
	for addr in $BACKENDS; do
		printf '%s%d : goto endpoint-%d' "$sep" $n $n
		n=$((n + 1)) sep=', '
	done
}

endpoint_chains() {
	local n=0 addr
	for addr in $BACKENDS; do
		echo "chain endpoint-$n {
			ip saddr $addr meta mark set mark or 0x4000
			meta l4proto tcp dnat to $addr:$PORT
			meta l4proto udp dnat to $addr:$PORT
		}"
		n=$((n + 1))
	done
}

services_nft() {
	at "$1" nft -f - <<-END
		table ip kube-proxy {
			$(endpoint_chains)
			chain service { numgen random mod 3 vmap { $(backends_map) }; }
			chain external { meta mark set mark or 0x4000; goto service; }
			chain own { meta l4proto tcp dnat to 10.244.$1.$((1 + ($1 == 1) + 1)):$PORT; }
			chain services {
				ip daddr $SERVICE meta l4proto { tcp, udp } th dport 80 goto service
				fib daddr type local tcp dport $NODE_PORT goto external
				fib daddr type local tcp dport $LOCAL_PORT goto own
			}
			chain prerouting {
				type nat hook prerouting priority dstnat;
				goto services
			}
			chain output { type nat hook output priority -100; goto services; }
			chain postrouting {
				type nat hook postrouting priority srcnat;
				meta mark & 0x4000 == 0x4000 masquerade fully-random
				ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade
			}
			counter invalid { }
			chain forward {
				type filter hook forward priority filter;
				ct state invalid counter name invalid drop
			}
		}
	END
}

services_iptables() {
	local node=$1 ipt=$2 n=0 addr
	rule() { at "$node" "$ipt" -w "$@"; }
	rule -t nat -N MARK-MASQ && rule -t nat -A MARK-MASQ -j MARK --or-mark 0x4000 &&
		rule -t nat -N SVC && rule -t nat -N EXT && rule -t nat -N SERVICES || return
	for addr in $BACKENDS; do
		rule -t nat -N SEP-$n && rule -t nat -A SEP-$n -s "$addr" -j MARK-MASQ &&
			rule -t nat -A SEP-$n -p tcp -j DNAT --to-destination "$addr:$PORT" &&
			rule -t nat -A SEP-$n -p udp -j DNAT --to-destination "$addr:$PORT" &&
			rule -t nat -A SVC -m statistic --mode random \
				--probability "$(bc <<< "scale=6; 1 / (3 - $n)")" -j SEP-$n || return
		n=$((n + 1))
	done
	rule -t nat -A EXT -j MARK-MASQ && rule -t nat -A EXT -j SVC &&
		rule -t nat -A SERVICES -d $SERVICE -p tcp --dport 80 -j SVC &&
		rule -t nat -A SERVICES -d $SERVICE -p udp --dport 80 -j SVC &&
		rule -t nat -A SERVICES -p tcp --dport $NODE_PORT -m addrtype --dst-type LOCAL \
			-j EXT &&
		rule -t nat -A SERVICES -p tcp --dport $LOCAL_PORT -m addrtype --dst-type LOCAL \
			-j DNAT --to-destination "10.244.$node.$((1 + (node == 1) + 1)):$PORT" &&
		rule -t nat -A PREROUTING -j SERVICES && rule -t nat -A OUTPUT -j SERVICES &&
		rule -t nat -A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE \
			--random-fully &&
		rule -t nat -A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE &&
		rule -A FORWARD -m conntrack --ctstate INVALID -j DROP
}

# services DIALECT: on every node
services() {
	local i
	for i in 1 2 3; do
		if [ "$1" = nft ]; then
			services_nft $i || return
		else
			services_iptables $i "$1" || return
		fi
	done
}

# invalid DIALECT: packets of all nodes that conntrack could not make sense of and a rule dropped
invalid() {
	local i
	for i in $(seq "$LAB_NODES"); do
		if [ "$1" = nft ]; then
			at "$i" nft -j list counter ip kube-proxy invalid |
				jq '.nftables[] | .counter // empty | .packets'
		else
			at "$i" "$1" -w -nvxL FORWARD | awk '/INVALID/ { print $1 }'
		fi || return
	done | awk '{ n += $1 } END { if (!NR) exit 1; print n }'
}

# no_invalid DIALECT: there are such rules, and nothing has met them
no_invalid() { [ "$(invalid "$1")" = 0 ] || { echo "invalid: $(invalid "$1")"; return 1; }; }

# policy add|del DIALECT: node 1 drops what its first pod sends to node 2's
policy() {
	case $1-$2 in
	add-nft)
		at 1 nft -f - <<-END
			table ip np {
				chain forward {
					type filter hook forward priority 10;
					ip saddr 10.244.1.2 ip daddr 10.244.2.2 drop
				}
			}
		END
		;;
	del-nft) at 1 nft delete table ip np ;;
	add-*) at 1 "$2" -w -I FORWARD -s 10.244.1.2 -d 10.244.2.2 -j DROP ;;
	del-*) at 1 "$2" -w -D FORWARD -s 10.244.1.2 -d 10.244.2.2 -j DROP ;;
	esac
}

# flows NODE JQ-CONDITION: how many flows are so
flows() { weft_on "$1" flows -j | jq "map(select($2)) | length"; }

# Services

# streams PLACE ADDRESS PORT BYTES COUNT: one connection after the other, all of them whole
streams() { local place=$1; shift; at "$place" timeout 120 "$NETBIN/talk" tcp "$@"; }

# not_approved NODE ADDRESS: nothing of a pod's is fast, in either direction
not_approved() {
	[ "$(flows "$1" ".local == \"$2\" and (.egress == \"approved\" or .ingress == \"approved\")")" \
		= 0 ]
}

# again_until FILE COMMAND…: is there
again_until() {
	local file=$1
	shift
	until [ -e "$file" ]; do "$@" || return; done
}

# through_restarts COMMAND…: kill -9 of all agents and new ones, twice, while a command in the
# background runs again and again
through_restarts() {
	local i pid rc=0
	rm -f "$WORK/enough"
	again_until "$WORK/enough" "$@" &
	pid=$!
	for i in 1 2 3 3 2 1; do
		lab_agent_stop $i KILL
		sleep 0.1
		lab_agent_start $i --datapath bpf --approve "$MODE" || rc=1
	done
	touch "$WORK/enough"
	wait $pid && return $rc
}

service_checks() {
	local dialect=$1 label="approve $MODE, $1"
	check "$label: three nodes with two pods each, and a service" ready "$dialect"
	mark
	check "$label: $CONNECTIONS connections to the service" \
		streams 1p1 $SERVICE 80 64 $CONNECTIONS
	check "$label: none of them was approved where it is translated" not_approved 1 10.244.1.2
	check "$label: at a backend's node, where they are not, they were fast" approved_at_backend
	check "$label: others while agents are killed and start" \
		through_restarts streams 1p1 $SERVICE 80 64 $((CONNECTIONS / 4))
	check "$label: from a backend, itself included" streams 1p2 $SERVICE 80 64 300
	check "$label: datagrams" datagrams
	check "$label: a NodePort on the other node, masqueraded" \
		streams 2 192.0.2.3 $NODE_PORT 64 $CONNECTIONS
	check "$label: that NodePort from a pod" streams 1p1 192.0.2.3 $NODE_PORT 64 300
	check "$label: one that is not masqueraded" streams 2 192.0.2.3 $LOCAL_PORT 64 300
	check "$label: a large transfer through the service" streams 1p1 $SERVICE 80 $((64 << 20)) 6
	check "$label: conntrack found nothing invalid" no_invalid "$dialect"
}

# As flannel's CNI configuration has it: a pod is its own service's backend.
hairpin() {
	local i
	for i in 1 2 3; do
		at $i bridge link set dev veth1 hairpin on &&
			at $i bridge link set dev veth2 hairpin on || return
	done
}

ready() {
	lab_up --nodes 3 --pods 2 && services "$1" && hairpin &&
		lab_agents_start --datapath bpf --approve "$MODE" || return
	serve 1p1 1p2 2p1 3p1 || return
	pings 1p1 10.244.2.2 && pings 1p1 10.244.3.2 && pings 1p2 10.244.2.2 &&
		within 3 endpoint_known 1 10.244.1.3 && within 3 endpoint_known 2 10.244.2.2 &&
		weft_on 1 flows flush
}

# At the far end the connection is between two pods: a third of all, a packet or two of each.
approved_at_backend() {
	[ "$(gained 2 port fast ok)" -gt $((CONNECTIONS / 4)) ] &&
		[ "$(gained 2 uplink fast ok)" -gt $((CONNECTIONS / 4)) ]
}

datagrams() {
	local i
	for i in $(seq 20); do
		at 1p1 "$NETBIN/talk" udp $SERVICE 80 20x100 || return
	done
}

# A service whose translation makes the very five-tuple of a flow between pods

one_backend() {
	at 1 nft -f - <<-END
		table ip one {
			chain prerouting {
				type nat hook prerouting priority dstnat;
				ip daddr $SERVICE meta l4proto { tcp, udp } dnat to 10.244.2.2
			}
		}
	END
}

# echoes PROTOCOL ADDRESS: with always the same ports, which conntrack has forgotten
echoes() {
	at 1 conntrack -D --orig-src 10.244.1.2 > /dev/null 2>&1
	[ "$(printf 'one\ntwo\nthree\n' | at 1p1 socat -t 1 - \
		"$1:$2:7200,sourceport=5555,reuseaddr" | tr '\n' ' ')" = "one two three " ]
}

# Directly, by the service, directly: each is answered, and only what is direct is approved.
same_ports() {
	local i
	for i in 1 2 3; do
		echoes "$1" 10.244.2.2 || return
		[ "$1" = TCP ] || [ "$(flows 1 '.local_port == 5555 and .egress == "approved"')" = 1 ] ||
			return
		echoes "$1" $SERVICE && [ "$(flows 1 '.local_port == 5555')" = 0 ] || return
	done
}

same_port_checks() {
	local label="approve $MODE, same ports"
	check "$label: two nodes, a service" eval "lab_up && one_backend"
	check "$label: agents get ready" lab_agents_start --datapath bpf --approve "$MODE"
	check "$label: the agents know the pods" eval "pings 1p1 10.244.2.2 &&
		within 3 endpoint_known 1 10.244.1.2 && within 3 endpoint_known 2 10.244.2.2"
	at 2p1 socat UDP-LISTEN:7200,fork,reuseaddr EXEC:cat < /dev/null &
	at 2p1 socat TCP-LISTEN:7200,fork,reuseaddr EXEC:cat < /dev/null &
	within 3 at_listens 2p1 7200
	check "$label: UDP, directly and by the service in turns" same_ports UDP
	check "$label: TCP" same_ports TCP
}

# Policies

# arrivals: of the flow from pod 1p1, at pod 2p1
arrivals() { metered 2p1 eth0; }

moves() { local n; n=$(arrivals) && sleep 0.1 && [ "$(arrivals)" -gt "$n" ]; }
rests() { local n; n=$(arrivals) && sleep 0.5 && [ "$(arrivals)" -eq "$n" ]; }

policy_checks() {
	local dialect=$1 wait=$STOPS_S
	[ "$dialect" != iptables-legacy ] || wait=$((STOPS_S + 1))
	check "$dialect: two nodes and a policy" policy_ready "$dialect"
	check "$dialect: nothing passes" refused_by_policy
	check "$dialect: without it all does" passes "$dialect"
	check "$dialect: a policy under load: fast before" fast_under_load
	check "$dialect: it holds within $wait s" holds_within "$dialect" "$wait"
	check "$dialect: and stays so" rests
	check "$dialect: it holds when it was away for a moment" holds_again "$dialect" "$wait"
	check "$dialect: without it the flow goes on, fast" goes_on "$dialect"
}

policy_ready() {
	lab_up && policy add "$1" && lab_agents_start --datapath bpf && serve 1p1 2p1 &&
		pings 2p1 10.244.1.1 && within 3 endpoint_known 2 10.244.2.2 &&
		meter 2p1 eth0
}

refused_by_policy() {
	! pings 1p1 10.244.2.2 && ! udp 1p1 10.244.2.2 1x100 &&
		! at 1p1 timeout 2 "$NETBIN/talk" tcp 10.244.2.2 $PORT 64 &&
		inject 1p1 count=1000 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 \
			dst=10.244.2.2 && [ "$(arrivals)" = 0 ] && [ "$(flows 1 true)" = 0 ]
}

passes() { policy del "$1" && within 10 pings 1p1 10.244.2.2 && tcp 1p1 10.244.2.2 $((16 << 20)); }

fast_under_load() {
	nsenter --net="/run/netns/$(place_ns 1p1)" -- "$NETBIN/inject" count=1000000 pps=10000 \
		dev=eth0 sports=1 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 dst=10.244.2.2 \
		> "$WORK/load" 2>&1 &
	LOAD=$!
	within 2 moves && mark 1 && within 3 fast_by 3000
}

holds_within() { policy add "$1" && sleep "$2" && rests; }

# The load has met the rule for longer than the time from look to look.
holds_again() { sleep 1.2 && policy del "$1" && within 1 moves && holds_within "$@"; }

goes_on() {
	local rc=0
	policy del "$1" && within 3 moves && within 10 fast_now || rc=1
	kill "$LOAD"
	wait "$LOAD" 2> /dev/null
	return $rc
}

fast_now() { mark 1 && within 1 fast_by 1000; }
fast_by() { [ "$(gained 1 port fast ok)" -gt "$1" ]; }

# conntrack

conntrack_rules() {
	local i
	for i in 1 2; do
		at $i nft -f - <<-END || return
			table ip kube-proxy {
				counter invalid { }
				chain forward {
					type filter hook forward priority filter;
					ct state invalid counter name invalid drop
				}
			}
		END
	done
}

# tracked STATE: of node 1's connections from pod to pod
tracked() {
	at 1 conntrack -L -p tcp --orig-src 10.244.1.2 --orig-dst 10.244.2.2 2> /dev/null |
		grep -c " $1 "
}

# listens PID: one of its netlink sockets is a member of a group
listens() {
	local sockets
	sockets=$(find "/proc/$1/fd" -lname 'socket:*' -printf '%l\n' | tr -dc '0-9\n')
	awk '$4 !~ /^0+$/ { print $NF }' "/proc/$1/net/netlink" | grep -qxF "$sockets"
}

seen_each() {
	local state
	for state in NEW ESTABLISHED TIME_WAIT; do
		[ "$(grep -c "$state" "$1")" = "$2" ] || return
	done
}

# Born, established, closed by both sides: as a host sees it that forwards every packet
seen_whole() {
	local log=$WORK/conntrack rc=0 pid
	nsenter --net="/run/netns/$(place_ns 1)" -- conntrack -E -p tcp -o id \
		> "$log" 2>&1 < /dev/null &
	pid=$!
	within 3 listens $pid && tcp 1p1 10.244.2.2 $((1 << 20)) 50 &&
		within 3 seen_each "$log" 50 || rc=1
	sleep 0.1 # for one too many
	kill $pid
	wait $pid 2> /dev/null
	seen_each "$log" 50 || { grep -oE "NEW|ESTABLISHED|TIME_WAIT" "$log" | sort | uniq -c; rc=1; }
	[ "$(tracked ESTABLISHED)" = 0 ] && [ $rc = 0 ]
}

# A connection that rests and then goes on
rests_and_goes_on() {
	nsenter --net="/run/netns/$(place_ns 2p1)" -- socat -u TCP-LISTEN:7100,reuseaddr \
		OPEN:"$WORK/rested",creat < /dev/null &
	local server=$!
	within 3 at_listens 2p1 7100 || return
	{ echo before; sleep "$IDLE"; echo after; } |
		at 1p1 socat -u - TCP:10.244.2.2:7100 || return
	wait $server
	[ "$(tr '\n' ' ' < "$WORK/rested")" = "before after " ]
}

# A pause in which an agent that shows conntrack too little lets it take the flow for a single question
STREAM_PORT=7200
pauses() {
	[ "$({ echo one; sleep 4; echo two; sleep 0.5; } |
		at 1p1 socat - UDP:10.244.2.2:$PORT,sourceport=$STREAM_PORT | xargs)" = "one two" ]
}

# is_stream NODE: which conntrack keeps for more than the 30 s of an answer
is_stream() {
	at "$1" conntrack -L -p udp --orig-port-src $STREAM_PORT 2> /dev/null | tee "$WORK/stream"
	[ "$(wc -l < "$WORK/stream")" = 1 ] && awk '{ exit !($3 > 60) }' "$WORK/stream"
}

at_listens() { at "$1" ss -Hltn "sport = :$2" | grep -q .; }

# resets: that both pods and both nodes have sent
resets() {
	local place
	for place in 1p1 2p1 1 2; do
		at $place nstat -asz TcpOutRsts | awk '/TcpOutRsts/ { print $2 }' || return
	done | paste -sd+ | bc
}

# Evictions, generations and renewals while eight streams run; all arrive, and whole
undisturbed() {
	local i before pids=() rc=0
	before=$(resets) && mark || return
	for i in $(seq 8); do
		TALK_S=300 tcp 1p1 10.244.2.2 $((2 << 30)) > "$WORK/stream$i" 2>&1 &
		pids+=($!)
	done
	"$@" || rc=1
	for i in "${pids[@]}"; do
		kill -0 "$i" || { echo "a stream ended too soon"; rc=1; }
	done
	for i in "${pids[@]}"; do
		wait "$i" || rc=1
	done
	cat "$WORK"/stream*
	gains 1
	echo "resets: $before, then $(resets)"
	[ $rc = 0 ] && [ "$(resets)" = "$before" ] && no_invalid nft
}

generations() {
	local i
	for i in $(seq 10); do
		policy add nft && policy del nft || return
		sleep 0.3
	done
	[ "$(gained 1 port slow generation)" -ge 10 ]
}

renewals() { sleep 3; [ "$(gained 1 port slow stale)" -ge 8 ]; }

# mostly_fast NEW: 99 of 100 packets at the ports, but the first ones of so many new flows
mostly_fast() {
	gains 1 | awk -v new="$1" '$1 != "port" || $3 == "not_ipv4" { next }
		$2 == "fast" { fast += $4; next } { slow += $4 }
		END {
			print fast + 0, "fast,", slow - new, "not, without", new, "of new flows"
			exit !(slow >= new && fast > 0 && fast >= 99 * (slow - new))
		}'
}

# Twice as many new flows as are remembered, while the old ones run, which stay fast
flood() {
	inject 1p2 count=$((2 * SMALL)) pps=5000 sports=$((2 * SMALL)) dev=eth0 \
		eth_dst=02:00:0a:f4:01:01 src=10.244.1.3 dst=10.244.2.3 &&
		[ "$(gained 1 port slow unapproved)" -ge $((2 * SMALL)) ] &&
		[ "$(flows 1 true)" -le $SMALL ] && mostly_fast $((2 * SMALL))
}

liberal() { at "$1" sysctl -n net.netfilter.nf_conntrack_tcp_be_liberal; }

# timeout_is WHAT SECONDS, of node 1's conntrack: unacknowledged, established
timeout_is() { [ "$(at 1 sysctl -n "net.netfilter.nf_conntrack_tcp_timeout_$1")" = "$2" ]; }

# soft, strict: both settings as the agent has them, and as they were
soft() { [ "$(liberal 1)" = 1 ] && timeout_is unacknowledged 432000; }
strict() { [ "$(liberal 1)" = 0 ] && timeout_is unacknowledged 300; }

# strict_again: the settings are back, whatever way the agent went
strict_again() {
	soft || return
	lab_agent_stop 1 KILL
	soft && weft_on 1 cleanup && strict
}

# strict_in_tun: which has no flows to fall back
strict_in_tun() {
	soft && lab_agent_stop 1 || return
	lab_agent_start 1 --datapath tun && strict || return
	lab_agent_stop 1 && lab_agent_start 1 --datapath bpf && soft
}

# Attacks

# Only what comes by way of the service may go from pod to pod.
only_by_service() {
	at 1 nft -f - <<-END
		table ip np {
			chain prerouting {
				type nat hook prerouting priority dstnat;
				ip daddr $SERVICE dnat to 10.244.2.2
			}
			chain forward {
				type filter hook forward priority 10;
				ct status dnat accept
				ip saddr 10.244.1.2 ip daddr 10.244.2.2 drop
			}
		}
	END
}

# forge KEY=VALUE…: 256 flows each
forge() {
	inject 1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 count=256 sports=256 "$@"
}

# Both ways in turns, by the same ports, with every TOS and every mark
attacks() {
	local value direct=0
	meter_reset 2p1 eth0
	for value in $(seq 0 255); do
		inject 1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 dst=10.244.2.2 \
			count=4 sports=4 tos="$value" mark="$value" &&
			inject 1p1 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.2 \
				dst=$SERVICE count=4 sports=4 tos="$value" mark="$value" || return
		direct=$((direct + 4))
	done > /dev/null
	arrived 2p1 eth0 $direct && not_approved 1 10.244.1.2
}

forged_tags() {
	at 1p1 "$NETBIN/foreign" forge eth0 egress && attacks && attacks
}

crafted_sources() {
	local i
	for i in 10.244.1.1 10.244.1.3 10.244.2.2 192.0.2.1 10.96.0.10; do
		forge src="$i" dst=10.244.2.2 || return
	done > /dev/null
	[ "$(flows 1 '.egress == "approved" or .ingress == "approved"')" = 0 ]
}

# What a pod has asked for may come in, nothing else.
only_answers() {
	at 1 nft -f - <<-END
		table ip answers {
			chain forward {
				type filter hook forward priority 11;
				ip daddr 10.244.1.3 ct state established accept
				ip daddr 10.244.1.3 drop
			}
		}
	END
}

# A member answers the one port that was asked, and 255 others, with every TOS and every mark.
member_attacks() {
	local value mac
	mac=$(mac 1 wire0)
	echo question | at 1p2 socat -u - UDP:10.244.2.2:40000,sourceport=$METERED || return
	for value in $(seq 0 255); do
		inject 2 dev=wire0 eth_dst="$mac" outer_src=192.0.2.2 outer_dst=192.0.2.1 \
			src=10.244.2.2 dst=10.244.1.3 count=256 sports=256 tos="$value" \
			mark="$value" > /dev/null || return
	done
	arrived 1p2 eth0 256 || return
	weft_on 1 flows --address 10.244.1.3
	[ "$(listed '.ingress == "approved"' --address 10.244.1.3)" = 1 ]
}

# The verb, the table's size, routes

# listed CONDITION [OPTION…]: flows of node 1 that are so
listed() {
	local condition=$1
	shift
	weft_on 1 flows -j "$@" | jq "map(select($condition)) | length"
}

filters() {
	udp 1p1 10.244.2.2 5x100 && tcp 1p1 10.244.2.2 1000 && pings 1p1 10.244.2.2 || return
	[ "$(listed true --protocol udp)" = 1 ] && [ "$(listed true --protocol icmp)" = 1 ] &&
		[ "$(listed true)" = 3 ] && [ "$(listed true --port $PORT)" = 2 ] &&
		[ "$(listed true --address 10.244.2.2)" = 3 ] &&
		[ "$(listed true --address 10.244.2.3)" = 0 ] &&
		[ "$(listed '.protocol == "udp" and .local == "10.244.1.2" and
			.remote == "10.244.2.2" and .remote_port == '$PORT' and
			.egress == "approved" and .ingress == "approved" and
			.egress_age <= 10 and .ingress_age <= 10')" = 1 ] &&
		weft_on 1 flows --protocol udp | grep -q '^udp  *10.244.1.2  *[0-9]'
}

# asks_again REASON COMMAND…: after it a ping asks for leave, and is fast from then on
asks_again() {
	local reason=$1
	shift
	"$@" && sleep 0.2 && mark 1 && at 1p1 ping -q -c 5 -i 0.02 -e 77 10.244.2.2 || return
	gained_is 1 port slow "$reason" 1 && gained_is 1 uplink slow "$reason" 1 &&
		gained_is 1 port fast ok 4 && gained_is 1 uplink fast ok 4
}

flush() {
	local first
	first=$(weft_on 1 flows flush | sed -n 's/^generation \([0-9]*\)$/\1/p')
	[ -n "$first" ] && [ "$(weft_on 1 flows flush -j | jq .generation)" = $((first + 1)) ]
}
route() { at 1 ip route add 198.51.100.0/24 dev wire0; }
routing_rule() { at 1 ip rule add from 203.0.113.7 table main; }

table_size() { bpftool -j map show pinned "$(map_pin 1 approvals)" | jq .max_entries; }
restarts() { lab_agent_stop 1 && lab_agent_start 1 --datapath bpf "$@"; }

no_flows() {
	lab_agent_stop 1
	lab_agent_start 1 --datapath tun && exits 1 weft_on 1 flows &&
		grep -q 'no datapath bpf there' "$WORK/check"
}

verb_checks() {
	check "flows: agents get ready" pair bpf bpf
	serve 1p1 2p1
	check "flows: the agents know the pods" eval "pings 1p1 10.244.2.2 &&
		within 3 endpoint_known 1 10.244.1.2 && within 3 endpoint_known 2 10.244.2.2 &&
		restarts --approve-max 4096"
	check "flows: as many as asked for" [ "$(table_size)" = 4096 ]
	check "flows: listed by protocol, port and address" filters
	check "flows: a ping asks for leave" asks_again unapproved true
	check "flows: flush, and it asks again" asks_again generation flush
	check "flows: a route is added" asks_again generation route
	check "flows: a policy rule is added" asks_again generation routing_rule
	check "flows: a new agent starts a generation" \
		asks_again generation restarts --approve-max 4096
	check "flows: a table of another size starts empty" \
		asks_again unapproved restarts --approve-max 8192
	check "flows: as many as asked for now" [ "$(table_size)" = 8192 ]
	lab_agent_stop 1 KILL
	check "flows: listed without an agent" [ "$(listed '.egress == "approved"')" -ge 1 ]
	check "flows: flushed without an agent" flush
	check "flows: and approved anew without one" at 1p1 ping -q -c 5 -i 0.02 -e 77 10.244.2.2
	check "flows: as the list shows" [ "$(listed '.egress == "approved"')" = 1 ]
	check "flows: none in datapath tun, status 1" no_flows
}

for MODE in host none; do
	for dialect in $DIALECTS; do
		service_checks "$dialect"
	done
	same_port_checks
done

for dialect in $DIALECTS; do
	policy_checks "$dialect"
done

verb_checks

check "conntrack: two nodes that drop what is invalid" lab_up --pods 2
check "conntrack: rules" conntrack_rules
serve 1p1 2p1
check "conntrack: agents get ready" \
	lab_agents_start --datapath bpf --approve-ttl 1 --approve-max $SMALL
check "conntrack: the agents know the pods" eval "pings 1p1 10.244.2.2 && pings 1p2 10.244.2.2 &&
	within 3 endpoint_known 1 10.244.1.3 && within 3 endpoint_known 2 10.244.2.2"
check "conntrack: 50 connections are born and closed" seen_whole
check "conntrack: one that rests for $IDLE s goes on" rests_and_goes_on
check "eight streams: ten generations" undisturbed generations
check "eight streams: renewal every second" undisturbed renewals
check "eight streams: a flood of new flows" undisturbed flood
check "conntrack is strict again in datapath tun" strict_in_tun
check "conntrack is liberal, and strict again after cleanup" strict_again

check "conntrack: agents with the usual lifetime" eval "lab_agent_stop 2 && lab_agents_start --datapath bpf &&
	pings 1p1 10.244.2.2 && within 3 endpoint_known 1 10.244.1.2 && within 3 endpoint_known 2 10.244.2.2"
check "conntrack: UDP with a pause arrives" pauses
check "conntrack: it is a stream" eval "is_stream 1 && is_stream 2"

check "attacks: two nodes" lab_up --pods 2
check "attacks: only a service's way is open" only_by_service
check "attacks: agents get ready" lab_agents_start --datapath bpf
check "attacks: the agents know the pods" eval "pings 1p1 10.244.1.1 && pings 2p1 10.244.2.1 &&
	within 3 endpoint_known 1 10.244.1.2 && within 3 endpoint_known 2 10.244.2.2"
check "attacks: a meter" meter 2p1 eth0
check "attacks: a service's ports, every TOS and mark" attacks
check "attacks: crafted sources" crafted_sources
check "attacks: forged tags" forged_tags
check "attacks: only answers may come to a pod" eval "meter 1p2 eth0 && only_answers"
check "attacks: a member answers whom it was not asked by" member_attacks
