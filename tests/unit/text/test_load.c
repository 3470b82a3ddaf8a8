/* SPDX-License-Identifier: GPL-2.0-only */
/* Scenario files: the shorthands, every kind of mistake with its position, and the way back from JSON. */
#include "common/fd.h"
#include "host/text/text.h"
#include "proto/pb.h"
#include "schedrig/v1/scenario.pb-c.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <math.h>
#include <string.h>

static struct text_errors errors;

static Schedrig__V1__Scenario *load(const char *text)
{
	ProtobufCMessage *message = NULL;
	int r = text_load(&schedrig__v1__scenario__descriptor, text, strlen(text), &message, NULL, &errors);
	cr_assert_eq(r, 0, "%s: %u:%u %s: %s", text, errors.error[0].line, errors.error[0].column,
		errors.error[0].err.place, errors.error[0].err.message);
	return (Schedrig__V1__Scenario *)message;
}

Test(text, the_specification_s_example)
{
	char *text;
	size_t length;
	cr_assert_eq(fd_read_file(SCENARIOS "/cpuset-churn.yaml", 1 << 20, &text, &length, NULL), 0);
	Schedrig__V1__Scenario *s = load(text);
	cr_assert_str_eq(s->name, "cpuset-churn-under-load");
	cr_assert_eq(s->duration->ns, 10000000000);
	cr_assert_eq(s->needs->min_llcs->value, 2);
	cr_assert_null(s->needs->max_llcs);
	cr_assert_eq(s->payloads[0]->n_default_args, 4);
	cr_assert_str_eq(s->payloads[0]->default_args[1], "2");
	Schedrig__V1__CgroupDef *web = s->backdrop->cgroups[0], *batch = s->backdrop->cgroups[1];
	cr_assert_eq(web->cpuset->llc->index, 0);
	cr_assert_eq(web->cpu->weight->value, 200);
	cr_assert_eq(web->work[0]->work_type->bursty->sleep->ns, 1000000);
	cr_assert_eq(web->work[0]->workers->value, 4);
	cr_assert_float_eq(batch->cpuset->range->start, 0.5, 1e-9);
	cr_assert_float_eq(batch->cpuset->range->end, 1.0, 1e-9);
	cr_assert(batch->empty);
	cr_assert_eq(s->n_steps, 4);
	cr_assert_float_eq(s->steps[0]->hold->frac->fraction, 0.2, 1e-9);
	Schedrig__V1__Op **ops = s->steps[1]->ops;
	cr_assert_eq(ops[0]->set_cpuset->cpus->llc->index, 1);
	cr_assert_eq(ops[1]->spawn->placement_case, SCHEDRIG__V1__SPAWN__PLACEMENT_RUNNER_CGROUP);
	cr_assert_str_eq(ops[2]->run_payload->cgroup->name, "web");
	Schedrig__V1__KernelRead *read = ops[3]->read_kernel_hot->reads[0];
	cr_assert_str_eq(read->target->symbol->name, "jiffies_64");
	cr_assert_eq(read->width, SCHEDRIG__V1__WIDTH__WIDTH_U64);
	cr_assert_eq(s->steps[1]->hold->fixed->ns, 2000000000);
	Schedrig__V1__KernelWrite *write = s->steps[2]->ops[0]->write_kernel_cold->writes[0];
	cr_assert_str_eq(write->target->symbol->name, "my_flag");
	cr_assert_eq(write->value->u32->value, 1);
	cr_assert_float_eq(s->steps[2]->setup[0]->work[0]->workers_pct->value, 0.5, 1e-9);
	cr_assert_eq(s->steps[3]->hold->loop->ns, 100000000);
	cr_assert_eq(s->assertions->max_gap->ns, 500000000);
	pb_free(s);
	free(text);
}

