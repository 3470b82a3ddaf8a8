/* SPDX-License-Identifier: GPL-2.0-only */
/* A program and all that it needs to be run in the guest (see program.h). No state.
 *
 * The search is the loader's, ld.so(8): DT_RPATH of the object and of those that loaded it (unless it has
 * DT_RUNPATH), DT_RUNPATH of the object, ld.so.cache, default directories. LD_LIBRARY_PATH is the environment
 * of this process and not of the guest: not looked at. The loader never reads ld.so.conf, so neither do we;
 * the cache goes into the archive whenever something was found by it. */
#include "host/initramfs/program.h"

#include "common/arena.h"
#include "host/initramfs/elf_info.h"
#include "host/initramfs/ldcache.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define LD_SO_CACHE "/etc/ld.so.cache"
#define ARENA_BYTES (16u << 20)

static const char *const loader_dirs[] = {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64",
	"/usr/lib64", "/lib", "/usr/lib", NULL};
/* Where a script's env looks in the guest. */
static const char *const program_dirs[] = {
	"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", NULL};

struct object {
	const char *name; /* as it was needed */
	const char *host, *guest;
	const struct object *loaded_by;
	struct elf_info info;
};

struct walk {
	struct pack *pack;
	struct inputs *inputs;
	const char *cache_path;
	const char *const *default_dirs;
	const char *what;
	struct ldcache cache;
	struct arena *arena;
	struct object *object[PROGRAM_LIBRARIES_MAX];
	unsigned n_objects;
};

static void walk_deinit(struct walk *walk)
{
	ldcache_close(&walk->cache);
	arena_free(walk->arena);
}

static int no_memory(struct err *err)
{
	return err_set(err, ERR_LIMIT_EXCEEDED, "needs too many libraries");
}

/* Reads the object at `host` and puts it at `guest`. */
static int walk_add(struct walk *walk, const char *name, const char *host, const char *guest,
	const struct object *loaded_by, struct err *err)
{
	if (walk->n_objects == PROGRAM_LIBRARIES_MAX)
		return no_memory(err);
	struct object *object = arena_zalloc(walk->arena, 1, sizeof(*object));
	enum file_kind kind;
	if (!object)
		return no_memory(err);
	*object = (struct object){.name = arena_strdup(walk->arena, name),
		.host = arena_strdup(walk->arena, host),
		.guest = arena_strdup(walk->arena, guest),
		.loaded_by = loaded_by};
	if (!object->name || !object->host || !object->guest)
		return no_memory(err);
	inputs_note(walk->inputs, host);
	int r = elf_info_read(host, walk->arena, &kind, &object->info, err);
	if (r < 0)
		return err_wrap(err, "%.300s", host);
	if (loaded_by) {
		r = pack_add_file(walk->pack, guest, host, 0755, err);
		if (r < 0)
			return r;
	}
	walk->object[walk->n_objects++] = object;
	return 0;
}

enum try_result { TRY_ADDED = 1, TRY_NO = 2 };

/* Takes the library at this path if the loader would. */
static int try_file(struct walk *walk, const char *name, const char *host, const char *guest,
	const struct object *by, struct err *err)
{
	if (!elf_is_library(host)) {
		inputs_note(walk->inputs, host);
		return TRY_NO;
	}
	int r = walk_add(walk, name, host, guest, by, err);
	return r < 0 ? r : TRY_ADDED;
}

/* The directory part of a path: "" for the root. */
static const char *dir_of(struct walk *walk, const char *path)
{
	const char *slash = strrchr(path, '/');
	return arena_strndup(walk->arena, path, slash ? (size_t)(slash - path) : 0);
}

/* Replaces $ORIGIN or ${ORIGIN} at the start by `origin`. NULL: a token that we do not know. */
static const char *expand(struct walk *walk, const char *dir, size_t length, const char *origin)
{
	static const char *const tokens[] = {"$ORIGIN", "${ORIGIN}"};
	for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
		size_t n = strlen(tokens[i]);
		if (length >= n && memcmp(dir, tokens[i], n) == 0 && !memchr(dir + n, '$', length - n))
			return arena_printf(walk->arena, "%s%.*s", origin, (int)(length - n), dir + n);
	}
	return memchr(dir, '$', length) ? NULL : arena_strndup(walk->arena, dir, length);
}

