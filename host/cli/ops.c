/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig read`, `write`, `capture`, `apply`: single ops on a controller that is up. */
#include "host/cli/cli.h"

#include "common/arena.h"
#include "common/parse.h"

#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES (16u * 1024 * 1024)
#define ENTRIES_MAX 1024

struct ops_args {
	bool cold;
	char **words;
	unsigned n_words;
};

enum { KEY_COLD = 256, KEY_HOT };

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct ops_args *args = state->input;
	switch (key) {
	case KEY_COLD:
		args->cold = true;
		return 0;
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

static const struct argp_option memory_options[] = {
	{"cold", KEY_COLD, NULL, 0, "With every vCPU stopped, all in one freeze", 0},
	{0},
};

/* "name", "name+8" or an expression; ends at the NUL. */
static int parse_target(struct arena *arena, char *text, Schedrig__V1__Target **ret, struct err *err)
{
	Schedrig__V1__Target *target = arena_alloc(arena, sizeof(*target));
	schedrig__v1__target__init(target);
	size_t plain = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$");
	if (plain == 0 || (text[plain] && text[plain] != '+')) {
		Schedrig__V1__PathTarget *path = arena_alloc(arena, sizeof(*path));
		schedrig__v1__path_target__init(path);
		path->text = text;
		target->form_case = SCHEDRIG__V1__TARGET__FORM_PATH;
		target->path = path;
		*ret = target;
		return 0;
	}
	uint64_t offset = 0;
	if (text[plain] == '+') {
		if (parse_u64(text + plain + 1, &offset, err) < 0)
			return err_wrap(err, "%s", text);
		if (offset > INT64_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT, "%s: the offset is too large", text);
	}
	Schedrig__V1__SymbolTarget *symbol = arena_alloc(arena, sizeof(*symbol));
	schedrig__v1__symbol_target__init(symbol);
	symbol->name = arena_strndup(arena, text, plain);
	symbol->offset = (int64_t)offset;
	target->form_case = SCHEDRIG__V1__TARGET__FORM_SYMBOL;
	target->symbol = symbol;
	*ret = target;
	return 0;
}

/* Takes ":u32" off the end of text; 64 bits without. */
static int take_width(char *text, unsigned *ret_bits, struct err *err)
{
	char *colon = strrchr(text, ':');
	*ret_bits = 64;
	if (!colon)
		return 0;
	static const struct {
		const char *name;
		unsigned bits;
	} widths[] = {{"u8", 8}, {"u16", 16}, {"u32", 32}, {"u64", 64}};
	for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
		if (strcmp(colon + 1, widths[i].name) == 0) {
			*ret_bits = widths[i].bits;
			*colon = '\0';
			return 0;
		}
	}
	return err_set(
		err, ERR_INVALID_ARGUMENT, "%s: the width after ':' is one of u8, u16, u32, u64", text);
}

static int parse_read(struct arena *arena, char *word, Schedrig__V1__KernelRead **ret, struct err *err)
{
	Schedrig__V1__KernelRead *read = arena_alloc(arena, sizeof(*read));
	schedrig__v1__kernel_read__init(read);
	char *copy = arena_strdup(arena, word);
	unsigned bits;
	read->tag = word;
	int r = take_width(copy, &bits, err);
	if (r == 0)
		r = parse_target(arena, copy, &read->target, err);
	if (r < 0)
		return r;
	read->width = bits == 8    ? SCHEDRIG__V1__WIDTH__WIDTH_U8
		      : bits == 16 ? SCHEDRIG__V1__WIDTH__WIDTH_U16
		      : bits == 32 ? SCHEDRIG__V1__WIDTH__WIDTH_U32
				   : SCHEDRIG__V1__WIDTH__WIDTH_U64;
	*ret = read;
	return 0;
}

static int parse_write(struct arena *arena, char *word, Schedrig__V1__KernelWrite **ret, struct err *err)
{
	Schedrig__V1__KernelWrite *write = arena_alloc(arena, sizeof(*write));
	Schedrig__V1__Value *value = arena_alloc(arena, sizeof(*value));
	Schedrig__V1__Uint64Value *number = arena_alloc(arena, sizeof(*number));
	schedrig__v1__kernel_write__init(write);
	schedrig__v1__value__init(value);
	schedrig__v1__uint64_value__init(number);
	char *copy = arena_strdup(arena, word), *equals = strrchr(copy, '=');
	unsigned bits;
	if (!equals || equals == copy)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: write TARGET=VALUE", word);
	*equals = '\0';
	if (parse_u64(equals + 1, &number->value, err) < 0)
		return err_wrap(err, "%s", word);
	int r = take_width(copy, &bits, err);
	if (r == 0)
		r = parse_target(arena, copy, &write->target, err);
	if (r < 0)
		return r;
	if (bits < 64 && number->value >> bits)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "%s: the value does not fit into %u bits", word, bits);
	value->form_case = bits == 8    ? SCHEDRIG__V1__VALUE__FORM_U8
			   : bits == 16 ? SCHEDRIG__V1__VALUE__FORM_U16
			   : bits == 32 ? SCHEDRIG__V1__VALUE__FORM_U32
					: SCHEDRIG__V1__VALUE__FORM_U64;
	value->u64 = number; /* members of a oneof share their place */
	write->value = value;
	write->want_old = true;
	*ret = write;
	return 0;
}

/* What was read, in hexadecimal and decimal; what a write replaced. */
static void print_value(const Schedrig__V1__OpResult *op, const Schedrig__V1__ReadValue *value, char **words,
	unsigned n_words)
{
	const char *name = value->tag && value->tag[0] ? value->tag : "";
	if (!name[0] && value->entry < n_words)
		name = words[value->entry];
	printf("%s%s 0x%0*llx %llu\n", name, value->old ? " was" : "", (int)(2 * value->width),
		(unsigned long long)value->value, (unsigned long long)value->value);
}

static int apply(struct cli *cli, const Schedrig__V1__ApplyRequest *request, char **words, unsigned n_words)
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
				print_value(op, op->reads[k], words, n_words);
			for (size_t k = 0; k < op->n_notes; k++)
				fprintf(stderr, "note: %s\n", op->notes[k]);
			if (op->snapshot)
				printf("snapshot %s #%u, %llu bytes%s%s\n", op->snapshot->name,
					op->snapshot->sequence, (unsigned long long)op->snapshot->bytes,
					op->snapshot->file[0] ? ", " : "", op->snapshot->file);
			if (op->freeze)
				fprintf(stderr, "frozen for %.3f ms\n", (double)op->freeze->frozen_ns / 1e6);
			if (!words)
				printf("%s %s\n", op->kind, op->error ? op->error->message : "ok");
		}
	}
	schedrig_free_message(applied);
	schedrig_close(schedrig);
	return code;
}

static int apply_one(struct cli *cli, Schedrig__V1__Op *op, char **words, unsigned n_words)
{
	Schedrig__V1__ApplyRequest request = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	request.n_ops = 1;
	request.ops = &op;
	return apply(cli, &request, words, n_words);
}

int cli_read(struct cli *cli, int argc, char **argv)
{
	struct ops_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, memory_options, "TARGET[:u8|u16|u32|u64]...", take, &args);
	_cleanup_(arena_free_p) struct arena *arena = arena_new(ARENA_BYTES);
	Schedrig__V1__KernelRead *reads[ENTRIES_MAX];
	for (unsigned i = 0; i < args.n_words; i++)
		if (!arena || parse_read(arena, args.words[i], &reads[i], &err) < 0)
			return cli_fail(&err);
	Schedrig__V1__ReadKernelHot hot = SCHEDRIG__V1__READ_KERNEL_HOT__INIT;
	Schedrig__V1__ReadKernelCold cold = SCHEDRIG__V1__READ_KERNEL_COLD__INIT;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT;
	hot.n_reads = cold.n_reads = args.n_words;
	hot.reads = cold.reads = reads;
	op.kind_case =
		args.cold ? SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD : SCHEDRIG__V1__OP__KIND_READ_KERNEL_HOT;
	if (args.cold)
		op.read_kernel_cold = &cold;
	else
		op.read_kernel_hot = &hot;
	return apply_one(cli, &op, args.words, args.n_words);
}

int cli_write(struct cli *cli, int argc, char **argv)
{
	struct ops_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, memory_options, "TARGET[:u8|u16|u32|u64]=VALUE...", take, &args);
	_cleanup_(arena_free_p) struct arena *arena = arena_new(ARENA_BYTES);
	Schedrig__V1__KernelWrite *writes[ENTRIES_MAX];
	for (unsigned i = 0; i < args.n_words; i++)
		if (!arena || parse_write(arena, args.words[i], &writes[i], &err) < 0)
			return cli_fail(&err);
	Schedrig__V1__WriteKernelHot hot = SCHEDRIG__V1__WRITE_KERNEL_HOT__INIT;
	Schedrig__V1__WriteKernelCold cold = SCHEDRIG__V1__WRITE_KERNEL_COLD__INIT;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT;
	hot.n_writes = cold.n_writes = args.n_words;
	hot.writes = cold.writes = writes;
	op.kind_case = args.cold ? SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD
				 : SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_HOT;
	if (args.cold)
		op.write_kernel_cold = &cold;
	else
		op.write_kernel_hot = &hot;
	return apply_one(cli, &op, args.words, args.n_words);
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
	return apply_one(cli, &op, args.words, args.n_words);
}

int cli_apply(struct cli *cli, int argc, char **argv)
{
	struct ops_args args = {0};
	struct cli_file file;
	cli_parse(cli, argc, argv, NULL, "FILE", take, &args);
	if (args.n_words != 1) {
		cli_error("one file of ops");
		return CLI_USAGE;
	}
	int code = cli_file_load(&file, args.words[0], &schedrig__v1__apply_request__descriptor);
	if (code == CLI_OK)
		code = apply(cli, (const Schedrig__V1__ApplyRequest *)file.message, NULL, 0);
	cli_file_deinit(&file);
	return code;
}
