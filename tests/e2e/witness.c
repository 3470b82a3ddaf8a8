/* SPDX-License-Identifier: GPL-2.0-only */
/* In the guest, and without any of schedrig's code: compares what somebody has seen from outside with what
 * the kernel says of itself in /proc. Static.
 *
 *   e2e-witness pids                prints PIDs of processes that are there to stay
 *   e2e-witness check CLAIM...      prints "NUMBER VALUE" for each claim (from 0) that is not so, then
 * "checked N"
 *
 * A claim is one of
 *   sym:ADDRESS:NAME                a line of /proc/kallsyms
 *   stat:PID:FIELD:VALUE            field FIELD of /proc/PID/stat, counted as proc(5) does
 *   line:FILE:KEY:WORD:VALUE        word WORD (from 0) of the line of FILE that begins with the word KEY; no
 * KEY: the first line */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLAIMS_MAX 1024

static int by_number(const void *a, const void *b)
{
	return atoi(*(char *const *)a) - atoi(*(char *const *)b);
}

static int pids(void)
{
	char *list[512];
	unsigned n = 0, printed = 0;
	DIR *dir = opendir("/proc");
	for (struct dirent *e; dir && (e = readdir(dir)) && n < 512;) {
		char path[300], comm[64] = "";
		if (e->d_name[0] < '0' || e->d_name[0] > '9' || atoi(e->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		FILE *file = fopen(path, "r");
		if (file && fgets(comm, sizeof(comm), file) && strncmp(comm, "kworker", 7) != 0)
			list[n++] = strdup(e->d_name);
		if (file)
			fclose(file);
	}
	qsort(list, n, sizeof(list[0]), by_number);
	/* Not more than is passed on whole. */
	for (unsigned i = 0; i < n && printed < 900; i++)
		printed += (unsigned)printf("%s ", list[i]);
	printf("\n");
	return 0;
}

static void wrong(int number, const char *value)
{
	printf("%d %s\n", number, *value ? value : "none");
}

/* All symbols in one pass. */
static void check_symbols(int n, char **claims)
{
	static char found[CLAIMS_MAX];
	FILE *file = fopen("/proc/kallsyms", "r");
	char line[1024];
	while (file && fgets(line, sizeof(line), file)) {
		char *address = strtok(line, " "), *name = strtok(NULL, " \t\n");
		name = name ? strtok(NULL, " \t\n") : NULL;
		for (int i = 0; name && i < n; i++)
			if (!found[i] && strncmp(claims[i], "sym:", 4) == 0 &&
				strncmp(claims[i] + 4, address, 16) == 0 && strcmp(claims[i] + 21, name) == 0)
				found[i] = 1;
	}
	if (file)
		fclose(file);
	for (int i = 0; i < n; i++)
		if (strncmp(claims[i], "sym:", 4) == 0 && !found[i])
			wrong(i, "");
}

/* Fields are counted behind the name, which may have anything in it. */
static void check_stat(int number, char *claim)
{
	char path[64], text[1024] = "";
	char *pid = strtok(claim, ":"), *field = strtok(NULL, ":"), *value = strtok(NULL, "");
	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	FILE *file = fopen(path, "r");
	size_t length = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
	if (file)
		fclose(file);
	text[length] = '\0';
	char *at = strrchr(text, ')');
	char *word = at ? strtok(at + 1, " \n") : NULL;
	for (int f = 3; word && f < atoi(field); f++)
		word = strtok(NULL, " \n");
	if (!word || !value || strcmp(word, value) != 0)
		wrong(number, word ? word : "");
}

static void check_line(int number, char *claim)
{
	char line[4096], *path = claim, *rest = strchr(claim, ':');
	*rest++ = '\0';
	char *key = rest;
	rest = strchr(rest, ':');
	*rest++ = '\0';
	int index = atoi(rest);
	const char *value = strchr(rest, ':') + 1;
	FILE *file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		char *save = NULL, *word = strtok_r(line, " \t\n", &save);
		/* "Pid:" begins with the word Pid. */
		size_t length = word ? strlen(word) : 0;
		if (length && word[length - 1] == ':')
			word[--length] = '\0';
		if (*key && (!word || strcmp(word, key) != 0))
			continue;
		for (int i = 0; word && i < index; i++)
			word = strtok_r(NULL, " \t\n", &save);
		if (!word || strcmp(word, value) != 0)
			wrong(number, word ? word : "");
		fclose(file);
		return;
	}
	if (file)
		fclose(file);
	wrong(number, "");
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "pids") == 0)
		return pids();
	if (argc < 3 || strcmp(argv[1], "check") != 0 || argc - 2 > CLAIMS_MAX)
		return 64;
	check_symbols(argc - 2, argv + 2);
	for (int i = 2; i < argc; i++) {
		if (strncmp(argv[i], "stat:", 5) == 0)
			check_stat(i - 2, argv[i] + 5);
		else if (strncmp(argv[i], "line:", 5) == 0)
			check_line(i - 2, argv[i] + 5);
	}
	printf("checked %d\n", argc - 2);
	return 0;
}
