"""Where a repository may lie, and who works on it at the same time: odd file systems, links, other users, disks that
fail; several programs at once, one of them stopped for a while."""
import os
import shutil
import signal
import subprocess

import pytest

from badinput import *  # helpers and fixtures
from conftest import Result
from killing import can_trace, wait_until


def traced(hf, calls, *args):
    """Runs the program with system calls that fail: {"linkat": "error=EPERM"}."""
    if not can_trace(hf.program):
        pytest.skip("cannot trace here")
    command = ["strace", "-f", "-qq", "-o", hf.path("trace"), "-e", "trace=" + ",".join(calls)]
    for call, what in calls.items():
        command += ["-e", "inject=%s:%s" % (call, what)]
    done = subprocess.run(command + hf.command(*args), env=hf.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, cwd=hf.home, timeout=120)
    return Result(done)


def injected(hf):
    with open(hf.path("trace")) as trace:
        return "INJECTED" in trace.read()


def comes_back(hf, repo, source, to="out"):
    out = hf.path(to)
    shutil.rmtree(out, ignore_errors=True)
    hf.ok("restore", "files:" + source, "--to", out, "--repo", repo)
    for name in os.listdir(source):
        if os.path.isfile(os.path.join(source, name)):
            assert read(os.path.join(out, name)) == read(os.path.join(source, name))


# ---- places -------------------------------------------------------------------------------------------------------


def test_no_hard_links(hf):
    """A rename that does not replace does the same; where there is neither, nothing begins."""
    repo = hf.path("repo")
    hf.write("src/a", noise(300000))
    none, neither = {"linkat": "error=EPERM"}, {"linkat": "error=EPERM", "renameat2": "error=EINVAL"}
    for calls in (none, {"linkat": "error=EOPNOTSUPP"}):
        shutil.rmtree(repo, ignore_errors=True)
        for command in (["init"], ["backup", "files:" + hf.path("src")]):
            result = traced(hf, calls, *command, "--repo", repo)
            assert result.code == 0 and injected(hf), result.err
        verified(hf, repo)
        comes_back(hf, repo, hf.path("src"))
        assert os.listdir(repo + "/tmp") == []
    result = traced(hf, neither, "backup", "files:" + hf.path("src"), "--repo", repo)
    hinted(result, "hard links")
    result = traced(hf, neither, "init", "--repo", hf.path("second"))
    hinted(result, "hard links")
    assert not os.path.exists(hf.path("second/holdfast.json"))
    assert len(snapshots(hf, repo)) == 1 and os.listdir(repo + "/tmp") == []
    verified(hf, repo)


def test_a_file_system_without_modes(hf):
    repo = hf.path("repo")
    hf.write("src/a", "alpha")
    for error in ("EPERM", "EOPNOTSUPP"):
        shutil.rmtree(repo, ignore_errors=True)
        os.mkdir(repo)
        calls = {"fchmodat": "error=" + error}
        assert traced(hf, calls, "init", "--repo", repo).code == 0
        assert injected(hf)
        hf.write("src/a", error)
        assert traced(hf, calls, "backup", "files:" + hf.path("src"), "--repo", repo).code == 0
        assert injected(hf)
        comes_back(hf, repo, hf.path("src"))
    hf.write("key-2", noise(32))
    assert traced(hf, {"fchmod": "error=EPERM"}, "key", "add", "--new-key-file", hf.path("key-2"), "--repo",
                  repo).code == 0
    assert injected(hf)


def test_a_disk_that_fails_to_sync_is_noticed(filled):
    """Whichever sync fails: the backup fails, or had its commit and the snapshot is whole. Nothing is believed twice."""
    hf = filled
    noticed = 0
    for call in ("fsync", "fdatasync"):
        for number in (1, 2, 3, 4, 6):
            hf.write("src/a", "%s %d" % (call, number))
            before = len(snapshots(hf, hf.repo))
            result = traced(hf, {call: "error=EIO:when=%d+" % number}, "backup", "files:" + hf.src, "--repo", hf.repo)
            if result.code != 0:
                clear(result, "Input/output error")
                noticed += 1
            assert len(snapshots(hf, hf.repo)) == before + (result.code == 0)
    assert noticed > 4
    verified(hf, hf.repo)
    hf.backup("files:" + hf.src, "--repo", hf.repo)
    comes_back(hf, hf.repo, hf.src)


