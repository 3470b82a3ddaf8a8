/* SPDX-License-Identifier: GPL-2.0-only */
/* Clients that mean harm, or know nothing: bytes that dribble, frames cut off anywhere, messages that grow
 * when unpacked, crowds, who asks without end and who never reads. Each is bounded and told; the others go
 * on. */
#include "tests/unit/control/fixture.h"

#include "common/clock.h"
#include "common/fd.h"
#include "host/control/internal.h"
#include "proto/wire.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

static struct fixture f;
static uint8_t payload[FRAME_MAX_BYTES];

static unsigned open_fds(void)
{
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/fd");
	cr_assert_not_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Everybody but the asker is gone, and what they held: closing is the loop's, which does it when it gets
 * there. */
static void expect_gone(struct schedrig *asker, unsigned fds)
{
	fixture_wait_clients(&f, asker, 1);
	uint64_t until = clock_deadline_ns(10 * NS_PER_S);
	while (open_fds() != fds) {
		cr_assert_neq(clock_left_ns(until), 0, "%u descriptors instead of %u", open_fds(), fds);
		fixture_wait_clients(&f, asker, 1);
	}
}

/* A client that has asked once, so that everything which is made at the first use is there. */
static struct schedrig *bystander(void)
{
	struct err err = ERR_INIT;
	struct schedrig *client = schedrig_open(f.path, &err);
	cr_assert_not_null(client, "%s", err.message);
	fixture_wait_clients(&f, client, 1);
	return client;
}

/* Header and payload in one piece; returns its length. */
static size_t frame(uint8_t *to, uint16_t type, uint64_t seq, const void *bytes, size_t length)
{
	frame_encode(&(struct frame_header){.length = (uint32_t)length, .type = type, .seq = seq}, to);
	memcpy(to + FRAME_HEADER_BYTES, bytes, length);
	return FRAME_HEADER_BYTES + length;
}

#define INFO "\x52\x00" /* Request{info {}} */

/* Hello and Info as a client sends them. */
static size_t conversation(uint8_t bytes[100])
{
	Schedrig__V1__Hello hello = SCHEDRIG__V1__HELLO__INIT;
	uint8_t packed[32];
	hello.major = WIRE_MAJOR;
	size_t n = frame(bytes, WIRE_HELLO, 0, packed, schedrig__v1__hello__pack(&hello, packed));
	return n + frame(bytes + n, WIRE_REQUEST, 77, INFO, 2);
}

static void expect(int fd, uint16_t type, uint64_t seq)
{
	struct frame_header header;
	cr_assert(raw_read(fd, &header, payload), "the connection ended before frame %llu",
		(unsigned long long)seq);
	cr_assert_eq(header.type, type, "frame %u instead of %u", header.type, type);
	cr_assert_eq(header.seq, seq);
}

Test(hostile, one_byte_at_a_time)
{
	fixture_start(&f, 0, true);
	uint8_t bytes[100];
	size_t length = conversation(bytes);
	int fd = raw_connect(&f);
	for (size_t i = 0; i < length; i++)
		cr_assert_eq(send(fd, bytes + i, 1, MSG_NOSIGNAL), 1);
	expect(fd, WIRE_HELLO, 0);
	expect(fd, WIRE_RESPONSE, 77);
	close(fd);
	fixture_end(&f);
}

Test(hostile, cut_off_anywhere)
{
	fixture_start(&f, 0, true);
	struct schedrig *other = bystander();
	unsigned fds = open_fds();
	uint8_t bytes[100];
	size_t length = conversation(bytes);
	for (size_t n = 0; n <= length; n++) {
		int fd = raw_connect(&f);
		cr_assert_eq(fd_write_all(fd, bytes, n), 0);
		close(fd);
	}
	expect_gone(other, fds);
	schedrig_close(other);
	fixture_end(&f);
}

Test(hostile, lengths_at_their_limits)
{
	fixture_start(&f, 0, true);
	static uint8_t zeros[65536];
	int fd = raw_open(&f);
	/* Of no length: a request without a kind, and errors for all that is none. */
	raw_send(fd, WIRE_REQUEST, 1, "", 0);
	expect(fd, WIRE_RESPONSE, 1);
	for (uint16_t type = 0; type < 9; type++)
		if (type != WIRE_REQUEST) {
			raw_send(fd, type, 100u + type, "", 0);
			expect(fd, WIRE_ERROR, 100u + type);
		}
	/* As long as may be, of nothing but zeros, which is no message; a byte more; as much as is skipped.
	 */
	const size_t lengths[] = {FRAME_MAX_BYTES, FRAME_MAX_BYTES + 1, FRAME_SKIP_BYTES};
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint8_t header[FRAME_HEADER_BYTES];
		frame_encode(
			&(struct frame_header){
				.length = (uint32_t)lengths[i], .type = WIRE_REQUEST, .seq = 200u + i},
			header);
		cr_assert_eq(fd_write_all(fd, header, sizeof(header)), 0);
		for (size_t sent = 0; sent < lengths[i];) {
			size_t n = MIN_OF(sizeof(zeros), lengths[i] - sent);
			cr_assert_eq(fd_write_all(fd, zeros, n), 0);
			sent += n;
		}
		raw_expect_error(fd, 200u + i, i ? ERR_LIMIT_EXCEEDED : ERR_INVALID_ARGUMENT,
			i ? "too long" : "not a message");
	}
	raw_send(fd, WIRE_REQUEST, 2, INFO, 2);
	expect(fd, WIRE_RESPONSE, 2);
	/* Beyond that there is no way back to where a frame begins. */
	uint8_t header[FRAME_HEADER_BYTES];
	frame_encode(&(struct frame_header){.length = FRAME_SKIP_BYTES + 1, .type = WIRE_REQUEST, .seq = 3},
		header);
	cr_assert_eq(fd_write_all(fd, header, sizeof(header)), 0);
	raw_expect_end(fd);
	close(fd);
	fixture_end(&f);
}