Test(text, shorthands)
{
	Schedrig__V1__Scenario *s =
		load("seed: 0xffffffffffffffff\n"
		     "steps:\n"
		     "- hold: full\n"
		     "- hold: {frac: .nan}\n"
		     "- hold: {frac: \"nan\"}\n"
		     "- hold: {frac: -.inf}\n"
		     "- hold: {fixed: \"0\"}\n"
		     "- ops:\n"
		     "  - restart_scheduler\n"
		     "  - add_cgroup: plain\n"
		     "  - add_cgroup_def: {name: x, memory: {max: 64M, high: 4096}}\n"
		     "  - add_cgroup_def: {def: {name: y}}\n"
		     "  - {remove_cgroup: nope, expect_error: NotFound, timeout: 5s}\n"
		     "  - {remove_cgroup: {cgroup: nope}, expect_error: not_found}\n"
		     "  - write_kernel_hot: [{offset: -8, symbol: x, cas_u32: {expected: 1, new: 2}}]\n"
		     "  - write_kernel_hot: [{symbol: {name: x, offset: 4}, bytes: 00ff}]\n"
		     "  - write_kernel_hot: [{target: {kva: 0xffffffff81000000}, value: {from_read: t}}]\n"
		     "  - spawn: {cgroup: c, work: {work_type: spin_wait, policy: {fifo: 5},\n"
		     "      affinity: {exact: '0-3'}}}\n"
		     "  - spawn: {cgroup: c, work: {work_type: {pipe_io: {}}}}\n"
		     "  - spawn: {cgroup: c, work: {work_type: {pipe_io: 7}}}\n");
	cr_assert_eq(s->seed->value, UINT64_MAX);
	cr_assert_eq(s->steps[0]->hold->form_case, SCHEDRIG__V1__HOLD__FORM_FULL);
	cr_assert(isnan(s->steps[1]->hold->frac->fraction));
	cr_assert(isnan(s->steps[2]->hold->frac->fraction));
	cr_assert(isinf(s->steps[3]->hold->frac->fraction) && s->steps[3]->hold->frac->fraction < 0);
	cr_assert_eq(s->steps[4]->hold->fixed->ns, 0);
	Schedrig__V1__Op **ops = s->steps[5]->ops;
	cr_assert_eq(ops[0]->kind_case, SCHEDRIG__V1__OP__KIND_RESTART_SCHEDULER);
	cr_assert_str_eq(ops[1]->add_cgroup->name, "plain");
	cr_assert_eq(ops[2]->add_cgroup_def->def->memory->max->bytes, 64ull << 20);
	cr_assert_eq(ops[2]->add_cgroup_def->def->memory->high->bytes, 4096);
	cr_assert_str_eq(ops[3]->add_cgroup_def->def->name, "y");
	cr_assert_eq(ops[4]->expect_error, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND);
	cr_assert_eq(ops[4]->timeout->ns, 5000000000);
	cr_assert_eq(ops[5]->expect_error, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND);
	cr_assert_eq(ops[6]->write_kernel_hot->writes[0]->target->symbol->offset, -8);
	cr_assert_eq(ops[6]->write_kernel_hot->writes[0]->value->cas_u32->new_, 2);
	cr_assert_eq(ops[7]->write_kernel_hot->writes[0]->target->symbol->offset, 4);
	cr_assert_eq(ops[7]->write_kernel_hot->writes[0]->value->bytes->data.data[1], 0xff);
	cr_assert_eq(ops[8]->write_kernel_hot->writes[0]->target->kva->address, 0xffffffff81000000);
	cr_assert_str_eq(ops[8]->write_kernel_hot->writes[0]->value->from_read->tag, "t");
	cr_assert_eq(ops[9]->spawn->work->policy->fifo->priority, 5);
	cr_assert_str_eq(ops[9]->spawn->work->affinity->exact->list, "0-3");
	/* {} is the message with nothing set: its default counts, not 0. */
	cr_assert_null(ops[10]->spawn->work->work_type->pipe_io->burst);
	cr_assert_eq(ops[11]->spawn->work->work_type->pipe_io->burst->value, 7);
	pb_free(s);
}

