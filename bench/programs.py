"""The programs that bench/run.py measures: holdfast and its peers, each with a repository of its own below one folder.

Every method that is measured returns a Run. A program that fails raises Failed with the end of its output.
"""
import json
import os
import shutil
import subprocess
import time

KEEP_ENV = ("PATH", "HOME", "LANG", "TMPDIR")


class Failed(Exception):
    pass


class Run:
    def __init__(self, seconds, rss_bytes, output):
        self.seconds, self.rss_bytes, self.output = seconds, rss_bytes, output

    def json(self):
        """The last JSON line of standard output."""
        for line in reversed(self.output.splitlines()):
            if line.startswith("{"):
                return json.loads(line)
        return {}


class MemoryGroup:
    """A memory cgroup of this many bytes, version 1 or 2, for the programs run with it."""

    def __init__(self, limit_bytes):
        v1, v2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup"
        self.path = None
        if os.path.exists(v1 + "/memory.limit_in_bytes"):
            self.path, name = v1 + "/holdfast-bench-%d" % os.getpid(), "memory.limit_in_bytes"
        elif os.path.exists(v2 + "/cgroup.controllers"):
            self.path, name = v2 + "/holdfast-bench-%d" % os.getpid(), "memory.max"
            self._write(v2 + "/cgroup.subtree_control", "+memory")
        else:
            raise Failed("no memory cgroup controller is mounted")
        os.makedirs(self.path, exist_ok=True)
        self._write(os.path.join(self.path, name), str(limit_bytes))

    @staticmethod
    def _write(path, text):
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
        except OSError as error:
            raise Failed("%s: %s (the memory case needs root)" % (path, error)) from error

    def enter(self):
        """In the child, before it runs the program."""
        with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="ascii") as file:
            file.write("0")

    def kills(self):
        """How often the kernel killed for lack of memory."""
        for name in ("memory.oom_control", "memory.events"):
            path = os.path.join(self.path, name)
            if os.path.exists(path):
                with open(path, encoding="ascii") as file:
                    fields = dict(line.split() for line in file)
                return int(fields.get("oom_kill", 0))
        return 0

    def close(self):
        try:
            os.rmdir(self.path)
        except OSError:
            pass


def run(command, env=None, cwd=None, group=None, stdout=None):
    """Runs a command to its end and measures it. Memory is the peak of the process itself."""
    whole = {name: os.environ[name] for name in KEEP_ENV if name in os.environ}
    whole.update(env or {})
    os.sync()
    began = time.monotonic()
    child = subprocess.Popen(command, env=whole, cwd=cwd, stdin=subprocess.DEVNULL,
                             stdout=stdout or subprocess.PIPE, stderr=subprocess.STDOUT if not stdout else None,
                             preexec_fn=group.enter if group else None, text=not stdout,
                             errors=None if stdout else "replace")
    output = child.stdout.read() if not stdout else ""
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        name = " ".join([os.path.basename(str(command[0]))] + [str(c) for c in command[1:2]])
        raise Failed("%s: exit %d: %s" % (name, child.returncode, output.strip()[-1500:]))
    return Run(seconds, usage.ru_maxrss * 1024, output)


def folder_bytes(path):
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.unlink(path)


class Program:
    """A folder of its own, and a repository in it."""

    name = ""

    def __init__(self, work):
        self.folder = os.path.join(work, self.name)
        self.repo = os.path.join(self.folder, "repo")
        self.env = {}

    def fresh(self):
        """A new, empty repository with cold caches."""
        remove(self.folder)
        os.makedirs(self.folder)
        self.init()

    def init(self):
        raise NotImplementedError

    def stored(self):
        return folder_bytes(self.repo)

    def version(self):
        return ""


class Holdfast(Program):
    name = "holdfast"

    def __init__(self, work, binary, compression=None):
        super().__init__(work)
        self.binary = binary
        self.compression = compression
        self.common = ["--repo", self.repo, "--key-file", os.path.join(self.folder, "key"), "--no-progress"]
        self.env = {"HOLDFAST_STATE_DIR": os.path.join(self.folder, "state")}

    def init(self):
        run([self.binary, "init", "--repo", self.repo, "--create-key-file", os.path.join(self.folder, "key")], self.env)

    def backup(self, source, *options, group=None):
        if self.compression:
            options += ("--compression", self.compression)
        done = run([self.binary, "backup", source, "--json", *options] + self.common, self.env, group=group)
        summary = done.json()
        if summary.get("result") != "ok":
            raise Failed("holdfast backup %s: %s" % (source, done.output[-1500:]))
        return done

    def restore(self, what, target, group=None):
        remove(target)
        return run([self.binary, "restore", what, "--to", target, "--json", "--verify=none"] + self.common, self.env, group=group)

    def verify(self, level, group=None):
        return run([self.binary, "verify", "--level", str(level), "--json"] + self.common, self.env, group=group)

    def version(self):
        return run([self.binary, "--version"]).output.strip().splitlines()[0]


class Restic(Program):
    name = "restic"

    def __init__(self, work):
        super().__init__(work)
        self.env = {"RESTIC_PASSWORD": "benchmark", "RESTIC_REPOSITORY": self.repo,
                    "RESTIC_CACHE_DIR": os.path.join(self.folder, "cache"), "RESTIC_PROGRESS_FPS": "0.1"}

    def init(self):
        run(["restic", "init", "-q"], self.env)

    def backup(self, folder, *options):
        return run(["restic", "backup", "-q", *options, folder], self.env)

    def restore(self, target):
        remove(target)
        return run(["restic", "restore", "-q", "latest", "--target", target], self.env)

    def version(self):
        return run(["restic", "version"]).output.split(" compiled")[0]


class Borg(Program):
    name = "borg"

    def __init__(self, work):
        super().__init__(work)
        self.count = 0
        self.env = {"BORG_PASSPHRASE": "benchmark", "BORG_REPO": self.repo,
                    "BORG_BASE_DIR": os.path.join(self.folder, "base")}

    def init(self):
        run(["borg", "init", "--encryption=repokey"], self.env)

    def backup(self, folder):
        self.count += 1
        return run(["borg", "create", "--compression", "zstd,1", "::b%d" % self.count, folder], self.env)

    def restore(self, target):
        remove(target)
        os.makedirs(target)
        return run(["borg", "extract", "::b%d" % self.count], self.env, cwd=target)

    def version(self):
        return run(["borg", "--version"]).output.strip()


class Limit:
    """bench/limit: what the machine gives with no repository around it."""

    def __init__(self, work, binary):
        self.folder, self.binary = os.path.join(work, "limit"), binary
        remove(self.folder)
        os.makedirs(self.folder)

    def full(self, *files, compression="zstd:1"):
        for name in os.listdir(self.folder):
            os.unlink(os.path.join(self.folder, name))
        done = run([self.binary, "--compression", compression, "--out", self.folder, *files])
        done.stored = done.json()["stored_bytes"]
        return done

    def hash(self, file, threads):
        return run([self.binary, "--threads", str(threads), "--hash-only", file])


def tar_zstd(folder, target):
    """tar | zstd -1 -T2, into a file."""
    script = 'set -o pipefail; tar -cf - -C "$1" . | zstd -q -1 -T2 -f -o "$2"'
    return run(["bash", "-c", script, "tar", folder, target])


def dd(source, target):
    remove(target)
    return run(["dd", "if=" + source, "of=" + target, "bs=1M", "conv=fdatasync", "status=none"])
