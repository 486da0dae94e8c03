/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "forward_steer.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <string.h>
#include <sys/socket.h>

#include "segment.h"
#include "util.h"

/* 2^32 divided by the golden ratio (Knuth, The Art of Computer Programming 3, section 6.4). */
#define GOLDEN 0x9e3779b1

/*
 * The program sees the UDP payload, but can look back to the IP header. Options there would be
 * taken for ports, which are the same for the whole flow, too. What it cannot read ends it with 0,
 * the first socket.
 */
int forward_steer(int fd, uint16_t port, uint32_t n)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, (uint32_t)SKF_NET_OFF + IP4_MIN_HLEN),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, port, 0, 1),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 12),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, n),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	const struct sock_fprog program = {ARRAY_SIZE(code), code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0
		       ? -errno
		       : 0;
}

uint32_t forward_class(const uint8_t *packet, const struct ip4_info *info, uint32_t n)
{
	uint32_t flow = info->saddr ^ info->daddr;
	uint16_t ports[2];

	/* A fragment has no ports, and so has what is neither TCP nor UDP. */
	if (segment_l4_header(packet, info)) {
		memcpy(ports, packet + info->hlen, sizeof(ports));
		flow ^= (uint32_t)(ports[0] ^ ports[1]);
	}
	return ((flow * GOLDEN) >> 16) % n;
}
