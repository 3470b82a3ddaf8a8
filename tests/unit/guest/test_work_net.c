/* SPDX-License-Identifier: GPL-2.0-only */
/* Work types that send frames, on the loopback interface of the machine: frames come back there as well,
 * though without a device's interrupt. */
#include "crew.h"

#include "common/clock.h"
#include "common/fd.h"
#include "guest/work/nic.h"

#include <criterion/criterion.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static struct crew crew;

static void use_lo(void)
{
	char why[128];
	if (!crew_has_nic(why, sizeof(why)))
		cr_skip("%s", why);
}

Test(work, without_a_network_device_there_is_a_reason, .timeout = 30)
{
	struct err err = ERR_INIT;
	int fd = -1;
	nic_use(NULL);
	/* Whatever this machine has is not a controller's: nothing is ever sent there. */
	cr_assert_lt(nic_open(1, true, &fd, &err), 0);
	cr_assert_eq((int)err.code, (int)ERR_UNSUPPORTED);
	cr_assert(strstr(err.message, "--net"), "%s", err.message);
	struct work work = {0}, *list[] = {&work};
	struct work_spec spec = {.params = work_params_standard(WORK_NET_TRAFFIC)};
	cr_assert_eq(work_init(&err), 0);
	cr_assert_lt(work_start(list, 1, &spec, -1, 0, clock_deadline_ns(NS_PER_S), NULL, &err), 0);
	cr_assert_eq((int)err.code, (int)ERR_UNSUPPORTED);
	cr_assert(strstr(err.message, "net_traffic") && strstr(err.message, "--net"), "%s", err.message);
}

Test(work, channels_are_kept_apart, .timeout = 30)
{
	struct err err = ERR_INIT;
	use_lo();
	_cleanup_close_ int first = -1, second = -1, sender = -1;
	uint32_t one = nic_new_channel(), two = nic_new_channel();
	cr_assert_eq(nic_open(one, true, &first, &err), 0, "%s", err.message);
	cr_assert_eq(nic_open(two, true, &second, &err), 0, "%s", err.message);
	cr_assert_eq(nic_open(one, false, &sender, &err), 0, "%s", err.message);
	uint8_t frame[WORK_FRAME_MIN] = {0};
	uint64_t offset = nic_clock_offset(), before = clock_now_ns(), at;
	cr_assert_eq(nic_header(sender, one, frame), 0);
	cr_assert_eq(send(sender, frame, sizeof(frame), 0), sizeof(frame));
	struct pollfd fd = {.fd = first, .events = POLLIN};
	cr_assert_eq(poll(&fd, 1, 10000), 1);
	cr_assert_eq(nic_take(first, offset, &at), 1);
	/* The offset is off by the time between two looks at clocks at most. */
	cr_assert(at + NS_PER_MS >= before && at <= clock_now_ns() + NS_PER_MS, "%lu, not %lu", at, before);
	cr_assert_eq(nic_take(first, offset, &at), 0, "it comes once");
	cr_assert_eq(nic_take(second, offset, &at), 0);
	cr_assert_eq(nic_take(sender, offset, &at), 0);
}

Test(work, net_traffic_gets_its_frames_back, .timeout = 30)
{
	use_lo();
	struct work_params params = work_params_standard(WORK_NET_TRAFFIC);
	params.net_traffic.interval_ns = 0;
	params.net_traffic.frame_bytes = WORK_FRAME_MAX;
	crew_run(&crew, &params, 2, 200);
	for (unsigned k = 0; k < 2; k++)
		cr_assert_eq(crew.reports[k].units, crew.reports[k].iterations);
	crew_release(&crew);

	params = work_params_standard(WORK_NET_TRAFFIC);
	params.net_traffic.interval_ns = 2 * NS_PER_MS;
	crew_run(&crew, &params, 1, 20);
	const struct work_report *report = &crew.reports[0];
	cr_assert_leq(report->units, report->wall_ns / params.net_traffic.interval_ns + 1);
	crew_release(&crew);
}

Test(work, irq_wake_wakes_its_partner, .timeout = 30)
{
	use_lo();
	struct work_params params = work_params_standard(WORK_IRQ_WAKE);
	crew_run(&crew, &params, 4, 50);
	for (unsigned pair = 0; pair < 4; pair += 2) {
		const struct work_report *sender = &crew.reports[pair], *woken = &crew.reports[pair + 1];
		cr_assert_leq(
			woken->units, sender->units, "%lu frames of %lu came", woken->units, sender->units);
		cr_assert_gt(woken->wakeups, 0);
		cr_assert_leq(woken->wakeups, woken->units);
	}
	crew_release(&crew);
}
