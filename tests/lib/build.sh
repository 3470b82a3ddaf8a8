# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# Building the tree with meson, plain and instrumented. Sourced after common.sh.

# build_tree DIR MESON_OPTION...: configures DIR unless it is, and builds everything in it. SCHEDRIG_WERROR=1 makes
# warnings errors. CC is as the caller sets it.
build_tree() {
	local dir=$1 log rc=0
	shift
	[ "${SCHEDRIG_WERROR:-0}" = 0 ] || set -- "$@" -Dwerror=true
	log=$dir/schedrig-build.log
	mkdir -p "$dir"
	if [ -f "$dir/build.ninja" ]; then
		[ $# -eq 0 ] || meson configure "$dir" "$@" >"$log" 2>&1 || rc=$?
	else
		say "configuring $dir"
		meson setup "$dir" "$SCHEDRIG_TREE" "$@" >"$log" 2>&1 </dev/null || rc=$?
	fi
	[ "$rc" -ne 0 ] || ninja -C "$dir" >>"$log" 2>&1 </dev/null || rc=$?
	if [ "$rc" -ne 0 ]; then
		tail -n 60 "$log" >&2
		say "the build in $dir failed; all its output is in $log"
	fi
	return "$rc"
}
