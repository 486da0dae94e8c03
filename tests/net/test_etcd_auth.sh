#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# A registry behind TLS, client certificates, and user and password; several endpoints; and that no
# secret is for others to read.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source-path=SCRIPTDIR source=etcd.sh
. "$NET_ROOT/tests/net/etcd.sh"

SECRET="s3cret pass\"word"

# authority NAME: one that signs certificates
authority() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
		-keyout "$WORK/$1.key" -out "$WORK/$1.pem"
}

# certificate NAME AUTHORITY
certificate() {
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" \
		-keyout "$WORK/$1.key" -out "$WORK/$1.csr" &&
		openssl x509 -req -days 2 -in "$WORK/$1.csr" -CA "$WORK/$2.pem" -CAkey "$WORK/$2.key" \
			-CAcreateserial -out "$WORK/$1.pem" \
			-extfile <(echo "subjectAltName=IP:$ETCD_IP")
}

certificates() {
	authority ca && authority stranger && certificate server ca && certificate client ca &&
		certificate intruder stranger
}

# etcd.sh's client, with a certificate
at_sw_curl() { at sw curl -sfm 5 --cacert "$WORK/ca.pem" --cert "$WORK/client.pem" --key "$WORK/client.key" "$@"; }

# tls [FLAG…]: etcd anew, with these of etcd's own flags
tls() {
	etcd_stop
	ETCD_URL=https://$ETCD_IP:2379
	ETCD_STORE=etcd:$ETCD_URL
	etcd_answers() { at_sw_curl "$ETCD_URL/health"; }
	api() { at_sw_curl "$ETCD_URL/v3/$1" -d "$2"; }
	nsenter --net="/run/netns/$LAB-sw" -- etcd --logger=zap --data-dir "$WORK/etcd" \
		--listen-client-urls "$ETCD_URL" --advertise-client-urls "$ETCD_URL" \
		--cert-file "$WORK/server.pem" --key-file "$WORK/server.key" "$@" \
		< /dev/null > "$WORK/etcd.log" 2>&1 &
	ETCD_PID=$!
	within 10 etcd_answers
}

registered() { registry | grep -q '"192.0.2.1"'; }

# joins [FLAG…]: a node, and is it followed
joins() {
	local rc=0
	member 1 "$@" && within 8 status_is 1 registry.up true && within 2 registered || rc=1
	lab_agent_stop 1
	return $rc
}

# refused TEXT [FLAG…]: it says so, in a line or two, and waits
refused() {
	local text=$1 rc=0
	shift
	: > "$WORK/refused.log" # the one before has said the same
	nsenter --net="/run/netns/$LAB-n1" -- "$WEFT" run --store "$ETCD_STORE" --iface wire0 \
		--state-dir "$WORK/refused" --subnet-file "$WORK/refused.env" "$@" \
		< /dev/null > "$WORK/refused.log" 2>&1 &
	REFUSED=$!
	within 8 grep -qE "$text" "$WORK/refused.log" || rc=1
	[ "$(wc -l < "$WORK/refused.log")" -le 2 ] && kill -0 $REFUSED || rc=1
	cat "$WORK/refused.log"
	kill $REFUSED
	wait $REFUSED || rc=1
	! grep -qF "s3cret" "$WORK/refused.log" || rc=1
	return $rc
}

# with_system_store COMMAND…: agents see a machine whose own store of authorities has etcd's
with_system_store() {
	local own=$WEFT rc=0
	rm -rf "$WORK/store" && mkdir "$WORK/store" && cp "$WORK/ca.pem" "$WORK/store" &&
		openssl rehash "$WORK/store" && cp "$WORK/ca.pem" "$WORK/store/ca-certificates.crt" || return
	cat > "$WORK/weft" <<-END
		#!/bin/sh
		exec unshare -m sh -c 'mount --bind $WORK/store /etc/ssl/certs && exec "\$@"' sh $own "\$@"
	END
	chmod 755 "$WORK/weft"
	WEFT=$WORK/weft
	"$@" || rc=1
	WEFT=$own
	return $rc
}

by_tls() {
	check "tls: certificates" certificates
	check "tls: an etcd that has one" tls
	check "tls: a configuration" configure
	check "tls: the authority is enough" joins --etcd-cafile "$WORK/ca.pem"
	check "tls: another authority is refused" refused "certificate" --etcd-cafile "$WORK/stranger.pem"
	check "tls: no authority is refused" refused "certificate"
	check "tls: the system's authorities are, where none is named" with_system_store joins
	check "tls: where one is named, they are not" with_system_store refused "certificate" \
		--etcd-cafile "$WORK/stranger.pem"
	check "tls: a file that is none is said" refused "$WORK/nothing|CAfile|certificate" \
		--etcd-cafile "$WORK/nothing"
	check "tls: an etcd that wants one, too" tls --client-cert-auth --trusted-ca-file "$WORK/ca.pem"
	check "tls: a client with one" joins --etcd-cafile "$WORK/ca.pem" \
		--etcd-certfile "$WORK/client.pem" --etcd-keyfile "$WORK/client.key"
	# TLS 1.3's client is done before the server has looked: it may see only a closed connection
	local no="certificate|alert|SSL|errno|reset by peer"
	check "tls: a client without one is refused" refused "$no" --etcd-cafile "$WORK/ca.pem"
	check "tls: and one with a stranger's" refused "$no" --etcd-cafile "$WORK/ca.pem" \
		--etcd-certfile "$WORK/intruder.pem" --etcd-keyfile "$WORK/intruder.key"
}

