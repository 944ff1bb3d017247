"""What the integration tests share: the program under test, run in a home of its own."""
import glob
import json
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def find_program():
    for name in ("HOLDFAST", "HOLDFAST_BIN"):
        if os.environ.get(name):
            return os.path.abspath(os.environ[name])
    built = glob.glob(os.path.join(ROOT, "build*", "src", "holdfast"))
    built += glob.glob(os.path.join(ROOT, "build", "*", "src", "holdfast"))
    return max(built, key=os.path.getmtime) if built else None


class Result:
    """What one run of the program left."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def lines(self):
        """Every JSON line on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, kind):
        return [doc for doc in self.lines() if doc["type"] == kind]

    def summary(self):
        """The last line: always the summary."""
        last = self.lines()[-1]
        assert last["type"] == "summary" and last["v"] == 1
        return last


class Holdfast:
    """The program with a state directory, a key file and folders below one temporary directory."""

    def __init__(self, home):
        self.home = str(home)
        self.program = find_program()
        self.key = self.path("key")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST")}
        self.env.update(HOME=self.path("home"), HOLDFAST_STATE_DIR=self.path("state"), TZ="UTC",
                        HOLDFAST_KEY_FILE=self.key)

    def path(self, *parts):
        return os.path.join(self.home, *parts)

    def command(self, *args):
        return [self.program] + [str(a) for a in args]

    def run(self, *args, env=None, check=None, **more):
        """Runs it without a terminal; `check` is the exit code expected."""
        own = dict(self.env, **(env or {}))
        own = {name: value for name, value in own.items() if value is not None}
        done = subprocess.run(self.command(*args), env=own, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="surrogateescape", cwd=self.home,
                              start_new_session=True, timeout=int(os.environ.get("HOLDFAST_TEST_TIMEOUT", "120")), **more)
        result = Result(done)
        if check is not None:
            assert result.code == check, "%s: exit %d\n%s%s" % (" ".join(map(str, args)), result.code, result.out,
                                                                result.err)
        return result

    def ok(self, *args, **more):
        return self.run(*args, check=0, **more)

    def start(self, *args, env=None):
        return subprocess.Popen(self.command(*args), env=dict(self.env, **(env or {})), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.home)

    def init(self, name="repo"):
        self.ok("init", "--repo", self.path(name))
        return self.path(name)

    def backup(self, *args):
        return self.ok("backup", "--json", *args).summary()

    def write(self, name, content):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        return path


@pytest.fixture
def hf(tmp_path):
    if not find_program():
        pytest.fail("build the program first, or name it with HOLDFAST")
    holdfast = Holdfast(tmp_path)
    os.mkdir(holdfast.path("home"))
    return holdfast


def pytest_configure(config):
    sys.dont_write_bytecode = True
