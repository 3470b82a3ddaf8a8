/* SPDX-License-Identifier: GPL-2.0-only */
/* Progress and verdicts for people (see cli.h). Text that came from the guest is shown without its control
 * characters. */
#include "host/cli/cli.h"

#include "common/clock.h"
#include "common/parse.h"

#include <string.h>

static const char *text_of(const char *text)
{
	return text ? text : "";
}

static void put(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc((unsigned char)*text < 32 || *text == 127 ? ' ' : *text, out);
}

static void paint(FILE *out, bool colour, const char *code, const char *text)
{
	if (colour)
		fprintf(out, "\033[%sm%s\033[0m", code, text);
	else
		fputs(text, out);
}

void cli_report_end(struct cli_report *report)
{
	if (report->line_shown)
		fputs("\r\033[K", report->out);
	report->line_shown = false;
	fflush(report->out);
}

static uint64_t elapsed_ns(const struct cli_report *report)
{
	return report->begin_ns ? clock_now_ns() - report->begin_ns : 0;
}

static void put_left(struct cli_report *report)
{
	uint64_t elapsed = elapsed_ns(report);
	if (report->budget_ns > elapsed)
		fprintf(report->out, ", about %.1f s left", (double)(report->budget_ns - elapsed) / 1e9);
}

void cli_report_tick(struct cli_report *report)
{
	if (!report->live || !report->begin_ns)
		return;
	cli_report_end(report);
	fprintf(report->out, "%6.1f s  ", (double)elapsed_ns(report) / 1e9);
	put(report->out, report->doing);
	put_left(report);
	fflush(report->out);
	report->line_shown = true;
}

static void begin_line(struct cli_report *report, uint64_t scenario_ns)
{
	cli_report_end(report);
	fprintf(report->out, "%6.1f s  ", (double)scenario_ns / 1e9);
}

static void note(struct cli_report *report, const Schedrig__V1__Event *event, const char *colour,
	const char *label, const char *text)
{
	begin_line(report, event->scenario_ns);
	paint(report->out, report->colour, colour, label);
	fputs(": ", report->out);
	put(report->out, text_of(text));
	fputc('\n', report->out);
}

static void step_started(struct cli_report *report, const Schedrig__V1__Event *event)
{
	const Schedrig__V1__StepStart *step = event->step_start;
	char hold[32];
	snprintf(report->doing, sizeof(report->doing), "step %u/%u %s", step->index + 1, report->steps,
		text_of(step->name));
	begin_line(report, event->scenario_ns);
	put(report->out, report->doing);
	fprintf(report->out, " (%u ops, hold %s, %u workers)", step->ops,
		format_duration(step->hold_ns, hold, sizeof(hold)), step->workers);
	if (!report->live)
		put_left(report);
	fputc('\n', report->out);
}

static void op_done(struct cli_report *report, const Schedrig__V1__Event *event)
{
	const Schedrig__V1__OpResult *op = event->op_done->result;
	char text[1200];
	if (!op || !op->error || op->expected_error)
		return;
	snprintf(text, sizeof(text), "%s %s: %s", text_of(op->place), text_of(op->kind),
		text_of(op->error->message));
	note(report, event, "1;31", "op failed", text);
}

static void payload_ended(struct cli_report *report, const Schedrig__V1__Event *event)
{
	const Schedrig__V1__PayloadReport *payload = event->payload_end;
	char text[600];
	snprintf(text, sizeof(text), "%s: %s%s", text_of(payload->name), text_of(payload->exit),
		payload->n_failed_checks ? ", a check failed" : "");
	note(report, event, payload->n_failed_checks ? "1;31" : "0", "payload", text);
}

