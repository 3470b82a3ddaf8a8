/* SPDX-License-Identifier: GPL-2.0-only */
/* ACPI tables: their sums and links, what they say read field by field, and what iasl (acpica-tools) makes of
 * them: it disassembles each without complaint and compiles its own output back to the same bytes. */
#include "host/arch/x86_64/acpi.h"
#include "host/arch/x86_64/layout.h"

#include "common/fd.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint8_t area[LAYOUT_ACPI_BYTES];

/* Memory as gmem lays it out; only what SRAT needs. */
static struct gmem memory_of(const struct topology *t)
{
	struct gmem mem = {0};
	uint64_t at = 0;
	for (unsigned node = 0; node < t->n_nodes; node++) {
		uint64_t left = t->node_bytes[node];
		while (left) {
			if (at == LAYOUT_HOLE)
				at = LAYOUT_HIGH;
			uint64_t size = at < LAYOUT_HOLE ? MIN_OF(left, LAYOUT_HOLE - at) : left;
			mem.region[mem.n_regions++] =
				(struct gmem_region){.start = GPA(at), .size_bytes = size, .node = node};
			at += size;
			left -= size;
		}
	}
	return mem;
}

static size_t build(
	const char *text, uint64_t memory_bytes, unsigned n_virtio, struct topology *t, struct gmem *mem)
{
	struct err err = ERR_INIT;
	size_t used = 0;
	cr_assert_eq(topology_parse(text, memory_bytes, t, &err), 0, "%s", err.message);
	*mem = memory_of(t);
	struct acpi_config config = {.topology = t, .memory = mem, .n_virtio = n_virtio};
	memset(area, 0xee, sizeof(area));
	cr_assert_eq(
		acpi_build(&config, GPA(LAYOUT_ACPI), area, sizeof(area), &used, &err), 0, "%s", err.message);
	cr_assert_leq(used, sizeof(area));
	for (size_t i = used; i < sizeof(area); i++)
		cr_assert_eq(area[i], 0xee, "nothing written behind ret_used");
	return used;
}

static uint64_t get(const uint8_t *p, size_t length)
{
	uint64_t value = 0;
	for (size_t i = 0; i < length; i++)
		value |= (uint64_t)p[i] << (8 * i);
	return value;
}

static uint8_t sum(const uint8_t *p, size_t length)
{
	uint8_t s = 0;
	while (length--)
		s = (uint8_t)(s + *p++);
	return s;
}

static const uint8_t *at(uint64_t gpa)
{
	cr_assert(gpa >= LAYOUT_ACPI && gpa < LAYOUT_ACPI + LAYOUT_ACPI_BYTES - 36, "%llx",
		(unsigned long long)gpa);
	return area + (gpa - LAYOUT_ACPI);
}

/* A table by its signature, the way a kernel finds it. */
static const uint8_t *table(const char *signature, size_t *ret_length)
{
	cr_assert_eq(memcmp(area, "RSD PTR ", 8), 0);
	cr_assert_eq(sum(area, 20), 0);
	cr_assert_eq(sum(area, 36), 0);
	cr_assert_eq(area[15], 2);
	const uint8_t *xsdt = at(get(area + 24, 8)), *found = NULL;
	size_t length = get(xsdt + 4, 4);
	cr_assert_eq(memcmp(xsdt, "XSDT", 4), 0);
	cr_assert_eq(sum(xsdt, length), 0);
	for (size_t i = 36; i < length; i += 8) {
		const uint8_t *t = at(get(xsdt + i, 8));
		if (memcmp(t, signature, 4) == 0)
			found = t;
		if (memcmp(t, "FACP", 4) == 0 && strcmp(signature, "DSDT") == 0) {
			found = at(get(t + 140, 8));
			cr_assert_eq(get(t + 40, 4), get(t + 140, 8));
		}
	}
	cr_assert_not_null(found, "no %s", signature);
	cr_assert_eq((found - area) % 16, 0);
	*ret_length = get(found + 4, 4);
	cr_assert_eq(sum(found, *ret_length), 0, "%s: sum", signature);
	return found;
}

