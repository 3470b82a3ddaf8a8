/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The connection to a controller: socket, frames, requests in flight (see schedrig.h). The caller's thread.
 */
#include "host/client/schedrig.h"

#include "common/frame.h"
#include "proto/pb.h"
#include "proto/wire.h"
#include "proto/wire_err.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HELLO_WAIT_MS 10000
#define IN_BYTES (FRAME_HEADER_BYTES + (size_t)FRAME_MAX_BYTES)

/* A request whose answer is due. */
struct pending {
	struct pending *next;
	uint64_t id;
	schedrig_event_fn event;
	schedrig_done_fn done;
	void *arg;
	uint8_t *parts; /* what came of an answer longer than a frame */
	size_t n_parts;
};

struct schedrig {
	int fd;
	bool over; /* `why` says why */
	struct err why;
	uint64_t last_id;
	struct pending *pending;
	Schedrig__V1__Hello *hello;
	uint8_t *out; /* to be sent: out_sent .. out_length */
	size_t out_length, out_sent, out_size;
	size_t in_length;
	uint8_t in[IN_BYTES];
};

static void pending_free(struct pending *pending)
{
	free(pending->parts);
	free(pending);
}

static struct pending **pending_find(struct schedrig *schedrig, uint64_t id)
{
	struct pending **at = &schedrig->pending;
	while (*at && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

/* Takes it out before the call: done() may start another request. */
static void pending_finish(struct pending **at, const struct err *err, Schedrig__V1__Response *response)
{
	struct pending *pending = *at;
	*at = pending->next;
	pending->done(err, response, pending->arg);
	pending_free(pending);
}

void schedrig_forget(struct schedrig *schedrig, uint64_t id)
{
	struct pending **at = pending_find(schedrig, id);
	if (!*at)
		return;
	struct pending *pending = *at;
	*at = pending->next;
	pending_free(pending);
}

static int end(struct schedrig *schedrig, const struct err *why)
{
	if (!schedrig->over) {
		schedrig->over = true;
		schedrig->why = *why;
	}
	while (schedrig->pending)
		pending_finish(&schedrig->pending, &schedrig->why, NULL);
	return err_errno(schedrig->why.code);
}

static int queue_frame(struct schedrig *schedrig, uint16_t type, uint64_t id, const ProtobufCMessage *message,
	struct err *err)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	if (length > FRAME_MAX_BYTES)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"the request has %zu bytes and the limit is %u: make the scenario smaller", length,
			FRAME_MAX_BYTES);
	if (schedrig->out_sent == schedrig->out_length)
		schedrig->out_sent = schedrig->out_length = 0;
	size_t need = schedrig->out_length + FRAME_HEADER_BYTES + length;
	if (need > schedrig->out_size) {
		uint8_t *bigger = realloc(schedrig->out, need);
		if (!bigger)
			return err_set_os(err, ERR_HOST, ENOMEM, "cannot queue the request");
		schedrig->out = bigger;
		schedrig->out_size = need;
	}
	struct frame_header header = {.length = (uint32_t)length, .type = type, .seq = id};
	frame_encode(&header, schedrig->out + schedrig->out_length);
	protobuf_c_message_pack(message, schedrig->out + schedrig->out_length + FRAME_HEADER_BYTES);
	schedrig->out_length = need;
	return 0;
}

int schedrig_start(struct schedrig *schedrig, const Schedrig__V1__Request *request, schedrig_event_fn event,
	schedrig_done_fn done, void *arg, uint64_t *ret_id, struct err *err)
{
	if (schedrig->over) {
		if (err)
			*err = schedrig->why;
		return err_errno(schedrig->why.code);
	}
	struct pending *pending = calloc(1, sizeof(*pending));
	if (!pending)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot queue the request");
	*pending = (struct pending){.id = schedrig->last_id + 1, .event = event, .done = done, .arg = arg};
	int r = queue_frame(schedrig, WIRE_REQUEST, pending->id, &request->base, err);
	if (r < 0) {
		pending_free(pending);
		return r;
	}
	schedrig->last_id++;
	*pending_find(schedrig, 0) = pending; /* no request has number 0: the list's end */
	if (ret_id)
		*ret_id = pending->id;
	return 0;
}

