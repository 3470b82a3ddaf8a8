/* SPDX-License-Identifier: GPL-2.0-only */
/* Ends of payloads (see payload_end.h). The thread of the run, or of the request. */
#include "host/engine/payload_end.h"

#include "common/fd.h"
#include "host/engine/files.h"
#include "host/engine/metrics.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

/* What an agent may say of one stream: what it keeps, and the marker. */
#define OUTPUT_MAX_BYTES ((16u << 20) + 4096)
#define ARTIFACT_MAX_BYTES (UINT64_C(256) << 20)
/* Of metrics in one report: it travels in one event, too. */
#define METRICS_WIRE_BYTES (96u << 10)

const Schedrig__V1__Payload *payload_find(Schedrig__V1__Payload *const *payloads, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(payloads[i]->name, name) == 0)
			return payloads[i];
	return NULL;
}

bool payload_wants_turn(const Schedrig__V1__Payload *payload)
{
	bool wants = payload->n_artifacts > 0;
	for (size_t i = 0; i < payload->n_checks; i++)
		wants |= payload->checks[i]->stop;
	return wants;
}

bool payload_failed(const Schedrig__V1__PayloadReport *report)
{
	return report->n_failed_checks > 0;
}

/* Appends to a repeated field on the heap. */
static bool append(void *list, size_t *n, void *item)
{
	void ***array = list;
	void **more = item ? reallocarray(*array, *n + 1, sizeof(*more)) : NULL;
	if (!more)
		return false;
	more[(*n)++] = item;
	*array = more;
	return true;
}

static void add_text(char ***list, size_t *n, const char *fmt, va_list args)
{
	char *text = NULL;
	if (vasprintf(&text, fmt, args) < 0 || !append(list, n, text))
		free(text);
}

static void note(Schedrig__V1__PayloadReport *report, const char *fmt, ...) printf_like(2, 3);
static void note(Schedrig__V1__PayloadReport *report, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	add_text(&report->notes, &report->n_notes, fmt, args);
	va_end(args);
}

static void set_text(char **field, const char *text)
{
	char *copy = strdup(text);
	if (copy)
		*field = copy; /* before that it is the schema's static empty string */
}

/* --- the run directory --- */

struct shelf {
	char directory[4096]; /* of the run; "": none */
	char stem[160];       /* "payloads/NAME-3" */
};

static void shelf_init(
	struct shelf *shelf, struct engine *engine, bool adhoc, const Schedrig__V1__PayloadReport *report)
{
	*shelf = (struct shelf){0};
	pthread_mutex_lock(&engine->event_lock);
	const struct record *record = !adhoc && engine->run_record ? engine->run_record : engine->record;
	if (record)
		snprintf(shelf->directory, sizeof(shelf->directory), "%s", record_directory(record));
	pthread_mutex_unlock(&engine->event_lock);
	unsigned serial = atomic_fetch_add_explicit(&engine->payload_serial, 1, memory_order_relaxed);
	snprintf(shelf->stem, sizeof(shelf->stem), "payloads/%.100s-%u", report->name, serial);
	/* The name is the scenario's: any bytes. */
	for (char *c = shelf->stem + strlen("payloads/"); *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *c))
			*c = '_';
}

/* Creates `name` (relative to the run directory) with its parents; -1 after a note. */
static int shelf_open(const struct shelf *shelf, const char *name, Schedrig__V1__PayloadReport *report)
{
	struct err err = ERR_INIT;
	char path[8192];
	snprintf(path, sizeof(path), "%s/%s", shelf->directory, name);
	char *slash = strrchr(path, '/');
	*slash = '\0';
	int r = fd_mkdir_p(path, 0755, &err);
	*slash = '/';
	int fd = r < 0 ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (r < 0)
		note(report, "%s", err.message);
	else if (fd < 0)
		note(report, "cannot write %s: %s", path, strerrordesc_np(errno));
	return fd;
}

/* --- output --- */

struct text {
	char *bytes;
	size_t length;
};

static int fetch_chunk(struct engine *engine, uint64_t id, bool errors, uint64_t offset,
	Schedrig__V1__AgentResponse **ret, struct err *err)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__FetchOutput fetch = SCHEDRIG__V1__FETCH_OUTPUT__INIT;
	fetch.id = id;
	fetch.errors = errors;
	fetch.offset = offset;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_FETCH_OUTPUT;
	request.fetch_output = &fetch;
	return files_ask(engine, &request, ret, err);
}

