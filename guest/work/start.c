/* SPDX-License-Identifier: GPL-2.0-only */
/* Starting workers (see work.h): all of an order are made, each says when it is ready, then all are released
 * at once. Lane threads. */
#include "common/clock.h"
#include "common/fd.h"
#include "common/scope.h"
#include "guest/work/batch.h"
#include "guest/work/disk.h"
#include "guest/work/nic.h"
#include "guest/work/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* Patience with a worker that was killed because the start failed. */
#define KILL_NS (UINT64_C(10) * 1000000000)

/* Not reserved: most of a slot is room for what hardly any worker has. */
static void *map_shared(size_t bytes)
{
	void *at =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return at == MAP_FAILED ? NULL : at;
}

void batch_free(struct work_batch *batch)
{
	if (!batch)
		return;
	if (batch->slots)
		munmap(batch->slots, batch->count * sizeof(*batch->slots));
	if (batch->groups)
		munmap(batch->groups, batch->count / batch->members * (size_t)WORK_GROUP_BYTES);
	free(batch);
}
SCOPE_GUARD(struct work_batch *, batch_free, batch_free)

static struct work_batch *batch_new(unsigned count, unsigned members, int ready_write, struct err *err)
{
	_cleanup_(batch_free_p) struct work_batch *batch = calloc(1, sizeof(*batch));
	if (batch) {
		batch->count = count;
		batch->members = members;
		batch->ready_write = ready_write;
		batch->slots = map_shared(count * sizeof(*batch->slots));
		if (members > 1)
			batch->groups = map_shared(count / members * (size_t)WORK_GROUP_BYTES);
	}
	if (!batch || !batch->slots || (members > 1 && !batch->groups)) {
		err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot map the slots of %u workers", count);
		return NULL;
	}
	return TAKE_PTR(batch);
}

/* Under the lock of the children, on any thread. */
static void died_early(struct child *child)
{
	struct work *work = container_of(child, struct work, child);
	char byte = 0;
	(void)!write(work->batch->ready_write, &byte, 1);
}
static void process_died_early(struct child *child)
{
	struct work_process *process = container_of(child, struct work_process, child);
	char byte = 0;
	(void)!write(process->ready_write, &byte, 1);
}

/* --- what joins the members of a group --- */

/* Pipe m goes from member m to the next one. */
struct links {
	unsigned n_pipes, n_events, n_nics;
	int (*pipes)[2], *events, *nics; /* nics: a socket of each member's own */
	uint32_t channel;                /* of their frames */
};

static void links_deinit(struct links *links)
{
	for (unsigned m = 0; m < links->n_pipes; m++) {
		fd_close(&links->pipes[m][0]);
		fd_close(&links->pipes[m][1]);
	}
	for (unsigned i = 0; i < links->n_events; i++)
		fd_close(&links->events[i]);
	for (unsigned m = 0; m < links->n_nics; m++)
		fd_close(&links->nics[m]);
	free(links->pipes);
	free(links->events);
	free(links->nics);
	*links = (struct links){0};
}

static int open_nics(struct links *links, const struct work_params *params, unsigned members, struct err *err)
{
	links->channel = nic_new_channel();
	for (; links->n_nics < members; links->n_nics++) {
		/* Only the sender of a pair receives nothing. */
		bool receive = params->type != WORK_IRQ_WAKE || links->n_nics == 1;
		int r = nic_open(links->channel, receive, &links->nics[links->n_nics], err);
		if (r < 0)
			return err_wrap(err, "%s", work_type_name(params->type));
	}
	return 0;
}

