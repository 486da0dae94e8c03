/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The verbs that ask the agent and print its answer, as text or (-j) as the JSON it is. */
#ifndef WEFT_USER_SHOW_H
#define WEFT_USER_SHOW_H

#include <jansson.h>

#include "options.h"

enum weft_exit show_status(const struct options *options);
enum weft_exit show_peers(const struct options *options);
enum weft_exit show_routes(const struct options *options);
enum weft_exit show_endpoints(const struct options *options);
enum weft_exit show_stats(const struct options *options);

/* Print an array of flat objects the same way; verb names them where there are none. */
int show_rows(const struct options *options, json_t *rows, const char *verb);

/* Says that the agent refused, in its own words. */
void show_refusal(const char *refusal);
/* Says why the agent could not be asked, and returns the exit status of that. */
enum weft_exit show_failure(const struct options *options, int err);

#endif
