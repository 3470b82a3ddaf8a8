/* SPDX-License-Identifier: GPL-2.0-only */
/* Under ThreadSanitizer: calls to agents that come and go. Every call ends, with an answer or one of the
 * errors that link.h names; nothing of a dead connection reaches the next one. */
#include "common/clock.h"
#include "fake_agent.h"
#include "link_bench.h"
#include "proto/pb.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define CALLERS 4
#define AGENTS 60u
/* How often an agent is asked before the next one comes. */
#define ASKED 50u
/* Of so many requests one is answered by the end of the connection. */
#define ONE_IN 97u
#define PATIENCE_NS (20 * NS_PER_MS)

struct caller {
	pthread_t thread;
	unsigned answered, lost, late, cancelled;
};
static struct link_bench bench;
static atomic_bool stop;

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

/* On the agent's thread: some requests never get an answer, and some end the connection. */
static bool at_whim(
	struct fake_agent *agent, uint64_t seq, const Schedrig__V1__AgentRequest *request, void *arg)
{
	if (seq % ONE_IN == 0)
		shutdown(agent->fd, SHUT_RDWR);
	return seq % ONE_IN == 0 || seq % 13 == 0;
}

static void count(struct caller *caller, int r, const struct err *err)
{
	if (r == 0)
		caller->answered++;
	else if (err->code == ERR_AGENT_LOST)
		caller->lost++;
	else if (err->code == ERR_TIMEOUT)
		caller->late++;
	else if (err->code == ERR_CANCELLED)
		caller->cancelled++;
	else
		fail(err->message);
}

static void *call(void *arg)
{
	struct caller *caller = arg;
	uint64_t patience_ns = PATIENCE_NS;
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__SampleWorkers sample = SCHEDRIG__V1__SAMPLE_WORKERS__INIT;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS;
	request.sample_workers = &sample;
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		Schedrig__V1__AgentResponse *response = NULL;
		struct err err = ERR_INIT;
		if (i % 50 == 49 && link_notify(bench.link, &request, &err) < 0 && err.code != ERR_AGENT_LOST)
			fail(err.message);
		int r = link_call(bench.link, &request, clock_deadline_ns(patience_ns), &response, &err);
		count(caller, r, &err);
		/* Some are never answered; and where that is slow at all, more patience gets some answered.
		 */
		if (r == 0)
			patience_ns = PATIENCE_NS;
		else if (err.code == ERR_TIMEOUT)
			patience_ns = MIN_OF(2 * patience_ns, NS_PER_S);
		if (r == 0 && response->kind_case != SCHEDRIG__V1__AGENT_RESPONSE__KIND_TOTALS)
			fail("an answer to another request");
		pb_free(response);
		(void)link_is_ready(bench.link);
		pb_free(link_agent_hello(bench.link));
	}
	return NULL;
}

/* As the machine does when a guest has gone. */
static void cancel_for_a_moment(void)
{
	struct err why = ERR_INIT;
	err_set(&why, ERR_CANCELLED, "for a moment");
	link_cancel(bench.link, &why);
	link_resume(bench.link);
}

/* After all of that a call is answered. */
static void ask_once_more(void)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__EndAdhoc end = SCHEDRIG__V1__END_ADHOC__INIT;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_END_ADHOC;
	request.end_adhoc = &end;
	Schedrig__V1__AgentResponse *response = NULL;
	struct err err = ERR_INIT;
	if (link_call(bench.link, &request, clock_deadline_ns(100 * NS_PER_S), &response, &err) < 0)
		fail(err.message);
	pb_free(response);
}

/* Until it has been asked a few times, or is gone already. */
static void let_it_live(struct fake_agent *agent, unsigned losses)
{
	uint64_t limit = clock_deadline_ns(100 * NS_PER_S);
	while (atomic_load(&agent->asked) < ASKED && !link_bench_lost(&bench, losses)) {
		if (!clock_left_ns(limit))
			fail("nobody asks the agent");
		sched_yield();
	}
}

int main(void)
{
	static struct fake_agent agents[AGENTS];
	struct caller callers[CALLERS] = {0};
	unsigned answered = 0;
	signal(SIGPIPE, SIG_IGN); /* as the programs do */
	link_bench_start(&bench, 4);
	for (unsigned i = 0; i < CALLERS; i++)
		if (pthread_create(&callers[i].thread, NULL, call, &callers[i]))
			fail("cannot start a thread");
	/* Each comes while the one before is still there, or after its end, as it happens. */
	for (unsigned n = 0; n < AGENTS; n++) {
		agents[n].request = n < AGENTS - 1 ? at_whim : NULL;
		link_bench_accept(&bench, fake_agent_start(&agents[n]));
		if (!link_bench_wait(&bench, n + 1, n))
			fail("an agent did not get ready, or its forerunner was not lost");
		let_it_live(&agents[n], n + 1);
		if (n % 7 == 0)
			cancel_for_a_moment();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < CALLERS; i++) {
		pthread_join(callers[i].thread, NULL);
		answered += callers[i].answered;
	}
	if (answered < ASKED)
		fail("hardly any call was answered");
	ask_once_more();
	link_bench_stop(&bench);
	for (unsigned n = 0; n < AGENTS; n++)
		fake_agent_stop(&agents[n]);
	return 0;
}
