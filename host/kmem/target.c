/* SPDX-License-Identifier: GPL-2.0-only */
/* Targets to addresses. No state, any thread. */
#include "host/kmem/target.h"
#include "host/kmem/module.h"
#include "host/kmem/path.h"
#include "host/kmem/task.h"

#include <errno.h>
#include <string.h>

/* Globals whose type kernel BTF does not tell (it has per-CPU variables only) and that have had it for as
 * long as sched_ext exists: kernel/time/timer.c, kernel/sched/ext.c, kernel/cpu.c, arch/x86/kernel/head64.c,
 * kernel/sched/core.c. */
#define KNOWN_LIST(X)                                                                                        \
	X("jiffies_64", 8, "u64")                                                                            \
	X("jiffies", 8, "long unsigned int")                                                                 \
	X("scx_root", 8, "struct scx_sched *")                                                               \
	X("init_task", 0, "struct task_struct")                                                              \
	X("nr_cpu_ids", 4, "unsigned int")                                                                   \
	X("page_offset_base", 8, "long unsigned int")                                                        \
	X("vmalloc_base", 8, "long unsigned int")                                                            \
	X("vmemmap_base", 8, "long unsigned int")                                                            \
	X("phys_base", 8, "long unsigned int")                                                               \
	X("total_forks", 8, "long unsigned int")                                                             \
	X("sysctl_sched_base_slice", 4, "unsigned int")                                                      \
	X("panic_timeout", 4, "int")                                                                         \
	X("__pgtable_l5_enabled", 4, "unsigned int")

static const struct {
	const char *symbol;
	uint64_t size_bytes;
	const char *type;
} known[] = {
#define X(name, bytes, type) {name, bytes, type},
	KNOWN_LIST(X)
#undef X
};

const char *kmem_known_type(const char *symbol)
{
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i].symbol, symbol) == 0)
			return known[i].type;
	return NULL;
}

uint64_t kmem_known_size(const char *symbol)
{
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i].symbol, symbol) == 0)
			return known[i].size_bytes;
	return 0;
}

static int symbol_resolve(
	const struct kmem *kmem, const struct kmem_target *target, struct kmem_resolved *r, struct err *err)
{
	int rc = kmem_any_symbol(kmem, target->name, &r->address, err);

	if (rc < 0)
		return rc;
	if (kmem_is_per_cpu(kmem, r->address)) {
		rc = err_set(err, ERR_INVALID_ARGUMENT,
			"'%s' is a per-CPU variable: say which CPU's (%s@0, or a per-CPU field target)",
			target->name, target->name);
		(void)err_reason(err, "per-cpu");
		return rc;
	}
	uint64_t size = kmem_known_size(target->name);
	if (target->offset >= 0 && (uint64_t)target->offset < size)
		r->size_bytes = size - (uint64_t)target->offset;
	r->address.v += (uint64_t)target->offset;
	r->way = KMEM_WAY_ANY;
	return 0;
}

/* What an image says about a member of a per-CPU variable. */
struct field {
	gva_t variable;
	struct kbtf_place place;
};

static int field_find(
	const struct kmem *kmem, const struct kmem_target *target, struct field *ret_field, struct err *err)
{
	const struct kbtf *btf = kmem_btf(kmem, err);
	const char *path = target->field ? target->field : "";
	char key[MEMO_KEY_MAX];
	int length = snprintf(key, sizeof(key), "%s@%s", target->name, path);
	bool memo = length > 0 && (size_t)length < sizeof(key);
	struct field field = {0};
	uint32_t type;
	int rc;

	if (memo && memo_get(kmem_memo(kmem), KMEM_MEMO_FIELD, key, (size_t)length, ret_field, sizeof(field)))
		return 0;
	if (!btf)
		return -ENOTSUP;
	rc = kmem_symbol(kmem, target->name, &field.variable, err);
	if (rc < 0)
		return rc;
	if (!kmem_is_per_cpu(kmem, field.variable))
		return err_set(err, ERR_INVALID_ARGUMENT, "'%s' is not a per-CPU variable", target->name);
	rc = kbtf_per_cpu(btf, target->name, &type, err);
	if (rc == 0)
		rc = kbtf_path(btf, type, path, &field.place, err);
	if (rc < 0)
		return rc;
	if (memo)
		memo_put(kmem_memo(kmem), KMEM_MEMO_FIELD, key, (size_t)length, &field, sizeof(field));
	*ret_field = field;
	return 0;
}

