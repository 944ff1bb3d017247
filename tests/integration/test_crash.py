"""SIGKILL at any instant of a backup, a restore or an init, while an application writes to the database.

After each: what the repository lists restores to a committed state and verifies, what had been committed before is
listed still, the next run of the same command succeeds, and the application's own files are as it left them.
HOLDFAST_CRASH_ROUNDS says how many rounds (30); everything random comes from fixed seeds (HOLDFAST_SEED).
"""
import json
import os
import re
import shutil
import time

import pytest

import ledger
import trees
from killing import (CALLS, LiveDatabase, can_trace, kill_after, kill_at_call, kill_somewhere, popen, rounds, seed,
                     wait_until)

REFUSED, NO_REPOSITORY, NOT_EMPTY = 11, 10, 14


def snapshots_of(hf, repo):
    return {doc["id"]: doc for doc in hf.ok("ls", "--json", "--repo", repo).of("snapshot")}


class Restores:
    """Restores snapshots and compares each with a state that the writer committed."""

    def __init__(self, hf, repo, database, source):
        self.hf, self.repo, self.database, self.source = hf, repo, database, source
        self.found = {}  # sequence number by snapshot

    def check(self, snapshot, at_least=0):
        target = self.hf.path("copy.db")
        self.hf.ok("restore", "%s@%s" % (self.source, snapshot), "--to", target, "--verify=none", "--repo", self.repo)
        try:
            seq = self.database.check(target)
        finally:
            os.unlink(target)
        assert seq >= at_least, "snapshot %s holds commit %d, but %d was there before" % (snapshot, seq, at_least)
        assert self.found.setdefault(snapshot, seq) == seq, "snapshot %s was another before" % snapshot
        assert not [name for name in os.listdir(self.hf.home) if name.startswith("copy.db")]
        return seq


class StateDirectory:
    """Loses the state directory now and then, or puts back a copy of an earlier one, as a clone of a machine would."""

    def __init__(self, hf):
        self.path, self.saved = hf.path("state"), hf.path("saved-state")

    def disturb(self, rng):
        """Not the host's identity: without it the source would count as another machine's."""
        chance = rng.random()
        if chance < 0.12:
            self.lose()
        elif chance < 0.24 and os.path.exists(self.saved):
            shutil.rmtree(self.path)
            shutil.copytree(self.saved, self.path)
        elif chance < 0.36:
            shutil.rmtree(self.saved, ignore_errors=True)
            shutil.copytree(self.path, self.saved)

    def lose(self):
        for name in os.listdir(self.path):
            path = os.path.join(self.path, name)
            if name != "host_id":
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def options_of_round(rng):
    """Some are slow, so that the writer does a lot meanwhile, some read everything again."""
    options = ["--full"] if rng.random() < 0.3 else []
    return options + rng.choice([[], [], ["--limit-read", "40MiB"], ["--limit-upload", "20MiB"], ["--cpus", "1"]])


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_backup_killed_under_write_load(hf, journal):
    rng, repo = seed("backup " + journal), hf.init()
    database = LiveDatabase(hf, journal=journal)
    source, state, trace = "sqlite:" + database.path, StateDirectory(hf), can_trace(hf.program)
    restores = Restores(hf, repo, database, source)
    listed, killed, longest_s = {}, 0, 0.1
    try:
        for number in range(rounds(hf.program, 30 if journal == "wal" else 6)):
            state.disturb(rng)
            crashed = rng.random() < 0.12
            if crashed:
                database.kill()
            own = database.own_files() if crashed else None
            before = database.committed()
            recover = ["--recover-copy"] if crashed else []
            run = kill_somewhere(hf, rng, longest_s * 1.2, trace, "backup", source, "--repo", repo, *recover,
                                 *options_of_round(rng))
            killed += not run.done
            now = snapshots_of(hf, repo)
            assert set(listed) <= set(now), "%s: snapshots were lost" % run.how
            assert len(now) - len(listed) in ((1,) if run.done else (0, 1)), run.how
            for snapshot in set(now) - set(listed):
                restores.check(snapshot, before)
            listed = now

            before, began = database.committed(), time.monotonic()
            after = hf.backup(source, "--repo", repo, *recover)
            longest_s = max(0.05, (longest_s + time.monotonic() - began) / 2)
            restores.check(after["snapshot"], before)
            if crashed:
                assert database.own_files() == own, "%s: the application's files were touched" % run.how
                database.start()
            if listed:
                restores.check(rng.choice(sorted(listed)))
            listed = snapshots_of(hf, repo)
            assert after["snapshot"] in listed
            hf.ok("verify", "--level", "3" if number % 10 == 9 else "1", "--repo", repo)
    finally:
        database.kill()
    for snapshot in listed:
        restores.check(snapshot)
    assert killed > 0 or number < 9
    assert os.listdir(hf.path("state", "scratch")) == []
    own = database.own_files()
    hf.ok("backup", source, "--repo", repo, "--recover-copy")
    assert database.own_files() == own
    database.check_live()
    check_no_key_twice(repo)
    print("\n%s: %d killed, %d snapshots restored, last commit %d" % (journal, killed, len(listed),
                                                                      database.committed()))


