/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig read`, `write`, `resolve`, `symbols`, `types`: the kernel's memory and what its image knows. */
#include "host/cli/cli.h"

#include "common/arena.h"
#include "common/parse.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES (64u * 1024 * 1024)
#define ENTRIES_MAX 1024

struct memory_args {
	bool cold, force, verify, stable;
	char **words;
	unsigned n_words;
	uint32_t limit;
	const char *file;
	uint64_t count, every_ns;
};

enum { KEY_COLD = 256, KEY_FORCE, KEY_VERIFY, KEY_STABLE, KEY_LIMIT, KEY_FILE, KEY_COUNT, KEY_EVERY };

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct memory_args *args = state->input;
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
		if (args->n_words > ENTRIES_MAX)
			argp_error(state, "at most %d at once", ENTRIES_MAX);
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

/* ---- what the user wrote */

/* "phys:0x1000", "name+8" or a path; text lives as long as the target. */
static int parse_target(struct arena *arena, char *text, Schedrig__V1__Target **ret, struct err *err)
{
	static const struct {
		const char *prefix;
		Schedrig__V1__Target__FormCase form;
	} addresses[] = {{"direct:", SCHEDRIG__V1__TARGET__FORM_DIRECT},
		{"kva:", SCHEDRIG__V1__TARGET__FORM_KVA}, {"phys:", SCHEDRIG__V1__TARGET__FORM_PHYS}};
	Schedrig__V1__Target *target = arena_alloc(arena, sizeof(*target));
	schedrig__v1__target__init(target);
	*ret = target;
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		size_t length = strlen(addresses[i].prefix);
		if (strncmp(text, addresses[i].prefix, length) != 0)
			continue;
		Schedrig__V1__AddressTarget *address = arena_alloc(arena, sizeof(*address));
		schedrig__v1__address_target__init(address);
		if (parse_u64(text + length, &address->address, err) < 0)
			return err_wrap(err, "%s", text);
		target->form_case = addresses[i].form;
		target->direct = address; /* members of a oneof share their place */
		return 0;
	}
	size_t plain = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$.");
	if (plain == 0 || text[plain] != '+') {
		Schedrig__V1__PathTarget *path = arena_alloc(arena, sizeof(*path));
		schedrig__v1__path_target__init(path);
		path->text = text;
		target->form_case = SCHEDRIG__V1__TARGET__FORM_PATH;
		target->path = path;
		return 0;
	}
	uint64_t offset;
	if (parse_u64(text + plain + 1, &offset, err) < 0)
		return err_wrap(err, "%s", text);
	if (offset > INT64_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: the offset is too large", text);
	Schedrig__V1__SymbolTarget *symbol = arena_alloc(arena, sizeof(*symbol));
	schedrig__v1__symbol_target__init(symbol);
	symbol->name = arena_strndup(arena, text, plain);
	symbol->offset = (int64_t)offset;
	target->form_case = SCHEDRIG__V1__TARGET__FORM_SYMBOL;
	target->symbol = symbol;
	return 0;
}

/* Takes ":u32" or ":bytes=16" off the end of text. UNSET: there was none. */
static int take_width(char *text, Schedrig__V1__Width *ret_width, uint32_t *ret_length, struct err *err)
{
	static const struct {
		const char *name;
		Schedrig__V1__Width width;
	} widths[] = {{"u8", SCHEDRIG__V1__WIDTH__WIDTH_U8}, {"u16", SCHEDRIG__V1__WIDTH__WIDTH_U16},
		{"u32", SCHEDRIG__V1__WIDTH__WIDTH_U32}, {"u64", SCHEDRIG__V1__WIDTH__WIDTH_U64}};
	char *colon = strrchr(text, ':');
	uint64_t length = 0;
	*ret_width = SCHEDRIG__V1__WIDTH__WIDTH_UNSET;
	*ret_length = 0;
	/* The colon of "phys:0x1000" is not the width's. */
	if (!colon || isdigit((unsigned char)colon[1]))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(widths); i++) {
		if (strcmp(colon + 1, widths[i].name) == 0) {
			*ret_width = widths[i].width;
			*colon = '\0';
			return 0;
		}
	}
	if (strncmp(colon + 1, "bytes=", 6) == 0 && parse_u64(colon + 7, &length, err) == 0 &&
		length <= UINT32_MAX) {
		*ret_width = SCHEDRIG__V1__WIDTH__WIDTH_BYTES;
		*ret_length = (uint32_t)length;
		*colon = '\0';
		return 0;
	}
	return err_set(err, ERR_INVALID_ARGUMENT,
		"%s: the width after ':' is one of u8, u16, u32, u64, bytes=LENGTH", text);
}

int cli_parse_read(
	struct arena *arena, const char *word, bool stable, Schedrig__V1__KernelRead **ret, struct err *err)
{
	Schedrig__V1__KernelRead *read = arena_alloc(arena, sizeof(*read));
	char *copy = arena_strdup(arena, word);
	if (!read || !copy)
		return err_set(err, ERR_HOST, "out of memory");
	schedrig__v1__kernel_read__init(read);
	int r = take_width(copy, &read->width, &read->length, err);
	if (r == 0)
		r = parse_target(arena, copy, &read->target, err);
	if (r < 0)
		return r;
	read->stable = stable;
	*ret = read;
	return 0;
}

/* What stands between target and value. */
enum change { SET, OR, AND, XOR, ADD };

/* A write as the user wrote it; its width may come from the kernel's types. */
struct assignment {
	const char *word;
	Schedrig__V1__Target *target;
	enum change change;
	unsigned bits; /* 0: not known yet */
	bool is_bytes;
	const char *value;
};

static int parse_assignment(struct arena *arena, char *word, struct assignment *ret, struct err *err)
{
	static const struct {
		char sign;
		enum change change;
	} signs[] = {{'|', OR}, {'&', AND}, {'^', XOR}, {'+', ADD}};
	char *copy = arena_strdup(arena, word), *equals = strrchr(copy, '=');
	Schedrig__V1__Width width;
	uint32_t length;
	*ret = (struct assignment){.word = word};
	if (!equals || equals == copy)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s: write TARGET=VALUE", word);
	ret->value = equals + 1;
	*equals = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(signs); i++) {
		if (equals[-1] != signs[i].sign)
			continue;
		ret->change = signs[i].change;
		equals[-1] = '\0';
		break;
	}
	size_t n = strlen(copy);
	if (n > 6 && strcmp(copy + n - 6, ":bytes") == 0) {
		ret->is_bytes = true;
		copy[n - 6] = '\0';
		if (ret->change != SET)
			return err_set(err, ERR_INVALID_ARGUMENT, "%s: bytes can only be set", word);
	} else if (take_width(copy, &width, &length, err) < 0) {
		return err_errno(err->code);
	} else if (width != SCHEDRIG__V1__WIDTH__WIDTH_UNSET) {
		ret->bits = 4u << width; /* U8 is 1, and so on */
	}
	return parse_target(arena, copy, &ret->target, err);
}

/* Hexadecimal digits, two a byte. */
static int parse_hex(
	struct arena *arena, const struct assignment *a, Schedrig__V1__RawBytes *bytes, struct err *err)
{
	size_t n = strlen(a->value);
	if (n == 0 || n % 2 || strspn(a->value, "0123456789abcdefABCDEF") != n)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"%s: bytes are written as hexadecimal digits, two a byte: 00ff10", a->word);
	bytes->data.len = n / 2;
	bytes->data.data = arena_alloc(arena, n / 2);
	for (size_t i = 0; i < n / 2; i++) {
		char pair[3] = {a->value[2 * i], a->value[2 * i + 1], '\0'};
		bytes->data.data[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return 0;
}

/* A negative value is the two's complement in its width. */
static int parse_number(const struct assignment *a, unsigned bits, uint64_t *ret, struct err *err)
{
	bool negative = a->value[0] == '-';
	uint64_t value, most = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
	if (parse_u64(a->value + negative, &value, err) < 0)
		return err_wrap(err, "%s", a->word);
	if (negative ? value > (most >> 1) + 1 : value > most)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "%s: the value does not fit into %u bits", a->word, bits);
	*ret = negative ? (0 - value) & most : value;
	return 0;
}

static int parse_value(
	struct arena *arena, const struct assignment *a, Schedrig__V1__Value **ret, struct err *err)
{
	static const Schedrig__V1__Value__FormCase sets[] = {[8] = SCHEDRIG__V1__VALUE__FORM_U8,
		[16] = SCHEDRIG__V1__VALUE__FORM_U16,
		[32] = SCHEDRIG__V1__VALUE__FORM_U32,
		[64] = SCHEDRIG__V1__VALUE__FORM_U64};
	static const Schedrig__V1__Value__FormCase changes[][2] = {
		[OR] = {SCHEDRIG__V1__VALUE__FORM_OR_U32, SCHEDRIG__V1__VALUE__FORM_OR_U64},
		[AND] = {SCHEDRIG__V1__VALUE__FORM_AND_U32, SCHEDRIG__V1__VALUE__FORM_AND_U64},
		[XOR] = {SCHEDRIG__V1__VALUE__FORM_XOR_U32, SCHEDRIG__V1__VALUE__FORM_XOR_U64},
		[ADD] = {SCHEDRIG__V1__VALUE__FORM_ADD_U32, SCHEDRIG__V1__VALUE__FORM_ADD_U64}};
	Schedrig__V1__Value *value = arena_alloc(arena, sizeof(*value));
	schedrig__v1__value__init(value);
	*ret = value;
	if (a->is_bytes) {
		Schedrig__V1__RawBytes *bytes = arena_alloc(arena, sizeof(*bytes));
		schedrig__v1__raw_bytes__init(bytes);
		value->form_case = SCHEDRIG__V1__VALUE__FORM_BYTES;
		value->bytes = bytes;
		return parse_hex(arena, a, bytes, err);
	}
	Schedrig__V1__Uint64Value *number = arena_alloc(arena, sizeof(*number));
	schedrig__v1__uint64_value__init(number);
	int r = parse_number(a, a->bits, &number->value, err);
	if (r < 0)
		return r;
	if (a->change != SET && a->bits < 32)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"%s: |= &= ^= += are for 32 and 64 bits, and this has %u", a->word, a->bits);
	value->form_case = a->change == SET ? sets[a->bits] : changes[a->change][a->bits == 64];
	value->u64 = number; /* members of a oneof share their place */
	return 0;
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

/* The same for the entry that the error's place names. */
static int fail_at(const struct err *err, char *const *words, unsigned n_words)
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
	struct memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, options, "PATH[:u8|u16|u32|u64|bytes=N]...", take, &args);
	if (args.file || args.count > 1)
		return cli_read_many(cli, &(struct cli_read_many){.words = args.words,
						  .n_words = args.n_words,
						  .file = args.file,
						  .cold = args.cold,
						  .stable = args.stable,
						  .count = MAX_OF(args.count, 1),
						  .every_ns = args.every_ns ? args.every_ns : 1000000000});
	_cleanup_(arena_free_p) struct arena *arena = arena_new(ARENA_BYTES);
	Schedrig__V1__KernelRead *reads[ENTRIES_MAX];
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
		code = fail_at(&err, args.words, args.n_words);
	} else {
		code = print_values(cli, response, args.words, args.n_words);
		schedrig_free_message(response);
	}
	schedrig_close(schedrig);
	return code;
}

/* Asks the kernel's types for the widths that the user left out. */
static int find_widths(struct schedrig *schedrig, struct assignment *assignments, unsigned n, struct err *err)
{
	Schedrig__V1__ResolveRequest request = SCHEDRIG__V1__RESOLVE_REQUEST__INIT;
	Schedrig__V1__Target *targets[ENTRIES_MAX];
	unsigned index[ENTRIES_MAX];
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
		struct assignment *a = &assignments[index[place->entry]];
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
	struct memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, options,
		"PATH[:u8|u16|u32|u64]=VALUE...\nPATH[:u32|u64]|=VALUE, &=, ^=, +=\nPATH:bytes=HEX", take,
		&args);
	_cleanup_(arena_free_p) struct arena *arena = arena_new(ARENA_BYTES);
	static struct assignment assignments[ENTRIES_MAX];
	Schedrig__V1__KernelWrite *writes[ENTRIES_MAX];
	for (unsigned i = 0; i < args.n_words; i++) {
		Schedrig__V1__Value *value;
		/* What is wrong by itself is said without a controller. */
		if (!arena || parse_assignment(arena, args.words[i], &assignments[i], &err) < 0 ||
			((assignments[i].bits || assignments[i].is_bytes) &&
				parse_value(arena, &assignments[i], &value, &err) < 0))
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
		r = parse_value(arena, &assignments[i], &writes[i]->value, &err);
	}
	Schedrig__V1__WriteRequest request = SCHEDRIG__V1__WRITE_REQUEST__INIT;
	Schedrig__V1__ReadResponse *response = NULL;
	request.n_writes = args.n_words;
	request.writes = writes;
	request.cold = args.cold;
	if (r == 0)
		r = schedrig_write(schedrig, &request, &response, &err);
	if (r < 0)
		code = fail_at(&err, args.words, args.n_words);
	else
		code = print_values(cli, response, args.words, args.n_words);
	schedrig_free_message(response);
	schedrig_close(schedrig);
	return code;
}

static void print_place(const Schedrig__V1__KernelPlace *place, const char *word)
{
	const char *star = strstr(word, "@*");
	if (place->every_cpu && star)
		printf("%.*s@%u%s", (int)(star - word), word, place->cpu, star + 2);
	else
		printf("%s", word);
	printf(" %s0x%016llx", place->physical ? "physical " : "", (unsigned long long)place->address);
	if (place->bit_size)
		printf(" bits %u-%u", place->bit_offset, place->bit_offset + place->bit_size - 1);
	if (place->size)
		printf(" %llu bytes", (unsigned long long)place->size);
	if (*place->type)
		printf(" %s", place->type);
	if (*place->symbol)
		printf(" (%s)", place->symbol);
	putchar('\n');
}

int cli_resolve(struct cli *cli, int argc, char **argv)
{
	struct memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, NULL, "PATH...", take, &args);
	_cleanup_(arena_free_p) struct arena *arena = arena_new(ARENA_BYTES);
	Schedrig__V1__Target *targets[ENTRIES_MAX];
	for (unsigned i = 0; i < args.n_words; i++)
		if (!arena || parse_target(arena, args.words[i], &targets[i], &err) < 0)
			return cli_fail(&err);
	Schedrig__V1__ResolveRequest request = SCHEDRIG__V1__RESOLVE_REQUEST__INIT;
	request.n_targets = args.n_words;
	request.targets = targets;
	int code = CLI_OK;
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	Schedrig__V1__ResolveResponse *response = NULL;
	if (schedrig_resolve(schedrig, &request, &response, &err) < 0)
		code = fail_at(&err, args.words, args.n_words);
	else if (cli->json)
		code = cli_print_json(&response->base);
	else
		for (size_t i = 0; i < response->n_places; i++)
			if (response->places[i]->entry < args.n_words)
				print_place(response->places[i], args.words[response->places[i]->entry]);
	schedrig_free_message(response);
	schedrig_close(schedrig);
	return code;
}

int cli_symbols(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"limit", KEY_LIMIT, "N", 0, "At most so many (default 1000)", 0}, {0}};
	struct memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, options, "PATTERN...", take, &args);
	int code = CLI_OK;
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	for (unsigned i = 0; i < args.n_words && code == CLI_OK; i++) {
		Schedrig__V1__SymbolsRequest request = SCHEDRIG__V1__SYMBOLS_REQUEST__INIT;
		Schedrig__V1__SymbolsResponse *response = NULL;
		request.pattern = args.words[i];
		request.limit = args.limit;
		if (schedrig_symbols(schedrig, &request, &response, &err) < 0) {
			code = cli_fail(&err);
			break;
		}
		if (cli->json)
			code = cli_print_json(&response->base);
		for (size_t k = 0; k < response->n_symbols && !cli->json; k++) {
			const Schedrig__V1__KernelSymbol *symbol = response->symbols[k];
			printf("%016llx %s%s%s%s", (unsigned long long)symbol->address, symbol->name,
				symbol->per_cpu ? " per-CPU" : "", *symbol->type ? " " : "", symbol->type);
			printf(*symbol->module ? " [%s]\n" : "\n", symbol->module);
		}
		if (response->more && !cli->json)
			fprintf(stderr, "there are more: --limit\n");
		schedrig_free_message(response);
	}
	schedrig_close(schedrig);
	return code;
}

static void print_type(const Schedrig__V1__KernelType *type)
{
	printf("%s", type->name);
	if (*type->target)
		printf(" = %s", type->target);
	if (type->size)
		printf(", %llu bytes", (unsigned long long)type->size);
	putchar('\n');
	for (size_t i = 0; i < type->n_members; i++) {
		const Schedrig__V1__KernelMember *member = type->members[i];
		printf("  %6llu ", (unsigned long long)member->offset);
		if (member->bit_size)
			printf(":%u-%u ", member->bit_offset, member->bit_offset + member->bit_size - 1);
		printf("%*s%s %s\n", (int)(2 * MIN_OF(member->depth, 16)), "", member->type, member->name);
	}
}

int cli_types(struct cli *cli, int argc, char **argv)
{
	struct memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, NULL, "NAME...", take, &args);
	int code = CLI_OK;
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	for (unsigned i = 0; i < args.n_words && code == CLI_OK; i++) {
		Schedrig__V1__TypesRequest request = SCHEDRIG__V1__TYPES_REQUEST__INIT;
		Schedrig__V1__TypesResponse *response = NULL;
		request.name = args.words[i];
		if (schedrig_types(schedrig, &request, &response, &err) < 0) {
			code = cli_fail(&err);
			break;
		}
		if (cli->json)
			code = cli_print_json(&response->base);
		for (size_t k = 0; k < response->n_types && !cli->json; k++)
			print_type(response->types[k]);
		schedrig_free_message(response);
	}
	schedrig_close(schedrig);
	return code;
}

int cli_bases(struct cli *cli, int argc, char **argv)
{
	static const Schedrig__V1__BasesRequest request = SCHEDRIG__V1__BASES_REQUEST__INIT;
	struct err err = ERR_INIT;
	int code = CLI_OK;
	cli_parse(cli, argc, argv, NULL, "", NULL, NULL);
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	Schedrig__V1__KernelBases *bases = NULL;
	if (schedrig_bases(schedrig, &request, &bases, &err) < 0)
		code = cli_fail(&err);
	else if (cli->json)
		code = cli_print_json(&bases->base);
	else
		printf("text        %016llx, %lld bytes from where it was linked%s\n"
		       "phys_base   %016llx\npage_offset %016llx\nvmalloc     %016llx\nvmemmap     %016llx\n",
			(unsigned long long)bases->text, (long long)bases->slide,
			bases->told_by_guest ? ", as the guest says" : "",
			(unsigned long long)bases->phys_base, (unsigned long long)bases->page_offset,
			(unsigned long long)bases->vmalloc, (unsigned long long)bases->vmemmap);
	schedrig_free_message(bases);
	schedrig_close(schedrig);
	return code;
}
