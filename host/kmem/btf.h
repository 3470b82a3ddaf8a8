/* SPDX-License-Identifier: GPL-2.0-only */
/* Types of a kernel image, read from its .BTF bytes in place (format: Documentation/bpf/btf.rst). Only what
 * finding members needs. libbpf's reader would copy the 5 MB; this one keeps 4 bytes per type. Immutable once
 * made: any thread. The bytes are hostile: every offset is checked at start, every chain has a limit. */
#ifndef HOST_KMEM_BTF_H
#define HOST_KMEM_BTF_H

#include "common/err.h"
#include "common/scope.h"

#include <linux/btf.h>
#include <stdbool.h>

struct kbtf;

/* bytes are borrowed and outlive the reader. ERR_KERNEL_LAYOUT names what is wrong with them. */
struct kbtf *kbtf_new(const uint8_t *bytes, uint64_t length, struct err *err) must_check;
/* Types that continue those of `base` (a module's after the kernel's), whose ids and strings they use: it is
 * borrowed, outlives them, and has no base itself. NULL: as kbtf_new(). */
struct kbtf *kbtf_new_split(
	const uint8_t *bytes, uint64_t length, const struct kbtf *base, struct err *err) must_check;
void kbtf_free(struct kbtf *btf);
SCOPE_GUARD(struct kbtf *, kbtf_free, kbtf_free)

/* Types have ids 1..kbtf_count() - 1; 0 is void. */
uint32_t kbtf_count(const struct kbtf *btf);
/* BTF_KIND_*; BTF_KIND_UNKN for void and ids that do not exist. */
unsigned kbtf_kind(const struct kbtf *btf, uint32_t type);
/* Never NULL; "" for the nameless. */
const char *kbtf_name(const struct kbtf *btf, uint32_t type);
/* First type of that kind and name (declarations left out), or 0. */
uint32_t kbtf_find(const struct kbtf *btf, unsigned kind, const char *name);
/* The same without those of its base. */
uint32_t kbtf_find_own(const struct kbtf *btf, unsigned kind, const char *name);
/* The type without modifiers, typedefs and tags; 0 for void and endless chains. */
uint32_t kbtf_resolve(const struct kbtf *btf, uint32_t type);
/* What a modifier, typedef or tag stands in front of; 0 for others and void. */
uint32_t kbtf_inner(const struct kbtf *btf, uint32_t type);
/* Size of a value of the type; -ERANGE for what has none (void, functions, declarations). */
int kbtf_size(const struct kbtf *btf, uint32_t type, uint64_t *ret_bytes) must_check;
/* Whether values of the type are signed integers. */
bool kbtf_is_signed(const struct kbtf *btf, uint32_t type);
/* The type that a pointer points to or an array consists of; 0 for others and void. ret_length, if not NULL:
 * elements of an array. */
uint32_t kbtf_target(const struct kbtf *btf, uint32_t type, uint32_t *ret_length);

/* Value of an enumerator of the enum of that name. ERR_NOT_FOUND: no such enum, or it has no such enumerator.
 */
int kbtf_enumerator(const struct kbtf *btf, const char *enum_name, const char *name, int64_t *ret_value,
	struct err *err) must_check;

/* Type of the per-CPU variable of that name. ERR_NOT_FOUND with the nearest names. */
int kbtf_per_cpu(const struct kbtf *btf, const char *name, uint32_t *ret_type, struct err *err) must_check;

/* A place in a value. */
struct kbtf_place {
	uint32_t type; /* as declared, not resolved */
	uint64_t offset_bytes;
	uint64_t size_bytes; /* 0: unknown (flexible array, incomplete type) */
	uint8_t bit_offset;  /* from offset_bytes, little-endian; only with bit_size */
	uint8_t bit_size;    /* 0: not a bit field */
};

/* One member of a struct or union, by name, through nameless ones; or one variable of a section of data
 * (BTF_KIND_DATASEC, as BPF's global data). `in` is advanced. ERR_NOT_FOUND reason
 * no-such-member with the nearest names; ERR_INVALID_ARGUMENT reason not-a-struct. */
int kbtf_member(const struct kbtf *btf, struct kbtf_place *in, const char *name, size_t name_length,
	struct err *err) must_check;
/* Member number i of a struct or union, in order of declaration. False: there is none. ret_name is borrowed,
 * "" for the nameless. */
bool kbtf_member_at(const struct kbtf *btf, uint32_t type, unsigned i, struct kbtf_place *ret_place,
	const char **ret_name);
/* One element of an array; ERR_INVALID_ARGUMENT reason index-out-of-range (not checked for length 0). */
int kbtf_element(const struct kbtf *btf, struct kbtf_place *in, uint64_t index, struct err *err) must_check;
/* A whole path: "a.b[3].c". "" is the value itself. */
int kbtf_path(const struct kbtf *btf, uint32_t type, const char *path, struct kbtf_place *ret_place,
	struct err *err) must_check;

#endif
