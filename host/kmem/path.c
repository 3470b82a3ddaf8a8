/* SPDX-License-Identifier: GPL-2.0-only */
/* Parses and resolves in one pass from left to right. No state beyond a call, any thread. */
#include "host/kmem/module.h"
#include "host/kmem/path_internal.h"
#include "host/kmem/suggest.h"
#include "host/kmem/task.h"

#include <errno.h>
#include <string.h>

#define NAME_MAX_BYTES KALLSYMS_NAME_MAX
#define STARS_MAX 4
/* Members of a program's struct that are looked for in the kernel's. */
#define VIEW_MEMBERS 16

int path_fail(const struct path *path, const char *at, struct err *err, const char *what)
{
	int rc = err_set(err, ERR_INVALID_ARGUMENT, "'%s' column %d: %s", path->text,
		(int)(at - path->text) + 1, what);

	(void)err_reason(err, "syntax");
	return rc;
}

int path_locate(const struct path *path, const char *at, int rc, struct err *err)
{
	(void)err_wrap(err, "'%s' column %d", path->text, (int)(at - path->text) + 1);
	return rc;
}

/* The types of the value so far, or the kernel's. */
static const struct kbtf *types(const struct path *path, struct err *err)
{
	return path->btf ? path->btf : kmem_btf(path->kmem, err);
}

static bool is_name_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static size_t name_length(const char *p)
{
	size_t n = is_name_start(*p);

	while (n > 0 && (is_name_start(p[n]) || (p[n] >= '0' && p[n] <= '9')))
		n++;
	return n;
}

void path_skip_spaces(struct path *path)
{
	path->p += strspn(path->p, " ");
}

int path_number(struct path *path, uint64_t *ret_value, struct err *err)
{
	const char *at = path->p;
	char *end;

	if (*at < '0' || *at > '9')
		return path_fail(path, at, err, "expected a number");
	errno = 0;
	*ret_value = strtoull(at, &end, 0);
	if (errno || is_name_start(*end))
		return path_fail(path, at, err, "this is no 64-bit number");
	path->p = end;
	return 0;
}

/* The type that `text` of `length` bytes names, stars left out. */
static uint32_t type_find(const struct kbtf *btf, const char *text, size_t length)
{
	static const struct {
		const char *word;
		unsigned kind;
	} words[] = {{"struct ", BTF_KIND_STRUCT}, {"union ", BTF_KIND_UNION}, {"enum ", BTF_KIND_ENUM}};
	char name[128];
	uint32_t type;

	if (length >= sizeof(name))
		return 0;
	memcpy(name, text, length);
	name[length] = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (strncmp(name, words[i].word, strlen(words[i].word)) == 0)
			return kbtf_find(btf, words[i].kind, name + strlen(words[i].word));
	type = kbtf_find(btf, BTF_KIND_INT, name);
	return type ? type : kbtf_find(btf, BTF_KIND_TYPEDEF, name);
}

/* The type that a module has under that name, with its BTF; 0: none has. */
static uint32_t module_type(
	const struct kmem *kmem, const char *text, size_t length, const struct kbtf **ret_btf)
{
	static const struct {
		const char *word;
		unsigned kind;
	} words[] = {{"struct ", BTF_KIND_STRUCT}, {"union ", BTF_KIND_UNION}, {"enum ", BTF_KIND_ENUM},
		{"", BTF_KIND_TYPEDEF}};
	const struct kbtf *btf;
	char name[128];
	uint32_t type;

	if (length >= sizeof(name))
		return 0;
	memcpy(name, text, length);
	name[length] = '\0';
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
		size_t word = strlen(words[i].word);
		if (strncmp(name, words[i].word, word) != 0)
			continue;
		if (kmem_module_type(kmem, words[i].kind, name + word, &btf, &type, NULL) <= 0)
			return 0;
		*ret_btf = btf;
		return type;
	}
	return 0;
}

static uint32_t type_remember(
	const struct kmem *kmem, const struct kbtf *btf, const char *text, size_t length)
{
	uint32_t type;

	if (memo_get(kmem_memo(kmem), KMEM_MEMO_TYPE, text, length, &type, sizeof(type)))
		return type;
	type = type_find(btf, text, length);
	/* That there is none is remembered, too. */
	memo_put(kmem_memo(kmem), KMEM_MEMO_TYPE, text, length, &type, sizeof(type));
	return type;
}

