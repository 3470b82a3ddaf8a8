/* SPDX-License-Identifier: GPL-2.0-only */
/* The disks of e2e-net's machine (--disk): what the host has written the guest reads and the other way round,
 * workers on a scratch disk, freezes amid all of it, a host's disk that fails. */
#include "tests/e2e/net.h"

#include "common/clock.h"
#include "common/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
/* vda: the first quarter is the host's text, the guest copies it to the second half. */
#define USER_BYTES (8 * MIB)
#define COPY_BYTES (2 * MIB)
#define COPY_AT (4 * MIB)
/* vdb */
#define GOLDEN_BYTES (4 * MIB)
/* vdc */
#define SCRATCH_BYTES (16 * MIB)

static char user[512], golden[512];

/* Every sector tells where it is. */
static bool write_text(const char *path, size_t text_bytes, size_t bytes)
{
	FILE *file = fopen(path, "we");
	for (size_t sector = 0; file && sector < text_bytes / 512; sector++)
		fprintf(file, "sector %08zu of the host%-484s\n", sector, "");
	return file && fclose(file) == 0 && truncate(path, (off_t)bytes) == 0;
}

const char *const *disks_prepare(void)
{
	static char read_only[520];
	static const char *options[] = {
		"--disk", user, "--disk", read_only, "--disk", "temp:16M", "--stage", "dd=/bin/dd", NULL};
	snprintf(user, sizeof(user), "%s", scratch_path("user.img"));
	snprintf(golden, sizeof(golden), "%s", scratch_path("golden,1.img"));
	snprintf(read_only, sizeof(read_only), "%s,ro", golden);
	if (!write_text(user, COPY_BYTES, USER_BYTES) || !write_text(golden, GOLDEN_BYTES, GOLDEN_BYTES)) {
		perror("cannot make the disks");
		exit(1);
	}
	return options;
}

/* schedrig --json ARGS..., or NULL. */
static json_t *ask(const char *const *args)
{
	_cleanup_run_ struct run run;
	vm_client(&vm, args, 60, &run);
	return run.status == 0 ? json_loads(strbuf_str(&run.out), 0, NULL) : NULL;
}
#define ASK(...) ask((const char *const[]){"--json", __VA_ARGS__, NULL})

struct counts {
	long long reads, writes, flushes, errors;
};

static long long number(json_t *json, const char *name)
{
	json_int_t n = json_number(json, name);
	return n < 0 ? 0 : (long long)n; /* a zero need not be written */
}

static struct counts counts_of(unsigned disk)
{
	char path[32];
	_cleanup_json_ json_t *info = ASK("info");
	snprintf(path, sizeof(path), "disks[%u]", disk);
	json_t *at = info ? json_at(info, path) : NULL;
	return (struct counts){
		number(at, "reads"), number(at, "writes"), number(at, "flushes"), number(at, "errors")};
}

void test_disks_are_told(void)
{
	_cleanup_json_ json_t *info = ASK("info");
	EXPECT(info != NULL && json_array_size(json_at(info, "disks")) == 3);
	EXPECT(strcmp(json_text(info, "disks[0].name"), "vda") == 0);
	EXPECT(strcmp(json_text(info, "disks[0].path"), user) == 0);
	EXPECT(number(info, "disks[0].size_bytes") == USER_BYTES);
	EXPECT(!json_is_true(json_at(info, "disks[0].scratch")));
	EXPECT(json_is_true(json_at(info, "disks[1].read_only")));
	EXPECT(json_is_true(json_at(info, "disks[2].scratch")));
	EXPECT(strcmp(json_text(info, "disks[2].path"), "") == 0);
	_cleanup_run_ struct run run;
	vm_client(&vm, (const char *const[]){"info", NULL}, 60, &run);
	EXPECT(strstr(strbuf_str(&run.out), "vdc: temporary, 16384 KiB, scratch"), "%s",
		strbuf_str(&run.out));

	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"duration: 60s\n"
		"payloads:\n"
		"  - {name: look, program: sh, checks: [exit_code_eq: 0], default_args: [-c, 'for d in vda "
		"vdb "
		"vdc; do read -r size </sys/block/$d/size; read -r ro </sys/block/$d/ro; serial=; read -r "
		"serial "
		"</sys/block/$d/serial; echo $d $size $ro $serial; done']}\n"
		"steps: [{ops: [{run_payload: {payload: look}}, {wait_payload: {name: look}}], hold: {fixed: "
		"0s}}]\n",
		0);
	EXPECT(result != NULL);
	const char *said = json_text(json_op(result, "steps[0].ops[1]"), "payload.stdout_tail");
	EXPECT(strcmp(said, "vda 16384 0 schedrig-disk0\nvdb 8192 1 schedrig-disk1\n"
			    "vdc 32768 0 schedrig-scratch2\n") == 0,
		"%s", said);
}

