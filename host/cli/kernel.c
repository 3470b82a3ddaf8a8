/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig resolve`, `symbols`, `types`, `bases`: what is known of the kernel. The main thread. */
#include "host/cli/memory.h"

#include "common/arena.h"

#include <string.h>

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
	struct cli_memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, NULL, "PATH...", cli_memory_take, &args);
	_cleanup_(arena_free_p) struct arena *arena = arena_new(CLI_MEMORY_ARENA_BYTES);
	Schedrig__V1__Target *targets[CLI_ENTRIES_MAX];
	for (unsigned i = 0; i < args.n_words; i++)
		if (!arena || cli_parse_target(arena, args.words[i], &targets[i], &err) < 0)
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
		code = cli_fail_at_entry(&err, args.words, args.n_words);
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
	struct cli_memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, options, "PATTERN...", cli_memory_take, &args);
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
	struct cli_memory_args args = {0};
	struct err err = ERR_INIT;
	cli_parse(cli, argc, argv, NULL, "NAME...", cli_memory_take, &args);
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
