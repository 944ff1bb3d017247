"""init, backup, restore, ls and verify as an operator runs them: round trips, JSON, exit codes."""
import json
import os
import random
import re
import signal
import sqlite3
import stat
import subprocess
import time

import pytest

USAGE, PARTIAL, NO_REPOSITORY, REFUSED, WRONG_KEY, CORRUPT, NOT_EMPTY, UNREACHABLE = 2, 3, 10, 11, 12, 13, 14, 15
SUMMARY_FIELDS = {"type", "v", "job", "source", "snapshot", "result", "read_bytes", "new_bytes", "stored_bytes", "files",
                  "duration_seconds", "log_position", "repository"}


def make_database(path, rows=2000, seed=1):
    rng = random.Random(seed)
    db = sqlite3.connect(path)
    db.execute("create table if not exists orders(id integer primary key, name text not null, amount real)")
    db.executemany("insert into orders(name, amount) values(?, ?)",
                   ((rng.randbytes(20).hex(), rng.random()) for _ in range(rows)))
    db.commit()
    db.close()


def rows_of(path):
    db = sqlite3.connect(path)
    assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
    rows = db.execute("select * from orders order by id").fetchall()
    db.close()
    return rows


def make_tree(root):
    os.makedirs(os.path.join(root, "d", "deep"))
    with open(os.path.join(root, "a.txt"), "w") as file:
        file.write("alpha\n")
    with open(os.path.join(root, "d", "b.bin"), "wb") as file:
        file.write(random.Random(2).randbytes(300000))
    with open(os.path.join(root.encode(), b"d", b"n\xffme\n"), "w") as file:
        file.write("any bytes\n")
    os.symlink("a.txt", os.path.join(root, "link"))
    os.link(os.path.join(root, "a.txt"), os.path.join(root, "hard"))
    os.chmod(os.path.join(root, "d", "b.bin"), 0o640)


def tree_of(root):
    """Everything below root that a restore must bring back."""
    root = os.fsencode(root)
    found = {}
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            content = None
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            if stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            found[os.path.relpath(path, root)] = (st.st_mode, st.st_nlink if content is not None else 0,
                                                  st.st_mtime_ns, content)
    return found


# ---- init -----------------------------------------------------------------------------------------------------------


def test_init_makes_a_key_file_and_shows_the_recovery_code(hf):
    made = hf.ok("init", "--repo", "repo", "--json").of("repository")
    assert len(made) == 1
    assert re.fullmatch(r"([0-9A-Z]{5}-){7}[0-9A-Z]{5}", made[0]["recovery_code"])
    assert stat.S_IMODE(os.stat(hf.key).st_mode) == 0o600
    assert len(open(hf.key).read()) == 64
    assert stat.S_IMODE(os.stat(hf.path("repo")).st_mode) == 0o700
    assert hf.run("init", "--repo", "repo").code == REFUSED


def test_init_of_several_repositories_gives_each_its_own_code(hf):
    made = hf.ok("init", "--repo", "r1", "--repo", "r2", "--json").of("repository")
    assert len({doc["recovery_code"] for doc in made}) == 2
    assert len({doc["id"] for doc in made}) == 2


def test_init_never_takes_a_directory_that_holds_something(hf):
    hf.write("repo/notes.txt", "mine")
    assert hf.run("init", "--repo", "repo").code == NOT_EMPTY
    assert os.listdir(hf.path("repo")) == ["notes.txt"]
    assert not os.path.exists(hf.key), "a key file was left that opens nothing"


def test_create_key_file_never_overwrites(hf):
    hf.write("other", "0123456789abcdef")
    env = {"HOLDFAST_KEY_FILE": None}
    assert hf.run("init", "--repo", "repo", "--create-key-file", "other", env=env).code != 0
    assert open(hf.path("other")).read() == "0123456789abcdef"
    hf.ok("init", "--repo", "repo", "--create-key-file", "new", env=env)
    hf.ok("ls", "--repo", "repo", "--key-file", "new", env=env)


def test_passphrase_from_variable_and_from_file(hf):
    env = {"HOLDFAST_KEY_FILE": None, "HOLDFAST_PASSPHRASE": "correct horse"}
    hf.ok("init", "--repo", "repo", env=env)
    hf.ok("ls", "--repo", "repo", env=env)
    hf.write("pass", "correct horse\n")
    os.chmod(hf.path("pass"), 0o600)
    hf.ok("ls", "--repo", "repo", "--passphrase-file", "pass", env={"HOLDFAST_KEY_FILE": None})
    assert hf.run("ls", "--repo", "repo", env=dict(env, HOLDFAST_PASSPHRASE="wrong")).code == WRONG_KEY


