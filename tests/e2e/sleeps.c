/* SPDX-License-Identifier: GPL-2.0-only */
/* In place of the agent: a PID 1 that never says anything. */
#include <unistd.h>

int main(void)
{
	for (;;)
		pause();
}
