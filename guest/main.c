/* SPDX-License-Identifier: GPL-2.0-only */
/* schedrig-agent. As PID 1 of a VM it needs no arguments; otherwise:
 *
 *   schedrig-agent --fd N --cgroup DIR [--staged DIR] [--no-vm]
 *
 * serves over the connected socket N, makes cgroups below DIR, runs programs from --staged (default /staged).
 */
#include "common/fd.h"
#include "common/fsat.h"
#include "common/log.h"
#include "common/clock.h"
#include "common/parse.h"
#include "guest/agent/agent.h"
#include "guest/init/init.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOTES_MAX 16

struct notes {
	char text[NOTES_MAX][256];
	const char *list[NOTES_MAX];
	unsigned count;
};

static void add_note(void *arg, const char *note)
{
	struct notes *notes = arg;
	if (notes->count == NOTES_MAX)
		return;
	snprintf(notes->text[notes->count], sizeof(notes->text[0]), "%s", note);
	notes->list[notes->count] = notes->text[notes->count];
	notes->count++;
}

static void note_failure(struct notes *notes, const char *what, int r)
{
	char text[200];
	if (r >= 0)
		return;
	snprintf(text, sizeof(text), "%s: %s", what, strerror(-r));
	add_note(notes, text);
}

/* PID 1 without its console has no descriptors 0 to 2, and others would get those numbers. */
static void open_console(void)
{
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);
	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	for (int to = 0; fd >= 0 && to < 3; to++)
		if (fd != to)
			dup2(fd, to);
	if (fd > 2)
		close(fd);
}

static int run_as_init(struct err *err)
{
	static struct notes notes;
	char cmdline[4096] = "";
	int root_fd, own_fd;
	int r = init_mount_all(err);
	open_console();
	if (r == 0)
		r = init_load_modules("/modules/order", err);
	if (r < 0)
		return r;
	init_settle(add_note, &notes);
	(void)!fsat_read(AT_FDCWD, "/proc/cmdline", cmdline, sizeof(cmdline));
	uint32_t speed = init_cmdline_speed(cmdline);
	init_widen_watchdogs(speed, add_note, &notes);
	note_failure(&notes, "cannot lock the agent's memory", init_lock_memory());
	r = init_raise_thread();
	note_failure(&notes, "cannot raise the agent to FIFO 99", r);
	root_fd = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot open /sys/fs/cgroup");
	int c = init_own_cgroup(root_fd, "runner", &own_fd, err);
	if (c < 0)
		return c;
	struct agent_config config = {
		.fd = -1,
		.root_fd = root_fd,
		.stray_fd = own_fd,
		.staged = "/staged",
		.in_vm = true,
		.realtime = r == 0,
		.connect_ns = MIN_OF(30 * NS_PER_S * 100 / speed, 300 * NS_PER_S),
		.notes = notes.list,
		.n_notes = notes.count,
	};
	return agent_run(&config, err);
}

static int usage(void)
{
	fputs("usage: schedrig-agent --fd N --cgroup DIR [--staged DIR] [--no-vm]\n", stderr);
	return 64;
}

static int run_as_process(int argc, char **argv, struct err *err)
{
	static const struct option options[] = {{"fd", required_argument, NULL, 'f'},
		{"cgroup", required_argument, NULL, 'c'}, {"staged", required_argument, NULL, 's'},
		{"no-vm", no_argument, NULL, 'n'}, {0}};
	struct agent_config config = {.fd = -1, .root_fd = -1, .stray_fd = -1, .staged = "/staged"};
	const char *cgroup = NULL;
	uint32_t fd = UINT32_MAX;
	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
		if (option == 'f' && parse_u32(optarg, &fd, err) < 0)
			return usage();
		else if (option == 'c')
			cgroup = optarg;
		else if (option == 's')
			config.staged = optarg;
		else if (option == '?')
			return usage();
	}
	if (optind != argc || fd > 1u << 20 || !cgroup)
		return usage();
	config.fd = (int)fd;
	if (fcntl(config.fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set_os(err, ERR_INVALID_ARGUMENT, errno, "descriptor %d", config.fd);
	config.root_fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (config.root_fd < 0)
		return err_set_os(err, ERR_NOT_FOUND, errno, "cannot open cgroup %s", cgroup);
	return agent_run(&config, err);
}

int main(int argc, char **argv)
{
	struct err err = ERR_INIT;
	log_init("schedrig-agent", LOG_INFO_LEVEL);
	/* The kernel hands words of its command line that it does not know to its first process. */
	if (getpid() == 1 && !(argc > 1 && strncmp(argv[1], "--fd", 4) == 0)) {
		(void)!run_as_init(&err);
		init_die(&err);
	}
	int r = run_as_process(argc, argv, &err);
	if (r < 0)
		log_error("%s", err.message);
	return r < 0 ? 70 : r;
}
