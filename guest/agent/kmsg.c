/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel log as events. Reading starts with the first link, at the log's beginning, and pauses while the
 * link is slow or gone: the kernel's ring buffer is the memory. Loop thread. */
#include "common/clock.h"
#include "common/fd.h"
#include "guest/agent/state.h"
#include "guest/init/init.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <unistd.h>

#define RECORD_BYTES 8192 /* CONSOLE_EXT_LOG_MAX of kernel/printk */
#define QUEUE_BYTES (1u << 20)
#define RETRY_NS (UINT64_C(20) * 1000000)
#define LINES_AT_ONCE 128

static void send_line(struct agent *agent, char *record)
{
	struct klog_line line;
	PB(LogLine) wire = SCHEDRIG__V1__LOG_LINE__INIT;
	PB(AgentEvent) event = SCHEDRIG__V1__AGENT_EVENT__INIT;
	if (!klog_parse(record, &line))
		return;
	wire.text = (char *)line.text;
	wire.level = line.level;
	wire.time_ns = line.time_ns;
	wire.class_ = (char *)klog_class(line.text, line.level);
	event.kind_case = SCHEDRIG__V1__AGENT_EVENT__KIND_KERNEL_LOG;
	event.kernel_log = &wire;
	link_event(agent, &event);
}

static void on_kmsg(evutil_socket_t fd, short what, void *arg)
{
	struct agent *agent = arg;
	char record[RECORD_BYTES + 1];
	for (unsigned lines = 0; lines < LINES_AT_ONCE; lines++) {
		if (!agent->conn || conn_queued_bytes(agent->conn) > QUEUE_BYTES) {
			struct timeval soon = clock_timeval(RETRY_NS);
			event_del(agent->kmsg_event);
			event_add(agent->kmsg_retry, &soon);
			return;
		}
		ssize_t n = read(agent->kmsg_fd, record, RECORD_BYTES);
		if (n < 0 && errno == EPIPE) {
			link_warn(agent, "lines of the kernel log were lost: they came faster than they "
					 "could be read");
			continue;
		}
		if (n <= 0)
			return;
		record[n] = '\0';
		send_line(agent, record);
	}
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct agent *agent = arg;
	if (agent->greeted)
		event_add(agent->kmsg_event, NULL);
}

void kmsg_start(struct agent *agent)
{
	if (!agent->config.in_vm)
		return;
	if (!agent->kmsg_event) {
		agent->kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (agent->kmsg_fd < 0) {
			link_warn(agent, "the kernel log cannot be read: there is no /dev/kmsg");
			return;
		}
		agent->kmsg_event = event_new(
			loop_base(agent->loop), agent->kmsg_fd, EV_READ | EV_PERSIST, on_kmsg, agent);
		agent->kmsg_retry = evtimer_new(loop_base(agent->loop), on_retry, agent);
	}
	if (agent->kmsg_event && agent->kmsg_retry)
		event_add(agent->kmsg_event, NULL);
}

void kmsg_stop(struct agent *agent)
{
	if (agent->kmsg_event)
		event_del(agent->kmsg_event);
	if (agent->kmsg_retry)
		event_del(agent->kmsg_retry);
}
