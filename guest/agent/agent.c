/* SPDX-License-Identifier: GPL-2.0-only */
/* Putting the agent together and running its loop (see agent.h). */
#include "guest/agent/agent.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/scope.h"
#include "guest/agent/state.h"
#include "guest/init/init.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

static void on_child(evutil_socket_t signum, short what, void *arg)
{
	child_reap();
}

static int agent_start(struct agent *agent, struct err *err)
{
	int r = work_init(err);
	if (r < 0)
		return r;
	agent->loop = loop_new(err);
	if (!agent->loop)
		return err_errno(err->code);
	struct scene_config config = {
		.root_fd = agent->config.root_fd,
		.parent = "schedrig",
		.adhoc = "schedrig-adhoc",
		.stray_fd = agent->config.stray_fd,
		.loop = agent->loop,
		.staged = agent->config.staged,
		.realtime = agent->config.realtime,
		.speed_percent = 100,
	};
	agent->scene = scene_new(&config, err);
	if (!agent->scene)
		return err_errno(err->code);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot become a subreaper");
	agent->child_event = evsignal_new(loop_base(agent->loop), SIGCHLD, on_child, NULL);
	if (!agent->child_event || event_add(agent->child_event, NULL) < 0)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot watch for children");
	r = page_start(agent, err);
	if (r == 0)
		r = lanes_start(agent, err);
	return r;
}

static void agent_stop(struct agent *agent)
{
	/* What a scenario left when the loop was told to stop. */
	for (unsigned i = 0; i < agent->lanes_started; i++)
		lane_cancel(&agent->lanes[i], 0);
	lanes_stop(agent);
	raise_stop(agent);
	if (agent->page)
		page_stop(agent);
	if (!agent->loop)
		return;
	link_stop(agent);
	loop_drain(agent->loop, agent);
	struct event *events[] = {agent->child_event, agent->kmsg_event, agent->kmsg_retry};
	for (unsigned i = 0; i < ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	fd_close(&agent->kmsg_fd);
	scene_free(agent->scene);
	loop_free(agent->loop);
}

int agent_run(const struct agent_config *config, struct err *err)
{
	struct agent *agent = calloc(1, sizeof(*agent));
	if (!agent)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot start the agent");
	agent->config = *config;
	agent->kmsg_fd = agent->connecting_fd = agent->unanswered_fd = -1;
	atomic_init(&agent->speed_percent, 100);
	pthread_mutex_init(&agent->begin_lock, NULL);
	pthread_mutex_init(&agent->unanswered_lock, NULL);
	signal(SIGPIPE, SIG_IGN);
	int r = agent_start(agent, err);
	if (r == 0)
		r = link_start(agent, err);
	if (r == 0) {
		loop_run(agent->loop);
		r = agent->result;
		if (r < 0)
			*err = agent->err;
	}
	agent_stop(agent);
	pthread_mutex_destroy(&agent->begin_lock);
	pthread_mutex_destroy(&agent->unanswered_lock);
	begin_unref(agent->begin);
	free(agent);
	return r;
}
