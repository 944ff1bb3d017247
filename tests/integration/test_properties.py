"""restore(backup(x)) = x, for generated folders through generated changes; what kinds, codecs, sources and hosts mean.

HOLDFAST_ROUNDS says how many folders and steps; seeds are fixed (HOLDFAST_SEED).
"""
import os
import shutil
import subprocess
import time

import pytest

import trees
from killing import rounds, seed

USAGE, REFUSED = 2, 11
CODECS = ("zstd:1", "zstd:9", "zstd:19", "auto", "lz4", "gzip", "gzip:9", "bzip2", "xz:1", "none")


def restored(hf, source, snapshot, repo, *more):
    target = hf.path("restored")
    hf.ok("restore", "%s@%s" % (source, snapshot), "--to", target, "--repo", repo, *more)
    return target


def check_restores(hf, source, snapshot, repo, want, allocated=None):
    target = restored(hf, source, snapshot, repo)
    wrong = trees.difference(want, trees.describe(target))
    assert not wrong, "snapshot %s:\n%s" % (snapshot, wrong)
    if allocated is not None:  # holes stay holes, within what a file system rounds
        assert trees.allocated(target) <= allocated * 1.1 + (1 << 19)
    shutil.rmtree(target)


def test_folders_through_changes(hf):
    """All folders in one repository; between some steps the clock passes what makes a file's times trustworthy."""
    repo, count = hf.init(), rounds(hf.program, 4)
    found = []  # source, snapshot, description
    folders = []
    for number in range(count):
        folders.append(trees.Tree(hf.path("tree%d" % number), seed("tree %d" % number), 60))
    for step in range(5):
        for number, tree in enumerate(folders):
            if step:
                tree.change()
            source = "files:" + os.fsdecode(tree.root)
            want = trees.describe(tree.root)
            done = hf.backup(source, "--repo", repo, *(["--full"] if step == 3 and number % 2 else []))
            found.append((source, done["snapshot"], want, trees.most_allocated(tree.root)))
            assert done["result"] == "ok" and done["partial"] == 0
        if step in (1, 2):
            time.sleep(2.1)  # so that the next step trusts what did not change
    for source, snapshot, want, allocated in found:
        check_restores(hf, source, snapshot, repo, want, allocated)
    hf.ok("verify", "--level", "3", "--repo", repo)


def test_unchanged_files_are_not_read(hf):
    repo, rng = hf.init(), seed("unchanged")
    tree = trees.Tree(hf.path("tree"), rng, 80)
    source = "files:" + os.fsdecode(tree.root)
    first = hf.backup(source, "--repo", repo)
    time.sleep(2.1)
    hf.backup(source, "--repo", repo)  # reads again: the times were too young to be trusted
    third = hf.backup(source, "--repo", repo)
    assert first["read_bytes"] > 0 and third["read_bytes"] == 0 and third["new_bytes"] < 4096
    assert hf.backup(source, "--repo", repo, "--full")["read_bytes"] > 0
    check_restores(hf, source, third["snapshot"], repo, trees.describe(tree.root))


def test_restore_over_what_is_there(hf):
    """An old state over a newer one, plain and with --delta: what the snapshot holds is as it was, the rest stays."""
    repo, rng = hf.init(), seed("over")
    tree = trees.Tree(hf.path("tree"), rng, 60)
    source = "files:" + os.fsdecode(tree.root)
    want, old = trees.describe(tree.root), hf.backup(source, "--repo", repo)["snapshot"]
    for more in ([], ["--delta"]):
        target = restored(hf, source, old, repo)
        for path in [p for p, entry in want.items() if entry.get("size") and entry["link"] == p]:
            full = os.path.join(os.fsencode(target), path)
            if rng.random() < 0.4 and os.lstat(full).st_nlink == 1:
                with open(full, "r+b") as file:
                    file.seek(rng.randrange(want[path]["size"]))
                    file.write(b"changed")
                    file.truncate(rng.choice([want[path]["size"], 3, want[path]["size"] + 5000]))
        restored(hf, source, old, repo, "--confirm", "restored", *more)
        wrong = trees.difference(want, trees.describe(target))
        assert not wrong, "%s\n%s" % (more, wrong)
        shutil.rmtree(target)


def test_kinds(hf):
    """What --full, --differential and incremental stand on; each restores by itself."""
    repo, rng = hf.init(), seed("kinds")
    tree = trees.Tree(hf.path("tree"), rng, 40)
    source = "files:" + os.fsdecode(tree.root)
    plan = [([], "full", None), ([], "incremental", 0), (["--differential"], "differential", 0),
            (["--incremental"], "incremental", 2), (["--full"], "full", None), (["--differential"], "differential", 4),
            ([], "incremental", 5), (["--differential"], "differential", 4)]
    ids, wants = [], []
    for options, kind, _ in plan:
        wants.append(trees.describe(tree.root))
        done = hf.backup(source, "--repo", repo, *options)
        ids.append(done["snapshot"])
        assert done["kind"] == kind
        tree.change()
    listed = {doc["id"]: doc for doc in hf.ok("ls", "--json", "--repo", repo).of("snapshot")}
    for snapshot, want, (_, kind, parent) in zip(ids, wants, plan):
        assert listed[snapshot]["kind"] == kind
        assert listed[snapshot]["parent"] == (None if parent is None else ids[parent])
        check_restores(hf, source, snapshot, repo, want)
    hf.run("backup", source, "--repo", repo, "--full", "--differential", check=USAGE)


