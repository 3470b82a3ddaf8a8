#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What a user sees of `schedrig` without a VM: sentences, places, exit codes. Prints TAP.
#
#   test_cli.sh SCHEDRIG
set -uo pipefail
schedrig=$(realpath "$1")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export XDG_RUNTIME_DIR=$dir NO_COLOR=1
cd "$dir" || exit 1
number=0 failed=0

# expect NAME STATUS TEXT COMMAND...: the command ends with this status, and its output holds every line of TEXT.
expect() {
	local name=$1 status=$2 text=$3 out rc=0 line bad=
	shift 3
	out=$("$@" 2>&1 </dev/null) || rc=$?
	[ "$rc" -eq "$status" ] || bad="exit status $rc instead of $status"
	while IFS= read -r line; do
		case $out in
		*"$line"*) ;;
		*) bad="${bad:+$bad; }no '$line'" ;;
		esac
	done <<<"$text"
	number=$((number + 1))
	if [ -z "$bad" ]; then
		printf 'ok %d - %s\n' "$number" "$name"
	else
		failed=1
		printf 'not ok %d - %s\n# %s\n' "$number" "$name" "$bad"
		printf '%s\n' "$out" | sed 's/^/# /'
	fi
}

cat >good.yaml <<'END'
backdrop:
  cgroups: [{name: a, cpuset: {llc: 0}}]
steps:
  - hold: {fixed: 1s}
assertions: {not_stuck: {}}
END
cat >unknown.yaml <<'END'
steps:
  - ops:
      - set_cpusett: {cgroup: a}
bogus: 1
END
cat >wrong.yaml <<'END'
steps:
  - hold: {loop: 0s}
    ops:
      - set_cpuset: {cgroup: nobody, cpus: {llc: 0}}
END
printf 'steps:\n  - hold: {fixed: 10parsecs}\n' >unit.yaml
printf 'steps:\n  - hold: {frac: .nan}\n' >nan.yaml
printf 'payloads: [{name: p, program: no-such-program-anywhere}]\nsteps: [{ops: [{run_payload: {payload: p}}]}]\n' >payload.yaml
sed '1i name: ""' good.yaml >unnamed.yaml
mkfifo fifo.yaml
cat >scheduler.yaml <<'END'
schedulers:
  - name: mine
    binary: {program: scx_mine, default_args: [--slice-us, '500']}
  - {name: own, object: {file: own.bpf.o, rodata: [{variable: slice_ns, value: 500000}]}}
assertions: {not_stuck: {}}
steps:
  - hold: full
END
sed 's/hold: full/ops: [attach_scheduler: mien]/' scheduler.yaml >attach.yaml
sed 's/hold: full/ops: [run_payload: {payload: mine}]/' scheduler.yaml >as-payload.yaml
# The head of a BPF object, and of none: class 64, little endian, relocatable, machine 247 or 62.
{
	printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\1\0\367\0'
	head -c 44 /dev/zero
} >hidden
{
	printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\1\0\76\0'
	head -c 44 /dev/zero
} >false.bpf.o
printf 'payloads:\n  - {name: p, program: ./hidden}\nsteps: [{ops: [run_payload: {payload: p}]}]\n' >hidden.yaml
printf 'schedulers:\n  - {name: p, object: {file: ./false.bpf.o}}\nsteps: [{}]\n' >false.yaml
printf 'name: a\n# \xc2\x9b31m \xe2\x80\xae\nbogus: "\xe2\x80\xae\xc2\x9b31m"\n' >turns.yaml
printf 'name: \xff\xc2\x9b\n' >latin.yaml
printf '\xef\xbb\xbfname: a\r\nbogus: 1\r\n' >windows.yaml
head -c 5000000 /dev/zero | tr '\0' ' ' >large.yaml
head -c 3000 /dev/urandom >noise.yaml
: >empty.sock

expect 'no command' 64 'Usage:' "$schedrig"
expect 'unknown command' 64 'there is no command `frob`' "$schedrig" frob
expect 'unknown option' 64 "unrecognized option '--frob'" "$schedrig" lint --frob good.yaml
expect 'help' 0 $'Commands:\nrun ' "$schedrig" --help
expect 'help of a command' 0 '--topology' "$schedrig" run --help
expect 'lint: a good file' 0 'good.yaml: no mistakes' "$schedrig" lint good.yaml
expect 'lint: no file' 64 'No such file or directory' "$schedrig" lint none.yaml
expect 'lint: unknown op and field, each with its line' 64 \
	$'unknown.yaml:3:9: error: \n    3 |       - set_cpusett: {cgroup: a}\n      |         ^\nunknown.yaml:4:1: error: ' \
	"$schedrig" lint unknown.yaml
