# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# Debian kernels as files: which there are, and unpacking one without installing it. Sourced after common.sh and apt.sh.

# First suite that has what is asked for wins. Earlier suites lack sched_ext in their kernels.
# shellcheck disable=SC2034 # for those who source this
kernel_suites="trixie-backports sid"

# kernel_releases SUITE FLAVOUR: releases such as 6.18.15+deb13-cloud-amd64, oldest first. FLAVOUR is "cloud-" or "". A split
# kernel whose modules the archive has already dropped is left out.
kernel_releases() {
	apt_names "$1" "linux-(image|binary|modules)-[0-9][0-9.]*[0-9](\+[a-z0-9]+)?-${2}amd64" | awk '
		{ kind = $0; sub(/^linux-/, "", kind); release = kind; sub(/^[a-z]+-/, "", release); sub(/-.*/, "", kind)
		  has[kind, release] = 1; all[release] = 1 }
		END { for (r in all)
			if (has["image", r] && (!has["binary", r] || has["modules", r])) print r }' | sort -V
}

# kernel_unpack SUITE RELEASE DIR: fills DIR with vmlinuz, config (if packaged) and modules/ (content of
# lib/modules/RELEASE). The split into packages differs between versions: image alone, image and binary, or these,
# modules and base (configuration, modules.builtin). Whatever exists under the release's name is taken.
kernel_unpack() {
	local suite=$1 release=$2 dir=$3 tmp packages from
	tmp=$(mktemp -d "$dir.XXXXXX")
	packages=$(apt_names "$suite" "linux-(base|image|binary|modules)-${release//+/\\+}")
	say "downloading kernel $release of $suite"
	# shellcheck disable=SC2086 # one word per package
	apt_fetch "$suite" "$tmp" $packages || { rm -rf "$tmp"; return 1; }
	for from in "$tmp"/*.deb; do
		dpkg -x "$from" "$tmp/root" || return 1
	done
	mkdir -p "$dir/modules"
	for from in "$tmp/root/usr/lib/modules/$release" "$tmp/root/lib/modules/$release"; do
		[ ! -d "$from" ] || cp -a "$from/." "$dir/modules/"
	done
	for from in "$tmp/root/boot/vmlinuz-$release" "$dir/modules/vmlinuz"; do
		[ ! -f "$from" ] || mv "$from" "$dir/vmlinuz"
	done
	for from in "$tmp/root/boot/config-$release" "$dir/modules/config"; do
		[ ! -f "$from" ] || mv "$from" "$dir/config"
	done
	# Links into a source tree that is not installed.
	rm -f "$dir/modules/build" "$dir/modules/source"
	rm -rf "$tmp"
	if [ ! -f "$dir/vmlinuz" ] || [ ! -d "$dir/modules/kernel" ]; then
		say "kernel $release: its packages (${packages//$'\n'/ }) hold no image or no modules where they are expected"
		return 1
	fi
}
