/* SPDX-License-Identifier: GPL-2.0-only */
/* The link against an agent that behaves and several that do not. */
#include "common/clock.h"
#include "common/frame.h"
#include "fake_agent.h"
#include "link_bench.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>

static int call(
	struct link_bench *bench, uint64_t timeout_ns, Schedrig__V1__AgentResponse **ret, struct err *err)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__SampleWorkers sample = SCHEDRIG__V1__SAMPLE_WORKERS__INIT;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS;
	request.sample_workers = &sample;
	*ret = NULL;
	return link_call(bench->link, &request, clock_deadline_ns(timeout_ns), ret, err);
}

static void start(struct link_bench *bench, struct fake_agent *agent)
{
	link_bench_start(bench, 4);
	link_bench_accept(bench, fake_agent_start(agent));
	cr_assert(link_bench_wait(bench, 1, 0));
}

static void stop(struct link_bench *bench, struct fake_agent *agent)
{
	fake_agent_stop(agent);
	link_bench_stop(bench);
}

static void call_works(struct link_bench *bench)
{
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	cr_assert_eq(call(bench, 10 * NS_PER_S, &response, &err), 0, "%s", err.message);
	cr_assert_eq(response->totals->iterations, 1000);
	pb_free(response);
}

Test(link, hello_and_call)
{
	struct link_bench bench;
	struct fake_agent agent = {0};
	start(&bench, &agent);
	cr_assert_eq(bench.ready_err.code, ERR_NONE);
	cr_assert(link_is_ready(bench.link));
	Schedrig__V1__AgentHello *hello = link_agent_hello(bench.link);
	cr_assert_str_eq(hello->kernel, "6.18-fake");
	pb_free(hello);
	call_works(&bench);
	stop(&bench, &agent);
}

Test(link, other_version_is_refused_naming_both)
{
	struct link_bench bench;
	struct fake_agent agent = {.major = 7};
	start(&bench, &agent);
	cr_assert_eq(bench.ready_err.code, ERR_UNSUPPORTED);
	cr_assert(strstr(bench.ready_err.message, "7.0") && strstr(bench.ready_err.message, "1.0"), "%s",
		bench.ready_err.message);
	cr_assert(link_bench_wait(&bench, 1, 1));
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	cr_assert_lt(call(&bench, NS_PER_S, &response, &err), 0);
	cr_assert_eq(err.code, ERR_AGENT_LOST);
	stop(&bench, &agent);
}

Test(link, agent_that_is_not_ready_says_why)
{
	struct link_bench bench;
	struct fake_agent agent = {.refuses = "the topology differs"};
	start(&bench, &agent);
	cr_assert_eq(bench.ready_err.code, ERR_FAILED_PRECONDITION);
	cr_assert_str_eq(bench.ready_err.message, "the topology differs");
	cr_assert_not(link_is_ready(bench.link));
	stop(&bench, &agent);
}

static bool garbage(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	if (agent->asked > 1)
		return false;
	fake_agent_send(agent, WIRE_RESPONSE, seq, "\xff\xff\xff\xff", 4);
	fake_agent_send(agent, 99, 5, "what?", 5);
	fake_agent_send(agent, WIRE_RESPONSE, 12345, "", 0);
	fake_agent_send(agent, WIRE_EVENT, 0, "\xff", 1);
	return true;
}

Test(link, garbage_fails_its_call_only)
{
	struct link_bench bench;
	struct fake_agent agent = {.request = garbage};
	start(&bench, &agent);
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	cr_assert_lt(call(&bench, 10 * NS_PER_S, &response, &err), 0);
	cr_assert_eq(err.code, ERR_INTERNAL, "%s", err.message);
	call_works(&bench);
	stop(&bench, &agent);
}

static bool in_parts(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__Error error = SCHEDRIG__V1__ERROR__INIT;
	size_t big = 600 * 1024;
	char *text = malloc(big + 1);
	memset(text, 'x', big);
	text[big] = '\0';
	error.message = text;
	error.code = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_BUSY;
	response.error = &error;
	size_t length = schedrig__v1__agent_response__get_packed_size(&response), at = 0;
	uint8_t *bytes = malloc(length);
	schedrig__v1__agent_response__pack(&response, bytes);
	for (; length - at > FRAME_MAX_BYTES; at += FRAME_MAX_BYTES)
		fake_agent_send(agent, WIRE_PART, seq, bytes + at, FRAME_MAX_BYTES);
	fake_agent_send(agent, WIRE_RESPONSE, seq, bytes + at, length - at);
	free(bytes);
	free(text);
	return true;
}

Test(link, long_answer_in_parts)
{
	struct link_bench bench;
	struct fake_agent agent = {.request = in_parts};
	start(&bench, &agent);
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	cr_assert_lt(call(&bench, 10 * NS_PER_S, &response, &err), 0);
	cr_assert_eq(err.code, ERR_BUSY);
	cr_assert_eq(strlen(response->error->message), 600 * 1024);
	pb_free(response);
	stop(&bench, &agent);
}

/* Parts without an end, as fast as they can be sent. */
static bool endless(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	static uint8_t bytes[FRAME_MAX_BYTES];
	if (agent->asked > 1)
		return false;
	for (size_t sent = 0; sent <= WIRE_MESSAGE_MAX_BYTES; sent += sizeof(bytes))
		fake_agent_send(agent, WIRE_PART, seq, bytes, sizeof(bytes));
	return true;
}

