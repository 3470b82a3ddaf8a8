/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig info`, `events`, `cancel`, `shutdown`: a controller that is up. */
#include "host/cli/cli.h"

#include "common/parse.h"

#define SHUTDOWN_WAIT_MS 60000

static void print_disk(const Schedrig__V1__Disk *disk)
{
	printf("disk       %s: %s, %llu KiB%s%s; %llu reads, %llu writes, %llu flushes", disk->name,
		disk->path[0] ? disk->path : "temporary", (unsigned long long)(disk->size_bytes >> 10),
		disk->read_only ? ", read-only" : "", disk->scratch ? ", scratch" : "",
		(unsigned long long)disk->reads, (unsigned long long)disk->writes,
		(unsigned long long)disk->flushes);
	if (disk->errors)
		printf(", %llu errors", (unsigned long long)disk->errors);
	if (disk->last_error[0])
		printf(" (%s)", disk->last_error);
	printf("\n");
}

static void print_info(const Schedrig__V1__Info *info)
{
	char text[64];
	printf("state      %s%s%s\n", info->state, info->running[0] ? ": " : "", info->running);
	if (info->ended)
		printf("ended      %s\n", info->ended->message);
	printf("kernel     %s\n", info->kernel[0] ? info->kernel : "not known yet");
	printf("topology   %s", info->topology);
	if (info->layout)
		printf(": %zu CPUs, %u nodes, %u LLCs, %u cores", info->layout->n_cpus, info->layout->nodes,
			info->layout->llcs, info->layout->cores);
	printf("\nmemory     %llu MiB\n", (unsigned long long)(info->memory_bytes >> 20));
	printf("up         %s", format_duration(info->uptime_ns, text, sizeof(text)));
	if (info->boot_ns)
		printf(", ready after %s", format_duration(info->boot_ns, text, sizeof(text)));
	printf("\nclients    %u\n", info->clients);
	printf("build      %s\n", info->build);
	if (info->run_dir[0])
		printf("results    %s\n", info->run_dir);
	for (size_t i = 0; i < info->n_staged; i++)
		printf("staged     %s\n", info->staged[i]);
	for (size_t i = 0; i < info->n_disks; i++)
		print_disk(info->disks[i]);
	for (size_t i = 0; i < info->n_notes; i++)
		printf("note       %s\n", info->notes[i]);
}

int cli_info(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Info *info = NULL;
	int code;
	cli_parse(cli, argc, argv, NULL, NULL, NULL, NULL);
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	if (schedrig_info(schedrig, &info, &err) < 0)
		code = cli_fail(&err);
	else if (cli->json)
		code = cli_print_json(&info->base);
	else {
		print_info(info);
		code = CLI_OK;
	}
	schedrig_free_message(info);
	schedrig_close(schedrig);
	return code;
}

static int simple(
	struct cli *cli, int argc, char **argv, int (*call)(struct schedrig *schedrig, struct err *err))
{
	struct err err = ERR_INIT;
	int code;
	cli_parse(cli, argc, argv, NULL, NULL, NULL, NULL);
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	code = call(schedrig, &err) < 0 ? cli_fail(&err) : CLI_OK;
	schedrig_close(schedrig);
	return code;
}

int cli_cancel(struct cli *cli, int argc, char **argv)
{
	return simple(cli, argc, argv, schedrig_cancel);
}

static int shut_down(struct schedrig *schedrig, struct err *err)
{
	return schedrig_shutdown(schedrig, SHUTDOWN_WAIT_MS, err);
}

int cli_shutdown(struct cli *cli, int argc, char **argv)
{
	return simple(cli, argc, argv, shut_down);
}

/* ---- events */

struct events_args {
	uint64_t from;
	bool json;
	struct cli_report report;
};

static error_t take_events(int key, char *arg, struct argp_state *state)
{
	struct events_args *args = state->input;
	struct err err = ERR_INIT;
	switch (key) {
	case 'f':
		if (parse_u64(arg, &args->from, &err) < 0)
			argp_error(state, "--from: %s", err.message);
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s' is one argument too many", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int on_event(const Schedrig__V1__Event *event, void *arg)
{
	struct events_args *args = arg;
	if (!args->json) {
		cli_report_event(&args->report, event);
		return ferror(stdout) != 0;
	}
	json_t *json = text_to_json(&event->base);
	bool ok = json && json_dumpf(json, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF &&
		  fflush(stdout) == 0;
	json_decref(json);
	return !ok;
}

int cli_events(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"from", 'f', "N", 0, "Start with event number N (1: the oldest that is kept)", 0},
		{0},
	};
	struct events_args args = {0};
	struct err err = ERR_INIT;
	int code;
	cli_parse(cli, argc, argv, options, NULL, take_events, &args);
	args.json = cli->json;
	args.report = (struct cli_report){.out = stdout, .colour = cli_has_colour(stdout)};
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	/* The stream ends with the controller: that is no failure. */
	code = CLI_OK;
	if (schedrig_events(schedrig, args.from, on_event, &args, &err) < 0 && err.code != ERR_HOST)
		code = cli_fail(&err);
	schedrig_close(schedrig);
	return code;
}
