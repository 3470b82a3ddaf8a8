/* SPDX-License-Identifier: GPL-2.0-only */
/* Raw copies of run queues and registers, and their decoding. A raw capture belongs to one thread at a
 * time. */
#include "host/snapshot/capture.h"

#include "common/clock.h"
#include "host/kmem/target.h"

#include <errno.h>
#include <string.h>

/* struct rq has 4-5 KiB; a kernel that says otherwise by this much is not believed. */
#define RQ_BYTES_MAX 65536u

struct member {
	bool present, is_signed;
	uint64_t offset;
	uint32_t size;
};

struct snapshot_layout {
	const struct kmem *kmem;
	struct err rq_err; /* code set: run queues cannot be found, why */
	gva_t runqueues;
	uint32_t rq_bytes;
	struct member rq[SNAPSHOT_RQ_COUNT], curr, comm, task[SNAPSHOT_TASK_COUNT];
	gva_t jiffies; /* 0: no such symbol */
};

struct raw_task {
	uint64_t address;
	uint8_t comm[16];
	uint64_t field[SNAPSHOT_TASK_COUNT];
	struct err err;
};

struct raw_rq {
	uint64_t address;
	struct raw_task curr;
	struct err err;
};

struct snapshot_raw {
	const struct snapshot_layout *layout;
	char name[SNAPSHOT_NAME_MAX];
	uint32_t parts;
	unsigned n_vcpus;
	struct err kernel_err;
	uint64_t wall_ns, copy_ns, jiffies;
	struct vcpu_state *vcpus; /* [n_vcpus] */
	struct raw_rq *rqs;       /* [n_vcpus], unless the kernel is unknown */
	uint8_t *rq_bytes;        /* [n_vcpus * layout->rq_bytes] */
};

static struct member member_find(const struct kbtf *btf, uint32_t type, const char *path)
{
	struct kbtf_place place;
	struct member m = {0};

	if (!path || kbtf_path(btf, type, path, &place, NULL) < 0 || place.bit_size > 0 ||
		place.size_bytes == 0 || place.size_bytes > 16)
		return m;
	m = (struct member){.present = true,
		.offset = place.offset_bytes,
		.size = (uint32_t)place.size_bytes,
		.is_signed = kbtf_is_signed(btf, place.type)};
	return m;
}

static int layout_find(struct snapshot_layout *layout, struct err *err)
{
	static const struct {
		const char *path, *older;
	} rq_paths[] = {
#define X(id, group, name, path, older) {path, older},
		SNAPSHOT_RQ_LIST(X)
#undef X
	};
	static const char *const task_paths[] = {
#define X(id, name, path) path,
		SNAPSHOT_TASK_LIST(X)
#undef X
	};
	const struct kbtf *btf = kmem_btf(layout->kmem, err);
	uint32_t rq, task;
	uint64_t size;
	int rc;

	if (!btf)
		return -ENOTSUP;
	rc = symbols_find(kmem_symbols(layout->kmem), "runqueues", &layout->runqueues, err);
	if (rc == 0)
		rc = kbtf_per_cpu(btf, "runqueues", &rq, err);
	if (rc < 0)
		return rc;
	if (kbtf_size(btf, rq, &size) < 0 || size == 0 || size > RQ_BYTES_MAX)
		return err_set(err, ERR_KERNEL_LAYOUT, "struct rq of this kernel has an impossible size");
	layout->rq_bytes = (uint32_t)size;
	task = kbtf_find(btf, BTF_KIND_STRUCT, "task_struct");
	for (unsigned i = 0; i < SNAPSHOT_RQ_COUNT; i++) {
		layout->rq[i] = member_find(btf, rq, rq_paths[i].path);
		if (!layout->rq[i].present)
			layout->rq[i] = member_find(btf, rq, rq_paths[i].older);
		if (layout->rq[i].size > 8 || !range_fits(layout->rq[i].offset, layout->rq[i].size, size))
			layout->rq[i].present = false;
	}
	layout->curr = member_find(btf, rq, "curr");
	if (layout->curr.size != 8 || !range_fits(layout->curr.offset, 8, size))
		layout->curr.present = false;
	layout->comm = member_find(btf, task, "comm");
	for (unsigned i = 0; i < SNAPSHOT_TASK_COUNT; i++) {
		layout->task[i] = member_find(btf, task, task_paths[i]);
		if (layout->task[i].size > 8)
			layout->task[i].present = false;
	}
	return 0;
}

struct snapshot_layout *snapshot_layout_new(const struct kmem *kmem, struct err *err)
{
	struct snapshot_layout *layout = calloc(1, sizeof(*layout));

	if (!layout) {
		(void)err_set(err, ERR_HOST, "out of memory");
		return NULL;
	}
	layout->kmem = kmem;
	(void)!layout_find(layout, &layout->rq_err);
	(void)!symbols_find(kmem_symbols(kmem), "jiffies_64", &layout->jiffies, NULL);
	return layout;
}

