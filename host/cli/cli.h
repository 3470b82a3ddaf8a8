/* SPDX-License-Identifier: GPL-2.0-only */
/* The `schedrig` command: what its subcommands share. One thread; results go to stdout, everything else to
 * stderr. Functions that return `int` without saying otherwise return the exit code (CLI_OK = go on). */
#ifndef HOST_CLI_CLI_H
#define HOST_CLI_CLI_H

#include "common/cpu_layout.h"
#include "common/err.h"
#include "host/client/schedrig.h"
#include "host/text/text.h"

#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Of the command; a verdict is the first three. */
enum cli_exit {
	CLI_OK = 0, /* pass or skip */
	CLI_FAIL = 1,
	CLI_INCONCLUSIVE = 2,
	CLI_USAGE = 64,    /* usage, invalid scenario */
	CLI_HOST = 69,     /* this host, or the controller, cannot */
	CLI_INTERNAL = 70, /* a mistake of schedrig's own */
};

/* The one list of subcommands. X(name, function, arguments, what it does) */
#define CLI_COMMAND_LIST(X)                                                                                  \
	X("run", run, "[OPTION...] SCENARIO", "boot a VM, run a scenario on it, say the verdict")            \
	X("submit", submit, "[OPTION...] SCENARIO", "run a scenario on a controller that is up")             \
	X("lint", lint, "[OPTION...] FILE...", "find the mistakes in scenario files; needs no VM")           \
	X("list", list, "work-types", "what a scenario can have")                                            \
	X("info", info, "", "what the VM is and does")                                                       \
	X("read", read, "[--cold] PATH[:WIDTH]...", "read kernel memory")                                    \
	X("write", write, "[--cold] PATH[:WIDTH]=VALUE...", "write kernel memory")                           \
	X("resolve", resolve, "PATH...", "where in kernel memory, of what type and size")                    \
	X("symbols", symbols, "PATTERN...", "symbols of the kernel")                                         \
	X("types", types, "NAME...", "types of the kernel, with their members")                              \
	X("bases", bases, "", "where the kernel has itself and its regions")                                 \
	X("capture", capture, "NAME", "capture a snapshot")                                                  \
	X("freeze", freeze, "[--lease TIME] [--clock-runs]", "stop every vCPU")                              \
	X("thaw", thaw, "", "let them go")                                                                   \
	X("step", step, "[--limit TIME] VCPU [COUNT]", "let one vCPU execute instructions while frozen")     \
	X("apply", apply, "FILE", "do the ops of a file")                                                    \
	X("push", push, "[--name NAME] FILE...", "ship programs into the VM, or replace them there")         \
	X("pull", pull, "PATH [FILE]", "copy a file out of the VM")                                          \
	X("staged", staged, "", "names of what has been shipped")                                            \
	X("workers", workers, "", "what the workers have done so far")                                       \
	X("knobs", knobs, "CGROUP KNOB=VALUE...", "change limits of a cgroup")                               \
	X("events", events, "[--from N]", "print events as they come")                                       \
	X("cancel", cancel, "", "end the running scenario")                                                  \
	X("shutdown", shutdown, "", "end the VM and its controller")

/* Options that every subcommand takes, before or after its name. */
struct cli {
	const char *command; /* "schedrig run", for messages */
	const char *socket;  /* -s; NULL: none */
	bool json;           /* --json */
};
/* For `children` of a subcommand's argp; its input is struct cli. */
extern const struct argp cli_common_argp;
/* Parses; arguments that are no options go to take(), which may be NULL (there must be none). Ends the
 * process with CLI_USAGE on a mistake, as argp does. */
void cli_parse(struct cli *cli, int argc, char **argv, const struct argp_option *options,
	const char *args_doc, error_t (*take)(int key, char *arg, struct argp_state *state), void *input);

/* The rest of a take() whose command has one scenario file, its only argument. */
error_t cli_take_scenario(int key, char *arg, struct argp_state *state, const char **file);

/* ---- messages */
void cli_error(const char *fmt, ...) printf_like(1, 2);
/* Prints the failure; returns the exit code that stands for it. */
int cli_fail(const struct err *err);
int cli_exit_of(const struct err *err);
/* Whether colours may be used on this stream. */
bool cli_has_colour(FILE *stream);
int cli_print_json(const ProtobufCMessage *message);
/* -s is required. NULL after a message, *ret_exit set. */
struct schedrig *cli_connect(const struct cli *cli, int *ret_exit);

