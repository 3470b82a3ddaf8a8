/* SPDX-License-Identifier: GPL-2.0-only */
/* What the members of a group are to each other: which types join them by pipes, and which give them
 * scheduling policies of their own. Any process. */
#include "guest/work/worker.h"

bool worker_has_pipes(const struct work_params *params)
{
	return params->type == WORK_PIPE_IO || params->type == WORK_CACHE_PIPE ||
	       (params->type == WORK_WAKE_CHAIN && !params->wake_chain.futex);
}

unsigned worker_group_fds(const struct work_params *params)
{
	return params->type == WORK_EPOLL_STORM ? (unsigned)params->epoll_storm.fds : 0;
}

bool worker_needs_cgroup(const struct work_params *params)
{
	return params->type == WORK_CGROUP_CHURN ||
	       (params->type == WORK_CGROUP_ATTACH_STORM && !params->cgroup_attach_storm.has_destination);
}

bool worker_shares_file(const struct work_params *params)
{
	return params->type == WORK_IO_CONVOY;
}

bool worker_needs_file(const struct work_params *params)
{
	switch (params->type) {
	case WORK_IO_SYNC_WRITE:
	case WORK_IO_RAND_READ:
	case WORK_IO_CONVOY:
		return true;
	case WORK_SEQUENCE:
		for (uint64_t i = 0; i < params->sequence.n_phases; i++)
			if (params->steps[i].kind == WORK_STEP_IO)
				return true;
		return !params->sequence.n_phases; /* one of each */
	default:
		return false;
	}
}

bool worker_has_nic(const struct work_params *params)
{
	return params->type == WORK_NET_TRAFFIC || params->type == WORK_IRQ_WAKE;
}

static struct work_sched fifo(uint32_t priority)
{
	return (struct work_sched){.policy = WORK_FIFO, .priority = priority};
}

static struct work_sched unpack(uint64_t policy)
{
	return (struct work_sched){
		.policy = (enum work_policy)(policy & 0xff), .priority = (uint32_t)(policy >> 8)};
}

struct work_sched worker_sched(const struct work_spec *spec, unsigned member)
{
	const struct work_params *params = &spec->params;
	switch (params->type) {
	case WORK_PRIORITY_INVERSION:
		return fifo(member < params->priority_inversion.high ? 70
			    : member < params->priority_inversion.high + params->priority_inversion.medium
				    ? 50
				    : 30);
	case WORK_ASYMMETRIC_WAKER:
		return unpack(member ? params->asymmetric_waker.wakee : params->asymmetric_waker.waker);
	case WORK_PREEMPT_STORM:
		return member ? spec->sched : fifo(1);
	case WORK_RT_STARVATION:
		return member < params->rt_starvation.rt ? fifo((uint32_t)params->rt_starvation.priority)
							 : spec->sched;
	default:
		return spec->sched;
	}
}
