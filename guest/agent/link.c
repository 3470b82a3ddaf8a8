/* SPDX-License-Identifier: GPL-2.0-only */
/* The connection to the controller: making it, frames in and out, losing it. Loop thread but for link_send().
 */
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/scope.h"
#include "guest/agent/state.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

/* What may wait to be sent: the largest answer and then some. */
#define QUEUE_BYTES (WIRE_MESSAGE_MAX_BYTES + (4u << 20))
/* Events are dropped (and counted) when this much waits already: answers matter more. */
#define EVENT_QUEUE_BYTES (8u << 20)
#define RETRY_NS (UINT64_C(100) * 1000000)

/* --- out --- */

struct outgoing {
	struct agent *agent;
	uint64_t link, seq;
	uint16_t type;
	size_t length;
	uint8_t bytes[];
};

static void drop(struct agent *agent, const char *why);

/* Every request gets an answer, and this one needs no memory but the connection's own. */
static void refuse_now(struct agent *agent, uint64_t link, uint64_t seq)
{
	struct frame_header header = {
		.length = (uint32_t)agent->no_memory_bytes, .type = WIRE_RESPONSE, .seq = seq};
	/* Who lost an answer finds out with the connection; it is made anew. */
	if (agent->conn && agent->link == link &&
		conn_send(agent->conn, &header, agent->no_memory) == -ENOMEM)
		drop(agent, "there is no memory for an answer");
}

/* -ENOMEM: a greeting or its end was not sent. Requests have been refused instead. */
static int send_out(struct outgoing *out)
{
	struct agent *agent = out->agent;
	bool greeting = out->type == WIRE_HELLO || out->type == WIRE_READY;
	int r = 0;
	if (agent->conn && agent->link == out->link) {
		size_t at = 0;
		for (; r == 0 && out->length - at > FRAME_MAX_BYTES; at += FRAME_MAX_BYTES) {
			struct frame_header part = {
				.length = FRAME_MAX_BYTES, .type = WIRE_PART, .seq = out->seq};
			r = conn_send(agent->conn, &part, out->bytes + at);
		}
		struct frame_header last = {
			.length = (uint32_t)(out->length - at), .type = out->type, .seq = out->seq};
		if (r == 0)
			r = conn_send(agent->conn, &last, out->bytes + at);
		if (r == -ENOBUFS)
			log_warn("an answer was dropped: the controller does not read");
		else if (r == -ENOMEM && (out->type == WIRE_RESPONSE || out->type == WIRE_ERROR))
			refuse_now(agent, out->link, out->seq);
	}
	free(out);
	return greeting && r == -ENOMEM ? r : 0;
}

static void send_now(void *arg)
{
	(void)send_out(arg);
}

static struct outgoing *pack(
	struct agent *agent, uint64_t link, uint16_t type, uint64_t seq, const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	if (length > WIRE_MESSAGE_MAX_BYTES)
		return NULL;
	struct outgoing *out = malloc(sizeof(*out) + length);
	if (!out)
		return NULL;
	*out = (struct outgoing){.agent = agent, .link = link, .type = type, .seq = seq, .length = length};
	protobuf_c_message_pack(message, out->bytes);
	return out;
}

/* 0, or -ENOMEM. */
static int queue(
	struct agent *agent, uint64_t link, uint16_t type, uint64_t seq, const ProtobufCMessage *message)
{
	struct outgoing *out = pack(agent, link, type, seq, message);
	if (!out && type == WIRE_RESPONSE) {
		char text[] = "the answer is too large, or there is no memory for it";
		PB(Error) error = SCHEDRIG__V1__ERROR__INIT;
		PB(AgentResponse) response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
		error.code = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_LIMIT_EXCEEDED;
		error.message = text;
		response.error = &error;
		out = pack(agent, link, type, seq, &response.base);
	}
	if (!out)
		return -ENOMEM;
	if (loop_is_current(agent->loop)) {
		return send_out(out);
	} else if (loop_post(agent->loop, agent, send_now, out) < 0) {
		free(out);
		return -ENOMEM;
	}
	return 0;
}

int link_send(
	struct agent *agent, uint64_t link, uint16_t type, uint64_t seq, const ProtobufCMessage *message)
{
	int r = queue(agent, link, type, seq, message);
	if (r < 0 && type == WIRE_ERROR)
		refuse_now(agent, link, seq); /* errors are the loop thread's */
	return r;
}

