/* SPDX-License-Identifier: GPL-2.0-only */
/* What the agent says: Hello, answers in one or more frames, events. Loop thread. Every byte is hostile: a
 * guest that is being tested may have gone mad. */
#include "common/clock.h"
#include "host/link/link_internal.h"
#include "proto/agent_page.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <stdlib.h>
#include <string.h>

void link_drop(struct link *link, const struct err *why)
{
	struct conn *conn = link->conn;
	link->conn = NULL;
	struct err gone = *why;
	if (gone.code == ERR_NONE)
		err_set(&gone, ERR_AGENT_LOST, "the agent has closed its connection");
	else if (gone.code != ERR_AGENT_LOST) {
		gone.code = ERR_AGENT_LOST;
		err_wrap(&gone, "the connection to the agent ended");
	}
	pthread_mutex_lock(&link->lock);
	link->ready = false;
	link->has_page = false;
	pthread_mutex_unlock(&link->lock);
	/* Before the calls fail: whoever made them can then ask what it means. */
	if (link->config.ops.lost)
		link->config.ops.lost(link, &gone, link->config.arg);
	pthread_mutex_lock(&link->lock);
	link_end_calls(link, &gone);
	pthread_mutex_unlock(&link->lock);
	/* Last words (why we refuse) still go out. */
	conn_free_flushed(conn, NS_PER_S);
}

static void send_error(struct link *link, uint64_t seq, const struct err *err)
{
	Schedrig__V1__Error wire = SCHEDRIG__V1__ERROR__INIT;
	link_error_to_wire(err, &wire);
	/* Whom it does not reach has other worries. */
	int r = link_send_message(link, WIRE_ERROR, seq, &wire.base, NULL);
	(void)r;
}

static void drop_refused(void *arg)
{
	struct link *link = arg;
	if (link->conn && link->refusal.code != ERR_NONE)
		link_drop(link, &link->refusal);
	link->refusal = ERR_INIT;
}

static void refuse(struct link *link, uint64_t seq, const struct err *why)
{
	send_error(link, seq, why);
	if (link->config.ops.ready)
		link->config.ops.ready(link, why, link->config.arg);
	if (!link->conn)
		return;
	/* Dropped from the loop, outside the connection's own callback, so that the reason still goes out. */
	conn_pause(link->conn, true);
	link->refusal = *why;
	if (loop_post(link->config.loop, link, drop_refused, link) < 0)
		link_drop(link, why);
}

/* The page must be whole pages of guest memory. */
static bool page_good(const struct link *link, const Schedrig__V1__AgentHello *hello, gpa_t *ret_page)
{
	if (!link->config.memory || !hello->n_page_gpas)
		return false;
	gpa_t page = {hello->page_gpas[0]};
	if (page.v % AGENT_PAGE_BYTES || !gmem_ptr(link->config.memory, page, AGENT_PAGE_BYTES))
		return false;
	*ret_page = page;
	return true;
}

static int send_hello(struct link *link, struct err *err)
{
	const struct cpu_layout *layout = link->config.layout;
	Schedrig__V1__ControllerHello answer = SCHEDRIG__V1__CONTROLLER_HELLO__INIT;
	Schedrig__V1__Hello hello = SCHEDRIG__V1__HELLO__INIT;
	Schedrig__V1__CpuLayout wire = SCHEDRIG__V1__CPU_LAYOUT__INIT;
	_cleanup_free_ Schedrig__V1__CpuPlace *places = calloc(layout->n_cpus, sizeof(*places));
	_cleanup_free_ Schedrig__V1__CpuPlace **list = calloc(layout->n_cpus, sizeof(*list));
	if (!places || !list)
		return err_set(err, ERR_HOST, "out of memory while greeting the agent");
	for (unsigned i = 0; i < layout->n_cpus; i++) {
		schedrig__v1__cpu_place__init(&places[i]);
		places[i].node = layout->cpu[i].node;
		places[i].llc = layout->cpu[i].llc;
		places[i].core = layout->cpu[i].core;
		places[i].thread = layout->cpu[i].thread;
		list[i] = &places[i];
	}
	wire.n_cpus = layout->n_cpus;
	wire.cpus = list;
	wire.nodes = layout->n_nodes;
	wire.llcs = layout->n_llcs;
	wire.cores = layout->n_cores;
	hello.major = WIRE_MAJOR;
	hello.minor = WIRE_MINOR;
	hello.role = (char *)"controller";
	hello.max_frame_bytes = FRAME_MAX_BYTES;
	hello.clock_ns = clock_now_ns();
	answer.hello = &hello;
	answer.layout = &wire;
	answer.speed_percent = link->config.speed_percent;
	answer.check_topology = link->config.check_topology;
	return link_send_message(link, WIRE_HELLO, 0, &answer.base, err);
}

