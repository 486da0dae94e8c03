/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "flows.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "maps.h"
#include "pins.h"
#include "show.h"
#include "state_dir.h"
#include "util.h"
#include "weft/abi.h"

#define BATCH 4096 /* more than any bucket of the table holds */

/* The maps of one state directory. */
struct table {
	int approvals;
	struct weft_state *state;
	uint32_t jiffies;
	uint32_t jiffies_per_s;
};

static int open_pin(const char *pin_dir, const char *name)
{
	char path[PATH_MAX];
	int fd;

	pins_map_path(pin_dir, WEFT_ABI_VERSION, name, path);
	fd = bpf_obj_get(path);
	if (fd < 0 && errno == ENOENT && pins_newest(pin_dir, UINT32_MAX))
		return -EPROTO;
	return fd < 0 ? -errno : fd;
}

static int map_state(const char *pin_dir, struct weft_state **out)
{
	_close_ int fd = open_pin(pin_dir, "state");
	void *memory;

	if (fd < 0)
		return fd;
	memory = mmap(NULL, sizeof(**out), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	*out = memory;
	return 0;
}

/* The kernel's own count, which no clock of user space tells. 0 where it is hidden. */
static uint32_t read_jiffies(void)
{
	_fclose_ FILE *timers = fopen("/proc/timer_list", "re");
	unsigned long long jiffies;
	char line[256];

	while (timers && fgets(line, sizeof(line), timers))
		if (sscanf(line, "jiffies: %llu", &jiffies) == 1)
			return (uint32_t)jiffies;
	return 0;
}

static void table_close(struct table *t)
{
	cleanup_close(&t->approvals);
	if (t->state)
		munmap(t->state, sizeof(*t->state));
}

static int table_open(const char *state_dir, struct table *t)
{
	char pin_dir[PATH_MAX / 2];
	struct timespec tick = {.tv_nsec = 1000000};
	int err = state_dir_recall_pins(state_dir, pin_dir, sizeof(pin_dir));

	if (err == 0)
		err = map_state(pin_dir, &t->state);
	if (err)
		return err;
	t->approvals = open_pin(pin_dir, "approvals");
	if (t->approvals < 0)
		return t->approvals;
	clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
	t->jiffies_per_s = (uint32_t)(1000000000 / tick.tv_nsec);
	t->jiffies = read_jiffies();
	return 0;
}

/* Jiffies. One that was given since the table's clock was read is new. */
static uint32_t age_of(const struct table *t, const struct weft_approved *by)
{
	uint32_t age = t->jiffies - by->since;

	return age <= INT32_MAX ? age : 0;
}

static const char *approval_text(const struct table *t, const struct weft_flow *flow,
				 const struct weft_approved *by)
{
	uint32_t ttl = weft_approved_ttl(t->state, flow->protocol, by->since);

	if (!by->generation)
		return "unapproved";
	if (by->generation != t->state->generation)
		return "generation";
	return t->jiffies && age_of(t, by) > ttl ? "stale" : "approved";
}

static json_t *age_json(const struct table *t, const struct weft_approved *by)
{
	if (!by->generation || !t->jiffies)
		return json_null();
	return json_integer(age_of(t, by) / t->jiffies_per_s);
}

static const char *protocol_text(uint8_t protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
		return "tcp";
	case IPPROTO_UDP:
		return "udp";
	default:
		return "icmp";
	}
}

static json_t *flow_json(const struct table *t, const struct weft_flow *flow,
			 const struct weft_approval *approval)
{
	const struct weft_approved *out = &approval->by[WEFT_EGRESS];
	const struct weft_approved *in = &approval->by[WEFT_INGRESS];
	char local[INET_ADDRSTRLEN], remote[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &flow->local, local, sizeof(local));
	inet_ntop(AF_INET, &flow->remote, remote, sizeof(remote));
	return json_pack("{s:s, s:s, s:i, s:s, s:i, s:s, s:o, s:s, s:o}", "protocol",
			 protocol_text(flow->protocol), "local", local, "local_port",
			 (int)ntohs(flow->local_port), "remote", remote, "remote_port",
			 (int)ntohs(flow->remote_port), "egress", approval_text(t, flow, out),
			 "egress_age", age_json(t, out), "ingress", approval_text(t, flow, in),
			 "ingress_age", age_json(t, in));
}

static bool wanted(const struct options *options, const struct weft_flow *flow)
{
	struct in_addr addr;

	if (options->flow_protocol && strcmp(options->flow_protocol, protocol_text(flow->protocol)))
		return false;
	if (options->flow_port && ntohs(flow->local_port) != options->flow_port &&
	    ntohs(flow->remote_port) != options->flow_port)
		return false;
	if (!options->flow_address || inet_pton(AF_INET, options->flow_address, &addr) != 1)
		return true;
	return flow->local == addr.s_addr || flow->remote == addr.s_addr;
}

struct batch {
	struct weft_flow flows[BATCH];
	struct weft_approval approvals[BATCH];
};

/* By batches: the table changes meanwhile, and going from key to key could lead in circles. */
static int collect(const struct options *options, const struct table *t, json_t *rows)
{
	_free_ struct batch *batch = calloc(1, sizeof(*batch));
	uint32_t position = 0, *from = NULL;
	int err = batch ? 0 : -ENOMEM;

	while (err == 0) {
		uint32_t n = BATCH;

		if (bpf_map_lookup_batch(t->approvals, from, &position, batch->flows,
					 batch->approvals, &n, NULL))
			err = -errno;
		for (uint32_t i = 0; i < n && (err == 0 || err == -ENOENT); i++)
			if (wanted(options, &batch->flows[i]))
				json_array_append_new(
					rows, flow_json(t, &batch->flows[i], &batch->approvals[i]));
		from = &position;
	}
	return err == -ENOENT ? 0 : err; /* the end of the table */
}

static enum weft_exit fail(const struct options *options, int err)
{
	if (err == -EPERM || err == -EACCES) {
		fprintf(stderr, "weft: not permitted to look at the flows of %s: %s\n",
			options->state_dir, strerror(-err));
		return EXIT_PRIVILEGE;
	}
	fprintf(stderr, "weft: no flows in %s: %s\n", options->state_dir,
		err == -ENOENT ? "no datapath bpf there" : strerror(-err));
	return err == -EPROTO ? EXIT_VERSION : EXIT_RUNTIME;
}

static int list(const struct options *options, const struct table *t)
{
	json_t *rows = json_array();
	int err = rows ? collect(options, t, rows) : -ENOMEM;

	if (err == 0)
		err = show_rows(options, rows, "flows");
	json_decref(rows);
	return err;
}

enum weft_exit verb_flows(const struct options *options)
{
	__attribute__((cleanup(table_close))) struct table table = {.approvals = -1};
	int err = table_open(options->state_dir, &table);

	if (err)
		return fail(options, err);
	if (options->flush)
		printf(options->json ? "{\"generation\": %u}\n" : "generation %u\n",
		       generation_advance(table.state));
	else
		err = list(options, &table);
	if (err == 0 && (fflush(stdout) || ferror(stdout)))
		err = -EIO;
	return err ? fail(options, err) : EXIT_STOPPED;
}
