/* SPDX-License-Identifier: GPL-2.0-only */
/* schedrigd's options: what machine is wanted and where its things go. Parsed once in main, read-only
 * afterwards. */
#ifndef HOST_MACHINE_OPTIONS_H
#define HOST_MACHINE_OPTIONS_H

#include "common/cpuset.h"
#include "common/err.h"

#include <stdbool.h>

#define OPTIONS_STAGE_MAX 256
#define OPTIONS_DISKS_MAX 4

struct staged_file {
	char *name; /* under which it is known in the VM */
	char *path; /* on this host */
};

struct disk_option {
	char *path;          /* raw image or block device; NULL: a sparse temporary */
	uint64_t size_bytes; /* of the temporary */
	bool read_only;
	bool scratch; /* work may write over it */
};

struct options {
	const char *kernel;    /* PATH, VERSION or "default" */
	const char *topology;  /* "2n4l4c2t" */
	uint64_t memory_bytes; /* 0: chosen by the number of CPUs */
	const char *cmdline;   /* added to the kernel's command line, or "" */
	const char *socket;    /* NULL: none */
	const char *run_dir;   /* NULL: nothing is kept */
	const char *console;   /* file that gets the serial console, or NULL */
	const char *agent;     /* NULL: looked for beside this program */
	bool kaslr;            /* the kernel may randomise its place and its regions */
	bool guest_symbols;    /* symbols come from the guest's /proc/kallsyms, whatever the image tells */
	bool has_pin;
	struct cpuset pin;    /* host CPUs for vCPU threads */
	uint64_t timeout_ns;  /* whole life; 0: none */
	int ready_fd;         /* -1: none */
	bool net;             /* a network device: a loopback inside the VM */
	bool die_with_parent; /* stop when the process that started this one is gone */
	unsigned n_disks;     /* in the order in which the guest has them: vda, vdb, ... */
	struct disk_option disk[OPTIONS_DISKS_MAX];
	unsigned n_stage;
	struct staged_file stage[OPTIONS_STAGE_MAX];
};

/* Prints usage or --version by itself and exits 0; a mistake is ERR_INVALID_ARGUMENT. Strings point into
 * argv. */
int options_parse(int argc, char **argv, struct options *ret, struct err *err) must_check;
void options_deinit(struct options *options);

#endif
