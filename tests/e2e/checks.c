/* SPDX-License-Identifier: GPL-2.0-only */
/* In the guest, and without any of schedrig's code: a thread on each CPU checks that all words of an array
 * are equal, says who writes them from outside. Static; runs until it is killed.
 *
 * Where the array is, is in the file /tmp/e2e-checks once every thread has checked for the first time: number
 * of threads, then the page frame numbers of the array (two pages, 1000 words of 8 bytes) and of the counters
 * (one page): for each thread, every 64 bytes, how often it has checked, and how often words differed. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, WORDS = 1000, THREADS_MAX = PAGE / 64 };

static volatile uint64_t *words;
static struct counters {
	volatile uint64_t checks, broken, pad[6];
} * counters;

/* A batch writes upwards, so the last word is the last to change: if it is the same before and after, no
 * batch has ended meanwhile, and a word that differs is of one that is half done. */
static void *check(void *arg)
{
	struct counters *own = &counters[(uintptr_t)arg];
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET((int)(uintptr_t)arg, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
		_exit(1);
	for (;;) {
		uint64_t before = words[WORDS - 1], differ = 0;
		for (unsigned i = 0; i < WORDS - 1; i++)
			differ += words[i] != before;
		if (words[WORDS - 1] == before && differ)
			own->broken++;
		own->checks++;
	}
	return NULL;
}

/* Documentation/admin-guide/mm/pagemap.rst: bits 0 to 54, if bit 63 is set. 0: it has none, or is not told.
 */
static uint64_t frame_of(const volatile void *page)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)page / PAGE * 8)) != sizeof(entry))
		return 0;
	close(fd);
	return entry >> 63 ? entry & ((UINT64_C(1) << 55) - 1) : 0;
}

/* Locked pages may still be moved together to make room for large ones. */
static void keep_in_place(void)
{
	int fd = open("/proc/sys/vm/compact_unevictable_allowed", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, "0", 1) == 1)
		close(fd);
}

int main(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	keep_in_place();
	char *pages = mmap(
		NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (n < 1 || n > THREADS_MAX || pages == MAP_FAILED || mlock(pages, 3 * PAGE) < 0)
		return 1;
	memset(pages, 0, 3 * PAGE);
	words = (volatile uint64_t *)pages;
	counters = (struct counters *)(pages + 2 * PAGE);
	for (long i = 0; i < n; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, check, (void *)i) != 0)
			return 1;
	}
	for (long i = 0; i < n; i++)
		while (counters[i].checks == 0)
			usleep(1000);
	FILE *file = fopen("/tmp/e2e-checks.new", "w");
	if (!file ||
		fprintf(file, "%ld %llu %llu %llu\n", n, (unsigned long long)frame_of(pages),
			(unsigned long long)frame_of(pages + PAGE),
			(unsigned long long)frame_of(pages + 2 * PAGE)) < 0 ||
		fclose(file) != 0 || rename("/tmp/e2e-checks.new", "/tmp/e2e-checks") < 0)
		return 1;
	for (;;)
		pause();
}
