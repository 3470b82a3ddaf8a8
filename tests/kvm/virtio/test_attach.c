/* SPDX-License-Identifier: GPL-2.0-only */
/* Devices on a real VM: a guest of a few instructions reads their registers (MMIO exits), notifies them
 * (ioeventfd), sees the used ring move and acknowledges the interrupt, which the I/O APIC has got (irqfd).
 * The rings are laid out from outside before the guest starts. */
#include "flat.h"

#include "common/clock.h"
#include "host/virtio/net.h"
#include "host/virtio/rng.h"
#include "host/vm/freeze.h"

#include <criterion/criterion.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define DESC 0x20000u
#define AVAIL 0x21000u
#define USED 0x22000u
#define BUFFER 0x23000u
#define TX_DESC 0x24000u
#define TX_AVAIL 0x25000u
#define TX_USED 0x26000u
#define TX_BUFFER 0x27000u

/* 32-bit, flat, no paging. Does what else is given, notifies `queue` and waits for the first queue's used
 * ring.
 */
#define CODE(queue, ...)                                                                                     \
	{                                                                                                    \
		0xbe, 0x00, 0x20, 0x00, 0xd0,               /* mov esi, registers of slot 2 */               \
			0x8b, 0x06,                         /* mov eax, [esi] */                             \
			0xa3, 0x00, 0x80, 0x00, 0x00,       /* mov [REPORT], eax */                          \
			__VA_ARGS__,                        /* */                                            \
			0xb8, (queue), 0x00, 0x00, 0x00,    /* mov eax, queue */                             \
			0x89, 0x46, 0x50,                   /* mov [esi + QueueNotify], eax */               \
			0x66, 0xa1, 0x02, 0x20, 0x02, 0x00, /* 1: mov ax, [USED + 2] */                      \
			0x66, 0x85, 0xc0,                   /* test ax, ax */                                \
			0x74, 0xf5,                         /* jz 1b */                                      \
			0x8b, 0x46, 0x60,                   /* 2: mov eax, [esi + InterruptStatus] */        \
			0x85, 0xc0,                         /* test eax, eax */                              \
			0x74, 0xf9,                         /* jz 2b */                                      \
			0xa3, 0x04, 0x80, 0x00, 0x00,       /* mov [REPORT + 4], eax */                      \
			0x89, 0x46, 0x64,                   /* mov [esi + InterruptACK], eax */              \
			0x8b, 0x46, 0x60,                   /* mov eax, [esi + InterruptStatus] */           \
			0xa3, 0x08, 0x80, 0x00, 0x00,       /* mov [REPORT + 8], eax */                      \
			0xb8, 0x01, 0x00, 0x00, 0x00,       /* mov eax, 1 */                                 \
			0xa3, 0x0c, 0x80, 0x00, 0x00,       /* mov [REPORT + 12], eax */                     \
			0xf4,                               /* 3: hlt */                                     \
			0xeb, 0xfd,                         /* jmp 3b */                                     \
	}
static const uint8_t rng_code[] = CODE(0, 0x90 /* nop */);
/* mov word [TX_AVAIL + 2], 1: only then is there a frame, so that nothing but its notification can send it */
static const uint8_t net_code[] = CODE(1, 0x66, 0xc7, 0x05, 0x02, 0x50, 0x02, 0x00, 0x01, 0x00);

static void nothing(void *arg)
{
}

