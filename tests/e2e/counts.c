/* SPDX-License-Identifier: GPL-2.0-only */
/* Workers' counts and the kernel's (see counts.h).
 *
 *   phase      1              2               3              4
 *         ----|------ F1 ====|---------------|------ F2 ====|-- end      F: frozen, ====: still frozen
 *              ^ cut          ^ cut           ^ cut          ^ cut       cut: first checkpoint in the phase
 *
 * The scenario's steps are held up by their factories, which are asked for before the phase changes and
 * answer when what the test waits for has come to be. */
#include "tests/e2e/counts.h"

#include "common/clock.h"
#include "common/scope.h"
#include "host/client/schedrig.h"
#include "host/text/text.h"
#include "proto/pb.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECTS 4
enum { RUNTIME, MIGRATIONS, VOLUNTARY, INVOLUNTARY, COUNTED };
static const char *const counted[COUNTED] = {"se.sum_exec_runtime", "se.nr_migrations", "nvcsw", "nivcsw"};

/* CPU time of all subjects together between the freezes. What follows a thaw up to the next checkpoint is on
 * the wrong side for the 1 %: not even a millisecond, unless the host takes the CPU away just then. */
#define STRETCH_NS (10 * NS_PER_S)
#define STRETCH_LONGEST_NS (8 * STRETCH_NS)
/* A part with so few units may be the checkpoint alone at which the worker saw two changes of the phase. */
#define UNITS_OF_A_BURST 1024
#define POLL_MS 5

struct look {
	uint64_t value[SUBJECTS][COUNTED];
	uint64_t usage_ns; /* of their cgroup */
};

struct watch {
	struct schedrig *beside; /* another connection: the scenario's waits for its end */
	unsigned n_cpus;
	uint64_t stretch_ns;
	uint64_t deadline_ns;
	int32_t pid[SUBJECTS];
	struct look begin, end;
	struct err err; /* the last one */
};

static const char scenario_text[] =
	"name: counts\n"
	"duration: 1h\n"
	"backdrop: {cgroups: [{name: seen, work: [{workers: 1}, {work_type: {bursty: {burst: 2ms, sleep: "
	"1ms}}},\n"
	"  {work_type: {affinity_churn: {spin: 16384}}}, {work_type: {yield_heavy: {}}}]}]}\n"
	"steps:\n"
	"  - hold: {fixed: 0s}\n"
	"  - {factory: {client: {name: begin, deadline: 1h}}, ops: [{unfreeze_cgroup: {cgroup: seen}}], "
	"hold: {fixed: "
	"0s}}\n"
	"  - {factory: {client: {name: run, deadline: 1h}}, hold: {fixed: 0s}}\n"
	"  - {factory: {client: {name: end, deadline: 1h}}, ops: [{unfreeze_cgroup: {cgroup: seen}}], hold: "
	"{fixed: "
	"0s}}\n";

static void *load(const ProtobufCMessageDescriptor *type, const char *text, struct err *err)
{
	ProtobufCMessage *message;
	struct text_errors *errors = malloc(sizeof(*errors));
	int r = errors ? text_load(type, text, strlen(text), &message, NULL, errors) : -1;
	if (r < 0)
		err_set(err, ERR_INVALID_ARGUMENT, "%s", errors ? errors->error[0].err.message : "no memory");
	free(errors);
	return r < 0 ? NULL : message;
}

/* --- what the kernel has counted --- */

static int read_values(struct watch *watch, bool cold, uint64_t value[SUBJECTS][COUNTED])
{
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	strbuf_printf(&text, "{cold: %s, reads: [", cold ? "true" : "false");
	for (unsigned i = 0; i < SUBJECTS; i++)
		for (unsigned c = 0; c < COUNTED; c++)
			strbuf_printf(&text, "{path: 'task(%" PRId32 ").%s'},", watch->pid[i], counted[c]);
	strbuf_printf(&text, "]}");
	Schedrig__V1__ReadRequest *read =
		load(&schedrig__v1__read_request__descriptor, strbuf_str(&text), &watch->err);
	Schedrig__V1__ReadResponse *response = NULL;
	int r = read ? schedrig_read(watch->beside, read, &response, &watch->err) : -1;
	if (r == 0 && response->n_values != SUBJECTS * COUNTED)
		r = err_set(&watch->err, ERR_INTERNAL, "%zu values", response->n_values);
	for (unsigned i = 0; r == 0 && i < SUBJECTS * COUNTED; i++)
		value[i / COUNTED][i % COUNTED] = response->values[i]->value;
	schedrig_free_message(response);
	pb_free(read);
	return r;
}

