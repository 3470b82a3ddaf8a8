/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The disks that a controller gives its machine. The agent knows by its serial number (/sys/block/vda/serial)
 * which of them work may write over, so that it never writes on what holds somebody's data. */
#ifndef PROTO_DISK_DEVICE_H
#define PROTO_DISK_DEVICE_H

/* Each is followed by the disk's number, from 0 on; 20 characters are possible. */
#define DISK_SERIAL "schedrig-disk"
#define DISK_SERIAL_SCRATCH "schedrig-scratch"

/* Room for one worker's file; those that could be written over are not smaller. */
#define DISK_SCRATCH_MIN_BYTES (4u << 20)

#endif