static int links_init(
	struct links *links, const struct work_params *params, unsigned members, struct err *err)
{
	unsigned n_pipes = worker_has_pipes(params) ? members : 0, n_events = worker_group_fds(params);
	links->pipes = calloc(n_pipes + 1, sizeof(*links->pipes));
	links->events = calloc(n_events + 1, sizeof(*links->events));
	links->nics = calloc(members, sizeof(*links->nics));
	if (!links->pipes || !links->events || !links->nics)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot join a group of workers");
	for (; links->n_pipes < n_pipes; links->n_pipes++)
		if (pipe2(links->pipes[links->n_pipes], O_CLOEXEC) < 0)
			return err_set_os(
				err, ERR_GUEST_OS, errno, "cannot make the pipes of a group of workers");
	for (; links->n_events < n_events; links->n_events++) {
		links->events[links->n_events] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (links->events[links->n_events] < 0)
			return err_set_os(
				err, ERR_GUEST_OS, errno, "cannot make the eventfds of a group of workers");
	}
	return worker_has_nic(params) ? open_nics(links, params, members, err) : 0;
}

/* --- one order --- */

struct launch {
	const struct work_order *order;
	struct work_spec spec; /* the order's, with a name */
	struct work_batch *batch;
	int file_fd;          /* of all its workers, or -1 */
	struct disk disk;     /* what file_fd is, or no places */
	uint64_t first_place; /* there */
	/* Of one group at a time, or of all of them for a thread group, whose leader needs them all at once.
	 */
	struct links *links;
	unsigned n_links;
	int ready_write, cgroup_fd;
	unsigned set;
	pid_t parent;
};

static void launch_deinit(struct launch *launch)
{
	for (unsigned i = 0; i < launch->n_links; i++)
		links_deinit(&launch->links[i]);
	free(launch->links);
	fd_close(&launch->file_fd);
	batch_free(launch->batch);
}

