# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# weft: every task of the tree. `make help` lists them.

BUILD	?= build
PREFIX	?= /usr/local
DESTDIR	?=
CC	?= gcc
CLANG	?= clang
BPFTOOL	?= $(shell command -v bpftool || echo /usr/sbin/bpftool)
SAN	?=
# For tests of upgrades: a version of the map layout, and an optimization, other than the usual
ABI	?=
BPF_OPT	?= -O2
V	?=

Q	:= $(if $(V),,@)
say	= $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))
comma	:= ,

VERSION	:= $(shell git describe --tags --always --dirty 2>/dev/null || cat VERSION)
LIBS	:= $(shell pkg-config --libs libbpf libmnl libnftables jansson libcurl libmicrohttpd libsystemd libseccomp 2>/dev/null)
WARN	:= -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
ABIFLAGS := $(if $(ABI),-DWEFT_ABI_TEST=$(ABI))
SANFLAGS := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all)
CFLAGS	?= -O2 -g
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(WARN) $(CFLAGS) $(SANFLAGS) -Iinclude -Iuser -I$(BUILD) \
	$(ABIFLAGS) -DWEFT_VERSION='"$(VERSION)"' -MMD -MP -pthread
ARCH	:= $(shell uname -m | sed 's/x86_64/x86/;s/aarch64/arm64/')
BPF_CFLAGS = -target bpf -D__TARGET_ARCH_$(ARCH) $(BPF_OPT) -g -Wall -Werror -mcpu=v3 \
	$(ABIFLAGS) -Iinclude -Ivmlinux \
	-idirafter /usr/include/$(shell $(CC) -print-multiarch) \
	-MMD -MP

