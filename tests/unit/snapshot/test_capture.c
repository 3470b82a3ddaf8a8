/* SPDX-License-Identifier: GPL-2.0-only */
/* Capture and decode on the memory of real kernels as their loader leaves it, with run queues made by hand.
 */
#include "common/clock.h"
#include "host/snapshot/capture.h"
#include "tests/unit/kmem/real.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/mman.h>

#define MEMORY_BYTES (UINT64_C(256) << 20)
#define PAGE_OFFSET UINT64_C(0xffff888000000000)

struct loaded {
	struct gmem memory;
	struct kmem *kmem;
	const struct kbtf *btf;
	uint32_t rq_type;
	gva_t runqueues;
};

static void *at_symbol(struct loaded *l, const char *name)
{
	struct err err = ERR_INIT;
	gva_t at;
	gpa_t gpa;
	uint64_t left;

	cr_assert_eq(symbols_find(kmem_symbols(l->kmem), name, &at, &err), 0, "%s", err.message);
	cr_assert(kimage_gpa(kmem_image(l->kmem), at, &gpa, &left));
	return l->memory.region[0].host + gpa.v;
}

static void load(struct loaded *l, const struct kernel_image *image)
{
	struct err err = ERR_INIT;
	uint8_t *host = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	cr_assert_neq(host, MAP_FAILED);
	l->memory = (struct gmem){.n_regions = 1, .total_bytes = MEMORY_BYTES};
	l->memory.region[0] = (struct gmem_region){GPA(0), MEMORY_BYTES, host, 0};
	struct kmem_config config = {image->elf, image->elf_bytes, &l->memory};
	l->kmem = kmem_new(&config, &err);
	cr_assert_not_null(l->kmem, "%s", err.message);
	l->btf = kmem_btf(l->kmem, &err);
	cr_assert_eq(kbtf_per_cpu(l->btf, "runqueues", &l->rq_type, &err), 0);
	cr_assert_eq(symbols_find(kmem_symbols(l->kmem), "runqueues", &l->runqueues, &err), 0);
}

static void boot(struct loaded *l, unsigned n_cpus)
{
	const struct kimage *image = kmem_image(l->kmem);

	for (unsigned i = 0; i < image->n_segments; i++)
		memcpy(l->memory.region[0].host + image->segment[i].paddr.v,
			image->bytes + image->segment[i].file_offset, image->segment[i].file_bytes);
	uint64_t *offset = at_symbol(l, "__per_cpu_offset");
	for (unsigned cpu = 0; cpu < n_cpus; cpu++)
		offset[cpu] = PAGE_OFFSET + 0x8000000 + cpu * 0x10000 - l->runqueues.v;
	*(uint64_t *)at_symbol(l, "__cpu_possible_mask") = (1u << n_cpus) - 1;
	*(uint64_t *)at_symbol(l, "__cpu_online_mask") = (1u << n_cpus) - 1;
}

static void rq_set(struct loaded *l, unsigned cpu, const char *path, uint64_t value)
{
	struct err err = ERR_INIT;
	struct kbtf_place place;

	cr_assert_eq(kbtf_path(l->btf, l->rq_type, path, &place, &err), 0, "%s", err.message);
	memcpy(l->memory.region[0].host + 0x8000000 + cpu * 0x10000 + place.offset_bytes, &value,
		place.size_bytes);
}

static void unload(struct loaded *l)
{
	kmem_free(l->kmem);
	munmap(l->memory.region[0].host, MEMORY_BYTES);
}