static int read_usage(struct watch *watch, uint64_t *ret_ns)
{
	static const char key[] = "usage_usec ";
	Schedrig__V1__PullRequest pull = SCHEDRIG__V1__PULL_REQUEST__INIT;
	Schedrig__V1__PullResponse *response = NULL;
	pull.path = (char *)"/sys/fs/cgroup/schedrig/seen/cpu.stat";
	int r = schedrig_pull(watch->beside, &pull, &response, &watch->err);
	if (r < 0)
		return r;
	char text[256];
	snprintf(text, sizeof(text), "%.*s", (int)response->data.len, (const char *)response->data.data);
	schedrig_free_message(response);
	if (strncmp(text, key, strlen(key)) != 0)
		return err_set(&watch->err, ERR_INTERNAL, "cpu.stat: %s", text);
	*ret_ns = strtoull(text + strlen(key), NULL, 10) * NS_PER_US;
	return 0;
}

/* Applies ops; the results in *ret (schedrig_free_message() it) if they succeeded. */
static int apply(struct watch *watch, const char *ops, Schedrig__V1__ApplyResponse **ret)
{
	Schedrig__V1__ApplyRequest *request =
		load(&schedrig__v1__apply_request__descriptor, ops, &watch->err);
	Schedrig__V1__ApplyResponse *response = NULL;
	int r = request ? schedrig_apply(watch->beside, request, 0, &response, &watch->err) : -1;
	pb_free(request);
	if (r == 0 && ret)
		*ret = TAKE_PTR(response);
	schedrig_free_message(response);
	return r;
}

static int find_subjects(struct watch *watch)
{
	Schedrig__V1__ApplyResponse *response = NULL;
	int r = apply(watch, "{ops: [{capture_cgroup_procs: {tag: subjects, cgroup: seen}}]}", &response);
	if (r < 0)
		return r;
	const Schedrig__V1__ProcsCapture *procs = response->n_results ? response->results[0]->procs : NULL;
	if (!procs || procs->n_pids != SUBJECTS)
		r = err_set(
			&watch->err, ERR_INTERNAL, "%zu processes in the cgroup", procs ? procs->n_pids : 0);
	for (unsigned i = 0; r == 0 && i < SUBJECTS; i++)
		watch->pid[i] = procs->pids[i];
	schedrig_free_message(response);
	return r;
}

/* --- waiting --- */

typedef bool (*come_fn)(const struct watch *watch, const struct look *since, const struct look *now);

/* Until `come`, which looks at the counts since the call. */
static int wait_for(struct watch *watch, come_fn come)
{
	struct look since, now;
	bool has_since = false;
	while (clock_left_ns(watch->deadline_ns)) {
		/* A read beside a running kernel may meet a list that changes: not yet. */
		if (read_values(watch, false, now.value) == 0) {
			if (!has_since)
				since = now;
			has_since = true;
			if (come(watch, &since, &now))
				return 0;
		}
		poll(NULL, 0, POLL_MS);
	}
	return has_since ? err_set(&watch->err, ERR_TIMEOUT, "the workers do not get on")
			 : err_wrap(&watch->err, "the workers' counts cannot be read");
}

/* Each has done something in this phase. */
static bool all_ran(const struct watch *watch, const struct look *since, const struct look *now)
{
	for (unsigned i = 0; i < SUBJECTS; i++)
		if (now->value[i][RUNTIME] - since->value[i][RUNTIME] < 50 * NS_PER_MS)
			return false;
	return true;
}

