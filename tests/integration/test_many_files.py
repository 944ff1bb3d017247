"""A tree of very many small files: HOLDFAST_MANY_FILES of them (a million in the long form of the tests)."""
import os

from killing import has_sanitizer
from test_limits import peak_bytes

MIB = 1024 * 1024
PER_FOLDER = 1000


def many(program):
    if os.environ.get("HOLDFAST_MANY_FILES"):
        return int(os.environ["HOLDFAST_MANY_FILES"])
    return 5000 if has_sanitizer(program) else 60000


def content(n):
    return b"file %d " % n + b"%x" % (n * 2654435761 % 2**32) * (n % 50)


def make(folder, count):
    for first in range(0, count, PER_FOLDER):
        os.makedirs(os.path.join(folder, "%04d" % (first // PER_FOLDER)))
        fd = os.open(os.path.join(folder, "%04d" % (first // PER_FOLDER)), os.O_RDONLY)
        for n in range(first, min(first + PER_FOLDER, count)):
            file = os.open("f%d" % n, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
            os.write(file, content(n))
            os.close(file)
        os.close(fd)


def check(folder, count, changed):
    found = 0
    for name in os.listdir(folder):
        for file in os.scandir(os.path.join(folder, name)):
            n = int(file.name[1:])
            with open(file.path, "rb") as opened:
                assert opened.read() == (b"changed" if n in changed else content(n)), file.path
            found += 1
    assert found == count


def test_many_small_files(hf):
    count = many(hf.program)
    make(hf.path("tree"), count)
    repo = hf.init()
    first = ("backup", "files:tree", "--repo", repo)
    memory = peak_bytes(hf, *first)
    if not has_sanitizer(hf.program):
        assert memory < 256 * MIB
    changed = set(range(17, count, count // 7))
    for n in changed:
        with open(hf.path("tree", "%04d" % (n // PER_FOLDER), "f%d" % n), "wb") as file:
            file.write(b"changed")
    second = hf.backup("files:tree", "--repo", repo)
    assert second["files"] == count and second["new_bytes"] < 20 * MIB
    hf.ok("restore", "files:tree", "--to", "out", "--repo", repo)
    check(hf.path("out"), count, changed)
    found = hf.ok("find", "f%d" % (count - 1), "--repo", repo, "--json").of("match")
    assert found, "the last of them is found"