Test(capture, run_queues_and_registers_of_real_kernels, .timeout = 60)
{
	struct real_kernels real;

	real_kernels_load(&real);
	for (unsigned k = 0; k < real.n; k++) {
		struct err err = ERR_INIT;
		struct loaded l;
		struct vcpu_state state = {.mp_state = KVM_MP_STATE_HALTED};
		gva_t init_task, schedule;

		load(&l, real.image[k]);
		boot(&l, 3);
		cr_assert_eq(symbols_find(kmem_symbols(l.kmem), "init_task", &init_task, &err), 0);
		cr_assert_eq(symbols_find(kmem_symbols(l.kmem), "schedule", &schedule, &err), 0);
		for (unsigned cpu = 0; cpu < 3; cpu++) {
			rq_set(&l, cpu, "nr_running", 10 + cpu);
			rq_set(&l, cpu, "clock", UINT64_C(1) << 40);
			rq_set(&l, cpu, "cfs.h_nr_queued", 5);
			rq_set(&l, cpu, "scx.local_dsq.nr", 7);
			rq_set(&l, cpu, "curr", init_task.v);
		}
		/* A curr that points nowhere, a CPU that is offline (its run queue is still there) and one
		 * that is not possible. */
		rq_set(&l, 1, "curr", 0xdead00000000);
		*(uint64_t *)at_symbol(&l, "__cpu_online_mask") = 1;
		*(uint64_t *)at_symbol(&l, "__cpu_possible_mask") = 3;
		state.regs.rip = schedule.v + 4;
		state.sregs.cr3 = 0x12345000;

		struct snapshot_layout *layout = snapshot_layout_new(l.kmem, &err);
		struct snapshot_raw *raw = snapshot_raw_new(layout, NULL, "first", SNAPSHOT_ALL, 3, &err);
		cr_assert_not_null(raw, "%s", err.message);
		snapshot_capture_vcpu(raw, 0, &state);
		state.read_errno = EIO;
		snapshot_capture_vcpu(raw, 1, &state);
		snapshot_capture_kernel(raw);
		/* What happens after the thaw does not show. */
		rq_set(&l, 0, "nr_running", 99);
		struct snapshot *s = snapshot_decode(raw, &(struct freeze_times){1000, 3000, 9000, 4}, &err);
		cr_assert_not_null(s, "%s", err.message);
		snapshot_raw_free(raw);

		cr_assert_not_null(strstr(s->kernel, real.release[k]), "%s", s->kernel);
		cr_assert_eq(s->n_rqs, 3);
		cr_assert_eq(s->n_vcpus, 3);
		cr_assert_eq(
			strncmp(s->vcpus[0].rip_text, "schedule+0x4", 12), 0, "%s", s->vcpus[0].rip_text);
		cr_assert_eq(s->rqs[0].field[SNAPSHOT_RQ_NR_RUNNING].value, 10);
		cr_assert_eq(s->rqs[0].field[SNAPSHOT_RQ_CLOCK].value, UINT64_C(1) << 40);
		cr_assert_eq(s->rqs[1].field[SNAPSHOT_RQ_CFS_H_NR_QUEUED].value, 5);
		cr_assert_eq(s->rqs[1].field[SNAPSHOT_RQ_SCX_LOCAL_DSQ_NR].value, 7);
		cr_assert_str_eq(s->rqs[0].curr.comm, "swapper");
		cr_assert_eq(s->rqs[0].curr.field[SNAPSHOT_TASK_PID].value, 0);
		cr_assert(s->rqs[0].curr.field[SNAPSHOT_TASK_PID].is_signed);
		cr_assert_eq(s->rqs[1].curr.err.code, ERR_UNMAPPED);
		cr_assert_eq(s->rqs[2].err.code, ERR_NOT_FOUND);
		cr_assert_eq(s->n_missing, 3);
		/* A member that this kernel lacks is absent. */
		struct kbtf_place place;
		bool has = kbtf_path(l.btf, l.rq_type, "scx.ops_qseq", &place, NULL) == 0;
		cr_assert_eq(s->rqs[0].field[SNAPSHOT_RQ_SCX_OPS_QSEQ].present, has);

		char *text;
		size_t length;
		cr_assert_eq(snapshot_to_json(s, &text, &length, &err), 0);
		json_t *root = json_loads(text, 0, NULL);
		cr_assert_not_null(root);
		json_t *rq0 = json_array_get(json_object_get(root, "run_queues"), 0);
		cr_assert_eq(json_integer_value(json_object_get(rq0, "nr_running")), 10);
		json_t *scx = json_object_get(rq0, "scx");
		cr_assert_eq(json_integer_value(json_object_get(scx, "local_dsq_nr")), 7);
		cr_assert_eq(json_object_get(scx, "ops_qseq") != NULL, has);
		cr_assert_eq(json_integer_value(json_object_get(root, "park_ns")), 2000);
		cr_assert(json_is_false(json_object_get(root, "complete")));
		json_t *vcpu0 = json_array_get(json_object_get(root, "vcpus"), 0);
		cr_assert(json_is_true(json_object_get(vcpu0, "halted")));
		cr_assert_str_eq(
			json_string_value(json_object_get(json_object_get(vcpu0, "registers"), "cr3")),
			"0x12345000");
		json_decref(root);
		free(text);
		snapshot_free(s);
		snapshot_layout_free(layout);
		unload(&l);
	}
	real_kernels_free(&real);
}

Test(capture, before_the_kernel_is_there)
{
	struct real_kernels real;
	struct err err = ERR_INIT;
	struct loaded l;

	real_kernels_load(&real);
	load(&l, real.image[0]);
	struct snapshot_layout *layout = snapshot_layout_new(l.kmem, &err);
	struct snapshot_raw *raw = snapshot_raw_new(layout, NULL, "early", SNAPSHOT_ALL, 2, &err);
	snapshot_capture_kernel(raw);
	struct snapshot *s = snapshot_decode(raw, &(struct freeze_times){0}, &err);
	cr_assert_eq(s->kernel_err.code, ERR_FAILED_PRECONDITION);
	cr_assert_eq(s->rqs[1].err.code, ERR_FAILED_PRECONDITION);
	cr_assert_eq(s->rqs[1].cpu, 1);
	cr_assert_not(s->jiffies.present);
	snapshot_free(s);
	snapshot_raw_free(raw);
	/* No kernel known at all: registers only. */
	struct err why = ERR_INIT;
	(void)err_set(&why, ERR_KERNEL_LAYOUT, "no symbols");
	raw = snapshot_raw_new(NULL, &why, "none", SNAPSHOT_ALL, 2, &err);
	snapshot_capture_vcpu(raw, 1, &(struct vcpu_state){.regs.rip = 7});
	snapshot_capture_kernel(raw);
	s = snapshot_decode(raw, &(struct freeze_times){0}, &err);
	cr_assert_eq(s->rqs[0].err.code, ERR_KERNEL_LAYOUT);
	cr_assert_eq(s->vcpus[1].state.regs.rip, 7);
	cr_assert_str_eq(s->vcpus[1].rip_text, "");
	snapshot_free(s);
	snapshot_raw_free(raw);
	cr_assert_null(snapshot_raw_new(layout, NULL, "", SNAPSHOT_ALL, 2, &err));
	snapshot_layout_free(layout);
	unload(&l);
	real_kernels_free(&real);
}