# ---- round trips ----------------------------------------------------------------------------------------------------


def test_sqlite_round_trip(hf):
    repo = hf.init()
    make_database(hf.path("app.db"))
    before = rows_of(hf.path("app.db"))
    first = hf.backup("sqlite:app.db", "--repo", repo, "--label", "release=1", "--description", "before")
    make_database(hf.path("app.db"), rows=50, seed=3)
    second = hf.backup("sqlite:app.db", "--repo", repo)
    assert (first["kind"], second["kind"]) == ("full", "incremental")
    assert second["stored_bytes"] < first["stored_bytes"] / 4
    done = hf.ok("restore", "sqlite:app.db", "--repo", repo, "--to", "new.db", "--json").summary()
    assert done["checks_passed"] == done["checks_total"] > 0
    assert done["target"] == hf.path("new.db")
    assert rows_of(hf.path("new.db")) == rows_of(hf.path("app.db"))
    hf.ok("restore", "sqlite:app.db@" + first["snapshot"][:8], "--repo", repo, "--to", "old.db")
    assert rows_of(hf.path("old.db")) == before


def test_files_round_trip_of_everything_a_tree_can_hold(hf):
    repo = hf.init()
    make_tree(hf.path("tree"))
    first = hf.backup("files:tree", "--repo", repo)
    again = hf.backup("files:tree", "--repo", repo)
    assert first["files"] == again["files"] > 0
    assert again["new_bytes"] < 10000
    hf.ok("restore", "files:tree", "--repo", repo, "--to", "out")
    assert tree_of(hf.path("out")) == tree_of(hf.path("tree"))
    hf.ok("restore", "files:tree", "--repo", repo, "--to", "part", "--only", "d/deep,a.txt")
    assert sorted(os.listdir(hf.path("part"))) == ["a.txt", "d"]
    assert os.listdir(hf.path("part", "d")) == ["deep"]


def test_command_round_trip_into_a_file_and_into_a_command(hf):
    repo = hf.init()
    hf.backup("command:seq 1 50000", "--name", "numbers", "--repo", repo)
    expected = "".join("%d\n" % n for n in range(1, 50001))
    done = hf.ok("restore", "numbers", "--repo", repo, "--to", "out.txt", "--json").summary()
    assert open(hf.path("out.txt")).read() == expected
    assert done["bytes"] == len(expected) and done["files"] == 1
    hf.ok("restore", "numbers", "--repo", repo, "--restore-command", "cat > piped.txt")
    assert open(hf.path("piped.txt")).read() == expected
    assert hf.run("restore", "numbers", "--repo", repo, "--restore-command", "cat > /dev/null; exit 3").code == 1


def test_every_kind_of_snapshot_is_complete_by_itself(hf):
    repo = hf.init()
    kinds = []
    for flag in ("--incremental", "--incremental", "--differential", "--full", "--differential"):
        make_database(hf.path("app.db"), rows=20, seed=len(kinds))
        kinds.append(hf.backup("sqlite:app.db", "--repo", repo, flag)["kind"])
    assert kinds == ["full", "incremental", "differential", "full", "differential"]
    hf.ok("restore", "sqlite:app.db", "--repo", repo, "--to", "new.db")
    assert rows_of(hf.path("new.db")) == rows_of(hf.path("app.db"))


def test_two_repositories_get_the_same(hf):
    hf.init("r1"), hf.init("r2")
    make_tree(hf.path("tree"))
    done = hf.ok("backup", "files:tree", "--repo", "r1", "--repo", "r2", "--json").of("summary")
    assert [d["repository"] for d in done] == [hf.path("r1"), hf.path("r2")]
    assert {d["result"] for d in done} == {"ok"}
    for name in ("r1", "r2"):
        hf.ok("restore", "files:tree", "--repo", name, "--to", "out-" + name)
        assert tree_of(hf.path("out-" + name)) == tree_of(hf.path("tree"))


