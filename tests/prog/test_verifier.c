/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs cost the kernel's verifier. A new compiler or kernel, or an innocent change,
 * may take a program over its limits (a million instructions, 512 bytes of stack), so the figures
 * are kept in verifier.txt, where tests/prog/record puts them.
 */
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "cases.h"
#include "weft.skel.h"

#define TABLE "tests/prog/verifier.txt"
#define LOG_STATS 4 /* BPF_LOG_STATS of linux/bpf_verifier.h */
#define LOG_LEN 4096
#define MAX_INSNS 100000
#define MAX_STACK 400

struct cost {
	unsigned long insns, states, stack;
};

static bool parse_cost(const char *log, struct cost *out)
{
	const char *stack = strstr(log, "stack depth "), *insns = strstr(log, "processed ");
	const char *states = strstr(log, "total_states ");
	char *at;

	if (!stack || !insns || !states)
		return false;
	out->insns = strtoul(insns + strlen("processed "), NULL, 10);
	out->states = strtoul(states + strlen("total_states "), NULL, 10);
	/* Of each function, "+" in between: taken as if each called the next */
	out->stack = strtoul(stack + strlen("stack depth "), &at, 10);
	while (*at == '+')
		out->stack += strtoul(at + 1, &at, 10);
	return true;
}

/* "major.minor" of the kernel and the compiler's major version, as in the table */
static void name_machine(char *out, size_t len)
{
	unsigned int major = 0, minor = 0;
	struct utsname kernel;

	uname(&kernel);
	sscanf(kernel.release, "%u.%u", &major, &minor);
	snprintf(out, len, "%u.%u clang-%u", major, minor, atoi(WEFT_CLANG));
}

/* The line of the table that begins with machine, and with program unless it is NULL. */
static bool find_recorded(const char *machine, const char *program, struct cost *out)
{
	FILE *table = fopen(TABLE, "re");
	char line[256], start[128];
	bool found = false;

	snprintf(start, sizeof(start), "%s %s", machine, program ? program : "");
	while (table && !found && fgets(line, sizeof(line), table))
		found = strncmp(line, start, strlen(start)) == 0 &&
			sscanf(line, "%*s %*s %*s %lu %lu %lu", &out->insns, &out->states,
			       &out->stack) == 3;
	if (table)
		fclose(table);
	return found;
}

static bool exceeds(unsigned long now, unsigned long recorded)
{
	return now * 10 > recorded * 11;
}

static void test_cost(const char *machine, bool known, const char *program, const char *log)
{
	struct cost now, recorded;
	char name[128];
	bool ok = parse_cost(log, &now);

	snprintf(name, sizeof(name), "the verifier's cost of %s", program);
	if (!ok) {
		printf("# not said by the kernel: %.200s\n", log);
		report(false, name, NULL, NULL);
		return;
	}
	printf("# record: %s %s %lu %lu %lu\n", machine, program, now.insns, now.states, now.stack);
	if (now.insns > MAX_INSNS || now.stack > MAX_STACK) {
		printf("# the limits are %d instructions and %d bytes of stack\n", MAX_INSNS,
		       MAX_STACK);
		ok = false;
	}
	if (known && !find_recorded(machine, program, &recorded)) {
		printf("# not in " TABLE ": tests/prog/record puts it there\n");
		ok = false;
	} else if (known &&
		   (exceeds(now.insns, recorded.insns) || exceeds(now.states, recorded.states) ||
		    exceeds(now.stack, recorded.stack))) {
		printf("# a tenth more than recorded (%lu %lu %lu); if that is meant to be: "
		       "tests/prog/record\n",
		       recorded.insns, recorded.states, recorded.stack);
		ok = false;
	}
	report(ok, name, NULL, NULL);
}

/* Only the limits were checked. */
static void report_unrecorded(const char *machine)
{
	char name[256];

	snprintf(name, sizeof(name), "no cost is a tenth more # SKIP %s is not in " TABLE, machine);
	report(true, name, NULL, NULL);
}

/* They need a privilege more, and a shared trace buffer is no place for a node's packets. */
static void test_no_printk(const struct bpf_program *prog)
{
	const struct bpf_insn *insns = bpf_program__insns(prog);
	char name[128];
	bool ok = true;

	for (size_t i = 0; i < bpf_program__insn_cnt(prog); i++)
		if (insns[i].code == (BPF_JMP | BPF_CALL) && insns[i].src_reg == 0 &&
		    (insns[i].imm == BPF_FUNC_trace_printk ||
		     insns[i].imm == BPF_FUNC_trace_vprintk))
			ok = false;
	snprintf(name, sizeof(name), "%s has no bpf_printk()", bpf_program__name(prog));
	report(ok, name, NULL, NULL);
}

static bool load_with_logs(struct weft_bpf *skel, char (*logs)[LOG_LEN], size_t n)
{
	struct bpf_program *prog;
	size_t i = 0;

	bpf_object__for_each_program(prog, skel->obj)
	{
		if (i == n)
			return false;
		bpf_program__set_log_level(prog, LOG_STATS);
		bpf_program__set_log_buf(prog, logs[i++], LOG_LEN);
	}
	return weft_bpf__load(skel) == 0;
}

void test_verifier(void)
{
	static char logs[64][LOG_LEN];
	struct weft_bpf *skel = weft_bpf__open();
	char machine[64];
	struct bpf_program *prog;
	struct cost any;
	size_t i = 0;
	bool known;

	name_machine(machine, sizeof(machine));
	known = find_recorded(machine, NULL, &any);
	if (!skel || !load_with_logs(skel, logs, 64)) {
		report(false, "the verifier takes all programs", NULL, NULL);
		weft_bpf__destroy(skel);
		return;
	}
	bpf_object__for_each_program(prog, skel->obj)
	{
		test_cost(machine, known, bpf_program__name(prog), logs[i++]);
		test_no_printk(prog);
	}
	if (!known)
		report_unrecorded(machine);
	weft_bpf__destroy(skel);
}
