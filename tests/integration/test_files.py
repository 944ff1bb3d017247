"""Folders and logs that are out of the ordinary, restores over what is there, and commands that misbehave."""
import gzip
import json
import os
import random
import resource
import shutil
import stat
import struct
import subprocess

import pytest

import trees
from badinput import *  # helpers and fixtures
from killing import has_sanitizer
from test_limits import peak_bytes


# ---- what a folder may hold ---------------------------------------------------------------------------------------


@root_only
def test_out_of_the_ordinary_comes_back(hf):
    """Attributes of what is never opened, links to what is left out, links in circles, times before 1970 and after
    2106. A pipe that were opened would stop the backup."""
    repo, src = hf.init(), hf.path("src")
    hf.write("src/a/one", "one")
    hf.write("src/out/hidden", "hidden")
    for at in ("b", "c"):
        os.mkdir(os.path.join(src, at))
        os.link(src + "/a/one", os.path.join(src, at, "two"))
        os.link(src + "/out/hidden", os.path.join(src, at, "shown"))
    os.symlink("loop2", src + "/loop1")
    os.symlink("loop1", src + "/loop2")
    os.symlink(".", src + "/self")
    os.symlink("..", src + "/a/up")
    os.mkfifo(src + "/fifo")
    os.mknod(src + "/character", stat.S_IFCHR | 0o600, os.makedev(1, 5))  # zeros without end
    os.mknod(src + "/block", stat.S_IFBLK | 0o640, os.makedev(7, 250))
    try:
        for name in ("loop1", "fifo", "block", "a", "a/one"):
            os.setxattr(os.path.join(src, name), "trusted.note", name.encode(), follow_symlinks=False)
    except OSError:
        pass  # not on this file system
    moments = (-1, -5 * 10**9 - 1, 0, (1 << 32) * 10**9 + 7, (1 << 33) * 10**9, 10**18 + 999999999)
    for name, moment in zip(("a/one", "loop1", "fifo", "character", "block", "a"), moments):
        os.utime(os.path.join(src, name), ns=(moment, moment), follow_symlinks=False)
    hf.backup("files:" + src, "--exclude", "out", "--repo", repo)
    want = {path: entry for path, entry in trees.describe(src).items() if not path.startswith(b"out")}
    for path in (b"b/shown", b"c/shown"):
        want[path]["link"] = b"b/shown"
    hf.ok("restore", "files:" + src, "--to", hf.path("restored"), "--repo", repo)
    assert trees.difference(want, trees.describe(hf.path("restored"))) == ""
    for name in ("character", "block"):
        assert os.stat(hf.path("restored", name)).st_rdev == os.stat(os.path.join(src, name)).st_rdev


# ---- restoring over what is there ---------------------------------------------------------------------------------


def acl(user):
    """u::rwx u:USER:rwx g::r-x m::rwx o::---"""
    entries = ((1, 7, 0xffffffff), (2, 7, user), (4, 5, 0xffffffff), (16, 7, 0xffffffff), (32, 0, 0xffffffff))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def give(path, name, value):
    try:
        os.setxattr(path, name, value)
    except OSError:
        pytest.skip("this file system has no %s" % name)


def mixed(hf):
    hf.write("src/dir/x", "x")
    hf.write("src/dir/sub/y", "y" * 100000)
    hf.write("src/file", "file")
    hf.write("src/empty", "")
    os.symlink("file", hf.path("src/link"))
    os.mkfifo(hf.path("src/fifo"))
    os.chmod(hf.path("src/file"), 0o640)
    return hf.path("src")


def over(hf, repo, *more, check=0):
    hf.run("restore", "files:" + hf.path("src"), "--to", hf.path("out"), "--confirm", "out", "--repo", repo, *more,
           check=check)
    return trees.difference(trees.describe(hf.path("src")), trees.describe(hf.path("out")))


@pytest.mark.parametrize("more", [[], ["--delta"]], ids=["plain", "delta"])
def test_rights_that_were_there_do_not_stay(hf, more):
    """Neither the ACL of what stands in the target nor one that a directory above hands down gives anybody rights that
    the snapshot does not."""
    repo, src = hf.init(), mixed(hf)
    give(src + "/dir/sub", "system.posix_acl_default", acl(77))
    give(src + "/file", "user.kept", b"kept")
    hf.backup("files:" + src, "--repo", repo)
    os.makedirs(hf.path("out/dir/sub"))
    for name in ("out/dir/x", "out/file", "out/dir/sub/y"):
        hf.write(name, "old")
    for name in ("out", "out/dir", "out/dir/sub", "out/file", "out/dir/x"):
        give(hf.path(name), "system.posix_acl_access", acl(99))
        give(hf.path(name), "user.old", b"old")
    give(hf.path("out"), "system.posix_acl_default", acl(99))
    assert over(hf, repo, *more) == ""