/* There is something to compare: of every kind. */
static bool enough(const struct watch *watch, const struct look *since, const struct look *now)
{
	uint64_t sum[COUNTED] = {0};
	for (unsigned i = 0; i < SUBJECTS; i++)
		for (unsigned c = 0; c < COUNTED; c++)
			sum[c] += now->value[i][c] - since->value[i][c];
	return all_ran(watch, since, now) && sum[RUNTIME] >= watch->stretch_ns && sum[VOLUNTARY] >= 100 &&
	       sum[INVOLUNTARY] > 0 && (watch->n_cpus == 1 || sum[MIGRATIONS] >= 100);
}

/* In the phase before the one that is about to begin: all have seen that one when they are frozen. They stay
 * frozen into the next phase, whose op thaws them. */
static int look_frozen(struct watch *watch, struct look *ret)
{
	int r = wait_for(watch, all_ran);
	if (r == 0)
		r = apply(watch, "{ops: [{freeze_cgroup: {cgroup: seen}}]}", NULL);
	if (r == 0)
		r = read_values(watch, true, ret->value);
	if (r == 0)
		r = read_usage(watch, &ret->usage_ns);
	return r;
}

static int on_factory(struct schedrig *schedrig, const Schedrig__V1__FactoryAsk *ask, void *arg)
{
	struct watch *watch = arg;
	int r;
	if (strcmp(ask->factory, "begin") == 0) {
		r = find_subjects(watch);
		if (r == 0)
			r = look_frozen(watch, &watch->begin);
	} else if (strcmp(ask->factory, "run") == 0) {
		r = wait_for(watch, enough);
	} else {
		r = look_frozen(watch, &watch->end);
	}
	return schedrig_answer_factory(schedrig, ask->ask, NULL, 0, r < 0 ? watch->err.message : NULL, NULL);
}

/* --- what the workers say --- */

static uint64_t part_value(const Schedrig__V1__PhasePart *part, unsigned c)
{
	switch (c) {
	case RUNTIME:
		return part->cpu_ns;
	case MIGRATIONS:
		return part->migrations;
	case VOLUNTARY:
		return part->voluntary_switches;
	default:
		return part->involuntary_switches;
	}
}

/* Sum over its parts of the phases first..last. */
static uint64_t counted_in(
	const Schedrig__V1__WorkerReport *worker, unsigned c, uint32_t first, uint32_t last)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < worker->n_phases; i++)
		if (worker->phases[i]->phase >= first && worker->phases[i]->phase <= last)
			sum += part_value(worker->phases[i], c);
	return sum;
}

static uint64_t units_in(const Schedrig__V1__WorkerReport *worker, uint32_t phase)
{
	for (size_t i = 0; i < worker->n_phases; i++)
		if (worker->phases[i]->phase == phase)
			return worker->phases[i]->units;
	return 0;
}

/* The latest phase up to this one that the worker is known to have seen before the freeze in it. */
static uint32_t seen_phase(const Schedrig__V1__WorkerReport *worker, uint32_t phase)
{
	while (phase > 0 && units_in(worker, phase) <= UNITS_OF_A_BURST)
		phase--;
	return phase;
}

/* By the worker's account, of the time between the freezes. */
struct account {
	uint64_t least, most; /* between any checkpoints inside, and around it */
	uint64_t nearest;     /* from the first checkpoint after the one thaw to that after the other */
};

static struct account account_of(const Schedrig__V1__WorkerReport *worker, unsigned c)
{
	uint32_t before = seen_phase(worker, 1), inside = seen_phase(worker, 3);
	return (struct account){
		.least = inside > 1 ? counted_in(worker, c, 2, inside - 1) : 0,
		.most = counted_in(worker, c, before, 3),
		.nearest = counted_in(worker, c, 2, 3),
	};
}

static const Schedrig__V1__WorkerReport *worker_with(const Schedrig__V1__RunResult *result, int32_t pid)
{
	for (size_t i = 0; i < result->n_workers; i++)
		if (result->workers[i]->pid == pid)
			return result->workers[i];
	return NULL;
}

/* Every change of CPU that a worker has seen is one of the kernel's; not all of those are seen, since a task
 * may be moved on twice before it runs. A worker that pins itself to one CPU after another is moved by nobody
 * else, and has a checkpoint after each time. */
