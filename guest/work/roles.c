/* SPDX-License-Identifier: GPL-2.0-only */
/* What the members of a group are to each other: which types join them by pipes. Any process. */
#include "guest/work/worker.h"

bool worker_has_pipes(const struct work_params *params)
{
	return params->type == WORK_PIPE_IO;
}
