/* SPDX-License-Identifier: GPL-2.0-only */
/* Under ThreadSanitizer: the loop's post queue and the console ring, each between threads that do not wait
 * for each other; nothing is lost, doubled or out of order. */
#include "common/clock.h"
#include "common/loop.h"
#include "host/vm/console_ring.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

#define POSTERS 4
#define POSTS 20000u
#define CONSOLE_BYTES (4u << 20)

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

struct post {
	unsigned poster, number;
};
static unsigned seen[POSTERS], calls;
static struct loop *loop;

static void on_post(void *arg)
{
	struct post *post = arg;
	if (post->number != seen[post->poster]++)
		fail("posts of one thread came out of order");
	free(post);
}

static void on_call(void *arg)
{
	calls++;
	++*(unsigned *)arg;
}

static void *poster(void *arg)
{
	unsigned self = (unsigned)(intptr_t)arg, own_calls = 0;
	for (unsigned i = 0; i < POSTS; i++) {
		struct post *post = malloc(sizeof(*post));
		*post = (struct post){self, i};
		if (loop_post(loop, NULL, on_post, post) < 0)
			fail("cannot post");
		if (i % 100 == 0 && loop_call(loop, on_call, &own_calls) < 0)
			fail("cannot call");
	}
	if (own_calls != POSTS / 100)
		fail("a call returned before it was done");
	return NULL;
}

static void *run_loop(void *arg)
{
	loop_run(loop);
	return NULL;
}

static void stop(void *arg)
{
	loop_stop(loop);
}

static void race_loop(void)
{
	struct err err = ERR_INIT;
	loop = loop_new(&err);
	if (!loop)
		fail(err.message);
	pthread_t runner, posters[POSTERS];
	pthread_create(&runner, NULL, run_loop, NULL);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_create(&posters[i], NULL, poster, (void *)(intptr_t)i);
	for (unsigned i = 0; i < POSTERS; i++)
		pthread_join(posters[i], NULL);
	if (loop_post(loop, NULL, stop, NULL) < 0)
		fail("cannot post");
	pthread_join(runner, NULL);
	for (unsigned i = 0; i < POSTERS; i++)
		if (seen[i] != POSTS)
			fail("posts were lost");
	if (calls != POSTERS * POSTS / 100)
		fail("calls were lost");
	loop_free(loop);
}

/* Each byte is its own number: the consumer sees what is missing. */
static void *producer(void *arg)
{
	unsigned seed = 1;
	for (unsigned at = 0; at < CONSOLE_BYTES;) {
		char bytes[64];
		unsigned n = 1 + (unsigned)rand_r(&seed) % 64;
		n = MIN_OF(n, CONSOLE_BYTES - at);
		for (unsigned i = 0; i < n; i++)
			bytes[i] = (char)((at + i) % 251);
		console_ring_put(bytes, n, arg);
		at += n;
	}
	return NULL;
}

static void race_console(void)
{
	struct err err = ERR_INIT;
	struct console_ring *ring = console_ring_new(4096, 0, &err);
	if (!ring)
		fail(err.message);
	pthread_t thread;
	pthread_create(&thread, NULL, producer, ring);
	uint64_t taken = 0, all_lost = 0;
	while (taken + all_lost < CONSOLE_BYTES) {
		struct pollfd p = {.fd = console_ring_fd(ring), .events = POLLIN};
		if (poll(&p, 1, 20000) != 1)
			fail("bytes were left and nobody was told");
		char bytes[1000];
		uint64_t lost;
		size_t n = console_ring_take(ring, bytes, sizeof(bytes), &lost);
		taken += n;
		all_lost += lost;
		for (size_t i = 1; i < n && all_lost == 0; i++)
			if ((unsigned char)bytes[i] != ((unsigned char)bytes[i - 1] + 1) % 251)
				fail("bytes came out of order");
	}
	if (taken + all_lost != CONSOLE_BYTES)
		fail("bytes were doubled");
	pthread_join(thread, NULL);
	console_ring_free(ring);
	printf("console: %llu bytes through, %llu lost to a full ring\n", (unsigned long long)taken,
		(unsigned long long)all_lost);
}

int main(void)
{
	race_loop();
	race_console();
	return 0;
}
