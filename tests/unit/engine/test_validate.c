/* SPDX-License-Identifier: GPL-2.0-only */
/* Validation: every rule in a table with a scenario that breaks it, and scenarios that are fine. */
#include "bench.h"
#include "host/engine/engine.h"
#include "proto/pb.h"

static const char *const staged[] = {"stress-ng", "true", "x.bpf.o", NULL};

static Schedrig__V1__ValidateResponse *validate_on(const char *text, const struct cpu_layout *layout)
{
	Schedrig__V1__Scenario *scenario = bench_scenario(text);
	Schedrig__V1__ValidateResponse *response = NULL;
	cr_assert_eq(engine_validate(scenario, layout, staged, &response, NULL), 0);
	pb_free(scenario);
	return response;
}

static Schedrig__V1__ValidateResponse *validate(const char *text)
{
	struct cpu_layout layout = bench_layout();
	return validate_on(text, &layout);
}

#define CG "backdrop: {cgroups: [{name: web, empty: true}]}\n"
#define OPS(ops) CG "steps: [{ops: [" ops "]}]\n"
#define DEF(def) "backdrop: {cgroups: [{name: a, " def "}]}\n"
#define WORK(work) DEF("work: [{" work "}]")
#define SCX "schedulers: [{name: s, binary: {program: 'true'}}, {name: default, kernel_default: {}}]\n"
#define SCH(scheduler) "schedulers: [{name: s, " scheduler "}]\n"
#define OBJ(object) SCH("object: {file: x.bpf.o, " object "}")
#define PAY "payloads: [{name: p, program: 'true'}]\n"
#define IC "InvalidArgument"

