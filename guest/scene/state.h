/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside the scene: its lists. Only files of this directory include it; everything is the scene lock's. */
#ifndef GUEST_SCENE_STATE_H
#define GUEST_SCENE_STATE_H

#include "guest/scene/scene.h"

#include <pthread.h>

#define SCENE_STOP_NS (UINT64_C(5) * 1000000000)  /* cooperative stop, shared by all workers of an op */
#define SCENE_KILL_NS (UINT64_C(10) * 1000000000) /* from SIGKILL to the exit */
#define SCENE_DRAIN_NS                                                                                       \
	(UINT64_C(20) * 1000000000) /* from killing a payload to the end of all that it started */
#define SCENE_REMOVE_NS (UINT64_C(10) * 1000000000) /* teardown's patience with a cgroup */

/* What a start says where CLONE_INTO_CGROUP is missing. */
#define SCENE_MOVED_NOTE                                                                                     \
	"this kernel cannot make a process inside a cgroup (Linux 5.7 can): it was made in the agent's, "    \
	"held, and moved before it went on"

struct scene_cgroup {
	struct scene_cgroup *next; /* newest first */
	char name[CG_NAME_BYTES];
	char path[CG_PATH_BYTES]; /* below the root: "schedrig/web" */
	enum scene_scope scope;
	int fd;
	unsigned set;  /* number of the set in force, work_set_alloc() */
	bool recorded; /* `cpus` was asked for */
	struct cpuset cpus;
	bool mimics; /* inherits by having the same CPUs as its parent, see cpus.c */
	bool frozen;
	bool adopted;      /* there may be others in it */
	bool gone;         /* removed: only references keep it */
	unsigned arriving; /* starts under way of what will be tracked in it */
	unsigned refs;
};

struct scene_worker {
	struct scene_worker *next;   /* newest first */
	struct scene_cgroup *cgroup; /* NULL = runner; a reference */
	enum scene_scope scope;
	uint32_t started_phase;
	bool discard; /* no report is wanted */
	bool claimed; /* some call is stopping it */
	struct work work;
};

struct scene_run {
	struct scene_run *next; /* newest first */
	char name[136], place[160];
	struct scene_cgroup *cgroup; /* NULL = runner; a reference */
	enum scene_scope scope;
	bool has_exit_check, exit_required, exit_stops, claimed;
	int exit_check;
	unsigned refs;
	bool gone;
	struct payload *payload;
};

struct scene_output {
	struct scene_output *next;
	uint64_t id;
	struct output out[2];
};

/* An interrupt that was steered, and what it is to get back. */
struct scene_irq {
	struct scene_irq *next; /* newest first */
	enum scene_scope scope;
	uint32_t number;
	char before[CPUSET_TEXT_BYTES];
};

struct scene {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* something claimed is gone */
	struct scene_config config;
	struct cpu_layout layout;
	uint64_t seed, drawn;
	bool running;
	int parent_fd, adhoc_fd; /* -1 until needed */
	struct scene_cgroup *cgroups;
	struct scene_worker *workers;
	struct scene_run *payloads;
	struct scene_irq *irqs;
	char ran[64][136]; /* names of payloads that were waited for or killed: for messages */
	unsigned n_ran;
	uint64_t ended_iterations;
	/* Ended but not collected yet, by scope, newest first. */
	struct scene_worker_report *worker_reports[SCENE_SCOPES];
	struct scene_payload_report *payload_reports[SCENE_SCOPES];
	struct scene_output *outputs;
	uint64_t last_output;
};

void scene_note(const struct scene_call *call, const char *fmt, ...) printf_like(2, 3);
bool scene_adhoc(enum scene_scope scope);

/* NULL when not tracked. */
struct scene_cgroup *scene_find(struct scene *scene, const struct scene_call *call, const char *name);
/* ERR_NOT_FOUND with what is tracked. "" is refused. */
int scene_need(struct scene *scene, const struct scene_call *call, const char *name,
	struct scene_cgroup **ret_cgroup, struct err *err) must_check;
struct scene_cgroup *scene_ref(struct scene_cgroup *cgroup);
void scene_unref(struct scene_cgroup *cgroup);
/* Brackets a start in it with the lock let go; a reference, too. Take NULL. */
void scene_arrive(struct scene_cgroup *cgroup);
void scene_arrived(struct scene_cgroup *cgroup);

/* Where a staged program is, and the environment of programs. */
void scene_program_path(const struct scene *scene, const char *program, char *buffer, size_t size);
char *const *scene_environment(void);

/* Brackets a change of cpusets: every set at or below `cgroup`. end reads the effective sets back. */
void scene_cpus_begin(struct scene *scene, const struct scene_cgroup *cgroup);
void scene_cpus_end(struct scene *scene, const struct scene_cgroup *cgroup);

/* (waits) Unfreezes cgroups of these workers, stops and reports them. match decides under the lock. `kill`:
 * at once and without report. ERR_TIMEOUT: one does not die although it was killed; the sentence names it and
 * its state, it is reported as missing, and nothing waits for it any more. */
typedef bool (*scene_match_fn)(const struct scene_worker *worker, const void *arg);
int scene_stop_workers(struct scene *scene, scene_match_fn match, const void *arg, bool kill, bool discard,
	bool removed, struct err *err) must_check;
/* (waits) Kills and collects payloads, newest first. ERR_TIMEOUT: something of one does not die, as for
 * workers. */
typedef bool (*scene_run_match_fn)(const struct scene_run *run, const void *arg);
int scene_drain_payloads(
	struct scene *scene, scene_run_match_fn match, const void *arg, struct err *err) must_check;
/* Takes the outputs of report->end over, and puts tails, sizes and number into the report. */
void scene_keep_output(struct scene *scene, struct scene_payload_report *report);
/* (waits) Directory and everything tracked in it, children first. Called with the lock held. */
int scene_remove_locked(struct scene *scene, struct scene_cgroup *cgroup, uint64_t deadline_ns, bool removed,
	unsigned *ret_strays, struct err *err) must_check;
/* Undoes what steered interrupts of the scope, newest first; step-local ones too when it is the backdrop. */
void scene_restore_irqs(struct scene *scene, enum scene_scope scope, struct scene_ended *ended);
void scene_ended_add(struct scene_ended *ended, const struct err *err);
/* Whether a thing of scope `what` ends with `scope`. */
bool scene_ends_with(enum scene_scope what, enum scene_scope scope);
/* `inner` is below `outer` or is it. */
bool scene_inside(const struct scene_cgroup *inner, const struct scene_cgroup *outer);

#endif
