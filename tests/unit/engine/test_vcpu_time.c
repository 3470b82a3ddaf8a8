/* SPDX-License-Identifier: GPL-2.0-only */
/* What the host took of a gap: bounds hold whatever a vCPU went through, and are narrow where it matters. */
#include "common/check.h"
#include "common/clock.h"
#include "host/engine/vcpu_time.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>

#define MS NS_PER_MS
#define PERIOD (50 * MS)
/* Guest time is this much less than the looks' clock. */
#define AHEAD (7000 * MS)

/* A vCPU that the host holds back at times: wait k is from begin[k] to end[k]; between them it runs. */
enum { WAITS = 400 };
struct story {
	unsigned n;
	uint64_t begin_ns[WAITS], end_ns[WAITS];
};

/* What the account shows: waits that are over. */
static uint64_t account_ns(const struct story *story, uint64_t at_ns)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < story->n; i++)
		sum += story->end_ns[i] <= at_ns ? story->end_ns[i] - story->begin_ns[i] : 0;
	return sum;
}

/* What was really taken. */
static uint64_t truth_ns(const struct story *story, uint64_t from_ns, uint64_t to_ns)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < story->n; i++) {
		uint64_t begin = MAX_OF(story->begin_ns[i], from_ns), end = MIN_OF(story->end_ns[i], to_ns);
		sum += end > begin ? end - begin : 0;
	}
	return sum;
}

static void look_at(struct vcpu_time *times, const struct story *story, uint64_t ns)
{
	uint64_t taken[2] = {0, account_ns(story, ns)};
	vcpu_time_look(times, ns, ns, taken);
}

/* Looks every period from 0 to `until_ns`, and a guest that answers at once. */
static struct vcpu_time *watched(const struct story *story, uint64_t until_ns, size_t max)
{
	struct vcpu_time *times = vcpu_time_new(2, max);
	cr_assert_not_null(times);
	vcpu_time_clock(times, AHEAD, 0, AHEAD);
	for (uint64_t ns = 0; ns <= until_ns; ns += PERIOD)
		look_at(times, story, ns);
	return times;
}

static struct vcpu_gap gap_of(uint64_t begin_ns, uint64_t end_ns)
{
	return (struct vcpu_gap){1, begin_ns - AHEAD, end_ns - AHEAD, UINT64_MAX};
}

static struct vcpu_taken taken_of(const struct vcpu_time *times, uint64_t begin_ns, uint64_t end_ns)
{
	struct vcpu_taken taken = {0};
	struct vcpu_gap gap = gap_of(begin_ns, end_ns);
	cr_assert(vcpu_time_taken(times, &gap, &taken), "%" PRIu64 " +- %" PRIu64, taken.ns, taken.error_ns);
	return taken;
}

static bool is_known(const struct vcpu_time *times, const struct vcpu_gap *gap)
{
	struct vcpu_taken taken;
	return vcpu_time_taken(times, gap, &taken);
}

static void expect_holds(struct vcpu_taken taken, uint64_t truth, uint64_t most_error)
{
	cr_expect_leq(taken.ns, truth + taken.error_ns);
	cr_expect_geq(taken.ns + taken.error_ns, truth);
	cr_expect_leq(taken.error_ns, most_error, "%" PRIu64, taken.error_ns);
}

Test(vcpu_time, a_quiet_host_takes_nothing)
{
	static const struct story story = {0};
	_cleanup_(vcpu_time_free_p) struct vcpu_time *times = watched(&story, 20000 * MS, 1024);
	expect_holds(taken_of(times, 9000 * MS, 12000 * MS), 0, MS);
	/* However short: nothing was taken around it either. */
	struct vcpu_taken taken;
	struct vcpu_gap gap = gap_of(9001 * MS, 9011 * MS);
	cr_assert(vcpu_time_taken(times, &gap, &taken));
	cr_expect_leq(taken.ns + taken.error_ns, MS);
}

/* The hold is the middle of a gap of 2.2 s, a bit more than the threshold: own is 0.2 s. */
Test(vcpu_time, a_hold_within_the_gap)
{
	struct story story = {1, {9110 * MS}, {11110 * MS}};
	_cleanup_(vcpu_time_free_p) struct vcpu_time *times = watched(&story, 20000 * MS, 1024);
	expect_holds(taken_of(times, 9010 * MS, 11210 * MS), 2000 * MS, 55 * MS);
	/* All of it; and a gap that ends in the middle of two looks. */
	expect_holds(taken_of(times, 9109 * MS, 11111 * MS), 2000 * MS, 55 * MS);
	/* What the other vCPU went through is not this one's. */
	struct vcpu_gap gap = gap_of(9010 * MS, 11210 * MS);
	struct vcpu_taken taken;
	gap.vcpu = 0;
	cr_assert(vcpu_time_taken(times, &gap, &taken));
	cr_expect_leq(taken.ns + taken.error_ns, MS);
	gap.vcpu = 2;
	cr_expect(!is_known(times, &gap), "there is none of that number");
}

