"""A database whose every committed state can be told from any other state, and the program that keeps changing it.

As a script: ledger.py DATABASE LOG SEED [wal|delete] writes until it is stopped or killed. Each transaction changes a few
rows, adds a row to the table `ledger` and sets user_version. The row holds a digest over all rows of the other tables.
The log gets "w SEQUENCE DIGEST" before each commit, "c SEQUENCE" after it, and "s SEQUENCE" at each start.
"""
import hashlib
import os
import random
import sqlite3
import sys
import time

MODULUS = 1 << 128
SCHEMA = """
CREATE TABLE ledger(seq INTEGER PRIMARY KEY, digest TEXT NOT NULL);
CREATE TABLE items(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, n INTEGER, payload BLOB);
CREATE TABLE notes(k TEXT PRIMARY KEY, v TEXT) WITHOUT ROWID;
CREATE INDEX items_kind ON items(kind, n);
"""
TEXT = b"the quick brown fox jumps over the lazy dog and then it sleeps for a while under some old tree "


class Broken(AssertionError):
    """A copy that is no committed state of the database."""


def hash_row(table, row):
    return int.from_bytes(hashlib.blake2b(repr((table,) + tuple(row)).encode(), digest_size=16).digest(), "little")


def digest_of(db):
    total = 0
    for row in db.execute("SELECT id, kind, n, payload FROM items"):
        total += hash_row("items", row)
    for row in db.execute("SELECT k, v FROM notes"):
        total += hash_row("notes", row)
    return total % MODULUS


