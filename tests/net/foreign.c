/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: foreign link DEVICE ingress|egress     prints the ID of its counter
 *        foreign filter DEVICE ingress|egress   the same
 *        foreign forge DEVICE ingress|egress    gives each packet a random hash and tc_index
 *        foreign xdp DEVICE                     the same of a native XDP program
 *        foreign count ID                       prints how many packets it has seen
 *
 * Somebody else's BPF program on a hook that weft uses, too: counts every packet and passes it on
 * (by TCX_NEXT, which for a filter is "ask the next one"). A link is a TCX link behind whatever is
 * there, held (as is that of XDP) by a process in the background until it is killed; a filter is
 * one of clsact, of priority 1.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* linux/bpf.h of 6.6 and later; Debian 12's header is older. */
#define TCX_INGRESS 46
#define TCX_EGRESS 47
#define TCX_NEXT (-1)

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: foreign link|filter|forge DEVICE ingress|egress\n"
			"       foreign xdp DEVICE\n"
			"       foreign count ID\n");
	exit(2);
}

static struct bpf_insn insn(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
	return (struct bpf_insn){
		.code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm};
}

/* value = lookup(map, &zero); if (value) atomic_add(value, 1); return verdict; */
static int counter_load(enum bpf_prog_type type, int map, int verdict)
{
	const struct bpf_insn insns[] = {
		insn(BPF_ST | BPF_MEM | BPF_W, BPF_REG_10, 0, -4, 0),
		insn(BPF_LD | BPF_IMM | BPF_DW, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map),
		insn(0, 0, 0, 0, 0),
		insn(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_10, 0, 0),
		insn(BPF_ALU64 | BPF_ADD | BPF_K, BPF_REG_2, 0, 0, -4),
		insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
		insn(BPF_JMP | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, 0),
		insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_1, 0, 0, 1),
		insn(BPF_STX | BPF_ATOMIC | BPF_DW, BPF_REG_0, BPF_REG_1, 0, BPF_ADD),
		insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, verdict),
		insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return bpf_prog_load(type, "foreign", "GPL", insns, sizeof(insns) / sizeof(insns[0]), NULL);
}

/* tc_index = random | 1; set_hash(random); return TCX_NEXT; */
static int forger_load(void)
{
	const struct bpf_insn insns[] = {
		insn(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_6, BPF_REG_1, 0, 0),
		insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_prandom_u32),
		insn(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_0, 0, 0, 0xffff),
		insn(BPF_ALU64 | BPF_OR | BPF_K, BPF_REG_0, 0, 0, 1),
		insn(BPF_STX | BPF_MEM | BPF_W, BPF_REG_6, BPF_REG_0,
		     offsetof(struct __sk_buff, tc_index), 0),
		insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_get_prandom_u32),
		insn(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_2, BPF_REG_0, 0, 0),
		insn(BPF_ALU64 | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_6, 0, 0),
		insn(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_set_hash),
		insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, TCX_NEXT),
		insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "forger", "GPL", insns,
			     sizeof(insns) / sizeof(insns[0]), NULL);
}

static void filter_attach(int prog, int ifindex, bool egress)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex,
			    .attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog, .priority = 1);
	int err = bpf_tc_hook_create(&hook);

	if ((err && err != -EEXIST) || bpf_tc_attach(&hook, &opts))
		die("filter");
}

static void link_attach(int prog, int ifindex, bool egress)
{
	enum bpf_attach_type type = (enum bpf_attach_type)(egress ? TCX_EGRESS : TCX_INGRESS);

	if (bpf_link_create(prog, ifindex, type, NULL) < 0)
		die("link");
}

static void xdp_attach(int prog, int ifindex)
{
	DECLARE_LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = XDP_FLAGS_DRV_MODE);

	if (bpf_link_create(prog, ifindex, BPF_XDP, &opts) < 0)
		die("xdp");
}

/* Keeps what was attached for as long as it lives. */
static _Noreturn void hold(void)
{
	if (daemon(0, 0) < 0)
		die("daemon");
	for (;;)
		pause();
}

/* how as in the usage; direction is NULL for XDP. */
static void attach(const char *how, const char *device, const char *direction)
{
	int map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "foreign", 4, 8, 1, NULL);
	bool filter = !strcmp(how, "filter"), forge = !strcmp(how, "forge");
	int ifindex = (int)if_nametoindex(device), prog;
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	if (map < 0 || bpf_obj_get_info_by_fd(map, &info, &len))
		die("map");
	if (!direction)
		prog = counter_load(BPF_PROG_TYPE_XDP, map, XDP_PASS);
	else
		prog = forge ? forger_load() : counter_load(BPF_PROG_TYPE_SCHED_CLS, map, TCX_NEXT);
	if (prog < 0)
		die("program");
	if (!ifindex)
		die(device);
	if (!direction)
		xdp_attach(prog, ifindex);
	else if (filter)
		filter_attach(prog, ifindex, !strcmp(direction, "egress"));
	else
		link_attach(prog, ifindex, !strcmp(direction, "egress"));
	printf("%u\n", info.id);
	fflush(stdout);
	if (!filter)
		hold();
}

static void count(const char *id)
{
	int map = bpf_map_get_fd_by_id((uint32_t)strtoul(id, NULL, 10));
	uint32_t key = 0;
	uint64_t value;

	if (map < 0 || bpf_map_lookup_elem(map, &key, &value))
		die(id);
	printf("%llu\n", (unsigned long long)value);
}

int main(int argc, char **argv)
{
	if (argc == 4 &&
	    (!strcmp(argv[1], "link") || !strcmp(argv[1], "filter") || !strcmp(argv[1], "forge")))
		attach(argv[1], argv[2], argv[3]);
	else if (argc == 3 && !strcmp(argv[1], "xdp"))
		attach(argv[1], argv[2], NULL);
	else if (argc == 3 && !strcmp(argv[1], "count"))
		count(argv[2]);
	else
		usage();
	return 0;
}