expect 'lint: mistakes in the meaning' 64 $'wrong.yaml:2:\nwrong.yaml:4:\nnobody' "$schedrig" lint wrong.yaml
expect 'lint: unknown unit' 64 $'unit.yaml:2:\nparsecs' "$schedrig" lint unit.yaml
expect 'lint: not a number' 64 'nan.yaml:2:' "$schedrig" lint nan.yaml
expect 'lint: what turns or controls a terminal is not shown' 64 $'turns.yaml:3:1: error: unknown field\n    3 | bogus: "?????31m"' \
	"$schedrig" lint turns.yaml
expect 'lint: bytes that are no text are not shown' 64 $'latin.yaml:1:7: error: the file is not UTF-8 text\n    1 | name: ???' \
	"$schedrig" lint latin.yaml
expect 'lint: a byte order mark and other ends of lines' 64 'windows.yaml:2:1: error: unknown field' "$schedrig" lint windows.yaml
expect 'lint: too large' 64 'large.yaml is larger than 4194304 bytes' "$schedrig" lint large.yaml
expect 'lint: a directory' 64 'Is a directory' "$schedrig" lint .
expect 'lint: no YAML at all' 64 'noise.yaml' "$schedrig" lint noise.yaml
expect 'lint: one bad among good ones' 64 'good.yaml: no mistakes' "$schedrig" lint good.yaml wrong.yaml
expect 'lint: mistakes as JSON' 64 $'"file": "wrong.yaml"\n"severity": "error"\n"line": 4\n"message": ' \
	"$schedrig" --json lint good.yaml wrong.yaml
expect 'lint: no mistakes as JSON' 0 '"mistakes": []' "$schedrig" --json lint good.yaml
expect 'lint: no file as JSON' 64 $'"mistakes": [\nNo such file or directory' "$schedrig" --json lint none.yaml
expect 'lint: impossible topology' 64 '3 LLCs cannot be shared out over 2 nodes' "$schedrig" lint -t 2n3l1c1t good.yaml
expect 'lint: against a topology' 64 'LLC' "$schedrig" lint -t 1n1l1c1t <(sed 's/llc: 0/llc: 7/' good.yaml)
expect 'lint: no name' 0 'unnamed.yaml: no mistakes' "$schedrig" lint unnamed.yaml
expect 'lint: a FIFO that nobody writes to' 64 'fifo.yaml is a pipe that nobody writes to' timeout 60 "$schedrig" lint fifo.yaml
expect 'lint: pipes of other commands' 0 'no mistakes' "$schedrig" lint <(cat good.yaml)
expect 'lint: a slow pipe' 0 'no mistakes' "$schedrig" lint <(head -n 2 good.yaml && exec tail -n +3 good.yaml)
expect 'lint: standard input' 0 '-: no mistakes' bash -c '"$1" lint - <good.yaml' - "$schedrig"
expect 'lint: a socket as standard input' 0 '-: no mistakes' python3 -c 'import socket, subprocess, sys
ours, theirs = socket.socketpair()
theirs.sendall(open("good.yaml", "rb").read())
theirs.close()
sys.exit(subprocess.call([sys.argv[1], "lint", "-"], stdin=ours))' "$schedrig"
expect 'lint: a pipe as standard input' 64 $'-:3:9: error: \n    3 |       - set_cpusett' \
	bash -c 'cat unknown.yaml | "$1" lint -' - "$schedrig"
expect 'lint: schedulers are defined' 0 'scheduler.yaml: no mistakes' "$schedrig" lint scheduler.yaml
expect 'lint: a scheduler that nobody defined, and an op that is not here yet' 64 \
	$'attach.yaml:7:11: error: \nAttachScheduler is not in this version\ndid you mean \'mine\'?): `schedulers` defines mine, own' \
	"$schedrig" lint attach.yaml
expect 'lint: a scheduler as a payload' 64 \
	$'as-payload.yaml:7:25: error: \n\'mine\' is a scheduler, not a payload: start it with attach_scheduler' \
	"$schedrig" lint as-payload.yaml
expect 'lint: a BPF object by another name as a payload' 64 $'hidden.yaml:2:15: error: \n./hidden is a BPF object' \
	"$schedrig" lint hidden.yaml
expect 'lint: an object that is none' 64 $'false.yaml:2:24: error: \n./false.bpf.o is no BPF object' "$schedrig" lint false.yaml
expect 'run: a scheduler that is not there' 64 $'scheduler.yaml:3:14: error: \n`scx_mine` is neither staged\nown.bpf.o' \
	"$schedrig" run scheduler.yaml