static int fetch(struct engine *engine, uint64_t id, bool errors, struct text *text, struct err *err)
{
	for (;;) {
		_cleanup_(pb_free_p) Schedrig__V1__AgentResponse *response = NULL;
		int r = fetch_chunk(engine, id, errors, text->length, &response, err);
		if (r < 0)
			return r;
		const Schedrig__V1__FileChunk *chunk = response->chunk;
		if (!range_fits(text->length, chunk->data.len, OUTPUT_MAX_BYTES))
			return err_set(err, ERR_INTERNAL, "the agent has more output than it keeps");
		if (!chunk->data.len)
			return 0;
		/* So there are few of them, however it is cut. */
		if (chunk->data.len < WIRE_CHUNK_BYTES && text->length + chunk->data.len < chunk->size)
			return err_set(err, ERR_INTERNAL,
				"the agent sent %zu bytes of %llu, at %zu, where %u are due", chunk->data.len,
				(unsigned long long)chunk->size, text->length, WIRE_CHUNK_BYTES);
		char *more = realloc(text->bytes, text->length + chunk->data.len);
		if (!more)
			return err_set_os(err, ERR_HOST, ENOMEM, "cannot take the output");
		memcpy(more + text->length, chunk->data.data, chunk->data.len);
		text->bytes = more;
		text->length += chunk->data.len;
		if (text->length >= chunk->size)
			return 0;
	}
}

static void release(struct engine *engine, uint64_t id)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__ReleaseOutput message = SCHEDRIG__V1__RELEASE_OUTPUT__INIT;
	_cleanup_(pb_free_p) Schedrig__V1__AgentResponse *response = NULL;
	struct err err = ERR_INIT;
	message.id = id;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_RELEASE_OUTPUT;
	request.release_output = &message;
	/* An agent that cannot be reached has lost it anyway. */
	(void)!agent_call(engine, &request, FILES_ANSWER_NS, &response, &err);
}

static void keep_text(const struct shelf *shelf, const char *ending, const struct text *text, char **field,
	Schedrig__V1__PayloadReport *report)
{
	char name[200];
	if (!*shelf->directory || !text->length)
		return;
	snprintf(name, sizeof(name), "%s.%s", shelf->stem, ending);
	_cleanup_close_ int fd = shelf_open(shelf, name, report);
	if (fd < 0)
		return;
	int r = fd_write_all(fd, text->bytes, text->length);
	if (r < 0)
		note(report, "cannot write all of %s: %s", name, strerrordesc_np(-r));
	set_text(field, name);
}

/* stdout, stderr. */
static void take_output(struct engine *engine, const struct shelf *shelf, struct text texts[2],
	Schedrig__V1__PayloadReport *report)
{
	static const char *const endings[] = {"stdout", "stderr"};
	char **fields[] = {&report->stdout_file, &report->stderr_file};
	const uint64_t written[] = {report->stdout_bytes, report->stderr_bytes};
	for (unsigned i = 0; i < 2; i++) {
		struct err err = ERR_INIT;
		if (!written[i])
			continue;
		if (fetch(engine, report->output_id, i, &texts[i], &err) < 0)
			note(report, "cannot fetch its %s: %s", endings[i], err.message);
		else if (texts[i].length < written[i])
			note(report, "of its %s (%llu bytes) only the beginning and the end were kept",
				endings[i], (unsigned long long)written[i]);
		keep_text(shelf, endings[i], &texts[i], fields[i], report);
	}
	release(engine, report->output_id);
	report->output_id = 0;
}

/* --- metrics --- */

static const Schedrig__V1__MetricHint *hint_of(const Schedrig__V1__Payload *payload, const char *name)
{
	for (size_t i = 0; i < payload->n_metrics; i++)
		if (strcmp(payload->metrics[i]->name, name) == 0)
			return payload->metrics[i];
	return NULL;
}