def test_a_repository_behind_a_link(filled):
    hf = filled
    os.symlink(hf.repo, hf.path("link"))
    os.symlink("nowhere", hf.path("dangling"))
    for repo in (hf.path("link"), hf.path("link") + "/", "link", "./repo//", "src/../repo"):
        hf.write("src/a", repo)
        hf.backup("files:" + hf.src, "--repo", repo)
        hf.ok("verify", "--repo", repo)
        comes_back(hf, repo, hf.src)
    assert len({doc["source"] for doc in snapshots(hf, hf.path("link"))}) == 1
    assert hf.run("ls", "--repo", hf.path("dangling")).code == NO_REPOSITORY
    # Below the top nothing is followed: a link among the objects is not ours.
    shutil.move(hf.repo + "/snapshots", hf.path("elsewhere"))
    os.symlink(hf.path("elsewhere"), hf.repo + "/snapshots")
    assert snapshots(hf, hf.repo) == []
    clear(hf.run("backup", "files:" + hf.src, "--repo", hf.repo))


@root_only
def test_another_users_repository(filled):
    hf = filled
    clear(as_nobody(hf, "ls", "--repo", hf.repo), "ermission denied")
    for folder, _, names in os.walk(hf.repo):
        os.chmod(folder, 0o755)
        for name in names:
            os.chmod(os.path.join(folder, name), 0o644)
    out = hf.path("nobody", "out")
    for command in (["ls"], ["verify", "--level", "3"], ["restore", "files:" + hf.src, "--to", out]):
        result = as_nobody(hf, *command, "--repo", hf.repo)
        assert result.code == 0, result.err
    assert read(out + "/a") == read(hf.src + "/a")
    hinted(as_nobody(hf, "backup", "command:echo x", "--name", "x", "--repo", hf.repo), "owner and the mode")
    os.chmod(hf.repo + "/index", 0o700)
    clear(as_nobody(hf, "restore", "files:" + hf.src, "--to", out + "2", "--repo", hf.repo), "ermission denied")
    os.chmod(hf.repo + "/index", 0o755)
    os.chmod(hf.repo + "/packs", 0o700)
    clear(as_nobody(hf, "restore", "files:" + hf.src, "--to", out + "3", "--repo", hf.repo), "ermission denied")


@root_only
def test_a_cache_that_cannot_be_written(filled, tmpfs):
    """A cache filled by an earlier run, read-only now: it is used, and what it lacks is read from the repository."""
    hf = filled
    disk = tmpfs("disk", "16m")
    state = disk + "/state"
    shutil.copytree(hf.path("state"), state)
    env = {"HOLDFAST_STATE_DIR": state}
    hf.ok("ls", "--repo", hf.repo, env=env)
    hf.write("src/a", "changed")
    hf.backup("files:" + hf.src, "--repo", hf.repo)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    out = hf.path("out")
    hf.ok("restore", "files:" + hf.src, "--to", out, "--repo", hf.repo, env=env)
    assert read(out + "/a") == b"changed"
    hf.ok("verify", "--level", "3", "--repo", hf.repo, env=env)
    hf.ok("ls", "--repo", hf.repo, env=env)
    hf.ok("backup", "files:" + hf.src, "--repo", hf.repo, env=env)


# ---- at the same time ---------------------------------------------------------------------------------------------


