/* SPDX-License-Identifier: GPL-2.0-only */
/* What there is to know about one running kernel. Built by one thread, read by any. */
#include "host/kmem/kmem.h"

#include "common/cpuset.h"
#include "host/kmem/guest_btf.h"
#include "host/kmem/place.h"

#include <errno.h>
#include <string.h>

/* Kernel symbols this room reads, each with what it is missing from. */
#define FACT_LIST(X)                                                                                         \
	X(PAGE_OFFSET_BASE, "page_offset_base") /* absent without CONFIG_DYNAMIC_MEMORY_LAYOUT */            \
	X(L5_ENABLED, "__pgtable_l5_enabled")                                                                \
	X(ROOT, "init_top_pgt")                                                                              \
	X(PER_CPU_OFFSET, "__per_cpu_offset")                                                                \
	X(PER_CPU_START, "__per_cpu_start")                                                                  \
	X(PER_CPU_END, "__per_cpu_end")                                                                      \
	X(POSSIBLE, "__cpu_possible_mask")                                                                   \
	X(ONLINE, "__cpu_online_mask")

enum fact {
#define X(name, symbol) FACT_##name,
	FACT_LIST(X)
#undef X
		FACT_COUNT,
};

static const char *const fact_names[FACT_COUNT] = {
#define X(name, symbol) symbol,
	FACT_LIST(X)
#undef X
};

/* __PAGE_OFFSET_BASE_L4 and _L5, arch/x86/include/asm/page_64_types.h. */
#define PAGE_OFFSET_L4 UINT64_C(0xffff888000000000)
#define PAGE_OFFSET_L5 UINT64_C(0xff11000000000000)
#define KERNEL_HALF UINT64_C(0xff00000000000000)

#define BATCH_HOPS_DEFAULT (UINT64_C(256) << 20)

struct kmem {
	struct kimage image;
	struct symbols *symbols;
	struct kbtf *btf; /* NULL: see btf_err */
	struct err btf_err;
	const struct gmem *memory;
	struct memo *memo;             /* locks for itself */
	struct guest_btfs *guest_btfs; /* locks for itself */
	gva_t fact[FACT_COUNT];        /* 0: the kernel has no such symbol */
	uint64_t slide;
	unsigned n_cpus; /* CONFIG_NR_CPUS, as far as the symbols tell */
	uint64_t batch_hops;
};

/* Symbols, and the image and they at their running addresses. */
static int kernel_read(struct kmem *kmem, const struct kmem_config *config, struct err *err)
{
	struct kernel_place place;
	int rc = kimage_init(&kmem->image, config->elf, config->elf_bytes, err);

	if (rc < 0)
		return rc;
	kmem->symbols = config->guest_symbols ? symbols_new_from_guest(&kmem->image, config->guest_symbols,
							config->guest_symbols_bytes, err)
					      : symbols_new(&kmem->image, err);
	if (!kmem->symbols)
		return -EINVAL;
	if (!config->places_itself)
		return 0;
	rc = kernel_place_find(&kmem->image, kmem->symbols, config->memory, config->agent_text, &place, err);
	if (rc < 0)
		return rc;
	kmem->slide = place.slide;
	kimage_place(&kmem->image, place.slide, place.gpa_move);
	symbols_place(kmem->symbols, place.slide);
	return 0;
}

struct kmem *kmem_new(const struct kmem_config *config, struct err *err)
{
	_cleanup_(kmem_free_p) struct kmem *kmem = calloc(1, sizeof(*kmem));

	if (!kmem) {
		(void)err_set(err, ERR_HOST, "out of memory");
		return NULL;
	}
	kmem->memory = config->memory;
	kmem->batch_hops = BATCH_HOPS_DEFAULT;
	kmem->memo = memo_new();
	kmem->guest_btfs = guest_btfs_new();
	if (!kmem->memo || !kmem->guest_btfs) {
		(void)err_set(err, ERR_HOST, "out of memory");
		return NULL;
	}
	if (kernel_read(kmem, config, err) < 0)
		return NULL;
	kmem->btf = kbtf_new(kmem->image.btf.bytes, kmem->image.btf.length, &kmem->btf_err);
	for (unsigned i = 0; i < FACT_COUNT; i++)
		if (symbols_find(kmem->symbols, fact_names[i], &kmem->fact[i], NULL) < 0)
			kmem->fact[i] = GVA(0);
	/* One word per CPU; what follows it in memory is another variable's. */
	struct symbol_at offsets;
	if (symbols_at(kmem->symbols, kmem->fact[FACT_PER_CPU_OFFSET], &offsets) && offsets.offset == 0)
		kmem->n_cpus = (unsigned)MIN_OF(offsets.size_bytes / 8, CPUSET_MAX);
	return TAKE_PTR(kmem);
}

