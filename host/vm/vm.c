/* SPDX-License-Identifier: GPL-2.0-only */
/* A VM's life: made, started, ended, stopped, freed. Which thread: see vm.h. */
#include "host/vm/vm.h"

#include "host/vm/irq.h"
#include "host/vm/vm_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#define REKICK_NS (20 * NS_PER_MS)
/* linux/kvm.h of Debian 12 has it; others may be older. Documentation/virt/kvm/api.rst 7.21. */
#ifndef KVM_CAP_HALT_POLL
#define KVM_CAP_HALT_POLL 182
#endif

static void ignore_signal(int sig)
{
}

/* The handler only has to exist: it makes KVM_RUN and futex waits return. No SA_RESTART for that reason. */
static void install_kick_handler(void)
{
	struct sigaction sa = {.sa_handler = ignore_signal};
	sigaction(VCPU_KICK_SIGNAL, &sa, NULL);
}

static int open_kvm(struct vm *vm, struct err *err)
{
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0) {
		int e = errno;
		if (e == ENOENT || e == ENXIO || e == ENODEV)
			return err_set_os(err, ERR_HOST, e,
				"there is no /dev/kvm: load kvm_amd or kvm_intel (modprobe), switch "
				"virtualisation on in the "
				"firmware, or run in a VM that has nested virtualisation");
		if (e == EACCES || e == EPERM)
			return err_set_os(err, ERR_HOST, e,
				"no permission to use /dev/kvm: add this user to the group that owns it "
				"(usually kvm)");
		return err_set_os(err, ERR_HOST, e, "cannot open /dev/kvm");
	}
	int version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return err_set(err, ERR_HOST, "/dev/kvm speaks version %d of its interface, not %d", version,
			KVM_API_VERSION);
	return 0;
}

static int check_host(struct vm *vm, const struct vm_config *config, struct err *err)
{
	static const struct {
		int cap;
		bool irqchip; /* needed with an in-kernel irqchip only */
		const char *name;
	} needed[] = {
		{KVM_CAP_USER_MEMORY, false, "KVM_CAP_USER_MEMORY"},
		{KVM_CAP_IMMEDIATE_EXIT, false, "KVM_CAP_IMMEDIATE_EXIT"},
		{KVM_CAP_IOEVENTFD, false, "KVM_CAP_IOEVENTFD"},
		{KVM_CAP_IRQCHIP, true, "KVM_CAP_IRQCHIP"},
		{KVM_CAP_IRQFD, true, "KVM_CAP_IRQFD"},
		{KVM_CAP_MP_STATE, true, "KVM_CAP_MP_STATE"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if ((config->irqchip || !needed[i].irqchip) &&
			ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0)
			return err_set(err, ERR_HOST, "this host's KVM lacks %s", needed[i].name);
	int max = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	if (config->n_vcpus > (unsigned)MAX_OF(max, 1))
		return err_set(err, ERR_HOST, "%u vCPUs wanted, and this host's KVM allows %d",
			config->n_vcpus, max);
	int max_id = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID);
	for (unsigned i = 0; config->apic_ids && i < config->n_vcpus; i++)
		if (max_id > 0 && config->apic_ids[i] >= (unsigned)max_id)
			return err_set(err, ERR_HOST,
				"APIC id %u wanted, and this host's KVM allows less than %d",
				config->apic_ids[i], max_id);
	int slots = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
	if (slots > 0 && config->memory->n_regions > (unsigned)slots)
		return err_set(err, ERR_HOST, "memory in %u pieces wanted, and this host's KVM allows %d",
			config->memory->n_regions, slots);
	return 0;
}

static int create(struct vm *vm, unsigned n_vcpus, struct err *err)
{
	/* Interrupted by a signal, for instance while registering its MMU notifier: nothing has happened
	 * then. */
	do
		vm->fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	while (vm->fd < 0 && errno == EINTR);
	if (vm->fd < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot create a VM on /dev/kvm");
	for (unsigned i = 0; i < vm->memory->n_regions; i++) {
		const struct gmem_region *r = &vm->memory->region[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r->start.v,
			.memory_size = r->size_bytes,
			.userspace_addr = (uintptr_t)r->host,
		};
		if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return err_set_os(err, ERR_HOST, errno,
				"cannot give %llu MiB of memory at %#llx to the VM",
				(unsigned long long)(r->size_bytes >> 20), (unsigned long long)r->start.v);
	}
	int rc = vm_create_irqchip(vm, err);
	if (rc < 0)
		return rc;
	/* A halted vCPU that polls takes the host CPU from one that could run. Best effort: it is about
	 * speed. */
	if (n_vcpus > vm_n_host_cpus(vm)) {
		struct kvm_enable_cap cap = {.cap = KVM_CAP_HALT_POLL, .args = {0}};
		(void)ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
	}
	return 0;
}

static int create_vcpus(struct vm *vm, unsigned n_vcpus, const uint32_t *apic_ids, struct err *err)
{
	int run_bytes = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_bytes < (int)sizeof(struct kvm_run))
		return err_set(err, ERR_HOST, "KVM says that a vCPU's shared state has %d bytes", run_bytes);
	vm->run_bytes = (size_t)run_bytes;
	vm->vcpus = calloc(n_vcpus, sizeof(vm->vcpus[0]));
	if (!vm->vcpus)
		return err_set(err, ERR_HOST, "out of memory");
	vm->n_vcpus = n_vcpus;
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		vm->vcpus[i].vm = vm;
		vm->vcpus[i].index = i;
		vm->vcpus[i].fd = -1;
	}
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		int rc = vcpu_create(vm, i, apic_ids ? apic_ids[i] : i, err);
		if (rc < 0)
			return rc;
	}
	vm->can_stop_time = vm_time_can_stop(vm);
	vm->tsc_khz = ioctl(vm->vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
	return 0;
}

