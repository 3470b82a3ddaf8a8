/* SPDX-License-Identifier: GPL-2.0-only */
/* Schedulers: definitions, ops that name them, and payloads that must not be one. Pure. */
#include "common/parse.h"
#include "host/engine/ops.h"
#include "host/engine/validate.h"
#include "proto/wire.h"

#include <string.h>

#define OBJECT_SUFFIX ".bpf.o"

const Schedrig__V1__Scheduler *check_find_scheduler(const struct check *check, const char *name)
{
	const Schedrig__V1__Scenario *s = check->scenario;
	for (size_t i = 0; s && i < s->n_schedulers; i++)
		if (strcmp(s->schedulers[i]->name, name) == 0)
			return s->schedulers[i];
	return NULL;
}

static const char *program_of(const Schedrig__V1__Scheduler *scheduler)
{
	switch (scheduler->kind_case) {
	case SCHEDRIG__V1__SCHEDULER__KIND_BINARY:
		return staged_name(scheduler->binary->program);
	case SCHEDRIG__V1__SCHEDULER__KIND_OBJECT:
		return staged_name(scheduler->object->file);
	case SCHEDRIG__V1__SCHEDULER__KIND_KERNEL_DEFAULT:
	case SCHEDRIG__V1__SCHEDULER__KIND__NOT_SET:
	case _SCHEDRIG__V1__SCHEDULER__KIND__CASE_IS_INT_SIZE:
		break;
	}
	return "";
}

static bool object_by_name(const char *name)
{
	size_t length = strlen(name), suffix = strlen(OBJECT_SUFFIX);
	return length > suffix && strcmp(name + length - suffix, OBJECT_SUFFIX) == 0;
}

void check_payload_program(struct check *check, const char *program)
{
	const Schedrig__V1__Scenario *s = check->scenario;
	const char *name = staged_name(program);
	if (object_by_name(name)) {
		check_bad_always(check, ERR_INVALID_ARGUMENT, "program",
			"'%.80s' is a BPF object, which is no program: define it in `schedulers` as an "
			"`object` and attach it with attach_scheduler",
			name);
		return;
	}
	for (size_t i = 0; s && *name && i < s->n_schedulers; i++) {
		if (strcmp(program_of(s->schedulers[i]), name) != 0)
			continue;
		check_bad_always(check, ERR_INVALID_ARGUMENT, "program",
			"'%.80s' is the program of scheduler '%.80s' (schedulers[%zu]), which is no payload: "
			"attach it with attach_scheduler",
			name, s->schedulers[i]->name, i);
		return;
	}
}

/* "a.b/c": words between dots or slashes, none empty, so that no way leads out of /proc/sys. */
static bool sysctl_name_good(const char *name)
{
	size_t length = strlen(name);
	if (length == 0 || length > LIMIT_NAME_BYTES || !strpbrk(name, "./") || strpbrk(name, " \t\n="))
		return false;
	for (const char *c = name; *c; c++)
		if ((*c == '.' || *c == '/') && (c == name || !c[1] || c[1] == '.' || c[1] == '/'))
			return false;
	return true;
}

static void check_sysctls(struct check *check, const Schedrig__V1__Scheduler *scheduler)
{
	if (scheduler->n_sysctls > LIMIT_SYSCTLS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "sysctls", "%zu sysctls: at most %u are possible",
			scheduler->n_sysctls, LIMIT_SYSCTLS);
	for (size_t i = 0; i < scheduler->n_sysctls && i < LIMIT_SYSCTLS; i++) {
		const Schedrig__V1__Sysctl *sysctl = scheduler->sysctls[i];
		size_t at = check_enter(check, "sysctls[%zu]", i);
		check_printable(check, sysctl->name, "name");
		if (!sysctl_name_good(sysctl->name))
			check_bad(check, ERR_INVALID_ARGUMENT, "name",
				"'%.80s' is no sysctl's name: write it as in kernel.sched_schedstats",
				sysctl->name);
		if (!*sysctl->value)
			check_bad(check, ERR_INVALID_ARGUMENT, "value", "a sysctl needs a value");
		if (strlen(sysctl->value) > LIMIT_SYSCTL_BYTES)
			check_bad(check, ERR_LIMIT_EXCEEDED, "value",
				"%zu bytes: the kernel takes at most %u at once", strlen(sysctl->value),
				LIMIT_SYSCTL_BYTES);
		for (size_t k = 0; k < i && *sysctl->name; k++)
			if (strcmp(scheduler->sysctls[k]->name, sysctl->name) == 0) {
				check_bad(check, ERR_ALREADY_EXISTS, "name",
					"sysctl '%.80s' is set already (sysctls[%zu])", sysctl->name, k);
				break;
			}
		check_leave(check, at);
	}
}

