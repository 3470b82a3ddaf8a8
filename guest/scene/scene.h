/* SPDX-License-Identifier: GPL-2.0-only */
/* Everything that ops have made and that is still there: cgroups, workers, payloads, each with its scope, and
 * the reports of what has ended. Names are looked up step-local first, then in the backdrop; a client's
 * ad-hoc ops have a scope of their own, looked up before both. One name is tracked once per family (scenario,
 * ad-hoc).
 *
 * One lock guards it all. Calls take it themselves; those marked (waits) let go of it while they wait for
 * processes or the kernel's notifications, so that another lane's ops go on. What such a call works on stays
 * valid by reference counts; what was removed meanwhile is `gone`. */
#ifndef GUEST_SCENE_SCENE_H
#define GUEST_SCENE_SCENE_H

#include "common/cpu_layout.h"
#include "guest/cgroup/cgroup.h"
#include "guest/irq/irq.h"
#include "guest/payload/payload.h"
#include "guest/work/affinity.h"
#include "guest/work/work.h"

struct scene;

enum scene_scope { SCENE_STEP, SCENE_BACKDROP, SCENE_ADHOC, SCENE_SCOPES };

/* Where the scene's cgroups go. */
struct scene_config {
	int root_fd;            /* top of the cgroup tree the agent may use; borrowed */
	const char *parent;     /* directory below it for scenarios ("schedrig") */
	const char *adhoc;      /* and for ad-hoc ops */
	int stray_fd;           /* stray tasks of removed cgroups go there; -1: they are killed */
	struct loop *loop;      /* on which payloads' output is read */
	const char *staged;     /* directory of staged programs */
	bool realtime;          /* the agent runs at FIFO 99: keepers do too */
	uint32_t speed_percent; /* 100 = native: default deadlines are widened by 100 / this */
};

/* One op as the scene sees it. */
struct scene_call {
	enum scene_scope scope; /* of what it makes */
	bool adhoc;             /* looks up ad-hoc names first */
	bool strict;            /* untracked names are errors; otherwise notes where spec/1 1.6 says so */
	uint64_t deadline_ns;   /* CLOCK_MONOTONIC */
	struct cancel *cancel;
	const char *place;                         /* "steps[1].ops[0]" */
	void (*note)(void *arg, const char *text); /* for the result; may be NULL */
	void *arg;
};

struct scene *scene_new(const struct scene_config *config, struct err *err) must_check;
void scene_free(struct scene *scene);

/* A scenario starts. What an earlier one left is an error. */
struct scene_start {
	uint64_t seed;
	char *const *controllers; /* enabled from the root to the scenario's parent */
	size_t n_controllers;
};
int scene_begin(struct scene *scene, const struct scene_start *start, struct err *err) must_check;
void scene_set_speed(struct scene *scene, uint32_t speed_percent);
/* Before the first op only: readers take no lock. */
void scene_set_layout(struct scene *scene, const struct cpu_layout *layout);
const struct cpu_layout *scene_layout(struct scene *scene);

/* --- cgroups --- */
int scene_add_cgroup(
	struct scene *scene, const struct scene_call *call, const char *name, struct err *err) must_check;
/* (waits) */
int scene_remove_cgroup(
	struct scene *scene, const struct scene_call *call, const char *name, struct err *err) must_check;
struct scene_cpus {
	char cpus[CPUSET_TEXT_BYTES], effective[CPUSET_TEXT_BYTES]; /* as read back */
};
/* cpus NULL: inherit. */
int scene_set_cpuset(struct scene *scene, const struct scene_call *call, const char *name,
	const struct cpuset *cpus, struct scene_cpus *ret_cpus, struct err *err) must_check;
int scene_swap_cpusets(struct scene *scene, const struct scene_call *call, const char *a, const char *b,
	struct err *err) must_check;
int scene_set_mems(struct scene *scene, const struct scene_call *call, const char *name,
	const struct cpuset *nodes, struct err *err) must_check;
