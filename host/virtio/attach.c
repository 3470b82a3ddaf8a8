/* SPDX-License-Identifier: GPL-2.0-only */
/* Binds a device to a real VM. Main thread, before vm_start(). The only file here that knows struct vm. */
#include "host/arch/x86_64/layout.h"
#include "host/virtio/mmio.h"
#include "host/vm/vm.h"

#include <linux/virtio_mmio.h>

static void quiesce(void *arg)
{
	virtio_quiesce(arg);
}
static void resume(void *arg)
{
	virtio_resume(arg);
}

int virtio_attach(struct vm *vm, struct loop *loop, struct virtio_device *dev, unsigned slot, struct err *err)
{
	if (slot >= LAYOUT_VIRTIO_MAX)
		return err_set(
			err, ERR_LIMIT_EXCEEDED, "a VM has at most %u virtio devices", LAYOUT_VIRTIO_MAX);
	uint64_t base = LAYOUT_VIRTIO + (uint64_t)slot * LAYOUT_VIRTIO_STRIDE;
	int irq_fd = vm_add_irqfd(vm, LAYOUT_VIRTIO_GSI + slot, err);
	if (irq_fd < 0)
		return err_wrap(err, "cannot attach the %s device", dev->ops->name);
	struct virtio_host host = {.memory = vm_memory(vm), .loop = loop, .irq_fd = irq_fd};
	int r = virtio_bind(dev, &host, err);
	for (unsigned i = 0; r == 0 && i < dev->ops->n_queues; i++)
		r = vm_add_ioeventfd(vm, GPA(base + VIRTIO_MMIO_QUEUE_NOTIFY), 4, i, dev->kick_fd, err);
	struct vm_region region = {.base = base,
		.size_bytes = LAYOUT_VIRTIO_STRIDE,
		.read = virtio_mmio_read,
		.write = virtio_mmio_write,
		.arg = dev};
	if (r == 0)
		r = vm_add_mmio(vm, &region, err);
	struct vm_quiesce hook = {.quiesce = quiesce, .resume = resume, .arg = dev};
	if (r == 0)
		r = vm_add_quiesce(vm, &hook, err);
	return r < 0 ? err_wrap(err, "cannot attach the %s device", dev->ops->name) : 0;
}
