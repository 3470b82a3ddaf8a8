/* SPDX-License-Identifier: GPL-2.0-only */
/* Files to messages by descriptors (see text.h, shape.h). Every mistake is added and the rest of the file is
 * still read, so that all of them come out at once. Places leave out the names of a oneof's forms and the
 * only field of a message: "steps[2].ops[0].cpus.start", not "steps[2].ops[0].set_cpuset.cpus.range.start".
 */
#include "host/text/load.h"

#include "common/strbuf.h"
#include "host/text/shape.h"
#include "proto/pb.h"
#include "schedrig/v1/scenario.pb-c.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TREE_CAP_BYTES (128u * 1024 * 1024)
#define CANDIDATES_MAX 64

static ProtobufCMessage *load_message(struct load *load, const ProtobufCMessageDescriptor *type,
	const struct tree *node, const char *place);
static void load_field(struct load *load, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
	const struct tree *node, const char *place);

static void *field_at(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return (char *)message + field->offset;
}

static uint32_t *oneof_case(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return (uint32_t *)((char *)message + field->quantifier_offset);
}

static ProtobufCMessage *message_new(struct load *load, const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *message = calloc(1, type->sizeof_message);
	load->out_of_memory |= !message;
	if (message)
		protobuf_c_message_init(type, message);
	return message;
}

/* Names that a map of this type takes: for "did you mean". */
static size_t field_names(
	const ProtobufCMessageDescriptor *type, const char **names, size_t n, bool oneof_only)
{
	for (unsigned i = 0; i < type->n_fields && n < CANDIDATES_MAX; i++) {
		const ProtobufCFieldDescriptor *field = &type->fields[i];
		if (oneof_only && !shape_is_oneof(field))
			continue;
		names[n++] = field->name;
		if (shape_special(type) == SHAPE_FLAT && shape_message(field))
			n = field_names(field->descriptor, names, n, false);
	}
	return n;
}

/* What a name in a map of this type is the name of. */
static const char *kind_of_names(const ProtobufCMessageDescriptor *type)
{
	return type == &schedrig__v1__op__descriptor ? "op" : shape_all_oneof(type) ? "form" : "field";
}

static void list_names(struct strbuf *list, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		strbuf_printf(list, "%s%s", i ? ", " : "", names[i]);
}

/* Something of a wrong kind, and what is right. */
static void wrong_kind(
	struct load *load, const ProtobufCMessageDescriptor *type, const struct tree *node, const char *place)
{
	const char *names[CANDIDATES_MAX];
	size_t n = field_names(type, names, 0, false);
	const ProtobufCFieldDescriptor *only = shape_only_field(type);
	_cleanup_strbuf_ struct strbuf want = STRBUF_INIT, list = STRBUF_INIT;
	list_names(&list, names, n);
	if (shape_special(type) == SHAPE_LIST)
		strbuf_printf(&want, "write [%s]", strbuf_str(&list));
	else if (type == &schedrig__v1__cpu_set__descriptor)
		strbuf_printf(&want, "write a list of numbers as one text, such as 0-3,8");
	else if (only && !shape_message(only))
		strbuf_printf(&want, "write a single value");
	else if (type->n_fields == 0)
		strbuf_printf(&want, "it has no fields, write {}");
	else
		strbuf_printf(&want, "write a map, {%s: ...}%s%.380s", names[0],
			n > 1 ? ", with what is needed of " : "", n > 1 ? strbuf_str(&list) : "");
	if (node->kind == TREE_SCALAR)
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
			"'%.60s' cannot stand here: %s", node->text, strbuf_str(&want));
	else
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
			"a %s cannot stand here: %s", node->kind == TREE_LIST ? "list" : "map",
			strbuf_str(&want));
}

static void unknown_name(struct load *load, const ProtobufCMessageDescriptor *type, const char *what,
	const char *word, unsigned line, unsigned column, const char *place, bool oneof_only)
{
	const char *names[CANDIDATES_MAX];
	size_t n = field_names(type, names, 0, oneof_only);
	const char *nearest = shape_nearest(word, names, n);
	if (nearest) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, line, column, place,
			"unknown %s '%.60s': did you mean '%s'?", what, word, nearest);
		return;
	}
	_cleanup_strbuf_ struct strbuf list = STRBUF_INIT;
	list_names(&list, names, n);
	text_errors_add(load->errors, ERR_INVALID_ARGUMENT, line, column, place,
		"unknown %s '%.60s': %s%.400s", what, word, n ? "there are " : "there are none here",
		strbuf_str(&list));
}

static const char *sub_place(struct load *load, const char *place, const ProtobufCFieldDescriptor *field)
{
	if (shape_is_oneof(field))
		return place;
	const char *path = arena_printf(load->arena, "%s%s%s", place, *place ? "." : "", field->name);
	return path ? path : place;
}