Test(text, mistakes_have_positions)
{
	static const struct {
		const char *text;
		unsigned line, column;
		const char *place, *says;
	} bad[] = {
		{"name: a\nstepz: []\n", 2, 1, "", "did you mean 'steps'"},
		{"steps:\n- ops:\n  - set_cpusets: {cgroup: a}\n", 3, 5, "steps[0].ops[0]",
			"unknown op 'set_cpusets': did you mean 'set_cpuset'"},
		{"NAME: a\n", 1, 1, "", "did you mean 'name'"},
		{"steps:\n- ops:\n  - addCgroup: a\n", 3, 5, "steps[0].ops[0]", "did you mean 'add_cgroup'"},
		{"steps:\n- ops:\n  - frobnicate\n", 3, 5, "steps[0].ops[0]", "unknown op 'frobnicate'"},
		{"steps:\n- ops: [~]\n", 2, 9, "steps[0].ops[0]", "unknown op"},
		{"steps:\n- ops: [detach_scheduler]\n", 2, 9, "steps[0].ops[0]", "{detach_scheduler: {}}"},
		{"steps:\n- ops: [kill_payload: x]\n", 2, 23, "steps[0].ops[0]",
			"write a map, {name: ...}, with what is needed of name, cgroup"},
		{"steps:\n- hold {frac: 1}\n", 2, 3, "steps[0]", "there are name, setup, ops, hold"},
		{"steps:\n- hold: full\n  hold: full\n", 3, 3, "steps[0]", "twice (first in line 2)"},
		{"steps:\n\t- hold: full\n", 2, 1, "", "tab"},
		{"steps: [{ops: [\n", 2, 1, "", "without a closing bracket"},
		{"name: \"abc\n", 1, 8, "", "without closing quote"},
		{"%YAML 3.0\n---\nname: a\n", 1, 1, "", "YAML 1.2"},
		{"~\n", 1, 1, "", "write a map"},
		{"steps:\n- hold: ful\n", 2, 9, "steps[0].hold", "did you mean 'full'"},
		{"steps:\n- hold: frac\n", 2, 9, "steps[0].hold", "needs its fields"},
		{"steps:\n- hold: {frac: 1, fixed: 1s}\n", 2, 19, "steps[0].hold", "both 'frac' and 'fixed'"},
		{"steps:\n- hold: {fixed: 5}\n", 2, 17, "steps[0].hold", "unit"},
		{"duration: 5 parsecs\n", 1, 11, "duration", "unit"},
		{"duration: 99999999999h\n", 1, 11, "duration", "too long"},
		{"duration: 99999999999999999999999s\n", 1, 11, "duration", "too long"},
		{"duration: 1s1m\n", 1, 11, "duration", "out of order"},
		{"duration: 5 s\n", 1, 11, "duration", "units are"},
		{"duration: 5S\n", 1, 11, "duration", "units are"},
		{"duration: -1s\n", 1, 11, "duration", ""},
		{"seed: 18446744073709551616\n", 1, 7, "seed", "out of range: 0 to 18446744073709551615"},
		{"seed: 0x1ffffffffffffffff\n", 1, 7, "seed", "out of range"},
		{"seed: -99999999999999999999\n", 1, 7, "seed", "from 0"},
		{"seed: 1e3\n", 1, 7, "seed", "whole number"},
		{"seed: -1\n", 1, 7, "seed", "from 0"},
		{"workers_per_cgroup: 4294967296\n", 1, 21, "workers_per_cgroup", "out of range"},
		{"workers_per_cgroup: [1]\n", 1, 21, "workers_per_cgroup", "list"},
		{"strict: yes\n", 1, 9, "strict", "true or false"},
		{"name: a\nname: b\n", 2, 1, "", "twice"},
		{"name: [a]\n", 1, 7, "name", "single value"},
		{"name:\n", 1, 1, "name", "no value"},
		{"steps: {}\n", 1, 8, "steps", "list"},
		{"steps: 3\n", 1, 8, "steps", "begin with '- '"},
		{"steps: [{hold: {fixed: }}]\n", 1, 17, "steps[0].hold", "no value"},
		{"assertions: {not_stuck: }\n", 1, 14, "assertions.not_stuck", "there is no value here"},
		{"assertions: {expect_kernel_log: [oops]}\n", 1, 34, "assertions.expect_kernel_log[0]",
			"contains, class, never"},
		{"assertions: {max_steal_pct: 20%}\n", 1, 29, "assertions.max_steal_pct", "not a number"},
		{"assertions: {expect_value: [{path: a, eq: 18446744073709551615}]}\n", 1, 43,
			"assertions.expect_value[0]", "9223372036854775807"},
		{"assertions: {expect_value: [{path: a, eq: 1.5}]}\n", 1, 43, "assertions.expect_value[0]",
			"whole number"},
		{"steps: [[]]\n", 1, 9, "steps[0]", "map"},
		{"- 1\n", 1, 1, "", "map"},
		{"name: *x\n", 1, 0, "", "aliases"},
		{"name: &x a\n", 1, 0, "", "anchors"},
		{"name: !!int 3\n", 1, 0, "", "tags"},
		{"? [a]\n: b\n", 1, 3, "", "key"},
		{"---\nname: a\n---\nname: b\n", 3, 1, "", "one document"},
		{"", 1, 1, "", "empty"},
		{"name: \"a\\0b\"\n", 1, 8, "", "NUL"},
		{"backdrop: {cgroups: [{name: a, cpuset: {range: [0.5]}}]}\n", 1, 48,
			"backdrop.cgroups[0].cpuset", "[start, end]"},
		{"backdrop: {cgroups: [{name: a, cpuset: {range: '0-1'}}]}\n", 1, 49,
			"backdrop.cgroups[0].cpuset", "write [start, end]"},
		{"backdrop: {cgroups: [{name: a, cpuset: {exact: [0, 1]}}]}\n", 1, 48,
			"backdrop.cgroups[0].cpuset", "such as 0-3,8"},
		{"backdrop: {cgroups: [{name: a, cpuset: '0-3'}]}\n", 1, 41, "backdrop.cgroups[0].cpuset",
			"there are llc, numa"},
		{"backdrop: {cgroups: [{name: a, memory: {max: 99999999999999999999999}}]}\n", 1, 46,
			"backdrop.cgroups[0].memory.max", "too large"},
		{"backdrop: {cgroups: [{name: a, work: [{work_type: {bursty: 5}}]}]}\n", 1, 60,
			"backdrop.cgroups[0].work[0].work_type", "burst, sleep"},
		{"backdrop: {cgroups: [{name: a, work: [{work_type: {bursty: {brust: 1ms}}}]}]}\n", 1, 61,
			"backdrop.cgroups[0].work[0].work_type", "did you mean 'burst'"},
		{"backdrop: {cgroups: {a: {}}}\n", 1, 21, "backdrop.cgroups", "is a list"},
		{"backdrop: {cgroups: [{name: a, memory: {max: 12Q}}]}\n", 1, 46,
			"backdrop.cgroups[0].memory.max", "unit"},
		{"steps: [{ops: [{read_kernel_hot: [{offset: 4, path: x}]}]}]\n", 1, 36,
			"steps[0].ops[0].reads[0]", "belongs to a 'symbol'"},
		{"steps: [{ops: [{restart_scheduler: }]}]\n", 1, 17, "steps[0].ops[0]", "no fields"},
		{"steps: [{ops: [{remove_cgroup: a, expect_error: none}]}]\n", 1, 49,
			"steps[0].ops[0].expect_error", "not one of invalid_argument"},
		{"steps: [{ops: [{read_kernel_hot: [{symbol: a, width: u65}]}]}]\n", 1, 54,
			"steps[0].ops[0].reads[0].width", "not one of"},
		{"steps: [{ops: [{restart_scheduler: true}]}]\n", 1, 36, "steps[0].ops[0]", "no fields"},
		{"steps: [{ops: [{write_kernel_hot: [{symbol: a, bytes: 0g}]}]}]\n", 1, 55,
			"steps[0].ops[0].writes[0]", "hexadecimal"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		ProtobufCMessage *message = NULL;
		int r = text_load(&schedrig__v1__scenario__descriptor, bad[i].text, strlen(bad[i].text),
			&message, NULL, &errors);
		cr_assert_eq(r, -EINVAL, "%s", bad[i].text);
		cr_assert_geq(errors.n, 1);
		const struct text_error *e = &errors.error[0];
		cr_expect(strstr(e->err.message, bad[i].says), "%s: %s", bad[i].text, e->err.message);
		cr_expect_str_eq(e->err.place, bad[i].place, "%s: %s", bad[i].text, e->err.place);
		cr_expect_eq(e->line, bad[i].line, "%s: line %u (%s)", bad[i].text, e->line, e->err.message);
		if (bad[i].column)
			cr_expect_eq(e->column, bad[i].column, "%s: column %u (%s)", bad[i].text, e->column,
				e->err.message);
	}
}

Test(text, all_mistakes_in_order)
{
	ProtobufCMessage *message;
	const char *text = "duration: 5\nsteps:\n- hold: {frac: x}\n- opz: []\nnmae: a\n";
	cr_assert_eq(
		text_load(&schedrig__v1__scenario__descriptor, text, strlen(text), &message, NULL, &errors),
		-EINVAL);
	cr_assert_eq(errors.n, 4);
	static const unsigned lines[] = {1, 3, 4, 5};
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(errors.error[i].line, lines[i]);
}

Test(text, hostile_input)
{
	ProtobufCMessage *message;
	const ProtobufCMessageDescriptor *type = &schedrig__v1__scenario__descriptor;
	char deep[4000];
	memset(deep, '[', sizeof(deep));
	cr_assert_lt(text_load(type, deep, sizeof(deep), &message, NULL, &errors), 0);
	cr_assert_lt(text_load(type, "name: \xff\xfe", 8, &message, NULL, &errors), 0);
	cr_assert(strstr(errors.error[0].err.message, "UTF-8"));
	cr_assert_eq(errors.error[0].column, 7);
	size_t big = TEXT_FILE_MAX_BYTES + 1;
	char *text = malloc(big);
	memset(text, ' ', big);
	cr_assert_lt(text_load(type, text, big, &message, NULL, &errors), 0);
	cr_assert_eq(errors.error[0].err.code, ERR_LIMIT_EXCEEDED);
	/* Brackets are not counted by the gigabyte: the first that is too many ends it. */
	memset(text, '[', TEXT_FILE_MAX_BYTES);
	text[2] = '\n';
	cr_assert_lt(text_load(type, text, TEXT_FILE_MAX_BYTES, &message, NULL, &errors), 0);
	cr_assert_eq(errors.error[0].err.code, ERR_LIMIT_EXCEEDED);
	cr_assert(strstr(errors.error[0].err.message, "too many entries"), "%s", errors.error[0].err.message);
	cr_assert_eq(errors.error[0].line, 2);
	/* More keys than a message has fields. */
	size_t keys = 0;
	for (int i = 0; i < 300; i++)
		keys += (size_t)sprintf(text + keys, "k%d: 1\n", i);
	cr_assert_lt(text_load(type, text, keys, &message, NULL, &errors), 0);
	cr_assert(strstr(errors.error[0].err.message, "at most 256"), "%s", errors.error[0].err.message);
	/* Aliases that stand for billions: none is followed. */
	static const char bomb[] = "a: &a [l,l,l,l,l,l,l,l]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nname: *b\n";
	cr_assert_lt(text_load(type, bomb, strlen(bomb), &message, NULL, &errors), 0);
	cr_assert(strstr(errors.error[0].err.message, "leave them out"), "%s", errors.error[0].err.message);
	/* More mistakes than are kept: counted. */
	size_t used = (size_t)sprintf(text, "steps: [");
	for (int i = 0; i < 500; i++)
		used += (size_t)sprintf(text + used, "x,");
	used += (size_t)sprintf(text + used, "]");
	cr_assert_lt(text_load(type, text, used, &message, NULL, &errors), 0);
	cr_assert_eq(errors.n, TEXT_ERRORS_MAX);
	cr_assert_eq(errors.dropped, 400);
	free(text);
}

Test(text, places)
{
	const char *text = "name: a\nsteps:\n  - ops:\n      - set_cpuset:\n          cgroup: x\n          "
			   "cpus: {range: [2, 3]}\n"
			   "    hold:\n      frac: 0\n";
	ProtobufCMessage *message;
	struct text_places *places;
	unsigned line, column;
	cr_assert_eq(text_load(&schedrig__v1__scenario__descriptor, text, strlen(text), &message, &places,
			     &errors),
		0);
	text_places_find(places, "steps[0].ops[0].cpus.start", &line, &column);
	cr_assert_eq(line, 6);
	text_places_find(places, "steps[0].ops[0].cgroup", &line, &column);
	cr_assert_eq(line, 5);
	cr_assert_eq(column, 11);
	text_places_find(places, "steps[0].hold", &line, &column);
	cr_assert_eq(line, 7);
	text_places_find(places, "steps[7].hold", &line, &column);
	cr_assert_eq(line, 2);
	text_places_find(places, "", &line, &column);
	cr_assert_eq(line, 1);
	text_places_find(NULL, "steps", &line, &column);
	cr_assert_eq(line, 0);
	text_places_free(places);
	pb_free(message);
}

/* What text_to_json() writes, text_load() reads to the same message. */
Test(text, json_there_and_back)
{
	char *text;
	size_t length;
	cr_assert_eq(fd_read_file(SCENARIOS "/cpuset-churn.yaml", 1 << 20, &text, &length, NULL), 0);
	Schedrig__V1__Scenario *s = load(text);
	json_t *json = text_to_json(&s->base);
	char *dump = json_dumps(json, JSON_INDENT(1));
	cr_assert(strstr(dump, "\"expect_error\"") == NULL);
	Schedrig__V1__Scenario *again = load(dump);
	size_t n = schedrig__v1__scenario__get_packed_size(s);
	cr_assert_eq(schedrig__v1__scenario__get_packed_size(again), n);
	uint8_t *a = malloc(n), *b = malloc(n);
	schedrig__v1__scenario__pack(s, a);
	schedrig__v1__scenario__pack(again, b);
	cr_assert_eq(memcmp(a, b, n), 0);
	free(a);
	free(b);
	free(dump);
	json_decref(json);
	pb_free(again);
	pb_free(s);
	free(text);
}

Test(text, json_of_numbers)
{
	Schedrig__V1__AddressTarget target = SCHEDRIG__V1__ADDRESS_TARGET__INIT;
	target.address = 0xffffffff81000000;
	json_t *json = text_to_json(&target.base);
	cr_assert_str_eq(json_string_value(json_object_get(json, "address")), "0xffffffff81000000");
	json_decref(json);
	Schedrig__V1__HoldFrac frac = SCHEDRIG__V1__HOLD_FRAC__INIT;
	frac.fraction = NAN;
	json = text_to_json(&frac.base);
	cr_assert_str_eq(json_string_value(json_object_get(json, "fraction")), "nan");
	json_decref(json);
	Schedrig__V1__Error error = SCHEDRIG__V1__ERROR__INIT;
	error.code = SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_GUEST_OS;
	error.message = (char *)"\xff!";
	json = text_to_json(&error.base);
	cr_assert_str_eq(json_string_value(json_object_get(json, "code")), "guest_os");
	cr_assert_str_eq(json_string_value(json_object_get(json, "message")), "?!");
	cr_assert_null(json_object_get(json, "place"));
	json_decref(json);
}