def test_rights_are_not_inherited(hf):
    repo, src = hf.init(), mixed(hf)
    hf.write("single", "single")
    hf.backup("files:" + src, "--repo", repo)
    hf.backup("files:" + hf.path("single"), "--repo", repo)
    os.mkdir(hf.path("to"))
    give(hf.path("to"), "system.posix_acl_default", acl(99))
    hf.ok("restore", "files:" + src, "--to", hf.path("to/out"), "--repo", repo)
    assert trees.difference(trees.describe(src), trees.describe(hf.path("to/out"))) == ""
    hf.ok("restore", "files:" + hf.path("single"), "--to", hf.path("to/single"), "--repo", repo)
    assert os.listxattr(hf.path("to/single")) == []


@root_only
def test_attributes_of_what_is_read_only(hf):
    """Without root's rights an attribute can be set only before the mode forbids it."""
    mine = hf.path("nobody/src")
    hf.init()
    assert as_nobody(hf, "init", "--repo", hf.path("nobody/repo")).code == 0
    hf.write("nobody/src/d/f", "f")
    for name in ("/d/f", "/d", ""):
        give(mine + name, "user.note", b"kept")
        os.chmod(mine + name, 0o555)
        os.chown(mine + name, 65534, 65534)
    assert as_nobody(hf, "backup", "files:" + mine, "--repo", hf.path("nobody/repo")).code == 0
    result = as_nobody(hf, "restore", "files:" + mine, "--to", hf.path("nobody/out"), "--repo", hf.path("nobody/repo"))
    assert result.code == 0, result.err
    for name in ("/d/f", "/d", ""):
        assert os.getxattr(hf.path("nobody/out") + name, "user.note") == b"kept"


@root_only
def test_what_may_not_be_written_is_not_called_restored(hf):
    """Nothing is written over files whose folder is closed to the user, and the report does not hide it."""
    repo = hf.path("nobody/repo")
    hf.init()
    assert as_nobody(hf, "init", "--repo", repo).code == 0
    for name in "ab":
        hf.write("src/" + name, "old " + name)
    os.chmod(hf.path("src"), 0o755)
    source = "files:" + hf.path("src")
    assert as_nobody(hf, "backup", source, "--repo", repo).code == 0
    hf.write("src/a", "new a")
    name = json.loads(as_nobody(hf, "ls", "--json", "--repo", repo).out)["source"]
    result = as_nobody(hf, "restore", source, "--repo", repo, "--in-place", "--confirm", name)
    assert result.code != 0 and "NOT done" in result.out and "a: not restored" in result.err
    with open(hf.path("src/a"), encoding="ascii") as file:
        assert file.read() == "new a"


@pytest.mark.parametrize("more", [[], ["--delta"]], ids=["plain", "delta"])
def test_other_types_in_the_way(hf, more):
    """A file, link or pipe gives way to a directory, and never is anything written through the link."""
    repo, src = hf.init(), mixed(hf)
    hf.backup("files:" + src, "--repo", repo)
    hf.write("elsewhere/x", "not ours")
    for prepare in (lambda at: hf.write("out/dir", "old"),
                    lambda at: os.symlink(hf.path("elsewhere"), at + "/dir"),
                    lambda at: os.mkfifo(at + "/dir"),
                    lambda at: (os.mkfifo(at + "/file"), os.mkfifo(at + "/empty"), os.mkfifo(at + "/link")),
                    lambda at: (os.symlink(hf.path("elsewhere/x"), at + "/file"), hf.write("out/fifo", "old"))):
        os.mkdir(hf.path("out"))
        prepare(hf.path("out"))
        assert over(hf, repo, *more) == ""
        shutil.rmtree(hf.path("out"))
    assert os.listdir(hf.path("elsewhere")) == ["x"] and read(hf.path("elsewhere/x")) == b"not ours"
    # What was not asked for gives way to nothing.
    hf.write("out/dir", "old")
    over(hf, repo, "--only", "dir/x", *more, check=PARTIAL)
    assert read(hf.path("out/dir")) == b"old"