expect 'list: work types' 0 $'bursty: spins\nburst \ndefault 50ms (1ns to 3600s)\nin multiples of 2\nirq_wake: one sends' \
	"$schedrig" list work-types
expect 'list: assertions' 0 $'max_p99_wake_latency: \n    duration\nmax_steal_pct: \ndefault 20\nexpect_value: ' \
	"$schedrig" list assertions
expect 'list: metrics' 0 $'wake_p99 \nns \nlower is better' "$schedrig" list metrics
expect 'list: metrics as JSON' 0 $'"name": "iteration_rate"\n"better": "higher"' "$schedrig" --json list metrics
expect 'list: what?' 64 'there is no list of `frobs`' "$schedrig" list frobs
expect 'no socket named' 64 '-s PATH' "$schedrig" info
expect 'no controller' 69 'there is no socket none.sock' "$schedrig" -s none.sock info
expect 'not a socket' 69 'empty.sock is no socket' "$schedrig" -s empty.sock info
expect 'submit: mistakes first, no controller needed' 64 'wrong.yaml:2:' "$schedrig" -s none.sock submit wrong.yaml
expect 'read: wrong width' 64 'u8, u16, u32, u64' "$schedrig" -s none.sock read jiffies:u7
expect 'read: never' 64 '--count: 0 is no count' "$schedrig" -s none.sock read --count 0 jiffies
expect 'read: at what times?' 64 '--every: ' "$schedrig" -s none.sock read --count 2 --every 5 jiffies
expect 'read: no file of paths' 64 'none.txt' "$schedrig" -s none.sock read --file none.txt
expect 'read: a file without paths' 64 'has no paths' "$schedrig" -s none.sock read --file <(echo '# none')
expect 'read: nothing' 64 'Usage: ' "$schedrig" -s none.sock read --count 2
expect 'write: no value' 64 'TARGET=VALUE' "$schedrig" -s none.sock write jiffies
expect 'write: negative, too far' 64 'does not fit into 8 bits' "$schedrig" -s none.sock write jiffies:u8=-129
expect 'write: half a byte' 64 'two a byte' "$schedrig" -s none.sock write jiffies:bytes=abc
expect 'write: narrow change' 64 '32 and 64 bits' "$schedrig" -s none.sock write 'jiffies:u16|=1'
expect 'read: no address' 64 'phys:' "$schedrig" -s none.sock read phys:here:u8
expect 'write: value too wide' 64 'does not fit into 8 bits' "$schedrig" -s none.sock write jiffies:u8=256
expect 'run: no scenario' 64 'which scenario?' "$schedrig" run
expect 'run: bad file, nothing is booted' 64 'wrong.yaml:2:' "$schedrig" run wrong.yaml
expect 'run: impossible topology' 64 '3 LLCs cannot be shared out over 2 nodes' "$schedrig" run -t 2n3l1c1t good.yaml
expect 'run: a program that is not there' 64 $'payload.yaml:1:\nno-such-program-anywhere' "$schedrig" run payload.yaml
expect 'run: a kernel that is not there' 69 'there-is-no-kernel' "$schedrig" run --kernel ./there-is-no-kernel good.yaml
expect 'run: a text file as kernel' 64 'not a kernel' "$schedrig" run --kernel ./good.yaml good.yaml
truncate -s 8M disk.img
truncate -s 1000 odd.img
truncate -s 1M small.img
mkdir directory
expect 'run: a disk that is not there' 64 "'no.img': No such file" "$schedrig" run --disk no.img good.yaml
expect 'run: a directory as disk' 64 "'directory' is a directory" "$schedrig" run --disk directory,ro good.yaml
expect 'run: a disk of half sectors' 64 '1000 bytes' "$schedrig" run --disk disk.img --disk odd.img good.yaml
expect 'run: a scratch disk without room' 64 'too small' "$schedrig" run --disk small.img,scratch good.yaml
expect 'run: the same disk twice' 69 'in use' "$schedrig" run --disk disk.img --disk disk.img good.yaml
expect 'run: the same disk twice, one reads' 69 'in use' "$schedrig" run --disk disk.img,ro --disk disk.img good.yaml
expect 'run: the same disk twice, both read' 69 'there-is-no-kernel' \
	"$schedrig" run --disk disk.img,ro --disk disk.img,ro --disk temp:4M --kernel ./there-is-no-kernel good.yaml
cp "$schedrig" alone
expect 'run: no schedrigd' 69 'there is no schedrigd' env PATH=/nonexistent ./alone run good.yaml
expect 'nothing stays behind' 2 'No such file' ls -d "$dir"/schedrig-run.*
echo "1..$number"
# For who looks at the status only.
exit "$failed"
