/* SPDX-License-Identifier: GPL-2.0-only */
/* Scenario files: loading, checking, mistakes with their lines (see cli.h). */
#include "host/cli/cli.h"

#include "common/fd.h"
#include "host/engine/engine.h"
#include "host/initramfs/elf_info.h"
#include "proto/pb.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

void cli_file_deinit(struct cli_file *file)
{
	text_places_free(file->places);
	pb_free(file->message);
	free(file->text);
	*file = (struct cli_file){0};
}

/* The line's text without its end; NULL when there is none. */
static const char *line_of(const struct cli_file *file, unsigned line, size_t *ret_length)
{
	const char *at = file->text, *end = file->text + file->length;
	for (unsigned k = 1; at && k < line; k++) {
		at = memchr(at, '\n', (size_t)(end - at));
		at = at ? at + 1 : NULL;
	}
	if (!at || at >= end || line == 0)
		return NULL;
	const char *newline = memchr(at, '\n', (size_t)(end - at));
	*ret_length = (size_t)((newline ? newline : end) - at);
	if (*ret_length && at[*ret_length - 1] == '\r')
		--*ret_length;
	return at;
}

/* Length of the character at `s`, 0 if it is none: not UTF-8, or one that controls a terminal (C0, DEL, C1)
 * or turns the direction of what follows (U+202A..202E, U+2066..2069). */
static size_t plain_character(const unsigned char *s, size_t left)
{
	if (s[0] < 0x80)
		return s[0] >= 32 && s[0] != 127;
	size_t n = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	bool c1 = s[0] == 0xc2 && s[1] < 0xa0;
	bool turns = s[0] == 0xe2 && ((s[1] == 0x80 && s[2] >= 0xaa && s[2] <= 0xae) ||
					     (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9));
	return c1 || turns ? 0 : n;
}

/* Files are anybody's: what is no plain text must not reach a terminal. A byte of it becomes a space, or '?'
 * beyond ASCII. */
static void print_safe(const char *text, size_t length)
{
	const unsigned char *s = (const unsigned char *)text;
	for (size_t i = 0; i < length;) {
		size_t n = plain_character(s + i, length - i);
		if (n)
			fwrite(s + i, 1, n, stderr);
		else
			fputc(s[i] < 0x80 ? ' ' : '?', stderr);
		i += n ? n : 1;
	}
}

static void collect(
	const struct cli_file *file, bool warning, unsigned line, unsigned column, const char *text)
{
	json_t *mistake = json_pack("{s:s, s:s, s:s}", "file", file->path, "severity",
		warning ? "warning" : "error", "message", text);
	if (line && mistake)
		json_object_update_new(mistake, json_pack("{s:i, s:i}", "line", line, "column", column));
	/* A path or a text that is no UTF-8 makes no JSON; what kind of mistake it was remains. */
	json_array_append_new(file->mistakes,
		mistake ? mistake : json_pack("{s:s}", "severity", warning ? "warning" : "error"));
}

void cli_file_print(
	const struct cli_file *file, bool warning, unsigned line, unsigned column, const char *text)
{
	if (file->mistakes) {
		collect(file, warning, line, column, text);
		return;
	}
	bool colour = cli_has_colour(stderr);
	const char *what = warning ? "warning" : "error";
	size_t length;
	fprintf(stderr, "%s:", file->path);
	if (line)
		fprintf(stderr, "%u:%u:", line, column);
	if (colour)
		fprintf(stderr, " \033[1;%dm%s:\033[0m ", warning ? 35 : 31, what);
	else
		fprintf(stderr, " %s: ", what);
	print_safe(text, strlen(text));
	fputc('\n', stderr);
	const char *source = line_of(file, line, &length);
	if (!source || length > 300)
		return;
	fprintf(stderr, "%5u | ", line);
	print_safe(source, length);
	fputc('\n', stderr);
	if (column == 0 || column > length + 1)
		return;
	fprintf(stderr, "      | ");
	for (unsigned i = 1; i < column; i++)
		if (((unsigned char)source[i - 1] & 0xc0) != 0x80) /* one for each character, not byte */
			fputc(' ', stderr);
	fprintf(stderr, colour ? "\033[1;32m^\033[0m\n" : "^\n");
}

void cli_file_print_place(const struct cli_file *file, bool warning, const char *place, const char *text)
{
	unsigned line = 0, column = 0;
	char whole[1024];
	text_places_find(file->places, place, &line, &column);
	if (place[0])
		snprintf(whole, sizeof(whole), "%s: %s", place, text);
	else
		snprintf(whole, sizeof(whole), "%s", text);
	cli_file_print(file, warning, line, column, whole);
}

