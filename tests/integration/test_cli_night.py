"""Three in the morning: what an operator is told when something is missing, and what is restored then."""
import os
import shutil
import sqlite3

ERROR, USAGE, PARTIAL, NO_REPOSITORY, CORRUPT, NOT_EMPTY, UNREACHABLE, CHECK_FAILED = 1, 2, 3, 10, 13, 14, 15, 17


def make_database(path, rows):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    db = sqlite3.connect(path)
    db.execute("create table if not exists orders(id integer primary key, name text)")
    db.executemany("insert into orders(name) values(?)", (("order %d" % n,) for n in range(rows)))
    db.commit()
    db.close()


def count(path):
    db = sqlite3.connect(path)
    (rows,) = db.execute("select count(*) from orders").fetchone()
    db.close()
    return rows


def test_a_lost_key_file_leads_to_the_recovery_code(hf):
    repo = hf.init()
    os.rename(hf.key, hf.path("away"))
    lost = hf.run("ls", "--repo", repo, check=ERROR)
    assert hf.key in lost.err and "holdfast key recover --new-key-file" in lost.err
    prompt = hf.run("key", "recover", "--repo", repo, "--new-key-file", hf.key, check=USAGE)
    assert "--recovery-code-file" in prompt.err and "HOLDFAST_PASSPHRASE" not in prompt.err
    assert not os.path.exists(hf.key)


