/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * usage: impair IN OUT drop|double|hold|flip EVERY [SEED]
 *
 * In the namespace of the lab's switch: one frame in EVERY, at random, of those that come in at
 * port IN is dropped, doubled, held back (so that others overtake it) or has one bit flipped; the
 * second of two and the held one leave by port OUT. Says "impairing", works until SIGTERM, and then
 * prints "frames N hit N". The program is impair.bpf.o beside this one (see impair.bpf.c).
 *
 * Exit status: 0 stopped as asked, 1 failure, 2 usage.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "impair.h"

#define HOLD_NS 2000000 /* a few frames of a transfer, many of a bulk one */
#define QUEUE 256 /* frames that are held at a time */
#define FRAME_MAX 65600

struct held {
	uint64_t due_ns;
	size_t len;
	uint8_t *data;
};

static const char *const kinds[] = {
	[IMPAIR_DROP] = "drop",
	[IMPAIR_DOUBLE] = "double",
	[IMPAIR_HOLD] = "hold",
	[IMPAIR_FLIP] = "flip",
};

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: impair IN OUT drop|double|hold|flip EVERY [SEED]\n");
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Up, and named after the port, as both directions may be impaired. */
static int tap_open(const char *port, uint32_t *ifindex)
{
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK), s = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(req.ifr_name, sizeof(req.ifr_name), "held-%.9s", port);
	if (fd < 0 || s < 0 || ioctl(fd, TUNSETIFF, &req))
		die("tap");
	*ifindex = if_nametoindex(req.ifr_name);
	req.ifr_flags = IFF_UP;
	if (ioctl(s, SIOCSIFFLAGS, &req))
		die("tap up");
	close(s);
	return fd;
}

static struct bpf_object *load(const char *self, const struct impair_spec *spec)
{
	struct bpf_object *obj;
	struct bpf_map *rodata;
	char path[4096];

	snprintf(path, sizeof(path), "%s.bpf.o", self);
	obj = bpf_object__open_file(path, NULL);
	if (libbpf_get_error(obj))
		die(path);
	rodata = bpf_object__find_map_by_name(obj, ".rodata");
	if (!rodata || bpf_map__set_initial_value(rodata, spec, sizeof(*spec)) ||
	    bpf_object__load(obj))
		die("load");
	return obj;
}

static void attach(struct bpf_object *obj, const char *name, uint32_t ifindex)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(obj, name);
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = BPF_TC_INGRESS);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1,
			    .flags = BPF_TC_F_REPLACE);
	int err = bpf_tc_hook_create(&hook);

	opts.prog_fd = bpf_program__fd(prog);
	if ((err && err != -EEXIST) || bpf_tc_attach(&hook, &opts))
		die(name);
}

static void detach(uint32_t ifindex)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
			    .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

	bpf_tc_hook_destroy(&hook);
}

/* A full queue lets no more wait: they go on at once. */
static void take_in(int tap, struct held queue[QUEUE], unsigned int *first, unsigned int *n)
{
	static uint8_t frame[FRAME_MAX];
	ssize_t len;

	while ((len = read(tap, frame, sizeof(frame))) > 0) {
		struct held *held = &queue[(*first + *n) % QUEUE];

		if (*n == QUEUE || !(held->data = malloc((size_t)len))) {
			if (write(tap, frame, (size_t)len) < 0)
				perror("write");
			continue;
		}
		memcpy(held->data, frame, (size_t)len);
		held->len = (size_t)len;
		held->due_ns = now_ns() + HOLD_NS;
		++*n;
	}
}

static void let_out(int tap, struct held queue[QUEUE], unsigned int *first, unsigned int *n)
{
	while (*n && queue[*first].due_ns <= now_ns()) {
		if (write(tap, queue[*first].data, queue[*first].len) < 0)
			perror("write");
		free(queue[*first].data);
		*first = (*first + 1) % QUEUE;
		--*n;
	}
}

/* Until the signal comes. */
static void hold(int tap, int stop)
{
	static struct held queue[QUEUE];
	unsigned int first = 0, n = 0;
	struct pollfd fds[] = {{.fd = stop, .events = POLLIN}, {.fd = tap, .events = POLLIN}};

	while (!(fds[0].revents & POLLIN)) {
		poll(fds, 2, n ? 1 : -1);
		take_in(tap, queue, &first, &n);
		let_out(tap, queue, &first, &n);
	}
}

static void print_figures(struct bpf_object *obj)
{
	struct bpf_map *bss = bpf_object__find_map_by_name(obj, ".bss");
	struct impair_figures figures = {0};
	uint32_t zero = 0;

	if (!bss || bpf_map_lookup_elem(bpf_map__fd(bss), &zero, &figures))
		die("figures");
	printf("frames %llu hit %llu\n", (unsigned long long)figures.frames,
	       (unsigned long long)figures.hit);
}

static uint32_t parse_kind(const char *name)
{
	for (uint32_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (!strcmp(kinds[i], name))
			return i;
	usage();
}

static int stop_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, 0);
}

int main(int argc, char **argv)
{
	struct impair_spec spec = {.seed = 1};
	int tap, stop = stop_signal();
	struct bpf_object *obj;
	uint32_t in;

	if (argc != 5 && argc != 6)
		usage();
	spec.kind = parse_kind(argv[3]);
	spec.every = (uint32_t)strtoul(argv[4], NULL, 10);
	spec.seed = argc == 6 ? strtoull(argv[5], NULL, 10) : 1;
	in = if_nametoindex(argv[1]);
	spec.out_ifindex = if_nametoindex(argv[2]);
	if (!spec.every || !in || !spec.out_ifindex || stop < 0)
		usage();
	tap = tap_open(argv[1], &spec.tap_ifindex);
	obj = load(argv[0], &spec);
	attach(obj, "impair_back", spec.tap_ifindex);
	attach(obj, "impair", in);
	printf("impairing\n");
	fflush(stdout);
	hold(tap, stop);
	detach(in);
	print_figures(obj);
	bpf_object__close(obj);
	return 0;
}
