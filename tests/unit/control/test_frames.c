/* SPDX-License-Identifier: GPL-2.0-only */
/* Clients that do not keep to the protocol: each is told, and nobody else notices. */
#include "tests/unit/control/fixture.h"

#include "common/fd.h"
#include "proto/wire.h"

#include <string.h>
#include <sys/socket.h>

static struct fixture f;

static void check_alive(void)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Info *info = NULL;
	struct schedrig *client = schedrig_open(f.path, &err);
	cr_assert_not_null(client, "%s", err.message);
	cr_assert_eq(schedrig_info(client, &info, &err), 0);
	cr_assert_str_eq(info->state, "ready");
	cr_assert_str_eq(info->build, "test");
	schedrig_free_message(info);
	schedrig_close(client);
}

Test(frames, another_major_version_is_refused_with_both_named)
{
	fixture_start(&f, 0, true);
	int fd = raw_connect(&f);
	Schedrig__V1__Hello hello = SCHEDRIG__V1__HELLO__INIT;
	hello.major = 7;
	hello.minor = 3;
	raw_send_message(fd, WIRE_HELLO, 5, &hello.base);
	raw_expect_error(fd, 5, ERR_UNSUPPORTED, "protocol 7.3 and this controller 1.0");
	raw_expect_end(fd);
	close(fd);
	check_alive();
	fixture_end(&f);
}

Test(frames, a_request_before_hello_is_refused)
{
	fixture_start(&f, 0, true);
	int fd = raw_connect(&f);
	raw_send(fd, WIRE_REQUEST, 1, "", 0);
	raw_expect_error(fd, 1, ERR_FAILED_PRECONDITION, "Hello");
	raw_expect_end(fd);
	close(fd);
	fixture_end(&f);
}

Test(frames, garbage_instead_of_hello_is_refused)
{
	fixture_start(&f, 0, true);
	int fd = raw_connect(&f);
	raw_send(fd, WIRE_HELLO, 0, "\xff\xff\xff\xff", 4);
	raw_expect_error(fd, 0, ERR_INVALID_ARGUMENT, "Hello");
	raw_expect_end(fd);
	close(fd);
	fd = raw_connect(&f);
	/* Text: its first four bytes as a length are far beyond what is skipped. */
	cr_assert_eq(fd_write_all(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 28), 0);
	raw_expect_end(fd);
	close(fd);
	check_alive();
	fixture_end(&f);
}

Test(frames, garbage_later_costs_one_error_each_and_the_connection_stays)
{
	fixture_start(&f, 0, true);
	static uint8_t payload[FRAME_MAX_BYTES];
	struct frame_header header;
	int fd = raw_open(&f);
	raw_send(fd, WIRE_REQUEST, 9, "\xff\xff\xff\xff", 4);
	raw_expect_error(fd, 9, ERR_INVALID_ARGUMENT, "request 9");
	raw_send(fd, 4711, 10, "x", 1);
	raw_expect_error(fd, 10, ERR_UNSUPPORTED, "type 4711");
	raw_send(fd, WIRE_PART, 11, "x", 1);
	raw_expect_error(fd, 11, ERR_UNSUPPORTED, "type 6");
	Schedrig__V1__Hello hello = SCHEDRIG__V1__HELLO__INIT;
	hello.major = WIRE_MAJOR;
	raw_send_message(fd, WIRE_HELLO, 12, &hello.base);
	raw_expect_error(fd, 12, ERR_INVALID_ARGUMENT, "already");
	raw_send(fd, WIRE_REQUEST, 0, "\x52\x00", 2); /* info {} */
	raw_expect_error(fd, 0, ERR_INVALID_ARGUMENT, "id");
	raw_send(fd, WIRE_REQUEST, 13, "\x52\x00", 2);
	cr_assert(raw_read(fd, &header, payload));
	cr_assert_eq(header.type, WIRE_RESPONSE);
	cr_assert_eq(header.seq, 13);
	close(fd);
	fixture_end(&f);
}

