/* SPDX-License-Identifier: GPL-2.0-only */
/* Under ThreadSanitizer: clients that come, ask and go, also in the middle of an answer, of a scenario or of
 * a stream of events, while a controller serves them and at last stops. Nobody waits in vain, and what one
 * leaves behind is not in the next one's way. */
#include "common/clock.h"
#include "common/loop.h"
#include "host/client/schedrig.h"
#include "host/control/control.h"
#include "proto/pb.h"
#include "tests/fake/engine.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS 6u
#define VISITS 60u

static struct loop *loop;
static struct engine *engine;
static struct control *control;
static char path[128];

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

/* --- what a client may do in one visit --- */

static void done(const struct err *err, Schedrig__V1__Response *response, void *arg)
{
	schedrig_free_message(response);
}

/* A client that waits for its answers; errors of the controller's are answers. */
static void ask(struct schedrig *vm)
{
	Schedrig__V1__Info *info = NULL;
	struct err err = ERR_INIT;
	if (schedrig_info(vm, &info, &err) < 0)
		fail(err.message);
	schedrig_free_message(info);
	Schedrig__V1__ApplyRequest apply = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	Schedrig__V1__ApplyResponse *applied = NULL;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT, *ops[] = {&op};
	Schedrig__V1__AddCgroup add = SCHEDRIG__V1__ADD_CGROUP__INIT;
	static char name[] = "quick";
	add.name = name;
	op.kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
	op.add_cgroup = &add;
	apply.ops = ops;
	apply.n_ops = 1;
	if (schedrig_apply(vm, &apply, 0, &applied, &err) < 0 && err.code != ERR_BUSY)
		fail(err.message);
	schedrig_free_message(applied);
}

static int count_event(const Schedrig__V1__Event *event, void *arg)
{
	return ++*(unsigned *)arg == 5;
}

static void submit(struct schedrig *vm, const char *name)
{
	Schedrig__V1__Scenario scenario = SCHEDRIG__V1__SCENARIO__INIT;
	Schedrig__V1__RunResult *result = NULL;
	struct err err = ERR_INIT;
	unsigned events = 0;
	scenario.name = (char *)name;
	int r = schedrig_submit(vm, &scenario,
		&(struct schedrig_submit_options){.event = count_event, .arg = &events}, &result, &err);
	if (r < 0 && err.code != ERR_BUSY)
		fail(err.message);
	schedrig_free_message(result);
}

/* Asks and is gone before the answer can come, or amid it. */
static void leave_amid(struct schedrig *vm, const char *name)
{
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	Schedrig__V1__SubmitRequest submit = SCHEDRIG__V1__SUBMIT_REQUEST__INIT;
	Schedrig__V1__Scenario scenario = SCHEDRIG__V1__SCENARIO__INIT;
	struct err err = ERR_INIT;
	scenario.name = (char *)name;
	submit.scenario = &scenario;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_SUBMIT;
	request.submit = &submit;
	if (schedrig_start(vm, &request, NULL, done, NULL, NULL, &err) < 0 || schedrig_process(vm, &err) < 0)
		fail(err.message);
}

static void *visit(void *arg)
{
	unsigned number = (unsigned)(uintptr_t)arg;
	for (unsigned i = 0; i < VISITS; i++) {
		struct err err = ERR_INIT;
		struct schedrig *vm = schedrig_open(path, &err);
		if (!vm)
			fail(err.message);
		switch ((i + number) % 6) {
		case 0:
			ask(vm);
			break;
		case 1:
			submit(vm, "events 20");
			break;
		case 2:
			leave_amid(vm, "events 200");
			break;
		case 3:
			leave_amid(vm, "block");
			break;
		case 4:
			submit(vm, "passes");
			break;
		default: /* not a word */
			break;
		}
		schedrig_close(vm);
	}
	return NULL;
}

/* --- the controller --- */

static void on_event(const Schedrig__V1__Event *event, void *arg)
{
	control_event(control, event);
}

static void on_info(struct arena *arena, Schedrig__V1__Info *ret, void *arg)
{
}

static void on_shutdown(void *arg)
{
}

static void *run_loop(void *arg)
{
	loop_run(loop);
	return NULL;
}

static void on_idle(void *arg)
{
	loop_stop(loop);
}

static void stop(void *arg)
{
	control_stop(control, "the test is over", on_idle, NULL);
}

int main(void)
{
	char directory[] = "/tmp/schedrig-race.XXXXXX";
	pthread_t server, clients[CLIENTS];
	struct err err = ERR_INIT;
	if (!mkdtemp(directory))
		fail("cannot make a directory");
	snprintf(path, sizeof(path), "%s/vm.sock", directory);
	loop = loop_new(&err);
	engine = engine_new(&(struct engine_config){.event = on_event}, &err);
	/* Few events are kept, so that some are always overrun. */
	control = control_new(&(struct control_config){.loop = loop,
				      .path = path,
				      .engine = engine,
				      .build = "test",
				      .info = on_info,
				      .shutdown = on_shutdown,
				      .ring_events = 64},
		&err);
	if (!control)
		fail(err.message);
	control_set_ready(control);
	if (pthread_create(&server, NULL, run_loop, NULL))
		fail("cannot start a thread");
	for (unsigned i = 0; i < CLIENTS; i++)
		if (pthread_create(&clients[i], NULL, visit, (void *)(uintptr_t)i))
			fail("cannot start a thread");
	for (unsigned i = 0; i < CLIENTS; i++)
		pthread_join(clients[i], NULL);
	if (!fake_engine_wait_idle(engine))
		fail("a scenario goes on whose client has gone");
	/* It serves, and stops with a scenario and a listener at work. */
	struct schedrig *last = schedrig_open(path, &err);
	if (!last)
		fail(err.message);
	ask(last);
	leave_amid(last, "block");
	if (!fake_engine_wait_busy(engine))
		fail("a scenario does not begin");
	if (loop_call(loop, stop, NULL) < 0)
		fail("out of memory");
	pthread_join(server, NULL);
	schedrig_close(last);
	control_free(control);
	engine_free(engine);
	loop_free(loop);
	return rmdir(directory) == 0 ? 0 : 1;
}