class Gate:
    """A source that has begun, and ends when it is let go."""

    def __init__(self, hf, repo, number, env=None):
        self.hf, self.name = hf, "gated-%d" % number
        self.begun, self.go = hf.path("begun%d" % number), hf.path("go%d" % number)
        hf.write("first%d" % number, noise(3 << 20, number))
        script = "cat first%d; : > %s; while [ ! -e %s ]; do sleep 0.02; done; cat first%d; echo %d" % (
            number, self.begun, self.go, number, number)
        self.child = hf.start("backup", "command:" + script, "--name", self.name, "--repo", repo, "--json", env=env)
        wait_until(lambda: os.path.exists(self.begun) or self.child.poll() is not None, "the source is read")
        assert self.child.poll() is None, self.child.communicate()
        self.expected = read(hf.path("first%d" % number)) * 2 + b"%d\n" % number

    def finish(self):
        with open(self.go, "w"):
            pass
        out, err = self.child.communicate(timeout=120)
        assert self.child.returncode == 0, out + err

    def check(self, repo):
        out = self.hf.path("out-" + self.name)
        self.hf.ok("restore", self.name, "--to", out, "--repo", repo)
        assert read(out) == self.expected


def test_everything_at_once(filled):
    """Backups of several sources that are all under way, each with and without a state directory of its own, while the
    repository is verified, restored from and written to."""
    hf, repo = filled, filled.repo
    gates = [Gate(hf, repo, number) for number in range(3)]
    gates += [Gate(hf, repo, 3 + number, {"HOLDFAST_STATE_DIR": hf.path("state%d" % number)}) for number in range(2)]
    verified(hf, repo)
    comes_back(hf, repo, hf.src)
    hf.write("src/c", "while others work")
    hf.backup("files:" + hf.src, "--repo", repo)
    readers = [hf.start("verify", "--level", "3", "--repo", repo),
               hf.start("restore", "files:" + hf.src, "--to", hf.path("out2"), "--repo", repo)]
    for gate in reversed(gates):
        gate.finish()
        gate.check(repo)
    for reader in readers:
        out, err = reader.communicate(timeout=120)
        assert reader.returncode == 0, out + err
    verified(hf, repo)
    comes_back(hf, repo, hf.src)
    assert len(snapshots(hf, repo)) == 2 + len(gates)
    assert os.listdir(repo + "/tmp") == []


def test_a_backup_that_was_stopped_goes_on(filled):
    """Nobody takes a stopped writer for dead: others go on, and so does it."""
    hf, repo = filled, filled.repo
    gate = Gate(hf, repo, 7)
    gate.child.send_signal(signal.SIGSTOP)
    hf.write("src/a", "meanwhile")
    hf.backup("files:" + hf.src, "--repo", repo)
    verified(hf, repo)
    hf.backup("command:echo other", "--name", "other", "--repo", repo)
    gate.child.send_signal(signal.SIGCONT)
    gate.finish()
    gate.check(repo)
    verified(hf, repo)
    comes_back(hf, repo, hf.src)


def test_two_first_backups_of_one_source(hf):
    """Neither knows of the other: both snapshots stand under one name, and each is what its own run read."""
    repo = hf.init()
    go, begun = hf.path("go"), hf.path("begun")
    hf.write("lines", "")
    script = "echo >> lines; echo >> %s; while [ ! -e %s ]; do sleep 0.02; done; cat lines" % (begun, go)
    runs = [hf.start("backup", "command:" + script, "--name", "one", "--json", "--repo", repo) for _ in range(2)]
    wait_until(lambda: os.path.exists(begun) and os.path.getsize(begun) == 2, "both read the source")
    with open(go, "w"):
        pass
    for run in runs:
        out, err = run.communicate(timeout=120)
        assert run.returncode == 0, out + err
    listed = snapshots(hf, repo)
    assert len(listed) == 2 and {doc["source"] for doc in listed} == {"one"}
    for number, doc in enumerate(listed):
        out = hf.path("out%d" % number)
        hf.ok("restore", "one@" + doc["id"], "--to", out, "--repo", repo)
        assert read(out) == b"\n\n"
    hf.backup("command:" + script, "--name", "one", "--repo", repo)
    assert len(snapshots(hf, repo)) == 3
    verified(hf, repo)
