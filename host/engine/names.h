/* SPDX-License-Identifier: GPL-2.0-only */
/* What will be tracked at each point of a scenario, as far as can be known before it runs: cgroups, live
 * payloads, tags of reads. One thread. */
#ifndef HOST_ENGINE_NAMES_H
#define HOST_ENGINE_NAMES_H

#include "common/cpuset.h"
#include "host/engine/hash.h"

#include <stdbool.h>

enum name_owner { NAME_STEP, NAME_BACKDROP };

struct name {
	char *name;
	bool tracked;
	enum name_owner owner;
	int last_step;   /* in which it was step-local, -1: never */
	int setup_step;  /* whose set-up defines it, -1: none */
	bool cpus_known; /* its recorded cpuset is `cpus`; empty: inherits */
	struct cpuset cpus;
	UT_hash_handle hh;
};

/* A payload under (name, cgroup). */
struct live {
	char *payload, *cgroup;
	enum name_owner owner;
};

struct names {
	struct name *cgroups, *tags; /* hash tables */
	struct live *live;
	size_t n_live, size_live;
	bool out_of_memory;
};

/* Payloads that may be live at once. */
#define NAMES_LIVE_MAX 1024

void names_deinit(struct names *names);

/* A zeroed struct is empty. The entry of a name, tracked or not; NULL: never heard of (or out of memory, for
 * names_enter). */
struct name *names_find(const struct names *names, const char *name);
struct name *names_enter(struct names *names, const char *name);
/* Every step-local thing goes. */
void names_end_step(struct names *names, int step);

/* Live copies of a payload; cgroup NULL: anywhere. ret_live: one of them, may be NULL. */
size_t names_count_live(
	const struct names *names, const char *payload, const char *cgroup, const struct live **ret_live);
/* False: there are NAMES_LIVE_MAX already. */
bool names_add_live(struct names *names, const char *payload, const char *cgroup, enum name_owner owner);
/* Forgets copies; payload or cgroup NULL: any. */
void names_drop_live(struct names *names, const char *payload, const char *cgroup);

/* Those of one cgroup are another's from then on; step-local ones come to `owner` if that is the backdrop. */
void names_move_live(struct names *names, const char *from, const char *to, enum name_owner owner);

void names_add_tag(struct names *names, const char *tag);
bool names_has_tag(const struct names *names, const char *tag);

#endif
