/* SPDX-License-Identifier: GPL-2.0-only */
/* Cgroup definitions: names, CPU sets, knobs, what runs in them. Pure. */
#include "common/cpuspec.h"
#include "host/engine/cpus.h"
#include "host/engine/validate.h"
#include "proto/wire.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool check_cgroup_name(struct check *check, const char *name, const char *field)
{
	const char *why = NULL;
	size_t length = strlen(name);
	if (!length)
		why = "a cgroup needs a name";
	else if (length > LIMIT_CGROUP_NAME_BYTES)
		why = "a cgroup's name has at most 255 bytes";
	else if (name[0] == '/' || name[length - 1] == '/' || strstr(name, "//"))
		why = "a cgroup's name is relative, with single slashes between its parts";
	else if (strpbrk(name, "\n\r"))
		why = "a cgroup's name is one line";
	for (const char *part = name; !why && part; part = strchr(part, '/')) {
		part += *part == '/';
		size_t n = strcspn(part, "/");
		if ((n == 1 && part[0] == '.') || (n == 2 && part[0] == '.' && part[1] == '.'))
			why = "a cgroup's name must not have '.' or '..' as a part";
		/* The kernel's own files: mkdir would collide with them. */
		else if (strncmp(part, "cgroup.", 7) == 0)
			why = "names that begin with 'cgroup.' are the kernel's";
	}
	if (why)
		check_bad(check, ERR_INVALID_ARGUMENT, field, "%s%s%.80s%s", why, length ? ": '" : "", name,
			length ? "'" : "");
	return !why;
}

bool check_list_text(struct check *check, const char *text, const char *field, struct cpuset *ret_set)
{
	struct err err = ERR_INIT;
	if (cpuset_parse(text, ret_set, &err) == 0)
		return true;
	check_bad(check, ERR_INVALID_ARGUMENT, field, "%s", err.message);
	return false;
}

bool check_cpus(
	struct check *check, const Schedrig__V1__CpusetSpec *wire, const char *field, struct cpuset *ret_set)
{
	struct err err = ERR_INIT;
	struct cpuspec spec;
	if (cpus_from_wire(wire, &spec, &err) < 0) {
		check_bad(check, err.code, field, "%s", err.message);
		return false;
	}
	/* Without a machine, what is wrong on every machine still is. */
	struct cpu_layout *widest = NULL;
	if (!check->layout && (spec.kind == CPUSPEC_LLC || spec.kind == CPUSPEC_NUMA))
		return false;
	if (!check->layout) {
		widest = calloc(1, sizeof(*widest));
		check->out_of_memory |= !widest;
		if (!widest)
			return false;
		widest->n_cpus = CPUSET_MAX;
	}
	int r = cpuspec_resolve(&spec, check->layout ? check->layout : widest, ret_set, &err);
	free(widest);
	if (r < 0) {
		/* "range.start" -> "cpus.start": places do not name the form. */
		const char *sub = strchr(err.place, '.');
		char place[64];
		snprintf(place, sizeof(place), "%s%.32s", field, sub ? sub : "");
		check_bad(check, err.code, place, "%s", err.message);
	}
	return r == 0 && check->layout;
}

static void check_percent(struct check *check, const Schedrig__V1__DoubleValue *percent, const char *field)
{
	if (percent && !(percent->value >= 0 && percent->value <= 100))
		check_bad(check, ERR_INVALID_ARGUMENT, field, "%g is not in 0..100 per cent", percent->value);
}

static void check_weight(struct check *check, const Schedrig__V1__Uint32Value *weight, const char *field)
{
	if (weight && (weight->value < 1 || weight->value > 10000))
		check_bad(
			check, ERR_INVALID_ARGUMENT, field, "%s %u is not in 1..10000", field, weight->value);
}

static void check_cpu_knobs(struct check *check, const Schedrig__V1__CpuKnobs *cpu)
{
	check_weight(check, cpu->weight, "cpu.weight");
	check_percent(check, cpu->uclamp_min, "cpu.uclamp_min");
	check_percent(check, cpu->uclamp_max, "cpu.uclamp_max");
	if (cpu->quota && cpu->quota->ns == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "cpu.quota", "a quota of 0 lets nothing run");
	if (cpu->period && cpu->period->ns == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "cpu.period", "a period of 0 is none");
	if (cpu->quota_pct && (!isfinite(cpu->quota_pct->value) || cpu->quota_pct->value <= 0))
		check_bad(check, ERR_INVALID_ARGUMENT, "cpu.quota_pct",
			"quota_pct %g is not a number above 0", cpu->quota_pct->value);
	if (cpu->quota && cpu->quota_pct)
		check_bad(check, ERR_INVALID_ARGUMENT, "cpu.quota_pct",
			"quota and quota_pct are two ways to say the same");
}

/* "8:0" or "/dev/vda"; whether it is there shows in the VM. */
static bool device_good(const char *device)
{
	unsigned major, minor;
	int end = 0;
	if (*device == '/')
		return strlen(device) < PATH_MAX && !strpbrk(device, "\n\r");
	return sscanf(device, "%6u:%7u%n", &major, &minor, &end) == 2 && !device[end];
}

