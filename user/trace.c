/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "trace.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "format.h"
#include "ip4.h"
#include "netconf.h"
#include "reason.h"
#include "util.h"

#define ETHERTYPE_IP4 0x0800

/* Filters. */

static int parse_name(const char *value, const char *(*name)(unsigned int), unsigned int n,
		      uint64_t *bits)
{
	for (unsigned int i = 0; i < n; i++) {
		if (strcmp(value, name(i)))
			continue;
		*bits = 1ULL << i;
		return 0;
	}
	return -EINVAL;
}

static const char *name_of_hook(unsigned int i)
{
	return hook_name(i);
}

static const char *name_of_verdict(unsigned int i)
{
	return verdict_name(i);
}

static const char *name_of_reason(unsigned int i)
{
	return reason_name(i);
}

static int parse_host(const char *value, uint64_t *out)
{
	struct in_addr addr;

	if (inet_pton(AF_INET, value, &addr) != 1 || !addr.s_addr)
		return -EINVAL;
	*out = ntohl(addr.s_addr);
	return 0;
}

static int parse_sample(const char *value, uint64_t *out)
{
	char *end;

	if (*value < '1' || *value > '9' || strlen(value) > 7)
		return -EINVAL;
	*out = strtoul(value, &end, 10);
	return *end || *out > TRACE_SAMPLE_MAX ? -EINVAL : 0;
}

enum filter_word { WORD_HOOK, WORD_VERDICT, WORD_REASON, WORD_HOST, WORD_SAMPLE, WORDS };

static int parse_word(char *word, uint64_t values[WORDS], bool seen[WORDS])
{
	static const char *const keys[] = {"hook", "verdict", "reason", "host", "sample"};
	char *value = strchr(word, '=');
	int key = 0;

	if (!value)
		return -EINVAL;
	*value++ = '\0';
	while (key < WORDS && strcmp(word, keys[key]))
		key++;
	if (key == WORDS || seen[key])
		return -EINVAL;
	seen[key] = true;
	switch (key) {
	case WORD_HOOK:
		return parse_name(value, name_of_hook, WEFT_HOOK_MAX, &values[key]);
	case WORD_VERDICT:
		return parse_name(value, name_of_verdict, WEFT_VERDICT_MAX, &values[key]);
	case WORD_REASON:
		return parse_name(value, name_of_reason, WEFT_REASON_MAX, &values[key]);
	case WORD_HOST:
		return parse_host(value, &values[key]);
	default:
		return parse_sample(value, &values[key]);
	}
}

int trace_filter_parse(const char *text, struct trace_filter *out)
{
	uint64_t values[WORDS] = {UINT32_MAX, UINT32_MAX, UINT64_MAX, 0, 1};
	bool seen[WORDS] = {false};
	char copy[TRACE_FILTER_LEN], *rest = NULL;
	int err = 0;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	for (char *word = strtok_r(copy, " ", &rest); word && !err;
	     word = strtok_r(NULL, " ", &rest))
		err = parse_word(word, values, seen);
	if (err)
		return err;
	*out = (struct trace_filter){
		.hooks = (uint32_t)values[WORD_HOOK],
		.verdicts = (uint32_t)values[WORD_VERDICT],
		.reasons = values[WORD_REASON],
		.host = (uint32_t)values[WORD_HOST],
		.sample = (uint32_t)values[WORD_SAMPLE],
	};
	return 0;
}

bool trace_matches(const struct trace_filter *filter, const struct trace_packet *packet)
{
	const struct weft_trace *record = packet->record;

	if (!(filter->hooks >> record->hook & 1) || !(filter->verdicts >> record->verdict & 1) ||
	    !(filter->reasons >> record->reason & 1))
		return false;
	return !filter->host ||
	       (packet->ip4 && (packet->src == filter->host || packet->dst == filter->host)) ||
	       packet->outer_src == filter->host || packet->outer_dst == filter->host;
}

/* What a record says. */

/* Is there no Ethernet header in front? The overlay device has none, until it is put there. */
static bool is_bare(const struct weft_trace *record, const struct trace_wire *wire)
{
	if (record->hook == WEFT_HOOK_VTEP)
		return wire->vtep_bare;
	if (record->hook == WEFT_HOOK_TUN)
		return record->verdict == WEFT_SLOW ||
		       (record->verdict == WEFT_DROP && record->reason != WEFT_R_HELPER);
	return record->hook == WEFT_HOOK_ENTER || record->hook == WEFT_HOOK_TUNFD ||
	       record->hook == WEFT_HOOK_SOCKET;
}

