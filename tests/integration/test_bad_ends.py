"""What goes wrong at 3 in the morning, on the way back and around it: targets, owners, signals, command lines,
secrets."""
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import time

import pytest

from badinput import *  # helpers and fixtures


# ---- restore targets ----------------------------------------------------------------------------------------------


def test_targets(filled):
    hf = filled
    source = "files:" + hf.src
    restore = lambda *args: hf.run("restore", source, "--repo", hf.repo, *args)
    hf.write("taken/keep", "keep")
    result = restore("--to", hf.path("taken"))
    assert result.code == NOT_EMPTY and os.listdir(hf.path("taken")) == ["keep"]
    hinted(result, "--confirm")
    result = restore("--to", hf.path("taken"), "--confirm", "wrong")
    assert result.code == USAGE and os.listdir(hf.path("taken")) == ["keep"]
    hinted(result, "taken")
    for args in (["--in-place"], ["--in-place", "--confirm", "wrong"]):
        result = restore(*args)
        assert result.code == USAGE
        hinted(result, "--confirm")
    assert restore("--in-place", "--to", hf.path("x")).code == USAGE
    result = restore("--to", hf.path("none"), "--only", "no-such-file")
    assert result.code == ERROR and not os.path.exists(hf.path("none"))
    hinted(result)
    clear(restore("--to", hf.path("src/a/below")), "Not a directory")
    assert read(hf.path("src/a")) == b"alpha\n"
    assert restore("--to", hf.path("not/yet/there")).code == 0
    assert read(hf.path("not/yet/there/a")) == b"alpha\n"
    os.mkdir(hf.path("real"))
    os.symlink("real", hf.path("link"))
    assert restore("--to", hf.path("link")).code == 0
    assert os.path.islink(hf.path("link")) and read(hf.path("real/a")) == b"alpha\n"
    os.symlink("nowhere", hf.path("dangling"))
    clear(restore("--to", hf.path("dangling")))
    assert not os.path.exists(hf.path("nowhere"))
    clear(restore("--to", "/dev/full", "--confirm", "full"))
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)
    assert restore("--to", hf.repo).code == REFUSED
    hf.write("src/a", "changed")
    assert restore("--in-place", "--confirm", snapshots(hf, hf.repo)[0]["source"]).code == 0
    assert read(hf.path("src/a")) == b"alpha\n"


def test_moments_and_names_that_do_not_exist(filled):
    hf = filled
    for what in ("files:%s@2001-01-01" % hf.src, "files:%s@garbage" % hf.src, "deadbeef", "nosuch", hf.src):
        result = hf.run("restore", what, "--to", hf.path("out"), "--repo", hf.repo)
        assert result.code in (ERROR, USAGE), what
        hinted(result)
        assert not os.path.exists(hf.path("out"))


# ---- whose source it is -------------------------------------------------------------------------------------------


def test_replaced_source_is_adopted(hf):
    repo = hf.init()
    path = database(hf.path("app.db"))
    hf.backup("sqlite:" + path, "--repo", repo)
    os.rename(path, path + ".old")
    database(path, 10)
    result = hf.run("backup", "sqlite:" + path, "--repo", repo)
    if result.code == 0:  # the engine knows no identity of a file that was replaced
        pytest.skip("a new file at the same path is the same source")
    assert result.code == REFUSED
    hinted(result, "source adopt")
    adopted = hf.run("source", "adopt", snapshots(hf, repo)[0]["source"], "--repo", repo)
    if "does not have the command yet" in adopted.err:
        pytest.skip("this build has no source adopt")
    assert adopted.code == 0, adopted.err
    hf.backup("sqlite:" + path, "--repo", repo)
    assert len(snapshots(hf, repo)) == 2


def on_machine(hf, machine_id, *args):
    """Runs the program where /etc/machine-id says something else."""
    with open(hf.path("machine-id"), "w") as file:
        file.write(machine_id + "\n")
    words = " ".join(shlex.quote(word) for word in hf.command(*args))
    script = "mount --bind %s /etc/machine-id && exec %s" % (shlex.quote(hf.path("machine-id")), words)
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], env=hf.env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return Result(done)


