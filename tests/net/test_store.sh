#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The static store under a running agent: hundreds of reloads lose no packet, a wrong file is
# refused whole with its place and changes nothing, and tables of any size and shape are in force
# as they stand in the file. RELOADS=1000 is the long variant.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

RELOADS=${RELOADS:-200}
# Nodes that do not exist live behind a gateway that does not either: one permanent neighbour.
GATEWAY=192.0.2.254
GATEWAY_MAC=02:00:c0:00:02:fe
STORE=$(lab_dir)/store.json

# The file. A maker prints the content, or says that something else than a file is to be there.

# replace MAKER…
replace() {
	[ ! -d "$STORE" ] || rmdir "$STORE" || return
	case $1 in
	gone) rm -f "$STORE" ;;
	directory) rm -f "$STORE" && mkdir "$STORE" ;;
	fifo) rm -f "$STORE" && mkfifo "$STORE" ;;
	loop) ln -sfT store.json "$STORE" ;;
	*) "$@" > "$STORE.new" && mv -T "$STORE.new" "$STORE" ;;
	esac
}

good() { cat "$WORK/good"; }
edit() { jq "$@" "$WORK/good"; }
# swap OLD NEW: in the text, for what is no JSON
swap() {
	local text
	text=$(< "$WORK/good")
	printf '%b' "${text/"$1"/"$2"}"
}
padded() { good && head -c $(($1 - $(stat -c %s "$WORK/good"))) /dev/zero | tr '\0' ' '; }
half() { head -c $(($(stat -c %s "$WORK/good") / 2)) "$WORK/good"; }
nested() {
	printf '{"a":'
	head -c "$1" /dev/zero | tr '\0' '['
}
leases_65537() {
	jq -n '{Network: "10.0.0.0/8", SubnetLen: 25, Leases: [range(65537) |
		{Subnet: "10.\(. / 512 | floor).\(. / 2 % 256 | floor).\(. % 2 * 128)/25",
		PublicIP: "198.\(18 + . / 65536 | floor).\(. / 256 % 256 | floor).\(. % 256)"}]}'
}

# The agent


# expected NODE: the routes as the file means them, "subnet owner local"
expected() {
	jq -r --arg own "$(lab_wire_ip "$1")" \
		'.Leases[] | "\(.Subnet) \(.PublicIP) \(.PublicIP == $own)"' "$STORE" |
		sort -t . -k 1,1n -k 2,2n -k 3,3n -k 4,4n
}

