"""Packs that are damaged while their size stays: noted, counted on no longer, stored again, and told by name."""
import os
import random
import shutil
import sqlite3

import pytest

CORRUPT = 13


def noise(size, seed):
    return random.Random(seed).randbytes(size)


def content_packs(repo):
    """Packs of content have the id of their data key in the header."""
    found = []
    for folder, _, names in os.walk(os.path.join(repo, "packs")):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                if any(file.read(64)[48:]):
                    found.append(path)
    return sorted(found, key=os.path.getmtime)


def flip(path, offset=None):
    with open(path, "r+b") as file:
        offset = os.path.getsize(path) // 2 if offset is None else offset
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def notes(repo):
    return os.listdir(os.path.join(repo, "damaged")) if os.path.isdir(os.path.join(repo, "damaged")) else []


def database(path):
    db = sqlite3.connect(path)
    db.execute("create table t(a integer primary key, b blob)")
    db.executemany("insert into t values(?, ?)", ((i, noise(600, i)) for i in range(2000)))
    db.commit()
    return db


@pytest.mark.parametrize("found_by", ["verify", "restore"])
def test_the_backup_after_a_flip_heals_the_database(hf, found_by):
    repo = hf.init()
    db = database(hf.path("app.db"))
    source = "sqlite:" + hf.path("app.db")
    hf.backup(source, "--repo", repo)
    db.execute("update t set b = zeroblob(600) where a = 7")
    db.commit()
    hf.backup(source, "--repo", repo)
    wanted = db.execute("select * from t").fetchall()
    flip(content_packs(repo)[0])
    if found_by == "verify":
        done = hf.run("verify", "--level", "3", "--json", "--repo", repo, check=CORRUPT)
        assert "app.db" in "".join(d["reason"] for d in done.of("damaged") if d["object"].startswith("snapshots/"))
        again = hf.run("verify", "--repo", repo, check=CORRUPT)
        assert "found damaged" in again.out, "what is known is not forgotten by a verification that reads less"
    else:
        assert hf.run("restore", source, "--to", "lost.db", "--repo", repo).code == CORRUPT
    assert len(notes(repo)) == 1
    healing = hf.ok("backup", source, "--repo", repo, "--json")
    assert healing.summary()["kind"] == "full" and "stored again" in healing.err
    hf.ok("restore", source, "--to", "new.db", "--repo", repo)
    assert sqlite3.connect(hf.path("new.db")).execute("select * from t").fetchall() == wanted
    # Later backups build on the new packs alone.
    assert hf.backup(source, "--repo", repo)["kind"] == "incremental"


@pytest.mark.parametrize("command", [("backup",), ("backup", "--full")])
def test_a_flip_nobody_found_yet_is_never_an_ok_that_lies(hf, command):
    """Nothing can tell before the bytes are read; after a look at them the very next backup is whole."""
    repo = hf.init()
    hf.write("src/a", noise(3000000, 1))
    hf.backup("files:src", "--repo", repo)
    flip(content_packs(repo)[0])
    hf.run("verify", "--level", "2", "--repo", repo, check=CORRUPT)
    hf.ok(*command, "files:src", "--repo", repo)
    hf.ok("restore", "files:src", "--to", "out", "--repo", repo)
    done = hf.ok("verify", "--level", "3", "--repo", repo, "--json").summary()
    assert done["replaced"] == 1 and done["damaged"] == 0


def test_old_snapshots_come_back_from_the_new_copies(hf):
    repo = hf.init()
    hf.write("src/a", noise(3000000, 1))
    hf.write("src/gone", noise(500000, 2))
    first = hf.backup("files:src", "--repo", repo)["snapshot"]
    os.remove(hf.path("src/gone"))
    pack = content_packs(repo)[0]
    for offset in range(1000, os.path.getsize(pack) - 100, 30000):
        flip(pack, offset)
    hf.run("verify", "--level", "3", "--repo", repo, check=CORRUPT)
    hf.backup("files:src", "--repo", repo)
    done = hf.run("verify", "--level", "3", "--repo", repo, "--json", check=CORRUPT)
    lost = [d["reason"] for d in done.of("damaged") if d["object"].startswith("snapshots/")]
    assert len(lost) == 1 and "file gone" in lost[0] and os.path.relpath(pack, repo) in lost[0]
    assert hf.run("restore", first, "--to", "out", "--repo", repo).code == CORRUPT
    with open(hf.path("out/a"), "rb") as file:
        assert file.read() == noise(3000000, 1)


