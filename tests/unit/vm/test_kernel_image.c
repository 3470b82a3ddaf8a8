/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel files: every packing, every refusal, and the cache. */
#include "common/fd.h"
#include "host/vm/boot_bzimage.h"
#include "host/vm/boot_packed.h"
#include "host/vm/kernel_image.h"

#include <bzlib.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <zlib.h>
#include <zstd.h>

#define VMLINUX_BYTES 100000u
#define SETUP_BYTES 1024u /* one setup sector and the boot sector */

#define MIB (UINT64_C(1) << 20)
#define LOAD_AT (4 * MIB)
#define INIT_BYTES (3 * MIB)

static char dir[64];

static void set_up(void)
{
	strcpy(dir, "/tmp/schedrig-test-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	char cache[128];
	snprintf(cache, sizeof(cache), "%s/cache", dir);
	setenv("SCHEDRIG_CACHE", cache, 1);
}

static void remove_tree(const char *path)
{
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		char child[512];
		snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (e->d_type == DT_DIR)
			remove_tree(child);
		else
			unlink(child);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

static void tear_down(void)
{
	remove_tree(dir);
}

TestSuite(kernel_image, .init = set_up, .fini = tear_down);

static const char *path_of(const char *name)
{
	static char path[128];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static const char *write_file(const char *name, const void *bytes, size_t n)
{
	const char *path = path_of(name);
	_cleanup_fclose_ FILE *f = fopen(path, "w");
	cr_assert_eq(fwrite(bytes, 1, n, f), n);
	return path;
}

static void make_vmlinux(uint8_t *out)
{
	memset(out, 0, VMLINUX_BYTES);
	Elf64_Ehdr eh = {.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_phoff = sizeof(eh),
		.e_phnum = 1,
		.e_phentsize = sizeof(Elf64_Phdr)};
	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	Elf64_Phdr ph = {.p_type = PT_LOAD,
		.p_vaddr = 0xffffffff81000000,
		.p_paddr = 0x1000000,
		.p_filesz = 4096,
		.p_memsz = 4096};
	memcpy(out, &eh, sizeof(eh));
	memcpy(out + sizeof(eh), &ph, sizeof(ph));
	for (unsigned i = 4096; i < VMLINUX_BYTES; i++)
		out[i] = (uint8_t)(i * i >> 7);
	strcpy((char *)out + 5000, "Linux version %s ...");
	strcpy((char *)out + 6000, "Linux version 6.99.1-test (me) #1");
}

/* A bzImage around `payload`, with the size that the build appends. */
static size_t make_bzimage(uint8_t *out, const uint8_t *payload, size_t n, uint32_t unpacked)
{
	memset(out, 0, SETUP_BYTES);
	out[0x1f1] = 1;
	out[0x1fe] = 0x55;
	out[0x1ff] = 0xaa;
	memcpy(out + 0x202, "HdrS", 4);
	out[0x206] = 0x0f;
	out[0x207] = 0x02;
	uint16_t version = 0x100;
	memcpy(out + 0x20e, &version, 2);
	strcpy((char *)out + 0x300, "6.99.1-test (me) #1");
	out[0x211] = 1;
	out[0x236] = 1;
	uint32_t offset = 0, length = (uint32_t)n + 4;
	memcpy(out + 0x248, &offset, 4);
	memcpy(out + 0x24c, &length, 4);
	out[0x201] = 0x66; /* the header ends at 0x268 */
	uint64_t load = LOAD_AT;
	uint32_t init = INIT_BYTES;
	memcpy(out + 0x258, &load, 8);
	memcpy(out + 0x260, &init, 4);
	memcpy(out + SETUP_BYTES, payload, n);
	memcpy(out + SETUP_BYTES + n, &unpacked, 4);
	return SETUP_BYTES + n + 4;
}

static size_t pack(const char *how, const uint8_t *in, size_t n, uint8_t *out, size_t room)
{
	if (strcmp(how, "zstd") == 0)
		return ZSTD_compress(out, room, in, n, 3);
	if (strcmp(how, "none") == 0) {
		memcpy(out, in, n);
		return n;
	}
	if (strcmp(how, "gzip") == 0) {
		z_stream s = {.next_in = (uint8_t *)in,
			.avail_in = (uInt)n,
			.next_out = out,
			.avail_out = (uInt)room};
		cr_assert_eq(deflateInit2(&s, 6, Z_DEFLATED, 31, 8, 0), Z_OK);
		cr_assert_eq(deflate(&s, Z_FINISH), Z_STREAM_END);
		size_t used = room - s.avail_out;
		deflateEnd(&s);
		return used;
	}
	if (strcmp(how, "bzip2") == 0) {
		unsigned used = (unsigned)room;
		cr_assert_eq(BZ2_bzBuffToBuffCompress((char *)out, &used, (char *)in, (unsigned)n, 9, 0, 0),
			BZ_OK);
		return used;
	}
	if (strcmp(how, "lz4") == 0) {
		int used = LZ4_compress_default((const char *)in, (char *)out + 8, (int)n, (int)room - 8);
		cr_assert_gt(used, 0);
		memcpy(out, "\x02\x21\x4c\x18", 4);
		memcpy(out + 4, &used, 4);
		return (size_t)used + 8;
	}
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_options_lzma opt;
	lzma_lzma_preset(&opt, 6);
	if (strcmp(how, "xz") == 0)
		cr_assert_eq(lzma_easy_encoder(&s, 6, LZMA_CHECK_CRC32), LZMA_OK);
	else
		cr_assert_eq(lzma_alone_encoder(&s, &opt), LZMA_OK);
	s.next_in = in;
	s.avail_in = n;
	s.next_out = out;
	s.avail_out = room;
	cr_assert_eq(lzma_code(&s, LZMA_FINISH), LZMA_STREAM_END);
	size_t used = room - s.avail_out;
	lzma_end(&s);
	return used;
}

static uint8_t vmlinux[VMLINUX_BYTES], packed[2 * VMLINUX_BYTES], image[3 * VMLINUX_BYTES];

Test(kernel_image, every_packing_is_unpacked)
{
	static const char *const packings[] = {"zstd", "xz", "lzma", "gzip", "lz4", "bzip2", "none"};
	make_vmlinux(vmlinux);
	for (size_t i = 0; i < ARRAY_SIZE(packings); i++) {
		size_t n = pack(packings[i], vmlinux, VMLINUX_BYTES, packed, sizeof(packed));
		size_t total = make_bzimage(image, packed, n, VMLINUX_BYTES);
		const char *path = write_file(packings[i], image, total);
		_cleanup_(kernel_image_free_p) struct kernel_image *k = NULL;
		struct err err = ERR_INIT;
		cr_assert_eq(kernel_image_load(path, &k, &err), 0, "%s: %s", packings[i], err.message);
		cr_assert_not(k->cached);
		cr_assert_eq(k->elf_bytes, VMLINUX_BYTES);
		cr_assert_eq(memcmp(k->elf, vmlinux, VMLINUX_BYTES), 0, "%s", packings[i]);
		char release[64];
		cr_assert_eq(kernel_image_release(k, release, sizeof(release)), 0);
		cr_assert_str_eq(release, "6.99.1-test");
	}
}

Test(kernel_image, the_second_load_comes_from_the_cache)
{
	make_vmlinux(vmlinux);
	size_t n = pack("zstd", vmlinux, VMLINUX_BYTES, packed, sizeof(packed));
	const char *path = write_file("bzImage", image, make_bzimage(image, packed, n, VMLINUX_BYTES));
	struct kernel_image *k;
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(kernel_image_load(path, &k, NULL), 0);
		cr_assert_eq(k->cached, i > 0);
		cr_assert_eq(memcmp(k->elf, vmlinux, VMLINUX_BYTES), 0);
		kernel_image_free(k);
	}
	/* Another content under the same name is another kernel, however quickly it comes. */
	vmlinux[VMLINUX_BYTES - 1] ^= 1;
	n = pack("zstd", vmlinux, VMLINUX_BYTES, packed, sizeof(packed));
	write_file("bzImage", image, make_bzimage(image, packed, n, VMLINUX_BYTES));
	cr_assert_eq(kernel_image_load(path, &k, NULL), 0);
	cr_assert_not(k->cached);
	cr_assert_eq(k->elf[VMLINUX_BYTES - 1], vmlinux[VMLINUX_BYTES - 1]);
	kernel_image_free(k);
}

Test(kernel_image, a_damaged_cache_entry_is_made_anew)
{
	make_vmlinux(vmlinux);
	const char *path = write_file("vmlinux", vmlinux, VMLINUX_BYTES);
	struct kernel_image *k;
	cr_assert_eq(kernel_image_load(path, &k, NULL), 0);
	char entry[192];
	snprintf(entry, sizeof(entry), "%s/cache/vmlinux/%s", dir, k->content);
	kernel_image_free(k);
	cr_assert_eq(truncate(entry, 10), 0);
	cr_assert_eq(kernel_image_load(path, &k, NULL), 0);
	cr_assert_not(k->cached);
	cr_assert_eq(k->elf_bytes, VMLINUX_BYTES);
	kernel_image_free(k);
}

Test(kernel_image, loads_without_any_cache)
{
	make_vmlinux(vmlinux);
	const char *path = write_file("vmlinux", vmlinux, VMLINUX_BYTES);
	setenv("SCHEDRIG_CACHE", "/proc/nowhere", 1);
	for (int i = 0; i < 2; i++) {
		struct kernel_image *k;
		cr_assert_eq(kernel_image_load(path, &k, NULL), 0);
		cr_assert_not(k->cached);
		cr_assert_eq(memcmp(k->elf, vmlinux, VMLINUX_BYTES), 0);
		char release[64];
		cr_assert_eq(kernel_image_release(k, release, sizeof(release)), 0);
		cr_assert_str_eq(release, "6.99.1-test");
		kernel_image_free(k);
	}
}

static void refuses(const void *bytes, size_t n, enum err_code code, const char *words)
{
	struct kernel_image *k = NULL;
	struct err err = ERR_INIT;
	const char *path = write_file("file", bytes, n);
	cr_assert_lt(kernel_image_load(path, &k, &err), 0, "taken, not refused as '%s'", words);
	cr_assert_eq(err.code, code, "%s", err.message);
	cr_assert_not_null(strstr(err.message, words), "'%s' is not in: %s", words, err.message);
	cr_assert_not_null(strstr(err.message, path), "%s", err.message);
}

Test(kernel_image, what_is_no_kernel_is_refused_by_name)
{
	struct kernel_image *k;
	struct err err = ERR_INIT;
	cr_assert_lt(kernel_image_load(path_of("nothing"), &k, &err), 0);
	cr_assert_eq(err.code, ERR_NOT_FOUND);
	cr_assert_lt(kernel_image_load(dir, &k, &err), 0);
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	refuses("", 0, ERR_INVALID_ARGUMENT, "empty");
	refuses("kernel: 6.18\n", 13, ERR_INVALID_ARGUMENT, "text file");
	refuses("\x01\x02\x03\x04\x05", 5, ERR_INVALID_ARGUMENT, "neither a bzImage nor an ELF");
	refuses("\x7f"
		"ELF",
		4, ERR_INVALID_ARGUMENT, "neither");

	make_vmlinux(vmlinux);
	Elf64_Ehdr *eh = (Elf64_Ehdr *)vmlinux;
	eh->e_machine = EM_AARCH64;
	refuses(vmlinux, VMLINUX_BYTES, ERR_INVALID_ARGUMENT, "another machine");
	make_vmlinux(vmlinux);
	eh->e_type = ET_REL;
	refuses(vmlinux, VMLINUX_BYTES, ERR_INVALID_ARGUMENT, "object");
	make_vmlinux(vmlinux);
	((Elf64_Phdr *)(eh + 1))->p_vaddr = 0x400000;
	refuses(vmlinux, VMLINUX_BYTES, ERR_INVALID_ARGUMENT, "program, not a kernel");
}

Test(kernel_image, damaged_bzimages_are_refused)
{
	make_vmlinux(vmlinux);
	size_t n = pack("zstd", vmlinux, VMLINUX_BYTES, packed, sizeof(packed));
	size_t total = make_bzimage(image, packed, n, VMLINUX_BYTES);
	refuses(image, total - 10, ERR_INVALID_ARGUMENT, "cut short");
	refuses(image, SETUP_BYTES, ERR_INVALID_ARGUMENT, "cut short");
	image[0x236] = 0;
	refuses(image, total, ERR_INVALID_ARGUMENT, "32-bit");
	make_bzimage(image, packed, n, VMLINUX_BYTES + 1);
	refuses(image, total, ERR_INVALID_ARGUMENT, "size");
	make_bzimage(image, packed, n, VMLINUX_BYTES - 1);
	refuses(image, total, ERR_INVALID_ARGUMENT, "cannot unpack");
	make_bzimage(image, packed, n, UINT32_MAX);
	refuses(image, total, ERR_INVALID_ARGUMENT, "unpacks to");
	make_bzimage(image, (const uint8_t *)"\x89LZO\0\r\n\x1a\n.......", 16, VMLINUX_BYTES);
	refuses(image, SETUP_BYTES + 20, ERR_UNSUPPORTED, "lzo");
	make_bzimage(image, (const uint8_t *)"................", 16, VMLINUX_BYTES);
	refuses(image, SETUP_BYTES + 20, ERR_UNSUPPORTED, "unknown way");
	memset(vmlinux, 'x', VMLINUX_BYTES);
	n = pack("zstd", vmlinux, VMLINUX_BYTES, packed, sizeof(packed));
	refuses(image, make_bzimage(image, packed, n, VMLINUX_BYTES), ERR_INVALID_ARGUMENT,
		"not an ELF vmlinux");
}

/* Random damage anywhere never does more than fail. */
Test(kernel_image, bit_flips_do_no_harm)
{
	static const char *const packings[] = {"zstd", "xz", "lzma", "gzip", "lz4", "bzip2"};
	static uint8_t out[VMLINUX_BYTES];
	make_vmlinux(vmlinux);
	unsigned seed = 1;
	for (size_t i = 0; i < ARRAY_SIZE(packings); i++) {
		size_t n = pack(packings[i], vmlinux, VMLINUX_BYTES, packed, sizeof(packed));
		for (int round = 0; round < 200; round++) {
			size_t at = (size_t)rand_r(&seed) % n;
			uint8_t bit = (uint8_t)(1 << rand_r(&seed) % 8);
			packed[at] ^= bit;
			struct err err = ERR_INIT;
			if (bzimage_unpack(packed, n, out, sizeof(out), &err) < 0)
				cr_assert_neq(err.code, ERR_NONE);
			packed[at] ^= bit;
		}
	}
}

/* ---- booted as it is */

static size_t make_packed(void)
{
	make_vmlinux(vmlinux);
	size_t n = pack("zstd", vmlinux, VMLINUX_BYTES, packed, sizeof(packed));
	return make_bzimage(image, packed, n, VMLINUX_BYTES);
}

/* Loads the file as a kernel, lets `change` have it, then loads it into memory of that size. */
static int load_packed(size_t total, uint64_t memory_bytes, void (*change)(const char *path),
	struct packed_loaded *ret, uint8_t *ret_first, struct err *err)
{
	const char *path = write_file("vmlinuz", image, total);
	_cleanup_(kernel_image_free_p) struct kernel_image *k = NULL;
	_cleanup_(gmem_free_p) struct gmem *memory = gmem_new(&memory_bytes, 1, NULL);
	cr_assert_not_null(memory);
	cr_assert_eq(kernel_image_load(path, &k, err), 0, "%s", err->message);
	cr_assert_geq(k->packed_fd, 0);
	if (change)
		change(path);
	int r = packed_load(k, memory, ret, err);
	if (r == 0) {
		const uint8_t *at = gmem_ptr(memory, ret->start, total - SETUP_BYTES);
		cr_assert_not_null(at);
		cr_assert_eq(memcmp(at, image + SETUP_BYTES, total - SETUP_BYTES), 0);
		*ret_first = at[0];
	}
	return r;
}

Test(kernel_image, a_bzimage_is_loaded_as_it_is)
{
	struct packed_loaded loaded;
	struct err err = ERR_INIT;
	uint8_t first;
	size_t total = make_packed();
	for (unsigned round = 0; round < 2; round++) { /* the second one comes from the cache */
		cr_assert_eq(load_packed(total, 16 * MIB, NULL, &loaded, &first, &err), 0, "%s", err.message);
		cr_assert_eq(loaded.start.v, LOAD_AT);
		cr_assert_eq(loaded.entry.v, LOAD_AT + 0x200);
		cr_assert_eq(loaded.end.v, LOAD_AT + INIT_BYTES);
		cr_assert_eq(loaded.header_bytes, 0x268 - 0x1f1);
		cr_assert_eq(memcmp(loaded.header, image + 0x1f1, loaded.header_bytes), 0);
	}
	/* What needs more than it says it does gets it. */
	memset(image + 0x260, 0, 4);
	cr_assert_eq(load_packed(total, 16 * MIB, NULL, &loaded, &first, &err), 0, "%s", err.message);
	cr_assert_eq(loaded.end.v, LOAD_AT + total - SETUP_BYTES);
}

static void put64(size_t at, uint64_t value, size_t bytes)
{
	memcpy(image + at, &value, bytes);
}

Test(kernel_image, bzimages_that_cannot_be_booted_as_they_are)
{
	static const struct {
		size_t at;
		uint64_t value;
		size_t bytes;
		uint64_t memory;
		enum err_code code;
		const char *words;
	} bad[] = {
		{0x201, 0x20, 1, 16 * MIB, ERR_UNSUPPORTED, "64-bit entry"},
		{0x206, 0x020b, 2, 16 * MIB, ERR_UNSUPPORTED, "64-bit entry"},
		{0x258, 0, 8, 16 * MIB, ERR_INVALID_ARGUMENT, "loads at 0"},
		{0x258, LOAD_AT + 1, 8, 16 * MIB, ERR_INVALID_ARGUMENT, "loads at"},
		{0x258, UINT64_MAX & ~UINT64_C(0xfff), 8, 16 * MIB, ERR_LIMIT_EXCEEDED, "does not fit"},
		{0x258, 0x1000, 8, 16 * MIB, ERR_LIMIT_EXCEEDED, "does not fit"},
		{0x258, 14 * MIB, 8, 16 * MIB, ERR_LIMIT_EXCEEDED, "more memory"},
		{0x260, UINT32_MAX, 4, 16 * MIB, ERR_LIMIT_EXCEEDED, "more memory"},
		{0x206, 0x020f, 2, 6 * MIB, ERR_LIMIT_EXCEEDED, "more memory"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct packed_loaded loaded;
		struct err err = ERR_INIT;
		uint8_t first;
		size_t total = make_packed();
		put64(bad[i].at, bad[i].value, bad[i].bytes);
		cr_assert_lt(load_packed(total, bad[i].memory, NULL, &loaded, &first, &err), 0, "%zu", i);
		cr_assert_eq(err.code, bad[i].code, "%zu: %s", i, err.message);
		cr_assert_not_null(strstr(err.message, bad[i].words), "%zu: %s", i, err.message);
	}
}

static void flip_last_byte(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "r+");
	cr_assert_not_null(f);
	fseek(f, -1, SEEK_END);
	int last = fgetc(f);
	fseek(f, -1, SEEK_END);
	fputc(last ^ 1, f);
}

static void cut(const char *path)
{
	cr_assert_eq(truncate(path, SETUP_BYTES + 100), 0);
}

static void empty(const char *path)
{
	cr_assert_eq(truncate(path, 0), 0);
}

Test(kernel_image, a_file_that_changed_since_is_not_booted)
{
	static void (*const changes[])(const char *) = {flip_last_byte, cut, empty};
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		struct packed_loaded loaded;
		struct err err = ERR_INIT;
		uint8_t first;
		size_t total = make_packed();
		cr_assert_lt(load_packed(total, 16 * MIB, changes[i], &loaded, &first, &err), 0, "%zu", i);
		cr_assert(
			err.code == ERR_HOST || err.code == ERR_INVALID_ARGUMENT, "%zu: %s", i, err.message);
	}
}

Test(kernel_image, a_vmlinux_has_nothing_packed)
{
	make_vmlinux(vmlinux);
	_cleanup_(kernel_image_free_p) struct kernel_image *k = NULL;
	cr_assert_eq(kernel_image_load(write_file("vmlinux", vmlinux, VMLINUX_BYTES), &k, NULL), 0);
	cr_assert_eq(k->packed_fd, -1);
}
