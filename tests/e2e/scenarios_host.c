/* SPDX-License-Identifier: GPL-2.0-only */
/* Gaps that the host makes: a real-time thread of ours holds the vCPUs' CPU for most of every second. One
 * thread, and that. */
#include "common/clock.h"
#include "tests/e2e/harness.h"
#include "tests/e2e/scenarios.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* In every second less than the 0.95 that a host gives real-time tasks before it helps the others. */
#define BUSY_NS (800 * NS_PER_MS)
#define REST_NS (200 * NS_PER_MS)

static atomic_bool enough;

static void *hog(void *arg)
{
	while (!atomic_load(&enough)) {
		uint64_t until_ns = clock_deadline_ns(BUSY_NS);
		while (clock_left_ns(until_ns))
			;
		struct timespec rest = clock_timespec(clock_deadline_ns(REST_NS));
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &rest, NULL);
	}
	return arg;
}

/* On the CPU that vm_begin() pins vCPUs to. An errno: this is no host for that. */
static int start_hog(pthread_t *thread)
{
	long cpu = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	cpu_set_t cpus;
	pthread_attr_t attr;
	struct sched_param param = {.sched_priority = 50};
	if (cpu < 1)
		return ENODEV; /* nothing would be left for the controller's loop */
	CPU_ZERO(&cpus);
	CPU_SET((size_t)cpu, &cpus);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	pthread_attr_setinheritsched(&attr, PTHREAD_EXPLICIT_SCHED);
	pthread_attr_setschedpolicy(&attr, SCHED_FIFO);
	pthread_attr_setschedparam(&attr, &param);
	atomic_store(&enough, false);
	int rc = pthread_create(thread, &attr, hog, NULL);
	pthread_attr_destroy(&attr);
	return rc;
}

const char *why_no_gaps_by_the_host(void)
{
	pthread_t thread;
	int rc = start_hog(&thread);
	if (rc == ENODEV)
		return "one CPU of the host is not enough for it";
	if (rc)
		return rc == EPERM ? "no real-time threads are allowed here" : NULL;
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	return NULL;
}

/* What is said of a gap is true of it in itself; NULL, or what is not. */
static const char *check_gap(json_t *part, bool *ret_by_host)
{
	long long gap = json_count(part, "max_gap_ns"), run = json_count(part, "max_gap_run.ns"),
		  stolen = json_count(part, "max_gap_run.stolen_ns"),
		  error = json_count(part, "max_gap_run.error_ns");
	*ret_by_host = false;
	if (!json_at(part, "max_gap_run"))
		return NULL;
	if (run + stolen != gap)
		return "run time and what was stolen are not the gap";
	if (error * 4 > gap)
		return "the error is more than a quarter of the gap";
	if (!json_is_true(json_at(part, "max_gap_run.by_host")))
		return "the guest knows what its kernel does not account";
	*ret_by_host = gap >= (long long)(BUSY_NS * 3 / 4) && stolen * 10 >= gap * 6;
	return NULL;
}

#define ALLOWED_NS (500 * NS_PER_MS)
#define ATTEMPTS 3

/* What one submission brought. */
struct held {
	const char *wrong; /* NULL, or what is not true of a gap in itself */
	size_t by_host;    /* of so many gaps the host is known to have made most */
	size_t not_shown;  /* and of so many that are too long it is not known */
	char kind[64], verdict[64], message[700];
};

/* Whether it is known of a gap that the host left no more of it than is allowed. */
static bool is_shown(json_t *part)
{
	return json_at(part, "max_gap_run") &&
	       json_count(part, "max_gap_run.ns") - json_count(part, "max_gap_run.error_ns") <=
		       (long long)ALLOWED_NS;
}

static struct held submit_held(void)
{
	struct held held = {0};
	int status;
	json_t *result = vm_submit(&vm,
		"{name: held, duration: 10s, backdrop: {cgroups: [{name: a, cpuset: {exact: '0'}, work: "
		"[{workers: 1, comm: held}]}]},\n"
		" steps: [{hold: {fixed: 2500ms}}, {hold: {fixed: 2500ms}}, {hold: {fixed: 2500ms}}],\n"
		" assertions: {max_gap: 500ms, max_steal_pct: 99}}",
		&status);
	json_t *worker = result ? json_worker(result, "held") : NULL, *part;
	size_t i;
	held.wrong = worker ? NULL : "there is no result";
	json_array_foreach(json_at(worker, "phases"), i, part)
	{
		bool by_host = false;
		if (!held.wrong)
			held.wrong = check_gap(part, &by_host);
		held.by_host += by_host;
		held.not_shown += json_count(part, "max_gap_ns") > (long long)ALLOWED_NS && !is_shown(part);
	}
	snprintf(held.kind, sizeof(held.kind), "%s", json_text(result, "verdict.parts[0].kind"));
	snprintf(held.message, sizeof(held.message), "%s", json_text(result, "verdict.parts[0].message"));
	snprintf(held.verdict, sizeof(held.verdict), "%s", json_text(result, "verdict.verdict"));
	char *text = json_dumps(json_at(worker, "phases"), 0);
	printf("# %s: %s\n# %.1500s\n", held.kind, held.message, text ? text : "");
	free(text);
	json_decref(result);
	return held;
}

/* The worker never sleeps, so each time it lasts that long; whatever else happens in one of the steps, there
 * are others. On a busy host looks at the vCPU come late and tell too little of a gap, which then counts as
 * the guest's, as it should: what is tested here needs gaps that are known, and is asked for again then. */
void test_gaps_that_the_host_made(void)
{
	pthread_t thread;
	int rc = start_hog(&thread);
	EXPECT(rc == 0, "%s", strerrordesc_np(rc));
	struct held held = {0};
	for (unsigned i = 0; i < ATTEMPTS; i++) {
		held = submit_held();
		if (held.wrong || (held.by_host && !held.not_shown))
			break;
		printf("# too little is known of %zu gaps, and %zu are the host's: submission %u of %u\n",
			held.not_shown, held.by_host, i + 1, ATTEMPTS);
	}
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	EXPECT(!held.wrong, "%s", held.wrong);
	EXPECT(held.by_host > 0, "of none of the gaps the host is known to have made most: %s", held.message);
	EXPECT(strcasecmp(held.verdict, "inconclusive") == 0 && !strcmp(held.kind, "gap") &&
			strstr(held.message, "the host's doing"),
		"%s, %s: %s", held.verdict, held.kind, held.message);
}