static bool constant_good(const char *value)
{
	int64_t negative;
	uint64_t number;
	return strcmp(value, "true") == 0 || strcmp(value, "false") == 0 ||
	       parse_i64(value, &negative, NULL) == 0 || parse_u64(value, &number, NULL) == 0;
}

static void check_object(struct check *check, const Schedrig__V1__ObjectScheduler *object)
{
	check_staged(check, "file", object->file);
	if (object->n_rodata > LIMIT_RODATA)
		check_bad(check, ERR_LIMIT_EXCEEDED, "rodata", "%zu constants: at most %u are possible",
			object->n_rodata, LIMIT_RODATA);
	for (size_t i = 0; i < object->n_rodata && i < LIMIT_RODATA; i++) {
		const Schedrig__V1__RodataValue *constant = object->rodata[i];
		size_t at = check_enter(check, "rodata[%zu]", i);
		check_printable(check, constant->variable, "variable");
		if (!*constant->variable || strlen(constant->variable) > LIMIT_NAME_BYTES)
			check_bad(check, ERR_INVALID_ARGUMENT, "variable",
				"a constant is overridden by its name of 1 to %u bytes", LIMIT_NAME_BYTES);
		for (size_t k = 0; k < i && *constant->variable; k++)
			if (strcmp(object->rodata[k]->variable, constant->variable) == 0) {
				check_bad(check, ERR_ALREADY_EXISTS, "variable",
					"constant '%.80s' is overridden already (rodata[%zu])",
					constant->variable, k);
				break;
			}
		if (!constant_good(constant->value))
			check_bad(check, ERR_INVALID_ARGUMENT, "value",
				"'%.60s' is no constant's value: a whole number, true or false",
				constant->value);
		check_leave(check, at);
	}
}

static void check_binary(struct check *check, const Schedrig__V1__BinaryScheduler *binary)
{
	if (!*binary->program)
		check_bad(check, ERR_INVALID_ARGUMENT, "program",
			"which program? its staged name, or a path that is staged");
	else if (object_by_name(staged_name(binary->program)))
		check_bad(check, ERR_INVALID_ARGUMENT, "program",
			"'%.80s' is a BPF object, which is no program: write `object: {file: ...}`",
			staged_name(binary->program));
	else
		check_staged(check, "program", binary->program);
	if (binary->n_default_args > LIMIT_ARGS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "default_args", "at most %u arguments", LIMIT_ARGS);
}

static void check_kind(struct check *check, const Schedrig__V1__Scheduler *scheduler)
{
	switch (scheduler->kind_case) {
	case SCHEDRIG__V1__SCHEDULER__KIND_BINARY:
		check_binary(check, scheduler->binary);
		return;
	case SCHEDRIG__V1__SCHEDULER__KIND_OBJECT:
		check_object(check, scheduler->object);
		return;
	case SCHEDRIG__V1__SCHEDULER__KIND_KERNEL_DEFAULT:
		return;
	case SCHEDRIG__V1__SCHEDULER__KIND__NOT_SET:
	case _SCHEDRIG__V1__SCHEDULER__KIND__CASE_IS_INT_SIZE:
		break;
	}
	check_bad(check, ERR_INVALID_ARGUMENT, NULL,
		"what kind of scheduler? give `binary: {program: ...}`, `object: {file: ...}` or "
		"`kernel_default: {}`");
}

