/* SPDX-License-Identifier: GPL-2.0-only */
/* Factories (see factory.h). */
#include "host/engine/factory.h"

#include "common/clock.h"
#include "common/strbuf.h"
#include "host/link/link.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <errno.h>
#include <string.h>

#define ASK_NS (10 * NS_PER_S)

void setup_deinit(struct setup *setup)
{
	for (size_t i = 0; i < setup->n; i++)
		pb_free(setup->def[i]);
	free(setup->def);
	*setup = (struct setup){0};
}

/* ---- templates */

static struct cpuset place_cpus(
	Schedrig__V1__ForEach for_each, const struct cpu_layout *layout, unsigned index)
{
	struct cpuset one = CPUSET_EMPTY;
	switch (for_each) {
	case SCHEDRIG__V1__FOR_EACH__FOR_EACH_LLC:
		return cpu_layout_llc(layout, index);
	case SCHEDRIG__V1__FOR_EACH__FOR_EACH_NUMA:
		return cpu_layout_node(layout, index);
	case SCHEDRIG__V1__FOR_EACH__FOR_EACH_CORE:
		return cpu_layout_core(layout, index);
	case SCHEDRIG__V1__FOR_EACH__FOR_EACH_CPU:
		cpuset_add(&one, index);
		return one;
	default:
		return one;
	}
}

unsigned factory_places(Schedrig__V1__ForEach for_each, const struct cpu_layout *layout)
{
	switch (for_each) {
	case SCHEDRIG__V1__FOR_EACH__FOR_EACH_LLC:
		return layout->n_llcs;
	case SCHEDRIG__V1__FOR_EACH__FOR_EACH_NUMA:
		return layout->n_nodes;
	case SCHEDRIG__V1__FOR_EACH__FOR_EACH_CORE:
		return layout->n_cores;
	case SCHEDRIG__V1__FOR_EACH__FOR_EACH_CPU:
		return layout->n_cpus;
	default:
		return 0;
	}
}

/* Replaces a heap string (or protobuf's empty one) by itself with the number put in. */
static bool put_index(char **text, unsigned index)
{
	static const char mark[] = "{index}";
	_cleanup_strbuf_ struct strbuf out = STRBUF_INIT;
	if (!strstr(*text, mark))
		return true;
	for (const char *at = *text; *at;) {
		const char *next = strstr(at, mark);
		strbuf_add(&out, at, next ? (size_t)(next - at) : strlen(at));
		if (!next)
			break;
		strbuf_printf(&out, "%u", index);
		at = next + strlen(mark);
	}
	char *made = strbuf_take(&out);
	if (!made)
		return false;
	free(*text);
	*text = made;
	return true;
}

static bool put_cpus(Schedrig__V1__CpusetSpec *spec, const struct cpuset *cpus)
{
	char text[CPUSET_TEXT_BYTES];
	if (spec->form_case != SCHEDRIG__V1__CPUSET_SPEC__FORM_EACH)
		return true;
	Schedrig__V1__CpuSet *exact = malloc(sizeof(*exact));
	if (!exact)
		return false;
	schedrig__v1__cpu_set__init(exact);
	exact->list = strdup(cpuset_format(cpus, text, sizeof(text)));
	if (!exact->list) {
		free(exact);
		return false;
	}
	pb_free(spec->each);
	spec->form_case = SCHEDRIG__V1__CPUSET_SPEC__FORM_EXACT;
	spec->exact = exact;
	return true;
}

static Schedrig__V1__CgroupDef *copy_def(const Schedrig__V1__CgroupDef *def)
{
	size_t length = schedrig__v1__cgroup_def__get_packed_size(def);
	_cleanup_free_ uint8_t *bytes = malloc(length + 1);
	if (!bytes)
		return NULL;
	schedrig__v1__cgroup_def__pack(def, bytes);
	return pb_unpack(&schedrig__v1__cgroup_def__descriptor, bytes, length);
}

static Schedrig__V1__CgroupDef *fill_in(
	const Schedrig__V1__CgroupDef *template, const struct cpuset *cpus, unsigned index)
{
	Schedrig__V1__CgroupDef *def = copy_def(template);
	if (!def)
		return NULL;
	bool good = put_index(&def->name, index) && put_index(&def->comm, index) &&
		    (!def->cpuset || put_cpus(def->cpuset, cpus));
	for (size_t i = 0; i < def->n_work; i++)
		good = good && put_index(&def->work[i]->comm, index);
	if (good)
		return def;
	pb_free(def);
	return NULL;
}

