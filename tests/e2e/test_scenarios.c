/* SPDX-License-Identifier: GPL-2.0-only */
/* The scenarios of tests/scenarios as schedrig runs them: the gallery, and for every assertion one that holds
 * and one that does not. e2e-scenarios KERNEL boots one VM of two nodes with a CPU each and runs all of them
 * on it; `beside`: only what needs something to happen beside a scenario. One thread. */
#include "host/client/schedrig.h"
#include "tests/e2e/scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vm_process vm;

/* Names of files; each is for what its first lines say. */
static const char *const gallery[] = {"steady", "oversubscribed", "cpuset-apply-clear-resize", "cgroup-churn",
	"affinity-change", "host-contention", "mixed-workloads", "nested-moves", "load-oscillation",
	"wake-latency", "priority-inversion", "rt-starvation", "suspend-resume", "memory-pressure"};

/* assertions/NAME-holds.yaml and assertions/NAME-fails.yaml; the latter fails by a finding of this kind. */
static const struct {
	const char *name, *kind;
} assertions[] = {
	{"not-stuck", "not_stuck"},
	{"max-gap", "gap"},
	{"max-spread", "fairness"},
	{"isolation", "isolation"},
	{"throughput-cv", "throughput"},
	{"work-rate", "throughput"},
	{"wake-p99", "wake_latency"},
	{"wake-cv", "wake_latency"},
	{"iteration-rate", "iteration_rate"},
	{"migration-ratio", "migration"},
	{"page-locality", "page_locality"},
	{"cross-node-migration", "page_locality"},
	{"delta", "expectation"},
	{"delta-payload", "expectation"},
	{"kernel-log", "expectation"},
	{"value", "expectation"},
	{"factory", "iteration_rate"},
};

/* The one that runs: tests are functions without arguments. */
static struct {
	char file[128];
	const char *kind; /* of its failure; NULL: it passes */
} now;

/* Findings of this verdict; the first is in ret. */
static size_t findings(json_t *result, const char *verdict, json_t **ret)
{
	size_t i, n = 0;
	json_t *part;
	json_array_foreach(json_at(result, "verdict.parts"), i, part)
	{
		if (strcmp(json_text(part, "verdict"), verdict) != 0)
			continue;
		if (n++ == 0)
			*ret = part;
	}
	return n;
}

static bool has_metric(json_t *measurement, const char *name)
{
	size_t i;
	json_t *metric;
	json_array_foreach(json_object_get(measurement, "metrics"), i, metric)
	{
		if (strcmp(json_text(metric, "name"), name) == 0)
			return true;
	}
	return false;
}

static void test_file(void)
{
	char path[512];
	const char *tree = getenv("SCHEDRIG_TREE");
	snprintf(path, sizeof(path), "%s/tests/scenarios/%s.yaml", tree ? tree : ".", now.file);
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"--json", "submit", path, NULL}, 120, &run);
	_cleanup_json_ json_t *result = json_loads(strbuf_str(&run.out), 0, NULL);
	EXPECT(result != NULL, "exit %d, no JSON: %s", run.status, strbuf_str(&run.err));
	char *verdict = json_dumps(json_at(result, "verdict"), JSON_INDENT(1));
	char text[4096];
	snprintf(text, sizeof(text), "%s", verdict ? verdict : "");
	free(verdict);
	EXPECT(run.status == (now.kind ? 1 : 0), "exit %d: %s", run.status, text);
	json_t *failed = NULL;
	size_t n = findings(result, "fail", &failed);
	EXPECT((n > 0) == (now.kind != NULL), "%s", text);
	if (now.kind)
		EXPECT(strcmp(json_text(failed, "kind"), now.kind) == 0, "%s", text);
	EXPECT(findings(result, "inconclusive", &failed) == 0, "%s", text);
	/* Of all workers over the whole scenario, wherever there were any. */
	if (json_array_size(json_object_get(result, "workers")) > 0)
		EXPECT(has_metric(json_at(result, "measurements[0]"), "iteration_rate"));
}

static void run_file(const char *kind, const char *fmt, const char *name)
{
	snprintf(now.file, sizeof(now.file), fmt, name);
	now.kind = kind;
	tap_run(now.file, test_file);
}

/* The result of a file's scenario, to be released; NULL: there was none. */
static json_t *submit_file(const char *name, int *ret_status)
{
	char path[512];
	const char *tree = getenv("SCHEDRIG_TREE");
	snprintf(path, sizeof(path), "%s/tests/scenarios/%s.yaml", tree ? tree : ".", name);
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"--json", "submit", path, NULL}, 120, &run);
	*ret_status = run.status;
	return json_loads(strbuf_str(&run.out), 0, NULL);
}