static bool agrees(const Schedrig__V1__WorkerReport *worker, unsigned c, uint64_t kernel, struct account said)
{
	bool some_unseen = c == MIGRATIONS && strcmp(worker->work_type, "affinity_churn") != 0;
	if (said.least <= kernel && (some_unseen || kernel <= said.most))
		return true;
	tap_fail(__FILE__, __LINE__,
		"%s of %s: the kernel has counted %" PRIu64 ", the worker from %" PRIu64 " to %" PRIu64,
		counted[c], worker->work_type, kernel, said.least, said.most);
	return false;
}

/* 1: close enough, 0: not close, -1: a failure is recorded. */
static int compare(const struct watch *watch, const Schedrig__V1__RunResult *result)
{
	struct account all = {0};
	for (unsigned i = 0; i < SUBJECTS; i++) {
		const Schedrig__V1__WorkerReport *worker = worker_with(result, watch->pid[i]);
		if (!worker || worker->missing) {
			tap_fail(__FILE__, __LINE__, "process %" PRId32 " has no report", watch->pid[i]);
			return -1;
		}
		for (unsigned c = 0; c < COUNTED; c++)
			if (!agrees(worker, c, watch->end.value[i][c] - watch->begin.value[i][c],
				    account_of(worker, c)))
				return -1;
		struct account cpu = account_of(worker, RUNTIME);
		all.least += cpu.least;
		all.most += cpu.most;
		all.nearest += cpu.nearest;
	}
	/* cpu.stat has microseconds. */
	uint64_t kernel_ns = watch->end.usage_ns - watch->begin.usage_ns;
	if (all.least > kernel_ns + NS_PER_US || all.most + NS_PER_US < kernel_ns) {
		tap_fail(__FILE__, __LINE__,
			"cpu.stat has %" PRIu64 " ns more, the workers from %" PRIu64 " to %" PRIu64,
			kernel_ns, all.least, all.most);
		return -1;
	}
	double apart = ((double)all.nearest - (double)kernel_ns) / (double)kernel_ns;
	printf("# CPU time: %.3f s by cpu.stat, the workers' differs by %+.4f %%\n", (double)kernel_ns / 1e9,
		apart * 100);
	return apart > -0.01 && apart < 0.01;
}

/* --- the test --- */

/* As compare(). */
static int run(struct watch *watch, struct schedrig *client)
{
	watch->deadline_ns = harness_deadline_ns(300);
	Schedrig__V1__Scenario *scenario =
		load(&schedrig__v1__scenario__descriptor, scenario_text, &watch->err);
	struct schedrig_submit_options options = {.factory = on_factory, .arg = watch, .queue = true};
	Schedrig__V1__RunResult *result = NULL;
	int r = scenario ? schedrig_submit(client, scenario, &options, &result, &watch->err) : -1;
	if (r == 0 && result->verdict->verdict != SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS)
		r = err_set(&watch->err, ERR_INTERNAL, "%s",
			result->verdict->n_parts ? result->verdict->parts[0]->message : "no verdict");
	if (r < 0)
		tap_fail(__FILE__, __LINE__, "%s", watch->err.message);
	else
		r = compare(watch, result);
	schedrig_free_message(result);
	pb_free(scenario);
	return r;
}

void counts_compare(struct vm_process *vm, unsigned n_cpus, bool close)
{
	struct watch watch = {.n_cpus = n_cpus};
	struct schedrig *client = schedrig_open(vm->socket, &watch.err);
	watch.beside = client ? schedrig_open(vm->socket, &watch.err) : NULL;
	if (!watch.beside)
		tap_fail(__FILE__, __LINE__, "%s", watch.err.message);
	/* What a host takes away at the ends does not grow with the length; a count that is wrong does. */
	int r = watch.beside ? 0 : -1;
	for (watch.stretch_ns = close ? STRETCH_NS : STRETCH_NS / 4; r == 0; watch.stretch_ns *= 2) {
		if (watch.stretch_ns > STRETCH_LONGEST_NS) {
			tap_fail(__FILE__, __LINE__, "CPU time is not within 1 %% of cpu.stat");
			break;
		}
		r = run(&watch, client);
		if (!close)
			break;
	}
	schedrig_close(watch.beside);
	schedrig_close(client);
}