struct vm *vm_new(const struct vm_config *config, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, install_kick_handler);
	if (config->n_vcpus < 1 || config->n_vcpus > CPUSET_MAX) {
		err_set(err, ERR_INVALID_ARGUMENT, "a VM has 1 to %d vCPUs, not %u", CPUSET_MAX,
			config->n_vcpus);
		return NULL;
	}
	_cleanup_(vm_free_p) struct vm *vm = calloc(1, sizeof(*vm));
	if (!vm) {
		err_set(err, ERR_HOST, "out of memory");
		return NULL;
	}
	pthread_mutex_init(&vm->life_lock, NULL);
	pthread_mutex_init(&vm->freeze_lock, NULL);
	pthread_cond_init(&vm->rendezvous_over, NULL);
	vm->kvm_fd = vm->fd = -1;
	vm->begun_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vm->memory = config->memory;
	vm->freeze_limit_ns = FREEZE_LIMIT_NS;
	vm->irqchip = config->irqchip;
	vm->ended = config->ended;
	vm->ended_arg = config->ended_arg;
	if (config->pin) {
		vm->pin = *config->pin;
		vm->has_pin = true;
	}
	if (vm->begun_fd < 0) {
		err_set_os(err, ERR_HOST, errno, "cannot make a VM");
		return NULL;
	}
	if (open_kvm(vm, err) < 0 || check_host(vm, config, err) < 0 ||
		create(vm, config->n_vcpus, err) < 0 ||
		create_vcpus(vm, config->n_vcpus, config->apic_ids, err) < 0)
		return NULL;
	return TAKE_PTR(vm);
}

void vm_free(struct vm *vm)
{
	if (!vm)
		return;
	vm_stop(vm);
	assert(!vm->freeze_held);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		vcpu_destroy(&vm->vcpus[i]);
	free(vm->vcpus);
	if (vm->begun_fd >= 0)
		close(vm->begun_fd);
	if (vm->fd >= 0)
		close(vm->fd);
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	pthread_cond_destroy(&vm->rendezvous_over);
	pthread_mutex_destroy(&vm->freeze_lock);
	pthread_mutex_destroy(&vm->life_lock);
	free(vm);
}

/* --- before the start --- */

int vm_add_mmio(struct vm *vm, const struct vm_region *region, struct err *err)
{
	assert(!vm->started);
	return bus_add(&vm->mmio, region, UINT64_MAX, err);
}

int vm_add_pio(struct vm *vm, const struct vm_region *region, struct err *err)
{
	assert(!vm->started);
	return bus_add(&vm->pio, region, 0x10000, err);
}

