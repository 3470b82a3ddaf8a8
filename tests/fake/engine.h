/* SPDX-License-Identifier: GPL-2.0-only */
/* An engine without a guest, for tests of what stands in front of it. Implements host/engine/engine.h in the
 * test program. What it does is in the names it is given:
 *
 *   scenario "block"      runs until cancelled or fake_engine_release()
 *            "late"        begins only after a cancel, which it does not hear, then prepares until cancelled
 *            "events N"   emits N progress events of about 1 KiB each
 *            "big N"      its result has N bytes of notes
 *            "invalid"    has two mistakes
 *            "ask"         asks for a set-up (number 41, factory "mine"); what came is its summary
 *            "broken"     engine_run() itself fails
 *            other        passes
 *   add_cgroup "slow"     waits for fake_engine_release()
 *              "fail"     fails with NotFound and its result so far
 *   read_kernel_cold      its kind says whose freeze: "own", "held"
 *   capture_snapshot      waits until the freeze it is in is wanted back ("wanted-back"), or for
 *                         fake_engine_release() ("released"); "own": it is in none */
#ifndef TESTS_FAKE_ENGINE_H
#define TESTS_FAKE_ENGINE_H

#include "host/engine/engine.h"

/* Lets everything go that waits, from now on. */
void fake_engine_release(struct engine *engine);
/* Waits until a scenario (or a slow op) is in it, at most 10 s. */
bool fake_engine_wait_busy(struct engine *engine);
bool fake_engine_wait_idle(struct engine *engine);
/* Why the last scenario was cancelled; "" if it was not. */
const char *fake_engine_cancelled(struct engine *engine);
unsigned fake_engine_runs(struct engine *engine);

/* Before any request. */
void fake_engine_set_vm(struct engine *engine, struct vm *vm);

#endif
