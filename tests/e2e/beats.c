/* SPDX-License-Identifier: GPL-2.0-only */
/* Watching the heartbeat (see beats.h). beats_watch() and what follows it: the test's thread; watch() and
 * what it calls: the thread that looks. */
#include "tests/e2e/beats.h"

#include "common/clock.h"
#include "common/fsat.h"
#include "common/scope.h"
#include "host/client/schedrig.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VCPUS_MAX 16
#define LOOK_NS (20 * NS_PER_MS)
#define LOOK_LATE_NS (100 * NS_PER_MS)

struct account {
	char state; /* proc(5) */
	uint64_t used_ns, guest_ns;
};

struct vcpu {
	int tid;
	bool known;
	uint64_t at_ns; /* of `last` */
	struct account first, last;
	uint64_t given_ns; /* so far */
	uint64_t base_ns;  /* given_ns when the look after the newest beat began */
};

struct beats {
	struct schedrig *connection;
	pid_t pid; /* the controller's */
	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* of what follows */
	bool stopping;
	struct beats_seen seen;

	/* The thread that looks. */
	struct vcpu vcpus[VCPUS_MAX];
	unsigned n_vcpus;
	uint64_t heartbeat, beat_at_ns; /* the newest, and when it was seen first */
	bool based;
};

/* Fields of proc(5), stat: 14 utime, 15 stime, 43 guest_time, which is a part of utime. */
static bool read_account(pid_t pid, int tid, struct account *ret)
{
	enum { STATE = 3, USER = 14, SYSTEM = 15, GUEST = 43 };
	char path[64], text[1024];
	uint64_t ticks[GUEST + 1] = {0}, tick_ns = NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK);
	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, tid);
	if (fsat_read(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return false;
	char *rest = strrchr(text, ')'), *word;
	if (!rest || !(rest = strchr(rest, ' ')))
		return false;
	rest++;
	unsigned field = STATE;
	for (; field <= GUEST && (word = strsep(&rest, " ")); field++) {
		if (field == STATE)
			ret->state = *word;
		else
			ticks[field] = strtoull(word, NULL, 10);
	}
	ret->used_ns = (ticks[USER] + ticks[SYSTEM]) * tick_ns;
	ret->guest_ns = ticks[GUEST] * tick_ns;
	return field > GUEST;
}

/* A thread that was found runnable at either end is taken to have waited for a CPU: the host's account of a
 * wait grows only when that is over. Of the time since a look that is long ago little counts: the host did
 * not let this thread run either. */
static void add_given(struct vcpu *vcpu, uint64_t now_ns, const struct account *now)
{
	uint64_t passed = MIN_OF(now_ns - vcpu->at_ns, LOOK_LATE_NS),
		 used = now->used_ns - vcpu->last.used_ns;
	vcpu->given_ns += now->guest_ns - vcpu->last.guest_ns;
	if (vcpu->last.state == 'S' && now->state == 'S' && passed > used)
		vcpu->given_ns += passed - used;
}

static void look_at_vcpus(struct beats *beats)
{
	for (unsigned i = 0; i < beats->n_vcpus; i++) {
		struct vcpu *vcpu = &beats->vcpus[i];
		struct account now;
		if (!read_account(beats->pid, vcpu->tid, &now))
			continue;
		uint64_t now_ns = clock_now_ns();
		if (vcpu->known)
			add_given(vcpu, now_ns, &now);
		else
			vcpu->first = now;
		vcpu->known = true;
		vcpu->last = now;
		vcpu->at_ns = now_ns;
	}
}

/* The vCPUs were looked at before: what they had since the first look that found this beat to be the newest
 * already, they had without another one. */
static void take_heartbeat(struct beats *beats, uint64_t heartbeat)
{
	uint64_t now_ns = clock_now_ns(), given = UINT64_MAX, guest = 0;
	if (!beats->seen.looks || heartbeat != beats->heartbeat) {
		beats->heartbeat = heartbeat;
		beats->beat_at_ns = now_ns;
		beats->based = false;
	}
	for (unsigned i = 0; i < beats->n_vcpus; i++) {
		struct vcpu *vcpu = &beats->vcpus[i];
		guest += vcpu->last.guest_ns - vcpu->first.guest_ns;
		if (!beats->based)
			vcpu->base_ns = vcpu->given_ns;
		given = MIN_OF(given, vcpu->given_ns - vcpu->base_ns);
	}
	if (now_ns > beats->beat_at_ns)
		beats->based = true;
	beats->seen.looks++;
	beats->seen.guest_ns = guest;
	beats->seen.gap_ns = MAX_OF(beats->seen.gap_ns, now_ns - beats->beat_at_ns);
	beats->seen.given_ns = MAX_OF(beats->seen.given_ns, given);
}

static void *watch(void *arg)
{
	struct beats *beats = arg;
	struct err err = ERR_INIT;
	for (bool stopping = false; !stopping;) {
		Schedrig__V1__Info *info = NULL;
		look_at_vcpus(beats);
		int r = schedrig_info(beats->connection, &info, &err);
		pthread_mutex_lock(&beats->lock);
		if (r == 0)
			take_heartbeat(beats, info->agent_heartbeat);
		stopping = beats->stopping || r < 0;
		pthread_mutex_unlock(&beats->lock);
		schedrig_free_message(info);
		struct timespec pause = clock_timespec(LOOK_NS);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static void find_vcpus(struct beats *beats)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/task", (int)beats->pid);
	DIR *dir = opendir(path);
	if (!dir)
		return;
	for (struct dirent *entry; (entry = readdir(dir)) && beats->n_vcpus < VCPUS_MAX;) {
		char file[300], comm[32];
		snprintf(file, sizeof(file), "%s/comm", entry->d_name);
		if (entry->d_name[0] != '.' && fsat_read(dirfd(dir), file, comm, sizeof(comm)) > 0 &&
			!strncmp(comm, "vcpu ", 5))
			beats->vcpus[beats->n_vcpus++].tid = atoi(entry->d_name);
	}
	closedir(dir);
}

struct beats *beats_watch(const struct vm_process *vm)
{
	struct err err = ERR_INIT;
	struct beats *beats = calloc(1, sizeof(*beats));
	if (!beats)
		return NULL;
	pthread_mutex_init(&beats->lock, NULL);
	beats->pid = vm->pid;
	find_vcpus(beats);
	beats->connection = schedrig_open(vm->socket, &err);
	if (beats->connection && beats->n_vcpus)
		beats->started = pthread_create(&beats->thread, NULL, watch, beats) == 0;
	if (beats->started)
		return beats;
	tap_fail(__FILE__, __LINE__, "cannot watch the heartbeat: %u vCPUs, %s", beats->n_vcpus, err.message);
	(void)beats_end(beats);
	return NULL;
}

struct beats_seen beats_so_far(struct beats *beats)
{
	pthread_mutex_lock(&beats->lock);
	struct beats_seen seen = beats->seen;
	pthread_mutex_unlock(&beats->lock);
	return seen;
}

struct beats_seen beats_end(struct beats *beats)
{
	struct beats_seen seen = {0};
	if (!beats)
		return seen;
	pthread_mutex_lock(&beats->lock);
	beats->stopping = true;
	pthread_mutex_unlock(&beats->lock);
	if (beats->started)
		pthread_join(beats->thread, NULL);
	seen = beats->seen;
	schedrig_close(beats->connection);
	pthread_mutex_destroy(&beats->lock);
	free(beats);
	return seen;
}
