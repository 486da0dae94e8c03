/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* In place of libbpf's where the programs are compiled for this machine; helpers: native.c. */
#ifndef WEFT_TESTS_BPF_HELPERS_H
#define WEFT_TESTS_BPF_HELPERS_H

#define SEC(name)
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __noinline __attribute__((noinline))
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __weak __attribute__((weak))
#define barrier_var(var) ((void)(var)) /* no verifier to hide it from */

void *bpf_map_lookup_elem(const void *map, const void *key);
long bpf_map_update_elem(const void *map, const void *key, const void *value, __u64 flags);
long bpf_map_delete_elem(const void *map, const void *key);
void *bpf_ringbuf_reserve(const void *map, __u64 size, __u64 flags);
void bpf_ringbuf_submit(void *data, __u64 flags);
__u64 bpf_jiffies64(void);
__u32 bpf_get_smp_processor_id(void);
long bpf_redirect(__u32 ifindex, __u64 flags);
long bpf_redirect_neigh(__u32 ifindex, void *params, int len, __u64 flags);
long bpf_redirect_peer(__u32 ifindex, __u64 flags);
long bpf_skb_pull_data(struct __sk_buff *skb, __u32 len);
long bpf_skb_adjust_room(struct __sk_buff *skb, __s32 diff, __u32 mode, __u64 flags);
long bpf_skb_change_head(struct __sk_buff *skb, __u32 len, __u64 flags);
long bpf_csum_level(struct __sk_buff *skb, __u64 level);
long bpf_set_hash(struct __sk_buff *skb, __u32 hash);
long bpf_skb_get_tunnel_key(struct __sk_buff *skb, struct bpf_tunnel_key *key, __u32 size,
			    __u64 flags);
long bpf_xdp_adjust_meta(struct xdp_md *xdp, int delta);
long bpf_skb_load_bytes(const struct __sk_buff *skb, __u32 offset, void *to, __u32 len);
long bpf_ringbuf_output(const void *map, void *data, __u64 size, __u64 flags);
__u32 bpf_get_prandom_u32(void);
__u64 bpf_ktime_get_ns(void);
long bpf_xdp_adjust_head(struct xdp_md *xdp, int delta);

#endif
