"""info, diff, find, export, key, repo, source, status and doctor as an operator runs them."""
import bz2
import gzip
import json
import lzma
import os
import random
import re
import shlex
import shutil
import sqlite3
import stat
import subprocess
import tarfile

import pytest

ERROR, USAGE, PARTIAL, NO_REPOSITORY, REFUSED, WRONG_KEY, CORRUPT, NOT_EMPTY = 1, 2, 3, 10, 11, 12, 13, 14
OVERDUE = 16


def make_database(path, script=None):
    db = sqlite3.connect(path)
    db.executescript(script or "create table t(id integer primary key, x); insert into t(x) values('a'),('b')")
    db.commit()
    db.close()
    return path


def make_tree(hf, name="files"):
    hf.write(name + "/a.txt", "alpha")
    hf.write(name + "/d/b.txt", "beta")
    hf.write(name + "/d/deep/c.log", "gamma" * 1000)
    os.symlink("a.txt", hf.path(name, "link"))
    return hf.path(name)


def snapshots(hf, repo, source):
    return [doc["id"] for doc in hf.ok("ls", "--json", source, "--repo", repo).of("snapshot")]


# ---- info, diff, find ----


@pytest.fixture
def history(hf):
    """A tree backed up three times: b.txt changed, then removed; e.txt came."""
    repo, tree = hf.init(), make_tree(hf)
    for change in (lambda: None, lambda: hf.write("files/d/b.txt", "beta, changed"),
                   lambda: (os.unlink(hf.path("files/d/b.txt")), hf.write("files/e.txt", "new"))):
        change()
        hf.backup("files:" + tree, "--repo", repo, "--label", "run=nightly", "--description", "by test")
    return repo, "files:" + tree, snapshots(hf, repo, "files:" + tree)


def test_info_says_what_is_recorded(hf, history):
    repo, source, ids = history
    doc = hf.ok("info", ids[2], "--repo", repo, "--json").lines()[0]
    assert doc["type"] == "info" and doc["v"] == 1
    assert doc["id"] == ids[2] and doc["parent"] == ids[1] and doc["kind"] == "incremental"
    assert doc["labels"] == {"run": "nightly"} and doc["description"] == "by test"
    assert doc["stats"]["files"] == 3 and doc["facts"]["engine"] == "files"
    assert doc["zone_minutes"] == 0 and doc["tool_version"]
    text = hf.ok("info", source, "--repo", repo).out
    assert ids[2] in text and "run=nightly" in text and "+00:00" in text
    zone = hf.run("info", ids[0][:8], "--repo", repo, check=0, env={"TZ": "Asia/Tokyo"}).out
    assert "+00:00" in zone  # the zone of the machine that made it


def test_info_of_a_database_shows_its_page_maps_and_the_last_check(hf):
    repo = hf.init()
    make_database(hf.path("app.db"), "create table t(x); insert into t select randomblob(900) from "
                  "(with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000) select i from n)")
    source = "sqlite:" + hf.path("app.db")
    hf.backup(source, "--repo", repo)
    for start in (10, 500, 900):
        make_database(hf.path("app.db"), "update t set x = randomblob(900) where rowid between %d and %d" %
                      (start, start + 40))
        hf.backup(source, "--repo", repo)
    hf.ok("backup", source, "--repo", repo, "--verify=standard")
    doc = hf.ok("info", source, "--repo", repo, "--json").lines()[0]
    page_file, = doc["page_files"]
    assert page_file["path"] == "app.db" and page_file["layers"] >= 2
    assert page_file["delta_pages"] >= page_file["delta_pages_live"] > 0
    check = doc["verified"]["last_check"]
    assert check["level"] == "standard" and check["passed"] == check["total"] > 0
    assert "checks passed" in hf.ok("info", source, "--repo", repo).out


def test_info_of_nothing_known(hf, history):
    repo, _, _ = history
    assert "ls" in hf.run("info", "abcdef", "--repo", repo, check=ERROR).err
    assert hf.run("info", "files:/nowhere", "--repo", repo).code == ERROR


