/* SPDX-License-Identifier: GPL-2.0-only */
/* The controller's main: options, loop, machine, control socket, signals. Main thread = main loop. */
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/loop.h"
#include "host/control/control.h"
#include "host/machine/machine.h"

#include <argp.h>
#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

/* sysexits: what `schedrig run` and scripts tell apart. */
enum { EXIT_OK = 0, EXIT_USAGE = 64, EXIT_HOST = 69, EXIT_INTERNAL = 70 };

/* After the VM has ended by itself, clients have this long to fetch what they wait for. */
#define LINGER_NS (10 * NS_PER_S)

const char *argp_program_version = "schedrigd " SCHEDRIG_VERSION;

struct daemon {
	struct options options;
	struct loop *loop;
	struct machine *machine;
	struct control *control;
	struct event *signals[4], *timeout, *linger;
	int ready_fd;
	int exit_code;
	bool stopping, signalled, machine_ended, control_idle;
};

static int exit_code_of(const struct err *err)
{
	switch (err->code) {
	case ERR_NONE:
		return EXIT_OK;
	case ERR_INVALID_ARGUMENT:
	case ERR_NOT_FOUND:
	case ERR_ALREADY_EXISTS:
	case ERR_AMBIGUOUS:
	case ERR_LIMIT_EXCEEDED:
		return EXIT_USAGE;
	case ERR_INTERNAL:
		return EXIT_INTERNAL;
	default:
		return EXIT_HOST;
	}
}

/* One line to --ready-fd: "ready", or "error CODE TEXT". Somebody who does not read it loses it. */
static void say_ready(int *fd, const struct err *err)
{
	if (*fd < 0)
		return;
	char line[sizeof(err->message) + 64];
	if (err)
		snprintf(line, sizeof(line), "error %s %s\n", err_code_name(err->code), err->message);
	else
		snprintf(line, sizeof(line), "ready\n");
	int r = fd_write_all(*fd, line, strlen(line));
	(void)r;
	fd_close(fd);
}

static int fail(struct daemon *d, const struct err *err)
{
	/* Whoever reads --ready-fd says it: once is enough on a terminal. */
	if (d->ready_fd < 0)
		log_error("%s", err->message);
	say_ready(&d->ready_fd, err);
	return exit_code_of(err);
}

static void maybe_leave(struct daemon *d)
{
	if (d->machine_ended && d->control_idle)
		loop_stop(d->loop);
}

/* Nobody waits for anything any more: now the guest may go. */
static void on_control_idle(void *arg)
{
	struct daemon *d = arg;
	d->control_idle = true;
	if (d->machine)
		machine_stop(d->machine);
	maybe_leave(d);
}

/* In order: clients and what runs for them, whose teardown needs the guest, then the guest. Idempotent. */
static void stop(struct daemon *d, const char *why)
{
	if (d->stopping)
		return;
	d->stopping = true;
	if (d->control)
		control_stop(d->control, why, on_control_idle, d);
	else
		on_control_idle(d);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct daemon *d = arg;
	if (d->signalled)
		loop_stop(d->loop); /* a second one: at once */
	d->signalled = true;
	stop(d, number == SIGINT ? "interrupted" : "terminated");
}

static void on_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct daemon *d = arg;
	char text[32];
	log_warn("the VM is stopped: --timeout %s is over",
		format_duration(d->options.timeout_ns, text, sizeof(text)));
	stop(d, "the controller's --timeout is over");
}

static void on_linger(evutil_socket_t fd, short what, void *arg)
{
	stop(arg, "the VM has ended");
}

static void on_ready(struct machine *machine, const struct err *err, void *arg)
{
	struct daemon *d = arg;
	if (err) {
		d->exit_code = fail(d, err);
		d->machine_ended = true;
		if (d->control)
			control_set_ended(d->control, err);
		stop(d, err->message);
		return;
	}
	if (d->control)
		control_set_ready(d->control);
	if (d->ready_fd != STDOUT_FILENO) {
		printf("ready\n");
		fflush(stdout);
	}
	say_ready(&d->ready_fd, NULL);
}

