/* SPDX-License-Identifier: GPL-2.0-only */
/* e2e-memory: a cold batch is one moment to a program in the guest (checks.c), and a hot one is not; what a
 * client may do in a freeze of its own. */
#include "common/clock.h"
#include "common/fd.h"
#include "host/client/schedrig.h"
#include "tests/e2e/memory.h"
#include "tests/fake/word_batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGE UINT64_C(4096)
#define COLD_BATCHES 20u
#define THREADS 2u /* one for each CPU */

static struct schedrig *connection;

/* Where the program has its array and its counters, in guest-physical memory. */
static struct {
	uint64_t array[2], counters;
} at;

static bool apply_file(const char *name, const char *yaml)
{
	const char *path = scratch_path(name);
	if (fd_replace_file(path, yaml, strlen(yaml), 0644, NULL) < 0)
		return false;
	_cleanup_json_ json_t *answer = CLIENT("apply", path);
	return answer != NULL;
}

/* The program says where it is by a file. */
static bool find_program(void)
{
	Schedrig__V1__PullRequest request = SCHEDRIG__V1__PULL_REQUEST__INIT;
	uint64_t limit = clock_deadline_ns(60 * NS_PER_S), frame[3];
	struct err err = ERR_INIT;
	char text[256] = "";
	unsigned threads;
	request.path = (char *)"/tmp/e2e-checks";
	do {
		Schedrig__V1__PullResponse *response = NULL;
		if (schedrig_pull(connection, &request, &response, &err) == 0)
			snprintf(text, sizeof(text), "%.*s", (int)response->data.len,
				(const char *)response->data.data);
		else if (err.code != ERR_NOT_FOUND)
			break;
		schedrig_free_message(response);
	} while (!*text && clock_left_ns(limit));
	if (sscanf(text, "%u %" SCNu64 " %" SCNu64 " %" SCNu64, &threads, &frame[0], &frame[1], &frame[2]) !=
			4 ||
		threads != THREADS || !frame[0] || !frame[1] || !frame[2]) {
		tap_fail(__FILE__, __LINE__, "the program in the guest said '%s'; %s", text, err.message);
		return false;
	}
	at.array[0] = frame[0] * PAGE;
	at.array[1] = frame[1] * PAGE;
	at.counters = frame[2] * PAGE;
	return true;
}

static uint64_t word_address(unsigned i)
{
	return at.array[i * 8 / PAGE] + i * 8 % PAGE;
}

/* Hot reads of n words; false with a failure recorded. */
static bool read_words(const uint64_t *address, unsigned n, uint64_t *ret)
{
	Schedrig__V1__KernelRead read[2 * THREADS], *list[2 * THREADS];
	Schedrig__V1__Target target[2 * THREADS];
	Schedrig__V1__AddressTarget phys[2 * THREADS];
	Schedrig__V1__ReadRequest request = SCHEDRIG__V1__READ_REQUEST__INIT;
	Schedrig__V1__ReadResponse *response = NULL;
	struct err err = ERR_INIT;
	for (unsigned i = 0; i < n; i++) {
		schedrig__v1__kernel_read__init(&read[i]);
		phys_target(&target[i], &phys[i], address[i]);
		read[i].target = &target[i];
		read[i].width = SCHEDRIG__V1__WIDTH__WIDTH_U64;
		list[i] = &read[i];
	}
	request.n_reads = n;
	request.reads = list;
	if (schedrig_read(connection, &request, &response, &err) < 0) {
		tap_fail(__FILE__, __LINE__, "%s", err.message);
		return false;
	}
	for (unsigned i = 0; i < n; i++)
		ret[i] = response->values[i]->value;
	schedrig_free_message(response);
	return true;
}

/* Of each thread. */
struct counts {
	uint64_t checks[THREADS], broken[THREADS];
};

