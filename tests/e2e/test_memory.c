/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel memory from outside agrees with what the guest says of itself: e2e-memory KERNEL boots one VM with
 * two CPUs and runs every test on it; with "guest-symbols" one that has no symbols but those of its guest. */
#include "tests/e2e/memory.h"

#include "common/fd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_CPUS 2
#define BPFTOOL "/usr/sbin/bpftool" /* where Debian has it */
#define TICK_NS 10000000ll          /* USER_HZ is 100 */

struct vm_process vm;
const char *memory_kernel;
static json_int_t sleeper; /* PID of a process that only sleeps */

json_t *client(const char *const *args)
{
	const char *all[32] = {"--json"};
	for (unsigned n = 1; *args && n < 31; n++)
		all[n] = *args++;
	_cleanup_run_ struct run run;
	vm_client(&vm, all, 60, &run);
	json_t *answer = run.status == 0 ? json_loads(strbuf_str(&run.out), 0, NULL) : NULL;
	if (!answer)
		tap_fail(__FILE__, __LINE__, "schedrig %s %s: exit %d: %s%s", all[1], all[2] ? all[2] : "",
			run.status, strbuf_str(&run.err), strbuf_str(&run.out));
	return answer;
}

void guest_says(const char *command, char *text, size_t size)
{
	char file[2048];
	text[0] = '\0';
	snprintf(file, sizeof(file),
		"{\"payloads\": [{\"name\": \"w\", \"program\": \"sh\", \"default_args\": [\"-c\", \"%s\"]}],"
		" \"ops\": [{\"run_payload\": {\"payload\": \"w\"}}, {\"wait_payload\": {\"name\": \"w\"}}]}",
		command);
	const char *path = scratch_path("witness.yaml");
	struct err err = ERR_INIT;
	if (fd_replace_file(path, file, strlen(file), 0644, &err) < 0) {
		tap_fail(__FILE__, __LINE__, "%s", err.message);
		return;
	}
	_cleanup_json_ json_t *answer = CLIENT("apply", path);
	if (answer)
		snprintf(text, size, "%s", json_text(answer, "results[1].payload.stdout_tail"));
	if (answer && !*text)
		tap_fail(__FILE__, __LINE__, "the guest said nothing to: %s", command);
}

long long value_of(const char *path)
{
	_cleanup_json_ json_t *answer = CLIENT("read", path);
	return answer ? json_count(answer, "values[0].value") : -1;
}

bool fails(const char *const *args, int status, const char *words)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, args, 60, &run);
	if (run.status == status && strstr(strbuf_str(&run.err), words))
		return true;
	tap_fail(__FILE__, __LINE__, "%s: exit %d, not %d with '%s': %s", args[1], run.status, status, words,
		strbuf_str(&run.err));
	return false;
}

bool prints(const char *const *args, const char *words)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, args, 60, &run);
	if (run.status == 0 && strstr(strbuf_str(&run.out), words))
		return true;
	tap_fail(__FILE__, __LINE__, "%s: exit %d, no '%s' in: %s%s", args[1], run.status, words,
		strbuf_str(&run.out), strbuf_str(&run.err));
	return false;
}

static void start_sleeper(void)
{
	const char *path = scratch_path("sleeper.yaml");
	const char *file =
		"{payloads: [{name: s, program: sleep, default_args: ['1000']}], ops: [{run_payload: "
		"{payload: s}}]}";
	EXPECT(fd_replace_file(path, file, strlen(file), 0644, NULL) == 0);
	_cleanup_json_ json_t *answer = CLIENT("apply", path);
	EXPECT(answer != NULL);
	sleeper = json_number(answer, "results[0].pids[0]");
	EXPECT(sleeper > 1);
}

static void test_names(void)
{
	EXPECT(PRINTS("\"swapper/0\"", "read", "init_task.comm"));
	EXPECT(PRINTS("\"swapper/1\"", "read", "--cold", "runqueues@1.idle->comm"));
	char text[64], want[80];
	guest_says("read a < /proc/1/comm; echo $a", text, sizeof(text));
	text[strcspn(text, "\n")] = '\0';
	snprintf(want, sizeof(want), "\"%s\"", text);
	EXPECT(*text && PRINTS(want, "read", "task(1).comm"));
}

static void test_jiffies_advance(void)
{
	long long before = value_of("jiffies_64");
	char text[64];
	guest_says("read a b < /proc/uptime; echo $a", text, sizeof(text));
	long long after = value_of("jiffies_64");
	EXPECT(before > 0 && after > before, "%lld, then %lld", before, after);
}

