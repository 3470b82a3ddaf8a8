/* SPDX-License-Identifier: GPL-2.0-only */
/* End-to-end harness (see harness.h): programs, VMs, TAP. One thread. */
#include "tests/e2e/harness.h"

#include "common/clock.h"
#include "common/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VMS_MAX 16
#define OUTPUT_MAX_BYTES (64u << 20)

static unsigned n_tests, n_failed, n_fds_at_begin;
static bool failed_now;
static char scratch[200];
static struct vm_process *vms[VMS_MAX];

double harness_speed(void)
{
	const char *text = getenv("SCHEDRIG_SPEED");
	double factor = text ? atof(text) : 1;
	return factor < 1 ? 1 : factor > 20 ? 20 : factor;
}

uint64_t harness_deadline_ns(unsigned seconds)
{
	return clock_deadline_ns((uint64_t)(seconds * harness_speed() * 1e9));
}

/* --- TAP
 * ------------------------------------------------------------------------------------------------------------
 */

void tap_fail(const char *file, int line, const char *fmt, ...)
{
	char text[4096];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *p = text; *p; p++)
		if (*p == '\n' && p[1])
			fputs("", stdout);
	printf("# %s:%d: %s\n", file, line, text);
	failed_now = true;
}

void tap_run(const char *name, test_fn fn)
{
	failed_now = false;
	uint64_t begin = clock_now_ns();
	fn();
	n_tests++;
	n_failed += failed_now;
	printf("%s %u - %s (%.2fs)\n", failed_now ? "not ok" : "ok", n_tests, name,
		(double)(clock_now_ns() - begin) / 1e9);
	fflush(stdout);
}

void tap_skip(const char *name, const char *reason)
{
	printf("ok %u - %s # SKIP %s\n", ++n_tests, name, reason);
	fflush(stdout);
}

int tap_end(void)
{
	printf("1..%u\n", n_tests);
	return n_failed ? 1 : 0;
}

/* --- programs
 * ---------------------------------------------------------------------------------------------------------
 */

