/* SPDX-License-Identifier: GPL-2.0-only */
/* The control socket: clients, their requests, the stream of events.
 *
 * Everything is on the main loop but for what blocks: Validate, Submit, Apply and EndAdhoc run on threads of
 * their own, one at a time for each client, and scenarios one at a time for the controller. Functions belong
 * to the loop's thread unless marked (any thread). */
#ifndef HOST_CONTROL_CONTROL_H
#define HOST_CONTROL_CONTROL_H

#include "common/cpu_layout.h"
#include "common/err.h"
#include "common/scope.h"
#include "schedrig/v1/control.pb-c.h"
#include "schedrig/v1/result.pb-c.h"

struct arena;
struct control;
struct engine;
struct loop;

#define CONTROL_RING_EVENTS_DEFAULT 16384u
#define CONTROL_RING_BYTES_DEFAULT (8u * 1024 * 1024)
#define CONTROL_CLIENTS_MAX 64u
/* Submits that wait for the running one. */
#define CONTROL_QUEUE_MAX 16u
/* Requests of one client that are not answered yet; beyond that, or a mebibyte of them, its socket is not
 * read. */
#define CONTROL_IN_FLIGHT_MAX 64u

/* Everything is borrowed and outlives the control. */
struct control_config {
	struct loop *loop;
	const char *path;                /* of the socket: at most 107 bytes, its directory exists */
	struct engine *engine;           /* may be NULL until control_set_engine() */
	const struct cpu_layout *layout; /* for Validate; may be NULL */
	const char *const *staged;       /* for Validate; names, NULL-terminated; NULL: not checked */
	const char *build;               /* told in Hello */
	/* Fills `ret` (initialised; `build` and `clients` are filled in already). Strings and arrays come
	 * from the arena, or live as long as the control. Called on the loop: must not block. */
	void (*info)(struct arena *arena, Schedrig__V1__Info *ret, void *arg);
	/* A client asked for the end of the VM. Called once, on the loop. It has its answer; when the process
	 * is gone it sees that by the end of its connection. */
	void (*shutdown)(void *arg);
	void *arg; /* of info() and shutdown() */
	/* Bounds of what events are kept for replay and slow readers; 0: the defaults above. */
	unsigned ring_events;
	size_t ring_bytes;
};

/* Creates the socket (mode 0600) and listens. A socket that nobody listens on any more is replaced; one that
 * is in use is ERR_BUSY "another controller (pid N) is using ..."; a path that is something else is
 * ERR_ALREADY_EXISTS and stays untouched. The process ignores SIGPIPE from now on. */
struct control *control_new(const struct control_config *config, struct err *err) must_check;
/* Closes every connection and removes the socket. Waits for threads that still run: control_stop() first, or
 * see to it that the engine's calls end (engine_guest_lost()) without the loop's help. */
void control_free(struct control *control);
SCOPE_GUARD(struct control *, control_free, control_free)

/* The engine is there, and what Validate checks against (each may be NULL, see control_config). Before the
 * loop runs and before control_set_ready(). */
void control_set_engine(struct control *control, struct engine *engine, const struct cpu_layout *layout,
	const char *const *staged);
/* Submit, Apply and EndAdhoc wait from control_new() until this. */
void control_set_ready(struct control *control);
/* The guest is gone: Submit, Apply and EndAdhoc, waiting ones included, fail with this from now on. What runs
 * is the engine's to end (engine_guest_lost()). */
void control_set_ended(struct control *control, const struct err *why);

/* (any thread) Keeps the event for replay and sends it to those who listen. Events come in order of `seq`,
 * one call at a time. Never blocks on clients. control may be NULL. */
void control_event(struct control *control, const Schedrig__V1__Event *event);

/* Cancels what runs and what waits, refuses what comes, and calls idle(arg) on the loop when no request is in
 * work any more and answers are written (at most a second is given to clients that do not read). Once. */
void control_stop(struct control *control, const char *why, void (*idle)(void *arg), void *arg);

#endif
