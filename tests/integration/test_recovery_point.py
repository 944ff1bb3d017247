"""Before a live source is overwritten, what it holds becomes a snapshot that can be gone back to."""
import os
import shlex
import sqlite3

USAGE, REFUSED, CORRUPT, NOT_EMPTY, UNREACHABLE = 2, 11, 13, 14, 15


def make_database(path, rows):
    db = sqlite3.connect(path)
    db.execute("create table if not exists orders(id integer primary key, name text not null)")
    db.executemany("insert into orders(name) values(?)", (("order %d" % n,) for n in range(rows)))
    db.commit()
    db.close()


def count(path):
    db = sqlite3.connect(path)
    (rows,) = db.execute("select count(*) from orders").fetchone()
    db.close()
    return rows


def snapshots(hf, repo):
    return hf.ok("ls", "--repo", repo, "--json").of("snapshot")


def damage(path):
    """Makes the database one that no backup takes."""
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def live(hf, rows=1000):
    """A database that was backed up and has grown since."""
    repo = hf.init()
    make_database(hf.path("app.db"), rows)
    hf.backup("sqlite:app.db", "--name", "app", "--repo", repo)
    make_database(hf.path("app.db"), 7)
    return repo


def test_in_place_can_be_gone_back_from(hf):
    repo = live(hf)
    done = hf.ok("restore", "app", "--repo", repo, "--in-place", "--confirm", "app", "--json")
    (point,) = done.of("recovery_point")
    assert done.summary()["recovery_point"] == point["snapshot"]
    assert count(hf.path("app.db")) == 1000
    (kept,) = [s for s in snapshots(hf, repo) if s["id"] == point["snapshot"]]
    assert kept["source"] == "app" and kept["labels"] == {"recovery-point": done.summary()["job"]}
    assert kept["description"].startswith("before restore of ")
    # The command that is shown goes back, and makes a recovery point of its own.
    words = shlex.split(point["go_back"])
    assert words[0] == "holdfast"
    back = hf.ok(*words[1:], "--json")
    assert count(hf.path("app.db")) == 1007
    assert back.summary()["recovery_point"] not in (None, point["snapshot"])
    # Still the same source: nothing has to be adopted.
    hf.backup("sqlite:app.db", "--name", "app", "--repo", repo)


def test_people_are_told_how_to_go_back(hf):
    repo = live(hf)
    done = hf.ok("restore", "app", "--repo", repo, "--in-place", "--confirm", "app")
    (line,) = [line for line in done.out.splitlines() if "holdfast restore" in line]
    hf.ok(*shlex.split(line)[1:])
    assert count(hf.path("app.db")) == 1007


def test_a_tree_gets_its_lost_files_back(hf):
    repo = hf.init()
    hf.write("tree/a", "old")
    hf.backup("files:tree", "--repo", repo)
    hf.write("tree/a", "newer")
    name = snapshots(hf, repo)[0]["source"]
    done = hf.ok("restore", "files:tree", "--repo", repo, "--in-place", "--confirm", name, "--json")
    assert open(hf.path("tree", "a")).read() == "old"
    hf.ok(*shlex.split(done.of("recovery_point")[0]["go_back"])[1:])
    assert open(hf.path("tree", "a")).read() == "newer"


def test_another_way_to_the_live_source_makes_one_too(hf):
    repo = live(hf)
    os.symlink(hf.path("app.db"), hf.path("link.db"))
    done = hf.ok("restore", "app", "--repo", repo, "--to", "app.db", "--confirm", "app.db", "--json")
    assert count(hf.path("app.db")) == 1000
    hf.ok(*shlex.split(done.of("recovery_point")[0]["go_back"])[1:])
    assert count(hf.path("app.db")) == 1007
    hf.backup("sqlite:app.db", "--name", "app", "--repo", repo)


def test_another_source_over_the_live_one_keeps_the_live_one(hf):
    repo = live(hf)
    make_database(hf.path("other.db"), 3)
    hf.backup("sqlite:other.db", "--name", "other", "--repo", repo)
    done = hf.ok("restore", "other", "--repo", repo, "--to", "app.db", "--confirm", "app.db", "--json")
    point = done.of("recovery_point")[0]
    assert point["source"] == "app" and count(hf.path("app.db")) == 3
    # It is not taken for the same source silently.
    assert hf.run("backup", "sqlite:app.db", "--name", "app", "--repo", repo).code == REFUSED
    hf.ok(*shlex.split(point["go_back"])[1:])
    assert count(hf.path("app.db")) == 1007