int vm_add_quiesce(struct vm *vm, const struct vm_quiesce *hook, struct err *err)
{
	assert(!vm->started);
	if (vm->n_quiesce == VM_QUIESCE_MAX)
		return err_set(err, ERR_LIMIT_EXCEEDED, "more than %d back ends to stop in a freeze",
			VM_QUIESCE_MAX);
	vm->quiesce[vm->n_quiesce++] = *hook;
	return 0;
}

int vm_fd(const struct vm *vm)
{
	return vm->fd;
}
int vm_kvm_fd(const struct vm *vm)
{
	return vm->kvm_fd;
}
int vm_vcpu_fd(const struct vm *vm, unsigned vcpu)
{
	assert(vcpu < vm->n_vcpus);
	return vm->vcpus[vcpu].fd;
}

unsigned vm_n_host_cpus(const struct vm *vm)
{
	/* The set may name some that are not there. */
	return vm->has_pin ? MIN_OF(cpuset_count(&vm->pin), cpuset_online_count()) : cpuset_usable_count();
}

unsigned vm_n_vcpus(const struct vm *vm)
{
	return vm->n_vcpus;
}
struct gmem *vm_memory(const struct vm *vm)
{
	return vm->memory;
}
struct vm_vcpu_counts vm_vcpu_counts(const struct vm *vm, unsigned vcpu)
{
	assert(vcpu < vm->n_vcpus);
	return (struct vm_vcpu_counts){
		.exits = atomic_load_explicit(&vm->vcpus[vcpu].n_exits, memory_order_relaxed),
		.kicks = atomic_load_explicit(&vm->vcpus[vcpu].n_kicks, memory_order_relaxed)};
}
uint64_t vm_first_run_ns(const struct vm *vm)
{
	return atomic_load_explicit(&vm->first_run_ns, memory_order_relaxed);
}

/* --- running --- */

static void join_all(struct vm *vm)
{
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		if (vm->vcpus[i].started)
			vcpu_set_immediate_exit(&vm->vcpus[i], 1);
	for (unsigned i = 0; i < vm->n_vcpus; i++)
		if (vm->vcpus[i].started)
			vcpu_signal(&vm->vcpus[i]);
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		struct vcpu *vcpu = &vm->vcpus[i];
		if (!vcpu->started)
			continue;
		while (!atomic_load_explicit(&vcpu->gone, memory_order_acquire)) {
			vm_futex_wait(&vcpu->gone, 0, clock_deadline_ns(REKICK_NS));
			vcpu_set_immediate_exit(vcpu, 1);
			vcpu_signal(vcpu);
		}
		pthread_join(vcpu->thread, NULL);
		vcpu->started = false;
	}
}

int vm_start(struct vm *vm, struct err *err)
{
	SCOPE_LOCK(&vm->life_lock);
	assert(!vm->started);
	if (vm->stopped)
		return err_set(err, ERR_CANCELLED, "the VM has been stopped before it was started");
	vm->pid = getpid();
	for (unsigned i = 0; i < vm->n_vcpus; i++) {
		int rc = vcpu_thread_start(&vm->vcpus[i], err);
		if (rc < 0) {
			atomic_fetch_or(&vm->gate, GATE_STOP);
			join_all(vm);
			vm->stopped = true;
			return rc;
		}
	}
	atomic_store_explicit(&vm->started, true, memory_order_release);
	return 0;
}

void vm_stop(struct vm *vm)
{
	assert(!vcpu_current());
	SCOPE_LOCK(&vm->life_lock);
	if (vm->stopped)
		return;
	vm->stopped = true;
	/* Parked threads wait on this word, running ones look at it when kicked; a freeze in progress gives
	 * up by it, and one that is held keeps what it has captured. */
	atomic_fetch_or(&vm->gate, GATE_STOP);
	vm_futex_wake(&vm->gate);
	vm_freeze_shut(vm);
	join_all(vm);
}

void vm_end(struct vm *vm, const struct vm_end_info *info)
{
	struct vcpu *vcpu = vcpu_current();
	assert(vcpu && vcpu->vm == vm);
	vcpu->dead = true;
	if (atomic_exchange(&vm->has_ended, true) || !vm->ended)
		return;
	struct vm_end_info copy = *info;
	copy.vcpu = vcpu->index;
	vm->ended(&copy, vm->ended_arg);
}
