/* SPDX-License-Identifier: GPL-2.0-only */
/* What the host took of vCPUs (see vcpu_time.h). Any thread, one at a time. */
#include "host/engine/vcpu_time.h"

#include "common/check.h"
#include "common/clock.h"

#include <stdlib.h>
#include <string.h>

#define CLOCKS 512
/* How far the host's clock may run from the guest's, which nobody adjusts: what adjtimex() can slew it, 500
 * millionths. */
#define DRIFT_PARTS 2000

struct look {
	uint64_t begin_ns, end_ns;
};
struct clock_pair {
	uint64_t before_ns, guest_ns, after_ns;
};
struct vcpu_time {
	unsigned n_vcpus;
	size_t n, max;
	uint64_t apart_ns; /* of old looks, at least */
	struct look *look; /* [max], ascending */
	uint64_t *taken;   /* [max][n_vcpus] */
	size_t n_clocks;
	uint64_t clocks_apart_ns; /* one in each such time, but for the newest */
	struct clock_pair clock[CLOCKS];
};

struct vcpu_time *vcpu_time_new(unsigned n_vcpus, size_t max_looks)
{
	assert(n_vcpus > 0 && max_looks >= 4);
	struct vcpu_time *times = calloc(1, sizeof(*times));
	if (!times)
		return NULL;
	times->n_vcpus = n_vcpus;
	times->max = max_looks;
	times->apart_ns = times->clocks_apart_ns = NS_PER_MS;
	/* Large ones: pages that no look has reached take no memory. */
	times->look = calloc(max_looks, sizeof(*times->look));
	times->taken = calloc(max_looks, n_vcpus * sizeof(*times->taken));
	if (times->look && times->taken)
		return times;
	vcpu_time_free(times);
	return NULL;
}

void vcpu_time_free(struct vcpu_time *times)
{
	if (!times)
		return;
	free(times->look);
	free(times->taken);
	free(times);
}

static uint64_t *row(const struct vcpu_time *times, size_t look)
{
	return times->taken + look * times->n_vcpus;
}

/* Of the looks before `end`, those that are at least `apart_ns` from the one kept before. Only counted, or
 * moved together. The first one stays: from there on everything is covered. */
static size_t keep_apart(struct vcpu_time *times, size_t end, uint64_t apart_ns, bool move)
{
	size_t kept = 1;
	uint64_t last_ns = times->look[0].begin_ns;
	for (size_t i = 1; i < end; i++) {
		if (times->look[i].begin_ns - last_ns < apart_ns)
			continue;
		last_ns = times->look[i].begin_ns;
		if (move) {
			times->look[kept] = times->look[i];
			memcpy(row(times, kept), row(times, i), times->n_vcpus * sizeof(*times->taken));
		}
		kept++;
	}
	return kept;
}

/* The newest quarter stays as it is, the others get half of the room, evenly. */
static void thin(struct vcpu_time *times)
{
	size_t young = times->n - times->n / 4, n_young = times->n - young;
	while (keep_apart(times, young, times->apart_ns, false) > times->max / 2)
		times->apart_ns *= 2;
	size_t kept = keep_apart(times, young, times->apart_ns, true);
	memmove(&times->look[kept], &times->look[young], n_young * sizeof(*times->look));
	memmove(row(times, kept), row(times, young), n_young * times->n_vcpus * sizeof(*times->taken));
	times->n = kept + n_young;
}