static void on_hello(struct link *link, const struct frame_header *header, const uint8_t *payload)
{
	struct err err = ERR_INIT;
	Schedrig__V1__AgentHello *hello =
		pb_unpack(&schedrig__v1__agent_hello__descriptor, payload, header->length);
	if (!hello || !hello->hello || link->greeted) {
		err_set(&err, ERR_INVALID_ARGUMENT,
			link->greeted ? "the agent said Hello twice"
				      : "the agent's Hello cannot be understood");
		pb_free(hello);
		refuse(link, header->seq, &err);
		return;
	}
	if (hello->hello->major != WIRE_MAJOR) {
		err_set(&err, ERR_UNSUPPORTED,
			"the agent speaks protocol version %u.%u, this controller %u.%u: rebuild the "
			"initramfs with this "
			"version's agent",
			hello->hello->major, hello->hello->minor, WIRE_MAJOR, WIRE_MINOR);
		pb_free(hello);
		refuse(link, header->seq, &err);
		return;
	}
	link->greeted = true;
	gpa_t page = {0};
	bool has_page = page_good(link, hello, &page);
	pthread_mutex_lock(&link->lock);
	pb_free(link->hello);
	link->hello = hello;
	link->has_page = has_page;
	link->page = page;
	pthread_mutex_unlock(&link->lock);
	if (send_hello(link, &err) < 0)
		refuse(link, header->seq, &err);
}

static void on_ready(struct link *link, const struct frame_header *header, const uint8_t *payload)
{
	struct err err = ERR_INIT;
	Schedrig__V1__AgentReady *ready =
		pb_unpack(&schedrig__v1__agent_ready__descriptor, payload, header->length);
	bool known = link->greeted && ready && !link_is_ready(link);
	if (!known) {
		err_set(&err, ERR_INVALID_ARGUMENT,
			"the agent's Ready cannot be understood or came out of turn");
		pb_free(ready);
		refuse(link, header->seq, &err);
		return;
	}
	bool failed = ready->error;
	if (failed)
		link_error_from_wire(ready->error, &err);
	pthread_mutex_lock(&link->lock);
	pb_free(link->ready_message);
	link->ready_message = ready;
	link->ready = !failed;
	pthread_mutex_unlock(&link->lock);
	if (link->config.ops.ready)
		link->config.ops.ready(link, failed ? &err : NULL, link->config.arg);
}

/* With the lock held. */
static void end_call(struct link *link, struct link_call *call, const uint8_t *bytes, size_t length)
{
	bool over;
	call->response = pb_unpack_within(
		&schedrig__v1__agent_response__descriptor, bytes, length, PB_GUEST_BYTES, &over);
	if (over)
		err_set(&call->err, ERR_LIMIT_EXCEEDED,
			"the agent's answer of %zu bytes would take more memory than the %u MiB that one may",
			length, PB_GUEST_BYTES >> 20);
	else if (!call->response)
		err_set(&call->err, ERR_INTERNAL, "the agent's answer cannot be understood");
	call->done = true;
	pthread_cond_broadcast(&link->changed);
}

/* Appends to what has come of an answer. With the lock held. */
static bool append_part(struct link *link, struct link_call *call, const uint8_t *bytes, size_t length)
{
	if (!range_fits(link->part_bytes, length, WIRE_MESSAGE_MAX_BYTES)) {
		call->done = true;
		err_set(&call->err, ERR_LIMIT_EXCEEDED, "the agent's answer is longer than %u bytes",
			WIRE_MESSAGE_MAX_BYTES);
		pthread_cond_broadcast(&link->changed);
		return false;
	}
	uint8_t *more = realloc(call->part, call->part_bytes + length + 1);
	if (!more) {
		call->done = true;
		err_set(&call->err, ERR_HOST, "out of memory for the agent's answer");
		pthread_cond_broadcast(&link->changed);
		return false;
	}
	memcpy(more + call->part_bytes, bytes, length);
	call->part = more;
	call->part_bytes += length;
	link->part_bytes += length;
	return true;
}

