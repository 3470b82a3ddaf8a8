/* SPDX-License-Identifier: GPL-2.0-only */
/* The machine as a whole (see machine.h): building it. How it lives and ends is in life.c. Loop thread,
 * before it runs. */
#include "host/machine/machine_internal.h"

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "host/arch/x86_64/acpi.h"
#include "host/arch/x86_64/cpuid.h"
#include "host/arch/x86_64/layout.h"
#include "host/kmem/image.h"
#include "proto/wire.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The guest's CID: the user back end is this VM's alone, so any number does. */
#define GUEST_CID 3u
#define MEMORY_MIN_BYTES (UINT64_C(256) << 20)
#define MEMORY_DEFAULT_BYTES (UINT64_C(1) << 30)
/* Beyond 8 CPUs, for per-CPU data and workers. */
#define MEMORY_PER_CPU_BYTES (UINT64_C(64) << 20)

/* What every kernel is told, with nokaslr unless asked otherwise. panic=-1: a panic resets at once,
 * and an unrequested reset is the crash signal. quiet: each byte on the serial port is an exit; the agent
 * forwards the whole log. */
static const char base_cmdline[] = "console=ttyS0 quiet panic=-1 reboot=acpi pci=off "
				   "random.trust_cpu=on";

static int plan_topology(struct machine *m, struct err *err)
{
	const struct options *o = m->options;
	uint64_t bytes = o->memory_bytes;
	int r = topology_parse(o->topology, bytes ? bytes : MEMORY_DEFAULT_BYTES, &m->topology, err);
	if (r == 0 && !bytes && m->topology.layout.n_cpus > 8) {
		bytes = MEMORY_DEFAULT_BYTES + (m->topology.layout.n_cpus - 8) * MEMORY_PER_CPU_BYTES;
		r = topology_parse(o->topology, bytes, &m->topology, err);
	}
	if (r < 0)
		return err_wrap(err, "--topology %s", o->topology);
	if (o->memory_bytes && o->memory_bytes < MEMORY_MIN_BYTES)
		return err_set(err, ERR_INVALID_ARGUMENT, "--memory: a stock kernel needs at least 256M");
	return 0;
}

static int find_agent(struct machine *m, char *path, size_t size, struct err *err)
{
	const char *asked = m->options->agent ? m->options->agent : getenv("SCHEDRIG_AGENT");
	if (asked) {
		if (access(asked, R_OK) < 0)
			return err_set_os(err, ERR_NOT_FOUND, errno, "cannot read the agent %s", asked);
		snprintf(path, size, "%s", asked);
		return 0;
	}
	/* Beside this program: in the build directory, or as installed. */
	static const char *const places[] = {
		"../guest/schedrig-agent", "../libexec/schedrig/schedrig-agent", "schedrig-agent"};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return err_set_os(err, ERR_HOST, errno, "cannot find this program's own directory");
	self[n] = '\0';
	*strrchr(self, '/') = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if ((size_t)snprintf(path, size, "%s/%s", self, places[i]) < size && access(path, R_OK) == 0)
			return 0;
	}
	return err_set(
		err, ERR_NOT_FOUND, "schedrig-agent is not beside %s: build it, or give --agent PATH", self);
}

static int prepare_initramfs(struct machine *m, struct err *err)
{
	const struct options *o = m->options;
	char agent[PATH_MAX];
	int r = find_agent(m, agent, sizeof(agent), err);
	if (r < 0)
		return r;
	struct initramfs_staged *staged = calloc(o->n_stage + 1, sizeof(*staged));
	if (!staged)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot plan the initramfs");
	for (unsigned i = 0; i < o->n_stage; i++) {
		staged[i] = (struct initramfs_staged){.name = o->stage[i].name, .path = o->stage[i].path};
		m->staged[i] = o->stage[i].name;
	}
	struct initramfs_module modules[INITRAMFS_MODULES_MAX];
	initramfs_choose_modules(o->net, o->n_disks != 0, modules);
	struct initramfs_config config = {.kernel = &m->kernel,
		.agent = agent,
		.modules = modules,
		.staged = staged,
		.n_staged = o->n_stage,
		.cache_dir = m->cache_dir};
	r = initramfs_open(&config, &m->initramfs, err);
	free(staged);
	return r;
}

/* Takes the device over; NULL: it could not be made, err says why. */
static int add_device(struct machine *m, struct virtio_device *dev, struct err *err)
{
	if (!dev)
		return err_errno(err->code);
	m->devices[m->n_devices++] = dev;
	return virtio_attach(m->vm, m->loop, dev, m->n_devices - 1, err);
}

static int add_devices(struct machine *m, struct err *err)
{
	m->console = console_log_new(m->loop, m->options->console, err);
	if (!m->console)
		return err_errno(err->code);
	m->serial = serial_attach(m->vm, console_ring_put, console_log_ring(m->console), err);
	if (!m->serial)
		return err_errno(err->code);
	int r = power_attach(m->vm, err);
	if (r < 0)
		return r;
	struct vsock_config vsock = {.guest_cid = GUEST_CID};
	m->vsock = vsock_new(&vsock, m->loop, err);
	if (!m->vsock)
		return err_errno(err->code);
	r = add_device(m, vsock_device(m->vsock), err);
	if (r == 0)
		r = vsock_listen(m->vsock, WIRE_AGENT_PORT, machine_on_agent, m, err);
	if (r < 0)
		return r;
	r = add_device(m, rng_new(err), err);
	if (r == 0 && m->options->net)
		r = add_device(m, net_new(err), err);
	/* Last: their number must not move the others, whose names in the guest people write down. */
	for (unsigned i = 0; r == 0 && i < m->n_disks; i++)
		r = virtio_attach(m->vm, m->loop, m->disks[i], m->n_devices + i, err);
	return r;
}