def test_diff_names_every_change(hf, history):
    repo, source, ids = history
    result = hf.ok("diff", ids[0], ids[2], "--repo", repo, "--json")
    changes = {doc["path"]: doc["change"] for doc in result.of("change")}
    assert changes["d/b.txt"] == "removed" and changes["e.txt"] == "added" and "a.txt" not in changes
    summary = result.summary()
    assert (summary["added"], summary["removed"], summary["changed"]) == (1, 1, 0)
    assert summary["removed_bytes"] == len("beta") and summary["added_bytes"] == len("new")
    text = hf.ok("diff", ids[0], ids[1], "--repo", repo).out
    assert re.search(r"^M d/b\.txt  4 B -> 13 B$", text, re.M)
    assert "hold the same" in hf.ok("diff", source, ids[2], "--repo", repo).out


def test_find_groups_versions_with_the_snapshots_that_hold_them(hf, history):
    repo, source, ids = history
    found = hf.ok("find", "b.txt", source, "--repo", repo, "--json").of("match")
    assert [(m["first"]["id"], m["last"]["id"], m["size_bytes"], m["newest"]) for m in found] == [
        (ids[0], ids[0], 4, False), (ids[1], ids[1], 13, False)]
    found = hf.ok("find", "*.txt", "--repo", repo, "--json").of("match")
    assert [m["path"] for m in found] == ["a.txt", "d/b.txt", "d/b.txt", "e.txt"]
    assert found[0]["snapshots"] == 3 and found[0]["newest"]
    assert [m["path"] for m in hf.ok("find", "d/**", "--repo", repo, "--json").of("match")] == [
        "d/b.txt", "d/b.txt", "d/deep", "d/deep/c.log"]
    text = hf.ok("find", "c.log", "--repo", repo, "--long").out
    assert "d/deep/c.log" in text and "-rw-" in text and ids[0][:8] in text and ids[2][:8] in text
    nothing = hf.ok("find", "*.none", "--repo", repo)
    assert nothing.out == "" and "nothing matches" in nothing.err


# ---- export ----

NASTY = """
pragma user_version=12;
create table parent(id integer primary key autoincrement, name text);
insert into parent(name) values('a'), ('it''s'), (null); delete from parent where id = 3;
create table v(a, b real, c blob, g as (b * 2));
insert into v(a, b, c) values(9e999, 0.1, x'00ff'), (-9223372036854775808, 1e-310, x''), ('two
lines' || char(13, 10) || 'and' || char(0) || 'more', 123456789.123456789, null);
create table keyed(k text primary key, v) without rowid; insert into keyed values('k', 1);
create table gaps(x); insert into gaps(rowid, x) values(7, 'seven'), (70, 'seventy');
create virtual table words using fts5(body); insert into words values('hold fast');
create view shown as select id, name from parent; -- a view
create trigger t after insert on parent begin insert into v(a) values(new.id); end;
create index by_name on parent(name);
"""
QUERIES = ["select type, name, sql from sqlite_master order by 1, 2", "select * from parent", "select rowid, * from v",
           "select typeof(a), typeof(b), typeof(c), hex(a) from v", "select * from keyed", "select rowid, x from gaps",
           "select rowid, body from words where words match 'fast'", "select * from sqlite_sequence",
           "pragma user_version", "pragma integrity_check"]