void kmem_free(struct kmem *kmem)
{
	if (!kmem)
		return;
	guest_btfs_free(kmem->guest_btfs);
	kbtf_free(kmem->btf);
	symbols_free(kmem->symbols);
	memo_free(kmem->memo);
	free(kmem);
}

const struct kimage *kmem_image(const struct kmem *kmem)
{
	return &kmem->image;
}

const struct symbols *kmem_symbols(const struct kmem *kmem)
{
	return kmem->symbols;
}

const struct gmem *kmem_memory(const struct kmem *kmem)
{
	return kmem->memory;
}

uint64_t kmem_batch_hops(const struct kmem *kmem)
{
	return kmem->batch_hops;
}

void kmem_set_batch_hops(struct kmem *kmem, uint64_t hops)
{
	kmem->batch_hops = hops;
}

int kmem_spend_hops(const struct kmem *kmem, uint64_t *spent, uint64_t hops, struct err *err)
{
	/* Each place's own limits keep the sum far from its end. */
	*spent += hops;
	if (*spent <= kmem->batch_hops)
		return 0;
	return err_set(err, ERR_LIMIT_EXCEEDED,
		"finding the places of this batch has passed %llu elements of tables and BPF maps and is not "
		"at "
		"its end: ask for fewer at a time",
		(unsigned long long)*spent);
}

uint64_t kmem_slide(const struct kmem *kmem)
{
	return kmem->slide;
}

int kmem_check_text(const struct kmem *kmem, uint64_t agent_text, struct err *err)
{
	gva_t text;
	int rc = kmem_symbol(kmem, "_text", &text, err);

	if (rc < 0 || text.v == agent_text)
		return rc;
	(void)err_set(err, ERR_KERNEL_LAYOUT,
		"by its symbols the kernel is at 0x%llx, and the guest says 0x%llx",
		(unsigned long long)text.v, (unsigned long long)agent_text);
	(void)err_reason(err, "bases-disagree");
	return -ENOTSUP;
}

struct memo *kmem_memo(const struct kmem *kmem)
{
	return kmem->memo;
}

struct guest_btfs *kmem_guest_btfs(const struct kmem *kmem)
{
	return kmem->guest_btfs;
}

int kmem_symbol(const struct kmem *kmem, const char *name, gva_t *ret_address, struct err *err)
{
	size_t length = strlen(name);
	int rc;

	if (memo_get(kmem->memo, KMEM_MEMO_SYMBOL, name, length, ret_address, sizeof(*ret_address)))
		return 0;
	rc = symbols_find(kmem->symbols, name, ret_address, err);
	if (rc == 0)
		memo_put(kmem->memo, KMEM_MEMO_SYMBOL, name, length, ret_address, sizeof(*ret_address));
	return rc;
}

const struct kbtf *kmem_btf(const struct kmem *kmem, struct err *err)
{
	if (!kmem->btf && err)
		*err = kmem->btf_err;
	return kmem->btf;
}

/* Reads an image variable by its address: those are mapped for as long as the kernel runs. */
static int image_read(const struct kmem *kmem, gva_t at, void *bytes, uint64_t length, struct err *err)
{
	uint64_t left;
	gpa_t gpa;

	if (!kimage_gpa(&kmem->image, at, &gpa, &left) || left < length ||
		gmem_read(kmem->memory, gpa, bytes, length) < 0)
		return err_set(err, ERR_UNMAPPED, "0x%llx lies in the kernel's image but not in guest memory",
			(unsigned long long)at.v);
	return 0;
}

static int fact_read(const struct kmem *kmem, enum fact fact, uint64_t offset, void *bytes, uint64_t length,
	struct err *err)
{
	if (kmem->fact[fact].v == 0)
		return err_set(err, ERR_KERNEL_LAYOUT, "the kernel has no symbol '%s'", fact_names[fact]);
	return image_read(kmem, GVA(kmem->fact[fact].v + offset), bytes, length, err);
}

int kmem_check(const struct kmem *kmem, struct err *err)
{
	static const uint8_t nothing[KIMAGE_BUILD_ID_MAX];
	uint8_t id[KIMAGE_BUILD_ID_MAX];
	unsigned n = kmem->image.build_id_length;
	int rc;

	if (n == 0)
		return 0;
	rc = image_read(kmem, kmem->image.build_note.vaddr, id, n, err);
	if (rc < 0)
		return rc;
	if (memcmp(id, kmem->image.build_id, n) == 0)
		return 0;
	if (memcmp(id, nothing, n) == 0)
		return err_set(err, ERR_FAILED_PRECONDITION, "the kernel is not in guest memory yet");
	return err_set(err, ERR_FAILED_PRECONDITION,
		"the kernel in guest memory has another build id than the image: symbols would be wrong");
}

bool kmem_is_per_cpu(const struct kmem *kmem, gva_t at)
{
	return at.v >= kmem->fact[FACT_PER_CPU_START].v && at.v < kmem->fact[FACT_PER_CPU_END].v;
}

