/* SPDX-License-Identifier: GPL-2.0-only */
/* Text to tree (see tree.h) through libfyaml's event parser. Events instead of its documents: duplicate keys,
 * aliases and tags stay visible, every node has its own position, and nothing is built beyond the bounds. */
#include "host/text/tree.h"

#include <libfyaml.h>
#include <string.h>

#define TEXT_OF_(x) #x
#define TEXT_OF(x) TEXT_OF_(x)
#define TOO_MANY "the file has too many entries: at most " TEXT_OF(TREE_NODES_MAX)

struct reader {
	struct arena *arena;
	struct text_errors *errors;
	struct fy_parser *parser;
	unsigned nodes;
};

static void no_output(struct fy_diag *diag, void *user, const char *text, size_t length)
{
}

void text_errors_add(struct text_errors *errors, enum err_code code, unsigned line, unsigned column,
	const char *place, const char *fmt, ...)
{
	if (errors->n == TEXT_ERRORS_MAX) {
		errors->dropped++;
		return;
	}
	struct text_error *error = &errors->error[errors->n++];
	char sentence[sizeof(error->err.message)];
	va_list args;
	va_start(args, fmt);
	vsnprintf(sentence, sizeof(sentence), fmt, args);
	va_end(args);
	err_set(&error->err, code, "%s", sentence);
	snprintf(error->err.place, sizeof(error->err.place), "%s", place);
	error->line = line;
	error->column = column;
}

static void *refuse(struct reader *r, struct fy_event *event, enum err_code code, const char *sentence)
{
	const struct fy_mark *mark = event ? fy_event_start_mark(event) : NULL;
	text_errors_add(r->errors, code, mark ? (unsigned)mark->line + 1 : 0,
		mark ? (unsigned)mark->column + 1 : 0, "", "%s", sentence);
	return NULL;
}

/* The parser's own complaints become ours; a failure without one still is a mistake of the text. */
static void *syntax_error(struct reader *r, struct fy_diag *diag)
{
	void *at = NULL;
	struct fy_diag_error *e = fy_diag_errors_iterate(diag, &at);
	if (e)
		text_errors_add(r->errors, ERR_INVALID_ARGUMENT, e->line > 0 ? (unsigned)e->line : 0,
			e->column > 0 ? (unsigned)e->column : 0, "", "this is not YAML: %s", e->msg);
	else
		text_errors_add(r->errors, ERR_INVALID_ARGUMENT, 1, 1, "",
			"this is not YAML 1.2: a file may begin with '---', and needs no %%YAML or %%TAG "
			"line");
	return NULL;
}

static bool has_extras(const struct fy_event *event)
{
	switch (event->type) {
	case FYET_SCALAR:
		return event->scalar.anchor || event->scalar.tag;
	case FYET_SEQUENCE_START:
		return event->sequence_start.anchor || event->sequence_start.tag;
	case FYET_MAPPING_START:
		return event->mapping_start.anchor || event->mapping_start.tag;
	default:
		return false;
	}
}

static const char *scalar_text(struct reader *r, struct fy_event *event)
{
	size_t length = 0;
	const char *text = event->scalar.value ? fy_token_get_text(event->scalar.value, &length) : "";
	if (!text)
		text = "", length = 0;
	if (memchr(text, '\0', length))
		return refuse(r, event, ERR_INVALID_ARGUMENT, "text must not hold a NUL character");
	const char *copy = arena_strndup(r->arena, text, length);
	return copy ? copy : refuse(r, event, ERR_LIMIT_EXCEEDED, "the file needs too much memory");
}

static struct tree *read_node(struct reader *r, struct fy_event *event, unsigned depth);

/* Children until the end event; in a map each is preceded by its key. */
static bool read_children(struct reader *r, struct tree *node, unsigned depth)
{
	enum fy_event_type end = node->kind == TREE_MAP ? FYET_MAPPING_END : FYET_SEQUENCE_END;
	struct tree **link = &node->first;
	for (;;) {
		struct fy_event *event = fy_parser_parse(r->parser);
		if (!event)
			return false;
		bool ended = event->type == end;
		const char *key = NULL;
		unsigned key_line = 0, key_column = 0;
		if (!ended && node->kind == TREE_MAP) {
			const struct fy_mark *mark = fy_event_start_mark(event);
			key_line = mark ? (unsigned)mark->line + 1 : 0;
			key_column = mark ? (unsigned)mark->column + 1 : 0;
			if (node->n == TREE_KEYS_MAX)
				refuse(r, event, ERR_LIMIT_EXCEEDED,
					"a map has too many keys: at most " TEXT_OF(TREE_KEYS_MAX));
			else if (event->type == FYET_SCALAR && !has_extras(event))
				key = scalar_text(r, event);
			else
				refuse(r, event, ERR_INVALID_ARGUMENT,
					"a key must be a plain name (no anchor, alias, tag, list or map)");
			fy_parser_event_free(r->parser, event);
			if (!key)
				return false;
			event = fy_parser_parse(r->parser);
			if (!event)
				return false;
		}
		struct tree *child = ended ? NULL : read_node(r, event, depth + 1);
		fy_parser_event_free(r->parser, event);
		if (ended)
			return true;
		if (!child)
			return false;
		child->key = key;
		child->key_line = key_line;
		child->key_column = key_column;
		/* An empty value has no position of its own. */
		if (!child->line) {
			child->line = key_line ? key_line : node->line;
			child->column = key_line ? key_column : node->column;
		}
		*link = child;
		link = &child->next;
		node->n++;
	}
}