Test(virtio_kvm, a_guest_uses_a_device, .timeout = 60)
{
	struct err err = ERR_INIT;
	struct flat flat;
	struct vring_desc desc = {.addr = BUFFER, .len = 64, .flags = VRING_DESC_F_WRITE};
	flat_init(&flat, rng_new(&err), rng_code, sizeof(rng_code));
	flat_negotiate(&flat);
	flat_queue(&flat, 0, DESC, AVAIL, USED);
	flat_driver_ok(&flat);
	flat_put(&flat, DESC, &desc, sizeof(desc));
	flat_start(&flat);

	/* A buffer that is there during a freeze is served after it, however long that takes. */
	struct freeze *freeze;
	cr_assert_eq(
		vm_freeze(flat.vm, clock_deadline_ns(10 * NS_PER_S), &freeze, &err), 0, "%s", err.message);
	struct vring_avail *avail = gmem_ptr(flat.memory, GPA(AVAIL), 64);
	struct vring_used *used = gmem_ptr(flat.memory, GPA(USED), 64);
	__atomic_store_n(&avail->idx, 1, __ATOMIC_RELEASE);
	virtio_kick(flat.dev);
	/* The second call finds everything done that was ready before the first. */
	cr_assert_eq(loop_call(flat.loop, nothing, NULL), 0);
	cr_assert_eq(loop_call(flat.loop, nothing, NULL), 0);
	cr_assert_eq(__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE), 0, "written in a freeze");
	vm_thaw(freeze, NULL);

	const volatile uint32_t *report = flat_wait(&flat, 3);
	cr_assert_eq(report[0], 0x74726976, "magic");
	cr_assert_eq(report[1], VIRTIO_MMIO_INT_VRING);
	cr_assert_eq(report[2], 0, "acknowledged");
	cr_assert_eq(used->ring[0].len, 64);
	flat_assert_interrupted(&flat);
	flat_deinit(&flat);
}

Test(virtio_kvm, a_frame_comes_back_to_the_guest, .timeout = 60)
{
	enum { FRAME = 60, PACKET = NET_HEADER_BYTES + FRAME };
	struct err err = ERR_INIT;
	struct flat flat;
	struct vring_desc rx = {
		.addr = BUFFER, .len = NET_HEADER_BYTES + NET_FRAME_MAX, .flags = VRING_DESC_F_WRITE};
	struct vring_desc tx[2] = {
		{.addr = TX_BUFFER, .len = NET_HEADER_BYTES, .flags = VRING_DESC_F_NEXT, .next = 1},
		{.addr = TX_BUFFER + NET_HEADER_BYTES, .len = FRAME}};
	uint8_t packet[PACKET] = {0};
	for (unsigned i = 0; i < FRAME; i++)
		packet[NET_HEADER_BYTES + i] = (uint8_t)(3 * i + 1);
	uint16_t avail[3] = {0, 1, 0};
	flat_init(&flat, net_new(&err), net_code, sizeof(net_code));
	flat_negotiate(&flat);
	flat_queue(&flat, 0, DESC, AVAIL, USED);
	flat_queue(&flat, 1, TX_DESC, TX_AVAIL, TX_USED);
	flat_put(&flat, DESC, &rx, sizeof(rx));
	flat_put(&flat, TX_DESC, tx, sizeof(tx));
	flat_put(&flat, TX_BUFFER, packet, sizeof(packet));
	flat_put(&flat, AVAIL, avail, sizeof(avail));
	flat_driver_ok(&flat);
	flat_start(&flat);

	const volatile uint32_t *report = flat_wait(&flat, 3);
	cr_assert_eq(report[0], 0x74726976, "magic");
	cr_assert_eq(report[1], VIRTIO_MMIO_INT_VRING);
	const struct vring_used *used = gmem_ptr(flat.memory, GPA(USED), 64);
	const struct vring_used *tx_used = gmem_ptr(flat.memory, GPA(TX_USED), 64);
	cr_assert_eq(used->idx, 1);
	cr_assert_eq(used->ring[0].len, PACKET);
	cr_assert_eq(tx_used->idx, 1);
	const uint8_t *back = gmem_ptr(flat.memory, GPA(BUFFER), PACKET);
	struct virtio_net_hdr_v1 hdr, want = {.num_buffers = 1};
	memcpy(&hdr, back, sizeof(hdr));
	cr_assert_arr_eq(&hdr, &want, sizeof(hdr));
	cr_assert_arr_eq(back + NET_HEADER_BYTES, packet + NET_HEADER_BYTES, FRAME);
	flat_assert_interrupted(&flat);
	flat_deinit(&flat);
}