static void load_repeated(struct load *load, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
	const struct tree *node, const char *place)
{
	if (node->kind != TREE_LIST) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
			"%s is a list: write [...], or lines that begin with '- '", field->name);
		return;
	}
	const ProtobufCMessageDescriptor *type = shape_message(field);
	/* The schema's lists are of messages and strings. */
	assert(type || field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_UINT64 ||
		field->type == PROTOBUF_C_TYPE_INT32);
	size_t size = field->type == PROTOBUF_C_TYPE_INT32 ? sizeof(int32_t) : sizeof(uint64_t);
	char *array = node->n ? calloc(node->n, size) : NULL;
	if (!array) {
		load->out_of_memory |= node->n > 0;
		return;
	}
	size_t n = 0;
	for (const struct tree *item = node->first; item; item = item->next) {
		const char *path = arena_printf(load->arena, "%s[%zu]", place, n);
		if (!path)
			load->out_of_memory = true;
		else if (type)
			((ProtobufCMessage **)array)[n] = load_message(load, type, item, path);
		else
			load_scalar(load, field, item, path, array + n * size);
		/* A string that failed must not stay NULL: whoever reads on relies on it. */
		if (field->type == PROTOBUF_C_TYPE_STRING && !((char **)array)[n])
			((char **)array)[n] = strdup("");
		n++;
	}
	*(size_t *)((char *)message + field->quantifier_offset) = n;
	*(void **)field_at(message, field) = array;
}

static void load_field(struct load *load, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
	const struct tree *node, const char *place)
{
	const ProtobufCMessageDescriptor *type = shape_message(field);
	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		load_repeated(load, message, field, node, place);
		return;
	}
	if (!type) {
		load_scalar(load, field, node, place, field_at(message, field));
		return;
	}
	ProtobufCMessage *sub = load_message(load, type, node, place);
	if (!sub)
		return;
	ProtobufCMessage **at = field_at(message, field);
	if (shape_is_oneof(field))
		*oneof_case(message, field) = field->id;
	assert(!*at);
	*at = sub;
}

/* The message that stands for a bare name: `hold: full`. */
static bool load_bare_form(
	struct load *load, ProtobufCMessage *message, const struct tree *node, const char *place)
{
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(message->descriptor, node->text);
	if (!field || !shape_is_oneof(field))
		return false;
	if (shape_message(field)->n_fields > 0) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
			"'%s' needs its fields: write {%s: ...}, or {%s: {}} for their defaults", field->name,
			field->name, field->name);
		return true;
	}
	ProtobufCMessage *sub = message_new(load, field->descriptor);
	if (sub) {
		*oneof_case(message, field) = field->id;
		*(ProtobufCMessage **)field_at(message, field) = sub;
	}
	return true;
}

static void load_from_scalar(
	struct load *load, ProtobufCMessage *message, const struct tree *node, const char *place)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	const ProtobufCFieldDescriptor *only = shape_only_field(type);
	enum shape_special special = shape_special(type);
	bool empty = node->plain && !*node->text;
	if (empty && (special == SHAPE_DURATION || special == SHAPE_SIZE)) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
			"there is no value here: write one or leave the field out");
	} else if (special == SHAPE_DURATION) {
		(void)load_duration(load, node, place, field_at(message, only));
	} else if (special == SHAPE_SIZE) {
		(void)load_size(load, node, place, field_at(message, only));
	} else if (special == SHAPE_FIRST) {
		load_field(load, message, &type->fields[0], node, place);
	} else if (only) {
		load_field(load, message, only, node, place);
	} else if (load_bare_form(load, message, node, place)) {
		return;
	} else if (shape_all_oneof(type) || type == &schedrig__v1__op__descriptor) {
		unknown_name(
			load, type, kind_of_names(type), node->text, node->line, node->column, place, true);
	} else {
		wrong_kind(load, type, node, place);
	}
}

static void load_from_list(
	struct load *load, ProtobufCMessage *message, const struct tree *node, const char *place)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	const ProtobufCFieldDescriptor *only = shape_only_field(type);
	if (shape_special(type) == SHAPE_LIST) {
		if (node->n != type->n_fields) {
			_cleanup_strbuf_ struct strbuf names = STRBUF_INIT;
			for (unsigned i = 0; i < type->n_fields; i++)
				strbuf_printf(&names, "%s%s", i ? ", " : "", type->fields[i].name);
			text_errors_add(load->errors, ERR_INVALID_ARGUMENT, node->line, node->column, place,
				"takes %u values: [%s]", type->n_fields, strbuf_str(&names));
			return;
		}
		const struct tree *item = node->first;
		for (unsigned i = 0; i < type->n_fields; i++, item = item->next)
			load_field(load, message, &type->fields[i], item,
				sub_place(load, place, &type->fields[i]));
	} else if (only && only->label == PROTOBUF_C_LABEL_REPEATED) {
		load_field(load, message, only, node, sub_place(load, place, only));
	} else {
		wrong_kind(load, type, node, place);
	}
}