int factory_expand(const Schedrig__V1__SetupFactory *factory, const struct cpu_layout *layout,
	struct setup *ret, struct err *err)
{
	size_t places = factory_places(factory->for_each, layout);
	*ret = (struct setup){0};
	if (places * factory->n_cgroups > LIMIT_CGROUPS)
		return err_set(err, ERR_LIMIT_EXCEEDED, "%zu cgroups for each of %zu are more than %u",
			factory->n_cgroups, places, LIMIT_CGROUPS);
	ret->def = calloc(places * factory->n_cgroups + 1, sizeof(*ret->def));
	if (!ret->def)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot make the set-up");
	for (unsigned place = 0; place < places; place++) {
		struct cpuset cpus = place_cpus(factory->for_each, layout, place);
		/* A node of memory alone is nobody's place to run. */
		for (size_t i = 0; i < factory->n_cgroups && !cpuset_is_empty(&cpus); i++) {
			Schedrig__V1__CgroupDef *def = fill_in(factory->cgroups[i], &cpus, place);
			if (!def) {
				setup_deinit(ret);
				return err_set_os(err, ERR_HOST, ENOMEM, "cannot make the set-up");
			}
			ret->def[ret->n++] = def;
		}
	}
	return 0;
}

/* ---- clients */

static void layout_to_wire(const struct cpu_layout *layout, Schedrig__V1__CpuLayout *wire,
	Schedrig__V1__CpuPlace *places, Schedrig__V1__CpuPlace **list)
{
	for (unsigned i = 0; i < layout->n_cpus; i++) {
		schedrig__v1__cpu_place__init(&places[i]);
		places[i].node = layout->cpu[i].node;
		places[i].llc = layout->cpu[i].llc;
		places[i].core = layout->cpu[i].core;
		places[i].thread = layout->cpu[i].thread;
		list[i] = &places[i];
	}
	wire->cpus = list;
	wire->n_cpus = layout->n_cpus;
	wire->nodes = layout->n_nodes;
	wire->llcs = layout->n_llcs;
	wire->cores = layout->n_cores;
}

static int emit_ask(struct run *run, uint32_t step, uint64_t number, uint64_t deadline_ns, struct err *err)
{
	const Schedrig__V1__Scenario *s = run->scenario;
	const struct engine_config *config = &run->engine->config;
	Schedrig__V1__Event event = SCHEDRIG__V1__EVENT__INIT;
	Schedrig__V1__FactoryAsk ask = SCHEDRIG__V1__FACTORY_ASK__INIT;
	Schedrig__V1__CpuLayout layout = SCHEDRIG__V1__CPU_LAYOUT__INIT;
	_cleanup_free_ Schedrig__V1__CpuPlace *places = calloc(config->layout->n_cpus, sizeof(*places));
	_cleanup_free_ Schedrig__V1__CpuPlace **list = calloc(config->layout->n_cpus, sizeof(*list));
	if (!places || !list)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot ask for the set-up");
	layout_to_wire(config->layout, &layout, places, list);
	uint64_t now = engine_scenario_ns(run->engine);
	ask.ask = number;
	ask.factory = s->steps[step]->factory->client->name;
	ask.step = step;
	ask.step_name = s->steps[step]->name;
	ask.topology = run->result->topology;
	ask.layout = &layout;
	ask.duration_ns = s->duration ? s->duration->ns : HOLD_DEFAULT_DURATION_NS;
	ask.settle_ns = s->settle ? s->settle->ns : 0;
	ask.workers_per_cgroup = s->workers_per_cgroup ? s->workers_per_cgroup->value : 1;
	ask.seed = run->result->seed;
	ask.kernel = run->result->kernel;
	ask.work_type_override = s->work_type_override;
	ask.deadline_ns = deadline_ns;
	ask.left_ns = run->budget_ns > now ? run->budget_ns - now : 0;
	event.kind_case = SCHEDRIG__V1__EVENT__KIND_FACTORY_ASK;
	event.factory_ask = &ask;
	engine_emit(run->engine, &event);
	return 0;
}

