/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* Work types and their parameters as plain values, the same for who checks them (the controller) and who runs
 * them (the agent). Everything expands from work_list.h. Constant, any thread. */
#ifndef PROTO_WORK_H
#define PROTO_WORK_H

#include "proto/work_list.h"

#include "common/err.h"

#include <stdbool.h>

enum work_type {
#define X(number, snake, upper, ...) WORK_##upper = number,
	WORK_TYPE_LIST(X)
#undef X
		WORK_TYPES /* one above the largest */
};

enum work_param_kind {
#define K(kind, message) WORK_PARAM_##kind,
	WORK_PARAM_KIND_LIST(K)
#undef K
};

/* struct work_bursty { uint64_t burst_ns, sleep_ns; } and so on: every parameter is 64 bits wide. A policy
 * without priority is its enum work_policy, fifo and round_robin have the priority in the bits above 8. */
#define WORK_MEMBER_DURATION(name) name##_ns
#define WORK_MEMBER_SIZE(name) name##_bytes
#define WORK_MEMBER_COUNT(name) name
#define WORK_MEMBER_FLAG(name) name
#define WORK_MEMBER_POLICY(name) name
#define WORK_MEMBER_STEPS(name) n_##name
#define WORK_MEMBER_NODES(name) name##_mask
#define WORK_MEMBER_CGROUP(name) has_##name
#define WORK_MEMBER_PROGRAM(name) has_##name
#define P(name, kind, standard, min, max, what) uint64_t WORK_MEMBER_##kind(name);
#define X(number, snake, ...)                                                                                \
	struct work_##snake {                                                                                \
		WORK_PARAMS_##snake(P)                                                                       \
	};
WORK_TYPE_LIST(X)
#undef X
#undef P

enum work_policy { WORK_NORMAL, WORK_BATCH, WORK_IDLE, WORK_FIFO, WORK_ROUND_ROBIN, WORK_DEADLINE, WORK_EXT };
#define WORK_POLICY(policy, priority) ((uint64_t)(policy) | (uint64_t)(priority) << 8)

enum work_step_kind {
	WORK_STEP_SPIN,
	WORK_STEP_SLEEP,
	WORK_STEP_YIELD,
	WORK_STEP_IO,
	WORK_STEP_ALU,
	WORK_STEP_KINDS
};
struct work_step {
	enum work_step_kind kind;
	uint64_t ns;
};

#define WORK_PARAMS_MAX 8
struct work_params {
	enum work_type type;
	struct work_step steps[WORK_STEPS_MAX]; /* of a sequence */
	/* What a parameter names: text of the message it was read from, which must live as long. */
	const char *name;  /* a cgroup's, or a payload's */
	char *const *args; /* of a program, [n_args] */
	size_t n_args;
	union {
		uint64_t values[WORK_PARAMS_MAX]; /* in the list's order */
#define X(number, snake, ...) struct work_##snake snake;
		WORK_TYPE_LIST(X)
#undef X
	};
};

struct work_param {
	const char *name, *what;
	enum work_param_kind kind;
	uint64_t standard, min, max; /* standard: where none is given; limits of a policy mean nothing */
};
struct work_type_info {
	const char *name, *group, *what;
	const struct work_param *params;
	unsigned n_params;
};

/* NULL for a number that is none. */
const struct work_type_info *work_type_info(unsigned type);
/* Its name. type: one of the list. */
const char *work_type_name(enum work_type type);
/* Workers come in multiples of this. */
uint64_t work_group_size(const struct work_params *params);
struct work_params work_params_standard(enum work_type type);
/* Every value within its limits, or ERR_INVALID_ARGUMENT. */
int work_params_check(const struct work_params *params, struct err *err) must_check;
/* A value as people read it. Returns buffer. */
const char *work_param_text(enum work_param_kind kind, uint64_t value, char *buffer, size_t size);

#endif
