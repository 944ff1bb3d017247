"""Repositories within sources and targets; what a killed restore leaves; many messages of one kind; names of any bytes."""
import fcntl
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import time

import pytest

import badinput
import killing


ERROR, USAGE, PARTIAL, REFUSED, CORRUPT, NOT_EMPTY = 1, 2, 3, 11, 13, 14


def paths_of(hf, repo, source):
    return [doc["path"] for doc in hf.ok("ls", "--json", "--recursive", source + "@latest", "--repo", repo).of("entry")]


# ---- a repository within a source, or a target within a repository ----


def test_the_repository_within_a_source_is_left_out(hf):
    os.mkdir(hf.path("srv"))
    repo = hf.init("srv/backup")
    hf.write("srv/a", "a")
    hf.write("srv/backups/b", "b")
    source = "files:" + hf.path("srv")
    first = hf.ok("backup", source, "--repo", repo)
    assert "warning: backup: left out: it is the repository" in first.err
    assert paths_of(hf, repo, source) == ["a", "backups", "backups/b"]
    quiet = hf.ok("backup", source, "--repo", repo, "--exclude", "/".join([hf.path("srv"), "backup"]))
    assert quiet.err == ""
    # By another path, among several roots, and next to a second repository.
    os.symlink(hf.path("srv"), hf.path("link"))
    os.mkdir(hf.path("srv/second"))
    second = hf.init("srv/second/deep")
    done = hf.ok("backup", "files:%s/*" % hf.path("link"), "--repo", hf.path("link", "backup"), "--repo", second,
                 "--name", "globbed")
    assert done.err.count("it is the repository") == 2
    held = paths_of(hf, repo, "globbed")
    assert any(path.endswith("srv/second") for path in held)
    assert not any("second/deep" in path or "srv/backup/" in path for path in held)
    # What the patterns do not take is not worth a word.
    some = hf.ok("backup", source, "--repo", repo, "--include", "a", "--name", "some")
    assert some.err == "" and paths_of(hf, repo, "some") == ["a"]


def test_a_source_in_the_repository_is_refused(hf):
    repo = hf.init()
    inside = next(name for name in os.listdir(repo) if os.path.isdir(os.path.join(repo, name)))
    for path in ("repo", "repo/" + inside, "repo/holdfast.json"):
        refused = hf.run("backup", "files:" + hf.path(path), "--repo", repo, check=REFUSED)
        assert "folder of the repository" in refused.err
    assert not os.path.exists(os.path.join(repo, "series"))


