/* SPDX-License-Identifier: GPL-2.0-only */
/* Hot access leaves the vCPUs alone, and a cold batch is one moment to the guest: the engine's requests on a
 * bare guest in the memory of a made-up kernel. */
#include "bare.h"
#include "common/clock.h"
#include "host/engine/engine.h"
#include "host/vm/vm_internal.h"
#include "proto/pb.h"
#include "tests/fake/word_batch.h"
#include "tests/unit/kmem/fake_kernel.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>

TestSuite(hot_cold, .timeout = 300);

#define WORDS_AT 0x3800000u
#define BATCH_READS 1000u
#define COUNTED 2u

/* Nothing makes it exit. */
BARE_GUEST(access_spins, "1: incq (%rdi)\n jmp 1b");
/* All words are equal, says the one who writes them. Each 62nd, downwards, is
 * compared with the last one; if that is the same before and after, and one differed, 8(rdi) counts. A batch
 * writes upwards, so the last one is the last to change. */
BARE_GUEST(access_checks, "movl $0x3800000, %r8d\n"
			  "1: movq 7992(%r8), %r9\n xorl %r10d, %r10d\n movl $992, %ecx\n"
			  "2: cmpq %r9, (%r8,%rcx,8)\n je 3f\n incl %r10d\n 3: subl $62, %ecx\n jns 2b\n"
			  "cmpq %r9, 7992(%r8)\n jne 4f\n testl %r10d, %r10d\n jz 4f\n incq 8(%rdi)\n"
			  "4: incq (%rdi)\n jmp 1b");

static struct fake_kernel fake;
static struct engine *engine;
static struct cpu_layout layout;
static int stats[COUNTED]; /* of KVM's statistics, or -1 */

static struct kmem *the_kernel(void *arg, struct err *err)
{
	return fake.kmem;
}

static void no_event(const Schedrig__V1__Event *event, void *arg)
{
}

static struct bare *begin(unsigned n, const char *code, const char *code_end)
{
	fake_kernel_init(&fake);
	struct bare *b = bare_new_on(&fake.memory, n, code, code_end, 0);
	layout = (struct cpu_layout){.n_cpus = 1, .n_nodes = 1, .n_llcs = 1, .n_cores = 1};
	struct engine_config config = {.layout = &layout,
		.topology = "1n1l1c1t",
		.vm = b->vm,
		.kmem = the_kernel,
		.event = no_event};
	engine = engine_new(&config, NULL);
	cr_assert_not_null(engine);
	/* Not once they run: it waits for KVM_RUN to return. */
	for (unsigned i = 0; i < COUNTED; i++)
		stats[i] = ioctl(vm_vcpu_fd(b->vm, i), KVM_GET_STATS_FD, NULL);
	bare_start(b);
	bare_wait_all_running(b);
	return b;
}

static void end(struct bare *b)
{
	for (unsigned i = 0; i < COUNTED; i++)
		if (stats[i] >= 0)
			close(stats[i]);
	engine_free(engine);
	bare_free(b);
	fake_kernel_deinit(&fake);
}

/* KVM's own count of a vCPU; UINT64_MAX where it has none of that name. Documentation/virt/kvm/api.rst 4.133.
 */
static uint64_t kvm_count(unsigned vcpu, const char *name)
{
	uint64_t value = UINT64_MAX;
	struct kvm_stats_header head;
	int fd = stats[vcpu];
	if (fd < 0 || pread(fd, &head, sizeof(head), 0) != sizeof(head))
		return value;
	size_t size = sizeof(struct kvm_stats_desc) + head.name_size;
	for (uint32_t i = 0; i < head.num_desc; i++) {
		struct {
			struct kvm_stats_desc desc;
			char name[256];
		} one = {0};
		cr_assert_leq(head.name_size, sizeof(one.name) - 1);
		cr_assert_eq(pread(fd, &one, size, (off_t)(head.desc_offset + i * size)), (ssize_t)size);
		if (strcmp(one.name, name) == 0)
			cr_assert_eq(
				pread(fd, &value, sizeof(value), (off_t)(head.data_offset + one.desc.offset)),
				(ssize_t)sizeof(value));
	}
	return value;
}

struct counts {
	struct vm_vcpu_counts own;
	uint64_t signal_exits; /* KVM's */
};

static struct counts count(const struct bare *b, unsigned vcpu)
{
	return (struct counts){vm_vcpu_counts(b->vm, vcpu), kvm_count(vcpu, "signal_exits")};
}