int cli_file_load(struct cli_file *file, const char *path, const ProtobufCMessageDescriptor *type)
{
	struct err err = ERR_INIT;
	*file = (struct cli_file){.path = path, .mistakes = file->mistakes};
	int r = strcmp(path, "-") == 0
			? fd_read_stdin(TEXT_FILE_MAX_BYTES, &file->text, &file->length, &err)
			: fd_read_file(path, TEXT_FILE_MAX_BYTES, &file->text, &file->length, &err);
	if (r < 0) {
		if (file->mistakes)
			cli_file_print(file, false, 0, 0, err.message);
		else
			cli_error("%s", err.message);
		return CLI_USAGE;
	}
	_cleanup_free_ struct text_errors *errors = calloc(1, sizeof(*errors));
	if (!errors) {
		cli_error("out of memory");
		return CLI_HOST;
	}
	if (text_load(type, file->text, file->length, &file->message, &file->places, errors) == 0)
		return CLI_OK;
	for (unsigned i = 0; i < errors->n; i++) {
		const struct text_error *e = &errors->error[i];
		char whole[1024];
		snprintf(whole, sizeof(whole), "%s%s%s", e->err.place, e->err.place[0] ? ": " : "",
			e->err.message);
		cli_file_print(file, false, e->line, e->column, whole);
	}
	if (errors->dropped)
		cli_error("%s: and %u more mistakes", path, errors->dropped);
	return CLI_USAGE;
}

int cli_scenario_load(struct cli_file *file, const char *path)
{
	int code = cli_file_load(file, path, &schedrig__v1__scenario__descriptor);
	if (code != CLI_OK)
		return code;
	Schedrig__V1__Scenario *scenario = cli_scenario(file);
	if (scenario->name && scenario->name[0])
		return CLI_OK;
	path = strcmp(path, "-") == 0 ? "stdin" : path;
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	const char *dot = strrchr(base, '.');
	char *name = strndup(base, dot && dot > base ? (size_t)(dot - base) : strlen(base));
	if (!name) {
		cli_error("out of memory");
		return CLI_HOST;
	}
	/* A string that is not set is static in protobuf-c, one that is set to "" is not. */
	if (scenario->name != protobuf_c_empty_string)
		free(scenario->name);
	scenario->name = name;
	return CLI_OK;
}

Schedrig__V1__Scenario *cli_scenario(const struct cli_file *file)
{
	return (Schedrig__V1__Scenario *)file->message;
}

const char *cli_scheduler_file(const Schedrig__V1__Scheduler *scheduler)
{
	switch (scheduler->kind_case) {
	case SCHEDRIG__V1__SCHEDULER__KIND_BINARY:
		return scheduler->binary->program;
	case SCHEDRIG__V1__SCHEDULER__KIND_OBJECT:
		return scheduler->object->file;
	case SCHEDRIG__V1__SCHEDULER__KIND_KERNEL_DEFAULT:
	case SCHEDRIG__V1__SCHEDULER__KIND__NOT_SET:
	case _SCHEDRIG__V1__SCHEDULER__KIND__CASE_IS_INT_SIZE:
		break;
	}
	return "";
}

/* What only the bytes of a file tell, where its name has not told it yet. False after a mistake. */
static bool kind_is_right(const struct cli_file *file, const char *place, const char *program, bool object)
{
	char path[PATH_MAX], text[PATH_MAX + 200];
	size_t length = strlen(program);
	bool told = length > 6 && strcmp(program + length - 6, ".bpf.o") == 0;
	if (!*program || (told && !object) || !cli_find_program(program, path, sizeof(path)) ||
		elf_is_bpf_object(path) == object)
		return true;
	snprintf(text, sizeof(text),
		object ? "%s is no BPF object: a program that loads one is a scheduler of kind `binary`"
		       : "%s is a BPF object, which is no program: define it in `schedulers` as an `object` "
			 "and "
			 "attach it with attach_scheduler",
		path);
	cli_file_print_place(file, false, place, text);
	return false;
}

static int check_kinds(const struct cli_file *file)
{
	const Schedrig__V1__Scenario *s = cli_scenario(file);
	char place[64];
	int code = CLI_OK;
	for (size_t i = 0; i < s->n_payloads; i++) {
		snprintf(place, sizeof(place), "payloads[%zu].program", i);
		if (!kind_is_right(file, place, s->payloads[i]->program, false))
			code = CLI_USAGE;
	}
	for (size_t i = 0; i < s->n_schedulers; i++) {
		bool object = s->schedulers[i]->kind_case == SCHEDRIG__V1__SCHEDULER__KIND_OBJECT;
		snprintf(place, sizeof(place), "schedulers[%zu].%s", i, object ? "file" : "program");
		if (!kind_is_right(file, place, cli_scheduler_file(s->schedulers[i]), object))
			code = CLI_USAGE;
	}
	return code;
}

int cli_scenario_check(
	const struct cli_file *file, const struct cpu_layout *layout, const char *const *staged)
{
	struct err err = ERR_INIT;
	Schedrig__V1__ValidateResponse *found = NULL;
	if (engine_validate(cli_scenario(file), layout, staged, &found, &err) < 0)
		return cli_fail(&err);
	for (size_t i = 0; i < found->n_warnings; i++)
		cli_file_print_place(file, true, found->warnings[i]->place, found->warnings[i]->message);
	for (size_t i = 0; i < found->n_errors; i++)
		cli_file_print_place(file, false, found->errors[i]->place, found->errors[i]->message);
	int code = found->n_errors ? CLI_USAGE : check_kinds(file);
	pb_free(found);
	return code;
}