/* An answer that nobody waits for any more is dropped. */
static void on_response(struct link *link, const struct frame_header *header, const uint8_t *payload)
{
	SCOPE_LOCK(&link->lock);
	struct link_call *call = link_find_call(link, header->seq);
	if (!call || call->done)
		return;
	if (!call->part) {
		if (header->type == WIRE_RESPONSE)
			end_call(link, call, payload, header->length);
		else
			(void)append_part(link, call, payload, header->length);
		return;
	}
	if (append_part(link, call, payload, header->length) && header->type == WIRE_RESPONSE)
		end_call(link, call, call->part, call->part_bytes);
}

static void on_error(struct link *link, const struct frame_header *header, const uint8_t *payload)
{
	Schedrig__V1__Error *error = pb_unpack(&schedrig__v1__error__descriptor, payload, header->length);
	pthread_mutex_lock(&link->lock);
	struct link_call *call = link_find_call(link, header->seq);
	if (call && !call->done) {
		if (error)
			link_error_from_wire(error, &call->err);
		else
			err_set(&call->err, ERR_INTERNAL, "the agent's answer cannot be understood");
		call->done = true;
		pthread_cond_broadcast(&link->changed);
	}
	pthread_mutex_unlock(&link->lock);
	pb_free(error);
}

static void on_event(struct link *link, const struct frame_header *header, const uint8_t *payload)
{
	Schedrig__V1__AgentEvent *event =
		pb_unpack(&schedrig__v1__agent_event__descriptor, payload, header->length);
	if (event && link->greeted && link->config.ops.event)
		link->config.ops.event(link, event, link->config.arg);
	pb_free(event);
}

static void on_frame(struct conn *conn, const struct frame_header *header, const uint8_t *payload, void *arg)
{
	struct link *link = arg;
	struct err err = ERR_INIT;
	if (link->refusal.code != ERR_NONE)
		return;
	if (!link->greeted && header->type != WIRE_HELLO) {
		err_set(&err, ERR_INVALID_ARGUMENT, "the agent must say Hello first");
		refuse(link, header->seq, &err);
		return;
	}
	switch (header->type) {
	case WIRE_HELLO:
		on_hello(link, header, payload);
		break;
	case WIRE_READY:
		on_ready(link, header, payload);
		break;
	case WIRE_RESPONSE:
	case WIRE_PART:
		on_response(link, header, payload);
		break;
	case WIRE_EVENT:
		on_event(link, header, payload);
		break;
	case WIRE_ERROR:
		on_error(link, header, payload);
		break;
	default:
		err_set(&err, ERR_UNSUPPORTED, "frames of type %u are not known here", header->type);
		send_error(link, header->seq, &err);
	}
}

static void on_oversize(struct conn *conn, const struct frame_header *header, void *arg)
{
	struct link *link = arg;
	struct err err = ERR_INIT;
	err_set(&err, ERR_LIMIT_EXCEEDED, "a frame of %u bytes: at most %u are possible", header->length,
		FRAME_MAX_BYTES);
	pthread_mutex_lock(&link->lock);
	struct link_call *call = link_find_call(link, header->seq);
	if (call && !call->done) {
		call->err = err;
		call->done = true;
		pthread_cond_broadcast(&link->changed);
	}
	pthread_mutex_unlock(&link->lock);
	send_error(link, header->seq, &err);
}

static void on_closed(struct conn *conn, const struct err *err, void *arg)
{
	link_drop(arg, err);
}

const struct conn_ops link_conn_ops = {.frame = on_frame, .oversize = on_oversize, .closed = on_closed};

/* With the lock held. NULL when there is no valid page. */
static const struct agent_page *valid_page(const struct link *link)
{
	if (!link->has_page)
		return NULL;
	const void *page = gmem_ptr(link->config.memory, link->page, AGENT_PAGE_BYTES);
	const struct agent_page *p = page;
	return __atomic_load_n(&p->magic, __ATOMIC_RELAXED) == AGENT_PAGE_MAGIC &&
			       __atomic_load_n(&p->version, __ATOMIC_RELAXED) == AGENT_PAGE_VERSION
		       ? p
		       : NULL;
}

/* Single aligned values: nothing to be ordered with. */
uint64_t link_heartbeat(struct link *link)
{
	SCOPE_LOCK(&link->lock);
	const struct agent_page *page = valid_page(link);
	return page ? __atomic_load_n(&page->heartbeat, __ATOMIC_RELAXED) : 0;
}

uint64_t link_max_gap_ns(struct link *link)
{
	SCOPE_LOCK(&link->lock);
	const struct agent_page *page = valid_page(link);
	return page ? __atomic_load_n(&page->max_gap_ns, __ATOMIC_RELAXED) : 0;
}
