/* SPDX-License-Identifier: GPL-2.0-only */
/* A library that needs a library. */
int staged_leaf(void);
int staged_middle(void);
int staged_middle(void)
{
	return staged_leaf() + 2;
}
