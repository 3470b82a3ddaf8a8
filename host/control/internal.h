/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of this room share. Loop thread unless said otherwise.
 *
 *   session  a client's connection
 *   request  from its frame until its answer is written. A worker's request is the worker's between start and
 *            done; meanwhile the loop touches only the fields marked so.
 *
 *        WAITING --start--> RUNNING --done--> ANSWERING --written--> freed
 *           '-------------- failed at once -----^            EVENTS: STREAMING until its session ends */
#ifndef HOST_CONTROL_INTERNAL_H
#define HOST_CONTROL_INTERNAL_H

#include "common/conn.h"
#include "common/frame.h"
#include "host/control/control.h"
#include "host/control/ring.h"
#include "host/control/socket.h"

#include <event2/util.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct event;
struct freeze;
struct request;

/* What waits to be sent to one client before it counts as slow. At least one whole frame. */
#define SESSION_QUEUE_BYTES (1024u * 1024)
#define SESSION_STREAMS_MAX 8u
/* Packed bytes of a client's requests that are not answered yet; beyond that its socket is not read. Unpacked
 * they may take PB_BUDGET_FACTOR times as much. */
#define SESSION_REQUEST_BYTES (1024u * 1024)

/* What a client has prepared: its session's, and a worker's that uses it. Counted on the loop. */
struct prepared {
	struct engine_prepared *reads;
	unsigned refs;
};

struct session {
	struct session *prev, *next;
	struct control *control;
	struct conn *conn;
	struct event *end_timer; /* a client that does not say Hello in time; last words were sent */
	pid_t pid;               /* of the client */
	bool greeted, ending, paused;
	unsigned n_requests, n_streams;
	size_t request_bytes;      /* packed, of its n_requests */
	struct request *working;   /* its one worker request but Submit; NULL: none */
	struct prepared *prepared; /* NULL: nothing yet */
};

enum request_state { REQUEST_WAITING, REQUEST_RUNNING, REQUEST_ANSWERING, REQUEST_STREAMING };

struct request_kind {
	const char *name;
	bool worker, needs_ready;
	bool needs_running;                   /* cannot be done in a freeze of its client's */
	void (*run)(struct request *request); /* on the loop or on its worker */
};

struct request {
	struct request *prev, *next; /* of control->requests: order of arrival */
	struct control *control;
	struct session *session; /* who gets the answer; NULL: nobody any more */
	struct session *slot;    /* whose `working` it is */
	const struct request_kind *kind;
	uint64_t seq;
	uint32_t length; /* packed bytes */
	enum request_state state;
	Schedrig__V1__Request *message;
	struct event *deadline_timer;
	bool threadless; /* while RUNNING: no thread works for it, or none any more */
	bool is_submit;
	bool streams;              /* events go with it */
	char cancel_why[160];      /* not "": it is to end */
	uint64_t next_event;       /* number of the next one to send */
	uint64_t last_event;       /* the answer comes after this one; UINT64_MAX: not known yet */
	uint64_t lease_ns;         /* of a Freeze, as `frozen`: the worker's, then the loop's */
	struct prepared *prepared; /* of its client, for a worker that needs it */
	struct freeze *frozen;     /* got, and not handed over to the control yet */
	bool slot_holds_freeze;    /* as it starts: its client holds the VM frozen */
	struct freeze *uses;       /* works within this freeze of a client's, which is not ended meanwhile */
	uint64_t uses_until_ns;    /* CLOCK_MONOTONIC: its lease */
	atomic_bool wanted_back;   /* `uses` is to be thawed soon: the loop's, for the worker to look at */
	bool others_freeze;        /* as it starts: another client holds the VM frozen */
	uint8_t *answer;           /* packed Response: the worker's, then the loop's */
	size_t answer_length, answer_sent;
};

