/* SPDX-License-Identifier: GPL-2.0-only */
/* Validation of scenarios: the walk, the list of mistakes (see engine.h, validate.h). Pure. */
#include "host/engine/validate.h"

#include "common/clock.h"
#include "common/strbuf.h"
#include "host/engine/assertions.h"
#include "host/text/shape.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

size_t check_enter(struct check *check, const char *fmt, ...)
{
	size_t before = check->place_length, room = sizeof(check->place) - before;
	va_list args;
	va_start(args, fmt);
	const char *dot = before && fmt[0] != '[' ? "." : "";
	int n = snprintf(check->place + before, room, "%s", dot);
	n += vsnprintf(check->place + before + n, room - (size_t)n, fmt, args);
	va_end(args);
	check->place_length = MIN_OF(before + (size_t)n, sizeof(check->place) - 1);
	return before;
}

void check_leave(struct check *check, size_t before)
{
	check->place[before] = '\0';
	check->place_length = before;
}

static void add(struct check *check, struct check_list *list, enum err_code code, const char *field,
	const char *fmt, va_list args)
{
	if (list->n == CHECK_ERRORS_MAX) {
		list->dropped++;
		return;
	}
	if (list->n == list->size) {
		size_t size = list->size ? list->size * 2 : 8;
		Schedrig__V1__Error **more = reallocarray(list->error, size, sizeof(*more));
		if (!more) {
			check->out_of_memory = true;
			return;
		}
		list->error = more;
		list->size = size;
	}
	Schedrig__V1__Error *error = malloc(sizeof(*error));
	char *place = NULL, *message = NULL;
	if (error && asprintf(&place, "%s%s%s", check->place,
			     field && *field && field[0] != '[' && check->place_length ? "." : "",
			     field ? field : "") < 0)
		place = NULL;
	if (error && vasprintf(&message, fmt, args) < 0)
		message = NULL;
	if (!place || !message) {
		free(error);
		free(place);
		free(message);
		check->out_of_memory = true;
		return;
	}
	schedrig__v1__error__init(error);
	error->code = (Schedrig__V1__ErrorCode)code;
	error->place = place;
	error->message = message;
	list->error[list->n++] = error;
}

void check_bad(struct check *check, enum err_code code, const char *field, const char *fmt, ...)
{
	if (check->waived == code) {
		check->waived_hit = true;
		return;
	}
	va_list args;
	va_start(args, fmt);
	add(check, &check->errors, code, field, fmt, args);
	va_end(args);
}

void check_bad_always(struct check *check, enum err_code code, const char *field, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	add(check, &check->errors, code, field, fmt, args);
	va_end(args);
}

void check_warn(struct check *check, const char *field, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	add(check, &check->warnings, ERR_NONE, field, fmt, args);
	va_end(args);
}

void check_printable(struct check *check, const char *text, const char *field)
{
	for (const char *c = text; *c; c++) {
		if ((unsigned char)*c >= 32 && *c != 127)
			continue;
		check_bad(check, ERR_INVALID_ARGUMENT, field,
			"a name is one line of text: the byte 0x%02x in it is a control character",
			(unsigned char)*c);
		return;
	}
}

void check_undefined(struct check *check, const char *field, const char *what, const char *name,
	const char *const *names, size_t n)
{
	_cleanup_strbuf_ struct strbuf list = STRBUF_INIT;
	const char *near = shape_nearest(name, names, n);
	for (size_t i = 0; i < n; i++)
		strbuf_printf(&list, "%s%s", i ? ", " : "", names[i]);
	check_bad(check, ERR_NOT_FOUND, field, "there is no %s '%.80s'%s%.80s%s: `%ss` defines %.400s", what,
		name, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "", what,
		n ? strbuf_str(&list) : "none");
}

