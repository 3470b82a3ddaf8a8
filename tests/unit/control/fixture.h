/* SPDX-License-Identifier: GPL-2.0-only */
/* A control with a fake engine on a loop of its own thread, and a client that speaks frames by hand. */
#ifndef TESTS_UNIT_CONTROL_FIXTURE_H
#define TESTS_UNIT_CONTROL_FIXTURE_H

#include "common/frame.h"
#include "common/loop.h"
#include "host/client/schedrig.h"
#include "host/control/control.h"
#include "tests/fake/engine.h"

#include <criterion/criterion.h>

struct fixture {
	char directory[64], path[128];
	struct loop *loop;
	struct engine *engine;
	struct control *control;
	pthread_t thread;
	unsigned shutdowns;
};

/* ring_events 0: the default. `ready`: at once. */
void fixture_start(struct fixture *f, unsigned ring_events, bool ready);
/* Runs fn(control) on the loop. */
void fixture_on_loop(struct fixture *f, void (*fn)(struct control *control));
/* control_stop(), the loop's end, control_free(); then nothing is left in the directory. */
void fixture_end(struct fixture *f);
/* How many clients are connected reaches n, within 10 s. */
void fixture_wait_clients(struct fixture *f, struct schedrig *asker, unsigned n);

/* A connection without libschedrig. */
int raw_connect(const struct fixture *f);
void raw_send(int fd, uint16_t type, uint64_t seq, const void *payload, size_t length);
void raw_send_message(int fd, uint16_t type, uint64_t seq, const ProtobufCMessage *message);
/* Hello both ways. */
int raw_open(const struct fixture *f);
/* Next frame into payload (FRAME_MAX_BYTES); false at the end of the connection. Fails after 10 s. */
bool raw_read(int fd, struct frame_header *ret, uint8_t *payload);
/* Next frame is an Error with this code and text in it. */
void raw_expect_error(int fd, uint64_t seq, enum err_code code, const char *text);
void raw_expect_end(int fd);

Schedrig__V1__Scenario *named_scenario(const char *name);
/* Apply of one add_cgroup; the next call makes another one of it. */
const Schedrig__V1__Request *add_cgroup_request(const char *name);

#endif
