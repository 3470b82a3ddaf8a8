// SPDX-License-Identifier: GPL-2.0-only
// The lab's end outside the emulated machine: starts it, hands it the command, passes on what comes back, and
// ends it. Single thread. The machine is a child that dies with this process however that ends, so nothing is
// left behind.
//
//   host --timeout S --boot-timeout S --console FILE [--mount TAG=PATH]... [--fixed PATH] MACHINE ARG... --
//   COMMAND ARG...
//
// Exit status: the command's; 124 when the time limit ended it; 125 when the lab failed (reason on stderr).
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "wire.h"

#define EXIT_TIMEOUT 124
#define EXIT_LAB 125
#define SILENCE_LIMIT_S 180 // of a machine that should say ALIVE every WIRE_ALIVE_S
#define GRACE_S 15          // for a command that was told to end
#define BOOTS_MAX 3         // of machines that come up unsound
#define CONSOLE_TAIL_BYTES 3000

enum machine_fds { MACHINE_WIRE_FD = 3 }; // the machine's arguments name it

struct lab {
	long timeout_s, boot_timeout_s;
	const char *console, *fixed;
	char *mounts[16];
	size_t n_mounts;
	char **command, **machine_args;
	unsigned boots;
	pid_t machine;
	int wire;
	bool ready;
	bool timed_out;
	double heard_s;    // when the machine last said anything
	double deadline_s; // of the command, 0 before it starts
	double kill_s;     // when patience with a command that was told to end is over, 0: was not told
};

static char frame[WIRE_MAX_BYTES + 1];

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("lab: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static void show_console(const char *path)
{
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return;
	if (fseek(f, -CONSOLE_TAIL_BYTES, SEEK_END) < 0)
		rewind(f);
	n = fread(frame, 1, CONSOLE_TAIL_BYTES, f);
	fclose(f);
	if (n > 0)
		fprintf(stderr, "lab: end of the machine's console (all of it: %s):\n%.*s\n", path, (int)n,
			frame);
}

static void end_machine(struct lab *lab)
{
	kill(lab->machine, SIGKILL);
	while (waitpid(lab->machine, NULL, 0) < 0 && errno == EINTR)
		;
}

static int lab_failed(struct lab *lab, const char *why)
{
	end_machine(lab);
	say("%s", why);
	show_console(lab->console);
	return EXIT_LAB;
}

static pid_t start_machine(char **machine_args, int wire)
{
	pid_t parent = getpid(), pid = fork();
	sigset_t none;
	int console;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_LAB);
	// Not in the terminal's foreground group: ^C is for the command inside.
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	console = open("/dev/null", O_RDWR);
	dup2(console, 0);
	dup2(2, 1);
	// Whatever else is open (a lock, the caller's pipes) is not the machine's.
	dup2(wire, MACHINE_WIRE_FD);
	close_range(MACHINE_WIRE_FD + 1, ~0U, 0);
	execvp(machine_args[0], machine_args);
	fprintf(stderr, "lab: cannot run %s: %s\n", machine_args[0], strerror(errno));
	_exit(EXIT_LAB);
}

// A new machine, and the wire to it. 0, or -1 (said).
static int begin_machine(struct lab *lab)
{
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) {
		say("%s", strerror(errno));
		return -1;
	}
	lab->wire = sockets[0];
	lab->machine = start_machine(lab->machine_args, sockets[1]);
	close(sockets[1]);
	if (lab->machine < 0) {
		say("fork: %s", strerror(errno));
		return -1;
	}
	lab->boots++;
	lab->heard_s = now_s();
	return 0;
}

// Session-bound or secret: no use inside, or none of its business. TMPDIR points at host directories that are
// hidden there.
static bool env_passes(const char *entry)
{
	static const char *const dropped[] = {"TMPDIR=", "XDG_RUNTIME_DIR=", "DBUS_", "SSH_",
		"DISPLAY=", "WAYLAND_", "LD_PRELOAD=", "BASH_FUNC_",
		"OLDPWD=", "_=", "SCHEDRIG_LAB=", "SCHEDRIG_SPEED=", "LISTEN_", "NOTIFY_SOCKET="};
	const char *equals = strchr(entry, '=');
	char name[128];

	if (!equals)
		return false;
	for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
		if (strncmp(entry, dropped[i], strlen(dropped[i])) == 0)
			return false;
	snprintf(name, sizeof(name), "%.*s", (int)(equals - entry), entry);
	return !strcasestr(name, "TOKEN") && !strcasestr(name, "SECRET") && !strcasestr(name, "PASSWORD");
}

static int send_string(int wire, enum wire_type type, const char *text)
{
	return wire_send(wire, type, text, strlen(text) + 1);
}

static int send_job(struct lab *lab)
{
	char *cwd = getcwd(NULL, 0), pair[WIRE_MAX_BYTES];
	int r = cwd ? 0 : -errno;

	if (r == 0 && lab->fixed)
		r = send_string(lab->wire, WIRE_FIXED, lab->fixed);
	for (size_t i = 0; r == 0 && i < lab->n_mounts; i++) {
		int len = snprintf(pair, sizeof(pair), "%s", lab->mounts[i]);

		*strchr(pair, '=') = 0;
		r = wire_send(lab->wire, WIRE_MOUNT, pair, (size_t)len + 1);
	}
	if (r == 0)
		r = send_string(lab->wire, WIRE_CWD, cwd);
	for (char **e = environ; r == 0 && *e; e++)
		if (env_passes(*e))
			r = send_string(lab->wire, WIRE_ENV, *e);
	for (char **a = lab->command; r == 0 && *a; a++)
		r = send_string(lab->wire, WIRE_ARG, *a);
	if (r == 0)
		r = wire_send(lab->wire, WIRE_START, NULL, 0);
	free(cwd);
	return r;
}