static void check_head(struct check *check)
{
	const Schedrig__V1__Scenario *s = check->scenario;
	check_printable(check, s->name, "name");
	if (strlen(s->name) > LIMIT_NAME_BYTES)
		check_bad(check, ERR_LIMIT_EXCEEDED, "name", "a name has at most %u bytes", LIMIT_NAME_BYTES);
	if (s->duration && s->duration->ns == 0)
		check_bad(check, ERR_INVALID_ARGUMENT, "duration",
			"a scenario of no duration cannot do anything");
	if (s->duration && s->duration->ns > CHECK_SPAN_MAX_NS)
		check_bad(check, ERR_INVALID_ARGUMENT, "duration", CHECK_TOO_LONG);
	if (s->settle && s->settle->ns > CHECK_SPAN_MAX_NS)
		check_bad(check, ERR_INVALID_ARGUMENT, "settle", CHECK_TOO_LONG);
	if (s->workers_per_cgroup) {
		uint32_t n = s->workers_per_cgroup->value;
		if (n == 0)
			check_bad(check, ERR_INVALID_ARGUMENT, "workers_per_cgroup",
				"0 workers by default: give a cgroup without workers `empty: true` instead");
		else if (n > LIMIT_WORKERS)
			check_bad(check, ERR_LIMIT_EXCEEDED, "workers_per_cgroup", "at most %u workers",
				LIMIT_WORKERS);
		else
			check->workers_default = n;
	}
	struct work_params override;
	if (s->work_type_override)
		(void)check_work_type(check, s->work_type_override, "work_type_override", &override);
	if (s->n_steps > LIMIT_STEPS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "steps", "%zu steps: at most %u are possible",
			s->n_steps, LIMIT_STEPS);
	if (s->n_steps == 0)
		check_warn(check, "steps", "there are no steps: nothing will happen");
	check_assertions(check, s->assertions);
}

static void check_backdrop(struct check *check, const Schedrig__V1__Backdrop *backdrop)
{
	check->backdrop = true;
	check->step = -1;
	size_t top = check_enter(check, "backdrop");
	for (size_t i = 0; i < backdrop->n_cgroups; i++) {
		size_t at = check_enter(check, "cgroups[%zu]", i);
		check_definition(check, backdrop->cgroups[i], NAME_BACKDROP);
		check_leave(check, at);
	}
	check_ops(check, backdrop->ops, backdrop->n_ops, NAME_BACKDROP);
	for (size_t i = 0; i < backdrop->n_payloads; i++) {
		size_t at = check_enter(check, "payloads[%zu]", i);
		const Schedrig__V1__RunPayload *run = backdrop->payloads[i];
		check_run_payload(check, run, run->cgroup ? run->cgroup->name : "", NAME_BACKDROP);
		check_leave(check, at);
	}
	check_leave(check, top);
	check->backdrop = false;
}

/* Whether the run could come out as anything but Pass by what the scenario says. */
static bool anything_asserted(const Schedrig__V1__Scenario *s)
{
	bool found = assertions_any(s->assertions);
	for (size_t i = 0; i < s->n_payloads; i++)
		found |= s->payloads[i]->n_checks > 0;
	for (size_t i = 0; s->backdrop && i < s->backdrop->n_ops; i++)
		found |= s->backdrop->ops[i]->expect_error != 0;
	for (size_t i = 0; i < s->n_steps; i++) {
		found |= assertions_any(s->steps[i]->assertions);
		for (size_t k = 0; k < s->steps[i]->n_ops; k++)
			found |= s->steps[i]->ops[k]->expect_error != 0;
	}
	return found;
}

static void check_all(struct check *check)
{
	const Schedrig__V1__Scenario *s = check->scenario;
	check_head(check);
	check->payloads = s->payloads;
	check->n_payloads = s->n_payloads;
	check_payload_definitions(check, s->payloads, s->n_payloads);
	check_scheduler_definitions(check);
	if (s->backdrop)
		check_backdrop(check, s->backdrop);
	for (size_t i = 0; i < s->n_steps && i < LIMIT_STEPS; i++) {
		size_t at = check_enter(check, "steps[%zu]", i);
		check_step(check, s->steps[i], (int)i);
		check_leave(check, at);
	}
	if (*check->workers_place) {
		size_t at = check_enter(check, "%s", check->workers_place);
		check_bad(check, ERR_LIMIT_EXCEEDED, NULL,
			"from here on there are too many: the scenario starts %zu workers in all, at most %u "
			"are possible",
			check->workers, LIMIT_SCENARIO_WORKERS);
		check_leave(check, at);
	}
	check_expected_tags(check, s->assertions);
	check_asserted_names(check);
	if (!anything_asserted(s))
		check_warn(check, "assertions",
			"nothing is asserted: the verdict will be Pass whatever the scheduler does");
	if (check->errors.dropped)
		check_bad_always(check, ERR_LIMIT_EXCEEDED, "", "%zu more mistakes", check->errors.dropped);
}

