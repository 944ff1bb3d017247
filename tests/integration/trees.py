"""Random folders with everything a file system can hold, random changes to them, and what a restore must bring back."""
import hashlib
import os
import socket
import stat
import struct

SIZES = (0, 1, 100, 4095, 4096, 4097, 65536, 70000, 300000)
ROOT = os.geteuid() == 0
SQLITE_HEADER = b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20"  # page size 4096
PAGE = 4096


def random_name(rng):
    kind = rng.randrange(10)
    if kind < 4:
        return b"%s%d" % (rng.choice([b"file", b"Data", b".hidden", b"-dash", b"x.log", b"a.b.c"]), rng.randrange(1000))
    if kind < 6:
        return rng.choice(["grün", "日本", "e\u0301", "Ω"]).encode() + b"%d" % rng.randrange(100)
    if kind < 9:
        name = bytes(rng.choice([n for n in range(1, 256) if n != 0x2f]) for _ in range(rng.randrange(1, 24)))
        return b"_" if name in (b".", b"..") else name
    return bytes([rng.choice(b"nopq")]) * 255


def random_bytes(rng, size):
    """Compressible, random, or both; large ones repeat, so that they deduplicate."""
    block = rng.randbytes(min(size, 3000))
    if rng.random() < 0.4:
        block += b"some words that come again and again, as they do in texts\n" * 20
    return (block * (size // max(1, len(block)) + 1))[:size] if rng.random() < 0.7 else rng.randbytes(size)


class Tree:
    def __init__(self, root, rng, count):
        self.root, self.rng, self.symlinks = os.fsencode(root), rng, 0
        os.makedirs(self.root)
        for _ in range(count):
            self.add()
        self.settle()

    # ---- what is there

    def paths(self):
        found = []
        for folder, folders, names in os.walk(self.root):
            found += [os.path.join(folder, name) for name in folders + names]
        return sorted(found)

    def pick(self, holds):
        paths = [path for path in self.paths() if holds(os.lstat(path).st_mode)]
        return self.rng.choice(paths) if paths else None

    def new_path(self):
        folders = [self.root] + [p for p in self.paths() if stat.S_ISDIR(os.lstat(p).st_mode)]
        while True:
            path = os.path.join(self.rng.choice(folders), random_name(self.rng))
            if not os.path.lexists(path) and len(path) < 3000:
                return path

    # ---- making

    def add(self):
        path = self.new_path()
        make = self.rng.choice([self.make_file] * 6 + [self.make_folder] * 4 + [
            self.make_sparse, self.make_pages, self.make_symlink, self.make_symlink, self.make_link, self.make_special])
        make(path)
        if os.path.lexists(path):
            self.decorate(path)

    def make_file(self, path):
        with open(path, "wb") as file:
            file.write(random_bytes(self.rng, self.rng.choice(SIZES) + self.rng.randrange(3)))

    def make_folder(self, path):
        os.mkdir(path)

    def make_sparse(self, path):
        with open(path, "wb") as file:
            for _ in range(self.rng.randrange(4)):
                file.seek(self.rng.randrange(3 << 20))
                file.write(self.rng.randbytes(self.rng.randrange(1, 20000)))
            file.truncate(self.rng.randrange(4 << 20))

    def make_pages(self, path):
        with open(path, "wb") as file:
            pages = self.rng.randrange(1, 200)
            file.write((SQLITE_HEADER + random_bytes(self.rng, pages * PAGE))[:pages * PAGE])

    def make_symlink(self, path):
        os.symlink(self.rng.choice([b"nowhere", b"/etc/hostname", b"../..", b"\xff\n", b"l" * 3000]), path)

    def make_link(self, path):
        other = self.pick(stat.S_ISREG)
        if other:
            os.link(other, path)

    def make_special(self, path):
        if self.rng.random() < 0.5 or len(path) > 90:
            os.mkfifo(path)
            return
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)

    def decorate(self, path):
        rng, mode = self.rng, os.lstat(path).st_mode
        if stat.S_ISLNK(mode):
            return
        if ROOT and rng.random() < 0.3:
            os.chown(path, rng.randrange(3000), rng.randrange(3000))
        if rng.random() < 0.5:
            least = 0 if ROOT else 0o700
            os.chmod(path, least | rng.choice([0o644, 0o600, 0o755, 0o4755, 0o2775, 0o1777, 0o000, 0o7777]))
        if rng.random() < 0.25 and (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            self.set_xattrs(path)

    def set_xattrs(self, path):
        for _ in range(self.rng.randrange(1, 4)):
            try:
                os.setxattr(path, b"user.x%d" % self.rng.randrange(5), self.rng.randbytes(self.rng.randrange(200)))
            except OSError:  # this file system has none
                return
        if self.rng.random() < 0.5:  # u::rwx u:1234:r-x g::r-- m::r-x o::---
            entries = ((1, 7, 0xffffffff), (2, 5, 1234), (4, 4, 0xffffffff), (16, 5, 0xffffffff), (32, 0, 0xffffffff))
            acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
            try:
                os.setxattr(path, "system.posix_acl_access", acl)
            except OSError:
                pass

    def settle(self):
        """Random times, those of folders last."""
        for path in sorted(self.paths(), key=len, reverse=True):
            if self.rng.random() < 0.5:
                when = self.rng.choice([0, 1, 10**9, 1600000000123456789, 4102444800000000007,
                                        self.rng.randrange(2 * 10**18)])
                os.utime(path, ns=(when, when), follow_symlinks=False)

    # ---- changing

    def change(self):
        for _ in range(self.rng.randrange(3, 12)):
            self.rng.choice([self.add, self.add, self.edit, self.edit, self.edit, self.edit_quietly, self.remove,
                             self.rename, self.redecorate, self.replace])()
        if self.rng.random() < 0.7:
            self.settle()

    def edit(self):
        path = self.pick(stat.S_ISREG)
        if not path:
            return
        with open(path, "r+b") as file:
            size = file.seek(0, 2)
            for _ in range(self.rng.randrange(1, 5)):
                file.seek(self.rng.randrange(size + 1))
                file.write(self.rng.randbytes(self.rng.choice([1, 10, 4096, 20000])))
            if self.rng.random() < 0.2:
                file.truncate(self.rng.randrange(size + 1))

    def edit_quietly(self):
        """Same size, same modification time: only the change time tells."""
        path = self.pick(stat.S_ISREG)
        if not path or not os.path.getsize(path):
            return
        st = os.lstat(path)
        with open(path, "r+b") as file:
            file.seek(self.rng.randrange(st.st_size))
            file.write(self.rng.randbytes(1))
        os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))

    def remove(self):
        path = self.pick(lambda mode: True)
        if path and stat.S_ISDIR(os.lstat(path).st_mode):
            try:
                os.rmdir(path)
            except OSError:
                pass
        elif path:
            os.unlink(path)

    def rename(self):
        path = self.pick(lambda mode: not stat.S_ISDIR(mode))
        if path:
            os.rename(path, self.new_path())

    def redecorate(self):
        path = self.pick(lambda mode: True)
        if path:
            self.decorate(path)

    def replace(self):
        """Something of another type under the same name."""
        path = self.pick(lambda mode: not stat.S_ISDIR(mode))
        if path:
            os.unlink(path)
            self.rng.choice([self.make_folder, self.make_file, self.make_symlink, self.make_special])(path)