struct control {
	struct control_config config;
	struct loop *loop;
	struct tpool *pool; /* of workers */
	struct engine *engine;
	struct control_socket socket;
	struct event *accept_event, *retry_timer, *linger_timer;
	struct event *kick_event; /* something changed: requests to start, answers or events to send */
	struct session *sessions;
	unsigned n_sessions;
	struct request *requests;
	struct request *scenario;    /* the Submit that is running */
	struct freeze *frozen;       /* that a client holds; NULL: none */
	struct session *frozen_by;   /* who takes it along when it goes; NULL: nobody */
	struct request *freeze_user; /* works within `frozen`; NULL: nobody */
	bool thaw_asked;             /* as soon as the user is done */
	struct request *begun;       /* a Freeze whose vCPUs are on their way to park; NULL: none */
	struct event *begun_event,
		*begun_timer;            /* the last has parked; time to look; NULL before the first */
	uint64_t lease_ns, lease_end_ns; /* of `frozen`; the end on CLOCK_MONOTONIC */
	struct event *lease_timer;
	bool ready, stopping, freeing, shutdown_asked;
	unsigned linger_left; /* turns of linger_timer */
	struct err ended;     /* code set: the guest is gone */
	char stop_why[160];
	void (*idle)(void *arg);
	void *idle_arg;
	struct control_ring ring;     /* any thread */
	atomic_bool wake_posted;      /* events wait to be sent (any thread sets, the loop clears) */
	atomic_bool scenario_started; /* an event said so: a cancel that came before it is repeated */
	uint8_t scratch[FRAME_MAX_BYTES];
};

/* session.c */
struct session *session_new(struct control *control, int fd);
void session_free(struct session *session);
/* Ends the session after this callback, so that callers keep a session to speak of; what is queued is sent.
 */
void session_end_soon(struct session *session);
/* Sends what it can: answers first, then events. */
void session_pump(struct session *session);
/* A WIRE_ERROR for a frame that could not be understood. */
void session_send_error(struct session *session, uint64_t seq, const struct err *err);

/* request.c */
const struct request_kind *request_kind_find(unsigned kind_case);
/* A request came in; takes the message over. */
void request_new(struct session *session, const struct frame_header *header, Schedrig__V1__Request *message);
void request_free(struct request *request);
/* Starts, or fails, whatever may start now. */
void request_schedule(struct control *control);
/* The client is gone: what is its own ends, a detached scenario goes on. */
void request_abandon(struct request *request);
void request_cancel(struct request *request, const char *why);
/* Answers on the loop, for requests that are not running. */
void request_fail(struct request *request, const struct err *err);
/* Packs an answer (any thread: the request's own). err NULL or without code: success. */
void request_pack(struct request *request, const struct err *err, Schedrig__V1__Response *response);
void request_answer(struct request *request);
/* request.c: no longer needed; takes NULL. */
void prepared_unref(struct prepared *prepared);
/* A request that was running is done (its thread posts this, if it had one). */
void request_done(void *request);
/* freeze.c: does a Freeze on the loop, without a thread. False: it has to wait for its turn, or is wrong. */
bool control_freeze_begin(struct request *request);
/* freeze.c: takes over what a Freeze got; a client goes away; the end. */
void control_freeze_adopt(struct request *request);
/* Requests within a client's freeze, one at a time: whether it has to wait for another one, its start, its
 * end. */
bool control_freeze_is_busy(const struct request *request);
/* Whether the request needs the guest to run while its client holds the VM frozen. */
bool control_freeze_forbids(const struct request *request, struct err *err);
/* Whether a Thaw comes after requests that its client made before it; whether one that does is in the way. */
bool control_thaw_must_wait(const struct request *request);
bool control_thaw_is_ahead(const struct request *request);
void control_freeze_use(struct request *request);
void control_freeze_release(struct request *request);
void control_freeze_leave(struct control *control, const struct session *session);
void control_freeze_end(struct control *control);
void control_on_lease(evutil_socket_t fd, short what, void *control);
/* control.c: soon, from the loop itself, starts what may start and sends what may be sent. Nobody does it in
 * place, so no list changes under anybody's iteration. */
void control_kick(struct control *control);

#define X(upper, snake, where, when) void request_run_##snake(struct request *request);
#include "host/control/request_list.h"
CONTROL_REQUEST_LIST(X)
#undef X

#endif
