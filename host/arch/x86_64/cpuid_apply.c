/* SPDX-License-Identifier: GPL-2.0-only */
/* Gives each vCPU of a VM its CPUID (see cpuid.h). Before the vCPU threads run. No state. */
#include "host/arch/x86_64/cpuid.h"

#include "host/vm/vm.h"

#include <errno.h>
#include <sys/ioctl.h>

int cpuid_apply(struct vm *vm, const struct topology *topology, struct err *err)
{
	assert(vm_n_vcpus(vm) == topology->layout.n_cpus);
	struct cpuid_table supported, table;
	int r = cpuid_supported(vm_kvm_fd(vm), &supported, err);
	if (r < 0)
		return r;
	for (unsigned cpu = 0; cpu < topology->layout.n_cpus; cpu++) {
		r = cpuid_build(topology, cpu, &supported, &table, err);
		if (r < 0)
			return r;
		if (ioctl(vm_vcpu_fd(vm, cpu), KVM_SET_CPUID2, &table) < 0)
			return err_set_os(err, ERR_HOST, errno, "cannot set the CPUID of vCPU %u", cpu);
	}
	return 0;
}