static void check_io_knobs(struct check *check, const Schedrig__V1__IoKnobs *io)
{
	check_weight(check, io->weight, "io.weight");
	if (io->n_max > LIMIT_IO_DEVICES)
		check_bad(check, ERR_LIMIT_EXCEEDED, "io.max",
			"io.max of %zu devices: at most %u are possible", io->n_max, LIMIT_IO_DEVICES);
	for (size_t i = 0; i < io->n_max; i++) {
		const Schedrig__V1__IoMax *max = io->max[i];
		size_t at = check_enter(check, "io.max[%zu]", i);
		if (!device_good(max->device))
			check_bad(check, ERR_INVALID_ARGUMENT, "device",
				"'%.60s' is no device: MAJOR:MINOR, or the path of a block device in the VM",
				max->device);
		if (!max->rbps && !max->wbps && !max->riops && !max->wiops)
			check_bad(check, ERR_INVALID_ARGUMENT, NULL,
				"no limit is given: one of rbps, wbps, riops, wiops");
		if ((max->rbps && !max->rbps->bytes) || (max->wbps && !max->wbps->bytes) ||
			(max->riops && !max->riops->value) || (max->wiops && !max->wiops->value))
			check_bad(check, ERR_INVALID_ARGUMENT, NULL, "a limit of 0 lets nothing through");
		check_leave(check, at);
	}
}

void check_knobs(struct check *check, const Schedrig__V1__CpuKnobs *cpu,
	const Schedrig__V1__MemoryKnobs *memory, const Schedrig__V1__IoKnobs *io,
	const Schedrig__V1__PidsKnobs *pids)
{
	if (cpu)
		check_cpu_knobs(check, cpu);
	if (memory && memory->max && memory->max->bytes == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "memory.max",
			"a memory.max of 0 kills whoever starts there");
	if (io)
		check_io_knobs(check, io);
	if (pids && pids->max == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "pids.max",
			"pids.max is at least 1: leave pids out for no limit");
}

static void check_definition_knobs(struct check *check, const Schedrig__V1__CgroupDef *def)
{
	check_knobs(check, def->cpu, def->memory, def->io, def->pids);
	struct cpuset nodes;
	if (!def->cpuset_mems || !check_list_text(check, def->cpuset_mems->list, "cpuset_mems", &nodes))
		return;
	struct cpuset all = cpuset_first_n(check->layout ? check->layout->n_nodes : CPUSET_MAX);
	if (cpuset_is_empty(&nodes))
		check_bad(check, ERR_INVALID_ARGUMENT, "cpuset_mems", "the set of NUMA nodes is empty");
	else if (!cpuset_is_subset(&nodes, &all))
		check_bad(check, ERR_INVALID_ARGUMENT, "cpuset_mems",
			"NUMA nodes %.60s are not all in this machine's 0-%u", def->cpuset_mems->list,
			check->layout->n_nodes - 1);
}

static void check_inhabitants(struct check *check, const Schedrig__V1__CgroupDef *def,
	const struct cpuset *pool, bool narrowed, enum name_owner owner)
{
	check_comm_and_nice(check, def->comm, def->nice);
	if (def->empty && def->n_work)
		check_bad(check, ERR_INVALID_ARGUMENT, "empty",
			"`empty: true` means no workers, but `work` has some");
	Schedrig__V1__WorkSpec none = SCHEDRIG__V1__WORK_SPEC__INIT;
	struct cpuset mems;
	struct err ignored = ERR_INIT; /* said already, where it stands */
	const struct work_place place = {
		.narrowed = narrowed,
		.swappable = def->swappable,
		.mems = def->cpuset_mems && cpuset_parse(def->cpuset_mems->list, &mems, &ignored) == 0 ? &mems
												       : NULL,
		.numa_node = def->numa_node,
	};
	if (!check->names_only)
		check_thread_groups(check, def);
	if (!def->n_work && !def->empty)
		check_work(check, &none, pool, &place);
	for (size_t i = 0; i < def->n_work; i++) {
		size_t at = check_enter(check, "work[%zu]", i);
		check_work(check, def->work[i], pool, &place);
		check_leave(check, at);
	}
	for (size_t i = 0; i < def->n_payloads; i++) {
		size_t at = check_enter(check, "payloads[%zu]", i);
		if (def->payloads[i]->cgroup)
			check_bad(check, ERR_INVALID_ARGUMENT, "cgroup",
				"a definition's payload runs in its cgroup: leave `cgroup` out");
		check_run_payload(check, def->payloads[i], def->name, owner);
		check_leave(check, at);
	}
}

void check_definition(struct check *check, const Schedrig__V1__CgroupDef *def, enum name_owner owner)
{
	bool named = check_cgroup_name(check, def->name, "name");
	struct name *name = named ? names_enter(&check->names, def->name) : NULL;
	if (name && name->tracked && !check->adhoc)
		check_bad(check, ERR_ALREADY_EXISTS, "name", "cgroup '%.80s' exists already at this point",
			def->name);
	struct cpuset set;
	bool known = def->cpuset && check_cpus(check, def->cpuset, "cpuset", &set);
	struct cpuset all = cpuset_first_n(check->layout ? check->layout->n_cpus : 0);
	if (!check->names_only) {
		if (++check->cgroups == LIMIT_CGROUPS + 1)
			check_bad(check, ERR_LIMIT_EXCEEDED, NULL, "more than %u cgroups", LIMIT_CGROUPS);
		check_definition_knobs(check, def);
	}
	bool narrowed = def->cpuset && (!known || !cpuset_equal(&set, &all));
	struct cpuset usable = check->layout ? cpu_layout_usable(check->layout) : CPUSET_EMPTY;
	bool pool_known = check->layout && (known || !def->cpuset);
	check_inhabitants(check, def, pool_known ? (known ? &set : &usable) : NULL, narrowed, owner);
	if (!name || check->waived_hit)
		return;
	name->tracked = true;
	name->owner = owner;
	name->cpus_known = known || !def->cpuset;
	name->cpus = known ? set : CPUSET_EMPTY;
}
