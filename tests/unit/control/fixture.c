/* SPDX-License-Identifier: GPL-2.0-only */
/* Fixture of the control's tests (see fixture.h). */
#include "tests/unit/control/fixture.h"

#include "common/clock.h"
#include "common/fd.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static void on_engine_event(const Schedrig__V1__Event *event, void *arg)
{
	struct fixture *f = arg;
	control_event(f->control, event);
}

static void on_info(struct arena *arena, Schedrig__V1__Info *ret, void *arg)
{
	static char state[] = "ready";
	ret->state = state;
}

static void on_shutdown(void *arg)
{
	struct fixture *f = arg;
	f->shutdowns++;
	loop_stop(f->loop);
}

static void *run_loop(void *arg)
{
	loop_run(((struct fixture *)arg)->loop);
	return NULL;
}

void fixture_start(struct fixture *f, unsigned ring_events, bool ready)
{
	struct err err = ERR_INIT;
	*f = (struct fixture){0};
	strcpy(f->directory, "/tmp/schedrig-test.XXXXXX");
	cr_assert_not_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/vm.sock", f->directory);
	f->loop = loop_new(&err);
	f->engine = engine_new(&(struct engine_config){.event = on_engine_event, .arg = f}, &err);
	f->control = control_new(&(struct control_config){.loop = f->loop,
					 .path = f->path,
					 .engine = f->engine,
					 .build = "test",
					 .info = on_info,
					 .shutdown = on_shutdown,
					 .arg = f,
					 .ring_events = ring_events},
		&err);
	cr_assert_not_null(f->control, "%s", err.message);
	if (ready)
		control_set_ready(f->control);
	cr_assert_eq(pthread_create(&f->thread, NULL, run_loop, f), 0);
}

struct on_loop {
	struct control *control;
	void (*fn)(struct control *control);
};
static void run_on_loop(void *arg)
{
	struct on_loop *o = arg;
	o->fn(o->control);
}
void fixture_on_loop(struct fixture *f, void (*fn)(struct control *control))
{
	cr_assert_eq(loop_call(f->loop, run_on_loop, &(struct on_loop){f->control, fn}), 0);
}

static void on_idle(void *arg)
{
	loop_stop(arg);
}
static void stop(void *arg)
{
	struct fixture *f = arg;
	control_stop(f->control, "the test is over", on_idle, f->loop);
}

void fixture_end(struct fixture *f)
{
	cr_assert_eq(loop_call(f->loop, stop, f), 0);
	fake_engine_release(f->engine); /* what the stop does not cancel */
	pthread_join(f->thread, NULL);
	control_free(f->control);
	engine_free(f->engine);
	loop_free(f->loop);
	cr_assert_eq(rmdir(f->directory), 0, "%s: %s", f->directory, strerror(errno));
}

void fixture_wait_clients(struct fixture *f, struct schedrig *asker, unsigned n)
{
	uint64_t until = clock_deadline_ns(10 * NS_PER_S);
	for (unsigned now = 0; now != n;) {
		Schedrig__V1__Info *info = NULL;
		cr_assert_eq(schedrig_info(asker, &info, NULL), 0);
		now = info->clients;
		schedrig_free_message(info);
		cr_assert_neq(clock_left_ns(until), 0, "%u clients instead of %u", now, n);
	}
}

int raw_connect(const struct fixture *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, f->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = {.tv_sec = 10};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void raw_send(int fd, uint16_t type, uint64_t seq, const void *payload, size_t length)
{
	uint8_t bytes[FRAME_HEADER_BYTES];
	frame_encode(&(struct frame_header){.length = (uint32_t)length, .type = type, .seq = seq}, bytes);
	cr_assert_eq(fd_write_all(fd, bytes, sizeof(bytes)), 0);
	cr_assert_eq(fd_write_all(fd, payload, length), 0);
}

void raw_send_message(int fd, uint16_t type, uint64_t seq, const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	uint8_t *bytes = malloc(length + 1);
	protobuf_c_message_pack(message, bytes);
	raw_send(fd, type, seq, bytes, length);
	free(bytes);
}

bool raw_read(int fd, struct frame_header *ret, uint8_t *payload)
{
	uint8_t bytes[FRAME_HEADER_BYTES];
	ssize_t n = fd_read_all(fd, bytes, sizeof(bytes));
	if (n == 0 || n == -ECONNRESET)
		return false;
	cr_assert_eq(n, FRAME_HEADER_BYTES, "%zd", n);
	*ret = frame_decode(bytes);
	cr_assert_leq(ret->length, FRAME_MAX_BYTES);
	cr_assert_eq(fd_read_all(fd, payload, ret->length), ret->length);
	return true;
}

int raw_open(const struct fixture *f)
{
	static uint8_t payload[FRAME_MAX_BYTES];
	struct frame_header header;
	int fd = raw_connect(f);
	Schedrig__V1__Hello hello = SCHEDRIG__V1__HELLO__INIT;
	hello.major = WIRE_MAJOR;
	raw_send_message(fd, WIRE_HELLO, 0, &hello.base);
	cr_assert(raw_read(fd, &header, payload));
	cr_assert_eq(header.type, WIRE_HELLO);
	return fd;
}

void raw_expect_error(int fd, uint64_t seq, enum err_code code, const char *text)
{
	static uint8_t payload[FRAME_MAX_BYTES];
	struct frame_header header;
	cr_assert(raw_read(fd, &header, payload));
	cr_assert_eq(header.type, WIRE_ERROR);
	cr_assert_eq(header.seq, seq);
	Schedrig__V1__Error *error = pb_unpack(&schedrig__v1__error__descriptor, payload, header.length);
	cr_assert_not_null(error);
	cr_assert_eq((int)error->code, (int)code, "%d %s", error->code, error->message);
	cr_assert_not_null(strstr(error->message, text), "%s", error->message);
	pb_free(error);
}

void raw_expect_end(int fd)
{
	uint8_t byte;
	ssize_t n = read(fd, &byte, 1);
	cr_assert(n == 0 || (n < 0 && errno == ECONNRESET), "%zd", n);
}

Schedrig__V1__Scenario *named_scenario(const char *name)
{
	static Schedrig__V1__Scenario scenario;
	static char copy[128];
	schedrig__v1__scenario__init(&scenario);
	snprintf(copy, sizeof(copy), "%s", name);
	scenario.name = copy;
	return &scenario;
}

const Schedrig__V1__Request *add_cgroup_request(const char *name)
{
	static Schedrig__V1__Request request;
	static Schedrig__V1__ApplyRequest apply;
	static Schedrig__V1__AddCgroup add;
	static Schedrig__V1__Op op, *ops[] = {&op};
	schedrig__v1__request__init(&request);
	schedrig__v1__apply_request__init(&apply);
	schedrig__v1__add_cgroup__init(&add);
	schedrig__v1__op__init(&op);
	add.name = (char *)name;
	op.kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
	op.add_cgroup = &add;
	apply.n_ops = 1;
	apply.ops = ops;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_APPLY;
	request.apply = &apply;
	return &request;
}
