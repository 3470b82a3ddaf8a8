/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames of a client: the input is what it says, byte for byte, to a control with a fake engine. Whatever
 * that was, the connection ends when the client does, what was begun comes to its end, and nothing is left.
 */
#include "fuzz.h"

#include "common/loop.h"
#include "host/control/control.h"
#include "tests/fake/engine.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void on_event(const Schedrig__V1__Event *event, void *arg)
{
	control_event(*(struct control **)arg, event);
}
static void on_info(struct arena *arena, Schedrig__V1__Info *ret, void *arg)
{
}
static void on_shutdown(void *arg)
{
}
static void on_idle(void *arg)
{
	*(bool *)arg = true;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		abort();
	return fd;
}

/* False once the other side has ended the connection. */
static bool drain(int fd)
{
	char bytes[4096];
	ssize_t n;
	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char directory[] = "/tmp/schedrig-fuzz.XXXXXX", path[64];
	struct control *control = NULL;
	bool idle = false;
	if (!mkdtemp(directory))
		abort();
	snprintf(path, sizeof(path), "%s/vm.sock", directory);
	struct loop *loop = loop_new(NULL);
	struct engine *engine = engine_new(&(struct engine_config){.event = on_event, .arg = &control}, NULL);
	control = control_new(&(struct control_config){.loop = loop,
				      .path = path,
				      .engine = engine,
				      .build = "fuzz",
				      .info = on_info,
				      .shutdown = on_shutdown},
		NULL);
	if (!control)
		abort();
	control_set_ready(control);
	int fd = connect_to(path);
	for (size_t at = 0; drain(fd);) {
		ssize_t n = at < length ? send(fd, bytes + at, length - at, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
		at += n > 0 ? (size_t)n : 0;
		if (at == length)
			shutdown(fd, SHUT_WR); /* the end must be noticed */
		/* Who has too many requests in work is not read: let them end. */
		if (at == length || n < 0)
			fake_engine_release(engine);
		event_base_loop(loop_base(loop), EVLOOP_NONBLOCK);
	}
	close(fd);
	/* Everything that was begun ends, and nobody is waited for in vain. */
	control_stop(control, "the input is over", on_idle, &idle);
	while (!idle)
		event_base_loop(loop_base(loop), EVLOOP_ONCE);
	control_free(control);
	engine_free(engine);
	loop_free(loop);
	if (rmdir(directory) < 0)
		abort();
	return 0;
}
