/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig workers`: counters of every worker that is alive, as it has published them. The
 * main thread. */
#include "host/cli/cli.h"

#include "common/parse.h"

#include <inttypes.h>

static void print(const Schedrig__V1__WorkerTotals *totals)
{
	printf("%8s %-16s %-16s %4s %12s %14s %10s %10s  %s\n", "TID", "NAME", "TYPE", "CPU", "ITERATIONS",
		"UNITS", "CPU TIME", "MIGRATIONS", "CGROUP");
	for (size_t i = 0; i < totals->n_each; i++) {
		const Schedrig__V1__WorkerSample *w = totals->each[i];
		char cpu[32];
		printf("%8d %-16s %-16s %4u %12" PRIu64 " %14" PRIu64 " %10s %10" PRIu64 "  %s\n", w->tid,
			w->comm, w->work_type, w->cpu, w->iterations, w->units,
			format_duration(w->cpu_ns, cpu, sizeof(cpu)), w->migrations,
			*w->cgroup ? w->cgroup : "(runner)");
	}
	printf("%u workers in %u cgroups, %" PRIu64 " iterations\n", totals->workers, totals->cgroups,
		totals->iterations);
}

int cli_workers(struct cli *cli, int argc, char **argv)
{
	Schedrig__V1__WorkersRequest request = SCHEDRIG__V1__WORKERS_REQUEST__INIT;
	Schedrig__V1__WorkerTotals *totals = NULL;
	struct err err = ERR_INIT;
	int code = CLI_OK;
	cli_parse(cli, argc, argv, NULL, "", NULL, NULL);
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	if (schedrig_workers(schedrig, &request, &totals, &err) < 0)
		code = cli_fail(&err);
	else if (cli->json)
		code = cli_print_json(&totals->base);
	else
		print(totals);
	schedrig_free_message(totals);
	schedrig_close(schedrig);
	return code;
}