def mixed_content(hf, rng):
    hf.write("data/text", b"line %d of a text that compresses well\n" * 8000)
    hf.write("data/random", rng.randbytes(300000))
    hf.write("data/zeros", bytes(500000))
    hf.write("data/small", b"x")
    hf.write("data/empty", b"")
    hf.write("data/mixed", trees.random_bytes(rng, 200000) + rng.randbytes(200000))
    return hf.path("data")


def stored_in(repo):
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(repo) for name in names)


def test_compression_round_trips(hf):
    rng = seed("codecs")
    root = mixed_content(hf, rng)
    want, stored = trees.describe(root), {}
    for number, codec in enumerate(CODECS):
        repo = hf.init("repo%d" % number)
        done = hf.backup("files:" + root, "--compression", codec, "--repo", repo)
        check_restores(hf, "files:" + root, done["snapshot"], repo, want)
        hf.ok("verify", "--level", "3", "--repo", repo)
        stored[codec] = done["stored_bytes"]
        assert abs(stored_in(repo) - done["stored_bytes"]) < 8192
    assert all(stored[codec] < 0.9 * stored["none"] for codec in CODECS if codec != "none"), stored
    for wrong in ("zstd:99", "zip", "lz4:x", "none:1", ""):
        hf.run("backup", "files:" + root, "--compression", wrong, "--repo", hf.path("repo0"), check=USAGE)


def test_compression_may_change_between_backups(hf):
    rng, repo = seed("codec changes"), hf.init()
    tree = trees.Tree(hf.path("tree"), rng, 40)
    source, found = "files:" + os.fsdecode(tree.root), []
    for codec in CODECS:
        want = trees.describe(tree.root)
        found.append((hf.backup(source, "--compression", codec, "--repo", repo)["snapshot"], want))
        tree.change()
    for snapshot, want in found:
        check_restores(hf, source, snapshot, repo, want)


def test_several_sources_and_repositories(hf):
    """One run, three sources, two repositories: each repository holds all of it and needs no other."""
    rng, repos = seed("several"), [hf.init("a"), hf.init("b")]
    folders = [trees.Tree(hf.path("tree%d" % n), rng, 25) for n in range(2)]
    sources = ["files:" + os.fsdecode(tree.root) for tree in folders] + ["command:printf '%1000d\\n' 7"]
    to = [word for repo in repos for word in ("--repo", repo)]
    for _ in range(2):
        wants = [trees.describe(tree.root) for tree in folders]
        done = hf.ok("backup", "--json", *sources, *to).of("summary")
        assert all(doc["result"] == "ok" for doc in done)
        for repo in repos:
            mine = [doc for doc in done if doc.get("repository") == repo]
            assert len(mine) == len(sources)
            for source, want in zip(sources, wants):
                check_restores(hf, source, "latest", repo, want)
            target = restored(hf, sources[2], "latest", repo)
            with open(target, "rb") as file:
                assert file.read() == b"%1000d\n" % 7
            os.unlink(target)
        for tree in folders:
            tree.change()
    assert len(hf.ok("ls", "--json", "--repo", repos[1]).of("snapshot")) == 6


def test_same_path_on_two_hosts(hf):
    """Two hosts' /srv/app never mix: other names, other series; the same name from another host is refused."""
    repo, rng = hf.init(), seed("hosts")
    path = hf.path("app")
    wants = {}
    unshare = ["unshare", "--uts"]
    if subprocess.run(unshare + ["true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("host names cannot be changed here")
    for host in ("alpha", "beta"):
        tree = trees.Tree(path, rng, 20)
        for _ in range(2):
            tree.change()
            wants[host] = trees.describe(path)
            words = " ".join("'%s'" % word for word in hf.command("backup", "files:" + path, "--repo", repo))
            env = dict(hf.env, HOLDFAST_STATE_DIR=hf.path("state-" + host))
            subprocess.run(unshare + ["sh", "-c", "hostname %s && exec %s" % (host, words)], env=env, check=True,
                           stdin=subprocess.DEVNULL)
        os.rename(path, hf.path("disk of " + host))
    listed = hf.ok("ls", "--json", "--repo", repo).of("snapshot")
    assert sorted({doc["source"] for doc in listed}) == ["alpha:files:" + path, "beta:files:" + path]
    assert [doc["kind"] for doc in sorted(listed, key=lambda doc: (doc["source"], doc["time"]))] == [
        "full", "incremental"] * 2
    for host, want in wants.items():
        target = hf.path("restored")
        hf.ok("restore", "files:" + path, "--source-name", "%s:files:%s" % (host, path), "--to", target,
              "--repo", repo)
        assert not trees.difference(want, trees.describe(target))
        shutil.rmtree(target)
    os.rename(hf.path("disk of alpha"), path)
    hf.ok("backup", "files:" + path, "--name", "app", "--repo", repo)
    # As a clone of this machine has it: the machine's id, but another name, and a state directory of its own.
    words = " ".join("'%s'" % word for word in hf.command("backup", "files:" + path, "--name", "app", "--repo", repo))
    refused = subprocess.run(unshare + ["sh", "-c", "hostname alpha && exec " + words], stderr=subprocess.PIPE,
                             env=dict(hf.env, HOLDFAST_STATE_DIR=hf.path("state-alpha")), stdin=subprocess.DEVNULL,
                             text=True)
    assert refused.returncode == REFUSED
    assert "another host" in refused.stderr and "adopt" in refused.stderr
