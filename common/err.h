/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-only OR BSD-2-Clause */
/* Typed failures: a code, a sentence a user can act on, and its place. Fixed size, caller-owned, any thread.
 *
 * A function that can fail returns 0 or a negative errno and fills the caller's `struct err` (which may be
 * NULL where the caller only needs the number). err_set() where it happens, err_wrap() when it crosses a
 * room. Libraries do not log failures; the boundary (op, request, main) reports the struct once. */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include "common/check.h"

/* One to one with the wire's schedrig.v1.ErrorCode: the numbers are protocol and never change. */
#define ERR_CODE_LIST(X)                                                                                     \
	X(INVALID_ARGUMENT, 1, "InvalidArgument", EINVAL)                                                    \
	X(NOT_FOUND, 2, "NotFound", ENOENT)                                                                  \
	X(ALREADY_EXISTS, 3, "AlreadyExists", EEXIST)                                                        \
	X(AMBIGUOUS, 4, "Ambiguous", ENOTUNIQ)                                                               \
	X(FAILED_PRECONDITION, 5, "FailedPrecondition", EPERM)                                               \
	X(BUSY, 6, "Busy", EBUSY)                                                                            \
	X(LIMIT_EXCEEDED, 7, "LimitExceeded", E2BIG)                                                         \
	X(TIMEOUT, 8, "Timeout", ETIMEDOUT)                                                                  \
	X(CANCELLED, 9, "Cancelled", ECANCELED)                                                              \
	X(UNSUPPORTED, 10, "Unsupported", EOPNOTSUPP)                                                        \
	X(UNMAPPED, 11, "Unmapped", EFAULT)                                                                  \
	X(KERNEL_LAYOUT, 12, "KernelLayout", ENOTSUP)                                                        \
	X(GUEST_OS, 13, "GuestOs", EREMOTEIO)                                                                \
	X(GUEST_CRASHED, 14, "GuestCrashed", ENOTCONN)                                                       \
	X(GUEST_HUNG, 15, "GuestHung", ETIME)                                                                \
	X(AGENT_LOST, 16, "AgentLost", ECONNRESET)                                                           \
	X(HOST, 17, "Host", EIO)                                                                             \
	X(INTERNAL, 18, "Internal", EPROTO)

enum err_code {
	ERR_NONE = 0,
#define X(name, number, text, errnum) ERR_##name = number,
	ERR_CODE_LIST(X)
#undef X
};

struct err {
	enum err_code code;
	int os_errno;      /* positive errno behind it, or 0 */
	char reason[32];   /* finer name where the specification tells errors apart, e.g. "no-such-member"; or
			      "" */
	char place[160];   /* e.g. "steps[2].ops[0].cpus.start", or "" */
	char message[640]; /* one sentence, no trailing period or newline */
};

#define ERR_INIT ((struct err){0})

/* Sets code and sentence (reason, place and errno are cleared). Returns the code's negative errno. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...) printf_like(3, 4);
/* The same, with the system's reason appended (": No such file or directory"). errnum > 0. Returns as
 * err_set. */
int err_set_os(struct err *err, enum err_code code, int errnum, const char *fmt, ...) printf_like(4, 5);
/* Puts "text: " before the sentence, keeping the rest. Returns the code's negative errno. */
int err_wrap(struct err *err, const char *fmt, ...) printf_like(2, 3);
/* Names the finer reason. Returns the code's negative errno. */
int err_reason(struct err *err, const char *reason);
/* Puts text before the place ("steps[2]" before "ops[0]" gives "steps[2].ops[0]"). Returns the code's
 * negative errno. */
int err_at(struct err *err, const char *fmt, ...) printf_like(2, 3);

/* The code's name in the specification ("NotFound"); "Unknown" for numbers that are none. */
const char *err_code_name(enum err_code code);
/* The code of that name, or ERR_NONE. Case is significant. */
enum err_code err_code_from_name(const char *name);
/* Negative errno that stands for the code; -EPROTO for ERR_NONE. */
int err_errno(enum err_code code);

#endif