/* ---- frames that came */

static int add_part(struct pending *pending, const uint8_t *bytes, size_t length, struct err *err)
{
	if (length > WIRE_MESSAGE_MAX_BYTES - pending->n_parts)
		return err_set(err, ERR_INTERNAL, "the controller's answer is longer than %u bytes",
			WIRE_MESSAGE_MAX_BYTES);
	uint8_t *bigger = realloc(pending->parts, pending->n_parts + length + 1);
	if (!bigger)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot take the controller's answer");
	memcpy(bigger + pending->n_parts, bytes, length);
	pending->parts = bigger;
	pending->n_parts += length;
	return 0;
}

static int not_understood(struct err *err, const char *what)
{
	return err_set(
		err, ERR_INTERNAL, "the controller sent %s that this client does not understand", what);
}

static int take_response(
	struct pending **at, const struct frame_header *header, const uint8_t *payload, struct err *err)
{
	struct pending *pending = *at;
	const uint8_t *bytes = payload;
	size_t length = header->length;
	if (pending->n_parts) {
		int r = add_part(pending, payload, header->length, err);
		if (r < 0)
			return r;
		bytes = pending->parts;
		length = pending->n_parts;
	}
	Schedrig__V1__Response *response = pb_unpack(&schedrig__v1__response__descriptor, bytes, length);
	if (!response)
		return not_understood(err, "an answer");
	struct err failure = ERR_INIT;
	if (response->error)
		wire_err_from(response->error, &failure);
	pending_finish(at, &failure, response);
	return 0;
}

static int take_event(
	struct pending *pending, const struct frame_header *header, const uint8_t *payload, struct err *err)
{
	if (!pending->event)
		return 0;
	Schedrig__V1__Event *event = pb_unpack(&schedrig__v1__event__descriptor, payload, header->length);
	if (!event)
		return not_understood(err, "an event");
	pending->event(event, pending->arg);
	pb_free(event);
	return 0;
}

/* The controller did not understand a frame of ours: a request fails, or all of the connection. */
static int take_error(struct schedrig *schedrig, struct pending **at, const struct frame_header *header,
	const uint8_t *payload, struct err *err)
{
	struct err failure = ERR_INIT;
	Schedrig__V1__Error *wire = pb_unpack(&schedrig__v1__error__descriptor, payload, header->length);
	if (!wire)
		return not_understood(err, "an error");
	wire_err_from(wire, &failure);
	pb_free(wire);
	if (*at) {
		pending_finish(at, &failure, NULL);
		return 0;
	}
	if (err)
		*err = failure;
	return err_errno(failure.code);
}

static int take_hello(
	struct schedrig *schedrig, const struct frame_header *header, const uint8_t *payload, struct err *err)
{
	if (header->type == WIRE_ERROR)
		return take_error(schedrig, pending_find(schedrig, 0), header, payload, err);
	if (header->type != WIRE_HELLO)
		return err_set(err, ERR_INTERNAL, "whoever listens on the socket is no schedrig controller");
	schedrig->hello = pb_unpack(&schedrig__v1__hello__descriptor, payload, header->length);
	if (!schedrig->hello)
		return not_understood(err, "a Hello");
	if (schedrig->hello->major != WIRE_MAJOR)
		return err_set(err, ERR_UNSUPPORTED,
			"the controller speaks protocol %u.%u and this client %u.%u: use programs of one "
			"version",
			schedrig->hello->major, schedrig->hello->minor, WIRE_MAJOR, WIRE_MINOR);
	return 0;
}