static const struct {
	const char *text, *place, *code, *says;
} bad[] = {
	/* head */
	{"duration: \"0\"\n", "duration", IC, "no duration"},
	{"workers_per_cgroup: 0\n", "workers_per_cgroup", IC, "empty: true"},
	{"workers_per_cgroup: 5000\n", "workers_per_cgroup", "LimitExceeded", "4096"},
	{"work_type_override: {}\n", "work_type_override", IC, "spin_wait"},
	{"needs: {min_cpus: 4, max_cpus: 2}\n", "needs.min_cpus", IC, "cannot both"},
	{"assertions: {max_gap: \"0\"}\n", "assertions.max_gap", IC, "above 0"},
	{"assertions: {max_p99_wake_latency: 0s}\n", "assertions.max_p99_wake_latency", IC, "above 0"},
	{"assertions: {max_throughput_cv: -1}\n", "assertions.max_throughput_cv", IC, "from 0 up"},
	{"assertions: {min_work_rate: 0}\n", "assertions.min_work_rate", IC, "asks for nothing"},
	{"assertions: {min_iteration_rate: .inf}\n", "assertions.min_iteration_rate", IC, "from 0 up"},
	{"assertions: {max_wake_latency_cv: .nan}\n", "assertions.max_wake_latency_cv", IC, "from 0 up"},
	{"assertions: {max_migration_ratio: -0.1}\n", "assertions.max_migration_ratio", IC, "from 0 up"},
	{"assertions: {min_page_locality: 1.1}\n", "assertions.min_page_locality", IC, "0..1"},
	{"assertions: {max_cross_node_migration_ratio: -1}\n", "assertions.max_cross_node_migration_ratio",
		IC, "from 0 up"},
	{"assertions: {max_steal_pct: 101}\n", "assertions.max_steal_pct", IC, "percentage"},
	{"steps: [{}, {}]\nassertions: {delta: [{metric: gapp, step: 1, against: 0, max_change_pct: 1}]}\n",
		"assertions.delta[0].metric", "NotFound", "no metric 'gapp'"},
	{"steps: [{}, {}]\nassertions: {delta: [{metric: gap, step: 2, against: 0, max_change_pct: 1}]}\n",
		"assertions.delta[0].step", "NotFound", "no step 2"},
	{"steps: [{}, {}]\nassertions: {delta: [{metric: gap, step: 1, against: 1, max_change_pct: 1}]}\n",
		"assertions.delta[0].against", IC, "itself"},
	{"steps: [{}, {}]\nassertions: {delta: [{metric: gap, step: 1, against: 0}]}\n",
		"assertions.delta[0]", IC, "no bound"},
	{"steps: [{}, {}]\nassertions: {delta: [{metric: gap, step: 1, against: 0, min_change_pct: 2, "
	 "max_change_pct: "
	 "1}]}\n",
		"assertions.delta[0].min_change_pct", IC, "cannot both be"},
	{"steps: [{}, {}]\nassertions: {delta: [{payload: p, metric: a, step: 1, against: 0, max_change_pct: "
	 "1}]}\n",
		"assertions.delta[0].payload", "NotFound", "no payload 'p'"},
	{"payloads: [{name: p, program: 'true'}]\nsteps: [{}, {}]\nassertions: {delta: [{payload: p, metric: "
	 "a, step: "
	 "1, against: 0, max_change_pct: 1}]}\n",
		"assertions.delta[0].payload", "FailedPrecondition", "output: json"},
	{"payloads: [{name: p, program: 'true', output: json}]\nsteps: [{}, {}]\nassertions: {delta: "
	 "[{payload: p, "
	 "step: 1, against: 0, max_change_pct: 1}]}\n",
		"assertions.delta[0].metric", IC, "dotted name"},
	{"assertions: {expect_kernel_log: [{never: true}]}\n", "assertions.expect_kernel_log[0]", IC,
		"which lines"},
	{"assertions: {expect_kernel_log: [{class: ops}]}\n", "assertions.expect_kernel_log[0].class",
		"NotFound", "no class 'ops'"},
	{"assertions: {expect_value: [{tag: x}]}\n", "assertions.expect_value[0]", IC, "compared with what"},
	{"assertions: {expect_value: [{eq: 1}]}\n", "assertions.expect_value[0]", IC, "what value"},
	{"assertions: {expect_value: [{tag: x, symbol: jiffies_64, width: u64, eq: 1}]}\n",
		"assertions.expect_value[0].tag", IC, "leave one"},
	{"assertions: {expect_value: [{symbol: jiffies_64, eq: 1}]}\n", "assertions.expect_value[0].width",
		IC, "no width"},
	{"assertions: {max_spread_pct: .nan}\n", "assertions.max_spread_pct", IC, "percentage"},
	{"steps: [{assertions: {max_spread_pct: 101}}]\n", "steps[0].assertions.max_spread_pct", IC,
		"percentage"},
	{"name: \"a\\e[31mred\"\n", "name", IC, "0x1b"},
	{"steps: [{name: \"two\\nlines\"}]\n", "steps[0].name", IC, "one line"},
	{"payloads: [{name: \"\\x7f\", program: 'true'}]\n", "payloads[0].name", IC, "control"},
	{"settle: 2000000h\n", "settle", IC, "at most 1281023h"},
	{"duration: 1281024h\n", "duration", IC, "at most 1281023h"},
	{OPS("{add_cgroup: a, timeout: 2000000h}"), "steps[0].ops[0].timeout", IC, "at most 1281023h"},
	{"assertions: {expect_value: [{tag: x, eq: 1}]}\n", "assertions.expect_value[0].tag", "NotFound",
		"nothing is read under the tag 'x'"},
	/* read too late, or by an op that is to fail */
	{"steps: [{assertions: {expect_value: [{tag: x, eq: 1}]}}, {ops: [{read_kernel_hot: [{tag: x, "
	 "symbol: a, "
	 "width: u8}]}]}]\n",
		"steps[0].assertions.expect_value[0].tag", "NotFound", "up to here"},
	{"steps: [{ops: [{read_kernel_hot: [{tag: x, symbol: a, width: u8}], expect_error: NotFound}], "
	 "assertions: {expect_value: [{tag: x, eq: 1}]}}]\n",
		"steps[0].assertions.expect_value[0].tag", "NotFound", "nothing is read"},
	{"steps: [{}, {}]\nassertions: {delta: [{metric: gap, step: 1, against: 0, max_change_pct: 1, "
	 "cgroup: "
	 "nobody}]}\n",
		"assertions.delta[0].cgroup", "NotFound", "never makes a cgroup 'nobody'"},
	{"steps: [{}, {assertions: {delta: [{metric: gap, step: 1, against: 0, max_change_pct: 1, cgroup: "
	 "nobody}]}}]\n",
		"steps[1].assertions.delta[0].cgroup", "NotFound", "never makes"},
	/* holds */
	{"steps: [{hold: {frac: .nan}}]\n", "steps[0].hold", IC, "finite"},
	{"steps: [{hold: {frac: .inf}}]\n", "steps[0].hold", IC, "finite"},
	{"steps: [{hold: {frac: 0}}]\n", "steps[0].hold", IC, "above 0"},
	{"steps: [{hold: {frac: -0.5}}]\n", "steps[0].hold", IC, "above 0"},
	{"steps: [{hold: {settled: -0.5}}]\n", "steps[0].hold", IC, "at least 0"},
	{"steps: [{hold: {settled: nan}}]\n", "steps[0].hold", IC, "finite"},
	{"steps: [{hold: {loop: \"0\"}}]\n", "steps[0].hold", IC, "interval"},
	{"steps: [{hold: {}}]\n", "steps[0].hold", IC, "no hold"},
	{"steps: [{hold: {fixed: 5000000h}}]\n", "steps[0].hold", IC, "range of the clock"},
	/* cgroup names */
	{"backdrop: {cgroups: [{name: \"\"}]}\n", "backdrop.cgroups[0].name", IC, "needs a name"},
	{"backdrop: {cgroups: [{name: /a}]}\n", "backdrop.cgroups[0].name", IC, "relative"},
	{"backdrop: {cgroups: [{name: a//b}]}\n", "backdrop.cgroups[0].name", IC, "relative"},
	{"backdrop: {cgroups: [{name: a/../b}]}\n", "backdrop.cgroups[0].name", IC, "'..'"},
	{"backdrop: {cgroups: [{name: .}]}\n", "backdrop.cgroups[0].name", IC, "'..'"},
	{"backdrop: {cgroups: [{name: a/cgroup.procs}]}\n", "backdrop.cgroups[0].name", IC, "kernel's"},
	{"backdrop: {cgroups: [{name: a}, {name: a}]}\n", "backdrop.cgroups[1].name", "AlreadyExists",
		"exists already"},
	{OPS("{add_cgroup: web}"), "steps[0].ops[0].name", "AlreadyExists", "exists already"},
	{CG "steps: [{setup: [{name: web}]}]\n", "steps[0].setup[0].name", "AlreadyExists", "exists already"},
	/* cpusets */
	{DEF("cpuset: {}"), "backdrop.cgroups[0].cpuset", IC, "no CPUs"},
	{DEF("cpuset: {llc: 4}"), "backdrop.cgroups[0].cpuset", IC, "no LLC 4"},
	{DEF("cpuset: {numa: 2}"), "backdrop.cgroups[0].cpuset", IC, "no NUMA node 2"},
	{DEF("cpuset: {range: [0.5, 0.5]}"), "backdrop.cgroups[0].cpuset.start", IC, "not below"},
	{DEF("cpuset: {range: [.nan, 1]}"), "backdrop.cgroups[0].cpuset.start", IC, "between 0 and 1"},
	{DEF("cpuset: {range: [0, 1.5]}"), "backdrop.cgroups[0].cpuset.end", IC, "between 0 and 1"},
	{DEF("cpuset: {range: [0.01, 0.02]}"), "backdrop.cgroups[0].cpuset", IC, "no CPU"},
	{DEF("cpuset: {disjoint: [0, 0]}"), "backdrop.cgroups[0].cpuset.count", IC, "possible"},
	{DEF("cpuset: {disjoint: [3, 3]}"), "backdrop.cgroups[0].cpuset.index", IC, "numbered from 0"},
	{DEF("cpuset: {overlap: [0, 2, nan]}"), "backdrop.cgroups[0].cpuset.fraction", IC, "between 0 and 1"},
	{DEF("cpuset: {exact: ''}"), "backdrop.cgroups[0].cpuset", IC, "empty"},
	{DEF("cpuset: {exact: 0-8}"), "backdrop.cgroups[0].cpuset", IC, "machine"},
	{DEF("cpuset: {exact: 3-1}"), "backdrop.cgroups[0].cpuset", IC, ""},
	{OPS("{set_cpuset: {cgroup: web, cpus: {range: [0.7, 0.2]}}}"), "steps[0].ops[0].cpus.start", IC,
		"not below"},
	{OPS("{set_cpuset: {cgroup: web}}"), "steps[0].ops[0].cpus", IC, "no CPUs"},
	/* knobs */
	{DEF("cpu: {weight: 0}"), "backdrop.cgroups[0].cpu.weight", IC, "1..10000"},
	{DEF("cpu: {weight: 10001}"), "backdrop.cgroups[0].cpu.weight", IC, "1..10000"},
	{DEF("cpu: {quota: \"0\"}"), "backdrop.cgroups[0].cpu.quota", IC, "nothing run"},
	{DEF("cpu: {period: \"0\"}"), "backdrop.cgroups[0].cpu.period", IC, "period"},
	{DEF("cpu: {quota_pct: -1}"), "backdrop.cgroups[0].cpu.quota_pct", IC, "above 0"},
	{DEF("cpu: {quota_pct: 50, quota: 1ms}"), "backdrop.cgroups[0].cpu.quota_pct", IC, "two ways"},
	{DEF("pids: 0"), "backdrop.cgroups[0].pids.max", IC, "at least 1"},
	{DEF("cpu: {uclamp_min: -1}"), "backdrop.cgroups[0].cpu.uclamp_min", IC, "0..100"},
	{DEF("cpu: {uclamp_max: .nan}"), "backdrop.cgroups[0].cpu.uclamp_max", IC, "0..100"},
	{DEF("memory: {max: 0}"), "backdrop.cgroups[0].memory.max", IC, "kills"},
	{DEF("io: {weight: 0}"), "backdrop.cgroups[0].io.weight", IC, "1..10000"},
	{DEF("io: {max: [{device: sda, rbps: 1}]}"), "backdrop.cgroups[0].io.max[0].device", IC,
		"MAJOR:MINOR"},
	{DEF("io: {max: [{device: '8:0'}]}"), "backdrop.cgroups[0].io.max[0]", IC, "no limit"},
	{DEF("io: {max: [{device: '8:0', riops: 0}]}"), "backdrop.cgroups[0].io.max[0]", IC,
		"nothing through"},
	/* payload definitions */
	{"payloads: [{name: p, program: 'true', known_flags: [--timeout, --cpu], default_args: [--timout, "
	 "3s]}]\n",
		"payloads[0].default_args[0]", IC, "did you mean '--timeout'?"},
	{"payloads: [{name: p, program: 'true', known_flags: []}]\n"
	 "steps: [{ops: [{run_payload: {payload: p, args: [ok, -x]}}]}]\n",
		"steps[0].ops[0].args[1]", IC, "takes none"},
	{"payloads: [{name: p, program: 'true', checks: [{}]}]\n", "payloads[0].checks[0]", IC,
		"exit_code_eq, min, max, range, exists"},
	{"payloads: [{name: p, program: 'true', checks: [{min: {value: 1}}]}]\n",
		"payloads[0].checks[0].metric", IC, "missing"},
	{"payloads: [{name: p, program: 'true', checks: [{max: {metric: a, value: .inf}}]}]\n",
		"payloads[0].checks[0].value", IC, "compare"},
	{"payloads: [{name: p, program: 'true', checks: [{range: {metric: a, min: 2, max: 1}}]}]\n",
		"payloads[0].checks[0]", IC, "between 2 and 1"},
	{"payloads: [{name: p, program: 'true', artifacts: [relative]}]\n", "payloads[0].artifacts[0]", IC,
		"absolute"},
	{"payloads: [{name: p, program: 'true', artifacts: [/a/../b]}]\n", "payloads[0].artifacts[0]", IC,
		"'..'"},
	{"payloads: [{name: p, program: 'true', files: [nope]}]\n", "payloads[0].files", "NotFound",
		"not staged"},
	{"payloads: [{name: p, program: 'true'}]\nbackdrop: {cgroups: [{name: old, empty: true, payloads: "
	 "[{payload: p}]}]}\n"
	 "steps: [{ops: [{add_cgroup: young}, {move_all_tasks: {from: old, to: young}}]}]\n",
		"steps[0].ops[1].to", "FailedPrecondition", "stranded"},
	{PAY OPS("{add_cgroup: a}, {run_payload: {payload: p, cgroup: a}}, {run_payload: {payload: p, "
		 "cgroup: web}}, "
		 "{move_all_tasks: {from: a, to: web}}"),
		"steps[0].ops[3].to", "AlreadyExists", "both"},
	{OPS("{move_all_tasks: {from: '', to: web, untracked: true}}"), "steps[0].ops[0].untracked", IC,
		"agent"},
	{DEF("cpuset_mems: ''"), "backdrop.cgroups[0].cpuset_mems", IC, "empty"},
	{DEF("cpuset_mems: 0-2"), "backdrop.cgroups[0].cpuset_mems", IC, "not all in"},
	{DEF("nice: 20"), "backdrop.cgroups[0].nice", IC, "-20..19"},
	{DEF("comm: sixteen-letters!"), "backdrop.cgroups[0].comm", IC, "15 bytes"},
	{DEF("empty: true, work: [{}]"), "backdrop.cgroups[0].empty", IC, "no workers"},
	/* work */
	{WORK("work_type: {}"), "backdrop.cgroups[0].work[0].work_type", IC, "no work type"},
	{WORK("work_type: {bursty: {burst: \"0\"}}"), "backdrop.cgroups[0].work[0].work_type", IC,
		"how long it spins"},
	{WORK("work_type: {futex_fan_out: {fan_out: 2}}, workers: 4"), "backdrop.cgroups[0].work[0].workers",
		IC, "groups of 3"},
	{WORK("work_type: {rt_starvation: {priority: 99}}, workers: 2"),
		"backdrop.cgroups[0].work[0].work_type", IC, "1 to 98"},
	{WORK("work_type: {asymmetric_waker: {waker: {fifo: 99}}}, workers: 2"),
		"backdrop.cgroups[0].work[0].work_type", IC, "1 to 98"},
	{WORK("work_type: {asymmetric_waker: {}}, workers: 2, policy: {batch: {}}"),
		"backdrop.cgroups[0].work[0].policy", IC, "of its own"},
	{WORK("workers: 0"), "backdrop.cgroups[0].work[0].workers", IC, "0 workers"},
	{WORK("workers: 4097"), "backdrop.cgroups[0].work[0].workers", "LimitExceeded", "4096"},
	{WORK("workers: 2, workers_pct: 0.5"), "backdrop.cgroups[0].work[0].workers_pct", IC, "both"},
	{WORK("workers_pct: 0"), "backdrop.cgroups[0].work[0].workers_pct", IC, "above 0"},
	{WORK("workers_pct: inf"), "backdrop.cgroups[0].work[0].workers_pct", IC, "above 0"},
	{WORK("workers_pct: 1e9"), "backdrop.cgroups[0].work[0].workers_pct", "LimitExceeded", "4096"},
	{WORK("work_type: {pipe_io: {}}, workers: 3"), "backdrop.cgroups[0].work[0].workers", IC, "pairs"},
	{WORK("work_type: {pipe_io: {}}"), "backdrop.cgroups[0].work[0].workers", IC, "pairs"},
	{WORK("work_type: {pipe_io: {}}, workers_pct: 1"), "backdrop.cgroups[0].work[0].workers", IC,
		"pairs"},
	{"work_type_override: {pipe_io: {}}\n" DEF("swappable: true, work: [{workers: 3}]"),
		"backdrop.cgroups[0].work[0].workers", IC, "pairs"},
	{WORK("nice: -21"), "backdrop.cgroups[0].work[0].nice", IC, "-20..19"},
	{WORK("mem_policy: {}"), "backdrop.cgroups[0].work[0].mem_policy", IC, "no memory policy"},
	{WORK("mem_policy: {static_nodes: true, relative_nodes: true, bind: '0'}"),
		"backdrop.cgroups[0].work[0].mem_policy.relative_nodes", IC, "exclude each other"},
	{WORK("mem_policy: {local: {}, static_nodes: true}"), "backdrop.cgroups[0].work[0].mem_policy", IC,
		"has none"},
	{WORK("mem_policy: {interleave: '0', numa_balancing: true}"),
		"backdrop.cgroups[0].work[0].mem_policy.numa_balancing", IC, "bind only"},
	{WORK("mem_policy: {bind: ''}"), "backdrop.cgroups[0].work[0].mem_policy", IC, "is empty"},
	{WORK("mem_policy: {preferred: 0-1}"), "backdrop.cgroups[0].work[0].mem_policy.preferred", IC,
		"preferred_many"},
	{WORK("mem_policy: {bind: '9', static_nodes: true}"), "backdrop.cgroups[0].work[0].mem_policy", IC,
		"not all in this machine's"},
	{DEF("cpuset: {numa: 0}, work: [{mem_policy: {bind: '1'}}]"),
		"backdrop.cgroups[0].work[0].mem_policy", IC, "cpuset_mems"},
	{WORK("numa_node: 9"), "backdrop.cgroups[0].work[0].numa_node", IC, "none of the workers' CPUs"},
	{DEF("numa_node: 9, work: [{}]"), "backdrop.cgroups[0].work[0].numa_node", IC,
		"none of the workers'"},
	{WORK("thread_group: longer-than-fifteen"), "backdrop.cgroups[0].work[0].thread_group", IC,
		"15 bytes"},
	{DEF("work: [{thread_group: t, uid: 1}, {thread_group: t}]"), "backdrop.cgroups[0].work[1].uid", IC,
		"one process"},
	{OPS("{spawn: {runner_cgroup: {}, work: {thread_group: t}}}"), "steps[0].ops[0].work.thread_group",
		IC, "definition"},
	{OPS("{spawn: {runner_cgroup: {}, work: {work_type: {cgroup_churn: {}}}}}"),
		"steps[0].ops[0].work.work_type", IC, "below its cgroup"},
	{WORK("work_type: {custom: {program: {payload: nobody}}}"),
		"backdrop.cgroups[0].work[0].work_type.program", "NotFound", "nobody"},
	{WORK("work_type: {custom: {}}"), "backdrop.cgroups[0].work[0].work_type", IC, "needs `program`"},
	{WORK("work_type: {alu_hot: {width: 96}}"), "backdrop.cgroups[0].work[0].work_type", IC, "64, 128"},
	{WORK("work_type: {sequence: {phases: [{}]}}"), "backdrop.cgroups[0].work[0].work_type", IC,
		"phase 0"},
	{WORK("work_type: {numa_working_set_sweep: {nodes: '70'}}"), "backdrop.cgroups[0].work[0].work_type",
		IC, "0-63"},
	{DEF("cpuset: {numa: 0}, work: [{work_type: {numa_migration_churn: {}}}]"),
		"backdrop.cgroups[0].work[0].work_type", IC, "all on one"},
	{WORK("comm: sixteen-letters!"), "backdrop.cgroups[0].work[0].comm", IC, "15 bytes"},
	{WORK("policy: {}"), "backdrop.cgroups[0].work[0].policy", IC, "no policy"},
	{WORK("policy: {fifo: 0}"), "backdrop.cgroups[0].work[0].policy.priority", IC, "1..98"},
	{WORK("policy: {round_robin: 99}"), "backdrop.cgroups[0].work[0].policy.priority", IC,
		"kernel's own"},
	{WORK("policy: {deadline: {runtime: 1us, deadline: 2us, period: 3us}}"),
		"backdrop.cgroups[0].work[0].policy.runtime", IC, "1024"},
	{WORK("policy: {deadline: {runtime: 2ms, deadline: 1ms, period: 3ms}}"),
		"backdrop.cgroups[0].work[0].policy.deadline", IC, "shorter"},
	{WORK("policy: {deadline: {runtime: 1ms, deadline: 3ms, period: 2ms}}"),
		"backdrop.cgroups[0].work[0].policy.period", IC, "shorter"},
	{DEF("cpuset: {llc: 0}, work: [{policy: {deadline: {runtime: 1ms, deadline: 2ms, period: 2ms}}}]"),
		"backdrop.cgroups[0].work[0].policy", IC, "every CPU"},
	{WORK("affinity: {single_cpu: {}}, policy: {deadline: {runtime: 1ms, deadline: 2ms, period: 2ms}}"),
		"backdrop.cgroups[0].work[0].policy", IC, "every CPU"},
	{WORK("affinity: {}"), "backdrop.cgroups[0].work[0].affinity", IC, "no affinity"},
	{WORK("affinity: {random_subset: {count: 0}}"), "backdrop.cgroups[0].work[0].affinity.count", IC,
		"0 CPUs"},
	{WORK("affinity: {exact: ''}"), "backdrop.cgroups[0].work[0].affinity", IC, "empty"},
	{DEF("cpuset: {llc: 0}, work: [{affinity: {exact: 4-5}}]"), "backdrop.cgroups[0].work[0].affinity",
		IC, "0-1"},
	{WORK("affinity: {smt_sibling_pair: {}}"), "backdrop.cgroups[0].work[0].affinity", IC, "two threads"},
	{OPS("{spawn: {work: {}}}"), "steps[0].ops[0]", IC, "placement"},
	{OPS("{spawn: {cgroup: web, work: {workers: 0}}}"), "steps[0].ops[0].work.workers", IC, "0 workers"},
	{OPS("{spawn: {runner_cgroup: {}, work: {workers_pct: 1}}}"), "steps[0].ops[0].work.workers_pct", IC,
		"runner"},
	/* references */
	{OPS("{set_cpuset: {cgroup: nope, cpus: {llc: 0}}}"), "steps[0].ops[0].cgroup", "NotFound",
		"no cgroup 'nope'"},
	{OPS("{set_cpuset: {cgroup: '', cpus: {llc: 0}}}"), "steps[0].ops[0].cgroup", IC, "runner"},
	{OPS("{clear_cpuset: nope}"), "steps[0].ops[0].cgroup", "NotFound", "no cgroup"},
	{OPS("{freeze_cgroup: {cgroup: nope}}"), "steps[0].ops[0].cgroup", "NotFound", "no cgroup"},
	{OPS("{unfreeze_cgroup: {cgroup: ''}}"), "steps[0].ops[0].cgroup", IC, "runner"},
	{OPS("{remove_cgroup: nope}"), "steps[0].ops[0].cgroup", "NotFound",
		"define it in the backdrop, or make it with"},
	{OPS("{remove_cgroup: web}, {stop_cgroup: {cgroup: web}}"), "steps[0].ops[1].cgroup", "NotFound",
		"no cgroup"},
	{CG "steps: [{ops: [{remove_cgroup: web}]}, {ops: [{clear_cpuset: web}]}]\n",
		"steps[1].ops[0].cgroup", "NotFound", "no cgroup"},
	{OPS("{spawn: {cgroup: nope}}"), "steps[0].ops[0].cgroup", "NotFound", "no cgroup"},
	{OPS("{capture_cgroup_procs: {tag: '', cgroup: web}}"), "steps[0].ops[0].tag", IC, "tag"},
	{OPS("{capture_cgroup_procs: {tag: t, cgroup: ''}}"), "steps[0].ops[0].cgroup", IC, "name is needed"},
	{"steps: [{setup: [{name: late}], ops: [{clear_cpuset: late}]}]\n", "steps[0].ops[0].cgroup",
		"NotFound", "after its ops: define it in the backdrop"},
	{"steps: [{setup: [{name: late}]}, {ops: [{clear_cpuset: late}]}]\n", "steps[1].ops[0].cgroup",
		"NotFound", "local to steps[0]"},
	{"steps: [{ops: [{add_cgroup: x}]}, {ops: [{clear_cpuset: x}]}]\n", "steps[1].ops[0].cgroup",
		"NotFound", "local to steps[0]"},
	{"steps: [{ops: [{add_cgroup: x}], hold: {loop: 10ms}}]\n", "steps[0].ops[0].name", "AlreadyExists",
		"second pass"},
	/* payloads */
	{"payloads: [{name: '', program: 'true'}]\n", "payloads[0].name", IC, "name"},
	{"payloads: [{name: p, program: 'true'}, {name: p, program: 'true'}]\n", "payloads[1].name",
		"AlreadyExists", "defined"},
	{"payloads: [{name: p, program: nope}]\n", "payloads[0].program", "NotFound", "stress-ng, true"},
	{"payloads: [{name: p, program: a/}]\n", "payloads[0].program", IC, "no program"},
	{"payloads: [{name: p, program: 'true', checks: [{exit_code_eq: 256}]}]\n", "payloads[0].checks[0]",
		IC, "0..255"},
	{"payloads: [{name: p, program: 'true', checks: [{}]}]\n", "payloads[0].checks[0]", IC, "no check"},
	{OPS("{run_payload: {payload: p}}"), "steps[0].ops[0].payload", "NotFound", "no payload 'p'"},
	{PAY OPS("{run_payload: {payload: p, cgroup: nope}}"), "steps[0].ops[0].cgroup", "NotFound",
		"no cgroup"},
	{PAY OPS("{run_payload: {payload: p}}, {run_payload: {payload: p}}"), "steps[0].ops[1].payload",
		"AlreadyExists", "live"},
	{PAY OPS("{wait_payload: {name: p}}"), "steps[0].ops[0].name", "NotFound", "no copy"},
	{PAY OPS("{run_payload: {payload: p}}, {run_payload: {payload: p, cgroup: web}}, {kill_payload: "
		 "{name: p}}"),
		"steps[0].ops[2].name", "Ambiguous", "2 copies"},
	{PAY OPS("{run_payload: {payload: p, cgroup: web}}, {stop_cgroup: {cgroup: web}}, {kill_payload: "
		 "{name: p}}"),
		"steps[0].ops[2].name", "NotFound", "no copy"},
	{PAY "steps: [{ops: [{run_payload: {payload: p}}]}, {ops: [{kill_payload: {name: p}}]}]\n",
		"steps[1].ops[0].name", "NotFound", "no copy"},
	{PAY DEF("payloads: [{payload: p, cgroup: b}]"), "backdrop.cgroups[0].payloads[0].cgroup", IC,
		"leave"},
	/* kernel memory and snapshots */
	{OPS("{read_kernel_hot: []}"), "steps[0].ops[0].reads", IC, "at least one"},
	{OPS("{write_kernel_cold: []}"), "steps[0].ops[0].writes", IC, "at least one"},
	{OPS("{read_kernel_hot: [{symbol: x}]}"), "steps[0].ops[0].reads[0].width", IC, "no width"},
	{OPS("{read_kernel_hot: [{width: u32}]}"), "steps[0].ops[0].reads[0]", IC, "no target"},
	{OPS("{read_kernel_cold: [{symbol: x, width: u32, stable: true}]}"),
		"steps[0].ops[0].reads[0].stable", IC, "stable"},
	{OPS("{read_kernel_cold: [{symbol: x, width: u32, length: 4}]}"), "steps[0].ops[0].reads[0].length",
		IC, "bytes"},
	{OPS("{write_kernel_hot: [{symbol: x}]}"), "steps[0].ops[0].writes[0]", IC, "no value"},
	{OPS("{write_kernel_hot: [{symbol: x, u8: 256}]}"), "steps[0].ops[0].writes[0]", IC, "fit"},
	{OPS("{write_kernel_hot: [{symbol: x, u32: 0x100000000}]}"), "steps[0].ops[0].writes[0]", IC, "fit"},
	{OPS("{write_kernel_hot: [{symbol: x, from_read: t}]}"), "steps[0].ops[0].writes[0].from_read",
		"NotFound", "'t'"},
	{OPS("{write_kernel_hot: [{symbol: x, or_u32: 0x100000000}]}"), "steps[0].ops[0].writes[0]", IC,
		"fit"},
	{OPS("{write_kernel_hot: [{symbol: x, cas_u32: {expected: 0x100000000, new: 1}}]}"),
		"steps[0].ops[0].writes[0]", IC, "fit"},
	{OPS("{write_kernel_hot: [{path: 'runqueues@*.x', u8: 1}]}"), "steps[0].ops[0].writes[0].path", IC,
		"column 11"},
	{OPS("{read_kernel_hot: [{path: 'a..b'}]}"), "steps[0].ops[0].reads[0].path", IC, "column 3"},
	{OPS("{read_kernel_hot: [{kva: 1}]}"), "steps[0].ops[0].reads[0].width", IC, "no width"},
	{OPS("{read_kernel_hot: [{kva: 1, width: bytes}]}"), "steps[0].ops[0].reads[0].length", IC, "length"},
	{OPS("{read_kernel_hot: [{kva: 1, width: bytes, length: 1048577}]}"),
		"steps[0].ops[0].reads[0].length", IC, "length"},
	{OPS("{read_kernel_hot: [{per_cpu_field: {symbol: runqueues, field: clock, cpu: 8}}]}"),
		"steps[0].ops[0].reads[0].per_cpu_field.cpu", "NotFound", "no CPU 8"},
	{OPS("{read_kernel_hot: [{per_cpu_field: {field: clock}}]}"),
		"steps[0].ops[0].reads[0].per_cpu_field.symbol", IC, "name"},
	{OPS("{read_kernel_hot: [{task_field: {field: comm}}]}"), "steps[0].ops[0].reads[0].task_field.pid",
		IC, "no PID"},
	{OPS("{write_kernel_cold: [{task_field: {pid: 1, field: prio}, u32: 1}]}"),
		"steps[0].ops[0].writes[0].task_field", IC, "identity"},
	{OPS("{write_kernel_hot: [{task_field: {pid: 1, start_time_ns: 5, field: prio}, u32: 1}]}"),
		"steps[0].ops[0].writes[0].task_field", IC, "cold"},
	{OPS("{capture_snapshot: {name: ''}}"), "steps[0].ops[0].name", IC, "name"},
	{OPS("{capture_snapshot: {name: a/b}}"), "steps[0].ops[0].name", IC, "slash"},
	{OPS("{capture_snapshot: {name: a, what: [tasks]}}"), "steps[0].ops[0].what", "Unsupported", ""},
	{OPS("{capture_snapshot: {name: a, what: [bogus]}}"), "steps[0].ops[0].what", IC,
		"there are registers, run_queues"},
	{CG "steps: [{ops: [{capture_snapshot: {name: a}}], hold: {loop: 1s}}]\n", "steps[0].ops[0]", IC,
		"a step of its own"},
	{CG "steps: [{ops: [{capture_snapshot: {name: a}, expect_error: InvalidArgument}], hold: {loop: "
	    "1s}}]\n",
		"steps[0].ops[0]", IC, "loop"},
	/* ops as such */
	{OPS("{}"), "steps[0].ops[0]", IC, "no kind"},
	{OPS("{clear_cpuset: web, timeout: \"0\"}"), "steps[0].ops[0].timeout", IC, "no time"},
	{OPS("{swap_cpusets: {a: web, b: nope}}"), "steps[0].ops[0].b", "NotFound", "no cgroup"},
	{OPS("{set_affinity: {cgroup: web}}"), "steps[0].ops[0].affinity", IC, "no affinity"},
	{OPS("{set_affinity: {cgroup: '', affinity: {exact: 12-13}}}"), "steps[0].ops[0].affinity", IC,
		"0-7"},
	{OPS("{swap_cpusets: {a: web, b: web}}"), "steps[0].ops[0].b", IC, "the same"},
	{OPS("{move_all_tasks: {from: web, to: ''}}"), "steps[0].ops[0].to", IC, "needed"},
	{OPS("{move_all_tasks: {from: web, to: web}}"), "steps[0].ops[0].to", IC, "the same"},
	{OPS("{watch_snapshot: {symbol: x}}"), "steps[0].ops[0]", "Unsupported", "version"},
	{SCX OPS("{attach_scheduler: s}"), "steps[0].ops[0]", "Unsupported", "version"},
	{OPS("{detach_scheduler: {}}"), "steps[0].ops[0]", "Unsupported", "version"},
	{OPS("restart_scheduler"), "steps[0].ops[0]", "Unsupported", "version"},
	{SCX OPS("{replace_scheduler: s}"), "steps[0].ops[0]", "Unsupported", "version"},
	{OPS("{pin_bpf_map: {name: x}}"), "steps[0].ops[0]", "Unsupported", "version"},
	/* workers in sum */
	{WORK("workers: 4096") "steps: [{setup: [{name: b}]}]\n", "steps[0].setup[0]", "LimitExceeded",
		"4097 workers are there at once: at most 4096"},
	{"backdrop: {cgroups: [{name: a, work: [{workers: 4000}]}, {name: b, work: [{workers: 50}, {workers: "
	 "50}]}]}\n",
		"backdrop.cgroups[1].work[1]", "LimitExceeded", "4100 workers"},
	{WORK("workers: 4096") "steps: [{ops: [{spawn: {runner_cgroup: {}}}]}]\n", "steps[0].ops[0].work",
		"LimitExceeded", "4097 workers"},
	/* of the machine's 4 last-level caches */
	{"steps: [{factory: {for_each: llc, cgroups: [{name: 'c{index}', work: [{workers: 2000}]}]}}]\n",
		"steps[0].factory.cgroups[0].work[0]", "LimitExceeded", "6000 workers"},
	/* schedulers */
	{"schedulers: [{binary: {program: 'true'}}]\n", "schedulers[0].name", IC, "1 to 128 bytes"},
	{"schedulers: [{name: \"a\\tb\", kernel_default: {}}]\n", "schedulers[0].name", IC, "control"},
	{SCX "payloads: [{name: s, program: stress-ng}]\n", "schedulers[0].name", "AlreadyExists",
		"a payload (payloads[0])"},
	{"schedulers: [{name: s, kernel_default: {}}, {name: s, kernel_default: {}}]\n", "schedulers[1].name",
		"AlreadyExists", "schedulers[0]"},
	{"schedulers: [{name: s}]\n", "schedulers[0]", IC, "kernel_default: {}"},
	{SCH("binary: {}"), "schedulers[0].program", IC, "which program"},
	{SCH("binary: {program: scx_none}"), "schedulers[0].program", "NotFound",
		"not staged: there are stress-ng, true"},
	{SCH("binary: {program: a/x.bpf.o}"), "schedulers[0].program", IC, "`object: {file: ...}`"},
	{SCH("object: {}"), "schedulers[0].file", IC, "names no program or file"},
	{OBJ("rodata: [{value: 1}]"), "schedulers[0].rodata[0].variable", IC, "by its name"},
	{OBJ("rodata: [{variable: a, value: 1}, {variable: a, value: 2}]"),
		"schedulers[0].rodata[1].variable", "AlreadyExists", "rodata[0]"},
	{OBJ("rodata: [{variable: a, value: 1ms}]"), "schedulers[0].rodata[0].value", IC, "'1ms' is no"},
	{OBJ("rodata: [{variable: a}]"), "schedulers[0].rodata[0].value", IC, "true or false"},
	{OBJ("rodata: [{variable: a, value: 18446744073709551616}]"), "schedulers[0].rodata[0].value", IC,
		"whole number"},
	{OBJ("") "payloads: [{name: p, program: x.bpf.o}]\n", "payloads[0].program", IC, "attach_scheduler"},
	{SCH("kernel_default: {}, config: 'true'"), "schedulers[0].config", IC, "only a `binary`"},
	{SCH("object: {file: x.bpf.o}, cgroup_parent: a"), "schedulers[0].cgroup_parent", IC,
		"only a `binary`"},
	{SCH("binary: {program: 'true'}, cgroup_parent: ../a"), "schedulers[0].cgroup_parent", IC, "'..'"},
	{SCH("binary: {program: 'true'}, config: no.json"), "schedulers[0].config", "NotFound",
		"'no.json' is not staged"},
	{SCH("kernel_default: {}, attach_deadline: 0s"), "schedulers[0].attach_deadline", IC, "no time"},
	{SCH("kernel_default: {}, attach_deadline: 1281024h"), "schedulers[0].attach_deadline", IC,
		"at most 1281023h"},
	{SCH("kernel_default: {}, sysctls: [{name: kernel..x, value: 1}]"), "schedulers[0].sysctls[0].name",
		IC, "no sysctl's name"},
	{SCH("kernel_default: {}, sysctls: [{name: kernel/../x, value: 1}]"), "schedulers[0].sysctls[0].name",
		IC, "no sysctl's name"},
	{SCH("kernel_default: {}, sysctls: [{name: /proc/x, value: 1}]"), "schedulers[0].sysctls[0].name", IC,
		"no sysctl's name"},
	{SCH("kernel_default: {}, sysctls: [{name: kernel.x}]"), "schedulers[0].sysctls[0].value", IC,
		"needs a value"},
	{SCH("kernel_default: {}, sysctls: [{name: a.b, value: 1}, {name: a.b, value: 2}]"),
		"schedulers[0].sysctls[1].name", "AlreadyExists", "sysctls[0]"},
	{SCX OPS("{attach_scheduler: {}, expect_error: Unsupported}"), "steps[0].ops[0].scheduler", IC,
		"which scheduler"},
	{SCX OPS("{attach_scheduler: defualt, expect_error: Unsupported}"), "steps[0].ops[0].scheduler",
		"NotFound", "'defualt' (did you mean 'default'?): `schedulers` defines s, default"},
	{OPS("{replace_scheduler: s, expect_error: Unsupported}"), "steps[0].ops[0].scheduler", "NotFound",
		"`schedulers` defines none"},
	{PAY OPS("{attach_scheduler: p, expect_error: Unsupported}"), "steps[0].ops[0].scheduler", "NotFound",
		"'p' is a payload, not a scheduler: run_payload starts it"},
	/* a scheduler given as a payload, wherever one can be given, whatever the op expects */
	{SCX OPS("{run_payload: {payload: s}, expect_error: InvalidArgument}"), "steps[0].ops[0].payload", IC,
		"'s' is a scheduler, not a payload: start it with attach_scheduler"},
	{SCX OPS("{kill_payload: {name: s}}"), "steps[0].ops[0].name", IC, "detach_scheduler ends it"},
	{SCX "backdrop: {payloads: [{payload: s}]}\n", "backdrop.payloads[0].payload", IC,
		"attach_scheduler"},
	{SCX DEF("empty: true, payloads: [{payload: s}]"), "backdrop.cgroups[0].payloads[0].payload", IC,
		"attach_scheduler"},
	{SCX "steps: [{setup: [{name: a, empty: true, payloads: [{payload: s}]}]}]\n",
		"steps[0].setup[0].payloads[0].payload", IC, "attach_scheduler"},
	{SCX WORK("work_type: {custom: {program: {payload: s}}}"),
		"backdrop.cgroups[0].work[0].work_type.program", IC, "attach_scheduler"},
	{SCX "payloads: [{name: p, program: ./true}]\n", "payloads[0].program", IC,
		"'true' is the program of scheduler 's' (schedulers[0])"},
	{"payloads: [{name: p, program: dir/x.bpf.o}]\n", "payloads[0].program", IC, "a BPF object"},
	{OPS("{steer_irq: {irq: '1', cpu: 8}}"), "steps[0].ops[0].cpu", IC, "no CPU 8"},
	/* an expected error is expected as such, not any other */
	{OPS("{remove_cgroup: nope, expect_error: Busy}"), "steps[0].ops[0].cgroup", "NotFound", "no cgroup"},
	{OPS("{steer_irq: {irq: virtio2, cpu: 8}, expect_error: NotFound}"), "steps[0].ops[0].cpu", IC,
		"no CPU 8"},
	/* an op that is to fail makes nothing */
	{OPS("{add_cgroup: x, expect_error: LimitExceeded}, {clear_cpuset: x}"), "steps[0].ops[1].cgroup",
		"NotFound", ""},
};

