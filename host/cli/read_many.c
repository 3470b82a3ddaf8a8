/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig read` of many paths, or again and again: prepared once, read by handle. */
#include "host/cli/cli.h"

#include "common/arena.h"
#include "common/clock.h"
#include "common/fd.h"
#include "proto/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FILE_BYTES_MAX (64u << 20)
#define ARENA_BYTES (256u << 20)
/* Of one Prepare: what is in a frame beside the entries is small. */
#define CHUNK_BYTES (200u * 1024)

/* Words of the command line and of the file, and what they were prepared as. */
struct many {
	const struct cli_read_many *args;
	struct arena *arena;
	char **word;
	size_t n_words, words_size;
	struct place {
		Schedrig__V1__PreparedRead *read; /* of a response below */
		size_t word;
	} * place;
	size_t n_places, places_size;
	uint64_t *handle; /* [n_places] */
	Schedrig__V1__PrepareResponse **response;
	size_t n_responses;
};

static void many_deinit(struct many *many)
{
	for (size_t i = 0; i < many->n_responses; i++)
		schedrig_free_message(many->response[i]);
	free(many->response);
	free(many->handle);
	free(many->place);
	free(many->word);
	arena_free(many->arena);
}

static int no_memory(struct err *err)
{
	return err_set(err, ERR_HOST, "out of memory");
}

/* Room for one more in an array that doubles. */
static int grow(void *array, size_t n, size_t *size, size_t entry_bytes, struct err *err)
{
	void **at = array;
	if (n < *size)
		return 0;
	size_t wanted = *size ? *size * 2 : 256;
	void *grown = reallocarray(*at, wanted, entry_bytes);
	if (!grown)
		return no_memory(err);
	*at = grown;
	*size = wanted;
	return 0;
}

static int add_word(struct many *many, char *word, struct err *err)
{
	int r = word ? grow(&many->word, many->n_words, &many->words_size, sizeof(*many->word), err)
		     : no_memory(err);
	if (r == 0)
		many->word[many->n_words++] = word;
	return r;
}

/* One path a line; blank lines and those that begin with # are not read. */
static int add_file(struct many *many, const char *path, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t length;
	int r = fd_read_file(
		strcmp(path, "-") == 0 ? "/dev/stdin" : path, FILE_BYTES_MAX, &text, &length, err);
	if (r < 0)
		return r;
	char *rest = text;
	for (char *line; r == 0 && (line = strsep(&rest, "\n"));) {
		line += strspn(line, " \t");
		for (size_t n = strlen(line); n && strchr(" \t\r", line[n - 1]); n--)
			line[n - 1] = '\0';
		if (*line && *line != '#')
			r = add_word(many, arena_strdup(many->arena, line), err);
	}
	return r;
}

static int take_prepared(
	struct many *many, Schedrig__V1__PrepareResponse *response, size_t first, struct err *err)
{
	void *grown = reallocarray(many->response, many->n_responses + 1, sizeof(response));
	if (!grown) {
		schedrig_free_message(response);
		return no_memory(err);
	}
	many->response = grown;
	many->response[many->n_responses++] = response;
	for (size_t i = 0; i < response->n_reads; i++) {
		Schedrig__V1__PreparedRead *read = response->reads[i];
		int r = grow(&many->place, many->n_places, &many->places_size, sizeof(*many->place), err);
		if (r < 0)
			return r;
		if (first + read->entry >= many->n_words)
			return err_set(err, ERR_INTERNAL, "the controller's answer does not fit the request");
		many->place[many->n_places++] = (struct place){read, first + read->entry};
	}
	return 0;
}

/* *ret_word: the one that a failure is about, or n_words. */
static int prepare(struct many *many, struct schedrig *schedrig, size_t *ret_word, struct err *err)
{
	_cleanup_free_ Schedrig__V1__KernelRead **reads = calloc(many->n_words + 1, sizeof(*reads));
	*ret_word = many->n_words;
	if (!reads)
		return no_memory(err);
	for (size_t i = 0; i < many->n_words; i++) {
		int r = cli_parse_read(many->arena, many->word[i], many->args->stable, &reads[i], err);
		if (r < 0) {
			*ret_word = i;
			return r;
		}
	}
	for (size_t first = 0, n; first < many->n_words; first += n) {
		Schedrig__V1__PrepareRequest request = SCHEDRIG__V1__PREPARE_REQUEST__INIT;
		Schedrig__V1__PrepareResponse *response = NULL;
		size_t bytes = 0;
		for (n = 0; first + n < many->n_words && n < LIMIT_KERNEL_BATCH && bytes < CHUNK_BYTES; n++)
			bytes += 8 + protobuf_c_message_get_packed_size(&reads[first + n]->base);
		request.n_reads = n;
		request.reads = reads + first;
		int r = schedrig_prepare(schedrig, &request, &response, err);
		if (r < 0) {
			const char *open = strchr(err->place, '[');
			*ret_word = first + (open ? strtoul(open + 1, NULL, 10) : n);
			return r;
		}
		r = take_prepared(many, response, first, err);
		if (r < 0)
			return r;
	}
	many->handle = calloc(many->n_places + 1, sizeof(*many->handle));
	if (!many->handle)
		return no_memory(err);
	for (size_t i = 0; i < many->n_places; i++)
		many->handle[i] = many->place[i].read->handle;
	return 0;
}

static void print(
	const struct many *many, const Schedrig__V1__ReadPreparedResponse *response, size_t first, int *code)
{
	size_t failure = 0;
	for (size_t i = 0; i < response->n_values && first + i < many->n_places; i++) {
		const struct place *place = &many->place[first + i];
		const Schedrig__V1__PreparedRead *read = place->read;
		const char *word = many->word[place->word];
		if (failure < response->n_failures && response->failures[failure]->entry == i) {
			const Schedrig__V1__Error *error = response->failures[failure++]->error;
			fprintf(stderr, "%s: %s\n", word, error ? error->message : "");
			*code = CLI_HOST;
			continue;
		}
		Schedrig__V1__ReadValue value = SCHEDRIG__V1__READ_VALUE__INIT;
		value.every_cpu = read->every_cpu;
		value.cpu = read->cpu;
		value.type = read->type;
		value.is_signed = read->is_signed;
		value.bits = read->bits;
		value.width = read->length;
		value.value = response->values[i];
		if (!read->bits && response->values[i] <= response->data.len &&
			read->length <= response->data.len - response->values[i]) {
			value.data.len = read->length;
			value.data.data = response->data.data + response->values[i];
		}
		cli_print_value(&value, word);
	}
}

/* One round of all of them. */
static int read_round(
	const struct cli *cli, const struct many *many, struct schedrig *schedrig, int *code, struct err *err)
{
	for (size_t first = 0, n; first < many->n_places; first += n) {
		Schedrig__V1__ReadPreparedRequest request = SCHEDRIG__V1__READ_PREPARED_REQUEST__INIT;
		Schedrig__V1__ReadPreparedResponse *response = NULL;
		n = MIN_OF(many->n_places - first, (size_t)LIMIT_KERNEL_BATCH);
		request.n_handles = n;
		request.handles = many->handle + first;
		request.cold = many->args->cold;
		int r = schedrig_read_prepared(schedrig, &request, &response, err);
		if (r < 0)
			return r;
		if (cli->json)
			*code = MAX_OF(*code, cli_print_json(&response->base));
		else
			print(many, response, first, code);
		schedrig_free_message(response);
	}
	fflush(stdout);
	return 0;
}

static int read_rounds(struct cli *cli, const struct many *many, struct schedrig *schedrig, struct err *err)
{
	const struct cli_read_many *args = many->args;
	uint64_t start = clock_now_ns();
	int code = CLI_OK;
	if (args->cold && many->n_places > LIMIT_KERNEL_BATCH) {
		err_set(err, ERR_LIMIT_EXCEEDED, "%zu values: at most %u can be read in one freeze",
			many->n_places, LIMIT_KERNEL_BATCH);
		return cli_fail(err);
	}
	for (size_t i = 0; cli->json && i < many->n_responses; i++)
		code = MAX_OF(code, cli_print_json(&many->response[i]->base));
	for (uint64_t round = 0; round < args->count; round++) {
		struct timespec until = clock_timespec(start + round * args->every_ns);
		while (round > 0 && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
			;
		if (args->count > 1 && !cli->json)
			printf("# %.6f s\n", (double)(clock_now_ns() - start) / 1e9);
		if (read_round(cli, many, schedrig, &code, err) < 0)
			return cli_fail(err);
	}
	return code;
}

int cli_read_many(struct cli *cli, const struct cli_read_many *args)
{
	_cleanup_(many_deinit) struct many many = {.args = args, .arena = arena_new(ARENA_BYTES)};
	struct err err = ERR_INIT;
	int r = many.arena ? 0 : no_memory(&err), code = CLI_OK;
	for (unsigned i = 0; r == 0 && i < args->n_words; i++)
		r = add_word(&many, args->words[i], &err);
	if (r == 0 && args->file)
		r = add_file(&many, args->file, &err);
	if (r == 0 && many.n_words == 0)
		r = err_set(&err, ERR_INVALID_ARGUMENT, "%s has no paths", args->file);
	if (r < 0)
		return cli_fail(&err);
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	size_t word;
	if (prepare(&many, schedrig, &word, &err) < 0) {
		if (word < many.n_words)
			code = cli_fail_at(&err, many.word[word]);
		else
			code = cli_fail(&err);
	} else {
		code = read_rounds(cli, &many, schedrig, &err);
	}
	schedrig_close(schedrig);
	return code;
}