def test_another_host_with_the_same_path(filled):
    """A copied state directory makes no other machine this one, and a lost one makes this machine no other."""
    hf = filled
    if not os.path.exists("/etc/machine-id") or subprocess.run(
            ["unshare", "--mount", "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("the machine's identity cannot be changed here")
    ids = ["%032x" % n for n in (0x1111, 0x2222)]
    backup = ("backup", "files:" + hf.src, "--repo", hf.repo, "--name", "tree")
    assert on_machine(hf, ids[0], *backup).code == 0
    result = on_machine(hf, ids[1], *backup)
    assert result.code == REFUSED
    clear(result, "another host")
    hinted(result, "--name")
    adopt = re.search("`holdfast ([^`]*)`", result.err).group(1)
    assert adopt == "source adopt tree --repo " + hf.repo
    shutil.rmtree(hf.path("state"))
    assert on_machine(hf, ids[0], *backup).code == 0
    assert on_machine(hf, ids[1], *backup).code == REFUSED
    assert on_machine(hf, ids[1], "source", "adopt", "files:" + hf.src, "--name", "tree", "--repo", hf.repo).code == 0
    assert on_machine(hf, ids[1], *backup).code == 0
    assert on_machine(hf, ids[0], *backup).code == REFUSED
    assert on_machine(hf, ids[0], *adopt.split()).code == 0
    assert on_machine(hf, ids[0], *backup).code == 0


# ---- streams and signals ------------------------------------------------------------------------------------------


def test_standard_output_full_or_closed(filled):
    hf = filled
    commands = (["ls"], ["ls", "--json"], ["verify"], ["backup", "files:" + hf.src, "--json"], ["--help"],
                ["--version"], ["man"])
    for command in commands:
        more = [] if command[0].startswith("-") or command == ["man"] else ["--repo", hf.repo]
        with open("/dev/full", "w") as full:
            done = subprocess.run(hf.command(*command, *more), env=hf.env, stdout=full, stderr=subprocess.PIPE, text=True)
        assert done.returncode == ERROR and "No space left" in done.stderr, command
        closed = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"] + hf.command(*command, *more), env=hf.env)
        assert closed.returncode == ERROR, command
    verified(hf, hf.repo)  # no message went into a file of the repository
    head = subprocess.run(["sh", "-c", '"$@" | head -c 1 >/dev/null', "sh"] + hf.command("man"), env=hf.env,
                          stderr=subprocess.PIPE)
    assert head.returncode == 0 and head.stderr == b""
    with open("/dev/full", "w") as full:
        done = subprocess.run(hf.command("init", "--repo", hf.path("new")), env=hf.env, stdout=full,
                              stderr=subprocess.PIPE, text=True)
    assert done.returncode == ERROR and "--new-recovery-code" in done.stderr
    assert os.path.exists(hf.key)
    hf.ok("ls", "--repo", hf.path("new"))


def started(hf, args, ready):
    """Starts it and waits until ready() or its end."""
    process = hf.start(*args)
    while process.poll() is None and not ready():
        time.sleep(0.01)
    return process


def test_interrupted_backup(hf):
    repo = hf.init()
    hf.write("src/big", noise(48 << 20))
    args = ["backup", "files:" + hf.path("src"), "--repo", repo, "--limit-read", "30MiB"]
    working = lambda: os.path.isdir(repo + "/tmp") and os.listdir(repo + "/tmp")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        process = started(hf, args, working)
        time.sleep(0.2)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), err
        assert snapshots(hf, repo) == []
        verified(hf, repo)
    hf.backup("files:" + hf.path("src"), "--repo", repo)
    hf.ok("restore", "files:" + hf.path("src"), "--to", hf.path("out"), "--repo", repo)
    assert read(hf.path("out/big")) == read(hf.path("src/big"))


def below(path):
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_restore(hf, number):
    """What an interrupted restore leaves cannot be taken for the whole, and the next one brings it."""
    repo = hf.init()
    for i in range(2):
        hf.write("src/d/f%d" % i, noise(40 << 20, i))
    path = database(hf.path("app.db"), 60000)
    sources = {"files:" + hf.path("src"): hf.path("tree"), "files:" + hf.path("src/d/f0"): hf.path("copy1/one"),
               "sqlite:" + path: hf.path("copy2/app.db")}
    for source, target in sources.items():
        hf.backup(source, "--repo", repo)
        watched = target if target == hf.path("tree") else os.path.dirname(target)
        process = started(hf, ["restore", source, "--to", target, "--repo", repo], lambda: below(watched))
        process.send_signal(number)
        process.communicate(timeout=60)
        if process.returncode == 0:
            continue  # it was faster
        assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
        if os.path.isdir(target):
            assert os.path.exists(os.path.join(target, UNFINISHED))
            again = hf.run("restore", source, "--to", target, "--repo", repo)
            assert again.code == NOT_EMPTY
            clear(again, "did not finish")
        else:
            assert not os.path.exists(target)
        if number == signal.SIGINT:
            assert [name for name in below(target) if os.path.basename(name) != UNFINISHED] == []
        more = ["--confirm", os.path.basename(target)] if os.path.isdir(target) else []
        hf.ok("restore", source, "--to", target, "--repo", repo, *more)
    assert sorted(os.listdir(hf.path("tree"))) == ["d"]
    for i in range(2):
        assert read(hf.path("tree/d/f%d" % i)) == read(hf.path("src/d/f%d" % i))
    assert read(hf.path("copy1/one")) == read(hf.path("src/d/f0"))
    assert rows_of(hf.path("copy2/app.db")) == rows_of(path)


# ---- the command line and the configuration -----------------------------------------------------------------------

BAD_LINES = [
    [], ["bogus"], ["restor"], ["backup"], ["backup", "--nope"], ["ls", "--repo"], ["ls", "--repo="], ["ls", "-r"],
    ["ls", "-Z"], ["ls", "a", "b", "c"], ["init", "extra"], ["ls", "--json=1"], ["ls", "--to", "x"], ["key"],
    ["key", "bogus"], ["ls", "--cpus", "0"], ["ls", "--cpus", "-1"], ["ls", "--cpus", "9" * 30],
    ["ls", "--limit-read", "abc"], ["verify", "--level", "9"], ["verify", "--level", "1", "--coverage", "30d"],
    ["verify", "--coverage", "x"], ["completion", "tcsh"], ["export", "x"], ["diff", "a"], ["restore", "--to", "x"],
    ["backup", "--full", "--incremental", "files:/etc"], ["backup", "-q", "-v", "files:/etc"],
    ["backup", "--verify=silly", "files:/etc"], ["backup", "--preset", "nope", "files:/etc"],
    ["backup", "bogus:/x", "--repo", "R"], ["backup", "sqlite:", "--repo", "R"], ["backup", "/etc", "--repo", "R"],
    ["backup", "etc", "--repo", "R"], ["backup", "--label", "foo", "files:/etc", "--repo", "R"],
    ["backup", "--compression", "zstd:99", "files:/etc", "--repo", "R"],
    ["backup", "--name", "x", "files:/etc", "files:/opt", "--repo", "R"], ["ls", "--repo", "R", "--repo", "R"],
    ["ls", "--repo", "file://host/x"], ["ls", "--key-file=", "--repo", "R"], ["ls"],
]


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: " ".join(line)[:50] or "nothing")
def test_bad_command_lines(hf, line):
    repo = hf.path("repo")
    result = hf.run(*[repo if word == "R" else word for word in line])
    if "R" in line and result.code == NO_REPOSITORY:
        hf.init()
        result = hf.run(*[repo if word == "R" else word for word in line])
    assert result.code == USAGE, result.err
    clear(result)
    assert result.out == ""