Test(validate, every_rule)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		Schedrig__V1__ValidateResponse *response = validate(bad[i].text);
		cr_expect_geq(response->n_errors, 1, "accepted: %s", bad[i].text);
		if (response->n_errors) {
			const Schedrig__V1__Error *e = response->errors[0];
			cr_expect_str_eq(e->place, bad[i].place, "%s: place %s (%s)", bad[i].text, e->place,
				e->message);
			cr_expect_str_eq(err_code_name((enum err_code)e->code), bad[i].code, "%s: %s",
				bad[i].text, e->message);
			cr_expect(strstr(e->message, bad[i].says), "%s: %s", bad[i].text, e->message);
		}
		pb_free(response);
	}
}

static const char *const good[] = {
	"steps: [{}]\n",
	"steps: [{hold: {frac: 1.5}}, {hold: {fixed: \"0\"}}, {hold: {settled: 0}}, {hold: full}]\n",
	OPS("{add_cgroup: x}, {set_cpuset: {cgroup: x, cpus: {numa: 1}}}, {remove_cgroup: x}, {add_cgroup: "
	    "x}"),
	/* a step-local name is free again in the next step */
	"steps: [{setup: [{name: x}]}, {setup: [{name: x}]}]\n",
	/* in a loop step the set-up comes first */
	"steps: [{setup: [{name: x}], ops: [{freeze_cgroup: {cgroup: x}}, {unfreeze_cgroup: {cgroup: x}}], "
	"hold: {loop: "
	"10ms}}]\n",
	"steps: [{ops: [{add_cgroup: x}, {remove_cgroup: x}], hold: {loop: 10ms}}]\n",
	/* one pass only: its interval is the whole duration */
	"duration: 1s\nsteps: [{ops: [{add_cgroup: x}], hold: {loop: 1s}}]\n",
	"steps: [{setup: [{name: late}], ops: [{add_cgroup_def: {name: x}}, {clear_cpuset: x}]}]\n",
	OPS("{remove_cgroup: nope, expect_error: NotFound}"),
	"steps: [{ops: [{read_kernel_hot: [{tag: x, symbol: a, width: u8}]}], assertions: {expect_value: "
	"[{tag: x, eq: "
	"1}]}}, {}]\nassertions: {expect_value: [{tag: x, ne: 2}]}\n",
	"steps: [{setup: [{name: s}]}, {setup: [{name: s}]}]\nassertions: {delta: [{metric: gap, step: 1, "
	"against: 0, "
	"max_change_pct: 1, cgroup: s}, {metric: gap, step: 1, against: 0, max_change_pct: 1, cgroup: "
	"''}]}\n",
	/* what a factory makes is known when it is made */
	"steps: [{}, {factory: {client: {name: c}}}]\nassertions: {delta: [{metric: gap, step: 1, against: "
	"0, "
	"max_change_pct: 1, cgroup: s}]}\n",
	OPS("{move_all_tasks: {from: '', to: web}}"),
	PAY OPS("{add_cgroup: a}, {run_payload: {payload: p, cgroup: a}}, {move_all_tasks: {from: a, to: "
		"web}}, {kill_payload: "
		"{name: p, cgroup: web}}"),
	"payloads: [{name: p, program: 'true', known_flags: [--cpu, -v], default_args: [--cpu=2, '-1', -v, "
	"--, --x]}]\n",
	DEF("cpu: {uclamp_min: 0, uclamp_max: 99.5}, io: {weight: 10000, max: [{device: '8:0', rbps: 1M, "
	    "wiops: 5}]}, "
	    "memory: {max: max}"),
	OPS("{set_affinity: {cgroup: '', affinity: {exact: 6-7}}}"),
	OPS("{restart_scheduler: {}, expect_error: Unsupported}"),
	OPS("{spawn: {cgroup: web, work: {workers: 0}}, expect_error: InvalidArgument}"),
	OPS("{add_cgroup: web, expect_error: AlreadyExists}, {clear_cpuset: web}"),
	OPS("{spawn: {runner_cgroup: {}, work: {workers: 2, work_type: {pipe_io: {}}}}}"),
	OPS("{stop_cgroup: {cgroup: ''}}"),
	WORK("workers: 4095") "steps: [{setup: [{name: b}]}, {setup: [{name: b}]}]\n",
	WORK("workers: 4096") "steps: [{ops: [{stop_cgroup: {cgroup: a}}], setup: [{name: b}]}]\n",
	WORK("workers: 4096") "steps: [{ops: [{spawn: {runner_cgroup: {}}, expect_error: LimitExceeded}]}]\n",
	SCX OPS("{attach_scheduler: s, expect_error: Unsupported}, {replace_scheduler: default, "
		"expect_error: Unsupported}"),
	SCH("binary: {program: dir/true, default_args: [--slice-us, '500']}, config: stress-ng, "
	    "cgroup_parent: a/b, attach_deadline: 1m, sysctls: [{name: kernel.sched_schedstats, value: 1}, "
	    "{name: net.ipv4.conf.eth0/1.forwarding, value: 0}]"),
	OBJ("rodata: [{variable: slice_ns, value: 18446744073709551615}, {variable: off, value: -5}, "
	    "{variable: debug, value: true}, {variable: mask, value: 0xff}]"),
	/* a program may need an object beside it */
	"payloads: [{name: p, program: 'true', files: [x.bpf.o]}]\n",
	"strict: false\nsteps: [{ops: [{remove_cgroup: nope}, {stop_cgroup: {cgroup: nope}}]}]\n",
	PAY OPS("{run_payload: {payload: p}}, {wait_payload: {name: p}}, {run_payload: {payload: p}}"),
	PAY OPS("{run_payload: {payload: p}}, {run_payload: {payload: p, cgroup: web}}, {kill_payload: "
		"{name: p, cgroup: ''}}"),
	PAY "steps: [{ops: [{run_payload: {payload: p, outlive_step: true}}]}, {ops: [{kill_payload: {name: "
	    "p}}]}]\n",
	PAY "backdrop: {payloads: [{payload: p}]}\nsteps: [{ops: [{kill_payload: {name: p}}]}]\n",
	OPS("{read_kernel_hot: [{tag: t, symbol: x, width: u32, stable: true}]}, {write_kernel_cold: "
	    "[{symbol: y, from_read: t}]}"),
	OPS("{read_kernel_cold: [{path: 'runqueues@*.nr_running'}, {kva: 1, width: bytes, length: 16}, "
	    "{phys: 0, "
	    "width: u8}, {direct: 1, width: u16}, {per_cpu_field: {symbol: runqueues, cpu: 7}}, {task_field: "
	    "{pid: 1, "
	    "field: comm}}]}"),
	OPS("{write_kernel_cold: [{symbol: x, or_u32: 1}, {path: 'a.b', add_u64: 1}, {kva: 1, cas_u64: "
	    "{expected: 1, "
	    "new: 2}}, {task_field: {pid: 1, pidfs_inode: 5, field: prio}, u32: 1}]}, {write_kernel_hot: "
	    "[{task_field: "
	    "{pid: 1, start_time_ns: 5, field: prio}, u32: 1, force: true}]}"),
	WORK("policy: {deadline: {runtime: 1ms, deadline: 2ms, period: 2ms}}"),
	WORK("policy: {fifo: 98}, nice: -20, comm: fifteen-letters"),
	WORK("mem_policy: {weighted_interleave: 0-1}"),
	WORK("mem_policy: {bind: '7', relative_nodes: true}"),
	DEF("cpuset: {numa: 0}, cpuset_mems: 0-1, work: [{mem_policy: {bind: '1'}}]"),
	DEF("cpuset: {numa: 0}, work: [{mem_policy: {bind: '1', static_nodes: true}}]"),
	DEF("uid: 5, work: [{thread_group: t}, {thread_group: t}, {thread_group: u, uid: 7}]"),
	PAY WORK("work_type: {custom: {program: {payload: p, args: [a, b]}}}"),
	WORK("work_type: {sequence: {phases: [{spin: 1ms}, {alu: 2ms}]}}"),
	WORK("work_type: {numa_migration_churn: {}}"),
	DEF("cpuset: {range: [0.5, 1.0]}, work: [{workers_pct: 0.5, affinity: {exact: 5-7}}]"),
	DEF("cpu: {weight: 10000, quota_pct: 150, idle: true}, memory: {max: 64M, swap_max: \"0\"}, pids: 5, "
	    "cpuset_mems: 0-1"),
	"work_type_override: {pipe_io: {}}\n" DEF("work: [{workers: 3}]"),
};

