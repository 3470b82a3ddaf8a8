/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads the guest's /proc/kallsyms once its agent is ready, for kernels whose image tells no symbols. A
 * thread of its own asks, since calls to the agent block; the loop hears of its end. */
#include "host/machine/machine_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "host/kmem/kallsyms_text.h"
#include "proto/pb.h"
#include "proto/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The agent writes 128 KiB of it for an answer. */
#define ANSWER_NS (10 * NS_PER_S)

static int ask(struct machine *m, uint64_t offset, Schedrig__V1__AgentResponse **ret, struct err *err)
{
	Schedrig__V1__AgentRequest request = SCHEDRIG__V1__AGENT_REQUEST__INIT;
	Schedrig__V1__PullFile pull = SCHEDRIG__V1__PULL_FILE__INIT;
	pull.path = (char *)"/proc/kallsyms";
	pull.offset = offset;
	request.kind_case = SCHEDRIG__V1__AGENT_REQUEST__KIND_PULL_FILE;
	request.pull_file = &pull;
	uint64_t limit_ns = ANSWER_NS * 100 / MAX_OF(link_speed_percent(m->link), 1u);
	int r = link_call(m->link, &request, clock_deadline_ns(limit_ns), ret, err);
	if (r == 0 && ((*ret)->kind_case != SCHEDRIG__V1__AGENT_RESPONSE__KIND_CHUNK || !(*ret)->chunk))
		r = err_set(err, ERR_INTERNAL, "the agent's answer does not fit the request");
	return r;
}

/* *ret_text is the caller's to free. */
static int fetch(struct machine *m, char **ret_text, size_t *ret_bytes, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t length = 0, size = 0;
	for (;;) {
		_cleanup_(pb_free_p) Schedrig__V1__AgentResponse *response = NULL;
		int r = ask(m, length, &response, err);
		if (r < 0)
			return r;
		const ProtobufCBinaryData *data = &response->chunk->data;
		if (!range_fits(length, data->len, KALLSYMS_TEXT_MAX))
			return err_set(err, ERR_LIMIT_EXCEEDED,
				"the guest's /proc/kallsyms is longer than %llu MiB",
				(unsigned long long)(KALLSYMS_TEXT_MAX >> 20));
		if (length + data->len > size) {
			size = MAX_OF(2 * size, length + data->len);
			char *more = realloc(text, size);
			if (!more)
				return err_set_os(err, ERR_HOST, ENOMEM, "cannot keep the guest's symbols");
			text = more;
		}
		if (data->len)
			memcpy(text + length, data->data, data->len);
		length += data->len;
		if (data->len < WIRE_CHUNK_BYTES)
			break;
	}
	if (length == 0)
		return err_set(err, ERR_KERNEL_LAYOUT, "the guest's /proc/kallsyms is empty");
	*ret_text = TAKE_PTR(text);
	*ret_bytes = length;
	return 0;
}

static void on_symbols(void *arg)
{
	struct machine *m = arg;
	machine_join_guest_symbols(m);
	m->symbols_done(m);
}

static void *symbols_thread(void *arg)
{
	struct machine *m = arg;
	struct err err = ERR_INIT;
	char *text = NULL;
	size_t bytes = 0;
	if (fetch(m, &text, &bytes, &err) < 0)
		err_wrap(&err, "the kernel's symbols cannot be read from the guest");
	pthread_mutex_lock(&m->lock);
	m->guest_symbols = text;
	m->guest_symbols_bytes = bytes;
	m->guest_symbols_err = err;
	m->kmem_tried = false; /* whatever it lacked before */
	pthread_mutex_unlock(&m->lock);
	if (loop_post(m->loop, m, on_symbols, m) < 0)
		log_error("out of memory");
	return NULL;
}

bool machine_image_lacks_symbols(const struct machine *m)
{
	struct kimage image;
	return kimage_init(&image, m->image->elf, m->image->elf_bytes, NULL) == 0 && !symbols_are_in(&image);
}

bool machine_read_guest_symbols(struct machine *m, void (*done)(struct machine *m))
{
	/* The speed thread may not have said yet: what it knows is not ours to read then. */
	bool lacks = m->speed_started ? machine_image_lacks_symbols(m) : m->image_lacks_symbols;
	bool needed = m->options->guest_symbols || lacks;
	if (m->symbols_started || !needed)
		return m->symbols_started && !m->symbols_joined;
	m->symbols_done = done;
	m->symbols_started = true;
	int r = pthread_create(&m->symbols_thread, NULL, symbols_thread, m);
	if (r == 0)
		return true;
	m->symbols_joined = true;
	pthread_mutex_lock(&m->lock);
	err_set_os(&m->guest_symbols_err, ERR_HOST, r, "the kernel's symbols cannot be read from the guest");
	pthread_mutex_unlock(&m->lock);
	return false;
}

void machine_join_guest_symbols(struct machine *m)
{
	if (m->symbols_started && !m->symbols_joined)
		pthread_join(m->symbols_thread, NULL);
	m->symbols_joined = true;
}
