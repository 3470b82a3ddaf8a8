/* SPDX-License-Identifier: GPL-2.0-only */
/* What a scenario expects to happen: lines of the guest's kernel log, values in its memory. The run's thread
 * but for expect_log(). */
#ifndef HOST_ENGINE_EXPECT_H
#define HOST_ENGINE_EXPECT_H

#include "host/engine/engine_internal.h"

/* From here on lines of the kernel log are looked at. */
int expect_begin(struct run *run, struct err *err) must_check;
/* (any thread, with engine.event_lock held) One line. */
void expect_log(struct engine *engine, const Schedrig__V1__LogLine *line, uint32_t phase);
/* The end of a step's hold, before its teardown; and that of the last step's, before the backdrop's. Waits a
 * while for lines that must come and are still on their way; looks at memory. */
void expect_step(struct run *run, size_t index);
void expect_scenario(struct run *run);
/* The findings about log lines. Nothing is looked at any more. */
void expect_end(struct run *run);

#endif
