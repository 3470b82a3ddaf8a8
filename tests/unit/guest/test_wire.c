/* SPDX-License-Identifier: GPL-2.0-only */
/* Between wire and rooms: kinds, repeated fields, descriptions. */
#include "guest/ops/ops.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

Test(wire, kinds)
{
	PB(Op) op = SCHEDRIG__V1__OP__INIT;
	cr_expect_eq(ops_kind(&op), -1);
	op.kind_case = SCHEDRIG__V1__OP__KIND_STEER_IRQ;
	cr_expect_eq(ops_kind(&op), 27);
	cr_expect_str_eq(ops_kind_name(27), "SteerIrq");
	cr_expect_str_eq(ops_kind_name(-1), "");
	cr_expect_str_eq(ops_kind_name(28), "");
}

Test(wire, repeated_fields_grow)
{
	_cleanup_(arena_free_p) struct arena *arena = arena_new(1u << 20);
	PB(OpResult) result = SCHEDRIG__V1__OP_RESULT__INIT;
	for (unsigned i = 0; i < 1000; i++)
		cr_assert(
			ops_append(arena, &result.notes, &result.n_notes, arena_printf(arena, "note %u", i)));
	cr_assert_eq(result.n_notes, 1000);
	cr_expect_str_eq(result.notes[0], "note 0");
	cr_expect_str_eq(result.notes[999], "note 999");
	cr_expect(!ops_append(arena, &result.notes, &result.n_notes, NULL), "a full arena");
	cr_expect_eq(result.n_notes, 1000);
}

Test(wire, a_quota_in_percent)
{
	PB(CgroupDef) def = SCHEDRIG__V1__CGROUP_DEF__INIT;
	PB(CpuKnobs) cpu = SCHEDRIG__V1__CPU_KNOBS__INIT;
	PB(DoubleValue) pct = SCHEDRIG__V1__DOUBLE_VALUE__INIT;
	struct cg_knobs knobs;
	struct err err = ERR_INIT;
	def.cpu = &cpu;
	cr_assert_eq(ops_knobs(def.cpu, def.memory, def.pids, def.io, &knobs, &err), 0);
	cr_expect(!knobs.has_cpu_max);
	cpu.quota_pct = &pct;
	pct.value = 150;
	cr_assert_eq(ops_knobs(def.cpu, def.memory, def.pids, def.io, &knobs, &err), 0);
	cr_expect_eq(knobs.quota_us, 150000);
	cr_expect_eq(knobs.period_us, 100000);
	pct.value = NAN;
	cr_expect_lt(ops_knobs(def.cpu, def.memory, def.pids, def.io, &knobs, &err), 0);
}

Test(wire, text_that_is_not_utf8_becomes_readable)
{
	_cleanup_(arena_free_p) struct arena *arena = arena_new(1u << 20);
	struct scene_payload_report report = {.name = "p", .cgroup = "", .place = ""};
	strcpy(report.tail[0], "gr\xc3\xbc\xc3\x9f \xff\xc3 ok \xe2\x82");
	PB(PayloadReport) *wire = ops_payload_report(arena, &report);
	cr_assert_not_null(wire);
	cr_expect_str_eq(wire->stdout_tail, "gr\xc3\xbc\xc3\x9f ?? ok ??");
}