/* (waits) wrote(call->arg, ...): each file that was written, as read back; may be NULL. */
int scene_set_knobs(struct scene *scene, const struct scene_call *call, const char *name,
	const struct cg_knobs *knobs, void (*wrote)(void *arg, const char *file, const char *value),
	struct err *err) must_check;
/* (waits) */
int scene_freeze(struct scene *scene, const struct scene_call *call, const char *name, bool freeze, bool wait,
	struct err *err) must_check;
/* Ascending IDs in heap arrays; ret_tids may be NULL. */
int scene_procs(struct scene *scene, const struct scene_call *call, const char *name, bool recursive,
	pid_t **ret_pids, size_t *ret_n_pids, pid_t **ret_tids, size_t *ret_n_tids,
	struct err *err) must_check;
/* Processes that a move took along; heap arrays. */
struct scene_moved {
	pid_t *pids, *untracked; /* untracked: moved too if that was asked for, otherwise still there */
	size_t n_pids, n_untracked;
	unsigned exited, tries;
};
void scene_moved_deinit(struct scene_moved *moved);
/* (waits) Moves every tracked worker and payload of `from` ("" = the runner cgroup's workers), with what they
 * have started, and tracks them in `to` from then on; `untracked`: all other processes in it, too. A failure
 * moves back what had been moved and names the process. While an ext scheduler is attached, which may veto
 * with any errno, what was refused is tried again 3 times, 100 ms apart: the move, and, without letting go of
 * the scene, a way back; if that stays refused the error says how many are in `to`. Step-local tasks that
 * come to a backdrop cgroup belong to the backdrop. ERR_INVALID_ARGUMENT (the same twice),
 * ERR_FAILED_PRECONDITION (a backdrop task and a step's cgroup; `to` has controllers enabled for children),
 * ERR_ALREADY_EXISTS (a payload of that name is live there), ERR_NOT_FOUND (also: all of them have exited),
 * ERR_GUEST_OS, ERR_CANCELLED. */
int scene_move_tasks(struct scene *scene, const struct scene_call *call, const char *from, const char *to,
	bool untracked, struct scene_moved *ret_moved, struct err *err) must_check;
/* Recorded cpuset of the cgroup; false: none recorded (or NULL, the runner cgroup). */
bool scene_recorded(
	struct scene *scene, const struct scene_call *call, const char *name, struct cpuset *ret_set);

/* --- workers; cgroup NULL = the runner cgroup --- */
struct scene_spawn {
	const char *cgroup;
	struct work_spec
		work; /* its affinity is resolved here from the intent, names of cgroups and programs too */
	struct affinity affinity;
	bool has_numa_node; /* only CPUs of this node, of those that the affinity leaves */
	uint32_t numa_node;
	unsigned count;
};
/* (waits) Several are the threads of one process: they name the same thread group and cgroup, uid and gid.
 * ret_pids: thread IDs, as many entries as the counts come to. */
int scene_spawn(struct scene *scene, const struct scene_call *call, const struct scene_spawn *spawns,
	unsigned n_spawns, pid_t *ret_pids, struct err *err) must_check;
/* Lets the workers of this scope that wait to be made older (work_spec.uptime_ns) begin. */
void scene_release(struct scene *scene, enum scene_scope scope);
/* (waits) Workers and payloads; cgroup "" = the runner cgroup's. */
int scene_stop_cgroup(struct scene *scene, const struct scene_call *call, const char *name, bool keep_reports,
	struct err *err) must_check;
int scene_set_affinity(struct scene *scene, const struct scene_call *call, const char *name,
	const struct affinity *affinity, struct err *err) must_check;