def test_backup_killed_at_each_call(hf):
    """The same place of a small backup each time: one call further every time, until the backup ends before it."""
    if not can_trace(hf.program):
        pytest.skip("no strace, or it may not trace this program")
    repo = hf.init()
    database = LiveDatabase(hf, size_bytes=1 << 20)
    database.kill()
    source = "sqlite:" + database.path
    restores = Restores(hf, repo, database, source)
    own, listed = database.own_files(), {}
    for call in CALLS:
        number, step = 1, 1
        while True:
            run = kill_at_call(hf, call, number, "backup", source, "--repo", repo, "--full")
            now = snapshots_of(hf, repo)
            assert set(listed) <= set(now) and len(now) - len(listed) <= 1, run.how
            for snapshot in set(now) - set(listed):
                restores.check(snapshot)
            listed = now
            if run.done:
                break
            # Every call of what publishes, some of what only fills files.
            step = 1 if call not in ("write", "pwrite64", "openat") or number < 8 else step + 2
            number += step
        assert number > 1 or call in ("renameat", "renameat2", "unlinkat", "ftruncate", "fsync", "write"), call
    hf.ok("verify", "--level", "3", "--repo", repo)
    restores.check(hf.backup(source, "--repo", repo)["snapshot"])
    assert database.own_files() == own


def test_files_backup_killed(hf):
    """A folder that does not change: every snapshot there is has all of it, whatever was interrupted before."""
    rng, repo = seed("files"), hf.init()
    tree = trees.Tree(hf.path("tree"), rng, 80)
    source, want = "files:" + hf.path("tree"), trees.describe(tree.root)
    trace, longest_s, checked = can_trace(hf.program), 0.06, set()
    for _ in range(rounds(hf.program, 8)):
        kill_somewhere(hf, rng, longest_s, trace, "backup", source, "--repo", repo, *rng.choice([[], ["--full"]]))
        began = time.monotonic()
        hf.backup(source, "--repo", repo)
        longest_s = max(0.05, (longest_s + time.monotonic() - began) / 2)
        for snapshot in set(snapshots_of(hf, repo)) - checked:
            target = hf.path("restored")
            hf.ok("restore", "%s@%s" % (source, snapshot), "--to", target, "--repo", repo)
            assert not trees.difference(want, trees.describe(target))
            shutil.rmtree(target)
            checked.add(snapshot)
        tree.change()
        want = trees.describe(tree.root)
    hf.ok("verify", "--level", "3", "--repo", repo)


def test_next_backup_takes_up_what_was_stored(hf):
    """Random bytes, two and a half packs of them: what a killed backup had published is not stored again."""
    rng, repo = seed("resume"), hf.init()
    size = 160 << 20
    path = hf.path("large")
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(rng.randbytes(1 << 20))
    child = hf.start("backup", "files:" + path, "--repo", repo, "--limit-read", "200MiB")
    index = os.path.join(repo, "index")
    try:
        wait_until(lambda: child.poll() is not None or (os.path.isdir(index) and os.listdir(index)),
                   "a first pack is published")
    finally:
        child.kill()
        child.communicate()
    assert snapshots_of(hf, repo) == {} and os.listdir(index), "the kill came too late"
    done = hf.backup("files:" + path, "--repo", repo)
    assert done["read_bytes"] == size
    assert done["stored_bytes"] < size - (50 << 20)
    hf.ok("restore", "files:" + path, "--to", hf.path("copy"), "--repo", repo)
    assert trees.content_of(hf.path("copy")) == trees.content_of(path)
    os.unlink(hf.path("copy"))
    os.unlink(path)


def has_machine_id():
    try:
        with open("/etc/machine-id") as file:
            return bool(re.fullmatch("[0-9a-fA-F]{32}\n?", file.read()))
    except OSError:
        return False


