/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig knobs`: limits of a cgroup, changed while it is in use. Names and units are those of scenario
 * files: cpu.weight=200 is `cpu: {weight: 200}`. */
#include "host/cli/cli.h"

#include "common/strbuf.h"

#include <stdlib.h>
#include <string.h>

#define KNOBS_MAX 64

struct knob_args {
	const char *cgroup;
	const char *knobs[KNOBS_MAX];
	unsigned n;
};

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct knob_args *args = state->input;
	switch (key) {
	case ARGP_KEY_ARG:
		if (!args->cgroup) {
			args->cgroup = arg;
		} else if (args->n == KNOBS_MAX) {
			argp_error(state, "at most %d knobs at once", KNOBS_MAX);
		} else {
			const char *dot = strchr(arg, '.'), *equals = strchr(arg, '=');
			if (!dot || !equals || dot == arg || dot > equals || equals == dot + 1 || !equals[1])
				argp_error(state, "`%s`: write GROUP.KNOB=VALUE, as in cpu.weight=200", arg);
			args->knobs[args->n++] = arg;
		}
		return 0;
	case ARGP_KEY_END:
		if (!args->n)
			argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool same_group(const char *a, const char *b)
{
	size_t n = strcspn(a, ".");
	return strcspn(b, ".") == n && strncmp(a, b, n) == 0;
}

/* "cpu: {weight: 200, idle: true}\n" for each group, in order of coming. */
static void write_text(const struct knob_args *args, struct strbuf *text)
{
	for (unsigned i = 0; i < args->n; i++) {
		bool first = true;
		for (unsigned k = 0; k < i; k++)
			first &= !same_group(args->knobs[i], args->knobs[k]);
		if (!first)
			continue;
		strbuf_printf(text, "%.*s: {", (int)strcspn(args->knobs[i], "."), args->knobs[i]);
		for (unsigned k = i; k < args->n; k++) {
			const char *dot = strchr(args->knobs[k], '.'), *equals = strchr(args->knobs[k], '=');
			if (!same_group(args->knobs[i], args->knobs[k]))
				continue;
			/* The one count whose "max" is a number on the wire. */
			bool all = !strcmp(args->knobs[k], "pids.max=max");
			strbuf_printf(text, "%s%.*s: %s", k == i ? "" : ", ", (int)(equals - dot - 1),
				dot + 1, all ? "4294967295" : equals + 1);
		}
		strbuf_printf(text, "}\n");
	}
}

/* NULL after a message. */
static Schedrig__V1__SetCgroupKnobsRequest *parse(const struct knob_args *args)
{
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	struct text_errors *errors = calloc(1, sizeof(*errors));
	ProtobufCMessage *message = NULL;
	write_text(args, &text);
	if (!errors) {
		cli_error("out of memory");
		return NULL;
	}
	const char *words = strbuf_str(&text);
	if (text_load(&schedrig__v1__set_cgroup_knobs_request__descriptor, words, strlen(words), &message,
		    NULL, errors) < 0)
		for (unsigned i = 0; i < errors->n; i++)
			cli_error("%s%s%s", errors->error[i].err.place,
				*errors->error[i].err.place ? ": " : "", errors->error[i].err.message);
	free(errors);
	return (Schedrig__V1__SetCgroupKnobsRequest *)message;
}

int cli_knobs(struct cli *cli, int argc, char **argv)
{
	struct knob_args args = {0};
	struct err err = ERR_INIT;
	Schedrig__V1__SetCgroupKnobsResponse *answer = NULL;
	int code;
	cli_parse(cli, argc, argv, NULL, "CGROUP KNOB=VALUE...", take, &args);
	Schedrig__V1__SetCgroupKnobsRequest *request = parse(&args);
	if (!request)
		return CLI_USAGE;
	request->cgroup = strdup(args.cgroup);
	struct schedrig *schedrig = request->cgroup ? cli_connect(cli, &code) : NULL;
	if (!request->cgroup) {
		cli_error("out of memory");
		request->cgroup = (char *)protobuf_c_empty_string;
		code = CLI_HOST;
	} else if (schedrig && schedrig_set_cgroup_knobs(schedrig, request, &answer, &err) < 0) {
		code = cli_fail(&err);
	} else if (schedrig && cli->json) {
		code = cli_print_json(&answer->base);
	} else if (schedrig) {
		for (size_t i = 0; i < answer->n_values; i++)
			printf("%s %s\n", answer->values[i]->file, answer->values[i]->value);
		for (size_t i = 0; i < answer->n_notes; i++)
			fprintf(stderr, "note: %s\n", answer->notes[i]);
		code = CLI_OK;
	}
	schedrig_free_message(answer);
	schedrig_free_message(request);
	schedrig_close(schedrig);
	return code;
}