/* Past every cache of the guest, while the machine is frozen again and again. */
void test_what_the_guest_writes_is_in_the_file(void)
{
	struct counts before = counts_of(0);
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"name: disk\n"
		"duration: 2s\n"
		"payloads:\n"
		"  - {name: copy, program: sh, checks: [exit_code_eq: 0], default_args: [-c, 'i=0; while [ "
		"$i "
		"-lt 3 ]; do dd if=/dev/vda of=/dev/vda bs=64k count=32 seek=64 iflag=direct oflag=direct "
		"conv=notrunc,fsync || exit 1; i=$((i+1)); done']}\n"
		"  - {name: see, program: sh, checks: [exit_code_eq: 0], default_args: [-c, 'dd if=/dev/vdb "
		"bs=512 skip=4567 count=1 iflag=direct | { read -r line; echo $line; }']}\n"
		"  - {name: spoil, program: dd, default_args: [if=/dev/zero, of=/dev/vdb, bs=512, count=1, "
		"oflag=direct, conv=notrunc], checks: [exit_code_eq: 1]}\n"
		"backdrop: {ops: [{run_payload: {payload: copy}}]}\n"
		"steps:\n"
		"  - {ops: [{read_kernel_cold: {reads: [{tag: now, symbol: jiffies_64, width: u64}]}}], "
		"hold: "
		"{loop: 20ms}}\n"
		"  - ops:\n"
		"      - wait_payload: {name: copy, timeout: 200s}\n"
		"      - run_payload: {payload: see}\n"
		"      - wait_payload: {name: see, timeout: 200s}\n"
		"      - run_payload: {payload: spoil}\n"
		"      - wait_payload: {name: spoil, timeout: 200s}\n"
		"    hold: {fixed: 0s}\n",
		0);
	EXPECT(result != NULL);
	const char *said = json_text(json_op(result, "steps[1].ops[2]"), "payload.stdout_tail");
	EXPECT(strcmp(said, "sector 00004567 of the host\n") == 0, "%s", said);
	struct counts after = counts_of(0);
	/* A request has at most 256 KiB, dd asks for 64. */
	long long least = (long long)(3 * COPY_BYTES / 65536);
	EXPECT(after.reads >= before.reads + least && after.writes >= before.writes + least, "%lld and %lld",
		after.reads - before.reads, after.writes - before.writes);
	EXPECT(after.flushes > before.flushes && after.errors == 0);
	static char bytes[USER_BYTES], same[GOLDEN_BYTES];
	_cleanup_close_ int fd = open(user, O_RDONLY | O_CLOEXEC), other = open(golden, O_RDONLY | O_CLOEXEC);
	EXPECT(read(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes));
	EXPECT(read(other, same, sizeof(same)) == (ssize_t)sizeof(same));
	EXPECT(memcmp(bytes, bytes + COPY_AT, COPY_BYTES) == 0);
	EXPECT(memcmp(bytes, same, COPY_BYTES) == 0, "both began with the same text");
	EXPECT(memcmp(same + COPY_BYTES, "sector 00004096 of", 18) == 0);
	for (size_t i = 0; i < COPY_BYTES; i++)
		EXPECT(!bytes[COPY_BYTES + i] && !bytes[COPY_AT + COPY_BYTES + i], "%zu", i);
}

static long long sum(struct counts counts)
{
	return counts.reads + counts.writes + counts.flushes;
}

/* Until there is more than that of each. False, with a failure recorded: too long. */
static bool wait_for_io(struct counts than)
{
	uint64_t deadline_ns = clock_deadline_ns(300 * NS_PER_S);
	for (;;) {
		struct counts now = counts_of(2);
		if (now.reads > than.reads && now.writes > than.writes && now.flushes > than.flushes)
			return true;
		if (!clock_left_ns(deadline_ns)) {
			tap_fail(__FILE__, __LINE__, "the workers' disk stands still: %lld, %lld, %lld",
				now.reads, now.writes, now.flushes);
			return false;
		}
	}
}

/* While it is frozen no request is answered; afterwards they are. */
static bool freeze_and_look(void)
{
	_cleanup_json_ json_t *frozen = ASK("freeze", "--lease=100s");
	struct counts first = counts_of(2), second = counts_of(2);
	_cleanup_json_ json_t *thawed = ASK("thaw");
	if (!frozen || !thawed || sum(first) != sum(second)) {
		tap_fail(__FILE__, __LINE__,
			"%lld requests answered by then, %lld a moment later in one freeze", sum(first),
			sum(second));
		return false;
	}
	return wait_for_io(second);
}