/* Request{validate {scenario {steps {} steps {} ...}}}: two bytes each, and a hundred unpacked. */
static size_t swelling_request(uint8_t *to, size_t n_steps)
{
	size_t steps = n_steps * 2, n = 0;
	const size_t lengths[] = {
		steps + 8, steps + 4}; /* 4 bytes of each tag and three-byte varint follow */
	const unsigned fields[] = {
		SCHEDRIG__V1__REQUEST__KIND_VALIDATE,
		schedrig__v1__validate_request__descriptor.fields[0].id,
	};
	for (unsigned i = 0; i < 2; i++) {
		size_t length = lengths[i] - 4;
		to[n++] = (uint8_t)(fields[i] << 3 | 2);
		to[n++] = (uint8_t)(0x80 | (length & 0x7f));
		to[n++] = (uint8_t)(0x80 | (length >> 7 & 0x7f));
		to[n++] = (uint8_t)(length >> 14 & 0x7f);
	}
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(&schedrig__v1__scenario__descriptor, "steps");
	for (size_t i = 0; i < n_steps; i++) {
		to[n++] = (uint8_t)(field->id << 3 | 2);
		to[n++] = 0;
	}
	return n;
}

Test(hostile, what_grows_when_unpacked_is_refused)
{
	fixture_start(&f, 0, true);
	static uint8_t bytes[FRAME_MAX_BYTES];
	int fd = raw_open(&f);
	/* The message is built as meant: a small one is taken. */
	raw_send(fd, WIRE_REQUEST, 1, bytes, swelling_request(bytes, 100));
	expect(fd, WIRE_RESPONSE, 1);
	size_t length = swelling_request(bytes, 130000);
	cr_assert_leq(length, sizeof(bytes));
	raw_send(fd, WIRE_REQUEST, 2, bytes, length);
	raw_expect_error(fd, 2, ERR_INVALID_ARGUMENT, "request 2");
	raw_send(fd, WIRE_REQUEST, 3, INFO, 2);
	expect(fd, WIRE_RESPONSE, 3);
	close(fd);
	fixture_end(&f);
}

Test(hostile, thousands_come_and_go)
{
	fixture_start(&f, 0, true);
	struct schedrig *other = bystander();
	unsigned fds = open_fds();
	uint8_t bytes[100];
	size_t length = conversation(bytes);
	for (unsigned i = 0; i < 3000; i++) {
		int fd = raw_connect(&f);
		/* Some are refused, as many are there at once: they need not hear of it. */
		(void)!send(fd, bytes, i % 3 ? length : 0, MSG_NOSIGNAL);
		close(fd);
	}
	expect_gone(other, fds);
	schedrig_close(other);
	fixture_end(&f);
}

Test(hostile, hundreds_of_requests_before_the_first_answer_is_read)
{
	fixture_start(&f, 0, true);
	enum { N = 1000 };
	static uint8_t bytes[N * (FRAME_HEADER_BYTES + 2)];
	size_t length = 0;
	int fd = raw_open(&f);
	for (unsigned i = 0; i < N; i++)
		length += frame(bytes + length, WIRE_REQUEST, i + 1, INFO, 2);
	cr_assert_eq(fd_write_all(fd, bytes, length), 0);
	for (unsigned i = 0; i < N; i++)
		expect(fd, WIRE_RESPONSE, i + 1);
	close(fd);
	fixture_end(&f);
}

static size_t apply_request(uint8_t *to, const char *name)
{
	return schedrig__v1__request__pack(add_cgroup_request(name), to);
}

