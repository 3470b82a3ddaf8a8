#!/usr/bin/python3 -IS
# SPDX-License-Identifier: GPL-2.0-only
"""Runs the test programs that meson declares for some suites, one after the other, and counts single test cases.

    run_tests.py BUILD_DIR TALLY_FILE SUITE...

Criterion programs count by their TAP report, other programs by TAP on stdout if they print it, or else as one test by
their exit status (77: skipped, the last line of output is the reason). Programs come from `meson introspect`'s files, so
meson itself is not needed: it takes long to start in the lab. Time limits are meson's, times SCHEDRIG_SPEED. A program
that leaves processes of its session behind has failed. Appends "passed failed skipped" to TALLY_FILE,
a line per program.

Exit status: 0 nothing failed, 1 something did, 3 there is no test in these suites.
"""
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

OUTPUT_SHOWN_BYTES = 20000
BUILD = None  # where meson runs tests that name no directory: set by main()
SPEED_LIMIT = 20.0  # a broken measurement must not make a hang last for days
TAP_LINE = re.compile(r'^(ok|not ok)\b(?:\s+\d+)?\s*(?:-\s*)?(.*?)(?:\s*#\s*(SKIP|TODO)\b\s*(.*))?$', re.I)


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def __str__(self):
        parts = [(self.passed, 'passed'), (self.failed, 'failed'), (self.skipped, 'skipped')]
        return ', '.join(f'{n} {what}' for n, what in parts if n) or 'nothing ran'


def say(text):
    print(text, flush=True)


def speed():
    try:
        return min(max(float(os.environ.get('SCHEDRIG_SPEED', '1')), 1.0), SPEED_LIMIT)
    except ValueError:
        return 1.0


def declared_tests(build, suites):
    """Tests of the named suites. Meson writes a suite as "project:suite"."""
    with open(os.path.join(build, 'meson-info', 'intro-tests.json'), encoding='utf-8') as f:
        tests = json.load(f)
    for test in tests:
        names = {s.rpartition(':')[2] for s in test['suite']}
        if names & set(suites):
            yield test


def session_processes(sid):
    """Living processes of the session, by id. Zombies are not living: PID 1 has yet to look at them."""
    found = []
    for entry in os.listdir('/proc'):
        if not entry.isdigit():
            continue
        try:
            with open(f'/proc/{entry}/stat', encoding='utf-8', errors='replace') as f:
                fields = f.read().rpartition(')')[2].split()
        except OSError:
            continue
        if int(fields[3]) == sid and fields[0] not in 'ZX':
            found.append(int(entry))
    return found


def read_text(path):
    try:
        with open(path, encoding='utf-8', errors='replace') as f:
            return f.read().strip()
    except OSError as error:
        return error.strerror


def describe_session(sid):
    """Where each thread of the session is, for the report of a program that hangs; with stacks if there is a gdb."""
    lines = []
    for pid in session_processes(sid):
        lines.append(f'process {pid}: {read_text(f"/proc/{pid}/cmdline").replace(chr(0), " ")}')
        for tid in sorted(os.listdir(f'/proc/{pid}/task')) if os.path.isdir(f'/proc/{pid}/task') else []:
            task = f'/proc/{pid}/task/{tid}'
            state = read_text(f'{task}/stat').rpartition(')')[2].split()[:1]
            lines.append(f'  thread {tid} {read_text(f"{task}/comm")} {"".join(state)} in {read_text(f"{task}/wchan")}, '
                         f'syscall {read_text(f"{task}/syscall")}')
        try:
            gdb = subprocess.run(['gdb', '-p', str(pid), '-batch', '-nx', '-ex', 'thread apply all backtrace 20'],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 timeout=60, check=False)
            lines += ['  ' + line for line in gdb.stdout.decode(errors='replace').splitlines() if line[:1] in '#T']
        except (OSError, subprocess.TimeoutExpired):
            pass
    return '\n'.join(lines)


def end_session(sid):
    for pid in session_processes(sid):
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


