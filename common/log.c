/* SPDX-License-Identifier: GPL-2.0-only */
/* Diagnostic log (see log.h). State is set before threads start and read-only afterwards. */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *log_name = "schedrig";
static enum log_level log_max = LOG_INFO_LEVEL;
static log_sink_fn log_sink;
static void *log_sink_arg;

void log_init(const char *name, enum log_level max_level)
{
	log_name = name;
	log_max = max_level;
}

void log_set_sink(log_sink_fn sink, void *arg)
{
	log_sink = sink;
	log_sink_arg = arg;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	static const char *const words[] = {"error: ", "warning: ", "", "debug: "};
	if (level > log_max)
		return;
	int saved = errno;
	char line[2048];
	int n = snprintf(line, sizeof(line), "%s: %s", log_name, words[level]);
	va_list args;
	va_start(args, fmt);
	vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, args);
	va_end(args);
	if (log_sink) {
		log_sink(level, line, log_sink_arg);
	} else {
		/* One write(2) a line, so that lines of several threads and processes do not mix. */
		size_t length = strlen(line);
		line[length++] = '\n';
		ssize_t done = write(STDERR_FILENO, line, length);
		(void)done;
	}
	errno = saved;
}
