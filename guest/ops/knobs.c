/* SPDX-License-Identifier: GPL-2.0-only */
/* Knobs of cgroups from the wire, for definitions and for changes (see ops.h). The controller has validated
 * those of a scenario; a change may come from any client. Lane threads. */
#include "guest/ops/ops.h"

#include <math.h>

static int clamp_knob(
	const PB(DoubleValue) * percent, const char *place, bool *has, uint32_t *ret, struct err *err)
{
	if (!percent)
		return 0;
	if (!(percent->value >= 0 && percent->value <= 100)) {
		err_set(err, ERR_INVALID_ARGUMENT, "a clamp is 0 to 100 per cent, not %g", percent->value);
		return err_at(err, "%s", place);
	}
	*has = true;
	*ret = (uint32_t)lround(percent->value * 100);
	return 0;
}

static int cpu_knobs(const PB(CpuKnobs) * cpu, struct cg_knobs *knobs, struct err *err)
{
	if (cpu->weight) {
		knobs->has_weight = true;
		knobs->weight = cpu->weight->value;
	}
	if (cpu->idle) {
		knobs->has_idle = true;
		knobs->idle = cpu->idle->value;
	}
	int r = clamp_knob(
		cpu->uclamp_min, "cpu.uclamp_min", &knobs->has_uclamp_min, &knobs->uclamp_min, err);
	if (r == 0)
		r = clamp_knob(
			cpu->uclamp_max, "cpu.uclamp_max", &knobs->has_uclamp_max, &knobs->uclamp_max, err);
	if (r < 0 || (!cpu->quota && !cpu->period && !cpu->quota_pct))
		return r;
	knobs->has_cpu_max = true;
	knobs->period_us = cpu->period ? cpu->period->ns / 1000 : 100000;
	knobs->quota_us = cpu->quota ? cpu->quota->ns / 1000 : CG_MAX;
	if (cpu->quota_pct) {
		double quota = (double)knobs->period_us * cpu->quota_pct->value / 100;
		if (!(quota > 0) || quota > 1e15)
			return err_set(err, ERR_INVALID_ARGUMENT, "quota_pct is out of range");
		knobs->quota_us = (uint64_t)quota;
	}
	return 0;
}

static void memory_knobs(const PB(MemoryKnobs) * memory, struct cg_knobs *knobs)
{
	const struct {
		const PB(Size) * from;
		bool *has;
		uint64_t *to;
	} sizes[] = {
		{memory->max, &knobs->has_mem_max, &knobs->mem_max},
		{memory->high, &knobs->has_mem_high, &knobs->mem_high},
		{memory->low, &knobs->has_mem_low, &knobs->mem_low},
		{memory->min, &knobs->has_mem_min, &knobs->mem_min},
		{memory->swap_max, &knobs->has_swap_max, &knobs->swap_max},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		if (sizes[i].from) {
			*sizes[i].has = true;
			*sizes[i].to = sizes[i].from->bytes;
		}
}

static int io_knobs(const PB(IoKnobs) * io, struct cg_knobs *knobs, struct err *err)
{
	if (io->weight) {
		knobs->has_io_weight = true;
		knobs->io_weight = io->weight->value;
	}
	if (io->n_max > CG_IO_DEVICES)
		return err_set(err, ERR_LIMIT_EXCEEDED, "io.max of %zu devices: at most %d are possible",
			io->n_max, CG_IO_DEVICES);
	for (size_t i = 0; i < io->n_max; i++) {
		const PB(IoMax) *from = io->max[i];
		struct cg_io_max *to = &knobs->io_max[knobs->n_io_max++];
		to->device = from->device;
		to->has[0] = from->rbps != NULL;
		to->value[0] = from->rbps ? from->rbps->bytes : 0;
		to->has[1] = from->wbps != NULL;
		to->value[1] = from->wbps ? from->wbps->bytes : 0;
		to->has[2] = from->riops != NULL;
		to->value[2] = from->riops ? from->riops->value : 0;
		to->has[3] = from->wiops != NULL;
		to->value[3] = from->wiops ? from->wiops->value : 0;
	}
	return 0;
}

int ops_knobs(const PB(CpuKnobs) * cpu, const PB(MemoryKnobs) * memory, const PB(PidsKnobs) * pids,
	const PB(IoKnobs) * io, struct cg_knobs *knobs, struct err *err)
{
	*knobs = (struct cg_knobs){0};
	int r = cpu ? cpu_knobs(cpu, knobs, err) : 0;
	if (memory)
		memory_knobs(memory, knobs);
	if (r == 0 && io)
		r = io_knobs(io, knobs, err);
	if (pids) {
		knobs->has_pids_max = true;
		knobs->pids_max = pids->max;
	}
	return r;
}

struct change {
	struct arena *arena;
	PB(KnobsSet) * ret;
};

static void add_note(void *arg, const char *note)
{
	struct change *change = arg;
	(void)ops_append(
		change->arena, &change->ret->notes, &change->ret->n_notes, arena_strdup(change->arena, note));
}

static void wrote(void *arg, const char *file, const char *value)
{
	struct change *change = arg;
	PB(KnobValue) *knob = PB_NEW(change->arena, KnobValue, knob_value);
	if (!knob)
		return;
	knob->file = arena_strdup(change->arena, file);
	knob->value = arena_strdup(change->arena, value);
	if (knob->file && knob->value)
		(void)ops_append(change->arena, &change->ret->values, &change->ret->n_values, knob);
}

int ops_set_knobs(struct scene *scene, const PB(SetKnobs) * set, uint64_t deadline_ns, struct arena *arena,
	PB(KnobsSet) * ret, struct err *err)
{
	struct change change = {arena, ret};
	const struct scene_call call = {.scope = SCENE_ADHOC,
		.adhoc = true,
		.strict = true,
		.deadline_ns = deadline_ns,
		.place = "",
		.note = add_note,
		.arg = &change};
	struct cg_knobs knobs;
	int r = ops_knobs(set->cpu, set->memory, set->pids, set->io, &knobs, err);
	return r < 0 ? r : scene_set_knobs(scene, &call, set->cgroup, &knobs, wrote, err);
}
