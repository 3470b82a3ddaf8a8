/* SPDX-License-Identifier: GPL-2.0-only */
/* Samples around a hold (see sample.h). */
#include "host/engine/sample.h"

#include "common/clock.h"
#include "host/engine/kernel_access.h"
#include "host/kmem/kmem.h"
#include "host/vm/vm.h"

#include <errno.h>

int sample_host_time(struct engine *engine, unsigned vcpu, struct host_time *ret)
{
	const struct engine_config *config = &engine->config;
	if (config->host_time)
		return config->host_time(config->arg, vcpu, ret);
	struct vm_host_time time;
	if (!config->vm || vm_vcpu_host_time(config->vm, vcpu, &time) < 0)
		return -ENOENT;
	*ret = (struct host_time){time.run_ns, time.wait_ns};
	return 0;
}

static void take_host_times(struct engine *engine, struct sample *s)
{
	unsigned n = engine->config.layout->n_cpus;
	struct host_time *times = calloc(n, sizeof(*times));
	for (unsigned i = 0; times && i < n; i++) {
		if (sample_host_time(engine, i, &times[i]) == 0)
			continue;
		free(times);
		return;
	}
	s->vcpu = times;
	s->n_vcpus = times ? n : 0;
}

/* The sum over all CPUs of what /proc/vmstat calls pgmigrate_success. Its index in the counters depends on
 * the kernel's configuration, so it is asked for. */
static bool pages_moved(struct engine *engine, uint64_t *ret)
{
	struct err err = ERR_INIT;
	struct kmem *kmem = engine_kernel(engine, &err);
	const struct kbtf *btf = kmem ? kmem_btf(kmem, &err) : NULL;
	int64_t index;
	if (!btf || kbtf_enumerator(btf, "vm_event_item", "PGMIGRATE_SUCCESS", &index, &err) < 0)
		return false;
	char path[80];
	snprintf(path, sizeof(path), "vm_event_states@*.event[%lld]", (long long)index);
	Schedrig__V1__PathTarget text = SCHEDRIG__V1__PATH_TARGET__INIT;
	Schedrig__V1__Target target = SCHEDRIG__V1__TARGET__INIT;
	Schedrig__V1__KernelRead read = SCHEDRIG__V1__KERNEL_READ__INIT, *list[] = {&read};
	text.text = path;
	target.form_case = SCHEDRIG__V1__TARGET__FORM_PATH;
	target.path = &text;
	read.target = &target;
	_cleanup_(kernel_values_deinit) struct kernel_values values;
	static const struct kernel_way hot = {.cold = false};
	if (kernel_read(engine, list, 1, &hot, &values, &err) < 0)
		return false;
	*ret = 0;
	for (size_t i = 0; i < values.n; i++)
		*ret += values.value[i]->value;
	return values.n > 0;
}

void sample_take(struct engine *engine, bool pages, struct sample *ret)
{
	*ret = (struct sample){.at_ns = clock_now_ns()};
	take_host_times(engine, ret);
	ret->has_pages = pages && pages_moved(engine, &ret->pages_moved);
}

void sample_deinit(struct sample *sample)
{
	free(sample->vcpu);
	*sample = (struct sample){0};
}

static uint64_t since(uint64_t begin, uint64_t end)
{
	return end > begin ? end - begin : 0;
}

static void record_host(const struct sample *begin, const struct sample *end, Schedrig__V1__StepResult *step)
{
	if (!begin->vcpu || !end->vcpu || begin->n_vcpus != end->n_vcpus)
		return;
	step->host = calloc(begin->n_vcpus, sizeof(*step->host));
	for (unsigned i = 0; step->host && i < begin->n_vcpus; i++) {
		Schedrig__V1__HostTime *time = malloc(sizeof(*time));
		if (!time)
			return;
		schedrig__v1__host_time__init(time);
		time->vcpu = i;
		time->run_ns = since(begin->vcpu[i].run_ns, end->vcpu[i].run_ns);
		time->wait_ns = since(begin->vcpu[i].wait_ns, end->vcpu[i].wait_ns);
		step->host[step->n_host++] = time;
	}
}

void sample_record(const struct sample *begin, const struct sample *end, Schedrig__V1__StepResult *step)
{
	step->host_ns = since(begin->at_ns, end->at_ns);
	record_host(begin, end, step);
	if (!begin->has_pages || !end->has_pages)
		return;
	step->pages_moved = malloc(sizeof(*step->pages_moved));
	if (!step->pages_moved)
		return;
	schedrig__v1__uint64_value__init(step->pages_moved);
	step->pages_moved->value = since(begin->pages_moved, end->pages_moved);
}
