/* SPDX-License-Identifier: GPL-2.0-only */
/* Files of the VM and the list of staged names (see files.h, engine.h). */
#include "host/engine/files.h"

#include "common/clock.h"
#include "common/fd.h"
#include "host/engine/validate.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <errno.h>
#include <string.h>

int files_ask(struct engine *engine, const Schedrig__V1__AgentRequest *request,
	Schedrig__V1__AgentResponse **ret, struct err *err)
{
	int r = agent_call(engine, request, FILES_ANSWER_NS, ret, err);
	if (r == 0 && ((*ret)->kind_case != SCHEDRIG__V1__AGENT_RESPONSE__KIND_CHUNK || !(*ret)->chunk))
		r = err_set(err, ERR_INTERNAL, "the agent's answer does not fit the request");
	return r;
}

static int pull_chunk(struct engine *engine, const char *path, uint64_t offset,
	Schedrig__V1__AgentResponse **ret, struct err *err)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__PullFile pull = SCHEDRIG__V1__PULL_FILE__INIT;
	pull.path = (char *)path;
	pull.offset = offset;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_PULL_FILE;
	request.pull_file = &pull;
	return files_ask(engine, &request, ret, err);
}

int files_pull_to(struct engine *engine, const char *path, int fd, uint64_t max_bytes, uint64_t *ret_bytes,
	struct err *err)
{
	uint64_t identity = 0;
	for (*ret_bytes = 0;;) {
		_cleanup_(pb_free_p) Schedrig__V1__AgentResponse *response = NULL;
		int r = pull_chunk(engine, path, *ret_bytes, &response, err);
		if (r < 0)
			return r;
		const Schedrig__V1__FileChunk *chunk = response->chunk;
		if (*ret_bytes && chunk->identity != identity)
			return err_set(err, ERR_BUSY, "%.200s was changed while it was copied", path);
		identity = chunk->identity;
		if (!range_fits(*ret_bytes, chunk->data.len, max_bytes))
			return err_set(err, ERR_LIMIT_EXCEEDED,
				"%.200s is longer than %llu bytes: the rest was not copied", path,
				(unsigned long long)max_bytes);
		r = fd_write_all(fd, chunk->data.data, chunk->data.len);
		if (r < 0)
			return err_set_os(err, ERR_HOST, -r, "cannot write the copy of %.200s", path);
		*ret_bytes += chunk->data.len;
		if (chunk->data.len < WIRE_CHUNK_BYTES)
			return 0;
	}
}

/* --- requests of clients --- */

int engine_pull(struct engine *engine, const Schedrig__V1__PullRequest *request,
	Schedrig__V1__PullResponse **ret, struct err *err)
{
	_cleanup_(pb_free_p) Schedrig__V1__AgentResponse *response = NULL;
	int r = pull_chunk(engine, request->path, request->offset, &response, err);
	if (r < 0)
		return r;
	Schedrig__V1__PullResponse *answer = malloc(sizeof(*answer));
	if (!answer)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot answer");
	schedrig__v1__pull_response__init(answer);
	Schedrig__V1__FileChunk *chunk = response->chunk;
	answer->data = chunk->data; /* handed over */
	chunk->data = (ProtobufCBinaryData){0};
	answer->size = chunk->size;
	answer->identity = chunk->identity;
	answer->mode = chunk->mode;
	*ret = answer;
	return 0;
}

char **files_copy_names(const char *const *names)
{
	size_t n = 0, bytes = 0;
	for (; names && names[n]; n++)
		bytes += strlen(names[n]) + 1;
	char **copy = malloc((n + 1) * sizeof(*copy) + bytes);
	char *at = copy ? (char *)(copy + n + 1) : NULL;
	for (size_t i = 0; copy && i < n; i++) {
		copy[i] = at;
		at = stpcpy(at, names[i]) + 1;
	}
	if (copy)
		copy[n] = NULL;
	return copy;
}

char **engine_staged(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	return engine->staged ? files_copy_names((const char *const *)engine->staged) : NULL;
}

