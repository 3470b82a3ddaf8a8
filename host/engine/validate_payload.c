/* SPDX-License-Identifier: GPL-2.0-only */
/* Payloads: definitions, what runs where and when it can be waited for. Pure. */
#include "common/strbuf.h"
#include "host/engine/ops.h"
#include "host/engine/validate.h"
#include "host/text/shape.h"
#include "proto/wire.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Names of staged files: they become file names in the guest. */
static bool staged_name_good(const char *name)
{
	return *name && *name != '.' && strlen(name) <= LIMIT_NAME_BYTES;
}

void check_staged(struct check *check, const char *field, const char *program)
{
	const char *name = staged_name(program);
	if (!staged_name_good(name)) {
		check_bad(check, ERR_INVALID_ARGUMENT, field,
			"'%.80s' names no program or file: 1 to %u bytes, not beginning with a dot", program,
			LIMIT_NAME_BYTES);
		return;
	}
	if (!check->staged)
		return;
	_cleanup_strbuf_ struct strbuf list = STRBUF_INIT;
	for (size_t i = 0; check->staged[i]; i++) {
		if (strcmp(check->staged[i], name) == 0)
			return;
		strbuf_printf(&list, "%s%s", i ? ", " : "", check->staged[i]);
	}
	check_bad(check, ERR_NOT_FOUND, field, "'%.80s' is not staged: %s%.400s", name,
		list.length ? "there are " : "nothing is", strbuf_str(&list));
}

/* Words of the command line that are flags must be among the known ones. What follows `--` is anybody's, and
 * so is a negative number; "--x=1" is the flag "--x". */
static void check_flags(struct check *check, const Schedrig__V1__Payload *payload, char *const *args,
	size_t n, const char *field)
{
	if (!payload->known_flags)
		return;
	const Schedrig__V1__FlagList *known = payload->known_flags;
	for (size_t i = 0; i < n && strcmp(args[i], "--") != 0; i++) {
		char place[32], flag[80];
		bool found = false;
		if (args[i][0] != '-' || !args[i][1] || strchr("0123456789.", args[i][1]))
			continue;
		size_t length = strcspn(args[i], "=");
		for (size_t k = 0; k < known->n_flags; k++)
			found |= strcmp(known->flags[k], args[i]) == 0 ||
				 (strlen(known->flags[k]) == length &&
					 strncmp(known->flags[k], args[i], length) == 0);
		if (found)
			continue;
		snprintf(flag, sizeof(flag), "%.*s", (int)MIN_OF(length, sizeof(flag) - 1), args[i]);
		snprintf(place, sizeof(place), "%s[%zu]", field, i);
		const char *near = shape_nearest(flag, (const char *const *)known->flags, known->n_flags);
		check_bad(check, ERR_INVALID_ARGUMENT, place, "payload '%.80s' knows no flag '%s'%s%s%s",
			payload->name, flag,
			near             ? ": did you mean '"
			: known->n_flags ? ""
					 : ": it takes none",
			near ? near : "", near ? "'?" : "");
	}
}

static void check_metric_name(struct check *check, const char *name)
{
	if (!*name)
		check_bad(check, ERR_INVALID_ARGUMENT, "metric", "the name of a metric is missing");
}

static void check_bound(struct check *check, double value, const char *field)
{
	if (!isfinite(value))
		check_bad(check, ERR_INVALID_ARGUMENT, field, "%g is not a number to compare with", value);
}

