/* SPDX-License-Identifier: GPL-2.0-only */
/* End-to-end tests: programs of ours as a user runs them, VMs shared by many tests, results as TAP. One
 * thread.
 *
 * A test is a function; EXPECT() ends it with a failure that says what was seen. Everything a test starts is
 * ended by harness_end() at the latest. Time limits scale with SCHEDRIG_SPEED. */
#ifndef TESTS_E2E_HARNESS_H
#define TESTS_E2E_HARNESS_H

#include "common/strbuf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* --- tests as TAP --- */

typedef void (*test_fn)(void);
/* Runs one test and prints its line. `name` may hold what it runs on. */
void tap_run(const char *name, test_fn fn);
void tap_skip(const char *name, const char *reason);
/* Prints the plan; exit status for main(). */
int tap_end(void);
/* Records a failure of the running test. */
void tap_fail(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#define EXPECT(condition, ...)                                                                               \
	do {                                                                                                 \
		if (!(condition)) {                                                                          \
			tap_fail(__FILE__, __LINE__, "(" #condition ") " __VA_ARGS__);                       \
			return;                                                                              \
		}                                                                                            \
	} while (0)

/* --- programs --- */

/* Makes a scratch directory. The build sets SCHEDRIG_BUILD_HOST, SCHEDRIG_TREE and SCHEDRIG_KERNEL_STORE. */
void harness_begin(int argc, char **argv);
/* Ends what still runs, removes the scratch directory, fails the run if fds or processes were left. */
void harness_end(void);
/* Factor for time limits, 1 to 20: what SCHEDRIG_SPEED says of this machine. */
double harness_speed(void);
/* So many seconds (scaled) from now, as clock_deadline_ns(). */
uint64_t harness_deadline_ns(unsigned seconds);
/* A path in the scratch directory; static storage, four at a time. */
const char *scratch_path(const char *name);
/* Path of BUILD/host/<name>; static storage. */
const char *program_path(const char *name);

struct run {
	int status; /* exit status, 128 + signal, or -1 after the time limit */
	struct strbuf out, err;
};
/* Runs argv (NULL-terminated) to its end; seconds (scaled) is the limit. */
void run_program(const char *const *argv, unsigned seconds, struct run *ret);
void run_deinit(struct run *run);
#define _cleanup_run_ __attribute__((cleanup(run_deinit)))

/* --- VMs --- */

struct vm_process {
	pid_t pid;
	char socket[108];
	char run_dir[256];
	char console[256];
	char error[1024]; /* what --ready-fd said, if it did not come up */
};

/* For a program of one VM: harness_begin(), vm_up(), each test (until one has no name), vm_down(),
 * harness_end(); exit status for main(). */
struct test {
	const char *name;
	test_fn fn;
};
int vm_test_main(struct vm_process *vm, int argc, char **argv, const char *topology, const char *const *more,
	const struct test *tests);
/* Its halves. False: there is no VM, and that has been told. */
bool vm_main_begin(struct vm_process *vm, const char *kernel, const char *topology, bool pinned,
	const char *const *more);
int vm_main_end(struct vm_process *vm, bool up);

/* Starts schedrigd with the kernel (a prefix of a release), topology and further options (NULL-terminated,
 * may be NULL) and waits until it is ready; `pinned`: all vCPUs on one host CPU, the last, so that controller
 * and clients have the others to themselves. False, with error set, when it does not come up. */
bool vm_up(struct vm_process *vm, const char *kernel, const char *topology, bool pinned,
	const char *const *more);
/* The same without waiting; vm_wait_ready() follows. */
bool vm_begin(struct vm_process *vm, const char *kernel, const char *topology, bool pinned,
	const char *const *more);
bool vm_wait_ready(struct vm_process *vm);
/* Ends it in order; its exit status (128 + signal), or -1. */
int vm_down(struct vm_process *vm);
/* Waits for it to end by itself; as vm_down(). */
int vm_wait(struct vm_process *vm, unsigned seconds);

/* A payload `ran` (needs `sh` staged): ends when every task in this cgroup has used 50 ms of CPU time since
 * it looked first; what a task has done by then it has done where it is now. */
#define PAYLOAD_RAN(cgroup)                                                                                  \
	"{name: ran, program: sh, checks: [{exit_code_eq: 0}], default_args: [-c, 'while read -r p; do "     \
	"read -r a "                                                                                         \
	"x </proc/$p/schedstat; while read -r n x </proc/$p/schedstat && [ $((n-a)) -lt 50000000 ]; do :; "  \
	"done; done </sys/fs/cgroup/schedrig/" cgroup "/cgroup.procs']}"

/* Submits a scenario (YAML text) and returns the RunResult as JSON, or NULL with a failure recorded. exit:
 * schedrig's status. */
json_t *vm_submit(struct vm_process *vm, const char *yaml, int *ret_exit);
/* The same, if that is its exit status; otherwise NULL with a failure recorded that has the verdict. */
json_t *vm_submit_for(struct vm_process *vm, const char *yaml, int want_exit);
/* Submits tests/scenarios/NAME and records a failure unless that is its exit status. */
void vm_submit_file(struct vm_process *vm, const char *name, int want_exit);
/* schedrig -s SOCKET args...; output in ret. */
void vm_client(struct vm_process *vm, const char *const *args, unsigned seconds, struct run *ret);

/* --- JSON --- */

/* Walks "verdict.parts[0].kind"; NULL if it is not there. Borrowed. */
json_t *json_at(json_t *root, const char *path);
/* Text there, or "". */
const char *json_text(json_t *root, const char *path);
/* Integer there, or -1. */
json_int_t json_number(json_t *root, const char *path);

/* Number there, also one that is a text because it is large; 0 if it is left out, as Protobuf leaves zeros
 * out. */
long long json_count(json_t *root, const char *path);
/* The result of the op at this place ("steps[0].ops[1]"), or NULL. Borrowed. */
json_t *json_op(json_t *result, const char *place);
/* The report of the first worker of that name, or NULL. Borrowed. */
json_t *json_worker(json_t *result, const char *comm);
void json_release(json_t **json);
#define _cleanup_json_ __attribute__((cleanup(json_release)))

#endif
