/* SPDX-License-Identifier: GPL-2.0-only */
/* e2e-memory: 1000 random paths beside what the guest says of itself: symbols of /proc/kallsyms, members of
 * tasks beside /proc/PID/stat, status and schedstat, counters of /proc/stat, settings of /proc/sys. The
 * claims are checked in the guest by witness.c; what changes meanwhile is read again afterwards and must have
 * passed the witness's value on its way. */
#include "common/fd.h"
#include "tests/e2e/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_SYMBOLS 480
#define N_TASKS 470
#define CHUNK 200 /* claims of one run of the witness: an op has at most 256 arguments */
#define N_PIDS 300

struct claim {
	char path[128]; /* "" for symbols */
	char text[192]; /* for the witness, up to the value */
	long long seen;
	long long divisor; /* kernel's units in one of the witness's */
	long long bias;    /* added to the kernel's */
	bool grows;        /* may have moved on until the witness looks */
};

static struct claim claims[1200];
static unsigned n_claims;
static unsigned random_state;

static unsigned random_below(unsigned n)
{
	return (unsigned)rand_r(&random_state) % n;
}

/* ---- what is claimed */

/* Of a task, and where /proc has it. FIELD > 0: of stat. */
static const struct {
	const char *member;
	unsigned field;
	const char *file, *key;
	unsigned word;
	long long divisor, bias;
	bool grows;
} members[] = {
	{"pid", 0, "status", "Pid", 1, 1, 0, false},
	{"real_parent->tgid", 4, NULL, NULL, 0, 1, 0, false},
	{"prio", 18, NULL, NULL, 0, 1, -100, false},
	{"static_prio", 19, NULL, NULL, 0, 1, -120, false},
	{"signal->nr_threads", 20, NULL, NULL, 0, 1, 0, false},
	{"start_boottime", 22, NULL, NULL, 0, 10000000, 0, false},
	{"exit_signal", 38, NULL, NULL, 0, 1, 0, false},
	{"rt_priority", 40, NULL, NULL, 0, 1, 0, false},
	{"policy", 41, NULL, NULL, 0, 1, 0, false},
	{"tgid", 0, "status", "Tgid", 1, 1, 0, false},
	{"group_leader->pid", 0, "status", "Tgid", 1, 1, 0, false},
	{"nvcsw", 0, "status", "voluntary_ctxt_switches", 1, 1, 0, true},
	{"nivcsw", 0, "status", "nonvoluntary_ctxt_switches", 1, 1, 0, true},
	{"se.sum_exec_runtime", 0, "schedstat", "", 0, 1, 0, true},
	{"sched_info.pcount", 0, "schedstat", "", 2, 1, 0, true},
	{"signal->oom_score_adj", 0, "oom_score_adj", "", 0, 1, 0, false},
	{"timer_slack_ns", 0, "timerslack_ns", "", 0, 1, 0, false},
};

/* Globals; widths where the kernel's BTF has no type. */
static const struct {
	const char *path, *text;
	long long divisor;
	bool grows;
} globals[] = {
	{"total_forks", "line:/proc/stat:processes:1:", 1, true},
	{"kernel_cpustat@0.cpustat[0]", "line:/proc/stat:cpu0:1:", 10000000, true},
	{"kernel_cpustat@1.cpustat[0]", "line:/proc/stat:cpu1:1:", 10000000, true},
	{"kernel_cpustat@0.cpustat[2]", "line:/proc/stat:cpu0:3:", 10000000, true},
	{"kernel_cpustat@1.cpustat[2]", "line:/proc/stat:cpu1:3:", 10000000, true},
	{"kernel_cpustat@0.cpustat[3]", "line:/proc/stat:cpu0:7:", 10000000, true},
	{"panic_timeout", "line:/proc/sys/kernel/panic::0:", 1, false},
	{"sysctl_overcommit_memory:u32", "line:/proc/sys/vm/overcommit_memory::0:", 1, false},
	{"vm_swappiness:u32", "line:/proc/sys/vm/swappiness::0:", 1, false},
	{"max_threads:u32", "line:/proc/sys/kernel/threads-max::0:", 1, false},
	{"vm_dirty_ratio:u32", "line:/proc/sys/vm/dirty_ratio::0:", 1, false},
	{"dirty_writeback_interval:u32", "line:/proc/sys/vm/dirty_writeback_centisecs::0:", 1, false},
	{"sysctl_max_map_count:u32", "line:/proc/sys/vm/max_map_count::0:", 1, false},
};

