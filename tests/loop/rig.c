/* SPDX-License-Identifier: GPL-2.0-only */
/* Engine and agent together (see rig.h). */
#include "rig.h"

#include "common/fd.h"
#include "host/text/text.h"
#include "proto/pb.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void on_event(const PB(Event) * event, void *arg)
{
	struct rig *rig = arg;
	if (event->kind_case == SCHEDRIG__V1__EVENT__KIND_STEP_START && rig->on_step)
		rig->on_step(rig);
}

static void stage(struct rig *rig, const char *name)
{
	char from[64], to[128];
	snprintf(from, sizeof(from), "/bin/%s", name);
	snprintf(to, sizeof(to), "%s/%s", rig->staged_dir, name);
	cr_assert_eq(symlink(from, to), 0);
}

int rig_start_agent(struct rig *rig)
{
	int fds[2];
	char number[16];
	const char *agent = rig->agent ? rig->agent : getenv("SCHEDRIG_AGENT");
	cr_assert_not_null(agent, "SCHEDRIG_AGENT names the agent's program");
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	snprintf(number, sizeof(number), "%d", fds[1]);
	rig->peer.pid = fork();
	if (rig->peer.pid == 0) {
		fcntl(fds[1], F_SETFD, 0);
		execl(agent, agent, "--fd", number, "--cgroup", rig->peer.cgroup, "--staged", rig->staged_dir,
			"--no-vm", NULL);
		_exit(127);
	}
	close(fds[1]);
	return fds[0];
}

void rig_start(struct rig *rig)
{
	static const char *const staged[] = {"true", "false", "sleep", "sh", NULL};
	const char *why = peer_scratch(&rig->peer);
	if (why)
		cr_skip_test("%s", why);
	strcpy(rig->staged_dir, "/tmp/schedrig-staged-XXXXXX");
	cr_assert_not_null(mkdtemp(rig->staged_dir));
	for (int i = 0; staged[i]; i++)
		stage(rig, staged[i]);
	int fd = rig_start_agent(rig);
	cpu_set_t cpus;
	cr_assert_eq(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	link_bench_start(&rig->bench, (unsigned)CPU_COUNT(&cpus));
	/* Tests share their machine: the agent has patience with whoever stops. */
	link_bench_set_speed(&rig->bench, 10);
	link_bench_accept(&rig->bench, fd);
	cr_assert(link_bench_wait(&rig->bench, 1, 0), "the agent did not get ready");
	cr_assert_eq(rig->bench.ready_err.code, ERR_NONE, "%s", rig->bench.ready_err.message);
	PB(AgentHello) *hello = link_agent_hello(rig->bench.link);
	for (size_t i = 0; i < hello->n_controllers; i++) {
		rig->cpuset |= !strcmp(hello->controllers[i], "cpuset");
		rig->cpu |= !strcmp(hello->controllers[i], "cpu");
		rig->pids |= !strcmp(hello->controllers[i], "pids");
	}
	pb_free(hello);
	struct engine_config config = {.layout = &rig->bench.layout,
		.link = rig->bench.link,
		.staged = staged,
		.run_dir = rig->run_dir,
		.event = on_event,
		.arg = rig};
	rig->engine = engine_new(&config, NULL);
	cr_assert_not_null(rig->engine);
}

void rig_stop(struct rig *rig)
{
	int status;
	engine_free(rig->engine);
	link_bench_stop(&rig->bench);
	cr_assert_eq(waitpid(rig->peer.pid, &status, 0), rig->peer.pid);
	DIR *dir = opendir(rig->staged_dir);
	for (struct dirent *e; (e = readdir(dir));)
		unlinkat(dirfd(dir), e->d_name, 0);
	closedir(dir);
	rmdir(rig->staged_dir);
}

/* What the agent leaves when it ends in order. */
void rig_stop_clean(struct rig *rig)
{
	rig_stop(rig);
	cr_assert_eq(rmdir(rig->peer.cgroup), 0, "the agent left cgroups in %s: %s", rig->peer.cgroup,
		strerror(errno));
}

PB(Scenario) * rig_scenario(const char *text)
{
	static struct text_errors errors;
	ProtobufCMessage *message = NULL;
	int r = text_load(&schedrig__v1__scenario__descriptor, text, strlen(text), &message, NULL, &errors);
	cr_assert_eq(r, 0, "%s\n%u:%u %s", text, errors.error[0].line, errors.error[0].column,
		errors.error[0].err.message);
	return (PB(Scenario) *)message;
}

PB(RunResult) * rig_run(struct rig *rig, const char *text)
{
	PB(Scenario) *s = rig_scenario(text);
	PB(RunResult) *result = NULL;
	struct err err = ERR_INIT;
	cr_assert_eq(engine_run(rig->engine, s, &result, &err), 0, "%s: %s", err.place, err.message);
	pb_free(s);
	return result;
}

PB(RunResult) * rig_run_for(struct rig *rig, PB(VerdictKind) verdict, const char *text)
{
	PB(RunResult) *result = rig_run(rig, text);
	cr_assert_eq(result->verdict->verdict, verdict, "%s", result->verdict->summary);
	return result;
}

PB(RunResult) * rig_alone(PB(VerdictKind) verdict, const char *text)
{
	struct rig rig = {0};
	rig_start(&rig);
	PB(RunResult) *result = rig_run_for(&rig, verdict, text);
	rig_stop_clean(&rig);
	return result;
}

const PB(VerdictPart) * rig_part(const PB(RunResult) * result, const char *kind)
{
	for (size_t i = 0; i < result->verdict->n_parts; i++)
		if (strcmp(result->verdict->parts[i]->kind, kind) == 0)
			return result->verdict->parts[i];
	cr_assert_fail("no %s in the verdict (%s)", kind, result->verdict->summary);
	abort();
}
