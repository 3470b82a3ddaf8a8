/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests about kernel memory: read, write, resolve, symbols, types. Each runs on a thread of its own;
 * nothing here is shared but the kernel's knowledge, which never changes. */
#include "common/clock.h"
#include "host/engine/kernel_access.h"
#include "host/engine/validate.h"
#include "host/kmem/bases.h"
#include "host/kmem/btf_text.h"
#include "host/kmem/kmem.h"
#include "host/kmem/module.h"
#include "host/kmem/path.h"
#include "host/kmem/suggest.h"
#include "host/link/link.h"
#include "host/vm/freeze.h"
#include "proto/pb.h"

#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#define SYMBOLS_DEFAULT 1000u
#define SYMBOLS_MAX 100000u
#define TYPES_MAX 16u /* of one name */
#define MEMBERS_MAX 20000u
#define DEPTH_MAX 16u
#define RESOLVE_MAX 65536u

static int no_memory(struct err *err)
{
	return err_set_os(err, ERR_HOST, ENOMEM, "cannot answer");
}

/* By the rules of the ops, which are the same. */
static int check_as_op(struct engine *engine, Schedrig__V1__Op *op, const char *list, struct err *err)
{
	Schedrig__V1__ApplyRequest apply = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	apply.n_ops = 1;
	apply.ops = &op;
	int r = check_adhoc(&apply, engine->config.layout, NULL, err);
	const char *inner = r < 0 ? strstr(err->place, list) : NULL;
	if (inner)
		memmove(err->place, inner, strlen(inner) + 1);
	return r;
}

int kernel_check_reads(struct engine *engine, const Schedrig__V1__ReadRequest *request, struct err *err)
{
	Schedrig__V1__ReadKernelHot hot = SCHEDRIG__V1__READ_KERNEL_HOT__INIT;
	Schedrig__V1__ReadKernelCold cold = SCHEDRIG__V1__READ_KERNEL_COLD__INIT;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT;
	hot.n_reads = cold.n_reads = request->n_reads;
	hot.reads = cold.reads = request->reads;
	op.kind_case = request->cold ? SCHEDRIG__V1__OP__KIND_READ_KERNEL_COLD
				     : SCHEDRIG__V1__OP__KIND_READ_KERNEL_HOT;
	if (request->cold)
		op.read_kernel_cold = &cold;
	else
		op.read_kernel_hot = &hot;
	return check_as_op(engine, &op, "reads", err);
}

int engine_read(struct engine *engine, const Schedrig__V1__ReadRequest *request, const struct freeze *held,
	Schedrig__V1__ReadResponse **ret, struct err *err)
{
	int r = kernel_check_reads(engine, request, err);
	if (r < 0)
		return r;
	_cleanup_(kernel_values_deinit) struct kernel_values values;
	const struct kernel_way way = {
		.cold = request->cold, .held = held, .deadline_ns = clock_deadline_ns(FREEZE_TURN_NS)};
	r = kernel_read(engine, request->reads, request->n_reads, &way, &values, err);
	if (r < 0)
		return err_errno(err->code);
	for (size_t i = 0; i < values.n; i++) {
		const char *tag = request->reads[values.value[i]->entry]->tag;
		char *copy = *tag ? strdup(tag) : (char *)protobuf_c_empty_string;
		if (!copy)
			return no_memory(err);
		values.value[i]->tag = copy;
	}
	Schedrig__V1__ReadResponse *response = malloc(sizeof(*response));
	if (!response)
		return no_memory(err);
	schedrig__v1__read_response__init(response);
	response->n_values = values.n;
	response->values = TAKE_PTR(values.value);
	values.n = 0;
	response->freeze = TAKE_PTR(values.freeze);
	*ret = response;
	return 0;
}

static int take_written(
	struct kmem_write *writes, size_t n, Schedrig__V1__ReadResponse *response, struct err *err)
{
	response->values = calloc(n, sizeof(*response->values));
	response->warnings = calloc(n, sizeof(*response->warnings));
	if (!response->values || !response->warnings)
		return no_memory(err);
	for (size_t i = 0; i < n; i++) {
		if (writes[i].warning) {
			char *warning = strdup(writes[i].warning);
			if (!warning)
				return no_memory(err);
			response->warnings[response->n_warnings++] = warning;
		}
		if (!kernel_write_has_old(&writes[i]))
			continue;
		Schedrig__V1__ReadValue *value = kernel_old_value(&writes[i], i);
		if (!value)
			return no_memory(err);
		response->values[response->n_values++] = value;
	}
	return 0;
}

