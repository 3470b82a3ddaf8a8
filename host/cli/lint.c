/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig lint`: mistakes in scenario files, without a VM. */
#include "host/cli/cli.h"

#include "common/scope.h"
#include "host/topology/topology.h"

#include <stdlib.h>

struct lint_args {
	const char *topology;
	char **files;
	unsigned n_files;
};

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct lint_args *args = state->input;
	switch (key) {
	case 't':
		args->topology = arg;
		return 0;
	case ARGP_KEY_ARGS:
		args->files = state->argv + state->next;
		args->n_files = (unsigned)(state->argc - state->next);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which files?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cli_lint(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"topology", 't', "TOPOLOGY", 0, "Check against this machine, too (as in 2n4l4c2t)", 0},
		{0},
	};
	struct lint_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, options, "FILE...", take, &args);
	_cleanup_free_ struct topology *topology = calloc(1, sizeof(*topology));
	if (!topology ||
		(args.topology && topology_parse(args.topology, UINT64_C(1) << 40, topology, &err) < 0)) {
		cli_error("--topology: %s", err.message);
		return CLI_USAGE;
	}
	json_t *mistakes = cli->json ? json_array() : NULL;
	int worst = CLI_OK;
	for (unsigned i = 0; i < args.n_files; i++) {
		struct cli_file file = {.mistakes = mistakes};
		int code = cli_scenario_load(&file, args.files[i]);
		if (code == CLI_OK)
			code = cli_scenario_check(&file, args.topology ? &topology->layout : NULL, NULL);
		if (code == CLI_OK && !cli->json)
			printf("%s: no mistakes\n", args.files[i]);
		cli_file_deinit(&file);
		worst = MAX_OF(worst, code);
	}
	if (!mistakes)
		return worst;
	json_t *whole = json_pack("{s:o}", "mistakes", mistakes);
	if (!whole || json_dumpf(whole, stdout, JSON_INDENT(2)) < 0 || puts("") == EOF || fflush(stdout)) {
		cli_error("cannot print the mistakes as JSON");
		worst = MAX_OF(worst, CLI_HOST);
	}
	json_decref(whole);
	return worst;
}