def test_state_directory_lost_whole(hf):
    """The machine's id and name say that it is the same host; without an id the source has to be adopted."""
    repo = hf.init()
    database = LiveDatabase(hf, size_bytes=1 << 20)
    database.kill()
    source = "sqlite:" + database.path
    restores = Restores(hf, repo, database, source)
    first = hf.backup(source, "--repo", repo)["snapshot"]
    shutil.rmtree(hf.path("state"))
    restores.check(first)
    if not has_machine_id():
        refused = hf.run("backup", source, "--repo", repo, check=REFUSED)
        assert "adopt" in refused.err
        hf.ok("source", "adopt", source, "--repo", repo)
    after = hf.backup(source, "--repo", repo)
    assert after["kind"] == "incremental"
    assert snapshots_of(hf, repo)[after["snapshot"]]["parent"] == first
    restores.check(after["snapshot"])


def test_restore_killed_leaves_nothing_half_written(hf):
    rng, repo = seed("restore"), hf.init()
    database = LiveDatabase(hf)
    source = "sqlite:" + database.path
    hf.backup(source, "--repo", repo)
    database.kill()
    target, trace, longest_s, killed = hf.path("out", "copy.db"), can_trace(hf.program), 0.06, 0
    os.mkdir(hf.path("out"))
    for number in range(rounds(hf.program, 20)):
        overwrite = os.path.exists(target)
        confirm = ["--confirm", "copy.db"] if overwrite else []
        confirm += ["--delta"] if overwrite and rng.random() < 0.5 else []
        run = kill_somewhere(hf, rng, longest_s * 1.2, trace, "restore", source, "--to", target, "--repo", repo,
                             *confirm)
        killed += not run.done
        assert os.path.exists(target) or not (run.done or overwrite), run.how
        if os.path.exists(target):
            database.check(target)
        began = time.monotonic()
        confirm = ["--confirm", "copy.db"] if os.path.exists(target) else []
        hf.ok("restore", source, "--to", target, "--repo", repo, *confirm)
        longest_s = max(0.05, (longest_s + time.monotonic() - began) / 2)
        database.check(target)
        if rng.random() < 0.6:
            os.unlink(target)
    assert killed > 0


def test_restore_of_files_killed_can_be_repeated(hf):
    rng, repo, root = seed("restore files"), hf.init(), hf.path("tree")
    for number in range(60):
        hf.write("tree/d%d/f%d" % (number % 5, number), rng.randbytes(rng.randrange(200000)))
    hf.backup("files:" + root, "--repo", repo)
    content = contents_of(root)
    trace, longest_s = can_trace(hf.program), 0.06
    for number in range(rounds(hf.program, 10)):
        target = hf.path("out%d" % number)
        began = time.monotonic()
        kill_somewhere(hf, rng, longest_s * 1.2, trace, "restore", "files:" + root, "--to", target, "--repo", repo)
        there = os.path.exists(target) and os.listdir(target) != []
        if there:
            hf.run("restore", "files:" + root, "--to", target, "--repo", repo, check=NOT_EMPTY)
        again = ["--confirm", os.path.basename(target)] + rng.choice([[], ["--delta"]]) if there else []
        hf.ok("restore", "files:" + root, "--to", target, "--repo", repo, *again)
        longest_s = max(0.05, min(longest_s, time.monotonic() - began))
        assert contents_of(target) == content
        shutil.rmtree(target)


def contents_of(root):
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, root)] = file.read()
    return found


def use_repository(hf, repo):
    """A backup and a restore through a repository; it has to be a whole one."""
    path = hf.write("f", b"content")
    hf.ok("backup", "files:" + path, "--repo", repo)
    hf.ok("restore", "files:" + path, "--to", hf.path("g"), "--repo", repo)
    with open(hf.path("g"), "rb") as file:
        assert file.read() == b"content"
    os.unlink(hf.path("g"))
    hf.ok("verify", "--level", "3", "--repo", repo)


def check_after_init(hf, repo, run):
    """Either there is a repository, or none, and then init makes it."""
    listed = hf.run("ls", "--json", "--repo", repo) if os.path.exists(hf.key) else None
    if listed is None or listed.code != 0:
        assert not run.done, run.how
        if listed is not None:
            assert listed.code == NO_REPOSITORY, "%s: %d\n%s" % (run.how, listed.code, listed.err)
        hf.ok("init", "--repo", repo)
    else:
        hf.run("init", "--repo", repo, check=REFUSED)
    use_repository(hf, repo)
    shutil.rmtree(repo)
    os.unlink(hf.key)


def test_init_killed_can_be_repeated(hf):
    rng, repo = seed("init"), hf.path("repo")
    for _ in range(rounds(hf.program, 15)):
        check_after_init(hf, repo, kill_after(hf, rng.random() * 0.05, "init", "--repo", repo))


