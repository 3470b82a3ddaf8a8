/* SPDX-License-Identifier: GPL-2.0-only */
/* The run directory (see record.h). */
#include "host/engine/record.h"

#include "common/fd.h"
#include "common/log.h"
#include "host/text/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

/* A line for one of the files, newline included. */
struct line {
	struct line *next;
	int fd;
	size_t length;
	char text[];
};

struct record {
	char *directory;
	int events_fd, log_fd; /* written by the writer only */
	atomic_bool complained;
	pthread_t writer;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t queued_more, written_more;
	/* [lock] */
	struct line *first, **end;
	size_t queued_bytes;
	uint64_t queued, written; /* lines so far */
	uint64_t lost;            /* events since the last one that fitted */
	bool closing;
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

/* ---- the writer */

static void write_line(struct record *record, struct line *line)
{
	int r = fd_write_all(line->fd, line->text, line->length);
	if (r < 0)
		complain(record, -r);
	free(line);
}

static void *write_lines(void *arg)
{
	struct record *record = arg;
	pthread_mutex_lock(&record->lock);
	for (;;) {
		while (!record->first && !record->closing)
			pthread_cond_wait(&record->queued_more, &record->lock);
		struct line *line = record->first;
		if (!line)
			break;
		record->first = line->next;
		if (!record->first)
			record->end = &record->first;
		size_t length = line->length;
		pthread_mutex_unlock(&record->lock);
		write_line(record, line);
		pthread_mutex_lock(&record->lock);
		record->queued_bytes -= length;
		record->written++;
		pthread_cond_broadcast(&record->written_more);
	}
	pthread_mutex_unlock(&record->lock);
	return NULL;
}

/* Signals are for other threads. */
static int start_writer(struct record *record, struct err *err)
{
	pthread_attr_t attr;
	sigset_t mask;
	sigfillset(&mask);
	pthread_attr_init(&attr);
	pthread_attr_setsigmask_np(&attr, &mask);
	int rc = pthread_create(&record->writer, &attr, write_lines, record);
	pthread_attr_destroy(&attr);
	if (rc)
		return err_set_os(err, ERR_HOST, rc, "cannot write to the run directory");
	record->started = true;
	return 0;
}

/* ---- the directory */

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
	pthread_mutex_init(&record->lock, NULL);
	pthread_cond_init(&record->queued_more, NULL);
	pthread_cond_init(&record->written_more, NULL);
	record->end = &record->first;
	remove_temporaries(directory);
	record->log_fd = -1;
	record->events_fd = open_append(directory, "events.jsonl", err);
	if (record->events_fd >= 0)
		record->log_fd = open_append(directory, "kernel.log", err);
	if (record->log_fd < 0 || start_writer(record, err) < 0) {
		record_close(record);
		return NULL;
	}
	return record;
}

void record_close(struct record *record)
{
	if (!record)
		return;
	if (record->started) {
		pthread_mutex_lock(&record->lock);
		record->closing = true;
		pthread_cond_signal(&record->queued_more);
		pthread_mutex_unlock(&record->lock);
		pthread_join(record->writer, NULL);
	}
	pthread_cond_destroy(&record->written_more);
	pthread_cond_destroy(&record->queued_more);
	pthread_mutex_destroy(&record->lock);
	fd_close(&record->events_fd);
	fd_close(&record->log_fd);
	free(record->directory);
	free(record);
}

const char *record_directory(const struct record *record)
{
	return record->directory;
}

/* With the lock held. */
static bool push(struct record *record, int fd, const char *text)
{
	size_t length = strlen(text);
	if (length + 1 > RECORD_QUEUE_BYTES - record->queued_bytes)
		return false;
	struct line *line = malloc(sizeof(*line) + length + 1);
	if (!line)
		return false;
	*line = (struct line){.fd = fd, .length = length + 1};
	memcpy(line->text, text, length);
	line->text[length] = '\n';
	*record->end = line;
	record->end = &line->next;
	record->queued_bytes += length + 1;
	record->queued++;
	pthread_cond_signal(&record->queued_more);
	return true;
}

/* Events that were lost before this one are told first. */
static void push_event(struct record *record, const char *text)
{
	char gap[64];
	SCOPE_LOCK(&record->lock);
	snprintf(gap, sizeof(gap), "{\"gap\":{\"lost\":%llu}}", (unsigned long long)record->lost);
	if (record->lost && push(record, record->events_fd, gap))
		record->lost = 0;
	if (record->lost || !push(record, record->events_fd, text))
		record->lost++;
}

static void append_log(struct record *record, const Schedrig__V1__LogLine *log)
{
	_cleanup_free_ char *line = NULL;
	if (asprintf(&line, "[%5llu.%06llu] <%u> %s", (unsigned long long)(log->time_ns / 1000000000),
		    (unsigned long long)(log->time_ns / 1000 % 1000000), log->level, log->text) < 0) {
		line = NULL;
		complain(record, ENOMEM);
		return;
	}
	SCOPE_LOCK(&record->lock);
	if (!push(record, record->log_fd, line))
		complain(record, ENOBUFS);
}

void record_event(struct record *record, const Schedrig__V1__Event *event)
{
	json_t *json = text_to_json(&event->base);
	char *line = json ? json_dumps(json, JSON_COMPACT) : NULL;
	if (line)
		push_event(record, line);
	else
		complain(record, ENOMEM);
	free(line);
	json_decref(json);
	if (event->kind_case == SCHEDRIG__V1__EVENT__KIND_KERNEL_LOG)
		append_log(record, event->kernel_log);
}

void record_sync(struct record *record)
{
	pthread_mutex_lock(&record->lock);
	for (uint64_t upto = record->queued; record->written < upto;)
		pthread_cond_wait(&record->written_more, &record->lock);
	pthread_mutex_unlock(&record->lock);
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
