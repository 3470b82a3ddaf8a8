/* SPDX-License-Identifier: GPL-2.0-only */
/* A decoded snapshot: plain values, immutable, any thread. Lists of what is captured exist here and only
 * here.
 *
 *   snapshot_raw_new()   before the freeze: everything that allocates
 *   snapshot_capture()   inside: copies, nothing else
 *   snapshot_decode()    after the thaw: looks members up in the copies, symbolises
 *   snapshot_store_add() keeps it by name */
#ifndef HOST_SNAPSHOT_SNAPSHOT_H
#define HOST_SNAPSHOT_SNAPSHOT_H

#include "common/err.h"
#include "common/scope.h"
#include "host/vm/freeze.h"

#define SNAPSHOT_NAME_MAX 65 /* with its NUL */
#define SNAPSHOT_CPUS_MAX 1024u

/* Parts that can be asked for: name on the wire, whether this version has it. */
#define SNAPSHOT_PART_LIST(X)                                                                                \
	X(REGISTERS, "registers", true)                                                                      \
	X(RUN_QUEUES, "run_queues", true)                                                                    \
	X(TASKS, "tasks", false)                                                                             \
	X(DISPATCH_QUEUES, "dispatch_queues", false)                                                         \
	X(SCHED_EXT, "sched_ext", false)                                                                     \
	X(BPF_MAPS, "bpf_maps", false)                                                                       \
	X(CGROUPS, "cgroups", false)                                                                         \
	X(TIME, "time", false)

enum snapshot_part {
#define X(name, text, here) SNAPSHOT_##name,
	SNAPSHOT_PART_LIST(X)
#undef X
		SNAPSHOT_PART_COUNT,
};
#define SNAPSHOT_BIT(part) (1u << (part))
#define SNAPSHOT_ALL (SNAPSHOT_BIT(SNAPSHOT_REGISTERS) | SNAPSHOT_BIT(SNAPSHOT_RUN_QUEUES))

/* Members of struct rq: id, group and name in the output, paths (newest kernel first, all of the same
 * meaning).
 *
 * cfs.h_nr_queued and cfs.nr_queued were h_nr_running and nr_running before "sched/fair: Rename h_nr_running
 * into h_nr_queued" and "sched/fair: Rename cfs_rq.nr_running into nr_queued" (also in stable trees). */
#define SNAPSHOT_RQ_LIST(X)                                                                                  \
	X(NR_RUNNING, "", "nr_running", "nr_running", NULL)                                                  \
	X(NR_SWITCHES, "", "nr_switches", "nr_switches", NULL)                                               \
	X(CLOCK, "", "clock", "clock", NULL)                                                                 \
	X(CLOCK_TASK, "", "clock_task", "clock_task", NULL)                                                  \
	X(CLOCK_FLAGS, "", "clock_update_flags", "clock_update_flags", NULL)                                 \
	X(ONLINE, "", "online", "online", NULL)                                                              \
	X(TTWU_PENDING, "", "ttwu_pending", "ttwu_pending", NULL)                                            \
	X(CFS_H_NR_QUEUED, "cfs", "h_nr_queued", "cfs.h_nr_queued", "cfs.h_nr_running")                      \
	X(CFS_H_NR_RUNNABLE, "cfs", "h_nr_runnable", "cfs.h_nr_runnable", NULL)                              \
	X(CFS_NR_QUEUED, "cfs", "nr_queued", "cfs.nr_queued", "cfs.nr_running")                              \
	X(RT_NR_RUNNING, "rt", "rt_nr_running", "rt.rt_nr_running", NULL)                                    \
	X(DL_NR_RUNNING, "dl", "dl_nr_running", "dl.dl_nr_running", NULL)                                    \
	X(NOHZ_TICK_STOPPED, "nohz", "tick_stopped", "nohz_tick_stopped", NULL)                              \
	X(NOHZ_FLAGS, "nohz", "flags", "nohz_flags.counter", NULL)                                           \
	X(SCX_NR_RUNNING, "scx", "nr_running", "scx.nr_running", NULL)                                       \
	X(SCX_FLAGS, "scx", "flags", "scx.flags", NULL)                                                      \
	X(SCX_LOCAL_DSQ_NR, "scx", "local_dsq_nr", "scx.local_dsq.nr", NULL)                                 \
	X(SCX_OPS_QSEQ, "scx", "ops_qseq", "scx.ops_qseq", NULL)                                             \
	X(SCX_CPU_RELEASED, "scx", "cpu_released", "scx.cpu_released", NULL)                                 \
	X(SCX_CLOCK, "scx", "clock", "scx.clock", NULL)