Test(validate, what_is_fine)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		Schedrig__V1__ValidateResponse *response = validate(good[i]);
		cr_expect_eq(response->n_errors, 0, "%s: %s: %s", good[i], response->errors[0]->place,
			response->errors[0]->message);
		cr_expect_str_empty(response->skip_reason);
		pb_free(response);
	}
}

/* n times `one`, in a list behind `head`; heap memory. */
static char *many(const char *head, unsigned n, const char *one, const char *tail)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	fputs(head, out);
	for (unsigned i = 0; i < n; i++)
		fprintf(out, one, i);
	fputs(tail, out);
	fclose(out);
	return text;
}

Test(validate, schedulers_are_bounded)
{
	static const struct {
		const char *head, *one, *tail, *place;
		unsigned most;
	} table[] = {
		{"schedulers: [", "{name: s%u, kernel_default: {}},", "]\n", "schedulers", 64},
		{"schedulers: [{name: s, kernel_default: {}, sysctls: [", "{name: a.b%u, value: 1},", "]}]\n",
			"schedulers[0].sysctls", 64},
		{"schedulers: [{name: s, object: {file: x.bpf.o, rodata: [", "{variable: v%u, value: 1},",
			"]}}]\n", "schedulers[0].rodata", 256},
		{"schedulers: [{name: s, binary: {program: 'true', default_args: [", "'%u',", "]}}]\n",
			"schedulers[0].default_args", 256},
		{"schedulers: [{name: ", "s", ", kernel_default: {}}]\n", "schedulers[0].name", 128},
		{"schedulers: [{name: s, kernel_default: {}, sysctls: [{name: a.b, value: ", "v", "}]}]\n",
			"schedulers[0].sysctls[0].value", 4095},
		{"schedulers: [{name: s, kernel_default: {}, sysctls: [{value: 1, name: a.", "n", "}]}]\n",
			"schedulers[0].sysctls[0].name", 126},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		for (unsigned over = 0; over < 2; over++) {
			char *text = many(table[i].head, table[i].most + over, table[i].one, table[i].tail);
			Schedrig__V1__ValidateResponse *response = validate(text);
			cr_expect_eq(response->n_errors, over, "%s: %u: %s", table[i].place, over,
				response->n_errors ? response->errors[0]->message : "");
			if (response->n_errors)
				cr_expect_str_eq(response->errors[0]->place, table[i].place);
			pb_free(response);
			free(text);
		}
	}
}

