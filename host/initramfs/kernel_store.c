/* SPDX-License-Identifier: GPL-2.0-only */
/* Which kernel is meant (see kernel_store.h). No state. */
#include "host/initramfs/kernel_store.h"

#include "common/fd.h"
#include "host/vm/boot_bzimage.h"

#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

int kernel_store_dir(char *ret_path, size_t size, struct err *err)
{
	const char *own = getenv("SCHEDRIG_CACHE"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;
	if (own && *own)
		n = snprintf(ret_path, size, "%s", own);
	else if (xdg && *xdg)
		n = snprintf(ret_path, size, "%s/schedrig", xdg);
	else if (home && *home)
		n = snprintf(ret_path, size, "%s/.cache/schedrig", home);
	else
		return err_set(err, ERR_FAILED_PRECONDITION,
			"there is no cache directory: set HOME, XDG_CACHE_HOME or SCHEDRIG_CACHE");
	if (n < 0 || (size_t)n >= size)
		return err_set_os(err, ERR_FAILED_PRECONDITION, ENAMETOOLONG, "the cache directory's path");
	return 0;
}

static bool exists(const char *path)
{
	return access(path, R_OK) == 0;
}

/* dir + "/" + name; false if it does not fit. */
static bool join(char path[PATH_MAX], const char *dir, const char *name)
{
	int n = snprintf(path, PATH_MAX, "%s/%s", dir, name);
	return n > 0 && n < PATH_MAX;
}

/* --- the release an image says --- */

/* The first word of a version text of at most `length` bytes. */
static bool take_release(const char *text, size_t length, char *ret, size_t size)
{
	size_t n = 0;
	while (n < length && n < size - 1 && isgraph((unsigned char)text[n]))
		n++;
	if (n == 0 || !isdigit((unsigned char)text[0]))
		return false;
	memcpy(ret, text, n);
	ret[n] = '\0';
	return true;
}

static int release_of_elf(int fd, uint64_t bytes, const char *image, char *ret, size_t size, struct err *err)
{
	static const char banner[] = "Linux version ";
	char *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return err_set_os(err, ERR_HOST, errno, "cannot map %s", image);
	bool found = false;
	const char *p = map, *end = map + bytes;
	while (!found && (p = memmem(p, (size_t)(end - p), banner, sizeof(banner) - 1))) {
		p += sizeof(banner) - 1;
		found = take_release(p, (size_t)(end - p), ret, size);
	}
	munmap(map, bytes);
	if (!found)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"%s is an ELF file without a \"Linux version\" text: not a kernel image", image);
	return 0;
}

int kernel_release_of(const char *image, char *ret_release, size_t size, struct err *err)
{
	_cleanup_close_ int fd = open(image, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_HOST, errno,
			"cannot open kernel image %s", image);
	if (!S_ISREG(st.st_mode))
		return err_set(err, ERR_INVALID_ARGUMENT, "kernel image %s is not a regular file", image);
	uint8_t head[BZIMAGE_HEADER_BYTES];
	ssize_t n = pread(fd, head, sizeof(head), 0);
	if (n < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot read kernel image %s", image);
	if (n > SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0)
		return release_of_elf(fd, (uint64_t)st.st_size, image, ret_release, size, err);
	if (!bzimage_is(head, (size_t)n))
		return err_set(err, ERR_INVALID_ARGUMENT,
			"%s is not a kernel image: neither a bzImage nor ELF", image);
	struct bzimage_info info;
	int r = bzimage_parse(head, (size_t)n, (uint64_t)st.st_size, &info, err);
	if (r < 0)
		return err_wrap(err, "kernel %s", image);
	char version[256];
	n = info.version_offset ? pread(fd, version, sizeof(version), (off_t)info.version_offset) : 0;
	if (n <= 0 || !take_release(version, (size_t)n, ret_release, size))
		return err_set(
			err, ERR_INVALID_ARGUMENT, "kernel %s does not say its version in its header", image);
	return 0;
}

/* --- the store --- */

struct releases {
	char **name; /* newest first */
	size_t n;
};

static void releases_deinit(struct releases *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->name[i]);
	free(list->name);
	*list = (struct releases){0};
}