# in_force [NODE…]: the tables are the file's, whole; peers are the routes that are not local
in_force() {
	local i
	[ $# -gt 0 ] || set -- 1 2
	for i; do
		expected "$i" > "$WORK/expected" || return
		weft_on "$i" routes -j | jq -r '.[] | "\(.subnet) \(.public_ip) \(.local)"' |
			diff "$WORK/expected" - > "$WORK/diff" || { head "$WORK/diff"; return 1; }
		weft_on "$i" peers -j | jq -r '.[] | "\(.subnet) \(.public_ip) false"' |
			diff <(grep -v ' true$' "$WORK/expected") - > "$WORK/diff" ||
			{ head "$WORK/diff"; return 1; }
	done
}

# takes SECONDS MAKER…: the file is replaced, both agents get there, starting anew if they must
takes() {
	local seconds=$1 i network n
	shift
	replace "$@" || return
	network=$(jq -r .Network "$STORE")
	n=$(jq '.Leases | length' "$STORE")
	for i in 1 2; do
		within "$seconds" running "$i" "$network" "$n" ||
			{ tail "$(lab_log $i)"; return 1; }
	done
	in_force
}

running() {
	local own
	own=$(jq -r --arg ip "$(lab_wire_ip "$1")" \
		'.Leases[] | select(.PublicIP == $ip).Subnet' "$STORE")
	weft_on "$1" status -j | jq -e --arg network "$2" --argjson n "$3" --arg own "$own" \
		'.ready and .store_error == "" and .network == $network and .leases == $n and
		.subnet == $own'
}

# seen_of NODE: all that a file refused must not change
seen_of() {
	weft_on "$1" routes -j && weft_on "$1" peers -j && weft_on "$1" endpoints -j &&
		cat "$(lab_subnet_env "$1")" && weft_on "$1" status -j | jq 'del(.store_error)'
}

snapshot() {
	seen_of 1 > "$WORK/$1"1 && seen_of 2 > "$WORK/$1"2
}

unchanged() {
	snapshot now && diff "$WORK/before1" "$WORK/now1" && diff "$WORK/before2" "$WORK/now2"
}

# warm [ADDRESS]: both pods are endpoints, so that no packet has a reason to be slow
warm() {
	local to=${1:-10.244.2.2}
	within 3 at 1p1 ping -c 1 -W 1 "$to" && within 3 endpoint_known 1 10.244.1.2 &&
		within 3 endpoint_known 2 "$to"
}

# fast_to ADDRESS: every packet there and back is fast at each hook it passes, but the flow's first
# one, and nothing else is counted
fast_to() {
	mark && pings 1p1 "$1" 3 && gain_is_fast 1 && gain_is_fast 2
}

gain_is_fast() {
	gains "$1" | grep -vE ' not_(ipv4|overlay) ' | sort |
		diff <(printf '%s\n' "bridge slow declined 1" "deliver slow ok 1" \
			"enter slow ok 1" "port fast ok 2" "port slow unapproved 1" "tun fast ok 1" \
			"uplink fast ok 2" "uplink slow unapproved 1") -
}

fast() { fast_to 10.244.2.2; }

# Reloads under traffic

# only_fast: what rose since the mark, but for ARP, the bridge's IGMP and what asks for leave
only_fast() {
	local i
	for i in 1 2; do
		gains "$i" | awk '{ print "node '"$i"':", $0 }
			'"$ASKS"' { asked += $4; next }
			$3 !~ /^not_(ipv4|overlay)$/ && $2 " " $3 != "fast ok" { bad = 1 }
			$1 == "port" && $2 == "fast" { n += $4 }
			END { exit bad || n < 100 || asked > n / 20 }' || return
	done
}

log_count() { grep -c "$2" "$(lab_log "$1")"; }
log_reached() {
	[ "$(log_count 1 "$1")" -ge "$2" ] && [ "$(log_count 2 "$1")" -ge "$3" ]
}

# lease SUBNET PUBLIC-IP
lease() { printf ', {"Subnet": "%s", "PublicIP": "%s"}' "$1" "$2"; }

# state_uniform I: others come and go, one moves to another address each time
state_uniform() {
	local i=$1 j
	printf '{"Network": "10.244.0.0/16", "SubnetLen": 24, "Leases": ['
	printf '{"Subnet": "10.244.1.0/24", "PublicIP": "192.0.2.1"}'
	lease 10.244.2.0/24 192.0.2.2
	lease 10.244.50.0/24 192.0.2.$((100 + i % 100))
	for ((j = 0; j < i % 5; j++)); do
		lease 10.244.$((60 + (i + j) % 40)).0/24 192.0.2.$((10 + j))
	done
	lease 10.244.150.$((i % 2 * 128))/25 192.0.2.30
	printf ']}\n'
}

# state_irregular I: the same inside the /24 that holds the subnets of both nodes' pods
state_irregular() {
	local i=$1
	printf '{"Network": "10.240.0.0/12", "SubnetLen": 24, "Leases": ['
	printf '{"Subnet": "10.244.1.0/25", "PublicIP": "192.0.2.1"}'
	lease 10.244.2.0/28 192.0.2.2
	lease 10.244.2.64/26 192.0.2.$((100 + i % 100))
	case $((i % 3)) in
	0) lease 10.244.1.128/25 192.0.2.10 ;;
	1) lease 10.244.1.128/28 192.0.2.10 ;;
	esac
	[ $((i % 2)) = 0 ] || lease 10.244.2.16/28 192.0.2.11
	[ $((i % 4)) -gt 1 ] || lease 10.241.0.0/$((16 + i % 8)) 192.0.2.12
	printf ']}\n'
}

# In one write: what an agent finds half written it refuses, until the rest is there.
in_place() {
	local text
	text=$("$@")
	printf '%s\n' "$text" > "$STORE"
}

reload_refused() {
	local bad='Leases.0.: must be an object$' bad1 bad2
	bad1=$(log_count 1 "$bad") bad2=$(log_count 2 "$bad")
	replace echo '{"Network": "10.244.0.0/16", "Leases": [null]}'
	within 3 log_reached "$bad" $((bad1 + 1)) $((bad2 + 1))
}

# reloads N STATE: each is waited for; one in ten follows a file that is refused
reloads() {
	local n=$1 state=$2 i taken='static:.* leases$' taken1 taken2
	taken1=$(log_count 1 "$taken") taken2=$(log_count 2 "$taken")
	for ((i = 1; i <= n; i++)); do
		[ $((i % 10)) != 0 ] || reload_refused || return
		case $((i % 3)) in
		0) in_place "$state" $i ;;
		1) replace "$state" $i && kill -HUP "$(agent_pid 1)" "$(agent_pid 2)" ;;
		2) replace "$state" $i ;;
		esac
		within 3 log_reached "$taken" $((taken1 + i)) $((taken2 + i)) || return
	done
	echo "node 1 took $(($(log_count 1 "$taken") - taken1)) of $n, node 2" \
		"$(($(log_count 2 "$taken") - taken2))"
	[ "$(log_count 1 "$taken") $(log_count 2 "$taken")" = "$((taken1 + n)) $((taken2 + n))" ]
}

