/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig freeze`, `thaw`, `step`: every vCPU stopped, and released, or only one of them for a few
 * instructions. */
#include "host/cli/cli.h"

#include "common/parse.h"

struct freeze_args {
	uint64_t lease_ns;
	bool clock_runs;
};

enum { KEY_LEASE = 256, KEY_CLOCK_RUNS };

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct freeze_args *args = state->input;
	struct err err = ERR_INIT;
	switch (key) {
	case KEY_LEASE:
		if (parse_duration_ns(arg, &args->lease_ns, &err) < 0)
			argp_error(state, "--lease: %s", err.message);
		return 0;
	case KEY_CLOCK_RUNS:
		args->clock_runs = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"lease", KEY_LEASE, "TIME", 0, "Thaw after TIME if nobody has until then (default 30s)", 0},
	{"clock-runs", KEY_CLOCK_RUNS, NULL, 0, "Let the guest's time go on", 0},
	{0},
};

int cli_freeze(struct cli *cli, int argc, char **argv)
{
	struct freeze_args args = {0};
	struct err err = ERR_INIT;
	Schedrig__V1__Frozen *frozen = NULL;
	int code;
	cli_parse(cli, argc, argv, options, NULL, take, &args);
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	/* It outlives this process; the lease is what ends it at the latest. */
	struct schedrig_freeze_options ask = {
		.lease_ns = args.lease_ns, .clock_runs = args.clock_runs, .detach = true};
	if (schedrig_freeze(schedrig, &ask, &frozen, &err) < 0) {
		code = cli_fail(&err);
	} else if (cli->json) {
		code = cli_print_json(&frozen->base);
	} else {
		char lease[32];
		printf("frozen within %.3f ms, for %s at most\n", (double)frozen->freeze->park_ns / 1e6,
			format_duration(frozen->lease_ns, lease, sizeof(lease)));
		code = CLI_OK;
	}
	schedrig_free_message(frozen);
	schedrig_close(schedrig);
	return code;
}

static const char *guest_time_text(Schedrig__V1__GuestTime time)
{
	switch ((int)time) {
	case SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_STOPPED:
		return "stood still";
	case SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_RAN:
		return "went on, as asked";
	case SCHEDRIG__V1__GUEST_TIME__GUEST_TIME_UNSUPPORTED:
		return "went on: this host's KVM cannot set it back";
	default:
		return "went on: KVM refused to set it back";
	}
}

int cli_thaw(struct cli *cli, int argc, char **argv)
{
	struct err err = ERR_INIT;
	Schedrig__V1__Thawed *thawed = NULL;
	int code;
	cli_parse(cli, argc, argv, NULL, NULL, NULL, NULL);
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	if (schedrig_thaw(schedrig, &thawed, &err) < 0) {
		code = cli_fail(&err);
	} else if (cli->json) {
		code = cli_print_json(&thawed->base);
	} else {
		char frozen[32];
		printf("was frozen for %s; the guest's time %s\n",
			format_duration(thawed->freeze->frozen_ns, frozen, sizeof(frozen)),
			guest_time_text(thawed->freeze->guest_time));
		code = CLI_OK;
	}
	schedrig_free_message(thawed);
	schedrig_close(schedrig);
	return code;
}

/* ---- step */

struct step_args {
	uint64_t limit_ns;
	uint32_t vcpu, count;
	unsigned n;
};

static error_t take_step(int key, char *arg, struct argp_state *state)
{
	struct step_args *args = state->input;
	struct err err = ERR_INIT;
	switch (key) {
	case KEY_LEASE:
		if (parse_duration_ns(arg, &args->limit_ns, &err) < 0)
			argp_error(state, "--limit: %s", err.message);
		return 0;
	case ARGP_KEY_ARG:
		if (args->n >= 2)
			return ARGP_ERR_UNKNOWN;
		if (parse_u32(arg, args->n ? &args->count : &args->vcpu, &err) < 0)
			argp_error(state, "%s: %s", args->n ? "COUNT" : "VCPU", err.message);
		args->n++;
		return 0;
	case ARGP_KEY_END:
		if (args->n == 0)
			argp_error(state, "the number of a vCPU is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option step_options[] = {
	{"limit", KEY_LEASE, "TIME", 0, "Give up after TIME of the host's (default 10s)", 0},
	{0},
};

static void print_registers(const Schedrig__V1__Registers *r)
{
	const struct {
		const char *name;
		uint64_t value;
	} list[] = {{"rip", r->rip}, {"flags", r->rflags}, {"cs", r->cs}, {"ss", r->ss}, {"rax", r->rax},
		{"rbx", r->rbx}, {"rcx", r->rcx}, {"rdx", r->rdx}, {"rsi", r->rsi}, {"rdi", r->rdi},
		{"rbp", r->rbp}, {"rsp", r->rsp}, {"r8", r->r8}, {"r9", r->r9}, {"r10", r->r10},
		{"r11", r->r11}, {"r12", r->r12}, {"r13", r->r13}, {"r14", r->r14}, {"r15", r->r15},
		{"cr0", r->cr0}, {"cr2", r->cr2}, {"cr3", r->cr3}, {"cr4", r->cr4}, {"efer", r->efer},
		{"fs", r->fs_base}, {"gs", r->gs_base}};
	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		printf("%-5s %016llx%s", list[i].name, (unsigned long long)list[i].value,
			i % 4 == 3 || i + 1 == ARRAY_SIZE(list) ? "\n" : "  ");
}

int cli_step(struct cli *cli, int argc, char **argv)
{
	struct step_args args = {.count = 1};
	struct err err = ERR_INIT;
	Schedrig__V1__Stepped *stepped = NULL;
	int code;
	cli_parse(cli, argc, argv, step_options, "VCPU [COUNT]", take_step, &args);
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	if (schedrig_step(schedrig, args.vcpu, args.count, args.limit_ns, &stepped, &err) < 0) {
		code = cli_fail(&err);
	} else if (cli->json) {
		code = cli_print_json(&stepped->base);
	} else {
		printf("vCPU %u executed %u instruction%s%s\n", stepped->vcpu, stepped->executed,
			stepped->executed == 1 ? "" : "s",
			stepped->end == SCHEDRIG__V1__STEPPED_END__STEPPED_END_HALTED ? " and is halted"
			: stepped->end == SCHEDRIG__V1__STEPPED_END__STEPPED_END_DEAD ? " and is dead"
										      : "");
		if (stepped->registers)
			print_registers(stepped->registers);
		code = CLI_OK;
	}
	schedrig_free_message(stepped);
	schedrig_close(schedrig);
	return code;
}
