/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig run`: a controller of its own for one scenario. The file is checked before anything is booted. */
#include "host/cli/cli.h"
#include "host/cli/daemon.h"

#include "common/scope.h"
#include "host/topology/topology.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_TOPOLOGY "1n1l2c1t" /* schedrigd's own */
#define STAGE_MAX 256

/* Options that are schedrigd's: passed on as they are. X(key, name, argument, doc) */
#define PASSED_LIST(X)                                                                                       \
	X('k', "kernel", "PATH|VERSION|default", "Kernel to boot: bzImage, vmlinux, or one of the store")    \
	X('m', "memory", "SIZE", "Memory of the machine, as in 2G")                                          \
	X(256, "cmdline", "TEXT", "Added to the kernel's command line")                                      \
	X(257, "run-dir", "DIR", "Where results are kept")                                                   \
	X(258, "pin", "LIST", "Host CPUs for the vCPU threads, as in 1 or 0-3")                              \
	X(259, "console", "FILE", "File that gets the serial console")                                       \
	X(260, "timeout", "DURATION", "Stop the VM after this time")                                         \
	X(261, "agent", "PATH", "Agent to put into the VM")                                                  \
	X(262, "disk", "FILE[,ro|,scratch]|temp:SIZE", "Give the VM a disk; may be repeated")

enum { KEY_STAGE = 300, KEY_NET, KEY_KASLR };

struct run_args {
	const char *file, *topology;
	char *options[2 * STAGE_MAX + 32]; /* heap strings, NULL-terminated */
	unsigned n_options;
	char *staged[STAGE_MAX + 1]; /* names; heap, NULL-terminated */
	unsigned n_staged;
};

static void add(struct run_args *args, char *option)
{
	if (!option || args->n_options + 1 >= ARRAY_SIZE(args->options)) {
		cli_error("too many options");
		exit(CLI_USAGE);
	}
	args->options[args->n_options++] = option;
}

static void add_pair(struct run_args *args, const char *name, const char *value)
{
	char *option = NULL;
	if (asprintf(&option, "--%s=%s", name, value) < 0)
		option = NULL;
	add(args, option);
}

static bool is_staged(const struct run_args *args, const char *name)
{
	for (unsigned i = 0; i < args->n_staged; i++)
		if (strcmp(args->staged[i], name) == 0)
			return true;
	return false;
}

static int stage(struct run_args *args, const char *name, size_t name_length, const char *path)
{
	if (args->n_staged == STAGE_MAX) {
		cli_error("more than %d staged files", STAGE_MAX);
		return CLI_USAGE;
	}
	char *option = NULL, *copy = strndup(name, name_length);
	if (!copy || asprintf(&option, "--stage=%s=%s", copy, path) < 0)
		option = NULL;
	args->staged[args->n_staged++] = copy;
	add(args, option);
	return CLI_OK;
}

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct run_args *args = state->input;
	const char *equals;
	switch (key) {
#define X(k, name, argument, doc)                                                                            \
	case k:                                                                                              \
		add_pair(args, name, arg);                                                                   \
		return 0;
		PASSED_LIST(X)
#undef X
	case 't':
		args->topology = arg;
		return 0;
	case KEY_NET:
		add(args, strdup("--net"));
		return 0;
	case KEY_KASLR:
		add(args, strdup("--kaslr"));
		return 0;
	case KEY_STAGE:
		equals = strchr(arg, '=');
		if (!equals || equals == arg || !equals[1])
			argp_error(state, "--stage %s: write NAME=PATH", arg);
		else if (stage(args, arg, (size_t)(equals - arg), equals + 1) != CLI_OK)
			argp_error(state, "too many staged files");
		return 0;
	default:
		return cli_take_scenario(key, arg, state, &args->file);
	}
}

/* One program or file of the scenario, from its path, or from PATH, unless it is staged by option. from: path
 * written in the file, per staged index. */
static int stage_one(struct run_args *args, const struct cli_file *file, const char **from,
	const char *program, const char *place)
{
	const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;
	char found[PATH_MAX], text[PATH_MAX + 200];
	if (!name[0])
		return CLI_OK; /* the check of the scenario says it better */
	if (is_staged(args, name)) {
		for (unsigned k = 0; k < args->n_staged; k++) {
			if (strcmp(args->staged[k], name) != 0 || !from[k] || strcmp(from[k], program) == 0)
				continue;
			snprintf(text, sizeof(text),
				"%s and %s would both be staged as `%s`: rename one, or give --stage "
				"NAME=PATH",
				from[k], program, name);
			cli_file_print_place(file, false, place, text);
			return CLI_USAGE;
		}
		return CLI_OK;
	}
	if (!cli_find_program(program, found, sizeof(found))) {
		snprintf(text, sizeof(text),
			slash ? "there is no readable file %s"
			      : "program `%s` is neither staged (--stage NAME=PATH) nor in PATH",
			program);
		cli_file_print_place(file, false, place, text);
		return CLI_USAGE;
	}
	if (args->n_staged < STAGE_MAX)
		from[args->n_staged] = program;
	return stage(args, name, strlen(name), found);
}

static int stage_programs(struct run_args *args, const struct cli_file *file)
{
	const Schedrig__V1__Scenario *scenario = cli_scenario(file);
	const char *from[STAGE_MAX + 1] = {0};
	int code = CLI_OK;
	for (size_t i = 0; i < scenario->n_payloads; i++) {
		const Schedrig__V1__Payload *payload = scenario->payloads[i];
		char place[64];
		snprintf(place, sizeof(place), "payloads[%zu].program", i);
		int one = stage_one(args, file, from, payload->program, place);
		code = one != CLI_OK ? one : code;
		for (size_t k = 0; k < payload->n_files; k++) {
			snprintf(place, sizeof(place), "payloads[%zu].files[%zu]", i, k);
			one = stage_one(args, file, from, payload->files[k], place);
			code = one != CLI_OK ? one : code;
		}
	}
	for (size_t i = 0; i < scenario->n_schedulers; i++) {
		const Schedrig__V1__Scheduler *scheduler = scenario->schedulers[i];
		char place[64];
		bool object = scheduler->kind_case == SCHEDRIG__V1__SCHEDULER__KIND_OBJECT;
		snprintf(place, sizeof(place), "schedulers[%zu].%s", i, object ? "file" : "program");
		int one = stage_one(args, file, from, cli_scheduler_file(scheduler), place);
		code = one != CLI_OK ? one : code;
		snprintf(place, sizeof(place), "schedulers[%zu].config", i);
		one = stage_one(args, file, from, scheduler->config, place);
		code = one != CLI_OK ? one : code;
	}
	return code;
}

static int check(struct run_args *args, struct cli_file *file)
{
	struct err err = ERR_INIT;
	_cleanup_free_ struct topology *topology = calloc(1, sizeof(*topology));
	int code = cli_scenario_load(file, args->file);
	if (code != CLI_OK)
		return code;
	const char *text = args->topology ? args->topology : DEFAULT_TOPOLOGY;
	/* The memory does not matter to the check: enough for any number of nodes. */
	if (!topology || topology_parse(text, UINT64_C(1) << 40, topology, &err) < 0) {
		cli_error("--topology: %s", err.message);
		return CLI_USAGE;
	}
	code = stage_programs(args, file);
	/* A program that was not found has been told already. */
	int checked = cli_scenario_check(
		file, &topology->layout, code == CLI_OK ? (const char *const *)args->staged : NULL);
	return code != CLI_OK ? code : checked;
}

static void say_machine(struct schedrig *schedrig)
{
	Schedrig__V1__Info *info = NULL;
	if (schedrig_info(schedrig, &info, NULL) < 0)
		return;
	fprintf(stderr, "kernel %s on %s, ready after %.1f s\n", info->kernel, info->topology,
		(double)info->boot_ns / 1e9);
	for (size_t i = 0; i < info->n_notes; i++)
		fprintf(stderr, "note: %s\n", info->notes[i]);
	schedrig_free_message(info);
}

static int run(struct cli *cli, struct run_args *args, const struct cli_file *file)
{
	struct err err = ERR_INIT;
	struct cli_daemon daemon = CLI_DAEMON_INIT;
	struct cli_submit submit = {.file = file, .json = cli->json, .signal_fd = cli_signals()};
	bool at_once = false;
	if (submit.signal_fd < 0)
		return CLI_HOST;
	fprintf(stderr, "booting %s ...\n", args->topology ? args->topology : DEFAULT_TOPOLOGY);
	int code = cli_daemon_start(&daemon, args->options, cli->socket);
	if (code == CLI_OK)
		code = cli_daemon_wait(&daemon, submit.signal_fd);
	if (code == CLI_OK) {
		struct schedrig *schedrig = schedrig_open(daemon.socket, &err);
		cli_daemon_hide(&daemon);
		if (schedrig) {
			say_machine(schedrig);
			code = cli_submit_scenario(schedrig, &submit, &at_once);
		} else {
			cli_fail(&err);
			code = CLI_HOST;
		}
		schedrig_close(schedrig);
	}
	cli_daemon_stop(&daemon, at_once);
	close(submit.signal_fd);
	return code;
}

int cli_run(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
#define X(key, name, argument, doc) {name, key, argument, 0, doc, 0},
		PASSED_LIST(X)
#undef X
			{"topology", 't', "TOPOLOGY", 0,
				"CPUs, as in 2n4l4c2t: nodes, LLCs in total, cores per LLC, threads "
				"(default " DEFAULT_TOPOLOGY ")",
				0},
		{"net", KEY_NET, NULL, 0,
			"Give the VM a network device whose frames come back to it (net_traffic, irq_wake)",
			0},
		{"kaslr", KEY_KASLR, NULL, 0, "Let the kernel choose its place at random", 0},
		{"stage", KEY_STAGE, "NAME=PATH", 0,
			"Ship a program into the VM; those of the scenario's payloads are found by "
			"themselves",
			0},
		{0},
	};
	struct run_args args = {0};
	struct cli_file file = {0};
	cli_parse(cli, argc, argv, options, "SCENARIO", take, &args);
	if (args.topology)
		add_pair(&args, "topology", args.topology);
	int code = check(&args, &file);
	if (code == CLI_OK)
		code = run(cli, &args, &file);
	for (unsigned i = 0; i < args.n_options; i++)
		free(args.options[i]);
	for (unsigned i = 0; i < args.n_staged; i++)
		free(args.staged[i]);
	cli_file_deinit(&file);
	return code;
}