// Handles one frame. Returns -1 to go on, or the exit status.
static int handle_frame(struct lab *lab)
{
	struct wire_header h;
	int r = wire_recv(lab->wire, &h, frame);

	if (r < 0)
		return lab_failed(lab, lab->ready ? "the emulated machine died"
						  : "the emulated machine died before it was up");
	lab->heard_s = now_s();
	switch (h.type) {
	case WIRE_READY:
		lab->ready = true;
		if (send_job(lab) < 0)
			return lab_failed(lab,
				"the command, its arguments or its environment are too long for the lab");
		lab->deadline_s = lab->timeout_s > 0 ? lab->heard_s + (double)lab->timeout_s : 0;
		return -1;
	case WIRE_OUT:
	case WIRE_ERR:
		// Errors (nobody reads any more) end in SIGPIPE, as for any command.
		(void)wire_write_full(h.type == WIRE_OUT ? 1 : 2, frame, h.len);
		return -1;
	case WIRE_ALIVE:
		return -1;
	case WIRE_EXIT:
		end_machine(lab);
		return lab->timed_out ? EXIT_TIMEOUT : (unsigned char)frame[0];
	case WIRE_FAILED:
		return lab_failed(lab, frame);
	case WIRE_UNSOUND:
		if (lab->ready || lab->boots == BOOTS_MAX)
			return lab_failed(lab, frame);
		say("%s; starting another one", frame);
		end_machine(lab);
		close(lab->wire);
		return begin_machine(lab) < 0 ? EXIT_LAB : -1;
	default:
		return lab_failed(lab, "nonsense from the emulated machine");
	}
}

static int tell_to_end(struct lab *lab, unsigned char sig)
{
	if (!lab->ready || lab->kill_s > 0) {
		// A second signal, or nothing to tell yet: at once.
		end_machine(lab);
		return 128 + sig;
	}
	lab->kill_s = now_s() + GRACE_S;
	(void)wire_send(lab->wire, WIRE_SIGNAL, &sig, 1);
	return -1;
}

static int check_time(struct lab *lab)
{
	double now = now_s();

	if (!lab->ready && now > lab->heard_s + (double)lab->boot_timeout_s)
		return lab_failed(lab, "the emulated machine did not come up in time");
	if (lab->ready && now > lab->heard_s + SILENCE_LIMIT_S)
		return lab_failed(lab, "the emulated machine hangs: it has been silent for 180 s");
	if (lab->kill_s > 0 && now > lab->kill_s) {
		end_machine(lab);
		say("the command did not end when told to; the machine was stopped");
		return lab->timed_out ? EXIT_TIMEOUT : 128 + SIGKILL;
	}
	if (lab->deadline_s > 0 && !lab->timed_out && now > lab->deadline_s) {
		say("time limit of %ld s reached; ending the command", lab->timeout_s);
		lab->timed_out = true;
		return lab->kill_s > 0 ? -1 : tell_to_end(lab, SIGTERM);
	}
	return -1;
}

static int run(struct lab *lab, int signals)
{
	struct pollfd fds[] = {{.events = POLLIN}, {.fd = signals, .events = POLLIN}};
	struct signalfd_siginfo info;
	int status = -1;

	while (status < 0) {
		fds[0].fd = lab->wire;
		int n = poll(fds, 2, 1000);

		if (n > 0 && fds[1].revents && read(signals, &info, sizeof(info)) == sizeof(info))
			status = tell_to_end(lab, (unsigned char)info.ssi_signo);
		if (status < 0 && n > 0 && fds[0].revents)
			status = handle_frame(lab);
		if (status < 0)
			status = check_time(lab);
	}
	return status;
}

static int usage(void)
{
	fputs("usage: host --timeout S --boot-timeout S --console FILE [--mount TAG=PATH]... [--fixed PATH] "
	      "MACHINE ARG... "
	      "-- COMMAND ARG...\n",
		stderr);
	return 64;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"timeout", required_argument, NULL, 't'},
		{"boot-timeout", required_argument, NULL, 'b'}, {"console", required_argument, NULL, 'c'},
		{"mount", required_argument, NULL, 'm'}, {"fixed", required_argument, NULL, 'f'},
		{NULL, 0, NULL, 0}};
	struct lab lab = {.boot_timeout_s = 180, .console = "/dev/null"};
	int option, signals;
	sigset_t handled;

	while ((option = getopt_long(argc, argv, "+", options, NULL)) >= 0) {
		if (option == 't')
			lab.timeout_s = atol(optarg);
		else if (option == 'b')
			lab.boot_timeout_s = atol(optarg);
		else if (option == 'c')
			lab.console = optarg;
		else if (option == 'f')
			lab.fixed = optarg;
		else if (option == 'm' && lab.n_mounts < 16 && strchr(optarg, '='))
			lab.mounts[lab.n_mounts++] = optarg;
		else
			return usage();
	}
	for (int i = optind; i < argc && !lab.command; i++)
		if (strcmp(argv[i], "--") == 0) {
			argv[i] = NULL;
			lab.command = argv + i + 1;
		}
	if (!lab.command || !lab.command[0] || !argv[optind])
		return usage();
	sigemptyset(&handled);
	sigaddset(&handled, SIGINT);
	sigaddset(&handled, SIGTERM);
	sigaddset(&handled, SIGHUP);
	sigprocmask(SIG_BLOCK, &handled, NULL);
	signals = signalfd(-1, &handled, SFD_CLOEXEC);
	if (signals < 0) {
		say("%s", strerror(errno));
		return EXIT_LAB;
	}
	lab.machine_args = argv + optind;
	return begin_machine(&lab) < 0 ? EXIT_LAB : run(&lab, signals);
}