/* Directories of an RPATH or RUNPATH, which `owner` has. $ORIGIN is another directory in the guest. */
static int try_path_list(struct walk *walk, const char *name, const char *list, const struct object *owner,
	const struct object *by, struct err *err)
{
	while (list && *list) {
		size_t length = strcspn(list, ":");
		const char *host = expand(walk, list, length, dir_of(walk, owner->host)),
			   *guest = expand(walk, list, length, dir_of(walk, owner->guest));
		list += length;
		list += *list == ':';
		/* Relative directories would be the guest's working directory: nothing that can be packed. */
		if (!host || !guest || host[0] != '/' || guest[0] != '/')
			continue;
		host = arena_printf(walk->arena, "%s/%s", host, name);
		guest = arena_printf(walk->arena, "%s/%s", guest, name);
		if (!host || !guest)
			return no_memory(err);
		int r = try_file(walk, name, host, guest, by, err);
		if (r != TRY_NO)
			return r;
	}
	return TRY_NO;
}

static int try_cache(struct walk *walk, const char *name, const struct object *by, struct err *err)
{
	const char *path;
	for (uint32_t at = 0; (path = ldcache_find(&walk->cache, name, &at));) {
		int r = try_file(walk, name, path, path, by, err);
		if (r == TRY_ADDED)
			r = pack_add_file(walk->pack, LD_SO_CACHE, walk->cache_path, 0644, err);
		if (r != TRY_NO)
			return r < 0 ? r : TRY_ADDED;
	}
	return TRY_NO;
}

static int find_library(struct walk *walk, const char *name, const struct object *by, struct err *err)
{
	int r = TRY_NO;
	if (strchr(name, '/')) {
		if (name[0] == '/')
			r = try_file(walk, name, name, name, by, err);
	} else {
		if (!by->info.runpath)
			for (const struct object *o = by; r == TRY_NO && o; o = o->loaded_by)
				if (!o->info.runpath)
					r = try_path_list(walk, name, o->info.rpath, o, by, err);
		if (r == TRY_NO)
			r = try_path_list(walk, name, by->info.runpath, by, by, err);
		if (r == TRY_NO)
			r = try_cache(walk, name, by, err);
		for (const char *const *dir = walk->default_dirs; r == TRY_NO && *dir; dir++) {
			const char *path = arena_printf(walk->arena, "%s/%s", *dir, name);
			r = path ? try_file(walk, name, path, path, by, err) : no_memory(err);
		}
	}
	if (r != TRY_NO)
		return r;
	const char *run_path = by->info.runpath ? by->info.runpath : by->info.rpath;
	return err_set(err, ERR_NOT_FOUND,
		"needs %.100s (asked for by %.200s), which is neither in %s%.100s%s nor in the loader's "
		"directories",
		name, by->host, run_path ? "its run path " : "", run_path ? run_path : walk->cache_path,
		run_path ? ", the loader's cache" : "");
}

static bool is_there(const struct walk *walk, const char *name)
{
	for (unsigned i = 1; i < walk->n_objects; i++)
		if (strcmp(walk->object[i]->name, name) == 0)
			return true;
	return false;
}

static int add_loader(struct walk *walk, const char *interp, struct err *err)
{
	inputs_note(walk->inputs, interp);
	if (!elf_is_library(interp))
		return err_set(
			err, ERR_NOT_FOUND, "needs the loader %.300s, which is not on this host", interp);
	return pack_add_file(walk->pack, interp, interp, 0755, err);
}

