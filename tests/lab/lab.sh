#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck source-path=SCRIPTDIR
# Runs a command where a KVM is that boots kernels: right here if there is one, otherwise in an emulated machine.
#
#   lab.sh [--memory MiB] [--here|--emulated] [--timeout S] [--share DIR]... -- COMMAND...
#   lab.sh --where     only prints which it would be, native or emulated
#   lab.sh --prepare   only gets and builds what the emulated machine consists of
#
#   --memory MiB   of the emulated machine (default 6144, less on a small host)
#   --here         no probing, no emulation; --emulated: no probing, emulation
#   --timeout S    end the command after S seconds (exit status 124)
#   --share DIR    another directory to be writable in the emulated machine
#
# In the emulated machine the host's files are seen at their own paths, read-only, except: the git work tree around the
# current directory (or that directory), SCHEDRIG_BUILD, SCHEDRIG_CACHE (but for kernels/ in it) and --share
# directories, which are shared read-write, and /tmp, /run, /var/tmp, which are the machine's own. The command has root, the caller's environment, no
# stdin, and gets: SCHEDRIG_LAB (native, emulated, or unfit: run with --here where kernels do not boot) and
# SCHEDRIG_SPEED (factor for time limits). Its output is passed on
# as it comes, and its exit status at the end; 125 means that the lab itself failed. INT, TERM and HUP are passed in; a
# second one ends everything at once. One emulated machine at a time: another call waits.
set -euo pipefail
# shellcheck source=../lib/common.sh
. "$(dirname "$0")/../lib/common.sh"
# shellcheck source=../lib/apt.sh
. "$tests_lib/apt.sh"
# shellcheck source=../lib/kernel.sh
. "$tests_lib/kernel.sh"

sources=$SCHEDRIG_TREE/tests/lab
store=$SCHEDRIG_CACHE/lab
# What the machine needs beyond the kernel image, dependencies not named. virtio_console carries the wire.
modules=(virtio_pci virtio_console 9pnet_virtio 9p ccp kvm kvm-amd vhost_vsock)
# Not the kernels under test, and none newer than 6.14: from then on kvm-amd takes any type in EXITINTINFO for an event in
# delivery, valid or not, and refuses to emulate (commit 704fc6021b9e). QEMU leaves the type of the nested guest's last
# exception there, so a guest that had a page fault and then writes a device register would end in a KVM internal error.
generations=('6\.12\.' '6\.1\.')
machine_suites="bookworm-backports trixie bookworm"

# --- the three small programs -----------------------------------------------------------------------------------------

# build_tools: prints the directory with probe, init and host, compiled unless these very sources have been before.
build_tools() {
	local key dir tmp name
	key=$(cat "$sources"/*.[ch] | sha256sum | cut -c 1-16)
	dir=$store/tools-$key
	if [ ! -d "$dir" ]; then
		have cc || die "no C compiler; run tests/setup.sh"
		mkdir -p "$store"
		tmp=$(mktemp -d "$store/.tools.XXXXXX")
		for name in probe init host; do
			cc -std=gnu17 -O2 -Wall -Wextra -static -o "$tmp/$name" "$sources/$name.c" -lm || die "cannot compile $name.c"
		done
		mv -T "$tmp" "$dir" 2>/dev/null || rm -rf "$tmp" # another one was quicker
	fi
	printf '%s\n' "$dir"
}

# --- kernel and initramfs of the emulated machine ---------------------------------------------------------------------

# module_order MODULES_DIR NAME...: files of the named modules and what they depend on, in load order, each once.
# Unpacked packages have no modules.dep; "depends" in the modules themselves says the same.
module_order() {
	local dir=$1 name file
	shift
	for name; do
		name=${name//-/_}
		[ -z "${module_seen[$name]:-}" ] || continue
		module_seen[$name]=yes
		file=$(find "$dir/kernel" -name '*.ko*' | awk -v want="$name" -F / '
			{ n = $NF; sub(/\.ko.*/, "", n); gsub(/-/, "_", n); if (n == want && !found++) print }')
		if [ -z "$file" ]; then
			grep -q "/${name//_/[_-]}\.ko$" "$dir/modules.builtin" || die "the lab's kernel has no module $name"
			continue
		fi
		# shellcheck disable=SC2046 # one word per module
		module_order "$dir" $(modinfo -F depends "$file" | tr ',' ' ')
		printf '%s\n' "$file"
	done
}

decompress() {
	case $1 in
	*.xz) xz -dc "$1" ;;
	*.zst) zstd -dcq "$1" ;;
	*.gz) gzip -dc "$1" ;;
	*) cat "$1" ;;
	esac
}