static Schedrig__V1__PayloadMetric *metric_message(
	const Schedrig__V1__Payload *payload, const struct metric *metric)
{
	const Schedrig__V1__MetricHint *hint = hint_of(payload, metric->name);
	Schedrig__V1__PayloadMetric *message = malloc(sizeof(*message));
	char *name = strdup(metric->name);
	if (!message || !name) {
		free(message);
		free(name);
		return NULL;
	}
	schedrig__v1__payload_metric__init(message);
	message->name = name;
	message->value = metric->value;
	message->seen = metric->seen;
	if (hint && *hint->unit)
		set_text(&message->unit, hint->unit);
	if (hint && hint->better == SCHEDRIG__V1__METRIC_DIRECTION__METRIC_DIRECTION_HIGHER)
		message->better = SCHEDRIG__V1__BETTER__BETTER_HIGHER;
	else if (hint && hint->better == SCHEDRIG__V1__METRIC_DIRECTION__METRIC_DIRECTION_LOWER)
		message->better = SCHEDRIG__V1__BETTER__BETTER_LOWER;
	return message;
}

/* Those that the definition knows come first, so that they are there whatever else is. */
static void put_metrics(const Schedrig__V1__Payload *payload, const struct metrics *metrics,
	Schedrig__V1__PayloadReport *report)
{
	size_t bytes = 0, dropped = 0;
	report->metrics = calloc(metrics->n + 1, sizeof(*report->metrics));
	for (int hinted = 1; report->metrics && hinted >= 0; hinted--)
		for (const struct metric *metric = metrics->table; metric; metric = metric->hh.next) {
			if ((hint_of(payload, metric->name) != NULL) != hinted)
				continue;
			bytes += strlen(metric->name) + 32;
			Schedrig__V1__PayloadMetric *message =
				bytes <= METRICS_WIRE_BYTES ? metric_message(payload, metric) : NULL;
			if (message)
				report->metrics[report->n_metrics++] = message;
			else
				dropped++;
		}
	if (dropped)
		note(report, "%zu more metrics were left out of the report", dropped);
}

bool payload_has_metrics(const Schedrig__V1__Payload *payload)
{
	bool wants = payload->output == SCHEDRIG__V1__PAYLOAD_OUTPUT__PAYLOAD_OUTPUT_JSON ||
		     payload->n_metrics > 0;
	for (size_t i = 0; i < payload->n_checks; i++)
		wants |= payload->checks[i]->form_case != SCHEDRIG__V1__CHECK__FORM_EXIT_CODE_EQ;
	return wants;
}

static void take_metrics(const Schedrig__V1__Payload *payload, const struct text texts[2],
	struct metrics *metrics, Schedrig__V1__PayloadReport *report)
{
	metrics_parse(metrics, texts[0].bytes, texts[0].length);
	if (!metrics->documents)
		metrics_parse(metrics, texts[1].bytes, texts[1].length);
	if (metrics->too_deep)
		note(report, "numbers nested deeper than %d levels were left out", METRICS_DEPTH_MAX);
	if (metrics->too_long)
		note(report, "numbers with names longer than %d bytes were left out", METRIC_NAME_MAX);
	if (metrics->too_many)
		note(report, "numbers after the first %d were left out", METRICS_MAX);
	if (metrics->gave_up)
		note(report,
			"its output looks like JSON in too many places where it is none: the rest was not "
			"read");
	if (metrics->out_of_memory)
		note(report, "out of memory: not every number of its output could be read");
	put_metrics(payload, metrics, report);
}

/* --- checks --- */

static void check_failed(Schedrig__V1__PayloadReport *report, const Schedrig__V1__Check *check,
	const char *fmt, ...) printf_like(3, 4);
static void check_failed(
	Schedrig__V1__PayloadReport *report, const Schedrig__V1__Check *check, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	if (!check->required || check->required->value)
		add_text(&report->failed_checks, &report->n_failed_checks, fmt, args);
	else
		add_text(&report->noted_checks, &report->n_noted_checks, fmt, args);
	va_end(args);
	report->stop |= check->stop;
}

/* The metric, or NULL after a failure. */
static const struct metric *need_metric(Schedrig__V1__PayloadReport *report, const Schedrig__V1__Check *check,
	const struct metrics *metrics, const char *name)
{
	const struct metric *metric = metrics_find(metrics, name);
	if (metric)
		return metric;
	const char *near = metrics_nearest(metrics, name);
	if (!metrics->documents)
		check_failed(
			report, check, "there is no metric '%s': its output holds no JSON document", name);
	else
		check_failed(report, check, "there is no metric '%s' in its output%s%s%s", name,
			near ? ": the nearest is '" : "", near ? near : "", near ? "'" : "");
	return NULL;
}

