/* SPDX-License-Identifier: GPL-2.0-only */
/* What a running machine talks through: link, engine, kernel knowledge, snapshots, and what Info says of it.
 * Loop thread, but for the kernel knowledge, which any thread may ask for first. */
#include "host/machine/machine_internal.h"

#include "common/arena.h"
#include "common/clock.h"
#include "proto/pb.h"

#include <errno.h>
#include <string.h>

/* (any thread) Symbols and types of the kernel: read when first needed, since most of it costs nothing until
 * then. */
static struct kmem *kernel_knowledge(void *arg, struct err *err)
{
	struct machine *m = arg;
	SCOPE_LOCK(&m->lock);
	if (!m->kmem && !m->kmem_tried && m->options->guest_symbols && !m->guest_symbols) {
		m->kmem_err = m->guest_symbols_err;
		if (m->kmem_err.code == ERR_NONE)
			err_set(&m->kmem_err, ERR_FAILED_PRECONDITION,
				"the kernel's symbols are the guest's to tell, and its agent is not ready "
				"yet");
	} else if (!m->kmem && !m->kmem_tried) {
		struct kmem_config config = {.elf = m->image->elf,
			.elf_bytes = m->image->elf_bytes,
			.memory = m->memory,
			.places_itself = machine_kernel_moves(m),
			.agent_text = m->agent_text,
			.guest_symbols = m->guest_symbols,
			.guest_symbols_bytes = m->guest_symbols_bytes};
		m->kmem_err = ERR_INIT;
		m->kmem = kmem_new(&config, &m->kmem_err);
		/* Too early: it may be there next time. */
		m->kmem_tried = m->kmem_err.code != ERR_FAILED_PRECONDITION;
		/* Nobody found any: why the guest's did not come says more. */
		if (!m->kmem && !m->guest_symbols && m->guest_symbols_err.code != ERR_NONE)
			m->kmem_err = m->guest_symbols_err;
		if (m->kmem_tried)
			free(TAKE_PTR(m->guest_symbols));
	}
	if (m->kmem && m->agent_text && !m->kmem_checked) {
		m->kmem_checked = true;
		m->kmem_refused = kmem_check_text(m->kmem, m->agent_text, &m->kmem_err) < 0;
	}
	if (m->kmem && !m->kmem_refused)
		return m->kmem;
	*err = m->kmem_err;
	return NULL;
}

void machine_hear_agent(struct machine *m)
{
	Schedrig__V1__AgentReady *ready = link_agent_ready(m->link);
	pthread_mutex_lock(&m->lock);
	if (ready && m->agent_text == 0)
		m->agent_text = ready->kernel_text;
	pthread_mutex_unlock(&m->lock);
	pb_free(ready);
}

static void on_link_ready(struct link *link, const struct err *err, void *arg)
{
	machine_agent_ready(arg, err);
}

static void on_link_lost(struct link *link, const struct err *err, void *arg)
{
	machine_agent_lost(arg, err);
}

static void on_link_event(struct link *link, const Schedrig__V1__AgentEvent *agent_event, void *arg)
{
	struct machine *m = arg;
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	switch (agent_event->kind_case) {
	case SCHEDRIG__V1__AGENT_EVENT__KIND_KERNEL_LOG:
		event.kind_case = SCHEDRIG__V1__EVENT__KIND_KERNEL_LOG;
		event.kernel_log = agent_event->kernel_log;
		break;
	case SCHEDRIG__V1__AGENT_EVENT__KIND_PAYLOAD_END:
		event.kind_case = SCHEDRIG__V1__EVENT__KIND_PAYLOAD_END;
		event.payload_end = agent_event->payload_end;
		break;
	case SCHEDRIG__V1__AGENT_EVENT__KIND_WARNING:
		event.kind_case = SCHEDRIG__V1__EVENT__KIND_WARNING;
		event.warning = agent_event->warning;
		break;
	default:
		return; /* of a newer agent */
	}
	engine_emit(m->engine, &event);
}

static void on_engine_event(const Schedrig__V1__Event *event, void *arg)
{
	struct machine *m = arg;
	m->ops.event(event, m->ops.arg);
}

void machine_on_agent(int fd, uint32_t guest_port, void *arg)
{
	struct machine *m = arg;
	link_accept(m->link, fd);
}

int machine_connect(struct machine *m, struct err *err)
{
	struct link_config link = {.loop = m->loop,
		.layout = &m->topology.layout,
		.memory = m->memory,
		.vm = m->vm,
		.speed_percent = m->speed.percent,
		.check_topology = true,
		.ops = {.ready = on_link_ready, .event = on_link_event, .lost = on_link_lost},
		.arg = m};
	m->link = link_new(&link, err);
	if (!m->link)
		return err_errno(err->code);
	m->snapshots = snapshot_store_new(SNAPSHOT_STORE_BYTES, err);
	if (!m->snapshots)
		return err_errno(err->code);
	topology_format(&m->topology, m->topology_text, sizeof(m->topology_text));
	struct engine_config engine = {.layout = &m->topology.layout,
		.topology = m->topology_text,
		.link = m->link,
		.vm = m->vm,
		.kmem = kernel_knowledge,
		.snapshots = m->snapshots,
		.staged = m->staged,
		.run_dir = m->options->run_dir,
		.build = machine_build(),
		.event = on_engine_event,
		.arg = m};
	m->engine = engine_new(&engine, err);
	return m->engine ? 0 : err_errno(err->code);
}

