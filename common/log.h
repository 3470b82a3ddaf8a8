/* SPDX-License-Identifier: GPL-2.0-only */
/* The process's diagnostic log: one line per call on stderr (or a sink). Any thread; lines are not
 * interleaved. Libraries do not log failures (they return them); boundaries do, once. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/check.h"

enum log_level { LOG_ERROR_LEVEL = 0, LOG_WARN_LEVEL, LOG_INFO_LEVEL, LOG_DEBUG_LEVEL };

typedef void (*log_sink_fn)(enum log_level level, const char *line, void *arg);

/* `name` is put before every line and must stay valid. Call before other threads start. */
void log_init(const char *name, enum log_level max_level);
/* Replaces stderr; line has no newline. Call before other threads start. NULL restores stderr. */
void log_set_sink(log_sink_fn sink, void *arg);
void log_write(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_error(...) log_write(LOG_ERROR_LEVEL, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN_LEVEL, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO_LEVEL, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG_LEVEL, __VA_ARGS__)

#endif
