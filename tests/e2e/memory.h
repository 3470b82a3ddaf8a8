/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of e2e-memory share: the VM and ways to ask about it. One thread. */
#ifndef TESTS_E2E_MEMORY_H
#define TESTS_E2E_MEMORY_H

#include "tests/e2e/harness.h"

extern struct vm_process vm;

/* schedrig --json ARGS..., or NULL with a failure recorded. */
json_t *client(const char *const *args);
#define CLIENT(...) client((const char *const[]){__VA_ARGS__, NULL})
/* What a shell in the guest prints; empty with a failure recorded. */
void guest_says(const char *command, char *text, size_t size);
/* A value of one path; -1 with a failure recorded. */
long long value_of(const char *path);
/* schedrig ARGS... ends with this status and these words in what it printed as its error. */
bool fails(const char *const *args, int status, const char *words);
#define FAILS(status, words, ...) fails((const char *const[]){__VA_ARGS__, NULL}, status, words)
/* It ends with 0 and prints these words. */
bool prints(const char *const *args, const char *words);
#define PRINTS(words, ...) prints((const char *const[]){__VA_ARGS__, NULL}, words)

/* As it was given: a prefix of a release. */
extern const char *memory_kernel;

/* memory_batches.c, memory_bpftool.c, memory_maps.c, memory_random.c, memory_symbols.c */
void test_batches(void);
void test_own_freeze(void);
void test_all_symbols(void);
void test_maps(void);
/* After test_maps(); needs bpftool staged. */
void test_bpftool(void);
void test_random_paths(void);
void test_bases(void);
void test_modules(void);

#endif