/* kbtf_per_cpu(), remembering; 0 when the variable has no type. */
static uint32_t per_cpu_remember(const struct kmem *kmem, const struct kbtf *btf, const char *symbol)
{
	char key[MEMO_KEY_MAX];
	int length = snprintf(key, sizeof(key), "@%s", symbol);
	uint32_t type;

	if ((size_t)length >= sizeof(key))
		return kbtf_per_cpu(btf, symbol, &type, NULL) == 0 ? type : 0;
	if (memo_get(kmem_memo(kmem), KMEM_MEMO_TYPE, key, (size_t)length, &type, sizeof(type)))
		return type;
	if (kbtf_per_cpu(btf, symbol, &type, NULL) < 0)
		return 0;
	memo_put(kmem_memo(kmem), KMEM_MEMO_TYPE, key, (size_t)length, &type, sizeof(type));
	return type;
}

/* kbtf_member(), remembering: a struct as large as task_struct has hundreds of names to compare. */
static int member_remember(const struct kmem *kmem, const struct kbtf *btf, struct kbtf_place *place,
	const char *name, size_t length, struct err *err)
{
	char key[MEMO_KEY_MAX];
	int key_bytes = snprintf(key, sizeof(key), "%u.%.*s", place->type, (int)length, name), rc;
	/* Ids of other BTFs mean other types. */
	bool memo = (size_t)key_bytes < sizeof(key) && btf == kmem_btf(kmem, NULL);

	if (memo &&
		memo_get(kmem_memo(kmem), KMEM_MEMO_MEMBER, key, (size_t)key_bytes, place, sizeof(*place)))
		return 0;
	rc = kbtf_member(btf, place, name, length, err);
	if (rc == 0 && memo)
		memo_put(kmem_memo(kmem), KMEM_MEMO_MEMBER, key, (size_t)key_bytes, place, sizeof(*place));
	return rc;
}

/* Names near to one that is not there, of whatever kind: "struct" left out is the usual slip. */
static const char *type_suggest(
	const struct kbtf *btf, const char *text, size_t length, char *buffer, size_t size)
{
	static const unsigned kinds[] = {
		BTF_KIND_STRUCT, BTF_KIND_UNION, BTF_KIND_ENUM, BTF_KIND_TYPEDEF, BTF_KIND_INT};
	static const char *const words[] = {"struct ", "union ", "enum ", "", ""};
	const char *last = memrchr(text, ' ', length);
	struct suggest near;

	if (last) {
		length -= (size_t)(last + 1 - text);
		text = last + 1;
	}
	suggest_init(&near, text, length);
	for (uint32_t id = 1; id < kbtf_count(btf); id++) {
		unsigned kind = kbtf_kind(btf, id);
		for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
			if (kind != kinds[k] || !*kbtf_name(btf, id))
				continue;
			char name[128];
			const char *plain = kbtf_name(btf, id);
			if (!last && strlen(plain) == length && memcmp(plain, text, length) == 0) {
				snprintf(buffer, size, "; did you mean '%s%s'", words[k], plain);
				return buffer;
			}
			snprintf(name, sizeof(name), "%s", plain);
			suggest_offer(&near, name, strlen(name));
		}
	}
	return suggest_text(&near, buffer, size);
}

int path_type_set(struct path *path, const char *at, const char *text, size_t length, struct err *err)
{
	const struct kbtf *btf = kmem_btf(path->kmem, err);

	if (!btf)
		return -ENOTSUP;
	while (length > 0 && (text[length - 1] == '*' || text[length - 1] == ' '))
		if (text[--length] == '*' && ++path->stars > STARS_MAX)
			return path_fail(path, at, err, "too many pointers");
	path->place = (struct kbtf_place){.type = type_remember(path->kmem, btf, text, length)};
	if (path->place.type == 0)
		path->place.type = module_type(path->kmem, text, length, &btf);
	if (path->place.type == 0) {
		char near[256];
		int rc = err_set(err, ERR_NOT_FOUND, "'%s' column %d: the kernel's BTF has no type '%.*s'%s",
			path->text, (int)(at - path->text) + 1, (int)MIN_OF(length, 64), text,
			err ? type_suggest(btf, text, length, near, sizeof(near)) : "");
		(void)err_reason(err, "no-such-type");
		return rc;
	}
	if (kbtf_size(btf, path->place.type, &path->place.size_bytes) < 0)
		path->place.size_bytes = 0;
	path->typed = true;
	path->btf = btf;
	return 0;
}