def test_a_repository_that_is_away_keeps_nothing_from_the_other(hf):
    hf.init("r1")
    hf.write("tree/a", "a")
    done = hf.run("backup", "files:tree", "--repo", "r1", "--repo", "away", "--json", check=NO_REPOSITORY)
    results = {os.path.basename(d["repository"]): d["result"] for d in done.of("summary")}
    assert results == {"r1": "ok", "away": "failed"}
    assert len(hf.ok("ls", "--repo", "r1", "--json").of("snapshot")) == 1
    listed = hf.run("ls", "--repo", "r1", "--repo", "away", "--json", check=NO_REPOSITORY)
    assert len(listed.of("snapshot")) == 1
    hf.ok("restore", "files:tree", "--repo", "away", "--repo", "r1", "--to", "out")


def test_verify_after_backup_proves_the_snapshot_and_leaves_nothing(hf):
    repo = hf.init()
    make_database(hf.path("app.db"))
    done = hf.backup("sqlite:app.db", "--repo", repo, "--verify=comprehensive")
    assert done["check_level"] == "comprehensive"
    assert done["checks_passed"] == done["checks_total"] > 0
    assert os.listdir(hf.path("state", "scratch")) == []


def test_restore_over_something_needs_its_name(hf):
    repo = hf.init()
    make_database(hf.path("app.db"))
    hf.backup("sqlite:app.db", "--name", "app", "--repo", repo)
    good = rows_of(hf.path("app.db"))
    make_database(hf.path("app.db"), rows=10)
    hf.write("other.db", "something else")
    restore = ("restore", "app", "--repo", repo)
    assert hf.run(*restore, "--to", "other.db").code == NOT_EMPTY
    assert hf.run(*restore, "--to", "other.db", "--confirm", "wrong").code == USAGE
    assert open(hf.path("other.db")).read() == "something else"
    hf.ok(*restore, "--to", "other.db", "--confirm", "other.db")
    assert rows_of(hf.path("other.db")) == good
    assert hf.run(*restore, "--in-place").code == USAGE
    assert len(rows_of(hf.path("app.db"))) == len(good) + 10
    hf.ok(*restore, "--in-place", "--confirm", "app")
    assert rows_of(hf.path("app.db")) == good
    # It is the same source as before: no "adopt" is asked for.
    hf.backup("sqlite:app.db", "--name", "app", "--repo", repo)


def test_plan_writes_nothing(hf):
    repo = hf.init()
    make_database(hf.path("app.db"))
    planned = hf.ok("backup", "sqlite:app.db", "--repo", repo, "--plan", "--json").lines()
    assert [(d["type"], d["kind"], d["members"]) for d in planned] == [("plan", "full", 1)]
    assert hf.ok("ls", "--repo", repo, "--json").lines() == []
    hf.backup("sqlite:app.db", "--repo", repo)
    plan = hf.ok("restore", "sqlite:app.db", "--repo", repo, "--to", "new.db", "--plan", "--json").lines()[-1]
    assert plan["bytes"] == os.path.getsize(hf.path("app.db"))
    assert 0 < plan["fetch_bytes"] < plan["bytes"] and plan["missing_frames"] == 0
    assert plan["would_overwrite"] is False and not os.path.exists(hf.path("new.db"))


# ---- what is printed ------------------------------------------------------------------------------------------------