def answers(path):
    db = sqlite3.connect(path)
    result = [db.execute(query).fetchall() for query in QUERIES]
    db.close()
    return result


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="no sqlite3")
def test_sql_is_read_by_the_sqlite3_shell(hf):
    repo, source = hf.init(), "sqlite:" + make_database(hf.path("app.db"), NASTY)
    hf.backup(source, "--repo", repo)
    hf.ok("export", source, "--format", "sql", "--to", hf.path("out.sql"), "--repo", repo)
    assert stat.S_IMODE(os.stat(hf.path("out.sql")).st_mode) == 0o600
    with open(hf.path("out.sql"), "rb") as script:
        done = subprocess.run(["sqlite3", "-bail", hf.path("new.db")], stdin=script, capture_output=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert answers(hf.path("new.db")) == answers(hf.path("app.db"))
    shell = subprocess.run(["sqlite3", hf.path("app.db"), ".dump"], capture_output=True, text=True, check=True).stdout
    ours = open(hf.path("out.sql"), encoding="utf-8", newline="").read()
    for line in ("BEGIN TRANSACTION;", "COMMIT;", "PRAGMA foreign_keys=OFF;"):
        assert line in shell and line in ours
    assert os.listdir(hf.path("state", "scratch")) == []


def test_sql_of_a_database_in_wal_mode_is_read_by_python_too(hf):
    repo = hf.init()
    db = sqlite3.connect(hf.path("wal.db"))
    db.executescript("pragma journal_mode=wal; create table t(x); insert into t values('in the log')")
    hf.backup("sqlite:" + hf.path("wal.db"), "--repo", repo)
    db.close()
    script = hf.ok("export", "sqlite:" + hf.path("wal.db"), "--format", "sql", "--to", "-", "--repo", repo).out
    copy = sqlite3.connect(":memory:")
    copy.executescript(script)
    assert copy.execute("select * from t").fetchall() == [("in the log",)]


def test_database_file_is_the_database(hf):
    repo, source = hf.init(), "sqlite:" + make_database(hf.path("app.db"))
    hf.backup(source, "--repo", repo)
    before = open(hf.path("app.db"), "rb").read()
    for ending, opener in ((".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open), ("", open)):
        out = hf.path("out.db" + ending)
        summary = hf.ok("export", source, "--format", "db", "--to", out, "--repo", repo, "--json").summary()
        assert summary["result"] == "ok" and summary["written_bytes"] == os.path.getsize(out)
        assert opener(out, "rb").read() == before
    for ending, tool in ((".zst", "zstd"), (".lz4", "lz4")):
        if not shutil.which(tool):
            continue
        hf.ok("export", source, "--format", "db", "--to", hf.path("out.db" + ending), "--repo", repo)
        assert subprocess.run([tool, "-dc", hf.path("out.db" + ending)], capture_output=True,
                              check=True).stdout == before
    hf.ok("export", source, "--format", "db", "--to", hf.path("named.bin"), "--compression", "xz:1", "--repo", repo)
    assert lzma.open(hf.path("named.bin")).read() == before


def test_several_databases_become_a_folder(hf):
    repo = hf.init()
    for name in ("x.db", "sub/y.db"):
        os.makedirs(os.path.dirname(hf.path("dbs", name)), exist_ok=True)
        make_database(hf.path("dbs", name))
    source = "sqlite:" + hf.path("dbs", "**.db")
    hf.backup(source, "--repo", repo)
    hf.ok("export", source, "--format", "sql", "--to", hf.path("out"), "--compression", "gzip", "--repo", repo)
    assert b"INSERT INTO" in gzip.open(hf.path("out/sub/y.db.sql.gz")).read()
    assert os.path.exists(hf.path("out/x.db.sql.gz"))
    assert hf.run("export", source, "--format", "sql", "--to", "-", "--repo", repo).code == USAGE
    one = hf.ok("export", source, "--format", "sql", "--to", "-", "--only", "x.db", "--repo", repo)
    assert one.out.count("BEGIN TRANSACTION") == 1
    assert hf.run("export", source, "--format", "db", "--to", hf.path("out"), "--repo", repo).code == NOT_EMPTY


def full_tree(hf):
    tree = make_tree(hf)
    os.link(os.path.join(tree, "a.txt"), os.path.join(tree, "d", "hard"))
    long_dir = os.path.join(tree, "n" * 90, "m" * 90)
    os.makedirs(long_dir)
    for path, content in ((os.path.join(long_dir, "deep"), b"x" * 1025), (os.path.join(tree, "gr\u00fcn"), b"utf-8")):
        with open(path, "wb") as file:
            file.write(content)
    with open(os.path.join(tree.encode(), b"n\xff"), "wb") as file:
        file.write(b"bytes")
    with open(os.path.join(tree, "sparse"), "wb") as file:
        file.truncate(3000001)
    os.mkfifo(os.path.join(tree, "pipe"))
    os.chmod(os.path.join(tree, "d", "b.txt"), 0o4750)
    os.utime(os.path.join(tree, "a.txt"), ns=(0, 1234567890123456789))
    try:
        os.setxattr(os.path.join(tree, "d", "b.txt"), "user.note", b"\x00kept\xff")
    except OSError:
        pass  # not on this file system
    return tree


def test_tar_holds_everything(hf):
    repo, tree = hf.init(), full_tree(hf)
    hf.backup("files:" + tree, "--repo", repo)
    hf.ok("export", "files:" + tree, "--format", "tar", "--to", hf.path("out.tgz"), "--repo", repo)
    with tarfile.open(hf.path("out.tgz"), "r:gz") as tar:
        names = set(tar.getnames())
        assert {"a.txt", "d/deep/c.log", "gr\u00fcn", "n\udcff", "n" * 90 + "/" + "m" * 90 + "/deep", "link"} <= names
        assert tar.getmember("link").linkname == "a.txt" and tar.getmember("d/hard").islnk()
        assert tar.getmember("sparse").size == 3000001 and tar.getmember("pipe").isfifo()
        assert tar.getmember("d/b.txt").mode == 0o4750
        assert float(tar.getmember("a.txt").pax_headers["mtime"]) == pytest.approx(1234567890.123456789)
        assert tar.extractfile("a.txt").read() == b"alpha"
    os.mkdir(hf.path("unpacked"))
    done = subprocess.run(["tar", "-xpf", hf.path("out.tgz"), "--xattrs", "-C", hf.path("unpacked")],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    compared = subprocess.run(["diff", "-r", "--no-dereference", "--exclude=pipe", tree, hf.path("unpacked")],
                              capture_output=True, text=True, check=False)
    assert compared.returncode == 0, compared.stdout
    back = hf.path("unpacked", "a.txt")
    assert os.stat(back).st_mtime_ns == 1234567890123456789
    assert os.stat(back).st_ino == os.stat(hf.path("unpacked", "d", "hard")).st_ino
    if "user.note" in os.listxattr(os.path.join(tree, "d", "b.txt")):
        assert os.getxattr(hf.path("unpacked", "d", "b.txt"), "user.note") == b"\x00kept\xff"


def test_tar_of_a_part_makes_files_of_links_whose_file_is_not_in_it(hf):
    repo, tree = hf.init(), make_tree(hf)
    for name in ("h1", "h2"):
        os.link(os.path.join(tree, "a.txt"), os.path.join(tree, "d", name))
    hf.backup("files:" + tree, "--repo", repo)
    hf.ok("export", "files:" + tree, "--format", "tar", "--to", hf.path("d.tar"), "--only", "d", "--repo", repo)
    with tarfile.open(hf.path("d.tar")) as tar:
        assert "a.txt" not in tar.getnames() and "d/deep/c.log" in tar.getnames()
        assert tar.getmember("d/h1").isreg() and tar.extractfile("d/h1").read() == b"alpha"
        assert tar.getmember("d/h2").islnk() and tar.extractfile("d/h2").read() == b"alpha"


def test_tar_of_a_database_and_of_a_command(hf):
    repo, source = hf.init(), "sqlite:" + make_database(hf.path("app.db"))
    hf.backup(source, "--repo", repo)
    hf.backup("command:echo hello", "--name", "greeting", "--repo", repo)
    hf.ok("export", source, "--format", "tar", "--to", hf.path("db.tar"), "--repo", repo)
    with tarfile.open(hf.path("db.tar")) as tar:
        assert tar.extractfile("app.db").read() == open(hf.path("app.db"), "rb").read()
    hf.ok("export", "greeting", "--format", "tar", "--to", hf.path("c.tar"), "--repo", repo)
    with tarfile.open(hf.path("c.tar")) as tar:
        assert [tar.extractfile(m).read() for m in tar if m.isreg()] == [b"hello\n"]
    assert "tar" in hf.run("export", "greeting", "--format", "sql", "--to", "-", "--repo", repo, check=USAGE).err


def test_export_never_overwrites_and_never_leaves_half(hf):
    repo, source = hf.init(), "sqlite:" + make_database(hf.path("app.db"))
    hf.backup(source, "--repo", repo)
    hf.write("there", "mine")
    assert hf.run("export", source, "--format", "db", "--to", hf.path("there"), "--repo", repo).code == NOT_EMPTY
    assert open(hf.path("there")).read() == "mine"
    for name in ("full", "null"):  # a device is something that exists
        assert hf.run("export", source, "--format", "db", "--to", "/dev/" + name, "--repo", repo).code == NOT_EMPTY
    with open("/dev/full", "wb") as full:
        done = subprocess.run(hf.command("export", source, "--format", "sql", "--to", "-", "--repo", repo),
                              env=hf.env, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == ERROR and "No space left" in done.stderr
    for path, _, files in os.walk(os.path.join(repo, "packs")):
        for name in files:
            with open(os.path.join(path, name), "r+b") as pack:
                pack.seek(200)
                pack.write(b"\xff" * 4000)
    os.mkdir(hf.path("empty"))
    result = hf.run("export", source, "--format", "db", "--to", hf.path("empty/x.db"), "--repo", repo)
    assert result.code == CORRUPT and os.listdir(hf.path("empty")) == []


def test_export_to_a_reader_that_leaves_is_an_error(hf):
    repo = hf.init()
    hf.write("big/x", random.Random(1).randbytes(3000000))
    hf.backup("files:" + hf.path("big"), "--repo", repo)
    running = subprocess.Popen(hf.command("export", "files:" + hf.path("big"), "--format", "tar", "--to", "-", "--repo",
                                          repo), env=hf.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running.stdout.read(100)
    running.stdout.close()
    err = running.stderr.read()
    running.stderr.close()
    assert running.wait() == ERROR and b"Broken pipe" in err


# ---- keys ----


def slots(hf, repo, **more):
    return hf.ok("key", "ls", "--repo", repo, "--json", **more).of("slot")


def test_every_kind_of_key_can_be_added_and_opens(hf):
    repo = hf.init()
    hf.write("pass", "correct horse battery\n")
    os.chmod(hf.path("pass"), 0o600)
    hf.ok("key", "add", "--new-passphrase-file", hf.path("pass"), "--slot-name", "desk", "--repo", repo)
    hf.ok("key", "add", "--new-key-file", hf.path("second"), "--repo", repo)
    assert stat.S_IMODE(os.stat(hf.path("second")).st_mode) == 0o600
    doc = hf.ok("key", "add", "--new-recovery-code", "--repo", repo, "--json").of("slot")[0]
    assert re.fullmatch(r"(\w{5}-){7}\w{5}", doc["recovery_code"])
    kinds = [s["kind"] for s in slots(hf, repo)]
    assert sorted(kinds) == ["key-file", "key-file", "passphrase", "recovery", "recovery"]
    assert "desk" in hf.ok("key", "ls", "--repo", repo).out
    no_key = {"HOLDFAST_KEY_FILE": None}
    hf.ok("key", "ls", "--repo", repo, "--passphrase-file", hf.path("pass"), env=no_key)
    hf.ok("key", "ls", "--repo", repo, "--key-file", hf.path("second"), env=no_key)
    assert "new-key-file" in hf.run("key", "add", "--repo", repo, check=USAGE).err


def test_a_key_is_removed_only_when_named(hf):
    repo = hf.init()
    hf.ok("key", "add", "--new-key-file", hf.path("second"), "--slot-name", "laptop", "--repo", repo)
    slot = next(s["id"] for s in slots(hf, repo) if s["name"] == "laptop")
    assert "would remove" in hf.ok("key", "rm", slot[:8], "--plan", "--repo", repo).out
    assert slot[:8] in hf.run("key", "rm", slot[:8], "--repo", repo, check=USAGE).err
    assert hf.run("key", "rm", slot[:8], "--confirm", "other", "--repo", repo).code == USAGE
    assert len(slots(hf, repo)) == 3
    hf.ok("key", "rm", "laptop", "--confirm", "laptop", "--repo", repo)
    assert len(slots(hf, repo)) == 2
    no_key = {"HOLDFAST_KEY_FILE": None}
    assert hf.run("key", "ls", "--repo", repo, "--key-file", hf.path("second"), env=no_key).code == WRONG_KEY
    hf.ok("key", "rotate", "--repo", repo)
    hf.backup("files:" + make_tree(hf), "--repo", repo)
    hf.ok("verify", "--level", "3", "--repo", repo)


def test_the_last_key_stays(hf):
    repo = hf.init()
    recovery = next(s["id"] for s in slots(hf, repo) if s["kind"] == "recovery")
    hf.ok("key", "rm", recovery, "--confirm", recovery[:8], "--repo", repo)
    last, = slots(hf, repo)
    assert hf.run("key", "rm", last["id"], "--confirm", last["id"], "--repo", repo).code == REFUSED
    assert len(slots(hf, repo)) == 1


def test_recovery_with_the_code_of_a_kit(hf):
    repo = hf.init()
    hf.backup("files:" + make_tree(hf), "--repo", repo)
    hf.ok("key", "export", "--to", hf.path("kit.txt"), "--repo", repo)
    assert stat.S_IMODE(os.stat(hf.path("kit.txt")).st_mode) == 0o600
    kit = open(hf.path("kit.txt")).read()
    code = re.search(r"^    ((\w{5}-){7}\w{5})$", kit, re.M).group(1)
    assert repo in kit and "key recover" in kit
    with open(hf.key) as key:
        assert key.read() not in kit
    before = len(slots(hf, repo))
    assert hf.run("key", "export", "--to", hf.path("kit.txt"), "--repo", repo).code == NOT_EMPTY
    assert len(slots(hf, repo)) == before
    assert "Recovery code" in hf.ok("key", "export", "--repo", repo).out

    no_key = {"HOLDFAST_KEY_FILE": None, "HOLDFAST_STATE_DIR": hf.path("elsewhere")}
    hf.write("typed", code.lower().replace("-", " ") + "\n")
    os.chmod(hf.path("typed"), 0o600)
    hf.ok("key", "recover", "--recovery-code-file", hf.path("typed"), "--new-key-file", hf.path("fresh"), "--repo",
          repo, env=no_key)
    hf.ok("restore", "files:" + hf.path("files"), "--to", hf.path("back"), "--repo", repo, "--key-file",
          hf.path("fresh"), env=no_key)
    assert open(hf.path("back/a.txt")).read() == "alpha"
    wrong = hf.write("wrong", code[:-1] + ("A" if code[-1] != "A" else "B"))
    os.chmod(wrong, 0o600)
    result = hf.run("key", "recover", "--recovery-code-file", wrong, "--new-key-file", hf.path("never"), "--repo", repo,
                    env=no_key)
    assert result.code == USAGE and not os.path.exists(hf.path("never"))


def test_recovery_of_nothing(hf):
    hf.write("typed", "AAAAA-AAAAA")
    result = hf.run("key", "recover", "--recovery-code-file", hf.path("typed"), "--new-key-file", hf.path("n"),
                    "--repo", hf.path("none"), env={"HOLDFAST_KEY_FILE": None})
    assert result.code == NO_REPOSITORY and not os.path.exists(hf.path("n"))


# ---- repositories and sources by name ----


def test_repository_by_name(hf):
    hf.ok("repo", "add", "local", hf.path("repo"), "--key-file", hf.key)
    assert "init" in hf.ok("init", "--repo", "local").out or os.path.exists(hf.path("repo/holdfast.json"))
    without = {"HOLDFAST_KEY_FILE": None}
    listed, = hf.ok("repo", "ls", "--json", env=without).of("repository")
    assert listed["name"] == "local" and hf.key in listed["opened_by"]
    assert hf.run("repo", "add", "local", hf.path("other"), env=without).code == REFUSED
    assert hf.run("repo", "add", "bad name", hf.path("other"), env=without).code == USAGE
    assert hf.run("repo", "add", "cloud", "s3://acme/prod", env=without).code == ERROR
    hf.ok("backup", "files:" + make_tree(hf), env=without)
    doc, = hf.ok("repo", "check", "--json", env=without).of("repo_check")
    assert doc["usable"] and doc["snapshots"] == 1 and doc["damaged"] == 0
    assert "usable" in hf.ok("repo", "check", env=without).out


def test_repository_statistics_add_up(hf):
    repo, tree = hf.init(), make_tree(hf)
    for i in range(3):
        hf.write("files/a.txt", "alpha %d" % i)
        hf.backup("files:" + tree, "--repo", repo)
    stats, = hf.ok("repo", "stats", "--repo", repo, "--json").of("repo_stats")
    on_disk = [os.path.getsize(os.path.join(path, name)) for path, _, names in os.walk(repo) for name in names]
    assert stats["objects"] == len(on_disk) and stats["stored_bytes"] == sum(on_disk)
    assert sum(kind["bytes"] for kind in stats["kinds"].values()) == stats["stored_bytes"]
    assert stats["snapshots"] == 3 and stats["sources"] == 1
    assert stats["logical_bytes"] == 3 * (7 + 4 + 5000) and stats["newest_bytes"] == 7 + 4 + 5000
    assert stats["packs"] == stats["kinds"]["packs"]["objects"] and stats["frames"] > 0
    text = hf.ok("repo", "stats", "--repo", repo).out
    assert "packs" in text and "times less" in text


def test_check_names_what_is_missing(hf):
    repo = hf.init()
    hf.backup("files:" + make_tree(hf), "--repo", repo)
    packs = [os.path.join(path, name) for path, _, names in os.walk(os.path.join(repo, "packs")) for name in names]
    os.unlink(packs[0])
    result = hf.run("repo", "check", "--repo", repo, check=CORRUPT)
    assert os.path.basename(packs[0]) in result.out
    assert hf.run("repo", "check", "--repo", hf.path("none")).code == NO_REPOSITORY


def test_source_by_name(hf):
    repo, tree = hf.init(), make_tree(hf)
    hf.ok("source", "add", "docs", "files:" + tree, "--exclude", "*.log")
    hf.ok("source", "add", "greet", "command:echo hi", "--restore-command", "cat > /dev/null")
    assert hf.run("source", "add", "docs", "files:/etc").code == REFUSED
    assert hf.run("source", "add", "x", "nosuchtype:/etc").code == USAGE
    hf.backup("docs", "--repo", repo)
    hf.backup("files:" + tree + "/d", "--repo", repo)
    rows = {doc["name"]: doc for doc in hf.ok("source", "ls", "--repo", repo, "--json").of("source")}
    assert rows["docs"]["snapshots"] == 1 and rows["docs"]["origin"].endswith("docs.yaml")
    assert rows["greet"]["engine"] == "command" and rows["greet"]["snapshots"] == 0
    assert any(doc["origin"].startswith("repository") for doc in rows.values())
    assert not hf.ok("find", "*.log", "docs", "--repo", repo).out
    hf.ok("source", "rm", "docs")
    assert hf.run("source", "rm", "docs").code == ERROR
    assert hf.run("backup", "docs", "--repo", repo).code == USAGE
    hf.ok("ls", "docs", "--repo", repo)


def test_a_name_of_the_main_file_is_read_only(hf):
    hf.write("holdfast.yaml", "sources:\n  - { name: app, type: sqlite, paths: [/srv/app.db] }\n")
    result = hf.run("source", "rm", "app", "--config", hf.path("holdfast.yaml"), check=REFUSED)
    assert "holdfast.yaml" in result.err


def test_adopting_a_replaced_database(hf):
    repo, path = hf.init(), make_database(hf.path("app.db"))
    hf.backup("sqlite:" + path, "--repo", repo)
    other = make_database(hf.path("other.db"))
    os.replace(other, path)
    refused = hf.run("backup", "sqlite:" + path, "--repo", repo, check=REFUSED)
    assert "source adopt" in refused.err
    adopt = shlex.split(re.search(r"`holdfast (source adopt .*?)`", refused.err).group(1))  # as the hint says
    plan, = hf.ok(*adopt, "--plan", "--json").of("adoption")
    assert plan["changed"] and not plan["adopted"]
    assert hf.run("backup", "sqlite:" + path, "--repo", repo).code == REFUSED
    hf.ok(*adopt)
    hf.backup("sqlite:" + path, "--repo", repo)
    assert "nothing to adopt" in hf.ok("source", "adopt", "sqlite:" + path, "--repo", repo).out
    assert len(snapshots(hf, repo, "sqlite:" + path)) == 2


# ---- status, doctor ----


def test_status_says_what_is_unprotected_and_why(hf):
    empty = hf.run("status", "--check")
    assert empty.code == OVERDUE and empty.out.startswith("Nothing is protected")
    hf.ok("status")
    repo, tree = hf.init(), make_tree(hf)
    hf.backup("files:" + tree, "--name", "docs", "--repo", repo)
    good = hf.ok("status", "--check")
    assert good.out.splitlines()[0] == "The one source is protected."
    hf.ok("source", "add", "app", "sqlite:" + hf.path("app.db"))
    result = hf.run("status", "--check", check=OVERDUE)
    assert "1 never backed up" in result.out.splitlines()[0] and "app: never backed up" in result.out
    doc, = hf.ok("status", "--json").of("status")
    assert doc["overdue"] and {s["source"]: s["state"] for s in doc["sources"]} == {"app": "never", "docs": "protected"}
    row = next(s for s in doc["sources"] if s["source"] == "docs")["repositories"][0]
    assert row["jobs"] == 1 and row["succeeded"] == 1 and row["stored_bytes"] > 0
    assert hf.run("backup", "app", "--repo", repo).code != 0
    assert "the last attempt failed" in hf.run("status", "--check", check=OVERDUE).out


def test_an_old_backup_is_overdue(hf):
    repo, tree = hf.init(), make_tree(hf)
    hf.backup("files:" + tree, "--name", "docs", "--repo", repo)
    db = sqlite3.connect(hf.path("state/catalog.db"))
    db.execute("update jobs set started = started - 27 * 3600 * 1000000000")
    db.commit()
    db.close()
    result = hf.run("status", "--check", check=OVERDUE)
    assert "1 overdue" in result.out.splitlines()[0] and "27h" in result.out
    hf.write("h.yaml", "sources:\n  - { name: docs, type: files, paths: [%s] }\n"
             "schedules:\n  - { source: docs, at: weekly }\n" % tree)
    hf.ok("status", "--check", "--config", hf.path("h.yaml"))


def test_doctor(hf):
    repo = hf.init()
    hf.backup("sqlite:" + make_database(hf.path("app.db")), "--repo", repo)
    before = sorted(os.listdir(repo))
    result = hf.ok("doctor", "sqlite:" + hf.path("app.db"), "--repo", repo, "--json")
    areas = {doc["area"] for doc in result.of("finding")}
    assert {"program", "clock", "state", "key", "repository", "source"} <= areas
    assert any("opens: 1 snapshot" in doc["text"] for doc in result.of("finding"))
    assert any("3.40.1" in doc["text"] or "SQLite" in doc["text"] for doc in result.of("finding"))
    assert sorted(os.listdir(repo)) == before
    os.chmod(hf.key, 0o644)
    text = hf.ok("doctor", "--repo", repo).out
    assert "can be read by others" in text and "chmod 600" in text
    os.chmod(hf.key, 0o600)
    broken = hf.run("doctor", "sqlite:" + hf.path("none.db"), "--repo", hf.path("nowhere"), check=PARTIAL)
    assert "NOT WELL" in broken.out and "none.db" in broken.out and "nowhere" in broken.out
    silent = hf.ok("doctor", "--repo", repo, env={"HOLDFAST_KEY_FILE": None})
    assert "was not opened" in silent.out


def test_every_command_of_the_table_exists(hf):
    listed = hf.ok("--help").out.split("Options of every command")[0]
    for name in re.findall(r"^  (\w+) ", listed, re.M):
        hf.ok(name, "--help")
    for group in ("key", "repo", "source"):
        members = hf.ok(group, "--help").out.split("Options of every command")[0]
        for name in re.findall(r"^  (\w+) ", members, re.M):
            text = hf.ok(group, name, "--help").out
            assert text.startswith("Usage: holdfast %s %s" % (group, name))
            result = hf.run(group, name, "--no-such-option")
            assert result.code == USAGE


def test_json_of_every_listing_is_typed(hf, history):
    repo, source, ids = history
    for args in (("info", ids[0]), ("diff", ids[0], ids[1]), ("find", "*"), ("key", "ls"), ("repo", "stats"),
                 ("repo", "check"), ("source", "ls"), ("status",), ("doctor",)):
        for line in hf.ok(*args, "--repo", repo, "--json").out.splitlines():
            doc = json.loads(line)
            assert doc["type"] and doc["v"] == 1, args