# Of the full flavour (the cloud one has no 9p) only what the machine loads is kept.
store_kernel() {
	local generation suite release found='' dir tmp file n=10
	for generation in "${generations[@]}"; do
		for suite in $machine_suites; do
			apt_refresh "$suite" || continue
			release=$(kernel_releases "$suite" '' | grep "^$generation" | tail -n 1 || true)
			[ -z "$release" ] || { found=yes; break 2; }
		done
	done
	[ -n "$found" ] || die "no kernel for the emulated machine in: $machine_suites"
	dir=$store/kernel-$release
	[ ! -d "$dir" ] || return 0
	rm -rf "$store"/.kernel.*
	tmp=$(mktemp -d "$store/.kernel.XXXXXX")
	mkdir "$tmp/all" "$tmp/keep" "$tmp/keep/modules"
	kernel_unpack "$suite" "$release" "$tmp/all" || die "no kernel for the emulated machine"
	mv "$tmp/all/vmlinuz" "$tmp/keep/"
	declare -A module_seen=()
	while read -r file; do
		decompress "$file" >"$tmp/keep/modules/$n-$(basename "${file%%.ko*}").ko"
		n=$((n + 1))
	done < <(module_order "$tmp/all/modules" "${modules[@]}")
	[ "$n" -gt 10 ] || die "kernel $release: no modules found"
	mv -T "$tmp/keep" "$dir"
	rm -rf "$tmp"
}

stored_kernel() {
	local generation found
	for generation in "${generations[@]}"; do
		found=$(find "$store" -maxdepth 1 -name 'kernel-*' 2>/dev/null | grep "/kernel-$generation" | sort -V | tail -n 1 || true)
		[ -z "$found" ] || { printf '%s\n' "$found"; return; }
	done
}

# build_initramfs KERNEL_DIR TOOLS_DIR FILE
build_initramfs() {
	local tmp
	tmp=$(mktemp -d "$store/.initramfs.XXXXXX")
	mkdir -p "$tmp/root"/{proc,sys,dev,host}
	cp "$2/init" "$2/probe" "$tmp/root/"
	cp -r "$1/modules" "$tmp/root/"
	# Not compressed: reading it costs the emulated CPU less than unpacking.
	(cd "$tmp/root" && find . | LC_ALL=C sort | cpio -o -H newc --quiet --owner 0:0) >"$tmp/cpio"
	mv -T "$tmp/cpio" "$3"
	rm -rf "$tmp"
	# Those of sources that are no more.
	find "$store" -maxdepth 1 \( -name 'initramfs-*' -o -name 'tools-*' \) -mtime +7 -exec rm -rf {} +
}

prepare_machine() {
	local tools=$1
	have qemu-system-x86_64 || die "no qemu-system-x86_64; run tests/setup.sh"
	[ -n "$(stored_kernel)" ] || store_kernel
	machine_kernel=$(stored_kernel)
	machine_initramfs=$store/initramfs-${machine_kernel##*/kernel-}-${tools##*/tools-}
	[ -f "$machine_initramfs" ] || build_initramfs "$machine_kernel" "$tools" "$machine_initramfs"
}

# --- choosing and running ---------------------------------------------------------------------------------------------

run_here() {
	export SCHEDRIG_LAB=$1 SCHEDRIG_SPEED=$2
	shift 2
	if [ "$timeout" -gt 0 ]; then
		exec timeout --kill-after=15 "$timeout" "$@"
	fi
	exec "$@"
}

# The directory that the user works in: the git work tree around it, or just itself. Never all of the machine.
work_tree() {
	local top
	top=$(git rev-parse --show-toplevel 2>/dev/null) || top=$PWD
	case $top in
	/ | /tmp | /var | /var/tmp | /home | /run* | /usr* | /etc* | /proc* | /sys* | /dev*) ;;
	*) printf '%s\n' "$top" ;;
	esac
}

# shared_dirs: each writable directory once, outer ones before inner ones.
shared_dirs() {
	local dir
	for dir in "$(work_tree)" "$SCHEDRIG_BUILD" "$SCHEDRIG_CACHE" "${shares[@]}"; do
		[ -z "$dir" ] || [ ! -d "$dir" ] || realpath "$dir"
	done | sort -u
}

machine_memory() {
	local available
	[ -z "$memory" ] || { printf '%s\n' "$memory"; return; }
	available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
	# 1.5 GiB: translated code, QEMU itself, the host's page cache.
	available=$((available - 1536))
	if [ "$available" -lt 6144 ]; then
		say "lab: only $available MiB for the emulated machine"
		printf '%s\n' "$available"
	else
		printf '6144\n'
	fi
}

