/* SPDX-License-Identifier: GPL-2.0-only */
/* Boots a kernel with the serial port and nothing else, and passes its console on: for looking at the first
 * steps of a kernel on a topology, without agent or controller. Freezes it meanwhile.
 *
 *   bootprobe KERNEL [TOPOLOGY [MiB [SECONDS [WORDS...]]]] */
#include "common/clock.h"
#include "host/arch/x86_64/acpi.h"
#include "host/arch/x86_64/cpuid.h"
#include "host/arch/x86_64/layout.h"
#include "host/vm/boot.h"
#include "host/vm/freeze.h"
#include "host/vm/power.h"
#include "host/vm/serial.h"

#include <semaphore.h>
#include <string.h>

static sem_t over;
static struct vm_end_info how;

static void ended(const struct vm_end_info *info, void *arg)
{
	how = *info;
	sem_post(&over);
}

static void out(const char *bytes, size_t n, void *arg)
{
	fwrite(bytes, 1, n, stdout);
	if (memchr(bytes, '\n', n))
		fflush(stdout);
}

/* Freezes the VM ten times a second while it boots, which a kernel does not notice. False at the deadline. */
static bool freeze_until_over(struct vm *vm, uint64_t deadline_ns)
{
	unsigned freezes = 0;
	uint64_t longest_ns = 0, sum_ns = 0;
	bool is_over = false;
	while (!is_over && clock_now_ns() < deadline_ns) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += 100 * 1000 * 1000;
		if (until.tv_nsec >= 1000 * 1000 * 1000) {
			until.tv_sec++;
			until.tv_nsec -= 1000 * 1000 * 1000;
		}
		is_over = sem_timedwait(&over, &until) == 0;
		struct freeze *freeze;
		struct freeze_times times;
		struct err err = ERR_INIT;
		if (vm_freeze(vm, clock_deadline_ns(5 * NS_PER_S), &freeze, &err) < 0) {
			fprintf(stderr, "freeze: %s\n", err.message);
			continue;
		}
		vm_thaw(freeze, &times);
		freezes++;
		sum_ns += times.parked_ns - times.asked_ns;
		longest_ns = MAX_OF(longest_ns, times.parked_ns - times.asked_ns);
	}
	fprintf(stderr, "%u freezes, %.0f us on average, %.0f us at most\n", freezes,
		(double)sum_ns / 1e3 / MAX_OF(freezes, 1u), (double)longest_ns / 1e3);
	return is_over;
}

static int probe(int argc, char **argv, struct err *err)
{
	uint64_t start_ns = clock_now_ns();
	const char *shape = argc > 2 ? argv[2] : "1n1l1c1t";
	uint64_t mib = argc > 3 ? strtoull(argv[3], NULL, 10) : 512;
	uint64_t seconds = argc > 4 ? strtoull(argv[4], NULL, 10) : 30;
	char cmdline[1024] = "earlyprintk=ttyS0,115200 console=ttyS0 panic=-1 nokaslr";
	for (int i = 5; i < argc; i++) {
		strncat(cmdline, " ", sizeof(cmdline) - strlen(cmdline) - 1);
		strncat(cmdline, argv[i], sizeof(cmdline) - strlen(cmdline) - 1);
	}
	struct topology topology;
	int rc = topology_parse(shape, mib << 20, &topology, err);
	if (rc < 0)
		return rc;
	_cleanup_(kernel_image_free_p) struct kernel_image *kernel = NULL;
	rc = kernel_image_load(argv[1], &kernel, err);
	if (rc < 0)
		return rc;
	uint64_t image_ns = clock_now_ns();
	_cleanup_(gmem_free_p) struct gmem *memory = gmem_new(topology.node_bytes, topology.n_nodes, err);
	if (!memory)
		return -1;
	struct vm_config config = {
		.n_vcpus = topology.layout.n_cpus,
		.memory = memory,
		.apic_ids = topology.apic_id,
		.irqchip = true,
		.ended = ended,
	};
	_cleanup_(serial_free_p) struct serial *serial = NULL;
	_cleanup_(vm_free_p) struct vm *vm = vm_new(&config, err);
	if (!vm)
		return -1;
	uint64_t vm_ns = clock_now_ns();
	serial = serial_attach(vm, out, NULL, err);
	if (!serial)
		return -1;
	struct acpi_config acpi = {.topology = &topology, .memory = memory};
	size_t used;
	if ((rc = power_attach(vm, err)) < 0 || (rc = cpuid_apply(vm, &topology, err)) < 0 ||
		(rc = acpi_build(&acpi, GPA(LAYOUT_ACPI),
			 gmem_ptr(memory, GPA(LAYOUT_ACPI), LAYOUT_ACPI_BYTES), LAYOUT_ACPI_BYTES, &used,
			 err)) < 0)
		return rc;
	struct boot_config boot = {.kernel = kernel, .cmdline = cmdline, .acpi = true};
	struct boot_info info;
	uint64_t boot_ns = clock_now_ns();
	if ((rc = boot_kernel(vm, &boot, &info, err)) < 0)
		return rc;
	uint64_t loaded_ns = clock_now_ns();
	if ((rc = vm_start(vm, err)) < 0)
		return rc;
	uint64_t started_ns = clock_now_ns();
	fprintf(stderr,
		"image %.2f ms, VM %.2f ms, devices and tables %.2f ms, kernel into memory %.2f ms, threads "
		"%.2f ms; entry "
		"%#llx\n",
		(double)(image_ns - start_ns) / 1e6, (double)(vm_ns - image_ns) / 1e6,
		(double)(boot_ns - vm_ns) / 1e6, (double)(loaded_ns - boot_ns) / 1e6,
		(double)(started_ns - loaded_ns) / 1e6, (unsigned long long)info.entry.v);
	bool timed_out = !freeze_until_over(vm, clock_deadline_ns(seconds * NS_PER_S));
	struct freeze *freeze;
	rc = vm_freeze(vm, clock_deadline_ns(5 * NS_PER_S), &freeze, err);
	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < vm_n_vcpus(vm); i++) {
		const struct vcpu_state *s = freeze_vcpu_state(freeze, i);
		fprintf(stderr, "vCPU %u: rip %#llx rsp %#llx cr3 %#llx mp_state %u exit %u%s\n", i,
			(unsigned long long)s->regs.rip, (unsigned long long)s->regs.rsp,
			(unsigned long long)s->sregs.cr3, s->mp_state, s->exit_reason,
			s->dead ? " dead" : "");
	}
	vm_thaw(freeze, NULL);
	vm_stop(vm);
	if (timed_out)
		fprintf(stderr, "still running after %llu s\n", (unsigned long long)seconds);
	else
		fprintf(stderr, "ended: %d on vCPU %u %s\n", how.why, how.vcpu, how.err.message);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: bootprobe KERNEL [TOPOLOGY [MiB [SECONDS [WORDS...]]]]\n");
		return 64;
	}
	sem_init(&over, 0, 0);
	struct err err = ERR_INIT;
	if (probe(argc, argv, &err) < 0) {
		fprintf(stderr, "bootprobe: %s\n", err.message);
		return 1;
	}
	return 0;
}
