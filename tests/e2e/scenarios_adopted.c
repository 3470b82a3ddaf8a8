/* SPDX-License-Identifier: GPL-2.0-only */
/* A payload of a scenario that its client waits for by an op of its own, while the scenario waits for that
 * client. One thread. */
#include "common/clock.h"
#include "host/client/schedrig.h"
#include "tests/e2e/scenarios.h"

#include <stdio.h>
#include <string.h>

struct waited {
	int r;
	struct err err;
	char failed_check[200];
	double iops;
};

/* Asked for the set-up of the second step; what the first one has started ends by itself. */
static int wait_then_answer(struct schedrig *client, const Schedrig__V1__FactoryAsk *ask, void *arg)
{
	struct waited *waited = arg;
	Schedrig__V1__ApplyRequest request = SCHEDRIG__V1__APPLY_REQUEST__INIT;
	Schedrig__V1__ApplyResponse *response = NULL;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT, *ops[] = {&op};
	Schedrig__V1__WaitPayload wait = SCHEDRIG__V1__WAIT_PAYLOAD__INIT;
	wait.name = (char *)"bench";
	op.kind_case = SCHEDRIG__V1__OP__KIND_WAIT_PAYLOAD;
	op.wait_payload = &wait;
	request.n_ops = 1;
	request.ops = ops;
	/* Another connection: the first one's answers are waited for where this was called. */
	struct schedrig *mine = schedrig_open(vm.socket, &waited->err);
	waited->r = mine ? schedrig_apply(mine, &request, 0, &response, &waited->err) : -1;
	const Schedrig__V1__PayloadReport *report =
		waited->r == 0 && response->n_results == 1 ? response->results[0]->payload : NULL;
	if (report && report->n_failed_checks == 1)
		snprintf(waited->failed_check, sizeof(waited->failed_check), "%s", report->failed_checks[0]);
	if (report && report->n_metrics == 1)
		waited->iops = report->metrics[0]->value;
	schedrig_free_message(response);
	schedrig_close(mine);
	return schedrig_answer_factory(client, ask->ask, NULL, 0, NULL, NULL);
}

void test_a_payload_that_a_client_waits_for(void)
{
	Schedrig__V1__Scenario scenario = SCHEDRIG__V1__SCENARIO__INIT;
	Schedrig__V1__Payload payload = SCHEDRIG__V1__PAYLOAD__INIT, *payloads[] = {&payload};
	Schedrig__V1__Check check = SCHEDRIG__V1__CHECK__INIT, *checks[] = {&check};
	Schedrig__V1__MetricBound most = SCHEDRIG__V1__METRIC_BOUND__INIT;
	Schedrig__V1__Step first = SCHEDRIG__V1__STEP__INIT, second = SCHEDRIG__V1__STEP__INIT,
			   *steps[] = {&first, &second};
	Schedrig__V1__Hold none = SCHEDRIG__V1__HOLD__INIT;
	Schedrig__V1__Duration zero = SCHEDRIG__V1__DURATION__INIT, deadline = SCHEDRIG__V1__DURATION__INIT;
	Schedrig__V1__Op op = SCHEDRIG__V1__OP__INIT, *ops[] = {&op};
	Schedrig__V1__RunPayload run = SCHEDRIG__V1__RUN_PAYLOAD__INIT;
	Schedrig__V1__SetupFactory factory = SCHEDRIG__V1__SETUP_FACTORY__INIT;
	Schedrig__V1__ClientFactory mine = SCHEDRIG__V1__CLIENT_FACTORY__INIT;
	char *args[] = {(char *)"-c", (char *)"echo '{\"iops\": 120.5}'"};
	struct waited waited = {0};
	struct err err = ERR_INIT;
	deadline.ns = 240 * NS_PER_S;
	most.metric = (char *)"iops";
	most.value = 100;
	check.form_case = SCHEDRIG__V1__CHECK__FORM_MAX;
	check.max = &most;
	payload.name = (char *)"bench";
	payload.program = (char *)"sh";
	payload.default_args = args;
	payload.n_default_args = 2;
	payload.checks = checks;
	payload.n_checks = 1;
	run.payload = (char *)"bench";
	run.outlive_step = true;
	op.kind_case = SCHEDRIG__V1__OP__KIND_RUN_PAYLOAD;
	op.run_payload = &run;
	none.form_case = SCHEDRIG__V1__HOLD__FORM_FIXED;
	none.fixed = &zero;
	first.hold = second.hold = &none;
	first.ops = ops;
	first.n_ops = 1;
	mine.name = (char *)"mine";
	mine.deadline = &deadline;
	factory.client = &mine;
	second.factory = &factory;
	scenario.payloads = payloads;
	scenario.n_payloads = 1;
	scenario.steps = steps;
	scenario.n_steps = 2;
	scenario.duration = &deadline;
	struct schedrig_submit_options options = {.factory = wait_then_answer, .arg = &waited, .queue = true};
	struct schedrig *client = schedrig_open(vm.socket, &err);
	EXPECT(client != NULL, "%s", err.message);
	Schedrig__V1__RunResult *result = NULL;
	int r = schedrig_submit(client, &scenario, &options, &result, &err);
	char summary[300] = "";
	if (r == 0)
		snprintf(summary, sizeof(summary), "%s", result->verdict->summary);
	unsigned verdict = r == 0 ? result->verdict->verdict : 0;
	size_t parts = r == 0 ? result->verdict->n_parts : 0, reports = r == 0 ? result->n_payloads : 0;
	schedrig_free_message(result);
	schedrig_close(client);
	EXPECT(r == 0, "%s: %s", err.place, err.message);
	EXPECT(waited.r == 0, "%s", waited.err.message);
	EXPECT(!strcmp(waited.failed_check, "iops is 120.5: at most 100 is allowed"), "'%s'",
		waited.failed_check);
	EXPECT(waited.iops == 120.5, "%g", waited.iops);
	EXPECT(verdict == SCHEDRIG__V1__VERDICT_KIND__VERDICT_KIND_FAIL && parts == 1 && reports == 1,
		"%u, %zu parts, %zu reports: %s", verdict, parts, reports, summary);
}