/* A sub-message that is written into its parent's entry; made when its first member is met. */
static ProtobufCMessage *flat_part(struct load *load, ProtobufCMessage *message, const char *key,
	const ProtobufCFieldDescriptor **ret_field)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	for (unsigned i = 0; i < type->n_fields; i++) {
		const ProtobufCMessageDescriptor *part = shape_message(&type->fields[i]);
		if (!part || !shape_all_oneof(part))
			continue;
		const ProtobufCFieldDescriptor *field =
			protobuf_c_message_descriptor_get_field_by_name(part, key);
		if (!field)
			continue;
		ProtobufCMessage **at = field_at(message, &type->fields[i]);
		if (!*at)
			*at = message_new(load, part);
		*ret_field = field;
		return *at;
	}
	return NULL;
}

static void load_entry(
	struct load *load, ProtobufCMessage *message, const struct tree *entry, const char *place)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	const ProtobufCFieldDescriptor *field =
		protobuf_c_message_descriptor_get_field_by_name(type, entry->key);
	ProtobufCMessage *into = message;
	if (!field && shape_special(type) == SHAPE_FLAT) {
		into = flat_part(load, message, entry->key, &field);
		if (!into && field)
			return;
	}
	if (!field) {
		unknown_name(load, type, kind_of_names(type), entry->key, entry->key_line, entry->key_column,
			place, false);
		return;
	}
	if (shape_is_oneof(field) && *oneof_case(into, field)) {
		const ProtobufCFieldDescriptor *other =
			protobuf_c_message_descriptor_get_field(into->descriptor, *oneof_case(into, field));
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, entry->key_line, entry->key_column, place,
			"both '%s' and '%s' are given: only one can be", other->name, field->name);
		return;
	}
	if (!shape_is_oneof(field) && shape_message(field) && field->label != PROTOBUF_C_LABEL_REPEATED &&
		*(void **)field_at(into, field)) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, entry->key_line, entry->key_column, place,
			"'%s' is given in two ways: flattened and by its name", field->name);
		return;
	}
	const char *path = sub_place(load, place, field);
	text_places_add(load->places, path, entry->key_line, entry->key_column);
	load_field(load, into, field, entry, path);
}

static bool is_repeat(struct load *load, const struct tree *map, const struct tree *entry, const char *place)
{
	for (const struct tree *earlier = map->first; earlier != entry; earlier = earlier->next) {
		if (strcmp(earlier->key, entry->key) != 0)
			continue;
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, entry->key_line, entry->key_column, place,
			"'%.60s' is given twice (first in line %u)", entry->key, earlier->key_line);
		return true;
	}
	return false;
}

/* `offset` beside a flattened symbol: the rest of the symbol's fields. */
static bool load_symbol_rest(struct load *load, ProtobufCMessage *message, const struct tree *map,
	const struct tree *entry, const char *place)
{
	if (shape_special(message->descriptor) != SHAPE_FLAT || strcmp(entry->key, "offset") != 0)
		return false;
	const struct tree *symbol = map->first;
	while (symbol && strcmp(symbol->key, "symbol") != 0)
		symbol = symbol->next;
	const ProtobufCFieldDescriptor *field = NULL;
	ProtobufCMessage *target = symbol ? flat_part(load, message, "symbol", &field) : NULL;
	ProtobufCMessage *sub = NULL;
	if (target && *oneof_case(target, field) == field->id)
		sub = *(ProtobufCMessage **)field_at(target, field);
	if (!sub) {
		text_errors_add(load->errors, ERR_INVALID_ARGUMENT, entry->key_line, entry->key_column, place,
			"'offset' belongs to a 'symbol' in the same entry");
		return true;
	}
	load_field(load, sub, protobuf_c_message_descriptor_get_field_by_name(sub->descriptor, "offset"),
		entry, place);
	return true;
}

