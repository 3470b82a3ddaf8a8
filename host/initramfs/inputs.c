/* SPDX-License-Identifier: GPL-2.0-only */
/* What an archive was made of (see inputs.h). No state. */
#include "host/initramfs/inputs.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Timestamps are as coarse as a tick, and clocks of file servers differ: a file changed this recently may
 * change again without showing it. */
#define RACY_S 2

/* "DEV INODE SIZE MTIME CTIME PATH", or "- - - - - PATH" if it is not there. */
static int line_of(const char *path, char *line, size_t size, bool *ret_recent)
{
	struct stat st;
	*ret_recent = false;
	if (stat(path, &st) < 0)
		return snprintf(line, size, "- - - - - %s", path);
	/* Far in the future is another clock, not just now. */
	*ret_recent = llabs((long long)(time(NULL) - st.st_mtim.tv_sec)) <= RACY_S;
	return snprintf(line, size, "%llx %llx %llx %llx.%lx %llx.%lx %s", (unsigned long long)st.st_dev,
		(unsigned long long)st.st_ino, (unsigned long long)st.st_size,
		(unsigned long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
		(unsigned long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec, path);
}

void inputs_deinit(struct inputs *inputs)
{
	strbuf_deinit(&inputs->text);
}

void inputs_note(struct inputs *inputs, const char *path)
{
	char line[PATH_MAX + 160];
	bool recent;
	int n = line_of(path, line, sizeof(line), &recent);
	if (n < 0 || (size_t)n >= sizeof(line) || strchr(path, '\n')) {
		inputs->unsure = true;
		return;
	}
	inputs->unsure |= recent;
	strbuf_add(&inputs->text, line, (size_t)n);
	strbuf_puts(&inputs->text, "\n");
}

bool inputs_hold(char *text)
{
	char *rest = NULL;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const char *path = line;
		for (int field = 0; path && field < 5; field++) {
			path = strchr(path, ' ');
			path += path != NULL;
		}
		char now[PATH_MAX + 160];
		bool recent;
		if (!path || (size_t)line_of(path, now, sizeof(now), &recent) >= sizeof(now) ||
			strcmp(now, line) != 0)
			return false;
	}
	return true;
}