def test_nothing_is_restored_or_exported_into_a_repository(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    source = "files:" + hf.path("tree")
    hf.backup(source, "--repo", repo)
    before = sorted(os.listdir(repo))
    os.symlink(hf.path("repo"), hf.path("link"))
    for target in ("repo/new", "repo", "repo/packs/x/y", "link/new"):
        for plan in ([], ["--plan"]):
            refused = hf.run("restore", source, "--repo", repo, "--to", hf.path(target), "--confirm",
                             os.path.basename(target), *plan, check=REFUSED)
            assert "folder of repository" in refused.err and "hint: choose another place" in refused.err
    hf.run("export", source, "--repo", repo, "--format", "tar", "--to", hf.path("repo/a.tar"), check=REFUSED)
    assert sorted(os.listdir(repo)) == before
    hf.ok("restore", source, "--repo", repo, "--to", hf.path("repo-restored"))


# ---- what a killed restore leaves ----


def unfinished(folder):
    return sorted(name for name in os.listdir(folder) if ".holdfast-" in name)


@pytest.mark.parametrize("kind", ["files", "sqlite", "command", "export"])
def test_the_next_restore_removes_what_a_killed_one_left(hf, kind):
    if not killing.can_trace(hf.program):
        pytest.skip("needs strace and no sanitizer")
    repo = hf.init()
    big = hf.write("big", os.urandom(300000))
    db = sqlite3.connect(hf.path("app.db"))
    db.execute("create table t(x)")
    db.commit()
    db.close()
    source = {"files": "files:" + big, "sqlite": "sqlite:" + hf.path("app.db"), "command": "command:cat big",
              "export": "files:" + big}[kind]
    hf.backup(source, "--repo", repo)
    os.mkdir(hf.path("out"))
    target = hf.path("out/it")
    how = ["export", "--format", "tar"] if kind == "export" else ["restore"]
    args = how + [source, "--repo", repo, "--to", target]
    killed = killing.kill_at_call(hf, "renameat2", 1, *args)
    left = unfinished(hf.path("out"))
    assert not killed.done and len(left) == 1 and not os.path.exists(target)
    # One that is being written, and what only looks like it, stay.
    other = left[0].replace(left[0].split("holdfast-")[1][:4], "0000", 1)
    assert other != left[0]
    hf.write("out/" + other, "x")
    hf.write("out/" + left[0] + "-wal", "x")
    with open(hf.path("out", other)) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        hf.ok(*args)
    assert unfinished(hf.path("out")) == sorted([other, left[0] + "-wal"])
    assert os.path.exists(target)


def test_a_tree_restored_over_what_a_killed_restore_left(hf):
    if not killing.can_trace(hf.program):
        pytest.skip("needs strace and no sanitizer")
    repo = hf.init()
    for n in range(4):
        hf.write("tree/d/%d" % n, "content %d" % n)
    source = "files:" + hf.path("tree")
    hf.backup(source, "--repo", repo)
    hf.ok("restore", source, "--repo", repo, "--to", hf.path("out"))
    again = ("restore", source, "--repo", repo, "--to", hf.path("out"), "--confirm", "out")
    killing.kill_at_call(hf, "renameat", 2, *again)
    assert unfinished(hf.path("out/d"))
    done = hf.ok(*again, "--verbose")
    assert unfinished(hf.path("out/d")) == unfinished(hf.path("out")) == []
    assert "of a restore that was stopped" in done.err


# ---- directories that their owner may not enter or change ----


def test_closed_directories_are_restored_and_checked_by_an_ordinary_user(hf):
    if os.geteuid() != 0:
        pytest.skip("takes the rights of another user")
    hf.init()
    for name in ("a000/f", "a000/sub/g", "b500/h", "b500/sub/i"):
        hf.write("tree/" + name, name)
    os.mkdir(hf.path("tree/z"))
    os.link(hf.path("tree/a000/f"), hf.path("tree/z/hard"))
    os.link(hf.path("tree/b500/h"), hf.path("tree/z/harder"))
    for name in ("a000", "b500"):
        os.utime(hf.path("tree", name), (1000, 1000))
    modes = {"a000": 0o000, "b500": 0o500, "b500/sub": 0o300}
    for name, mode in modes.items():
        os.chmod(hf.path("tree", name), mode)
    source = "files:" + hf.path("tree")
    hf.backup(source, "--repo", hf.path("repo"))
    for at, _, names in os.walk(hf.path("repo")):
        for name in [at] + [os.path.join(at, name) for name in names]:
            os.chown(name, 65534, 65534)
    target = hf.path("nobody/out")
    for again in ([], ["--confirm", "out"], ["--confirm", "out", "--verify=comprehensive"]):
        done = badinput.as_nobody(hf, "restore", source, "--repo", hf.path("repo"), "--to", target, *again)
        assert (done.code, done.err) == (0, "")
        for name, mode in modes.items():
            st = os.stat(os.path.join(target, name))
            assert (stat.S_IMODE(st.st_mode), st.st_uid) == (mode, 65534)
        assert os.stat(target + "/a000").st_mtime == os.stat(target + "/b500").st_mtime == 1000
        assert os.path.samefile(target + "/a000/f", target + "/z/hard")
        assert os.path.samefile(target + "/b500/h", target + "/z/harder")
        with open(target + "/b500/sub/i") as file:
            assert file.read() == "b500/sub/i"
    # The copy that --verify makes in the scratch directory is removed again.
    own = hf.path("nobody/own")
    shutil.copytree(hf.path("tree/b500"), own + "/c500")
    for at, _, names in os.walk(own):
        for name in [at] + [os.path.join(at, name) for name in names]:
            os.chown(name, 65534, 65534)
    os.chmod(own + "/c500", 0o500)
    done = badinput.as_nobody(hf, "backup", "files:" + own, "--repo", hf.path("repo"), "--verify")
    assert done.code == PARTIAL and "c500/sub: left out" in done.err  # mode 0300: cannot be listed
    assert os.listdir(hf.path("nobody/state/scratch")) == []


# ---- many messages of one kind, names of any bytes ----


def lose_content(repo):
    """Deletes the packs with content: the largest."""
    packs = [os.path.join(at, name) for at, _, names in os.walk(repo + "/packs") for name in names]
    os.unlink(max(packs, key=os.path.getsize))


def test_the_same_reason_is_said_a_few_times_and_counted(hf):
    repo = hf.init()
    for n in range(300):
        hf.write("tree/%03d" % n, os.urandom(1000))
    source = "files:" + hf.path("tree")
    hf.backup(source, "--repo", repo)
    lose_content(repo)
    failed = hf.run("restore", source, "--repo", repo, "--to", hf.path("out"), check=CORRUPT)
    lines = [line for line in failed.err.splitlines() if "is in no pack" in line and "warning" in line]
    assert len(lines) == 6 and "warning: 295 more: not restored: " in lines[5] and "--verbose" in lines[5]
    all_of_them = hf.run("restore", source, "--repo", repo, "--to", hf.path("out2"), "--verbose", check=CORRUPT)
    assert len([line for line in all_of_them.err.splitlines() if ": not restored: " in line]) == 300
    json_run = hf.run("restore", source, "--repo", repo, "--to", hf.path("out3"), "--json", check=CORRUPT)
    notices = [json.loads(line) for line in json_run.err.splitlines()]
    assert {doc["type"] for doc in notices} == {"notice", "error"}
    notices = [doc for doc in notices if doc["type"] == "notice"]
    assert sorted(doc["path"] for doc in notices) == ["%03d" % n for n in range(300)]
    assert all(doc["level"] == "partial" and "is in no pack" in doc["message"] for doc in notices)
    assert "more:" not in json_run.err


def test_one_warning_is_one_warning(hf):
    repo = hf.init()
    os.mkdir(hf.path("srv"))
    shutil.move(repo, hf.path("srv/repo"))
    hf.write("srv/a", "a")
    out = hf.ok("backup", "files:" + hf.path("srv"), "--repo", hf.path("srv/repo")).out
    assert "0 left out or changed while read, 1 warning\n" in out


def real_name(doc, key="path"):
    return bytes.fromhex(doc[key + "_hex"]) if key + "_hex" in doc else doc[key].encode()


def test_names_of_any_bytes_come_back_from_json(hf):
    repo = hf.init()
    tree = os.fsencode(hf.path("tree"))
    names = [b"plain", b"caf\xe9", b"caf\\xe9", "caf\u00e9".encode(), b"new\nline", b"back\\slash", b"\xff\xfe"]
    os.mkdir(tree)
    for name in names:
        with open(os.path.join(tree, name), "wb") as file:
            file.write(os.urandom(1000))
        os.symlink(name, os.path.join(tree, b"to-" + name))
    source = "files:" + hf.path("tree")
    hf.backup(source, "--repo", repo)
    entries = [doc for doc in hf.ok("ls", "--json", source + "@latest", "--repo", repo).of("entry")]
    links = {real_name(doc): real_name(doc, "target") for doc in entries if doc["kind"] == "symlink"}
    assert links == {b"to-" + name: name for name in names}
    assert sorted(real_name(doc) for doc in entries if doc["kind"] == "file") == sorted(names)
    assert [doc["path"] for doc in entries if "path_hex" in doc and doc["kind"] == "file"] == [
        "caf\\xe9", "new\\x0aline", "\\xff\\xfe"]
    found = hf.ok("find", "*", source, "--repo", repo, "--json").of("match")
    assert sorted(real_name(doc) for doc in found if doc["kind"] == "file") == sorted(names)
    os.unlink(os.path.join(tree, b"caf\xe9"))
    hf.backup(source, "--repo", repo)
    ids = [doc["id"] for doc in hf.ok("ls", "--json", source, "--repo", repo).of("snapshot")]
    changes = hf.ok("diff", ids[0], ids[1], "--repo", repo, "--json").of("change")
    assert b"caf\xe9" in [real_name(doc) for doc in changes]
    lose_content(repo)
    failed = hf.run("restore", ids[0], "--repo", repo, "--to", hf.path("out"), "--json", check=CORRUPT)
    notices = [json.loads(line) for line in failed.err.splitlines() if '"notice"' in line]
    assert sorted(real_name(doc) for doc in notices) == sorted(names)


# ---- --only ----


def test_only_can_name_paths_with_commas_and_backslashes(hf):
    repo = hf.init()
    for name in ("a,b", "a", "b", "c\\d", "d,e/f", "d/deep/a,b", "x\\", "y"):
        hf.write("tree/" + name, name)
    source = "files:" + hf.path("tree")
    hf.backup(source, "--repo", repo)
    cases = [(["a\\,b"], ["a,b", "d/deep/a,b"]), (["/a\\,b"], ["a,b"]), (["/a,b"], ["a", "b"]), (["c\\\\d"], ["c\\d"]),
             (["d\\,e,y"], ["d,e/f", "y"]), (["x\\\\,y"], ["x\\", "y"]), (["d\\,e", "/a"], ["a", "d,e/f"])]
    for n, (only, wanted) in enumerate(cases):
        args = [part for text in only for part in ("--only", text)]
        out = hf.path("out%d" % n)
        plan = hf.ok("restore", source, "--repo", repo, "--to", out, "--plan", "--json", *args).of("plan")[0]
        hf.ok("restore", source, "--repo", repo, "--to", out, *args)
        held = [os.path.relpath(os.path.join(at, name), out) for at, _, names in os.walk(out) for name in names]
        assert sorted(held) == wanted, only
        assert plan["files"] == len(wanted), only
        hf.ok("export", source, "--repo", repo, "--format", "tar", "--to", out + ".tar", *args)
        with tarfile.open(out + ".tar") as tar:
            assert sorted(m.name for m in tar if m.isfile()) == wanted, only


# ---- options for another kind of source ----


def test_a_restore_command_is_for_command_sources(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    source = "files:" + hf.path("tree")
    hf.run("backup", source, "--repo", repo, "--restore-command", "cat", check=USAGE)
    hf.run("source", "add", "it", source, "--restore-command", "cat", check=USAGE)
    hf.backup(source, "--repo", repo)
    hf.run("restore", source, "--repo", repo, "--restore-command", "cat", check=USAGE)


# ---- keys that change during a backup ----


def test_a_backup_notices_that_keys_changed_meanwhile(hf):
    repo = hf.init()
    hf.ok("key", "add", "--repo", repo, "--new-key-file", hf.path("second"), "--slot-name", "leaver")
    command = "command:touch started; while [ ! -e go ]; do sleep 0.02; done; echo content"
    running = hf.start("backup", command, "--repo", repo, "--name", "slow")
    try:
        while not os.path.exists(hf.path("started")):
            assert running.poll() is None
            time.sleep(0.02)
        hf.ok("key", "rm", "leaver", "--confirm", "leaver", "--repo", repo)
    finally:
        hf.write("go", "")
        _, err = running.communicate(timeout=60)
    assert running.returncode == 0 and "a key slot was removed or the keys were rotated while" in err
    info = hf.ok("info", "slow", "--repo", repo, "--json").lines()[0]
    assert "under the keys from before" in json.dumps(info)
    assert hf.ok("backup", command, "--repo", repo, "--name", "slow").err == ""
    hf.ok("restore", "slow", "--repo", repo, "--to", hf.path("out"))


# ---- compressors that need more memory than there is ----


def test_a_level_that_needs_too_much_memory_is_lowered(hf):
    repo = hf.init()
    hf.write("tree/a", "text, text, text " * 100000)
    source = "files:" + hf.path("tree")
    little = hf.ok("backup", source, "--repo", repo, "--memory", "64MiB", "--compression", "xz:9", "--name", "little")
    assert "warning: compression xz:9 needs" in little.err and "64.0 MiB are allowed: it is xz:" in little.err
    assert hf.ok("backup", source, "--repo", repo, "--memory", "96MiB", "--compression", "xz:9").err == ""
    assert hf.ok("backup", source, "--repo", repo, "--memory", "64MiB").err == ""
    three = [part for name in "abc" for part in ("--repo", hf.init(name))]
    shared = hf.ok("backup", source, *three, "--memory", "160MiB", "--compression", "zstd:19")
    assert shared.err.count("compression zstd:19 needs") == 1
    hf.run("backup", source, *three, "--memory", "128MiB", check=USAGE)
    hf.ok("restore", "little", "--repo", repo, "--to", hf.path("out"))
    with open(hf.path("out/a")) as file:
        assert file.read() == "text, text, text " * 100000
