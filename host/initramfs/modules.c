/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel modules (see modules.h). No state. */
#include "host/initramfs/modules.h"

#include "common/fd.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fts.h>
#include <gelf.h>
#include <libelf.h>
#include <string.h>
#include <sys/stat.h>
#include <uthash.h>

#define BUILTIN_MAX_BYTES (16u << 20)
#define CONFIG_MAX_BYTES (16u << 20)
/* Depth of "depends on"; the deepest chains in the kernel have a handful. */
#define DEPTH_MAX 64

enum module_state { STATE_NEW, STATE_OPEN, STATE_DONE };

/* One module of the tree. */
struct known {
	char name[MODULE_NAME_MAX];
	char *path;
	enum module_state state;
	UT_hash_handle hh;
};

struct tree {
	const struct kernel_files *kernel;
	struct inputs *inputs;
	struct known *known;
	char *builtin, *config; /* file contents, or NULL */
	struct module_set *set;
};

static void tree_deinit(struct tree *tree)
{
	struct known *known, *next;
	HASH_ITER (hh, tree->known, known, next) {
		HASH_DEL(tree->known, known);
		free(known->path);
		free(known);
	}
	free(tree->builtin);
	free(tree->config);
}

void module_set_deinit(struct module_set *set)
{
	for (size_t i = 0; i < set->n; i++) {
		free(set->module[i].bytes);
		free(set->module[i].path);
	}
	free(set->module);
	*set = MODULE_SET_EMPTY;
}

/* --- one module --- */

static void elf_free(Elf **elf)
{
	if (*elf)
		elf_end(*elf);
}

/* Copies "key=value" of the NUL-separated list. */
static void modinfo_field(const char *bytes, size_t length, const char *key, char *ret, size_t size)
{
	size_t key_length = strlen(key);
	for (size_t at = 0; at < length;) {
		size_t n = strnlen(bytes + at, length - at);
		if (n > key_length && bytes[at + key_length] == '=' &&
			memcmp(bytes + at, key, key_length) == 0) {
			size_t value = MIN_OF(n - key_length - 1, size - 1);
			memcpy(ret, bytes + at + key_length + 1, value);
			ret[value] = '\0';
			return;
		}
		at += n + 1;
	}
}

int modinfo_parse(const void *bytes, size_t length, struct modinfo *ret, struct err *err)
{
	*ret = (struct modinfo){0};
	elf_version(EV_CURRENT);
	/* elf_memory() does not write to what it is given, it only has no const. */
	_cleanup_(elf_free) Elf *elf = length ? elf_memory((char *)bytes, length) : NULL;
	size_t names;
	if (!elf || elf_kind(elf) != ELF_K_ELF || elf_getshdrstrndx(elf, &names) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT, "not an ELF file");
	Elf_Scn *section = NULL;
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr header;
		const char *name =
			gelf_getshdr(section, &header) ? elf_strptr(elf, names, header.sh_name) : NULL;
		const Elf_Data *data;
		if (!name || strcmp(name, ".modinfo") != 0 || !(data = elf_rawdata(section, NULL)) ||
			!data->d_buf)
			continue;
		modinfo_field(data->d_buf, data->d_size, "depends", ret->depends, sizeof(ret->depends));
		modinfo_field(data->d_buf, data->d_size, "vermagic", ret->vermagic, sizeof(ret->vermagic));
		return 0;
	}
	return err_set(err, ERR_INVALID_ARGUMENT, "an ELF file without .modinfo");
}

static void reader_free(struct archive **a)
{
	if (*a)
		archive_read_free(*a);
}

/* The file's bytes, unpacked when it is packed with xz, zstd or gzip. */
static int read_unpacked(const char *path, void **ret_bytes, size_t *ret_length, struct err *err)
{
	_cleanup_(reader_free) struct archive *a = archive_read_new();
	_cleanup_free_ char *bytes = NULL;
	size_t used = 0, size = 0;
	struct archive_entry *entry;
	if (!a)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot read module %.300s", path);
	/* A filter that is not built in would be an external program: refused (it answers ARCHIVE_WARN). */
	if (archive_read_support_filter_xz(a) != ARCHIVE_OK ||
		archive_read_support_filter_zstd(a) != ARCHIVE_OK ||
		archive_read_support_filter_gzip(a) != ARCHIVE_OK ||
		archive_read_support_format_raw(a) != ARCHIVE_OK)
		return err_set(
			err, ERR_HOST, "this libarchive cannot unpack modules: %s", archive_error_string(a));
	if (archive_read_open_filename(a, path, 65536) != ARCHIVE_OK ||
		archive_read_next_header(a, &entry) != ARCHIVE_OK)
		return err_set(err, ERR_INVALID_ARGUMENT, "cannot read module %.300s: %s", path,
			archive_error_string(a) ? archive_error_string(a) : "empty file");
	for (;;) {
		if (used == size) {
			size = size ? size * 2 : 256 * 1024;
			char *more = size <= 2 * (size_t)MODULE_MAX_BYTES ? realloc(bytes, size) : NULL;
			if (!more)
				return err_set(
					err, ERR_LIMIT_EXCEEDED, "module %.300s is too large unpacked", path);
			bytes = more;
		}
		la_ssize_t n = archive_read_data(a, bytes + used, size - used);
		if (n < 0)
			return err_set(err, ERR_INVALID_ARGUMENT, "cannot unpack module %.300s: %s", path,
				archive_error_string(a));
		if (n == 0)
			break;
		used += (size_t)n;
	}
	*ret_bytes = TAKE_PTR(bytes);
	*ret_length = used;
	return 0;
}

