/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-only OR BSD-2-Clause */
/* The header before every message on both links. 16 bytes, little-endian:
 *
 *     0        4       6        8                16
 *     | length | type  | stream | sequence number |  length bytes of payload follow
 *
 * What types mean is the protocol's business (proto/). No state, any thread. */
#ifndef COMMON_FRAME_H
#define COMMON_FRAME_H

#include "common/check.h"

#define FRAME_HEADER_BYTES 16
/* Largest payload that is accepted. A longer one is skipped and answered with an error if it is not beyond
 * FRAME_SKIP_BYTES; a connection that announces more is closed. */
#define FRAME_MAX_BYTES (256u * 1024)
#define FRAME_SKIP_BYTES (16u * 1024 * 1024)

struct frame_header {
	uint32_t length; /* payload bytes */
	uint16_t type;
	uint16_t stream; /* 0 outside bulk transfers */
	uint64_t seq;    /* request id; answers carry the request's */
};

void frame_encode(const struct frame_header *header, uint8_t bytes[FRAME_HEADER_BYTES]);
struct frame_header frame_decode(const uint8_t bytes[FRAME_HEADER_BYTES]);

#endif
