/* SPDX-License-Identifier: GPL-2.0-only */
/* The form of a path, without a kernel: so that a scenario's slips are found before a VM boots. Accepts all
 * that kmem_path_resolve() could accept for some kernel. No state, any thread. */
#include "host/kmem/path.h"

#include <errno.h>
#include <string.h>

struct scan {
	const char *text, *p;
	struct err *err;
};

static int fail(const struct scan *scan, const char *what)
{
	int rc = err_set(scan->err, ERR_INVALID_ARGUMENT, "'%s' column %d: %s", scan->text,
		(int)(scan->p - scan->text) + 1, what);

	(void)err_reason(scan->err, "syntax");
	return rc;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void spaces(struct scan *scan)
{
	scan->p += strspn(scan->p, " ");
}

static int number(struct scan *scan)
{
	char *end;

	if (!is_digit(*scan->p))
		return fail(scan, "expected a number");
	errno = 0;
	(void)strtoull(scan->p, &end, 0);
	if (errno || is_letter(*end))
		return fail(scan, "this is no 64-bit number");
	scan->p = end;
	return 0;
}

static int name(struct scan *scan, const char *expected)
{
	if (!is_letter(*scan->p))
		return fail(scan, *scan->p ? expected : "the path ends here");
	while (is_letter(*scan->p) || is_digit(*scan->p))
		scan->p++;
	return 0;
}

/* What stands in parentheses behind a word; its arguments are left to the resolver. */
static int call(struct scan *scan)
{
	const char *close = strchr(scan->p, ')');

	if (!close)
		return fail(scan, "this parenthesis is not closed");
	scan->p = close + 1;
	return 0;
}

static int element(struct scan *scan)
{
	scan->p++;
	int rc = number(scan);
	if (rc == 0 && *scan->p != ']')
		rc = fail(scan, "expected ']'");
	scan->p += rc == 0;
	return rc;
}

/* The key of a map's element. */
static int key(struct scan *scan)
{
	int rc = 0;

	scan->p++;
	spaces(scan);
	if (*scan->p == '"') {
		const char *close = strchr(scan->p + 1, '"');
		if (!close)
			return fail(scan, "this quote is not closed");
		scan->p = close + 1;
	} else if (strncmp(scan->p, "hex(", 4) == 0) {
		rc = call(scan);
	} else {
		rc = number(scan);
		while (rc == 0 && *scan->p == ',') {
			scan->p++;
			spaces(scan);
			rc = number(scan);
		}
	}
	spaces(scan);
	if (rc == 0 && *scan->p != ']')
		rc = fail(scan, "expected ']'");
	scan->p += rc == 0;
	return rc;
}

static int start(struct scan *scan, bool star_allowed)
{
	int rc;

	if (is_digit(*scan->p))
		return number(scan);
	const char *word = scan->p;
	rc = name(scan, "expected a symbol or an address");
	if (rc == 0 && *scan->p == '(') {
		bool is_map = scan->p - word == 3 && strncmp(word, "map", 3) == 0;
		rc = call(scan);
		/* A key belongs to the start: a CPU may follow it. */
		if (rc == 0 && is_map && *scan->p == '[')
			rc = key(scan);
		if (!is_map)
			return rc;
	}
	if (rc < 0 || *scan->p != '@')
		return rc;
	scan->p++;
	if (*scan->p != '*')
		return number(scan);
	if (!star_allowed)
		return fail(scan, "every CPU at once is for reads and snapshots only");
	scan->p++;
	return 0;
}

static int step(struct scan *scan)
{
	if (*scan->p == '[')
		return element(scan);
	if (*scan->p == '.')
		scan->p++;
	else if (scan->p[0] == '-' && scan->p[1] == '>')
		scan->p += 2;
	else
		return fail(scan, "expected '.', '->', '[' or the end");
	return name(scan, "expected a member's name");
}

int kmem_path_check(const char *text, bool star_allowed, struct err *err)
{
	struct scan scan = {text, text, err};
	bool cast;
	int rc = 0;

	if (strlen(text) >= KMEM_PATH_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "a path has at most %d bytes", KMEM_PATH_MAX - 1);
	spaces(&scan);
	cast = *scan.p == '(';
	if (cast && scan.p[1] == ')')
		rc = fail(&scan, "expected a type");
	else if (cast)
		rc = call(&scan);
	if (rc == 0) {
		spaces(&scan);
		if (!cast && is_digit(*scan.p))
			rc = fail(&scan, "an address needs a type: (struct NAME)0x...");
		else
			rc = start(&scan, star_allowed);
	}
	while (rc == 0 && scan.p[strspn(scan.p, " ")])
		rc = step(&scan);
	return rc;
}