Test(acpi, madt_lists_every_cpu_in_order)
{
	static const char *const texts[] = {"1n1l1c1t", "2n4l3c1t", "64n64l4c4t", "1n1l300c1t"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct topology t;
		struct gmem mem;
		size_t length;
		build(texts[i], UINT64_C(8) << 30, 3, &t, &mem);
		const uint8_t *madt = table("APIC", &length), *p = madt + 44;
		cr_assert_eq(get(madt + 36, 4), 0xfee00000);
		cr_assert_eq(get(madt + 40, 4), 0, "no 8259");
		unsigned cpu = 0, io_apics = 0;
		for (; p < madt + length; p += p[1]) {
			if (p[0] == 0) {
				cr_assert_lt(t.apic_id[cpu], 255);
				cr_assert_eq(p[2], cpu);
				cr_assert_eq(p[3], t.apic_id[cpu]);
				cr_assert_eq(get(p + 4, 4), 1);
				cpu++;
			} else if (p[0] == 9) {
				cr_assert_geq(t.apic_id[cpu], 255);
				cr_assert_eq(get(p + 4, 4), t.apic_id[cpu]);
				cr_assert_eq(get(p + 8, 4), 1);
				cr_assert_eq(get(p + 12, 4), cpu);
				cpu++;
			} else {
				cr_assert_eq(p[0], 1);
				cr_assert_eq(get(p + 4, 4), 0xfec00000);
				io_apics++;
			}
		}
		cr_assert_eq(p, madt + length);
		cr_assert_eq(cpu, t.layout.n_cpus);
		cr_assert_eq(io_apics, 1);
	}
}

Test(acpi, srat_and_slit_tell_the_nodes)
{
	struct topology t;
	struct gmem mem;
	size_t length;
	build("64n64l4c4t", UINT64_C(8) << 30, 3, &t, &mem);
	const uint8_t *srat = table("SRAT", &length), *p = srat + 48;
	unsigned cpu = 0;
	uint64_t bytes[64] = {0};
	for (; p < srat + length; p += p[1]) {
		if (p[0] == 0) {
			cr_assert_eq(p[3], t.apic_id[cpu]);
			cr_assert_eq(p[2], t.layout.cpu[cpu++].node);
		} else if (p[0] == 2) {
			cr_assert_eq(get(p + 8, 4), t.apic_id[cpu]);
			cr_assert_eq(get(p + 4, 4), t.layout.cpu[cpu++].node);
		} else {
			cr_assert_eq(p[0], 1);
			cr_assert_eq(get(p + 28, 4), 1);
			uint64_t start = get(p + 8, 8), size = get(p + 16, 8);
			cr_assert(start + size <= LAYOUT_HOLE || start >= LAYOUT_HIGH);
			bytes[get(p + 2, 4)] += size;
		}
	}
	cr_assert_eq(cpu, 1024);
	for (unsigned node = 0; node < 64; node++)
		cr_assert_eq(bytes[node], t.node_bytes[node]);
	const uint8_t *slit = table("SLIT", &length);
	cr_assert_eq(length, 44 + 64 * 64);
	cr_assert_eq(get(slit + 36, 8), 64);
	for (unsigned i = 0; i < 64 * 64; i++)
		cr_assert_eq(slit[44 + i], i / 64 == i % 64 ? 10 : 20);
}

Test(acpi, fadt_is_hardware_reduced)
{
	struct topology t;
	struct gmem mem;
	size_t length;
	build("1n1l1c1t", 1u << 30, 0, &t, &mem);
	const uint8_t *fadt = table("FACP", &length);
	cr_assert_eq(length, 276);
	cr_assert_eq(fadt[8], 6);
	cr_assert(get(fadt + 112, 4) & 1u << 20, "hardware-reduced");
	cr_assert(get(fadt + 112, 4) & 1u << 10, "reset register");
	cr_assert_eq(get(fadt + 109, 2), 1 << 2 | 1 << 5, "no VGA, no RTC, no 8042, no legacy devices");
	cr_assert_eq(get(fadt + 116, 4), 0x01000801);
	cr_assert_eq(get(fadt + 120, 8), LAYOUT_RESET_PORT);
	cr_assert_eq(fadt[128], LAYOUT_RESET_VALUE);
	cr_assert_eq(get(fadt + 248, 8), LAYOUT_SLEEP_CONTROL_PORT);
	cr_assert_eq(get(fadt + 260, 8), LAYOUT_SLEEP_STATUS_PORT);
}

Test(acpi, the_largest_machine_fits_and_a_small_area_is_refused)
{
	static const char *const largest[] = {"1n1l1024c1t", "64n64l4c4t", "64n1024l1c1t"};
	struct topology t;
	struct gmem mem;
	for (size_t i = 0; i < ARRAY_SIZE(largest); i++)
		build(largest[i], UINT64_C(64) << 30, LAYOUT_VIRTIO_MAX, &t, &mem);
	struct acpi_config config = {.topology = &t, .memory = &mem, .n_virtio = LAYOUT_VIRTIO_MAX};
	size_t used = build("2n4l4c2t", UINT64_C(4) << 30, 4, &t, &mem);
	config.n_virtio = 4;
	uint8_t *exact = malloc(used);
	for (size_t size = 0; size <= used; size++) {
		struct err err = ERR_INIT;
		size_t got = 0;
		int r = acpi_build(&config, GPA(LAYOUT_ACPI), exact, size, &got, &err);
		cr_assert_eq(r == 0, size == used, "%zu of %zu bytes", size, used);
		if (r < 0)
			cr_assert_eq(err.code, ERR_LIMIT_EXCEEDED);
	}
	free(exact);
}