void cli_report_event(struct cli_report *report, const Schedrig__V1__Event *event)
{
	FILE *out = report->out;
	char text[200], asked[32], effective[32];
	switch (event->kind_case) {
	case SCHEDRIG__V1__EVENT__KIND_SCENARIO_START:
		report->begin_ns = clock_now_ns();
		report->budget_ns = event->scenario_start->budget_ns;
		report->steps = event->scenario_start->steps;
		cli_report_end(report);
		fputs("scenario ", out);
		put(out, text_of(event->scenario_start->name));
		fprintf(out, ": %u steps, %s, seed %llu\n", report->steps,
			format_duration(report->budget_ns, text, sizeof(text)),
			(unsigned long long)event->scenario_start->seed);
		break;
	case SCHEDRIG__V1__EVENT__KIND_STEP_START:
		step_started(report, event);
		break;
	case SCHEDRIG__V1__EVENT__KIND_OP_DONE:
		op_done(report, event);
		break;
	case SCHEDRIG__V1__EVENT__KIND_HOLD_CUT:
		snprintf(text, sizeof(text), "of step %u from %s to %s: no scenario time is left",
			event->hold_cut->step + 1,
			format_duration(event->hold_cut->asked_ns, asked, sizeof(asked)),
			format_duration(event->hold_cut->effective_ns, effective, sizeof(effective)));
		note(report, event, "1;33", "hold cut", text);
		break;
	case SCHEDRIG__V1__EVENT__KIND_KERNEL_LOG:
		/* The log itself is in the run directory; what is of note has a class. */
		if (event->kernel_log->class_ && event->kernel_log->class_[0])
			note(report, event, "1;33", event->kernel_log->class_, event->kernel_log->text);
		break;
	case SCHEDRIG__V1__EVENT__KIND_PAYLOAD_END:
		payload_ended(report, event);
		break;
	case SCHEDRIG__V1__EVENT__KIND_WARNING:
		note(report, event, "1;33", "warning", event->warning->text);
		break;
	case SCHEDRIG__V1__EVENT__KIND_PROGRESS:
		note(report, event, "0", "note", event->progress->text);
		break;
	case SCHEDRIG__V1__EVENT__KIND_GUEST_END:
		snprintf(text, sizeof(text), "%s", text_of(event->guest_end->why));
		note(report, event, "1;31", "the guest ended", text);
		break;
	case SCHEDRIG__V1__EVENT__KIND_SNAPSHOT:
		snprintf(text, sizeof(text), "%s, %llu bytes", text_of(event->snapshot->name),
			(unsigned long long)event->snapshot->bytes);
		note(report, event, "0", "snapshot", text);
		break;
	case SCHEDRIG__V1__EVENT__KIND_GAP:
		snprintf(text, sizeof(text), "%llu events were too many for this client",
			(unsigned long long)event->gap->lost);
		note(report, event, "1;33", "gap", text);
		break;
	case SCHEDRIG__V1__EVENT__KIND_SCENARIO_END:
	case SCHEDRIG__V1__EVENT__KIND_STEP_END:
	case SCHEDRIG__V1__EVENT__KIND__NOT_SET:
	default:
		break;
	}
	fflush(out);
}

static const struct {
	const char *word, *colour;
	int code;
} verdicts[] = {
	[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_UNSET] = {"NO VERDICT", "1;31", CLI_INTERNAL},
	[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_SKIP] = {"SKIP", "1;36", CLI_OK},
	[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_PASS] = {"PASS", "1;32", CLI_OK},
	[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_INCONCLUSIVE] = {"INCONCLUSIVE", "1;33", CLI_INCONCLUSIVE},
	[SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL] = {"FAIL", "1;31", CLI_FAIL},
};

int cli_exit_of_verdict(Schedrig__V1__VerdictKind verdict)
{
	return (unsigned)verdict < ARRAY_SIZE(verdicts) ? verdicts[verdict].code : CLI_INTERNAL;
}

static void put_verdict(FILE *out, Schedrig__V1__VerdictKind verdict)
{
	unsigned k = (unsigned)verdict < ARRAY_SIZE(verdicts) ? (unsigned)verdict : 0;
	paint(out, cli_has_colour(out), verdicts[k].colour, verdicts[k].word);
}

static void put_part(FILE *out, const Schedrig__V1__VerdictPart *part)
{
	fputs("  ", out);
	put_verdict(out, part->verdict);
	fprintf(out, " %s: ", text_of(part->kind));
	put(out, text_of(part->message));
	if (part->has_numbers)
		fprintf(out, " (measured %g, allowed %g)", part->value, part->threshold);
	if (part->place && part->place[0])
		fprintf(out, " [%s]", part->place);
	fputc('\n', out);
}

/* Of a cgroup over the whole scenario; the rest is in run.json. X(metric, label) */
#define BRIEF_LIST(X)                                                                                        \
	X(iterations, "iterations")                                                                          \
	X(cpu_time, "CPU time")                                                                              \
	X(off_cpu_spread, "off-CPU spread")                                                                  \
	X(gap, "longest gap")                                                                                \
	X(migrations, "migrations")                                                                          \
	X(wake_p99, "wake p99")                                                                              \
	X(timer_p99, "timer p99")                                                                            \
	X(request_p99, "request p99")                                                                        \
	X(run_delay_mean, "run delay")                                                                       \
	X(page_locality, "page locality")
/* Cgroups that are shown; a scenario may have hundreds. */
#define BRIEF_MAX 16

static const Schedrig__V1__Metric *find_metric(const Schedrig__V1__Measurement *measurement, const char *name)
{
	for (size_t i = 0; i < measurement->n_metrics; i++)
		if (strcmp(text_of(measurement->metrics[i]->name), name) == 0)
			return measurement->metrics[i];
	return NULL;
}

