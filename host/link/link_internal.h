/* SPDX-License-Identifier: GPL-2.0-only */
/* Inside of host/link. Fields say who touches them: [loop] the loop's thread, [lock] any thread under the
 * lock, [const] nobody after link_new(). */
#ifndef HOST_LINK_LINK_INTERNAL_H
#define HOST_LINK_LINK_INTERNAL_H

#include "common/conn.h"
#include "host/link/link.h"

/* Calls in flight; one more is ERR_BUSY. */
#define LINK_CALLS_MAX 64
/* What may wait to be sent to an agent that does not read. */
#define LINK_QUEUE_BYTES (8u * 1024 * 1024)

/* One request in flight; lives on its caller's stack, in the list while it waits. */
struct link_call {
	uint64_t seq;
	bool done;
	struct err err;                        /* done without an answer: why */
	Schedrig__V1__AgentResponse *response; /* done with one */
	uint8_t *part;                         /* of a long answer so far */
	size_t part_bytes;
	struct link_call *next;
};

struct link {
	struct link_config config; /* [const] but for speed_percent [loop] */
	struct conn *conn;         /* [loop] */
	bool greeted;              /* [loop] the agent's Hello has come */
	struct err refusal;        /* [loop] code set: the connection is about to be dropped for this */

	pthread_mutex_t lock;
	pthread_cond_t changed;                  /* a call is done */
	bool ready;                              /* [lock] */
	uint64_t next_seq;                       /* [lock] */
	unsigned n_calls;                        /* [lock] */
	size_t part_bytes;                       /* [lock] sum over calls */
	struct link_call *calls;                 /* [lock] */
	struct err cancelled;                    /* [lock] code set: every call fails so */
	Schedrig__V1__AgentHello *hello;         /* [lock] */
	Schedrig__V1__AgentReady *ready_message; /* [lock] */
	bool has_page;                           /* [lock] */
	gpa_t page;                              /* [lock] */
};

/* receive.c, loop thread */
extern const struct conn_ops link_conn_ops;
/* Ends the connection for a reason and tells the owner. */
void link_drop(struct link *link, const struct err *why);

/* link.c, with the lock held: marks calls done; NULL ends all of them. */
void link_end_calls(struct link *link, const struct err *why);
struct link_call *link_find_call(struct link *link, uint64_t seq);
/* Packs and sends on the connection. */
int link_send_message(struct link *link, uint16_t type, uint64_t seq, const ProtobufCMessage *message,
	struct err *err) must_check;

#endif