/* --- the tree --- */

/* "snd-hda.ko.xz" gives "snd_hda"; false if it is no module's file name. */
static bool module_name(const char *file, size_t length, char ret[MODULE_NAME_MAX])
{
	static const char *const ends[] = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		size_t end = strlen(ends[i]);
		if (length <= end || length - end >= MODULE_NAME_MAX ||
			memcmp(file + length - end, ends[i], end) != 0)
			continue;
		for (size_t k = 0; k < length - end; k++)
			ret[k] = file[k] == '-' ? '_' : file[k];
		ret[length - end] = '\0';
		return true;
	}
	return false;
}

static int tree_walk(struct tree *tree, struct err *err)
{
	char *const roots[] = {(char *)tree->kernel->modules, NULL};
	/* Links such as "build" are not followed. */
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	if (!fts)
		return err_set_os(
			err, ERR_HOST, errno, "cannot read module tree %.400s", tree->kernel->modules);
	FTSENT *entry;
	int r = 0;
	while (r == 0 && (entry = fts_read(fts))) {
		char name[MODULE_NAME_MAX];
		struct known *known = NULL;
		if (entry->fts_info != FTS_F || !module_name(entry->fts_name, entry->fts_namelen, name))
			continue;
		HASH_FIND_STR(tree->known, name, known);
		if (known)
			continue;
		known = calloc(1, sizeof(*known));
		if (!known || !(known->path = strdup(entry->fts_path))) {
			free(known);
			r = err_set_os(err, ERR_HOST, ENOMEM, "cannot list the kernel's modules");
			break;
		}
		memcpy(known->name, name, sizeof(name));
		HASH_ADD_STR(tree->known, name, known);
	}
	fts_close(fts);
	return r;
}

static int tree_open(struct tree *tree, struct err *err)
{
	char path[PATH_MAX + 32];
	size_t length;
	int r;
	if (tree->kernel->modules[0]) {
		snprintf(path, sizeof(path), "%s/modules.builtin", tree->kernel->modules);
		inputs_note(tree->inputs, path);
		if (access(path, R_OK) == 0 &&
			(r = fd_read_file(path, BUILTIN_MAX_BYTES, &tree->builtin, &length, err)) < 0)
			return r;
		if ((r = tree_walk(tree, err)) < 0)
			return r;
	}
	if (tree->kernel->config[0]) {
		inputs_note(tree->inputs, tree->kernel->config);
		if ((r = fd_read_file(tree->kernel->config, CONFIG_MAX_BYTES, &tree->config, &length, err)) <
			0)
			return r;
	}
	return 0;
}

/* Whether modules.builtin has a line ".../NAME.ko". */
static bool in_builtin(const struct tree *tree, const char *name)
{
	const char *line = tree->builtin;
	while (line && *line) {
		size_t length = strcspn(line, "\n");
		const char *slash = memrchr(line, '/', length), *file = slash ? slash + 1 : line;
		char found[MODULE_NAME_MAX];
		if (module_name(file, length - (size_t)(file - line), found) && strcmp(found, name) == 0)
			return true;
		line += length;
		line += *line == '\n';
	}
	return false;
}

/* Whether the config says OPTION=value. */
static bool config_says(const struct tree *tree, const char *option, char value)
{
	size_t n = strlen(option);
	const char *line = tree->config;
	while (line && *line) {
		if (strncmp(line, option, n) == 0 && line[n] == '=')
			return line[n + 1] == value;
		line += strcspn(line, "\n");
		line += *line == '\n';
	}
	return false;
}

static int tree_add(struct tree *tree, const char *name, const char *by, unsigned depth, struct err *err);