def test_summary_and_snapshot_lines_have_their_fields(hf):
    repo = hf.init()
    hf.write("tree/a", "a" * 1000)
    done = hf.backup("files:tree", "--repo", repo, "--label", "k=v", "--label", "x=y z")
    assert SUMMARY_FIELDS <= set(done)
    assert done["result"] == "ok" and done["files"] == 1 and done["read_bytes"] == 1000
    assert re.fullmatch(r"[0-9a-f]{32}", done["snapshot"])
    (listed,) = hf.ok("ls", "--repo", repo, "--json").lines()
    assert listed["type"] == "snapshot" and listed["v"] == 1
    assert listed["id"] == done["snapshot"] and listed["engine"] == "files"
    assert listed["size_bytes"] == 1000 and listed["labels"] == {"k": "v", "x": "y z"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", listed["time"])
    assert len(hf.ok("ls", "--repo", repo, "--json", "--label", "k=v").lines()) == 1
    assert hf.ok("ls", "--repo", repo, "--json", "--label", "k=other").lines() == []


def test_text_for_people_names_what_counts(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    out = hf.ok("backup", "files:tree", "--repo", repo).out
    assert "snapshot" in out and "stored as" in out
    table = hf.ok("ls", "--repo", repo).out.splitlines()
    assert table[0].split()[:4] == ["ID", "TIME", "SOURCE", "KIND"] and len(table) == 2
    assert hf.ok("backup", "files:tree", "--repo", repo, "--quiet").out == ""


def test_ls_shows_what_a_snapshot_holds(hf):
    repo = hf.init()
    make_tree(hf.path("tree"))
    hf.backup("files:tree", "--repo", repo)
    paths = lambda *args: [d["path"] for d in hf.ok("ls", "--repo", repo, "--json", *args).of("entry")]
    assert paths("files:tree@latest") == ["a.txt", "d", "hard", "link"]
    assert paths("files:tree", "d") == ["d/b.bin", "d/deep", "d/n\\xffme\\x0a"]
    assert paths("files:tree", "d/b.bin") == ["d/b.bin"]
    assert len(paths("files:tree@latest", "--recursive")) == 7
    assert hf.run("ls", "--repo", repo, "files:tree", "nothing").code == 1
    long = hf.ok("ls", "--repo", repo, "files:tree", "d", "--long").out.splitlines()
    assert long[0].startswith("-rw-r----- ") and " 300000 " in long[0] and long[0].endswith(" d/b.bin")


def test_errors_with_json_are_json_on_standard_error(hf):
    done = hf.run("ls", "--repo", "nowhere", "--json", check=NO_REPOSITORY)
    assert done.out == ""
    assert '"type":"error"' in done.err and '"exit":10' in done.err and '"hint":' in done.err


# ---- what goes wrong ------------------------------------------------------------------------------------------------


def test_exit_codes(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    hf.backup("files:tree", "--repo", repo)
    hf.write("wrong", "another key that is long enough")
    os.chmod(hf.path("wrong"), 0o600)
    assert hf.run("ls", "--repo", repo, "--key-file", "wrong").code == WRONG_KEY
    assert hf.run("ls", "--repo", repo, env={"HOLDFAST_KEY_FILE": None}).code == USAGE
    assert hf.run("ls", "--repo", "nowhere").code == NO_REPOSITORY
    assert hf.run("ls").code == USAGE
    assert hf.run("ls", "--repo", "s3://bucket/x").code == 1
    assert hf.run("backup", "--repo", repo).code == USAGE
    assert hf.run("backup", "tree", "--repo", repo).code == USAGE
    assert hf.run("backup", "files:tree", "--repo", repo, "--label", "x").code == USAGE
    assert hf.run("restore", "files:tree", "--repo", repo).code == USAGE
    for source in ("sqlite:no.db", "files:nothing", "command:exit 3"):
        done = hf.run("backup", source, "--repo", repo, "--json")
        assert done.code == UNREACHABLE, source
        assert done.summary()["result"] == "failed" and done.summary()["snapshot"] is None
    assert len(hf.ok("ls", "--repo", repo, "--json").of("snapshot")) == 1
    assert hf.run("restore", "nobody", "--repo", repo, "--to", "x").code == 1
    assert hf.run("restore", "files:tree@-5d", "--repo", repo, "--to", "x").code == 1


def test_several_sources_go_on_after_a_failure(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    done = hf.run("backup", "command:false", "files:tree", "files:nothing", "--repo", repo, "--json", check=UNREACHABLE)
    assert [d["result"] for d in done.of("summary")] == ["failed", "ok", "failed"]
    assert done.err.count('"type":"error"') == 2


def as_nobody(hf):
    """Arguments for a run as another user, who has a folder of its own in the home."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become another user")
    os.mkdir(hf.path("nobody"))
    os.chown(hf.path("nobody"), 65534, 65534)
    for folder in (hf.home, os.path.dirname(hf.home), os.path.dirname(os.path.dirname(hf.home))):
        os.chmod(folder, 0o755)
    more = {"env": {"HOLDFAST_STATE_DIR": hf.path("nobody", "state")}, "user": 65534, "group": 65534}
    if hf.run("--version", **more).code != 0:
        pytest.skip("the program cannot be reached by another user here")
    return more


def test_unreadable_file_makes_the_backup_partial(hf):
    more = as_nobody(hf)
    repo = hf.path("nobody", "repo")
    more["env"]["HOLDFAST_KEY_FILE"] = hf.path("nobody", "key")
    hf.ok("init", "--repo", repo, **more)
    hf.write("tree/a", "a")
    os.chmod(hf.write("tree/b", "b"), 0)
    done = hf.run("backup", "files:tree", "--repo", repo, "--json", check=PARTIAL, **more)
    assert done.summary()["result"] == "partial" and done.summary()["files"] == 1
    assert ["b", "partial"] in [[doc.get("path"), doc.get("level")] for doc in map(json.loads, done.err.splitlines())]
    (listed,) = hf.ok("ls", "--repo", repo, "--json", **more).lines()
    assert listed["partial"] is True
    assert "partial" in hf.ok("ls", "--repo", repo, **more).out


def packs_of(repo):
    found = []
    for folder, _, names in os.walk(os.path.join(repo, "packs")):
        found += [os.path.join(folder, name) for name in names]
    return sorted(found, key=os.path.getsize)


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def test_damaged_pack_is_named_and_costs_only_what_needs_it(hf):
    repo = hf.init()
    hf.write("one/big", random.Random(5).randbytes(2000000))
    hf.write("two/small", "small")
    hf.backup("files:one", "--name", "one", "--repo", repo)
    hf.backup("files:two", "--name", "two", "--repo", repo)
    assert hf.ok("verify", "--repo", repo, "--level", "3", "--json").summary()["damaged"] == 0
    pack = packs_of(repo)[-1]
    flip(pack, 500000)
    done = hf.run("verify", "--repo", repo, "--level", "2", "--json", check=CORRUPT)
    damaged = done.of("damaged")
    assert damaged[0]["object"] == os.path.relpath(pack, repo)
    assert damaged[1]["object"].startswith("snapshots/") and "file big" in damaged[1]["reason"]
    assert done.summary()["damaged"] == 2 and done.summary()["result"] == "failed"
    assert hf.run("restore", "one", "--repo", repo, "--to", "out-one").code == CORRUPT
    hf.ok("restore", "two", "--repo", repo, "--to", "out-two")
    os.remove(pack)
    done = hf.run("verify", "--repo", repo, "--level", "0", "--json", check=CORRUPT)
    assert os.path.relpath(pack, repo) in [d["object"] for d in done.of("damaged")]
    # The source still exists: the next backup stores again what is lost.
    hf.backup("files:one", "--name", "one", "--repo", repo, "--full")
    hf.ok("restore", "one", "--repo", repo, "--to", "healed")
    assert tree_of(hf.path("healed")) == tree_of(hf.path("one"))


def test_coverage_reads_a_share_and_remembers(hf):
    repo = hf.init()
    for n in range(6):
        hf.write("t%d/data" % n, random.Random(n).randbytes(200000))
        hf.backup("files:t%d" % n, "--name", "t%d" % n, "--repo", repo)
    packs = len(packs_of(repo))
    seen, runs = 0, 0
    while seen < packs and runs < 3 * packs:
        done = hf.ok("verify", "--repo", repo, "--coverage", "3d", "--json").summary()
        assert done["level"] == 3 and done["packs"] + done["packs_skipped"] == packs
        seen, runs = seen + done["packs"], runs + 1
    assert runs > 1, "the first run read everything at once"
    assert hf.ok("verify", "--repo", repo, "--coverage", "3d", "--json").summary()["packs"] == 0


def test_read_only_repository_can_be_listed_verified_and_restored(hf):
    more = as_nobody(hf)
    repo = hf.init()
    hf.write("tree/a", "alpha")
    hf.backup("files:tree", "--repo", repo)
    for folder, _, names in os.walk(repo):
        os.chmod(folder, 0o555)
        for name in names:
            os.chmod(os.path.join(folder, name), 0o444)
    os.chmod(hf.key, 0o444)
    assert len(hf.ok("ls", "--repo", repo, "--json", **more).lines()) == 1
    hf.ok("verify", "--repo", repo, "--level", "3", **more)
    hf.ok("restore", "files:tree", "--repo", repo, "--to", hf.path("nobody", "out"), **more)
    assert open(hf.path("nobody", "out", "a")).read() == "alpha"
    done = hf.run("backup", "command:echo x", "--repo", repo, **more)
    assert done.code == 1 and "denied" in done.err.lower()
    # A state directory that cannot be made is replaced by a temporary one, which is said.
    more["env"] = {"HOLDFAST_STATE_DIR": hf.path("forbidden", "state")}
    done = hf.ok("ls", "--repo", repo, **more)
    assert "nothing is kept there" in done.err


def test_another_source_under_the_same_name_is_refused(hf):
    repo = hf.init()
    make_database(hf.path("app.db"))
    hf.backup("sqlite:app.db", "--name", "app", "--repo", repo)
    hf.write("tree/a", "a")
    done = hf.run("backup", "files:tree", "--name", "app", "--repo", repo, check=REFUSED)
    assert "adopt" in done.err


# ---- being stopped --------------------------------------------------------------------------------------------------


def test_sigint_stops_cleanly_and_the_next_run_succeeds(hf):
    repo = hf.init()
    hf.write("tree/a", random.Random(9).randbytes(100000))
    process = hf.start("backup", "command:echo begun > started; sleep 60", "--repo", repo, "--name", "slow", "--json")
    deadline = time.monotonic() + 30
    while not os.path.exists(hf.path("started")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT, err
    assert '"result":"failed"' in out
    assert hf.ok("ls", "--repo", repo, "--json").lines() == []
    assert os.listdir(hf.path("state", "scratch")) == []
    hf.backup("files:tree", "--repo", repo)
    hf.ok("verify", "--repo", repo, "--level", "3")


def test_scratch_of_a_killed_run_is_removed_by_the_next(hf):
    repo = hf.init()
    process = hf.start("backup", "command:echo begun > started; sleep 60", "--repo", repo, "--name", "slow")
    deadline = time.monotonic() + 30
    while not os.path.exists(hf.path("started")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)
    assert len(os.listdir(hf.path("state", "scratch"))) == 1
    hf.ok("ls", "--repo", repo)
    assert os.listdir(hf.path("state", "scratch")) == []


# ---- configuration --------------------------------------------------------------------------------------------------


def test_configured_names_keys_and_hooks(hf):
    make_database(hf.path("app.db"))
    hf.write("holdfast.yaml", """
repositories:
  - { name: local, url: %(home)s/repo, key: { file: %(home)s/local.key } }
  - { name: second, url: "file://%(home)s/repo2", key: { file: %(home)s/second.key } }
sources:
  - name: app
    type: sqlite
    paths: [%(home)s/app.db]
    repositories: [local]
    hooks:
      before_backup: { command: "echo before >> %(home)s/hooks", timeout: 10s }
      after_backup: { command: "echo after >> %(home)s/hooks" }
      after_restore: { command: "echo restored >> %(home)s/hooks" }
  - name: blocked
    type: command
    command: "echo never"
    hooks: { before_backup: { command: "sleep 60", timeout: 1s } }
verify: { after_restore: quick }
""" % {"home": hf.home})
    env = {"HOLDFAST_KEY_FILE": None, "HOLDFAST_CONFIG": hf.path("holdfast.yaml")}
    for name in ("local", "second"):
        hf.ok("init", "--repo", name, "--create-key-file", name + ".key", env=env)
    done = hf.ok("backup", "app", "--json", env=env).of("summary")
    assert [d["repository"] for d in done] == ["local"]
    done = hf.ok("restore", "app", "--to", "new.db", "--json", env=env).summary()
    assert done["repository"] == "local" and done["check_level"] == "quick"
    assert rows_of(hf.path("new.db")) == rows_of(hf.path("app.db"))
    assert open(hf.path("hooks")).read().split() == ["before", "after", "restored"]
    # The path of a configured repository is that repository, key included.
    assert len(hf.ok("ls", "--repo", hf.path("repo"), "--json", env=env).lines()) == 1
    started = time.monotonic()
    done = hf.run("backup", "blocked", "--json", env=env)
    assert done.code == 1 and "before_backup" in done.err and time.monotonic() - started < 50
    assert {d["result"] for d in done.of("summary")} == {"failed"}
    assert hf.run("backup", "ap", env=env).code == USAGE


def test_no_secret_is_printed_or_recorded(hf):
    env = {"HOLDFAST_KEY_FILE": None, "HOLDFAST_PASSPHRASE": "unspeakable-phrase"}
    hf.ok("init", "--repo", "repo", env=env)
    hf.write("tree/a", "a")
    texts = []
    for args in (("backup", "files:tree"), ("ls",), ("verify",), ("restore", "files:tree", "--to", "out")):
        done = hf.ok(*args, "--repo", "repo", "-vv", env=env)
        texts += [done.out, done.err]
    hf.ok("backup", "command:env", "--name", "env", "--repo", "repo", env=env)
    hf.ok("restore", "env", "--repo", "repo", "--to", "env.txt", env=env)
    texts.append(open(hf.path("env.txt")).read())
    assert not any("unspeakable" in text for text in texts)
    found = subprocess.run(["grep", "-rl", "unspeakable", hf.path("state"), hf.path("repo")], stdout=subprocess.PIPE)
    assert found.stdout == b""
