/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent without memory: every request is answered all the same, and those after it as if nothing had
 * been. The agent runs on threads of this process; its allocations come through the linker's --wrap. */
#include "agent_peer.h"

#include "guest/agent/agent.h"
#include "proto/pb.h"

#include <criterion/criterion.h>
#include <event2/event.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum starving { NOBODY, LANES, EVERY_THREAD };
static _Atomic enum starving starving;
static pthread_t test_thread, loop_thread;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool refused(void)
{
	enum starving who = atomic_load(&starving);
	if (who == NOBODY || pthread_equal(pthread_self(), test_thread))
		return false;
	return who == EVERY_THREAD || !pthread_equal(pthread_self(), loop_thread);
}

void *__wrap_malloc(size_t size)
{
	return refused() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size)
{
	return refused() ? NULL : __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size)
{
	return refused() ? NULL : __real_realloc(old, size);
}

/* The first arena of the loop's thread is the greeting's. */
static bool no_greeting;
struct arena *__real_arena_new(size_t cap_bytes);
struct arena *__wrap_arena_new(size_t cap_bytes);
struct arena *__wrap_arena_new(size_t cap_bytes)
{
	return no_greeting ? NULL : __real_arena_new(cap_bytes);
}

static struct peer peer;
static struct agent_config config;

static void *run_agent(void *arg)
{
	struct err err = ERR_INIT;
	return agent_run(&config, &err) < 0 ? strdup(err.message) : NULL;
}

static void start(void)
{
	int fds[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	config = (struct agent_config){.fd = fds[1],
		.root_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.stray_fd = -1,
		.staged = "/bin"};
	peer = (struct peer){.pid = -1, .fd = fds[0]};
	test_thread = pthread_self();
	/* Ours is what starves: not the library, whose archive the linker may have wrapped with the rest. */
	event_set_mem_functions(__real_malloc, __real_realloc, free);
	cr_assert_eq(pthread_create(&loop_thread, NULL, run_agent, NULL), 0);
	peer_greet(&peer, 2);
}

static void stop(void)
{
	void *why;
	close(peer.fd);
	pthread_join(loop_thread, &why);
	cr_assert_null(why, "%s", (char *)why);
	close(config.root_fd);
}

/* One of each kind that needs no cgroup; answers to all of them, in order of sending. */
static void ask_all(bool starved)
{
	PB(SetPhase) phase = INIT_OF(SET_PHASE);
	PB(SampleWorkers) sample = INIT_OF(SAMPLE_WORKERS);
	PB(ApplyOps) apply = INIT_OF(APPLY_OPS);
	PB(LoopOps) loop = INIT_OF(LOOP_OPS);
	PB(EndAdhoc) end = INIT_OF(END_ADHOC);
	PB(CancelOps) cancel = INIT_OF(CANCEL_OPS);
	PB(ReleaseOutput) release = INIT_OF(RELEASE_OUTPUT);
	PB(Duration) interval = INIT_OF(DURATION), length = INIT_OF(DURATION);
	interval.ns = 1000000;
	length.ns = 3000000;
	apply.scope = loop.scope = SCHEDRIG__V1__SCOPE__SCOPE_ADHOC;
	loop.interval = &interval;
	loop.length = &length;
	for (unsigned kind = 0; kind < 7; kind++) {
		PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
		switch (kind) {
		case 0:
			request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SET_PHASE;
			request.set_phase = &phase;
			break;
		case 1:
			request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS;
			request.sample_workers = &sample;
			break;
		case 2:
			request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS;
			request.apply_ops = &apply;
			break;
		case 3:
			request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS;
			request.loop_ops = &loop;
			break;
		case 4:
			request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_END_ADHOC;
			request.end_adhoc = &end;
			break;
		case 5:
			request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_RELEASE_OUTPUT;
			request.release_output = &release;
			break;
		default:
			request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_CANCEL_OPS;
			request.cancel_ops = &cancel;
		}
		PB(AgentResponse) *response = peer_call(&peer, &request);
		if (starved) {
			cr_assert_not_null(response->error, "kind %u", kind);
			cr_assert_eq(response->error->os_errno, ENOMEM, "kind %u: %s", kind,
				response->error->message);
		} else {
			cr_assert_null(response->error, "kind %u: %s", kind,
				response->error ? response->error->message : "");
			cr_assert_neq(response->kind_case, SCHEDRIG__V1__AGENT_RESPONSE__KIND__NOT_SET);
		}
		pb_free(response);
	}
}

Test(no_memory, every_request_is_answered, .timeout = 240)
{
	start();
	ask_all(false);
	/* Its lanes have none: the loop refuses in their place. */
	atomic_store(&starving, LANES);
	ask_all(true);
	atomic_store(&starving, NOBODY);
	ask_all(false);
	atomic_store(&starving, EVERY_THREAD);
	ask_all(true);
	atomic_store(&starving, NOBODY);
	ask_all(false);
	stop();
}

/* It ends, and says why: over a link without a greeting nothing can be told. */
Test(no_memory, for_the_greeting, .timeout = 240)
{
	struct err err = ERR_INIT;
	int fds[2];
	char byte;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	config = (struct agent_config){.fd = fds[1],
		.root_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
		.stray_fd = -1,
		.staged = "/bin"};
	test_thread = pthread_self();
	no_greeting = true;
	cr_assert_lt(agent_run(&config, &err), 0);
	cr_expect_eq(err.code, ERR_GUEST_OS);
	cr_expect_eq(err.os_errno, ENOMEM);
	cr_expect(strstr(err.message, "cannot greet the controller"), "%s", err.message);
	cr_expect_eq(read(fds[0], &byte, 1), 0, "the link is closed, and nothing came over it");
	close(fds[0]);
	close(config.root_fd);
}
