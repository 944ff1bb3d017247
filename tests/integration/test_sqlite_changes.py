"""SQLite databases that change their shape between backups, and what a backup of files does about databases in use."""
import os
import shutil
import sqlite3


def content(path):
    db = sqlite3.connect("file:%s?mode=ro&immutable=1" % path, uri=True)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    rows = db.execute("SELECT a, b FROM t ORDER BY a").fetchall()
    db.close()
    return rows


def make(path, rows=400):
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB)")
    db.execute("INSERT INTO t(b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT %d) "
               "SELECT randomblob(700) FROM n" % rows)
    return db


def test_page_size_changes_between_backups(hf):
    """Every snapshot is byte for byte the file it was made of, whatever its parent's pages were."""
    repo, path = hf.init(), hf.path("app.db")
    db, images = make(path), []
    for size in (1024, 4096, 512, 65536, 8192, 4096):
        db.execute("PRAGMA page_size=%d" % size)
        db.execute("PRAGMA auto_vacuum=%d" % (len(images) % 3))
        db.execute("VACUUM")
        db.execute("UPDATE t SET b=randomblob(700) WHERE a%50=0")
        with open(path, "rb") as file:
            image = file.read()
        assert int.from_bytes(image[16:18], "big") == (1 if size == 65536 else size)
        images.append((hf.backup("sqlite:" + path, "--repo", repo)["snapshot"], image))
    db.close()
    for snapshot, image in images:
        target = hf.path("back.db")
        hf.ok("restore", "sqlite:%s@%s" % (path, snapshot), "--to", target, "--repo", repo)
        with open(target, "rb") as file:
            assert file.read() == image
        os.unlink(target)
    hf.ok("verify", "--level", "3", "--repo", repo)


def test_journal_mode_changes_between_backups(hf):
    repo, path, found = hf.init(), hf.path("app.db"), []
    db = make(path)
    for mode in ("wal", "delete", "wal", "persist", "truncate", "wal"):
        assert db.execute("PRAGMA journal_mode=" + mode).fetchone()[0] == mode
        db.execute("UPDATE t SET b=randomblob(600) WHERE a%7=0")
        rows = db.execute("SELECT a, b FROM t ORDER BY a").fetchall()
        found.append((hf.backup("sqlite:" + path, "--repo", repo)["snapshot"], rows))
    db.close()
    for snapshot, rows in found:
        target = hf.path("back.db")
        hf.ok("restore", "sqlite:%s@%s" % (path, snapshot), "--to", target, "--repo", repo)
        assert content(target) == rows
        os.unlink(target)


def test_replaced_between_backups_needs_a_word(hf):
    """Another file under the same name is another database."""
    repo, path = hf.init(), hf.path("app.db")
    make(path).close()
    hf.backup("sqlite:" + path, "--repo", repo)
    make(hf.path("new.db"), 900).close()
    os.rename(hf.path("new.db"), path)
    rows = content(path)
    assert "replaced" in hf.run("backup", "sqlite:" + path, "--repo", repo, check=11).err
    hf.ok("source", "adopt", "sqlite:" + path, "--repo", repo)
    hf.backup("sqlite:" + path, "--repo", repo)
    hf.ok("restore", "sqlite:" + path, "--to", hf.path("back.db"), "--repo", repo)
    assert content(hf.path("back.db")) == rows


def test_restore_is_refused_while_an_idle_application_has_it_open(hf):
    """It holds no lock; but it would go on with the old file, and in the new one's log."""
    repo, path = hf.init(), hf.path("app.db")
    db = make(path)
    snapshot = hf.backup("sqlite:" + path, "--repo", repo)["snapshot"]
    db.execute("DELETE FROM t WHERE a>10")
    result = hf.run("restore", "sqlite:" + path, "--to", path, "--confirm", "app.db", "--repo", repo, check=11)
    assert "process %d uses the database" % os.getpid() in result.err
    assert "app.db@" + snapshot[:8] in result.err  # the recovery point is the newest now
    assert db.execute("SELECT count(*) FROM t").fetchone() == (10,)
    db.close()
    assert len(content(path)) == 10
    hf.ok("restore", "sqlite:%s@%s" % (path, snapshot), "--to", path, "--confirm", "app.db", "--repo", repo)
    assert len(content(path)) == 400
    assert [name for name in os.listdir(hf.home) if name.startswith("app.db-")] == []


def test_export_does_not_go_beside_an_old_log(hf):
    """SQLite would apply it to the new file."""
    repo, path, target = hf.init(), hf.path("app.db"), hf.path("out.db")
    make(path).close()
    hf.backup("sqlite:" + path, "--repo", repo)
    for suffix in ("-wal", "-journal"):
        hf.write("out.db" + suffix, "left")
        result = hf.run("export", "sqlite:" + path, "--format", "db", "--to", target, "--repo", repo, check=14)
        assert "out.db%s exists" % suffix in result.err and not os.path.exists(target)
        os.unlink(target + suffix)
    hf.ok("export", "sqlite:" + path, "--format", "db", "--to", target, "--repo", repo)
    assert content(target) == content(path)


def test_a_destroyed_database_of_a_pattern_is_no_success(hf):
    repo = hf.init()
    os.mkdir(hf.path("dbs"))
    for name in ("a.db", "b.db"):
        make(hf.path("dbs", name)).close()
    pattern = "sqlite:" + hf.path("dbs", "*.db")
    hf.backup(pattern, "--repo", repo)
    with open(hf.path("dbs", "a.db"), "r+b") as file:
        file.write(os.urandom(100))
    result = hf.run("backup", pattern, "--repo", repo, check=3)
    assert "a.db" in result.err and "does not begin like one any more" in result.err


def held(hf, repo, folder):
    """The names in a snapshot's top folder."""
    return {line.split()[-1] for line in hf.ok("ls", "files:%s@latest" % folder, "--repo", repo).out.splitlines()}


def test_own_catalog_is_left_alone(hf):
    """Closing a plain descriptor of the catalog would drop the locks of the very process that does it."""
    repo = hf.init()
    hf.write("state/notes.txt", "mine")
    hf.ok("backup", "files:" + hf.path("state"), "--repo", repo)
    assert held(hf, repo, hf.path("state")) >= {"notes.txt", "catalog.lock"}
    assert not held(hf, repo, hf.path("state")) & {"catalog.db", "catalog.db-shm"}
    shutil.copytree(hf.path("state"), hf.path("copy"))
    hf.ok("backup", "files:" + hf.path("copy"), "--repo", repo)
    assert held(hf, repo, hf.path("copy")) >= {"notes.txt", "catalog.db"}
