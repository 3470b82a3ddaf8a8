/* SPDX-License-Identifier: GPL-2.0-only */
/* The run directory: events.jsonl and kernel.log as things happen, scenario.json and run.json through
 * temporary files. Lines are written by a thread of its own, so that nobody who has an event waits for a
 * disk; what does not fit into its queue is counted, and a line {"gap":{"lost":N}} stands in its place. The
 * caller serialises calls, but for record_sync(). A full disk loses what does not fit, and says so once in
 * the log. */
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
/* What waits for the disk. */
#define RECORD_QUEUE_BYTES (8u * 1024 * 1024)
/* Writes what is queued, then ends. Takes NULL. */
void record_close(struct record *record);
const char *record_directory(const struct record *record);

void record_event(struct record *record, const Schedrig__V1__Event *event);
/* So that what has happened survives the host: waits until what was queued before is written, and safe. */
void record_sync(struct record *record);
/* A message as a file of the directory, with "schema" in front. */
int record_message(
	struct record *record, const char *file, const ProtobufCMessage *message, struct err *err) must_check;

#endif