/* --- payloads; cgroup "" = the runner cgroup --- */
struct scene_payload {
	const char *name, *cgroup, *program; /* program: staged name */
	char *const *argv;                   /* argv[0] included, NULL-terminated */
	bool outlive_step;
	bool has_exit_check, exit_required, exit_stops; /* a failed one counts; ends the step */
	int exit_check;
};
/* (waits) */
int scene_run_payload(struct scene *scene, const struct scene_call *call, const struct scene_payload *payload,
	pid_t *ret_pid, struct err *err) must_check;
struct scene_payload_report {
	struct scene_payload_report *next;
	char name[136], cgroup[CG_NAME_BYTES], place[160];
	bool adhoc; /* of the ad-hoc scope */
	bool has_exit_check, exit_required, exit_stops;
	int exit_check;
	struct payload_end end; /* its outputs are the scene's: empty here */
	char tail[2][PAYLOAD_TAIL_BYTES + 1];
	uint64_t bytes[2];  /* all it wrote to stdout and stderr */
	uint64_t output_id; /* what is kept of them, until scene_release_output(); 0: nothing */
};
/* Copies from what is kept of an ended payload's output (see output_read()). ERR_NOT_FOUND: it has been
 * released. */
int scene_read_output(struct scene *scene, uint64_t id, bool errors, uint64_t offset, void *buffer,
	size_t size, size_t *ret_count, uint64_t *ret_kept_bytes, struct err *err) must_check;
/* id 0: all of them. Unknown ones are fine. */
void scene_release_output(struct scene *scene, uint64_t id);
/* (waits) cgroup NULL: the only copy. The report is the caller's: free(). */
int scene_wait_payload(struct scene *scene, const struct scene_call *call, const char *name,
	const char *cgroup, struct scene_payload_report **ret_report, struct err *err) must_check;
int scene_kill_payload(struct scene *scene, const struct scene_call *call, const char *name,
	const char *cgroup, struct scene_payload_report **ret_report, struct err *err) must_check;

/* --- interrupts --- */
/* (waits) irq_steer(), then irq_settle() for wait_ns at most. The affinity before comes back at the end of
 * the call's scope unless `keep`, which also keeps what an earlier op of that scope did to the interrupt. */
int scene_steer_irq(struct scene *scene, const struct scene_call *call, const char *irq, unsigned cpu,
	bool keep, uint64_t wait_ns, struct irq_steered *ret_steered, struct err *err) must_check;

/* --- reports and ends --- */
struct scene_worker_report {
	struct scene_worker_report *next;
	char cgroup[CG_NAME_BYTES]; /* "" = runner */
	bool removed_mid_run, backdrop;
	uint32_t started_phase;
	struct work_report work;
};
struct scene_ended {
	struct scene_worker_report *workers;   /* in order of starting */
	struct scene_payload_report *payloads; /* newest first */
	struct scene_error {
		struct scene_error *next;
		struct err err;
	} * errors;
};
/* (waits) Teardown of a scope, in the order of spec/1 1.5 f: unfreeze, payloads newest first, workers,
 * cgroups in reverse order; last, interrupts get their affinities back. SCENE_BACKDROP ends the whole
 * scenario (step-local things first). kill_first: workers are killed before anything else. Never fails as a
 * whole: errors are in the result. */
void scene_end(struct scene *scene, enum scene_scope scope, bool kill_first, struct scene_ended *ret_ended);
void scene_ended_deinit(struct scene_ended *ended);

struct scene_totals {
	uint64_t iterations; /* of every worker so far, those that ended included, since scene_begin() */
	uint64_t now_ns;
	uint32_t workers, cgroups;
};
void scene_sample(struct scene *scene, struct scene_totals *ret_totals);
/* Of every worker alive, in order of starting: (what, where). Nobody is disturbed. */
typedef void (*scene_sample_fn)(void *arg, const struct work *work, const char *cgroup);
void scene_sample_each(struct scene *scene, scene_sample_fn fn, void *arg);
/* Never blocks: false when the scene is busy. For the heartbeat. */
bool scene_try_sample(struct scene *scene, struct scene_totals *ret_totals);

#endif
