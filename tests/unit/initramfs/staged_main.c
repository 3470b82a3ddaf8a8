/* SPDX-License-Identifier: GPL-2.0-only */
/* A program that needs a library that needs a library. */
int staged_middle(void);
int main(void)
{
	return staged_middle();
}
