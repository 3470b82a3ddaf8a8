/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets for workers who send frames: on the machine's network device, a loopback of the controller's whose
 * frames come back (schedrigd --net). The agent opens them and its workers inherit them, so that workers need
 * neither privileges nor the device's name. Any thread.
 *
 *     0        6        12          14        18
 *     | device | device | 0x88b5    | channel | zeros ...     frame, as on the wire
 */
#ifndef GUEST_WORK_NIC_H
#define GUEST_WORK_NIC_H

#include "common/err.h"

#include <stdbool.h>

#define NIC_ETHERTYPE 0x88b5u /* IEEE 802: for local experiments */
#define NIC_HEADER_BYTES 18u

/* A packet socket bound to the device, which is brought up. receive: it gets the frames of that channel and
 * no others; else none. ERR_UNSUPPORTED: there is no such device. */
int nic_open(uint32_t channel, bool receive, int *ret_fd, struct err *err) must_check;
/* A channel that nobody has had. */
uint32_t nic_new_channel(void);
/* For tests, before any thread: the interface to take ("lo"), NULL: the controller's device. */
void nic_use(const char *name);

/* --- in worker processes, on sockets of nic_open(); -errno as well as errno --- */

/* Puts the first NIC_HEADER_BYTES of a frame together. 0 or -errno. */
int nic_header(int fd, uint32_t channel, uint8_t *frame) must_check;
/* What CLOCK_REALTIME is ahead of CLOCK_MONOTONIC: constant where nobody sets the clock. */
uint64_t nic_clock_offset(void);
/* Takes the next frame, without waiting. 1, 0: there is none; or -errno. ret_taken_ns: CLOCK_MONOTONIC when
 * the kernel took it from the device. */
int nic_take(int fd, uint64_t clock_offset_ns, uint64_t *ret_taken_ns) must_check;

#endif