void snapshot_layout_free(struct snapshot_layout *layout)
{
	free(layout);
}

struct snapshot_raw *snapshot_raw_new(const struct snapshot_layout *layout, const struct err *why,
	const char *name, uint32_t parts, unsigned n_vcpus, struct err *err)
{
	_cleanup_(snapshot_raw_free_p) struct snapshot_raw *raw = NULL;
	bool rqs = layout && layout->rq_err.code == ERR_NONE && (parts & SNAPSHOT_BIT(SNAPSHOT_RUN_QUEUES));

	if (name[0] == '\0' || strlen(name) >= SNAPSHOT_NAME_MAX) {
		(void)err_set(err, ERR_INVALID_ARGUMENT, "a snapshot's name has 1 to %d bytes",
			SNAPSHOT_NAME_MAX - 1);
		return NULL;
	}
	assert(n_vcpus > 0 && n_vcpus <= SNAPSHOT_CPUS_MAX && (layout || why));
	raw = calloc(1, sizeof(*raw));
	if (raw) {
		raw->vcpus = calloc(n_vcpus, sizeof(*raw->vcpus));
		raw->rqs = rqs ? calloc(n_vcpus, sizeof(*raw->rqs)) : NULL;
		raw->rq_bytes = rqs ? malloc((size_t)n_vcpus * layout->rq_bytes) : NULL;
	}
	if (!raw || !raw->vcpus || (rqs && (!raw->rqs || !raw->rq_bytes))) {
		(void)err_set(err, ERR_HOST, "out of memory for a snapshot of %u CPUs", n_vcpus);
		return NULL;
	}
	/* Written here so that the pages are there when the VM stands still. */
	if (raw->rq_bytes)
		memset(raw->rq_bytes, 0, (size_t)n_vcpus * layout->rq_bytes);
	raw->layout = layout;
	raw->parts = parts;
	raw->n_vcpus = n_vcpus;
	strcpy(raw->name, name);
	if (!layout)
		raw->kernel_err = *why;
	return TAKE_PTR(raw);
}

void snapshot_raw_free(struct snapshot_raw *raw)
{
	if (!raw)
		return;
	free(raw->vcpus);
	free(raw->rqs);
	free(raw->rq_bytes);
	free(raw);
}

unsigned snapshot_raw_vcpus(const struct snapshot_raw *raw)
{
	return raw->n_vcpus;
}

void snapshot_capture_vcpu(struct snapshot_raw *raw, unsigned vcpu, const struct vcpu_state *state)
{
	if (raw->parts & SNAPSHOT_BIT(SNAPSHOT_REGISTERS))
		raw->vcpus[vcpu] = *state;
}

static void task_copy(const struct snapshot_layout *layout, struct raw_task *task)
{
	if (kmem_copy(layout->kmem, GVA(task->address + layout->comm.offset), task->comm,
		    layout->comm.present ? MIN_OF(layout->comm.size, sizeof(task->comm)) : 0, &task->err) < 0)
		return;
	for (unsigned i = 0; i < SNAPSHOT_TASK_COUNT; i++)
		if (layout->task[i].present &&
			kmem_copy(layout->kmem, GVA(task->address + layout->task[i].offset), &task->field[i],
				layout->task[i].size, &task->err) < 0)
			return;
}

static void rq_copy(struct snapshot_raw *raw, unsigned cpu)
{
	const struct snapshot_layout *layout = raw->layout;
	uint8_t *bytes = raw->rq_bytes + (size_t)cpu * layout->rq_bytes;
	struct raw_rq *rq = &raw->rqs[cpu];
	gva_t at;

	/* A panic takes the other CPUs offline; their run queues are what one wants to see then. */
	if (kmem_per_cpu_any(layout->kmem, layout->runqueues, cpu, &at, &rq->err) < 0 ||
		kmem_copy(layout->kmem, at, bytes, layout->rq_bytes, &rq->err) < 0)
		return;
	rq->address = at.v;
	if (!layout->curr.present)
		return;
	memcpy(&rq->curr.address, bytes + layout->curr.offset, 8);
	task_copy(layout, &rq->curr);
}

void snapshot_capture_kernel(struct snapshot_raw *raw)
{
	const struct snapshot_layout *layout = raw->layout;
	uint64_t start_ns = clock_now_ns();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	raw->wall_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
	if (!layout)
		return;
	if (kmem_check(layout->kmem, &raw->kernel_err) < 0)
		return;
	if (layout->jiffies.v)
		(void)!kmem_copy(layout->kmem, layout->jiffies, &raw->jiffies, 8, NULL);
	for (unsigned cpu = 0; raw->rqs && cpu < raw->n_vcpus; cpu++)
		rq_copy(raw, cpu);
	raw->copy_ns += clock_now_ns() - start_ns;
}

static struct snapshot_value value_decode(const struct member *m, const uint8_t *bytes)
{
	struct snapshot_value v = {.present = m->present, .is_signed = m->is_signed};

