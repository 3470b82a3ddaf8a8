/* SPDX-License-Identifier: GPL-2.0-only */
/* The knobs of a cgroup in their order: cpu, memory, io, pids (see cgroup.h). Any thread. */
#include "guest/cgroup/cgroup.h"

#include "common/check.h"
#include "common/fsat.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define VALUE_BYTES 160
#define READ_BACK_BYTES 1024

struct job {
	int fd;
	const char *name;
	const struct cg_knob_sink *sink;
	struct err *err;
};

static int set_text(const struct job *job, const char *file, const char *value)
{
	int r = cg_write(job->fd, job->name, file, value, job->err);
	if (r < 0 || !job->sink || !job->sink->wrote)
		return r;
	char text[READ_BACK_BYTES];
	r = cg_read(job->fd, job->name, file, text, sizeof(text), job->err);
	if (r == 0)
		job->sink->wrote(job->sink->arg, file, text);
	return r;
}

static int set_u64(const struct job *job, bool has, const char *file, uint64_t value)
{
	char text[24];
	if (!has)
		return 0;
	snprintf(text, sizeof(text), "%" PRIu64, value);
	return set_text(job, file, text);
}

static int set_bytes(const struct job *job, bool has, const char *file, uint64_t value)
{
	return has && value == CG_MAX ? set_text(job, file, "max") : set_u64(job, has, file, value);
}

static int set_clamp(const struct job *job, bool has, const char *file, uint32_t hundredths)
{
	char text[24];
	if (!has)
		return 0;
	snprintf(text, sizeof(text), "%u.%02u", hundredths / 100, hundredths % 100);
	return set_text(job, file, text);
}

static int apply_cpu(const struct job *job, const struct cg_knobs *knobs)
{
	int r = 0;
	if (knobs->has_cpu_max) {
		char text[48];
		if (knobs->quota_us == CG_MAX)
			snprintf(text, sizeof(text), "max %" PRIu64, knobs->period_us);
		else
			snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64, knobs->quota_us,
				knobs->period_us);
		r = set_text(job, "cpu.max", text);
	}
	if (r == 0)
		r = set_u64(job, knobs->has_weight, "cpu.weight", knobs->weight);
	if (r == 0)
		r = set_u64(job, knobs->has_idle, "cpu.idle", knobs->idle);
	if (r == 0)
		r = set_clamp(job, knobs->has_uclamp_min, "cpu.uclamp.min", knobs->uclamp_min);
	return r < 0 ? r : set_clamp(job, knobs->has_uclamp_max, "cpu.uclamp.max", knobs->uclamp_max);
}

static int apply_memory(const struct job *job, const struct cg_knobs *knobs)
{
	int r = set_bytes(job, knobs->has_mem_max, "memory.max", knobs->mem_max);
	if (r == 0)
		r = set_bytes(job, knobs->has_mem_high, "memory.high", knobs->mem_high);
	if (r == 0)
		r = set_bytes(job, knobs->has_mem_low, "memory.low", knobs->mem_low);
	if (r == 0)
		r = set_bytes(job, knobs->has_mem_min, "memory.min", knobs->mem_min);
	if (r < 0 || !knobs->has_swap_max)
		return r;
	if (!cg_has(job->fd, "memory.swap.max")) {
		if (job->sink && job->sink->note)
			job->sink->note(job->sink->arg,
				"memory.swap.max was skipped: this kernel has no swap accounting");
		return 0;
	}
	return set_bytes(job, true, "memory.swap.max", knobs->swap_max);
}

/* "8:0" of a device's path, or the text itself. */
static int device_number(const struct job *job, const char *device, char *text, size_t size)
{
	struct stat st;
	if (*device != '/') {
		snprintf(text, size, "%s", device);
		return 0;
	}
	if (stat(device, &st) < 0)
		return err_set_os(job->err, errno == ENOENT ? ERR_NOT_FOUND : ERR_GUEST_OS, errno,
			"cannot set io.max of `%s`: no device %s in the VM", job->name, device);
	if (!S_ISBLK(st.st_mode))
		return err_set(job->err, ERR_INVALID_ARGUMENT,
			"cannot set io.max of `%s`: %s is not a block device", job->name, device);
	snprintf(text, size, "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	return 0;
}

static int apply_io_max(const struct job *job, const struct cg_io_max *max)
{
	static const char *const keys[] = {"rbps", "wbps", "riops", "wiops"};
	char text[VALUE_BYTES], device[64];
	int r = device_number(job, max->device, device, sizeof(device));
	if (r < 0)
		return r;
	size_t at = (size_t)snprintf(text, sizeof(text), "%s", device);
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (max->has[i] && max->value[i] == CG_MAX)
			at += (size_t)snprintf(text + at, sizeof(text) - at, " %s=max", keys[i]);
		else if (max->has[i])
			at += (size_t)snprintf(
				text + at, sizeof(text) - at, " %s=%" PRIu64, keys[i], max->value[i]);
	return set_text(job, "io.max", text);
}

static int apply_io(const struct job *job, const struct cg_knobs *knobs)
{
	int r = set_u64(job, knobs->has_io_weight, "io.weight", knobs->io_weight);
	for (unsigned i = 0; r == 0 && i < knobs->n_io_max; i++)
		r = apply_io_max(job, &knobs->io_max[i]);
	return r;
}

int cg_apply_knobs(int root_fd, const char *path, int fd, const char *name, const struct cg_knobs *knobs,
	const struct cg_knob_sink *sink, struct err *err)
{
	struct job job = {fd, name, sink, err};
	const struct {
		const char *controller;
		bool needed;
		int (*apply)(const struct job *job, const struct cg_knobs *knobs);
	} parts[] = {
		{"cpu",
			knobs->has_weight || knobs->has_idle || knobs->has_cpu_max || knobs->has_uclamp_min ||
				knobs->has_uclamp_max,
			apply_cpu},
		{"memory",
			knobs->has_mem_max || knobs->has_mem_high || knobs->has_mem_low ||
				knobs->has_mem_min || knobs->has_swap_max,
			apply_memory},
		{"io", knobs->has_io_weight || knobs->n_io_max, apply_io},
	};
	int r = 0;
	for (unsigned i = 0; r == 0 && i < ARRAY_SIZE(parts); i++) {
		if (!parts[i].needed)
			continue;
		r = cg_need(root_fd, path, parts[i].controller, err);
		if (r == 0)
			r = parts[i].apply(&job, knobs);
	}
	if (r < 0 || !knobs->has_pids_max)
		return r;
	r = cg_need(root_fd, path, "pids", err);
	if (r < 0)
		return r;
	return knobs->pids_max == CG_PIDS_MAX ? set_text(&job, "pids.max", "max")
					      : set_u64(&job, true, "pids.max", knobs->pids_max);
}

const char *cg_for_children(int fd, char *buffer, size_t size)
{
	if (fsat_read(fd, "cgroup.subtree_control", buffer, size) < 0)
		buffer[0] = '\0';
	return buffer;
}
