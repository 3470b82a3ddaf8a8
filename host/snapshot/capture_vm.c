/* SPDX-License-Identifier: GPL-2.0-only */
/* A capture of a frozen VM. The freezing thread. */
#include "host/snapshot/capture.h"

void snapshot_capture(struct snapshot_raw *raw, const struct freeze *freeze)
{
	unsigned n = vm_n_vcpus(freeze_vm(freeze));

	snapshot_capture_kernel(raw);
	for (unsigned i = 0; i < MIN_OF(n, snapshot_raw_vcpus(raw)); i++)
		snapshot_capture_vcpu(raw, i, freeze_vcpu_state(freeze, i));
}