/* Paths of the command line and of a file, in rounds that are as far apart as asked for. */
static void test_rounds_of_reads(void)
{
	enum { ROUNDS = 4 };
	const char *path = scratch_path("paths");
	static const char file[] = "# comment\n\n  total_forks\t\ninit_task.pid\n";
	EXPECT(fd_replace_file(path, file, strlen(file), 0644, NULL) == 0);
	_cleanup_run_ struct run run;
	vm_client(&vm,
		(const char *const[]){
			"read", "--count", "4", "--every", "30ms", "--file", path, "jiffies_64", NULL},
		60, &run);
	EXPECT(run.status == 0, "exit %d: %s", run.status, strbuf_str(&run.err));
	const char *at = strbuf_str(&run.out);
	unsigned long long before[2] = {0};
	for (unsigned round = 0; round < ROUNDS; round++) {
		double seconds;
		unsigned long long jiffies, forks, pid;
		int length = 0;
		sscanf(at, "# %lf s jiffies_64 %*s %llu total_forks %*s %llu init_task.pid %*s %llu %n",
			&seconds, &jiffies, &forks, &pid, &length);
		EXPECT(length > 0, "round %u of: %s", round, strbuf_str(&run.out));
		EXPECT(seconds >= round * 0.03, "round %u after %f s", round, seconds);
		EXPECT(jiffies >= before[0] && forks >= before[1] && pid == 0);
		before[0] = jiffies;
		before[1] = forks;
		at += length;
	}
	EXPECT(*at == '\0' && before[0] > 0, "more than %d rounds: %s", ROUNDS, at);
	EXPECT(FAILS(64, "total_fork", "read", "--count", "2", "jiffies_64", "total_forkz"));
}

static void test_forks_are_those_of_proc_stat(void)
{
	char text[64];
	long long before = value_of("total_forks");
	guest_says("while read a b; do case $a in processes) echo $b;; esac; done < /proc/stat", text,
		sizeof(text));
	long long after = value_of("total_forks"), said = atoll(text);
	EXPECT(before > 0 && before <= said && said <= after, "%lld, guest %lld, %lld", before, said, after);
}

static void test_cpu_time_is_that_of_proc_stat(void)
{
	char text[128];
	long long before = value_of("kernel_cpustat@0.cpustat[2]");
	guest_says("while read a u n s r; do case $a in cpu0) echo $s;; esac; done < /proc/stat", text,
		sizeof(text));
	long long after = value_of("kernel_cpustat@0.cpustat[2]"), said = atoll(text) * TICK_NS;
	EXPECT(before <= said + TICK_NS && said <= after, "%lld, guest %lld, %lld", before, said, after);
}

static void test_every_cpu(void)
{
	_cleanup_json_ json_t *answer = CLIENT("read", "--cold", "runqueues@*.nr_running", "runqueues@*.cpu");
	EXPECT(answer != NULL);
	EXPECT(json_array_size(json_at(answer, "values")) == 2 * N_CPUS);
	for (unsigned i = 0; i < N_CPUS; i++) {
		char place[64];
		snprintf(place, sizeof(place), "values[%u].value", i);
		/* Protobuf leaves zeros out. */
		json_int_t running = json_number(answer, place);
		EXPECT(running >= -1 && running < 1000, "%lld run on CPU %u", (long long)running, i);
		snprintf(place, sizeof(place), "values[%u].value", N_CPUS + i);
		json_int_t cpu = json_number(answer, place);
		EXPECT(cpu == (json_int_t)i || (i == 0 && cpu == -1), "CPU %u says %lld", i, (long long)cpu);
	}
}

