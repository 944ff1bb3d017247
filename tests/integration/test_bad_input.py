"""What goes wrong at 3 in the morning: each case ends in a clear error or a correct result, nothing lost, no crash."""
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time

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
        while at.startswith(tempfile.gettempdir() + "/"):  # pytest closes its folders to others
            os.chmod(at, os.stat(at).st_mode | 0o111)
            at = os.path.dirname(at)
    env = dict(hf.env, HOLDFAST_STATE_DIR=os.path.join(mine, "state"), HOLDFAST_KEY_FILE=os.path.join(mine, "key"))
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] + hf.command(*args), env=env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
                          timeout=60)
    return Result(done)


# ---- the repository -----------------------------------------------------------------------------------------------


def test_wrong_secrets(filled):
    hf = filled
    open_it = lambda **env: hf.run("ls", "--repo", hf.repo, env=env)
    hf.write("other.key", "00" * 32)
    wrong = open_it(HOLDFAST_KEY_FILE=hf.path("other.key"))
    assert wrong.code == WRONG_KEY
    hinted(wrong, "--key-file")
    wrong = open_it(HOLDFAST_KEY_FILE=None, HOLDFAST_PASSPHRASE="S3CRET-guess")
    assert wrong.code == WRONG_KEY and "S3CRET" not in wrong.err
    clear(open_it(HOLDFAST_KEY_FILE=hf.path("none.key")), "none.key", "No such file")
    hf.write("empty.key", "")
    clear(open_it(HOLDFAST_KEY_FILE=hf.path("empty.key")), "empty")
    hinted(open_it(HOLDFAST_KEY_FILE="/dev/zero"))
    clear(open_it(HOLDFAST_KEY_FILE=hf.home))
    assert open_it(HOLDFAST_KEY_FILE=None).code == USAGE  # nobody to ask
    hf.write("wrong.code", "00000-00000-00000-00000-00000-00000-00000-00000\n")
    recover = hf.run("key", "recover", "--recovery-code-file", hf.path("wrong.code"), "--new-key-file", hf.path("n"),
                     "--repo", hf.repo)
    clear(recover)
    assert not os.path.exists(hf.path("n"))


def test_no_repository(filled):
    hf = filled
    for repo in (hf.path("nothing"), hf.src):
        for command in (["ls"], ["backup", "files:" + hf.src], ["verify"], ["restore", "x", "--to", hf.path("o")]):
            result = hf.run(*command, "--repo", repo)
            assert result.code == NO_REPOSITORY
            hinted(result, "init")
    clear(hf.run("ls", "--repo", hf.path("src/a")))
    assert hf.run("init", "--repo", hf.repo).code == REFUSED
    assert hf.run("init", "--repo", hf.src).code == NOT_EMPTY
    assert sorted(os.listdir(hf.src)) == ["a", "d"]


def test_init_interrupted_anywhere(hf):
    """Each prefix of what init writes is no repository, and init starts again over it."""
    whole = hf.init("whole")
    slots = sorted(os.listdir(os.path.join(whole, "keys")))
    order = [name for slot in slots for name in ("keys/" + slot, "keyring/00000000/slots/" + slot)]
    hf.write("src/a", "alpha")
    for n in range(1, len(order) + 1):
        half = hf.path("half%d" % n)
        for name in order[:n]:
            os.makedirs(os.path.dirname(os.path.join(half, name)), exist_ok=True)
            shutil.copy(os.path.join(whole, name), os.path.join(half, name))
        os.mkdir(os.path.join(half, "tmp"))
        assert hf.run("ls", "--repo", half).code == NO_REPOSITORY
        key = {"HOLDFAST_KEY_FILE": hf.path("key%d" % n)}
        hf.ok("init", "--repo", half, env=key)
        hf.ok("backup", "files:" + hf.path("src"), "--repo", half, env=key)
        hf.ok("verify", "--level", "3", "--repo", half, env=key)