def test_what_is_no_source_gets_none(hf):
    repo = live(hf)
    hf.write("elsewhere.db", "something")
    for more in (["--to", "new.db"], ["--to", "elsewhere.db", "--confirm", "elsewhere.db"]):
        done = hf.ok("restore", "app", "--repo", repo, *more, "--json")
        assert done.of("recovery_point") == [] and done.summary()["recovery_point"] is None
    assert len(snapshots(hf, repo)) == 1


def test_a_missing_target_needs_none(hf):
    repo = live(hf)
    os.remove(hf.path("app.db"))
    done = hf.ok("restore", "app", "--repo", repo, "--in-place", "--confirm", "app", "--json")
    assert done.of("recovery_point") == [] and count(hf.path("app.db")) == 1000
    hf.backup("sqlite:app.db", "--name", "app", "--repo", repo)


def test_a_replaced_file_is_kept_as_well(hf):
    repo = live(hf)
    os.rename(hf.path("app.db"), hf.path("moved.db"))
    make_database(hf.path("app.db"), 5)
    done = hf.ok("restore", "app", "--repo", repo, "--in-place", "--confirm", "app", "--json")
    hf.ok(*shlex.split(done.of("recovery_point")[0]["go_back"])[1:])
    assert count(hf.path("app.db")) == 5


def test_a_damaged_live_source_stops_the_restore_unless_forced(hf):
    repo = live(hf)
    damage(hf.path("app.db"))
    before = open(hf.path("app.db"), "rb").read()
    restore = ("restore", "app", "--repo", repo, "--in-place", "--confirm", "app")
    failed = hf.run(*restore, check=CORRUPT)
    assert "recovery point" in failed.err and "--force" in failed.err and "nothing was overwritten" in failed.err
    assert open(hf.path("app.db"), "rb").read() == before
    assert len(snapshots(hf, repo)) == 1
    # The way out that the message names first.
    assert hf.run("backup", "sqlite:app.db", "--name", "app", "--repo", repo, "--force").code == 3
    done = hf.ok("restore", "app@" + snapshots(hf, repo)[0]["id"][:12], *restore[2:], "--force", "--json")
    assert done.summary()["recovery_point"] is None
    assert count(hf.path("app.db")) == 1000


def test_plan_says_that_one_would_be_made(hf):
    repo = live(hf)
    plan = ("restore", "app", "--repo", repo, "--in-place", "--plan")
    assert hf.ok(*plan, "--json").lines()[-1]["recovery_point"] is True
    assert hf.ok(*plan, "--force", "--json").lines()[-1]["recovery_point"] is False
    assert "recovery point" in hf.ok(*plan).out
    assert "NO recovery point" in hf.ok(*plan, "--force").out
    assert hf.ok("restore", "app", "--repo", repo, "--to", "x.db", "--plan", "--json").lines()[-1][
        "recovery_point"] is False
    assert len(snapshots(hf, repo)) == 1 and count(hf.path("app.db")) == 1007


def test_configured_source_keeps_its_rules(hf):
    repo = hf.init()
    hf.write("tree/a", "old")
    hf.write("tree/a.tmp", "noise")
    config = hf.write("config.yaml", "sources:\n- { name: tree, type: files, paths: ['%s'], exclude: ['*.tmp'] }\n"
                      % hf.path("tree"))
    hf.ok("backup", "tree", "--repo", repo, "--config", config)
    hf.write("tree/a", "newer")
    done = hf.ok("restore", "tree", "--repo", repo, "--config", config, "--in-place", "--confirm", "tree", "--json")
    point = done.of("recovery_point")[0]["snapshot"]
    listed = hf.ok("ls", "tree@" + point[:12], "--repo", repo, "--config", config, "--recursive")
    assert "a.tmp" not in listed.out and "a" in listed.out


def test_a_refused_restore_makes_none(hf):
    repo = live(hf)
    refused = hf.run("restore", "app", "--repo", repo, "--to", "app.db", check=NOT_EMPTY)
    assert "--confirm app.db" in refused.err
    assert len(snapshots(hf, repo)) == 1 and count(hf.path("app.db")) == 1007


def test_restoring_again_does_not_take_the_recovery_point(hf):
    repo = live(hf)
    first = snapshots(hf, repo)[0]["id"]
    again = ["restore", "app", "--repo", repo, "--in-place", "--confirm", "app", "--json"]
    point = hf.ok(*again).summary()["recovery_point"]
    assert count(hf.path("app.db")) == 1000
    for selector in ("app", "app@latest"):  # as after an interruption: the newest is what was backed up
        done = hf.ok(*again[:1], selector, *again[2:])
        assert done.summary()["snapshot"] == first and "a recovery point" in done.err
    done = hf.ok("restore", "app@" + point[:8], "--repo", repo, "--to", "copy.db")
    assert count(hf.path("copy.db")) == 1007 and "passing over" not in done.err