static void load_from_map(
	struct load *load, ProtobufCMessage *message, const struct tree *node, const char *place)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	const ProtobufCFieldDescriptor *only = shape_only_field(type);
	/* {} is the message itself with nothing set, not a value of its field. */
	if (only && node->n && shape_message(only) && only->label != PROTOBUF_C_LABEL_REPEATED &&
		!(node->n == 1 && strcmp(node->first->key, only->name) == 0)) {
		load_field(load, message, only, node, place);
		return;
	}
	for (int offsets = 0; offsets < 2; offsets++) {
		/* Second round: `offset` needs its symbol read, which may stand behind it. */
		for (const struct tree *entry = node->first; entry; entry = entry->next) {
			bool offset = shape_special(type) == SHAPE_FLAT && strcmp(entry->key, "offset") == 0;
			if (offset != (offsets == 1) || is_repeat(load, node, entry, place))
				continue;
			if (!load_symbol_rest(load, message, node, entry, place))
				load_entry(load, message, entry, place);
		}
	}
}

static ProtobufCMessage *load_message(
	struct load *load, const ProtobufCMessageDescriptor *type, const struct tree *node, const char *place)
{
	ProtobufCMessage *message = message_new(load, type);
	if (!message)
		return NULL;
	text_places_add(load->places, place, node->line, node->column);
	switch (node->kind) {
	case TREE_SCALAR:
		load_from_scalar(load, message, node, place);
		break;
	case TREE_LIST:
		load_from_list(load, message, node, place);
		break;
	case TREE_MAP:
		load_from_map(load, message, node, place);
		break;
	}
	return message;
}

/* First byte that is not UTF-8, or length. Overlong forms, surrogates and numbers beyond U+10FFFF are not. */
static size_t utf8_prefix(const char *text, size_t length)
{
	const uint8_t *s = (const uint8_t *)text;
	size_t i = 0;
	while (i < length) {
		unsigned more = s[i] < 0x80                   ? 0
				: s[i] >= 0xc2 && s[i] < 0xe0 ? 1
				: s[i] >= 0xe0 && s[i] < 0xf0 ? 2
							      : 3;
		if (more == 3 && (s[i] < 0xf0 || s[i] > 0xf4))
			return i;
		if (length - i <= more)
			return i;
		for (unsigned k = 1; k <= more; k++)
			if ((s[i + k] & 0xc0) != 0x80)
				return i;
		if ((s[i] == 0xe0 && s[i + 1] < 0xa0) || (s[i] == 0xed && s[i + 1] > 0x9f) ||
			(s[i] == 0xf0 && s[i + 1] < 0x90) || (s[i] == 0xf4 && s[i + 1] > 0x8f))
			return i;
		i += more + 1;
	}
	return length;
}

static bool bytes_good(const char *text, size_t length, struct text_errors *errors)
{
	if (length > TEXT_FILE_MAX_BYTES) {
		text_errors_add(errors, ERR_LIMIT_EXCEEDED, 0, 0, "",
			"the file has %zu bytes, the limit is %u", length, TEXT_FILE_MAX_BYTES);
		return false;
	}
	size_t good = utf8_prefix(text, length);
	const char *nul = memchr(text, '\0', good);
	if (!nul && good == length)
		return true;
	size_t at = nul ? (size_t)(nul - text) : good;
	unsigned line = 1, column = 1;
	for (size_t i = 0; i < at; i++) {
		column = text[i] == '\n' ? 1 : column + 1;
		line += text[i] == '\n';
	}
	text_errors_add(errors, ERR_INVALID_ARGUMENT, line, column, "",
		nul ? "the file holds a NUL byte" : "the file is not UTF-8 text");
	return false;
}

static int by_position(const void *a, const void *b)
{
	const struct text_error *x = a, *y = b;
	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	return x->column < y->column ? -1 : x->column > y->column;
}

int text_load(const ProtobufCMessageDescriptor *type, const char *text, size_t length,
	ProtobufCMessage **ret_message, struct text_places **ret_places, struct text_errors *ret_errors)
{
	ret_errors->n = ret_errors->dropped = 0;
	_cleanup_(arena_free_p) struct arena *arena = arena_new(TREE_CAP_BYTES);
	struct text_places *places = text_places_new();
	struct load load = {.arena = arena, .errors = ret_errors, .places = places};
	ProtobufCMessage *message = NULL;
	if (!arena || !places)
		load.out_of_memory = true;
	else if (bytes_good(text, length, ret_errors)) {
		const struct tree *root = tree_read(arena, text, length, ret_errors);
		if (root)
			message = load_message(&load, type, root, "");
	}
	if (load.out_of_memory)
		text_errors_add(ret_errors, ERR_HOST, 0, 0, "", "out of memory");
	if (ret_errors->n || !message) {
		qsort(ret_errors->error, ret_errors->n, sizeof(ret_errors->error[0]), by_position);
		pb_free(message);
		text_places_free(places);
		return -EINVAL;
	}
	text_places_sort(places);
	if (ret_places)
		*ret_places = places;
	else
		text_places_free(places);
	*ret_message = message;
	return 0;
}