static void free_list(struct check_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		pb_free(list->error[i]);
	free(list->error);
	*list = (struct check_list){0};
}

static void check_init(struct check *check, const struct cpu_layout *layout, const char *const *staged)
{
	*check = (struct check){
		.layout = layout, .staged = staged, .step = -1, .strict = true, .workers_default = 1};
}

static void check_deinit(struct check *check)
{
	free_list(&check->errors);
	free_list(&check->warnings);
	names_deinit(&check->names);
}

int engine_validate(const Schedrig__V1__Scenario *scenario, const struct cpu_layout *layout,
	const char *const *staged, Schedrig__V1__ValidateResponse **ret, struct err *err)
{
	struct check *check __attribute__((cleanup(scope_free))) = malloc(sizeof(*check));
	Schedrig__V1__ValidateResponse *response = malloc(sizeof(*response));
	if (!check || !response) {
		free(response);
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot validate the scenario");
	}
	check_init(check, layout, staged);
	schedrig__v1__validate_response__init(response);
	check->scenario = scenario;
	check->strict = !scenario->strict || scenario->strict->value;
	char *reason = NULL;
	if (scenario->needs && check_needs(check, scenario->needs, &reason)) {
		/* It will be skipped: that the machine lacks what it refers to is no mistake of its own. */
		check->layout = NULL;
		response->skip_reason = reason;
	}
	check_all(check);
	if (check->out_of_memory || check->names.out_of_memory) {
		check_deinit(check);
		pb_free(response);
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot validate the scenario");
	}
	response->errors = check->errors.error;
	response->n_errors = check->errors.n;
	response->warnings = check->warnings.error;
	response->n_warnings = check->warnings.n;
	check->errors = check->warnings = (struct check_list){0};
	check_deinit(check);
	*ret = response;
	return 0;
}

/* Closes a check that is to give one error. */
static int first_mistake(struct check *check, const char *what, struct err *err)
{
	int r = 0;
	if (check->out_of_memory || check->names.out_of_memory) {
		r = err_set_os(err, ERR_HOST, ENOMEM, "cannot check the %s", what);
	} else if (check->errors.n) {
		const Schedrig__V1__Error *first = check->errors.error[0];
		r = err_set(err, (enum err_code)first->code, "%s", first->message);
		err_at(err, "%s", first->place);
	}
	check_deinit(check);
	return r;
}

int check_knobs_request(const Schedrig__V1__SetCgroupKnobsRequest *request, struct err *err)
{
	struct check *check __attribute__((cleanup(scope_free))) = malloc(sizeof(*check));
	if (!check)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot check the knobs");
	check_init(check, NULL, NULL);
	check->adhoc = true;
	(void)check_cgroup_name(check, request->cgroup, "cgroup");
	check_knobs(check, request->cpu, request->memory, request->io, request->pids);
	return first_mistake(check, "knobs", err);
}

int check_adhoc(const Schedrig__V1__ApplyRequest *request, const struct cpu_layout *layout,
	const char *const *staged, struct err *err)
{
	struct check *check __attribute__((cleanup(scope_free))) = malloc(sizeof(*check));
	if (!check)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot check the ops");
	check_init(check, layout, staged);
	check->adhoc = true;
	check->payloads = request->payloads;
	check->n_payloads = request->n_payloads;
	check_payload_definitions(check, request->payloads, request->n_payloads);
	check_ops(check, request->ops, request->n_ops, NAME_STEP);
	return first_mistake(check, "ops", err);
}
