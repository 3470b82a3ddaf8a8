/* SPDX-License-Identifier: GPL-2.0-only */
/* Requests beside the scenario: files, kept output of payloads, knobs. A lane of their own, so that neither a
 * payload that is waited for nor a limit that is being reclaimed for holds up the others. */
#include "common/clock.h"
#include "guest/agent/state.h"
#include "guest/files/files.h"

#include <errno.h>
#include <string.h>

static int set_knobs(const PB(AgentRequest) * request, struct agent *agent, struct arena *arena,
	PB(AgentResponse) * response, struct err *err)
{
	PB(KnobsSet) *set = PB_NEW(arena, KnobsSet, knobs_set);
	uint64_t deadline_ns = request->deadline ? clock_deadline_ns(request->deadline->ns) : CLOCK_NEVER_NS;
	if (!set)
		return err_set(err, ERR_LIMIT_EXCEEDED, "the request is too large");
	int r = ops_set_knobs(agent->scene, request->set_knobs, deadline_ns, arena, set, err);
	response->kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_KNOBS_SET;
	response->knobs_set = set;
	return r;
}

static PB(FileChunk) * new_chunk(struct arena *arena, PB(AgentResponse) * response, struct err *err)
{
	PB(FileChunk) *chunk = PB_NEW(arena, FileChunk, file_chunk);
	uint8_t *bytes = arena_alloc(arena, FILES_CHUNK_BYTES);
	if (!chunk || !bytes) {
		err_set(err, ERR_LIMIT_EXCEEDED, "the request is too large");
		return NULL;
	}
	chunk->data.data = bytes;
	response->kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_CHUNK;
	response->chunk = chunk;
	return chunk;
}

static int fetch_output(const PB(FetchOutput) * fetch, struct agent *agent, struct arena *arena,
	PB(AgentResponse) * response, struct err *err)
{
	PB(FileChunk) *chunk = new_chunk(arena, response, err);
	if (!chunk)
		return err_errno(ERR_LIMIT_EXCEEDED);
	return scene_read_output(agent->scene, fetch->id, fetch->errors, fetch->offset, chunk->data.data,
		FILES_CHUNK_BYTES, &chunk->data.len, &chunk->size, err);
}

static int push_file(const PB(PushFile) * push, struct agent *agent, struct err *err)
{
	const struct files_push plain = {
		.staged = agent->config.staged,
		.name = push->name,
		.mode = push->mode,
		.offset = push->offset,
		.data = push->data.data,
		.length = push->data.len,
		.last = push->last,
		.link = push->link,
		.keep = push->keep,
		.size = push->size,
	};
	return files_push(&plain, err);
}

static int pull_file(const PB(PullFile) * pull, struct agent *agent, struct arena *arena,
	PB(AgentResponse) * response, struct err *err)
{
	PB(FileChunk) *chunk = new_chunk(arena, response, err);
	struct files_chunk plain;
	if (!chunk)
		return err_errno(ERR_LIMIT_EXCEEDED);
	int r = files_pull(agent->config.staged, pull->path, pull->offset, chunk->data.data,
		FILES_CHUNK_BYTES, &plain, err);
	if (r < 0)
		return r;
	chunk->data.len = plain.length;
	chunk->size = plain.size;
	chunk->identity = plain.identity;
	chunk->mode = plain.mode;
	return 0;
}

int side_serve(struct agent *agent, const PB(AgentRequest) * request, struct arena *arena,
	PB(AgentResponse) * response, struct err *err)
{
	PB(Empty) *empty = PB_NEW(arena, Empty, empty);
	response->kind_case = SCHEDRIG__V1__AGENT_RESPONSE__KIND_OK;
	response->ok = empty;
	if (!empty)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "the request cannot be served");
	switch (request->kind_case) {
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_SET_KNOBS:
		return set_knobs(request, agent, arena, response, err);
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_FETCH_OUTPUT:
		return fetch_output(request->fetch_output, agent, arena, response, err);
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_RELEASE_OUTPUT:
		scene_release_output(agent->scene, request->release_output->id);
		return 0;
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_PUSH_FILE:
		return push_file(request->push_file, agent, err);
	case SCHEDRIG__V1__AGENT_REQUEST__KIND_PULL_FILE:
		return pull_file(request->pull_file, agent, arena, response, err);
	default:
		return err_set(err, ERR_UNSUPPORTED, "the agent does not know this request");
	}
}