/* Runs a shell command and returns what it printed. */
static char *output_of(const char *command)
{
	static char text[1 << 20];
	FILE *pipe = popen(command, "r");
	cr_assert_not_null(pipe);
	size_t n = fread(text, 1, sizeof(text) - 1, pipe);
	text[n] = '\0';
	int status = pclose(pipe);
	cr_assert_eq(status, 0, "%s: %s", command, text);
	return text;
}

static void must_contain(const char *text, const char *part)
{
	cr_assert_not_null(strstr(text, part), "'%s' is not in: %s", part, text);
}

/* Disassembles the table, compiles the result and compares. Returns the source text (heap). */
static char *iasl_round_trip(const char *dir, const char *signature)
{
	char path[256], command[1024];
	struct err err = ERR_INIT;
	size_t length, got;
	const uint8_t *bytes = table(signature, &length);
	snprintf(path, sizeof(path), "%s/%s.dat", dir, signature);
	cr_assert_eq(fd_replace_file(path, bytes, length, 0600, &err), 0, "%s", err.message);
	snprintf(command, sizeof(command), "cd %s && iasl -d %s.dat 2>&1", dir, signature);
	const char *said = output_of(command);
	cr_assert_null(strstr(said, "rror"), "%s", said);
	cr_assert_null(strstr(said, "arning"), "%s", said);
	snprintf(path, sizeof(path), "%s/%s.dsl", dir, signature);
	char *source, *back;
	cr_assert_eq(fd_read_file(path, 4 << 20, &source, &got, &err), 0, "%s", err.message);
	cr_assert_null(strstr(source, "****"), "%s", source);
	cr_assert_null(strstr(source, "Unknown"), "%s", source);
	/* It writes SIGNATURE.aml again. */
	snprintf(command, sizeof(command), "cd %s && iasl -p back %s.dsl 2>&1", dir, signature);
	said = output_of(command);
	cr_assert(strstr(said, "0 Errors, 0 Warnings") || strstr(said, "Compilation successful"), "%s", said);
	cr_assert_null(strstr(said, " Warning "), "%s", said);
	snprintf(path, sizeof(path), "%s/back.aml", dir);
	cr_assert_eq(fd_read_file(path, 4 << 20, &back, &got, &err), 0, "%s", err.message);
	if (strcmp(signature, "DSDT") != 0) {
		cr_assert_eq(got, length);
		/* But for the sum and the compiler's own name and version. */
		cr_assert_eq(memcmp(back, bytes, 9), 0);
		cr_assert_eq(memcmp(back + 10, bytes + 10, 18), 0);
		cr_assert_eq(memcmp(back + 36, bytes + 36, length - 36), 0, "%s", signature);
	}
	free(back);
	return source;
}

Test(acpi, iasl_agrees)
{
	if (access("/usr/bin/iasl", X_OK) != 0)
		cr_skip_test("iasl (acpica-tools) is not installed");
	char dir[] = "/tmp/schedrig-acpi-XXXXXX", command[128], part[64];
	cr_assert_not_null(mkdtemp(dir));
	static const char *const texts[] = {"2n4l4c2t", "1n1l300c1t"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct topology t;
		struct gmem mem;
		build(texts[i], UINT64_C(4) << 30, 4, &t, &mem);
		free(iasl_round_trip(dir, "APIC"));
		free(iasl_round_trip(dir, "SLIT"));
		free(iasl_round_trip(dir, "SRAT"));
		char *fadt = iasl_round_trip(dir, "FACP");
		must_contain(fadt, "Hardware Reduced (V5) : 1");
		must_contain(fadt, "8042 Present on ports 60/64 (V2) : 0");
		must_contain(fadt, "CMOS RTC Not Present (V5) : 1");
		free(fadt);
		char *dsdt = iasl_round_trip(dir, "DSDT");
		must_contain(dsdt, "EisaId (\"PNP0501\")");
		must_contain(dsdt, "IO (Decode16,\n                    0x03F8,             // Range Minimum");
		must_contain(dsdt, "Name (_S5, Package (0x04)");
		for (unsigned d = 0; d < 4; d++) {
			snprintf(part, sizeof(part), "Device (VR%02X)", d);
			must_contain(dsdt, part);
			snprintf(part, sizeof(part), "0x%08X,         // Address Base",
				(unsigned)LAYOUT_VIRTIO + d * LAYOUT_VIRTIO_STRIDE);
			must_contain(dsdt, part);
			snprintf(part, sizeof(part), "0x%08X,\n                }", LAYOUT_VIRTIO_GSI + d);
			must_contain(dsdt, part);
		}
		cr_assert_null(strstr(dsdt, "Device (VR04)"));
		must_contain(dsdt, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )");
		must_contain(dsdt, "\"LNRO0005\"");
		free(dsdt);
	}
	snprintf(command, sizeof(command), "rm -r %s", dir);
	output_of(command);
}
