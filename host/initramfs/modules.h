/* SPDX-License-Identifier: GPL-2.0-only */
/* Kernel modules from an unpacked tree without modules.dep: what a module says of itself (.modinfo), and the
 * order to load a wanted set in. Not shared between threads; blocks on files. */
#ifndef HOST_INITRAMFS_MODULES_H
#define HOST_INITRAMFS_MODULES_H

#include "common/err.h"
#include "host/initramfs/initramfs.h"
#include "host/initramfs/inputs.h"

#define MODULE_NAME_MAX 64
#define MODULE_MAX_BYTES (64u << 20)
#define MODULES_MAX 256

struct modinfo {
	char depends[1024]; /* "a,b", may be "" */
	char vermagic[256]; /* "7.3.4 SMP preempt mod_unload modversions", may be "" */
};

/* Reads .modinfo of a decompressed module. ERR_INVALID_ARGUMENT if it is no ELF file with one. */
int modinfo_parse(const void *bytes, size_t length, struct modinfo *ret, struct err *err) must_check;

struct module {
	char name[MODULE_NAME_MAX]; /* with '_' */
	void *bytes;                /* decompressed; heap */
	size_t length;
	char *path; /* on the host */
};

struct module_set {
	struct module *module; /* in the order to load them in */
	size_t n;
};
#define MODULE_SET_EMPTY ((struct module_set){0})
void module_set_deinit(struct module_set *set);

/* The wanted modules (ends with a name NULL) and what they depend on, less what is built in. Every file
 * looked at is noted. A kernel without module tree and config is believed to have everything built in: the
 * agent will tell. ERR_UNSUPPORTED names what is missing, ERR_INVALID_ARGUMENT a module of another kernel. */
int modules_resolve(const struct kernel_files *kernel, const struct initramfs_module *wanted,
	struct inputs *inputs, struct module_set *ret, struct err *err) must_check;

#endif
