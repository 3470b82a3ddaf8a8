/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest memory: placement around the hole, and bounds of every access. */
#include "host/arch/x86_64/layout.h"
#include "host/vm/gmem.h"

#include "common/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

Test(gmem, nodes_follow_each_other)
{
	uint64_t nodes[] = {64 * MIB, 0, 2 * MIB};
	_cleanup_(gmem_free_p) struct gmem *mem = gmem_new(nodes, 3, NULL);
	cr_assert_not_null(mem);
	cr_assert_eq(mem->n_regions, 2);
	cr_assert_eq(mem->region[1].start.v, 64 * MIB);
	cr_assert_eq(mem->region[1].node, 2);
	cr_assert_eq(mem->total_bytes, 66 * MIB);
	cr_assert_eq((uintptr_t)mem->region[0].host % (2 * MIB), 0);
}

Test(gmem, a_node_is_split_by_the_hole)
{
	uint64_t nodes[] = {2 * GIB, 2 * GIB, 1 * GIB};
	_cleanup_(gmem_free_p) struct gmem *mem = gmem_new(nodes, 3, NULL);
	cr_assert_not_null(mem);
	cr_assert_eq(mem->n_regions, 4);
	cr_assert_eq(mem->region[1].start.v, 2 * GIB);
	cr_assert_eq(mem->region[1].size_bytes, 1 * GIB);
	cr_assert_eq(mem->region[2].start.v, LAYOUT_HIGH);
	cr_assert_eq(mem->region[2].size_bytes, 1 * GIB);
	cr_assert_eq(mem->region[2].node, 1);
	cr_assert_eq(mem->region[3].start.v, 5 * GIB);
	cr_assert_null(gmem_ptr(mem, GPA(LAYOUT_HOLE), 1));
	cr_assert_null(gmem_ptr(mem, GPA(LAYOUT_HOLE - 1), 2));
	cr_assert_not_null(gmem_ptr(mem, GPA(LAYOUT_HOLE - 1), 1));
	cr_assert_not_null(gmem_ptr(mem, GPA(LAYOUT_HIGH), 1));
}

Test(gmem, bad_sizes_are_refused)
{
	struct err err = ERR_INIT;
	uint64_t odd[] = {3 * MIB}, none[] = {0, 0}, huge[] = {UINT64_MAX & ~(2 * MIB - 1)};
	cr_assert_null(gmem_new(odd, 1, &err));
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	cr_assert_null(gmem_new(none, 2, &err));
	cr_assert_eq(err.code, ERR_INVALID_ARGUMENT);
	cr_assert_null(gmem_new(huge, 1, &err));
	cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
}

Test(gmem, pointers_stay_in_one_region)
{
	uint64_t nodes[] = {2 * MIB, 2 * MIB};
	_cleanup_(gmem_free_p) struct gmem *mem = gmem_new(nodes, 2, NULL);
	cr_assert_null(gmem_ptr(mem, GPA(0), 0));
	cr_assert_null(gmem_ptr(mem, GPA(0), 2 * MIB + 1));
	cr_assert_null(gmem_ptr(mem, GPA(2 * MIB - 4), 8));
	cr_assert_null(gmem_ptr(mem, GPA(4 * MIB), 1));
	cr_assert_null(gmem_ptr(mem, GPA(UINT64_MAX), 2));
	cr_assert_null(gmem_ptr(mem, GPA(4), UINT64_MAX));
	cr_assert_eq(gmem_ptr(mem, GPA(2 * MIB), 2 * MIB), mem->region[1].host);
}

Test(gmem, copies_cross_regions_whole_or_not_at_all)
{
	uint64_t nodes[] = {2 * MIB, 2 * MIB};
	_cleanup_(gmem_free_p) struct gmem *mem = gmem_new(nodes, 2, NULL);
	char out[9] = "", text[9] = "abcdefgh";
	cr_assert_eq(gmem_write(mem, GPA(2 * MIB - 4), text, 8), 0);
	cr_assert_eq(gmem_read(mem, GPA(2 * MIB - 4), out, 8), 0);
	cr_assert_str_eq(out, "abcdefgh");
	cr_assert_eq(memcmp(mem->region[1].host, "efgh", 4), 0);

	cr_assert_eq(gmem_write(mem, GPA(4 * MIB - 4), text, 8), -EFAULT);
	cr_assert_eq(gmem_read(mem, GPA(4 * MIB - 4), out, 4), 0);
	cr_assert_eq(memcmp(out, "\0\0\0\0", 4), 0);
	cr_assert_eq(gmem_read(mem, GPA(UINT64_MAX - 2), out, 8), -EFAULT);
	cr_assert_eq(gmem_read(mem, GPA(7 * MIB), out, 0), 0);
}

Test(gmem, files_are_mapped_privately)
{
	uint64_t node = 4 * MIB;
	_cleanup_(gmem_free_p) struct gmem *mem = gmem_new(&node, 1, NULL);
	_cleanup_close_ int fd = memfd_create("file", MFD_CLOEXEC);
	char text[3 * 4096];
	memset(text, 'f', sizeof(text));
	cr_assert_eq(write(fd, text, sizeof(text) - 100), (ssize_t)sizeof(text) - 100);
	cr_assert_eq(gmem_map_file(mem, GPA(MIB), 2 * 4096 - 100, fd, 4096), 0);
	uint8_t *p = gmem_ptr(mem, GPA(MIB - 1), 3 * 4096);
	cr_assert_eq(p[0], 0);
	cr_assert_eq(p[1], 'f');
	cr_assert_eq(p[2 * 4096 - 100], 'f');
	cr_assert_eq(p[2 * 4096 - 99], 0, "beyond the end of the file");
	cr_assert_eq(p[2 * 4096 + 1], 0);
	p[1] = 'g';
	cr_assert_eq(pread(fd, text, 1, 4096), 1);
	cr_assert_eq(text[0], 'f', "what the guest writes stays its own");

	cr_assert_eq(gmem_map_file(mem, GPA(MIB), 2 * 4096, fd, 4096), -EINVAL, "longer than the file");
	cr_assert_eq(gmem_map_file(mem, GPA(MIB), 4096, fd, UINT64_MAX - 4095), -EINVAL);
	cr_assert_eq(gmem_map_file(mem, GPA(MIB), UINT64_MAX, fd, 0), -EINVAL);
	cr_assert_eq(gmem_map_file(mem, GPA(MIB), 4096, fd, 1), -EINVAL);
	cr_assert_eq(gmem_map_file(mem, GPA(MIB + 1), 4096, fd, 0), -EINVAL);
	cr_assert_eq(gmem_map_file(mem, GPA(4 * MIB - 4096), 4097, fd, 0), -EINVAL, "beyond the region");
	cr_assert_eq(gmem_map_file(mem, GPA(MIB), 0, fd, 0), -EINVAL);
	cr_assert_eq(p[1], 'g', "refused: as it was");
}