def test_init_killed_at_each_call(hf):
    if not can_trace(hf.program):
        pytest.skip("no strace, or it may not trace this program")
    repo = hf.path("repo")
    for call in ("linkat", "fsync", "fdatasync", "mkdirat", "openat", "write", "pwrite64"):
        number = 1
        while True:
            run = kill_at_call(hf, call, number, "init", "--repo", repo)
            check_after_init(hf, repo, run)
            if run.done:
                break
            number += 1 if number < 12 else 5


def test_two_at_once_and_one_killed(hf):
    """Writers share a repository without locks: killing one costs the other nothing."""
    rng, repo = seed("two"), hf.init()
    databases = [LiveDatabase(hf, "a.db", 3 << 20), LiveDatabase(hf, "b.db", 3 << 20, seed_number=90)]
    try:
        for _ in range(rounds(hf.program, 6)):
            other = hf.start("backup", "sqlite:" + databases[1].path, "--json", "--full", "--repo", repo)
            kill_after(hf, rng.random() * 0.08, "backup", "sqlite:" + databases[0].path, "--full", "--repo", repo)
            out, err = other.communicate(timeout=120)
            assert other.returncode == 0, err
            summary = json.loads(out.splitlines()[-1])
            restores = Restores(hf, repo, databases[1], "sqlite:" + databases[1].path)
            restores.check(summary["snapshot"])
        for database in databases:
            restores = Restores(hf, repo, database, "sqlite:" + database.path)
            restores.check(hf.backup("sqlite:" + database.path, "--repo", repo)["snapshot"])
        hf.ok("verify", "--level", "3", "--repo", repo)
    finally:
        for database in databases:
            database.kill()


def test_same_new_source_from_two_processes(hf):
    """Three first backups of one source, each begun before the others are there (strace holds them up), make one series: all are listed
    and restore under one name, and the next ones find their parent."""
    repo = hf.init()
    database = LiveDatabase(hf, size_bytes=2 << 20)
    source = "sqlite:" + database.path
    try:
        slow = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=linkat", "-e",
                "inject=linkat:delay_enter=300000:when=1..4"] if can_trace(hf.program) else []
        runs = [popen(hf, slow + hf.command("backup", source, "--json", "--repo", repo)) for _ in range(3)]
        for run in runs:
            _, err = run.communicate(timeout=120)
            assert run.returncode == 0, err
        restores = Restores(hf, repo, database, source)
        for _ in range(3):
            restores.check(hf.backup(source, "--repo", repo)["snapshot"])
        listed = snapshots_of(hf, repo)
        assert len(listed) == 6 and len({doc["source"] for doc in listed.values()}) == 1
        assert len(os.listdir(os.path.join(repo, "series"))) == 1
        for snapshot in listed:
            restores.check(snapshot)
        newest = hf.ok("restore", source, "--to", hf.path("new.db"), "--json", "--repo", repo).summary()
        assert newest["snapshot"] == max(listed.values(), key=lambda doc: doc["time"])["id"]
    finally:
        database.kill()


def test_cloned_state_directories_never_share_a_key(hf):
    """Two machines made from one image back up to one repository."""
    repo = hf.init()
    database = LiveDatabase(hf, size_bytes=1 << 20)
    database.kill()
    source = "sqlite:" + database.path
    hf.backup(source, "--repo", repo)
    shutil.copytree(hf.path("state"), hf.path("clone"))
    for number in range(5):
        writer = ledger.Writer(database.path, database.log, number, "wal")
        writer.step()
        writer.db.close()
        for state in ("state", "clone"):
            hf.ok("backup", source, "--repo", repo, env={"HOLDFAST_STATE_DIR": hf.path(state)})
    restores = Restores(hf, repo, database, source)
    for snapshot in snapshots_of(hf, repo):
        restores.check(snapshot)
    check_no_key_twice(repo)


def objects_of(repo):
    return [os.path.join(folder, name) for folder, _, names in os.walk(repo) for name in names]


def check_no_key_twice(repo):
    """Every sealed object has a salt of its own; the same 16 bytes in two of them would be a frame or a key stream
    used twice."""
    salts, blocks = {}, {}
    for path in objects_of(repo):
        with open(path, "rb") as file:
            content = file.read()
        if content[:4] != b"HFOB" or os.path.dirname(path) == os.path.join(repo, "tmp"):
            continue
        assert salts.setdefault(content[64:96], path) == path, "%s has the salt of %s" % (path, salts[content[64:96]])
        for at in range(96, min(len(content), 1 << 16) - 80, 16):
            other = blocks.setdefault(content[at:at + 16], path)
            assert other == path, "%s has bytes of %s at %d" % (path, other, at)
    assert len(salts) > 3
