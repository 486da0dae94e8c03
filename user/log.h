/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Messages to stderr: "level: text", or one JSON object a line with --log-json. */
#ifndef WEFT_USER_LOG_H
#define WEFT_USER_LOG_H

#include <stdarg.h>
#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Level by name: error, warn, info, debug. -EINVAL for any other. */
int log_level_parse(const char *name, enum log_level *level);
void log_setup(enum log_level level, bool json);

void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Logs "text: strerror(-err)" and returns err, so that a caller can log and return in one line. */
int log_error(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(err, ...) log_error(err, __VA_ARGS__)
#define log_warn(...) log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