Test(frames, a_request_of_no_known_kind_is_unsupported)
{
	fixture_start(&f, 0, true);
	struct err err = ERR_INIT;
	static uint8_t payload[FRAME_MAX_BYTES];
	struct frame_header header;
	int fd = raw_open(&f);
	raw_send(fd, WIRE_REQUEST, 1, "\xfa\x3e\x00", 3); /* field 1007 */
	cr_assert(raw_read(fd, &header, payload));
	cr_assert_eq(header.type, WIRE_RESPONSE);
	Schedrig__V1__Response *response = schedrig__v1__response__unpack(NULL, header.length, payload);
	cr_assert_eq(response->error->code, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_UNSUPPORTED);
	schedrig__v1__response__free_unpacked(response, NULL);
	close(fd);
	(void)err;
	fixture_end(&f);
}

Test(frames, oversize_is_an_error_and_the_connection_stays)
{
	fixture_start(&f, 0, true);
	static uint8_t payload[FRAME_MAX_BYTES + 1];
	struct frame_header header;
	int fd = raw_open(&f);
	raw_send(fd, WIRE_REQUEST, 21, payload, sizeof(payload));
	raw_expect_error(fd, 21, ERR_LIMIT_EXCEEDED, "262145 bytes");
	raw_send(fd, WIRE_REQUEST, 22, "\x52\x00", 2);
	cr_assert(raw_read(fd, &header, payload));
	cr_assert_eq(header.type, WIRE_RESPONSE);
	close(fd);
	fixture_end(&f);
}

Test(frames, an_id_in_use_is_refused)
{
	fixture_start(&f, 0, true);
	int fd = raw_open(&f);
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__SubmitRequest submit = SCHEDRIG__V1__SUBMIT_REQUEST__INIT;
	submit.scenario = named_scenario("block");
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_SUBMIT;
	request.submit = &submit;
	raw_send_message(fd, WIRE_REQUEST, 3, &request.base);
	raw_send_message(fd, WIRE_REQUEST, 3, &request.base);
	static uint8_t payload[FRAME_MAX_BYTES];
	struct frame_header header = {0};
	while (header.type != WIRE_ERROR)
		cr_assert(raw_read(fd, &header, payload));
	cr_assert_eq(header.seq, 3);
	close(fd);
	fixture_end(&f);
}

Test(frames, who_floods_with_garbage_and_does_not_read_is_dropped)
{
	fixture_start(&f, 0, true);
	int fd = raw_open(&f);
	uint8_t bytes[FRAME_HEADER_BYTES];
	frame_encode(&(struct frame_header){.type = 4711, .seq = 1}, bytes);
	uint64_t sent = 0;
	while (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) > 0)
		cr_assert_lt(++sent, 10000000);
	close(fd);
	check_alive();
	fixture_end(&f);
}

Test(frames, too_many_clients)
{
	fixture_start(&f, 0, true);
	static int fds[CONTROL_CLIENTS_MAX];
	for (unsigned i = 0; i < CONTROL_CLIENTS_MAX; i++)
		fds[i] = raw_open(&f);
	int one_more = raw_connect(&f);
	raw_expect_error(one_more, 0, ERR_LIMIT_EXCEEDED, "64 clients");
	raw_expect_end(one_more);
	close(one_more);
	for (unsigned i = 1; i < CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	check_alive();
	close(fds[0]);
	fixture_end(&f);
}

Test(frames, bytes_in_any_order_do_no_harm)
{
	fixture_start(&f, 0, true);
	unsigned state = 12345;
	for (unsigned round = 0; round < 300; round++) {
		int fd = round % 2 ? raw_open(&f) : raw_connect(&f);
		uint8_t bytes[200];
		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)rand_r(&state);
		frame_encode(&(struct frame_header){.length = (uint32_t)rand_r(&state) % 190,
				     .type = (uint16_t)(rand_r(&state) % 9),
				     .seq = round},
			bytes);
		(void)!send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL);
		close(fd);
	}
	check_alive();
	fixture_end(&f);
}
