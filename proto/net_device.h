/* SPDX-License-Identifier: LGPL-2.1-only OR BSD-2-Clause */
/* The network device that a controller gives its machine: a loopback. The agent knows it by its address, so
 * that it never sends anything on a network that leads somewhere. */
#ifndef PROTO_NET_DEVICE_H
#define PROTO_NET_DEVICE_H

/* Locally administered: 02 and "sched". The machine is alone on its wire. */
#define NET_DEVICE_ADDRESS                                                                                   \
	{                                                                                                    \
		0x02, 's', 'c', 'h', 'e', 'd'                                                                \
	}
#define NET_DEVICE_ADDRESS_TEXT "02:73:63:68:65:64"

#endif
