/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* Frame types and numbers of both links. The frame header itself is in common/frame.h. */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#define WIRE_MAJOR 1u
#define WIRE_MINOR 0u

/* Frame types. Unknown ones are answered with ERROR (Unsupported) and otherwise ignored. */
enum wire_type {
	WIRE_HELLO = 1,    /* Hello, AgentHello or ControllerHello */
	WIRE_READY = 2,    /* AgentReady */
	WIRE_REQUEST = 3,  /* Request or AgentRequest; seq is its id, chosen by the asker, not 0 */
	WIRE_RESPONSE = 4, /* Response or AgentResponse; seq is the request's */
	WIRE_EVENT = 5,    /* Event or AgentEvent; seq is the subscribing request's, or 0 */
	WIRE_PART = 6,     /* next bytes of a message longer than a frame: the rest comes in a RESPONSE of the
			      same seq */
	WIRE_ERROR = 7,    /* Error: a frame that could not be understood; seq is that frame's */
};

/* virtio-vsock port on the host to which the agent connects. */
#define WIRE_AGENT_PORT 1024u
/* Largest message that may come in parts. */
#define WIRE_MESSAGE_MAX_BYTES (64u * 1024 * 1024)

/* Largest piece of a file or of output in one message. */
#define WIRE_CHUNK_BYTES (128u * 1024)

/* Limits on what a scenario may hold: anything beyond is LimitExceeded at validation. */
#define LIMIT_STEPS 1024u
#define LIMIT_OPS_PER_LIST 4096u
#define LIMIT_CGROUPS 1024u
#define LIMIT_CGROUP_NAME_BYTES 255u
#define LIMIT_WORKERS 4096u           /* at once */
#define LIMIT_SCENARIO_WORKERS 16384u /* one after the other: each has a report */
#define LIMIT_ARGS 256u
#define LIMIT_PAYLOADS 256u
#define LIMIT_SCHEDULERS 64u
#define LIMIT_SYSCTLS 64u
#define LIMIT_SYSCTL_BYTES 4095u /* what the kernel takes in one write */
#define LIMIT_RODATA 256u
#define LIMIT_NAME_BYTES 128u
#define LIMIT_COMM_BYTES 15u
#define LIMIT_KERNEL_BATCH 16384u
#define LIMIT_IO_DEVICES 16u
#define LIMIT_ARTIFACTS 64u
#define LIMIT_PAYLOAD_CHECKS 256u

#endif
