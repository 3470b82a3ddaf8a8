#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck source-path=SCRIPTDIR disable=SC2016 # texts for inner shells
# Tests of the test runner: every way in which a program can end must be counted as what it is. Prints TAP.
set -euo pipefail
# shellcheck source=common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tap.sh
. "$tests_lib/tap.sh"

# declare_test NAME TIMEOUT SHELL_COMMAND: the build directory that the runner will see has this one test.
declare_test() {
	python3 -IS -c 'import json, sys
name, timeout, command = sys.argv[1:]
print(json.dumps([{"name": name, "cmd": ["sh", "-c", command], "env": {"FROM_MESON": "yes"}, "suite": ["schedrig:unit"],
	"timeout": int(timeout), "workdir": None}]))' "$@" >meson-info/intro-tests.json
}

# counted EXPECTED_TALLY EXPECTED_STATUS: runs the runner on what is declared.
counted() {
	local rc=0
	rm -f tally
	"$tests_lib/run_tests.py" . tally unit >out 2>&1 || rc=$?
	same "$(cat tally) status $rc" "$1 status $2"
}

# case_of NAME EXPECTED_TALLY EXPECTED_STATUS SHELL_COMMAND [TIMEOUT]
case_of() {
	declare_test "$1" "${5:-20}" "$4"
	check "$1" counted "$2" "$3"
}

# What criterion writes where the environment tells it to.
report() {
	printf 'printf "TAP version 13\\n1..1\\n%s\\n" >"${CRITERION_OUTPUTS#tap:}"' "$1"
}

stopped_runner() {
	local pid child
	declare_test stopped 60 'echo $$ >pid; sleep 60'
	rm -f pid
	"$tests_lib/run_tests.py" . tally unit >out 2>&1 &
	pid=$!
	until [ -s pid ]; do
		kill -0 $pid || return 1
		read -rt 0.05 <> <(:) || true
	done
	child=$(cat pid)
	kill -TERM $pid
	wait $pid || true
	! kill -0 "$child" 2>/dev/null
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
mkdir meson-info

unset SCHEDRIG_SPEED SCHEDRIG_LAB
case_of "exit status 0" "1 0 0" 0 true
case_of "exit status 1" "0 1 0" 1 false
case_of "exit status 77" "0 0 1" 0 'echo no such device; exit 77'
check "prints the reason of a skip" grep -q 'skipped .*no such device' out
case_of "signal" "0 1 0" 1 'kill -SEGV $$'
case_of "time limit" "0 1 0" 1 'sleep 60' 1
check "tells where a hanging program is" grep -q 'thread .* sleep S in' out
case_of "process left behind" "0 1 0" 1 'sleep 60 & exit 0'
case_of "passed cases" "2 0 0" 0 "$(report 'ok - a::b (0.00s)\nok - a::c (0.00s)')"
case_of "failed case" "1 1 0" 1 "$(report 'ok - a::b (0.00s)\nnot ok - a::c (0.00s)'); exit 1"
case_of "skipped case" "1 0 1" 0 "$(report 'ok - a::b (0.00s)\nok - a::c  # SKIP no kvm')"
case_of "passed cases, then a leak report" "1 1 0" 1 "$(report 'ok - a::b (0.00s)'); exit 23"
case_of "passed cases, then a process left" "1 1 0" 1 "$(report 'ok - a::b (0.00s)'); sleep 60 & exit 0"
case_of "report without cases" "0 1 0" 1 "$(report '')"
case_of "TAP on stdout" "1 1 1" 1 'printf "1..3\nok 1 - a\nnot ok 2 - b\nok 3 - c # SKIP no\n"; exit 1'
case_of "environment of the declaration" "1 0 0" 0 '[ "$FROM_MESON" = yes ]'
case_of "stdin is empty" "1 0 0" 0 '[ -z "$(cat)" ]'
printf '[]' >meson-info/intro-tests.json
: >tally
check "no test at all is told apart" bash -c '"$1" . tally unit; [ $? -eq 3 ]' - "$tests_lib/run_tests.py"
check "a stopped runner leaves no program" stopped_runner
tap_end
