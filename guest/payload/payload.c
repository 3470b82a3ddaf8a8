/* SPDX-License-Identifier: GPL-2.0-only */
/* Payloads from the agent's side (see payload.h). Output is read on the loop's thread, everything else
 * happens on the callers'. */
#include "guest/payload/payload.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/loop.h"
#include "common/scope.h"
#include "guest/payload/keeper.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct stream {
	int fd;
	struct event *event;  /* loop thread */
	pthread_mutex_t lock; /* of the rest */
	struct output kept;
};

/* Patience with what is left of a payload that could not be started. */
#define START_KILL_NS (UINT64_C(60) * 1000000000)

struct payload {
	struct child keeper;
	struct loop *loop;
	int say_fd; /* of the keeper's words; EXITED is peeked at, never taken, so that any number can wait */
	pid_t pid;
	bool moved;
	uint64_t start_ns;
	struct stream out[2];
};

/* Bounded: a program that writes for ever must not hold the reader for ever. */
#define ROUNDS_MAX 64
/* At the end: what a pipe may hold, and some; a writer outside of the tree must not hold it either. */
#define LAST_ROUNDS_MAX 1024

static void stream_take(struct stream *stream, unsigned rounds_max)
{
	char bytes[16384];
	SCOPE_LOCK(&stream->lock);
	for (unsigned rounds = 0; stream->fd >= 0 && rounds < rounds_max; rounds++) {
		ssize_t n = read(stream->fd, bytes, sizeof(bytes));
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			fd_close(&stream->fd);
		if (n <= 0)
			return;
		output_add(&stream->kept, bytes, (size_t)n);
	}
}

/* Loop thread. */
static void on_output(evutil_socket_t fd, short what, void *arg)
{
	struct stream *stream = arg;
	stream_take(stream, ROUNDS_MAX);
	if (stream->fd < 0 && stream->event)
		event_del(stream->event);
}

static void watch_output(void *arg)
{
	struct payload *payload = arg;
	for (unsigned i = 0; i < 2; i++) {
		struct stream *stream = &payload->out[i];
		stream->event = event_new(
			loop_base(payload->loop), stream->fd, EV_READ | EV_PERSIST, on_output, stream);
		if (stream->event)
			event_add(stream->event, NULL);
	}
}

static void unwatch_output(void *arg)
{
	struct payload *payload = arg;
	for (unsigned i = 0; i < 2; i++)
		if (payload->out[i].event) {
			event_free(payload->out[i].event);
			payload->out[i].event = NULL;
		}
}

static int make_pipe(int *ret_read, int *ret_write, struct err *err)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot make a pipe");
	*ret_read = fds[0];
	*ret_write = fds[1];
	return fd_set_nonblock(fds[0], err);
}

enum wait_word { WORD_READY, WORD_TIMEOUT, WORD_CANCELLED };
/* Until the keeper has something to say, or is gone. */
static enum wait_word wait_word(struct payload *payload, uint64_t deadline_ns, struct cancel *cancel)
{
	for (;;) {
		struct pollfd fds[2] = {{.fd = payload->say_fd, .events = POLLIN},
			{.fd = cancel ? cancel->fd : -1, .events = POLLIN}};
		poll(fds, 2, clock_poll_ms(deadline_ns));
		if (fds[0].revents)
			return WORD_READY;
		if (fds[1].revents)
			return WORD_CANCELLED;
		if (!clock_left_ns(deadline_ns))
			return WORD_TIMEOUT;
	}
}

static int wait_started(struct payload *payload, const struct payload_spec *spec, uint64_t deadline_ns,
	struct cancel *cancel, struct err *err)
{
	struct keeper_message message;
	switch (wait_word(payload, deadline_ns, cancel)) {
	case WORD_TIMEOUT:
		return err_set(err, ERR_TIMEOUT, "payload `%s` was not executed in time: it gets no CPU",
			spec->name);
	case WORD_CANCELLED:
		return err_set(err, ERR_CANCELLED, "given up while payload `%s` was starting", spec->name);
	case WORD_READY:
		break;
	}
	if (recv(payload->say_fd, &message, sizeof(message), MSG_DONTWAIT) != sizeof(message))
		return err_set(err, ERR_GUEST_OS, "payload `%s`: its keeper ended before the program ran",
			spec->name);
	if (message.word == KEEPER_RUNNING) {
		payload->pid = message.value;
		payload->moved = message.moved;
		payload->start_ns = message.at_ns;
		return 0;
	}
	message.call[sizeof(message.call) - 1] = '\0';
	bool missing = !strcmp(message.call, "execve") && message.value == ENOENT;
	return err_set_os(err, missing ? ERR_NOT_FOUND : ERR_GUEST_OS, message.value,
		"cannot run payload `%s` (%s): %s failed%s", spec->name, spec->path, message.call,
		missing && access(spec->path, F_OK) == 0 ? " (its interpreter or dynamic loader is missing)"
							 : "");
}

/* The keeper goes when all that it keeps is gone. */
static int end_keeper(struct payload *payload, uint64_t patience_ns, struct err *err)
{
	child_kill(&payload->keeper, SIGTERM);
	if (child_wait(&payload->keeper, clock_deadline_ns(patience_ns), NULL) == CHILD_EXITED) {
		child_forget(&payload->keeper);
		return 0;
	}
	char state[160];
	pid_t pid = payload->pid ? payload->pid : payload->keeper.pid;
	int r = err_set(err, ERR_TIMEOUT,
		"process %d of a payload does not die: it was killed %llu s ago and is in %s", (int)pid,
		(unsigned long long)(patience_ns / NS_PER_S), child_state_text(pid, state, sizeof(state)));
	child_kill(&payload->keeper, SIGKILL);
	child_abandon(&payload->keeper);
	return r;
}

