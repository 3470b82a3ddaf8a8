# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# Checks for tests written in shell; prints TAP. Sourced after common.sh.

tap_count=0 tap_failures=0

# check NAME COMMAND...: one test, passed if COMMAND succeeds.
check() {
	local name=$1
	shift
	tap_count=$((tap_count + 1))
	if "$@"; then
		printf 'ok %d - %s\n' "$tap_count" "$name"
	else
		printf 'not ok %d - %s\n' "$tap_count" "$name"
		tap_failures=$((tap_failures + 1))
	fi
}

same() {
	[ "$1" = "$2" ] || { printf '# got "%s", wanted "%s"\n' "${1//$'\n'/$'\n# '}" "${2//$'\n'/$'\n# '}"; return 1; }
}

# tap_end: prints the plan; fails if a check did.
tap_end() {
	printf '1..%d\n' "$tap_count"
	[ "$tap_failures" -eq 0 ]
}
