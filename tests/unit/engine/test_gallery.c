/* SPDX-License-Identifier: GPL-2.0-only */
/* Every scenario that the tree ships: it says what it is for, and has no mistakes, with and without a
 * machine. */
#include "bench.h"
#include "common/fd.h"
#include "host/engine/engine.h"
#include "proto/pb.h"

#include <glob.h>

static void validate(
	const Schedrig__V1__Scenario *scenario, const struct cpu_layout *layout, const char *path)
{
	Schedrig__V1__ValidateResponse *response = NULL;
	cr_assert_eq(engine_validate(scenario, layout, NULL, &response, NULL), 0);
	cr_assert_eq(response->n_errors, 0, "%s: %s: %s", path,
		response->n_errors ? response->errors[0]->place : "",
		response->n_errors ? response->errors[0]->message : "");
	cr_assert_eq(response->n_warnings, 0, "%s: %s", path,
		response->n_warnings ? response->warnings[0]->message : "");
	pb_free(response);
}

Test(gallery, has_no_mistakes)
{
	struct cpu_layout layout = bench_layout();
	glob_t found;
	cr_assert_eq(glob(SCENARIOS "/*.yaml", 0, NULL, &found), 0);
	cr_assert_eq(glob(SCENARIOS "/assertions/*.yaml", GLOB_APPEND, NULL, &found), 0);
	cr_assert_geq(found.gl_pathc, 40);
	for (size_t i = 0; i < found.gl_pathc; i++) {
		char *text;
		size_t length;
		cr_assert_eq(fd_read_file(found.gl_pathv[i], 1 << 20, &text, &length, NULL), 0);
		cr_assert(strncmp(text, "# ", 2) == 0, "%s does not say what it is for", found.gl_pathv[i]);
		Schedrig__V1__Scenario *scenario = bench_scenario(text);
		validate(scenario, NULL, found.gl_pathv[i]);
		validate(scenario, &layout, found.gl_pathv[i]);
		pb_free(scenario);
		free(text);
	}
	globfree(&found);
}
