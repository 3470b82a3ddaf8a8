/* SPDX-License-Identifier: GPL-2.0-only */
/* Serial console lines (see console_log.h). Lines are under `lock`; the file is the loop thread's; the ring
 * has one writer at a time (a vCPU thread) and one reader (the loop). */
#include "host/machine/console_log.h"

#include "common/fd.h"
#include "common/loop.h"
#include "host/vm/console_ring.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_BYTES 65536u /* power of two */
/* A panic with a stack per CPU is some 100 KiB. */
#define RATE_BYTES_PER_S (1u << 20)

struct console_log {
	struct console_ring *ring;
	struct event *wake;
	int fd; /* -1: no file */
	uint64_t file_bytes;
	pthread_mutex_t lock;
	/* Under lock: lines[(first + i) % CONSOLE_LINES], i < n; the line being written is lines[(first + n)
	 * % ...] */
	unsigned first, n;
	size_t current; /* bytes of the line being written */
	char lines[CONSOLE_LINES + 1][CONSOLE_LINE_BYTES];
};

static char *line_at(struct console_log *console, unsigned i)
{
	return console->lines[(console->first + i) % (CONSOLE_LINES + 1)];
}

void console_log_drain(struct console_log *console)
{
	char bytes[4096];
	size_t n;
	uint64_t lost;
	while ((n = console_ring_take(console->ring, bytes, sizeof(bytes), &lost)) > 0 || lost) {
		if (lost) {
			char text[96];
			int length = snprintf(text, sizeof(text),
				"\n[schedrig: %llu console bytes came too fast and are lost]\n",
				(unsigned long long)lost);
			console_log_add(console, text, (size_t)length);
		}
		console_log_add(console, bytes, n);
	}
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	console_log_drain(arg);
}

struct console_log *console_log_new(struct loop *loop, const char *path, struct err *err)
{
	struct console_log *console = calloc(1, sizeof(*console));
	if (!console) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot keep the console");
		return NULL;
	}
	pthread_mutex_init(&console->lock, NULL);
	console->fd = -1;
	console->ring = console_ring_new(RING_BYTES, RATE_BYTES_PER_S, err);
	if (!console->ring) {
		console_log_free(console);
		return NULL;
	}
	console->wake = event_new(
		loop_base(loop), console_ring_fd(console->ring), EV_READ | EV_PERSIST, on_wake, console);
	if (!console->wake || event_add(console->wake, NULL) < 0) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot listen to the console");
		console_log_free(console);
		return NULL;
	}
	if (path) {
		console->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);
		if (console->fd < 0) {
			err_set_os(err, ERR_HOST, errno, "cannot open console file %s", path);
			console_log_free(console);
			return NULL;
		}
	}
	return console;
}

void console_log_free(struct console_log *console)
{
	if (!console)
		return;
	if (console->wake)
		event_free(console->wake);
	console_ring_free(console->ring);
	fd_close(&console->fd);
	pthread_mutex_destroy(&console->lock);
	free(console);
}

struct console_ring *console_log_ring(struct console_log *console)
{
	return console->ring;
}

static void end_line(struct console_log *console)
{
	line_at(console, console->n)[console->current] = '\0';
	console->current = 0;
	if (console->n < CONSOLE_LINES)
		console->n++;
	else
		console->first = (console->first + 1) % (CONSOLE_LINES + 1);
}

void console_log_add(struct console_log *console, const char *bytes, size_t length)
{
	if (console->fd >= 0 && console->file_bytes < CONSOLE_FILE_MAX_BYTES) {
		/* A full disk loses console text, not the run. */
		if (fd_write_all(console->fd, bytes, length) == 0)
			console->file_bytes += length;
		if (console->file_bytes >= CONSOLE_FILE_MAX_BYTES) {
			static const char cut[] = "\n[schedrig: console file full, the rest is not kept]\n";
			int r = fd_write_all(console->fd, cut, sizeof(cut) - 1);
			(void)r;
		}
	}
	SCOPE_LOCK(&console->lock);
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)bytes[i];
		if (c == '\n') {
			end_line(console);
		} else if (c != '\r') {
			if (console->current == CONSOLE_LINE_BYTES - 1)
				end_line(console);
			line_at(console, console->n)[console->current++] =
				c < ' ' || c == 0x7f ? '?' : (char)c;
		}
	}
	line_at(console, console->n)[console->current] = '\0';
}

unsigned console_log_tail(struct console_log *console, char **lines, unsigned max)
{
	SCOPE_LOCK(&console->lock);
	unsigned have = console->n + (console->current > 0), skip = have > max ? have - max : 0, n = 0;
	for (unsigned i = skip; i < have; i++) {
		char *copy = strdup(line_at(console, i));
		if (copy)
			lines[n++] = copy;
	}
	return n;
}

const char *console_log_find(struct console_log *console, const char *text, char *buffer, size_t size)
{
	SCOPE_LOCK(&console->lock);
	for (unsigned i = console->n + 1; i-- > 0;) {
		const char *line = line_at(console, i);
		if (!strstr(line, text))
			continue;
		size_t n = strnlen(line, size - 1);
		memcpy(buffer, line, n);
		buffer[n] = '\0';
		return buffer;
	}
	return NULL;
}