/* A name that was there already stays where it is in the list. */
static int add_staged(struct engine *engine, const char *name, struct err *err)
{
	SCOPE_LOCK(&engine->lock);
	size_t n = 0;
	if (!engine->staged)
		return 0; /* names are not checked */
	for (; engine->staged[n]; n++)
		if (strcmp(engine->staged[n], name) == 0)
			return 0;
	_cleanup_free_ const char **more = calloc(n + 2, sizeof(*more));
	if (!more)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot remember what is staged");
	for (size_t i = 0; i < n; i++)
		more[i] = engine->staged[i];
	more[n] = name;
	char **copy = files_copy_names(more);
	if (!copy)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot remember what is staged");
	free(engine->staged);
	engine->staged = copy;
	return 0;
}

int engine_push(struct engine *engine, const Schedrig__V1__PushRequest *request, struct err *err)
{
	Schedrig__V1__AgentRequest ask = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__PushFile push = SCHEDRIG__V1__PUSH_FILE__INIT;
	_cleanup_(pb_free_p) Schedrig__V1__AgentResponse *response = NULL;
	if (request->data.len > WIRE_CHUNK_BYTES)
		return err_set(err, ERR_LIMIT_EXCEEDED, "a chunk of %zu bytes: at most %u are possible",
			request->data.len, WIRE_CHUNK_BYTES);
	push.name = request->name;
	push.mode = request->mode;
	push.offset = request->offset;
	push.data = request->data;
	push.last = request->last;
	push.link = request->link;
	push.keep = request->keep;
	push.size = request->size;
	ask.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_PUSH_FILE;
	ask.push_file = &push;
	int r = agent_call(engine, &ask, FILES_ANSWER_NS, &response, err);
	if (r == 0 && request->last && *request->name != '/' && !*request->link)
		r = add_staged(engine, request->name, err);
	return r;
}

/* --- knobs --- */

int engine_set_cgroup_knobs(struct engine *engine, const Schedrig__V1__SetCgroupKnobsRequest *request,
	Schedrig__V1__SetCgroupKnobsResponse **ret, struct err *err)
{
	Schedrig__V1__AgentRequest ask = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__SetKnobs set = SCHEDRIG__V1__SET_KNOBS__INIT;
	_cleanup_(pb_free_p) Schedrig__V1__AgentResponse *response = NULL;
	if (!request->cpu && !request->memory && !request->pids && !request->io)
		return err_set(err, ERR_INVALID_ARGUMENT, "no knob is given: one of cpu, memory, io, pids");
	int r = check_knobs_request(request, err);
	if (r < 0)
		return r;
	set.cgroup = request->cgroup;
	set.cpu = request->cpu;
	set.memory = request->memory;
	set.pids = request->pids;
	set.io = request->io;
	ask.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_SET_KNOBS;
	ask.set_knobs = &set;
	/* Reclaiming for a lower limit takes its time. */
	r = agent_call(engine, &ask, 60 * NS_PER_S, &response, err);
	if (r < 0)
		return r;
	if (response->kind_case != SCHEDRIG__V1__AGENT_RESPONSE__KIND_KNOBS_SET || !response->knobs_set)
		return err_set(err, ERR_INTERNAL, "the agent's answer does not fit the request");
	Schedrig__V1__SetCgroupKnobsResponse *answer = malloc(sizeof(*answer));
	if (!answer)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot answer");
	schedrig__v1__set_cgroup_knobs_response__init(answer);
	Schedrig__V1__KnobsSet *done = response->knobs_set;
	answer->notes = done->notes;
	answer->n_notes = done->n_notes;
	answer->values = done->values;
	answer->n_values = done->n_values;
	done->notes = NULL; /* handed over */
	done->n_notes = 0;
	done->values = NULL;
	done->n_values = 0;
	*ret = answer;
	return 0;
}

int engine_list_staged(struct engine *engine, const Schedrig__V1__ListStagedRequest *request,
	Schedrig__V1__ListStagedResponse **ret, struct err *err)
{
	_cleanup_free_ char **names = engine_staged(engine);
	Schedrig__V1__ListStagedResponse *answer = malloc(sizeof(*answer));
	size_t n = 0;
	while (names && names[n])
		n++;
	char **list = calloc(n + 1, sizeof(*list));
	if (!answer || !list) {
		free(answer);
		free(list);
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot list what is staged");
	}
	schedrig__v1__list_staged_response__init(answer);
	answer->names = list;
	for (size_t i = 0; i < n; i++)
		if ((list[answer->n_names] = strdup(names[i])))
			answer->n_names++;
	*ret = answer;
	return 0;
}