/* Members of the current task. */
#define SNAPSHOT_TASK_LIST(X)                                                                                \
	X(PID, "pid", "pid")                                                                                 \
	X(TGID, "tgid", "tgid")                                                                              \
	X(STATE, "state", "__state")                                                                         \
	X(POLICY, "policy", "policy")                                                                        \
	X(PRIO, "prio", "prio")

enum snapshot_rq_field {
#define X(id, group, name, path, older) SNAPSHOT_RQ_##id,
	SNAPSHOT_RQ_LIST(X)
#undef X
		SNAPSHOT_RQ_COUNT,
};
enum snapshot_task_field {
#define X(id, name, path) SNAPSHOT_TASK_##id,
	SNAPSHOT_TASK_LIST(X)
#undef X
		SNAPSHOT_TASK_COUNT,
};

/* A member that this kernel does not have is absent, not zero. Signed members are sign-extended. */
struct snapshot_value {
	bool present, is_signed;
	uint64_t value;
};

struct snapshot_task {
	uint64_t address; /* of its task_struct */
	char comm[17];
	struct snapshot_value field[SNAPSHOT_TASK_COUNT];
	struct err err; /* code set: could not be read, and nothing but the address is valid */
};

struct snapshot_rq {
	unsigned cpu;
	struct err err;   /* code set: could not be read, and nothing but cpu is valid */
	uint64_t address; /* of its struct rq */
	struct snapshot_value field[SNAPSHOT_RQ_COUNT];
	struct snapshot_task curr;
};

struct snapshot_vcpu {
	struct vcpu_state state; /* registers unless state.read_errno */
	char rip_text[128];      /* "schedule+0x12"; "" outside of the kernel's image */
};

struct snapshot {
	char name[SNAPSHOT_NAME_MAX];
	uint32_t sequence; /* among repeats of the name, from 0; set by the store */
	uint32_t parts;    /* asked for, SNAPSHOT_BIT() */
	char kernel[160];  /* banner of the image up to its build host; "" */
	char build_id[72]; /* hexadecimal, "" */
	uint64_t wall_ns;  /* CLOCK_REALTIME at the copy, for people */
	struct freeze_times freeze;
	uint64_t copy_ns; /* how long copying took inside the freeze */
	uint64_t bytes;   /* memory this snapshot takes in the store */
	struct snapshot_value jiffies;
	struct err kernel_err; /* code set: kernel memory could not be read at all, why */
	unsigned n_vcpus, n_rqs;
	struct snapshot_vcpu *vcpus;
	struct snapshot_rq *rqs;
	unsigned n_missing; /* entries above that carry an error */
};

void snapshot_free(struct snapshot *snapshot);
SCOPE_GUARD(struct snapshot *, snapshot_free, snapshot_free)

/* Part names to bits; none at all means everything. ERR_UNSUPPORTED for those of a later version,
 * ERR_INVALID_ARGUMENT with the list for unknown ones. */
int snapshot_parts(const char *const *names, size_t n, uint32_t *ret_parts, struct err *err) must_check;

/* Text in JSON (heap, NUL-terminated): what goes to the run directory. */
int snapshot_to_json(
	const struct snapshot *snapshot, char **ret_text, size_t *ret_length, struct err *err) must_check;
/* Writes DIRECTORY/NAME.SEQUENCE.json (bytes of the name that are not fit for a file as %XX) through a
 * temporary file, fsync and rename. Blocks: a worker's business. ret_path may be NULL. */
int snapshot_write(const struct snapshot *snapshot, const char *directory, char *ret_path, size_t size,
	struct err *err) must_check;

#endif