/* Both vCPUs have the same CPU of the host and never sleep: the one that gets less waits for half of the
 * time. */
static void test_a_busy_host_makes_timing_inconclusive(void)
{
	int status;
	json_t *part = NULL;
	json_t *beyond = submit_file("assertions/steal-beyond", &status);
	size_t inconclusive = findings(beyond, "inconclusive", &part),
	       failed = findings(beyond, "fail", &part);
	char kind[64], message[600];
	(void)findings(beyond, "inconclusive", &part);
	snprintf(kind, sizeof(kind), "%s", json_text(part, "kind"));
	snprintf(message, sizeof(message), "%s", json_text(part, "message"));
	json_decref(beyond);
	EXPECT(status == 2 && inconclusive == 1 && failed == 0, "exit %d, %zu, %zu: %s", status, inconclusive,
		failed, message);
	EXPECT(strcmp(kind, "iteration_rate") == 0 && strstr(message, "max_steal_pct is 20"), "%s: %s", kind,
		message);
	json_t *allowed = submit_file("assertions/steal-allowed", &status);
	failed = findings(allowed, "fail", &part);
	inconclusive = findings(allowed, "inconclusive", &part);
	json_decref(allowed);
	EXPECT(status == 1 && failed == 1 && inconclusive == 0, "exit %d, %zu, %zu", status, failed,
		inconclusive);
}

/* Iterations of the worker that has made the fewest, or -1 when there are not two of them. */
static json_int_t fewest_iterations(void)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"--json", "workers", NULL}, 60, &run);
	json_t *totals = json_loads(strbuf_str(&run.out), 0, NULL);
	json_int_t fewest = -1;
	size_t i;
	json_t *one;
	if (run.status == 0 && json_number(totals, "workers") == 2)
		json_array_foreach(json_object_get(totals, "each"), i, one)
		{
			json_int_t made = json_number(one, "iterations");
			if (fewest < 0 || made < fewest)
				fewest = made;
		}
	json_decref(totals);
	return fewest;
}

/* Each look sees more than the one before, sooner or later, and nobody has stopped for it. The last test:
 * they are left to the VM's end. */
static void test_workers_can_be_looked_at(void)
{
	const char *path = scratch_path("live.yaml");
	FILE *file = fopen(path, "w");
	EXPECT(file != NULL);
	fputs("{ops: [{add_cgroup_def: {name: live, work: [{workers: 2, comm: busy}]}}]}\n", file);
	fclose(file);
	{
		_cleanup_run_ struct run run;
		vm_client(&vm, (const char *const[]){"apply", path, NULL}, 60, &run);
		EXPECT(run.status == 0, "%s", strbuf_str(&run.err));
	}
	json_int_t first = fewest_iterations(), later = first;
	EXPECT(first >= 0);
	for (unsigned looks = 0; later <= first && looks < 1000; looks++)
		later = fewest_iterations();
	EXPECT(later > first, "%lld, then %lld", (long long)first, (long long)later);
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"workers", NULL}, 60, &run);
	EXPECT(run.status == 0, "%s", strbuf_str(&run.err));
	EXPECT(strstr(strbuf_str(&run.out), "busy") && strstr(strbuf_str(&run.out), "spin_wait") &&
			strstr(strbuf_str(&run.out), "2 workers in 1 cgroups"),
		"%s", strbuf_str(&run.out));
}

static void test_measurements_are_shown(void)
{
	char path[512];
	const char *tree = getenv("SCHEDRIG_TREE");
	snprintf(path, sizeof(path), "%s/tests/scenarios/wake-latency.yaml", tree ? tree : ".");
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"submit", path, NULL}, 120, &run);
	EXPECT(run.status == 0, "%s%s", strbuf_str(&run.out), strbuf_str(&run.err));
	EXPECT(strstr(strbuf_str(&run.out), "timers: 2 workers"), "%s", strbuf_str(&run.out));
	EXPECT(strstr(strbuf_str(&run.out), "timer p99"), "%s", strbuf_str(&run.out));
	EXPECT(strstr(strbuf_str(&run.out), "longest gap"), "%s", strbuf_str(&run.out));
}

static void test_a_command_makes_no_set_ups(void)
{
	int status;
	_cleanup_json_ json_t *result = vm_submit(&vm,
		"{duration: 300ms, steps: [{factory: {client: {name: x, deadline: 1m}}, hold: full}]}",
		&status);
	EXPECT(result != NULL && status == 1);
	EXPECT(strstr(json_text(result, "verdict.parts[0].message"), "libschedrig"), "%s",
		json_text(result, "verdict.parts[0].message"));
}

