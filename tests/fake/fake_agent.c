/* SPDX-License-Identifier: GPL-2.0-only */
/* The scripted agent (see fake_agent.h). */
#include "fake_agent.h"

#include "common/fd.h"
#include "common/frame.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void fake_agent_send(struct fake_agent *agent, uint16_t type, uint64_t seq, const void *bytes, size_t length)
{
	uint8_t header[FRAME_HEADER_BYTES];
	struct frame_header frame = {.length = (uint32_t)length, .type = type, .seq = seq};
	frame_encode(&frame, header);
	if (send(agent->fd, header, sizeof(header), MSG_NOSIGNAL) < 0)
		return;
	for (size_t at = 0; at < length;) {
		ssize_t n = send(agent->fd, (const char *)bytes + at, length - at, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		at += (size_t)n;
	}
}

static void send_message(
	struct fake_agent *agent, uint16_t type, uint64_t seq, const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = malloc(length + 1);
	protobuf_c_message_pack(message, bytes);
	fake_agent_send(agent, type, seq, bytes, length);
	free(bytes);
}

void fake_agent_answer(struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentResponse *response)
{
	send_message(agent, WIRE_RESPONSE, seq, &response->base);
}

void fake_agent_answer_ops(struct fake_agent *agent, uint64_t seq, const Schedrig__V1__ApplyOps *apply,
	int failing, Schedrig__V1__ErrorCode code, const char *message)
{
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__OpsDone done = SCHEDRIG__V1__OPS_DONE__INIT;
	Schedrig__V1__Error error = SCHEDRIG__V1__ERROR__INIT;
	Schedrig__V1__OpResult *results = calloc(apply->n_ops + 1, sizeof(*results));
	Schedrig__V1__OpResult **list = calloc(apply->n_ops + 1, sizeof(*list));
	error.code = code;
	error.message = (char *)message;
	for (size_t i = 0; i < apply->n_ops; i++) {
		Schedrig__V1__OpResult *r = list[done.n_results++] = &results[i];
		schedrig__v1__op_result__init(r);
		r->place = apply->ops[i]->place;
		if ((int)i != failing)
			continue;
		r->error = &error;
		r->expected_error = apply->ops[i]->op->expect_error == code;
		if (!r->expected_error)
			break;
	}
	done.results = list;
	response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_OPS_DONE;
	response.ops_done = &done;
	fake_agent_answer(agent, seq, &response);
	free(results);
	free(list);
}

static void answer_by_itself(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request)
{
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__Teardown teardown = SCHEDRIG__V1__TEARDOWN__INIT;
	Schedrig__V1__WorkerTotals totals = SCHEDRIG__V1__WORKER_TOTALS__INIT;
	Schedrig__V1__OpsDone done = SCHEDRIG__V1__OPS_DONE__INIT;
	Schedrig__V1__Empty ok = SCHEDRIG__V1__EMPTY__INIT;
	switch (request->kind_case) {
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS:
		fake_agent_answer_ops(agent, seq, request->apply_ops, -1, 0, "");
		return;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS:
		done.passes = 7;
		done.late_passes = 1;
		response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_OPS_DONE;
		response.ops_done = &done;
		break;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO:
		teardown.workers = agent->workers;
		teardown.n_workers = agent->n_workers;
		response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_TEARDOWN;
		response.teardown = &teardown;
		break;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP:
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_END_ADHOC:
		response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_TEARDOWN;
		response.teardown = &teardown;
		break;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS:
		totals.iterations = 1000;
		totals.workers = 4;
		response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_TOTALS;
		response.totals = &totals;
		break;
	default:
		response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_OK;
		response.ok = &ok;
	}
	fake_agent_answer(agent, seq, &response);
}

static void note(struct fake_agent *agent, const Schedrig__V1__AgentRequest *request)
{
	static const char letters[] = {[SCHEDRIG__V1__AGENT_REQUEST__KIND_SCENARIO_BEGIN] = 'B',
		[SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS] = 'A',
		[SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS] = 'L',
		[SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP] = 'S',
		[SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO] = 'E',
		[SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS] = 'W',
		[SCHEDRIG__V1__AGENT_REQUEST__KIND_SET_PHASE] = 'P',
		[SCHEDRIG__V1__AGENT_REQUEST__KIND_CANCEL_OPS] = 'C',
		[SCHEDRIG__V1__AGENT_REQUEST__KIND_END_ADHOC] = 'D'};
	unsigned at = atomic_load(&agent->asked), kind = (unsigned)request->kind_case;
	if (at + 1 < sizeof(agent->log))
		agent->log[at] = kind < sizeof(letters) && letters[kind] ? letters[kind] : '?';
	if (request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS)
		atomic_fetch_add(&agent->ops, (unsigned)request->apply_ops->n_ops);
	atomic_store(&agent->asked, at + 1);
}

static void greet(struct fake_agent *agent)
{
	static char *controllers[] = {(char *)"cpu", (char *)"cpuset", (char *)"pids"};
	Schedrig__V1__AgentHello hello = SCHEDRIG__V1__AGENT_HELLO__INIT;
	Schedrig__V1__Hello inner = SCHEDRIG__V1__HELLO__INIT;
	inner.major = agent->major ? agent->major : WIRE_MAJOR;
	inner.role = (char *)"agent";
	hello.hello = &inner;
	hello.kernel = (char *)"6.18-fake";
	hello.controllers = controllers;
	hello.n_controllers = 3;
	send_message(agent, WIRE_HELLO, 0, &hello.base);
}

static void say_ready(struct fake_agent *agent)
{
	Schedrig__V1__AgentReady ready = SCHEDRIG__V1__AGENT_READY__INIT;
	Schedrig__V1__Error error = SCHEDRIG__V1__ERROR__INIT;
	error.code = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_FAILED_PRECONDITION;
	error.message = (char *)agent->refuses;
	if (agent->refuses)
		ready.error = &error;
	send_message(agent, WIRE_READY, 0, &ready.base);
}

static void *serve(void *arg)
{
	struct fake_agent *agent = arg;
	greet(agent);
	for (;;) {
		uint8_t header[FRAME_HEADER_BYTES];
		if (fd_read_all(agent->fd, header, sizeof(header)) != sizeof(header))
			return NULL;
		struct frame_header frame = frame_decode(header);
		uint8_t *bytes = malloc(frame.length + 1);
		if (fd_read_all(agent->fd, bytes, frame.length) != (ssize_t)frame.length) {
			free(bytes);
			return NULL;
		}
		if (frame.type == WIRE_HELLO)
			say_ready(agent);
		Schedrig__V1__AgentRequest *request =
			frame.type == WIRE_REQUEST
				? pb_unpack(&schedrig__v1__agent_request__descriptor, bytes, frame.length)
				: NULL;
		if (request) {
			note(agent, request);
			if (!agent->request || !agent->request(agent, frame.seq, request, agent->arg))
				answer_by_itself(agent, frame.seq, request);
		}
		pb_free(request);
		free(bytes);
	}
}

int fake_agent_start(struct fake_agent *agent)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	agent->fd = pair[0];
	if (pthread_create(&agent->thread, NULL, serve, agent))
		abort();
	return pair[1];
}

void fake_agent_stop(struct fake_agent *agent)
{
	shutdown(agent->fd, SHUT_RDWR);
	pthread_join(agent->thread, NULL);
	close(agent->fd);
}
