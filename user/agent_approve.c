/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "agent_priv.h"
#include "log.h"
#include "util.h"

/* conntrack may appear with the first rule that needs it. */
static void soften_conntrack(struct agent *a)
{
	if (!conntrack_look(&a->conntrack))
		return;
	tier_remember(a);
	conntrack_soften();
}

void approve_abandon(struct agent *a)
{
	rules_close(take_ptr(a->rules));
	conntrack_restore(&a->conntrack);
	a->conntrack = (struct conntrack_saved){};
}

static void on_rules(void *arg)
{
	struct agent *a = arg;

	soften_conntrack(a);
	if (a->opt->approve == APPROVE_HOST)
		log_debug("rules or routes changed: generation %u",
			  datapath_new_generation(a->datapath));
}

/*
 * conntrack forgets a flow that nobody answered after 30 s (nf_conntrack_udp_timeout and that of
 * ICMP), so these are renewed well before; a sixth of it is more than the two seconds after which
 * an answered one is a stream (approved_since() of bpf/approve.h).
 */
#define UNREPLIED_S 20U

static void set_lifetimes(struct agent *a)
{
	uint32_t ttl = a->opt->approve == APPROVE_HOST ? a->opt->approve_ttl : 0;

	datapath_set_lifetimes(a->datapath, ttl, ttl < UNREPLIED_S ? ttl : UNREPLIED_S * !!ttl);
}

/* Watch first, then start a generation: no change goes unnoticed in between. */
int approve_start(struct agent *a)
{
	int err;

	set_lifetimes(a);
	err = rules_watch(a->loop, on_rules, a, &a->rules);
	if (err)
		return log_err(err, "cannot watch the host's rules");
	on_rules(a);
	return 0;
}
