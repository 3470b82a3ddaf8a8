/* SPDX-License-Identifier: GPL-2.0-only */
/* See crew.h. */
#include "crew.h"

#include "common/clock.h"
#include "common/scope.h"
#include "guest/work/nic.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void *reap(void *arg)
{
	const sigset_t *set = arg;
	int signum;
	for (;;) {
		child_reap();
		sigwait(set, &signum);
	}
	return NULL;
}

void crew_start(struct crew *crew, const struct work_params *params, unsigned count)
{
	const struct work_spec spec = {.params = *params, .other_fd = -1};
	crew_start_spec(crew, &spec, count, -1);
}

void crew_start_spec(struct crew *crew, const struct work_spec *spec, unsigned count, int cgroup_fd)
{
	static sigset_t set;
	static pthread_t reaper;
	struct err err = ERR_INIT;
	struct work *list[CREW_MAX];
	if (!reaper) {
		sigemptyset(&set);
		sigaddset(&set, SIGCHLD);
		pthread_sigmask(SIG_BLOCK, &set, NULL);
		cr_assert_eq(pthread_create(&reaper, NULL, reap, &set), 0);
		cr_assert_eq(work_init(&err), 0, "%s", err.message);
	}
	cr_assert_leq(count, CREW_MAX);
	*crew = (struct crew){.count = count};
	for (unsigned k = 0; k < count; k++)
		list[k] = &crew->works[k];
	cr_assert_eq(work_params_check(&spec->params, &err), 0, "%s", err.message);
	int r = work_start(list, count, spec, cgroup_fd, 0, clock_now_ns() + 10 * NS_PER_S, NULL, &err);
	cr_assert_eq(r, 0, "%s", err.message);
}

void crew_stop(struct crew *crew)
{
	uint64_t asked_ns = clock_now_ns();
	crew->killed = 0;
	for (unsigned k = 0; k < crew->count; k++)
		work_ask_stop(&crew->works[k]);
	for (unsigned k = 0; k < crew->count; k++) {
		struct child *child = work_child(&crew->works[k]);
		if (child_wait(child, asked_ns + CREW_HANG_NS, NULL) == CHILD_EXITED)
			continue;
		crew->killed++;
		child_kill(child, SIGKILL);
		cr_assert_eq(child_wait(child, asked_ns + 2 * CREW_HANG_NS, NULL), CHILD_EXITED);
	}
	for (unsigned k = 0; k < crew->count; k++)
		work_report(&crew->works[k], &crew->reports[k]);
}

void crew_release(struct crew *crew)
{
	for (unsigned k = 0; k < crew->count; k++) {
		work_report_deinit(&crew->reports[k]);
		work_release(&crew->works[k]);
	}
}

void crew_hold(struct crew *crew, uint64_t rounds)
{
	uint64_t goal[CREW_MAX], deadline_ns = clock_now_ns() + 20 * NS_PER_S;
	for (unsigned k = 0; k < crew->count; k++)
		goal[k] = work_iterations(&crew->works[k]) + rounds;
	for (unsigned k = 0; k < crew->count; k++)
		while (work_iterations(&crew->works[k]) < goal[k]) {
			cr_assert_lt(clock_now_ns(), deadline_ns, "%s %u did %lu of %lu rounds",
				crew->works[k].comm, k, work_iterations(&crew->works[k]), goal[k]);
			usleep(1000); /* they publish into memory, at most once a millisecond */
		}
}

void crew_run(struct crew *crew, const struct work_params *params, unsigned count, uint64_t rounds)
{
	const struct work_spec spec = {.params = *params, .other_fd = -1};
	crew_run_spec(crew, &spec, count, -1, rounds);
}

void crew_run_spec(
	struct crew *crew, const struct work_spec *spec, unsigned count, int cgroup_fd, uint64_t rounds)
{
	const struct work_params *params = &spec->params;
	crew_start_spec(crew, spec, count, cgroup_fd);
	crew_hold(crew, rounds);
	crew_stop(crew);
	for (unsigned k = 0; k < count; k++) {
		const struct work_report *report = &crew->reports[k];
		const char *name = work_type_name(params->type);
		cr_assert_str_eq(report->exit, "stopped", "%s %u: %s", name, k, report->exit);
		cr_assert(!report->missing);
		cr_assert_gt(report->iterations, 0, "%s %u did no round", name, k);
		cr_assert_gt(report->units, 0, "%s %u did no units", name, k);
	}
}

uint64_t crew_status(const struct crew *crew, unsigned k, const char *key)
{
	char path[64], line[256];
	uint64_t value = 0;
	bool found = false;
	snprintf(path, sizeof(path), "/proc/%d/status", (int)work_tid(&crew->works[k]));
	FILE *file = fopen(path, "r");
	cr_assert_not_null(file);
	while (fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key))) {
			value = strtoull(line + strlen(key), NULL, 10);
			found = true;
		}
	fclose(file);
	cr_assert(found, "%s has no %s", path, key);
	return value;
}

bool crew_has_nic(char *why, size_t size)
{
	struct ifreq request = {.ifr_name = "lo"};
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0)
		snprintf(why, size, "no packet sockets here: %s", strerror(errno));
	else if (ioctl(fd, SIOCGIFFLAGS, &request) < 0 || !(request.ifr_flags & IFF_UP))
		snprintf(why, size, "the loopback interface is down");
	else {
		nic_use("lo");
		return true;
	}
	return false;
}

bool crew_has_realtime(void)
{
	struct sched_param before, fifo = {.sched_priority = 1};
	int policy = sched_getscheduler(0);
	sched_getparam(0, &before);
	if (sched_setscheduler(0, SCHED_FIFO, &fifo) < 0)
		return false;
	sched_setscheduler(0, policy, &before);
	return true;
}
