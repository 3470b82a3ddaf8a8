/* SPDX-License-Identifier: GPL-2.0-only */
/* schedrigd's options (see options.h). Main thread, before anything else. */
#include "host/machine/options.h"

#include "common/parse.h"
#include "common/scope.h"
#include "proto/disk_device.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEY_CMDLINE = 256,
	KEY_SOCKET,
	KEY_RUN_DIR,
	KEY_STAGE,
	KEY_PIN,
	KEY_CONSOLE,
	KEY_TIMEOUT,
	KEY_READY_FD,
	KEY_AGENT,
	KEY_DIE_WITH_PARENT,
	KEY_NET,
	KEY_DISK,
	KEY_KASLR,
	KEY_SYMBOLS,
};

static const struct argp_option argp_options[] = {
	{"kernel", 'k', "PATH|VERSION|default", 0,
		"Kernel to boot: a bzImage or vmlinux, or one of the kernel store", 0},
	{"topology", 't', "TOPOLOGY", 0,
		"CPUs, as in 2n4l4c2t: nodes, LLCs in total, cores per LLC, threads (default 1n1l2c1t)", 0},
	{"memory", 'm', "SIZE", 0,
		"Memory of the whole machine, as in 2G (default 1 GiB, more with many CPUs)", 0},
	{"cmdline", KEY_CMDLINE, "TEXT", 0, "Added to the kernel's command line", 0},
	{"socket", KEY_SOCKET, "PATH", 0, "Unix socket for clients", 0},
	{"run-dir", KEY_RUN_DIR, "DIR", 0, "Where results are kept", 0},
	{"stage", KEY_STAGE, "NAME=PATH", 0,
		"Ship a program (with the libraries it needs) into the VM; may be repeated", 0},
	{"pin", KEY_PIN, "LIST", 0, "Host CPUs for the vCPU threads, as in 1 or 0-3", 0},
	{"net", KEY_NET, NULL, 0,
		"Give the VM a network device whose frames come back to it, for work that needs packets and "
		"interrupts",
		0},
	{"disk", KEY_DISK, "FILE[,ro|,scratch]|temp:SIZE", 0,
		"Give the VM a disk: a raw image, or a temporary one that is gone with it; work of the io "
		"types writes over those that are temporary or scratch; may be repeated",
		0},
	{"kaslr", KEY_KASLR, NULL, 0,
		"Let the kernel choose its place at random: a bzImage boots by its own code; of an ELF "
		"vmlinux only "
		"direct map, vmalloc space, memory map and modules move",
		0},
	{"symbols", KEY_SYMBOLS, "SOURCE", 0,
		"Where kernel symbols come from: image (default; of an image without any, from the guest), "
		"or guest "
		"(the running kernel's /proc/kallsyms)",
		0},
	{"console", KEY_CONSOLE, "FILE", 0, "File that gets the serial console", 0},
	{"timeout", KEY_TIMEOUT, "DURATION", 0, "Stop the VM after this time", 0},
	{"ready-fd", KEY_READY_FD, "N", 0, "Write 'ready' or 'error CODE TEXT' to this file descriptor", 0},
	{"agent", KEY_AGENT, "PATH", 0,
		"Agent to put into the VM (default: the one installed with this program)", 0},
	{"die-with-parent", KEY_DIE_WITH_PARENT, NULL, 0, "Stop when the process that started this one ends",
		0},
	{0},
};

struct parse_state {
	struct options *options;
	struct err *err;
	int result;
};

static int add_stage(struct options *options, const char *arg, struct err *err)
{
	const char *equals = strchr(arg, '=');
	if (!equals || equals == arg || !equals[1])
		return err_set(err, ERR_INVALID_ARGUMENT, "--stage %s: write NAME=PATH", arg);
	if (options->n_stage == OPTIONS_STAGE_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "more than %d staged files", OPTIONS_STAGE_MAX);
	struct staged_file *file = &options->stage[options->n_stage];
	file->name = strndup(arg, (size_t)(equals - arg));
	file->path = strdup(equals + 1);
	options->n_stage++;
	if (!file->name || !file->path)
		return err_set(err, ERR_HOST, "out of memory");
	return 0;
}

static bool cut_ending(char *text, const char *ending)
{
	size_t n = strlen(text), m = strlen(ending);
	if (n < m || strcmp(text + n - m, ending) != 0)
		return false;
	text[n - m] = '\0';
	return true;
}

