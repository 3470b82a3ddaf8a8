/* SPDX-License-Identifier: GPL-2.0-only */
/* What goes into a guest's archive (see pack.h). */
#include "host/initramfs/pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <uthash.h>

#define LINK_MAX_BYTES 64

struct item {
	char *guest;  /* absolute, normal; the key */
	char *source; /* host path or words; target of a link; "" for directories and devices */
	void *bytes;  /* content when it is not a file of the host */
	size_t length;
	mode_t mode; /* with the type */
	unsigned major, minor;
	UT_hash_handle hh; /* keeps the order of adding: parents come first */
};

struct pack {
	struct item *items;
};

struct pack *pack_new(void)
{
	return calloc(1, sizeof(struct pack));
}

static void item_free(struct item *item)
{
	free(item->guest);
	free(item->source);
	free(item->bytes);
	free(item);
}

void pack_free(struct pack *pack)
{
	if (!pack)
		return;
	struct item *item, *next;
	HASH_ITER (hh, pack->items, item, next) {
		HASH_DEL(pack->items, item);
		item_free(item);
	}
	free(pack);
}

static int no_memory(struct err *err)
{
	return err_set_os(err, ERR_HOST, ENOMEM, "cannot pack the guest's files");
}

/* Removes "//", "." and ".." by text; ".." at the root stays there. False if it does not fit or is relative.
 */
static bool path_normal(const char *path, char out[PATH_MAX])
{
	size_t n = 0;
	if (*path != '/')
		return false;
	while (*path) {
		while (*path == '/')
			path++;
		size_t length = strcspn(path, "/");
		if (length == 2 && path[0] == '.' && path[1] == '.') {
			while (n && out[--n] != '/')
				;
		} else if (length && !(length == 1 && *path == '.')) {
			if (n + length + 2 > PATH_MAX)
				return false;
			out[n++] = '/';
			memcpy(out + n, path, length);
			n += length;
		}
		path += length;
	}
	if (n == 0)
		out[n++] = '/';
	out[n] = '\0';
	return true;
}

/* Adds the item unless it is there already. Owns `bytes`. */
static int add_item(struct pack *pack, const char *guest, const char *source, void *bytes, size_t length,
	mode_t mode, struct item **ret_item, struct err *err)
{
	_cleanup_free_ void *own = bytes;
	struct item *item;
	HASH_FIND_STR(pack->items, guest, item);
	if (item) {
		if (((item->mode ^ mode) & S_IFMT) || (!S_ISDIR(mode) && strcmp(item->source, source) != 0))
			return err_set(err, ERR_INVALID_ARGUMENT,
				"two files would be %.200s in the guest: %.160s and %.160s", guest,
				*item->source ? item->source : "a directory",
				*source ? source : "a directory");
		*ret_item = item;
		return 0;
	}
	item = calloc(1, sizeof(*item));
	if (!item)
		return no_memory(err);
	item->guest = strdup(guest);
	item->source = strdup(source);
	if (!item->guest || !item->source) {
		item_free(item);
		return no_memory(err);
	}
	item->bytes = TAKE_PTR(own);
	item->length = length;
	item->mode = mode;
	HASH_ADD_KEYPTR(hh, pack->items, item->guest, strlen(item->guest), item);
	*ret_item = item;
	return 0;
}

/* "/lib/x" becomes "/usr/lib/x" where the host's /lib is a link to usr/lib; the guest gets the link. */
static int follow_top_link(struct pack *pack, char path[PATH_MAX], struct err *err)
{
	char top[PATH_MAX], link[LINK_MAX_BYTES], moved[PATH_MAX];
	size_t n = strcspn(path + 1, "/") + 1;
	memcpy(top, path, n);
	top[n] = '\0';
	if (strncmp(top, "/lib", 4) != 0 && strcmp(top, "/bin") != 0 && strcmp(top, "/sbin") != 0)
		return 0;
	ssize_t length = readlink(top, link, sizeof(link) - 1);
	if (length <= 0)
		return 0;
	link[length] = '\0';
	/* Relative links of the merged /usr; anything else is the host's own business. */
	if (strncmp(link, "usr/", 4) != 0 || strstr(link, ".."))
		return 0;
	if (snprintf(moved, sizeof(moved), "/%s%s", link, path + n) >= PATH_MAX)
		return err_set_os(err, ERR_INVALID_ARGUMENT, ENAMETOOLONG, "cannot pack %.200s", path);
	struct item *ignored;
	int r = pack_add_dir(pack, "/usr", 0755, err);
	char target[LINK_MAX_BYTES + 1];
	snprintf(target, sizeof(target), "/%s", link);
	if (r == 0)
		r = pack_add_dir(pack, target, 0755, err);
	if (r == 0)
		r = add_item(pack, top, link, NULL, 0, S_IFLNK | 0777, &ignored, err);
	if (r < 0)
		return r;
	memcpy(path, moved, sizeof(moved));
	return 0;
}

static int add(struct pack *pack, const char *guest, const char *source, void *bytes, size_t length,
	mode_t mode, struct item **ret_item, struct err *err)
{
	_cleanup_free_ void *own = bytes;
	char path[PATH_MAX];
	if (!path_normal(guest, path))
		return err_set(err, ERR_INVALID_ARGUMENT, "'%.300s' is no path for the guest", guest);
	int r = follow_top_link(pack, path, err);
	for (char *p = path + 1; r == 0 && (p = strchr(p, '/')); p++) {
		struct item *parent;
		*p = '\0';
		r = add_item(pack, path, "", NULL, 0, S_IFDIR | 0755, &parent, err);
		*p = '/';
	}
	if (r < 0)
		return r;
	return add_item(pack, path, source, TAKE_PTR(own), length, mode, ret_item, err);
}

