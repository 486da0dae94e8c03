# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# weft: every task of the tree. `make help` lists them.

BUILD	?= build
PREFIX	?= /usr/local
DESTDIR	?=
CC	?= gcc
CLANG	?= clang
BPFTOOL	?= $(shell command -v bpftool || echo /usr/sbin/bpftool)
SAN	?=
V	?=

Q	:= $(if $(V),,@)
say	= $(if $(V),,@printf '  %-7s %s\n' $(1) $(2))
comma	:= ,

VERSION	:= $(shell git describe --tags --always --dirty 2>/dev/null || cat VERSION)
LIBS	:= $(shell pkg-config --libs libbpf libmnl libnftables jansson libcurl libmicrohttpd libsystemd 2>/dev/null)
WARN	:= -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
SANFLAGS := $(if $(SAN),-fsanitize=address$(comma)undefined -fno-sanitize-recover=all)
CFLAGS	?= -O2 -g
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(WARN) $(CFLAGS) $(SANFLAGS) -Iinclude -Iuser -I$(BUILD) \
	-DWEFT_VERSION='"$(VERSION)"' -MMD -MP -pthread
ARCH	:= $(shell uname -m | sed 's/x86_64/x86/;s/aarch64/arm64/')
BPF_CFLAGS = -target bpf -D__TARGET_ARCH_$(ARCH) -O2 -g -Wall -Werror -mcpu=v3 -Iinclude -Ivmlinux \
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
FAULT	:= $(patsubst tests/fault/%.c,$(BUILD)/tests/fault/%.so,$(wildcard tests/fault/*.c))
TOOLS	:= $(patsubst tools/%.c,$(BUILD)/tools/%,$(wildcard tools/*.c))

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all deps tests check check-quick check-vm check-mutants check-fault demo bench fuzz soak \
	scale fmt install clean help

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

# To be preloaded into the program as it is
$(BUILD)/tests/fault/%.so: tests/fault/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(filter-out -fsanitize% -fno-sanitize%,$(ALL_CFLAGS)) -shared -fPIC $< -ldl -o $@

# All of it by clang with its sanitizers, so nothing comes from the library
$(BUILD)/tests/fuzz/%: tests/fuzz/%.c $(wildcard user/*.h tests/unit/*.h)
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)
	$(Q)$(CLANG) $(ALL_CFLAGS) -fsanitize=fuzzer$(comma)address$(comma)undefined \
		-fno-sanitize-recover=all $< $(FUZZED) -MF $@.d -o $@

$(BUILD)/tests/fuzz/fuzz_segment: FUZZED = $(addprefix user/,segment.c coalesce.c checksum.c ip4.c)
$(BUILD)/tests/fuzz/fuzz_segment: $(addprefix user/,segment.c coalesce.c checksum.c ip4.c)

tests: all $(UNIT) $(if $(PROG_OBJ),$(PROG)) $(NETBIN) $(NETBPF) $(FAULT)	## build the tests

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

check-fault: deps				## kill it and fail its calls: does it recover?
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)tests/run fault

fuzz: deps					## fuzz for FUZZ_SECONDS each, 300 unless told
	$(Q)FUZZ_SECONDS=$${FUZZ_SECONDS:-300} tests/run fuzz

check-vm: deps					## run suites on Debian's kernels 5.10, 6.1, 6.12
	$(Q)tools/deps vm
	$(Q)$(MAKE) --no-print-directory tests
	$(Q)tests/vm/run

soak: deps					## 30 minutes of bad input and faults for the tun tier
	$(Q)$(MAKE) --no-print-directory all $(NETBIN)
	$(Q)tests/net/soak_tun.sh

scale: deps					## 10,000 leases in a real etcd, 100 changes a second
	$(Q)$(MAKE) --no-print-directory all $(NETBIN)
	$(Q)tests/net/scale_etcd.sh

fmt:						## format the C sources
	$(Q)git ls-files '*.c' '*.h' | grep -v '^vmlinux/' | xargs clang-format -i

install: all					## install program and manual
	install -D -m 0755 $(BUILD)/weft $(DESTDIR)$(PREFIX)/sbin/weft
	install -D -m 0644 man/weft.8 $(DESTDIR)$(PREFIX)/share/man/man8/weft.8

clean:						## remove what was built
	rm -rf $(BUILD)

help:						## list the tasks
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