static const char io_scenario[] =
	"name: io\n"
	"duration: 600s\n"
	"backdrop:\n"
	"  cgroups:\n"
	"    - {name: io, work: [\n"
	"       {work_type: {io_sync_write: {}}, comm: sync, uid: 1000, gid: 1000},\n"
	"       {work_type: {io_rand_read: {}}, comm: rand},\n"
	"       {work_type: {io_convoy: {}}, workers: 2, comm: convoy}]}\n"
	"steps: [{hold: full}]\n";

void test_io_work_uses_the_scratch_disk_across_freezes(void)
{
	char scenario[512], answer[512]; /* scratch_path() keeps four */
	snprintf(scenario, sizeof(scenario), "%s", scratch_path("io.yaml"));
	snprintf(answer, sizeof(answer), "%s", scratch_path("io.json"));
	EXPECT(fd_replace_file(scenario, io_scenario, strlen(io_scenario), 0644, NULL) == 0);
	struct counts mine = counts_of(0), theirs = counts_of(2);
	fflush(stdout);
	pid_t runner = fork();
	if (runner == 0) {
		struct run run;
		vm_client(
			&vm, (const char *const[]){"--json", "submit", "--queue", scenario, NULL}, 600, &run);
		_exit(fd_replace_file(answer, strbuf_str(&run.out), run.out.length, 0644, NULL) == 0 ? 0 : 1);
	}
	EXPECT(runner > 0);
	bool good = wait_for_io(theirs);
	for (unsigned i = 0; good && i < 5; i++)
		good = freeze_and_look();
	json_decref(ASK("cancel"));
	int status;
	EXPECT(waitpid(runner, &status, 0) == runner && status == 0, "the scenario's client: %d", status);
	_cleanup_json_ json_t *result = json_load_file(answer, 0, NULL);
	EXPECT(good && result != NULL);
	EXPECT(json_array_size(json_at(result, "workers")) == 4);
	size_t i;
	json_t *worker;
	json_array_foreach(json_at(result, "workers"), i, worker)
	{
		EXPECT(strcmp(json_text(worker, "exit"), "stopped") == 0, "%s: %s", json_text(worker, "comm"),
			json_text(worker, "exit"));
		EXPECT(number(worker, "units") > 0);
	}
	struct counts after = counts_of(2);
	EXPECT(after.errors == 0, "%lld", after.errors);
	EXPECT(counts_of(0).writes == mine.writes, "nobody writes on a disk that is not theirs");
}

void test_disks_are_locked(void)
{
	_cleanup_run_ struct run run;
	char socket[512];
	snprintf(socket, sizeof(socket), "%s", scratch_path("second.sock"));
	run_program(
		(const char *const[]){program_path("schedrigd"), "--socket", socket, "--disk", user, NULL},
		60, &run);
	EXPECT(run.status == 69 && strstr(strbuf_str(&run.err), "in use"), "exit %d: %s", run.status,
		strbuf_str(&run.err));
}

/* The host's file is cut: the guest gets an error, once for each request, and goes on. */
void test_errors_of_the_host_reach_the_guest(void)
{
	EXPECT(truncate(golden, MIB) == 0);
	_cleanup_json_ json_t *result = vm_submit_for(&vm,
		"duration: 60s\n"
		"payloads:\n"
		"  - {name: before, program: dd, default_args: [if=/dev/vdb, of=/dev/null, bs=4k, count=1, "
		"iflag=direct], checks: [exit_code_eq: 0]}\n"
		"  - {name: behind, program: dd, default_args: [if=/dev/vdb, of=/dev/null, bs=4k, skip=512, "
		"count=1, iflag=direct], checks: [exit_code_eq: 1]}\n"
		"steps:\n"
		"  - ops: [{run_payload: {payload: behind}}, {wait_payload: {name: behind}}, {run_payload: "
		"{payload: before}}, {wait_payload: {name: before}}]\n"
		"    hold: {fixed: 0s}\n",
		0);
	EXPECT(result != NULL);
	_cleanup_json_ json_t *info = ASK("info");
	EXPECT(number(info, "disks[1].errors") >= 1);
	EXPECT(strcmp(json_text(info, "disks[1].last_error"), "Input/output error") == 0, "%s",
		json_text(info, "disks[1].last_error"));
	EXPECT(number(info, "disks[0].errors") == 0);
}
