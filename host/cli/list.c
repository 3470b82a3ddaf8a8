/* SPDX-License-Identifier: GPL-2.0-only */
/* schedrig list: what there is to write into a scenario. Needs no VM. */
#include "host/cli/cli.h"
#include "proto/work.h"

#include <jansson.h>
#include <string.h>

static const struct {
	const char *name, *reason;
} later[] = {
#define X(snake, reason) {#snake, reason},
	WORK_LATER_LIST(X)
#undef X
};

static error_t take(int key, char *arg, struct argp_state *state)
{
	const char **what = state->input;
	if (key == ARGP_KEY_ARG && !*what) {
		*what = arg;
		return 0;
	}
	if (key == ARGP_KEY_ARG || key == ARGP_KEY_NO_ARGS)
		argp_usage(state);
	return key == ARGP_KEY_NO_ARGS ? 0 : ARGP_ERR_UNKNOWN;
}

static void print_params(const struct work_type_info *info)
{
	char text[3][32];
	for (unsigned i = 0; i < info->n_params; i++) {
		const struct work_param *param = &info->params[i];
		printf("    %-12s %s; default %s", param->name, param->what,
			work_param_text(param->kind, param->standard, text[0], sizeof(text[0])));
		if (param->kind == WORK_PARAM_FLAG || param->kind == WORK_PARAM_POLICY)
			printf("\n");
		else
			printf(" (%s to %s)\n",
				work_param_text(param->kind, param->min, text[1], sizeof(text[1])),
				work_param_text(param->kind, param->max, text[2], sizeof(text[2])));
	}
}

static json_t *params_json(const struct work_type_info *info)
{
	json_t *list = json_array();
	char text[32];
	for (unsigned i = 0; i < info->n_params; i++) {
		const struct work_param *param = &info->params[i];
		json_array_append_new(list,
			json_pack("{s:s, s:s, s:s}", "name", param->name, "what", param->what, "default",
				work_param_text(param->kind, param->standard, text, sizeof(text))));
	}
	return list;
}

static int print_json(void)
{
	json_t *list = json_array();
	for (unsigned type = 0; type < WORK_TYPES; type++) {
		const struct work_type_info *info = work_type_info(type);
		if (info)
			json_array_append_new(
				list, json_pack("{s:s, s:s, s:s, s:o}", "name", info->name, "what",
					      info->what, "group", info->group, "params", params_json(info)));
	}
	for (size_t i = 0; i < ARRAY_SIZE(later); i++)
		json_array_append_new(
			list, json_pack("{s:s, s:s}", "name", later[i].name, "unsupported", later[i].reason));
	int r = json_dumpf(list, stdout, JSON_INDENT(2));
	json_decref(list);
	printf("\n");
	return r == 0 ? CLI_OK : CLI_INTERNAL;
}

static int list_work_types(const struct cli *cli)
{
	if (cli->json)
		return print_json();
	for (unsigned type = 0; type < WORK_TYPES; type++) {
		const struct work_type_info *info = work_type_info(type);
		if (!info)
			continue;
		printf("%s: %s\n", info->name, info->what);
		if (strcmp(info->group, "1") != 0)
			printf("    workers in multiples of %s\n", info->group);
		print_params(info);
	}
	for (size_t i = 0; i < ARRAY_SIZE(later); i++)
		printf("%s: not in this version: %s\n", later[i].name, later[i].reason);
	return CLI_OK;
}

int cli_list(struct cli *cli, int argc, char **argv)
{
	const char *what = NULL;
	cli_parse(cli, argc, argv, NULL, "work-types", take, &what);
	if (!strcmp(what, "work-types"))
		return list_work_types(cli);
	cli_error("there is no list of `%s`: one of work-types", what);
	return CLI_USAGE;
}
