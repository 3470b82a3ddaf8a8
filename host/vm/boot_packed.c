/* SPDX-License-Identifier: GPL-2.0-only */
/* A bzImage into guest memory. Before the VM runs, one thread. Source: Linux,
 * Documentation/arch/x86/boot.rst, "64-bit boot protocol". */
#include "host/vm/boot_packed.h"

#include "host/arch/x86_64/layout.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* The 64-bit entry wants what it needs mapped one to one: pgtable_write_identity() maps so much. */
#define IDENTITY_END LAYOUT_HIGH

static int read_whole(int fd, uint8_t *out, uint64_t offset, uint64_t length, struct err *err)
{
	while (length > 0) {
		ssize_t n = pread(fd, out, length, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set_os(err, ERR_HOST, errno, "cannot read the kernel");
		if (n == 0)
			return err_set(err, ERR_HOST, "the kernel's file became shorter");
		out += n;
		offset += (uint64_t)n;
		length -= (uint64_t)n;
	}
	return 0;
}

/* The unpacked kernel that symbols come from was made of exactly these bytes. */
static bool is_content(const struct kernel_image *kernel, const uint8_t *setup, size_t setup_bytes,
	const uint8_t *code, size_t n)
{
	XXH3_state_t *state = XXH3_createState();
	char content[sizeof(kernel->content)];
	XXH128_canonical_t canon;
	if (!state)
		return false;
	XXH3_128bits_reset(state);
	XXH3_128bits_update(state, setup, setup_bytes);
	XXH3_128bits_update(state, code, n);
	XXH128_canonicalFromHash(&canon, XXH3_128bits_digest(state));
	XXH3_freeState(state);
	for (unsigned i = 0; i < sizeof(canon.digest); i++)
		snprintf(content + 2 * i, 3, "%02x", canon.digest[i]);
	return strcmp(content, kernel->content) == 0;
}

int packed_load(const struct kernel_image *kernel, const struct gmem *memory, struct packed_loaded *ret,
	struct err *err)
{
	/* setup_sects has one byte. */
	_Alignas(8) uint8_t setup[256 * 512];
	struct bzimage_boot boot;
	struct stat st;
	assert(kernel->packed_fd >= 0);
	if (fstat(kernel->packed_fd, &st) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot look at the kernel");
	if (st.st_size < BZIMAGE_HEADER_BYTES || (uint64_t)st.st_size > KERNEL_IMAGE_MAX_BYTES)
		return err_set(err, ERR_HOST, "the kernel's file was changed while it was being used");
	int r = read_whole(kernel->packed_fd, setup, 0, BZIMAGE_HEADER_BYTES, err);
	if (r == 0 && !bzimage_is(setup, BZIMAGE_HEADER_BYTES))
		r = err_set(err, ERR_HOST, "the kernel's file was changed while it was being used");
	if (r == 0)
		r = bzimage_parse_boot(setup, BZIMAGE_HEADER_BYTES, (uint64_t)st.st_size, &boot, err);
	if (r == 0 && boot.code_offset > BZIMAGE_HEADER_BYTES)
		r = read_whole(kernel->packed_fd, setup + BZIMAGE_HEADER_BYTES, BZIMAGE_HEADER_BYTES,
			boot.code_offset - BZIMAGE_HEADER_BYTES, err);
	if (r < 0)
		return r;
	uint8_t *host = boot.load >= LAYOUT_KERNEL ? gmem_ptr(memory, GPA(boot.load), boot.init_bytes) : NULL;
	if (!host || !range_fits(boot.load, boot.init_bytes, IDENTITY_END))
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"the kernel needs %llu MiB at %#llx to unpack itself, which does not fit the first "
			"node's "
			"memory below 3 GiB; give the VM more memory",
			(unsigned long long)(boot.init_bytes >> 20), (unsigned long long)boot.load);
	r = read_whole(kernel->packed_fd, host, boot.code_offset, boot.code_bytes, err);
	if (r < 0)
		return r;
	if (!is_content(kernel, setup, boot.code_offset, host, boot.code_bytes))
		return err_set(err, ERR_HOST, "the kernel's file was changed while it was being used");
	ret->entry = GPA(boot.load + BZIMAGE_ENTRY_64);
	ret->start = GPA(boot.load);
	ret->end = GPA(boot.load + boot.init_bytes);
	ret->header_bytes = boot.header_bytes;
	memcpy(ret->header, setup + BZIMAGE_SETUP_HEADER, boot.header_bytes);
	return 0;
}