static bool count(struct counts *ret)
{
	uint64_t address[2 * THREADS], value[2 * THREADS];
	for (unsigned i = 0; i < THREADS; i++) {
		address[2 * i] = at.counters + i * 64;
		address[2 * i + 1] = at.counters + i * 64 + 8;
	}
	if (!read_words(address, 2 * THREADS, value))
		return false;
	for (unsigned i = 0; i < THREADS; i++) {
		ret->checks[i] = value[2 * i];
		ret->broken[i] = value[2 * i + 1];
	}
	return true;
}

static bool write_words(uint64_t value, bool cold)
{
	Schedrig__V1__ReadResponse *response = NULL;
	struct err err = ERR_INIT;
	bool written = schedrig_write(connection, word_batch(WORD_BATCH, word_address, value, cold),
			       &response, &err) == 0;
	if (!written)
		tap_fail(__FILE__, __LINE__, "%s: %s", err.place, err.message);
	else if ((response->freeze != NULL) != cold)
		tap_fail(__FILE__, __LINE__, "a %s batch was%s frozen", cold ? "cold" : "hot",
			cold ? " not" : "");
	schedrig_free_message(response);
	return written;
}

/* Whoever was in the middle of a check has finished it, and has done another one since. */
static bool wait_checked(void)
{
	uint64_t limit = clock_deadline_ns(120 * NS_PER_S);
	struct counts before, now;
	if (!count(&before))
		return false;
	for (unsigned i = 0; i < THREADS;) {
		if (!count(&now))
			return false;
		if (now.checks[i] >= before.checks[i] + 2)
			i++;
		else if (!clock_left_ns(limit)) {
			tap_fail(__FILE__, __LINE__, "thread %u of the program does not get on", i);
			return false;
		}
	}
	return true;
}

/* A cold batch of 1000 writes is never seen half done. The same program sees that of hot ones, batch after
 * batch without a rest: on few CPUs a writer that rests is next to never interrupted amid one. */
static void check_batches(void)
{
	struct counts now;
	uint64_t value = 0, limit, hot = 0, address[2], word[2];
	EXPECT(find_program());
	for (unsigned i = 0; i < COLD_BATCHES; i++) {
		EXPECT(write_words(++value, true));
		EXPECT(wait_checked());
	}
	address[0] = word_address(0);
	address[1] = word_address(WORD_BATCH - 1);
	EXPECT(read_words(address, 2, word) && word[0] == value && word[1] == value,
		"%" PRIu64 " and %" PRIu64, word[0], word[1]);
	EXPECT(count(&now));
	EXPECT(now.broken[0] + now.broken[1] == 0, "of %" PRIu64 " checks %" PRIu64 " saw half a cold batch",
		now.checks[0] + now.checks[1], now.broken[0] + now.broken[1]);
	limit = clock_deadline_ns(120 * NS_PER_S);
	while (now.broken[0] + now.broken[1] == 0) {
		EXPECT(clock_left_ns(limit), "no check saw half of one of %" PRIu64 " hot batches", hot);
		for (unsigned i = 0; i < 20; i++, hot++)
			EXPECT(write_words(++value, false));
		EXPECT(count(&now));
	}
	printf("# %" PRIu64 " checks; half a batch was seen within %" PRIu64 " hot ones\n",
		now.checks[0] + now.checks[1], hot);
}

static bool connect_client(void)
{
	struct err err = ERR_INIT;
	connection = schedrig_open(vm.socket, &err);
	if (!connection)
		tap_fail(__FILE__, __LINE__, "%s", err.message);
	return connection != NULL;
}

void test_batches(void)
{
	EXPECT(apply_file("checks.yaml",
		"{payloads: [{name: checks, program: e2e-checks}], ops: [{run_payload: "
		"{payload: checks}}]}"));
	EXPECT(connect_client());
	check_batches();
	schedrig_close(connection);
	EXPECT(apply_file("no-checks.yaml", "{ops: [{kill_payload: {name: checks}}]}"));
}

/* --- in a freeze of the client's own */

