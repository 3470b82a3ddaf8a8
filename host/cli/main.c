/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig`: options before the subcommand, then the subcommand. */
#include "host/cli/cli.h"

#include <string.h>

const char *argp_program_version = "schedrig " SCHEDRIG_VERSION;

static const struct {
	const char *name, *args, *doc;
	int (*run)(struct cli *cli, int argc, char **argv);
} commands[] = {
#define X(name, function, args, doc) {name, args, doc, cli_##function},
	CLI_COMMAND_LIST(X)
#undef X
};

static char *add_commands(int key, const char *text, void *input)
{
	char *out = NULL;
	size_t size = 0;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	FILE *f = open_memstream(&out, &size);
	if (!f)
		return (char *)text;
	fprintf(f, "Commands:\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %-9s %s\n", commands[i].name, commands[i].doc);
	fprintf(f, "\n%s", text);
	fclose(f);
	return out;
}

struct top {
	struct cli *cli;
	int command_at;
};

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct top *top = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = top->cli;
		return 0;
	case ARGP_KEY_ARG:
		top->command_at = state->next - 1;
		state->next = state->argc; /* the rest is the subcommand's */
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_child children[] = {{&cli_common_argp, 0, NULL, 0}, {0}};
	static const struct argp argp = {.parser = take,
		.args_doc = "COMMAND [ARGUMENT...]",
		.doc = "Tests Linux process schedulers on real kernels.\v"
		       "`schedrig COMMAND --help` tells more. Exit codes: 0 pass or skip, 1 fail, 2 "
		       "inconclusive, "
		       "64 usage or invalid scenario, 69 the host cannot, 70 internal.",
		.children = children,
		.help_filter = add_commands};
	struct cli cli = {0};
	struct top top = {.cli = &cli};
	argp_err_exit_status = CLI_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &top) != 0)
		return CLI_USAGE;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[top.command_at], commands[i].name) != 0)
			continue;
		char name[64];
		snprintf(name, sizeof(name), "schedrig %s", commands[i].name);
		cli.command = name;
		argv[top.command_at] = name;
		return commands[i].run(&cli, argc - top.command_at, argv + top.command_at);
	}
	cli_error("there is no command `%s`: see schedrig --help", argv[top.command_at]);
	return CLI_USAGE;
}
