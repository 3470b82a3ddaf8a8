/* SPDX-License-Identifier: GPL-2.0-only */
/* The guest's first root file system (see initramfs.h): what goes into it, and the cache of what was built.
 *
 * CACHE/initramfs/<hash of the archive>.cpio    the archive
 * CACHE/initramfs/<hash of the request>.inputs  "cpio HASH BYTES", then what it was made of (inputs.h)
 *
 * Both are written whole and renamed, so that controllers which build the same at the same time do no harm.
 */
#include "host/initramfs/initramfs.h"

#include "common/fd.h"
#include "common/strbuf.h"
#include "host/initramfs/inputs.h"
#include "host/initramfs/modules.h"
#include "host/initramfs/pack.h"
#include "host/initramfs/program.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

/* Part of every request's hash: changes when the same request gives another archive. */
#define FORMAT "initramfs 1"
#define HASH_TEXT 33
/* Archives kept, and requests (several can have one archive); the ones unused for longest go first. */
#define KEEP_ARCHIVES 16
#define KEEP_REQUESTS 64
#define INPUTS_MAX_BYTES (16u << 20)
/* What a dead controller left half-written. */
#define TEMPORARY_MAX_AGE_S 600

const struct initramfs_module initramfs_default_modules[] = {
	{"virtio_mmio", "CONFIG_VIRTIO_MMIO", "virtio-mmio", false},
	{"vmw_vsock_virtio_transport", "CONFIG_VIRTIO_VSOCKETS", "virtio-vsock", false},
	{"virtio_rng", "CONFIG_HW_RANDOM_VIRTIO", "virtio-rng", true},
	{0},
};
static const struct initramfs_module net_module = {
	"virtio_net", "CONFIG_VIRTIO_NET", "virtio-net (--net)", false};
static const struct initramfs_module disk_module = {
	"virtio_blk", "CONFIG_VIRTIO_BLK", "virtio-blk (--disk)", false};

_Static_assert(ARRAY_SIZE(initramfs_default_modules) + 2 <= INITRAMFS_MODULES_MAX, "room for all");

void initramfs_choose_modules(bool net, bool disk, struct initramfs_module *ret)
{
	for (const struct initramfs_module *m = initramfs_default_modules; m->name; m++)
		*ret++ = *m;
	if (net)
		*ret++ = net_module;
	if (disk)
		*ret++ = disk_module;
	*ret = (struct initramfs_module){0};
}

int initramfs_check_name(const char *name, struct err *err)
{
	size_t n = strlen(name);
	if (n == 0 || n > INITRAMFS_NAME_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"staged name '%.40s%s' has %zu bytes: 1 to %d are possible", name,
			n > 40 ? "..." : "", n, INITRAMFS_NAME_MAX);
	if (name[0] == '.')
		return err_set(err, ERR_INVALID_ARGUMENT, "staged name '%s' starts with a dot", name);
	for (const char *p = name; *p; p++)
		if (*p == '/' || (unsigned char)*p < 0x20 || *p == 0x7f)
			return err_set(err, ERR_INVALID_ARGUMENT,
				"staged name '%s' holds a %s: names are single file names", name,
				*p == '/' ? "slash" : "control character");
	return 0;
}

static int check_staged(const struct initramfs_config *config, struct err *err)
{
	if (config->n_staged > INITRAMFS_STAGED_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "%u staged files: at most %d are possible",
			config->n_staged, INITRAMFS_STAGED_MAX);
	for (unsigned i = 0; i < config->n_staged; i++) {
		int r = initramfs_check_name(config->staged[i].name, err);
		if (r < 0)
			return r;
		for (unsigned k = 0; k < i; k++)
			if (strcmp(config->staged[i].name, config->staged[k].name) == 0)
				return err_set(err, ERR_INVALID_ARGUMENT, "two staged files are named '%s'",
					config->staged[i].name);
	}
	return 0;
}

/* --- content --- */