int engine_write(struct engine *engine, const Schedrig__V1__WriteRequest *request, const struct freeze *held,
	Schedrig__V1__ReadResponse **ret, struct err *err)
{
	Schedrig__V1__WriteKernelHot hot = SCHEDRIG__V1__WRITE_KERNEL_HOT__INIT;
	Schedrig__V1__WriteKernelCold cold = SCHEDRIG__V1__WRITE_KERNEL_COLD__INIT;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT;
	size_t n = request->n_writes;
	hot.n_writes = cold.n_writes = n;
	hot.writes = cold.writes = request->writes;
	op.kind_case = request->cold ? SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_COLD
				     : SCHEDRIG__V1__OP__KIND_WRITE_KERNEL_HOT;
	if (request->cold)
		op.write_kernel_cold = &cold;
	else
		op.write_kernel_hot = &hot;
	int r = check_as_op(engine, &op, "writes", err);
	if (r < 0)
		return r;
	_cleanup_free_ struct kmem_write *writes = calloc(n, sizeof(*writes));
	_cleanup_(pb_free_p) Schedrig__V1__ReadResponse *response = malloc(sizeof(*response));
	if (response)
		schedrig__v1__read_response__init(response);
	if (!writes || !response)
		return no_memory(err);
	for (size_t i = 0; i < n; i++)
		if (kernel_write_from_wire(request->writes[i], &writes[i], err) < 0)
			return err_at(err, "writes[%zu]", i);
	const struct kernel_way way = {
		.cold = request->cold, .held = held, .deadline_ns = clock_deadline_ns(FREEZE_TURN_NS)};
	r = kernel_write(engine, writes, n, &way, &response->freeze, err);
	if (r < 0 && *err->place == '[')
		err_at(err, "writes");
	if (r == 0)
		r = take_written(writes, n, response, err);
	kernel_writes_deinit(writes, n);
	if (r == 0)
		*ret = TAKE_PTR(response);
	return r;
}

/* ---- resolve */

static int add_place(const struct kmem *kmem, const struct kmem_target *target, size_t entry,
	Schedrig__V1__ResolveResponse *response, struct err *err)
{
	struct kmem_resolved where;
	int r = kmem_target_resolve(kmem, target, &where, err);
	if (r < 0)
		return r;
	if (response->n_places == RESOLVE_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "at most %u places at once", RESOLVE_MAX);
	Schedrig__V1__KernelPlace **places =
		reallocarray(response->places, response->n_places + 1, sizeof(Schedrig__V1__KernelPlace *));
	if (!places)
		return no_memory(err);
	response->places = places;
	Schedrig__V1__KernelPlace *place = malloc(sizeof(*place));
	if (!place)
		return no_memory(err);
	schedrig__v1__kernel_place__init(place);
	places[response->n_places++] = place;
	place->entry = (uint32_t)entry;
	place->address = where.address.v;
	place->physical = where.way == KMEM_WAY_PHYS;
	place->size = where.size_bytes;
	place->bit_offset = where.bit_offset;
	place->bit_size = where.bit_size;
	place->every_cpu = target->every_cpu;
	place->cpu = target->every_cpu ? target->cpu : 0;
	place->is_signed = kernel_type_is_signed(where.btf, where.type, where.pointers);
	const struct kbtf *btf = where.btf;
	unsigned kind = btf && where.type && where.pointers == 0
				? kbtf_kind(btf, kbtf_resolve(btf, where.type))
				: BTF_KIND_UNKN;
	place->is_compound = kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION || kind == BTF_KIND_ARRAY ||
			     kind == BTF_KIND_DATASEC;
	char text[KALLSYMS_NAME_MAX + 32] = "";
	if (!place->physical)
		symbols_text(kmem_symbols(kmem), where.address, text, sizeof(text));
	char *type = kernel_type_text(where.btf, where.type, where.pointers),
	     *symbol = *text ? strdup(text) : NULL;
	if (type)
		place->type = type;
	if (symbol)
		place->symbol = symbol;
	return type && (symbol || !*text) ? 0 : no_memory(err);
}

