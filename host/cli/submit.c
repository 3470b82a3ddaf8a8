/* SPDX-License-Identifier: GPL-2.0-only */
/* A scenario on its way: submitting, progress, signals, verdict; `schedrig submit` (see cli.h). */
#include "host/cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define TICK_MS 200

int cli_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		cli_error("cannot handle signals: %s", strerror(errno));
	return fd;
}

struct progress {
	struct schedrig *schedrig;
	struct cli_report report;
	bool done;
	struct err err;
	Schedrig__V1__Response *response;
};

static int on_event(const Schedrig__V1__Event *event, void *arg)
{
	struct progress *progress = arg;
	cli_report_event(&progress->report, event);
	if (event->kind_case == SCHEDRIG__V1__EVENT__KIND_FACTORY_ASK)
		(void)!schedrig_answer_factory(progress->schedrig, event->factory_ask->ask, NULL, 0,
			"this command makes none: submit it by a program of your own (libschedrig)", NULL);
	return 0;
}

static void on_done(const struct err *err, Schedrig__V1__Response *response, void *arg)
{
	struct progress *progress = arg;
	progress->done = true;
	progress->err = *err;
	progress->response = response;
}

/* That it was asked for is what counts; the scenario's end says the rest. */
static void on_cancelled(const struct err *err, Schedrig__V1__Response *response, void *arg)
{
	schedrig_free_message(response);
}

static int start(struct schedrig *schedrig, const struct cli_submit *submit, struct progress *progress,
	struct err *err)
{
	Schedrig__V1__SubmitRequest message = SCHEDRIG__V1__SUBMIT_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	message.scenario = cli_scenario(submit->file);
	message.detach = submit->detach;
	message.queue = submit->queue;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_SUBMIT;
	request.submit = &message;
	return schedrig_start(schedrig, &request, on_event, on_done, progress, NULL, err);
}

static int ask_cancel(struct schedrig *schedrig, struct err *err)
{
	Schedrig__V1__CancelRequest cancel = SCHEDRIG__V1__CANCEL_REQUEST__INIT;
	Schedrig__V1__Request request = SCHEDRIG__V1__REQUEST__INIT;
	request.kind_case = SCHEDRIG__V1__REQUEST__KIND_CANCEL;
	request.cancel = &cancel;
	return schedrig_start(schedrig, &request, NULL, on_cancelled, NULL, NULL, err);
}

/* Until the answer is there, or a second signal: then *ret_at_once. */
static int wait_done(struct schedrig *schedrig, const struct cli_submit *submit, struct progress *progress,
	bool *ret_at_once, struct err *err)
{
	unsigned signals = 0;
	while (!progress->done) {
		struct pollfd fds[] = {{.fd = schedrig_fd(schedrig), .events = schedrig_wants(schedrig)},
			{.fd = submit->signal_fd, .events = POLLIN}};
		int n = poll(fds, 2, progress->report.live ? TICK_MS : -1);
		if (n < 0 && errno != EINTR)
			return err_set_os(err, ERR_HOST, errno, "cannot wait for the controller");
		struct signalfd_siginfo info;
		if (fds[1].revents && read(submit->signal_fd, &info, sizeof(info)) == sizeof(info)) {
			if (++signals > 1) {
				*ret_at_once = true;
				return 0;
			}
			cli_report_end(&progress->report);
			cli_error("interrupted: ending the scenario in order (once more: at once)");
			int r = ask_cancel(schedrig, err);
			if (r < 0)
				return r;
		}
		if (schedrig_process(schedrig, err) < 0 && !progress->done)
			return err_errno(err->code);
		cli_report_tick(&progress->report);
	}
	return 0;
}

/* The file has the lines for the mistakes that the controller found. */
static void print_mistakes(const struct cli_submit *submit, const Schedrig__V1__ValidateResponse *found)
{
	for (size_t i = 0; i < found->n_errors; i++)
		cli_file_print_place(submit->file, false, found->errors[i]->place, found->errors[i]->message);
}

static int conclude(const struct cli_submit *submit, const struct progress *progress)
{
	const Schedrig__V1__Response *response = progress->response;
	if (progress->err.code != ERR_NONE) {
		if (response && response->kind_case == SCHEDRIG__V1__RESPONSE__KIND_VALIDATED) {
			print_mistakes(submit, response->validated);
			return CLI_USAGE;
		}
		return cli_fail(&progress->err);
	}
	if (!response || response->kind_case != SCHEDRIG__V1__RESPONSE__KIND_RESULT) {
		cli_error("the controller's answer holds no result");
		return CLI_INTERNAL;
	}
	const Schedrig__V1__RunResult *result = response->result;
	int printed = CLI_OK;
	if (submit->json)
		printed = cli_print_json(&result->base);
	else
		cli_print_result(stdout, result);
	return printed != CLI_OK ? printed
	       : result->verdict ? cli_exit_of_verdict(result->verdict->verdict)
				 : CLI_INTERNAL;
}

int cli_submit_scenario(struct schedrig *schedrig, const struct cli_submit *submit, bool *ret_at_once)
{
	struct err err = ERR_INIT;
	struct progress progress = {.schedrig = schedrig,
		.report = {
			.out = stderr, .colour = cli_has_colour(stderr), .live = isatty(STDERR_FILENO) != 0}};
	*ret_at_once = false;
	int r = start(schedrig, submit, &progress, &err);
	if (r == 0)
		r = wait_done(schedrig, submit, &progress, ret_at_once, &err);
	cli_report_end(&progress.report);
	int code = r < 0 ? cli_fail(&err) : *ret_at_once ? CLI_INCONCLUSIVE : conclude(submit, &progress);
	schedrig_free_message(progress.response);
	return code;
}

/* ---- schedrig submit */

enum { KEY_DETACH = 256, KEY_QUEUE };

error_t cli_take_scenario(int key, char *arg, struct argp_state *state, const char **file)
{
	switch (key) {
	case ARGP_KEY_ARG:
		if (*file)
			argp_error(state, "one scenario at a time");
		*file = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which scenario?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

struct submit_args {
	const char *file;
	bool detach, queue;
};

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct submit_args *args = state->input;
	switch (key) {
	case KEY_DETACH:
		args->detach = true;
		return 0;
	case KEY_QUEUE:
		args->queue = true;
		return 0;
	default:
		return cli_take_scenario(key, arg, state, &args->file);
	}
}

int cli_submit(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"detach", KEY_DETACH, NULL, 0, "It goes on when this command ends", 0},
		{"queue", KEY_QUEUE, NULL, 0, "Wait for a running scenario instead of failing", 0},
		{0},
	};
	struct submit_args args = {0};
	struct cli_file file = {0};
	cli_parse(cli, argc, argv, options, "SCENARIO", take, &args);
	int code = cli_scenario_load(&file, args.file);
	if (code == CLI_OK)
		code = cli_scenario_check(&file, NULL, NULL);
	struct schedrig *schedrig = code == CLI_OK ? cli_connect(cli, &code) : NULL;
	if (schedrig)
		code = cli_push_missing(schedrig, &file);
	if (schedrig && code == CLI_OK) {
		bool at_once;
		struct cli_submit submit = {.file = &file,
			.detach = args.detach,
			.queue = args.queue,
			.json = cli->json,
			.signal_fd = cli_signals()};
		code = submit.signal_fd < 0 ? CLI_HOST : cli_submit_scenario(schedrig, &submit, &at_once);
		if (submit.signal_fd >= 0)
			close(submit.signal_fd);
	}
	schedrig_close(schedrig);
	cli_file_deinit(&file);
	return code;
}
