/* SPDX-License-Identifier: GPL-2.0-only */
/* What the guest writes to its serial console: the last lines in memory, everything (up to a limit) in a
 * file. vCPU threads put bytes into a bounded ring (vm/console_ring.h), the loop takes them out. Guest bytes:
 * control characters are made harmless. */
#ifndef HOST_MACHINE_CONSOLE_LOG_H
#define HOST_MACHINE_CONSOLE_LOG_H

#include "common/err.h"
#include "common/scope.h"

#define CONSOLE_LINES 256
#define CONSOLE_LINE_BYTES 512
/* A guest that fills its console does not fill the disk. */
#define CONSOLE_FILE_MAX_BYTES (64u * 1024 * 1024)

struct console_log;
struct console_ring;
struct loop;

/* path: file to append to, or NULL. */
struct console_log *console_log_new(struct loop *loop, const char *path, struct err *err) must_check;
void console_log_free(struct console_log *console);
SCOPE_GUARD(struct console_log *, console_log_free, console_log_free)

/* Where vCPU threads put bytes: with console_ring_put(). */
struct console_ring *console_log_ring(struct console_log *console);
/* (loop) Takes in what the ring holds now, without waiting for the loop's turn. */
void console_log_drain(struct console_log *console);
/* (loop) Adds bytes as if the guest had sent them. */
void console_log_add(struct console_log *console, const char *bytes, size_t length);
/* (any thread) Copies the last lines, oldest first, into lines[]; their number (at most max) is returned.
 * Each is freed by the caller. */
unsigned console_log_tail(struct console_log *console, char **lines, unsigned max);
/* (any thread) Newest line that contains `text`, copied into buffer; NULL when there is none. */
const char *console_log_find(struct console_log *console, const char *text, char *buffer, size_t size);

#endif