/* As a scheduler developer's own client would: one cgroup for each CPU of the machine it is told about. */
static int make_setup(struct schedrig *client, const Schedrig__V1__FactoryAsk *ask, void *arg)
{
	Schedrig__V1__CgroupDef def[8], *list[8];
	char names[8][16];
	unsigned *asked = arg;
	size_t n = 0;
	(*asked)++;
	for (; n < ask->layout->n_cpus && n < 8; n++) {
		snprintf(names[n], sizeof(names[n]), "mine%zu", n);
		schedrig__v1__cgroup_def__init(&def[n]);
		def[n].name = names[n];
		list[n] = &def[n];
	}
	return schedrig_answer_factory(client, ask->ask, list, n, NULL, NULL);
}

static void test_a_client_makes_the_set_up(void)
{
	Schedrig__V1__Scenario scenario = SCHEDRIG__V1__SCENARIO__INIT;
	Schedrig__V1__Step step = SCHEDRIG__V1__STEP__INIT, *steps[] = {&step};
	Schedrig__V1__SetupFactory factory = SCHEDRIG__V1__SETUP_FACTORY__INIT;
	Schedrig__V1__ClientFactory mine = SCHEDRIG__V1__CLIENT_FACTORY__INIT;
	Schedrig__V1__Duration duration = SCHEDRIG__V1__DURATION__INIT,
			       deadline = SCHEDRIG__V1__DURATION__INIT;
	Schedrig__V1__Assertions asserted = SCHEDRIG__V1__ASSERTIONS__INIT;
	Schedrig__V1__Isolation isolation = SCHEDRIG__V1__ISOLATION__INIT;
	struct err err = ERR_INIT;
	unsigned asked = 0;
	duration.ns = 300000000;
	deadline.ns = UINT64_C(120) * 1000000000;
	mine.name = (char *)"mine";
	mine.deadline = &deadline;
	factory.client = &mine;
	step.factory = &factory;
	asserted.isolation = &isolation;
	scenario.duration = &duration;
	scenario.n_steps = 1;
	scenario.steps = steps;
	scenario.assertions = &asserted;
	struct schedrig_submit_options options = {.factory = make_setup, .arg = &asked, .queue = true};
	struct schedrig *client = schedrig_open(vm.socket, &err);
	EXPECT(client != NULL, "%s", err.message);
	Schedrig__V1__RunResult *result = NULL;
	int r = schedrig_submit(client, &scenario, &options, &result, &err);
	unsigned verdict = r == 0 ? result->verdict->verdict : 0;
	size_t workers = r == 0 ? result->n_workers : 0;
	schedrig_free_message(result);
	schedrig_close(client);
	EXPECT(r == 0, "%s", err.message);
	EXPECT(asked == 1 && workers == 2, "asked %u times, %zu workers", asked, workers);
	EXPECT(verdict == SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS, "%u", verdict);
}

int main(int argc, char **argv)
{
	static const char *const staged[] = {"--stage", "sh=/bin/sh", NULL};
	bool only_beside = argc == 3;
	if (argc != 2 && !only_beside) {
		fprintf(stderr, "usage: %s KERNEL [beside]\n", argv[0]);
		return 64;
	}
	harness_begin(argc, argv);
	if (!vm_main_begin(&vm, argv[1], "2n2l1c1t", true, staged))
		return vm_main_end(&vm, false);
	const char *why = why_no_gaps_by_the_host();
	if (why)
		tap_skip("gaps that the host made", why);
	else
		tap_run("gaps that the host made", test_gaps_that_the_host_made);
	tap_run("a payload that a client waits for", test_a_payload_that_a_client_waits_for);
	if (only_beside)
		return vm_main_end(&vm, true);
	for (size_t i = 0; i < sizeof(assertions) / sizeof(assertions[0]); i++) {
		run_file(NULL, "assertions/%s-holds", assertions[i].name);
		run_file(assertions[i].kind, "assertions/%s-fails", assertions[i].name);
	}
	for (size_t i = 0; i < sizeof(gallery) / sizeof(gallery[0]); i++)
		run_file(NULL, "%s", gallery[i]);
	tap_run("measurements are shown", test_measurements_are_shown);
	tap_run("a client makes the set-up", test_a_client_makes_the_set_up);
	tap_run("a command makes no set-ups", test_a_command_makes_no_set_ups);
	tap_run("a busy host makes timing inconclusive", test_a_busy_host_makes_timing_inconclusive);
	tap_run("workers can be looked at at any time", test_workers_can_be_looked_at);
	return vm_main_end(&vm, true);
}