def test_the_mount_point_of_a_disk_that_is_away(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    hf.backup("files:tree", "--repo", repo)
    os.rename(repo, hf.path("disk"))
    os.mkdir(repo)
    for command in (["ls"], ["verify"], ["backup", "files:tree"], ["restore", "files:tree", "--to", "new"]):
        refused = hf.run(*command, "--repo", repo, check=NO_REPOSITORY)
        assert "is its disk mounted" in refused.err
    assert os.listdir(repo) == []
    # Who makes a new one there is told that there was another.
    assert "another repository" in hf.ok("init", "--repo", repo).err
    assert "another repository" not in hf.ok("init", "--repo", hf.path("elsewhere")).err


def test_a_key_file_is_announced_only_when_it_opens_something(hf):
    hf.write("full/file", "in the way")
    key = hf.path("new-key")
    refused = hf.run("init", "--repo", "full", "--create-key-file", key, env={"HOLDFAST_KEY_FILE": None})
    assert refused.code != 0 and "made the key file" not in refused.err and not os.path.exists(key)


def test_a_repository_without_its_marker_is_not_taken_for_nothing(hf):
    repo = hf.init()
    marker = os.path.join(repo, "holdfast.json")
    hf.write("tree/a", "a")
    hf.backup("files:tree", "--repo", repo)
    shutil.copy(marker, hf.path("copy"))
    for harm in (lambda: os.remove(marker), lambda: hf.write("repo/holdfast.json", "{")):
        harm()
        told = hf.run("ls", "--repo", repo, check=CORRUPT)
        assert repo in told.err and "from a copy of the repository" in told.err
        assert hf.run("init", "--repo", repo).code != 0
    shutil.copy(hf.path("copy"), marker)  # as the hint says
    hf.ok("ls", "--repo", repo)


def test_the_newest_is_not_what_was_stored_damaged(hf):
    repo = hf.init()
    make_database(hf.path("app.db"), 5000)
    good = hf.backup("sqlite:app.db", "--repo", repo)["snapshot"]
    with open(hf.path("app.db"), "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    kept = hf.run("backup", "sqlite:app.db", "--repo", repo, "--force", "--json", check=PARTIAL).summary()
    assert kept["damaged"]
    done = hf.ok("restore", "sqlite:app.db", "--repo", repo, "--to", "new.db", "--json")
    assert done.summary()["snapshot"] == good and kept["snapshot"][:8] in done.err
    assert count(hf.path("new.db")) == 5000
    # Alone it is what there is.
    only = hf.path("only")
    hf.init("only")
    alone = hf.run("backup", "sqlite:app.db", "--repo", only, "--force", "--json", check=PARTIAL).summary()
    done = hf.run("restore", "sqlite:app.db", "--repo", only, "--to", "bad.db", "--verify=none", "--json")
    assert done.summary()["snapshot"] == alone["snapshot"]


def test_what_integrity_check_says_does_not_hide_that_nothing_was_overwritten(hf):
    repo = hf.init()
    make_database(hf.path("app.db"), 5000)
    hf.backup("sqlite:app.db", "--name", "app", "--repo", repo)
    with open(hf.path("app.db"), "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 40960)
    refused = hf.run("restore", "app", "--repo", repo, "--in-place", "--confirm", "app", check=CORRUPT)
    assert "nothing was overwritten" in refused.err and len(refused.err.splitlines()) < 4


def test_a_copy_is_compared_with_the_live_source(hf):
    repo = hf.init()
    for name in ("a", "b"):
        make_database(hf.path("dbs", name + ".db"), 10)
    hf.write("tree/file", "content")
    hf.backup("sqlite:dbs/a.db", "--name", "one", "--repo", repo)
    hf.backup("sqlite:dbs/*.db", "--name", "all", "--repo", repo)
    hf.backup("files:tree", "--name", "tree", "--repo", repo)

    def checked(name, target, *more, code=0):
        done = hf.run("restore", name, "--repo", repo, "--to", target, "--verify=comprehensive", "--json", *more,
                      check=code)
        return done.summary()["checks_passed"], done.summary()["checks_total"]

    for name in ("one", "all", "tree"):
        alone, both = checked(name, name + "1"), checked(name, name + "2", "--against-source")
        assert alone[0] == alone[1] and both[0] == both[1] and both[1] > alone[1]
    make_database(hf.path("dbs", "b.db"), 1)
    passed, total = checked("all", "all3", "--against-source", code=CHECK_FAILED)
    assert 0 < passed < total
    for refused, code in ((["one", "--in-place", "--confirm", "one"], USAGE),
                          (["one", "--to", "new", "--verify=none"], USAGE),
                          (["tree", "--to", "new", "--only", "file"], USAGE)):
        hf.run("restore", *refused, "--repo", repo, "--against-source", check=code)
    os.remove(hf.path("dbs", "a.db"))
    hf.run("restore", "one", "--repo", repo, "--to", "new", "--against-source", check=UNREACHABLE)
    assert not os.path.exists(hf.path("new"))


def test_one_of_several_databases_is_checked_too(hf):
    repo = hf.init()
    for number, name in enumerate(("a", "b", "c")):
        make_database(hf.path("dbs", name + ".db"), 10 + number)
    hf.backup("sqlite:dbs/*.db", "--name", "all", "--repo", repo)
    one = hf.ok("restore", "all", "--repo", repo, "--only", "b.db", "--to", "another-name", "--json").summary()
    two = hf.ok("restore", "all", "--repo", repo, "--only", "[bc].db", "--to", "two", "--json").summary()
    assert one["checks_total"] > 0 and one["checks_passed"] == one["checks_total"]
    assert two["checks_passed"] == two["checks_total"] == 2 * one["checks_total"]
    assert sorted(os.listdir(hf.path("two"))) == ["b.db", "c.db"] and count(hf.path("another-name")) == 11


def test_a_moment_that_is_none_is_said_to_be_none(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    hf.backup("files:tree", "--name", "t", "--repo", repo)
    for word in ("yesterday", "2026-13-01", "-1y"):
        told = hf.run("ls", "t@" + word, "--repo", repo, check=ERROR)
        assert '"%s" is no moment' % word in told.err
    assert "it has: t" in hf.run("ls", "s@latest", "--repo", repo, check=ERROR).err


def test_a_hook_stops_nothing_for_a_restore_that_is_refused(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    hf.write("holdfast.yaml", """
repositories: [{ name: main, url: %s, key: { file: %s } }]
sources: [{ name: t, type: files, paths: [%s], hooks: { before_restore: { command: "touch %s" } } }]
""" % (repo, hf.key, hf.path("tree"), hf.path("stopped")))
    config = ["--config", hf.path("holdfast.yaml")]
    hf.backup("t", *config)
    hf.run("restore", "t", "--to", "tree", *config, check=NOT_EMPTY)
    assert not os.path.exists(hf.path("stopped"))
    hf.ok("restore", "t", "--to", "tree", "--confirm", "tree", *config)
    assert os.path.exists(hf.path("stopped"))


def test_a_kit_in_a_file_keeps_its_code_there(hf):
    repo = hf.init()
    (kit,) = hf.ok("key", "export", "--to", hf.path("kit"), "--repo", repo, "--json").of("recovery_kit")
    text = open(hf.path("kit")).read()
    assert kit["file"] == hf.path("kit") and kit["recovery_code"] is None
    assert "key rm %s --confirm %s" % (kit["slot"][:8], kit["slot"][:8]) in text
    (kit,) = hf.ok("key", "export", "--to", "-", "--repo", repo, "--json").of("recovery_kit")
    assert kit["file"] is None and len(kit["recovery_code"]) == 47


def test_as_many_files_come_back_as_were_stored(hf):
    repo = hf.init()
    for name, content in (("a", "a"), ("empty", ""), ("d/empty too", "")):
        hf.write("tree/" + name, content)
    stored = hf.backup("files:tree", "--repo", repo)["files"]
    plan = hf.ok("restore", "files:tree", "--repo", repo, "--to", "new", "--plan", "--json").of("plan")[0]
    done = hf.ok("restore", "files:tree", "--repo", repo, "--to", "new", "--json").summary()
    assert stored == plan["files"] == done["files"] == 3


def test_one_key_file_by_two_spellings(hf):
    key = {"HOLDFAST_KEY_FILE": hf.path("new-key")}
    hf.ok("init", "--repo", hf.path("r"), "--create-key-file", "new-key", env=key)
    hf.ok("ls", "--repo", hf.path("r"), env=key)
    failed = hf.run("init", "--repo", hf.path("r2"), "--create-key-file", "other-key", env=key, check=2)
    assert "two different files" in failed.err and "hint: " in failed.err and not os.path.exists(hf.path("other-key"))