reload_checks() {
	local label=$1 n=$2 state=$3
	mark
	check "$label: flows" load_start
	check "$label: $n reloads are taken one by one" reloads "$n" "$state"
	check "$label: $n reloads lose no packet" load_lossless
	check "$label: all packets were fast" only_fast
	check "$label: the last state is in force" in_force
}

# Malformed files

# says TEXT EXPECTED: EXPECTED is the text behind the file's name; its end may be left open by …
says() {
	local text=${1#"$STORE: "}
	[ "$text" != "$1" ] || return
	case $2 in
	*…) [ "${text#"${2%…}"}" != "$text" ] ;;
	*) [ "$text" = "$2" ] ;;
	esac
}

error_is() { says "$(status_of "$1" store_error)" "$2"; }
no_errors() { status_is 1 store_error "" && status_is 2 store_error ""; }

# refused EXPECTED MAKER…
refused() {
	local expected=$1 i n=()
	shift
	for i in 1 2; do
		n[i]=$(wc -l < "$(lab_log $i)")
	done
	replace "$@" || return
	for i in 1 2; do
		within 3 error_is $i "$expected" || { status_of $i store_error; return 1; }
		tail -n +$((n[i] + 1)) "$(lab_log $i)" > "$WORK/log"
		grep -F refused "$WORK/log" | grep -F "$STORE" | grep -qF "${expected%…}" ||
			{ echo "the log of node $i:"; cat "$WORK/log"; return 1; }
	done
	unchanged && fast
}

# check_refuses EXPECTED: of what is there now, with the same words as the agent's
check_refuses() {
	local rc
	timeout 10 "$WEFT" check --store "static:$STORE" > "$WORK/stdout" 2> "$WORK/stderr"
	rc=$?
	echo "exit status $rc"
	cat "$WORK/stdout" "$WORK/stderr"
	[ $rc = 2 ] && [ ! -s "$WORK/stdout" ] && [ "$(wc -l < "$WORK/stderr")" = 1 ] &&
		says "$(sed 's/^weft: //' "$WORK/stderr")" "$1"
}

# That nothing changed shows before the next row.
recovers() {
	replace good && within 3 no_errors
}

# row NAME EXPECTED MAKER…
row() {
	check "$1: the agents refuse it and go on" refused "${@:2}"
	[ "$1" = "no lease of this node" ] || check "$1: so does weft check" check_refuses "$2"
	check "$1: the good file clears the error" recovers
}

