/* SPDX-License-Identifier: GPL-2.0-only */
/* A library that a library needs. */
int staged_leaf(void);
int staged_leaf(void)
{
	return 40;
}
