"""What the tests of bad input share: how a clear error looks, small databases, a filled repository, small disks."""
import os
import random
import shutil
import sqlite3
import subprocess
import tempfile

import pytest

from conftest import Result

ERROR, USAGE, PARTIAL, NO_REPOSITORY, REFUSED, WRONG_KEY, CORRUPT = 1, 2, 3, 10, 11, 12, 13
NOT_EMPTY, UNREACHABLE, CHECK_FAILED = 14, 15, 17
UNFINISHED = ".holdfast-restore-unfinished"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def clear(result, *words):
    """An error says what and why, names no internals, and is no crash."""
    assert 0 < result.code < 126, "exit %d: %s" % (result.code, result.err)
    assert result.err.startswith("holdfast: ") or "\nholdfast: " in result.err
    for word in words:
        assert word in result.err, "%r is not in: %s" % (word, result.err)
    for internal in ("Assertion", "Sanitizer", "CHECK", "(null)"):
        assert internal not in result.err


def hinted(result, *words):
    clear(result)
    hints = [line for line in result.err.splitlines() if line.startswith("hint: ")]
    assert hints, result.err
    for word in words:
        assert word in hints[-1], hints


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def database(path, rows=3000):
    db = sqlite3.connect(path)
    db.execute("create table t(a integer primary key, b text)")
    db.executemany("insert into t values(?, ?)", ((i, "x%d" % i * 60) for i in range(rows)))
    db.commit()
    db.close()
    return path


def rows_of(path):
    db = sqlite3.connect(path)
    try:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        return db.execute("select * from t order by a").fetchall()
    finally:
        db.close()


def snapshots(hf, repo, *more):
    return hf.ok("ls", "--json", "--repo", repo, *more).of("snapshot")


def verified(hf, repo):
    hf.ok("verify", "--level", "3", "--repo", repo)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def objects(repo):
    found = []
    for folder, _, names in os.walk(repo):
        found += [os.path.relpath(os.path.join(folder, name), repo) for name in names]
    return sorted(name for name in found if not name.startswith("tmp/"))


@pytest.fixture
def filled(hf):
    """A repository with one snapshot of a small tree."""
    hf.src = hf.path("src")
    hf.write("src/a", "alpha\n")
    hf.write("src/d/b", noise(200000))
    hf.repo = hf.init()
    hf.backup("files:" + hf.src, "--repo", hf.repo)
    return hf


@pytest.fixture
def tmpfs(hf):
    """Mounts small file systems; unmounts them at the end."""
    mounted = []

    def mount(name, size):
        path = hf.path(name)
        os.makedirs(path, exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%s" % size, "tmpfs", path], stderr=subprocess.PIPE)
        if done.returncode != 0:
            pytest.skip("cannot mount here")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


def as_nobody(hf, *args):
    """Runs the program without any rights; what it owns is below nobody/."""
    mine = hf.path("nobody")
    if not os.path.isdir(mine):
        os.mkdir(mine)
        shutil.copy(hf.key, mine)
        for path in (mine, os.path.join(mine, "key")):
            os.chown(path, 65534, 65534)
    at = hf.home
    while at.startswith(tempfile.gettempdir() + "/"):  # pytest closes its folders to others, each time one begins
        os.chmod(at, os.stat(at).st_mode | 0o111)
        at = os.path.dirname(at)
    env = dict(hf.env, HOLDFAST_STATE_DIR=os.path.join(mine, "state"), HOLDFAST_KEY_FILE=os.path.join(mine, "key"))
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] + hf.command(*args), env=env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
                          timeout=60)
    return Result(done)
