/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames of an agent: the input is what it says, byte for byte. */
#include "fuzz.h"

#include "host/link/link.h"

#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_ready(struct link *link, const struct err *err, void *arg)
{
}
static void on_event(struct link *link, const Schedrig__V1__AgentEvent *event, void *arg)
{
}
static void on_lost(struct link *link, const struct err *err, void *arg)
{
	*(bool *)arg = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct cpu_layout layout = {.n_cpus = 2, .n_nodes = 1, .n_llcs = 1, .n_cores = 2};
	layout.cpu[1].core = 1;
	bool lost = false;
	int pair[2];
	struct loop *loop = loop_new(NULL);
	struct link_config config = {.loop = loop,
		.layout = &layout,
		.ops = {.ready = on_ready, .event = on_event, .lost = on_lost},
		.arg = &lost};
	struct link *link = link_new(&config, NULL);
	if (!link || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) < 0)
		abort();
	link_accept(link, pair[0]);
	char drop[4096];
	size_t at = 0;
	while (!lost) {
		ssize_t n = at < length ? send(pair[1], bytes + at, length - at, MSG_NOSIGNAL) : 0;
		if (at == length)
			shutdown(pair[1], SHUT_WR); /* the end must be noticed */
		at += n > 0 ? (size_t)n : 0;
		event_base_loop(loop_base(loop), EVLOOP_ONCE | EVLOOP_NONBLOCK);
		while (recv(pair[1], drop, sizeof(drop), MSG_DONTWAIT) > 0)
			;
	}
	link_free(link);
	loop_free(loop);
	close(pair[1]);
	return 0;
}
