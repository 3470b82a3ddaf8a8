/* SPDX-License-Identifier: GPL-2.0-only */
/* The verdict: assertions by layers over what workers and payloads reported, and the worst of all findings.
 * The run's thread.
 *
 * Layers: a threshold of the scenario governs every phase whose step does not set thresholds of its own; a
 * step's own are merged over the scenario's, field by field, and govern that step's phase. Each layer judges
 * the parts of worker reports that fall in its phases. Deltas and expectations name what they are about, and
 * count wherever they stand. */
#include "host/engine/engine_internal.h"
#include "host/engine/expect.h"
#include "host/engine/judge.h"
#include "host/engine/measure.h"

#include <string.h>

static void judge_workers(struct run *run)
{
	const Schedrig__V1__Scenario *s = run->scenario;
	size_t n_phases = s->n_steps + 1;
	_cleanup_free_ bool *governed = calloc(n_phases, sizeof(*governed));
	if (!governed) {
		run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE, "not_stuck", "", 0,
			"out of memory");
		return;
	}
	Schedrig__V1__Assertions base = SCHEDRIG__V1__ASSERTIONS__INIT;
	assertions_merge(&base, s->assertions);
	for (size_t phase = 0; phase < n_phases; phase++)
		governed[phase] = phase == 0 || !assertions_govern(s->steps[phase - 1]->assertions);
	judge_layer(run, &base, governed, n_phases, "assertions", 0);
	judge_deltas(run, s->assertions, "assertions", assertions_steal_pct(&base));
	for (size_t i = 0; i < s->n_steps; i++) {
		char place[48];
		snprintf(place, sizeof(place), "steps[%zu].assertions", i);
		Schedrig__V1__Assertions own = base;
		assertions_merge(&own, s->steps[i]->assertions);
		judge_deltas(run, s->steps[i]->assertions, place, assertions_steal_pct(&own));
		if (!assertions_govern(s->steps[i]->assertions))
			continue;
		memset(governed, 0, n_phases * sizeof(*governed));
		governed[i + 1] = true;
		judge_layer(run, &own, governed, n_phases, place, (uint32_t)i + 1);
	}
}

static void judge_payload(struct run *run, const Schedrig__V1__PayloadReport *report)
{
	for (size_t i = 0; i < report->n_failed_checks; i++)
		run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL, "payload_check", report->place,
			0, "payload '%s' (%s): %s%s%s", report->name, report->exit, report->failed_checks[i],
			*report->stderr_tail ? "; its last words: " : "", report->stderr_tail);
}

static void judge_payloads(struct run *run)
{
	const Schedrig__V1__RunResult *result = run->result;
	for (size_t i = 0; i < result->n_payloads; i++)
		judge_payload(run, result->payloads[i]);
	for (size_t i = 0; i < result->n_ops; i++)
		if (result->ops[i]->payload)
			judge_payload(run, result->ops[i]->payload);
}

static bool anything_asserted(const struct run *run)
{
	const Schedrig__V1__Scenario *s = run->scenario;
	bool found = assertions_any(s->assertions);
	for (size_t i = 0; i < s->n_steps; i++)
		found |= assertions_any(s->steps[i]->assertions);
	for (size_t i = 0; i < s->n_payloads; i++)
		found |= s->payloads[i]->n_checks > 0;
	for (size_t i = 0; i < run->result->n_ops; i++)
		found |= run->result->ops[i]->expected_error;
	return found;
}

/* Fail and Inconclusive first, each group in order of finding. */
static void sort_parts(Schedrig__V1__Verdict *verdict)
{
	for (size_t i = 1; i < verdict->n_parts; i++) {
		Schedrig__V1__VerdictPart *part = verdict->parts[i];
		size_t k = i;
		for (; k > 0 && verdict->parts[k - 1]->verdict < part->verdict; k--)
			verdict->parts[k] = verdict->parts[k - 1];
		verdict->parts[k] = part;
	}
}

static void summarise(struct run *run, bool asserted)
{
	static const char *const words[] = {
		[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_UNSET] = "Pass",
		[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_SKIP] = "Skip",
		[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS] = "Pass",
		[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE] = "Inconclusive",
		[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL] = "Fail",
	};
	Schedrig__V1__Verdict *verdict = run->result->verdict;
	size_t same = 0;
	for (size_t i = 0; i < verdict->n_parts; i++)
		same += verdict->parts[i]->verdict == verdict->verdict;
	char *summary = NULL;
	int r;
	if (verdict->verdict == SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS)
		r = asprintf(
			&summary, "Pass: %s", asserted ? "everything asserted held" : "nothing was asserted");
	else if (same > 1)
		r = asprintf(&summary, "%s: %s (and %zu more)", words[verdict->verdict],
			verdict->parts[0]->message, same - 1);
	else
		r = asprintf(&summary, "%s: %s", words[verdict->verdict],
			verdict->n_parts ? verdict->parts[0]->message : "");
	if (r >= 0)
		verdict->summary = summary;
}

/* Numbers that a busy host has spoilt should not be taken for the scheduler's. */
static void note_steal(struct run *run)
{
	size_t n_phases = run->scenario->n_steps + 1;
	_cleanup_free_ bool *phases = malloc(n_phases * sizeof(*phases));
	unsigned vcpu = 0;
	if (!phases)
		return;
	memset(phases, true, n_phases * sizeof(*phases));
	double pct = judge_steal(run->result, phases, n_phases, JUDGE_EVERY_VCPU, &vcpu);
	if (pct <= ASSERT_STEAL_PCT)
		return;
	char note[200];
	snprintf(note, sizeof(note),
		"the host kept vCPU %u waiting for %.0f %% of a step's time: measured times are the host's, "
		"too",
		vcpu, pct);
	run_note(run, note);
}

void run_judge(struct run *run)
{
	Schedrig__V1__Verdict *verdict = run->result->verdict;
	bool skipped = verdict->n_parts &&
		       verdict->parts[0]->verdict == SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_SKIP;
	bool asserted = anything_asserted(run);
	if (!skipped) {
		judge_workers(run);
		judge_payloads(run);
		expect_end(run);
		measure(run);
		note_steal(run);
		if (!asserted)
			run_find(run, SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS, "expectation",
				"assertions", 0, "nothing was asserted");
	}
	sort_parts(verdict);
	verdict->verdict = skipped ? SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_SKIP
				   : SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS;
	for (size_t i = 0; i < verdict->n_parts; i++)
		verdict->verdict = MAX_OF(verdict->verdict, verdict->parts[i]->verdict);
	summarise(run, asserted);
}
