"""What goes wrong at 3 in the morning, on the way in: each case ends in a clear error or a correct result, nothing
lost, no crash."""
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest

from badinput import *  # helpers and fixtures


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
    first = snapshots(hf, hf.repo)[0]["id"]
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
        # The new snapshot is always good; the first where nothing but content was hit, which the source still has.
        content_only = "/data/" in name or (name.startswith("packs/") and any(read(os.path.join(hf.repo, name))[48:64]))
        if content_only or name.startswith(("packs/", "index/")):
            assert backup.code == 0, backup.err
            for which in ["files:" + hf.src] + [first] * content_only:
                hf.ok("restore", which, "--to", hf.path("out"), "--repo", broken, env=env)
                assert read(hf.path("out/d/b")) == wanted, name
                shutil.rmtree(hf.path("out"))
        if content_only:
            mended = hf.run("verify", "--level", "3", "--repo", broken, env=env)
            assert mended.code == 0 and "replaced" in mended.out, "%s: %s" % (name, mended.err)
            hf.ok("backup", "files:" + hf.src, "--repo", broken, env=env)
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
    done = hf.run("backup", "sqlite:" + path, "--repo", repo, "--force", "--json", check=PARTIAL).summary()
    assert done["damaged"] is True and done["result"] == "partial"
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
