/* SPDX-License-Identifier: GPL-2.0-only */
/* The socket as a file: dead ones, living ones, wrong ones. */
#include "host/control/socket.h"

#include "common/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char directory[64], path[128];
static struct err err;
static struct control_socket sock;

static void begin(void)
{
	strcpy(directory, "/tmp/schedrig-test.XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/s", directory);
}
static void end(void)
{
	cr_assert_eq(rmdir(directory), 0);
}
TestSuite(socket_file, .init = begin, .fini = end);

Test(socket_file, only_its_owner_may_connect_and_it_goes_with_the_controller)
{
	struct stat st;
	mode_t before = umask(0);
	cr_assert_eq(control_socket_open(path, &sock, &err), 0, "%s", err.message);
	umask(before);
	cr_assert_eq(stat(path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 07777, 0600);
	control_socket_close(&sock);
	cr_assert_lt(stat(path, &st), 0);
}

Test(socket_file, one_left_by_a_killed_controller_is_replaced)
{
	pid_t child = fork();
	if (child == 0) {
		if (control_socket_open(path, &sock, NULL) < 0)
			_exit(1);
		raise(SIGKILL);
	}
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFSIGNALED(status));
	cr_assert_eq(access(path, F_OK), 0);
	cr_assert_eq(control_socket_open(path, &sock, &err), 0, "%s", err.message);
	control_socket_close(&sock);
}

Test(socket_file, one_in_use_is_named_with_its_process)
{
	struct control_socket second;
	char pid[32];
	cr_assert_eq(control_socket_open(path, &sock, &err), 0);
	cr_assert_eq(control_socket_open(path, &second, &err), err_errno(ERR_BUSY));
	snprintf(pid, sizeof(pid), "(pid %d)", (int)getpid());
	cr_assert_not_null(strstr(err.message, pid), "%s", err.message);
	cr_assert_not_null(strstr(err.message, path), "%s", err.message);
	cr_assert_eq(access(path, F_OK), 0);
	control_socket_close(&sock);
}

Test(socket_file, a_file_of_another_kind_stays)
{
	fclose(fopen(path, "w"));
	cr_assert_eq(control_socket_open(path, &sock, &err), err_errno(ERR_ALREADY_EXISTS));
	cr_assert_not_null(strstr(err.message, "not a socket"));
	cr_assert_eq(unlink(path), 0);
}

Test(socket_file, somebody_elses_new_socket_is_not_removed)
{
	struct control_socket second;
	cr_assert_eq(control_socket_open(path, &sock, &err), 0);
	unlink(path);
	cr_assert_eq(control_socket_open(path, &second, &err), 0);
	control_socket_close(&sock);
	cr_assert_eq(access(path, F_OK), 0);
	control_socket_close(&second);
}

Test(socket_file, impossible_paths)
{
	char too_long[200];
	memset(too_long, 'x', sizeof(too_long));
	too_long[sizeof(too_long) - 1] = '\0';
	cr_assert_eq(control_socket_open(too_long, &sock, &err), err_errno(ERR_INVALID_ARGUMENT));
	cr_assert_not_null(strstr(err.message, "199 bytes"), "%s", err.message);
	cr_assert_eq(control_socket_open("", &sock, &err), err_errno(ERR_INVALID_ARGUMENT));
	cr_assert_eq(control_socket_open("/nonexistent/dir/s", &sock, &err), err_errno(ERR_INVALID_ARGUMENT));
	cr_assert_not_null(strstr(err.message, "No such file"), "%s", err.message);
}
