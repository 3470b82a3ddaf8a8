/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig read` and `write`: the kernel's memory. The main thread. */
#include "host/cli/memory.h"

#include "common/arena.h"
#include "common/parse.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

error_t cli_memory_take(int key, char *arg, struct argp_state *state)
{
	struct cli_memory_args *args = state->input;
	struct err err = ERR_INIT;
	uint64_t number;
	switch (key) {
	case KEY_COLD:
		args->cold = true;
		return 0;
	case KEY_FORCE:
		args->force = true;
		return 0;
	case KEY_VERIFY:
		args->verify = true;
		return 0;
	case KEY_STABLE:
		args->stable = true;
		return 0;
	case KEY_LIMIT:
		if (parse_u64(arg, &number, &err) < 0 || number == 0 || number > UINT32_MAX)
			argp_error(state, "--limit: %s is no count", arg);
		args->limit = (uint32_t)number;
		return 0;
	case KEY_FILE:
		args->file = arg;
		return 0;
	case KEY_COUNT:
		if (parse_u64(arg, &args->count, &err) < 0 || args->count == 0)
			argp_error(state, "--count: %s is no count", arg);
		return 0;
	case KEY_EVERY:
		if (parse_duration_ns(arg, &args->every_ns, &err) < 0)
			argp_error(state, "--every: %s", err.message);
		return 0;
	case ARGP_KEY_ARGS:
		args->words = state->argv + state->next;
		args->n_words = (unsigned)(state->argc - state->next);
		if (args->n_words > CLI_ENTRIES_MAX)
			argp_error(state, "at most %d at once", CLI_ENTRIES_MAX);
		return 0;
	case ARGP_KEY_NO_ARGS:
		/* Options may still come: the command looks. */
		return 0;
	case ARGP_KEY_END:
		if (args->n_words == 0 && !args->file)
			argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---- what the user sees */

int cli_fail_at(const struct err *err, const char *word)
{
	int code = cli_fail(err);
	const char *column = strstr(err->message, "' column ");
	unsigned long at = column ? strtoul(column + 9, NULL, 10) : 0;
	if (at > 0 && at <= strlen(word) + 1)
		fprintf(stderr, "    %s\n    %*s^\n", word, (int)(at - 1), "");
	return code;
}

int cli_fail_at_entry(const struct err *err, char *const *words, unsigned n_words)
{
	const char *open = strchr(err->place, '[');
	unsigned long index = open ? strtoul(open + 1, NULL, 10) : 0;
	return index < n_words ? cli_fail_at(err, words[index]) : cli_fail(err);
}

static void print_bytes(const ProtobufCBinaryData *data, const char *type)
{
	if (strncmp(type, "char[", 5) == 0) {
		putchar('"');
		for (size_t i = 0; i < data->len && data->data[i]; i++)
			printf(isprint(data->data[i]) && data->data[i] != '"' && data->data[i] != '\\'
					? "%c"
					: "\\x%02x",
				data->data[i]);
		printf("\"\n");
		return;
	}
	for (size_t i = 0; i < data->len; i++)
		printf("%02x", data->data[i]);
	putchar('\n');
}

void cli_print_value(const Schedrig__V1__ReadValue *value, const char *name)
{
	const char *shown = name ? name : value->tag, *star = strstr(shown, "@*");
	if (value->every_cpu && star)
		printf("%.*s@%u%s ", (int)(star - shown), shown, value->cpu, star + 2);
	else
		printf("%s%s ", shown, value->old ? " was" : "");
	if (value->data.len) {
		print_bytes(&value->data, value->type);
		return;
	}
	printf("0x%0*llx ", (int)(2 * value->width), (unsigned long long)value->value);
	unsigned unused = value->bits > 0 && value->bits < 64 ? 64 - value->bits : 0;
	if (value->is_signed)
		printf("%lld\n", (long long)((int64_t)(value->value << unused) >> unused));
	else
		printf("%llu\n", (unsigned long long)value->value);
}

static int print_values(
	struct cli *cli, const Schedrig__V1__ReadResponse *response, char *const *words, unsigned n_words)
{
	if (cli->json)
		return cli_print_json(&response->base);
	for (size_t i = 0; i < response->n_values; i++) {
		const Schedrig__V1__ReadValue *value = response->values[i];
		cli_print_value(value, value->entry < n_words ? words[value->entry] : NULL);
	}
	for (size_t i = 0; i < response->n_warnings; i++)
		fprintf(stderr, "warning: %s\n", response->warnings[i]);
	if (response->freeze)
		fprintf(stderr, "frozen for %.3f ms\n", (double)response->freeze->frozen_ns / 1e6);
	return CLI_OK;
}

/* ---- the commands */

int cli_read(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"cold", KEY_COLD, NULL, 0, "With every vCPU stopped, all in one freeze", 0},
		{"stable", KEY_STABLE, NULL, 0, "Hot: read until two reads in a row are equal", 0},
		{"file", KEY_FILE, "FILE", 0, "More paths, one a line (- is standard input)", 0},
		{"count", KEY_COUNT, "N", 0, "Read all of them N times", 0},
		{"every", KEY_EVERY, "TIME", 0, "With --count: from one time to the next (default 1s)", 0},
		{0}};
	struct cli_memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, options, "PATH[:u8|u16|u32|u64|bytes=N]...", cli_memory_take, &args);
	if (args.file || args.count > 1)
		return cli_read_many(cli, &(struct cli_read_many){.words = args.words,
						  .n_words = args.n_words,
						  .file = args.file,
						  .cold = args.cold,
						  .stable = args.stable,
						  .count = MAX_OF(args.count, 1),
						  .every_ns = args.every_ns ? args.every_ns : 1000000000});
	_cleanup_(arena_free_p) struct arena *arena = arena_new(CLI_MEMORY_ARENA_BYTES);
	Schedrig__V1__KernelRead *reads[CLI_ENTRIES_MAX];
	for (unsigned i = 0; i < args.n_words; i++)
		if (!arena || cli_parse_read(arena, args.words[i], args.stable, &reads[i], &err) < 0)
			return cli_fail(&err);
	Schedrig__V1__ReadRequest request = SCHEDRIG__V1__READ_REQUEST__INIT;
	request.n_reads = args.n_words;
	request.reads = reads;
	request.cold = args.cold;
	int code = CLI_OK;
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	Schedrig__V1__ReadResponse *response = NULL;
	if (schedrig_read(schedrig, &request, &response, &err) < 0) {
		code = cli_fail_at_entry(&err, args.words, args.n_words);
	} else {
		code = print_values(cli, response, args.words, args.n_words);
		schedrig_free_message(response);
	}
	schedrig_close(schedrig);
	return code;
}

/* Asks the kernel's types for the widths that the user left out. */
static int find_widths(
	struct schedrig *schedrig, struct cli_assignment *assignments, unsigned n, struct err *err)
{
	Schedrig__V1__ResolveRequest request = SCHEDRIG__V1__RESOLVE_REQUEST__INIT;
	Schedrig__V1__Target *targets[CLI_ENTRIES_MAX];
	unsigned index[CLI_ENTRIES_MAX];
	for (unsigned i = 0; i < n; i++) {
		if (assignments[i].bits || assignments[i].is_bytes)
			continue;
		index[request.n_targets] = i;
		targets[request.n_targets++] = assignments[i].target;
	}
	if (request.n_targets == 0)
		return 0;
	request.targets = targets;
	Schedrig__V1__ResolveResponse *response;
	int r = schedrig_resolve(schedrig, &request, &response, err);
	if (r < 0) {
		const char *open = strchr(err->place, '[');
		unsigned long at = open ? strtoul(open + 1, NULL, 10) : 0;
		if (open && at < request.n_targets)
			snprintf(err->place, sizeof(err->place), "writes[%u]", index[at]);
		return r;
	}
	for (size_t i = 0; i < response->n_places && r == 0; i++) {
		const Schedrig__V1__KernelPlace *place = response->places[i];
		if (place->entry >= request.n_targets)
			continue;
		struct cli_assignment *a = &assignments[index[place->entry]];
		if (place->is_compound || place->size == 0 || place->size > 8 ||
			(place->size & (place->size - 1)))
			r = err_set(err, ERR_INVALID_ARGUMENT,
				"%s: %s%s has no width of its own: give one, as in TARGET:u32=VALUE or "
				"TARGET:bytes=HEX",
				a->word, *place->type ? "a " : "this", place->type);
		a->bits = 8 * (unsigned)place->size;
	}
	schedrig_free_message(response);
	return r;
}

int cli_write(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"cold", KEY_COLD, NULL, 0, "With every vCPU stopped, all in one freeze", 0},
		{"force", KEY_FORCE, NULL, 0,
			"Allow a width beyond the member's, a bit field's whole word, and a task that is "
			"queued",
			0},
		{"verify", KEY_VERIFY, NULL, 0, "Read back what was written", 0}, {0}};
	struct cli_memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, options,
		"PATH[:u8|u16|u32|u64]=VALUE...\nPATH[:u32|u64]|=VALUE, &=, ^=, +=\nPATH:bytes=HEX",
		cli_memory_take, &args);
	_cleanup_(arena_free_p) struct arena *arena = arena_new(CLI_MEMORY_ARENA_BYTES);
	static struct cli_assignment assignments[CLI_ENTRIES_MAX];
	Schedrig__V1__KernelWrite *writes[CLI_ENTRIES_MAX];
	for (unsigned i = 0; i < args.n_words; i++) {
		Schedrig__V1__Value *value;
		/* What is wrong by itself is said without a controller. */
		if (!arena || cli_parse_assignment(arena, args.words[i], &assignments[i], &err) < 0 ||
			((assignments[i].bits || assignments[i].is_bytes) &&
				cli_parse_value(arena, &assignments[i], &value, &err) < 0))
			return cli_fail(&err);
	}
	int code = CLI_OK;
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	int r = find_widths(schedrig, assignments, args.n_words, &err);
	for (unsigned i = 0; i < args.n_words && r == 0; i++) {
		writes[i] = arena_alloc(arena, sizeof(*writes[i]));
		schedrig__v1__kernel_write__init(writes[i]);
		writes[i]->target = assignments[i].target;
		writes[i]->want_old = true;
		writes[i]->force = args.force;
		writes[i]->verify = args.verify;
		r = cli_parse_value(arena, &assignments[i], &writes[i]->value, &err);
	}
	Schedrig__V1__WriteRequest request = SCHEDRIG__V1__WRITE_REQUEST__INIT;
	Schedrig__V1__ReadResponse *response = NULL;
	request.n_writes = args.n_words;
	request.writes = writes;
	request.cold = args.cold;
	if (r == 0)
		r = schedrig_write(schedrig, &request, &response, &err);
	if (r < 0)
		code = cli_fail_at_entry(&err, args.words, args.n_words);
	else
		code = print_values(cli, response, args.words, args.n_words);
	schedrig_free_message(response);
	schedrig_close(schedrig);
	return code;
}