malformed() {
	local two='.Leases[1]'
	row "empty file" "line 1, column 1: the document is empty" true
	row "blanks only" "line 1, column 1: the document is empty" printf ' \n\t\n'
	row "truncated" "line 1, column …" half
	row "trailing garbage" "line 1, column …" swap '}]}' '}]}x'
	row "trailing comma" "line 1, column …" swap '}]}' '},]}'
	row "a comment" "line 1, column 1: …" swap '{' '/* */ {'
	row "single quotes" "line 1, column 2: …" swap '"Network"' "'Network'"
	row "not UTF-8" "line 1, column …" swap 10.244.2.0 '\0377'
	row "a NUL" "line 1, column …" swap 10.244.2.0 '10\0000'
	row "a NUL, escaped" "line 1, column …" swap 10.244.2.0 '10\\u0000'
	row "a lone surrogate" "line 1, column …" swap 10.244.2.0 '10\\ud800'
	row "a byte order mark" "line 1, column 1: starts with a byte order mark; JSON has none" \
		swap '{' '\0357\0273\0277{'
	row "deep nesting" "line 1, column …" nested 5000
	row "a million brackets" "line 1, column …" nested 1000000
	row "100 MB" "larger than 16 MiB" padded 100000000
	row "a byte too large" "larger than 16 MiB" padded $(((16 << 20) + 1))
	row "integer of 100 digits" "line 1, column …" \
		swap 8285 "$(printf '9%.0s' {1..100})"
	row "an error further down" "line 3, column 1: …" printf '{\n"Network": "10.244.0.0/16",\n]'

	row "no file" "No such file or directory" gone
	row "a directory" "not a regular file" directory
	row "a FIFO" "not a regular file" fifo
	row "a loop of links" "Too many levels of symbolic links" loop

	row "root is an array" '$: must be an object' edit '[.]'
	row "root is a string" "line 1, column …" edit '"a"'
	row "Network is missing" '$.Network: missing' edit 'del(.Network)'
	row "Network is a number" '$.Network: must be a string, not an integer' edit '.Network = 10'
	row "Network is no prefix" '$.Network: "10.244/16" is not an IPv4 prefix (a.b.c.d/len)' \
		edit '.Network = "10.244/16"'
	row "Network is IPv6" '$.Network: "fd00::/48" is not IPv4, and weft is IPv4 only' \
		edit '.Network = "fd00::/48"'
	row "Network of everything" \
		'$.Network: "0.0.0.0/0" contains addresses no pod can have' \
		edit '.Network = "0.0.0.0/0"'
	row "SubnetLen is a string" '$.SubnetLen: must be an integer, not a string' \
		edit '.SubnetLen = "24"'
	row "SubnetLen 33" '$.SubnetLen: 33 is not in 0..30' edit '.SubnetLen = 33'
	row "SubnetLen shorter than the network" \
		'$.SubnetLen: 8 leaves no room for four subnets in a /16 network' \
		edit '.SubnetLen = 8'
	row "SubnetMin outside" '$.SubnetMin: "10.9.0.0" is outside Network' \
		edit '.SubnetMin = "10.9.0.0"'
	row "IPv6 demanded" '$.EnableIPv6: true is not available yet: weft is IPv4 only' \
		edit '.EnableIPv6 = true'
	row "Backend is a string" '$.Backend: must be an object' edit '.Backend = "udp"'
	row "unknown backend" '$.Backend.Type: "carrier" is not available: udp, vxlan and ipip are' \
		edit '.Backend.Type = "carrier"'
	row "port is a string" '$.Backend.Port: must be an integer, not a string' \
		edit '.Backend.Port = "8285"'
	row "port is a fraction" \
		'$.Backend.Port: must be an integer, not a number with a fraction or exponent' \
		edit '.Backend.Port = 8285.5'
	row "port 0" '$.Backend.Port: 0 is not in 1..65535' edit '.Backend.Port = 0'
	row "port 65536" '$.Backend.Port: 65536 is not in 1..65535' edit '.Backend.Port = 65536'
	row "negative port" '$.Backend.Port: -1 is not in 1..65535' edit '.Backend.Port = -1'
	row "a port of 2^63 - 1" '$.Backend.Port: 9223372036854775807 is not in 1..65535' \
		swap 8285 9223372036854775807

	row "Leases is an object" '$.Leases: must be an array' edit '.Leases = {}'
	row "a lease is null" '$.Leases[1]: must be an object' edit "$two = null"
	row "too many leases" '$.Leases: 65537 leases, at most 65536' leases_65537
	row "Subnet is missing" '$.Leases[1].Subnet: missing' edit "del($two.Subnet)"
	row "Subnet is an array" '$.Leases[1].Subnet: must be a string, not an array' \
		edit "$two.Subnet = []"
	row "Subnet is no prefix" \
		'$.Leases[1].Subnet: "10.244.2.0" is not an IPv4 prefix (a.b.c.d/len)' \
		edit "$two.Subnet = \"10.244.2.0\""
	row "Subnet with host bits" \
		'$.Leases[1].Subnet: "10.244.2.1/24" has host bits set: write 10.244.2.0/24' \
		edit "$two.Subnet = \"10.244.2.1/24\""
	row "Subnet outside" \
		'$.Leases[1].Subnet: "10.245.2.0/24" is outside Network 10.244.0.0/16' \
		edit "$two.Subnet = \"10.245.2.0/24\""
	row "Subnet larger than the network" \
		'$.Leases[1].Subnet: "10.244.0.0/15" is outside Network 10.244.0.0/16' \
		edit "$two.Subnet = \"10.244.0.0/15\""
	row "Subnet /32" '$.Leases[1].Subnet: "10.244.2.2/32" is too small: at most /30' \
		edit "$two.Subnet = \"10.244.2.2/32\""
	row "Subnet is the network" \
		'$.Leases[1].Subnet: 10.244.0.0/16 overlaps 10.244.1.0/24 of $.Leases[0].Subnet' \
		edit "$two.Subnet = \"10.244.0.0/16\""
	row "overlapping subnets" \
		'$.Leases[2].Subnet: 10.244.2.128/25 overlaps 10.244.2.0/24 of $.Leases[1].Subnet' \
		edit '.Leases += [{Subnet: "10.244.2.128/25", PublicIP: "192.0.2.3"}]'
	row "two leases of one node" \
		'$.Leases[2].PublicIP: 192.0.2.2 is already the owner of $.Leases[1]' \
		edit '.Leases += [{Subnet: "10.244.3.0/24", PublicIP: "192.0.2.2"}]'
	row "PublicIP is missing" '$.Leases[1].PublicIP: missing' edit "del($two.PublicIP)"
	row "PublicIP is a number" '$.Leases[1].PublicIP: must be a string, not an integer' \
		edit "$two.PublicIP = 3221225986"
	row "PublicIP is IPv6" '$.Leases[1].PublicIP: "fd00::2" is not an IPv4 address' \
		edit "$two.PublicIP = \"fd00::2\""
	row "PublicIP with an octet of 256" \
		'$.Leases[1].PublicIP: "192.0.2.256" is not an IPv4 address' \
		edit "$two.PublicIP = \"192.0.2.256\""
	local ip
	for ip in 0.0.0.0 127.0.0.1 224.0.0.1 255.255.255.255; do
		row "PublicIP $ip" \
			"\$.Leases[1].PublicIP: \"$ip\" is not an address a node can have" \
			edit "$two.PublicIP = \"$ip\""
	done
	row "PublicIP inside the network" \
		'$.Leases[1].PublicIP: "10.244.9.9" is inside Network 10.244.0.0/16' \
		edit "$two.PublicIP = \"10.244.9.9\""

	# A file for other nodes is a good one, but not for these.
	row "no lease of this node" "\$.Leases: none with this node's PublicIP …" \
		edit '.Leases = [{Subnet: "10.244.3.0/24", PublicIP: "192.0.2.3"}]'
	row "Leases is missing" '$.Leases: …' edit 'del(.Leases)'
	row "Leases is empty" '$.Leases: …' edit '.Leases = []'
	check "of 16 MiB: taken" takes 3 padded $((16 << 20))
	check "of 16 MiB: weft check agrees" \
		timeout 10 "$WEFT" check --store "static:$STORE"
	check "of 16 MiB: the good file again" recovers
	check "after all of these nothing has changed" unchanged
}