void link_answer(struct agent *agent, struct job *job, const PB(AgentResponse) * response)
{
	job->answered = queue(agent, job->link, WIRE_RESPONSE, job->seq, &response->base) == 0;
}

void link_refuse(struct agent *agent, struct job *job)
{
	uint64_t one = 1;
	pthread_mutex_lock(&agent->unanswered_lock);
	job->next = agent->unanswered;
	agent->unanswered = job;
	pthread_mutex_unlock(&agent->unanswered_lock);
	(void)!write(agent->unanswered_fd, &one, sizeof(one));
}

static struct job *take_unanswered(struct agent *agent)
{
	SCOPE_LOCK(&agent->unanswered_lock);
	return TAKE_PTR(agent->unanswered);
}

static void on_unanswered(evutil_socket_t fd, short what, void *arg)
{
	struct agent *agent = arg;
	uint64_t count;
	(void)!read(fd, &count, sizeof(count));
	for (struct job *job = take_unanswered(agent), *next; job; job = next) {
		next = job->next;
		refuse_now(agent, job->link, job->seq);
		job_free(job);
	}
}

void link_event(struct agent *agent, const PB(AgentEvent) * event)
{
	if (!agent->conn || !agent->greeted)
		return;
	if (conn_queued_bytes(agent->conn) > EVENT_QUEUE_BYTES) {
		agent->events_lost++;
		return;
	}
	link_send(agent, agent->link, WIRE_EVENT, 0, &event->base);
}

void link_warn(struct agent *agent, const char *text)
{
	PB(LogLine) line = SCHEDRIG__V1__LOG_LINE__INIT;
	PB(AgentEvent) event = SCHEDRIG__V1__AGENT_EVENT__INIT;
	line.text = (char *)text;
	line.level = 4;
	line.time_ns = clock_now_ns();
	event.kind_case = SCHEDRIG__V1__AGENT_EVENT__KIND_WARNING;
	event.warning = &line;
	link_event(agent, &event);
}

static void send_error(struct agent *agent, uint64_t seq, PB(ErrorCode) code, const char *text)
{
	PB(Error) error = SCHEDRIG__V1__ERROR__INIT;
	error.code = code;
	error.message = (char *)text;
	link_send(agent, agent->link, WIRE_ERROR, seq, &error.base);
}

/* --- in --- */

static unsigned lane_of(const PB(AgentRequest) * request)
{
	switch (request->kind_case) {
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS:
		return request->apply_ops->scope == SCHEDRIG__V1__SCOPE__SCOPE_ADHOC ? LANE_ADHOC
										     : LANE_SCENARIO;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS:
		return request->loop_ops->scope == SCHEDRIG__V1__SCOPE__SCOPE_ADHOC ? LANE_ADHOC
										    : LANE_SCENARIO;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_END_ADHOC:
		return LANE_ADHOC;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_SCENARIO_BEGIN:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO:
		return LANE_SCENARIO;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_SET_KNOBS:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_FETCH_OUTPUT:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_RELEASE_OUTPUT:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_PUSH_FILE:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_PULL_FILE:
		return LANE_SIDE;
	default:
		return LANE_QUICK;
	}
}

static void cancel_ops(struct agent *agent, const PB(CancelOps) * cancel)
{
	lane_cancel(&agent->lanes[LANE_SCENARIO], cancel->request_seq);
	lane_cancel(&agent->lanes[LANE_ADHOC], cancel->request_seq);
}

static void take_request(struct agent *agent, uint64_t seq, const uint8_t *bytes, size_t length)
{
	struct job *job = calloc(1, sizeof(*job));
	if (!job) {
		refuse_now(agent, agent->link, seq);
		return;
	}
	PB(AgentRequest) *request = pb_unpack(&schedrig__v1__agent_request__descriptor, bytes, length);
	if (!request) {
		free(job);
		send_error(agent, seq, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_INVALID_ARGUMENT,
			"the request cannot be understood");
		return;
	}
	job->request = request;
	job->seq = seq;
	job->link = agent->link;
	if (request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_CANCEL_OPS)
		cancel_ops(agent, request->cancel_ops);
	lane_push(&agent->lanes[lane_of(request)], job);
}

static void parts_clear(struct agent *agent)
{
	free(agent->parts.bytes);
	agent->parts.bytes = NULL;
	agent->parts.length = 0;
}

