/* SPDX-License-Identifier: GPL-2.0-only */
/* For tests: an engine whose agent is a real one, as a process at the other end of a socket pair. Skips where
 * peer_scratch() does. One thread beside the bench's. */
#ifndef TESTS_LOOP_RIG_H
#define TESTS_LOOP_RIG_H

#include "agent_peer.h"
#include "host/engine/engine.h"
#include "link_bench.h"

struct rig {
	struct peer peer; /* scratch and process */
	struct link_bench bench;
	struct engine *engine;
	char staged_dir[64];
	const char *agent;   /* program; NULL: $SCHEDRIG_AGENT */
	const char *run_dir; /* before rig_start(); NULL: none */
	bool cpuset, cpu, pids;
	void (*on_step)(struct rig *rig);
};

/* Programs of /bin that are staged: true, false, sleep, sh. */
void rig_start(struct rig *rig);
/* The agent's process, with its end of the link: for a second one. */
int rig_start_agent(struct rig *rig);
void rig_stop(struct rig *rig);
/* The same, and the agent has left no cgroup. */
void rig_stop_clean(struct rig *rig);
/* Of a file's text; pb_free() it. */
PB(Scenario) * rig_scenario(const char *text);
/* Runs it; the result is the caller's: pb_free(). */
PB(RunResult) * rig_run(struct rig *rig, const char *text);
/* The same, and its verdict is that one. */
PB(RunResult) * rig_run_for(struct rig *rig, PB(VerdictKind) verdict, const char *text);
/* The same on a rig of its own, which leaves nothing behind. */
PB(RunResult) * rig_alone(PB(VerdictKind) verdict, const char *text);
/* The first part of that kind; fails the test when there is none. */
const PB(VerdictPart) * rig_part(const PB(RunResult) * result, const char *kind);

#endif
