/* SPDX-License-Identifier: GPL-2.0-only */
/* The agent's other end (see agent_peer.h). */
#include "agent_peer.h"

#include "common/clock.h"
#include "common/frame.h"
#include "common/scope.h"
#include "guest/cgroup/cgroup.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A test that is killed (its time limit) leaves its directory, with whatever the agent had no time to remove.
 * Ends when the directory is gone. */
static void watch_over(const char *cgroup, int end_fd)
{
	char byte, *name = strrchr(cgroup, '/'), parent[256];
	struct err err = ERR_INIT;
	/* The runner waits for the end of every descriptor that it gave its tests. */
	dup2(end_fd, 3);
	syscall(SYS_close_range, 4, ~0u, 0);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	setsid();
	while (read(3, &byte, 1) < 0 && errno == EINTR)
		;
	snprintf(parent, sizeof(parent), "%.*s", (int)(name - cgroup), cgroup);
	int dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)!cg_remove(dir, name + 1, -1, clock_deadline_ns(60 * NS_PER_S), NULL, &err);
	_exit(0);
}

static bool start_janitor(struct peer *peer)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return false;
	peer->janitor = fork();
	if (peer->janitor == 0) {
		close(fds[1]);
		watch_over(peer->cgroup, fds[0]);
	}
	close(fds[0]);
	peer->alive_fd = fds[1];
	return peer->janitor > 0;
}

const char *peer_scratch(struct peer *peer)
{
	static char why[512];
	FILE *mounts = setmntent("/proc/self/mounts", "r");
	struct mntent *entry;
	char where[200] = "";
	*peer = (struct peer){.pid = -1, .fd = -1, .alive_fd = -1};
	if (geteuid() != 0)
		return "needs root";
	while (mounts && (entry = getmntent(mounts)))
		if (!strcmp(entry->mnt_type, "cgroup2"))
			snprintf(where, sizeof(where), "%s", entry->mnt_dir);
	if (mounts)
		endmntent(mounts);
	if (!where[0])
		return "no cgroup v2 file system is mounted";
	snprintf(peer->cgroup, sizeof(peer->cgroup), "%s/schedrig-test-%d", where, getpid());
	if (mkdir(peer->cgroup, 0755) == 0)
		return start_janitor(peer) ? NULL : "cannot start the process that cleans up";
	snprintf(why, sizeof(why), "cannot make %s: %s", peer->cgroup, strerror(errno));
	return why;
}

static void write_all(int fd, const void *bytes, size_t length)
{
	for (size_t at = 0; at < length;) {
		ssize_t n = write(fd, (const char *)bytes + at, length - at);
		cr_assert_gt(n, 0, "write: %s", strerror(errno));
		at += (size_t)n;
	}
}

static void read_all(int fd, void *bytes, size_t length)
{
	for (size_t at = 0; at < length;) {
		ssize_t n = read(fd, (char *)bytes + at, length - at);
		cr_assert_gt(n, 0, "the agent ended the link");
		at += (size_t)n;
	}
}

static void send_message(struct peer *peer, uint16_t type, uint64_t seq, const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	uint8_t header[FRAME_HEADER_BYTES], *bytes = malloc(length + 1);
	protobuf_c_message_pack(message, bytes);
	struct frame_header frame = {.length = (uint32_t)length, .type = type, .seq = seq};
	frame_encode(&frame, header);
	write_all(peer->fd, header, sizeof(header));
	write_all(peer->fd, bytes, length);
	free(bytes);
}

/* The next whole message that is no event. */
static struct frame_header receive_message(struct peer *peer, uint8_t **ret_bytes, size_t *ret_length)
{
	uint8_t *all = NULL;
	size_t length = 0;
	for (;;) {
		uint8_t bytes[FRAME_HEADER_BYTES];
		read_all(peer->fd, bytes, sizeof(bytes));
		struct frame_header header = frame_decode(bytes);
		cr_assert_leq(header.length, FRAME_MAX_BYTES);
		all = realloc(all, length + header.length + 1);
		read_all(peer->fd, all + length, header.length);
		if (header.type == WIRE_EVENT) {
			peer->events++;
			continue;
		}
		length += header.length;
		if (header.type == WIRE_PART)
			continue;
		*ret_bytes = all;
		*ret_length = length;
		return header;
	}
}

