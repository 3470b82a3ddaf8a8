/* SPDX-License-Identifier: GPL-2.0-only */
/* Scenario files: text to message, validation with and without a machine, the way to JSON and back. */
#include "fuzz.h"

#include "host/engine/engine.h"
#include "host/text/text.h"
#include "proto/pb.h"

#include <stdlib.h>

static const char *const staged[] = {"true", NULL};

static void validate(const Schedrig__V1__Scenario *scenario, const struct cpu_layout *layout)
{
	Schedrig__V1__ValidateResponse *response = NULL;
	if (engine_validate(scenario, layout, staged, &response, NULL) < 0)
		abort();
	pb_free(response);
}

/* What is written is read again. */
static void there_and_back(const ProtobufCMessage *message)
{
	static struct text_errors errors;
	json_t *json = text_to_json(message);
	char *text = json ? json_dumps(json, 0) : NULL;
	ProtobufCMessage *again = NULL;
	if (text && strlen(text) <= TEXT_FILE_MAX_BYTES &&
		text_load(message->descriptor, text, strlen(text), &again, NULL, &errors) < 0)
		abort();
	pb_free(again);
	free(text);
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct text_errors errors;
	struct cpu_layout layout = {.n_cpus = 4, .n_nodes = 1, .n_llcs = 2, .n_cores = 4};
	ProtobufCMessage *message = NULL;
	struct text_places *places = NULL;
	for (unsigned i = 0; i < 4; i++)
		layout.cpu[i] = (struct cpu_place){.llc = (uint16_t)(i / 2), .core = (uint16_t)i};
	if (text_load(&schedrig__v1__scenario__descriptor, (const char *)bytes, length, &message, &places,
		    &errors) < 0) {
		if (!errors.n)
			abort();
		return 0;
	}
	unsigned line, column;
	text_places_find(places, "steps[0].ops[0].cpus.start", &line, &column);
	text_places_free(places);
	validate((Schedrig__V1__Scenario *)message, &layout);
	validate((Schedrig__V1__Scenario *)message, NULL);
	there_and_back(message);
	pb_free(message);
	return 0;
}
