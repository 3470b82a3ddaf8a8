/* SPDX-License-Identifier: GPL-2.0-only */
/* `schedrig push`, `pull`, `staged`: files into the VM, with what they need to run there, and out of it. */
#include "host/cli/cli.h"

#include "common/fd.h"
#include "host/initramfs/inputs.h"
#include "host/initramfs/pack.h"
#include "host/initramfs/program.h"
#include "proto/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 256

/* --- what is on this side --- */

static bool is_file(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

bool cli_find_program(const char *program, char *ret, size_t size)
{
	if (strchr(program, '/')) {
		snprintf(ret, size, "%s", program);
		return is_file(program);
	}
	const char *path = getenv("PATH");
	for (const char *at = path ? path : "/usr/bin:/bin"; *at;) {
		size_t n = strcspn(at, ":");
		snprintf(ret, size, "%.*s/%s", (int)n, n ? at : ".", program);
		if (is_file(ret) && access(ret, X_OK) == 0)
			return true;
		at += n + (at[n] == ':');
	}
	return false;
}

/* --- in --- */

struct push {
	struct schedrig *schedrig;
	const char *name; /* staged */
	bool program;     /* the second round: the file itself, when all it needs is there */
	struct err *err;
};

static int push_bytes(struct push *push, Schedrig__V1__PushRequest *request, const char *host)
{
	_cleanup_close_ int fd = open(host, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ uint8_t *chunk = malloc(WIRE_CHUNK_BYTES);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_os(push->err, ERR_NOT_FOUND, errno, "cannot open %s", host);
	if (!chunk)
		return err_set_os(push->err, ERR_HOST, ENOMEM, "cannot push %s", host);
	request->size = (uint64_t)st.st_size;
	request->data.data = chunk;
	do {
		ssize_t n = fd_read_all(fd, chunk, WIRE_CHUNK_BYTES);
		if (n < 0)
			return err_set_os(push->err, ERR_HOST, (int)-n, "cannot read %s", host);
		request->data.len = (size_t)n;
		request->last = n < WIRE_CHUNK_BYTES;
		int r = schedrig_push(push->schedrig, request, push->err);
		if (r < 0)
			return r;
		request->offset += (uint64_t)n;
	} while (!request->last);
	return 0;
}

static int push_item(const struct pack_item *item, void *arg)
{
	struct push *push = arg;
	Schedrig__V1__PushRequest request = SCHEDRIG__V1__PUSH_REQUEST__INIT;
	bool program = !strncmp(item->guest, "/staged/", 8);
	if (program != push->program || (!item->host && !item->link))
		return 0;
	request.name = (char *)(program ? push->name : item->guest);
	request.mode = item->mode;
	if (item->link) {
		request.link = (char *)item->link;
		request.last = true;
		return schedrig_push(push->schedrig, &request, push->err);
	}
	/* A library that the VM has stays: others may be using it. */
	request.keep = !program;
	int r = push_bytes(push, &request, item->host);
	if (r < 0 && request.keep && push->err->code == ERR_ALREADY_EXISTS) {
		*push->err = ERR_INIT;
		return 0;
	}
	return r;
}

int cli_push_file(struct schedrig *schedrig, const char *name, const char *path)
{
	struct err err = ERR_INIT;
	struct push push = {.schedrig = schedrig, .name = name, .err = &err};
	_cleanup_(pack_free_p) struct pack *pack = pack_new();
	_cleanup_(inputs_deinit) struct inputs inputs = INPUTS_INIT;
	char guest[PATH_MAX];
	if (!pack) {
		cli_error("out of memory");
		return CLI_HOST;
	}
	snprintf(guest, sizeof(guest), "/staged/%s", name);
	int r = program_add(pack, &inputs, NULL, guest, path, path, &err);
	if (r == 0)
		r = pack_each(pack, push_item, &push);
	push.program = true;
	if (r == 0)
		r = pack_each(pack, push_item, &push);
	return r < 0 ? cli_fail(&err) : CLI_OK;
}

static bool has_name(const Schedrig__V1__ListStagedResponse *staged, const char *name)
{
	for (size_t i = 0; i < staged->n_names; i++)
		if (!strcmp(staged->names[i], name))
			return true;
	return false;
}

static int push_if_missing(
	struct schedrig *schedrig, const Schedrig__V1__ListStagedResponse *staged, const char *program)
{
	const char *slash = strrchr(program, '/'), *name = slash ? slash + 1 : program;
	char path[PATH_MAX];
	/* What is on neither side is for the controller to complain about: it knows the line. */
	if (!*name || has_name(staged, name) || !cli_find_program(program, path, sizeof(path)))
		return CLI_OK;
	fprintf(stderr, "pushing %s\n", path);
	return cli_push_file(schedrig, name, path);
}

int cli_push_missing(struct schedrig *schedrig, const struct cli_file *file)
{
	const Schedrig__V1__Scenario *scenario = cli_scenario(file);
	Schedrig__V1__ListStagedRequest ask = SCHEDRIG__V1__LIST_STAGED_REQUEST__INIT;
	Schedrig__V1__ListStagedResponse *staged = NULL;
	struct err err = ERR_INIT;
	if (!scenario->n_payloads && !scenario->n_schedulers)
		return CLI_OK;
	if (schedrig_list_staged(schedrig, &ask, &staged, &err) < 0)
		return cli_fail(&err);
	int code = CLI_OK;
	for (size_t i = 0; i < scenario->n_payloads && code == CLI_OK; i++) {
		const Schedrig__V1__Payload *payload = scenario->payloads[i];
		code = push_if_missing(schedrig, staged, payload->program);
		for (size_t k = 0; k < payload->n_files && code == CLI_OK; k++)
			code = push_if_missing(schedrig, staged, payload->files[k]);
	}
	for (size_t i = 0; i < scenario->n_schedulers && code == CLI_OK; i++) {
		code = push_if_missing(schedrig, staged, cli_scheduler_file(scenario->schedulers[i]));
		if (code == CLI_OK)
			code = push_if_missing(schedrig, staged, scenario->schedulers[i]->config);
	}
	schedrig_free_message(staged);
	return code;
}

/* --- out --- */

static int pull_to(struct schedrig *schedrig, const char *path, int fd, struct err *err)
{
	Schedrig__V1__PullRequest ask = SCHEDRIG__V1__PULL_REQUEST__INIT;
	uint64_t identity = 0;
	ask.path = (char *)path;
	for (;;) {
		Schedrig__V1__PullResponse *chunk = NULL;
		int r = schedrig_pull(schedrig, &ask, &chunk, err);
		if (r < 0)
			return r;
		bool same = !ask.offset || chunk->identity == identity;
		bool last = chunk->data.len < WIRE_CHUNK_BYTES;
		identity = chunk->identity;
		ask.offset += chunk->data.len;
		r = same ? fd_write_all(fd, chunk->data.data, chunk->data.len) : 0;
		schedrig_free_message(chunk);
		if (!same)
			return err_set(err, ERR_BUSY, "%s was changed while it was copied: try again", path);
		if (r < 0)
			return err_set_os(err, ERR_HOST, -r, "cannot write the copy of %s", path);
		if (last)
			return 0;
	}
}

/* --- the commands --- */

struct file_args {
	const char *name;
	const char *words[FILES_MAX];
	unsigned n_words;
};

static error_t take(int key, char *arg, struct argp_state *state)
{
	struct file_args *args = state->input;
	switch (key) {
	case 'n':
		args->name = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (args->n_words == FILES_MAX)
			argp_error(state, "at most %d files at once", FILES_MAX);
		else
			args->words[args->n_words++] = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int cli_push(struct cli *cli, int argc, char **argv)
{
	static const struct argp_option options[] = {
		{"name", 'n', "NAME", 0, "Under this name instead of the file's", 0}, {0}};
	struct file_args args = {0};
	int code;
	cli_parse(cli, argc, argv, options, "FILE...", take, &args);
	if (args.name && args.n_words != 1) {
		cli_error("--name is for one file");
		return CLI_USAGE;
	}
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	code = CLI_OK;
	for (unsigned i = 0; i < args.n_words && code == CLI_OK; i++) {
		const char *slash = strrchr(args.words[i], '/');
		code = cli_push_file(schedrig,
			args.name ? args.name
			: slash   ? slash + 1
				  : args.words[i],
			args.words[i]);
	}
	schedrig_close(schedrig);
	return code;
}

int cli_pull(struct cli *cli, int argc, char **argv)
{
	struct file_args args = {0};
	struct err err = ERR_INIT;
	int code;
	cli_parse(cli, argc, argv, NULL, "PATH [FILE]", take, &args);
	if (args.n_words > 2) {
		cli_error("one file at a time: PATH in the VM, and FILE here, or - for standard output");
		return CLI_USAGE;
	}
	const char *slash = strrchr(args.words[0], '/');
	const char *to = args.n_words == 2 ? args.words[1] : slash ? slash + 1 : args.words[0];
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	bool out = !strcmp(to, "-");
	int fd = out ? STDOUT_FILENO : open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0) {
		err_set_os(&err, ERR_INVALID_ARGUMENT, errno, "cannot write %s", to);
		code = cli_fail(&err);
	} else {
		code = pull_to(schedrig, args.words[0], fd, &err) < 0 ? cli_fail(&err) : CLI_OK;
		/* Half a file is worse than none. */
		if (!out && code != CLI_OK)
			unlink(to);
		if (!out)
			close(fd);
	}
	schedrig_close(schedrig);
	return code;
}

int cli_staged(struct cli *cli, int argc, char **argv)
{
	Schedrig__V1__ListStagedRequest ask = SCHEDRIG__V1__LIST_STAGED_REQUEST__INIT;
	Schedrig__V1__ListStagedResponse *staged = NULL;
	struct err err = ERR_INIT;
	int code;
	cli_parse(cli, argc, argv, NULL, NULL, NULL, NULL);
	struct schedrig *schedrig = cli_connect(cli, &code);
	if (!schedrig)
		return code;
	if (schedrig_list_staged(schedrig, &ask, &staged, &err) < 0) {
		code = cli_fail(&err);
	} else if (cli->json) {
		code = cli_print_json(&staged->base);
	} else {
		for (size_t i = 0; i < staged->n_names; i++)
			printf("%s\n", staged->names[i]);
		code = CLI_OK;
	}
	schedrig_free_message(staged);
	schedrig_close(schedrig);
	return code;
}