static int apply_kinds(const char *kinds, Schedrig__V1__ApplyResponse **ret, struct err *err)
{
	Schedrig__V1__Op op[3], *ops[3];
	Schedrig__V1__KernelRead read = SCHEDRIG__V1__KERNEL_READ__INIT, *reads[] = {&read};
	Schedrig__V1__SymbolTarget symbol = SCHEDRIG__V1__SYMBOL_TARGET__INIT;
	Schedrig__V1__Target target = SCHEDRIG__V1__TARGET__INIT;
	Schedrig__V1__ReadKernelCold cold = SCHEDRIG__V1__READ_KERNEL_COLD__INIT;
	Schedrig__V1__ReadKernelHot hot = SCHEDRIG__V1__READ_KERNEL_HOT__INIT;
	Schedrig__V1__CaptureSnapshot capture = SCHEDRIG__V1__CAPTURE_SNAPSHOT__INIT;
	Schedrig__V1__AddCgroup add = SCHEDRIG__V1__ADD_CGROUP__INIT;
	Schedrig__V1__ApplyRequest apply = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	symbol.name = (char *)"jiffies_64";
	target.form_case = SCHEDRIG__V1__TARGET__FORM_SYMBOL;
	target.symbol = &symbol;
	read.target = &target;
	read.width = SCHEDRIG__V1__WIDTH__WIDTH_U64;
	cold.n_reads = hot.n_reads = 1;
	cold.reads = hot.reads = reads;
	capture.name = (char *)"own-freeze";
	add.name = (char *)"own-freeze";
	for (; kinds[apply.n_ops]; apply.n_ops++) {
		Schedrig__V1__Op *one = ops[apply.n_ops] = &op[apply.n_ops];
		schedrig__v1__op__init(one);
		switch (kinds[apply.n_ops]) {
		case 'r':
			one->kind_case = SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD;
			one->read_kernel_cold = &cold;
			break;
		case 'h':
			one->kind_case = SCHEDRIG__V1__OP__KIND_READ_KERNEL_HOT;
			one->read_kernel_hot = &hot;
			break;
		case 'c':
			one->kind_case = SCHEDRIG__V1__OP__KIND_CAPTURE_SNAPSHOT;
			one->capture_snapshot = &capture;
			break;
		default:
			one->kind_case = SCHEDRIG__V1__OP__KIND_ADD_CGROUP;
			one->add_cgroup = &add;
			break;
		}
	}
	apply.ops = ops;
	*err = ERR_INIT;
	return schedrig_apply(connection, &apply, 0, ret, err);
}

static void check_own_freeze(void)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Frozen *frozen = NULL;
	Schedrig__V1__Thawed *thawed = NULL;
	Schedrig__V1__ApplyResponse *response = NULL;
	uint64_t lease_ns = 1000 * NS_PER_S, begin_ns = clock_now_ns(), before, after;
	EXPECT(schedrig_freeze(connection, &(struct schedrig_freeze_options){.lease_ns = lease_ns}, &frozen,
		       &err) == 0,
		"%s", err.message);
	schedrig_free_message(frozen);
	EXPECT(apply_kinds("rch", &response, &err) == 0, "%s: %s", err.place, err.message);
	before = response->results[0]->reads[0]->value;
	after = response->results[2]->reads[0]->value;
	EXPECT(response->n_results == 3 && response->results[1]->snapshot && before && before == after,
		"jiffies %" PRIu64 ", %" PRIu64, before, after);
	schedrig_free_message(response);
	EXPECT(apply_kinds("ra", &response, &err) < 0);
	EXPECT(err.code == ERR_FAILED_PRECONDITION && strcmp(err.reason, "own-freeze") == 0 &&
			strcmp(err.place, "ops[1]") == 0,
		"%s: %s", err.place, err.message);
	schedrig_free_message(response);
	EXPECT(schedrig_thaw(connection, &thawed, &err) == 0, "%s", err.message);
	schedrig_free_message(thawed);
	EXPECT(clock_now_ns() - begin_ns < lease_ns);
	EXPECT(apply_kinds("a", &response, &err) == 0, "%s", err.message);
	schedrig_free_message(response);
}

void test_own_freeze(void)
{
	EXPECT(connect_client());
	check_own_freeze();
	schedrig_close(connection);
}