static int cast_parse(struct path *path, struct err *err)
{
	const char *open = path->p, *close = strchr(open, ')');

	if (*open != '(')
		return 0;
	if (!close || close == open + 1)
		return path_fail(
			path, open, err, close ? "expected a type" : "this parenthesis is not closed");
	path->p = close + 1;
	path_skip_spaces(path);
	return path_type_set(path, open + 1, open + 1, (size_t)(close - open - 1), err);
}

int path_cpu(struct path *path, const char *what, struct err *err)
{
	const char *at = path->p;
	uint64_t cpu;
	int rc;

	if (*at != '@') {
		rc = err_set(err, ERR_INVALID_ARGUMENT,
			"'%s' column %d: this is a per-CPU %s: expected '@' and a CPU", path->text,
			(int)(at - path->text) + 1, what);
		(void)err_reason(err, "syntax");
		return rc;
	}
	path->p++;
	if (*path->p == '*') {
		if (path->star_cpu < 0)
			return path_fail(
				path, path->p, err, "every CPU at once is for reads and snapshots only");
		cpu = (uint64_t)path->star_cpu;
		path->p++;
	} else {
		rc = path_number(path, &cpu, err);
		if (rc < 0)
			return rc;
	}
	cpu = MIN_OF(cpu, INT32_MAX);
	rc = kmem_per_cpu(path->kmem, path->address, (unsigned)cpu, &path->address, err);
	path->route.cpu = (int)cpu;
	return rc < 0 ? path_locate(path, at + 1, rc, err) : 0;
}

static int per_cpu_parse(struct path *path, const char *symbol, struct err *err)
{
	int rc = path_cpu(path, "variable", err);

	if (rc < 0 || path->typed)
		return rc;
	const struct kbtf *btf = kmem_btf(path->kmem, err);
	if (!btf)
		return -ENOTSUP;
	/* A per-CPU variable without a type can still be read by width. */
	path->place.type = per_cpu_remember(path->kmem, btf, symbol);
	if (path->place.type) {
		path->typed = true;
		path->btf = btf;
		if (kbtf_size(btf, path->place.type, &path->place.size_bytes) < 0)
			path->place.size_bytes = 0;
	}
	return 0;
}

/* "(PID)" or "(PID, start time in ns)" behind the word `task`. */
static int task_parse(struct path *path, const char *at, struct err *err)
{
	struct kmem_task_id id = {0};
	uint64_t pid;
	int rc;

	path->p++;
	path_skip_spaces(path);
	const char *at_pid = path->p;
	rc = path_number(path, &pid, err);
	if (rc < 0)
		return rc;
	if (pid == 0 || pid > INT32_MAX)
		return path_fail(path, at_pid, err,
			pid ? "this is no PID" : "PID 0 is one idle task per CPU: runqueues@CPU.idle->");
	id.pid = (uint32_t)pid;
	path_skip_spaces(path);
	if (*path->p == ',') {
		path->p++;
		path_skip_spaces(path);
		rc = path_number(path, &id.start_time_ns, err);
		if (rc < 0)
			return rc;
		path_skip_spaces(path);
	}
	if (*path->p != ')')
		return path_fail(path, path->p, err, "expected ')'");
	path->p++;
	if (path->typed)
		return path_fail(path, at, err, "a task has a type already: leave the cast away");
	rc = kmem_task_find(path->kmem, &id, &path->address, err);
	if (rc < 0)
		return path_locate(path, at, rc, err);
	path->task = path->address;
	path->route.fixed = false;
	path->identified = kmem_task_is_identified(&id);
	return path_type_set(path, at, "struct task_struct", strlen("struct task_struct"), err);
}

static int symbol_parse(struct path *path, struct err *err)
{
	const char *at = path->p;
	size_t length = name_length(at);
	char name[NAME_MAX_BYTES];
	int rc;

	if (length == 0)
		return path_fail(
			path, at, err, *at ? "expected a symbol or an address" : "the path ends here");
	if (length >= sizeof(name))
		return path_fail(path, at, err, "this name is too long");
	memcpy(name, at, length);
	name[length] = '\0';
	path->p += length;
	if (*path->p == '(' && strcmp(name, "task") == 0)
		return task_parse(path, at, err);
	if (*path->p == '(' && strcmp(name, "map") == 0)
		return path_map(path, at, err);
	if (*path->p == '(') {
		rc = err_set(err, ERR_UNSUPPORTED,
			"'%s' column %d: there is no %s() in paths: task() and map() are", path->text,
			(int)(at - path->text) + 1, name);
		return rc;
	}
	rc = kmem_any_symbol(path->kmem, name, &path->address, err);
	if (rc < 0)
		return path_locate(path, at, rc, err);
	if (kmem_is_per_cpu(path->kmem, path->address))
		return per_cpu_parse(path, name, err);
	if (*path->p == '@')
		return path_fail(path, path->p, err, "this symbol is not per CPU");
	const char *known = kmem_known_type(name);
	if (!path->typed && known && kmem_btf(path->kmem, NULL) &&
		path_type_set(path, at, known, strlen(known), NULL) < 0) {
		/* A kernel without that type: the symbol is as good as unknown. */
		path->typed = false;
		path->stars = 0;
	}
	return 0;
}

