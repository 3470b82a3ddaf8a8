/* SPDX-License-Identifier: GPL-2.0-only */
/* Lanes: requests wait their turn on one thread each, so that a payload waited for in one does not hold up
 * the others. Pushing and cancelling are the loop thread's; serving is the lane's. */
#include "common/scope.h"
#include "guest/agent/state.h"
#include "guest/init/init.h"
#include "proto/pb.h"

#include <errno.h>
#include <stdlib.h>

void begin_unref(struct begin *begin)
{
	if (!begin || atomic_fetch_sub(&begin->refs, 1) != 1)
		return;
	pb_free(begin->request);
	free(begin);
}

void job_free(struct job *job)
{
	pb_free(job->request);
	begin_unref(job->begin);
	free(job);
}

static struct job *lane_next(struct lane *lane)
{
	SCOPE_LOCK(&lane->lock);
	lane->current = 0;
	while (!lane->first && !lane->stopping)
		pthread_cond_wait(&lane->more, &lane->lock);
	struct job *job = lane->first;
	if (!job)
		return NULL;
	lane->first = job->next;
	if (!lane->first)
		lane->last = NULL;
	lane->current = job->seq;
	lane->cancellable = job->request &&
			    (job->request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_APPLY_OPS ||
				    job->request->kind_case == SCHEDRIG__V1__AGENT_REQUEST__KIND_LOOP_OPS);
	cancel_reset(&lane->cancel);
	if (job->cancelled)
		cancel_ask(&lane->cancel);
	return job;
}

static void *lane_thread(void *arg)
{
	struct lane *lane = arg;
	struct job *job;
	if (lane->agent->config.realtime)
		(void)!init_raise_thread();
	while ((job = lane_next(lane))) {
		pthread_mutex_lock(&lane->agent->begin_lock);
		job->begin = lane->agent->begin;
		if (job->begin)
			atomic_fetch_add(&job->begin->refs, 1);
		pthread_mutex_unlock(&lane->agent->begin_lock);
		serve_job(lane, job);
		if (!job->answered && job->seq)
			link_refuse(lane->agent, job);
		else
			job_free(job);
	}
	return NULL;
}

int lanes_start(struct agent *agent, struct err *err)
{
	for (unsigned i = 0; i < LANES; i++) {
		struct lane *lane = &agent->lanes[i];
		lane->agent = agent;
		lane->number = i;
		pthread_mutex_init(&lane->lock, NULL);
		pthread_cond_init(&lane->more, NULL);
		int r = cancel_init(&lane->cancel, err);
		if (r < 0)
			return r;
		int errnum = pthread_create(&lane->thread, NULL, lane_thread, lane);
		if (errnum)
			return err_set_os(err, ERR_GUEST_OS, errnum, "cannot start a thread");
		agent->lanes_started++;
	}
	return 0;
}

void lanes_stop(struct agent *agent)
{
	for (unsigned i = 0; i < agent->lanes_started; i++) {
		struct lane *lane = &agent->lanes[i];
		pthread_mutex_lock(&lane->lock);
		lane->stopping = true;
		pthread_cond_signal(&lane->more);
		pthread_mutex_unlock(&lane->lock);
		pthread_join(lane->thread, NULL);
		cancel_deinit(&lane->cancel);
		pthread_cond_destroy(&lane->more);
		pthread_mutex_destroy(&lane->lock);
	}
	agent->lanes_started = 0;
}

void lane_push(struct lane *lane, struct job *job)
{
	SCOPE_LOCK(&lane->lock);
	job->next = NULL;
	if (lane->last)
		lane->last->next = job;
	else
		lane->first = job;
	lane->last = job;
	pthread_cond_signal(&lane->more);
}

void lane_cancel(struct lane *lane, uint64_t seq)
{
	SCOPE_LOCK(&lane->lock);
	if (lane->current && lane->cancellable && (!seq || lane->current == seq))
		cancel_ask(&lane->cancel);
	for (struct job *job = lane->first; job; job = job->next)
		if (!seq || job->seq == seq)
			job->cancelled = true;
}
