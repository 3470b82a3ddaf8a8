/* SPDX-License-Identifier: GPL-2.0-only */
/* The whole archive and its cache. */
#include "host/initramfs/initramfs.h"

#include "common/fd.h"
#include "fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REL "6.99.1-test"
#define MAGIC "vermagic=" REL " SMP\0"

static struct kernel_files kernel;
static struct initramfs_staged staged[2];
static struct initramfs_config config;

static void set_up(void)
{
	const char *tree = in_scratch("modules");
	PUT_MODULE(tree, "virtio_mmio.ko", MAGIC "depends=");
	PUT_MODULE(tree, "vmw_vsock_virtio_transport.ko", MAGIC "depends=vsock");
	PUT_MODULE(tree, "vsock.ko", MAGIC "depends=");
	/* A copy, so that the time of the build does not matter. */
	copy_file(built("staged-static"), in_scratch("agent"), 0755);
	put_text(in_scratch("data"), "first");
	kernel = (struct kernel_files){.release = REL};
	snprintf(kernel.modules, sizeof(kernel.modules), "%s", tree);
	static char agent[PATH_BYTES], data[PATH_BYTES];
	snprintf(agent, sizeof(agent), "%s", in_scratch("agent"));
	snprintf(data, sizeof(data), "%s", in_scratch("data"));
	staged[0] = (struct initramfs_staged){"data.txt", data};
	config = (struct initramfs_config){
		.agent = agent, .kernel = &kernel, .staged = staged, .n_staged = 1, .cache_dir = scratch()};
}

static bool open_cached(struct entry *ret_data)
{
	struct initramfs archive = INITRAMFS_EMPTY;
	struct err err = ERR_INIT;
	cr_assert_eq(initramfs_open(&config, &archive, &err), 0, "%s", err.message);
	*ret_data = archive_find(archive.bytes, archive.size, "staged/data.txt");
	bool cached = archive.cached;
	initramfs_close(&archive);
	cr_assert_eq(archive.fd, -1);
	return cached;
}

static unsigned count(const char *ending)
{
	unsigned n = 0;
	DIR *dir = opendir(in_scratch("initramfs"));
	const struct dirent *entry;
	while ((entry = readdir(dir))) {
		const char *at = strstr(entry->d_name, ending);
		n += at && at[strlen(ending)] == '\0';
	}
	closedir(dir);
	return n;
}

Test(initramfs, content, .init = set_up)
{
	struct initramfs a = INITRAMFS_EMPTY;
	struct err err = ERR_INIT;
	struct stat st;
	config.cache_dir = NULL;
	cr_assert_eq(initramfs_open(&config, &a, &err), 0, "%s", err.message);
	cr_assert_eq(fstat(a.fd, &st), 0);
	cr_assert_eq((size_t)st.st_size, a.size);
	cr_assert_eq(memcmp(a.bytes, "070701", 6), 0, "newc");
#define AT(path) archive_find(a.bytes, a.size, path)
	cr_assert_eq(AT("init").mode, S_IFREG | 0755);
	cr_assert_str_eq(AT("modules/order").text,
		"/modules/virtio_mmio.ko\n/modules/vsock.ko\n/modules/vmw_vsock_virtio_transport.ko\n");
	cr_assert(AT("modules/vsock.ko").found);
	cr_assert_not(AT("modules/virtio_rng.ko").found, "optional");
	cr_assert_str_eq(AT("staged/data.txt").text, "first");
	struct entry console = AT("dev/console");
	cr_assert_eq(console.mode, S_IFCHR | 0600);
	cr_assert_eq(console.rdev_major, 5);
	cr_assert_eq(console.rdev_minor, 1);
	cr_assert_eq(AT("tmp").mode, S_IFDIR | 01777);
	cr_assert_lt(AT("staged").index, AT("staged/data.txt").index, "directories first");
#undef AT
	cr_assert_eq(access(in_scratch("initramfs"), F_OK), -1, "no cache asked for, none made");
	initramfs_close(&a);
}

static bool has(const struct initramfs_module *modules, const char *name)
{
	for (; modules->name; modules++)
		if (strcmp(modules->name, name) == 0)
			return true;
	return false;
}