static void evaluate(
	Schedrig__V1__PayloadReport *report, const Schedrig__V1__Check *check, const struct metrics *metrics)
{
	const struct metric *metric;
	switch (check->form_case) {
	case SCHEDRIG__V1__CHECK__FORM_MIN:
		metric = need_metric(report, check, metrics, check->min->metric);
		if (metric && !(metric->value >= check->min->value))
			check_failed(report, check, "%s is %g: at least %g is asked for", metric->name,
				metric->value, check->min->value);
		return;
	case SCHEDRIG__V1__CHECK__FORM_MAX:
		metric = need_metric(report, check, metrics, check->max->metric);
		if (metric && !(metric->value <= check->max->value))
			check_failed(report, check, "%s is %g: at most %g is allowed", metric->name,
				metric->value, check->max->value);
		return;
	case SCHEDRIG__V1__CHECK__FORM_RANGE:
		metric = need_metric(report, check, metrics, check->range->metric);
		if (metric && !(metric->value >= check->range->min && metric->value <= check->range->max))
			check_failed(report, check, "%s is %g: %g to %g is asked for", metric->name,
				metric->value, check->range->min, check->range->max);
		return;
	case SCHEDRIG__V1__CHECK__FORM_EXISTS:
		(void)need_metric(report, check, metrics, check->exists->metric);
		return;
	case SCHEDRIG__V1__CHECK__FORM_EXIT_CODE_EQ: /* the agent's */
	case SCHEDRIG__V1__CHECK__FORM__NOT_SET:
	case _SCHEDRIG__V1__CHECK__FORM__CASE_IS_INT_SIZE:
		return;
	}
}

/* --- artifacts --- */

static void take_artifact(struct engine *engine, const struct shelf *shelf, const char *path,
	Schedrig__V1__PayloadReport *report)
{
	Schedrig__V1__Artifact *artifact = malloc(sizeof(*artifact));
	struct err err = ERR_INIT;
	if (!artifact)
		return;
	schedrig__v1__artifact__init(artifact);
	set_text(&artifact->path, path);
	char name[4096 + 200];
	/* As a path below the artifacts of this payload; validated to be absolute and without "..". */
	snprintf(name, sizeof(name), "%s.artifacts%s%s", shelf->stem, *path == '/' ? "" : "/", path);
	_cleanup_close_ int fd = *shelf->directory ? shelf_open(shelf, name, report) : -1;
	if (!*shelf->directory) {
		set_text(&artifact->error, "there is no run directory to copy it to");
	} else if (fd < 0) {
		set_text(&artifact->error, "it could not be written");
	} else if (files_pull_to(engine, path, fd, ARTIFACT_MAX_BYTES, &artifact->bytes, &err) < 0) {
		set_text(&artifact->error, err.message);
	}
	if (fd >= 0 && artifact->bytes)
		set_text(&artifact->file, name);
	if (!append(&report->artifacts, &report->n_artifacts, artifact))
		pb_free(artifact);
}

void payload_take(struct engine *engine, const Schedrig__V1__Payload *payload, bool adhoc,
	Schedrig__V1__PayloadReport *report)
{
	struct text texts[2] = {0};
	struct metrics metrics = {0};
	struct shelf shelf;
	/* The agent has checked the exit status; a wrong one makes the other checks pointless. */
	bool exited_well = !report->n_failed_checks && !report->n_noted_checks;
	shelf_init(&shelf, engine, adhoc, report);
	if (report->output_id)
		take_output(engine, &shelf, texts, report);
	if (payload && payload_has_metrics(payload))
		take_metrics(payload, texts, &metrics, report);
	for (size_t i = 0; payload && exited_well && i < payload->n_checks; i++)
		evaluate(report, payload->checks[i], &metrics);
	for (size_t i = 0; payload && i < payload->n_artifacts; i++)
		take_artifact(engine, &shelf, payload->artifacts[i], report);
	metrics_deinit(&metrics);
	free(texts[0].bytes);
	free(texts[1].bytes);
}