Test(link, endless_answer_is_bounded)
{
	struct link_bench bench;
	struct fake_agent agent = {.request = endless};
	start(&bench, &agent);
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	cr_assert_lt(call(&bench, 30 * NS_PER_S, &response, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED, "%s", err.message);
	call_works(&bench);
	stop(&bench, &agent);
}

/* Short on the wire and long in memory: results without a field, two bytes each, over as many frames as it
 * takes. */
#define AMPLIFIED_BYTES (24u * 1024 * 1024)
static bool amplified(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	if (agent->asked > 1)
		return false;
	static uint8_t bytes[FRAME_MAX_BYTES];
	for (size_t i = 0; i < sizeof(bytes); i += 2)
		bytes[i] = 1 << 3 | 2; /* OpsDone.results */
	/* AgentResponse.ops_done, field 10, and its length in four bytes. */
	uint32_t inner = AMPLIFIED_BYTES;
	uint8_t head[] = {10 << 3 | 2, (uint8_t)(inner | 0x80), (uint8_t)(inner >> 7 | 0x80),
		(uint8_t)(inner >> 14 | 0x80), (uint8_t)(inner >> 21)};
	fake_agent_send(agent, WIRE_PART, seq, head, sizeof(head));
	for (size_t at = 0; at < AMPLIFIED_BYTES; at += sizeof(bytes))
		fake_agent_send(agent, at + sizeof(bytes) < AMPLIFIED_BYTES ? WIRE_PART : WIRE_RESPONSE, seq,
			bytes, sizeof(bytes));
	return true;
}

Test(link, answer_that_grows_when_unpacked_is_bounded)
{
	struct link_bench bench;
	struct fake_agent agent = {.request = amplified};
	start(&bench, &agent);
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	cr_assert_lt(call(&bench, 120 * NS_PER_S, &response, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED, "%s", err.message);
	cr_assert(strstr(err.message, "256 MiB"), "%s", err.message);
	call_works(&bench);
	stop(&bench, &agent);
}

static bool oversize(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	if (agent->asked > 1)
		return false;
	size_t big = 2 * FRAME_MAX_BYTES;
	uint8_t *bytes = calloc(1, big);
	fake_agent_send(agent, WIRE_RESPONSE, seq, bytes, big);
	free(bytes);
	return true;
}

Test(link, oversize_frame_fails_its_call_only)
{
	struct link_bench bench;
	struct fake_agent agent = {.request = oversize};
	start(&bench, &agent);
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	cr_assert_lt(call(&bench, 10 * NS_PER_S, &response, &err), 0);
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
	call_works(&bench);
	stop(&bench, &agent);
}

/* Answers the first request together with the second, in the wrong order. */
static bool late(struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	uint64_t *first = arg;
	if (agent->asked == 1) {
		*first = seq;
		return true;
	}
	Schedrig__V1__AgentResponse response = SCHEDRIG__V1__AGENT_RESPONSE__INIT;
	Schedrig__V1__Empty ok = SCHEDRIG__V1__EMPTY__INIT;
	response.kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_OK;
	response.ok = &ok;
	fake_agent_answer(agent, *first, &response);
	return false;
}

Test(link, late_answer_is_dropped)
{
	struct link_bench bench;
	uint64_t first;
	struct fake_agent agent = {.request = late, .arg = &first};
	start(&bench, &agent);
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	cr_assert_lt(call(&bench, 50 * NS_PER_MS, &response, &err), 0);
	cr_assert_eq(err.code, ERR_TIMEOUT);
	call_works(&bench);
	stop(&bench, &agent);
}

static bool die(struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	shutdown(agent->fd, SHUT_RDWR);
	return true;
}

Test(link, agent_dies_amid_a_call_and_another_comes)
{
	struct link_bench bench;
	struct fake_agent agent = {.request = die}, second = {0};
	start(&bench, &agent);
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	cr_assert_lt(call(&bench, 10 * NS_PER_S, &response, &err), 0);
	cr_assert_eq(err.code, ERR_AGENT_LOST);
	cr_assert(link_bench_wait(&bench, 1, 1));
	link_bench_accept(&bench, fake_agent_start(&second));
	cr_assert(link_bench_wait(&bench, 2, 1));
	call_works(&bench);
	fake_agent_stop(&second);
	stop(&bench, &agent);
}

static bool silent(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	struct link_bench *bench = arg;
	struct err gone = ERR_INIT;
	err_set(&gone, ERR_GUEST_CRASHED, "the guest panicked");
	link_cancel(bench->link, &gone);
	return true;
}

Test(link, cancel_ends_calls_until_resumed)
{
	struct link_bench bench;
	struct fake_agent agent = {.request = silent, .arg = &bench};
	start(&bench, &agent);
	Schedrig__V1__AgentResponse *response;
	struct err err = ERR_INIT;
	for (int i = 0; i < 2; i++) {
		cr_assert_lt(call(&bench, 10 * NS_PER_S, &response, &err), 0);
		cr_assert_eq(err.code, ERR_GUEST_CRASHED);
		cr_assert_str_eq(err.message, "the guest panicked");
	}
	link_resume(bench.link);
	agent.request = NULL;
	call_works(&bench);
	stop(&bench, &agent);
}

Test(link, errors_there_and_back)
{
	struct err err = ERR_INIT, back = ERR_INIT;
	err_set_os(&err, ERR_GUEST_OS, 13, "cannot write");
	err_reason(&err, "no-permission");
	err_at(&err, "steps[0]");
	Schedrig__V1__Error wire;
	link_error_to_wire(&err, &wire);
	link_error_from_wire(&wire, &back);
	cr_assert_eq(back.code, err.code);
	cr_assert_eq(back.os_errno, 13);
	cr_assert_str_eq(back.message, err.message);
	cr_assert_str_eq(back.place, "steps[0]");
	cr_assert_str_eq(back.reason, "no-permission");
}