BAD_CONFIGURATIONS = [
    ("compression: zstd:1\nbogus: 1\n", ":2:", "bogus"),
    ("sources:\n  - { name: a, type: files, paths: [/etc], nope: 1 }\n", ":2:", "nope"),
    ("sources:\n  - name: a\n    type: files\n   paths: [x]\n", ":4:", ""),
    ("\t- x\n", ":1:", ""),
    ("compression: zstd:99\n", ":1:", "zstd:99"),
    ("limits:\n  memory: lots\n", ":2:", "lots"),
    ("sources:\n  - { name: a, type: oracle, paths: [/x] }\n", ":2:", "oracle"),
    ("sources:\n  - { name: a, type: files, paths: [/x] }\n  - { name: a, type: files, paths: [/y] }\n", ":3:", "there already"),
    ("profile: production\nprofile: staging\n", ":2:", "profile"),
    ("repositories:\n  - { name: l, url: file:///x, passphrase: hunter2 }\n", ":2:", "secret"),
    ("a: &a [*a]\n", ":1:", "anchors"),
    ("x: {{{{{{\n", ":1:", ""),
    ("a: " + "[" * 5000 + "\n", ":1:", "nested"),
    (b"\xff\xfe\x00\x01", ":1:", ""),
]


@pytest.mark.parametrize("text,line,word", BAD_CONFIGURATIONS, ids=lambda value: repr(value)[:30])
def test_bad_configurations(hf, text, line, word):
    path = hf.write("bad.yaml", text)
    for command in (["config", "check"], ["ls", "--repo", hf.path("repo")]):
        result = hf.run(*command, "--config", path)
        assert result.code == USAGE, result.err
        clear(result, "bad.yaml" + line, word)
        assert "hunter2" not in result.err


