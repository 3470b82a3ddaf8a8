/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig capture`, `apply`: single ops on a controller that is up. */
#include "host/cli/cli.h"

#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 1024

struct ops_args {
	char **words;
	unsigned n_words;
};

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct ops_args *args = state->input;
	switch (key) {
	case ARGP_KEY_ARGS:
		args->words = state->argv + state->next;
		args->n_words = (unsigned)(state->argc - state->next);
		if (args->n_words > ENTRIES_MAX)
			argp_error(state, "at most %d at once", ENTRIES_MAX);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* named: every op is printed with its kind. */
static int apply(struct cli *cli, const Schedrig__V1__ApplyRequest *request, bool named)
{
	struct err err = ERR_INIT;
	Schedrig__V1__ApplyResponse *applied = NULL;
	int code;
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	code = schedrig_apply(schedrig, request, 0, &applied, &err) < 0 ? cli_fail(&err) : CLI_OK;
	if (applied && cli->json) {
		int printed = cli_print_json(&applied->base);
		code = code == CLI_OK ? printed : code;
	} else if (applied) {
		for (size_t i = 0; i < applied->n_results; i++) {
			const Schedrig__V1__OpResult *op = applied->results[i];
			for (size_t k = 0; k < op->n_reads; k++)
				cli_print_value(op->reads[k], NULL);
			for (size_t k = 0; k < op->n_notes; k++)
				fprintf(stderr, "note: %s\n", op->notes[k]);
			if (op->snapshot)
				printf("snapshot %s #%u, %llu bytes%s%s\n", op->snapshot->name,
					op->snapshot->sequence, (unsigned long long)op->snapshot->bytes,
					op->snapshot->file[0] ? ", " : "", op->snapshot->file);
			if (op->freeze)
				fprintf(stderr, "frozen for %.3f ms\n", (double)op->freeze->frozen_ns / 1e6);
			if (named)
				printf("%s %s\n", op->kind, op->error ? op->error->message : "ok");
		}
	}
	schedrig_free_message(applied);
	schedrig_close(schedrig);
	return code;
}

static int apply_one(struct cli *cli, Schedrig__V1__Op *op)
{
	Schedrig__V1__ApplyRequest request = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	request.n_ops = 1;
	request.ops = &op;
	return apply(cli, &request, false);
}

int cli_capture(struct cli *cli, int argc, char **argv)
{
	struct ops_args args = {0};
	cli_parse(cli, argc, argv, NULL, "NAME", take, &args);
	if (args.n_words != 1) {
		cli_error("one name for the snapshot");
		return CLI_USAGE;
	}
	Schedrig__V1__CaptureSnapshot capture = SCHEDRIG__V1__CAPTURE_SNAPSHOT__INIT;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT;
	capture.name = args.words[0];
	op.kind_case = SCHEDRIG__V1__OP__KIND_CAPTURE_SNAPSHOT;
	op.capture_snapshot = &capture;
	return apply_one(cli, &op);
}

int cli_apply(struct cli *cli, int argc, char **argv)
{
	struct ops_args args = {0};
	struct cli_file file = {0};
	cli_parse(cli, argc, argv, NULL, "FILE", take, &args);
	if (args.n_words != 1) {
		cli_error("one file of ops");
		return CLI_USAGE;
	}
	int code = cli_file_load(&file, args.words[0], &schedrig__v1__apply_request__descriptor);
	if (code == CLI_OK)
		code = apply(cli, (const Schedrig__V1__ApplyRequest *)file.message, true);
	cli_file_deinit(&file);
	return code;
}