# When it is read

# rchar NODE: bytes the agent has read so far; sockets do not count
rchar() { awk '/^rchar/ { print $2 }' "/proc/$(agent_pid "$1")/io"; }

has_read() { [ $(($(rchar 1) - $1)) -ge "$2" ]; }

# A megabyte of blanks behind the same state shows that the agent did look.
touch_is_nothing() {
	local from log
	replace padded 1000000 && sleep 0.3 || return
	snapshot before && from=$(rchar 1) && log=$(md5sum "$(lab_log 1)") || return
	touch "$STORE"
	within 2 has_read "$from" 1000000 || { echo "not read again"; return 1; }
	sleep 0.1
	unchanged && [ "$(md5sum "$(lab_log 1)")" = "$log" ]
}

in_force_now() { in_force > /dev/null; }

# The file is a link to one in a directory that nobody watches: the agents look by themselves every
# two seconds, so that of changes which follow each other at once they would miss the second.
sighup_rereads() {
	local i
	mkdir -p "$WORK/elsewhere"
	good > "$WORK/elsewhere/store.json"
	ln -sfT "$WORK/elsewhere/store.json" "$STORE"
	within 3 in_force_now || return
	for i in 1 2 3; do
		sleep 0.1
		in_place_elsewhere state_uniform $i
		kill -HUP "$(agent_pid 1)" "$(agent_pid 2)"
		within 1 in_force_now || { echo "change $i"; in_force; return 1; }
	done
}

in_place_elsewhere() { "$@" > "$WORK/elsewhere/store.json"; }

unwatched_is_noticed() {
	in_place_elsewhere state_uniform 7
	within 4 in_force_now
}

# A stopped agent answers nothing: only node 2 is asked meanwhile.
stopped_catches_up() {
	kill -STOP "$(agent_pid 1)"
	replace state_uniform 13
	within 3 in_force 2 && fast_unasked
	local rc=$?
	kill -CONT "$(agent_pid 1)"
	[ $rc = 0 ] && within 3 in_force_now && fast
}

fast_unasked() {
	mark 2 && pings 1p1 10.244.2.2 10 && gained_flow 2 uplink 10 &&
		gained_flow 2 port 10
}

twice_last_wins() {
	replace swap '{' '{"Backend": {"Type": "udp", "Port": 1}, "Leases": 7, "NETWORK": 3, ' &&
		sleep 0.2 && no_errors && unchanged
}

# Sizes and shapes

# The nodes that do not exist are reached through one gateway.
far_nodes() {
	local i
	for i in 1 2; do
		ip -n "$(lab_node $i)" neigh replace $GATEWAY lladdr $GATEWAY_MAC dev wire0 \
			nud permanent || return
		ip -n "$(lab_node $i)" route replace 198.16.0.0/12 via $GATEWAY || return
	done
}

# full FIRST SHIFT: 10.0.0.0/8 in 65,536 leases; owner number I + SHIFT behind 198.FIRST.0.0 has
# subnet number I
full() {
	awk -v first="$1" -v shift="$2" 'BEGIN {
		own["10.244.1.0/24"] = "192.0.2.1"
		own["10.244.2.0/24"] = "192.0.2.2"
		printf "{\"Network\": \"10.0.0.0/8\", \"SubnetLen\": 24, \"Leases\": ["
		for (i = 0; i < 65536; i++) {
			subnet = sprintf("10.%d.%d.0/24", i / 256, i % 256)
			k = (i + shift) % 65536
			owner = sprintf("198.%d.%d.%d", first, k / 256, k % 256)
			if (subnet in own)
				owner = own[subnet]
			printf "%s{\"Subnet\": \"%s\", \"PublicIP\": \"%s\"}", i ? ",\n" : "",
				subnet, owner
		}
		print "]}"
	}'
}