/* The number is open before anybody can know it. */
static uint64_t open_ask(struct engine *engine)
{
	SCOPE_LOCK(&engine->lock);
	engine->ask_open = true;
	return ++engine->ask;
}

/* Closes the question, too. */
static Schedrig__V1__FactoryAnswer *wait_answer(struct engine *engine, uint64_t limit_ns, struct err *err)
{
	struct timespec until = clock_timespec(clock_deadline_ns(limit_ns));
	pthread_mutex_lock(&engine->lock);
	while (!engine->answer && engine->lost.code == ERR_NONE && engine->link_lost.code == ERR_NONE &&
		!engine->cancelled)
		if (pthread_cond_timedwait(&engine->changed, &engine->lock, &until) == ETIMEDOUT)
			break;
	engine->ask_open = false;
	Schedrig__V1__FactoryAnswer *answer = TAKE_PTR(engine->answer);
	pthread_mutex_unlock(&engine->lock);
	if (!answer && !engine_interruption(engine, err))
		err_set(err, ERR_TIMEOUT, "the client did not answer what the set-up is to be within %llu ms",
			(unsigned long long)(limit_ns / NS_PER_MS));
	return answer;
}

int engine_factory_answer(struct engine *engine, Schedrig__V1__FactoryAnswer *answer, struct err *err)
{
	SCOPE_LOCK(&engine->lock);
	if (!engine->ask_open || engine->answer || answer->ask != engine->ask)
		return err_set(err, ERR_NOT_FOUND,
			"nobody waits for the answer to question %llu: it came too late, or twice",
			(unsigned long long)answer->ask);
	engine->answer = answer;
	pthread_cond_broadcast(&engine->changed);
	return 0;
}

/* As if the definitions had been written into the scenario. */
static int validate_answer(struct run *run, uint32_t step, const struct setup *setup, struct err *err)
{
	_cleanup_free_ char **staged = engine_staged(run->engine);
	Schedrig__V1__Scenario whole = *run->scenario;
	Schedrig__V1__Step filled = *run->scenario->steps[step];
	_cleanup_free_ Schedrig__V1__Step **steps = calloc(whole.n_steps, sizeof(*steps));
	_cleanup_(pb_free_p) Schedrig__V1__ValidateResponse *response = NULL;
	if (!steps)
		return err_set_os(err, ERR_HOST, ENOMEM, "cannot look at the set-up");
	memcpy(steps, whole.steps, whole.n_steps * sizeof(*steps));
	steps[step] = &filled;
	whole.steps = steps;
	filled.factory = NULL;
	filled.n_setup = setup->n;
	filled.setup = setup->def;
	if (engine_validate(&whole, run->engine->config.layout, (const char *const *)staged, &response, err) <
		0)
		return err_errno(err->code);
	if (!response->n_errors)
		return 0;
	err_set(err, ERR_INVALID_ARGUMENT, "the client's answer is no set-up for this step: %s",
		response->errors[0]->message);
	return err_at(err, "%s", response->errors[0]->place);
}

int factory_ask(struct run *run, uint32_t step, struct setup *ret, struct err *err)
{
	const Schedrig__V1__ClientFactory *client = run->scenario->steps[step]->factory->client;
	uint64_t limit_ns = client->deadline ? client->deadline->ns : ASK_NS;
	*ret = (struct setup){0};
	uint64_t number = open_ask(run->engine);
	/* A question that could not be put is not waited for. */
	int r = emit_ask(run, step, number, limit_ns, err);
	_cleanup_(pb_free_p) Schedrig__V1__FactoryAnswer *answer =
		wait_answer(run->engine, r == 0 ? limit_ns : 0, r == 0 ? err : &(struct err){0});
	if (answer && *answer->refused)
		err_set(err, ERR_FAILED_PRECONDITION, "the client has no set-up for this step: %s",
			answer->refused);
	else if (answer) {
		*ret = (struct setup){.def = answer->cgroups, .n = answer->n_cgroups};
		answer->cgroups = NULL;
		answer->n_cgroups = 0;
		if (validate_answer(run, step, ret, err) == 0)
			return 0;
		setup_deinit(ret);
	}
	if (!*err->place)
		err_at(err, "steps[%u].factory", step);
	return err_errno(err->code);
}