static uint16_t read16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t read32(const uint8_t *at)
{
	return (uint32_t)read16(at) << 16 | read16(at + 2);
}

/* The IPv4 header at offset at of the record, and what stands behind it. */
static bool decode_ip4(const struct weft_trace *record, size_t at, struct trace_packet *out)
{
	const uint8_t *ip = record->head + at;
	size_t hlen = at + IP4_MIN_HLEN <= record->head_len ? (ip[0] & 0xfU) * 4 : 0;
	const uint8_t *l4 = ip + hlen;

	if (hlen < IP4_MIN_HLEN || ip[0] >> 4 != 4)
		return false;
	out->ip4 = true;
	out->protocol = ip[9];
	out->src = read32(ip + 12);
	out->dst = read32(ip + 16);
	out->ports = out->icmp = false;
	if (at + hlen + 4 > record->head_len || read16(ip + 6) & 0x1fff)
		return true;
	if (ip[9] == IPPROTO_ICMP) {
		out->icmp = true;
		out->first = l4[0];
		out->second = l4[1];
	} else if (ip[9] == IPPROTO_TCP || ip[9] == IPPROTO_UDP) {
		out->ports = true;
		out->first = read16(l4);
		out->second = read16(l4 + 2);
	}
	return true;
}

/* Outer headers have our own address at one end, which an inner packet never has. */
static enum weft_format format_of(const struct trace_packet *packet, const struct trace_wire *wire)
{
	if (packet->src != wire->local_ip && packet->dst != wire->local_ip)
		return WEFT_FORMAT_MAX;
	if (packet->protocol == IPPROTO_IPIP)
		return WEFT_FORMAT_IPIP;
	if (packet->protocol != IPPROTO_UDP || !packet->ports)
		return WEFT_FORMAT_MAX;
	if (packet->second == wire->port)
		return WEFT_FORMAT_UDP;
	return packet->second == wire->vxlan_port ? WEFT_FORMAT_VXLAN : WEFT_FORMAT_MAX;
}

static void decode_wrapped(const struct weft_trace *record, size_t at,
			   const struct trace_wire *wire, struct trace_packet *out)
{
	struct trace_packet inner = {.record = record};
	enum weft_format format = format_of(out, wire);

	if (format == WEFT_FORMAT_MAX || !decode_ip4(record, at + format_overhead(format), &inner))
		return;
	inner.outer_src = out->src;
	inner.outer_dst = out->dst;
	inner.format = format;
	*out = inner;
}

void trace_decode(const struct weft_trace *record, const struct trace_wire *wire,
		  struct trace_packet *out)
{
	size_t at = is_bare(record, wire) ? 0 : WEFT_ETH_HLEN;

	/* What a socket of format vxlan was given begins with that header; no IPv4 packet can. */
	if (record->hook == WEFT_HOOK_SOCKET && record->head_len &&
	    record->head[0] == WEFT_VXLAN_FLAGS >> 24)
		at = WEFT_VXLAN_HLEN + WEFT_ETH_HLEN;
	*out = (struct trace_packet){.record = record, .format = WEFT_FORMAT_MAX};
	if (ntohs(record->protocol) != ETHERTYPE_IP4)
		return;
	if (decode_ip4(record, at, out))
		decode_wrapped(record, at, wire, out);
	if (!out->outer_src)
		out->outer_src = ntohl(record->outer);
}

/* Showing it. */

static json_t *address_json(uint32_t addr)
{
	char text[INET_ADDRSTRLEN];

	return json_string(ip4_format(addr, text));
}

static json_t *protocol_json(const struct trace_packet *packet)
{
	if (!packet->ip4)
		return json_sprintf("0x%04x", ntohs(packet->record->protocol));
	switch (packet->protocol) {
	case IPPROTO_TCP:
		return json_string("tcp");
	case IPPROTO_UDP:
		return json_string("udp");
	case IPPROTO_ICMP:
		return json_string("icmp");
	default:
		return json_sprintf("%u", packet->protocol);
	}
}

