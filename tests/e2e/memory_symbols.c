/* SPDX-License-Identifier: GPL-2.0-only */
/* e2e-memory: every symbol of the running kernel's /proc/kallsyms beside those of its image. */
#include "common/fd.h"
#include "host/initramfs/kernel_store.h"
#include "host/kmem/kallsyms_text.h"
#include "host/kmem/symbols.h"
#include "host/vm/kernel_image.h"
#include "tests/e2e/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Lookups by name take long in a table of the image. */
#define LOOK_EVERY 499u

static char *pulled(size_t *ret_length)
{
	const char *path = scratch_path("kallsyms");
	struct stat st;
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"pull", "/proc/kallsyms", path, NULL}, 60, &run);
	_cleanup_fclose_ FILE *file = run.status == 0 ? fopen(path, "re") : NULL;
	if (!file || fstat(fileno(file), &st) < 0) {
		tap_fail(__FILE__, __LINE__, "pull: exit %d: %s", run.status, strbuf_str(&run.err));
		return NULL;
	}
	char *text = malloc((size_t)st.st_size + 1);
	*ret_length = fread(text, 1, (size_t)st.st_size, file);
	return text;
}

static void compare(const struct symbols *image, const struct symbols *guest)
{
	static struct symbol_at a, b;
	uint32_t i = 0, k = 0, differing = 0;
	EXPECT(symbols_count(image) == symbols_count(guest), "%u in the image, %u in the guest",
		symbols_count(image), symbols_count(guest));
	while (symbols_match(image, "*", &i, &a) && symbols_match(guest, "*", &k, &b)) {
		if (a.start.v != b.start.v || strcmp(a.name, b.name) != 0) {
			if (differing++ < 5)
				printf("# image %llx %s, guest %llx %s\n", (unsigned long long)a.start.v,
					a.name, (unsigned long long)b.start.v, b.name);
			continue;
		}
		gva_t x = GVA(0), y = GVA(0);
		if (i % LOOK_EVERY == 0)
			EXPECT(symbols_find(image, a.name, &x, NULL) ==
						symbols_find(guest, a.name, &y, NULL) &&
					x.v == y.v,
				"%s", a.name);
	}
	EXPECT(differing == 0, "%u of %u symbols differ", differing, symbols_count(image));
	printf("# %u symbols agree\n", i);
}

void test_all_symbols(void)
{
	char cache[PATH_MAX];
	struct kernel_files files;
	_cleanup_(kernel_image_free_p) struct kernel_image *kernel = NULL;
	struct err err = ERR_INIT;
	struct kimage image;
	size_t length;
	_cleanup_free_ char *text = pulled(&length);
	if (!text)
		return;
	EXPECT(kernel_store_dir(cache, sizeof(cache), &err) == 0 &&
			kernel_find(memory_kernel, cache, &files, &err) == 0 &&
			kernel_image_load(files.image, &kernel, &err) == 0 &&
			kimage_init(&image, kernel->elf, kernel->elf_bytes, &err) == 0,
		"%s", err.message);
	_cleanup_(symbols_free_p) struct symbols *own = symbols_new(&image, &err);
	EXPECT(own != NULL, "%s", err.message);
	_cleanup_(symbols_free_p) struct symbols *told = symbols_new_from_guest(&image, text, length, &err);
	EXPECT(told != NULL, "%s", err.message);
	compare(own, told);
}
