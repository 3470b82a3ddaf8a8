/* SPDX-License-Identifier: GPL-2.0-only */
/* The run directory: events.jsonl and kernel.log as things happen, scenario.json and run.json through
 * temporary files. The caller serialises calls, but for record_sync(). A full disk loses what does not fit,
 * and says so once in the log. */
#ifndef HOST_ENGINE_RECORD_H
#define HOST_ENGINE_RECORD_H

#include "common/err.h"
#include "schedrig/v1/result.pb-c.h"

#include <stdbool.h>

struct record;

/* Version of run.json's form. */
#define RECORD_SCHEMA 1

/* Makes the directory if need be, removes temporary files that a killed controller left, and opens
 * events.jsonl to append. */
struct record *record_open(const char *directory, struct err *err) must_check;
void record_close(struct record *record);
const char *record_directory(const struct record *record);

void record_event(struct record *record, const Schedrig__V1__Event *event);
/* So that what has happened survives the host. Blocks. */
void record_sync(struct record *record);
/* A message as a file of the directory, with "schema" in front. */
int record_message(
	struct record *record, const char *file, const ProtobufCMessage *message, struct err *err) must_check;

#endif