static int add_skeleton(struct pack *pack, struct err *err)
{
	static const struct {
		const char *path;
		mode_t mode;
	} dirs[] = {{"/dev", 0755}, {"/proc", 0555}, {"/sys", 0555}, {"/tmp", 01777}, {"/run", 0755},
		{"/modules", 0755}, {"/staged", 0755}};
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		int r = pack_add_dir(pack, dirs[i].path, dirs[i].mode, err);
		if (r < 0)
			return r;
	}
	/* Documentation/admin-guide/devices.txt. */
	int r = pack_add_char_device(pack, "/dev/console", 0600, 5, 1, err);
	return r < 0 ? r : pack_add_char_device(pack, "/dev/null", 0666, 1, 3, err);
}

static int add_modules(
	struct pack *pack, const struct initramfs_config *config, struct inputs *inputs, struct err *err)
{
	_cleanup_(module_set_deinit) struct module_set set = MODULE_SET_EMPTY;
	_cleanup_strbuf_ struct strbuf order = STRBUF_INIT;
	int r = modules_resolve(config->kernel, config->modules ? config->modules : initramfs_default_modules,
		inputs, &set, err);
	for (size_t i = 0; r == 0 && i < set.n; i++) {
		char guest[MODULE_NAME_MAX + 16];
		snprintf(guest, sizeof(guest), "/modules/%s.ko", set.module[i].name);
		strbuf_printf(&order, "%s\n", guest);
		r = pack_add_bytes(pack, guest, set.module[i].path, TAKE_PTR(set.module[i].bytes),
			set.module[i].length, 0644, err);
	}
	if (r < 0)
		return r;
	size_t length = order.length;
	/* An empty list is a file too. */
	char *text = order.broken ? NULL : length ? strbuf_take(&order) : strdup("");
	if (!text)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot list the guest's modules");
	return pack_add_bytes(pack, "/modules/order", "the order of modules", text, length, 0644, err);
}

static int add_all(
	struct pack *pack, const struct initramfs_config *config, struct inputs *inputs, struct err *err)
{
	int r = add_skeleton(pack, err);
	if (r == 0)
		r = program_add(pack, inputs, NULL, "/init", config->agent, "the agent", err);
	if (r == 0)
		r = add_modules(pack, config, inputs, err);
	for (unsigned i = 0; r == 0 && i < config->n_staged; i++) {
		char guest[INITRAMFS_NAME_MAX + 16], what[INITRAMFS_NAME_MAX + 32];
		snprintf(guest, sizeof(guest), "/staged/%s", config->staged[i].name);
		snprintf(what, sizeof(what), "staged file '%s'", config->staged[i].name);
		r = program_add(pack, inputs, NULL, guest, config->staged[i].path, what, err);
	}
	return r;
}

/* --- the cache --- */

static void hash_text(XXH128_hash_t hash, char ret[HASH_TEXT])
{
	snprintf(ret, HASH_TEXT, "%016llx%016llx", (unsigned long long)hash.high64,
		(unsigned long long)hash.low64);
}

static void hash_string(XXH3_state_t *state, const char *text)
{
	XXH3_128bits_update(state, text, strlen(text) + 1);
}

static void state_free(XXH3_state_t **state)
{
	XXH3_freeState(*state);
}

/* What is asked for, as a file name. False without memory. */
static bool request_hash(const struct initramfs_config *config, char ret[HASH_TEXT])
{
	_cleanup_(state_free) XXH3_state_t *state = XXH3_createState();
	if (!state)
		return false;
	XXH3_128bits_reset(state);
	hash_string(state, FORMAT);
	hash_string(state, config->agent);
	hash_string(state, config->kernel->modules);
	hash_string(state, config->kernel->config);
	hash_string(state, config->kernel->release);
	const struct initramfs_module *module = config->modules ? config->modules : initramfs_default_modules;
	for (; module->name; module++) {
		hash_string(state, module->name);
		hash_string(state, module->option ? module->option : "");
		hash_string(state, module->optional ? "optional" : "needed");
	}
	for (unsigned i = 0; i < config->n_staged; i++) {
		hash_string(state, config->staged[i].name);
		hash_string(state, config->staged[i].path);
	}
	hash_text(XXH3_128bits_digest(state), ret);
	return true;
}

