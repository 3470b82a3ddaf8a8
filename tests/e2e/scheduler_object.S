/* SPDX-License-Identifier: GPL-2.0-only */
/* The object of scheduler.bpf.c, as clang wrote it, within e2e-scheduler. ELF wants its parts aligned. */
	.section .rodata
	.balign 16
	.globl object_begin, object_end
object_begin:
	.incbin OBJECT
object_end:
	.section .note.GNU-stack, "", @progbits