static bool parts_add(struct agent *agent, uint64_t seq, const uint8_t *bytes, size_t length)
{
	if (agent->parts.bytes && agent->parts.seq != seq)
		parts_clear(agent);
	uint8_t *all = range_fits(agent->parts.length, length, WIRE_MESSAGE_MAX_BYTES)
			       ? realloc(agent->parts.bytes, agent->parts.length + length + 1)
			       : NULL;
	if (!all) {
		parts_clear(agent);
		return false;
	}
	if (length)
		memcpy(all + agent->parts.length, bytes, length);
	agent->parts.bytes = all;
	agent->parts.length += length;
	agent->parts.seq = seq;
	return true;
}

static void on_hello(struct agent *agent, const uint8_t *payload, size_t length)
{
	PB(ControllerHello) *hello = pb_unpack(&schedrig__v1__controller_hello__descriptor, payload, length);
	int r = hello ? hello_answer(agent, hello) : -EPROTO;
	pb_free(hello);
	if (r < 0) {
		drop(agent, r == -ENOMEM ? "there is no memory for the answer to the controller's hello"
					 : "the controller's hello cannot be understood");
		return;
	}
	agent->greeted = agent->ever_greeted = true;
	kmsg_start(agent);
}

static void on_frame(struct conn *conn, const struct frame_header *header, const uint8_t *payload, void *arg)
{
	struct agent *agent = arg;
	if (header->type == WIRE_HELLO && !agent->greeted) {
		on_hello(agent, payload, header->length);
		return;
	}
	if (!agent->greeted || header->type == WIRE_HELLO) {
		send_error(agent, header->seq, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_FAILED_PRECONDITION,
			"one hello comes first");
		return;
	}
	switch (header->type) {
	case WIRE_PART:
		if (!parts_add(agent, header->seq, payload, header->length))
			send_error(agent, header->seq, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_LIMIT_EXCEEDED,
				"the request is too large");
		return;
	case WIRE_REQUEST:
		if (agent->parts.bytes && agent->parts.seq == header->seq) {
			if (parts_add(agent, header->seq, payload, header->length))
				take_request(agent, header->seq, agent->parts.bytes, agent->parts.length);
			else
				send_error(agent, header->seq,
					SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_LIMIT_EXCEEDED,
					"the request is too large");
			parts_clear(agent);
		} else {
			take_request(agent, header->seq, payload, header->length);
		}
		return;
	case WIRE_ERROR:
		return; /* answered with nothing, or two peers would never stop */
	default:
		send_error(agent, header->seq, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_UNSUPPORTED,
			"the agent does not know this kind of frame");
	}
}

static void on_oversize(struct conn *conn, const struct frame_header *header, void *arg)
{
	send_error(arg, header->seq, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_LIMIT_EXCEEDED,
		"the frame is too large: longer messages come in parts");
}

/* --- making and losing it --- */

static void retry_later(struct agent *agent)
{
	struct timeval soon = clock_timeval(RETRY_NS);
	event_add(agent->retry_event, &soon);
}

static void abandon_all(struct agent *agent)
{
	for (unsigned i = 0; i < LANES; i++) {
		lane_cancel(&agent->lanes[i], 0);
		struct job *job = calloc(1, sizeof(*job));
		if (!job)
			continue;
		job->link = agent->link;
		agent->teardowns++;
		lane_push(&agent->lanes[i], job);
	}
}

static void on_closed(struct conn *conn, const struct err *err, void *arg)
{
	struct agent *agent = arg;
	if (err->code)
		log_warn("the link to the controller is lost: %s", err->message);
	agent->conn = NULL;
	conn_free(conn);
	kmsg_stop(agent);
	parts_clear(agent);
	agent->greeted = false;
	abandon_all(agent);
	if (agent->config.fd < 0)
		retry_later(agent);
}

static void drop(struct agent *agent, const char *why)
{
	struct err err = ERR_INIT;
	err_set(&err, ERR_INTERNAL, "%s", why);
	on_closed(agent->conn, &err, agent);
}

static void connected(struct agent *agent, int fd)
{
	static const struct conn_ops ops = {.frame = on_frame, .oversize = on_oversize, .closed = on_closed};
	struct err err = ERR_INIT;
	agent->link++;
	agent->conn = conn_new(agent->loop, fd, QUEUE_BYTES, &ops, agent, &err);
	if (!agent->conn) {
		log_warn("%s", err.message);
		retry_later(agent);
		return;
	}
	if (hello_send(agent, &err) == 0)
		return;
	/* Nobody is told anything over a link without a greeting. */
	if (agent->ever_greeted) {
		drop(agent, err.message);
		return;
	}
	agent->err = err;
	agent->result = err_errno(err.code);
	loop_stop(agent->loop);
}

