/* SPDX-License-Identifier: GPL-2.0-only */
/* The run directory (see record.h). */
#include "host/engine/record.h"

#include "common/fd.h"
#include "common/log.h"
#include "host/text/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>

struct record {
	char *directory;
	int events_fd, log_fd;
	atomic_bool complained;
};

static void complain(struct record *record, int errnum)
{
	if (atomic_exchange_explicit(&record->complained, true, memory_order_relaxed))
		return;
	log_error("cannot write to %s: %s; its events are incomplete from here on", record->directory,
		strerror(errnum));
}

/* fd_replace_file() writes NAME.XXXXXX before it renames it. */
static bool is_temporary(const char *name)
{
	static const char *const files[] = {"run.json.", "scenario.json."};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (strncmp(name, files[i], strlen(files[i])) == 0 && strlen(name) == strlen(files[i]) + 6)
			return true;
	return false;
}

static void remove_temporaries(const char *directory)
{
	DIR *dir = opendir(directory);
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (is_temporary(entry->d_name))
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
}

static int open_append(const char *directory, const char *name, struct err *err)
{
	_cleanup_free_ char *path = NULL;
	if (asprintf(&path, "%s/%s", directory, name) < 0) {
		path = NULL;
		err_set_os(err, ERR_HOST, ENOMEM, "cannot open the run directory");
		return -1;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		err_set_os(err, ERR_HOST, errno, "cannot write %s", path);
	return fd;
}

struct record *record_open(const char *directory, struct err *err)
{
	if (fd_mkdir_p(directory, 0755, err) < 0)
		return NULL;
	struct record *record = calloc(1, sizeof(*record));
	if (!record || !(record->directory = strdup(directory))) {
		free(record);
		err_set_os(err, ERR_HOST, ENOMEM, "cannot open the run directory");
		return NULL;
	}
	remove_temporaries(directory);
	record->log_fd = -1;
	record->events_fd = open_append(directory, "events.jsonl", err);
	if (record->events_fd >= 0)
		record->log_fd = open_append(directory, "kernel.log", err);
	if (record->log_fd < 0) {
		record_close(record);
		return NULL;
	}
	return record;
}

void record_close(struct record *record)
{
	if (!record)
		return;
	fd_close(&record->events_fd);
	fd_close(&record->log_fd);
	free(record->directory);
	free(record);
}

const char *record_directory(const struct record *record)
{
	return record->directory;
}

static void append_line(struct record *record, int fd, char *line, size_t length)
{
	line[length] = '\n';
	int r = fd_write_all(fd, line, length + 1);
	if (r < 0)
		complain(record, -r);
}

static void append_log(struct record *record, const Schedrig__V1__LogLine *log)
{
	char *line = NULL;
	int length =
		asprintf(&line, "[%5llu.%06llu] <%u> %s\n", (unsigned long long)(log->time_ns / 1000000000),
			(unsigned long long)(log->time_ns / 1000 % 1000000), log->level, log->text);
	if (length < 0) {
		complain(record, ENOMEM);
		return;
	}
	append_line(record, record->log_fd, line, (size_t)length - 1);
	free(line);
}

void record_event(struct record *record, const Schedrig__V1__Event *event)
{
	json_t *json = text_to_json(&event->base);
	char *line = json ? json_dumps(json, JSON_COMPACT) : NULL;
	if (line)
		append_line(record, record->events_fd, line,
			strlen(line)); /* the NUL's place takes the newline */
	else
		complain(record, ENOMEM);
	free(line);
	json_decref(json);
	if (event->kind_case == SCHEDRIG__V1__EVENT__KIND_KERNEL_LOG)
		append_log(record, event->kernel_log);
}

void record_sync(struct record *record)
{
	if (fdatasync(record->events_fd) < 0)
		complain(record, errno);
}

int record_message(struct record *record, const char *file, const ProtobufCMessage *message, struct err *err)
{
	json_t *body = text_to_json(message), *json = json_pack("{s:i}", "schema", RECORD_SCHEMA);
	char *text = NULL;
	if (body && json && json_object_update(json, body) == 0)
		text = json_dumps(json, JSON_INDENT(1));
	json_decref(body);
	json_decref(json);
	_cleanup_free_ char *path = NULL;
	if (!text || asprintf(&path, "%s/%s", record->directory, file) < 0) {
		path = NULL;
		free(text);
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot write %s", file);
	}
	int r = fd_replace_file(path, text, strlen(text), 0644, err);
	free(text);
	return r;
}