/* The account shows all of a wait at its end: what was before the gap is not the gap's. */
Test(vcpu_time, a_wait_from_before_the_gap)
{
	struct story story = {1, {9000 * MS}, {12000 * MS}};
	_cleanup_(vcpu_time_free_p) struct vcpu_time *times = watched(&story, 20000 * MS, 1024);
	expect_holds(taken_of(times, 11000 * MS, 13000 * MS), 1000 * MS, 55 * MS);
}

Test(vcpu_time, looks_that_do_not_cover_it)
{
	static const struct story story = {0};
	_cleanup_(vcpu_time_free_p) struct vcpu_time *times = vcpu_time_new(2, 1024);
	vcpu_time_clock(times, AHEAD, 0, AHEAD);
	struct vcpu_gap gap = gap_of(9000 * MS, 11000 * MS);
	cr_expect(!is_known(times, &gap), "nobody looked");
	look_at(times, &story, 9500 * MS);
	look_at(times, &story, 12000 * MS);
	cr_expect(!is_known(times, &gap), "nobody looked before");
	gap = gap_of(9600 * MS, 12500 * MS);
	cr_expect(!is_known(times, &gap), "nobody looked after");
	gap.end_ns = gap.begin_ns;
	cr_expect(!is_known(times, &gap), "no gap at all");
	gap = gap_of(9600 * MS, 11500 * MS);
	cr_expect(is_known(times, &gap));
	/* Reports came before the last look: what lies after that is the clock's inaccuracy. */
	gap = gap_of(9600 * MS, 12000 * MS);
	gap.now_ns = 11999 * MS;
	cr_expect(is_known(times, &gap));
	gap.now_ns = 11000 * MS;
	cr_expect(!is_known(times, &gap), "it ends in the future");
}

Test(vcpu_time, a_clock_that_is_not_known)
{
	static const struct story story = {0};
	_cleanup_(vcpu_time_free_p) struct vcpu_time *times = vcpu_time_new(2, 1024);
	for (uint64_t ns = 0; ns < 20000 * MS; ns += PERIOD)
		look_at(times, &story, ns);
	struct vcpu_gap gap = gap_of(9000 * MS, 11000 * MS);
	cr_expect(!is_known(times, &gap), "nobody asked the guest");
	cr_expect_eq(vcpu_time_clock_width_ns(times, gap.begin_ns), UINT64_MAX);
	vcpu_time_clock(times, 9000 * MS, 9005 * MS - AHEAD, 9400 * MS);
	cr_expect(is_known(times, &gap), "400 ms more on either side: nothing was taken there");
	uint64_t width = vcpu_time_clock_width_ns(times, 9005 * MS - AHEAD);
	cr_expect(width >= 400 * MS && width < 401 * MS, "%" PRIu64, width);
	/* The next question says it better. */
	vcpu_time_clock(times, 9500 * MS, 9501 * MS - AHEAD, 9502 * MS);
	width = vcpu_time_clock_width_ns(times, 9501 * MS - AHEAD);
	cr_expect(width >= 2 * MS && width < 3 * MS, "%" PRIu64, width);
	/* Later one does not know how far they have come apart since. */
	cr_expect_geq(vcpu_time_clock_width_ns(times, 109501 * MS - AHEAD), 100 * MS);
	/* Two answers that cannot both be true. */
	vcpu_time_clock(times, 9600 * MS, 0, 9601 * MS);
	cr_expect(!is_known(times, &gap));
	/* Whatever a guest says. */
	vcpu_time_clock(times, 0, UINT64_MAX, UINT64_MAX);
	vcpu_time_clock(times, UINT64_MAX, 0, UINT64_MAX);
	gap = (struct vcpu_gap){1, 1, UINT64_MAX, UINT64_MAX};
	cr_expect(!is_known(times, &gap));
}

/* A busy host takes something in every period: what it took of a gap of one period is anybody's guess. */
/* Asked every 10 s for half a day; one answer in three takes a second. */
Test(vcpu_time, a_clock_that_was_asked_for_often)
{
	enum { QUESTIONS = 4320 };
	_cleanup_(vcpu_time_free_p) struct vcpu_time *times = vcpu_time_new(2, 4);
	for (uint64_t i = 1; i <= QUESTIONS; i++) {
		uint64_t at = i * 10000 * MS;
		vcpu_time_clock(times, at, at - AHEAD, at + (i % 3 ? 1 : 1000) * MS);
	}
	for (uint64_t i = 1; i < QUESTIONS; i += 7) {
		uint64_t width = vcpu_time_clock_width_ns(times, i * 10000 * MS + 5000 * MS - AHEAD);
		cr_expect_lt(width, 600 * MS, "%" PRIu64 ": %" PRIu64, i, width);
	}
}

