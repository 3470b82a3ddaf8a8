/* SPDX-License-Identifier: GPL-2.0-only OR LGPL-2.1-only OR BSD-2-Clause */
/* Frame header (see frame.h). No state. */
#include "common/frame.h"

#include <endian.h>
#include <string.h>

void frame_encode(const struct frame_header *header, uint8_t bytes[FRAME_HEADER_BYTES])
{
	uint32_t length = htole32(header->length);
	uint16_t type = htole16(header->type), stream = htole16(header->stream);
	uint64_t seq = htole64(header->seq);
	memcpy(bytes, &length, 4);
	memcpy(bytes + 4, &type, 2);
	memcpy(bytes + 6, &stream, 2);
	memcpy(bytes + 8, &seq, 8);
}

struct frame_header frame_decode(const uint8_t bytes[FRAME_HEADER_BYTES])
{
	uint32_t length;
	uint16_t type, stream;
	uint64_t seq;
	memcpy(&length, bytes, 4);
	memcpy(&type, bytes + 4, 2);
	memcpy(&stream, bytes + 6, 2);
	memcpy(&seq, bytes + 8, 8);
	return (struct frame_header){.length = le32toh(length),
		.type = le16toh(type),
		.stream = le16toh(stream),
		.seq = le64toh(seq)};
}