run_emulated() {
	local tools=$1 args=() mounts=() dir n=0 tag
	shift
	exec {lab_lock}>>"$store/lock"
	if ! flock -n "$lab_lock"; then
		say "lab: waiting for another emulated machine on this host to finish"
		flock "$lab_lock"
	fi
	prepare_machine "$tools"
	# Three CPUs: the first is not for what runs here (see leave_first_cpu() in init.c) and has next to nothing to do.
	# no_timer_check: whether ticks come within a few milliseconds of a host that has other things to do says nothing of
	# how the timer is wired, and the kernel would panic.
	# Without ERMS and FSRM the machine's kernel clears and copies memory by words, not with "rep stosb": QEMU looks at the
	# translations of a page's code with every store to it, and a 2 MiB page for a guest that had an earlier guest's kernel in
	# it took 0.9 s to clear by bytes (0.2 s by words, 0.01 s if it had no code), in which not even a real-time thread ran on
	# that CPU. To the guest it is a CPU that stands still.
	# shellcheck disable=SC2054 # commas are QEMU's
	args=(qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot
		-machine pc -accel "tcg,thread=multi,tb-size=1024" -cpu max,-erms,-fsrm -smp 3 -m "$(machine_memory)"
		-kernel "$machine_kernel/vmlinuz" -initrd "$machine_initramfs"
		-append "console=ttyS0 panic=-1 oops=panic mitigations=off tsc=reliable no_timer_check nokaslr audit=0 rdinit=/init"
		-chardev "file,id=console,path=$store/console.log" -serial chardev:console
		-device virtio-serial-pci -chardev socket,id=wire,fd=3 -device virtserialport,chardev=wire,name=lab.wire
		-fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap
		-device virtio-9p-pci,fsdev=root,mount_tag=lab.root)
	while read -r dir; do
		tag=lab.$n
		# Commas separate options, two stand for one.
		args+=(-fsdev "local,id=share$n,path=${dir//,/,,},security_model=none,multidevs=remap"
			-device "virtio-9p-pci,fsdev=share$n,mount_tag=$tag")
		mounts+=(--mount "$tag=$dir")
		n=$((n + 1))
	done < <(shared_dirs)
	# Kernels are input, and walking their modules through a mount that asks the host about each name takes seconds.
	exec "$tools/host" --timeout "$timeout" --boot-timeout 180 --console "$store/console.log" "${mounts[@]}" \
		--fixed "$SCHEDRIG_CACHE/kernels" "${args[@]}" -- "$@"
}

usage() {
	[ $# -eq 0 ] || say "lab.sh: $*"
	sed -n '4,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
	exit 64
}

memory='' how=probe timeout=0 shares=()
while [ $# -gt 0 ]; do
	case $1 in
	--memory | --timeout)
		[[ ${2:-} =~ ^[0-9]+$ ]] || usage "$1 needs a number"
		declare "${1#--}=$2"
		shift
		;;
	--share) shares+=("${2:?}"); shift ;;
	--here | --emulated | --where | --prepare) how=${1#--} ;;
	--) shift; break ;;
	*) usage "what is $1?" ;;
	esac
	shift
done
[ $# -gt 0 ] || [[ $how =~ ^(where|prepare)$ ]] || usage "no command"

# Inside already: nothing to choose, and what the outer lab said stays true.
if [ -n "${SCHEDRIG_LAB:-}" ]; then
	[ "$how" != where ] || { printf '%s\n' "$SCHEDRIG_LAB"; exit; }
	[ "$how" != prepare ] || exit 0
	run_here "$SCHEDRIG_LAB" "${SCHEDRIG_SPEED:-1}" "$@"
fi
tools=$(build_tools)
# Prints "INSTRUCTIONS EXITS SPEED", or why not.
probe_rc=0
found=$("$tools/probe" 2>&1) || probe_rc=$?
speed=1
[ "$probe_rc" -gt 1 ] || speed=${found##* }
case $probe_rc in
0) fit=native reason="kernel code runs at $((${found%% *} / 1000000)) M instructions/s under this KVM" ;;
1) fit=unfit reason="this KVM only emulates kernel code, at $((${found%% *} / 1000)) k instructions/s" ;;
*) fit=unfit reason=$found ;;
esac
case $how/$fit in
where/native) echo native ;;
where/unfit) echo emulated ;;
prepare/*)
	with_lock "$store/lock" "with its emulated machine" prepare_machine "$tools"
	;;
probe/native)
	say "lab: native ($reason)"
	run_here native "$speed" "$@"
	;;
here/*)
	say "lab: here as asked ($reason)"
	run_here "$fit" "$speed" "$@"
	;;
*)
	say "lab: emulated machine ($reason)"
	run_emulated "$tools" "$@"
	;;
esac
