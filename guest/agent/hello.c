/* SPDX-License-Identifier: GPL-2.0-only */
/* Greeting: what the agent tells of its kernel, what it does with the controller's answer. Loop thread. */
#include "common/clock.h"
#include "common/fsat.h"
#include "common/scope.h"
#include "guest/agent/state.h"
#include "guest/init/init.h"
#include "guest/topo/topo.h"
#include "proto/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* _text is among the first symbols: before it are at most those of per-CPU variables. */
#define KALLSYMS_LINES 8192u

static char agent_role[] = "agent", agent_build[] = "schedrig " SCHEDRIG_VERSION;

static const struct {
	const char *path, *sentence;
} wanted[] = {
	{"/sys/kernel/btf/vmlinux", "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)"},
	{"/sys/kernel/sched_ext", "the kernel has no sched_ext (CONFIG_SCHED_CLASS_EXT)"},
	{"/sys/fs/bpf", "the kernel has no BPF file system (CONFIG_BPF_SYSCALL)"},
	{"/sys/kernel/debug/sched", "the kernel has no scheduler debug files (CONFIG_SCHED_DEBUG)"},
};

static void add_missing(struct arena *arena, PB(AgentHello) * hello)
{
	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
		if (access(wanted[i].path, F_OK) < 0)
			(void)ops_append(arena, &hello->missing, &hello->n_missing,
				arena_strdup(arena, wanted[i].sentence));
}

static void add_controllers(struct agent *agent, struct arena *arena, PB(AgentHello) * hello)
{
	char list[512];
	char *rest = list, *word;
	if (fsat_read(agent->config.root_fd, "cgroup.controllers", list, sizeof(list)) < 0)
		return;
	while ((word = strsep(&rest, " ")))
		if (*word)
			(void)ops_append(
				arena, &hello->controllers, &hello->n_controllers, arena_strdup(arena, word));
}

int hello_send(struct agent *agent, struct err *err)
{
	_cleanup_(arena_free_p) struct arena *arena = arena_new(1u << 20);
	PB(AgentHello) message = SCHEDRIG__V1__AGENT_HELLO__INIT;
	PB(Hello) hello = SCHEDRIG__V1__HELLO__INIT;
	struct utsname system;
	struct timespec up;
	if (!arena)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot greet the controller");
	uname(&system);
	clock_gettime(CLOCK_BOOTTIME, &up);
	hello.major = WIRE_MAJOR;
	hello.minor = WIRE_MINOR;
	hello.build = agent_build;
	hello.max_frame_bytes = FRAME_MAX_BYTES;
	hello.role = agent_role;
	hello.clock_ns = clock_now_ns();
	message.hello = &hello;
	message.kernel = system.release;
	message.boottime_ns = (uint64_t)up.tv_sec * NS_PER_S + (uint64_t)up.tv_nsec;
	message.in_vm = agent->config.in_vm;
	if (agent->config.in_vm) {
		message.page_gpas = &agent->page_gpa;
		message.n_page_gpas = 1;
	}
	add_controllers(agent, arena, &message);
	if (agent->config.in_vm)
		add_missing(arena, &message);
	if (link_send(agent, agent->link, WIRE_HELLO, 0, &message.base) < 0)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot greet the controller");
	return 0;
}

static int take_layout(const PB(CpuLayout) * wire, struct cpu_layout *layout, struct err *err)
{
	if (!wire || wire->n_cpus < 1 || wire->n_cpus > CPUSET_MAX)
		return err_set(err, ERR_INVALID_ARGUMENT, "the controller's layout has no CPUs, or too many");
	layout->n_cpus = (unsigned)wire->n_cpus;
	layout->n_nodes = wire->nodes;
	layout->n_llcs = wire->llcs;
	layout->n_cores = wire->cores;
	for (size_t i = 0; i < wire->n_cpus; i++) {
		const PB(CpuPlace) *place = wire->cpus[i];
		if (place->node >= CPUSET_MAX || place->llc >= CPUSET_MAX || place->core >= CPUSET_MAX ||
			place->thread >= CPUSET_MAX)
			return err_set(err, ERR_INVALID_ARGUMENT,
				"the controller's layout: CPU %zu is out of range", i);
		layout->cpu[i] = (struct cpu_place){(uint16_t)place->node, (uint16_t)place->llc,
			(uint16_t)place->core, (uint16_t)place->thread};
	}
	return cpu_layout_check(layout, err);
}