static int start_parse(struct path *path, struct err *err)
{
	const char *at = path->p;

	if (*at < '0' || *at > '9')
		return symbol_parse(path, err);
	if (!path->typed)
		return path_fail(path, at, err, "an address needs a type: (struct NAME)0x...");
	return path_number(path, &path->address.v, err);
}

/* Whether the kernel's struct has all of a program's members: then the program's is a view of it. */
static bool is_view(const struct kbtf *btf, uint32_t type, const struct kbtf *own, uint32_t kernels)
{
	struct kbtf_place ours, theirs;
	const char *name;

	for (unsigned i = 0; i < VIEW_MEMBERS && kbtf_member_at(btf, type, i, &ours, &name); i++) {
		theirs = (struct kbtf_place){.type = kernels};
		if (*name && kbtf_member(own, &theirs, name, strlen(name), NULL) < 0)
			return false;
	}
	return true;
}

/* Behind a pointer of a BPF map's: a program's view of a kernel struct ("task_struct", "rq___old") is laid
 * out as the kernel's, whatever the program was built with. Returns the types to go on with. */
static const struct kbtf *kernel_struct(struct path *path, const struct kbtf *btf)
{
	const struct kbtf *own = kmem_btf(path->kmem, NULL);
	uint32_t target = kbtf_resolve(btf, path->place.type), found = 0;
	unsigned kind = kbtf_kind(btf, target);
	char text[96];

	if (!own || btf == own || path->stars > 0 ||
		(kind != BTF_KIND_STRUCT && kind != BTF_KIND_UNION && kind != BTF_KIND_FWD))
		return btf;
	const char *name = kbtf_name(btf, target), *flavour = strstr(name, "___");
	int length = snprintf(text, sizeof(text), "%s %.*s", kind == BTF_KIND_UNION ? "union" : "struct",
		flavour ? (int)(flavour - name) : (int)sizeof(text), name);
	if ((size_t)length < sizeof(text))
		found = type_remember(path->kmem, own, text, (size_t)length);
	if (!found || !is_view(btf, target, own, found))
		return btf;
	path->place = (struct kbtf_place){.type = found};
	path->btf = own;
	return own;
}

/* The value so far is a pointer: goes where it points to. */
static int follow(struct path *path, const char *at, struct err *err)
{
	const struct kbtf *btf = types(path, err);
	uint64_t to;
	int rc;

	if (!btf)
		return -ENOTSUP;
	if (!path->typed)
		return path_fail(path, at, err,
			"what this points to is not known: give a type, (struct NAME *)symbol");
	if (path->stars == 0 && kbtf_kind(btf, kbtf_resolve(btf, path->place.type)) != BTF_KIND_PTR)
		return path_fail(path, at, err, "this is not a pointer");
	if (path->route.hops < KMEM_HOPS_MAX)
		path->route.offset[path->route.hops] = path->address.v - path->hop.v;
	path->route.hops++;
	rc = kmem_copy(path->kmem, path->address, &to, sizeof(to), err);
	if (rc < 0)
		return path_locate(path, at, rc, err);
	if (to == 0) {
		rc = err_set(err, ERR_UNMAPPED, "'%s' column %d: the pointer before it is NULL", path->text,
			(int)(at - path->text) + 1);
		(void)err_reason(err, "null-pointer");
		return rc;
	}
	path->address = path->hop = GVA(to);
	path->task = GVA(0);
	if (path->stars > 0)
		path->stars--;
	else
		path->place = (struct kbtf_place){.type = kbtf_target(btf, path->place.type, NULL)};
	btf = kernel_struct(path, btf);
	if (kbtf_size(btf, path->place.type, &path->place.size_bytes) < 0)
		path->place.size_bytes = 0;
	return 0;
}