static int take_frame(
	struct schedrig *schedrig, const struct frame_header *header, const uint8_t *payload, struct err *err)
{
	if (!schedrig->hello)
		return take_hello(schedrig, header, payload, err);
	struct pending **at = pending_find(schedrig, header->seq);
	switch (header->type) {
	case WIRE_ERROR:
		return take_error(schedrig, at, header, payload, err);
	case WIRE_PART:
		return *at ? add_part(*at, payload, header->length, err) : 0;
	case WIRE_RESPONSE:
		return *at ? take_response(at, header, payload, err) : 0;
	case WIRE_EVENT:
		return *at ? take_event(*at, header, payload, err) : 0;
	default:
		return 0; /* of a later version */
	}
}

/* Frames that are whole; the rest moves to the front. */
static int take_frames(struct schedrig *schedrig, struct err *err)
{
	size_t at = 0;
	int r = 0;
	while (r == 0 && schedrig->in_length - at >= FRAME_HEADER_BYTES) {
		struct frame_header header = frame_decode(schedrig->in + at);
		if (header.length > FRAME_MAX_BYTES) {
			r = err_set(err, ERR_INTERNAL,
				"the controller announced a frame of %u bytes, the limit is %u",
				header.length, FRAME_MAX_BYTES);
			break;
		}
		if (schedrig->in_length - at - FRAME_HEADER_BYTES < header.length)
			break;
		r = take_frame(schedrig, &header, schedrig->in + at + FRAME_HEADER_BYTES, err);
		at += FRAME_HEADER_BYTES + header.length;
	}
	schedrig->in_length -= at;
	memmove(schedrig->in, schedrig->in + at, schedrig->in_length);
	return r;
}

static int gone(struct err *err, int errnum)
{
	if (errnum && errnum != ECONNRESET && errnum != EPIPE)
		return err_set_os(err, ERR_HOST, errnum, "the connection to the controller failed");
	return err_set(err, ERR_HOST, "the controller ended");
}

