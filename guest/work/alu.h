/* SPDX-License-Identifier: GPL-2.0-only */
/* Chains of dependent arithmetic in registers of several widths. Any thread. */
#ifndef GUEST_WORK_ALU_H
#define GUEST_WORK_ALU_H

#include <stdint.h>

/* Bits of the widest registers that CPU and kernel have: 64, 128, 256 or 512. */
unsigned alu_widest(void);
/* `units` links of a chain, each a multiplication and an addition that need the link before. width: at most
 * alu_widest(). Returns something of the result, so that it has to be computed. */
uint64_t alu_chain(unsigned width, uint32_t units, uint64_t seed);

#endif