def payload(rng, size):
    """Half compressible, as rows are."""
    start = rng.randrange(len(TEXT))
    return (TEXT[start:] * (size // 128 + 1))[:size // 2] + rng.randbytes(size // 2)


class Log:
    """What a writer noted: the digest of every sequence number, and how far commits had come."""

    def __init__(self, path):
        self.digests, self.committed = {}, 0
        with open(path, encoding="ascii") as file:
            lines = file.read().split("\n")[:-1]  # the last one may still be being written
        for line in lines:
            what, seq, *rest = line.split()
            if what == "w":
                self.digests[int(seq)] = rest[0]
            elif what == "c":
                self.committed = int(seq)
            else:  # what a killed writer announced and did not commit never was
                self.committed = int(seq)
                self.digests = {n: digest for n, digest in self.digests.items() if n <= int(seq)}


def check_copy(path, log_path):
    """Proves that a copy is whole and equals a committed state; its sequence number."""
    db = sqlite3.connect("file:%s?mode=ro&immutable=1" % path, uri=True)
    try:
        found = db.execute("PRAGMA integrity_check").fetchall()
        if found != [("ok",)]:
            raise Broken("integrity_check: %s" % found[:5])
        seq, digest, count = db.execute("SELECT seq, digest, (SELECT count(*) FROM ledger) FROM ledger "
                                        "ORDER BY seq DESC LIMIT 1").fetchone()
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if not seq == count == version:
            raise Broken("sequence %d, %d rows, user_version %d" % (seq, count, version))
        if "%032x" % digest_of(db) != digest:
            raise Broken("the rows are not those of commit %d" % seq)
    finally:
        db.close()
    if Log(log_path).digests.get(seq) != digest:
        raise Broken("commit %d was never made by the writer" % seq)
    return seq


class Writer:
    def __init__(self, path, log, seed, journal):
        self.rng = random.Random(seed)
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.db = sqlite3.connect(path, isolation_level=None, timeout=60)
        self.db.execute("PRAGMA journal_mode=%s" % journal)
        self.db.execute("PRAGMA synchronous=OFF")  # processes are killed here, machines are not
        self.db.execute("PRAGMA cache_size=100")  # large transactions spill into the log before they end
        self.journal = journal
        self.note("s %d" % self.open())

    def note(self, line):
        os.write(self.log, (line + "\n").encode())

    def open(self):
        if not self.db.execute("SELECT 1 FROM sqlite_schema WHERE name='ledger'").fetchone():
            self.db.executescript("BEGIN;" + SCHEMA + "COMMIT;")
        self.seq = self.db.execute("SELECT coalesce(max(seq), 0) FROM ledger").fetchone()[0]
        self.sum = digest_of(self.db)
        self.last = self.db.execute("SELECT coalesce(max(id), 0) FROM items").fetchone()[0]
        self.extra = self.db.execute("SELECT count(*) FROM sqlite_schema WHERE name LIKE 'extra%'").fetchone()[0]
        return self.seq

    def insert(self, count, size):
        for _ in range(count):
            self.last += 1
            row = (self.last, self.rng.choice("abcdefgh"), self.rng.randrange(1 << 40), payload(self.rng, size))
            self.db.execute("INSERT INTO items VALUES(?,?,?,?)", row)
            self.sum += hash_row("items", row)

    def change(self, count, remove=False):
        for _ in range(count):
            row = self.db.execute("SELECT id, kind, n, payload FROM items WHERE id >= ? LIMIT 1",
                                  (self.rng.randrange(self.last + 1),)).fetchone()
            if not row:
                continue
            self.sum -= hash_row("items", row)
            if remove:
                self.db.execute("DELETE FROM items WHERE id = ?", row[:1])
                continue
            row = row[:2] + (self.rng.randrange(1 << 40), row[3][:-8] + self.rng.randbytes(8))
            self.db.execute("UPDATE items SET n = ?, payload = ? WHERE id = ?", (row[2], row[3], row[0]))
            self.sum += hash_row("items", row)

    def remember(self):
        key = "key %d" % self.rng.randrange(500)
        old = self.db.execute("SELECT k, v FROM notes WHERE k = ?", (key,)).fetchone()
        new = (key, "value %d" % self.rng.randrange(1 << 60))
        self.sum += hash_row("notes", new) - (hash_row("notes", old) if old else 0)
        self.db.execute("INSERT OR REPLACE INTO notes VALUES(?,?)", new)

    def alter(self):
        """Another schema: tables and indexes come and go."""
        if self.extra and self.rng.random() < 0.5:
            self.db.execute("DROP TABLE extra%d" % self.extra)
            self.extra -= 1
        else:
            self.extra += 1
            self.db.execute("CREATE TABLE extra%d(a, b UNIQUE)" % self.extra)
            self.db.execute("INSERT INTO extra%d SELECT id, n FROM items LIMIT 50" % self.extra)

    def commit(self):
        self.seq += 1
        digest = "%032x" % (self.sum % MODULUS)
        self.db.execute("INSERT INTO ledger VALUES(?,?)", (self.seq, digest))
        self.db.execute("PRAGMA user_version=%d" % self.seq)
        self.note("w %d %s" % (self.seq, digest))
        self.db.execute("COMMIT")
        self.note("c %d" % self.seq)

    def fill(self, size_bytes):
        self.db.execute("BEGIN IMMEDIATE")
        while self.last * 1300 < size_bytes:
            self.insert(100, 1000)
        self.commit()

    def roll_back(self):
        """A large transaction that is given up when part of it is in the log already."""
        before = (self.sum, self.last, self.extra)
        self.db.execute("BEGIN IMMEDIATE")
        self.change(600)
        self.db.execute("ROLLBACK")
        self.sum, self.last, self.extra = before

    def maintain(self):
        if self.rng.random() < 0.1:
            self.db.execute("VACUUM")
        elif self.journal == "wal":
            self.db.execute("PRAGMA wal_checkpoint(%s)" % self.rng.choice(["PASSIVE", "FULL", "RESTART", "TRUNCATE"]))

    def step(self):
        chance = self.rng.random()
        if chance < 0.02:
            self.roll_back()
        elif chance < 0.07:
            try:
                self.maintain()
            except sqlite3.OperationalError:  # somebody reads: another time
                pass
        self.db.execute("BEGIN IMMEDIATE")
        if chance > 0.98:
            self.alter()
        elif chance > 0.96:
            self.change(400)
        self.insert(self.rng.randrange(4), self.rng.choice([40, 300, 1000, 9000]))
        self.change(self.rng.randrange(6))
        self.change(self.rng.randrange(4), remove=True)
        self.remember()
        self.commit()


def main():
    path, log, seed = sys.argv[1:4]
    writer = Writer(path, log, int(seed), sys.argv[4] if len(sys.argv) > 4 else "wal")
    writer.db.execute("PRAGMA busy_timeout=60000")
    pause = random.Random(int(seed) + 1)
    while True:
        writer.step()
        if pause.random() < 0.8:
            time.sleep(pause.random() * 0.01)


if __name__ == "__main__":
    main()