static int send_some(struct schedrig *schedrig, struct err *err)
{
	while (schedrig->out_sent < schedrig->out_length) {
		ssize_t n = send(schedrig->fd, schedrig->out + schedrig->out_sent,
			schedrig->out_length - schedrig->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return gone(err, errno);
		schedrig->out_sent += (size_t)n;
	}
	return 0;
}

static int receive_some(struct schedrig *schedrig, struct err *err)
{
	for (;;) {
		size_t room = IN_BYTES - schedrig->in_length;
		ssize_t n = recv(schedrig->fd, schedrig->in + schedrig->in_length, room, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0)
			return gone(err, n < 0 ? errno : 0);
		schedrig->in_length += (size_t)n;
		int r = take_frames(schedrig, err);
		/* Less than there was room for was all there is; whether more has come is poll()'s to say. */
		if (r < 0 || (size_t)n < room)
			return r;
	}
}

int schedrig_process(struct schedrig *schedrig, struct err *err)
{
	struct err why = ERR_INIT, unsent = ERR_INIT;
	int r = 0;
	if (!schedrig->over) {
		/* A controller that closes has often said why before: what it said counts more than that
		 * nothing can be sent. */
		int sent = send_some(schedrig, &unsent);
		r = receive_some(schedrig, &why);
		if (r == 0 && sent < 0) {
			r = sent;
			why = unsent;
		}
	}
	if (r < 0 || schedrig->over) {
		r = end(schedrig, &why);
		if (err)
			*err = schedrig->why;
	}
	return r;
}

int schedrig_fd(const struct schedrig *schedrig)
{
	return schedrig->fd;
}

short schedrig_wants(const struct schedrig *schedrig)
{
	return schedrig->out_sent < schedrig->out_length ? POLLIN | POLLOUT : POLLIN;
}

int schedrig_wait(struct schedrig *schedrig, int timeout_ms, struct err *err)
{
	/* Now rather than after a poll() that would only say that it can be. Whatever fails here fails again
	 * in schedrig_process(), which tells. */
	if (!schedrig->over)
		(void)!send_some(schedrig, NULL);
	struct pollfd poller = {.fd = schedrig->fd, .events = schedrig_wants(schedrig)};
	int n = schedrig->over ? 1 : poll(&poller, 1, timeout_ms);
	if (n < 0)
		return errno == EINTR ? -EINTR : err_set_os(err, ERR_HOST, errno, "cannot wait");
	return n == 0 ? -ETIMEDOUT : schedrig_process(schedrig, err);
}

const Schedrig__V1__Hello *schedrig_hello(const struct schedrig *schedrig)
{
	return schedrig->hello;
}

void schedrig_free_message(void *message)
{
	pb_free(message);
}

static int connect_to(const char *path, int *ret_fd, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	if (length == 0 || length >= sizeof(address.sun_path))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"the socket's path has %zu bytes: it must have 1 to %zu", length,
			sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, length);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create a socket");
	/* On a Unix socket this waits only for a listener whose backlog is full. */
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int saved = errno;
		close(fd);
		if (saved == ENOENT)
			return err_set(err, ERR_NOT_FOUND,
				"there is no socket %s: is the controller (schedrigd --socket) up?", path);
		struct stat st;
		if (saved == ECONNREFUSED && stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
			return err_set(err, ERR_NOT_FOUND,
				"%s is no socket: name the one that schedrigd --socket was given", path);
		if (saved == ECONNREFUSED)
			return err_set(err, ERR_NOT_FOUND,
				"nobody listens on %s: its controller is gone, start another with schedrigd "
				"--socket",
				path);
		return err_set_os(err, ERR_HOST, saved, "cannot connect to %s", path);
	}
	*ret_fd = fd;
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int exchange_hello(struct schedrig *schedrig, struct err *err)
{
	static char role[] = "client", build[] = "libschedrig";
	Schedrig__V1__Hello hello = SCHEDRIG__V1__HELLO__INIT;
	hello.major = WIRE_MAJOR;
	hello.minor = WIRE_MINOR;
	hello.build = build;
	hello.max_frame_bytes = FRAME_MAX_BYTES;
	hello.role = role;
	hello.clock_ns = (uint64_t)now_ms() * 1000000;
	int r = queue_frame(schedrig, WIRE_HELLO, 0, &hello.base, err);
	int64_t until = now_ms() + HELLO_WAIT_MS;
	while (r == 0 && !schedrig->hello) {
		int64_t left = until - now_ms();
		r = left > 0 ? schedrig_wait(schedrig, (int)left, err) : -ETIMEDOUT;
		if (r == -EINTR)
			r = 0;
		else if (r == -ETIMEDOUT && left <= 0)
			return err_set(err, ERR_TIMEOUT, "the controller did not say Hello within %d s",
				HELLO_WAIT_MS / 1000);
		else if (r == -ETIMEDOUT)
			r = 0;
	}
	return r;
}

struct schedrig *schedrig_open(const char *path, struct err *err)
{
	struct schedrig *schedrig = calloc(1, sizeof(*schedrig));
	if (!schedrig) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot connect to %s", path);
		return NULL;
	}
	schedrig->fd = -1;
	if (connect_to(path, &schedrig->fd, err) < 0 || exchange_hello(schedrig, err) < 0) {
		schedrig_close(schedrig);
		return NULL;
	}
	return schedrig;
}

void schedrig_close(struct schedrig *schedrig)
{
	if (!schedrig)
		return;
	while (schedrig->pending) {
		struct pending *next = schedrig->pending->next;
		pending_free(schedrig->pending);
		schedrig->pending = next;
	}
	if (schedrig->fd >= 0)
		close(schedrig->fd);
	pb_free(schedrig->hello);
	free(schedrig->out);
	free(schedrig);
}
