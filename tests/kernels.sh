#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck source-path=SCRIPTDIR
# Stock sched_ext kernels (Debian, cloud flavour) for tests and demo, unpacked into the cache that schedrigd --kernel reads:
#
#   $SCHEDRIG_CACHE/kernels/RELEASE/vmlinuz    the packaged image
#   $SCHEDRIG_CACHE/kernels/RELEASE/modules/   what the package has in lib/modules/RELEASE (kernel/..., modules.builtin, ...)
#   $SCHEDRIG_CACHE/kernels/RELEASE/config     the kernel's configuration, if packaged
#   $SCHEDRIG_CACHE/kernels/default            link to the newest RELEASE
#
#   kernels.sh fetch [--update] [PREFIX...]  gets the newest release of each PREFIX (default: 6.18 7.3) unless it is there
#   kernels.sh path PREFIX                   prints the directory of the newest one here, fetching it if there is none
#   kernels.sh list                          prints the releases that are here
#
# Needs no root. What is in the cache is used without network; --update asks the archive for newer point versions.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "$0")/lib/common.sh"
# shellcheck source=lib/apt.sh
. "$tests_lib/apt.sh"
# shellcheck source=lib/kernel.sh
. "$tests_lib/kernel.sh"

store=$SCHEDRIG_CACHE/kernels
generations=(6.18 7.3) # what the end-to-end tests run on

list() {
	local dir
	for dir in "$store"/[0-9]*/; do
		[ ! -f "$dir/vmlinuz" ] || basename "$dir"
	done | sort -V
}

# here PREFIX: the newest release in the store that is PREFIX or starts with it at a point, plus or dash.
here() {
	list | grep -E "^${1//./\\.}([.+-]|$)" | tail -n 1
}

refresh_link() {
	local newest
	newest=$(list | tail -n 1)
	[ -n "$newest" ] || return 0
	# By rename: a controller that is starting sees the old or the new one.
	ln -sfn "$newest" "$store/default.$$"
	mv -T "$store/default.$$" "$store/default"
}

install_release() {
	local suite=$1 release=$2 tmp=$store/.$2.tmp
	[ ! -d "$store/$release" ] || return 0
	# Only the holder of the lock is here: whatever is left is a dead run's.
	rm -rf "$tmp"*
	mkdir -p "$tmp"
	kernel_unpack "$suite" "$release" "$tmp" || exit 1
	if [ -f "$tmp/config" ] && ! grep -q '^CONFIG_SCHED_CLASS_EXT=y' "$tmp/config"; then
		rm -rf "$tmp"
		die "kernel $release of $suite has no CONFIG_SCHED_CLASS_EXT=y"
	fi
	mv -T "$tmp" "$store/$release"
	say "kernel $release: $(du -sh "$store/$release" | cut -f 1) in $store/$release"
}

# find_release PREFIX: prints "SUITE RELEASE", the newest match of the first suite that has one.
find_release() {
	local suite release
	for suite in $kernel_suites; do
		apt_refresh "$suite" || continue
		release=$(kernel_releases "$suite" cloud- | grep -E "^${1//./\\.}([.+-]|$)" | tail -n 1 || true)
		[ -z "$release" ] || { printf '%s %s\n' "$suite" "$release"; return 0; }
	done
	return 1
}

# nearest PREFIX: the generation (such as 7.2) closest to PREFIX that the archive has and no other wanted one is.
# Nothing before 6.16 has sched_ext.
nearest() {
	local suite taken
	taken=$(printf '%s\n' "${generations[@]}" | grep -v -F -x -- "$1" || true)
	for suite in $kernel_suites; do
		apt_refresh "$suite" >/dev/null && kernel_releases "$suite" cloud-
	done | cut -d . -f 1,2 | sort -uV | grep -v -F -x -e "${taken:-none}" |
		awk -v want="$1" -F . 'function rank(s,  p) { split(s, p, "."); return p[1] * 20 + p[2] }
			rank($0) < rank("6.16") { next }
			{ d = rank($0) - rank(want); d = d < 0 ? -d : d; if (best == "" || d < least) { least = d; best = $0 } }
			END { if (best != "") print best; else exit 1 }'
}

fetch_one() {
	local prefix=$1 update=$2 found other suite release
	if [ -z "$update" ] && [ -n "$(here "$prefix")" ]; then
		return 0
	fi
	if ! found=$(find_release "$prefix"); then
		if [ -n "$(here "$prefix")" ]; then
			say "kernel $prefix is no longer in the archive; keeping $(here "$prefix")"
			return 0
		fi
		other=$(nearest "$prefix") || die "no kernel like $prefix, cloud flavour, in: $kernel_suites"
		say "kernel $prefix is not in the archive (any more): taking $other, the nearest there is"
		[ -n "$update" ] || [ -z "$(here "$other")" ] || return 0
		found=$(find_release "$other") || die "kernel $other vanished from the package lists"
	fi
	read -r suite release <<<"$found"
	install_release "$suite" "$release"
}

fetch_all() {
	local update=$1 prefix
	shift
	for prefix; do
		fetch_one "$prefix" "$update"
	done
	refresh_link
}

fetch() {
	local update='' missing=() prefix
	if [ "${1:-}" = --update ]; then
		update=yes
		shift
	fi
	[ $# -gt 0 ] || set -- "${generations[@]}"
	for prefix; do
		if [ -n "$update" ] || [ -z "$(here "$prefix")" ]; then
			missing+=("$prefix")
		fi
	done
	[ ${#missing[@]} -eq 0 ] || with_lock "$store/.lock" "fetching kernels" fetch_all "$update" "${missing[@]}"
}

path() {
	[ $# -eq 1 ] || die "path: give one release or prefix, such as 6.18"
	[ -n "$(here "$1")" ] || fetch "$1"
	[ -n "$(here "$1")" ] || die "there is no kernel $1 here and none like it was fetched (kernels.sh list)"
	printf '%s\n' "$store/$(here "$1")"
}

case ${1:-fetch} in
fetch) shift $(($# > 0)); fetch "$@" ;;
path) shift; path "$@" ;;
list) list ;;
*) sed -n '4,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 64 ;;
esac