static void on_ended(struct machine *machine, const struct err *err, void *arg)
{
	struct daemon *d = arg;
	d->machine_ended = true;
	if (err->code != ERR_NONE) {
		log_error("%s", err->message);
		d->exit_code = EXIT_HOST;
		if (d->control)
			control_set_ended(d->control, err);
	}
	if (d->stopping) {
		maybe_leave(d);
		return;
	}
	struct timeval limit = clock_timeval(d->control && err->code != ERR_NONE ? LINGER_NS : 0);
	evtimer_add(d->linger, &limit);
}

static void on_event(const Schedrig__V1__Event *event, void *arg)
{
	struct daemon *d = arg;
	control_event(d->control, event);
}

static void on_info(struct arena *arena, Schedrig__V1__Info *ret, void *arg)
{
	struct daemon *d = arg;
	machine_info(d->machine, arena, ret);
}

static void on_shutdown(void *arg)
{
	stop(arg, "shut down by a client");
}

static int start(struct daemon *d, uint64_t start_ns, struct err *err)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	d->loop = loop_new(err);
	if (!d->loop)
		return err_errno(err->code);
	struct event_base *base = loop_base(d->loop);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		d->signals[i] = evsignal_new(base, numbers[i], on_signal, d);
		if (!d->signals[i] || event_add(d->signals[i], NULL) < 0)
			return err_set_os(err, ERR_HOST, ENOMEM, "cannot handle signals");
	}
	d->timeout = evtimer_new(base, on_timeout, d);
	d->linger = evtimer_new(base, on_linger, d);
	if (!d->timeout || !d->linger)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot set timers");
	if (d->options.timeout_ns) {
		struct timeval limit = clock_timeval(d->options.timeout_ns);
		evtimer_add(d->timeout, &limit);
	}
	struct machine_ops ops = {.ready = on_ready, .ended = on_ended, .event = on_event, .arg = d};
	if (d->options.socket) {
		/* First, so that a path that cannot be used is told before anything is built. */
		struct control_config config = {.loop = d->loop,
			.path = d->options.socket,
			.build = machine_build(),
			.info = on_info,
			.shutdown = on_shutdown,
			.arg = d};
		d->control = control_new(&config, err);
		if (!d->control)
			return err_errno(err->code);
	}
	int r = machine_new(&d->options, d->loop, start_ns, &ops, &d->machine, err);
	if (r < 0)
		return r;
	if (d->control)
		control_set_engine(d->control, machine_engine(d->machine),
			&machine_topology(d->machine)->layout, machine_staged(d->machine));
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t start_ns = clock_now_ns();
	struct daemon d = {.ready_fd = -1, .exit_code = EXIT_OK};
	struct err err = ERR_INIT;
	log_init("schedrigd", LOG_INFO_LEVEL);
	signal(SIGPIPE, SIG_IGN);
	int r = options_parse(argc, argv, &d.options, &err);
	d.ready_fd = d.options.ready_fd;
	if (r == 0 && d.options.die_with_parent && prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
		r = err_set_os(&err, ERR_HOST, errno, "--die-with-parent");
	if (r == 0)
		r = start(&d, start_ns, &err);
	if (r == 0)
		loop_run(d.loop);
	else
		d.exit_code = fail(&d, &err);
	/* The VM goes first: then no call into the engine is left, and the threads of the control end. */
	if (d.machine)
		machine_halt(d.machine);
	control_free(d.control);
	machine_free(d.machine);
	for (size_t i = 0; i < ARRAY_SIZE(d.signals); i++)
		if (d.signals[i])
			event_free(d.signals[i]);
	if (d.timeout)
		event_free(d.timeout);
	if (d.linger)
		event_free(d.linger);
	loop_free(d.loop);
	options_deinit(&d.options);
	return d.exit_code;
}