static int load_guest(struct machine *m, struct err *err)
{
	struct acpi_config acpi = {
		.topology = &m->topology, .memory = m->memory, .n_virtio = m->n_devices + m->n_disks};
	uint8_t *tables = gmem_ptr(m->memory, GPA(LAYOUT_ACPI), LAYOUT_ACPI_BYTES);
	size_t used;
	int r = acpi_build(&acpi, GPA(LAYOUT_ACPI), tables, LAYOUT_ACPI_BYTES, &used, err);
	if (r < 0)
		return r;
	int n = snprintf(m->cmdline, sizeof(m->cmdline), "%s%s%s%s", base_cmdline,
		m->options->kaslr ? "" : " nokaslr", *m->options->cmdline ? " " : "", m->options->cmdline);
	if (n < 0 || (size_t)n >= sizeof(m->cmdline))
		return err_set(err, ERR_LIMIT_EXCEEDED, "--cmdline is too long: %zu bytes are possible",
			sizeof(m->cmdline) - sizeof(base_cmdline) - sizeof(" nokaslr"));
	struct boot_config boot = {.kernel = m->image,
		.load = m->load,
		.cmdline = m->cmdline,
		.initramfs = m->initramfs.bytes,
		.initramfs_bytes = m->initramfs.size,
		.initramfs_fd = m->initramfs.fd,
		.acpi = true,
		.kaslr = m->options->kaslr};
	r = cpuid_apply(m->vm, &m->topology, err);
	return r < 0 ? r : boot_kernel(m->vm, &boot, NULL, err);
}

/* What no kernel may lack and the image itself tells: before anything boots. (Modules are the initramfs's to
 * miss.) */
static int check_image(const struct machine *m, struct err *err)
{
	struct kimage image;
	int r = kimage_init(&image, m->image->elf, m->image->elf_bytes, err);
	if (r < 0)
		return err_wrap(err, "kernel %s", m->kernel.image);
	if (!image.btf.length)
		return err_set(err, ERR_UNSUPPORTED,
			"kernel %s has no BTF, by which its memory is read: build it with "
			"CONFIG_DEBUG_INFO_BTF=y",
			m->kernel.image);
	return 0;
}

static int build(struct machine *m, struct err *err)
{
	const struct options *o = m->options;
	/* What the user may have got wrong comes before what costs time. */
	int r = plan_topology(m, err);
	if (r == 0)
		r = machine_open_disks(m, err);
	if (r == 0)
		r = kernel_store_dir(m->cache_dir, sizeof(m->cache_dir), err);
	if (r == 0) {
		r = kernel_find(o->kernel, m->cache_dir, &m->kernel, err);
		/* No kernel is what the host lacks (exit code 69), not a mistake in an option. */
		if (r < 0 && err->code == ERR_NOT_FOUND)
			err->code = ERR_HOST;
	}
	if (r == 0)
		r = kernel_image_load(m->kernel.image, &m->image, err);
	if (r == 0)
		r = check_image(m, err);
	if (r < 0)
		return r;
	m->memory = gmem_new(m->topology.node_bytes, m->topology.n_nodes, err);
	if (!m->memory)
		return err_errno(err->code);
	/* Takes as long as all that follows, and goes on meanwhile. */
	r = boot_load_start(
		m->image, machine_kernel_moves(m) ? BOOT_PACKED : BOOT_UNPACKED, m->memory, &m->load, err);
	if (r < 0)
		err_wrap(err, "kernel %s", m->kernel.image);
	if (r == 0)
		r = prepare_initramfs(m, err);
	if (r == 0 && o->run_dir) {
		r = fd_mkdir_p(o->run_dir, 0755, err);
		if (r < 0)
			err_wrap(err, "--run-dir");
	}
	if (r < 0)
		return r;
	struct vm_config config = {.n_vcpus = m->topology.layout.n_cpus,
		.memory = m->memory,
		.apic_ids = m->topology.apic_id,
		.irqchip = true,
		.pin = o->has_pin ? &o->pin : NULL,
		.ended = machine_on_vm_ended,
		.ended_arg = m};
	m->vm = vm_new(&config, err);
	if (!m->vm)
		return err_errno(err->code);
	r = add_devices(m, err);
	if (r == 0)
		r = load_guest(m, err);
	if (r == 0)
		r = machine_connect(m, err);
	return r;
}

int machine_new(const struct options *options, struct loop *loop, uint64_t start_ns,
	const struct machine_ops *ops, struct machine **ret, struct err *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	if (!m)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot create the machine");
	m->options = options;
	m->initramfs = INITRAMFS_EMPTY;
	m->loop = loop;
	m->start_ns = start_ns;
	m->ops = *ops;
	pthread_mutex_init(&m->lock, NULL);
	int r = build(m, err);
	if (r == 0)
		r = machine_start(m, err);
	if (r < 0) {
		machine_halt(m);
		machine_free(m);
		return r;
	}
	*ret = m;
	return 0;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	machine_halt(m);
	machine_disconnect(m);
	serial_free(m->serial);
	vm_free(m->vm);
	for (unsigned i = 0; i < m->n_devices; i++)
		virtio_free(m->devices[i]);
	machine_free_disks(m);
	console_log_free(m->console);
	boot_load_free(m->load);
	gmem_free(m->memory);
	initramfs_close(&m->initramfs);
	kernel_image_free(m->image);
	pthread_mutex_destroy(&m->lock);
	free(m);
}
