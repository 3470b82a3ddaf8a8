/* SPDX-License-Identifier: GPL-2.0-only */
/* Loading a kernel file, and the cache of what was unpacked. Any thread.
 *
 * CACHE/vmlinux/<hash of the kernel file>        the ELF vmlinux
 * CACHE/vmlinux/stat-<dev>-<inode>-...           symbolic link to one: what this very file had when it was
 * read */
#include "host/vm/kernel_image.h"

#include "common/fd.h"
#include "host/vm/boot_bzimage.h"

#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

#define HASH_HEX 32
/* Unpacked kernels kept; the ones unused for longest go first. */
#define CACHE_KEEP 12
/* A file changed this recently may change again within the same timestamp, so its stat says nothing yet. */
#define RACY_S 2

struct mapping {
	void *bytes;
	size_t length;
};

static void unmap(struct mapping *m)
{
	if (m->bytes)
		munmap(m->bytes, m->length);
}

/* --- the cache --- */

static bool cache_dir(char *path, size_t size)
{
	const char *own = getenv("SCHEDRIG_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;
	if (own && *own)
		n = snprintf(path, size, "%s/vmlinux", own);
	else if (xdg && *xdg)
		n = snprintf(path, size, "%s/schedrig/vmlinux", xdg);
	else if (home && *home)
		n = snprintf(path, size, "%s/.cache/schedrig/vmlinux", home);
	else
		return false;
	return n > 0 && (size_t)n < size;
}

/* Directory fd, or -1: then nothing is cached. */
static int cache_open(bool create)
{
	char path[PATH_MAX];
	if (!cache_dir(path, sizeof(path)))
		return -1;
	if (create && fd_mkdir_p(path, 0755, NULL) < 0)
		return -1;
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void stat_key(const struct stat *st, char *key, size_t size)
{
	snprintf(key, size, "stat-%llx-%llx-%llx-%llx.%lx-%llx.%lx", (unsigned long long)st->st_dev,
		(unsigned long long)st->st_ino, (unsigned long long)st->st_size,
		(unsigned long long)st->st_mtim.tv_sec, st->st_mtim.tv_nsec,
		(unsigned long long)st->st_ctim.tv_sec, st->st_ctim.tv_nsec);
}

static bool is_hash(const char *name)
{
	return strspn(name, "0123456789abcdef") == HASH_HEX && name[HASH_HEX] == '\0';
}

static bool elf_is_kernel(const uint8_t *bytes, size_t length, const char **ret_why)
{
	Elf64_Ehdr eh;
	if (length < sizeof(eh) || memcmp(bytes, ELFMAG, SELFMAG) != 0) {
		*ret_why = "what is packed in it is not an ELF vmlinux";
		return false;
	}
	memcpy(&eh, bytes, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB ||
		eh.e_machine != EM_X86_64)
		*ret_why = "it is an ELF file for another machine than x86-64";
	else if (eh.e_type != ET_EXEC && eh.e_type != ET_DYN)
		*ret_why = "it is an ELF file that cannot be started (an object or a core file)";
	else if (eh.e_phnum == 0 || eh.e_phentsize != sizeof(Elf64_Phdr) ||
		 !range_fits(eh.e_phoff, (uint64_t)eh.e_phnum * sizeof(Elf64_Phdr), length))
		*ret_why = "its ELF program headers are damaged";
	else {
		/* A kernel is linked into the upper half; programs are not. */
		for (unsigned i = 0; i < eh.e_phnum; i++) {
			Elf64_Phdr ph;
			memcpy(&ph, bytes + eh.e_phoff + i * sizeof(ph), sizeof(ph));
			if (ph.p_type == PT_INTERP)
				break;
			if (ph.p_type == PT_LOAD && ph.p_vaddr >> 63)
				return true;
		}
		*ret_why = "it is an x86-64 program, not a kernel";
	}
	return false;
}

static bool cache_map(int dir, const char *hash, struct kernel_image *image)
{
	_cleanup_close_ int fd = openat(dir, hash, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(Elf64_Ehdr) ||
		(uint64_t)st.st_size > KERNEL_IMAGE_MAX_BYTES)
		return false;
	_cleanup_(unmap) struct mapping m = {.length = (size_t)st.st_size};
	void *p = mmap(NULL, m.length, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return false;
	m.bytes = p;
	const char *why;
	if (!elf_is_kernel(p, m.length, &why))
		return false;
	(void)futimens(fd, NULL); /* read-only descriptors may: it is ours. Pruning goes by it */
	image->fd = take_fd(&fd);
	image->elf = p;
	image->elf_bytes = m.length;
	memcpy(image->content, hash, HASH_HEX + 1);
	m.bytes = NULL;
	return true;
}

static bool cache_find_by_stat(int dir, const struct stat *st, struct kernel_image *image)
{
	char key[160], hash[HASH_HEX + 2];
	stat_key(st, key, sizeof(key));
	ssize_t n = readlinkat(dir, key, hash, sizeof(hash) - 1);
	if (n != HASH_HEX)
		return false;
	hash[n] = '\0';
	return is_hash(hash) && cache_map(dir, hash, image);
}

static void cache_remember_stat(int dir, const struct stat *st, const char *hash)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (st->st_mtim.tv_sec + RACY_S > now.tv_sec || st->st_ctim.tv_sec + RACY_S > now.tv_sec)
		return;
	char key[160];
	stat_key(st, key, sizeof(key));
	if (symlinkat(hash, dir, key) < 0 && errno == EEXIST) {
		unlinkat(dir, key, 0);
		if (symlinkat(hash, dir, key) < 0)
			return; /* another process was quicker, with the same content */
	}
}

struct cache_entry {
	char hash[HASH_HEX + 1];
	struct timespec used;
};

static int newest_first(const void *va, const void *vb)
{
	const struct cache_entry *a = va, *b = vb;
	if (a->used.tv_sec != b->used.tv_sec)
		return a->used.tv_sec < b->used.tv_sec ? 1 : -1;
	return a->used.tv_nsec < b->used.tv_nsec ? 1 : a->used.tv_nsec > b->used.tv_nsec ? -1 : 0;
}

/* Removes the oldest entries, links that lead nowhere and temporary files left by a killed process. */
static void cache_prune(int dir)
{
	struct cache_entry entries[256];
	unsigned n = 0;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	time_t day_ago = time(NULL) - 86400;
	for (struct dirent *e; (e = readdir(d));) {
		struct stat st;
		if (fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (is_hash(e->d_name) && n < ARRAY_SIZE(entries)) {
			memcpy(entries[n].hash, e->d_name, HASH_HEX + 1);
			entries[n++].used = st.st_mtim;
		} else if (strncmp(e->d_name, ".new-", 5) == 0 && st.st_mtim.tv_sec < day_ago) {
			unlinkat(dir, e->d_name, 0);
		} else if (S_ISLNK(st.st_mode) && faccessat(dir, e->d_name, F_OK, 0) < 0) {
			unlinkat(dir, e->d_name, 0);
		}
	}
	closedir(d);
	qsort(entries, n, sizeof(entries[0]), newest_first);
	for (unsigned i = CACHE_KEEP; i < n; i++)
		unlinkat(dir, entries[i].hash, 0);
}

/* Pages of zeroes become holes: who loads the kernel skips them. */
static int write_sparse(int fd, const uint8_t *bytes, size_t length)
{
	static const uint8_t zeroes[4096];
	size_t at = 0;
	while (at < length) {
		while (at < length && memcmp(bytes + at, zeroes, MIN_OF(length - at, sizeof(zeroes))) == 0)
			at += MIN_OF(length - at, sizeof(zeroes));
		size_t begin = at;
		while (at < length && memcmp(bytes + at, zeroes, MIN_OF(length - at, sizeof(zeroes))) != 0)
			at += MIN_OF(length - at, sizeof(zeroes));
		if (lseek(fd, (off_t)begin, SEEK_SET) < 0)
			return -errno;
		int rc = fd_write_all(fd, bytes + begin, at - begin);
		if (rc < 0)
			return rc;
	}
	return ftruncate(fd, (off_t)length) < 0 ? -errno : 0;
}

static bool cache_store(int dir, const char *hash, const uint8_t *bytes, size_t length)
{
	char temp[64];
	snprintf(temp, sizeof(temp), ".new-%d-%.16s", (int)getpid(), hash);
	unlinkat(dir, temp, 0);
	_cleanup_close_ int fd = openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return false;
	/* Synced before the rename: after a power failure there is the whole entry or none. */
	if (write_sparse(fd, bytes, length) < 0 || fdatasync(fd) < 0 || renameat(dir, temp, dir, hash) < 0) {
		unlinkat(dir, temp, 0);
		return false;
	}
	cache_prune(dir);
	return true;
}

/* --- loading --- */

static int refuse_unknown(const uint8_t *head, size_t n, struct err *err)
{
	size_t text = 0;
	while (text < n && (isprint(head[text]) || isspace(head[text]) || head[text] >= 0x80))
		text++;
	if (n == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "it is empty");
	if (text == n)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"it is a text file, not a kernel (a bzImage such as /boot/vmlinuz-*, or an ELF "
			"vmlinux, is "
			"expected)");
	if (n >= 0x40 && memcmp(head + 0x38, "ARM\x64", 4) == 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "it is a kernel for arm64, not x86-64");
	return err_set(err, ERR_INVALID_ARGUMENT,
		"it is neither a bzImage nor an ELF vmlinux for x86-64 (first bytes %02x %02x %02x %02x)",
		head[0], n > 1 ? head[1] : 0, n > 2 ? head[2] : 0, n > 3 ? head[3] : 0);
}

static void read_version(int fd, uint64_t offset, char *version, size_t size)
{
	ssize_t n = pread(fd, version, size - 1, (off_t)offset);
	version[n > 0 ? n : 0] = '\0';
	for (char *c = version; *c; c++)
		if (!isprint((unsigned char)*c))
			*c = '?';
}

/* Reads the file, hashes it, and takes its ELF from the cache or out of the file (then into the cache). */
static int load_cold(int fd, const struct stat *st, const struct bzimage_info *bz, struct kernel_image *image,
	struct err *err)
{
	size_t length = (size_t)st->st_size;
	/* Read, not mapped: a file that shrinks meanwhile must not kill us. */
	_cleanup_(unmap) struct mapping file = {.length = length};
	void *p = mmap(
		NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return err_set_os(err, ERR_HOST, errno, "cannot have %zu bytes of memory to read it", length);
	file.bytes = p;
	ssize_t got = pread(fd, p, length, 0);
	for (size_t done = 0; got >= 0 && (done += (size_t)got) < length;) {
		got = pread(fd, (uint8_t *)p + done, length - done, (off_t)done);
		if (got == 0)
			return err_set(err, ERR_HOST, "it became shorter while being read");
	}
	if (got < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot read it");

	XXH128_canonical_t canon;
	XXH128_canonicalFromHash(&canon, XXH3_128bits(p, length));
	for (unsigned i = 0; i < sizeof(canon.digest); i++)
		snprintf(image->content + 2 * i, 3, "%02x", canon.digest[i]);

	_cleanup_close_ int dir = cache_open(true);
	if (dir >= 0 && cache_map(dir, image->content, image)) {
		image->cached = true;
		cache_remember_stat(dir, st, image->content);
		return 0;
	}

	_cleanup_(unmap) struct mapping elf = {0};
	if (bz) {
		int rc = bzimage_unpacked_bytes(
			(uint8_t *)file.bytes + bz->payload_offset, bz->payload_bytes, &elf.length, err);
		if (rc < 0)
			return rc;
		p = mmap(NULL, elf.length, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED)
			return err_set_os(err, ERR_HOST, errno,
				"cannot have %zu bytes of memory to unpack it", elf.length);
		elf.bytes = p;
		rc = bzimage_unpack((uint8_t *)file.bytes + bz->payload_offset, bz->payload_bytes, elf.bytes,
			elf.length, err);
		if (rc < 0)
			return rc;
	} else {
		elf = file;
		file.bytes = NULL;
	}
	const char *why;
	if (!elf_is_kernel(elf.bytes, elf.length, &why))
		return err_set(err, ERR_INVALID_ARGUMENT, "%s", why);
	if (dir >= 0 && cache_store(dir, image->content, elf.bytes, elf.length)) {
		cache_remember_stat(dir, st, image->content);
		if (cache_map(dir, image->content, image))
			return 0;
	}
	image->elf = elf.bytes;
	image->elf_bytes = elf.length;
	elf.bytes = NULL;
	return 0;
}

static int load(const char *path, struct kernel_image *image, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? err_set(err, ERR_NOT_FOUND, "there is no such file")
			       : err_set_os(err, ERR_HOST, errno, "cannot open it");
	struct stat st;
	if (fstat(fd, &st) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot look at it");
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT, "it is %s, not a file",
			S_ISDIR(st.st_mode) ? "a directory" : "a device or a pipe");
	uint64_t size = (uint64_t)st.st_size;
	if (size > KERNEL_IMAGE_MAX_BYTES)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"it has %llu bytes; kernels up to 1 GiB are supported", (unsigned long long)size);

	uint8_t head[BZIMAGE_HEADER_BYTES];
	ssize_t n = pread(fd, head, sizeof(head), 0);
	if (n < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot read it");
	struct bzimage_info bz;
	bool packed = bzimage_is(head, (size_t)n);
	if (packed) {
		int rc = bzimage_parse(head, (size_t)n, size, &bz, err);
		if (rc < 0)
			return rc;
		if (bz.version_offset)
			read_version(fd, bz.version_offset, image->version, sizeof(image->version));
	} else if (n < (ssize_t)sizeof(Elf64_Ehdr) || memcmp(head, ELFMAG, SELFMAG) != 0) {
		return refuse_unknown(head, (size_t)n, err);
	}

	_cleanup_close_ int dir = cache_open(false);
	if (dir >= 0 && cache_find_by_stat(dir, &st, image)) {
		image->cached = true;
	} else {
		int rc = load_cold(fd, &st, packed ? &bz : NULL, image, err);
		if (rc < 0)
			return rc;
	}
	if (packed)
		image->packed_fd = take_fd(&fd);
	return 0;
}

int kernel_image_load(const char *path, struct kernel_image **ret_image, struct err *err)
{
	_cleanup_(kernel_image_free_p) struct kernel_image *image = calloc(1, sizeof(*image));
	if (!image)
		return err_set(err, ERR_HOST, "out of memory");
	image->fd = image->packed_fd = -1;
	int rc = load(path, image, err);
	if (rc < 0)
		return err_wrap(err, "kernel %s", path);
	*ret_image = TAKE_PTR(image);
	return 0;
}

void kernel_image_free(struct kernel_image *image)
{
	if (!image)
		return;
	if (image->elf)
		munmap((void *)image->elf, image->elf_bytes);
	fd_close(&image->fd);
	fd_close(&image->packed_fd);
	free(image);
}

int kernel_image_release(const struct kernel_image *image, char *ret_text, size_t size)
{
	const char *text = image->version;
	size_t room = strlen(text);
	if (room == 0) {
		static const char banner[] = "Linux version ";
		const char *end = (const char *)image->elf + image->elf_bytes;
		text = (const char *)image->elf;
		/* The words also stand in format strings ("Linux version %s"): a release starts with a digit.
		 */
		do {
			text = memmem(text, (size_t)(end - text), banner, sizeof(banner) - 1);
			if (!text)
				return -ENOENT;
			text += sizeof(banner) - 1;
		} while (text < end && !isdigit((unsigned char)*text));
		room = (size_t)(end - text);
	}
	size_t n = 0;
	while (n < room && n + 1 < size && isgraph((unsigned char)text[n]))
		n++;
	if (n == 0 || (n < room && isgraph((unsigned char)text[n])))
		return -ENOENT;
	memcpy(ret_text, text, n);
	ret_text[n] = '\0';
	return 0;
}