static int newest_first(const void *a, const void *b)
{
	return strverscmp(*(char *const *)b, *(char *const *)a);
}

static int releases_read(const char *store, struct releases *ret, struct err *err)
{
	_cleanup_(releases_deinit) struct releases list = {0};
	DIR *dir = opendir(store);
	if (!dir && errno != ENOENT)
		return err_set_os(err, ERR_HOST, errno, "cannot read the kernel store %s", store);
	const struct dirent *entry;
	bool full = false;
	while (dir && !full && (entry = readdir(dir))) {
		char path[PATH_MAX];
		int n = snprintf(path, sizeof(path), "%s/%s/vmlinuz", store, entry->d_name);
		if (!isdigit((unsigned char)entry->d_name[0]) || n >= PATH_MAX || !exists(path) ||
			strlen(entry->d_name) >= sizeof(((struct kernel_files *)0)->release))
			continue;
		char **more = realloc(list.name, (list.n + 1) * sizeof(*more));
		char *name = strdup(entry->d_name);
		full = !more || !name;
		list.name = more ? more : list.name;
		if (full)
			free(name);
		else
			list.name[list.n++] = name;
	}
	if (dir)
		closedir(dir);
	if (full)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot list the kernel store");
	if (list.n)
		qsort(list.name, list.n, sizeof(*list.name), newest_first);
	*ret = list;
	list = (struct releases){0};
	return 0;
}

int kernel_store_list(const char *cache_dir, struct strbuf *ret_list, struct err *err)
{
	char store[PATH_MAX];
	_cleanup_(releases_deinit) struct releases list = {0};
	if (!join(store, cache_dir, "kernels"))
		return err_set_os(err, ERR_HOST, ENAMETOOLONG, "the kernel store's path");
	int r = releases_read(store, &list, err);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		strbuf_printf(ret_list, "%s\n", list.name[i]);
	return r;
}

static bool starts_release(const char *release, const char *prefix)
{
	size_t n = strlen(prefix);
	return strncmp(release, prefix, n) == 0 && (release[n] == '\0' || strchr(".+-_", release[n]));
}

static int not_found(const char *spec, const char *store, const struct releases *list, struct err *err)
{
	if (exists(spec))
		return err_set(err, ERR_NOT_FOUND,
			"no kernel '%.60s' in the store %.160s; to mean the file of that name here, write "
			"./%.60s",
			spec, store, spec);
	if (list->n == 0)
		return err_set(err, ERR_NOT_FOUND,
			"no kernel '%.60s': the kernel store %.200s is empty; fetch one (schedrig kernel "
			"fetch) or "
			"give the path of an image",
			spec, store);
	_cleanup_strbuf_ struct strbuf names = STRBUF_INIT;
	for (size_t i = 0; i < list->n && names.length < 300; i++)
		strbuf_printf(&names, "%s%s", i ? ", " : "", list->name[i]);
	return err_set(err, ERR_NOT_FOUND, "no kernel '%.60s' in the store %.160s; there are: %.300s", spec,
		store, strbuf_str(&names));
}

static int find_in_store(const char *store, const char *release, struct kernel_files *ret, struct err *err)
{
	char dir[PATH_MAX];
	*ret = (struct kernel_files){0};
	if (!join(dir, store, release) || !join(ret->image, dir, "vmlinuz") ||
		!join(ret->modules, dir, "modules") || !join(ret->config, dir, "config"))
		return err_set_os(err, ERR_HOST, ENAMETOOLONG, "the kernel store's path");
	if (!exists(ret->modules))
		ret->modules[0] = '\0';
	if (!exists(ret->config))
		ret->config[0] = '\0';
	snprintf(ret->release, sizeof(ret->release), "%s", release);
	return 0;
}