@pytest.mark.parametrize("how", ["missing", "half", "flipped"])
def test_every_object_damaged(filled, how):
    """Damage is detected, and what it does not touch still comes back."""
    hf = filled
    wanted = read(hf.path("src/d/b"))
    for name in objects(hf.repo):
        broken = hf.path("broken")
        shutil.copytree(hf.repo, broken)
        path = os.path.join(broken, name)
        content = bytearray(read(path))
        if how == "missing":
            os.remove(path)
        else:
            content[len(content) // 2] ^= 1
            content = content[:len(content) // 2] if how == "half" else content
            with open(path, "wb") as file:
                file.write(content)
        env = {"HOLDFAST_STATE_DIR": hf.path("fresh")}
        shutil.rmtree(hf.path("fresh"), ignore_errors=True)
        shutil.copytree(hf.path("state"), hf.path("fresh"))
        shutil.rmtree(hf.path("fresh/cache"))
        result = hf.run("verify", "--level", "3", "--repo", broken, env=env)
        whole = how == "missing" and name.split("/")[0] in ("sessions", "snapshots", "keys")
        if result.code != 0 or not whole:
            clear(result)
            assert result.code in (NO_REPOSITORY, WRONG_KEY, CORRUPT), name
        result = hf.run("restore", "files:" + hf.src, "--to", hf.path("out"), "--repo", broken, env=env)
        if result.code == 0:
            assert read(hf.path("out/d/b")) == wanted and read(hf.path("out/a")) == b"alpha\n", name
        else:
            clear(result)
        if name.startswith("index/") and how != "missing":
            assert result.code == 0, "a damaged index segment loses nothing: %s" % result.err
        shutil.rmtree(hf.path("out"), ignore_errors=True)
        backup = hf.run("backup", "files:" + hf.src, "--repo", broken, env=env)
        if name.startswith(("index/", "packs/")) and how != "flipped":
            assert backup.code == 0, backup.err
            hf.ok("restore", "files:" + hf.src, "--to", hf.path("out"), "--repo", broken, env=env)
            assert read(hf.path("out/d/b")) == wanted, name
            shutil.rmtree(hf.path("out"))
        shutil.rmtree(broken)


def test_one_damaged_source_record_spares_the_others(filled):
    hf = filled
    database(hf.path("app.db"))
    first = snapshots(hf, hf.repo)[0]["id"]
    record = [name for name in objects(hf.repo) if name.startswith("series/")]
    hf.backup("sqlite:" + hf.path("app.db"), "--repo", hf.repo)
    with open(os.path.join(hf.repo, record[0]), "r+b") as file:
        file.truncate(50)
    hf.backup("sqlite:" + hf.path("app.db"), "--repo", hf.repo)
    hf.ok("restore", "sqlite:" + hf.path("app.db"), "--to", hf.path("o.db"), "--repo", hf.repo)
    lost = hf.run("restore", "files:" + hf.src, "--to", hf.path("out"), "--repo", hf.repo)
    assert lost.code == CORRUPT
    hinted(lost, "id")
    assert hf.run("backup", "files:" + hf.src, "--repo", hf.repo).code == CORRUPT
    hf.ok("restore", first, "--to", hf.path("out"), "--repo", hf.repo)
    assert read(hf.path("out/a")) == b"alpha\n"


def test_newer_format(filled):
    hf = filled
    marker = os.path.join(hf.repo, "holdfast.json")
    text = read(marker).decode()
    for old, new, word in (('"format":0', '"format":7', "format version 7"),
                           ('"incompatible":[]', '"incompatible":["erasure"]', "erasure"),
                           ("blake3-256", "sha9-256", "sha9")):
        assert old in text
        with open(marker, "w") as file:
            file.write(text.replace(old, new))
        for command in (["ls"], ["verify"], ["backup", "files:" + hf.src]):
            result = hf.run(*command, "--repo", hf.repo)
            assert result.code == ERROR
            clear(result, word)
    with open(marker, "w") as file:
        file.write(text.replace('"read_only":[]', '"read_only":["x"]'))
    assert hf.run("ls", "--repo", hf.repo).code == CORRUPT  # changed by somebody without the key


def test_foreign_files(filled):
    hf = filled
    for name in ("Thumbs.db", "packs/.DS_Store", "packs/zz/foreign", "index/README", "keys/note.txt", "series/x",
                 "snapshots/README", "keyring/note", "keyring/00000000/note", "sessions/note", "lost+found/x"):
        hf.write("repo/" + name, "not ours")
    os.mkfifo(hf.path("repo/index/fifo"))
    os.symlink("/etc", hf.path("repo/packs/link"))
    open(os.path.join(os.fsencode(hf.repo), b"index", b"bad\xff\nname"), "w").close()
    hf.ok("ls", "--repo", hf.repo)
    verified(hf, hf.repo)
    hf.backup("files:" + hf.src, "--repo", hf.repo)
    hf.ok("restore", "files:" + hf.src, "--to", hf.path("out"), "--repo", hf.repo)
    verified(hf, hf.repo)
    hf.write("other.key", "00" * 32)
    assert hf.run("ls", "--repo", hf.repo, env={"HOLDFAST_KEY_FILE": hf.path("other.key")}).code == WRONG_KEY


@root_only
def test_read_only_repository(filled, tmpfs):
    hf = filled
    disk = tmpfs("disk", "32m")
    shutil.copytree(hf.repo, disk + "/repo")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    repo = disk + "/repo"
    hf.ok("ls", "--repo", repo)
    hf.ok("ls", "files:" + hf.src, "/", "--repo", repo)
    verified(hf, repo)
    hf.ok("restore", "files:" + hf.src, "--to", hf.path("out"), "--repo", repo)
    result = hf.run("backup", "files:" + hf.src, "--repo", repo)
    clear(result, "Read-only file system")
    hinted(result, "read-only")


# ---- full disks ---------------------------------------------------------------------------------------------------


@root_only
def test_full_repository(hf, tmpfs):
    disk = tmpfs("disk", "8m")
    repo = hf.init("disk/repo")
    hf.write("small/a", "alpha")
    hf.backup("files:" + hf.path("small"), "--repo", repo)
    hf.write("big/b", noise(20 << 20))
    result = hf.run("backup", "files:" + hf.path("big"), "--repo", repo)
    assert result.code == ERROR
    clear(result, "No space left")
    hinted(result, "make room")
    assert len(snapshots(hf, repo)) == 1
    verified(hf, repo)
    assert os.listdir(repo + "/tmp") == []
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    hf.backup("files:" + hf.path("big"), "--repo", repo)
    verified(hf, repo)
    hf.ok("restore", "files:" + hf.path("big"), "--to", hf.path("out"), "--repo", repo)
    assert read(hf.path("out/b")) == read(hf.path("big/b"))


@root_only
def test_full_target(hf, tmpfs):
    disk = tmpfs("disk", "8m")
    repo = hf.init()
    hf.write("big/b", noise(20 << 20))
    hf.write("big/c", "small")
    database(hf.path("app.db"), 60000)
    hf.backup("files:" + hf.path("big"), "--repo", repo)
    hf.backup("sqlite:" + hf.path("app.db"), "--repo", repo)
    for source, target in (("files:" + hf.path("big"), "tree"), ("sqlite:" + hf.path("app.db"), "copy.db")):
        result = hf.run("restore", source, "--to", disk + "/" + target, "--repo", repo)
        assert result.code == ERROR
        clear(result, "No space left")
        hinted(result)
        assert not os.path.exists(disk + "/copy.db")
        assert not os.path.exists(disk + "/tree/b")
    subprocess.run(["mount", "-o", "remount,size=128m", disk], check=True)
    hf.ok("restore", "files:" + hf.path("big"), "--to", disk + "/tree", "--repo", repo)
    hf.ok("restore", "sqlite:" + hf.path("app.db"), "--to", disk + "/copy.db", "--repo", repo)
    assert read(disk + "/tree/b") == read(hf.path("big/b"))
    assert rows_of(disk + "/copy.db") == rows_of(hf.path("app.db"))


@root_only
def test_full_state_directory(filled, tmpfs):
    """The repository is what counts: without room for caches and the ledger everything still works."""
    hf = filled
    full = tmpfs("full", "64k")
    shutil.copy(hf.path("state/host_id"), full)
    with open(full + "/filler", "wb") as file:
        try:
            file.write(bytes(1 << 20))
        except OSError:
            pass
    env = {"HOLDFAST_STATE_DIR": full}
    hf.write("src/a", "changed\n")
    assert "warning" in hf.ok("backup", "files:" + hf.src, "--repo", hf.repo, env=env).err
    hf.ok("restore", "files:" + hf.src, "--to", hf.path("out"), "--repo", hf.repo, env=env)
    assert read(hf.path("out/a")) == b"changed\n"
    hf.ok("verify", "--repo", hf.repo, env=env)
    hf.backup("files:" + hf.src, "--repo", hf.repo)
    verified(hf, hf.repo)


# ---- sources ------------------------------------------------------------------------------------------------------


@root_only
def test_unreadable(filled):
    hf = filled
    for name in ("un/ok", "un/closed", "un/dir/x"):
        hf.write(name, name)
    os.chmod(hf.path("un/closed"), 0)
    os.chmod(hf.path("un/dir"), 0o700)
    os.chmod(hf.path("un"), 0o755)
    database(hf.path("closed.db"))
    os.chmod(hf.path("closed.db"), 0o600)
    repo = hf.path("nobody/repo")
    assert as_nobody(hf, "init", "--repo", repo).code == 0
    result = as_nobody(hf, "backup", "files:" + hf.path("un"), "--repo", repo)
    assert result.code == PARTIAL
    clear(result, "closed: left out", "dir: left out", "Permission denied")
    assert json.loads(as_nobody(hf, "ls", "--json", "--repo", repo).out)["partial"] is True
    result = as_nobody(hf, "restore", "files:" + hf.path("un"), "--to", hf.path("nobody/out"), "--repo", repo)
    assert result.code == 0 and "left out when" in result.out
    assert read(hf.path("nobody/out/ok")) == b"un/ok" and not os.path.exists(hf.path("nobody/out/closed"))
    for source in ("files:" + hf.path("un/closed"), "sqlite:" + hf.path("closed.db")):
        result = as_nobody(hf, "backup", source, "--repo", repo)
        assert result.code in (ERROR, UNREACHABLE)
        clear(result, "Permission denied")
        hinted(result)
    clear(as_nobody(hf, "ls", "--repo", hf.repo), "Permission denied")
    clear(as_nobody(hf, "restore", "files:" + hf.path("un"), "--to", hf.path("o/x"), "--repo", repo),
          "Permission denied")


CHANGER = """
import os, sys
top = sys.argv[1]
n = 0
with open(top + "/big", "r+b") as big:
    while os.getppid() == int(sys.argv[2]):
        big.seek(n * 4096 % (16 << 20)); big.write(os.urandom(64)); big.flush()
        name = "%s/f%d" % (top, n % 200)
        os.unlink(name) if os.path.exists(name) else open(name, "w").close()
        n += 1
"""


def test_changed_and_vanishing(hf):
    repo = hf.init()
    hf.write("src/big", noise(16 << 20))
    hf.write("src/still", "still\n")
    for i in range(200):
        hf.write("src/f%d" % i, "here")
    changer = subprocess.Popen([sys.executable, "-c", CHANGER, hf.path("src"), str(os.getpid())])
    try:
        result = hf.run("backup", "files:" + hf.path("src"), "--repo", repo, "--limit-read", "32MiB")
    finally:
        changer.kill()
        changer.wait()
    assert result.code == PARTIAL
    clear(result, "big: changed while it was read")
    assert snapshots(hf, repo)[0]["partial"] is True
    verified(hf, repo)
    hf.backup("files:" + hf.path("src"), "--repo", repo)  # quiet now: whole
    hf.ok("restore", "files:" + hf.path("src"), "--to", hf.path("out"), "--repo", repo)
    assert subprocess.run(["diff", "-r", hf.path("src"), hf.path("out")]).returncode == 0


def test_changed_within_one_tick(filled):
    """Same size, in place, between two backups; also with the old modification time put back."""
    hf = filled
    for n in range(4):
        for word in ("aaaa", "bbbb"):
            with open(hf.path("src/a"), "w") as file:
                file.write("%s%d" % (word, n))
            hf.backup("files:" + hf.src, "--repo", hf.repo)
    before = os.stat(hf.path("src/a"))
    with open(hf.path("src/a"), "r+") as file:
        file.write("cccc3")
    os.utime(hf.path("src/a"), ns=(before.st_atime_ns, before.st_mtime_ns))
    hf.backup("files:" + hf.src, "--repo", hf.repo)
    found = []
    for i, snapshot in enumerate(snapshots(hf, hf.repo)[1:]):
        hf.ok("restore", snapshot["id"], "--to", hf.path("o%d" % i), "--repo", hf.repo)
        found.append(read(hf.path("o%d/a" % i)).decode())
    assert found == [w + str(n) for n in range(4) for w in ("aaaa", "bbbb")] + ["cccc3"]


def test_missing_sources(filled):
    hf = filled
    hf.write("text", "this is no database, and longer than a header of one hundred bytes is" * 3)
    for source, code in (("files:" + hf.path("none"), UNREACHABLE), ("sqlite:" + hf.path("none.db"), UNREACHABLE),
                         ("sqlite:" + hf.path("*.none"), UNREACHABLE), ("sqlite:" + hf.src, USAGE),
                         ("sqlite:" + hf.path("text"), CORRUPT), ("command:exit 3", UNREACHABLE),
                         ("command:/none/such", UNREACHABLE)):
        result = hf.run("backup", source, "--repo", hf.repo)
        assert result.code == code, result.err
        hinted(result)
    result = hf.run("backup", "files:" + hf.path("none"), "files:" + hf.path("src/a"), "--repo", hf.repo)
    assert result.code == UNREACHABLE
    assert "vm" in result.out or "snapshot" in result.out  # the other one is done
    assert len(snapshots(hf, hf.repo)) == 2


HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("begin exclusive")
db.execute("insert into t values(-1, 'never')")
print("locked", flush=True)
sys.stdin.read()
"""


def test_locked_database(hf):
    repo = hf.init()
    path = database(hf.path("app.db"))
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"locked\n"
        result = hf.run("backup", "sqlite:" + path, "--repo", repo)
    finally:
        holder.kill()
        holder.wait()
    assert result.code == UNREACHABLE
    clear(result, "locked by another process")
    hinted(result)
    hf.backup("sqlite:" + path, "--repo", repo)
    hf.ok("restore", "sqlite:" + path, "--to", hf.path("o.db"), "--repo", repo)
    assert rows_of(hf.path("o.db")) == rows_of(path)


def test_corrupt_database(hf):
    repo = hf.init()
    path = database(hf.path("app.db"), 20000)
    with open(path, "r+b") as file:
        file.seek(4096 * 7)
        file.write(b"\xa5" * 4096 * 3)
    before = read(path)
    result = hf.run("backup", "sqlite:" + path, "--repo", repo)
    assert result.code == CORRUPT
    clear(result, "integrity_check", "btreeInitPage")
    hinted(result, "--force")
    assert snapshots(hf, repo) == []
    done = hf.backup("sqlite:" + path, "--repo", repo, "--force")
    assert done["damaged"] is True
    assert snapshots(hf, repo)[0]["damaged"] is True
    assert "damaged" in hf.ok("ls", "--repo", repo).out
    assert "amaged" in hf.run("info", done["snapshot"], "--repo", repo).out
    result = hf.run("restore", "sqlite:" + path, "--to", hf.path("o.db"), "--repo", repo)
    assert result.code == CHECK_FAILED and "DAMAGED" in result.out
    assert read(hf.path("o.db")) == before == read(path)


def test_hot_journal(hf):
    repo = hf.init()
    path, crashed = database(hf.path("app.db")), hf.path("hot.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma cache_size = 5")
    db.execute("begin")
    db.execute("update t set b = 'half done'")
    for end in ("", "-journal"):
        shutil.copy(path + end, crashed + end)
    db.execute("rollback")
    db.close()
    before = read(crashed), read(crashed + "-journal")
    result = hf.run("backup", "sqlite:" + crashed, "--repo", repo)
    assert result.code == REFUSED
    hinted(result, "--recover-copy")
    hf.backup("sqlite:" + crashed, "--repo", repo, "--recover-copy")
    assert before == (read(crashed), read(crashed + "-journal"))
    hf.ok("restore", "sqlite:" + crashed, "--to", hf.path("o.db"), "--repo", repo)
    assert rows_of(hf.path("o.db")) == rows_of(path)


# ---- names, depth, sizes ------------------------------------------------------------------------------------------

NAMES = [b"new\nline", b"bad\xff\xfe", b'quo"te', b"ap'os", b"-rf", b"--to", b" ", b"tab\t", b"esc\x1b[31m", b"\x01\x7f",
         b"back\\slash", b"*", b"a@latest", b"a,b", b"\xe2\x80\xae", b"x" * 255, "ünï".encode(), b"%s%n", b"...", b"c:d"]


def test_names_of_any_bytes(hf):
    repo = hf.init()
    src = os.path.join(os.fsencode(hf.home), b"src")
    os.makedirs(src + b"/-d\xff\n")
    for name in NAMES + [b"-d\xff\n/in"]:
        with open(src + b"/" + name, "wb") as file:
            file.write(b"<" + name + b">")
    os.symlink(b'\xff\n"', src + b"/link")
    hf.backup(b"files:".decode() + hf.path("src"), "--repo", repo)
    hf.ok("restore", "files:" + hf.path("src"), "--to", hf.path("out"), "--repo", repo)
    out = os.fsencode(hf.path("out"))
    assert sorted(os.listdir(out)) == sorted(os.listdir(src))
    for name in NAMES + [b"-d\xff\n/in"]:
        assert read(out + b"/" + name) == b"<" + name + b">"
    assert os.readlink(out + b"/link") == b'\xff\n"'
    listed = hf.ok("ls", "files:" + hf.path("src"), "/", "-R", "--json", "--repo", repo)
    listed.out.encode("utf-8")  # valid UTF-8, and each line parses
    assert len(listed.of("entry")) == len(NAMES) + 3
    text = hf.ok("ls", "files:" + hf.path("src"), "/", "-R", "--repo", repo).out
    assert "\x1b" not in text and len(text.splitlines()) == len(NAMES) + 3
    for name in (b"new\nline", b"bad\xff\xfe", b"-rf", b"x" * 255):
        target = os.fsencode(hf.path("only"))
        hf.ok("restore", "files:" + hf.path("src"), "--only=" + os.fsdecode(name), "--to", hf.path("only"), "--repo", repo)
        assert os.listdir(target) == [name]
        shutil.rmtree(target)


def test_source_names_of_any_bytes(hf):
    repo = hf.init()
    for name in (b"s\xff\nx", b"s@latest", b"photos@2024", b"s,[a]*"):
        path = os.path.join(os.fsencode(hf.home), name)
        os.mkdir(path)
        with open(path + b"/f", "wb") as file:
            file.write(name)
        source = "files:" + os.fsdecode(path)
        assert hf.backup(source, "--repo", repo)["kind"] == "full"
        done = hf.backup(source, "--repo", repo, "--label", os.fsdecode(b"k\xff=v\xfe"))
        assert done["kind"] == "incremental"  # found again
        hf.ok("restore", source, "--to", hf.path("out"), "--repo", repo)
        assert read(hf.path("out/f")) == name
        shutil.rmtree(hf.path("out"))
        mine = [s for s in snapshots(hf, repo) if s["id"] == done["snapshot"]]
        assert mine[0]["labels"] == {"k\\xff": "v\\xfe"}


def test_deeper_than_path_max(hf):
    repo = hf.init()
    top = hf.path("deep")
    os.mkdir(top)
    part, depth, here = "d" * 200, 40, os.getcwd()
    os.chdir(top)
    try:
        for _ in range(depth):
            os.mkdir(part)
            os.chdir(part)
        with open("leaf", "w") as file:
            file.write("deep")
        hf.backup("files:" + top, "--repo", repo)
        verified(hf, repo)
        for more in ([], ["--confirm", "out"]):  # new, and over itself
            hf.ok("restore", "files:" + top, "--to", hf.path("out"), "--repo", repo, *more)
        os.chdir(hf.path("out"))
        for _ in range(depth):
            os.chdir(part)
        assert read("leaf") == b"deep"
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", top, hf.path("out")], check=True)  # shutil cannot


def test_sparse_file(hf):
    repo = hf.init()
    path = hf.write("src/sparse", "")
    size = 5 << 30
    with open(path, "r+b") as file:
        file.truncate(size)
        for at, text in ((0, b"begin"), (3000000001, b"middle"), (size - 3, b"end")):
            file.seek(at)
            file.write(text)
    if os.stat(path).st_blocks * 512 > 1 << 20:
        pytest.skip("this file system keeps no holes")
    done = hf.backup("files:" + hf.path("src"), "--repo", repo)
    assert done["source_bytes"] == size and done["read_bytes"] < 8 << 20 and done["stored_bytes"] < 1 << 20
    hf.ok("restore", "files:" + hf.path("src"), "--to", hf.path("out"), "--repo", repo)
    st = os.stat(hf.path("out/sparse"))
    assert st.st_size == size and st.st_blocks * 512 < 4 << 20
    with open(hf.path("out/sparse"), "rb") as file:
        for at, text in ((0, b"begin\0"), (3000000000, b"\0middle\0"), (size - 4, b"\0end")):
            file.seek(at)
            assert file.read(len(text)) == text


def test_many_small_files_in_one_folder(hf):
    repo = hf.init()
    top = hf.path("many")
    os.mkdir(top)
    count = int(os.environ.get("HOLDFAST_MANY_FILES", "5000"))
    for i in range(count):
        with open("%s/file-%07d" % (top, i), "w") as file:
            file.write(str(i))
    assert hf.backup("files:" + top, "--repo", repo)["files"] == count
    again = hf.backup("files:" + top, "--repo", repo)
    assert again["files"] == count
    hf.ok("restore", "files:" + top, "--to", hf.path("out"), "--repo", repo)
    assert len(os.listdir(hf.path("out"))) == count
    for i in range(0, count, 997):
        assert read("%s/file-%07d" % (hf.path("out"), i)) == str(i).encode()


# ---- restore targets ----------------------------------------------------------------------------------------------


def test_targets(filled):
    hf = filled
    source = "files:" + hf.src
    restore = lambda *args: hf.run("restore", source, "--repo", hf.repo, *args)
    hf.write("taken/keep", "keep")
    result = restore("--to", hf.path("taken"))
    assert result.code == NOT_EMPTY and os.listdir(hf.path("taken")) == ["keep"]
    hinted(result, "--confirm")
    result = restore("--to", hf.path("taken"), "--confirm", "wrong")
    assert result.code == USAGE and os.listdir(hf.path("taken")) == ["keep"]
    hinted(result, "taken")
    for args in (["--in-place"], ["--in-place", "--confirm", "wrong"]):
        result = restore(*args)
        assert result.code == USAGE
        hinted(result, "--confirm")
    assert restore("--in-place", "--to", hf.path("x")).code == USAGE
    result = restore("--to", hf.path("none"), "--only", "no-such-file")
    assert result.code == ERROR and not os.path.exists(hf.path("none"))
    hinted(result)
    clear(restore("--to", hf.path("src/a/below")), "Not a directory")
    assert read(hf.path("src/a")) == b"alpha\n"
    assert restore("--to", hf.path("not/yet/there")).code == 0
    assert read(hf.path("not/yet/there/a")) == b"alpha\n"
    os.mkdir(hf.path("real"))
    os.symlink("real", hf.path("link"))
    assert restore("--to", hf.path("link")).code == 0
    assert os.path.islink(hf.path("link")) and read(hf.path("real/a")) == b"alpha\n"
    os.symlink("nowhere", hf.path("dangling"))
    clear(restore("--to", hf.path("dangling")))
    assert not os.path.exists(hf.path("nowhere"))
    clear(restore("--to", "/dev/full", "--confirm", "full"))
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    assert restore("--to", hf.repo).code == NOT_EMPTY
    hf.write("src/a", "changed")
    assert restore("--in-place", "--confirm", snapshots(hf, hf.repo)[0]["source"]).code == 0
    assert read(hf.path("src/a")) == b"alpha\n"


def test_moments_and_names_that_do_not_exist(filled):
    hf = filled
    for what in ("files:%s@2001-01-01" % hf.src, "files:%s@garbage" % hf.src, "deadbeef", "nosuch", hf.src):
        result = hf.run("restore", what, "--to", hf.path("out"), "--repo", hf.repo)
        assert result.code in (ERROR, USAGE), what
        hinted(result)
        assert not os.path.exists(hf.path("out"))


# ---- whose source it is -------------------------------------------------------------------------------------------


def test_replaced_source_is_adopted(hf):
    repo = hf.init()
    path = database(hf.path("app.db"))
    hf.backup("sqlite:" + path, "--repo", repo)
    os.rename(path, path + ".old")
    database(path, 10)
    result = hf.run("backup", "sqlite:" + path, "--repo", repo)
    if result.code == 0:  # the engine knows no identity of a file that was replaced
        pytest.skip("a new file at the same path is the same source")
    assert result.code == REFUSED
    hinted(result, "source adopt")
    adopted = hf.run("source", "adopt", snapshots(hf, repo)[0]["source"], "--repo", repo)
    if "does not have the command yet" in adopted.err:
        pytest.skip("this build has no source adopt")
    assert adopted.code == 0, adopted.err
    hf.backup("sqlite:" + path, "--repo", repo)
    assert len(snapshots(hf, repo)) == 2


def test_another_host_with_the_same_path(filled):
    """A state directory of its own is another machine, even under the same host name."""
    hf = filled
    other = {"HOLDFAST_STATE_DIR": hf.path("other-state")}
    result = hf.run("backup", "files:" + hf.src, "--repo", hf.repo, env=other)
    assert result.code == REFUSED
    clear(result, "another host")
    hinted(result, "--name")
    done = hf.ok("backup", "--json", "files:" + hf.src, "--name", "second", "--repo", hf.repo, env=other).summary()
    assert done["kind"] == "full"
    assert hf.backup("files:" + hf.src, "--repo", hf.repo)["kind"] == "incremental"
    verified(hf, hf.repo)


# ---- streams and signals ------------------------------------------------------------------------------------------


def test_standard_output_full_or_closed(filled):
    hf = filled
    commands = (["ls"], ["ls", "--json"], ["verify"], ["backup", "files:" + hf.src, "--json"], ["--help"],
                ["--version"], ["man"])
    for command in commands:
        more = [] if command[0].startswith("-") or command == ["man"] else ["--repo", hf.repo]
        with open("/dev/full", "w") as full:
            done = subprocess.run(hf.command(*command, *more), env=hf.env, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == ERROR and "No space left" in done.stderr, command
        closed = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"] + hf.command(*command, *more), env=hf.env)
        assert closed.returncode == ERROR, command
    verified(hf, hf.repo)  # no message went into a file of the repository
    head = subprocess.run(["sh", "-c", '"$@" | head -c 1 >/dev/null', "sh"] + hf.command("man"), env=hf.env,
                          stderr=subprocess.PIPE)
    assert head.returncode == 0 and head.stderr == b""
    with open("/dev/full", "w") as full:
        done = subprocess.run(hf.command("init", "--repo", hf.path("new")), env=hf.env, stdout=full,
                              stderr=subprocess.PIPE, text=True)
    assert done.returncode == ERROR and "--new-recovery-code" in done.stderr
    assert os.path.exists(hf.key)
    hf.ok("ls", "--repo", hf.path("new"))


def started(hf, args, ready):
    """Starts it and waits until ready() or its end."""
    process = hf.start(*args)
    while process.poll() is None and not ready():
        time.sleep(0.01)
    return process


def test_interrupted_backup(hf):
    repo = hf.init()
    hf.write("src/big", noise(48 << 20))
    args = ["backup", "files:" + hf.path("src"), "--repo", repo, "--limit-read", "30MiB"]
    working = lambda: os.path.isdir(repo + "/tmp") and os.listdir(repo + "/tmp")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        process = started(hf, args, working)
        time.sleep(0.2)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), err
        assert snapshots(hf, repo) == []
        verified(hf, repo)
    hf.backup("files:" + hf.path("src"), "--repo", repo)
    hf.ok("restore", "files:" + hf.path("src"), "--to", hf.path("out"), "--repo", repo)
    assert read(hf.path("out/big")) == read(hf.path("src/big"))


def below(path):
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_restore(hf, number):
    """What an interrupted restore leaves cannot be taken for the whole, and the next one brings it."""
    repo = hf.init()
    for i in range(2):
        hf.write("src/d/f%d" % i, noise(40 << 20, i))
    path = database(hf.path("app.db"), 60000)
    sources = {"files:" + hf.path("src"): hf.path("tree"), "files:" + hf.path("src/d/f0"): hf.path("copy1/one"),
               "sqlite:" + path: hf.path("copy2/app.db")}
    for source, target in sources.items():
        hf.backup(source, "--repo", repo)
        watched = target if target == hf.path("tree") else os.path.dirname(target)
        process = started(hf, ["restore", source, "--to", target, "--repo", repo], lambda: below(watched))
        process.send_signal(number)
        process.communicate(timeout=60)
        if process.returncode == 0:
            continue  # it was faster
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
        if os.path.isdir(target):
            assert os.path.exists(os.path.join(target, UNFINISHED))
            again = hf.run("restore", source, "--to", target, "--repo", repo)
            assert again.code == NOT_EMPTY
            clear(again, "did not finish")
        else:
            assert not os.path.exists(target)
        if number == signal.SIGINT:
            assert [name for name in below(target) if os.path.basename(name) != UNFINISHED] == []
        more = ["--confirm", os.path.basename(target)] if os.path.isdir(target) else []
        hf.ok("restore", source, "--to", target, "--repo", repo, *more)
    assert sorted(os.listdir(hf.path("tree"))) == ["d"]
    for i in range(2):
        assert read(hf.path("tree/d/f%d" % i)) == read(hf.path("src/d/f%d" % i))
    assert read(hf.path("copy1/one")) == read(hf.path("src/d/f0"))
    assert rows_of(hf.path("copy2/app.db")) == rows_of(path)


# ---- the command line and the configuration -----------------------------------------------------------------------

BAD_LINES = [
    [], ["bogus"], ["restor"], ["backup"], ["backup", "--nope"], ["ls", "--repo"], ["ls", "--repo="], ["ls", "-r"],
    ["ls", "-Z"], ["ls", "a", "b", "c"], ["init", "extra"], ["ls", "--json=1"], ["ls", "--to", "x"], ["key"],
    ["key", "bogus"], ["ls", "--cpus", "0"], ["ls", "--cpus", "-1"], ["ls", "--cpus", "9" * 30],
    ["ls", "--limit-read", "abc"], ["verify", "--level", "9"], ["verify", "--level", "1", "--coverage", "30d"],
    ["verify", "--coverage", "x"], ["completion", "tcsh"], ["export", "x"], ["diff", "a"], ["restore", "--to", "x"],
    ["backup", "--full", "--incremental", "files:/etc"], ["backup", "-q", "-v", "files:/etc"],
    ["backup", "--verify=silly", "files:/etc"], ["backup", "--preset", "nope", "files:/etc"],
    ["backup", "bogus:/x", "--repo", "R"], ["backup", "sqlite:", "--repo", "R"], ["backup", "/etc", "--repo", "R"],
    ["backup", "etc", "--repo", "R"], ["backup", "--label", "foo", "files:/etc", "--repo", "R"],
    ["backup", "--compression", "zstd:99", "files:/etc", "--repo", "R"],
    ["backup", "--name", "x", "files:/etc", "files:/opt", "--repo", "R"], ["ls", "--repo", "R", "--repo", "R"],
    ["ls", "--repo", "file://host/x"], ["ls", "--key-file=", "--repo", "R"], ["ls"],
]


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: " ".join(line)[:50] or "nothing")
def test_bad_command_lines(hf, line):
    repo = hf.path("repo")
    result = hf.run(*[repo if word == "R" else word for word in line])
    if "R" in line and result.code == NO_REPOSITORY:
        hf.init()
        result = hf.run(*[repo if word == "R" else word for word in line])
    assert result.code == USAGE, result.err
    clear(result)
    assert result.out == ""


BAD_CONFIGURATIONS = [
    ("compression: zstd:1\nbogus: 1\n", ":2:", "bogus"),
    ("sources:\n  - { name: a, type: files, paths: [/etc], nope: 1 }\n", ":2:", "nope"),
    ("sources:\n  - name: a\n    type: files\n   paths: [x]\n", ":4:", ""),
    ("\t- x\n", ":1:", ""),
    ("compression: zstd:99\n", ":1:", "zstd:99"),
    ("limits:\n  memory: lots\n", ":2:", "lots"),
    ("sources:\n  - { name: a, type: oracle, paths: [/x] }\n", ":2:", "oracle"),
    ("sources:\n  - { name: a, type: files, paths: [/x] }\n  - { name: a, type: files, paths: [/y] }\n", ":3:", "there already"),
    ("profile: production\nprofile: staging\n", ":2:", "profile"),
    ("repositories:\n  - { name: l, url: file:///x, passphrase: hunter2 }\n", ":2:", "secret"),
    ("a: &a [*a]\n", ":1:", "anchors"),
    ("x: {{{{{{\n", ":1:", ""),
    ("a: " + "[" * 5000 + "\n", ":1:", "nested"),
    (b"\xff\xfe\x00\x01", ":1:", ""),
]


@pytest.mark.parametrize("text,line,word", BAD_CONFIGURATIONS, ids=lambda value: repr(value)[:30])
def test_bad_configurations(hf, text, line, word):
    path = hf.write("bad.yaml", text)
    for command in (["config", "check"], ["ls", "--repo", hf.path("repo")]):
        result = hf.run(*command, "--config", path)
        assert result.code == USAGE, result.err
        clear(result, "bad.yaml" + line, word)
        assert "hunter2" not in result.err


def test_configurations_that_cannot_be_read(hf):
    for path in (hf.path("none.yaml"), hf.home, "/dev/zero"):
        clear(hf.run("config", "check", "--config", path), "configuration")


# ---- secrets ------------------------------------------------------------------------------------------------------

DUMP = """#!/bin/sh
env
for pid in $$ $PPID $(sed -n 's/^PPid:\\t//p' /proc/$PPID/status); do
  tr '\\0' '\\n' < /proc/$pid/environ; tr '\\0' ' ' < /proc/$pid/cmdline
done
"""


def test_secrets_stay_out_of_sight(hf):
    """Not in the environment or arguments of the program and its children, not in messages, logs and records."""
    word, repo = "S3CRET-correct-horse", hf.path("repo")
    dump = hf.write("dump.sh", DUMP)
    os.chmod(dump, 0o755)
    hf.write("c.yaml", "repositories:\n  - { name: r, url: %s, passphrase: { env: MYPASS } }\n"
                       "sources:\n  - { name: d, type: command, command: %s, hooks: { before_backup: { command: '%s >%s' } } }\n"
             % (repo, dump, dump, hf.path("hook")))
    direct = {"HOLDFAST_KEY_FILE": None, "HOLDFAST_PASSPHRASE": word}
    configured = {"HOLDFAST_KEY_FILE": None, "MYPASS": word}
    texts = []
    for env, args in ((direct, ["init", "--repo", repo]),
                      (direct, ["backup", "command:" + dump, "--name", "one", "--repo", repo, "-vv", "--log-format", "json"]),
                      (configured, ["backup", "d", "--config", hf.path("c.yaml"), "-vv"]),
                      (configured, ["restore", "d", "--config", hf.path("c.yaml"), "--to", hf.path("d.out")]),
                      (direct, ["restore", "one", "--to", hf.path("one.out"), "--repo", repo])):
        result = hf.ok(*args, env=env)
        texts += [result.out, result.err]
    wrong = hf.run("ls", "--repo", repo, env=dict(direct, HOLDFAST_PASSPHRASE=word + "-wrong"))
    assert wrong.code == WRONG_KEY
    texts += [wrong.out, wrong.err]
    for name in ("hook", "d.out", "one.out"):
        assert "PATH=" in read(hf.path(name)).decode()  # the dump works
        texts.append(read(hf.path(name)).decode())
    texts += [read(path).decode("latin-1") for path in below(hf.path("state")) + below(repo)]
    assert not any(word in text for text in texts)
