/* SPDX-License-Identifier: GPL-2.0-only */
/* In the guest, and without any of schedrig's code: a sched_ext scheduler as its developer would write one
 * (scheduler.bpf.c is its other half). One thread.
 *
 *   e2e-scheduler [VERDICT...]    attaches it, says "enabled", stays until SIGTERM or SIGINT, detaches it
 *
 * The i-th VERDICT (0, or the name of an errno) is the answer to the i-th move of a task to another cgroup,
 * the last one that to all after it; without any, nothing is refused. At its end it prints how often it was
 * asked what, as JSON. Exit status 0: it was attached and is detached; 1: it was not, or was thrown out. */
#include "scheduler.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERRNO_MAX 133

/* scheduler_object.S */
extern const char object_begin[], object_end[];

static int complain(const char *what, int error)
{
	fprintf(stderr, "%s: %s\n", what, strerror(error));
	return -1;
}

/* Of sysfs, "" if it is not there. */
static void tell(const char *file, char *text, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/sys/kernel/sched_ext/%s", file);
	FILE *from = fopen(path, "re");
	if (!from || !fgets(text, (int)size, from))
		text[0] = '\0';
	if (from)
		fclose(from);
	text[strcspn(text, "\n")] = '\0';
}

/* -1 if it is none. */
static int parse_verdict(const char *text)
{
	if (strcmp(text, "0") == 0)
		return 0;
	for (int error = 1; error <= ERRNO_MAX; error++) {
		const char *name = strerrorname_np(error);
		if (name && strcmp(name, text) == 0)
			return error;
	}
	return -1;
}

static int set_verdicts(struct bpf_object *object, char **texts, unsigned count)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, "e2e_verdicts");
	static char none[] = "0";
	char *nothing[] = {none};
	if (!count) {
		texts = nothing;
		count = 1;
	}
	if (count > SCHEDULER_VERDICTS_MAX)
		return complain("verdicts", E2BIG);
	for (unsigned i = 0; i < count; i++) {
		int error = parse_verdict(texts[i]);
		if (error < 0)
			return complain(texts[i], EINVAL);
		struct scheduler_verdict verdict = {.error = -error, .last = i == count - 1};
		if (bpf_map__update_elem(map, &i, sizeof(i), &verdict, sizeof(verdict), BPF_ANY) < 0)
			return complain("e2e_verdicts", errno);
	}
	return 0;
}

static int print_counts(struct bpf_object *object)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, "e2e_counts");
	struct scheduler_counts counts;
	unsigned zero = 0;
	if (bpf_map__lookup_elem(map, &zero, sizeof(zero), &counts, sizeof(counts), 0) < 0)
		return complain("e2e_counts", errno);
	printf("{\"init_tasks\": %llu, \"forks\": %llu, \"prep_moves\": %llu, \"vetoes\": %llu, \"moves\": "
	       "%llu, \"cancels\": %llu, \"lost\": %llu}\n",
		counts.init_tasks, counts.forks, counts.prep_moves, counts.vetoes, counts.moves,
		counts.cancels, counts.lost);
	return 0;
}

/* The kernel says that this scheduler, and no other, is attached. */
static int check_attached(void)
{
	char state[32], name[128];
	tell("state", state, sizeof(state));
	tell("root/ops", name, sizeof(name));
	if (strcmp(state, "enabled") == 0 && strcmp(name, SCHEDULER_NAME) == 0)
		return 0;
	fprintf(stderr, "sched_ext is '%s', its scheduler '%s'\n", state, name);
	return -1;
}

static int check_detached(void)
{
	char state[32];
	tell("state", state, sizeof(state));
	if (strcmp(state, "disabled") == 0)
		return 0;
	fprintf(stderr, "sched_ext is '%s'\n", state);
	return -1;
}

/* Attached until it is told to end. */
static int serve(struct bpf_object *object)
{
	sigset_t ends;
	int signal_number, r;
	/* Before it is attached: who reads "enabled" may tell it to end at once. */
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	struct bpf_link *link = bpf_map__attach_struct_ops(bpf_object__find_map_by_name(object, "e2e_ops"));
	if (!link)
		return complain("attach", errno);
	r = check_attached();
	if (r == 0) {
		printf("enabled\n");
		fflush(stdout);
		sigwait(&ends, &signal_number);
		/* The kernel may have thrown it out meanwhile. */
		r = check_attached();
	}
	if (bpf_link__destroy(link) < 0 || check_detached() < 0)
		r = -1;
	return r;
}

int main(int argc, char **argv)
{
	const struct bpf_object_open_opts options = {.sz = sizeof(options), .object_name = SCHEDULER_NAME};
	struct bpf_object *object =
		bpf_object__open_mem(object_begin, (size_t)(object_end - object_begin), &options);
	int r = object ? bpf_object__load(object) : complain("open", errno);
	if (object && r < 0)
		complain("load", -r);
	if (r == 0)
		r = set_verdicts(object, argv + 1, (unsigned)argc - 1);
	if (r == 0)
		r = serve(object);
	if (r == 0)
		r = print_counts(object);
	bpf_object__close(object);
	return r == 0 ? 0 : 1;
}
