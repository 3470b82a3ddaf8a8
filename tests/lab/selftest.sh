#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck source-path=SCRIPTDIR
# Tests of the lab itself, on the emulated machine even where there is no need: three boots, about half a minute. Prints TAP.
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/tap.sh
. "$tests_lib/tap.sh"

lab=$SCHEDRIG_TREE/tests/lab/lab.sh

big_output() {
	head -c 20000000 /dev/zero | tr '\0' x
}

# Waits until FILE holds TEXT, while process PID lives. The files are written by others: there is no event to wait for.
wait_for_text() {
	local file=$1 text=$2 pid=$3
	until grep -q -- "$text" "$file"; do
		kill -0 "$pid" 2>/dev/null || { sed 's/^/# /' err; return 1; }
		read -rt 0.05 <> <(:) || true
	done
}

# The command that test_everything runs in the machine. It ends by the TERM that the outer side sends.
inside() {
	printf 'arg <%s>\n' "$@"
	printf 'env <%s>\n' "$LAB_SELFTEST"
	printf 'tmpdir <%s>\n' "${TMPDIR:-unset}"
	printf 'cwd <%s>\n' "$PWD"
	printf 'stdin <%s>\n' "$(cat)"
	printf 'lab <%s>\n' "$SCHEDRIG_LAB"
	awk -v s="$SCHEDRIG_SPEED" 'BEGIN { print "speed <" (s > 1 && s < 1000 ? "plausible" : s) ">" }'
	printf 'vsock <%s>\n' "$(stat -c %F /dev/vhost-vsock)"
	printf 'probe <%s>\n' "$("$LAB_SELFTEST_PROBE" >/dev/null && echo native)"
	printf 'cpus <%s>\n' "$(awk '/^Cpus_allowed_list:/ { print $2 }' /proc/self/status)"
	printf 'root <%s>\n' "$(touch /usr/lab-selftest 2>/dev/null && echo writable || echo read-only)"
	printf 'written inside\n' >from-inside
	printf 'to stderr\n' >&2
	big_output
	printf '\nready\n'
	# Seen only if output streams and shared files are current in both directions.
	until [ -e go ]; do
		read -rt 0.1 <> <(:) || true
	done
	trap 'exit 42' TERM
	printf 'armed\n'
	while :; do
		read -rt 0.1 <> <(:) || true
	done
}

test_here() {
	local rc=0
	# shellcheck disable=SC2016 # for the inner shell
	"$lab" --here -- sh -c 'printf "%s\n" "$SCHEDRIG_LAB"; exit 7' >out 2>err || rc=$?
	check "exit status passes without a machine, too" same $rc 7
	check "and says what this machine is fit for" grep -qE '^(native|unfit)$' out
}

test_everything() {
	local pid rc=0 probe
	probe=$(find "$SCHEDRIG_CACHE"/lab/tools-*/probe -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
	export LAB_SELFTEST=$'two\nlines' LAB_SELFTEST_PROBE=$probe
	"$lab" --emulated --timeout 300 -- bash "$self" inside 'a b' $'c\nd' '' >out 2>err &
	pid=$!
	check "output arrives while the command runs" wait_for_text out '^ready$' $pid
	check "a file written inside is here" same "$(cat from-inside)" "written inside"
	touch go
	check "a file written here is seen inside" wait_for_text out '^armed$' $pid
	kill -TERM $pid
	wait $pid || rc=$?
	check "TERM reaches the command, whose exit status is passed on" same $rc 42
	check "arguments arrive as they are" same "$(sed -n '1,/^env/p' out | grep -v ^env)" $'arg <a b>\narg <c\nd>\narg <>'
	check "environment passes" grep -q '^env <two$' out
	check "TMPDIR does not pass" grep -q '^tmpdir <unset>$' out
	check "the current directory is the same" grep -q -F -x "cwd <$PWD>" out
	check "stdin is empty" grep -q '^stdin <>$' out
	check "SCHEDRIG_LAB tells" grep -q '^lab <emulated>$' out
	check "SCHEDRIG_SPEED tells" grep -q '^speed <plausible>$' out
	check "there is a vhost-vsock device" grep -q '^vsock <character special file>$' out
	check "KVM inside runs kernel code at native speed" grep -q '^probe <native>$' out
	check "nothing runs on the CPU whose virtualisation is unsafe" grep -q '^cpus <1-2>$' out
	check "the host's files are read-only" grep -q '^root <read-only>$' out
	# shellcheck disable=SC1003 # the backslash is sed's: adds a final newline
	check "20 MB of output arrive whole" same "$(grep '^xxx' out | cksum)" "$(big_output | sed '$a\' | cksum)"
	check "stderr is apart" same "$(grep -v '^lab:' err)" "to stderr"
	check "one line says where it runs" same "$(grep -c '^lab: emulated machine (' err)" 1
}

test_timeout() {
	local rc=0
	"$lab" --emulated --timeout 1 -- sleep 1000 2>err || rc=$?
	check "the time limit ends the command" same $rc 124
	check "and says so" grep -q 'time limit of 1 s' err
}

machine_gone() {
	[ ! -d "/proc/$1" ] || [ "$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null)" = Z ]
}

# The emulated machine among the children of process PID, which may also have dead ones of lab.sh, before it became host.c.
machine_of() {
	local child children
	read -ra children <"/proc/$1/task/$1/children"
	for child in "${children[@]}"; do
		! grep -q '^qemu' "/proc/$child/comm" || printf '%s\n' "$child"
	done
}

test_killed() {
	local pid machine
	"$lab" --emulated -- bash -c 'echo up; sleep 1000' >out 2>err &
	pid=$!
	check "a machine is up" wait_for_text out '^up$' $pid
	machine=$(machine_of $pid)
	check "and is a process of its own" same "$(wc -w <<<"$machine")" 1
	kill -KILL $pid
	wait $pid 2>/dev/null || true
	# The kernel delivers the parent's death before the wait above returns, but dying takes the machine a moment.
	timeout 20 tail -f --pid="$machine" /dev/null || true
	check "kill -9 leaves no machine behind" machine_gone "$machine"
	check "nor its lock" flock -n "$SCHEDRIG_CACHE/lab/lock" true
}

if [ "${1:-}" = inside ]; then
	shift
	inside "$@"
fi
"$lab" --prepare # its progress is not part of what is tested
export TMPDIR=${TMPDIR:-/tmp}
mkdir -p "$SCHEDRIG_BUILD"
scratch=$(mktemp -d "$SCHEDRIG_BUILD/lab-selftest.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
self=$(realpath "$0")
cd "$scratch"
test_here
test_everything
test_timeout
test_killed
tap_end