# full_28: as many, each a sixteenth of a cell, and those of the pods among them
full_28() {
	awk 'BEGIN {
		printf "{\"Network\": \"10.0.0.0/8\", \"SubnetLen\": 28, \"Leases\": ["
		printf "{\"Subnet\": \"10.244.1.0/28\", \"PublicIP\": \"192.0.2.1\"},\n"
		printf "{\"Subnet\": \"10.244.2.0/28\", \"PublicIP\": \"192.0.2.2\"}"
		for (i = 0; i < 65534; i++) {
			printf ",\n{\"Subnet\": \"10.%d.%d.%d/28\", ",
				i / 4096, i / 16 % 256, i % 16 * 16
			printf "\"PublicIP\": \"198.18.%d.%d\"}", i / 256, i % 256
		}
		print "]}"
	}'
}

two_of_8() { edit '.Network = "10.0.0.0/8"'; }

# check_loaded NAME MAKER…: and how long it took, from the rename until both agents have it
check_loaded() {
	LOADED='?'
	check "$1: taken" loaded "${@:2}"
	echo "# taken in $LOADED ms"
}

loaded() {
	local from taken='static:.* leases$' taken1 taken2
	"$@" > "$STORE.new" || return
	taken1=$(log_count 1 "$taken") taken2=$(log_count 2 "$taken")
	from=${EPOCHREALTIME/./}
	mv -T "$STORE.new" "$STORE"
	within 30 log_reached "$taken" $((taken1 + 1)) $((taken2 + 1)) || return
	LOADED=$(((${EPOCHREALTIME/./} - from) / 1000))
}

routes_are() { [ "$(weft_on "$1" routes -j | jq length)" = "$2" ]; }

