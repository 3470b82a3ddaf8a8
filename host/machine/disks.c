/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine's disks (see machine_internal.h): from options to devices, and what is told of them. Loop
 * thread before it runs; machine_info_disks() any thread. */
#include "host/machine/machine_internal.h"

#include "common/arena.h"
#include "common/log.h"
#include "host/virtio/blk.h"
#include "proto/disk_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where there may be room; /tmp is often memory, so it comes last. */
static struct virtio_device *make_temporary(struct blk_config *config, struct err *err)
{
	const char *places[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
	struct virtio_device *dev = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(places) && !dev; i++) {
		config->directory = places[i];
		if (places[i] && places[i][0])
			dev = blk_new(config, err);
	}
	return dev;
}

static int open_disk(struct machine *m, unsigned i, struct err *err)
{
	const struct disk_option *o = &m->options->disk[i];
	char id[32]; /* any number fits */
	snprintf(id, sizeof(id), "%s%u", o->scratch ? DISK_SERIAL_SCRATCH : DISK_SERIAL, i);
	struct blk_config config = {
		.path = o->path, .read_only = o->read_only, .size_bytes = o->size_bytes, .id = id};
	struct virtio_device *dev = o->path ? blk_new(&config, err) : make_temporary(&config, err);
	if (!dev)
		return err_wrap(err, "--disk");
	m->disks[m->n_disks++] = dev;
	if (o->scratch && blk_size_bytes(dev) < DISK_SCRATCH_MIN_BYTES)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"--disk: '%s' is too small to be written over by work: %u MiB at least", o->path,
			DISK_SCRATCH_MIN_BYTES >> 20);
	return 0;
}

int machine_open_disks(struct machine *m, struct err *err)
{
	int r = 0;
	for (unsigned i = 0; r == 0 && i < m->options->n_disks; i++)
		r = open_disk(m, i, err);
	return r;
}

void machine_free_disks(struct machine *m)
{
	for (unsigned i = 0; i < m->n_disks; i++) {
		struct blk_stats stats = blk_stats(m->disks[i]);
		if (stats.os_errno)
			log_warn("disk vd%c: %llu requests of the guest failed, the last one for: %s",
				(char)('a' + i), (unsigned long long)stats.errors, strerror(stats.os_errno));
		virtio_free(m->disks[i]);
	}
	m->n_disks = 0;
}

static Schedrig__V1__Disk *info_disk(struct machine *m, unsigned i, struct arena *arena)
{
	const struct disk_option *o = &m->options->disk[i];
	struct blk_stats stats = blk_stats(m->disks[i]);
	Schedrig__V1__Disk *disk = arena_zalloc(arena, 1, sizeof(*disk));
	char *name = arena_printf(arena, "vd%c", (char)('a' + i));
	char *error = stats.os_errno ? arena_strdup(arena, strerror(stats.os_errno)) : NULL;
	if (!disk || !name)
		return NULL;
	schedrig__v1__disk__init(disk);
	disk->name = name;
	if (o->path)
		disk->path = o->path;
	disk->size_bytes = blk_size_bytes(m->disks[i]);
	disk->read_only = o->read_only;
	disk->scratch = o->scratch;
	disk->reads = stats.reads;
	disk->writes = stats.writes;
	disk->flushes = stats.flushes;
	disk->errors = stats.errors;
	if (error)
		disk->last_error = error;
	return disk;
}

void machine_info_disks(struct machine *m, struct arena *arena, Schedrig__V1__Info *ret)
{
	ret->disks = arena_zalloc(arena, m->n_disks + 1, sizeof(*ret->disks));
	for (unsigned i = 0; ret->disks && i < m->n_disks; i++) {
		Schedrig__V1__Disk *disk = info_disk(m, i, arena);
		if (disk)
			ret->disks[ret->n_disks++] = disk;
	}
}
