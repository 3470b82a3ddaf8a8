/* SPDX-License-Identifier: GPL-2.0-only */
/* What the commands about the kernel's memory share: memory.c (read, write) and kernel.c (resolve, symbols,
 * types, bases). One thread. */
#ifndef HOST_CLI_MEMORY_H
#define HOST_CLI_MEMORY_H

#include "host/cli/cli.h"

#define CLI_MEMORY_ARENA_BYTES (64u * 1024 * 1024)
/* Words of one command. */
#define CLI_ENTRIES_MAX 1024

struct cli_memory_args {
	bool cold, force, verify, stable;
	char **words;
	unsigned n_words;
	uint32_t limit;
	const char *file;
	uint64_t count, every_ns;
};

enum { KEY_COLD = 256, KEY_FORCE, KEY_VERIFY, KEY_STABLE, KEY_LIMIT, KEY_FILE, KEY_COUNT, KEY_EVERY };
/* For cli_parse(): their options, with struct cli_memory_args as input; at least one word, or a file. */
error_t cli_memory_take(int key, char *arg, struct argp_state *state);

/* cli_fail_at() for the word that the error's place names ("reads[2]"). */
int cli_fail_at_entry(const struct err *err, char *const *words, unsigned n_words);

/* ---- memory_parse.c; everything is in the arena's memory */

/* "phys:0x1000", "name+8" or a path; text lives as long as the target. */
int cli_parse_target(struct arena *arena, char *text, Schedrig__V1__Target **ret, struct err *err) must_check;

/* What stands between target and value. */
enum cli_change { CLI_SET, CLI_OR, CLI_AND, CLI_XOR, CLI_ADD };

/* A write as the user wrote it; its width may come from the kernel's types. */
struct cli_assignment {
	const char *word;
	Schedrig__V1__Target *target;
	enum cli_change change;
	unsigned bits; /* 0: not known yet */
	bool is_bytes;
	const char *value;
};
int cli_parse_assignment(
	struct arena *arena, char *word, struct cli_assignment *ret, struct err *err) must_check;
/* Once its width is known. */
int cli_parse_value(struct arena *arena, const struct cli_assignment *a, Schedrig__V1__Value **ret,
	struct err *err) must_check;

#endif
