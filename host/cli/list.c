/* SPDX-License-Identifier: GPL-2.0-only */
/* schedrig list: what there is to write into a scenario. Needs no VM. */
#include "host/cli/cli.h"
#include "host/engine/assertion_list.h"
#include "host/engine/metric_list.h"
#include "proto/work.h"

#include <jansson.h>
#include <string.h>

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
		if (param->kind != WORK_PARAM_DURATION && param->kind != WORK_PARAM_SIZE &&
			param->kind != WORK_PARAM_COUNT)
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

/* Takes it over; prints it where JSON is wanted. */
static int print_list(const struct cli *cli, json_t *list)
{
	int r = cli->json ? json_dumpf(list, stdout, JSON_INDENT(2)) : 0;
	json_decref(list);
	if (cli->json)
		printf("\n");
	return r == 0 ? CLI_OK : CLI_INTERNAL;
}

static int print_json(const struct cli *cli)
{
	json_t *list = json_array();
	for (unsigned type = 0; type < WORK_TYPES; type++) {
		const struct work_type_info *info = work_type_info(type);
		if (info)
			json_array_append_new(
				list, json_pack("{s:s, s:s, s:s, s:o}", "name", info->name, "what",
					      info->what, "group", info->group, "params", params_json(info)));
	}
	return print_list(cli, list);
}

static int list_work_types(const struct cli *cli)
{
	if (cli->json)
		return print_json(cli);
	for (unsigned type = 0; type < WORK_TYPES; type++) {
		const struct work_type_info *info = work_type_info(type);
		if (!info)
			continue;
		printf("%s: %s\n", info->name, info->what);
		if (strcmp(info->group, "1") != 0)
			printf("    workers in multiples of %s\n", info->group);
		print_params(info);
	}
	return CLI_OK;
}

static const struct {
	const char *name, *parameter, *unit, *standard, *rule;
} assertions[] = {
#define X(name, parameter, unit, standard, rule) {#name, parameter, unit, standard, rule},
	ASSERTION_LIST(X)
#undef X
};

static int list_assertions(const struct cli *cli)
{
	json_t *list = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(assertions); i++) {
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", assertions[i].name, "parameter",
				      assertions[i].parameter, "unit", assertions[i].unit, "default",
				      assertions[i].standard, "rule", assertions[i].rule));
		if (cli->json)
			continue;
		printf("%s: %s\n", assertions[i].name, assertions[i].rule);
		if (*assertions[i].parameter)
			printf("    %s%s%s%s%s\n", assertions[i].parameter, *assertions[i].unit ? ", " : "",
				assertions[i].unit, *assertions[i].standard ? "; default " : "",
				assertions[i].standard);
	}
	return print_list(cli, list);
}

static const struct {
	const char *name, *unit, *better, *what;
} metrics[] = {
#define X(upper, name, unit, better, what) {#name, unit, #better, what},
	METRIC_LIST(X)
#undef X
};

static int list_metrics(const struct cli *cli)
{
	json_t *list = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++) {
		const char *better = strcmp(metrics[i].better, "LOWER") == 0    ? "lower"
				     : strcmp(metrics[i].better, "HIGHER") == 0 ? "higher"
										: "";
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s}", "name", metrics[i].name, "unit",
				      metrics[i].unit, "better", better, "what", metrics[i].what));
		if (!cli->json)
			printf("%-16s %-4s %s%s%s%s\n", metrics[i].name, metrics[i].unit, metrics[i].what,
				*better ? " (" : "", better, *better ? " is better)" : "");
	}
	return print_list(cli, list);
}

int cli_list(struct cli *cli, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*list)(const struct cli *cli);
	} lists[] = {
		{"work-types", list_work_types}, {"assertions", list_assertions}, {"metrics", list_metrics}};
	const char *what = NULL;
	cli_parse(cli, argc, argv, NULL, "work-types|assertions|metrics", take, &what);
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		if (strcmp(what, lists[i].name) == 0)
			return lists[i].list(cli);
	cli_error("there is no list of `%s`: one of work-types, assertions, metrics", what);
	return CLI_USAGE;
}