def test_a_part_leaves_the_directories_above_it_alone(hf):
    """One file brought back to /tmp must not give /tmp the rights of somebody's home."""
    repo, src = hf.init(), mixed(hf)
    hf.backup("files:" + src, "--repo", repo)
    for name in ("dir/sub", "dir", ""):
        os.chmod(os.path.join(src, name), 0o700)
    hf.backup("files:" + src, "--repo", repo)
    hf.write("out/dir/other", "other")
    os.chmod(hf.path("out"), 0o1777)
    os.chmod(hf.path("out/dir"), 0o755)
    part = lambda pattern: hf.ok("restore", "files:" + src, "--only", pattern, "--to", hf.path("out"), "--confirm", "out",
                                 "--repo", repo)
    modes = lambda: [stat.S_IMODE(os.stat(hf.path("out", name)).st_mode) for name in ("", "dir", "dir/sub")]
    part("dir/sub/y")
    assert modes() == [0o1777, 0o755, 0o700]  # the last was not there
    assert read(hf.path("out/dir/sub/y")) == b"y" * 100000
    part("dir")
    assert modes() == [0o1777, 0o700, 0o700] and os.path.exists(hf.path("out/dir/other"))


def test_a_directory_gives_way_to_nothing(hf):
    repo, src = hf.init(), mixed(hf)
    hf.backup("files:" + src, "--repo", repo)
    hf.write("out/file/kept", "kept")
    for name in ("link", "fifo", "empty"):
        os.makedirs(hf.path("out", name))
    result = hf.run("restore", "files:" + src, "--to", hf.path("out"), "--confirm", "out", "--repo", repo)
    assert result.code in (PARTIAL, CHECK_FAILED)
    clear(result, "file: not restored", "link: not restored", "fifo: not restored", "empty: not restored")
    assert read(hf.path("out/file/kept")) == b"kept" and read(hf.path("out/dir/x")) == b"x"
    assert sorted(os.listdir(hf.path("out"))) == sorted(os.listdir(src))


