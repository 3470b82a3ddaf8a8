#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck source-path=SCRIPTDIR
# Sets up the machine, builds, and runs the tests: all rings, or the named ones.
#
#   run.sh [SUITE...]
#
#   lint   format, include edges, completeness of lists       asan   unit, loop and fuzz under address and undefined sanitizers
#   unit   no privileges, no VM                               race   under the thread sanitizer
#   loop   engine, link and agent in one process              lab    the lab and the test runner themselves
#   kvm    bare guests, on any /dev/kvm                       e2e    stock kernels, in the lab
#   fuzz   corpora replayed                                   bench  numbers; only when named
#
# Works on a fresh Debian 12 as root. Environment: SCHEDRIG_BUILD (default: build/ in the tree), SCHEDRIG_CACHE,
# SCHEDRIG_WERROR=1. Skipped tests are printed with their reason. The last line is "N passed, N failed, N skipped"; exit
# status 0 if none failed and at least one passed.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
# shellcheck source=lib/build.sh
. "$tests_lib/build.sh"

all_suites=(lint unit loop kvm fuzz race asan lab e2e)
# Seconds a suite may take as a whole; single programs have their own, tighter ones.
declare -A limits=([lint]=600 [unit]=900 [loop]=900 [kvm]=900 [race]=1200 [fuzz]=900 [asan]=1800 [lab]=600 [e2e]=5400
	[bench]=3600)

usage() {
	sed -n '4,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
	exit 64
}

add_tally() {
	printf '%s\n' "$1" >>"$tally"
}

# run_programs BUILD SUITE...: test programs declared in meson, here.
run_programs() {
	timeout -k 20 "${limits[$suite]}" "$tests_lib/run_tests.py" "$1" "$tally" "${@:2}"
}

# run_script SCRIPT: a test script that prints TAP.
run_script() {
	local out=$scratch/script.tap rc=0
	timeout -k 20 "${limits[$suite]}" "$1" >"$out" || rc=$?
	grep -E '^(not ok|#)' "$out" || true
	add_tally "$(grep -c '^ok' "$out") $(grep -c '^not ok' "$out") 0"
	return "$rc"
}

run_lab() {
	local rc=0
	run_script "$tests_lib/selftest.sh" || rc=$?
	run_script "$SCHEDRIG_TREE/tests/lab/selftest.sh" || rc=$?
	return "$rc"
}

# Bare guests run on whatever KVM there is here, and again on the lab's if that is another one: an emulation of kernel mode
# has no debug registers, for one.
run_kvm() {
	local lab=$SCHEDRIG_TREE/tests/lab/lab.sh rc=0
	declared kvm || return 3
	run_in_lab --here kvm || rc=$?
	[ "$("$lab" --where)" = native ] || run_in_lab --emulated kvm || rc=$?
	return "$rc"
}

# run_in_lab [OPTION of lab.sh...] SUITE
run_in_lab() {
	"$SCHEDRIG_TREE/tests/lab/lab.sh" "${@:1:$#-1}" --timeout "${limits[${!#}]}" --share "$scratch" -- \
		"$tests_lib/run_tests.py" "$SCHEDRIG_BUILD" "$tally" "${!#}"
}

run_e2e() {
	declared e2e || return 3
	"$SCHEDRIG_TREE/tests/kernels.sh" fetch
	run_in_lab e2e
}

run_asan() {
	build_tree "$SCHEDRIG_BUILD-asan" -Db_sanitize=address,undefined -Db_lundef=false -Dstatic_agent=false || return 1
	export LSAN_OPTIONS=suppressions=$tests_lib/lsan.supp:print_suppressions=0
	export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
	run_programs "$SCHEDRIG_BUILD-asan" unit loop fuzz
}

run_race() {
	declared race || return 3
	build_tree "$SCHEDRIG_BUILD-tsan" -Db_sanitize=thread -Db_lundef=false -Dstatic_agent=false || return 1
	export TSAN_OPTIONS=halt_on_error=0:exitcode=66
	run_programs "$SCHEDRIG_BUILD-tsan" race
}

# declared SUITE: whether the plain build has a test of that suite; spares a build or a boot for nothing.
declared() {
	python3 -IS -c 'import json, sys
suites = {s.rpartition(":")[2] for t in json.load(open(sys.argv[1])) for s in t["suite"]}
sys.exit(0 if sys.argv[2] in suites else 1)' "$SCHEDRIG_BUILD/meson-info/intro-tests.json" "$1"
}

# run_suite SUITE: 0 fine, 3 nothing there yet, else failed. A suite that fails without counting a failure (a build, the
# lab, a time limit) counts as one.
run_suite() {
	local suite=$1 rc=0 failed_before
	say "== $suite"
	failed_before=$(total 2)
	case $suite in
	lab | kvm | e2e | asan | race) "run_$suite" ;;
	*) run_programs "$SCHEDRIG_BUILD" "$suite" ;;
	esac || rc=$?
	if [ "$rc" -eq 3 ]; then
		say "$suite: there is no test in this suite yet"
	elif [ "$rc" -ne 0 ] && [ "$(total 2)" -eq "$failed_before" ]; then
		say "FAILED $suite: it did not get to its end (status $rc)"
		add_tally "0 1 0"
	fi
}

total() {
	awk -v column="$1" '{ n += $column } END { print n + 0 }' "$tally"
}

for suite; do
	[ -n "${limits[$suite]:-}" ] || usage
done
[ $# -gt 0 ] || set -- "${all_suites[@]}"

cd "$SCHEDRIG_TREE"
"$SCHEDRIG_TREE/tests/setup.sh"
mkdir -p "$SCHEDRIG_BUILD"
scratch=$(mktemp -d "$SCHEDRIG_BUILD/test-run.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
tally=$scratch/tally
: >"$tally"
if build_tree "$SCHEDRIG_BUILD"; then
	# Some unit tests read a real image. Those that need one say so themselves when there is none.
	"$SCHEDRIG_TREE/tests/kernels.sh" fetch || say "going on without kernels"
	for suite; do
		run_suite "$suite"
	done
else
	add_tally "0 1 0"
fi
printf '%d passed, %d failed, %d skipped\n' "$(total 1)" "$(total 2)" "$(total 3)"
[ "$(total 2)" -eq 0 ] && [ "$(total 1)" -gt 0 ]