static void check_name(struct check *check, const Schedrig__V1__Scenario *s, size_t i)
{
	const char *name = s->schedulers[i]->name;
	check_printable(check, name, "name");
	if (!*name || strlen(name) > LIMIT_NAME_BYTES) {
		check_bad(check, ERR_INVALID_ARGUMENT, "name", "a scheduler needs a name of 1 to %u bytes",
			LIMIT_NAME_BYTES);
		return;
	}
	for (size_t k = 0; k < i; k++)
		if (strcmp(s->schedulers[k]->name, name) == 0) {
			check_bad(check, ERR_ALREADY_EXISTS, "name",
				"scheduler '%.80s' is defined already (schedulers[%zu])", name, k);
			return;
		}
	for (size_t k = 0; k < s->n_payloads; k++)
		if (strcmp(s->payloads[k]->name, name) == 0) {
			check_bad(check, ERR_ALREADY_EXISTS, "name",
				"'%.80s' is the name of a payload (payloads[%zu]): give the scheduler "
				"another one",
				name, k);
			return;
		}
}

static void check_one(struct check *check, const Schedrig__V1__Scenario *s, size_t i)
{
	const Schedrig__V1__Scheduler *scheduler = s->schedulers[i];
	bool binary = scheduler->kind_case == SCHEDRIG__V1__SCHEDULER__KIND_BINARY;
	bool known = scheduler->kind_case != SCHEDRIG__V1__SCHEDULER__KIND__NOT_SET;
	check_name(check, s, i);
	check_kind(check, scheduler);
	check_sysctls(check, scheduler);
	if (known && !binary && *scheduler->config)
		check_bad(check, ERR_INVALID_ARGUMENT, "config",
			"only a `binary` reads a configuration: leave `config` out");
	else if (*scheduler->config)
		check_staged(check, "config", scheduler->config);
	if (known && !binary && scheduler->cgroup_parent)
		check_bad(check, ERR_INVALID_ARGUMENT, "cgroup_parent",
			"only a `binary` runs in a cgroup: leave `cgroup_parent` out");
	else if (scheduler->cgroup_parent)
		(void)check_cgroup_name(check, scheduler->cgroup_parent->name, "cgroup_parent");
	if (scheduler->attach_deadline && scheduler->attach_deadline->ns == 0)
		check_bad(
			check, ERR_INVALID_ARGUMENT, "attach_deadline", "nothing is attached within no time");
	if (scheduler->attach_deadline && scheduler->attach_deadline->ns > CHECK_SPAN_MAX_NS)
		check_bad(check, ERR_INVALID_ARGUMENT, "attach_deadline", CHECK_TOO_LONG);
}

void check_scheduler_definitions(struct check *check)
{
	const Schedrig__V1__Scenario *s = check->scenario;
	if (s->n_schedulers > LIMIT_SCHEDULERS)
		check_bad(check, ERR_LIMIT_EXCEEDED, "schedulers", "%zu schedulers: at most %u are possible",
			s->n_schedulers, LIMIT_SCHEDULERS);
	for (size_t i = 0; i < s->n_schedulers && i < LIMIT_SCHEDULERS; i++) {
		size_t at = check_enter(check, "schedulers[%zu]", i);
		check_one(check, s, i);
		check_leave(check, at);
	}
}

void check_names_scheduler(struct check *check, const char *name)
{
	if (!*name) {
		check_bad(check, ERR_INVALID_ARGUMENT, "scheduler",
			"which scheduler? the name of one that `schedulers` defines");
		return;
	}
	if (check->adhoc || check_find_scheduler(check, name))
		return;
	const Schedrig__V1__Scenario *s = check->scenario;
	const char *names[LIMIT_SCHEDULERS];
	size_t n = MIN_OF(s->n_schedulers, (size_t)LIMIT_SCHEDULERS);
	for (size_t i = 0; i < n; i++)
		names[i] = s->schedulers[i]->name;
	for (size_t i = 0; i < s->n_payloads; i++)
		if (strcmp(s->payloads[i]->name, name) == 0) {
			check_bad(check, ERR_NOT_FOUND, "scheduler",
				"'%.80s' is a payload, not a scheduler: run_payload starts it", name);
			return;
		}
	check_undefined(check, "scheduler", "scheduler", name, names, n);
}
