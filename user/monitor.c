/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What --metrics serves of an agent: figures, and whether it lives and is ready. Requests are
 * answered from the loop, so that an answer is the proof of life that /healthz is asked for.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "agent_priv.h"
#include "http_server.h"
#include "log.h"
#include "map_count.h"
#include "metrics.h"
#include "util.h"

#define TEXT "text/plain; charset=utf-8"

struct monitor {
	struct agent *agent;
	struct http_server *server;
	struct map_count *approvals; /* NULL before the first look, and in tier tun */
	double start_time_s;
	struct weft_counter counters[WEFT_COUNTER_MAX];
};

/* The process. */

static uint64_t resident_bytes(void)
{
	_fclose_ FILE *statm = fopen("/proc/self/statm", "re");
	unsigned long long pages = 0;

	if (!statm || fscanf(statm, "%*u %llu", &pages) != 1)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	uint64_t n = 0;

	while (dir && (entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n ? n - 1 : 0; /* not the one that was counting */
}

static double cpu_seconds(void)
{
	struct rusage usage = {};

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double unix_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The snapshot. */

static void count_peers(const struct agent *a, struct metrics *m)
{
	struct nexthop hop;

	m->leases = a->conf.n_leases;
	m->peers = a->n_peers;
	for (size_t i = 0; a->underlay && i < a->n_peers; i++)
		if (underlay_nexthop(a->underlay, a->peers[i]->public_ip, &hop) == 0)
			m->peers_resolved += hop.resolved;
}

static void add_map(struct metrics *m, const char *name, int64_t entries, uint64_t max_entries)
{
	m->maps[m->n_maps++] = (struct metrics_map){name, entries, max_entries};
}

static void count_maps(struct monitor *monitor, struct metrics *m)
{
	const struct datapath *dp = monitor->agent->datapath;
	struct datapath_fill fill;

	if (!dp)
		return;
	if (!monitor->approvals &&
	    map_count_open(monitor->agent->loop, datapath_approvals(dp), &monitor->approvals))
		log_debug("the table of approvals cannot be counted");
	if (monitor->approvals)
		add_map(m, "approvals", map_count_entries(monitor->approvals),
			map_count_max_entries(monitor->approvals));
	datapath_fill(dp, &fill);
	add_map(m, "routes", fill.routes, WEFT_MAX_ROUTES);
	add_map(m, "peers", fill.peers, WEFT_MAX_PEERS - 1);
	add_map(m, "endpoints", fill.endpoints, WEFT_MAX_ENDPOINTS);
}

/* "none" until the start has come to the choice. */
static const char *datapath_name(const struct agent *a)
{
	if (a->datapath)
		return "bpf";
	return a->endpoints ? "tun" : "none";
}

/* A registry knows more than what was read of it last. */
static void look_at_store(const struct agent *a, struct metrics *m)
{
	struct store_status status;

	m->store_up = a->conf.n_leases && !a->store_error[0];
	m->store_refused = a->store_refused;
	m->lease_expires_s = -1;
	if (!a->store || !store_status(a->store, &status))
		return;
	m->store_up = status.up && !a->store_error[0];
	m->store_refused += status.refusals;
	if (status.has_lease)
		m->lease_expires_s = status.lease_s > 0 ? (double)status.lease_s : 0;
}

static int answer_metrics(struct monitor *monitor, struct http_answer *answer)
{
	const struct agent *a = monitor->agent;
	struct metrics m = {
		.counters = monitor->counters,
		.ready = report_ready(a),
		.version = WEFT_VERSION,
		.datapath = datapath_name(a),
		.format = format_name(a->format),
		.start_time_s = monitor->start_time_s,
		.resident_bytes = resident_bytes(),
		.open_fds = open_fds(),
		.cpu_s = cpu_seconds(),
	};

	look_at_store(a, &m);
	report_counters(a, monitor->counters);
	count_peers(a, &m);
	count_maps(monitor, &m);
	answer->status = 200;
	answer->type = METRICS_CONTENT_TYPE;
	return metrics_text(&m, &answer->body, &answer->len);
}

/* Probes. */

static int answer_text(struct http_answer *answer, unsigned int status, const char *text)
{
	*answer = (struct http_answer){
		.status = status,
		.type = TEXT,
		.body = strdup(text),
		.len = strlen(text),
	};
	return answer->body ? 0 : -ENOMEM;
}

static int answer_healthz(struct monitor *monitor, struct http_answer *answer)
{
	(void)monitor;
	return answer_text(answer, 200, "ok\n");
}

/* A reason a line. */
static int answer_readyz(struct monitor *monitor, struct http_answer *answer)
{
	json_t *reasons = report_not_ready(monitor->agent), *reason;
	_free_ char *text = NULL;
	size_t size, i;
	FILE *out = open_memstream(&text, &size);
	bool ready = json_array_size(reasons) == 0;
	int err = reasons && out ? 0 : -ENOMEM;

	json_array_foreach (reasons, i, reason)
		if (out)
			fprintf(out, "%s\n", json_string_value(reason));
	json_decref(reasons);
	if (out && fclose(out))
		err = -ENOMEM;
	if (err)
		return err;
	return answer_text(answer, ready ? 200 : 503, ready ? "ready\n" : text);
}

static int answer(const char *path, struct http_answer *out, void *arg)
{
	static const struct {
		const char *path;
		int (*fn)(struct monitor *monitor, struct http_answer *answer);
	} documents[] = {
		{"/metrics", answer_metrics},
		{"/healthz", answer_healthz},
		{"/readyz", answer_readyz},
	};

	for (size_t i = 0; i < ARRAY_SIZE(documents); i++)
		if (strcmp(path, documents[i].path) == 0)
			return documents[i].fn(arg, out);
	return -ENOENT;
}

int monitor_open(struct agent *a)
{
	struct sockaddr_in addr;
	struct monitor *monitor;
	int err;

	if (!a->opt->metrics)
		return 0;
	monitor = calloc(1, sizeof(*monitor));
	if (!monitor)
		return -ENOMEM;
	monitor->agent = a;
	monitor->start_time_s = unix_seconds();
	err = http_address_parse(a->opt->metrics, &addr);
	if (err == 0)
		err = http_server_open(a->loop, &addr, answer, monitor, &monitor->server);
	if (err) {
		monitor_close(monitor);
		return log_err(err, "cannot serve metrics on %s", a->opt->metrics);
	}
	log_info("metrics on %s", a->opt->metrics);
	a->monitor = monitor;
	return 0;
}

void monitor_close(struct monitor *monitor)
{
	if (!monitor)
		return;
	http_server_close(monitor->server);
	map_count_close(monitor->approvals);
	free(monitor);
}
