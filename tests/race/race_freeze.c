/* SPDX-License-Identifier: GPL-2.0-only */
/* Under ThreadSanitizer: many threads freeze, read what was captured, thaw; vCPUs exit, die and end the VM;
 * someone stops it all. Exit status 77 when there is no /dev/kvm. */
#include "bare.h"
#include "common/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#define FREEZERS 6
#define ROUNDS 12
#define FREEZES 40

BARE_GUEST(guest_in_loop, "1: in %dx, %eax\n incq (%rdi)\n jmp 1b");
/* vCPU 0 ends soon. */
BARE_GUEST(guest_dies, "mov $2000, %ecx\n 1: in %dx, %eax\n incq (%rdi)\n test %ebx, %ebx\n jnz 1b\n"
		       "dec %ecx\n jnz 1b\n ud2");

struct freezer {
	pthread_t thread;
	struct bare *bare;
	bool until_stopped;
	bool looks; /* begins and looks, as a loop does, and gives up now and then; one thread of a VM may */
	unsigned frozen, cancelled, late, begun, given_up;
};

/* FREEZE_TAKEN: others are at it, or it was given up. */
static int begin_and_look(struct freezer *self, unsigned round, struct freeze **ret, struct err *err)
{
	struct vm *vm = self->bare->vm;
	uint64_t again_ns;
	int r = vm_freeze_begin(vm, NULL, &again_ns, err);
	self->begun += r == FREEZE_PENDING;
	if (r == FREEZE_PENDING && round % 5 == 4) {
		vm_freeze_abandon(vm);
		self->given_up++;
		return FREEZE_TAKEN;
	}
	while (r == FREEZE_PENDING) {
		struct pollfd parked = {.fd = vm_freeze_fd(vm), .events = POLLIN};
		(void)!poll(&parked, 1, clock_poll_ms(again_ns));
		r = vm_freeze_look(vm, ret, &again_ns, err);
	}
	return r;
}

static void *freezer(void *arg)
{
	struct freezer *self = arg;
	for (unsigned i = 0; i < FREEZES || self->until_stopped; i++) {
		struct err err = ERR_INIT;
		struct freeze *f;
		/* Every third has next to no patience, so that some leave from the middle of the queue. */
		uint64_t deadline = i % 3 ? CLOCK_NEVER_NS : clock_deadline_ns(100 * NS_PER_US);
		int r = self->looks ? begin_and_look(self, i, &f, &err) : FREEZE_TAKEN;
		if (r == FREEZE_TAKEN)
			r = vm_freeze(self->bare->vm, deadline, &f, &err);
		if (r < 0) {
			self->cancelled += err.code == ERR_CANCELLED;
			self->late += err.code == ERR_TIMEOUT;
			if (err.code == ERR_CANCELLED)
				return NULL;
			if (err.code != ERR_TIMEOUT)
				bare_die("freeze: %s", err.message);
			continue;
		}
		uint64_t sum[2] = {0};
		for (unsigned pass = 0; pass < 2; pass++)
			for (unsigned v = 0; v < vm_n_vcpus(self->bare->vm); v++)
				sum[pass] += freeze_vcpu_state(f, v)->regs.rax + bare_cell(self->bare, v);
		if (sum[0] != sum[1])
			bare_die("something moved while frozen");
		self->frozen++;
		vm_thaw(f, NULL);
	}
	return NULL;
}

static void *stopper(void *arg)
{
	vm_stop(((struct bare *)arg)->vm);
	return NULL;
}

static void round_of(unsigned n_vcpus, bool dies, bool stop_early, struct freezer *total)
{
	struct bare *b = dies ? bare_new(n_vcpus, guest_dies, guest_dies_end, 0)
			      : bare_new(n_vcpus, guest_in_loop, guest_in_loop_end, BARE_IRQCHIP);
	bare_start(b);
	struct freezer freezers[FREEZERS] = {0};
	for (unsigned i = 0; i < FREEZERS; i++) {
		freezers[i].bare = b;
		freezers[i].until_stopped = stop_early;
		freezers[i].looks = i == 0;
		pthread_create(&freezers[i].thread, NULL, freezer, &freezers[i]);
	}
	pthread_t stoppers[2];
	if (stop_early) {
		bare_wait_moved(b, 0, 0);
		for (unsigned i = 0; i < 2; i++)
			pthread_create(&stoppers[i], NULL, stopper, b);
	}
	for (unsigned i = 0; i < FREEZERS; i++) {
		pthread_join(freezers[i].thread, NULL);
		total->frozen += freezers[i].frozen;
		total->cancelled += freezers[i].cancelled;
		total->late += freezers[i].late;
		total->begun += freezers[i].begun;
		total->given_up += freezers[i].given_up;
	}
	for (unsigned i = 0; stop_early && i < 2; i++)
		pthread_join(stoppers[i], NULL);
	if (dies && !stop_early)
		bare_wait_ended(b);
	bare_free(b);
}

int main(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		puts("no /dev/kvm");
		return 77;
	}
	close(fd);
	unsigned fds = bare_count_entries("fd");
	struct freezer total = {0};
	for (unsigned i = 0; i < ROUNDS; i++)
		round_of(1 + i % 5, i % 3 == 1, i % 2, &total);
	/* Nobody else at it: what is begun does not find the VM taken. */
	struct freezer alone = {
		.bare = bare_start(bare_new(3, guest_in_loop, guest_in_loop_end, BARE_IRQCHIP)),
		.looks = true};
	freezer(&alone);
	bare_free(alone.bare);
	printf("%u freezes, %u cancelled by the stop, %u gave up waiting; %u begun, %u of them given up\n",
		total.frozen + alone.frozen, total.cancelled, total.late, total.begun + alone.begun,
		total.given_up + alone.given_up);
	if (alone.begun != FREEZES)
		bare_die("only %u of %u could be begun", alone.begun, FREEZES);
	if (total.frozen < 100 || total.cancelled == 0)
		bare_die("this has not tested what it should");
	if (bare_count_entries("fd") != fds)
		bare_die("file descriptors are left behind");
	return 0;
}