/* Field 22 of /proc/PID/stat, in ns. */
static long long started_ns(char *ret_comm, size_t size)
{
	char command[256], text[512];
	snprintf(command, sizeof(command), "read a < /proc/%lld/stat; echo $a", (long long)sleeper);
	guest_says(command, text, sizeof(text));
	char *open = strchr(text, '('), *close = strrchr(text, ')');
	if (!open || !close)
		return -1;
	snprintf(ret_comm, size, "%.*s", (int)(close - open - 1), open + 1);
	/* The blank behind the parenthesis is before field 3. */
	char *at = close + 1;
	for (unsigned field = 3; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	return at ? atoll(at) * TICK_NS : -1;
}

static void test_tasks(void)
{
	char path[128], comm[64], identified[128];
	long long start = started_ns(comm, sizeof(comm));
	EXPECT(start > 0, "%lld", start);
	snprintf(path, sizeof(path), "task(%lld).start_boottime", (long long)sleeper);
	long long boot = value_of(path);
	EXPECT(boot >= start && boot < start + TICK_NS, "%lld, guest %lld", boot, start);
	snprintf(path, sizeof(path), "task(%lld).tgid", (long long)sleeper);
	EXPECT(value_of(path) == sleeper);
	snprintf(path, sizeof(path), "\"%s\"", comm);
	snprintf(identified, sizeof(identified), "task(%lld, %lld).comm", (long long)sleeper, start);
	EXPECT(PRINTS(path, "read", identified));
	snprintf(identified, sizeof(identified), "task(%lld, %lld).comm", (long long)sleeper,
		start + 1000000000);
	EXPECT(FAILS(69, "another task's", "read", identified));
	EXPECT(FAILS(64, "no task has the PID 999999", "read", "task(999999).comm"));
}

static void test_task_writes(void)
{
	char comm[64], word[192], command[128], text[64];
	long long start = started_ns(comm, sizeof(comm));
	EXPECT(start > 0);
	snprintf(word, sizeof(word), "task(%lld).timer_slack_ns=51234", (long long)sleeper);
	EXPECT(FAILS(64, "identity", "write", "--cold", word));
	snprintf(word, sizeof(word), "task(%lld, %lld).timer_slack_ns=51234", (long long)sleeper, start);
	EXPECT(FAILS(64, "hot write", "write", word));
	snprintf(word, sizeof(word), "task(%lld, %lld).timer_slack_ns=51234", (long long)sleeper, start);
	EXPECT(PRINTS(" was ", "write", "--cold", "--verify", word));
	snprintf(command, sizeof(command), "read a < /proc/%lld/timerslack_ns; echo $a", (long long)sleeper);
	guest_says(command, text, sizeof(text));
	EXPECT(atoll(text) == 51234, "the guest says %s", text);
	snprintf(word, sizeof(word), "task(%lld, %lld).scx.dsq_vtime=1", (long long)sleeper, start);
	EXPECT(FAILS(69, "ext class", "write", "--cold", word));
	/* "renamed" and a NUL */
	snprintf(word, sizeof(word), "task(%lld, %lld).comm:bytes=72656e616d656400", (long long)sleeper,
		start);
	EXPECT(PRINTS("", "write", "--cold", word));
	snprintf(command, sizeof(command), "read a < /proc/%lld/comm; echo $a", (long long)sleeper);
	guest_says(command, text, sizeof(text));
	EXPECT(strncmp(text, "renamed", 7) == 0, "the guest says %s", text);
}

static void test_read_modify_write(void)
{
	char text[64];
	EXPECT(PRINTS(" was ", "write", "sysctl_hung_task_timeout_secs:u64=4096"));
	EXPECT(PRINTS(" 4096", "write", "sysctl_hung_task_timeout_secs:u64|=3"));
	EXPECT(PRINTS(" 4099", "write", "--cold", "sysctl_hung_task_timeout_secs:u64^=1"));
	EXPECT(PRINTS(" 4098", "write", "sysctl_hung_task_timeout_secs:u64+=10"));
	EXPECT(PRINTS(" 4108", "write", "sysctl_hung_task_timeout_secs:u64&=0xfff0"));
	guest_says("grep . /proc/sys/kernel/hung_task_timeout_secs", text, sizeof(text));
	EXPECT(atoll(text) == 4096, "the guest says %s", text);
}

static void test_mistakes(void)
{
	EXPECT(FAILS(64, "column 13", "read", "runqueues@0.nr_runing"));
	EXPECT(FAILS(64, "'nr_running'", "read", "runqueues@0.nr_runing"));
	EXPECT(FAILS(64, "CPU 77", "read", "runqueues@77.nr_running"));
	EXPECT(FAILS(64, "jiffies_64", "read", "jifies_64"));
	EXPECT(FAILS(64, "width", "read", "sysctl_hung_task_timeout_secs"));
	EXPECT(FAILS(64, "neighbour", "write", "runqueues@0.nr_running:u64=1"));
	EXPECT(FAILS(64, "reads and snapshots only", "write", "runqueues@*.nr_running:u32=1"));
	EXPECT(FAILS(69, "0x10", "read", "kva:0x10:u8"));
	EXPECT(FAILS(64, "did you mean", "types", "task_strct"));
}

static void test_knowledge(void)
{
	char text[64], address[64];
	_cleanup_json_ json_t *answer = CLIENT("symbols", "init_task");
	EXPECT(answer != NULL);
	/* As root sees them: kptr_restrict does not hide from it. */
	guest_says("grep ' init_task$' /proc/kallsyms", text, sizeof(text));
	snprintf(address, sizeof(address), "%.16s init_task", text);
	EXPECT(PRINTS(address, "symbols", "init_task"));
	EXPECT(PRINTS("struct task_struct", "resolve", "init_task"));
	EXPECT(PRINTS("char[16] comm", "types", "struct task_struct"));
	EXPECT(PRINTS("struct rq", "types", "runqueues"));
}

static const struct {
	const char *name;
	test_fn fn;
	bool by_guest;   /* also with symbols that the guest told */
	bool by_bpftool; /* needs it staged */
} tests[] = {
	{"a process to look at", start_sleeper, true},
	{"names of tasks through pointers and PIDs", test_names, true},
	{"jiffies advance", test_jiffies_advance},
	{"many paths, again and again", test_rounds_of_reads},
	{"total_forks is processes of /proc/stat", test_forks_are_those_of_proc_stat},
	{"kernel_cpustat is /proc/stat", test_cpu_time_is_that_of_proc_stat},
	{"every CPU at once", test_every_cpu, true},
	{"a task by PID is that of /proc/PID/stat", test_tasks, true},
	{"writes to a task", test_task_writes},
	{"read-modify-write", test_read_modify_write},
	{"mistakes are typed and point at the place", test_mistakes},
	{"symbols and types", test_knowledge, true},
	{"values of BPF maps are those of bpf(2)", test_maps},
	{"every number in BPF maps is bpftool's", test_bpftool, .by_bpftool = true},
	{"1000 random paths agree with /proc", test_random_paths},
	{"bases of a kernel that randomised them", test_bases, true},
	{"symbols and types of modules", test_modules, true},
	{"every symbol of the image is the guest's", test_all_symbols, true},
	{"a cold batch is one moment to the guest", test_batches},
	{"lists of ops in a freeze of the client's own", test_own_freeze},
};

int main(int argc, char **argv)
{
	/* Everything here must hold wherever the kernel has its direct map: other programs have it in its
	 * usual place. */
	static char checks[300], maps[300], witness[300];
	static const char *options[] = {"--kaslr", "--symbols", "image", "--stage", "sh=/bin/sh", "--stage",
		"sleep=/bin/sleep", "--stage", "grep=/bin/grep", "--stage", checks, "--stage", maps,
		"--stage", witness, NULL, NULL, NULL};
	bool by_guest = argc == 3 && strcmp(argv[2], "guest-symbols") == 0;
	if (argc != 2 && !by_guest) {
		fprintf(stderr, "usage: %s KERNEL [guest-symbols]\n", argv[0]);
		return 64;
	}
	bool has_bpftool = access(BPFTOOL, X_OK) == 0;
	if (has_bpftool && !by_guest) {
		unsigned n = sizeof(options) / sizeof(options[0]);
		options[n - 3] = "--stage";
		options[n - 2] = "bpftool=" BPFTOOL;
	}
	memory_kernel = argv[1];
	if (by_guest)
		options[2] = "guest";
	harness_begin(argc, argv);
	snprintf(checks, sizeof(checks), "e2e-checks=%s", program_path("../tests/e2e/e2e-checks"));
	snprintf(maps, sizeof(maps), "e2e-maps=%s", program_path("../tests/e2e/e2e-maps"));
	snprintf(witness, sizeof(witness), "e2e-witness=%s", program_path("../tests/e2e/e2e-witness"));
	if (!vm_up(&vm, argv[1], "1n1l1c2t", true, options)) {
		printf("Bail out! the VM did not come up: %s\nnot ok 1 - boot\n", vm.error);
		harness_end();
		tap_end();
		return 1;
	}
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (tests[i].by_bpftool && !has_bpftool && !by_guest)
			tap_skip(tests[i].name, "no " BPFTOOL ": tests/setup.sh installs it");
		else if (tests[i].by_guest || !by_guest)
			tap_run(tests[i].name, tests[i].fn);
	int status = vm_down(&vm);
	if (status != 0)
		printf("not ok 1000 - shut down in order: exit status %d\n", status);
	harness_end();
	return tap_end();
}
