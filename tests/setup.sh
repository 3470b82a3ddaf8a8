#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck source-path=SCRIPTDIR
# Installs what building, testing and the lab need, on Debian 12 as root; nothing to do and quick when it is all there.
# The machine's apt sources stay as they are: packages of backports come through package lists of our own (lib/apt.sh).
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
# shellcheck source=lib/apt.sh
. "$tests_lib/apt.sh"

# From the distribution as it is. One line per purpose.
packages=(
	build-essential meson ninja-build pkg-config git python3
	protobuf-compiler protobuf-c-compiler libprotobuf-c-dev
	libevent-dev libelf-dev libfyaml-dev libjansson-dev libarchive-dev libhwloc-dev uthash-dev
	libzstd-dev liblzma-dev libbz2-dev liblz4-dev zlib1g-dev libxxhash-dev
	libseccomp-dev libcap-ng-dev
	libcriterion-dev acpica-tools stress-ng fio iperf3 bpftool
	clang clang-format clang-tidy libclang-rt-14-dev
	busybox-static cpio zstd xz-utils kmod util-linux
)

# Debian 12's own are too old: struct_ops links came with libbpf 1.3, and the emulated machine's watchpoints with QEMU 10.
backports=(libbpf-dev qemu-system-x86)
declare -A least=([libbpf-dev]=1:1.4 [qemu-system-x86]=1:10.0)

# missing_packages: names of those not installed, or older than needed.
missing_packages() {
	local name version state
	declare -A installed=()
	while read -r name state version; do
		[ "$state" != installed ] || installed[${name%%:*}]=$version
	done < <(dpkg-query -W -f '${Package} ${db:Status-Status} ${Version}\n' "${packages[@]}" "${backports[@]}" 2>/dev/null || true)
	for name in "${packages[@]}" "${backports[@]}"; do
		version=${installed[$name]:-}
		if [ -z "$version" ] || { [ -n "${least[$name]:-}" ] && ! dpkg --compare-versions "$version" ge "${least[$name]}"; }; then
			printf '%s\n' "$name"
		fi
	done
}

# Pins by source package: what these depend on comes with them, and nothing else does (-t would take everything).
write_preferences() {
	printf 'Package: src:qemu src:libbpf src:seabios\nPin: release n=bookworm-backports\nPin-Priority: 990\n'
}

install_packages() {
	local preferences=$SCHEDRIG_CACHE/apt/system/preferences log=$SCHEDRIG_CACHE/setup.log rc=0
	write_preferences >"$preferences"
	# timeout runs programs, not functions. A lock held by another package manager is waited for, but not for ever.
	DEBIAN_FRONTEND=noninteractive timeout -k 10 1800 bash -c 'apt_with "$@"' - system apt-get \
		-o Dir::Etc::Preferences="$preferences" -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
		install -y --no-install-recommends "$@" </dev/null >"$log" 2>&1 || rc=$?
	[ $rc -eq 0 ] || { tail -n 25 "$log" >&2; say "set-up: apt-get failed ($rc); all it said is in $log"; }
	return $rc
}

setup() {
	local missing
	mapfile -t missing < <(missing_packages)
	if [ ${#missing[@]} -eq 0 ]; then
		say "set-up: all packages are installed"
		return
	fi
	[ "$(id -u)" -eq 0 ] || die "these packages are missing, and only root can install them: ${missing[*]}"
	say "set-up: installing ${#missing[@]} packages: ${missing[*]}"
	apt_refresh system
	# Lists may name point versions that the mirror has replaced: once more with fresh ones.
	if ! install_packages "${missing[@]}"; then
		apt_refresh system force
		install_packages "${missing[@]}"
	fi
	apt_with system apt-get clean
	mapfile -t missing < <(missing_packages)
	[ ${#missing[@]} -eq 0 ] || die "still missing or too old after installing: ${missing[*]}"
	say "set-up: done"
}

have apt-get || die "set-up knows Debian 12 only: this machine has no apt-get"
with_lock "$SCHEDRIG_CACHE/setup.lock" "its set-up" setup