/* One step after the other, none with too many at once. */
Test(validate, workers_in_all_are_bounded)
{
	for (unsigned over = 0; over < 2; over++) {
		char *text = many("steps: [", 16384 / 1024 + over,
			"{setup: [{name: s%u, work: [{workers: 1024}]}]},", "]\n");
		Schedrig__V1__ValidateResponse *response = validate(text);
		cr_assert_eq(response->n_errors, over);
		if (over) {
			const Schedrig__V1__Error *e = response->errors[0];
			cr_assert_str_eq(e->place, "steps[16].setup[0].work[0]");
			cr_assert_eq(e->code, SCHEDRIG__V1__ERROR_CODE__ERROR_CODE_LIMIT_EXCEEDED);
			cr_assert(
				strstr(e->message, "17408 workers in all, at most 16384"), "%s", e->message);
		}
		pb_free(response);
		free(text);
	}
}

Test(validate, all_mistakes_at_once)
{
	Schedrig__V1__ValidateResponse *response =
		validate("steps: [{hold: {frac: nan}, ops: [{clear_cpuset: a}, {clear_cpuset: b}]}, {hold: "
			 "{loop: \"0\"}}]\n");
	cr_assert_eq(response->n_errors, 4);
	pb_free(response);
}

Test(validate, unmet_needs_skip_and_spare_the_topology)
{
	Schedrig__V1__ValidateResponse *response =
		validate("needs: {min_llcs: 16, smt: true}\n" DEF("cpuset: {llc: 9}"));
	cr_assert_eq(response->n_errors, 0);
	cr_assert(strstr(response->skip_reason, "at least 16 LLCs, this machine has 4"), "%s",
		response->skip_reason);
	cr_assert(strstr(response->skip_reason, "several threads"));
	pb_free(response);
	response = validate("needs: {max_cpus: 4}\n");
	cr_assert(strstr(response->skip_reason, "at most 4 CPUs"));
	pb_free(response);
	response = validate("needs: {min_cpus: 8, max_cpus: 8, smt: false}\n");
	cr_assert_str_empty(response->skip_reason);
	pb_free(response);
}