# reaches ADDRESS OWNER…: pings to each leave by weft, on the wire to its owner, once each; nobody
# answers, but the first one of two was leave to send the other
reaches() {
	local pairs=("$@") sent=0 i dump rc=0
	: > "$WORK/tcpdump" # an earlier one said "listening", too
	# Not through at: the background process has to be the one that a signal ends.
	nsenter --net="/run/netns/$(place_ns 2)" -- tcpdump -Z root -n -U -i wire0 \
		-w "$WORK/wire.pcap" "udp port 8285 and dst net 198.16.0.0/12" \
		> "$WORK/tcpdump" 2>&1 < /dev/null &
	dump=$!
	within 3 grep -q 'listening on' "$WORK/tcpdump" && mark 1 || rc=1
	while [ $# -gt 0 ] && [ $rc = 0 ]; do
		at 1p1 ping -q -c 2 -i 0.005 -W 0.01 "$1"
		sent=$((sent + 2))
		shift 2
	done
	gained_is 1 port fast ok $((sent / 2)) && gained_is 1 tun fast ok $((sent / 2)) || rc=1
	within 2 on_the_wire $sent "" || rc=1
	kill -TERM $dump
	wait $dump
	for ((i = 0; i < ${#pairs[@]} && rc == 0; i += 2)); do
		on_the_wire 2 "${pairs[i]}" "${pairs[i + 1]}" ||
			{ echo "${pairs[i]} did not go to ${pairs[i + 1]}"; rc=1; }
	done
	[ $rc = 0 ] || tcpdump -e -n -r "$WORK/wire.pcap" 2>&1 | head -n 20
	return $rc
}

# on_the_wire N [INNER OUTER]: packets from node 1, with an inner destination at UDP's byte 8 + 16
on_the_wire() {
	local filter="src host 192.0.2.1 and ether dst $GATEWAY_MAC"
	if [ -n "$2" ]; then
		# shellcheck disable=SC2086 # four octets
		filter+=" and dst host $3 and udp[24:4] = $(printf '0x%02x%02x%02x%02x' ${2//./ })"
	fi
	[ "$(tcpdump -n -r "$WORK/wire.pcap" "$filter" 2> /dev/null | wc -l)" -eq "$1" ]
}

# fds NODE: what the agent holds, and its threads
fds() {
	fd_kinds "$1"
	find "/proc/$(agent_pid "$1")/task" -mindepth 1 -maxdepth 1 | wc -l
}

fds_are() { fds 1 | diff "$WORK/fds1" - && fds 2 | diff "$WORK/fds2" -; }

sizes() {
	fds 1 > "$WORK/fds1"
	fds 2 > "$WORK/fds2"
	check "the nodes of large tables have a way" far_nodes
	check "10.0.0.0/8 with two leases: agents start anew" takes 5 two_of_8
	check "10.0.0.0/8: fast" warm
	check "65,536 leases: flows" load_start
	check_loaded "65,536 leases" full 18 0
	check_loaded "65,536 leases, all with other subnets" full 18 1
	check "65,536 leases: nothing is lost meanwhile" load_lossless
	check "65,536 leases: in force, whole" in_force 1
	check "65,536 leases: that many routes" routes_are 1 65536
	check "65,536 leases: pods talk fast" fast
	check "65,536 leases: each address goes to its owner" reaches \
		10.0.0.1 198.18.0.1 10.0.255.9 198.18.1.0 10.100.7.77 198.18.100.8 \
		10.243.255.255 198.18.244.0 10.255.254.3 198.18.255.255 10.255.255.1 198.18.0.0
	check "65,536 leases, all of other nodes: flows" load_start
	check_loaded "65,536 leases, all of other nodes" full 19 0
	check "65,536 leases, all of other nodes: nothing is lost meanwhile" load_lossless
	check "65,536 leases, all of other nodes: in force, whole" in_force 1
	check "65,536 leases, all of other nodes: each address goes to its owner" reaches \
		10.0.0.1 198.19.0.0 10.100.7.77 198.19.100.7 10.255.255.1 198.19.255.255
	check "65,536 leases, all of other nodes: no complaint" \
		sh -c "! grep -E 'not applied|full' '$(lab_log 1)' '$(lab_log 2)'"
	check "back to two leases: flows" load_start
	check_loaded "back to two leases in place" two_of_8
	check "back to two leases: nothing is lost meanwhile" load_lossless
	check "back to two leases: in force, whole" in_force
	check "back to two leases: fast" fast
	check "65,536 leases of a /28: agents start anew" takes 30 full_28
	check "65,536 leases of a /28: that many routes" routes_are 1 65536
	check "65,536 leases of a /28: fast" warm
	check "65,536 leases of a /28: pods talk fast" fast
	check "65,536 leases of a /28: each address goes to its owner" reaches \
		10.0.0.15 198.18.0.0 10.0.0.16 198.18.0.1 10.8.7.200 198.18.128.124 \
		10.15.255.209 198.18.255.253
	check "the lab's file again: taken" takes 5 good
	check "the lab's file again: fast" warm
	check "the lab's file again: pods talk fast" fast
	check "the agents hold the descriptors and threads they held before" within 3 fds_are
}

# irregular SUBNET: node 2's, among others of all sizes
irregular() {
	local owner=1 subnet
	printf '{"Network": "10.240.0.0/12", "Leases": ['
	printf '{"Subnet": "10.244.1.0/25", "PublicIP": "192.0.2.1"}'
	lease "$1" 192.0.2.2
	for subnet in 10.240.0.0/16 10.242.64.0/20 10.243.8.0/23 10.243.10.0/24 10.243.11.0/25 \
		10.243.11.128/28 10.243.11.160/30 10.243.11.192/26 10.244.1.128/28 10.244.1.252/30 \
		10.248.0.0/13; do
		lease $subnet 198.18.0.$((owner++))
	done
	printf ']}\n'
}

# The first and the last address of each, and one between two
irregular_reached() {
	reaches 10.240.0.0 198.18.0.1 10.240.255.255 198.18.0.1 10.242.64.1 198.18.0.2 \
		10.242.79.255 198.18.0.2 10.243.8.1 198.18.0.3 10.243.9.255 198.18.0.3 \
		10.243.10.1 198.18.0.4 10.243.10.254 198.18.0.4 10.243.11.1 198.18.0.5 \
		10.243.11.127 198.18.0.5 10.243.11.128 198.18.0.6 10.243.11.143 198.18.0.6 \
		10.243.11.160 198.18.0.7 10.243.11.163 198.18.0.7 10.243.11.192 198.18.0.8 \
		10.243.11.255 198.18.0.8 10.244.1.129 198.18.0.9 10.244.1.254 198.18.0.10 \
		10.248.0.1 198.18.0.11 10.255.255.254 198.18.0.11 || return
	mark 1
	at 1p1 ping -q -c 2 -i 0.005 -W 0.01 10.243.11.144
	at 1p1 ping -q -c 2 -i 0.005 -W 0.01 10.243.11.164
	at 1p1 ping -q -c 2 -i 0.005 -W 0.01 10.244.1.144
	gained_is 1 port slow no_route 6
}

# pod_moves SUBNET POD GATEWAY: pod 1 of node 2 gets this address as well
pod_moves() {
	at 2 ip addr replace "$3/${1#*/}" dev cni0 && at 2p1 ip addr replace "$2/32" dev eth0
}

shapes() {
	local subnet pod gateway
	# Node 1 has a part of the /24 that its bridge and its pod take for their link.
	at 1 ip addr add 10.244.1.1/25 dev cni0
	at 1 ip addr del 10.244.1.1/24 dev cni0
	at 1p1 ip route add 10.244.1.128/25 via 10.244.1.1
	while read -r subnet pod gateway; do
		check "node 2 in $subnet: the state is taken" takes 5 irregular "$subnet"
		check "node 2 in $subnet: its pod gets $pod" pod_moves "$subnet" "$pod" "$gateway"
		check "node 2 in $subnet: the agents know the pods" warm "$pod"
		check "node 2 in $subnet: pods talk fast" fast_to "$pod"
		check "node 2 in $subnet: every prefix goes to its owner" irregular_reached
	done <<-END
		10.241.0.0/20 10.241.3.7 10.241.0.1
		10.241.16.128/25 10.241.16.254 10.241.16.129
		10.241.16.32/28 10.241.16.34 10.241.16.33
		10.241.17.4/30 10.241.17.6 10.241.17.5
		10.241.32.0/23 10.241.33.9 10.241.32.1
	END
	check "irregular: a table of changing shapes is taken" takes 5 state_irregular 0
	check "irregular: the agents know the pods" warm
	reload_checks "irregular" $((RELOADS / 5)) state_irregular
	check "the lab's file again" takes 5 good
}

# The node's address. The file knows one of this node, and another one is there for a while.

readdress() { at 1 ip addr del "$1/24" dev wire0 && at 1 ip addr add "$2/24" dev wire0; }
wants() { [[ $(status_of 1 store_error) == *"none with this node's PublicIP $1" ]]; }

# There are more rounds than one, and one line of them
said_once() {
	[ "$(grep -c 'debug: no underlay interface by name wire0: it has no usable' "$(lab_log 1)")" -ge 2 ] &&
		[ "$(grep -c 'warn: no underlay interface' "$(lab_log 1)")" = 1 ]
}

address_checks() {
	check "address: an agent that tells more" eval \
		"lab_agent_stop 1 && lab_agent_start 1 --datapath bpf --log-level debug"
	check "address: none: that is said once" eval \
		"at 1 ip addr del 192.0.2.1/24 dev wire0 && within 10 said_once"
	check "address: another one" eval "at 1 ip addr add 192.0.2.77/24 dev wire0 &&
		within 10 grep -q 'changed from 192.0.2.1 to 192.0.2.77' '$(lab_log 1)'"
	check "address: a file that knows nothing of it is refused" eval \
		"replace edit '.Leases += [{Subnet: \"10.244.77.0/24\", PublicIP: \"192.0.2.78\"}]' && within 3 wants 192.0.2.77"
	check "address: it is back: the file is taken" eval \
		"readdress 192.0.2.77 192.0.2.1 && within 3 status_is 1 leases 3 && status_is 1 store_error '' && in_force 1"
	check "address: the lab's file again" takes 3 good
	check "address: the file knows the new one, too: it is followed" eval \
		"replace swap '\"192.0.2.1\"' '\"192.0.2.77\"' && readdress 192.0.2.1 192.0.2.77 &&
			within 15 status_is 1 public_ip 192.0.2.77"
	check "address: and back" eval "readdress 192.0.2.77 192.0.2.1 && replace good && within 15 status_is 1 public_ip 192.0.2.1"
}

# The table's cells mean other addresses: agents start anew, and no packet is led astray meanwhile.

cells_change() {
	local i n1 n2 state
	for i in 1 2 3 4 5; do
		for state in "edit .SubnetLen=26" good; do
			n1=$(log_count 1 'ready: subnet') n2=$(log_count 2 'ready: subnet')
			# shellcheck disable=SC2086 # a command
			replace $state && within 10 log_reached 'ready: subnet' $((n1 + 1)) $((n2 + 1)) || return
		done
	done
}

cells_checks() {
	check "cells: flows" load_start
	check "cells: of another size and back, five times" cells_change
	check "cells: no datagram was lost" load_lossless
}

check "agents get ready" pair bpf bpf
jq -c . "$STORE" > "$WORK/good"
replace good
check "the agents know the pods" warm
check "all packets are fast" fast
reload_checks "uniform" "$RELOADS" state_uniform
check "the lab's file again" takes 3 good
snapshot before
malformed
check "a key twice, in whatever case: the last one wins, as flannel has it" twice_last_wins
check "touch: the agent looks and does nothing" touch_is_nothing
check "SIGHUP: the agents look" sighup_rereads
check "a change that nothing announces is found" unwatched_is_noticed
check "a file replaced while the agent is stopped is found" stopped_catches_up
check "the lab's file again, once more" takes 3 good
address_checks
cells_checks
sizes
shapes