/* Adds what the module depends on, then the module. */
static int tree_load(struct tree *tree, struct known *known, unsigned depth, struct err *err)
{
	_cleanup_free_ void *bytes = NULL;
	size_t length = 0;
	struct modinfo info;
	inputs_note(tree->inputs, known->path);
	int r = read_unpacked(known->path, &bytes, &length, err);
	if (r < 0)
		return r;
	r = modinfo_parse(bytes, length, &info, err);
	if (r < 0)
		return err_wrap(err, "%.300s is no kernel module", known->path);
	size_t magic = strcspn(info.vermagic, " ");
	if (magic && tree->kernel->release[0] &&
		(strncmp(info.vermagic, tree->kernel->release, magic) != 0 || tree->kernel->release[magic]))
		return err_set(err, ERR_INVALID_ARGUMENT, "module %.300s is of kernel %.*s, not of %s",
			known->path, (int)MIN_OF(magic, 100u), info.vermagic, tree->kernel->release);
	char *rest = NULL;
	for (char *name = strtok_r(info.depends, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
		r = tree_add(tree, name, known->name, depth + 1, err);
		if (r < 0)
			return r;
	}
	struct module_set *set = tree->set;
	struct module *more =
		set->n < MODULES_MAX ? realloc(set->module, (set->n + 1) * sizeof(*set->module)) : NULL;
	if (!more)
		return err_set(err, ERR_LIMIT_EXCEEDED, "too many kernel modules are needed");
	set->module = more;
	struct module *module = &more[set->n];
	*module = (struct module){.bytes = TAKE_PTR(bytes), .length = length, .path = TAKE_PTR(known->path)};
	memcpy(module->name, known->name, sizeof(module->name));
	set->n++;
	return 0;
}

/* `by` is who needs it; NULL: asked for, and known to be there. */
static int tree_add(struct tree *tree, const char *name, const char *by, unsigned depth, struct err *err)
{
	struct known *known;
	char plain[MODULE_NAME_MAX];
	snprintf(plain, sizeof(plain), "%s", name);
	for (char *p = plain; *p; p++)
		*p = *p == '-' ? '_' : *p;
	HASH_FIND_STR(tree->known, plain, known);
	if (!known) {
		if (in_builtin(tree, plain))
			return 0;
		return err_set(err, ERR_UNSUPPORTED,
			"kernel %s has no module %s, which its module %s needs: it is neither built in nor "
			"in %.300s",
			tree->kernel->release, plain, by, tree->kernel->modules);
	}
	if (known->state == STATE_DONE)
		return 0;
	if (known->state == STATE_OPEN || depth > DEPTH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"modules of kernel %s depend on each other in a circle at %s", tree->kernel->release,
			plain);
	known->state = STATE_OPEN;
	int r = tree_load(tree, known, depth, err);
	known->state = STATE_DONE;
	return r;
}

/* Whether the kernel has it at all, as far as can be seen from here. */
static int find_wanted(
	const struct tree *tree, const struct initramfs_module *wanted, bool *ret_as_module, struct err *err)
{
	struct known *known;
	char plain[MODULE_NAME_MAX];
	snprintf(plain, sizeof(plain), "%s", wanted->name);
	for (char *p = plain; *p; p++)
		*p = *p == '-' ? '_' : *p;
	HASH_FIND_STR(tree->known, plain, known);
	*ret_as_module = known != NULL;
	if (known || wanted->optional || in_builtin(tree, plain) ||
		(wanted->option && config_says(tree, wanted->option, 'y')))
		return 0;
	if (!tree->kernel->modules[0] && !tree->config)
		return 0;
	if (!tree->kernel->modules[0])
		return err_set(err, ERR_UNSUPPORTED,
			"kernel %s has no %s: %.300s does not say %s=y and no module tree was found for it",
			tree->kernel->release, wanted->feature, tree->kernel->config,
			wanted->option ? wanted->option : plain);
	return err_set(err, ERR_UNSUPPORTED,
		"kernel %s has no %s: module %s is neither built in nor in %.300s", tree->kernel->release,
		wanted->feature, plain, tree->kernel->modules);
}

int modules_resolve(const struct kernel_files *kernel, const struct initramfs_module *wanted,
	struct inputs *inputs, struct module_set *ret, struct err *err)
{
	_cleanup_(module_set_deinit) struct module_set set = MODULE_SET_EMPTY;
	_cleanup_(tree_deinit) struct tree tree = {.kernel = kernel, .inputs = inputs, .set = &set};
	int r = tree_open(&tree, err);
	if (r < 0)
		return r;
	for (; wanted->name; wanted++) {
		bool as_module;
		r = find_wanted(&tree, wanted, &as_module, err);
		if (r == 0 && as_module)
			r = tree_add(&tree, wanted->name, NULL, 0, err);
		if (r < 0)
			return r;
	}
	*ret = set;
	set = MODULE_SET_EMPTY;
	return 0;
}