/* NULL when the text ends or is wrong; the caller tells by whether a mistake was added. */
static struct tree *read_node(struct reader *r, struct fy_event *event, unsigned depth)
{
	if (event->type == FYET_ALIAS)
		return refuse(r, event, ERR_UNSUPPORTED,
			"aliases (*name) are not part of the format: write it out");
	if (has_extras(event))
		return refuse(r, event, ERR_UNSUPPORTED,
			"anchors (&name) and tags (!name) are not part of the format: leave them out");
	if (depth > TREE_DEPTH_MAX)
		return refuse(r, event, ERR_LIMIT_EXCEEDED,
			"nested too deeply: at most " TEXT_OF(TREE_DEPTH_MAX) " levels");
	if (++r->nodes > TREE_NODES_MAX)
		return refuse(r, event, ERR_LIMIT_EXCEEDED, TOO_MANY);
	struct tree *node = arena_zalloc(r->arena, 1, sizeof(*node));
	if (!node)
		return refuse(r, event, ERR_LIMIT_EXCEEDED, "the file needs too much memory");
	const struct fy_mark *mark = fy_event_start_mark(event);
	node->line = mark ? (unsigned)mark->line + 1 : 0;
	node->column = mark ? (unsigned)mark->column + 1 : 0;
	switch (event->type) {
	case FYET_SCALAR:
		node->kind = TREE_SCALAR;
		node->plain =
			!event->scalar.value || fy_token_scalar_style(event->scalar.value) == FYSS_PLAIN;
		node->text = scalar_text(r, event);
		return node->text ? node : NULL;
	case FYET_SEQUENCE_START:
		node->kind = TREE_LIST;
		return read_children(r, node, depth) ? node : NULL;
	case FYET_MAPPING_START:
		node->kind = TREE_MAP;
		return read_children(r, node, depth) ? node : NULL;
	default:
		return NULL;
	}
}

static const struct tree *read_document(struct reader *r)
{
	const struct tree *root = NULL;
	bool documents = false;
	struct fy_event *event;
	while ((event = fy_parser_parse(r->parser))) {
		enum fy_event_type type = event->type;
		bool stop = type == FYET_STREAM_END;
		if (type == FYET_DOCUMENT_START && documents) {
			refuse(r, event, ERR_INVALID_ARGUMENT,
				"a file holds one document only: put what follows into a file of its own");
			stop = true;
		} else if (type == FYET_DOCUMENT_START) {
			documents = true;
		} else if (type == FYET_SCALAR || type == FYET_SEQUENCE_START || type == FYET_MAPPING_START ||
			   type == FYET_ALIAS) {
			root = read_node(r, event, 0);
			stop = !root;
		}
		fy_parser_event_free(r->parser, event);
		if (stop)
			break;
	}
	return root;
}

/* The parser looks ahead as far as brackets follow each other, and remembers all of them: four million take a
 * gigabyte, before the first event. Each opens an entry, unless it stands in a text or a comment, and nobody
 * has so many there. */
static bool has_too_many_brackets(const char *text, size_t length, struct text_errors *errors)
{
	unsigned open = 0, line = 1;
	size_t line_start = 0;
	for (size_t i = 0; i < length; i++) {
		open += text[i] == '[' || text[i] == '{';
		if (text[i] == '\n') {
			line++;
			line_start = i + 1;
		}
		if (open <= TREE_NODES_MAX)
			continue;
		text_errors_add(
			errors, ERR_LIMIT_EXCEEDED, line, (unsigned)(i - line_start) + 1, "", TOO_MANY);
		return true;
	}
	return false;
}

const struct tree *tree_read(
	struct arena *arena, const char *text, size_t length, struct text_errors *ret_errors)
{
	struct reader r = {.arena = arena, .errors = ret_errors};
	if (has_too_many_brackets(text, length, ret_errors))
		return NULL;
	struct fy_diag_cfg diag_cfg;
	fy_diag_cfg_default(&diag_cfg);
	diag_cfg.fp = NULL;
	diag_cfg.output_fn = no_output;
	struct fy_diag *diag = fy_diag_create(&diag_cfg);
	if (diag)
		fy_diag_set_collect_errors(diag, true);
	struct fy_parse_cfg cfg = {.flags = FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE, .diag = diag};
	r.parser = diag ? fy_parser_create(&cfg) : NULL;
	const struct tree *root = NULL;
	unsigned before = ret_errors->n;
	if (!r.parser || fy_parser_set_string(r.parser, text, length) < 0) {
		text_errors_add(ret_errors, ERR_HOST, 0, 0, "", "out of memory");
	} else {
		root = read_document(&r);
		if (ret_errors->n == before &&
			(fy_diag_got_error(diag) || fy_parser_get_stream_error(r.parser)))
			root = syntax_error(&r, diag);
		else if (!root && ret_errors->n == before)
			text_errors_add(ret_errors, ERR_INVALID_ARGUMENT, 1, 1, "", "the file is empty");
	}
	fy_parser_destroy(r.parser);
	fy_diag_destroy(diag);
	return ret_errors->n == before ? root : NULL;
}