static void connect_failed(struct agent *agent, int errnum)
{
	fd_close(&agent->connecting_fd);
	if (!agent->ever_greeted && errnum == EAFNOSUPPORT) {
		agent->result = err_set(&agent->err, ERR_UNSUPPORTED,
			"cannot reach the controller: this kernel has no virtio-vsock "
			"(vmw_vsock_virtio_transport is neither built in nor among the modules that were "
			"shipped)");
		loop_stop(agent->loop);
		return;
	}
	/* Before the first hello there is a limit; afterwards the agent stays whatever happens. */
	if (!agent->ever_greeted && !clock_left_ns(agent->connect_until_ns)) {
		agent->result = err_set_os(&agent->err, ERR_GUEST_OS, errnum,
			"cannot connect to the controller (vsock, CID 2, port %u)", WIRE_AGENT_PORT);
		loop_stop(agent->loop);
		return;
	}
	retry_later(agent);
}

static void on_connect(evutil_socket_t fd, short what, void *arg)
{
	struct agent *agent = arg;
	int errnum = 0;
	socklen_t size = sizeof(errnum);
	event_free(agent->connect_event);
	agent->connect_event = NULL;
	if (what & EV_TIMEOUT)
		errnum = ETIMEDOUT;
	else
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &size);
	if (errnum)
		connect_failed(agent, errnum);
	else
		connected(agent, take_fd(&agent->connecting_fd));
}

static void try_connect(struct agent *agent)
{
	struct sockaddr_vm host = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = WIRE_AGENT_PORT};
	struct timeval limit = clock_timeval(2 * NS_PER_S);
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	agent->connecting_fd = fd;
	/* ENODEV while the device has not come up yet. */
	if (fd < 0 || (connect(fd, (struct sockaddr *)&host, sizeof(host)) < 0 && errno != EINPROGRESS)) {
		connect_failed(agent, errno);
		return;
	}
	agent->connect_event = event_new(loop_base(agent->loop), fd, EV_WRITE, on_connect, agent);
	if (!agent->connect_event || event_add(agent->connect_event, &limit) < 0)
		connect_failed(agent, ENOMEM);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	try_connect(arg);
}

static bool pack_no_memory(struct agent *agent)
{
	char text[] = "the agent has no memory for this";
	PB(Error) error = SCHEDRIG__V1__ERROR__INIT;
	PB(AgentResponse) response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	error.code = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_GUEST_OS;
	error.os_errno = ENOMEM;
	error.message = text;
	response.error = &error;
	agent->no_memory_bytes = protobuf_c_message_get_packed_size(&response.base);
	assert(agent->no_memory_bytes <= sizeof(agent->no_memory));
	protobuf_c_message_pack(&response.base, agent->no_memory);
	agent->unanswered_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	agent->unanswered_event = event_new(
		loop_base(agent->loop), agent->unanswered_fd, EV_READ | EV_PERSIST, on_unanswered, agent);
	return agent->unanswered_fd >= 0 && agent->unanswered_event &&
	       event_add(agent->unanswered_event, NULL) == 0;
}

int link_start(struct agent *agent, struct err *err)
{
	agent->connecting_fd = -1;
	agent->retry_event = evtimer_new(loop_base(agent->loop), on_retry, agent);
	if (!agent->retry_event || !pack_no_memory(agent))
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot set up the link");
	agent->connect_until_ns = clock_deadline_ns(agent->config.connect_ns);
	if (agent->config.fd >= 0)
		connected(agent, agent->config.fd);
	else
		try_connect(agent);
	return 0;
}

void link_stop(struct agent *agent)
{
	conn_free(agent->conn);
	agent->conn = NULL;
	if (agent->connect_event)
		event_free(agent->connect_event);
	if (agent->retry_event)
		event_free(agent->retry_event);
	if (agent->unanswered_event)
		event_free(agent->unanswered_event);
	for (struct job *job = take_unanswered(agent), *next; job; job = next) {
		next = job->next;
		job_free(job);
	}
	fd_close(&agent->unanswered_fd);
	fd_close(&agent->connecting_fd);
	parts_clear(agent);
}