static void put_value(FILE *out, const Schedrig__V1__Metric *metric)
{
	char text[32];
	if (strcmp(text_of(metric->unit), "ns") == 0 && metric->value >= 0 && metric->value < 1e18)
		fputs(format_duration((uint64_t)metric->value, text, sizeof(text)), out);
	else
		fprintf(out, "%.4g%s%s", metric->value, strcmp(text_of(metric->unit), "pct") == 0 ? " %" : "",
			strcmp(text_of(metric->unit), "1/s") == 0 ? "/s" : "");
}

static void put_measurement(FILE *out, const Schedrig__V1__Measurement *measurement)
{
	const char *cgroup = text_of(measurement->cgroup->name);
	fputs("  ", out);
	put(out, *cgroup ? cgroup : "(runner cgroup)");
	fprintf(out, ": %u worker%s", measurement->workers, measurement->workers == 1 ? "" : "s");
#define X(name, label)                                                                                       \
	{                                                                                                    \
		const Schedrig__V1__Metric *metric = find_metric(measurement, #name);                        \
		if (metric) {                                                                                \
			fputs(", " label " ", out);                                                          \
			put_value(out, metric);                                                              \
		}                                                                                            \
	}
	BRIEF_LIST(X)
#undef X
	fputc('\n', out);
}

static void put_measurements(FILE *out, const Schedrig__V1__RunResult *result)
{
	size_t shown = 0, left_out = 0;
	for (size_t i = 0; i < result->n_measurements; i++) {
		const Schedrig__V1__Measurement *measurement = result->measurements[i];
		if (measurement->phase || !measurement->cgroup)
			continue;
		if (shown++ < BRIEF_MAX)
			put_measurement(out, measurement);
		else
			left_out++;
	}
	if (left_out)
		fprintf(out, "  (%zu more cgroups in run.json)\n", left_out);
}

/* The first ones of what a program's output said; all are in run.json. */
#define PAYLOAD_METRICS_MAX 6

static void put_payload(FILE *out, const Schedrig__V1__PayloadReport *payload)
{
	if (!payload || !payload->n_metrics)
		return;
	fputs("  payload ", out);
	put(out, text_of(payload->name));
	for (size_t i = 0; i < payload->n_metrics && i < PAYLOAD_METRICS_MAX; i++) {
		const Schedrig__V1__PayloadMetric *metric = payload->metrics[i];
		fputs(i ? ", " : ": ", out);
		put(out, text_of(metric->name));
		fprintf(out, " %.6g%s", metric->value, *text_of(metric->unit) ? " " : "");
		put(out, text_of(metric->unit));
	}
	if (payload->n_metrics > PAYLOAD_METRICS_MAX)
		fprintf(out, " (%zu more in run.json)", payload->n_metrics - PAYLOAD_METRICS_MAX);
	fputc('\n', out);
}

static void put_payloads(FILE *out, const Schedrig__V1__RunResult *result)
{
	for (size_t i = 0; i < result->n_ops; i++)
		put_payload(out, result->ops[i]->payload);
	for (size_t i = 0; i < result->n_payloads; i++)
		put_payload(out, result->payloads[i]);
}

void cli_print_result(FILE *out, const Schedrig__V1__RunResult *result)
{
	const Schedrig__V1__Verdict *verdict = result->verdict;
	char took[32];
	put_verdict(out, verdict ? verdict->verdict : 0);
	fputc(' ', out);
	put(out, text_of(result->scenario));
	/* The parts say more. */
	if (verdict && !verdict->n_parts && verdict->summary && verdict->summary[0]) {
		fputs(": ", out);
		put(out, verdict->summary);
	}
	fputc('\n', out);
	for (size_t i = 0; verdict && i < verdict->n_parts; i++)
		put_part(out, verdict->parts[i]);
	put_measurements(out, result);
	put_payloads(out, result);
	for (size_t i = 0; i < result->n_notes; i++) {
		fputs("  note: ", out);
		put(out, result->notes[i]);
		fputc('\n', out);
	}
	fprintf(out, "  %zu ops, %zu workers, %zu payloads, %u freezes, %s on kernel ", result->n_ops,
		result->n_workers, result->n_payloads, result->freezes,
		format_duration(result->total_ns, took, sizeof(took)));
	put(out, text_of(result->kernel));
	fprintf(out, ", topology %s, seed %llu\n", text_of(result->topology),
		(unsigned long long)result->seed);
	if (result->run_dir && result->run_dir[0])
		fprintf(out, "  everything is in %s\n", result->run_dir);
	fflush(out);
}
