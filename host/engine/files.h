/* SPDX-License-Identifier: GPL-2.0-only */
/* Files of the VM, through the agent, and the list of what is staged. Any thread but the loop's. */
#ifndef HOST_ENGINE_FILES_H
#define HOST_ENGINE_FILES_H

#include "common/clock.h"
#include "host/engine/engine_internal.h"

#define FILES_ANSWER_NS (10 * NS_PER_S)

/* A request that is answered with a chunk. *ret is the caller's: pb_free() it, also on failure. */
int files_ask(struct engine *engine, const Schedrig__V1__AgentRequest *request,
	Schedrig__V1__AgentResponse **ret, struct err *err) must_check;
/* Copies a file of the VM to fd. ret_bytes: how much was written, on failure too. ERR_LIMIT_EXCEEDED beyond
 * max_bytes, ERR_BUSY when it was replaced meanwhile, ERR_HOST. */
int files_pull_to(struct engine *engine, const char *path, int fd, uint64_t max_bytes, uint64_t *ret_bytes,
	struct err *err) must_check;

/* A copy of a list of names, NULL-terminated, in one block of heap memory; NULL when out of memory. */
char **files_copy_names(const char *const *names);

#endif