def test_configurations_that_cannot_be_read(hf):
    for path in (hf.path("none.yaml"), hf.home, "/dev/zero"):
        clear(hf.run("config", "check", "--config", path), "configuration")


# ---- secrets ------------------------------------------------------------------------------------------------------

DUMP = """#!/bin/sh
env
for pid in $$ $PPID $(sed -n 's/^PPid:\\t//p' /proc/$PPID/status); do
  tr '\\0' '\\n' < /proc/$pid/environ; tr '\\0' ' ' < /proc/$pid/cmdline
done
"""


def test_secrets_stay_out_of_sight(hf):
    """Not in the environment or arguments of the program and its children, not in messages, logs and records."""
    word, repo = "S3CRET-correct-horse", hf.path("repo")
    dump = hf.write("dump.sh", DUMP)
    os.chmod(dump, 0o755)
    hf.write("c.yaml", "repositories:\n  - { name: r, url: %s, passphrase: { env: MYPASS } }\n"
                       "sources:\n  - { name: d, type: command, command: %s, hooks: { before_backup: { command: '%s >%s' } } }\n"
             % (repo, dump, dump, hf.path("hook")))
    direct = {"HOLDFAST_KEY_FILE": None, "HOLDFAST_PASSPHRASE": word}
    configured = {"HOLDFAST_KEY_FILE": None, "MYPASS": word}
    texts = []
    for env, args in ((direct, ["init", "--repo", repo]),
                      (direct, ["backup", "command:" + dump, "--name", "one", "--repo", repo, "-vv", "--log-format", "json"]),
                      (configured, ["backup", "d", "--config", hf.path("c.yaml"), "-vv"]),
                      (configured, ["restore", "d", "--config", hf.path("c.yaml"), "--to", hf.path("d.out")]),
                      (direct, ["restore", "one", "--to", hf.path("one.out"), "--repo", repo])):
        result = hf.ok(*args, env=env)
        texts += [result.out, result.err]
    wrong = hf.run("ls", "--repo", repo, env=dict(direct, HOLDFAST_PASSPHRASE=word + "-wrong"))
    assert wrong.code == WRONG_KEY
    texts += [wrong.out, wrong.err]
    for name in ("hook", "d.out", "one.out"):
        assert "PATH=" in read(hf.path(name)).decode()  # the dump works
        texts.append(read(hf.path(name)).decode())
    texts += [read(path).decode("latin-1") for path in below(hf.path("state")) + below(repo)]
    assert not any(word in text for text in texts)