static int per_cpu_resolve(
	const struct kmem *kmem, const struct kmem_target *target, struct kmem_resolved *r, struct err *err)
{
	struct field field;
	int rc = field_find(kmem, target, &field, err);

	if (rc == 0)
		rc = kmem_per_cpu(kmem, field.variable, target->cpu, &r->address, err);
	if (rc < 0)
		return rc;
	r->address.v += field.place.offset_bytes;
	r->type = field.place.type;
	r->btf = kmem_btf(kmem, NULL);
	r->size_bytes = field.place.size_bytes;
	r->bit_offset = field.place.bit_offset;
	r->bit_size = field.place.bit_size;
	r->way = KMEM_WAY_ANY;
	return 0;
}

static int task_resolve(
	const struct kmem *kmem, const struct kmem_target *target, struct kmem_resolved *r, struct err *err)
{
	const char *field = target->field ? target->field : "";
	struct kbtf_place place;
	int rc = kmem_task_find(kmem, &target->task, &r->task, err);

	if (rc == 0)
		rc = kmem_struct_member(kmem, "task_struct", field, &place, err);
	if (rc < 0)
		return rc;
	r->address = GVA(r->task.v + place.offset_bytes);
	r->type = place.type;
	r->btf = kmem_btf(kmem, NULL);
	r->size_bytes = place.size_bytes;
	r->bit_offset = place.bit_offset;
	r->bit_size = place.bit_size;
	r->identified = kmem_task_is_identified(&target->task);
	return 0;
}

int kmem_target_resolve(const struct kmem *kmem, const struct kmem_target *target,
	struct kmem_resolved *ret_resolved, struct err *err)
{
	return kmem_target_route(kmem, target, ret_resolved, NULL, err);
}

int kmem_target_route(const struct kmem *kmem, const struct kmem_target *target,
	struct kmem_resolved *ret_resolved, struct kmem_route *ret_route, struct err *err)
{
	struct kmem_resolved r = {.address = GVA(target->address), .way = KMEM_WAY_ANY};
	int rc = 0;

	switch (target->form) {
	case KMEM_SYMBOL:
		rc = symbol_resolve(kmem, target, &r, err);
		break;
	case KMEM_DIRECT:
		r.way = KMEM_WAY_DIRECT;
		break;
	case KMEM_KVA:
		r.way = KMEM_WAY_WALK;
		break;
	case KMEM_PHYS:
		r.way = KMEM_WAY_PHYS;
		break;
	case KMEM_PER_CPU_FIELD:
		rc = per_cpu_resolve(kmem, target, &r, err);
		break;
	case KMEM_TASK_FIELD:
		rc = task_resolve(kmem, target, &r, err);
		break;
	case KMEM_PATH:
		return kmem_path_route(kmem, target->field ? target->field : "",
			target->every_cpu ? (int)target->cpu : -1, ret_resolved, ret_route, err);
	default:
		return err_set(
			err, ERR_INVALID_ARGUMENT, "target has the unknown form %d", (int)target->form);
	}
	if (rc < 0)
		return rc;
	*ret_resolved = r;
	if (ret_route)
		*ret_route = (struct kmem_route){
			.fixed = target->form != KMEM_TASK_FIELD,
			.start = r.address,
			.cpu = target->form == KMEM_PER_CPU_FIELD ? (int)target->cpu : -1,
		};
	return 0;
}

void kmem_copy_host(void *ret_bytes, const uint8_t *host, uint64_t length)
{
	uint8_t *to = ret_bytes;

	/* A racing guest does not tear what is read whole. */
	if (length <= 8 && (length & (length - 1)) == 0 && ((uintptr_t)host & (length - 1)) == 0) {
		switch (length) {
		case 1:
			*to = __atomic_load_n(host, __ATOMIC_RELAXED);
			return;
		case 2:
			memcpy(to, &(uint16_t){__atomic_load_n((const uint16_t *)host, __ATOMIC_RELAXED)}, 2);
			return;
		case 4:
			memcpy(to, &(uint32_t){__atomic_load_n((const uint32_t *)host, __ATOMIC_RELAXED)}, 4);
			return;
		default:
			memcpy(to, &(uint64_t){__atomic_load_n((const uint64_t *)host, __ATOMIC_RELAXED)}, 8);
			return;
		}
	}
	memcpy(to, host, length);
}

int kmem_copy_by(
	const struct kmem *kmem, enum kmem_way way, gva_t at, void *bytes, uint64_t length, struct err *err)
{
	struct kmem_range_iter iter = {kmem, way, at, length};
	struct kmem_span span;
	uint8_t *to = bytes;
	int rc;

	while ((rc = kmem_range_next(&iter, &span, err)) > 0) {
		kmem_copy_host(to, span.host, span.length);
		to += span.length;
	}
	return rc;
}

int kmem_copy(const struct kmem *kmem, gva_t at, void *bytes, uint64_t length, struct err *err)
{
	return kmem_copy_by(kmem, KMEM_WAY_ANY, at, bytes, length, err);
}
