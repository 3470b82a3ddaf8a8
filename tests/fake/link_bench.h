/* SPDX-License-Identifier: GPL-2.0-only */
/* A link on a loop of its own thread, for tests that call from theirs. */
#ifndef TESTS_FAKE_LINK_BENCH_H
#define TESTS_FAKE_LINK_BENCH_H

#include "common/cpu_layout.h"
#include "host/link/link.h"

#include <pthread.h>

struct link_bench {
	struct loop *loop;
	struct link *link;
	struct cpu_layout layout;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned readies, losses, events; /* under lock */
	struct err ready_err, lost_err;
	int fd; /* to be accepted */
};

/* n_cpus CPUs, two an LLC, four a node, without SMT. Aborts when it cannot. */
void link_bench_start(struct link_bench *bench, unsigned n_cpus);
/* Told to agents that connect from now on (link_config.speed_percent); 100 until then. */
void link_bench_set_speed(struct link_bench *bench, unsigned percent);
void link_bench_accept(struct link_bench *bench, int fd);
/* Waits for that many ready (or refusal) and lost callbacks in all; false after 100 s. */
bool link_bench_wait(struct link_bench *bench, unsigned readies, unsigned losses);
/* Whether that many connections have been lost. */
bool link_bench_lost(struct link_bench *bench, unsigned losses);
void link_bench_stop(struct link_bench *bench);

#endif
