# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What every script under tests/ shares: where things are, and how to speak. Sourced, never run.

# Root of the work tree that holds this file, whatever the current directory.
tests_lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
export SCHEDRIG_TREE=${tests_lib%/tests/lib}

# Everything downloaded or computed once: kernels, package lists, the lab. The controller reads kernels/ from the same place.
export SCHEDRIG_CACHE=${SCHEDRIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/schedrig}

# Build directory of the tree; relative names mean relative to where the user stands.
SCHEDRIG_BUILD=$(realpath -m "${SCHEDRIG_BUILD:-$SCHEDRIG_TREE/build}")
export SCHEDRIG_BUILD

# Progress goes to stderr, so that a script's stdout stays its result.
say() {
	printf '%s\n' "$*" >&2
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# with_lock FILE WHAT COMMAND...: one at a time; says so if it has to wait for another one.
with_lock() {
	local file=$1 what=$2 fd
	shift 2
	mkdir -p "$(dirname "$file")"
	exec {fd}>>"$file"
	if ! flock -n "$fd"; then
		say "waiting for another run to finish $what"
		flock "$fd"
	fi
	# The children do not inherit the lock: one left behind would hold it for ever. No "||" here: it would switch
	# errexit off in all of COMMAND.
	"$@" {fd}>&-
	exec {fd}>&-
}
