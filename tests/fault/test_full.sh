#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# Tables at their maximum, one beyond it and twice that. Leases: what is too much is refused whole, by
# a text that says how much there may be; what was in force stays, packet by packet. Flows: what is
# too much takes the slow path and arrives all the same. Afterwards tables empty and fill again.
# shellcheck source-path=SCRIPTDIR source=../net/lib.sh
. "$(dirname "$0")/../net/lib.sh"

MAX=65536 # leases, see weft/abi.h
FLOWS=1024 # the fewest that --approve-max takes
RATE=2000 # datagrams a second, each way
STORE=$(lab_dir)/store.json

# leases N: of the two nodes and N - 2 that do not exist, in halves of a cell of the route index
leases() {
	awk -v n="$1" 'BEGIN {
		printf "{\"Network\": \"10.0.0.0/8\", \"SubnetLen\": 25, \"Leases\": ["
		printf "{\"Subnet\": \"10.244.1.0/25\", \"PublicIP\": \"192.0.2.1\"},\n"
		printf "{\"Subnet\": \"10.244.2.0/25\", \"PublicIP\": \"192.0.2.2\"}"
		for (i = 0; i < n - 2; i++) {
			j = i < 124930 ? i : i == 124930 ? i + 1 : i + 2 # all others of the /8
			printf ",\n{\"Subnet\": \"10.%d.%d.%d/25\", ", j / 512, j / 2 % 256,
				j % 2 * 128
			printf "\"PublicIP\": \"%d.%d.%d.%d\"}", 198 + int(i / 65536), 18,
				i / 256 % 256, i % 256
		}
		print "]}"
	}'
}

replace() { leases "$1" > "$STORE.new" && mv "$STORE.new" "$STORE"; }

leases_are() {
	weft_on 1 status -j | jq -e --argjson n "$1" '.ready and .leases == $n and .store_error == ""'
}

# takes N: within a time that a busy machine needs
takes() { replace "$1" && within 60 leases_are "$1"; }

metric() {
	at 1 curl -s http://127.0.0.1:9477/metrics | awk -v name="$1" '$1 == name { print $2 }'
}

# metric_is NAME VALUE
metric_is() {
	echo "$1 $(metric "$1"), want $2"
	[ "$(metric "$1")" = "$2" ]
}

full_ready() {
	lab_up && replace 2 && lab_agents_start --datapath bpf --metrics 127.0.0.1:9477 &&
		at 1 ip neigh add 192.0.2.254 lladdr 02:00:c0:00:02:fe dev wire0 nud permanent &&
		at 1 ip route add 198.0.0.0/7 via 192.0.2.254 && pings 1p1 "$(addr 2p1)"
}

flows_begin() { flow_start 1p1 2p1 $RATE && flow_start 2p1 1p1 $RATE; }

flows_whole() {
	local rc=0
	flow_end 1p1 2p1 $((RATE / 2)) || rc=1
	flow_end 2p1 1p1 $((RATE / 2)) || rc=1
	flow_whole 1p1 2p1 && flow_whole 2p1 1p1 && return $rc
}

# refused N: by exactly this text, and what was in force is
refused() {
	local text="$STORE: \$.Leases: $1 leases, at most $MAX"
	replace "$1" && within 60 status_is 1 store_error "$text" ||
		{ echo "want $text"; status_of 1 store_error; return 1; }
	grep -qF "refused: $text" "$(lab_log 1)" && leases_still "$2" &&
		metric_is weft_store_up 0 && metric_is 'weft_map_entries{map="peers"}' $(($2 - 1))
}

leases_still() { status_is 1 leases "$1"; }

full() {
	check "leases: two nodes get ready" full_ready
	check "leases: the last one is $MAX's" takes $MAX
	check "leases: the metric says full" metric_is 'weft_map_entries{map="peers"}' $((MAX - 1))
	flows_begin
	check "leases: one more is refused by name, nothing changes" refused $((MAX + 1)) $MAX
	check "leases: twice as many are, too" refused $((2 * MAX)) $MAX
	check "leases: half of them go" takes $((MAX / 2))
	check "leases: the metric follows" metric_is 'weft_map_entries{map="peers"}' $((MAX / 2 - 1))
	check "leases: and come again" takes $MAX
	check "leases: all but two go, and all come again" eval "takes 2 && takes $MAX"
	check "leases: a flow each way has lost nothing" flows_whole
}

# Flows

flows_ready() {
	pair bpf bpf --pods 2 -- --approve-max $FLOWS && pings 1p1 "$(addr 2p1)" &&
		pings 1p2 "$(addr 2p2)" && meter 2p2 eth0
}

approved() { weft_on 1 flows -j | jq length; }

# overflow N: so many new flows of three packets each arrive, whoever carries them, and no more are
# remembered than may be
overflow() {
	meter_reset 2p2 eth0
	mark
	inject 1p2 dev=eth0 eth_dst=02:00:0a:f4:01:01 src=10.244.1.3 dst="$(addr 2p2)" \
		count=$((3 * $1)) sports="$1" pps=3000 || return
	within 5 metered_is $((3 * $1)) || { metered 2p2 eth0; return 1; }
	gains 1
	echo "remembered: $(approved)"
	[ "$(approved)" -le $FLOWS ] && [ "$(gained 1 port slow unapproved)" -ge "$1" ]
}

metered_is() { [ "$(metered 2p2 eth0)" -eq "$1" ]; }

overflows() {
	check "flows: two nodes that remember $FLOWS" flows_ready
	flows_begin
	for n in $FLOWS $((FLOWS + 1)) $((2 * FLOWS)) $((8 * FLOWS)); do
		check "flows: $n new ones: every packet arrives" overflow "$n"
	done
	check "flows: forgotten" eval 'weft_on 1 flows flush'
	check "flows: and filled again" overflow $FLOWS
	check "flows: those that were there before have lost nothing" flows_whole
}

# The file system of the subnet file

# full_file: the overlay's MTU changes, which cannot be written down at first
full_file() {
	local dir=$WORK/small rc=0
	mkdir -p "$dir" && mount -t tmpfs -o size=32k,mode=755 none "$dir" || return
	lab_up && lab_agent_start 1 --subnet-file "$dir/env" && grep -x FLANNEL_MTU=1472 "$dir/env" &&
		! dd if=/dev/zero of="$dir/fill" bs=4k && at 1 ip link set wire0 mtu 1400 &&
		within 5 status_is 1 mtu 1372 && grep -x FLANNEL_MTU=1472 "$dir/env" || rc=1
	rm -f "$dir/fill"
	within 10 grep -x FLANNEL_MTU=1372 "$dir/env" || rc=1
	cat "$(lab_log 1)"
	lab_agent_stop 1
	umount "$dir" && return $rc
}

full
overflows
check "subnet file: written as soon as there is room" full_file