def test_good_frames_that_only_old_snapshots_need_are_no_damage(hf):
    """After healing, what is left in the damaged pack is good and read from there."""
    repo = hf.init()
    hf.write("src/a", noise(3000000, 1))
    hf.write("src/b", noise(3000000, 2))
    first = hf.backup("files:src", "--repo", repo, "--cpus", "1")["snapshot"]  # so frames of `a` come first
    flip(content_packs(repo)[0], 300)
    done = hf.run("verify", "--level", "3", "--repo", repo, check=CORRUPT)
    assert "file a" in done.out and "file b" not in done.out and "back up again" in done.err
    os.remove(hf.path("src/b"))
    hf.backup("files:src", "--repo", repo)
    for level in "3", "1", "3":
        done = hf.ok("verify", "--level", level, "--repo", repo, "--json").summary()
        assert done["replaced"] == 1 and done["damaged"] == 0
    hf.ok("restore", first, "--to", "out", "--repo", repo)
    for name, seed in ("a", 1), ("b", 2):
        with open(hf.path("out", name), "rb") as file:
            assert file.read() == noise(3000000, seed)


def test_lost_segments_cost_nothing_but_time(hf):
    repo = hf.init()
    hf.write("src/a", noise(3000000, 1))
    first = hf.backup("files:src", "--repo", repo)["snapshot"]
    shutil.rmtree(os.path.join(repo, "index"))
    failed = hf.run("verify", "--repo", repo, check=CORRUPT)
    assert "a segment is missing" in failed.out and "copy" in failed.err
    hf.ok("restore", first, "--to", "out", "--repo", repo)
    with open(hf.path("out/a"), "rb") as file:
        assert file.read() == noise(3000000, 1)
    hf.ok("backup", "files:src", "--repo", repo)
    hf.ok("restore", "files:src", "--to", "out2", "--repo", repo)


def test_damage_of_one_source_costs_the_others_nothing(hf):
    repo = hf.init()
    for name in ("one", "two"):
        hf.write(name + "/a", noise(2000000, name))
        hf.backup("files:" + name, "--name", name, "--repo", repo)
    flip(content_packs(repo)[0])
    hf.run("verify", "--level", "2", "--repo", repo, check=CORRUPT)
    other = hf.backup("files:two", "--name", "two", "--repo", repo)
    assert other["kind"] == "incremental" and other["new_bytes"] < 10000 and other["warnings"] == 0
    one = hf.backup("files:one", "--name", "one", "--repo", repo)
    assert one["kind"] == "full" and one["new_bytes"] >= 2000000


def test_packs_are_read_in_pieces(hf):
    """More than one read for a pack; frames lie across the ends of what is read at once."""
    repo = hf.init()
    hf.write("src/a", noise(30000000, 1))
    hf.backup("files:src", "--repo", repo)
    assert hf.ok("verify", "--level", "3", "--repo", repo, "--json").summary()["frames"] > 50
    pack = content_packs(repo)[0]
    for offset in (8388608 - 5, 8388608 + 5, 16777216 + 70000, 25000000):
        flip(pack, offset)
        done = hf.run("verify", "--level", "3", "--repo", repo, "--json", check=CORRUPT)
        assert os.path.relpath(pack, repo) in [d["object"] for d in done.of("damaged")]
        flip(pack, offset)
        assert hf.ok("verify", "--level", "3", "--repo", repo, "--json").summary()["mended"] == 1


