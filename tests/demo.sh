#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck source-path=SCRIPTDIR
# The demonstration: sets up the machine, builds, fetches a kernel, and runs the demo scenario on it, in the lab if this
# machine's KVM cannot boot kernels. Works on a fresh Debian 12 as root.
#
#   demo.sh [SCENARIO [OPTION of schedrig run...]]     default: tests/scenarios/demo.yaml
#
# Environment: SCHEDRIG_KERNEL (release or its beginning, default 6.18), SCHEDRIG_TOPOLOGY (default 2n4l2c1t),
# SCHEDRIG_BUILD, SCHEDRIG_CACHE. Exit status: that of schedrig run (0 pass, 1 fail, 2 inconclusive, ...).
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
# shellcheck source=lib/build.sh
. "$tests_lib/build.sh"

say "== set-up"
"$SCHEDRIG_TREE/tests/setup.sh"
say "== build"
build_tree "$SCHEDRIG_BUILD"
say "== kernel"
kernel=$("$SCHEDRIG_TREE/tests/kernels.sh" path "${SCHEDRIG_KERNEL:-6.18}")
say "using ${kernel##*/}"
say "== scenario"
scenario=$(realpath "${1:-$SCHEDRIG_TREE/tests/scenarios/demo.yaml}")
shift $(($# > 0))
cd "$SCHEDRIG_TREE"
exec "$SCHEDRIG_TREE/tests/lab/lab.sh" --timeout 1800 -- "$SCHEDRIG_BUILD/host/schedrig" run "$scenario" \
	--kernel "${kernel##*/}" --topology "${SCHEDRIG_TOPOLOGY:-2n4l2c1t}" "$@"