@root_only
def test_what_cannot_be_changed_is_reported(hf):
    repo, src = hf.init(), mixed(hf)
    hf.backup("files:" + src, "--repo", repo)
    hf.write("out/file", "old")
    hf.write("out/dir/x", "old")
    fixed = [hf.path("out/file"), hf.path("out/dir")]
    if subprocess.run(["chattr", "+i"] + fixed, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("nothing is immutable here")
    try:
        result = hf.run("restore", "files:" + src, "--to", hf.path("out"), "--confirm", "out", "--repo", repo)
    finally:
        subprocess.run(["chattr", "-i"] + fixed, check=True)
    assert result.code in (PARTIAL, CHECK_FAILED)
    clear(result, "file: not restored", "dir/x: not restored", "Operation not permitted")
    assert read(hf.path("out/file")) == b"old" and os.listdir(hf.path("out/dir")) == ["x"]
    assert stat.S_ISFIFO(os.stat(hf.path("out/fifo")).st_mode)
    assert not [name for name in os.listdir(hf.path("out")) if name.startswith(".holdfast")]


@root_only
def test_a_device_is_no_target(hf):
    """Else `--to /dev/null` would leave a file there for everybody."""
    repo, device = hf.init(), hf.path("null")
    os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.symlink(device, hf.path("link"))
    os.mkfifo(hf.path("fifo"))
    os.symlink("fifo", hf.path("stdout"))
    hf.write("single", "single")
    hf.backup("files:" + hf.path("single"), "--repo", repo)
    hf.backup("command:echo", "--name", "output", "--repo", repo)
    for source in ("files:" + hf.path("single"), "output"):
        for target in ("null", "link", "stdout"):
            result = hf.run("restore", source, "--to", hf.path(target), "--confirm", target, "--repo", repo)
            assert result.code == REFUSED
            clear(result, target)
    assert stat.S_ISCHR(os.lstat(device).st_mode)
    assert os.path.islink(hf.path("link")) and os.path.islink(hf.path("stdout"))


def test_the_mark_of_an_unfinished_restore_is_content_too(hf):
    """A copy of what was not whole says so as well."""
    repo = hf.init()
    hf.write("src/a", "a")
    hf.write("src/" + UNFINISHED, "from an earlier restore")
    hf.backup("files:" + hf.path("src"), "--repo", repo)
    for _ in range(2):
        assert over(hf, repo) == ""
    shutil.rmtree(hf.path("out"))
    hf.write("src/" + UNFINISHED, "")
    hf.backup("files:" + hf.path("src"), "--repo", repo)
    assert over(hf, repo) == ""


def test_a_limit_on_the_size_of_files(hf):
    """It is an error of one file and ends nobody."""
    repo = hf.init()
    hf.write("src/big", noise(4 << 20))
    hf.write("src/small", "small")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    failed = hf.run("backup", "files:" + hf.path("src"), "--repo", repo, preexec_fn=limit)
    assert failed.code == ERROR
    clear(failed, "File too large")
    assert snapshots(hf, repo) == []
    hf.backup("files:" + hf.path("src"), "--repo", repo)
    hf.backup("command:cat '%s'" % hf.path("src/big"), "--name", "output", "--repo", repo)
    result = hf.run("restore", "files:" + hf.path("src"), "--to", hf.path("out"), "--repo", repo, preexec_fn=limit)
    assert result.code in (PARTIAL, CHECK_FAILED)
    clear(result, "big: not restored", "File too large")
    assert os.listdir(hf.path("out")) == ["small"]
    failed = hf.run("restore", "output", "--to", hf.path("dump"), "--repo", repo, preexec_fn=limit)
    assert failed.code == ERROR and not os.path.exists(hf.path("dump"))
    clear(failed, "File too large")


def test_patterns_that_leave_out_everything(hf):
    repo = hf.init()
    hf.write("src/d/a", "a")
    for pattern in (["--include", "mistyped"], ["--exclude", "*"]):
        result = hf.ok("backup", "files:" + hf.path("src"), "--repo", repo, *pattern)
        assert "warning" in result.err and "leave out every file" in result.err
    assert hf.ok("backup", "files:" + hf.path("src"), "--repo", repo, "--exclude", "b").err == ""


def test_names_do_nothing_to_a_terminal(hf):
    """Escape sequences, line ends and C1 controls in names are shown, never sent, in messages too."""
    repo, src = hf.init(), os.fsencode(hf.path("src"))
    os.makedirs(src + b"/\x1b[5mdir")
    for name in (b"\x1b]0;title\x07", b"two\nlines", b"\xc2\x9b31m", b"back\r", b"\x1b[5mdir/in"):
        with open(src + b"/" + name, "wb") as file:
            file.write(name)
        if b"/" not in name:
            os.makedirs(os.fsencode(hf.path("out")) + b"/" + name)
    hf.backup("files:" + hf.path("src"), "--repo", repo)
    with open(src + b"/\x1b]0;title\x07", "wb") as file:
        file.write(b"changed")
    hf.backup("files:" + hf.path("src"), "--repo", repo)
    ids = [doc["id"] for doc in snapshots(hf, repo)]
    restore = hf.run("restore", "files:" + hf.path("src"), "--to", hf.path("out"), "--confirm", "out", "--repo", repo)
    assert restore.err.count("not restored") == 4
    shown = [restore]
    for command in (["find", "*"], ["diff", ids[0], ids[1]], ["ls", ids[0], "/", "-R"],
                    ["restore", ids[0], "--to", hf.path("none"), "--only", "\x1b[5m*", "--plan"],
                    ["restore", ids[0], "--to", hf.path("none"), "--only", "\x1b[7m"],
                    ["backup", "files:" + hf.path("\x1b[5mnone")]):
        shown.append(hf.run(*command, "--repo", repo))
    for result in shown:
        for control in ("\x1b", "\x07", "\r", "\x9b"):
            assert control not in result.out + result.err, result.out + result.err
    assert "\nlines" not in "".join(result.out + result.err for result in shown)


@root_only
def test_a_full_disk_takes_no_half_output(hf, tmpfs):
    repo, disk = hf.init(), tmpfs("disk", "4m")
    hf.backup("command:head -c 9000000 /dev/urandom", "--name", "output", "--repo", repo)
    failed = hf.run("restore", "output", "--to", disk + "/dump", "--repo", repo)
    assert failed.code == ERROR and os.listdir(disk) == []
    clear(failed, "No space left")


# ---- globs --------------------------------------------------------------------------------------------------------


@root_only
def test_a_glob_says_where_it_could_not_look(hf):
    for name in ("a", "b", "c"):
        hf.write("homes/%s/data/f" % name, name)
    hf.write("homes/file", "no directory")
    os.chmod(hf.path("homes/b"), 0o700)
    hf.init()
    repo, homes = hf.path("nobody/repo"), hf.path("homes")
    assert as_nobody(hf, "init", "--repo", repo).code == 0
    for pattern in ("/*/data", "/*/data/*", "/*/da*/f"):
        result = as_nobody(hf, "backup", "files:" + homes + pattern, "--repo", repo)
        assert result.code == PARTIAL, result.err
        clear(result, homes + "/b: Permission denied")
        assert homes + "/file" not in result.err and homes + "/a" not in result.err
    result = as_nobody(hf, "backup", "files:" + homes + "/b/d*", "--repo", repo)
    assert result.code == UNREACHABLE
    clear(result, homes + "/b: Permission denied")


# ---- logs ---------------------------------------------------------------------------------------------------------


def lines(first, last):
    rng = random.Random(first)
    return b"".join(b"2026-11-20T09:%02d:%02d app[%d]: request %08x took %d ms\n"
                    % (n // 60 % 60, n % 60, 1000 + n % 77, rng.getrandbits(32), n * 7919 % 1000)
                    for n in range(first, last))


def test_logs_store_what_is_new(hf):
    """A log that grows costs its tail; one that is renamed, compressed or renamed compressed costs nothing."""
    repo, log = hf.init(), hf.path("src/x.log")
    whole, tail = lines(0, 100000), lines(100000, 101000)
    kept = 8192  # the snapshot itself, its tree, its index
    backup = lambda: hf.backup("files:" + hf.path("src"), "--preset", "logs", "--repo", repo)["stored_bytes"]
    hf.write("src/x.log", whole)
    first = backup()
    with open(log, "ab") as file:
        file.write(tail)
    # The chunk that the old end was in is cut anew; chunks are some hundred KiB.
    assert len(tail) // 10 < backup() < min(first // 4, len(tail) + (1 << 20) // 4)
    os.rename(log, log + ".1")
    hf.write("src/x.log", "new\n")
    assert backup() < kept
    with open(log + ".2.gz", "wb") as file:
        with gzip.GzipFile("x.log.1", "wb", 6, file, 1700000000) as packed:
            packed.write(whole + tail)
    os.unlink(log + ".1")
    size = os.path.getsize(log + ".2.gz")
    assert backup() < kept
    os.rename(log + ".2.gz", log + ".3.gz")
    assert backup() < kept
    hf.ok("restore", "files:" + hf.path("src"), "--to", hf.path("out"), "--repo", repo)
    assert sorted(os.listdir(hf.path("out"))) == ["x.log", "x.log.3.gz"]
    assert gzip.decompress(read(hf.path("out/x.log.3.gz"))) == whole + tail
    # Without the preset the compressed bytes are stored again.
    plain = hf.backup("files:" + hf.path("src"), "--name", "plain", "--repo", repo)["stored_bytes"]
    assert plain > size * 0.9


# ---- commands -----------------------------------------------------------------------------------------------------


def test_output_of_any_size_needs_no_memory(hf):
    repo = hf.init()
    little = peak_bytes(hf, "backup", "command:head -c 1000000 /dev/zero", "--name", "little", "--repo", repo)
    much = peak_bytes(hf, "backup", "command:head -c 1500000000 /dev/zero", "--name", "much", "--repo", repo)
    into = peak_bytes(hf, "restore", "much", "--restore-command", "test $(wc -c) = 1500000000", "--repo", repo)
    if not has_sanitizer(hf.program):
        assert much < little + (64 << 20) and into < little + (64 << 20)


def test_errors_without_end(hf):
    """What a command says on standard error is read on and on; of it only the end is kept."""
    repo = hf.init()
    hf.ok("backup", "command:yes flood | head -c 50000000 >&2; echo good", "--name", "loud", "--repo", repo)
    failed = hf.run("backup", "command:yes flood | head -c 50000000 >&2; echo the end >&2; exit 3", "--name", "failing",
                    "--repo", repo)
    assert failed.code == UNREACHABLE and len(failed.err) < 2000
    clear(failed, "exit status 3", "the end")
    assert [doc["source"] for doc in snapshots(hf, repo)] == ["loud"]