static unsigned count_fds(void)
{
	unsigned n = 0;
	DIR *dir = opendir("/proc/self/fd");
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

const char *scratch_path(const char *name)
{
	static char paths[4][512];
	static unsigned turn;
	char *path = paths[turn++ % 4];
	snprintf(path, sizeof(paths[0]), "%s/%s", scratch, name);
	return path;
}

const char *program_path(const char *name)
{
	static char paths[4][640];
	static unsigned turn;
	char *path = paths[turn++ % 4];
	const char *host = getenv("SCHEDRIG_BUILD_HOST");
	snprintf(path, sizeof(paths[0]), "%s/%s", host ? host : "host", name);
	return path;
}

void harness_begin(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	/* Orphans of what we start come to us, so that what was left behind is seen. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	snprintf(scratch, sizeof(scratch), "/tmp/schedrig-e2e.XXXXXX");
	if (!mkdtemp(scratch)) {
		perror("mkdtemp");
		exit(1);
	}
	n_fds_at_begin = count_fds();
}

static void remove_tree(const char *path)
{
	const char *argv[] = {"rm", "-rf", path, NULL};
	struct run run;
	run_program(argv, 30, &run);
	run_deinit(&run);
}

void harness_end(void)
{
	for (unsigned i = 0; i < VMS_MAX; i++)
		if (vms[i])
			vm_down(vms[i]);
	remove_tree(scratch);
	failed_now = false;
	/* Orphans that have ended are only to be collected; one that lives was left behind. */
	pid_t left;
	do
		left = waitpid(-1, NULL, WNOHANG);
	while (left > 0);
	if (left == 0)
		tap_fail(__FILE__, __LINE__, "a process was left behind");
	if (count_fds() != n_fds_at_begin)
		tap_fail(__FILE__, __LINE__, "%u file descriptors at the end, %u at the begin", count_fds(),
			n_fds_at_begin);
	n_tests++;
	n_failed += failed_now;
	printf("%s %u - nothing is left behind\n", failed_now ? "not ok" : "ok", n_tests);
}

static pid_t spawn(const char *const *argv, int out, int err, int extra_fd)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(out >= 0 ? out : null, 1);
	dup2(err >= 0 ? err : null, 2);
	if (extra_fd >= 0) {
		dup2(extra_fd, 3);
		fcntl(3, F_SETFD, 0);
	}
	execvp(argv[0], (char *const *)argv);
	dprintf(2, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static int status_of(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Waits by pidfd; -1 after the deadline. */
static int wait_until(pid_t pid, uint64_t deadline_ns)
{
	int status;
	_cleanup_close_ int fd = (int)syscall(434 /* pidfd_open */, pid, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	while (fd >= 0 && poll(&p, 1, clock_poll_ms(deadline_ns)) < 0 && errno == EINTR)
		;
	if (!(p.revents & POLLIN))
		return -1;
	return waitpid(pid, &status, 0) == pid ? status_of(status) : -1;
}

void run_program(const char *const *argv, unsigned seconds, struct run *ret)
{
	*ret = (struct run){.status = -1};
	int out[2] = {-1, -1}, err[2] = {-1, -1};
	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
		return;
	pid_t pid = spawn(argv, out[1], err[1], -1);
	fd_close(&out[1]);
	fd_close(&err[1]);
	uint64_t deadline = harness_deadline_ns(seconds);
	struct pollfd p[2] = {{.fd = out[0], .events = POLLIN}, {.fd = err[0], .events = POLLIN}};
	struct strbuf *to[2] = {&ret->out, &ret->err};
	while ((p[0].fd >= 0 || p[1].fd >= 0) && clock_left_ns(deadline)) {
		if (poll(p, 2, clock_poll_ms(deadline)) < 0 && errno != EINTR)
			break;
		for (int i = 0; i < 2; i++) {
			char bytes[65536];
			if (p[i].fd < 0 || !(p[i].revents & (POLLIN | POLLHUP)))
				continue;
			ssize_t n = read(p[i].fd, bytes, sizeof(bytes));
			if (n <= 0)
				p[i].fd = -1;
			else if (to[i]->length < OUTPUT_MAX_BYTES)
				strbuf_add(to[i], bytes, (size_t)n);
		}
	}
	ret->status = wait_until(pid, deadline);
	if (ret->status < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		ret->status = -1;
	}
	fd_close(&out[0]);
	fd_close(&err[0]);
}

void run_deinit(struct run *run)
{
	strbuf_deinit(&run->out);
	strbuf_deinit(&run->err);
}

/* --- VMs
 * ----------------------------------------------------------------------------------------------------------------
 */

static int ready_fds[VMS_MAX]; /* beside vms[] */

static unsigned slot_of(struct vm_process *vm)
{
	for (unsigned i = 0; i < VMS_MAX; i++)
		if (vms[i] == vm)
			return i;
	abort();
}

bool vm_begin(
	struct vm_process *vm, const char *kernel, const char *topology, bool pinned, const char *const *more)
{
	static unsigned serial;
	unsigned slot = 0;
	while (slot < VMS_MAX && vms[slot])
		slot++;
	if (slot == VMS_MAX)
		return false;
	*vm = (struct vm_process){.pid = -1};
	snprintf(vm->socket, sizeof(vm->socket), "%.80s/vm%u.sock", scratch, serial);
	snprintf(vm->run_dir, sizeof(vm->run_dir), "%s/run%u", scratch, serial);
	snprintf(vm->console, sizeof(vm->console), "%s/console%u", scratch, serial++);
	const char *argv[64] = {program_path("schedrigd"), "--kernel", kernel, "--topology", topology,
		"--socket", vm->socket, "--run-dir", vm->run_dir, "--console", vm->console, "--ready-fd",
		"3"};
	unsigned n = 13;
	if (pinned) {
		/* The last CPU for the vCPUs, the others for the controller's loop. */
		static char last[32];
		snprintf(last, sizeof(last), "%ld", sysconf(_SC_NPROCESSORS_ONLN) - 1);
		argv[n++] = "--pin";
		argv[n++] = last;
	}
	for (; more && *more && n < 62; more++)
		argv[n++] = *more;
	int pipe_fds[2];
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return false;
	vm->pid = spawn(argv, -1, 2, pipe_fds[1]);
	close(pipe_fds[1]);
	ready_fds[slot] = pipe_fds[0];
	vms[slot] = vm;
	return vm->pid > 0;
}

bool vm_wait_ready(struct vm_process *vm)
{
	unsigned slot = slot_of(vm);
	uint64_t deadline = harness_deadline_ns(60);
	char line[sizeof(vm->error)];
	size_t used = 0;
	struct pollfd p = {.fd = ready_fds[slot], .events = POLLIN};
	while (used < sizeof(line) - 1) {
		int r = poll(&p, 1, clock_poll_ms(deadline));
		if (r < 0 && errno == EINTR)
			continue;
		ssize_t n = r > 0 ? read(p.fd, line + used, sizeof(line) - 1 - used) : 0;
		if (n <= 0)
			break;
		used += (size_t)n;
		if (line[used - 1] == '\n')
			break;
	}
	line[used] = '\0';
	fd_close(&ready_fds[slot]);
	if (strcmp(line, "ready\n") == 0)
		return true;
	snprintf(vm->error, sizeof(vm->error), "%s", used ? line : "no word from schedrigd");
	vm->error[strcspn(vm->error, "\n")] = '\0';
	return false;
}

bool vm_up(
	struct vm_process *vm, const char *kernel, const char *topology, bool pinned, const char *const *more)
{
	return vm_begin(vm, kernel, topology, pinned, more) && vm_wait_ready(vm);
}

int vm_wait(struct vm_process *vm, unsigned seconds)
{
	unsigned slot = slot_of(vm);
	int status = wait_until(vm->pid, harness_deadline_ns(seconds));
	if (status >= 0) {
		vms[slot] = NULL;
		fd_close(&ready_fds[slot]);
	}
	return status;
}

int vm_down(struct vm_process *vm)
{
	unsigned slot = slot_of(vm);
	kill(vm->pid, SIGTERM);
	int status = vm_wait(vm, 20);
	if (status < 0) {
		kill(vm->pid, SIGKILL);
		waitpid(vm->pid, NULL, 0);
		vms[slot] = NULL;
		fd_close(&ready_fds[slot]);
	}
	return status;
}

void vm_client(struct vm_process *vm, const char *const *args, unsigned seconds, struct run *ret)
{
	const char *argv[64] = {program_path("schedrig"), "-s", vm->socket};
	unsigned n = 3;
	for (; *args && n < 63; args++)
		argv[n++] = *args;
	run_program(argv, seconds, ret);
}

json_t *vm_submit(struct vm_process *vm, const char *yaml, int *ret_exit)
{
	const char *path = scratch_path("scenario.yaml");
	struct err err = ERR_INIT;
	if (fd_replace_file(path, yaml, strlen(yaml), 0644, &err) < 0) {
		tap_fail(__FILE__, __LINE__, "%s", err.message);
		return NULL;
	}
	_cleanup_run_ struct run run;
	/* What an earlier client left may still be on its way out. */
	vm_client(vm, (const char *const[]){"--json", "submit", "--queue", path, NULL}, 120, &run);
	*ret_exit = run.status;
	json_error_t error;
	json_t *result = json_loads(strbuf_str(&run.out), 0, &error);
	if (!result)
		tap_fail(__FILE__, __LINE__, "schedrig submit (exit %d) printed no JSON: %s; stderr: %s",
			run.status, error.text, strbuf_str(&run.err));
	return result;
}

json_t *vm_submit_for(struct vm_process *vm, const char *yaml, int want_exit)
{
	int status;
	json_t *result = vm_submit(vm, yaml, &status);
	if (!result || status == want_exit)
		return result;
	char *text = json_dumps(json_at(result, "verdict"), JSON_INDENT(1));
	tap_fail(__FILE__, __LINE__, "schedrig submit exited %d, not %d: %s", status, want_exit,
		text ? text : "");
	free(text);
	json_decref(result);
	return NULL;
}

void vm_submit_file(struct vm_process *vm, const char *name, int want_exit)
{
	char path[512];
	const char *tree = getenv("SCHEDRIG_TREE");
	snprintf(path, sizeof(path), "%s/tests/scenarios/%s", tree ? tree : ".", name);
	_cleanup_run_ struct run run;
	vm_client(vm, (const char *const[]){"submit", path, NULL}, 120, &run);
	if (run.status != want_exit)
		tap_fail(__FILE__, __LINE__, "%s: exit %d, not %d\n%s%s", name, run.status, want_exit,
			strbuf_str(&run.out), strbuf_str(&run.err));
}

bool vm_main_begin(
	struct vm_process *vm, const char *kernel, const char *topology, bool pinned, const char *const *more)
{
	if (vm_up(vm, kernel, topology, pinned, more))
		return true;
	printf("Bail out! the VM did not come up: %s\nnot ok 1 - boot\n", vm->error);
	n_failed++;
	return false;
}

int vm_main_end(struct vm_process *vm, bool up)
{
	int status = up ? vm_down(vm) : 0;
	if (status != 0) {
		printf("not ok 1000 - shut down in order: exit status %d\n", status);
		n_failed++;
	}
	harness_end();
	return tap_end();
}

int vm_test_main(struct vm_process *vm, int argc, char **argv, const char *topology, const char *const *more,
	const struct test *tests)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s KERNEL\n", argv[0]);
		return 64;
	}
	harness_begin(argc, argv);
	bool up = vm_main_begin(vm, argv[1], topology, true, more);
	for (; up && tests->name; tests++)
		tap_run(tests->name, tests->fn);
	return vm_main_end(vm, up);
}

/* --- JSON
 * ---------------------------------------------------------------------------------------------------------------
 */

json_t *json_at(json_t *root, const char *path)
{
	while (root && *path) {
		char key[128];
		size_t n = strcspn(path, ".[");
		if (n) {
			snprintf(key, sizeof(key), "%.*s", (int)MIN_OF(n, sizeof(key) - 1), path);
			root = json_object_get(root, key);
			path += n;
		} else if (*path == '[') {
			char *end;
			root = json_array_get(root, strtoul(path + 1, &end, 10));
			path = *end == ']' ? end + 1 : end;
		} else {
			path++;
		}
	}
	return root;
}

const char *json_text(json_t *root, const char *path)
{
	const char *text = json_string_value(json_at(root, path));
	return text ? text : "";
}

json_int_t json_number(json_t *root, const char *path)
{
	json_t *at = json_at(root, path);
	return json_is_integer(at) ? json_integer_value(at) : -1;
}

long long json_count(json_t *root, const char *path)
{
	json_t *value = json_at(root, path);
	const char *text = json_string_value(value);
	if (!text)
		return json_integer_value(value);
	return *text == '-' ? strtoll(text, NULL, 0) : (long long)strtoull(text, NULL, 0);
}

/* The first in a list whose member has this text. */
static json_t *find_by(json_t *list, const char *member, const char *text)
{
	size_t i;
	json_t *item;
	json_array_foreach(list, i, item)
	{
		if (strcmp(json_text(item, member), text) == 0)
			return item;
	}
	return NULL;
}

json_t *json_op(json_t *result, const char *place)
{
	return find_by(json_object_get(result, "ops"), "place", place);
}

json_t *json_worker(json_t *result, const char *comm)
{
	return find_by(json_object_get(result, "workers"), "comm", comm);
}

void json_release(json_t **json)
{
	json_decref(*json);
}