static int add_libraries(struct walk *walk, const char *host, const char *guest, struct err *err)
{
	int r = walk_add(walk, "", host, guest, NULL, err);
	if (r < 0)
		return r;
	const char *interp = walk->object[0]->info.interp;
	if (interp && (r = add_loader(walk, interp, err)) < 0)
		return r;
	/* The loader is in the list of what libc needs; it finds itself by this name. */
	const char *loader = interp ? strrchr(interp, '/') + 1 : "";
	/* Breadth first, as the loader does it: the first of a name wins. */
	for (unsigned i = 0; i < walk->n_objects; i++) {
		const struct object *by = walk->object[i];
		for (unsigned k = 0; k < by->info.n_needed; k++) {
			const char *name = by->info.needed[k];
			if (strcmp(name, loader) == 0 || is_there(walk, name))
				continue;
			r = find_library(walk, name, by, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int add_interpreter(
	struct walk *walk, const struct program_search *search, const char *script, struct err *err)
{
	const char *path, *searched;
	int r = script_interpreter(script, walk->arena, &path, &searched, err);
	if (r < 0)
		return r;
	inputs_note(walk->inputs, path);
	if (access(path, X_OK) < 0)
		return err_set(err, ERR_NOT_FOUND, "is a script for %.200s, which is not on this host", path);
	enum file_kind kind;
	struct elf_info info;
	r = elf_info_read(path, walk->arena, &kind, &info, err);
	if (r < 0)
		return err_wrap(err, "is a script for %.200s, which", path);
	/* One level, as recursion would need a limit; interpreters that are scripts are rare. */
	if (kind != FILE_PROGRAM)
		return err_set(
			err, ERR_UNSUPPORTED, "is a script for %.200s, which is no ELF program itself", path);
	r = program_add(walk->pack, walk->inputs, search, path, path, "a script's interpreter", err);
	for (const char *const *dir = program_dirs; r == 0 && searched; dir++) {
		if (!*dir)
			return err_set(err, ERR_NOT_FOUND,
				"is a script for %.100s, which is not on this host", searched);
		path = searched[0] == '/' ? searched : arena_printf(walk->arena, "%s/%s", *dir, searched);
		if (!path)
			return no_memory(err);
		inputs_note(walk->inputs, path);
		if (access(path, X_OK) < 0)
			continue;
		r = elf_info_read(path, walk->arena, &kind, &info, err);
		if (r < 0 || kind != FILE_PROGRAM)
			return r < 0 ? err_wrap(err, "is a script for %.200s, which", path)
				     : err_set(err, ERR_UNSUPPORTED,
					       "is a script for %.200s, which is no ELF program itself",
					       path);
		return program_add(
			walk->pack, walk->inputs, search, path, path, "a script's interpreter", err);
	}
	return r;
}

int program_add(struct pack *pack, struct inputs *inputs, const struct program_search *search,
	const char *guest, const char *host, const char *what, struct err *err)
{
	_cleanup_free_ struct walk *heap = calloc(1, sizeof(*heap));
	if (!heap)
		return err_set_os(err, ERR_HOST, ENOMEM, "%s", what);
	*heap = (struct walk){.pack = pack,
		.inputs = inputs,
		.what = what,
		.cache_path = search && search->ld_so_cache ? search->ld_so_cache : LD_SO_CACHE,
		.default_dirs = search && search->default_dirs ? search->default_dirs : loader_dirs,
		.arena = arena_new(ARENA_BYTES)};
	struct walk *walk = heap;
	enum file_kind kind;
	struct elf_info info;
	inputs_note(inputs, host);
	int r = walk->arena ? elf_info_read(host, walk->arena, &kind, &info, err) : no_memory(err);
	if (r < 0) {
		arena_free(walk->arena);
		return err_wrap(err, "%s: %.300s", what, host);
	}
	r = pack_add_file(pack, guest, host, kind == FILE_DATA ? 0644 : 0755, err);
	if (r == 0 && kind == FILE_PROGRAM && (info.interp || info.n_needed)) {
		inputs_note(inputs, walk->cache_path);
		ldcache_open(&walk->cache, walk->cache_path);
		r = add_libraries(walk, host, guest, err);
	} else if (r == 0 && kind == FILE_SCRIPT) {
		r = add_interpreter(walk, search, host, err);
	}
	walk_deinit(walk);
	return r < 0 ? err_wrap(err, "%s", what) : 0;
}