int pack_add_dir(struct pack *pack, const char *guest, mode_t mode, struct err *err)
{
	struct item *item;
	return add(pack, guest, "", NULL, 0, S_IFDIR | mode, &item, err);
}

int pack_add_char_device(
	struct pack *pack, const char *guest, mode_t mode, unsigned major, unsigned minor, struct err *err)
{
	struct item *item;
	int r = add(pack, guest, "", NULL, 0, S_IFCHR | mode, &item, err);
	if (r == 0) {
		item->major = major;
		item->minor = minor;
	}
	return r;
}

int pack_add_bytes(struct pack *pack, const char *guest, const char *source, void *bytes, size_t length,
	mode_t mode, struct err *err)
{
	struct item *item;
	return add(pack, guest, source, bytes, length, S_IFREG | mode, &item, err);
}

int pack_add_file(struct pack *pack, const char *guest, const char *host, mode_t mode, struct err *err)
{
	struct item *item;
	return add(pack, guest, host, NULL, 0, S_IFREG | mode, &item, err);
}

int pack_each(const struct pack *pack, int (*fn)(const struct pack_item *item, void *arg), void *arg)
{
	int r = 0;
	for (const struct item *item = pack->items; item && r >= 0; item = item->hh.next) {
		const struct pack_item plain = {.guest = item->guest,
			.host = S_ISREG(item->mode) && !item->bytes ? item->source : NULL,
			.link = S_ISLNK(item->mode) ? item->source : NULL,
			.mode = item->mode & 07777};
		r = fn(&plain, arg);
	}
	return r < 0 ? r : 0;
}

/* --- writing --- */

static void writer_free(struct archive **a)
{
	if (*a)
		archive_write_free(*a);
}

static void entry_free(struct archive_entry **entry)
{
	if (*entry)
		archive_entry_free(*entry);
}

/* A file of the host while it is written. */
struct content {
	const void *bytes;
	size_t length;
	bool mapped;
};

static void content_close(struct content *content)
{
	if (content->mapped)
		munmap((void *)content->bytes, content->length);
}

static int content_open(const struct item *item, struct content *ret, struct err *err)
{
	if (!S_ISREG(item->mode) || item->bytes) {
		*ret = (struct content){.bytes = item->bytes, .length = item->length};
		return 0;
	}
	_cleanup_close_ int fd = open(item->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_HOST, errno,
			"cannot open %.400s", item->source);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT, "%.400s is not a regular file", item->source);
	*ret = (struct content){.length = (size_t)st.st_size};
	if (st.st_size == 0)
		return 0;
	void *map = mmap(NULL, ret->length, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return err_set_os(err, ERR_HOST, errno, "cannot map %.400s", item->source);
	ret->bytes = map;
	ret->mapped = true;
	return 0;
}

static int archive_failed(struct archive *a, struct err *err)
{
	return err_set(err, ERR_HOST, "cannot write the guest's archive: %s", archive_error_string(a));
}

static int write_item(struct archive *a, const struct item *item, uint64_t *left, struct err *err)
{
	_cleanup_(content_close) struct content content = {0};
	int r = content_open(item, &content, err);
	if (r < 0)
		return r;
	if (content.length > *left)
		return err_set(err, ERR_LIMIT_EXCEEDED,
			"the guest's files are too large: with %.300s they exceed what fits into an "
			"initramfs",
			item->source);
	*left -= content.length;
	_cleanup_(entry_free) struct archive_entry *entry = archive_entry_new();
	if (!entry)
		return no_memory(err);
	/* "/" is the guest's root, made by the kernel; entries are relative to it. */
	archive_entry_set_pathname(entry, item->guest + 1);
	archive_entry_set_mode(entry, item->mode);
	archive_entry_set_nlink(entry, 1);
	archive_entry_set_size(entry, (int64_t)content.length);
	if (S_ISLNK(item->mode))
		archive_entry_set_symlink(entry, item->source);
	if (S_ISCHR(item->mode)) {
		archive_entry_set_rdevmajor(entry, item->major);
		archive_entry_set_rdevminor(entry, item->minor);
	}
	if (archive_write_header(a, entry) < ARCHIVE_OK)
		return archive_failed(a, err);
	for (size_t done = 0; done < content.length;) {
		la_ssize_t n =
			archive_write_data(a, (const char *)content.bytes + done, content.length - done);
		if (n <= 0)
			return archive_failed(a, err);
		done += (size_t)n;
	}
	return 0;
}

int pack_write(const struct pack *pack, int fd, uint64_t max_bytes, struct err *err)
{
	_cleanup_(writer_free) struct archive *a = archive_write_new();
	if (!a)
		return no_memory(err);
	/* No padding of the whole archive: the kernel needs none. */
	if (archive_write_set_format_cpio_newc(a) != ARCHIVE_OK ||
		archive_write_set_bytes_in_last_block(a, 1) != ARCHIVE_OK ||
		archive_write_open_fd(a, fd) != ARCHIVE_OK)
		return archive_failed(a, err);
	for (const struct item *item = pack->items; item; item = item->hh.next) {
		int r = strcmp(item->guest, "/") == 0 ? 0 : write_item(a, item, &max_bytes, err);
		if (r < 0)
			return r;
	}
	return archive_write_close(a) == ARCHIVE_OK ? 0 : archive_failed(a, err);
}