/* Maps the file whole and owns the fd. */
static int map_archive(int fd, size_t size, bool cached, struct initramfs *ret, struct err *err)
{
	_cleanup_close_ int own = fd;
	void *map = mmap(NULL, size, PROT_READ, MAP_PRIVATE, own, 0);
	if (map == MAP_FAILED)
		return err_set_os(err, ERR_HOST, errno, "cannot map the guest's archive");
	*ret = (struct initramfs){.bytes = map, .size = size, .fd = take_fd(&own), .cached = cached};
	return 0;
}

static bool is_hash(const char *text)
{
	return strlen(text) == HASH_TEXT - 1 && strspn(text, "0123456789abcdef") == HASH_TEXT - 1;
}

/* Opens CACHE/initramfs/HASH.cpio if it is there in that size, and marks it used. -1 otherwise. */
static int open_archive(const char *dir, const char *hash, unsigned long long size)
{
	char path[PATH_MAX];
	struct stat st;
	if (snprintf(path, sizeof(path), "%s/%s.cpio", dir, hash) >= PATH_MAX)
		return -1;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (unsigned long long)st.st_size != size)
		return -1;
	(void)!futimens(fd, NULL); /* somebody else's cache: its order of use stays as it is */
	return take_fd(&fd);
}

/* The archive made for this request before, if its inputs are still the same. */
static bool cache_find(const char *dir, const char *request, struct initramfs *ret)
{
	char path[PATH_MAX], hash[HASH_TEXT];
	struct err ignored = ERR_INIT;
	_cleanup_free_ char *text = NULL;
	size_t length;
	unsigned long long size;
	int n = 0;
	if (snprintf(path, sizeof(path), "%s/%s.inputs", dir, request) >= PATH_MAX ||
		fd_read_file(path, INPUTS_MAX_BYTES, &text, &length, &ignored) < 0 ||
		strlen(text) != length || sscanf(text, "cpio %32s %llu\n%n", hash, &size, &n) != 2 ||
		n == 0 || !is_hash(hash) || size == 0 || size > SIZE_MAX / 2 || !inputs_hold(text + n))
		return false;
	int fd = open_archive(dir, hash, size);
	if (fd < 0)
		return false;
	(void)!utimensat(AT_FDCWD, path, NULL, 0);
	return map_archive(fd, (size_t)size, true, ret, &ignored) == 0;
}

struct aged {
	struct timespec used;
	char name[NAME_MAX + 1];
};

static int newest_first(const void *a, const void *b)
{
	const struct timespec *x = &((const struct aged *)a)->used, *y = &((const struct aged *)b)->used;
	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? 1 : -1;
	return (x->tv_nsec < y->tv_nsec) - (x->tv_nsec > y->tv_nsec);
}

