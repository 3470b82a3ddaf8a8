/* SPDX-License-Identifier: GPL-2.0-only */
/* Shared options, messages, connecting (see cli.h). */
#include "host/cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_JSON = 1024 };

static const struct argp_option common_options[] = {
	{"socket", 's', "PATH", 0, "Socket of the controller to talk to", 90},
	{"json", KEY_JSON, NULL, 0, "Results as JSON on stdout", 90},
	{0},
};

static error_t take_common(int key, char *arg, struct argp_state *state)
{
	struct cli *cli = state->input;
	switch (key) {
	case 's':
		cli->socket = arg;
		return 0;
	case KEY_JSON:
		cli->json = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

const struct argp cli_common_argp = {.options = common_options, .parser = take_common};

struct parse_input {
	struct cli *cli;
	error_t (*take)(int key, char *arg, struct argp_state *state);
	void *input;
};

static error_t take_own(int key, char *arg, struct argp_state *state)
{
	struct parse_input *in = state->input;
	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = in->cli;
		return 0;
	}
	if (!in->take) {
		if (key == ARGP_KEY_ARG)
			argp_error(state, "'%s' is one argument too many", arg);
		return ARGP_ERR_UNKNOWN;
	}
	state->input = in->input;
	error_t r = in->take(key, arg, state);
	state->input = in;
	return r;
}

void cli_parse(struct cli *cli, int argc, char **argv, const struct argp_option *options,
	const char *args_doc, error_t (*take)(int key, char *arg, struct argp_state *state), void *input)
{
	static const struct argp_child children[] = {{&cli_common_argp, 0, NULL, 0}, {0}};
	struct argp argp = {
		.options = options, .parser = take_own, .args_doc = args_doc, .children = children};
	struct parse_input in = {.cli = cli, .take = take, .input = input};
	argp_err_exit_status = CLI_USAGE;
	if (argp_parse(&argp, argc, argv, 0, NULL, &in) != 0)
		exit(CLI_USAGE);
}

void cli_error(const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	fputs("schedrig: ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
}

int cli_exit_of(const struct err *err)
{
	switch (err->code) {
	case ERR_NONE:
		return CLI_OK;
	case ERR_INVALID_ARGUMENT:
	case ERR_NOT_FOUND:
	case ERR_ALREADY_EXISTS:
	case ERR_AMBIGUOUS:
	case ERR_LIMIT_EXCEEDED:
		return CLI_USAGE;
	case ERR_INTERNAL:
		return CLI_INTERNAL;
	default:
		return CLI_HOST;
	}
}

int cli_fail(const struct err *err)
{
	if (err->place[0])
		cli_error("%s: %s", err->place, err->message);
	else
		cli_error("%s", err->message);
	return cli_exit_of(err);
}

bool cli_has_colour(FILE *stream)
{
	const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
	return isatty(fileno(stream)) && !(none && none[0]) && !(term && strcmp(term, "dumb") == 0);
}

int cli_print_json(const ProtobufCMessage *message)
{
	json_t *json = text_to_json(message);
	if (!json || json_dumpf(json, stdout, JSON_INDENT(2)) < 0) {
		json_decref(json);
		cli_error("cannot print the result as JSON");
		return CLI_INTERNAL;
	}
	json_decref(json);
	putchar('\n');
	return fflush(stdout) == 0 ? CLI_OK : CLI_HOST;
}

struct schedrig *cli_connect(const struct cli *cli, int *ret_exit)
{
	struct err err = ERR_INIT;
	*ret_exit = CLI_USAGE;
	if (!cli->socket) {
		cli_error("which controller? Name its socket with -s PATH, as given to schedrigd --socket");
		return NULL;
	}
	struct schedrig *schedrig = schedrig_open(cli->socket, &err);
	*ret_exit = CLI_OK;
	if (!schedrig) {
		cli_fail(&err);
		*ret_exit = err.code == ERR_INVALID_ARGUMENT ? CLI_USAGE : CLI_HOST;
	}
	return schedrig;
}