static void check_check(struct check *check, const Schedrig__V1__Check *c)
{
	switch (c->form_case) {
	case SCHEDRIG__V1__CHECK__FORM_EXIT_CODE_EQ:
		if (c->exit_code_eq->code < 0 || c->exit_code_eq->code > 255)
			check_bad(check, ERR_INVALID_ARGUMENT, NULL, "an exit code is in 0..255, not %d",
				c->exit_code_eq->code);
		return;
	case SCHEDRIG__V1__CHECK__FORM_MIN:
		check_metric_name(check, c->min->metric);
		check_bound(check, c->min->value, "value");
		return;
	case SCHEDRIG__V1__CHECK__FORM_MAX:
		check_metric_name(check, c->max->metric);
		check_bound(check, c->max->value, "value");
		return;
	case SCHEDRIG__V1__CHECK__FORM_RANGE:
		check_metric_name(check, c->range->metric);
		check_bound(check, c->range->min, "min");
		check_bound(check, c->range->max, "max");
		if (c->range->min > c->range->max)
			check_bad(check, ERR_INVALID_ARGUMENT, NULL, "nothing is between %g and %g",
				c->range->min, c->range->max);
		return;
	case SCHEDRIG__V1__CHECK__FORM_EXISTS:
		check_metric_name(check, c->exists->metric);
		return;
	case SCHEDRIG__V1__CHECK__FORM__NOT_SET:
	case _SCHEDRIG__V1__CHECK__FORM__CASE_IS_INT_SIZE:
		break;
	}
	check_bad(check, ERR_INVALID_ARGUMENT, NULL,
		"no check is given: one of exit_code_eq, min, max, range, exists");
}

/* They become paths below the run directory, too. */
static void check_artifacts(struct check *check, const Schedrig__V1__Payload *p)
{
	if (p->n_artifacts > LIMIT_ARTIFACTS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "artifacts", "at most %u artifacts", LIMIT_ARTIFACTS);
	for (size_t k = 0; k < p->n_artifacts; k++) {
		char place[32];
		const char *path = p->artifacts[k];
		size_t length = strlen(path);
		snprintf(place, sizeof(place), "artifacts[%zu]", k);
		bool good = *path == '/' && length > 1 && length < 1024 && path[length - 1] != '/' &&
			    !strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./") &&
			    strcmp(path + length - MIN_OF(length, 3), "/..") != 0;
		if (!good)
			check_bad(check, ERR_INVALID_ARGUMENT, place,
				"'%.80s' is no absolute path of a file, without '.' and '..'", path);
	}
}

static void check_definition_of(struct check *check, Schedrig__V1__Payload *const *payloads, size_t i)
{
	const Schedrig__V1__Payload *p = payloads[i];
	check_printable(check, p->name, "name");
	if (!*p->name || strlen(p->name) > LIMIT_NAME_BYTES)
		check_bad(check, ERR_INVALID_ARGUMENT, "name", "a payload needs a name of 1 to %u bytes",
			LIMIT_NAME_BYTES);
	for (size_t k = 0; k < i && *p->name; k++) {
		if (strcmp(payloads[k]->name, p->name) != 0)
			continue;
		check_bad(check, ERR_ALREADY_EXISTS, "name",
			"payload '%.80s' is defined already (payloads[%zu])", p->name, k);
		break;
	}
	check_staged(check, "program", p->program);
	check_payload_program(check, p->program);
	if (p->n_default_args > LIMIT_ARGS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "default_args", "at most %u arguments", LIMIT_ARGS);
	if (p->n_checks > LIMIT_PAYLOAD_CHECKS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "checks", "at most %u checks", LIMIT_PAYLOAD_CHECKS);
	for (size_t k = 0; k < p->n_checks; k++) {
		size_t at = check_enter(check, "checks[%zu]", k);
		check_check(check, p->checks[k]);
		check_leave(check, at);
	}
	for (size_t k = 0; k < p->n_metrics; k++)
		if (!*p->metrics[k]->name)
			check_bad(check, ERR_INVALID_ARGUMENT, "metrics", "a metric needs a name");
	for (size_t k = 0; k < p->n_files; k++)
		check_staged(check, "files", p->files[k]);
	check_artifacts(check, p);
	check_flags(check, p, p->default_args, p->n_default_args, "default_args");
}

void check_payload_definitions(struct check *check, Schedrig__V1__Payload *const *payloads, size_t n)
{
	if (n > LIMIT_PAYLOADS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "payloads", "%zu payloads: at most %u are possible", n,
			LIMIT_PAYLOADS);
	for (size_t i = 0; i < n && i < LIMIT_PAYLOADS; i++) {
		size_t at = check_enter(check, "payloads[%zu]", i);
		check_definition_of(check, payloads, i);
		check_leave(check, at);
	}
}