/* The release CACHE/kernels/default points to; false if there is none that is whole. */
static bool default_release(const char *store, char *ret, size_t size)
{
	char link[PATH_MAX], target[PATH_MAX], image[PATH_MAX];
	if (!join(link, store, "default"))
		return false;
	ssize_t n = readlink(link, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = '\0';
	while (n > 1 && target[n - 1] == '/')
		target[--n] = '\0';
	const char *slash = strrchr(target, '/'), *name = slash ? slash + 1 : target;
	if (!join(image, link, "vmlinuz") || !exists(image) || strlen(name) >= size)
		return false;
	/* By its release, not by the link: which it was is in the result, and the link may move. */
	snprintf(ret, size, "%s", name);
	char own[PATH_MAX];
	return join(own, store, name) && exists(own);
}

/* --- a file --- */

static bool is_module_tree(const char *dir)
{
	char path[PATH_MAX];
	return (join(path, dir, "kernel") && exists(path)) ||
	       (join(path, dir, "modules.builtin") && exists(path));
}

static int find_by_path(const char *spec, struct kernel_files *ret, struct err *err)
{
	*ret = (struct kernel_files){0};
	char dir[PATH_MAX], path[PATH_MAX];
	struct stat st;
	if (stat(spec, &st) < 0)
		return err_set_os(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_HOST, errno,
			"cannot open kernel image %.400s", spec);
	if (strlen(spec) >= PATH_MAX)
		return err_set_os(err, ERR_INVALID_ARGUMENT, ENAMETOOLONG, "the kernel image's path");
	snprintf(ret->image, sizeof(ret->image), "%s", spec);
	if (S_ISDIR(st.st_mode)) {
		if ((!join(ret->image, spec, "vmlinuz") || !exists(ret->image)) &&
			(!join(ret->image, spec, "vmlinux") || !exists(ret->image)))
			return err_set(err, ERR_NOT_FOUND,
				"directory %.400s holds neither vmlinuz nor vmlinux", spec);
		snprintf(dir, sizeof(dir), "%s", spec);
	} else {
		snprintf(dir, sizeof(dir), "%s", spec);
		char *slash = strrchr(dir, '/');
		slash[slash == dir] = '\0';
	}
	int r = kernel_release_of(ret->image, ret->release, sizeof(ret->release), err);
	if (r < 0)
		return r;
	const char *release = ret->release;
	if (join(path, dir, "modules") && is_module_tree(path))
		memcpy(ret->modules, path, sizeof(path));
	else if (is_module_tree(dir) && strstr(dir, "/lib/modules/"))
		memcpy(ret->modules, dir, sizeof(dir));
	else if (!strchr(release, '/') && join(path, "/lib/modules", release) && is_module_tree(path))
		memcpy(ret->modules, path, sizeof(path));
	char name[sizeof(ret->release) + 8];
	snprintf(name, sizeof(name), "config-%s", release);
	if ((join(path, dir, "config") && exists(path)) || (join(path, dir, name) && exists(path)) ||
		(join(path, dir, ".config") && exists(path)))
		memcpy(ret->config, path, sizeof(path));
	return 0;
}

int kernel_find(const char *spec, const char *cache_dir, struct kernel_files *ret, struct err *err)
{
	bool any = !spec || !*spec || strcmp(spec, "default") == 0;
	if (!any && strchr(spec, '/'))
		return find_by_path(spec, ret, err);
	char store[PATH_MAX], release[sizeof(ret->release)];
	_cleanup_(releases_deinit) struct releases list = {0};
	if (!join(store, cache_dir, "kernels"))
		return err_set_os(err, ERR_HOST, ENAMETOOLONG, "the kernel store's path");
	if (any && default_release(store, release, sizeof(release)))
		return find_in_store(store, release, ret, err);
	int r = releases_read(store, &list, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < list.n; i++)
		if (any || starts_release(list.name[i], spec))
			return find_in_store(store, list.name[i], ret, err);
	return not_found(any ? "default" : spec, store, &list, err);
}