static void add_ip4(json_t *object, const struct trace_packet *packet)
{
	json_object_set_new(object, "src", address_json(packet->src));
	json_object_set_new(object, "dst", address_json(packet->dst));
	if (packet->ports || packet->icmp) {
		json_object_set_new(object, packet->ports ? "src_port" : "icmp_type",
				    json_integer(packet->first));
		json_object_set_new(object, packet->ports ? "dst_port" : "icmp_code",
				    json_integer(packet->second));
	}
}

json_t *trace_json(const struct trace_packet *packet, const char *ifname, double time)
{
	const struct weft_trace *record = packet->record;
	json_t *object =
		json_pack("{s:f, s:s, s:s, s:s, s:s, s:I, s:o}", "time", time, "hook",
			  hook_name(record->hook), "verdict", verdict_name(record->verdict),
			  "reason", reason_name(record->reason), "ifname", ifname, "length",
			  (json_int_t)record->len, "protocol", protocol_json(packet));

	if (!object)
		return NULL;
	if (packet->ip4)
		add_ip4(object, packet);
	if (packet->outer_src)
		json_object_set_new(object, "outer_src", address_json(packet->outer_src));
	if (packet->outer_dst)
		json_object_set_new(object, "outer_dst", address_json(packet->outer_dst));
	if (packet->format < WEFT_FORMAT_MAX)
		json_object_set_new(object, "format", json_string(format_name(packet->format)));
	return object;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && *text ? text : "-";
}

static void add_end(FILE *out, const json_t *object, const char *addr, const char *port)
{
	const json_t *number = json_object_get(object, port);

	fputs(text_of(object, addr), out);
	if (number)
		fprintf(out, ":%lld", (long long)json_integer_value(number));
}

#define LAST_TIME 253402300799.0 /* of the year 9999 */

void trace_text(const json_t *object, char out[TRACE_TEXT_LEN])
{
	double said = json_number_value(json_object_get(object, "time"));
	double time = said >= 0 && said <= LAST_TIME ? said : 0;
	const json_t *type = json_object_get(object, "icmp_type");
	FILE *text = fmemopen(out, TRACE_TEXT_LEN, "w");
	time_t seconds = (time_t)time;
	struct tm tm = {};

	*out = '\0';
	if (!text)
		return;
	localtime_r(&seconds, &tm);
	fprintf(text, "%02d:%02d:%02d.%06d %s %s %s %s ", tm.tm_hour, tm.tm_min, tm.tm_sec,
		(int)((time - (double)seconds) * 1e6), text_of(object, "hook"),
		text_of(object, "verdict"), text_of(object, "reason"), text_of(object, "ifname"));
	if (json_object_get(object, "src")) {
		add_end(text, object, "src", "src_port");
		fputs(" > ", text);
		add_end(text, object, "dst", "dst_port");
		fputc(' ', text);
	}
	fputs(text_of(object, "protocol"), text);
	if (type)
		fprintf(text, " type %lld", (long long)json_integer_value(type));
	fprintf(text, " length %lld",
		(long long)json_integer_value(json_object_get(object, "length")));
	if (json_object_get(object, "outer_src"))
		fprintf(text, " (%s > %s)", text_of(object, "outer_src"),
			text_of(object, "outer_dst"));
	fclose(text);
}

/* The tap. */

void trace_tap_write(struct trace_tap *tap, struct weft_trace *record, const void *head, size_t len)
{
	static _Thread_local uint32_t turn;
	uint32_t sample = __atomic_load_n(&tap->wish.sample, __ATOMIC_RELAXED);

	if (!weft_trace_wants(&tap->wish, record->hook, record->verdict, record->reason) ||
	    (sample > 1 && ++turn % sample))
		return;
	record->time = clock_ns(CLOCK_MONOTONIC);
	record->protocol = htons(ETHERTYPE_IP4);
	record->head_len = (uint8_t)(len < WEFT_TRACE_HEAD ? len : WEFT_TRACE_HEAD);
	memcpy(record->head, head, record->head_len);
	/* Shorter than PIPE_BUF: whole or not at all. */
	if (write(tap->fd, record, sizeof(*record)) != sizeof(*record))
		atomic_fetch_add_explicit(&tap->lost, 1, memory_order_relaxed);
}