void machine_disconnect(struct machine *m)
{
	engine_free(m->engine);
	m->engine = NULL;
	link_free(m->link);
	m->link = NULL;
	snapshot_store_free(m->snapshots);
	m->snapshots = NULL;
	kmem_free(m->kmem);
	m->kmem = NULL;
	free(TAKE_PTR(m->guest_symbols));
}

struct engine *machine_engine(struct machine *m)
{
	return m->engine;
}

const struct topology *machine_topology(struct machine *m)
{
	return &m->topology;
}

const char *const *machine_staged(struct machine *m)
{
	return m->staged;
}

const char *machine_build(void)
{
	return "schedrig " SCHEDRIG_VERSION;
}

static void info_layout(struct machine *m, struct arena *arena, Schedrig__V1__Info *ret)
{
	const struct cpu_layout *layout = &m->topology.layout;
	Schedrig__V1__CpuLayout *wire = arena_zalloc(arena, 1, sizeof(*wire));
	Schedrig__V1__CpuPlace *places = arena_zalloc(arena, layout->n_cpus, sizeof(*places));
	Schedrig__V1__CpuPlace **pointers = arena_zalloc(arena, layout->n_cpus, sizeof(*pointers));
	if (!wire || !places || !pointers)
		return;
	schedrig__v1__cpu_layout__init(wire);
	wire->nodes = layout->n_nodes;
	wire->llcs = layout->n_llcs;
	wire->cores = layout->n_cores;
	wire->n_cpus = layout->n_cpus;
	wire->cpus = pointers;
	for (unsigned i = 0; i < layout->n_cpus; i++) {
		schedrig__v1__cpu_place__init(&places[i]);
		places[i].node = layout->cpu[i].node;
		places[i].llc = layout->cpu[i].llc;
		places[i].core = layout->cpu[i].core;
		places[i].thread = layout->cpu[i].thread;
		pointers[i] = &places[i];
	}
	ret->layout = wire;
}

static char *empty_if_null(char *text)
{
	return text ? text : (char *)protobuf_c_empty_string;
}

static void info_staged(struct machine *m, struct arena *arena, Schedrig__V1__Info *ret)
{
	_cleanup_free_ char **names = engine_staged(m->engine);
	size_t n = 0;
	while (names && names[n])
		n++;
	ret->staged = arena_zalloc(arena, n + 1, sizeof(*ret->staged));
	for (size_t i = 0; ret->staged && i < n; i++)
		ret->staged[ret->n_staged++] = empty_if_null(arena_strdup(arena, names[i]));
}

void machine_info(struct machine *m, struct arena *arena, Schedrig__V1__Info *ret)
{
	static const char *const states[] = {"booting", "ready", "ended"};
	char name[256];
	bool running = engine_running(m->engine, name, sizeof(name));
	ret->topology = m->topology_text;
	info_layout(m, arena, ret);
	ret->memory_bytes = m->memory->total_bytes;
	ret->state = (char *)(running && m->state == MACHINE_READY ? "running" : states[m->state]);
	if (running)
		ret->running = empty_if_null(arena_strdup(arena, name));
	ret->uptime_ns = clock_now_ns() - m->start_ns;
	ret->boot_ns = m->ready_ns ? m->ready_ns - m->start_ns : 0;
	uint64_t first = vm_first_run_ns(m->vm);
	ret->first_run_ns = first ? first - m->start_ns : 0;
	ret->run_dir = (char *)(m->options->run_dir ? m->options->run_dir : "");
	ret->agent_heartbeat = link_heartbeat(m->link);
	ret->agent_max_gap_ns = link_max_gap_ns(m->link);
	Schedrig__V1__AgentHello *hello = link_agent_hello(m->link);
	if (hello)
		ret->kernel = empty_if_null(arena_strdup(arena, hello->kernel));
	pb_free(hello);
	if (m->ended_err.code != ERR_NONE) {
		Schedrig__V1__Error *error = arena_zalloc(arena, 1, sizeof(*error));
		if (error) {
			schedrig__v1__error__init(error);
			link_error_to_wire(&m->ended_err, error);
			ret->ended = error;
		}
	}
	info_staged(m, arena, ret);
	machine_info_disks(m, arena, ret);
	unsigned host_cpus = vm_n_host_cpus(m->vm);
	char **notes = arena_zalloc(arena, 2, sizeof(*notes));
	if (notes && m->topology.layout.n_cpus > host_cpus)
		notes[ret->n_notes++] = empty_if_null(arena_printf(arena,
			"%u vCPUs run on %u host CPU%s: timing in the guest contains waiting for the host",
			m->topology.layout.n_cpus, host_cpus, host_cpus == 1 ? "" : "s"));
	if (notes && m->speed_known && m->speed.percent < 50)
		notes[ret->n_notes++] = empty_if_null(arena_printf(arena,
			"this host's KVM runs at about %u %% of current hardware: time limits are widened "
			"accordingly",
			m->speed.percent));
	ret->notes = notes;
}