void peer_greet(struct peer *peer, unsigned n_cpus)
{
	uint8_t *bytes;
	size_t length;
	struct frame_header header = receive_message(peer, &bytes, &length);
	cr_assert_eq(header.type, WIRE_HELLO);
	PB(AgentHello) *hello = pb_unpack(&schedrig__v1__agent_hello__descriptor, bytes, length);
	cr_assert_not_null(hello);
	cr_assert_eq(hello->hello->major, WIRE_MAJOR);
	cr_assert_str_eq(hello->hello->role, "agent");
	cr_assert(!hello->in_vm);
	pb_free(hello);
	free(bytes);

	PB(ControllerHello) answer = SCHEDRIG__V1__CONTROLLER_HELLO__INIT;
	PB(Hello) ours = SCHEDRIG__V1__HELLO__INIT;
	PB(CpuLayout) layout = SCHEDRIG__V1__CPU_LAYOUT__INIT;
	PB(CpuPlace) places[64], *list[64];
	for (unsigned i = 0; i < n_cpus; i++) {
		places[i] = (PB(CpuPlace))SCHEDRIG__V1__CPU_PLACE__INIT;
		places[i].core = i;
		list[i] = &places[i];
	}
	layout.cpus = list;
	layout.n_cpus = n_cpus;
	layout.nodes = layout.llcs = 1;
	layout.cores = n_cpus;
	ours.major = WIRE_MAJOR;
	answer.hello = &ours;
	answer.layout = &layout;
	answer.speed_percent = peer->speed_percent ? peer->speed_percent : 10;
	send_message(peer, WIRE_HELLO, 0, &answer.base);
	header = receive_message(peer, &bytes, &length);
	cr_assert_eq(header.type, WIRE_READY);
	PB(AgentReady) *ready = pb_unpack(&schedrig__v1__agent_ready__descriptor, bytes, length);
	cr_assert_not_null(ready);
	cr_assert_null(ready->error, "%s", ready->error ? ready->error->message : "");
	pb_free(ready);
	free(bytes);
}

void peer_start(struct peer *peer, const char *agent, const char *staged, unsigned n_cpus)
{
	int fds[2];
	char number[16];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	peer->pid = fork();
	if (peer->pid == 0) {
		fcntl(fds[1], F_SETFD, 0);
		snprintf(number, sizeof(number), "%d", fds[1]);
		execl(agent, agent, "--fd", number, "--cgroup", peer->cgroup, "--staged", staged, "--no-vm",
			NULL);
		_exit(127);
	}
	close(fds[1]);
	peer->fd = fds[0];
	peer_greet(peer, n_cpus);
}

uint64_t peer_send(struct peer *peer, PB(AgentRequest) * request)
{
	send_message(peer, WIRE_REQUEST, ++peer->seq, &request->base);
	return peer->seq;
}

PB(AgentResponse) * peer_receive_any(struct peer *peer, uint64_t *ret_seq)
{
	uint8_t *bytes;
	size_t length;
	struct frame_header header = receive_message(peer, &bytes, &length);
	cr_assert_eq(header.type, WIRE_RESPONSE, "frame type %u", header.type);
	PB(AgentResponse) *response = pb_unpack(&schedrig__v1__agent_response__descriptor, bytes, length);
	cr_assert_not_null(response);
	free(bytes);
	*ret_seq = header.seq;
	return response;
}

PB(AgentResponse) * peer_receive(struct peer *peer, uint64_t seq)
{
	uint64_t got;
	PB(AgentResponse) *response = peer_receive_any(peer, &got);
	cr_assert_eq(got, seq);
	return response;
}