static int member_parse(struct path *path, const char *at, struct err *err)
{
	const struct kbtf *btf = types(path, err);
	size_t length = name_length(path->p);
	int rc;

	if (!btf)
		return -ENOTSUP;
	if (length == 0)
		return path_fail(path, path->p, err, "expected a member's name");
	if (!path->typed)
		return path_fail(path, at, err,
			"the symbol before it has no type in the kernel's BTF: give one, (struct "
			"NAME)symbol");
	if (path->stars > 0)
		return path_fail(path, at, err, "what is before it is a pointer: follow it with ->");
	path->place.offset_bytes = 0;
	rc = member_remember(path->kmem, btf, &path->place, path->p, length, err);
	if (rc < 0)
		return path_locate(path, path->p, rc, err);
	path->address.v += path->place.offset_bytes;
	path->p += length;
	return 0;
}

static int index_parse(struct path *path, const char *at, struct err *err)
{
	const struct kbtf *btf = types(path, err);
	uint64_t index, offset;
	int rc;

	if (!btf)
		return -ENOTSUP;
	rc = path_number(path, &index, err);
	if (rc < 0)
		return rc;
	if (*path->p != ']')
		return path_fail(path, path->p, err, "expected ']'");
	path->p++;
	if (path->typed && path->stars == 0 &&
		kbtf_kind(btf, kbtf_resolve(btf, path->place.type)) == BTF_KIND_ARRAY) {
		path->place.offset_bytes = 0;
		rc = kbtf_element(btf, &path->place, index, err);
		if (rc < 0)
			return path_locate(path, at, rc, err);
		path->address.v += path->place.offset_bytes;
		return 0;
	}
	/* As in C, p[i] of a pointer is the i-th value behind it. */
	rc = follow(path, at, err);
	if (rc < 0)
		return rc;
	uint64_t size = path->stars > 0 ? 8 : path->place.size_bytes;
	if (size == 0 || __builtin_mul_overflow(index, size, &offset))
		return path_fail(path, at, err, "elements behind this pointer have no size");
	path->address.v += offset;
	return 0;
}

bool kmem_path_is_star(const char *text)
{
	return strstr(text, "@*") != NULL;
}

int kmem_path_resolve(const struct kmem *kmem, const char *text, int star_cpu,
	struct kmem_resolved *ret_resolved, struct err *err)
{
	return kmem_path_route(kmem, text, star_cpu, ret_resolved, NULL, err);
}

int kmem_path_route(const struct kmem *kmem, const char *text, int star_cpu,
	struct kmem_resolved *ret_resolved, struct kmem_route *ret_route, struct err *err)
{
	struct path path = {.kmem = kmem,
		.text = text,
		.p = text,
		.star_cpu = star_cpu,
		.route = {.fixed = true, .cpu = -1}};
	int rc;

	if (strlen(text) >= KMEM_PATH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "a path has at most %d bytes", KMEM_PATH_MAX - 1);
	path_skip_spaces(&path);
	rc = cast_parse(&path, err);
	if (rc == 0)
		rc = start_parse(&path, err);
	path.route.start = path.hop = path.address;
	while (rc == 0 && *path.p) {
		const char *at = path.p;
		if (*at == '.') {
			path.p++;
			rc = member_parse(&path, at, err);
		} else if (*at == '-' && at[1] == '>') {
			path.p += 2;
			rc = follow(&path, at, err);
			if (rc == 0)
				rc = member_parse(&path, at, err);
		} else if (*at == '[') {
			path.p++;
			rc = index_parse(&path, at, err);
		} else if (*at == ' ' && at[strspn(at, " ")] == '\0') {
			break;
		} else {
			rc = path_fail(&path, at, err, "expected '.', '->', '[' or the end");
		}
	}
	ret_resolved->hops = path.hops;
	if (rc < 0)
		return rc;
	*ret_resolved = (struct kmem_resolved){
		.address = path.address,
		.way = KMEM_WAY_ANY,
		.type = path.typed ? path.place.type : 0,
		.btf = path.typed ? path.btf : NULL,
		/* That of an untyped value of a BPF map is known, too. */
		.size_bytes = path.stars > 0 ? 8 : path.place.size_bytes,
		.bit_offset = path.place.bit_offset,
		.bit_size = path.place.bit_size,
		.pointers = (uint8_t)path.stars,
		.task = path.task,
		.identified = path.identified,
		.hops = path.hops,
	};
	if (ret_route) {
		*ret_route = path.route;
		if (path.route.hops > KMEM_HOPS_MAX)
			ret_route->fixed = false;
		else
			ret_route->offset[path.route.hops] = path.address.v - path.hop.v;
	}
	return 0;
}