static int resolve_one(const struct kmem *kmem, const Schedrig__V1__Target *wire, size_t entry,
	Schedrig__V1__ResolveResponse *response, struct err *err)
{
	struct kmem_target target;
	struct cpuset cpus;
	int r = kernel_target_from_wire(wire, &target, err);
	if (r < 0)
		return r;
	if (target.form != KMEM_PATH || !kmem_path_is_star(target.field))
		return add_place(kmem, &target, entry, response, err);
	r = kmem_online(kmem, &cpus, err);
	if (r < 0)
		return r;
	cpuset_for_each (cpu, &cpus) {
		target.every_cpu = true;
		target.cpu = (unsigned)cpu;
		r = add_place(kmem, &target, entry, response, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int engine_resolve(struct engine *engine, const Schedrig__V1__ResolveRequest *request,
	Schedrig__V1__ResolveResponse **ret, struct err *err)
{
	if (request->n_targets == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "at least one target is needed");
	struct kmem *kmem = engine_kernel(engine, err);
	if (!kmem || kmem_check(kmem, err) < 0)
		return err_errno(err->code);
	_cleanup_(pb_free_p) Schedrig__V1__ResolveResponse *response = malloc(sizeof(*response));
	if (!response)
		return no_memory(err);
	schedrig__v1__resolve_response__init(response);
	for (size_t i = 0; i < request->n_targets; i++)
		if (resolve_one(kmem, request->targets[i], i, response, err) < 0)
			return err_at(err, "targets[%zu]", i);
	*ret = TAKE_PTR(response);
	return 0;
}

/* ---- symbols */

static int add_symbol(const struct kmem *kmem, const struct symbol_at *found,
	Schedrig__V1__SymbolsResponse *response, struct err *err)
{
	Schedrig__V1__KernelSymbol *symbol = malloc(sizeof(*symbol));
	if (!symbol)
		return no_memory(err);
	schedrig__v1__kernel_symbol__init(symbol);
	response->symbols[response->n_symbols++] = symbol;
	symbol->name = strdup(found->name);
	symbol->address = found->start.v;
	symbol->size = found->size_bytes;
	symbol->per_cpu = kmem_is_per_cpu(kmem, found->start);
	const struct kbtf *btf = kmem_btf(kmem, NULL);
	const char *known = kmem_known_type(found->name);
	uint32_t type;
	if (symbol->per_cpu && btf && kbtf_per_cpu(btf, found->name, &type, NULL) == 0) {
		char *text = kernel_type_text(btf, type, 0);
		if (!text)
			return no_memory(err);
		symbol->type = text;
	} else if (known) {
		char *text = strdup(known);
		if (!text)
			return no_memory(err);
		symbol->type = text;
	}
	if (symbol->name)
		return 0;
	symbol->name = (char *)protobuf_c_empty_string;
	return no_memory(err);
}

/* Those of modules, if the kernel is there already. What of them cannot be read is as good as not loaded. */
static int add_module_symbols(const struct kmem *kmem, const char *pattern, uint32_t limit,
	Schedrig__V1__SymbolsResponse *response, struct err *err)
{
	struct kmem_module module = {0};
	struct kmem_module_symbol found;
	if (kmem_check(kmem, NULL) < 0)
		return 0;
	while (kmem_module_next(kmem, &module, NULL) > 0) {
		uint32_t at = 0;
		while (kmem_module_symbol_next(kmem, &module, &at, &found, NULL) > 0) {
			if (fnmatch(pattern, found.name, 0) != 0)
				continue;
			if (response->n_symbols == limit) {
				response->more = true;
				return 0;
			}
			struct symbol_at symbol = {.start = found.address, .size_bytes = found.size_bytes};
			snprintf(symbol.name, sizeof(symbol.name), "%s", found.name);
			if (add_symbol(kmem, &symbol, response, err) < 0)
				return err_errno(err->code);
			char *name = strdup(module.name);
			if (!name)
				return no_memory(err);
			response->symbols[response->n_symbols - 1]->module = name;
		}
	}
	return 0;
}

int engine_symbols(struct engine *engine, const Schedrig__V1__SymbolsRequest *request,
	Schedrig__V1__SymbolsResponse **ret, struct err *err)
{
	const char *pattern = request->pattern;
	uint32_t limit = request->limit ? request->limit : SYMBOLS_DEFAULT, at = 0;
	if (!*pattern || strlen(pattern) >= KALLSYMS_NAME_MAX)
		return err_set(
			err, ERR_INVALID_ARGUMENT, "a pattern has 1 to %d bytes", KALLSYMS_NAME_MAX - 1);
	/* Each star may try every length of what is left. */
	unsigned stars = 0;
	for (const char *p = pattern; *p; p++)
		stars += *p == '*';
	if (stars > 4)
		return err_set(err, ERR_INVALID_ARGUMENT, "a pattern has at most 4 stars");
	if (limit > SYMBOLS_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "at most %u symbols at once", SYMBOLS_MAX);
	struct kmem *kmem = engine_kernel(engine, err);
	if (!kmem)
		return err_errno(err->code);
	_cleanup_(pb_free_p) Schedrig__V1__SymbolsResponse *response = malloc(sizeof(*response));
	if (!response)
		return no_memory(err);
	schedrig__v1__symbols_response__init(response);
	response->symbols = calloc(limit, sizeof(Schedrig__V1__KernelSymbol *));
	if (!response->symbols)
		return no_memory(err);
	struct symbol_at found;
	while (symbols_match(kmem_symbols(kmem), pattern, &at, &found)) {
		if (response->n_symbols == limit) {
			response->more = true;
			break;
		}
		if (add_symbol(kmem, &found, response, err) < 0)
			return err_errno(err->code);
	}
	if (!response->more && add_module_symbols(kmem, pattern, limit, response, err) < 0)
		return err_errno(err->code);
	/* A plain name that is not there gets the names that are near. */
	gva_t address;
	if (response->n_symbols == 0 && !strpbrk(pattern, "*?[") &&
		symbols_find(kmem_symbols(kmem), pattern, &address, err) < 0)
		return err_errno(err->code);
	*ret = TAKE_PTR(response);
	return 0;
}

/* ---- types */

static int add_members(const struct kbtf *btf, uint32_t type, uint64_t base, unsigned depth,
	Schedrig__V1__KernelType *out, struct err *err)
{
	struct kbtf_place place;
	const char *name;
	for (unsigned i = 0; kbtf_member_at(btf, type, i, &place, &name); i++) {
		if (out->n_members == MEMBERS_MAX)
			return err_set(
				err, ERR_LIMIT_EXCEEDED, "the type has more than %u members", MEMBERS_MAX);
		char text[KBTF_TEXT_MAX];
		kbtf_text(btf, place.type, 0, text, sizeof(text));
		Schedrig__V1__KernelMember **members =
			reallocarray(out->members, out->n_members + 1, sizeof(Schedrig__V1__KernelMember *));
		if (!members)
			return no_memory(err);
		out->members = members;
		Schedrig__V1__KernelMember *member = malloc(sizeof(*member));
		if (!member)
			return no_memory(err);
		schedrig__v1__kernel_member__init(member);
		members[out->n_members++] = member;
		char *copy = *name ? strdup(name) : (char *)protobuf_c_empty_string,
		     *type_copy = strdup(text);
		member->name = copy ? copy : (char *)protobuf_c_empty_string;
		member->type = type_copy ? type_copy : (char *)protobuf_c_empty_string;
		if (!copy || !type_copy)
			return no_memory(err);
		member->offset = base + place.offset_bytes;
		member->size = place.size_bytes;
		member->bit_offset = place.bit_offset;
		member->bit_size = place.bit_size;
		member->depth = depth;
		if (!*name && depth < DEPTH_MAX &&
			add_members(btf, place.type, base + place.offset_bytes, depth + 1, out, err) < 0)
			return err_errno(err->code);
	}
	return 0;
}

static int add_type(
	const struct kbtf *btf, uint32_t type, Schedrig__V1__TypesResponse *response, struct err *err)
{
	char text[KBTF_TEXT_MAX];
	Schedrig__V1__KernelType *out = malloc(sizeof(*out));
	if (!out)
		return no_memory(err);
	schedrig__v1__kernel_type__init(out);
	response->types[response->n_types++] = out;
	char *name = strdup(kbtf_text(btf, type, 0, text, sizeof(text))), *target = NULL;
	if (!name)
		return no_memory(err);
	out->name = name;
	if (kbtf_size(btf, type, &out->size) < 0)
		out->size = 0;
	if (kbtf_kind(btf, type) == BTF_KIND_TYPEDEF) {
		target = strdup(kbtf_text(btf, kbtf_inner(btf, type), 0, text, sizeof(text)));
		if (!target)
			return no_memory(err);
		out->target = target;
	}
	return add_members(btf, type, 0, 0, out, err);
}

static int types_not_found(const struct kbtf *btf, const char *name, struct err *err)
{
	struct suggest near;
	char text[256];
	suggest_init(&near, name, strlen(name));
	for (uint32_t id = 1; id < kbtf_count(btf); id++) {
		unsigned kind = kbtf_kind(btf, id);
		if (kind == BTF_KIND_STRUCT || kind == BTF_KIND_UNION || kind == BTF_KIND_ENUM ||
			kind == BTF_KIND_TYPEDEF || kind == BTF_KIND_INT || kind == BTF_KIND_ENUM64)
			suggest_offer(&near, kbtf_name(btf, id), strlen(kbtf_name(btf, id)));
	}
	err_set(err, ERR_NOT_FOUND, "the kernel's BTF has no type '%.100s'%s", name,
		suggest_text(&near, text, sizeof(text)));
	return err_reason(err, "no-such-type");
}

int engine_types(struct engine *engine, const Schedrig__V1__TypesRequest *request,
	Schedrig__V1__TypesResponse **ret, struct err *err)
{
	static const struct {
		const char *word;
		unsigned kind;
	} kinds[] = {{"struct ", BTF_KIND_STRUCT}, {"union ", BTF_KIND_UNION}, {"enum ", BTF_KIND_ENUM},
		{"enum ", BTF_KIND_ENUM64}, {"", BTF_KIND_TYPEDEF}, {"", BTF_KIND_INT}, {"", BTF_KIND_FLOAT}};
	const char *name = request->name, *plain = name;
	if (!*name || strlen(name) > 200)
		return err_set(err, ERR_INVALID_ARGUMENT, "a type's name has 1 to 200 bytes");
	struct kmem *kmem = engine_kernel(engine, err);
	const struct kbtf *btf = kmem ? kmem_btf(kmem, err) : NULL;
	if (!btf)
		return err_errno(err->code);
	_cleanup_(pb_free_p) Schedrig__V1__TypesResponse *response = malloc(sizeof(*response));
	if (!response)
		return no_memory(err);
	schedrig__v1__types_response__init(response);
	response->types = calloc(TYPES_MAX, sizeof(Schedrig__V1__KernelType *));
	if (!response->types)
		return no_memory(err);
	const char *word = NULL;
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		if (!*kinds[k].word || strncmp(name, kinds[k].word, strlen(kinds[k].word)) != 0)
			continue;
		word = kinds[k].word;
		plain = name + strlen(word);
	}
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		if (word && strcmp(word, kinds[k].word) != 0)
			continue;
		uint32_t type = kbtf_find(btf, kinds[k].kind, plain);
		if (type && add_type(btf, type, response, err) < 0)
			return err_errno(err->code);
	}
	uint32_t variable;
	if (response->n_types == 0 && !word && kbtf_per_cpu(btf, name, &variable, NULL) == 0 &&
		add_type(btf, variable, response, err) < 0)
		return err_errno(err->code);
	if (response->n_types == 0)
		return types_not_found(btf, plain, err);
	*ret = TAKE_PTR(response);
	return 0;
}

/* ---- bases */

int engine_bases(struct engine *engine, const Schedrig__V1__BasesRequest *request, const struct freeze *held,
	Schedrig__V1__KernelBases **ret, struct err *err)
{
	const struct kernel_way way = {
		.cold = true, .held = held, .deadline_ns = clock_deadline_ns(FREEZE_TURN_NS)};
	Schedrig__V1__AgentReady *ready = engine->config.link ? link_agent_ready(engine->config.link) : NULL;
	uint64_t said = ready ? ready->kernel_text : 0, entry;
	pb_free(ready);
	struct kernel_turn turn;
	if (kernel_turn_begin(engine, &way, &turn, err) < 0)
		return err_errno(err->code);
	struct kmem_bases found;
	int r = freeze_read_msr(turn.freeze, 0, MSR_SYSCALL_ENTRY, &entry, err);
	if (r == 0)
		r = kmem_bases_find(turn.kmem, entry, said, &found, err);
	pb_free(kernel_turn_end(&turn));
	if (r < 0)
		return r;
	Schedrig__V1__KernelBases *bases = malloc(sizeof(*bases));
	if (!bases)
		return no_memory(err);
	schedrig__v1__kernel_bases__init(bases);
	bases->text = found.text;
	bases->slide = found.slide;
	bases->phys_base = found.phys_base;
	bases->page_offset = found.page_offset;
	bases->vmalloc = found.vmalloc;
	bases->vmemmap = found.vmemmap;
	bases->five_level = found.five_level;
	bases->told_by_guest = said != 0;
	*ret = bases;
	return 0;
}