/* Symbols from a few places of the alphabet, as schedrig lists them. */
static void claim_symbols(void)
{
	static const char letters[] = "abcdefghiklmnoprstuvw_";
	unsigned wanted = N_SYMBOLS;
	for (unsigned round = 0; round < 4; round++) {
		char pattern[8];
		snprintf(pattern, sizeof(pattern), "%c%c*", letters[random_below(sizeof(letters) - 1)],
			letters[random_below(sizeof(letters) - 1)]);
		_cleanup_run_ struct run run;
		vm_client(&vm,
			(const char *const[]){
				"symbols", "--limit", "100000", round < 3 ? pattern : "s*", NULL},
			120, &run);
		EXPECT(run.status == 0 || round < 3, "%s", strbuf_str(&run.err));
		static const char *lines[200000];
		unsigned n = 0, take = round < 3 ? N_SYMBOLS / 4 : wanted;
		for (const char *at = strbuf_str(&run.out); *at && n < 200000; n++) {
			lines[n] = at;
			at += strcspn(at, "\n");
			at += *at == '\n';
		}
		for (unsigned i = 0; i < take && n > 0; i++) {
			const char *line = lines[random_below(n)];
			struct claim *claim = &claims[n_claims];
			/* ADDRESS NAME... */
			int length = (int)strcspn(line + 17, " \n");
			if (length > 150)
				continue;
			snprintf(claim->text, sizeof(claim->text), "sym:%.16s:%.*s", line, length, line + 17);
			n_claims++;
			wanted--;
		}
	}
	EXPECT(n_claims >= N_SYMBOLS * 9 / 10, "only %u symbols", n_claims);
}

static void claim_tasks(const unsigned *pids, unsigned n_pids)
{
	for (unsigned i = 0; i < N_TASKS; i++) {
		unsigned m = random_below(sizeof(members) / sizeof(members[0])),
			 pid = pids[random_below(n_pids)];
		struct claim *claim = &claims[n_claims++];
		*claim = (struct claim){
			.divisor = members[m].divisor, .bias = members[m].bias, .grows = members[m].grows};
		snprintf(claim->path, sizeof(claim->path), "task(%u).%s", pid, members[m].member);
		if (members[m].field)
			snprintf(claim->text, sizeof(claim->text), "stat:%u:%u:", pid, members[m].field);
		else
			snprintf(claim->text, sizeof(claim->text), "line:/proc/%u/%s:%s:%u:", pid,
				members[m].file, members[m].key, members[m].word);
	}
}

static void claim_globals(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned g = i % (sizeof(globals) / sizeof(globals[0]));
		if (globals[g].divisor == 0)
			continue;
		struct claim *claim = &claims[n_claims++];
		*claim = (struct claim){.divisor = globals[g].divisor, .grows = globals[g].grows};
		snprintf(claim->path, sizeof(claim->path), "%s", globals[g].path);
		snprintf(claim->text, sizeof(claim->text), "%s", globals[g].text);
	}
}

/* ---- reading */

/* Reads all that have a path, by handle, in one freeze; in the witness's units. */
static bool read_claims(long long *ret_values)
{
	const char *path = scratch_path("paths.txt");
	struct strbuf text = STRBUF_INIT;
	for (unsigned i = 0; i < n_claims; i++)
		if (*claims[i].path)
			strbuf_printf(&text, "%s\n", claims[i].path);
	bool written = fd_replace_file(path, strbuf_str(&text), strlen(strbuf_str(&text)), 0644, NULL) == 0;
	strbuf_deinit(&text);
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"read", "--cold", "--file", path, NULL}, 120, &run);
	if (!written || run.status != 0) {
		tap_fail(__FILE__, __LINE__, "exit %d: %s", run.status, strbuf_str(&run.err));
		return false;
	}
	const char *at = strbuf_str(&run.out);
	for (unsigned i = 0; i < n_claims; i++) {
		if (!*claims[i].path)
			continue;
		/* PATH HEX DECIMAL, in the order of the file */
		const char *end = at + strcspn(at, "\n"), *word = end;
		while (word > at && word[-1] != ' ')
			word--;
		long long value =
			*word == '-' ? strtoll(word, NULL, 10) : (long long)strtoull(word, NULL, 10);
		if (strncmp(at, claims[i].path, strcspn(claims[i].path, ":")) != 0) {
			tap_fail(__FILE__, __LINE__, "%s was not read: %.100s", claims[i].path, at);
			return false;
		}
		ret_values[i] = value / claims[i].divisor + claims[i].bias;
		at = *end ? end + 1 : end;
	}
	return true;
}