PB(AgentResponse) * peer_call(struct peer *peer, PB(AgentRequest) * request)
{
	return peer_receive(peer, peer_send(peer, request));
}

void peer_begin_scenario(struct peer *peer, PB(Payload) * *payloads, size_t n_payloads)
{
	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(ScenarioBegin) message = INIT_OF(SCENARIO_BEGIN);
	message.name = (char *)"test";
	message.workers_per_cgroup = 1;
	message.strict = true;
	message.payloads = payloads;
	message.n_payloads = n_payloads;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SCENARIO_BEGIN;
	request.scenario_begin = &message;
	PB(AgentResponse) *response = peer_call(peer, &request);
	cr_assert_null(response->error, "%s", response->error ? response->error->message : "");
	pb_free(response);
}

PB(AgentResponse) * peer_end(struct peer *peer, PB(AgentRequest__KindCase) kind)
{
	PB(AgentRequest) request = INIT_OF(AGENT_REQUEST);
	PB(EndStep) step = INIT_OF(END_STEP);
	PB(EndScenario) all = INIT_OF(END_SCENARIO);
	PB(EndAdhoc) adhoc = INIT_OF(END_ADHOC);
	request.kind_case = kind;
	if (kind == SCHEDRIG__V1__AGENT_REQUEST__KIND_END_STEP)
		request.end_step = &step;
	else if (kind == SCHEDRIG__V1__AGENT_REQUEST__KIND_END_SCENARIO)
		request.end_scenario = &all;
	else
		request.end_adhoc = &adhoc;
	PB(AgentResponse) *response = peer_call(peer, &request);
	cr_assert_eq(response->kind_case, SCHEDRIG__V1__AGENT_RESPONSE__KIND_TEARDOWN);
	for (size_t i = 0; i < response->teardown->n_errors; i++)
		cr_assert_fail("%s", response->teardown->errors[i]->message);
	return response;
}

PB(AgentResponse) * peer_sample(struct peer *peer)
{
	PB(AgentRequest) request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	PB(SampleWorkers) message = SCHEDRIG__V1__SAMPLE_WORKERS__INIT;
	message.each = true;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SAMPLE_WORKERS;
	request.sample_workers = &message;
	PB(AgentResponse) *response = peer_call(peer, &request);
	cr_assert_eq(response->kind_case, SCHEDRIG__V1__AGENT_RESPONSE__KIND_TOTALS);
	return response;
}

/* Rounds of the one who has the fewest, or the most. */
static uint64_t extreme_rounds(struct peer *peer, size_t workers, bool most)
{
	PB(AgentResponse) *response = peer_sample(peer);
	const PB(WorkerTotals) *totals = response->totals;
	cr_assert_eq(totals->workers, workers);
	cr_assert_eq(totals->n_each, workers);
	uint64_t found = totals->each[0]->iterations;
	for (size_t i = 1; i < totals->n_each; i++)
		found = most ? MAX_OF(found, totals->each[i]->iterations)
			     : MIN_OF(found, totals->each[i]->iterations);
	pb_free(response);
	return found;
}

void peer_await_rounds(struct peer *peer, size_t workers, uint64_t rounds)
{
	uint64_t deadline_ns = clock_deadline_ns(200 * NS_PER_S);
	while (extreme_rounds(peer, workers, false) < rounds)
		cr_assert(clock_left_ns(deadline_ns), "the workers do not come to run");
}

void peer_await_more(struct peer *peer, size_t workers, uint64_t more)
{
	peer_await_rounds(peer, workers, extreme_rounds(peer, workers, true) + more);
}

int peer_stop(struct peer *peer)
{
	int status = 0;
	close(peer->fd);
	peer->fd = -1;
	cr_assert_eq(waitpid(peer->pid, &status, 0), peer->pid);
	cr_assert_eq(
		rmdir(peer->cgroup), 0, "the agent left cgroups in %s: %s", peer->cgroup, strerror(errno));
	close(peer->alive_fd);
	cr_assert_eq(waitpid(peer->janitor, NULL, 0), peer->janitor);
	return status;
}