Test(initramfs, devices_bring_their_modules, .init = set_up)
{
	struct initramfs_module modules[INITRAMFS_MODULES_MAX];
	struct initramfs a = INITRAMFS_EMPTY;
	struct err err = ERR_INIT;
	initramfs_choose_modules(false, false, modules);
	cr_assert(has(modules, "virtio_mmio") && !has(modules, "virtio_net") && !has(modules, "virtio_blk"));
	initramfs_choose_modules(true, false, modules);
	cr_assert(has(modules, "virtio_mmio") && has(modules, "virtio_net") && !has(modules, "virtio_blk"));
	initramfs_choose_modules(true, true, modules);
	cr_assert(has(modules, "virtio_mmio") && has(modules, "virtio_net") && has(modules, "virtio_blk"));
	initramfs_choose_modules(false, true, modules);
	config.modules = modules;
	cr_assert_lt(initramfs_open(&config, &a, &err), 0);
	cr_assert_eq((int)err.code, (int)ERR_UNSUPPORTED);
	cr_assert_not_null(strstr(err.message, "virtio-blk (--disk)"), "%s", err.message);
	PUT_MODULE(kernel.modules, "virtio_blk.ko", MAGIC "depends=");
	cr_assert_eq(initramfs_open(&config, &a, &err), 0, "%s", err.message);
	cr_assert(archive_find(a.bytes, a.size, "modules/virtio_blk.ko").found);
	initramfs_close(&a);
}

Test(initramfs, everything_built_in_leaves_an_empty_order, .init = set_up)
{
	struct initramfs a = INITRAMFS_EMPTY;
	struct err err = ERR_INIT;
	static const struct initramfs_module none[] = {{0}};
	config.modules = none;
	cr_assert_eq(initramfs_open(&config, &a, &err), 0, "%s", err.message);
	struct entry order = archive_find(a.bytes, a.size, "modules/order");
	cr_assert(order.found);
	cr_assert_eq(order.size, 0);
	initramfs_close(&a);
}

Test(initramfs, cache_follows_every_change, .init = set_up)
{
	struct entry data;
	struct err err = ERR_INIT;
	cr_assert_not(open_cached(&data));
	cr_assert(open_cached(&data));
	cr_assert_str_eq(data.text, "first");
	/* Same size and same old time: the inode's change time tells. */
	put_text(in_scratch("data"), "other");
	cr_assert_not(open_cached(&data));
	cr_assert_str_eq(data.text, "other");
	cr_assert(open_cached(&data));
	/* Another request. */
	staged[0].name = "data2.txt";
	cr_assert_not(open_cached(&data));
	staged[0].name = "data.txt";
	cr_assert(open_cached(&data), "the old one is still known");
	/* A module changes. */
	PUT_MODULE(kernel.modules, "vsock.ko", MAGIC "depends=\0changed=yes");
	cr_assert_not(open_cached(&data));
	cr_assert(open_cached(&data));
	/* Damage to the cache costs time only. */
	char command[1024];
	snprintf(command, sizeof(command), "rm %s/initramfs/*.cpio", scratch());
	cr_assert_eq(system(command), 0);
	cr_assert_not(open_cached(&data));
	snprintf(command, sizeof(command), "for f in %s/initramfs/*.cpio; do truncate -s 100 $f; done",
		scratch());
	cr_assert_eq(system(command), 0);
	cr_assert_not(open_cached(&data));
	cr_assert_str_eq(data.text, "other");
	cr_assert(open_cached(&data));
	static const char *const garbage[] = {"", "cpio", "cpio zz 5\n",
		"cpio 0123456789abcdef0123456789abcdef 0\n", "cpio ../../../../../../etc/passwd 100\n",
		"x\n"};
	for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
		snprintf(command, sizeof(command), "for f in %s/initramfs/*.inputs; do printf '%s' >$f; done",
			scratch(), garbage[i]);
		cr_assert_eq(system(command), 0);
		cr_assert_not(open_cached(&data), "%s", garbage[i]);
		cr_assert(open_cached(&data));
	}
	/* What cannot be cached works too. */
	put_text(in_scratch("blocked"), "a file, not a directory");
	config.cache_dir = in_scratch("blocked");
	cr_assert_not(open_cached(&data));
	cr_assert_not(open_cached(&data));
	cr_assert_eq(err.code, 0);
}

