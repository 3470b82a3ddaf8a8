/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the agent's side of workers: what those that were started together share. Only work.c, start.c,
 * custom.c and report.c include it. Calling threads of the agent. */
#ifndef GUEST_WORK_BATCH_H
#define GUEST_WORK_BATCH_H

#include "guest/work/slot.h"
#include "proto/worker_page.h"

/* Workers of one order. Its memory lives until the last one is released. */
struct work_batch {
	struct work_slot *slots;
	char *groups;         /* WORK_GROUP_BYTES for each group; NULL: groups of one */
	unsigned count, live; /* live: works not released yet */
	unsigned members;     /* of a group */
	int ready_write; /* while they start: one byte says that one of them has changed its state; borrowed
			  */
};
void batch_free(struct work_batch *batch);

/* A thread group. */
struct work_process {
	struct child child;
	unsigned refs;   /* works not released yet */
	int ready_write; /* as the batch's */
};

struct custom_worker {
	struct custom_worker *next;
	struct work *work;
	struct worker_page *page;
	int fd; /* until it has been started */
	/* The slot as the program's numbers have filled it. custom_lock. */
	struct work_part part;
	struct slot_numbers part_begin;
	uint64_t part_begin_ns;
};
/* A page for a worker that is about to be started. */
int custom_new(struct work *work, unsigned index, uint64_t seed, struct err *err) must_check;
/* It is released now. */
void custom_release(struct work *work, uint64_t now_ns);
enum slot_state custom_state(const struct custom_worker *custom);
void custom_ask_stop(struct custom_worker *custom);
/* Copies what the program has published into the slot; `last` closes the last part. */
void custom_sync(struct work *work, bool last);
/* A phase ends for all of them. */
void custom_change_phase(uint32_t phase);
void custom_free(struct work *work);

/* Its share in its process, which is forgotten with the last one's. */
void work_leave_process(struct work *work);
enum slot_state work_state(const struct work *work);

#endif