def content_of(path):
    hashed = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            hashed.update(piece)
    return hashed.hexdigest()


def xattrs_of(path):
    try:
        return {name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)}
    except OSError:
        return {}


def describe(root):
    """Everything below root that a restore must bring back, by path. Hard links are named by their first path."""
    root, found, first = os.fsencode(root), {}, {}
    paths = [root]
    for folder, folders, names in os.walk(root):
        paths += [os.path.join(folder, name) for name in folders + names]
    for path in sorted(paths):
        st = os.lstat(path)
        entry = {"mode": st.st_mode, "uid": st.st_uid, "gid": st.st_gid, "mtime": st.st_mtime_ns,
                 "xattrs": xattrs_of(path)}
        if stat.S_ISREG(st.st_mode):
            entry.update(size=st.st_size, content=content_of(path),
                         link=first.setdefault((st.st_dev, st.st_ino), os.path.relpath(path, root)))
        elif stat.S_ISLNK(st.st_mode):
            entry["target"] = os.readlink(path)
        found[os.path.relpath(path, root)] = entry
    return found


def difference(want, got):
    """A short text, empty when both are equal."""
    lines = ["%r: missing" % path for path in want if path not in got]
    lines += ["%r: not expected" % path for path in got if path not in want]
    for path in want:
        for key in want[path]:
            if path in got and want[path][key] != got[path].get(key):
                lines.append("%r: %s: %r, not %r" % (path, key, got[path].get(key), want[path][key]))
    return "\n".join(lines[:20])


FRAME = 128 << 10


def frames_with_data(path):
    """Bytes of the file in frames that are not all hole: holes are kept by whole frames."""
    total, at, size = 0, 0, os.path.getsize(path)
    fd = os.open(path, os.O_RDONLY)
    try:
        while at < size:
            data = os.lseek(fd, at, os.SEEK_DATA)
            begin = max(at, data // FRAME * FRAME)
            at = min(size, -(-os.lseek(fd, data, os.SEEK_HOLE) // FRAME) * FRAME)
            total += at - begin
    except OSError:
        pass  # nothing but a hole from there on
    finally:
        os.close(fd)
    return total


def most_allocated(root):
    """What a restored copy may take on disk, but for what the file system rounds."""
    return sum(frames_with_data(path) for path in walk_files(root))


def walk_files(root):
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in names:
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


def allocated(root):
    return sum(os.lstat(path).st_blocks * 512 for path in walk_files(root))