BPF_OBJ	:= $(patsubst bpf/%.bpf.c,$(BUILD)/bpf/%.bpf.o,$(wildcard bpf/*.bpf.c))
LIB_OBJ	:= $(patsubst user/%.c,$(BUILD)/user/%.o,$(filter-out user/main.c,$(wildcard user/*.c)))
UNIT	:= $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/test_*.c))
PROG	:= $(BUILD)/tests/prog/test_prog
PROG_OBJ := $(patsubst tests/prog/%.c,$(BUILD)/tests/prog/%.o,$(wildcard tests/prog/*.c))
NETBPF	:= $(patsubst tests/net/%.c,$(BUILD)/tests/net/%.o,$(wildcard tests/net/*.bpf.c))
NETBIN	:= $(patsubst tests/net/%.c,$(BUILD)/tests/net/%,$(filter-out %.bpf.c,$(wildcard tests/net/*.c)))
FUZZ	:= $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FAULT	:= $(patsubst tests/fault/%.c,$(BUILD)/tests/fault/%.so,$(wildcard tests/fault/preload_*.c)) \
	$(patsubst tests/fault/%.c,$(BUILD)/tests/fault/%,$(filter-out tests/fault/preload_%,\
	$(wildcard tests/fault/*.c)))
# What is linked with the fuzz targets: what reads untrusted bytes, and what that needs.
FUZZED	:= base64 bridge checksum coalesce ctl etcd file format forward_in forward_out forward_pace \
	forward_plain forward_send forward_steer forward_table forward_unwrap http_server ip4 \
	json_path lease_backend link log loop netconf netconf_leases netlink options overlay_dev \
	prefix4 reason registry rtnl segment show subnet_env text trace vxlan_dev
FUZZFLAGS := -fsanitize=fuzzer-no-link$(comma)address$(comma)undefined -fno-sanitize-recover=all \
	$(if $(COV),-fprofile-instr-generate -fcoverage-mapping)
TOOLS	:= $(patsubst tools/%.c,$(BUILD)/tools/%,$(wildcard tools/*.c))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all deps tests check check-quick check-vm check-mutants check-fault check-san check-flakes \
	demo bench fuzz fuzzers fuzz-coverage soak scale fmt install clean help

all: $(BUILD)/weft $(TOOLS)			## build the program and the tools

$(BUILD)/weft: $(BUILD)/user/main.o $(BUILD)/libweft.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(LDFLAGS) $^ $(LIBS) -o $@

$(BUILD)/libweft.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/user/%.o: user/%.c | $(BUILD)/weft.skel.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/bpf/%.bpf.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(BUILD)/weft.bpf.o: $(BPF_OBJ)
	$(call say,BPFLINK,$@)
	$(Q)$(BPFTOOL) gen object $@ $^

$(BUILD)/weft.skel.h: $(BUILD)/weft.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name weft_bpf > $@

$(BUILD)/user/datapath.o: $(BUILD)/weft.skel.h

$(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libweft.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $< $(BUILD)/libweft.a $(LIBS) -lcmocka -o $@

$(BUILD)/tests/prog/%.o: tests/prog/%.c $(BUILD)/weft.skel.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -c $< -o $@

$(BUILD)/tests/prog/test_verifier.o: ALL_CFLAGS += -DWEFT_CLANG='"$(shell $(CLANG) -dumpversion)"'

$(PROG): $(PROG_OBJ) $(BUILD)/libweft.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $^ $(LIBS) -o $@

$(BUILD)/tests/net/%: tests/net/%.c $(BUILD)/libweft.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $< $(BUILD)/libweft.a $(LIBS) -o $@

$(BUILD)/tests/net/%.bpf.o: tests/net/%.bpf.c
	@mkdir -p $(@D)
	$(call say,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(BUILD)/tools/%: tools/%.c $(BUILD)/libweft.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $< $(BUILD)/libweft.a -Wl,--as-needed $(LIBS) -o $@

$(BUILD)/tests/fault/%: tests/fault/%.c $(BUILD)/libweft.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $< $(BUILD)/libweft.a $(LIBS) -o $@

# To be preloaded into the program as it is
$(BUILD)/tests/fault/preload_%.so: tests/fault/preload_%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(filter-out -fsanitize% -fno-sanitize%,$(ALL_CFLAGS)) -shared -fPIC $< -ldl -o $@

# All of it by clang with its sanitizers, so nothing comes from the library: what has a target. A
# target defines in its place what it does not want of it.
$(BUILD)/fuzz/libfuzzed.a: $(FUZZED:%=$(BUILD)/fuzz/%.o)
	$(call say,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(BUILD)/fuzz/%.o: user/%.c
	@mkdir -p $(@D)
	$(call say,FUZZCC,$@)
	$(Q)$(CLANG) $(ALL_CFLAGS) $(FUZZFLAGS) -c $< -o $@

$(BUILD)/tests/fuzz/%.o: tests/fuzz/%.c
	@mkdir -p $(@D)
	$(call say,FUZZCC,$@)
	$(Q)$(CLANG) $(ALL_CFLAGS) $(FUZZFLAGS) -c $< -o $@

$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/fuzz/libfuzzed.a
	$(call say,FUZZ,$@)
	$(Q)$(CLANG) $(FUZZFLAGS) -fsanitize=fuzzer $(FUZZ_LDFLAGS) $^ -Wl,--as-needed $(LIBS) -o $@

$(BUILD)/tests/fuzz/fuzz_forward: FUZZ_LDFLAGS = $(addprefix -Wl$(comma)--wrap=,read readv \
	writev recvmsg recvmmsg sendmsg setsockopt socket poll)

# The BPF programs for this machine: unaligned access is theirs by right
NATIVEFLAGS = $(FUZZFLAGS) -fno-sanitize=alignment -std=gnu11 -O2 -g -Wall -Werror -MMD -MP \
	-DBPF_NO_PRESERVE_ACCESS_INDEX -Itests/fuzz/native -Iinclude -Ivmlinux -Ibpf
NATIVE	:= $(patsubst %.bpf.c,$(BUILD)/fuzz/native/%.o,$(notdir $(wildcard bpf/*.bpf.c))) \
	$(BUILD)/fuzz/native/native.o

$(BUILD)/fuzz/native/%.o: bpf/%.bpf.c
	@mkdir -p $(@D)
	$(call say,FUZZCC,$@)
	$(Q)$(CLANG) $(NATIVEFLAGS) -c $< -o $@

$(BUILD)/fuzz/native/native.o: tests/fuzz/native/native.c
	@mkdir -p $(@D)
	$(call say,FUZZCC,$@)
	$(Q)$(CLANG) $(NATIVEFLAGS) -c $< -o $@

$(BUILD)/fuzz/%.o: tests/prog/%.c
	@mkdir -p $(@D)
	$(call say,FUZZCC,$@)
	$(Q)$(CLANG) $(ALL_CFLAGS) $(FUZZFLAGS) -c $< -o $@

$(BUILD)/tests/fuzz/fuzz_bpf: $(NATIVE) $(addprefix $(BUILD)/fuzz/,cluster.o decode.o packet.o)

tests: all $(UNIT) $(if $(PROG_OBJ),$(PROG)) $(NETBIN) $(NETBPF) $(FAULT)	## build the tests

fuzzers: $(FUZZ)				## build the fuzz targets

deps:						## install from Debian what is missing
	$(Q)tools/deps

check: deps					## install what is missing, build, run the tests
	$(Q)tests/run

check-quick: deps				## the same without the namespace tests
	$(Q)tests/run build style unit prog

demo: deps					## raise a two-node lab, show traffic and a table
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tools/demo

bench: deps					## measure against underlay, host-gw, vxlan
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tools/bench

check-mutants: deps				## break the code on purpose: do the tests notice?
	$(Q)tests/mutants/run

check-flakes: deps				## 20 complete runs, or ROUNDS: does one of them fail?
	$(Q)tests/run flakes

check-san: deps					## the namespace tests under ASan and UBSan
	$(Q)tests/run sanitized

check-fault: deps				## kill it and fail its calls: does it recover?
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)tests/run fault

fuzz: deps					## fuzz for FUZZ_SECONDS each, 300 unless told; 10^6 mutants
	$(Q)FUZZ_SECONDS=$${FUZZ_SECONDS:-300} FUZZ_MUTANTS=$${FUZZ_MUTANTS:-1000000} tests/run fuzz

fuzz-coverage: deps				## how many lines of the parsers they reach
	$(Q)tests/fuzz/coverage

check-vm: deps					## run suites on Debian's kernels 5.10, 6.1, 6.12
	$(Q)tools/deps vm
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)tests/vm/run

soak: deps					## 30 minutes of bad input and faults for each tier
	$(Q)$(MAKE) --no-print-directory all $(NETBIN)
	$(Q)TIER=bpf tests/net/soak.sh
	$(Q)TIER=tun tests/net/soak.sh

scale: deps					## 10,000 leases in a real etcd, 100 changes a second
	$(Q)$(MAKE) --no-print-directory all $(NETBIN)
	$(Q)tests/net/scale_etcd.sh

fmt:						## format the C sources
	$(Q)git ls-files '*.c' '*.h' | grep -v '^vmlinux/' | xargs clang-format -i

install: all					## install program, manual and systemd unit
	install -D -m 0755 $(BUILD)/weft $(DESTDIR)$(PREFIX)/sbin/weft
	install -D -m 0644 man/weft.8 $(DESTDIR)$(PREFIX)/share/man/man8/weft.8
	install -D -m 0644 init/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/weft.conf
	install -D -m 0644 init/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/weft.conf
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|/usr/local/sbin|$(PREFIX)/sbin|' init/weft.service \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/weft.service

clean:						## remove what was built
	rm -rf $(BUILD)

help:						## list the tasks
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