# Users: root may do all, weft what is in flannel's registry, nobody nothing
users() {
	local end
	end=$(base64_of "${ETCD_PREFIX}0")
	api auth/user/add '{"name":"root","password":"root"}' && api auth/role/add '{"name":"root"}' &&
		api auth/user/grant '{"user":"root","role":"root"}' &&
		api auth/role/add '{"name":"flannel"}' &&
		api auth/role/grant "{\"name\":\"flannel\",\"perm\":{\"permType\":\"READWRITE\",
			\"key\":\"$(base64_of "$ETCD_PREFIX/")\",\"range_end\":\"$end\"}}" &&
		api auth/user/add "$(jq -n --arg p "$SECRET" '{name: "weft", password: $p}')" &&
		api auth/user/grant '{"user":"weft","role":"flannel"}' &&
		api auth/user/add '{"name":"nobody","password":"nobody"}' && api auth/enable '{}'
}

# From here on the test itself has to be somebody
as_root() {
	TOKEN=$(at sw curl -sfm 5 "$ETCD_URL/v3/auth/authenticate" -d '{"name":"root","password":"root"}' | jq -r .token)
	api() { at sw curl -sfm 5 -H "Authorization: $TOKEN" "$ETCD_URL/v3/$1" -d "$2"; }
	[ -n "$TOKEN" ]
}

no_secret() {
	! tr '\0' '\n' < "/proc/$(agent_pid 1)/cmdline" | grep -F s3cret &&
		! grep -F s3cret "$(lab_log 1)" && ! weft_on 1 status -j | grep -F s3cret &&
		! grep -rF s3cret "$(lab_state 1)"
}

# Tokens do not survive a restart of etcd
token_gone() {
	etcd_stop && etcd_start && as_root &&
		put $ETCD_PREFIX/subnets/10.244.203.0-24 '{"PublicIP":"192.0.2.96","PublicIPv6":null}' &&
		within 10 eval '[ "$(routes_to 1 10.244.203.0/24)" = 192.0.2.96 ]'
}

by_password() {
	etcd_stop
	rm -rf "$WORK/etcd"
	ETCD_URL=http://$ETCD_IP:2379
	ETCD_STORE=etcd:$ETCD_URL
	etcd_answers() { at sw curl -sfm 1 "$ETCD_URL/health"; }
	api() { at sw curl -sfm 5 "$ETCD_URL/v3/$1" -d "$2"; }
	printf '%s\n' "$SECRET" > "$WORK/password"
	echo wrong > "$WORK/wrong"
	echo nobody > "$WORK/nobody"
	check "user: an etcd that knows its users" eval "etcd_start && configure && users && as_root"
	check "user: nobody in particular is refused" refused "user name is empty"
	check "user: a wrong password is refused" refused "authentication failed" \
		--etcd-username weft --etcd-password-file "$WORK/wrong"
	check "user: one without rights is refused" refused "permission denied" \
		--etcd-username nobody --etcd-password-file "$WORK/nobody"
	check "user: the right one" member 1 --etcd-username weft --etcd-password-file "$WORK/password"
	check "user: has its lease" eval "registry | grep -q '\"192.0.2.1\"'"
	check "user: the password is nowhere to be seen" no_secret
	check "user: an etcd that forgot who is who" token_gone
	lab_agent_stop 1
	export WEFT_ETCD_PASSWORD=$SECRET
	check "user: a password in the environment" joins --etcd-username weft
	unset WEFT_ETCD_PASSWORD
	check "user: none in the URL" eval \
		"! timeout 5 '$WEFT' check --store etcd:http://u:s3cret@a 2> '$WORK/said' && ! grep -q s3cret '$WORK/said'"
	check "user: a password file that is not there" eval "! timeout 5 '$WEFT' check --store $ETCD_STORE \
		--etcd-username weft --etcd-password-file '$WORK/none' 2> '$WORK/said' &&
		grep -q '$WORK/none: cannot read' '$WORK/said'"
}

by_other_ways() {
	etcd_stop
	rm -rf "$WORK/etcd"
	api() { at sw curl -sfm 5 "$ETCD_URL/v3/$1" -d "$2"; }
	check "ways: etcd" eval "etcd_start && configure"
	check "ways: past an endpoint that refuses and one that is silent" joins --store \
		"etcd:http://192.0.2.250:1,http://192.0.2.251:2379,$ETCD_URL"
	check "ways: check looks past three that refuse" at 1 "$WEFT" check --store \
		"etcd:http://192.0.2.250:1,http://192.0.2.250:2,http://192.0.2.250:3,$ETCD_URL"
	ETCD_PREFIX=/other/net
	check "ways: another prefix, not so tidy" eval "configure && joins --etcd-prefix //other//net/"
	check "ways: no endpoint at all" eval "! timeout 5 '$WEFT' check --store etcd:, 2> '$WORK/said' &&
		[ -s '$WORK/said' ]"
}

check "a switch with etcd, and nodes" etcd_lab 3
by_tls
by_password
by_other_ways