int payload_start(const struct payload_spec *spec, uint64_t deadline_ns, struct cancel *cancel,
	struct payload **ret_payload, struct err *err)
{
	struct payload *payload = calloc(1, sizeof(*payload));
	_cleanup_close_ int out = -1, errors = -1, say = -1;
	if (!payload)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot start payload `%s`", spec->name);
	payload->loop = spec->loop;
	payload->say_fd = payload->out[0].fd = payload->out[1].fd = -1;
	pthread_mutex_init(&payload->out[0].lock, NULL);
	pthread_mutex_init(&payload->out[1].lock, NULL);
	int pair[2], r = make_pipe(&payload->out[0].fd, &out, err);
	if (r == 0)
		r = make_pipe(&payload->out[1].fd, &errors, err);
	if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		r = err_set_os(err, ERR_GUEST_OS, errno, "cannot make a socket pair");
	if (r < 0) {
		payload_free(payload);
		return r;
	}
	payload->say_fd = pair[0];
	say = pair[1];
	struct keeper_job job = {
		.path = spec->path,
		.argv = spec->argv,
		.envp = spec->envp,
		.cgroup_fd = spec->cgroup_fd,
		.say_fd = say,
		.stdout_fd = out,
		.stderr_fd = errors,
		.parent = getpid(),
		.realtime = spec->realtime,
	};
	pid_t keeper = child_clone(&payload->keeper, -1, err);
	if (keeper == 0)
		keeper_main(&job);
	/* The write ends are the keeper's alone, so that its end is seen. */
	fd_close(&out);
	fd_close(&errors);
	fd_close(&say);
	if (keeper > 0) {
		r = wait_started(payload, spec, deadline_ns, cancel, err);
		if (r == 0 && loop_call(spec->loop, watch_output, payload) < 0)
			r = err_set(err, ERR_CANCELLED, "the agent is stopping");
		/* Why it did not start says more than that it does not end. */
		if (r < 0)
			(void)!end_keeper(payload, START_KILL_NS, NULL);
	} else {
		r = keeper;
	}
	if (r < 0) {
		payload_free(payload);
		return r;
	}
	*ret_payload = payload;
	return 0;
}

enum child_wait payload_wait(struct payload *payload, uint64_t deadline_ns, struct cancel *cancel)
{
	switch (wait_word(payload, deadline_ns, cancel)) {
	case WORD_TIMEOUT:
		return CHILD_TIMEOUT;
	case WORD_CANCELLED:
		return CHILD_CANCELLED;
	case WORD_READY:
		break;
	}
	return CHILD_EXITED;
}

pid_t payload_pid(const struct payload *payload)
{
	return payload->pid;
}

bool payload_moved(const struct payload *payload)
{
	return payload->moved;
}

pid_t payload_keeper(const struct payload *payload)
{
	return payload->keeper.pid;
}

bool payload_exited(const struct payload *payload)
{
	struct pollfd fd = {.fd = payload->say_fd, .events = POLLIN};
	return poll(&fd, 1, 0) > 0;
}

void payload_end_deinit(struct payload_end *end)
{
	output_deinit(&end->out[0]);
	output_deinit(&end->out[1]);
}

int payload_finish(
	struct payload *payload, uint64_t patience_ns, struct payload_end *ret_end, struct err *err)
{
	struct keeper_message message = {0};
	*ret_end = (struct payload_end){.pid = payload->pid, .moved = payload->moved};
	/* It has exited by itself only if the keeper has said so before being told to kill. */
	ssize_t n = recv(payload->say_fd, &message, sizeof(message), MSG_DONTWAIT | MSG_PEEK);
	ret_end->ended_by_us = n != sizeof(message);
	int r = end_keeper(payload, patience_ns, err);
	n = recv(payload->say_fd, &message, sizeof(message), MSG_DONTWAIT | MSG_PEEK);
	if (n == sizeof(message) && message.word == KEEPER_EXITED) {
		ret_end->status = message.value;
		ret_end->run_ns = message.at_ns - payload->start_ns;
	} else {
		/* The keeper itself was killed: the program went with it (its parent-death signal). */
		ret_end->status = SIGKILL;
		ret_end->run_ns = clock_now_ns() - payload->start_ns;
	}
	if (loop_call(payload->loop, unwatch_output, payload) < 0)
		unwatch_output(payload); /* the loop has stopped: nobody else is there */
	for (unsigned i = 0; i < 2; i++) {
		stream_take(&payload->out[i], LAST_ROUNDS_MAX);
		ret_end->out[i] = payload->out[i].kept;
		payload->out[i].kept = (struct output){0};
	}
	return r;
}

void payload_free(struct payload *payload)
{
	if (!payload)
		return;
	fd_close(&payload->say_fd);
	for (unsigned i = 0; i < 2; i++) {
		fd_close(&payload->out[i].fd);
		output_deinit(&payload->out[i].kept);
		pthread_mutex_destroy(&payload->out[i].lock);
	}
	free(payload);
}