	if (!m->present)
		return v;
	memcpy(&v.value, bytes, m->size);
	if (m->is_signed && m->size < 8 && v.value >> (8 * m->size - 1))
		v.value |= UINT64_MAX << 8 * m->size;
	return v;
}

static void rq_decode(const struct snapshot_raw *raw, unsigned cpu, struct snapshot_rq *out)
{
	const struct snapshot_layout *layout = raw->layout;
	const struct raw_rq *rq = &raw->rqs[cpu];
	const uint8_t *bytes = raw->rq_bytes + (size_t)cpu * layout->rq_bytes;

	out->cpu = cpu;
	out->err = rq->err;
	if (rq->err.code)
		return;
	out->address = rq->address;
	for (unsigned i = 0; i < SNAPSHOT_RQ_COUNT; i++)
		out->field[i] = value_decode(&layout->rq[i], bytes + layout->rq[i].offset);
	out->curr.address = rq->curr.address;
	out->curr.err = rq->curr.err;
	if (!layout->curr.present)
		(void)err_set(
			&out->curr.err, ERR_KERNEL_LAYOUT, "struct rq of this kernel has no member 'curr'");
	if (out->curr.err.code)
		return;
	memcpy(out->curr.comm, rq->curr.comm, sizeof(rq->curr.comm));
	for (unsigned i = 0; i < SNAPSHOT_TASK_COUNT; i++)
		out->curr.field[i] = value_decode(&layout->task[i], (const uint8_t *)&rq->curr.field[i]);
}

/* The banner up to the build host: "Linux version 7.3.4+deb13-cloud-amd64". */
static void kernel_text(const struct kmem *kmem, char *text, size_t size)
{
	gva_t at;
	const char *banner;

	if (symbols_find(kmem_symbols(kmem), "linux_banner", &at, NULL) < 0)
		return;
	banner = kimage_at(kmem_image(kmem), at, size);
	if (banner)
		snprintf(text, size, "%.*s", (int)strcspn(banner, "("), banner);
	for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
		text[n - 1] = '\0';
}

struct snapshot *snapshot_decode(
	const struct snapshot_raw *raw, const struct freeze_times *times, struct err *err)
{
	_cleanup_(snapshot_free_p) struct snapshot *s = calloc(1, sizeof(*s));
	bool registers = raw->parts & SNAPSHOT_BIT(SNAPSHOT_REGISTERS);
	bool rqs = raw->parts & SNAPSHOT_BIT(SNAPSHOT_RUN_QUEUES);

	if (s && registers)
		s->vcpus = calloc(raw->n_vcpus, sizeof(*s->vcpus));
	if (s && rqs)
		s->rqs = calloc(raw->n_vcpus, sizeof(*s->rqs));
	if (!s || (registers && !s->vcpus) || (rqs && !s->rqs)) {
		(void)err_set(err, ERR_HOST, "out of memory for a snapshot of %u CPUs", raw->n_vcpus);
		return NULL;
	}
	strcpy(s->name, raw->name);
	s->parts = raw->parts;
	s->wall_ns = raw->wall_ns;
	s->copy_ns = raw->copy_ns;
	s->freeze = *times;
	s->kernel_err = raw->kernel_err;
	if (raw->layout) {
		kernel_text(raw->layout->kmem, s->kernel, sizeof(s->kernel));
		(void)kimage_build_id_text(kmem_image(raw->layout->kmem), s->build_id, sizeof(s->build_id));
		s->jiffies = (struct snapshot_value){
			raw->kernel_err.code == ERR_NONE && raw->layout->jiffies.v, false, raw->jiffies};
	}
	s->n_vcpus = registers ? raw->n_vcpus : 0;
	for (unsigned i = 0; i < s->n_vcpus; i++) {
		s->vcpus[i].state = raw->vcpus[i];
		if (raw->layout)
			(void)symbols_text(kmem_symbols(raw->layout->kmem), GVA(raw->vcpus[i].regs.rip),
				s->vcpus[i].rip_text, sizeof(s->vcpus[i].rip_text));
		s->n_missing += s->vcpus[i].state.read_errno != 0;
	}
	s->n_rqs = rqs ? raw->n_vcpus : 0;
	for (unsigned i = 0; i < s->n_rqs; i++) {
		if (raw->kernel_err.code || !raw->rqs) {
			s->rqs[i] = (struct snapshot_rq){.cpu = i,
				.err = raw->kernel_err.code ? raw->kernel_err : raw->layout->rq_err};
		} else {
			rq_decode(raw, i, &s->rqs[i]);
		}
		s->n_missing += s->rqs[i].err.code || s->rqs[i].curr.err.code;
	}
	s->bytes = sizeof(*s) + s->n_vcpus * sizeof(*s->vcpus) + s->n_rqs * sizeof(*s->rqs);
	return TAKE_PTR(s);
}