/* Lets the witness check claims first..first + n - 1; its lines, "" with a failure. */
static void witness(unsigned first, unsigned n, char *text, size_t size)
{
	struct strbuf file = STRBUF_INIT;
	const char *path = scratch_path("claims.yaml");
	text[0] = '\0';
	strbuf_printf(&file, "{payloads: [{name: w, program: e2e-witness, default_args: [check");
	for (unsigned i = first; i < first + n; i++) {
		strbuf_printf(&file, ", '%s", claims[i].text);
		if (*claims[i].path)
			strbuf_printf(&file, "%lld", claims[i].seen);
		strbuf_printf(&file, "'");
	}
	strbuf_printf(&file, "]}], ops: [{run_payload: {payload: w}}, {wait_payload: {name: w}}]}");
	bool written = fd_replace_file(path, strbuf_str(&file), strlen(strbuf_str(&file)), 0644, NULL) == 0;
	strbuf_deinit(&file);
	_cleanup_json_ json_t *answer = written ? CLIENT("apply", path) : NULL;
	if (answer)
		snprintf(text, size, "%s", json_text(answer, "results[1].payload.stdout_tail"));
}

static unsigned list_pids(unsigned *pids)
{
	const char *path = scratch_path("pids.yaml");
	const char *file =
		"{payloads: [{name: p, program: e2e-witness, default_args: [pids]}], ops: [{run_payload: "
		"{payload: p}}, {wait_payload: {name: p}}]}";
	if (fd_replace_file(path, file, strlen(file), 0644, NULL) < 0)
		return 0;
	_cleanup_json_ json_t *answer = CLIENT("apply", path);
	const char *at = answer ? json_text(answer, "results[1].payload.stdout_tail") : "";
	unsigned n = 0;
	/* Threads of the agent, PID 1, come and go with ops. */
	if (strncmp(at, "1 ", 2) == 0)
		at += 2;
	for (char *end; n < N_PIDS && (pids[n] = (unsigned)strtoul(at, &end, 10)) != 0; at = end)
		n++;
	return n;
}

/* Those that are there twice: what started the witness is not. */
static unsigned find_pids(unsigned *pids)
{
	unsigned again[N_PIDS + 1], n = list_pids(pids), n_again = list_pids(again), kept = 0;
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < n_again; k++)
			if (again[k] == pids[i]) {
				pids[kept++] = pids[i];
				break;
			}
	return kept;
}

void test_random_paths(void)
{
	static long long values[1200];
	static struct {
		unsigned claim;
		long long said;
	} moved[400];
	unsigned pids[N_PIDS + 1], n_moved = 0, seed = 5;
	const char *given = getenv("SCHEDRIG_SEED");
	random_state = seed = given ? (unsigned)strtoul(given, NULL, 10) : seed;
	printf("# random paths by seed %u (SCHEDRIG_SEED takes others)\n", seed);
	unsigned n_pids = find_pids(pids);
	EXPECT(n_pids >= 5, "only %u processes", n_pids);
	claim_symbols();
	claim_tasks(pids, n_pids);
	claim_globals(1000 - n_claims);
	EXPECT(n_claims >= 950, "only %u claims", n_claims);
	for (unsigned i = 0; i < n_claims; i++)
		values[i] = 0;
	EXPECT(read_claims(values));
	for (unsigned i = 0; i < n_claims; i++)
		claims[i].seen = values[i];
	for (unsigned first = 0; first < n_claims; first += CHUNK) {
		unsigned n = n_claims - first < CHUNK ? n_claims - first : CHUNK;
		char text[1200], done[32];
		witness(first, n, text, sizeof(text));
		snprintf(done, sizeof(done), "checked %u\n", n);
		EXPECT(strstr(text, done), "the witness says: %s", text);
		for (char *line = text; strncmp(line, "checked", 7) != 0; line = strchr(line, '\n') + 1) {
			char *end;
			unsigned long number = strtoul(line, &end, 10);
			EXPECT(end != line && number < n && strchr(line, '\n'), "more differs than fits: %s",
				text);
			const struct claim *claim = &claims[first + number];
			EXPECT(claim->grows && n_moved < 400, "'%s' %s: %lld, and the guest says%.*s",
				claim->path, claim->text, claim->seen, (int)strcspn(end, "\n"), end);
			moved[n_moved].claim = first + (unsigned)number;
			moved[n_moved++].said = (long long)strtoull(end, NULL, 10);
		}
	}
	EXPECT(read_claims(values));
	for (unsigned i = 0; i < n_moved; i++) {
		const struct claim *claim = &claims[moved[i].claim];
		EXPECT(claim->seen <= moved[i].said && moved[i].said <= values[moved[i].claim],
			"%s: %lld, the guest says %lld, then %lld", claim->path, claim->seen, moved[i].said,
			values[moved[i].claim]);
	}
	printf("# %u claims, %u of them about what moved on meanwhile\n", n_claims, n_moved);
}