static void read_jiffies(unsigned n, bool cold)
{
	static Schedrig__V1__KernelRead read[BATCH_READS], *list[BATCH_READS];
	Schedrig__V1__SymbolTarget symbol = SCHEDRIG__V1__SYMBOL_TARGET__INIT;
	Schedrig__V1__Target target = SCHEDRIG__V1__TARGET__INIT;
	Schedrig__V1__ReadRequest request = SCHEDRIG__V1__READ_REQUEST__INIT;
	Schedrig__V1__ReadResponse *response = NULL;
	struct err err = ERR_INIT;
	symbol.name = (char *)"jiffies_64";
	target.form_case = SCHEDRIG__V1__TARGET__FORM_SYMBOL;
	target.symbol = &symbol;
	for (unsigned i = 0; i < n; i++) {
		schedrig__v1__kernel_read__init(&read[i]);
		read[i].target = &target;
		read[i].width = SCHEDRIG__V1__WIDTH__WIDTH_U64;
		list[i] = &read[i];
	}
	request.n_reads = n;
	request.reads = list;
	request.cold = cold;
	cr_assert_eq(
		engine_read(engine, &request, NULL, &response, &err), 0, "%s: %s", err.place, err.message);
	cr_assert_eq(response->n_values, n);
	cr_assert_eq(response->freeze != NULL, cold);
	pb_free(response);
}

Test(hot_cold, a_hundred_thousand_hot_reads_kick_nobody)
{
	enum { N = COUNTED };
	struct bare *b = begin(N, access_spins, access_spins_end);
	struct counts before[N], after[N];
	read_jiffies(1, false);
	for (unsigned i = 0; i < N; i++)
		before[i] = count(b, i);
	uint64_t at = bare_cell(b, 0), freezes = vm_freeze_count(b->vm);
	for (unsigned i = 0; i < 100000 / BATCH_READS; i++)
		read_jiffies(BATCH_READS, false);
	for (unsigned i = 0; i < N; i++) {
		after[i] = count(b, i);
		cr_assert_eq(after[i].own.exits, before[i].own.exits, "vCPU %u left KVM_RUN", i);
		cr_assert_eq(after[i].own.kicks, before[i].own.kicks, "vCPU %u was signalled", i);
		cr_assert_eq(
			after[i].signal_exits, before[i].signal_exits, "KVM: vCPU %u left for a signal", i);
	}
	cr_assert_eq(vm_freeze_count(b->vm), freezes);
	bare_wait_moved(b, 0, at);
	/* A cold one moves them all; so they can. */
	read_jiffies(1, true);
	for (unsigned i = 0; i < N; i++) {
		struct counts cold = count(b, i);
		cr_assert_gt(cold.own.exits, after[i].own.exits);
		cr_assert_gt(cold.own.kicks, after[i].own.kicks);
	}
	cr_assert_eq(vm_freeze_count(b->vm), freezes + 1);
	/* KVM counts signals that find the guest running: not each need. */
	if (after[0].signal_exits != UINT64_MAX)
		bare_wait(({
			uint64_t moved = bare_cell(b, 0);
			bare_wait_moved(b, 0, moved);
			read_jiffies(1, true);
			count(b, 0).signal_exits > after[0].signal_exits;
		}),
			"KVM counts a signal");
	else
		cr_log_warn("this KVM has no statistics: our own counters alone");
	end(b);
}

static uint64_t word_address(unsigned i)
{
	return WORDS_AT + i * 8;
}

static void write_words(uint64_t value, unsigned n, bool cold, const struct bare *b)
{
	Schedrig__V1__ReadResponse *response = NULL;
	struct err err = ERR_INIT;
	uint64_t freezes = vm_freeze_count(b->vm);
	cr_assert_eq(engine_write(engine, word_batch(n, word_address, value, cold), NULL, &response, &err), 0,
		"%s: %s", err.place, err.message);
	cr_assert_eq(response->freeze != NULL, cold);
	cr_assert_eq(vm_freeze_count(b->vm) - freezes, cold, "a batch is one freeze");
	pb_free(response);
}

static uint64_t broken(const struct bare *b)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < vm_n_vcpus(b->vm); i++)
		sum += __atomic_load_n(
			(uint64_t *)gmem_ptr(b->memory, GPA(BARE_CELLS + i * BARE_CELL_BYTES), 16) + 1,
			__ATOMIC_RELAXED);
	return sum;
}

static void invariant(unsigned n, unsigned batches)
{
	struct bare *b = begin(n, access_checks, access_checks_end);
	uint64_t value = 0;
	for (unsigned i = 0; i < batches; i++) {
		uint64_t at[32];
		for (unsigned k = 0; k < n; k++)
			at[k] = bare_cell(b, k);
		write_words(++value, WORD_BATCH, true, b);
		/* Whoever was in the middle of a check has finished it. */
		for (unsigned k = 0; k < n; k++)
			bare_wait_moved(b, k, at[k]);
	}
	cr_assert_eq(broken(b), 0, "%" PRIu64 " checks saw half a cold batch", broken(b));
	/* The same guest sees it when words differ: as amid a hot one. */
	write_words(++value, WORD_BATCH / 2, false, b);
	bare_wait(broken(b) != 0, "a check sees half a batch");
	end(b);
}

Test(hot_cold, a_cold_batch_is_one_moment_to_two_vcpus)
{
	invariant(2, 200);
}
Test(hot_cold, a_cold_batch_is_one_moment_to_thirty_two_vcpus)
{
	invariant(32, 8);
}
