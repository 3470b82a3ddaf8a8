/* SPDX-License-Identifier: GPL-2.0-only */
/* alu_hot: a chain of dependent multiplications and additions, each in registers of the width asked for. A
 * round is 64 bursts, and its CPU time is measured: what varies is the CPU's clock, its sibling, and the cost
 * of being moved. Runs in worker processes. */
#include "guest/work/alu.h"
#include "guest/work/worker.h"

#include <string.h>

#define ROUND_BURSTS 64

typedef float v128 __attribute__((vector_size(16)));
typedef float v256 __attribute__((vector_size(32)));
typedef float v512 __attribute__((vector_size(64)));

static uint64_t chain_64(uint32_t units, uint64_t value)
{
	for (uint32_t i = 0; i < units; i++) {
		value = value * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		__asm__ volatile("" : "+r"(value));
	}
	return value;
}

/* The barrier keeps each link a link: without it the compiler may know the end of a chain. The factor keeps
 * values normal for ever: subnormal ones would take many times as long. */
#define CHAIN(bits, needs, constraint)                                                                       \
	__attribute__((target(needs))) static uint64_t chain_##bits(uint32_t units, uint64_t seed)           \
	{                                                                                                    \
		v##bits value = {0}, factor, addend;                                                         \
		uint64_t result;                                                                             \
		for (unsigned lane = 0; lane < sizeof(value) / sizeof(float); lane++) {                      \
			value[lane] = 1.0f + (float)(seed % 1000);                                           \
			factor[lane] = 0.75f;                                                                \
			addend[lane] = 0.5f + (float)lane;                                                   \
		}                                                                                            \
		for (uint32_t i = 0; i < units; i++) {                                                       \
			value = value * factor + addend;                                                     \
			__asm__ volatile("" : "+" constraint(value));                                        \
		}                                                                                            \
		memcpy(&result, &value, sizeof(result));                                                     \
		return result;                                                                               \
	}
CHAIN(128, "sse2", "x")
CHAIN(256, "avx", "x")
CHAIN(512, "avx512f", "v")

unsigned alu_widest(void)
{
	/* These look at what the kernel saves (XGETBV), not at CPUID alone. */
	if (__builtin_cpu_supports("avx512f"))
		return 512;
	return __builtin_cpu_supports("avx") ? 256 : 128;
}

uint64_t alu_chain(unsigned width, uint32_t units, uint64_t seed)
{
	switch (width) {
	case 512:
		return chain_512(units, seed);
	case 256:
		return chain_256(units, seed);
	case 128:
		return chain_128(units, seed);
	default:
		return chain_64(units, seed);
	}
}

void worker_run_alu_hot(struct worker *worker)
{
	unsigned width = (unsigned)worker->params->alu_hot.width;
	if (!width)
		width = alu_widest();
	do {
		uint64_t begin_ns = worker_cpu_ns();
		unsigned bursts = 0;
		while (bursts < ROUND_BURSTS && !(bursts && worker_stopping(worker))) {
			worker->sink = alu_chain(width, WORKER_BURST_UNITS, worker->sink);
			worker_did(worker, WORKER_BURST_UNITS);
			bursts++;
		}
		/* Half a round costs half as much. */
		if (bursts == ROUND_BURSTS)
			worker_cost(worker, worker_cpu_ns() - begin_ns);
		worker_iteration(worker);
	} while (!worker_stopping(worker));
}