static int mask_bit(const struct kmem *kmem, enum fact mask, unsigned cpu, bool *ret_set, struct err *err)
{
	uint64_t word;
	int rc = fact_read(kmem, mask, cpu / 64 * 8, &word, sizeof(word), err);

	if (rc == 0)
		*ret_set = word >> cpu % 64 & 1;
	return rc;
}

int kmem_per_cpu_any(
	const struct kmem *kmem, gva_t variable, unsigned cpu, gva_t *ret_address, struct err *err)
{
	uint64_t offset;
	bool possible = false;
	int rc;

	if (cpu >= kmem->n_cpus)
		return err_set(err, ERR_NOT_FOUND, "CPU %u is not possible: the kernel was built for %u", cpu,
			kmem->n_cpus);
	rc = mask_bit(kmem, FACT_POSSIBLE, cpu, &possible, err);
	if (rc < 0)
		return rc;
	rc = fact_read(kmem, FACT_PER_CPU_OFFSET, (uint64_t)cpu * 8, &offset, sizeof(offset), err);
	if (rc < 0)
		return rc;
	/* Zero until setup_per_cpu_areas(), and the start of the template before 6.15. */
	if (offset == 0 || offset == kmem->fact[FACT_PER_CPU_START].v) {
		if (possible) {
			rc = err_set(err, ERR_FAILED_PRECONDITION,
				"the kernel has not set up its per-CPU variables yet");
			(void)err_reason(err, "per-cpu-not-ready");
			return rc;
		}
		return err_set(err, ERR_NOT_FOUND, "CPU %u is not possible on this machine", cpu);
	}
	if (!possible)
		return err_set(err, ERR_NOT_FOUND, "CPU %u is not possible on this machine", cpu);
	*ret_address = GVA(variable.v + offset);
	return 0;
}

int kmem_per_cpu(const struct kmem *kmem, gva_t variable, unsigned cpu, gva_t *ret_address, struct err *err)
{
	gva_t address;
	bool online = false;
	int rc = kmem_per_cpu_any(kmem, variable, cpu, &address, err);

	if (rc == 0)
		rc = mask_bit(kmem, FACT_ONLINE, cpu, &online, err);
	if (rc < 0)
		return rc;
	if (!online) {
		rc = err_set(err, ERR_FAILED_PRECONDITION, "CPU %u is offline", cpu);
		(void)err_reason(err, "cpu-offline");
		return rc;
	}
	*ret_address = address;
	return 0;
}

int kmem_online(const struct kmem *kmem, struct cpuset *ret_cpus, struct err *err)
{
	unsigned n = MIN_OF(kmem->n_cpus, CPUSET_MAX);
	struct cpuset cpus = CPUSET_EMPTY;

	for (unsigned first = 0; first < n; first += 64) {
		uint64_t word;
		int rc = fact_read(kmem, FACT_ONLINE, first / 8, &word, sizeof(word), err);
		if (rc < 0)
			return rc;
		for (unsigned bit = 0; bit < 64 && word >> bit && first + bit < n; bit++)
			if (word >> bit & 1)
				cpuset_add(&cpus, first + bit);
	}
	*ret_cpus = cpus;
	return 0;
}

static int five_level_read(const struct kmem *kmem, bool *ret_five_level, struct err *err)
{
	uint32_t enabled = 0;
	int rc = 0;

	if (kmem->fact[FACT_L5_ENABLED].v != 0)
		rc = fact_read(kmem, FACT_L5_ENABLED, 0, &enabled, sizeof(enabled), err);
	*ret_five_level = enabled != 0;
	return rc;
}

int kmem_page_offset(const struct kmem *kmem, gva_t *ret_start, struct err *err)
{
	bool five_level;
	uint64_t base;
	int rc;

	if (kmem->fact[FACT_PAGE_OFFSET_BASE].v == 0) {
		rc = five_level_read(kmem, &five_level, err);
		base = five_level ? PAGE_OFFSET_L5 : PAGE_OFFSET_L4;
	} else {
		rc = fact_read(kmem, FACT_PAGE_OFFSET_BASE, 0, &base, sizeof(base), err);
	}
	if (rc < 0)
		return rc;
	if (base < KERNEL_HALF || base & 0xfff)
		return err_set(err, ERR_UNMAPPED, "the kernel says that its direct map starts at 0x%llx",
			(unsigned long long)base);
	*ret_start = GVA(base);
	return 0;
}

int kmem_root(const struct kmem *kmem, gpa_t *ret_root, bool *ret_five_level, struct err *err)
{
	uint64_t left;

	if (kmem->fact[FACT_ROOT].v == 0 || !kimage_gpa(&kmem->image, kmem->fact[FACT_ROOT], ret_root, &left))
		return err_set(
			err, ERR_KERNEL_LAYOUT, "the kernel has no symbol '%s'", fact_names[FACT_ROOT]);
	return five_level_read(kmem, ret_five_level, err);
}