Test(initramfs, cache_sees_a_library_that_comes_first, .init = set_up)
{
	/* Found in its RUNPATH ($ORIGIN) once it is there; before that the search went past. */
	static char program[PATH_BYTES];
	snprintf(program, sizeof(program), "%s", in_scratch("bin/program"));
	copy_file(built("staged-dynamic"), program, 0755);
	copy_file(built("libstagedmiddle.so"), in_scratch("bin/libstagedmiddle.so"), 0755);
	copy_file(built("libstagedleaf.so"), in_scratch("bin/libstagedleaf.so"), 0755);
	staged[1] = (struct initramfs_staged){"program", program};
	config.n_staged = 2;
	struct entry data;
	cr_assert_not(open_cached(&data));
	cr_assert(open_cached(&data));
	copy_file("/bin/true", in_scratch("bin/libc.so.6"), 0755); /* any shared object of this name */
	cr_assert_not(open_cached(&data));
	struct initramfs a = INITRAMFS_EMPTY;
	struct err err = ERR_INIT;
	cr_assert_eq(initramfs_open(&config, &a, &err), 0, "%s", err.message);
	cr_assert(archive_find(a.bytes, a.size, "staged/libc.so.6").found);
	initramfs_close(&a);
}

Test(initramfs, a_file_that_just_changed_is_not_trusted, .init = set_up)
{
	struct entry data;
	struct err err = ERR_INIT;
	cr_assert_eq(fd_replace_file(staged[0].path, "fresh", 5, 0644, &err), 0);
	cr_assert_not(open_cached(&data));
	cr_assert_not(open_cached(&data), "its time cannot tell yet");
	age(staged[0].path);
	cr_assert_not(open_cached(&data));
	cr_assert(open_cached(&data));
}

Test(initramfs, cache_is_bounded, .init = set_up)
{
	struct entry data;
	char text[32];
	put_text(in_scratch("initramfs/0123.cpio.abcdef"), "left by a dead controller");
	for (int i = 0; i < 24; i++) {
		snprintf(text, sizeof(text), "content %d", i);
		put_text(in_scratch("data"), text);
		cr_assert_not(open_cached(&data));
	}
	cr_assert_eq(count(".cpio"), 16);
	cr_assert_eq(count(".inputs"), 1);
	cr_assert_eq(access(in_scratch("initramfs/0123.cpio.abcdef"), F_OK), -1);
	cr_assert(open_cached(&data), "the newest stays");
	cr_assert_str_eq(data.text, "content 23");
}

Test(initramfs, wrong_requests, .init = set_up)
{
	struct initramfs a = INITRAMFS_EMPTY;
	struct err err = ERR_INIT;
	char longest[INITRAMFS_NAME_MAX + 2];
	memset(longest, 'n', sizeof(longest));
	longest[INITRAMFS_NAME_MAX + 1] = '\0';
	static const char *const bad[] = {"", ".", "..", ".hidden", "a/b", "/", "a\nb", "a\177"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		staged[0].name = bad[i];
		cr_assert_lt(initramfs_open(&config, &a, &err), 0, "'%s'", bad[i]);
		cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	}
	staged[0].name = longest;
	cr_assert_lt(initramfs_open(&config, &a, &err), 0);
	longest[INITRAMFS_NAME_MAX] = '\0';
	cr_assert_eq(initramfs_open(&config, &a, &err), 0, "%s", err.message);
	initramfs_close(&a);
	staged[1] = staged[0];
	config.n_staged = 2;
	cr_assert_lt(initramfs_open(&config, &a, &err), 0);
	cr_assert_not_null(strstr(err.message, "two staged files are named"), "%s", err.message);
	config.n_staged = 1;
	config.agent = "/no/agent";
	cr_assert_lt(initramfs_open(&config, &a, &err), 0);
	cr_assert_not_null(strstr(err.message, "the agent: /no/agent: cannot be opened"), "%s", err.message);
	config.agent = in_scratch("agent");
	unlink(in_scratch("modules/kernel/vmw_vsock_virtio_transport.ko"));
	cr_assert_lt(initramfs_open(&config, &a, &err), 0);
	cr_assert_eq(err.code, ERR_UNSUPPORTED);
	cr_assert_not_null(
		strstr(err.message,
			"kernel " REL " has no virtio-vsock: module vmw_vsock_virtio_transport is neither "
			"built in nor in "),
		"%s", err.message);
}
