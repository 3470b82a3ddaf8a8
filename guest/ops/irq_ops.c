/* SPDX-License-Identifier: GPL-2.0-only */
/* SteerIrq (see ops.h). Lane threads. */
#include "guest/ops/ops.h"

#include "common/clock.h"

/* For the interrupt that moves it: lines that are used at all come more often, and others would hold up the
 * list of ops. */
#define WAIT_NS (100 * NS_PER_MS)

int op_steer_irq(struct op_run *run, const PB(SteerIrq) * op, struct err *err)
{
	struct irq_steered *steered = arena_alloc(run->arena, sizeof(*steered));
	PB(IrqOutcome) *outcome = PB_NEW(run->arena, IrqOutcome, irq_outcome);
	if (!steered || !outcome)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the results of this request are too large");
	int r = scene_steer_irq(run->scene, &run->call, op->irq, op->cpu, op->keep,
		op->wait ? op->wait->ns : WAIT_NS, steered, err);
	if (r < 0)
		return r;
	outcome->number = steered->number;
	outcome->actions = ops_text(run->arena, steered->actions);
	outcome->before = steered->before;
	outcome->effective = steered->effective;
	outcome->pending = steered->pending;
	if (!outcome->actions)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the results of this request are too large");
	run->result->irq = outcome;
	return 0;
}