Test(validate, without_a_machine)
{
	Schedrig__V1__ValidateResponse *response =
		validate_on(DEF("cpuset: {llc: 99}, work: [{workers_pct: 2}]"), NULL);
	cr_assert_eq(response->n_errors, 0);
	pb_free(response);
	response = validate_on(DEF("cpuset: {range: [0.9, 0.1]}"), NULL);
	cr_assert_eq(response->n_errors, 1);
	pb_free(response);
}

Test(validate, warnings)
{
	Schedrig__V1__ValidateResponse *response = validate("name: x\n");
	cr_assert_eq(response->n_warnings, 2);
	cr_assert(strstr(response->warnings[0]->message, "no steps"));
	cr_assert(strstr(response->warnings[1]->message, "nothing is asserted"));
	pb_free(response);
	response = validate("steps: [{assertions: {not_stuck: {}}}]\n");
	cr_assert_eq(response->n_warnings, 0);
	pb_free(response);
	response = validate("steps: [{name: a}, {name: b}, {name: a}]\nassertions: {not_stuck: {}}\n");
	cr_assert_eq(response->n_warnings, 1);
	cr_assert_str_eq(response->warnings[0]->place, "steps[2].name");
	cr_assert(strstr(response->warnings[0]->message, "steps[0] has the same name"));
	pb_free(response);
	/* Not strict: what other harnesses only warn about. */
	response = validate(
		"strict: false\nassertions: {not_stuck: {}}\nsteps: [{ops: [{remove_cgroup: x}, "
		"{stop_cgroup: {cgroup: x}}, {set_affinity: {cgroup: x, affinity: {single_cpu: {}}}}]}]\n");
	cr_assert_eq(response->n_errors, 0);
	cr_assert_eq(response->n_warnings, 3);
	for (size_t i = 0; i < 3; i++)
		cr_assert(
			strstr(response->warnings[i]->message, "no cgroup 'x' at this point: the op will do "
							       "nothing"));
	pb_free(response);
	/* ... and what they do not. */
	response = validate(
		"strict: false\nsteps: [{ops: [{set_cpuset: {cgroup: x, cpus: {llc: 0}}}, {clear_cpuset: x}, "
		"{freeze_cgroup: {cgroup: x}}, {move_all_tasks: {from: x, to: y}}]}]\n");
	cr_assert_eq(response->n_errors, 5);
	pb_free(response);
}

Test(validate, the_specification_s_example)
{
	ProtobufCMessage *message = NULL;
	static struct text_errors errors;
	char *text = NULL;
	FILE *file = fopen(SCENARIOS "/cpuset-churn.yaml", "r");
	size_t size = 0;
	cr_assert(file && getdelim(&text, &size, '\0', file) > 0);
	fclose(file);
	cr_assert_eq(
		text_load(&schedrig__v1__scenario__descriptor, text, strlen(text), &message, NULL, &errors),
		0);
	free(text);
	struct cpu_layout layout = bench_layout();
	Schedrig__V1__ValidateResponse *response;
	cr_assert_eq(engine_validate((Schedrig__V1__Scenario *)message, &layout, staged, &response, NULL), 0);
	cr_assert_eq(response->n_errors, 0);
	pb_free(response);
	pb_free(message);
}