/* Ad-hoc ops may name a scenario's. */
bool check_names_payload(struct check *check, const char *name, const char *field, bool end)
{
	if (check->adhoc)
		return true;
	const Schedrig__V1__Scenario *s = check->scenario;
	const char *names[LIMIT_PAYLOADS];
	for (size_t i = 0; i < s->n_payloads; i++)
		if (strcmp(s->payloads[i]->name, name) == 0)
			return true;
	if (*name && check_find_scheduler(check, name)) {
		check_bad_always(check, ERR_INVALID_ARGUMENT, field,
			"'%.80s' is a scheduler, not a payload: %s", name,
			end ? "detach_scheduler ends it" : "start it with attach_scheduler");
		return false;
	}
	size_t n = MIN_OF(s->n_payloads, (size_t)LIMIT_PAYLOADS);
	for (size_t i = 0; i < n; i++)
		names[i] = s->payloads[i]->name;
	check_undefined(check, field, "payload", name, names, n);
	return false;
}

void check_run_payload(
	struct check *check, const Schedrig__V1__RunPayload *run, const char *cgroup, enum name_owner owner)
{
	bool known = check_names_payload(check, run->payload, "payload", false);
	size_t args = run->n_args;
	for (size_t i = 0; known && check->scenario && i < check->scenario->n_payloads; i++)
		if (strcmp(check->scenario->payloads[i]->name, run->payload) == 0)
			args += check->scenario->payloads[i]->n_default_args;
	if (args > LIMIT_ARGS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "args", "%zu arguments: at most %u are possible", args,
			LIMIT_ARGS);
	for (size_t i = 0; i < check->n_payloads; i++)
		if (strcmp(check->payloads[i]->name, run->payload) == 0)
			check_flags(check, check->payloads[i], run->args, run->n_args, "args");
	if (!known || check->adhoc)
		return;
	if (*cgroup) {
		const struct name *name = names_find(&check->names, cgroup);
		if (run->cgroup && (!name || !name->tracked)) {
			check_bad(check, ERR_NOT_FOUND, "cgroup", "there is no cgroup '%.80s' at this point",
				cgroup);
			return;
		}
	}
	if (names_count_live(&check->names, run->payload, cgroup, NULL)) {
		check_bad(check, ERR_ALREADY_EXISTS, "payload",
			"payload '%.80s' is live in %s%.80s already: wait for it or kill it first",
			run->payload, *cgroup ? "cgroup " : "the runner cgroup", cgroup);
		return;
	}
	if (check->waived_hit)
		return;
	/* Without an owner of longer life it ends with the step. */
	enum name_owner life = run->outlive_step ? NAME_BACKDROP : owner;
	if (check->waived == ERR_NONE && !names_add_live(&check->names, run->payload, cgroup, life))
		check_bad(check, ERR_LIMIT_EXCEEDED, "payload", "more than %d payloads at once",
			NAMES_LIVE_MAX);
}

void check_end_payload(struct check *check, const char *name, const Schedrig__V1__CgroupRef *cgroup)
{
	if (!check_names_payload(check, name, "name", true) || check->adhoc)
		return;
	const struct live *live = NULL;
	size_t n = names_count_live(&check->names, name, cgroup ? cgroup->name : NULL, &live);
	if (n == 0) {
		check_bad(check, ERR_NOT_FOUND, "name",
			"no copy of payload '%.80s' is live%s%.80s at this point", name,
			cgroup ? *cgroup->name ? " in cgroup " : " in the runner cgroup" : "",
			cgroup ? cgroup->name : "");
		return;
	}
	if (n > 1) {
		check_bad(check, ERR_AMBIGUOUS, "name",
			"%zu copies of payload '%.80s' are live: say which with `cgroup`", n, name);
		return;
	}
	if (check->waived != ERR_NONE)
		return;
	char *in = strdup(live->cgroup);
	check->out_of_memory |= !in;
	if (in)
		names_drop_live(&check->names, name, in);
	free(in);
}