Test(vcpu_time, gaps_too_short_for_the_looks)
{
	static struct story story = {.n = WAITS};
	for (unsigned i = 0; i < WAITS; i++) {
		story.begin_ns[i] = i * PERIOD + 10 * MS;
		story.end_ns[i] = i * PERIOD + 40 * MS;
	}
	_cleanup_(vcpu_time_free_p) struct vcpu_time *times = watched(&story, 19000 * MS, 1024);
	struct vcpu_gap gap = gap_of(9005 * MS, 9045 * MS);
	cr_expect(!is_known(times, &gap));
	uint64_t truth = truth_ns(&story, 9005 * MS, 11005 * MS);
	cr_expect_eq(truth, 1200 * MS);
	expect_holds(taken_of(times, 9005 * MS, 11005 * MS), truth, 60 * MS);
}

/* More than twice as many looks as there is room for: nothing is out of reach, and what is long ago is less
 * well known than what is not. */
Test(vcpu_time, old_looks_get_fewer)
{
	struct story story = {2, {9100 * MS, 30100 * MS}, {12100 * MS, 33100 * MS}};
	_cleanup_(vcpu_time_free_p) struct vcpu_time *times = watched(&story, 34000 * MS, 256);
	struct vcpu_taken old = taken_of(times, 9000 * MS, 12200 * MS), young;
	expect_holds(old, 3000 * MS, 800 * MS);
	young = taken_of(times, 30050 * MS, 33200 * MS);
	expect_holds(young, 3000 * MS, 55 * MS);
	cr_expect_gt(old.error_ns, young.error_ns);
	/* So few that they say nothing of it. */
	_cleanup_(vcpu_time_free_p) struct vcpu_time *few = watched(&story, 34000 * MS, 4);
	struct vcpu_gap gap = gap_of(9000 * MS, 12200 * MS);
	cr_expect(!is_known(few, &gap));
}

Test(vcpu_time, looks_out_of_order_are_left_out)
{
	static const struct story story = {0};
	_cleanup_(vcpu_time_free_p) struct vcpu_time *times = watched(&story, 10000 * MS, 1024);
	uint64_t much[2] = {UINT64_MAX, UINT64_MAX};
	vcpu_time_look(times, 9000 * MS, 9001 * MS, much);
	vcpu_time_look(times, 10001 * MS, 10000 * MS, much);
	look_at(times, &story, 20000 * MS);
	cr_expect_leq(taken_of(times, 8000 * MS, 11000 * MS).ns, MS);
}

static uint64_t some(uint64_t *state, uint64_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state % below;
}

/* Runs of any length, waits of any length: where it says something it is true. */
Test(vcpu_time, bounds_always_hold, .timeout = 120)
{
	static struct story story;
	uint64_t state = 88172645463325252u, known = 0, wide = 0;
	for (unsigned round = 0; round < 600; round++) {
		uint64_t at = 0, most_run = 1 + some(&state, 300), most_wait = 1 + some(&state, 300);
		for (story.n = 0; story.n < 100; story.n++) {
			at += 1000 + some(&state, most_run * MS);
			story.begin_ns[story.n] = at;
			at += 1000 + some(&state, (some(&state, 20) ? 1 : 20) * most_wait * MS);
			story.end_ns[story.n] = at;
		}
		_cleanup_(vcpu_time_free_p) struct vcpu_time *times =
			vcpu_time_new(2, some(&state, 2) ? 1024 : 64);
		for (uint64_t ns = 0; ns < at + 1000 * MS;) {
			uint64_t for_ns = some(&state, 3 * MS);
			uint64_t taken[2] = {0, account_ns(&story, ns + some(&state, for_ns + 1))};
			vcpu_time_look(times, ns, ns + for_ns, taken);
			ns += for_ns + 1 + some(&state, 2 * PERIOD);
		}
		for (unsigned i = 0; i < 5; i++) {
			uint64_t asked = AHEAD + some(&state, at), later = some(&state, 20 * MS);
			vcpu_time_clock(times, asked, asked + some(&state, later + 1) - AHEAD, asked + later);
		}
		for (unsigned i = 0; i < 40; i++) {
			/* It ends while the vCPU runs, and began whenever it was. */
			unsigned k = 1 + (unsigned)some(&state, story.n - 1);
			uint64_t ran = story.begin_ns[k] - story.end_ns[k - 1];
			uint64_t end = story.end_ns[k - 1] + some(&state, ran);
			uint64_t begin = end - some(&state, MIN_OF(end, 6000 * MS));
			if (begin <= AHEAD)
				continue;
			struct vcpu_gap gap = gap_of(begin, end);
			struct vcpu_taken taken;
			bool is = vcpu_time_taken(times, &gap, &taken);
			known += is;
			wide += !is;
			uint64_t truth = truth_ns(&story, begin, end);
			if (is)
				cr_assert(taken.ns <= truth + taken.error_ns &&
						  truth <= taken.ns + taken.error_ns,
					"round %u: %" PRIu64 " +- %" PRIu64 ", but %" PRIu64, round, taken.ns,
					taken.error_ns, truth);
		}
	}
	cr_expect_gt(known, wide, "%" PRIu64 " known, %" PRIu64 " not", known, wide);
}