def test_a_pack_put_right_loses_its_note(hf):
    repo = hf.init()
    hf.write("src/a", noise(1000000, 1))
    hf.backup("files:src", "--repo", repo)
    pack = content_packs(repo)[0]
    shutil.copy(pack, hf.path("kept"))
    flip(pack)
    hf.run("verify", "--level", "2", "--repo", repo, check=CORRUPT)
    shutil.copy(hf.path("kept"), pack)
    hf.run("verify", "--level", "2", "--repo", repo, check=CORRUPT)  # the stripes are fine: the frames must be seen
    done = hf.ok("verify", "--level", "3", "--repo", repo, "--json").summary()
    assert done["mended"] == 1 and notes(repo) == []
    assert hf.backup("files:src", "--repo", repo)["kind"] == "incremental"


@pytest.mark.parametrize("where", [4, 40, 70, 100, -1])
def test_a_note_that_is_damaged_itself_still_counts(hf, where):
    repo = hf.init()
    hf.write("src/a", noise(1000000, 1))
    hf.backup("files:src", "--repo", repo)
    flip(content_packs(repo)[0])
    hf.run("verify", "--level", "2", "--repo", repo, check=CORRUPT)
    (note,) = notes(repo)
    path = os.path.join(repo, "damaged", note)
    flip(path, where % os.path.getsize(path))
    named = hf.run("verify", "--level", "0", "--repo", repo, "--json", check=CORRUPT).of("damaged")
    assert "damaged/" + note in [d["object"] for d in named]
    assert hf.backup("files:src", "--repo", repo)["kind"] == "full"
    hf.ok("restore", "files:src", "--to", "out", "--repo", repo)


def test_damage_that_cannot_be_noted_is_said(hf):
    repo = hf.init()
    hf.write("src/a", noise(1000000, 1))
    hf.backup("files:src", "--repo", repo)
    flip(content_packs(repo)[0])
    hf.write("repo/damaged", "no directory")
    failed = hf.run("verify", "--level", "2", "--repo", repo, check=CORRUPT)
    assert "could not be noted" in failed.err


def test_a_lost_data_key_is_no_loss_while_the_source_is_there(hf):
    repo = hf.init()
    hf.write("src/a", noise(1000000, 1))
    first = hf.backup("files:src", "--repo", repo)["snapshot"]
    folder = os.path.join(repo, "keyring", "00000000", "data")
    (key,) = os.listdir(folder)
    os.remove(os.path.join(folder, key))
    failed = hf.run("verify", "--repo", repo, check=CORRUPT)
    assert "data key" in failed.out
    assert hf.run("restore", first, "--to", "out", "--repo", repo).code == CORRUPT
    assert hf.backup("files:src", "--repo", repo)["kind"] == "full"
    shutil.rmtree(hf.path("out"), ignore_errors=True)
    hf.ok("restore", first, "--to", "out", "--repo", repo)
    hf.ok("verify", "--level", "3", "--repo", repo)


def test_a_pack_of_another_version_is_noted(hf):
    repo = hf.init()
    hf.write("src/a", noise(1000000, 1))
    hf.backup("files:src", "--repo", repo)
    pack = content_packs(repo)[0]
    for offset in 4, os.path.getsize(pack) - 60:  # the header's and the trailer's version
        flip(pack, offset)
        done = hf.run("verify", "--level", "3", "--repo", repo, check=CORRUPT)
        assert os.path.relpath(pack, repo) in done.out and notes(repo) == [os.path.basename(pack)]
        flip(pack, offset)
        hf.ok("verify", "--level", "3", "--repo", repo)


@pytest.mark.parametrize("damaged", ["plans/00000001", "series"])
def test_a_full_backup_is_not_tried_where_it_cannot_help(hf, damaged):
    repo = hf.init()
    hf.write("src/a", "a")
    hf.backup("files:src", "--repo", repo)
    if damaged == "series":
        (series,) = os.listdir(os.path.join(repo, "series"))
        damaged = os.path.join("series", series, "00000001")
    hf.write(os.path.join("repo", damaged), "junk")
    failed = hf.run("backup", "files:src", "--repo", repo, check=CORRUPT)
    assert "in full" not in failed.err and failed.err.count(damaged) == 1 and "hint: " in failed.err