void vcpu_time_look(struct vcpu_time *times, uint64_t begin_ns, uint64_t end_ns, const uint64_t *taken_ns)
{
	if (end_ns < begin_ns || (times->n && begin_ns < times->look[times->n - 1].end_ns))
		return;
	if (times->n == times->max)
		thin(times);
	times->look[times->n] = (struct look){begin_ns, end_ns};
	memcpy(row(times, times->n), taken_ns, times->n_vcpus * sizeof(*taken_ns));
	times->n++;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t width_ns(const struct clock_pair *pair)
{
	return less(pair->after_ns, pair->before_ns);
}

/* Of those that were asked at about the same time the one that says most. */
static size_t merge_clocks(struct clock_pair *clock, size_t n, uint64_t apart_ns)
{
	size_t last = 0;
	for (size_t i = 1; i < n; i++) {
		if (clock[i].before_ns / apart_ns != clock[last].before_ns / apart_ns)
			clock[++last] = clock[i];
		else if (width_ns(&clock[i]) < width_ns(&clock[last]))
			clock[last] = clock[i];
	}
	return last + 1;
}

static void thin_clocks(struct vcpu_time *times)
{
	size_t n = merge_clocks(times->clock, times->n_clocks, times->clocks_apart_ns);
	while (n > CLOCKS / 2 && times->clocks_apart_ns < UINT64_MAX / 2) {
		times->clocks_apart_ns *= 2;
		n = merge_clocks(times->clock, n, times->clocks_apart_ns);
	}
	times->n_clocks = MIN_OF(n, (size_t)CLOCKS / 2);
}

void vcpu_time_clock(struct vcpu_time *times, uint64_t before_ns, uint64_t guest_ns, uint64_t after_ns)
{
	if (times->n_clocks == CLOCKS)
		thin_clocks(times);
	times->clock[times->n_clocks++] = (struct clock_pair){before_ns, guest_ns, after_ns};
}

/* A moment on the looks' clock: somewhere between the two. */
struct moment {
	uint64_t low_ns, high_ns;
};

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

/* Wide sums: the guest's times are any numbers. */
static bool find_moment(const struct vcpu_time *times, uint64_t guest_ns, struct moment *ret)
{
	__int128 low = 0, high = UINT64_MAX;
	for (size_t i = 0; i < times->n_clocks; i++) {
		const struct clock_pair *pair = &times->clock[i];
		__int128 since = (__int128)guest_ns - pair->guest_ns;
		__int128 drift = distance(guest_ns, pair->guest_ns) / DRIFT_PARTS + 1;
		low = MAX_OF(low, pair->before_ns + since - drift);
		high = MIN_OF(high, pair->after_ns + since + drift);
	}
	if (times->n_clocks == 0 || low > high || low > UINT64_MAX)
		return false;
	*ret = (struct moment){(uint64_t)low, (uint64_t)high};
	return true;
}

uint64_t vcpu_time_clock_width_ns(const struct vcpu_time *times, uint64_t guest_ns)
{
	struct moment moment;
	return find_moment(times, guest_ns, &moment) ? moment.high_ns - moment.low_ns : UINT64_MAX;
}

/* The first look that began at that time or later; n: none. */
static size_t look_after(const struct vcpu_time *times, uint64_t ns)
{
	size_t low = 0, high = times->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (times->look[middle].begin_ns < ns)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The last look that was over by then; n: none. */
static size_t look_before(const struct vcpu_time *times, uint64_t ns)
{
	size_t at = look_after(times, ns);
	while (at > 0 && (at == times->n || times->look[at].end_ns > ns))
		at--;
	return times->n && times->look[at].end_ns <= ns ? at : times->n;
}

/* No more than time itself can be taken from `at_ns` to a look, so at least that much had been by then. */
static uint64_t taken_at_least(const struct vcpu_time *times, unsigned vcpu, uint64_t at_ns, size_t last)
{
	size_t before = look_before(times, at_ns);
	uint64_t taken = row(times, before)[vcpu];
	for (size_t i = before + 1; i <= last; i++)
		taken = MAX_OF(taken, less(row(times, i)[vcpu], less(times->look[i].end_ns, at_ns)));
	return taken;
}

/* A wait that was on at `at_ns` was over by the look `last`, since the vCPU ran by then. What the account had
 * is at most what the next look shows. To that comes what a wait had lasted: it is in the first growth after
 * that, began so much before the look that did not show it yet, or later, and was no longer than the growth.
 */
static uint64_t taken_at_most(const struct vcpu_time *times, unsigned vcpu, uint64_t at_ns, size_t last)
{
	size_t next = look_after(times, at_ns);
	uint64_t taken = row(times, next)[vcpu];
	for (size_t i = next + 1; i <= last; i++) {
		uint64_t grown = less(row(times, i)[vcpu], taken);
		if (grown)
			return taken + less(grown, less(times->look[i - 1].begin_ns, at_ns));
	}
	return taken;
}

bool vcpu_time_taken(const struct vcpu_time *times, const struct vcpu_gap *gap, struct vcpu_taken *ret_taken)
{
	struct moment begin, end;
	uint64_t length_ns = less(gap->end_ns, gap->begin_ns);
	if (gap->vcpu >= times->n_vcpus || !length_ns || !find_moment(times, gap->begin_ns, &begin) ||
		!find_moment(times, gap->end_ns, &end))
		return false;
	end.high_ns = MIN_OF(end.high_ns, gap->now_ns);
	begin.high_ns = MIN_OF(begin.high_ns, end.high_ns);
	end.low_ns = MAX_OF(end.low_ns, begin.low_ns);
	size_t n = times->n, last = look_after(times, end.high_ns);
	if (end.high_ns < end.low_ns || last == n || look_before(times, begin.low_ns) == n)
		return false;
	/* What the account had at the end is all: the vCPU ran. */
	uint64_t end_most = row(times, last)[gap->vcpu];
	uint64_t end_least = taken_at_least(times, gap->vcpu, end.low_ns, last);
	uint64_t most = less(end_most, taken_at_least(times, gap->vcpu, begin.low_ns, last));
	uint64_t least = less(end_least, taken_at_most(times, gap->vcpu, begin.high_ns, last));
	most = MIN_OF(most, length_ns);
	least = MIN_OF(least, most);
	*ret_taken = (struct vcpu_taken){least + (most - least) / 2, (most - least + 1) / 2};
	return ret_taken->error_ns <= length_ns / 4;
}
