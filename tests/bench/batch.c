/* SPDX-License-Identifier: GPL-2.0-only */
/* Batches of kernel reads through the control socket, beside the same in process: bench-batch KERNEL. A
 * kernel image is loaded into plain memory with run queues made by hand, so there is no VM; control, engine
 * and client are the real ones, the control on a loop of its own thread as in schedrigd. */
#include "common/clock.h"
#include "common/loop.h"
#include "host/client/schedrig.h"
#include "host/control/control.h"
#include "host/engine/engine.h"
#include "host/kmem/plan.h"
#include "host/vm/kernel_image.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_BYTES (UINT64_C(512) << 20)
#define PAGE_OFFSET UINT64_C(0xffff888000000000)
#define PER_CPU UINT64_C(0x10000000)
#define PER_CPU_STRIDE UINT64_C(0x40000)
#define CPUS 64u
#define FIELDS 10000u
#define CHUNK 2500u /* paths of one Prepare: a message has at most 256 KiB */
#define ROUNDS 200u

static struct kmem *kmem;
static struct gmem *memory;
static struct loop *loop;
static struct control *control;

static void die(const char *what, const struct err *err)
{
	fprintf(stderr, "bench-batch: %s: %s\n", what, err->message);
	exit(1);
}

static struct kmem *the_kernel(void *arg, struct err *err)
{
	return kmem;
}

static void on_event(const Schedrig__V1__Event *event, void *arg)
{
}

static void on_shutdown(void *arg)
{
}

static void *run_loop(void *arg)
{
	loop_run(loop);
	return NULL;
}

static void on_idle(void *arg)
{
	loop_stop(loop);
}

static void stop(void *arg)
{
	control_stop(control, "done", on_idle, NULL);
}

static void *at_symbol(const char *name)
{
	gva_t at;
	gpa_t gpa;
	uint64_t left;
	struct err err = ERR_INIT;
	if (symbols_find(kmem_symbols(kmem), name, &at, &err) < 0 ||
		!kimage_gpa(kmem_image(kmem), at, &gpa, &left))
		die(name, &err);
	return gmem_ptr(memory, gpa, 8);
}