static int open_shared_file(int *ret_fd, struct err *err)
{
	static const char *const places[] = {"/var/tmp", "/tmp", "/"};
	for (unsigned i = 0; i < ARRAY_SIZE(places) && *ret_fd < 0; i++)
		*ret_fd = open(places[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return *ret_fd < 0 ? err_set_os(err, ERR_GUEST_OS, errno, "cannot make the workers' file") : 0;
}

/* Places on the disk where the machine has one, one for all of them if they share. */
static int open_files(struct launch *launch, struct err *err)
{
	const struct work_params *params = &launch->spec.params;
	bool shares = worker_shares_file(params);
	if (!worker_needs_file(params))
		return 0;
	int r = disk_open(&launch->disk, err);
	if (r == DISK_NONE)
		return shares ? open_shared_file(&launch->file_fd, err) : 0;
	if (r < 0)
		return r;
	launch->file_fd = launch->disk.fd;
	launch->first_place = disk_take_places(shares ? 1 : launch->order->count);
	return 0;
}

static int launch_init(struct launch *launch, struct err *err)
{
	const struct work_order *order = launch->order;
	const struct work_params *params = &order->spec->params;
	uint64_t members = work_group_size(params);
	if (!order->count || order->count % members)
		return err_set(err, ERR_INVALID_ARGUMENT, "%s needs a multiple of %llu workers, not %u",
			work_type_name(params->type), (unsigned long long)members, order->count);
	int r = work_check_machine(params, order->spec->layout, err);
	if (r < 0)
		return r;
	if (worker_needs_cgroup(params) && launch->cgroup_fd < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
			"%s works below its cgroup: it cannot be in the runner cgroup",
			work_type_name(params->type));
	if (params->type == WORK_CUSTOM && order->spec->thread_group[0])
		return err_set(
			err, ERR_INVALID_ARGUMENT, "a program of its own cannot be a thread of a group");
	launch->spec = *order->spec;
	if (!launch->spec.comm[0])
		strncpy(launch->spec.comm, work_type_name(params->type), sizeof(launch->spec.comm) - 1);
	launch->batch = batch_new(order->count, (unsigned)members, launch->ready_write, err);
	if (!launch->batch)
		return err_errno(ERR_GUEST_OS);
	unsigned groups = launch->spec.thread_group[0] ? order->count / (unsigned)members : 1;
	launch->links = calloc(groups, sizeof(*launch->links));
	if (!launch->links)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot start %u workers", order->count);
	launch->n_links = groups;
	return open_files(launch, err);
}

/* Worker k's side of the order, and what it needs to be born. */
static int prepare(struct launch *launch, unsigned k, struct worker_birth *ret_birth, struct err *err)
{
	struct work_batch *batch = launch->batch;
	struct work *work = launch->order->works[k];
	unsigned members = batch->members, member = k % members, group = k / members;
	struct links *links = &launch->links[launch->n_links > 1 ? group : 0];
	if (member == 0) {
		links_deinit(links);
		int r = links_init(links, &launch->spec.params, members, err);
		if (r < 0)
			return r;
	}
	struct work_slot *slot = &batch->slots[k];
	atomic_store(&slot->set, launch->set);
	work->batch = batch;
	work->slot = slot;
	work->type = launch->spec.params.type;
	memcpy(work->comm, launch->spec.comm, sizeof(work->comm));
	memcpy(work->thread_group, launch->spec.thread_group, sizeof(work->thread_group));
	if (work->type == WORK_CUSTOM) {
		int r = custom_new(work, k, launch->spec.seed, err);
		if (r < 0)
			return r;
	}
	int nic_fd = links->n_nics ? links->nics[member] : -1;
	uint64_t place = launch->first_place + (worker_shares_file(&launch->spec.params) ? 0 : k);
	bool needs_cgroup = launch->spec.thread_group[0] || worker_needs_cgroup(&launch->spec.params);
	*ret_birth = (struct worker_birth){
		.spec = &launch->spec,
		.slot = slot,
		.slots = slot - member,
		.index = k,
		.member = member,
		.members = members,
		.group = batch->groups ? batch->groups + group * (size_t)WORK_GROUP_BYTES : NULL,
		.read_fd = links->n_pipes ? links->pipes[(member + members - 1) % members][0] : nic_fd,
		.write_fd = links->n_pipes ? links->pipes[member][1] : nic_fd,
		.channel = links->channel,
		.fds = links->events,
		.n_fds = links->n_events,
		.file_fd = launch->file_fd,
		.file_at = launch->disk.places ? disk_place_at(&launch->disk, place) : 0,
		.cgroup_fd = needs_cgroup ? launch->cgroup_fd : -1,
		.ready_fd = launch->ready_write,
		.parent = launch->parent,
		.page_fd = work->custom ? work->custom->fd : -1,
	};
	return 0;
}

static int start_processes(struct launch *launch, struct err *err)
{
	for (unsigned k = 0; k < launch->order->count; k++) {
		struct work *work = launch->order->works[k];
		struct worker_birth birth;
		int r = prepare(launch, k, &birth, err);
		if (r < 0)
			return r;
		work->child.on_exit = died_early;
		pid_t pid = child_clone(&work->child, launch->cgroup_fd, err);
		if (pid == 0)
			worker_main(&birth);
		if (pid < 0)
			return err_wrap(
				err, "worker %u of %u (%s)", k, launch->order->count, launch->spec.comm);
		work->started = true;
	}
	return 0;
}

static int start_threads(struct launch *launches, unsigned n_launches, struct err *err)
{
	unsigned total = 0, n = 0;
	for (unsigned i = 0; i < n_launches; i++)
		total += launches[i].order->count;
	_cleanup_free_ struct worker_birth *births = calloc(total, sizeof(*births));
	_cleanup_free_ struct work_process *process = calloc(1, sizeof(*process));
	if (!births || !process)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot start a group of threads");
	for (unsigned i = 0; i < n_launches; i++)
		for (unsigned k = 0; k < launches[i].order->count; k++) {
			int r = prepare(&launches[i], k, &births[n++], err);
			if (r < 0)
				return r;
		}
	process->ready_write = launches[0].ready_write;
	process->child.on_exit = process_died_early;
	pid_t pid = child_fork(&process->child, err);
	if (pid == 0)
		worker_lead(births, total);
	if (pid < 0)
		return err_wrap(err, "thread group `%s`", launches[0].spec.thread_group);
	for (unsigned i = 0; i < n_launches; i++)
		for (unsigned k = 0; k < launches[i].order->count; k++) {
			launches[i].order->works[k]->process = process;
			launches[i].order->works[k]->started = true;
			process->refs++;
		}
	(void)TAKE_PTR(process);
	return 0;
}

/* --- until all are ready --- */

static int tell_failure(const struct work *work, unsigned k, unsigned count, struct err *err)
{
	const struct work_slot *slot = work->slot;
	if (slot->call_errno == ENOSYS && !strcmp(slot->call, "set_mempolicy"))
		return err_set(err, ERR_UNSUPPORTED,
			"worker %u of %u (%s): this kernel does not have its memory policy", k, count,
			work->comm);
	return err_set_os(err, ERR_GUEST_OS, slot->call_errno, "worker %u of %u (%s, pid %d): %s failed", k,
		count, work->comm, (int)work->child.pid, slot->call);
}

static int look_for_failure(const struct work_order *order, struct err *err)
{
	for (unsigned k = 0; k < order->count; k++)
		if (work_state(order->works[k]) == SLOT_FAILED)
			return tell_failure(order->works[k], k, order->count, err);
	return 0;
}

/* 0 when all are ready, 1 when some are not yet. */
static int look_at_slots(const struct work_order *order, struct err *err)
{
	bool all = true;
	for (unsigned k = 0; k < order->count; k++) {
		struct work *work = order->works[k];
		if (work_state(work) != SLOT_NEW)
			continue;
		all = false;
		struct child *child = work_child(work);
		if (child_exited(child) && work_state(work) == SLOT_NEW) {
			char text[40];
			return err_set(err, ERR_GUEST_OS,
				"worker %u of %u (%s, pid %d) ended during its set-up (%s)", k, order->count,
				work->comm, child->pid, child_status_text(child->status, text, sizeof(text)));
		}
	}
	return all ? 0 : 1;
}

/* As look_at_slots(), of all. One that failed ends its process, and so others of its group: it is named
 * first. */
static int look_at_all(const struct work_order *orders, unsigned n_orders, struct err *err)
{
	bool all = true, over = false;
	struct err ended = ERR_INIT;
	for (unsigned i = 0; i < n_orders; i++) {
		int r = look_at_slots(&orders[i], over ? NULL : &ended);
		over |= r < 0;
		all = all && r == 0;
	}
	for (unsigned i = 0; i < n_orders; i++) {
		int r = look_for_failure(&orders[i], err);
		if (r < 0)
			return r;
	}
	if (!over)
		return all ? 0 : 1;
	if (err)
		*err = ended;
	return err_errno(ERR_GUEST_OS);
}

static int wait_ready(const struct work_order *orders, unsigned n_orders, int ready_read,
	uint64_t deadline_ns, struct cancel *cancel, struct err *err)
{
	for (;;) {
		char bytes[256];
		while (read(ready_read, bytes, sizeof(bytes)) > 0)
			;
		int r = look_at_all(orders, n_orders, err);
		if (r <= 0)
			return r;
		if (!clock_left_ns(deadline_ns))
			return err_set(err, ERR_TIMEOUT,
				"workers (%s) did not get through their set-up in time: they get no CPU",
				orders[0].works[0]->comm);
		struct pollfd fds[2] = {{.fd = ready_read, .events = POLLIN},
			{.fd = cancel ? cancel->fd : -1, .events = POLLIN}};
		if (poll(fds, 2, clock_poll_ms(deadline_ns)) < 0 && errno != EINTR)
			return err_set_os(err, ERR_GUEST_OS, errno, "cannot wait for workers");
		if (fds[1].revents)
			return err_set(err, ERR_CANCELLED, "given up while workers were starting");
	}
}

/* --- how it ends --- */

static void kill_all(const struct work_order *order, uint64_t deadline_ns)
{
	for (unsigned k = 0; k < order->count; k++)
		if (order->works[k]->started)
			child_kill(work_child(order->works[k]), SIGKILL);
	for (unsigned k = 0; k < order->count; k++) {
		struct work *work = order->works[k];
		if (work->started && child_wait(work_child(work), deadline_ns, NULL) != CHILD_EXITED)
			work_abandon(work);
		/* The batch is the launch's still: only the process is given back here. */
		if (work->started)
			work_leave_process(work);
		work->started = false;
		custom_free(work);
	}
}

static void go(struct work *work, uint64_t now_ns)
{
	work->start_ns = now_ns;
	work->slot->released_ns = now_ns;
	if (work->custom)
		custom_release(work, now_ns);
	atomic_store_explicit(&work->slot->go, 1, memory_order_release);
	slot_futex_wake(&work->slot->go);
}

void work_begin(struct work *work)
{
	if (!work->held)
		return;
	work->held = false;
	go(work, clock_now_ns());
}

static void release(struct launch *launch, uint64_t now_ns)
{
	launch->batch->live = launch->order->count;
	for (unsigned k = 0; k < launch->order->count; k++) {
		struct work *work = launch->order->works[k];
		work->held = launch->order->spec->uptime_ns != 0;
		work->start_ns = now_ns;
		if (!work->held)
			go(work, now_ns);
	}
	launch->batch = NULL; /* its workers' from now on */
}

struct launches {
	struct launch *all;
	unsigned count;
	int ready[2];
};

static void launches_deinit(struct launches *launches)
{
	for (unsigned i = 0; launches->all && i < launches->count; i++)
		launch_deinit(&launches->all[i]);
	free(launches->all);
	fd_close(&launches->ready[0]);
	fd_close(&launches->ready[1]);
}

int work_start_all(const struct work_order *orders, unsigned n_orders, int cgroup_fd, unsigned set,
	uint64_t deadline_ns, struct cancel *cancel, struct err *err)
{
	_cleanup_(launches_deinit) struct launches launches = {.ready = {-1, -1}};
	launches.all = calloc(n_orders, sizeof(*launches.all));
	if (!launches.all)
		return err_set_os(err, ERR_GUEST_OS, ENOMEM, "cannot start workers");
	launches.count = n_orders;
	for (unsigned i = 0; i < n_orders; i++)
		launches.all[i].file_fd = -1;
	if (pipe2(launches.ready, O_CLOEXEC | O_NONBLOCK) < 0)
		return err_set_os(err, ERR_GUEST_OS, errno, "cannot make a pipe");
	bool threads = orders[0].spec->thread_group[0];
	assert(threads || n_orders == 1);
	int r = 0;
	for (unsigned i = 0; r == 0 && i < n_orders; i++) {
		struct launch *launch = &launches.all[i];
		launch->order = &orders[i];
		launch->ready_write = launches.ready[1];
		launch->cgroup_fd = cgroup_fd;
		launch->set = set;
		launch->parent = getpid();
		r = launch_init(launch, err);
	}
	if (r < 0)
		return r;
	r = threads ? start_threads(launches.all, n_orders, err) : start_processes(&launches.all[0], err);
	if (r == 0)
		r = wait_ready(orders, n_orders, launches.ready[0], deadline_ns, cancel, err);
	for (unsigned i = 0; i < n_orders; i++)
		for (unsigned k = 0; k < orders[i].count; k++)
			if (orders[i].works[k]->started)
				child_silence(work_child(orders[i].works[k]));
	uint64_t now_ns = clock_now_ns();
	for (unsigned i = 0; i < n_orders; i++) {
		if (r < 0)
			kill_all(&orders[i], now_ns + KILL_NS);
		else
			release(&launches.all[i], now_ns);
	}
	return r;
}

int work_start(struct work **works, unsigned count, const struct work_spec *spec, int cgroup_fd, unsigned set,
	uint64_t deadline_ns, struct cancel *cancel, struct err *err)
{
	const struct work_order order = {spec, works, count};
	return work_start_all(&order, 1, cgroup_fd, set, deadline_ns, cancel, err);
}
