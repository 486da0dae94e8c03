#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# The manual, the help texts and the sources name the same things. Argument: the weft program.
# Also runs the program's own edges: exit statuses and messages that need no agent and no root.
set -u -o pipefail
weft=${1:?usage: man_sync.sh WEFT}
root=$(cd "$(dirname "$0")/../.." && pwd)
# The manual as plain text of the source: roff's escaped hyphens made plain again.
man=$(sed 's/\\-/-/g; s/\\f[BIR]//g' "$root/man/weft.8")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
n=0
failed=0

# result NAME STATUS
result() {
	n=$((n + 1))
	if [ "$2" -eq 0 ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		failed=$((failed + 1))
	fi
}

# in_man NAME WORD: the manual has WORD, not as a part of a longer one
in_man() {
	grep -qE -- "(^|[^a-z_-])$2([^a-z_-]|\$)" <<<"$man"
	result "$1 $2 is in the manual" $?
}

# exits STATUS TEXT ARGUMENT…: that exit status, and TEXT on stdout or stderr
exits() {
	local want=$1 text=$2 status
	shift 2
	"$weft" "$@" >"$tmp/out" 2>&1 </dev/null
	status=$?
	[ "$status" -eq "$want" ] && grep -qF -- "$text" "$tmp/out"
	result "weft $* -> $want: $text" $?
	[ "$status" -eq "$want" ] || sed "s/^/# status $status: /" "$tmp/out"
}

{ groff -t -man -Tascii -P-cbou -ww "$root/man/weft.8" 2>&1 >"$tmp/page"; grep '.\{81\}' "$tmp/page"; } |
	sed 's/^/# /' | tee "$tmp/complaints"
[ -s "$tmp/page" ] && [ ! -s "$tmp/complaints" ]
result "the manual has no formatting error and fits into 80 columns" $?

mapfile -t verbs < <("$weft" --help | sed -n 's/^  \([a-z]\+\) .*/\1/p')
[ ${#verbs[@]} -ge 8 ]
result "weft --help lists ${#verbs[@]} verbs" $?
for verb in "${verbs[@]}"; do
	in_man verb "$verb"
	for option in $("$weft" "$verb" --help | grep -oE -- '--[a-z][a-z-]+' | sort -u); do
		echo "$option" >>"$tmp/options"
	done
done
sort -u "$tmp/options" -o "$tmp/options"
while read -r option; do
	in_man option "$option"
done <"$tmp/options"
while read -r option; do
	case $option in
	--approve | --version) continue ;;
	esac
	grep -qxF -- "$option" "$tmp/options"
	result "the manual's $option exists" $?
done < <(grep -oE -- '--[a-z][a-z-]+' <<<"$man" | sort -u)
while read -r name; do
	in_man "counter name" "$name"
done < <(sed -n 's/^\tX([A-Z0-9_]*, "\([a-z0-9_]*\)").*/\1/p' "$root/include/weft/reason.h")
while read -r family; do
	in_man "metric" "$family"
done < <(sed -n 's/.*"\(\(weft\|process\)_[a-z_]*\)", "\(counter\|gauge\)".*/\1/p' "$root/user/metrics.c")
while read -r family; do
	grep -q "\"$family\", \"" "$root/user/metrics.c"
	result "the manual's $family exists" $?
done < <(grep -oE '^(weft|process)_[a-z_]+' <<<"$man" | sort -u)

exits 0 "weft " --version
exits 0 "Usage: weft" --help
exits 0 "Usage: weft run" run --help
exits 2 "unknown verb: tracer" tracer
exits 2 "--hook none: no such hook" trace --hook none
exits 2 "--sample 0: must be 1 to 1000000" trace --sample 0
exits 2 "unknown verb: --state-dir" --state-dir "$tmp"
exits 2 "--store is required" run
exits 2 "--approve all: must be host or none" run --store static:x --approve all
exits 2 "--format gre: must be udp, vxlan or ipip" run --store static:x --format gre
exits 2 "must be auto, kernel, aggregate, strip or xdp" run --store static:x --receive gro
exits 2 "--store kube:: not available in this version" check --store kube:
exits 2 "etcd:URL: x is not http://... or https://..." check --store etcd:x
exits 2 "--metrics 9100: must be ADDR:PORT or :PORT, with an IPv4 address" \
	run --store static:x --metrics 9100
exits 1 "weft: no agent in $tmp/none (No such file or directory)" status --state-dir "$tmp/none"
exits 1 "weft: no flows in $tmp/none: no datapath bpf there" flows --state-dir "$tmp/none"
exits 2 "$tmp/none" check --store "static:$tmp/none"
cat >"$tmp/good" <<-END
	{ "Network": "10.244.0.0/16", "Backend": {"Type": "udp"},
	  "Leases": [ {"Subnet": "10.244.1.0/24", "PublicIP": "192.0.2.1"},
	              {"Subnet": "10.244.2.0/24", "PublicIP": "192.0.2.2"} ] }
END
exits 0 "$tmp/good: ok, 2 leases" check --store "static:$tmp/good"
exits 0 '"leases": 2' check -j --store "static:$tmp/good"
echo '{ "Network": "10.244.0.0/16"' >"$tmp/bad"
exits 2 "$tmp/bad" check --store "static:$tmp/bad"

echo "$((n - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
