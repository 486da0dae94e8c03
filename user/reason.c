/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "reason.h"

#include "util.h"

#define X(id, name) name,
static const char *const hook_names[] = {WEFT_HOOKS(X)};
static const char *const verdict_names[] = {WEFT_VERDICTS(X)};
static const char *const reason_names[] = {WEFT_REASONS(X)};
#undef X

_Static_assert(ARRAY_SIZE(hook_names) == WEFT_HOOK_MAX, "a hook has no name");
_Static_assert(ARRAY_SIZE(verdict_names) == WEFT_VERDICT_MAX, "a verdict has no name");
_Static_assert(ARRAY_SIZE(reason_names) == WEFT_REASON_MAX, "a reason has no name");

const char *hook_name(enum weft_hook hook)
{
	return hook_names[hook];
}

const char *verdict_name(enum weft_verdict verdict)
{
	return verdict_names[verdict];
}

const char *reason_name(enum weft_reason reason)
{
	return reason_names[reason];
}
