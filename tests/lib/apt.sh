# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# Packages from suites that the machine's own apt does not know, without touching its sources: each suite has its own
# sources list and list directory in the cache, given to apt by options. Sourced after common.sh.

apt_lists_max_age_min=1500 # a little over a day: two daily runs share one download

# URI of the Debian archive this machine is set up with, so that a local mirror is used for the other suites too.
apt_mirror() {
	local uri
	# shellcheck disable=SC2016 # apt expands these
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 -E '/debian/?$' || true)
	[ -n "$uri" ] || { say "apt: no Debian archive among this machine's sources (apt-get indextargets)"; return 1; }
	printf '%s\n' "$uri"
}

# apt_sources SUITE: lines of a sources list. The suite called "system" is what this machine's Debian has (without sources
# of others) and its backports, so that a package from there finds its dependencies.
apt_sources() {
	local suite=$1 uri codename key=/usr/share/keyrings/debian-archive-keyring.gpg
	uri=$(apt_mirror) || return 1
	[ -e "$key" ] && key="[signed-by=$key] " || key=
	if [ "$suite" != system ]; then
		printf 'deb %s%s %s main\n' "$key" "$uri" "$suite"
		return
	fi
	# shellcheck disable=SC2016 # apt expands these
	apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
		grep -E '/debian(-security)?/? ' | sort -u | sed "s|^|deb $key|"
	codename=$(apt_codename)
	printf 'deb %s%s %s-backports main\n' "$key" "$uri" "$codename"
}

apt_codename() {
	# shellcheck source=/dev/null
	(. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-unknown}")
}

# apt_with SUITE TOOL ARGS...: apt-get, apt-cache or apt-mark that sees SUITE and nothing else.
apt_with() {
	local suite=$1 tool=$2 dir=$SCHEDRIG_CACHE/apt/$1
	shift 2
	# The sandbox user cannot write to a cache under root's home. Timeouts: a dead network must end, not hang.
	"$tool" -q=2 -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache" -o APT::Sandbox::User=root \
		-o APT::Architecture=amd64 -o Acquire::Languages=none -o Acquire::http::Timeout=20 \
		-o Acquire::https::Timeout=20 -o Acquire::Retries=2 "$@"
}

# apt_refresh SUITE [force]: downloads the suite's package lists if they are missing, old, or proved stale by a failed
# download. Old lists are better than none: a failure matters only when there are no lists at all.
apt_refresh() {
	local suite=$1 force=${2:-} dir=$SCHEDRIG_CACHE/apt/$1
	if [ -z "$force" ] && [ -n "$(find "$dir/stamp" -mmin "-$apt_lists_max_age_min" 2>/dev/null)" ]; then
		return 0
	fi
	with_lock "$SCHEDRIG_CACHE/apt/$suite.lock" "its download of the package lists of $suite" apt_refresh_locked "$suite"
}

apt_refresh_locked() {
	local suite=$1 dir=$SCHEDRIG_CACHE/apt/$1
	mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
	apt_sources "$suite" >"$dir/sources.list" || return 1
	say "downloading the package lists of $suite"
	if timeout -k 5 240 bash -c 'apt_with "$@"' - "$suite" apt-get -o APT::Update::Error-Mode=any update; then
		touch "$dir/stamp"
	elif [ -e "$dir/stamp" ]; then
		say "could not refresh the package lists of $suite; going on with those of $(date -r "$dir/stamp" +%F)"
	else
		say "could not download the package lists of $suite"
		return 1
	fi
}

# apt_names SUITE PATTERN: names of the packages that match the extended regular expression PATTERN in full.
apt_names() {
	apt_with "$1" apt-cache pkgnames linux- | grep -E -x -e "$2" | sort -V
}

# apt_fetch SUITE DIR PACKAGE...: the packages' files, into DIR. Lists that name a file the mirror no longer has are
# refreshed once and the download is tried again: point versions are replaced without notice.
apt_fetch() {
	local suite=$1 dir=$2
	shift 2
	(cd "$dir" && timeout -k 5 900 bash -c 'apt_with "$@"' - "$suite" apt-get download "$@") && return 0
	apt_refresh "$suite" force || return 1
	(cd "$dir" && timeout -k 5 900 bash -c 'apt_with "$@"' - "$suite" apt-get download "$@")
}

export -f apt_with # for timeout, which runs programs only
