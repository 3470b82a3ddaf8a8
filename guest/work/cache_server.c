/* SPDX-License-Identifier: GPL-2.0-only */
/* cache_server: clients ask a cache that all of them share. A hit reads an entry; a miss waits, as for what
 * is behind the cache, and writes the entry. Clients are processes below one worker, which counts; the slow
 * ones think after each request. Measured is the whole request, and for a miss how much later than it wanted
 * its client woke. A unit is a request. Runs in worker processes. */
#include "guest/work/affinity.h"
#include "guest/work/hands.h"

#include <string.h>

#define ENTRY_BYTES 1024
#define THINK_NS UINT64_C(10000000)

struct cache {
	uint8_t *
		memory; /* shared; entries are read and written without a lock: their content means nothing */
	uint64_t entries;
};

static void read_entry(const volatile uint8_t *entry)
{
	unsigned sum = 0;
	for (unsigned i = 0; i < ENTRY_BYTES; i += 8)
		sum += entry[i];
	__asm__ volatile("" : : "r"(sum));
}

static void run(struct hands *hands, unsigned me, void *arg)
{
	const struct work_cache_server *params = &hands->worker->params->cache_server;
	const struct cache *cache = arg;
	bool slow = me >= hands->count - params->slow;
	for (uint64_t draws = 0;; draws += 2) {
		uint64_t seed = affinity_draw(hands->worker->seed, me);
		uint8_t *entry = cache->memory + affinity_draw(seed, draws) % cache->entries * ENTRY_BYTES;
		bool hit = affinity_draw(seed, draws + 1) % 100 < params->hit_pct;
		uint64_t begin_ns = worker_now_ns();
		struct hand_result result = {.wake_ns = UINT64_MAX, .units = 1};
		if (hit) {
			read_entry(entry);
		} else {
			if (params->miss_ns) {
				if (!hand_rest(hands, params->miss_ns))
					return;
				result.wake_ns = worker_now_ns() - begin_ns - params->miss_ns;
				result.timed = true;
			}
			memset(entry, (int)draws, ENTRY_BYTES);
		}
		result.request_ns = worker_now_ns() - begin_ns;
		if (!hand_tell(hands, me, &result) || (slow && !hand_rest(hands, THINK_NS)))
			return;
	}
}

void worker_run_cache_server(struct worker *worker)
{
	const struct work_cache_server *params = &worker->params->cache_server;
	unsigned clients = (unsigned)params->clients;
	if (!clients)
		clients = cpuset_count(&worker->allowed);
	struct cache cache = {.memory = worker_map_for_now(worker, params->size_bytes, true),
		.entries = params->size_bytes / ENTRY_BYTES};
	struct hands hands;
	hands_start(&hands, worker, clients + (unsigned)params->slow, run, &cache);
	hands_watch(&hands);
}