/* One line: what was read (or replaced), in hexadecimal and as its type has it. name: NULL for the tag. */
void cli_print_value(const Schedrig__V1__ReadValue *value, const char *name);

/* ---- kernel memory (memory.c, memory_parse.c, read_many.c) */
struct arena;
/* "PATH[:u8|u16|u32|u64|bytes=N]", in the arena's memory. */
int cli_parse_read(struct arena *arena, const char *word, bool stable, Schedrig__V1__KernelRead **ret,
	struct err *err) must_check;
/* The failure; if it is about a column of what the user wrote, that line with a mark below. */
int cli_fail_at(const struct err *err, const char *word);
/* Many paths, or some of them often. */
struct cli_read_many {
	char **words; /* [n_words] of the command line */
	unsigned n_words;
	const char *file; /* more of them, one a line, "-" for stdin; or NULL */
	bool cold, stable;
	uint64_t count, every_ns; /* rounds, and from one's start to the next's */
};
int cli_read_many(struct cli *cli, const struct cli_read_many *args);

/* ---- files (file.c) */
struct cli_file {
	const char *path;
	char *text;
	size_t length;
	ProtobufCMessage *message;
	struct text_places *places;
	json_t *mistakes; /* the caller's: an array that gets what would be printed; NULL: it is printed */
};
/* Loads a file of this message type; mistakes are printed with place and line. Of *file only `mistakes`
 * counts before. */
int cli_file_load(struct cli_file *file, const char *path, const ProtobufCMessageDescriptor *type);
void cli_file_deinit(struct cli_file *file);
/* path:line:column: error: text, and the line. */
void cli_file_print(
	const struct cli_file *file, bool warning, unsigned line, unsigned column, const char *text);
/* The same for something that has a place in the message instead. */
void cli_file_print_place(const struct cli_file *file, bool warning, const char *place, const char *text);
/* A scenario: its name defaults to the file's. */
int cli_scenario_load(struct cli_file *file, const char *path);
Schedrig__V1__Scenario *cli_scenario(const struct cli_file *file);
/* The file that a scheduler's definition ships: a program or an object; "" for the kernel's own. */
const char *cli_scheduler_file(const Schedrig__V1__Scheduler *scheduler);
/* Finds every mistake without a VM. layout and staged may be NULL: then nothing is checked against them.
 * Files that are here are looked at: a BPF object is no program. */
int cli_scenario_check(
	const struct cli_file *file, const struct cpu_layout *layout, const char *const *staged);

/* ---- a scenario on its way (submit.c) */
struct cli_submit {
	const struct cli_file *file;
	bool detach, queue, json;
	int signal_fd; /* SIGINT and SIGTERM, blocked elsewhere: see cli_signals() */
};
/* Submits, prints progress and verdict; returns the verdict's exit code. The first signal cancels in order, a
 * second one sets *ret_at_once and returns CLI_INCONCLUSIVE. */
int cli_submit_scenario(struct schedrig *schedrig, const struct cli_submit *submit, bool *ret_at_once);
/* Blocks SIGINT and SIGTERM and returns a descriptor that tells of them. -1 after a message. */
int cli_signals(void);

/* ---- files into the VM (push.c) */
/* Finds the file that a payload's program means on this side: a path, or a name in PATH. False: there is
 * none.
 */
bool cli_find_program(const char *program, char *ret, size_t size);
/* Ships a file under a staged name, with the libraries that it needs and the VM lacks. Its failure is told.
 */
int cli_push_file(struct schedrig *schedrig, const char *name, const char *path);
/* Ships every program and file of the scenario that the VM does not have yet. */
int cli_push_missing(struct schedrig *schedrig, const struct cli_file *file);

/* ---- what people read (report.c) */
struct cli_report {
	FILE *out;
	bool colour, live; /* live: a terminal, on which a status line is redrawn */
	bool line_shown;
	uint64_t begin_ns, budget_ns; /* host time of the scenario's start; its time */
	unsigned steps;
	char doing[160]; /* step in progress */
};
void cli_report_event(struct cli_report *report, const Schedrig__V1__Event *event);
/* Redraws the status line. */
void cli_report_tick(struct cli_report *report);
/* Removes the status line. */
void cli_report_end(struct cli_report *report);
void cli_print_result(FILE *out, const Schedrig__V1__RunResult *result);
int cli_exit_of_verdict(Schedrig__V1__VerdictKind verdict);

/* ---- the subcommands */
#define X(name, function, args, doc) int cli_##function(struct cli *cli, int argc, char **argv);
CLI_COMMAND_LIST(X)
#undef X

#endif
