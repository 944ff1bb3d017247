"""Ends runs of the program with SIGKILL: after a time, or at the n-th system call of a kind (strace puts the signal there).

Seeds are fixed; HOLDFAST_SEED moves all of them. HOLDFAST_CRASH_ROUNDS and HOLDFAST_ROUNDS say how long to go on.
"""
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import ledger

# What changes files, and so the places between which a crash can leave different remains.
CALLS = ("write", "pwrite64", "fsync", "fdatasync", "linkat", "unlinkat", "renameat", "renameat2", "mkdirat", "openat",
         "flock", "ftruncate")


def seed(text):
    return random.Random("%s/%s" % (text, os.environ.get("HOLDFAST_SEED", "1")))


def has_sanitizer(program):
    with open(program, "rb") as file:
        content = file.read()
    return b"__asan_init" in content or b"__tsan_init" in content


def rounds(program, usual):
    """A sanitizer build does a third: it is slow, and what it looks for shows in any round."""
    for name in ("HOLDFAST_CRASH_ROUNDS", "HOLDFAST_ROUNDS"):
        if os.environ.get(name):
            return int(os.environ[name])
    return max(1, usual // 3) if has_sanitizer(program) else usual


def can_trace(program):
    """Leak checking does not work under a tracer, and some containers do not allow one."""
    if has_sanitizer(program) or not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-qq", "-o", os.devnull, "true"], stdin=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode == 0


class Killed:
    """How a run ended. `done` when the signal came too late."""

    def __init__(self, code, out, err, how):
        self.code, self.out, self.err, self.how = code, out, err, how
        self.done = code == 0
        assert code in (0, -signal.SIGKILL, 128 + signal.SIGKILL), "%s: exit %d\n%s%s" % (how, code, out, err)


def finish(child, how):
    out, err = child.communicate(timeout=120)
    return Killed(child.returncode, out, err, how)


def popen(hf, command):
    return subprocess.Popen(command, env=hf.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, errors="surrogateescape", cwd=hf.home)


def kill_after(hf, seconds, *args):
    child = popen(hf, hf.command(*args))
    try:
        child.wait(seconds)
    except subprocess.TimeoutExpired:
        child.kill()
    return finish(child, "killed after %.4f s: %s" % (seconds, " ".join(map(str, args))))


def kill_at_call(hf, call, number, *args):
    """The signal comes before the call is made. strace counts for each thread by itself."""
    inject = "inject=%s:signal=SIGKILL:when=%d" % (call, number)
    child = popen(hf, ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=" + call, "-e", inject]
                  + hf.command(*args))
    return finish(child, "killed at %s number %d: %s" % (call, number, " ".join(map(str, args))))


def kill_somewhere(hf, rng, longest_s, trace, *args):
    if trace and rng.random() < 0.4:
        call = rng.choice(CALLS)
        number = rng.randrange(1, 12) if rng.random() < 0.7 else rng.randrange(12, 80)
        return kill_at_call(hf, call, number, *args)
    return kill_after(hf, rng.random() * longest_s, *args)


class LiveDatabase:
    """A database of some megabytes that a writer changes all the time, from a process of its own."""

    def __init__(self, hf, name="live.db", size_bytes=10 << 20, journal="wal", seed_number=7):
        self.path, self.log = hf.path(name), hf.path(name + ".log")
        self.journal, self.seed_number, self.child = journal, seed_number, None
        writer = ledger.Writer(self.path, self.log, seed_number, journal)
        writer.fill(size_bytes)
        writer.db.close()
        self.start()

    def start(self):
        self.seed_number += 1
        before = self.committed()
        self.child = subprocess.Popen([sys.executable, ledger.__file__, self.path, self.log, str(self.seed_number),
                                       self.journal], stdin=subprocess.DEVNULL)
        wait_until(lambda: self.committed() > before, "the writer commits")

    def kill(self):
        """As an application crashes: its log stays."""
        self.child.kill()
        self.child.wait()

    def committed(self):
        return ledger.Log(self.log).committed

    def check(self, copy):
        return ledger.check_copy(copy, self.log)

    def check_live(self):
        """Opens the application's own database, as the application would."""
        db = sqlite3.connect(self.path)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        db.close()
        return self.check(self.path)

    def own_files(self):
        """Names and contents of the database's files; only while nobody writes."""
        found = {}
        for suffix in ("", "-wal", "-journal"):
            if os.path.exists(self.path + suffix):
                with open(self.path + suffix, "rb") as file:
                    found[suffix] = file.read()
        return found


def wait_until(holds, what, seconds=60):
    """Waits for another process; how long that takes is not tested."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain until " + what
        time.sleep(0.005)