/* Deletes all but the `keep` newest files that end so, and what is half-written and old. */
static void cache_prune(const char *dir, const char *ending, size_t keep)
{
	struct aged *list = NULL;
	size_t n = 0, size = 0;
	DIR *d = opendir(dir);
	const struct dirent *entry;
	while (d && (entry = readdir(d))) {
		struct stat st;
		const char *at = strstr(entry->d_name, ending);
		if (!at || fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (at[strlen(ending)] != '\0') { /* fd_replace_file()'s temporary name */
			if (st.st_mtim.tv_sec + TEMPORARY_MAX_AGE_S < time(NULL))
				unlinkat(dirfd(d), entry->d_name, 0);
			continue;
		}
		if (n == size) {
			struct aged *more = realloc(list, (size = size ? size * 2 : 64) * sizeof(*list));
			if (!more)
				break;
			list = more;
		}
		list[n].used = st.st_mtim;
		snprintf(list[n++].name, sizeof(list->name), "%s", entry->d_name);
	}
	if (n > keep)
		qsort(list, n, sizeof(*list), newest_first);
	for (size_t i = keep; i < n; i++)
		unlinkat(dirfd(d), list[i].name, 0);
	if (d)
		closedir(d);
	free(list);
}

/* Keeps the archive, and that this request gives it. *built is replaced by the kept file: what is mapped
 * from a file costs no memory of ours. Failure only costs time at the next start. */
static void cache_store(
	const char *dir, const char *request, const struct inputs *inputs, struct initramfs *built)
{
	char path[PATH_MAX], hash[HASH_TEXT];
	struct err ignored = ERR_INIT;
	struct initramfs kept;
	_cleanup_strbuf_ struct strbuf text = STRBUF_INIT;
	if (fd_mkdir_p(dir, 0755, &ignored) < 0)
		return;
	hash_text(XXH3_128bits(built->bytes, built->size), hash);
	int fd = open_archive(dir, hash, built->size);
	if (fd < 0) {
		if (snprintf(path, sizeof(path), "%s/%s.cpio", dir, hash) >= PATH_MAX ||
			fd_replace_file(path, built->bytes, built->size, 0644, &ignored) < 0)
			return;
		fd = open_archive(dir, hash, built->size);
	}
	if (fd < 0 || map_archive(fd, built->size, false, &kept, &ignored) < 0)
		return;
	initramfs_close(built);
	*built = kept;
	strbuf_printf(&text, "cpio %s %zu\n", hash, built->size);
	strbuf_puts(&text, strbuf_str(&inputs->text));
	if (!inputs->unsure && !inputs->text.broken && !text.broken &&
		snprintf(path, sizeof(path), "%s/%s.inputs", dir, request) < PATH_MAX &&
		fd_replace_file(path, text.text, text.length, 0644, &ignored) < 0)
		return;
	cache_prune(dir, ".cpio", KEEP_ARCHIVES);
	cache_prune(dir, ".inputs", KEEP_REQUESTS);
}

static int build(
	const struct initramfs_config *config, struct inputs *inputs, struct initramfs *ret, struct err *err)
{
	_cleanup_(pack_free_p) struct pack *pack = pack_new();
	if (!pack)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot pack the guest's files");
	int r = add_all(pack, config, inputs, err);
	if (r < 0)
		return r;
	_cleanup_close_ int fd = memfd_create("initramfs", MFD_CLOEXEC);
	struct stat st;
	if (fd < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create the guest's archive");
	r = pack_write(pack, fd, INITRAMFS_MAX_BYTES, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot measure the guest's archive");
	return map_archive(take_fd(&fd), (size_t)st.st_size, false, ret, err);
}

int initramfs_open(const struct initramfs_config *config, struct initramfs *ret, struct err *err)
{
	char dir[PATH_MAX], request[HASH_TEXT];
	int r = check_staged(config, err);
	if (r < 0)
		return r;
	bool use_cache = config->cache_dir && request_hash(config, request) &&
			 snprintf(dir, sizeof(dir), "%s/initramfs", config->cache_dir) < PATH_MAX;
	if (use_cache && cache_find(dir, request, ret))
		return 0;
	_cleanup_(inputs_deinit) struct inputs inputs = INPUTS_INIT;
	struct initramfs built;
	r = build(config, &inputs, &built, err);
	if (r < 0)
		return r;
	if (use_cache)
		cache_store(dir, request, &inputs, &built);
	*ret = built;
	return 0;
}

void initramfs_close(struct initramfs *initramfs)
{
	if (initramfs->bytes)
		munmap((void *)initramfs->bytes, initramfs->size);
	fd_close(&initramfs->fd);
	*initramfs = INITRAMFS_EMPTY;
}
