/* SPDX-License-Identifier: GPL-2.0-only */
/* Runs a fuzz target over stored inputs: replay FILE|DIRECTORY... . With it a corpus is an ordinary test,
 * under any compiler. One thread. */
#include "common/fd.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Larger than any input libFuzzer makes by itself. */
#define INPUT_MAX (1u << 20)

static int run_file(const char *path)
{
	_cleanup_free_ char *bytes = NULL;
	size_t length = 0;
	struct err err = ERR_INIT;
	if (fd_read_file(path, INPUT_MAX, &bytes, &length, &err) < 0) {
		fprintf(stderr, "%s: %s\n", path, err.message);
		return -1;
	}
	/* An exact copy, so that a sanitizer sees the first byte read behind it. */
	_cleanup_free_ uint8_t *exact = malloc(length ? length : 1);
	if (!exact)
		return -1;
	memcpy(exact, bytes, length);
	LLVMFuzzerTestOneInput(exact, length);
	return 1;
}

/* Inputs run, or -1. */
static int run_path(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	if (!S_ISDIR(st.st_mode))
		return run_file(path);
	DIR *dir = opendir(path);
	if (!dir)
		return -1;
	int total = 0;
	for (struct dirent *e; total >= 0 && (e = readdir(dir));) {
		char *name = NULL;
		if (e->d_name[0] == '.' || asprintf(&name, "%s/%s", path, e->d_name) < 0)
			continue;
		int n = run_path(name);
		total = n < 0 ? -1 : total + n;
		free(name);
	}
	closedir(dir);
	return total;
}

int main(int argc, char **argv)
{
	int total = 0;
	for (int i = 1; i < argc; i++) {
		int n = run_path(argv[i]);
		if (n < 0)
			return 1;
		total += n;
	}
	printf("%d inputs\n", total);
	/* An empty corpus tests nothing. */
	return total ? 0 : 1;
}