static int add_disk(struct options *options, const char *arg, struct err *err)
{
	if (options->n_disks == OPTIONS_DISKS_MAX)
		return err_set(
			err, ERR_LIMIT_EXCEEDED, "--disk: a VM has at most %d disks", OPTIONS_DISKS_MAX);
	struct disk_option disk = {0};
	if (strncmp(arg, "temp:", 5) == 0) {
		int r = parse_size_bytes(arg + 5, &disk.size_bytes, err);
		if (r == 0 && disk.size_bytes < DISK_SCRATCH_MIN_BYTES)
			r = err_set(err, ERR_INVALID_ARGUMENT, "the smallest temporary disk has %u MiB",
				DISK_SCRATCH_MIN_BYTES >> 20);
		if (r < 0)
			return err_wrap(err, "--disk %s", arg);
		disk.scratch = true;
		options->disk[options->n_disks++] = disk;
		return 0;
	}
	_cleanup_free_ char *path = strdup(arg);
	if (!path)
		return err_set(err, ERR_HOST, "out of memory");
	for (bool more = true; more;) {
		bool ro = cut_ending(path, ",ro"), scratch = cut_ending(path, ",scratch");
		disk.read_only |= ro;
		disk.scratch |= scratch;
		more = ro || scratch;
	}
	if (!path[0])
		return err_set(err, ERR_INVALID_ARGUMENT,
			"--disk %s: write FILE, FILE,ro or FILE,scratch, or temp:SIZE", arg);
	if (disk.read_only && disk.scratch)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"--disk %s: what may only be read cannot be written over", arg);
	disk.path = TAKE_PTR(path);
	options->disk[options->n_disks++] = disk;
	return 0;
}

static int take(struct parse_state *state, int key, const char *arg)
{
	struct options *o = state->options;
	struct err *err = state->err;
	uint32_t number;
	int r = 0;
	switch (key) {
	case 'k':
		o->kernel = arg;
		break;
	case 't':
		o->topology = arg;
		break;
	case 'm':
		r = parse_size_bytes(arg, &o->memory_bytes, err);
		if (r == 0 && o->memory_bytes == 0)
			r = err_set(err, ERR_INVALID_ARGUMENT, "a machine without memory");
		return r < 0 ? err_wrap(err, "--memory") : 0;
	case KEY_CMDLINE:
		o->cmdline = arg;
		break;
	case KEY_SOCKET:
		o->socket = arg;
		break;
	case KEY_RUN_DIR:
		o->run_dir = arg;
		break;
	case KEY_STAGE:
		return add_stage(o, arg, err);
	case KEY_PIN:
		r = cpuset_parse(arg, &o->pin, err);
		if (r == 0 && cpuset_is_empty(&o->pin))
			r = err_set(err, ERR_INVALID_ARGUMENT, "the list is empty");
		o->has_pin = true;
		return r < 0 ? err_wrap(err, "--pin") : 0;
	case KEY_KASLR:
		o->kaslr = true;
		break;
	case KEY_SYMBOLS:
		o->guest_symbols = strcmp(arg, "guest") == 0;
		if (!o->guest_symbols && strcmp(arg, "image") != 0)
			return err_set(
				err, ERR_INVALID_ARGUMENT, "--symbols: '%s' is neither image nor guest", arg);
		break;
	case KEY_CONSOLE:
		o->console = arg;
		break;
	case KEY_TIMEOUT:
		r = parse_duration_ns(arg, &o->timeout_ns, err);
		return r < 0 ? err_wrap(err, "--timeout") : 0;
	case KEY_READY_FD:
		r = parse_u32(arg, &number, err);
		if (r == 0 && number > 1 << 20)
			r = err_set(err, ERR_INVALID_ARGUMENT, "'%s' is no file descriptor", arg);
		if (r < 0)
			return err_wrap(err, "--ready-fd");
		o->ready_fd = (int)number;
		break;
	case KEY_AGENT:
		o->agent = arg;
		break;
	case KEY_NET:
		o->net = true;
		break;
	case KEY_DISK:
		return add_disk(o, arg, err);
	case KEY_DIE_WITH_PARENT:
		o->die_with_parent = true;
		break;
	case ARGP_KEY_ARG:
		return err_set(err, ERR_INVALID_ARGUMENT, "'%s' is not an option; see schedrigd --help", arg);
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static error_t on_option(int key, char *arg, struct argp_state *argp)
{
	struct parse_state *state = argp->input;
	int r = take(state, key, arg);
	if (r == ARGP_ERR_UNKNOWN)
		return ARGP_ERR_UNKNOWN;
	if (r < 0 && state->result == 0)
		state->result = r;
	return r < 0 ? EINVAL : 0;
}

int options_parse(int argc, char **argv, struct options *ret, struct err *err)
{
	static const struct argp argp = {argp_options, on_option, NULL,
		"Boots a Linux kernel in a VM of the topology asked for and serves clients that run "
		"scheduler tests in it.",
		NULL, NULL, NULL};
	*ret = (struct options){.kernel = "default", .topology = "1n1l2c1t", .cmdline = "", .ready_fd = -1};
	struct parse_state state = {.options = ret, .err = err};
	*err = ERR_INIT;
	int r = argp_parse(&argp, argc, argv, 0, NULL, &state);
	if (state.result < 0)
		return state.result;
	if (r)
		return err_set(err, ERR_INVALID_ARGUMENT, "wrong options; see schedrigd --help");
	return 0;
}

void options_deinit(struct options *options)
{
	for (unsigned i = 0; i < options->n_stage; i++) {
		free(options->stage[i].name);
		free(options->stage[i].path);
	}
	options->n_stage = 0;
	for (unsigned i = 0; i < options->n_disks; i++)
		free(options->disk[i].path);
	options->n_disks = 0;
}
