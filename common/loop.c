/* SPDX-License-Identifier: GPL-2.0-only */
/* Main loop and post queue (see loop.h). The queue and `stopped` are under `lock`; the rest is the loop
 * thread's. */
#include "common/loop.h"

#include "common/fd.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <pthread.h>
#include <sys/eventfd.h>

struct post {
	struct post *next;
	const void *owner;
	loop_fn fn;
	void *arg;
};

/* A loop_call() in flight; lives on the caller's stack. */
struct call {
	struct loop *loop;
	loop_fn fn;
	void *arg;
	enum { CALL_QUEUED, CALL_RUNNING, CALL_DONE, CALL_CANCELLED } state; /* under loop->lock */
};

struct loop {
	struct event_base *base;
	struct event *wake_event;
	int wake_fd;
	pthread_mutex_t lock;
	pthread_cond_t call_done;
	struct post *head, **tail; /* under lock */
	bool stopped;              /* under lock */
	bool running;              /* under lock */
	pthread_t thread;          /* under lock, valid while running */
};

static struct post *queue_take(struct loop *loop, const void *owner, bool all)
{
	struct post *taken = NULL, **end = &taken;
	SCOPE_LOCK(&loop->lock);
	for (struct post **at = &loop->head; *at;) {
		struct post *p = *at;
		if (!all && p->owner != owner) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		p->next = NULL;
		*end = p;
		end = &p->next;
	}
	loop->tail = &loop->head;
	while (*loop->tail)
		loop->tail = &(*loop->tail)->next;
	return taken;
}

static struct post *queue_pop(struct loop *loop)
{
	SCOPE_LOCK(&loop->lock);
	struct post *p = loop->head;
	if (p) {
		loop->head = p->next;
		if (!loop->head)
			loop->tail = &loop->head;
	}
	return p;
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct loop *loop = arg;
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));
	(void)n;
	/* One at a time: a callback may drain entries behind it. */
	for (struct post *p; (p = queue_pop(loop));) {
		p->fn(p->arg);
		free(p);
	}
}

struct loop *loop_new(struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, (void (*)(void))evthread_use_pthreads);
	struct loop *loop = calloc(1, sizeof(*loop));
	if (!loop) {
		err_set_os(err, ERR_HOST, ENOMEM, "cannot create the main loop");
		return NULL;
	}
	loop->tail = &loop->head;
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->call_done, NULL);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->base = event_base_new();
	if (loop->base && loop->wake_fd >= 0)
		loop->wake_event = event_new(loop->base, loop->wake_fd, EV_READ | EV_PERSIST, on_wake, loop);
	if (!loop->wake_event || event_add(loop->wake_event, NULL) < 0) {
		err_set_os(err, ERR_HOST, errno ? errno : ENOMEM, "cannot create the main loop");
		loop_free(loop);
		return NULL;
	}
	return loop;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	for (struct post *p = queue_take(loop, NULL, true), *next; p; p = next) {
		next = p->next;
		free(p);
	}
	if (loop->wake_event)
		event_free(loop->wake_event);
	if (loop->base)
		event_base_free(loop->base);
	fd_close(&loop->wake_fd);
	pthread_cond_destroy(&loop->call_done);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

struct event_base *loop_base(struct loop *loop)
{
	return loop->base;
}

static void wake(struct loop *loop)
{
	uint64_t one = 1;
	ssize_t n = write(loop->wake_fd, &one, sizeof(one));
	(void)n; /* EAGAIN means that it is awake anyway */
}

void loop_run(struct loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->thread = pthread_self();
	loop->running = true;
	bool stopped = loop->stopped;
	pthread_mutex_unlock(&loop->lock);
	while (!stopped) {
		if (event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY) < 0)
			break;
		stopped = loop_stopped(loop);
	}
	SCOPE_LOCK(&loop->lock);
	loop->stopped = true;
	loop->running = false;
	pthread_cond_broadcast(&loop->call_done);
}

void loop_stop(struct loop *loop)
{
	SCOPE_LOCK(&loop->lock);
	loop->stopped = true;
	pthread_cond_broadcast(&loop->call_done);
	wake(loop);
}

bool loop_stopped(struct loop *loop)
{
	SCOPE_LOCK(&loop->lock);
	return loop->stopped;
}

bool loop_is_current(struct loop *loop)
{
	SCOPE_LOCK(&loop->lock);
	return loop->running && pthread_equal(loop->thread, pthread_self());
}

static int post_locked(struct loop *loop, const void *owner, loop_fn fn, void *arg)
{
	struct post *p = malloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct post){.owner = owner, .fn = fn, .arg = arg};
	*loop->tail = p;
	loop->tail = &p->next;
	wake(loop);
	return 0;
}

int loop_post(struct loop *loop, const void *owner, loop_fn fn, void *arg)
{
	SCOPE_LOCK(&loop->lock);
	return post_locked(loop, owner, fn, arg);
}

void loop_drain(struct loop *loop, const void *owner)
{
	for (struct post *p = queue_take(loop, owner, false), *next; p; p = next) {
		next = p->next;
		p->fn(p->arg);
		free(p);
	}
}

static void run_call(void *arg)
{
	struct call *call = arg;
	struct loop *loop = call->loop;
	pthread_mutex_lock(&loop->lock);
	call->state = CALL_RUNNING;
	pthread_mutex_unlock(&loop->lock);
	call->fn(call->arg);
	SCOPE_LOCK(&loop->lock);
	call->state = CALL_DONE;
	pthread_cond_broadcast(&loop->call_done);
}

/* Takes a call that has not started out of the queue. Under lock. */
static void unqueue_call(struct loop *loop, struct call *call)
{
	for (struct post **at = &loop->head; *at; at = &(*at)->next) {
		struct post *p = *at;
		if (p->arg != call)
			continue;
		*at = p->next;
		if (!*at)
			loop->tail = at;
		free(p);
		break;
	}
	call->state = CALL_CANCELLED;
}

int loop_call(struct loop *loop, loop_fn fn, void *arg)
{
	struct call call = {.loop = loop, .fn = fn, .arg = arg, .state = CALL_QUEUED};
	SCOPE_LOCK(&loop->lock);
	if (loop->stopped)
		return -ECANCELED;
	int r = post_locked(loop, &call, run_call, &call);
	if (r < 0)
		return r;
	while (call.state == CALL_QUEUED || call.state == CALL_RUNNING) {
		if (call.state == CALL_QUEUED && loop->stopped && !loop->running)
			unqueue_call(loop, &call);
		else
			pthread_cond_wait(&loop->call_done, &loop->lock);
	}
	return call.state == CALL_DONE ? 0 : -ECANCELED;
}