static void load(void)
{
	const struct kimage *image = kmem_image(kmem);
	struct err err = ERR_INIT;
	gva_t start;
	for (unsigned i = 0; i < image->n_segments; i++)
		if (gmem_write(memory, image->segment[i].paddr, image->bytes + image->segment[i].file_offset,
			    image->segment[i].file_bytes) < 0)
			exit(1);
	if (symbols_find(kmem_symbols(kmem), "__per_cpu_start", &start, &err) < 0)
		die("symbols", &err);
	uint64_t *offset = at_symbol("__per_cpu_offset");
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		offset[cpu] = PAGE_OFFSET + PER_CPU + cpu * PER_CPU_STRIDE - start.v;
	*(uint64_t *)at_symbol("page_offset_base") = PAGE_OFFSET;
	*(uint64_t *)at_symbol("__cpu_possible_mask") = UINT64_MAX;
	*(uint64_t *)at_symbol("__cpu_online_mask") = UINT64_MAX;
	/* Somewhere to point to, and a value that is known. */
	struct kmem_resolved where;
	struct kmem_target target = {.form = KMEM_PATH};
	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		char text[64];
		uint64_t task = PAGE_OFFSET + (UINT64_C(0x18000000) + cpu * UINT64_C(0x10000));
		snprintf(text, sizeof(text), "runqueues@%u.curr", cpu);
		target.field = text;
		struct kmem_write write = {
			.target = target, .width = KMEM_U64, .op = KMEM_SET, .value = task};
		if (kmem_target_resolve(kmem, &target, &where, &err) < 0 ||
			kmem_write_batch(kmem, &write, 1, NULL, &err) < 0)
			die(text, &err);
		snprintf(text, sizeof(text), "runqueues@%u.nr_running", cpu);
		write.width = KMEM_U32;
		write.value = cpu;
		if (kmem_write_batch(kmem, &write, 1, NULL, &err) < 0)
			die(text, &err);
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static void report(const char *what, uint64_t *ns)
{
	qsort(ns, ROUNDS, sizeof(*ns), by_value);
	printf("%-52s %8.3f ms best %8.3f median %8.3f p90\n", what, (double)ns[0] / 1e6,
		(double)ns[ROUNDS / 2] / 1e6, (double)ns[ROUNDS * 9 / 10] / 1e6);
}

/* The text of entry i; `pointers`: one of the members is behind a pointer. */
static void path_text(unsigned i, bool pointers, char *text, size_t size)
{
	static const char *const plain[] = {"nr_running", "clock", "scx.flags", "cfs.h_nr_queued", "curr"};
	static const char *const far[] = {
		"curr->pid", "curr->prio", "curr->se.vruntime", "curr->flags", "curr->cpus_ptr"};
	snprintf(text, size, "runqueues@%u.%s", i / 5 % CPUS, pointers ? far[i % 5] : plain[i % 5]);
}

static void prepare(struct schedrig *client, bool pointers, uint64_t *handles)
{
	static char text[FIELDS][64];
	static Schedrig__V1__PathTarget path[FIELDS];
	static Schedrig__V1__Target target[FIELDS];
	static Schedrig__V1__KernelRead read[FIELDS], *reads[FIELDS];
	struct err err = ERR_INIT;
	uint64_t start = clock_now_ns();
	for (unsigned i = 0; i < FIELDS; i++) {
		path_text(i, pointers, text[i], sizeof(text[i]));
		schedrig__v1__path_target__init(&path[i]);
		schedrig__v1__target__init(&target[i]);
		schedrig__v1__kernel_read__init(&read[i]);
		path[i].text = text[i];
		target[i].form_case = SCHEDRIG__V1__TARGET__FORM_PATH;
		target[i].path = &path[i];
		read[i].target = &target[i];
		reads[i] = &read[i];
	}
	for (unsigned first = 0; first < FIELDS; first += CHUNK) {
		Schedrig__V1__PrepareRequest request = SCHEDRIG__V1__PREPARE_REQUEST__INIT;
		Schedrig__V1__PrepareResponse *response;
		request.reads = reads + first;
		request.n_reads = CHUNK;
		request.replace = first == 0;
		if (schedrig_prepare(client, &request, &response, &err) < 0)
			die("prepare", &err);
		for (unsigned i = 0; i < CHUNK; i++)
			handles[first + i] = response->reads[i]->handle;
		schedrig_free_message(response);
	}
	printf("%-52s %8.3f ms\n", pointers ? "prepare 10000 paths through pointers" : "prepare 10000 paths",
		(double)(clock_now_ns() - start) / 1e6);
}

static void by_handle(struct schedrig *client, const char *what, bool pointers)
{
	static uint64_t handles[FIELDS], ns[ROUNDS];
	Schedrig__V1__ReadPreparedRequest request = SCHEDRIG__V1__READ_PREPARED_REQUEST__INIT;
	struct err err = ERR_INIT;
	prepare(client, pointers, handles);
	request.n_handles = FIELDS;
	request.handles = handles;
	for (unsigned r = 0; r < ROUNDS; r++) {
		Schedrig__V1__ReadPreparedResponse *response;
		uint64_t start = clock_now_ns();
		if (schedrig_read_prepared(client, &request, &response, &err) < 0)
			die("read", &err);
		ns[r] = clock_now_ns() - start;
		/* Speed of wrong answers is no use. */
		for (unsigned i = 0; i < FIELDS; i++)
			if (response->n_failures ||
				(!pointers && i % 5 == 0 && response->values[i] != i / 5 % CPUS)) {
				fprintf(stderr, "bench-batch: wrong value %u\n", i);
				exit(1);
			}
		schedrig_free_message(response);
	}
	report(what, ns);
}

static void in_process(void)
{
	static struct kmem_plan plans[FIELDS];
	static uint64_t ns[ROUNDS];
	struct err err = ERR_INIT;
	for (unsigned i = 0; i < FIELDS; i++) {
		char text[64];
		path_text(i, false, text, sizeof(text));
		struct kmem_read read = {.target = {.form = KMEM_PATH, .field = text}, .width = KMEM_NATURAL};
		if (kmem_plan_init(&plans[i], kmem, &read, &err) < 0)
			die(text, &err);
	}
	for (unsigned r = 0; r < ROUNDS; r++) {
		struct kmem_plan_turn turn;
		uint64_t value, sum = 0, start = clock_now_ns();
		if (kmem_plan_turn_init(&turn, kmem, false, &err) < 0)
			die("turn", &err);
		for (unsigned i = 0; i < FIELDS; i++) {
			if (kmem_plan_read(&turn, &plans[i], &value, NULL, &err) < 0)
				die("read", &err);
			sum += value;
		}
		ns[r] = clock_now_ns() - start;
		if (sum == 0)
			exit(1);
	}
	report("10000 prepared reads in process", ns);
	for (unsigned i = 0; i < FIELDS; i++)
		kmem_plan_deinit(&plans[i]);
}

static void pings(struct schedrig *client)
{
	static uint64_t ns[ROUNDS];
	static uint64_t handle;
	Schedrig__V1__ReadPreparedRequest request = SCHEDRIG__V1__READ_PREPARED_REQUEST__INIT;
	struct err err = ERR_INIT;
	request.n_handles = 1;
	request.handles = &handle;
	for (unsigned r = 0; r < ROUNDS; r++) {
		Schedrig__V1__ReadPreparedResponse *response;
		uint64_t start = clock_now_ns();
		if (schedrig_read_prepared(client, &request, &response, &err) < 0)
			die("read", &err);
		ns[r] = clock_now_ns() - start;
		schedrig_free_message(response);
	}
	report("a request for one handle", ns);
}

int main(int argc, char **argv)
{
	struct kernel_image *image;
	struct err err = ERR_INIT;
	char path[64];
	pthread_t thread;
	if (argc != 2) {
		fprintf(stderr, "usage: bench-batch KERNEL\n");
		return 64;
	}
	if (kernel_image_load(argv[1], &image, &err) < 0 ||
		!(memory = gmem_new(&(uint64_t){MEMORY_BYTES}, 1, &err)))
		die(argv[1], &err);
	kmem = kmem_new(&(struct kmem_config){image->elf, image->elf_bytes, memory}, &err);
	if (!kmem)
		die(argv[1], &err);
	load();
	in_process();
	snprintf(path, sizeof(path), "/tmp/bench-batch.%d.sock", (int)getpid());
	loop = loop_new(&err);
	struct engine *engine =
		engine_new(&(struct engine_config){.kmem = the_kernel, .event = on_event}, &err);
	control = loop && engine ? control_new(&(struct control_config){.loop = loop,
						       .path = path,
						       .engine = engine,
						       .build = "bench",
						       .shutdown = on_shutdown},
					   &err)
				 : NULL;
	if (!control)
		die(path, &err);
	control_set_ready(control);
	if (pthread_create(&thread, NULL, run_loop, NULL))
		return 1;
	struct schedrig *client = schedrig_open(path, &err);
	if (!client)
		die(path, &err);
	pings(client);
	by_handle(client, "10000 fields by handle through the socket", false);
	by_handle(client, "10000 fields behind a pointer, the same", true);
	schedrig_close(client);
	if (loop_call(loop, stop, NULL) < 0)
		return 1;
	pthread_join(thread, NULL);
	control_free(control);
	engine_free(engine);
	loop_free(loop);
	kmem_free(kmem);
	gmem_free(memory);
	kernel_image_free(image);
	return 0;
}