struct notes {
	struct arena *arena;
	PB(AgentReady) * ready;
};

static void add_note(void *arg, const char *note)
{
	struct notes *notes = arg;
	(void)ops_append(
		notes->arena, &notes->ready->notes, &notes->ready->n_notes, arena_strdup(notes->arena, note));
}

static void steer_link(struct agent *agent, unsigned n_cpus, struct notes *notes)
{
	struct err err = ERR_INIT;
	char device[32], text[sizeof(err.message) + 80];
	init_find_virtio(INIT_VIRTIO_VSOCK, device, sizeof(device));
	int r = *device ? init_steer_irqs(device, n_cpus, &err) : 0;
	if (r <= 0) {
		snprintf(text, sizeof(text), "the link's interrupt could not be steered to the last CPU: %s",
			r ? err.message : "no line of /proc/interrupts is its");
		add_note(notes, text);
	}
	/* What the interrupt's handler leaves to a kernel worker is done on its CPU; so is what this thread
	 * sends there and cannot hand to the device at once. */
	r = raise_start(agent, n_cpus - 1);
	if (r == 0)
		r = init_pin_thread(n_cpus - 1);
	if (r < 0) {
		snprintf(text, sizeof(text),
			"the link is not protected from hogs: its kernel workers could not be raised: %s",
			strerror(-r));
		add_note(notes, text);
	}
}

static int prepare(
	struct agent *agent, const PB(ControllerHello) * hello, struct notes *notes, struct err *err)
{
	static struct cpu_layout layout; /* loop thread only; 8 KiB are too many for the stack */
	if (!hello->hello || hello->hello->major != WIRE_MAJOR)
		return err_set(err, ERR_FAILED_PRECONDITION,
			"the controller speaks protocol version %u, the agent %u",
			hello->hello ? hello->hello->major : 0, WIRE_MAJOR);
	uint32_t speed = hello->speed_percent;
	speed = !speed || speed > 100 ? 100 : speed;
	atomic_store(&agent->speed_percent, speed);
	scene_set_speed(agent->scene, speed);
	int r = take_layout(hello->layout, &layout, err);
	if (r < 0)
		return r;
	scene_set_layout(agent->scene, &layout);
	if (agent->config.in_vm)
		init_widen_watchdogs(speed, add_note, notes);
	if (hello->check_topology)
		r = topo_check("/sys", &layout, add_note, notes, err);
	if (r == 0 && agent->config.in_vm)
		steer_link(agent, layout.n_cpus, notes);
	return r;
}

/* Where the kernel says that it is; 0: it does not. */
static uint64_t kernel_text(void)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/kallsyms", "re");
	char line[256];
	for (unsigned i = 0; file && i < KALLSYMS_LINES && fgets(line, sizeof(line), file); i++) {
		uint64_t address;
		char type, name[64];
		if (sscanf(line, "%" SCNx64 " %c %63s", &address, &type, name) == 3 &&
			strcmp(name, "_text") == 0)
			return address;
	}
	return 0;
}

int hello_answer(struct agent *agent, const PB(ControllerHello) * hello)
{
	_cleanup_(arena_free_p) struct arena *arena = arena_new(1u << 20);
	PB(AgentReady) ready = SCHEDRIG__V1__AGENT_READY__INIT;
	struct notes notes = {arena, &ready};
	struct err err = ERR_INIT;
	if (!arena)
		return -ENOMEM;
	for (unsigned i = 0; i < agent->config.n_notes; i++)
		add_note(&notes, agent->config.notes[i]);
	if (agent->config.in_vm)
		ready.kernel_text = kernel_text();
	if (prepare(agent, hello, &notes, &err) < 0)
		ready.error = ops_error(arena, &err);
	return link_send(agent, agent->link, WIRE_READY, 0, &ready.base);
}