Test(hostile, requests_that_wait_are_bounded_in_bytes)
{
	fixture_start(&f, 0, true);
	enum { NAME = 250000, MANY = 40 };
	static char name[NAME + 1];
	static uint8_t bytes[FRAME_HEADER_BYTES + FRAME_MAX_BYTES];
	memset(name, 'n', NAME);
	int fd = raw_open(&f);
	/* Everything that follows waits for the first one. */
	raw_send(fd, WIRE_REQUEST, 1, payload, apply_request(payload, "slow"));
	cr_assert(fake_engine_wait_busy(f.engine));
	size_t length = apply_request(payload, name), sent = 0, at = 0;
	unsigned n = 0;
	struct pollfd poll_out = {.fd = fd, .events = POLLOUT};
	/* Too short a patience would only mean that less is tried. */
	while (n < MANY && poll(&poll_out, 1, 500) == 1) {
		size_t whole = frame(bytes, WIRE_REQUEST, 2 + n, payload, length);
		ssize_t more = send(fd, bytes + at, whole - at, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (more < 0 && errno == EAGAIN)
			continue;
		cr_assert_gt(more, 0);
		sent += (size_t)more;
		at += (size_t)more;
		if (at == whole) {
			at = 0;
			n++;
		}
	}
	/* What requests may hold, one beyond; what is read ahead; the kernel's buffers, generously. */
	cr_assert_lt(sent, SESSION_REQUEST_BYTES + 3 * FRAME_MAX_BYTES + 4 * 1024 * 1024, "%zu bytes", sent);
	/* Nothing of it is lost. */
	fake_engine_release(f.engine);
	if (at) {
		size_t whole = frame(bytes, WIRE_REQUEST, 2 + n++, payload, length);
		cr_assert_eq(fd_write_all(fd, bytes + at, whole - at), 0);
	}
	for (unsigned i = 0; i < n + 1; i++)
		expect(fd, WIRE_RESPONSE, i + 1);
	close(fd);
	fixture_end(&f);
}

static void run_scenario(const char *name)
{
	struct err err = ERR_INIT;
	struct schedrig *client = schedrig_open(f.path, &err);
	Schedrig__V1__RunResult *result = NULL;
	cr_assert_not_null(client, "%s", err.message);
	cr_assert_eq(
		schedrig_submit(client, named_scenario(name), NULL, &result, &err), 0, "%s", err.message);
	schedrig_free_message(result);
	schedrig_close(client);
}

static void check_queues(struct control *control)
{
	struct session *session;
	DL_FOREACH (control->sessions, session)
		cr_assert_leq(conn_queued_bytes(session->conn), SESSION_QUEUE_BYTES);
}

Test(hostile, who_never_reads_his_events_costs_a_queue)
{
	fixture_start(&f, 0, true);
	int fd = raw_open(&f);
	/* Every stream that one client may have, and one more. */
	for (unsigned i = 0; i < SESSION_STREAMS_MAX + 1; i++) {
		Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
		Schedrig__V1__EventsRequest events = SCHEDRIG__V1__EVENTS_REQUEST__INIT;
		request.kind_case = SCHEDRIG__V1__REQUEST__KIND_EVENTS;
		request.events = &events;
		raw_send_message(fd, WIRE_REQUEST, i + 1, &request.base);
	}
	expect(fd, WIRE_RESPONSE, SESSION_STREAMS_MAX + 1);
	run_scenario("events 20000");
	fixture_on_loop(&f, check_queues);
	run_scenario("events 20000");
	fixture_on_loop(&f, check_queues);
	close(fd);
	fixture_end(&f);
}

Test(hostile, gone_amid_every_request)
{
	fixture_start(&f, 0, true);
	struct schedrig *other = bystander();
	unsigned fds = open_fds();
	const ProtobufCMessageDescriptor *type = &schedrig__v1__request__descriptor;
	uint8_t packed[16];
	unsigned kinds = 0;
	for (unsigned i = 0; i < type->n_fields; i++) {
		unsigned id = type->fields[i].id, n = 0;
		if (!(type->fields[i].flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
			id == SCHEDRIG__V1__REQUEST__KIND_SHUTDOWN)
			continue;
		packed[n++] = (uint8_t)(0x80 | ((id << 3 | 2) & 0x7f));
		packed[n++] = (uint8_t)((id << 3 | 2) >> 7);
		packed[n++] = 0;
		/* Before it is begun, amid it, before its answer is read, twice over. */
		for (unsigned way = 0; way < 4; way++) {
			int fd = way ? raw_open(&f) : raw_connect(&f);
			if (!way)
				cr_assert_eq(send(fd, packed, 1, MSG_NOSIGNAL), 1);
			for (unsigned k = 0; k < way; k++)
				raw_send(fd, WIRE_REQUEST, k + 1, packed, n);
			close(fd);
		}
		kinds++;
	}
	cr_assert_gt(kinds, 10);
	/* Those that are in work for long: a scenario, ops, a stream. */
	int fd = raw_open(&f);
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__SubmitRequest submit = SCHEDRIG__V1__SUBMIT_REQUEST__INIT;
	submit.scenario = named_scenario("block");
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_SUBMIT;
	request.submit = &submit;
	raw_send_message(fd, WIRE_REQUEST, 1, &request.base);
	raw_send(fd, WIRE_REQUEST, 2, payload, apply_request(payload, "slow"));
	cr_assert(fake_engine_wait_busy(f.engine));
	close(fd);
	fixture_wait_clients(&f, other, 1);
	fake_engine_release(f.engine);
	cr_assert(fake_engine_wait_idle(f.engine));
	expect_gone(other, fds);
	schedrig_close(other);
	fixture_end(&f);
}