def count_tap(text, label, tally):
    """Counts the TAP lines in text and prints what failed or was skipped. Returns how many there were."""
    lines = 0
    for line in text.splitlines():
        match = TAP_LINE.match(line)
        if not match:
            continue
        lines += 1
        verdict, name, directive, reason = match.groups()
        name = re.sub(r'\s+\([0-9.]+s\)$', '', name).strip()
        if directive:
            tally.skipped += 1
            say(f'  skipped {label}: {name}: {reason or "no reason given"}')
        elif verdict.lower() == 'ok':
            tally.passed += 1
        else:
            tally.failed += 1
            say(f'  FAILED {label}: {name}')
    return lines


def run_program(test, report, limit):
    """Returns (exit status or None after the time limit, stdout, all output, ids of processes left behind)."""
    env = {**os.environ, **test['env'], 'CRITERION_OUTPUTS': f'tap:{report}', 'MALLOC_PERTURB_': '165'}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = subprocess.Popen(test['cmd'], cwd=test['workdir'] or BUILD, env=env, stdin=subprocess.DEVNULL,
                                 stdout=out, stderr=err, start_new_session=True)
        hung = ''
        try:
            status = child.wait(timeout=limit)
            left = session_processes(child.pid)
        except subprocess.TimeoutExpired:
            status, left = None, []
            hung = describe_session(child.pid)
        finally:
            end_session(child.pid)
            child.wait()
        out.seek(0)
        err.seek(0)
        stdout = out.read().decode(errors='replace')
        return status, stdout, stdout + err.read().decode(errors='replace') + hung, left


def run_test(test, label, scratch):
    tally = Tally()
    report = os.path.join(scratch, 'report.tap')
    if os.path.exists(report):
        os.unlink(report)
    # Meson's 0 and below mean no limit; a test that never ends is a failure here nevertheless.
    limit = (test['timeout'] if test['timeout'] > 0 else 600) * speed()
    start = time.monotonic()
    try:
        status, stdout, output, left = run_program(test, report, limit)
    except OSError as error:  # was not built, or cannot be run
        status, stdout, output, left = 127, '', str(error), []
    took = time.monotonic() - start
    tap = stdout
    if os.path.exists(report):
        with open(report, encoding='utf-8', errors='replace') as f:
            tap = f.read()
    has_tap = re.search(r'^(TAP version|1\.\.\d+)', tap, re.M) is not None
    cases = count_tap(tap, label, tally) if has_tap else 0
    why = None
    if status is None:
        why = f'time limit of {limit:.0f} s'
    elif left:
        why = f'left {len(left)} processes behind'
    elif status == 77 and cases == 0:
        tally.skipped += 1
        last = output.strip().splitlines()[-1:] or ['no reason given']
        say(f'  skipped {label}: {last[0]}')
    elif status != 0 and tally.failed == 0:
        why = f'signal {-status}' if status < 0 else f'exit status {status}'
    elif cases == 0 and status == 0:
        if has_tap:
            why = 'no test in it'
        else:
            tally.passed += 1
    if why:
        tally.failed += 1
        say(f'  FAILED {label}: {why}')
    say(f'{"FAILED" if tally.failed else "ok"} {label}: {tally} ({took:.1f} s)')
    if tally.failed:
        say(output[-OUTPUT_SHOWN_BYTES:].rstrip())
    return tally


def main():
    global BUILD
    build, tally_file, suites = sys.argv[1], sys.argv[2], sys.argv[3:]
    BUILD = os.path.abspath(build)
    # Ends through `finally` above, so that no program is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = False
    tests = list(declared_tests(build, suites))
    with tempfile.TemporaryDirectory() as scratch:
        for test in tests:
            suite = next(s for s in suites if s in {n.rpartition(':')[2] for n in test['suite']})
            place = '@lab' if os.environ.get('SCHEDRIG_LAB') == 'emulated' else ''
            tally = run_test(test, f'{suite}{place}/{test["name"]}', scratch)
            failed = failed or tally.failed > 0
            # At once: what came before a crash or a time limit of the whole counts.
            with open(tally_file, 'a', encoding='utf-8') as f:
                f.write(f'{tally.passed} {tally.failed} {tally.skipped}\n')
    if not tests:
        return 3
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
