"""Limits and the log of the configuration; what is kept of a command line; damaged sources; names in hints."""
import json
import os
import random
import sqlite3
import subprocess

from killing import has_sanitizer

ERROR, USAGE, PARTIAL, REFUSED, CORRUPT, UNREACHABLE = 1, 2, 3, 11, 13, 15
MIB = 1024 * 1024


def configure(hf, text):
    return {"HOLDFAST_CONFIG": hf.write("holdfast.yaml", text)}


def peak_bytes(hf, *args):
    """The most memory that one run had."""
    code = ("import resource, subprocess, sys\n"
            "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
            "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)\n")
    done = subprocess.run(["python3", "-c", code] + hf.command(*args), env=hf.env, cwd=hf.home,
                          stdout=subprocess.PIPE, check=True, text=True)
    exit_code, peak = map(int, done.stdout.split())
    assert exit_code == 0
    return peak


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_memory_that_is_too_little_is_refused(hf):
    repo = hf.init()
    hf.init("second")
    hf.write("tree/a", "a")
    failed = hf.run("backup", "files:tree", "--repo", repo, "--memory", "63MiB", check=USAGE)
    assert "--memory" in failed.err and "64.0 MiB" in failed.err
    env = configure(hf, "limits: { memory: 32MiB }\n")
    assert "limits.memory" in hf.run("backup", "files:tree", "--repo", repo, env=env, check=USAGE).err
    two = ("backup", "files:tree", "--repo", repo, "--repo", "second", "--memory")
    assert "112.0 MiB" in hf.run(*two, "64MiB", check=USAGE).err
    hf.ok(*two, "112MiB")


def test_little_memory_is_enough_and_is_less(hf):
    repo = hf.init()
    noise = random.Random(1).randbytes(32 * MIB)
    for name in "abc":
        hf.write("tree/" + name, name.encode() + noise)
        noise = noise[::-1] if name == "a" else noise[7:] + noise[:3]
    for n in range(2000):
        hf.write("tree/small/%d" % n, "small %d" % n)
    much = peak_bytes(hf, "backup", "files:tree", "--repo", repo, "--cpus", "16", "--memory", "1GiB")
    little = peak_bytes(hf, "backup", "files:tree", "--repo", hf.init("other"), "--cpus", "16", "--memory", "64MiB")
    if not has_sanitizer(hf.program):  # whose own memory, kept back after it was freed, would be measured
        assert little < 64 * MIB and little < much  # how much more depends on who waits for whom
    hf.ok("restore", "files:tree", "--repo", "other", "--to", "out", "--memory", "64MiB")
    assert subprocess.run(["diff", "-r", hf.path("tree"), hf.path("out")]).returncode == 0


# ---- time, priority -------------------------------------------------------------------------------------------------


def test_timeout_stops_the_job_and_says_why(hf):
    repo = hf.init()
    env = configure(hf, "limits: { timeout: 1s }\n")
    stopped = hf.run("backup", "command:echo begun; exec sleep 600", "--name", "slow", "--repo", repo, "--json", env=env,
                     check=ERROR)
    assert stopped.summary()["result"] == "failed"
    assert "the time allowed has passed" in stopped.err and "limits.timeout is 1s" in stopped.err
    assert hf.ok("ls", "--repo", repo, "--json").lines() == []
    (source,) = json.loads(hf.run("status", "--json").out)["sources"]
    assert source["repositories"][0]["last_result"] == "failed"
    hf.ok("backup", "command:echo quick", "--name", "slow", "--repo", repo, env=configure(hf, "limits: { timeout: 1h }\n"))


def test_nice_holds_for_the_job_and_its_children(hf):
    repo = hf.init()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = min(own + 3, 19)
    env = configure(hf, "limits: { nice: %d }\n" % wanted)
    hf.ok("backup", "command:nice", "--name", "level", "--repo", repo, env=env)
    hf.ok("restore", "level", "--repo", repo, "--to", "level")
    assert open(hf.path("level")).read() == "%d\n" % wanted


# ---- the log --------------------------------------------------------------------------------------------------------


def test_log_file_has_the_jobs(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    env = configure(hf, "log: { file: %s, format: json }\n" % hf.path("log"))
    done = hf.ok("backup", "files:tree", "--repo", repo, "--json", env=env)
    hf.run("backup", "files:away", "--repo", repo, env=env, check=UNREACHABLE)
    events = [json.loads(line) for line in open(hf.path("log"))]
    jobs = [e for e in events if e["event"] in ("job_begin", "job_end")]
    assert [e["event"] for e in jobs] == ["job_begin", "job_end"] * 2
    assert jobs[1]["job"] == jobs[0]["job"] == done.summary()["job"]
    assert jobs[1]["snapshot"] == done.summary()["snapshot"] and jobs[1]["result"] == "ok"
    assert jobs[3]["level"] == "error" and "away" in jobs[3]["error"]
    assert os.stat(hf.path("log")).st_mode & 0o777 == 0o600
    assert "job_begin" not in done.err


def test_log_level_and_format(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    env = configure(hf, "log: { file: %s, level: error }\n" % hf.path("log"))
    hf.ok("backup", "files:tree", "--repo", repo, env=env)
    assert os.path.getsize(hf.path("log")) == 0
    env = configure(hf, "log: { level: info }\n")
    said = hf.ok("backup", "files:tree", "--repo", repo, "--log-format", "json", env=env).err
    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [e["event"] for e in events] == ["job_begin", "job_end"]
    assert "event=job_end" in hf.ok("backup", "files:tree", "--repo", repo, "--verbose").err
    assert "job_end" not in hf.ok("backup", "files:tree", "--repo", repo).err


def test_a_log_that_cannot_be_written_stops_nothing(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    env = configure(hf, "log: { file: %s }\n" % hf.path("none", "log"))
    assert "the log is not written" in hf.ok("backup", "files:tree", "--repo", repo, env=env).err


# ---- command sources ------------------------------------------------------------------------------------------------


def everything_below(folder):
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                yield file.read()


def test_nothing_of_a_command_line_is_kept_but_the_program(hf):
    repo = hf.init()
    line = "command:TOKEN=xyzzy1 /bin/echo --password=xyzzy2"
    done = hf.ok("backup", line, "--repo", repo, "--json")
    name = done.summary()["source"]
    assert name.endswith(":command:echo")
    shown = [done.out, done.err]
    for command in (("ls",), ("ls", "--json"), ("info", line), ("info", name, "--json"), ("source", "ls"), ("status",)):
        more = () if command[0] == "status" else ("--repo", repo)
        result = hf.run(*command, *more)
        shown += [result.out, result.err]
    for text in shown:
        assert "xyzzy" not in text
    assert not any(b"xyzzy" in content for content in everything_below(hf.path("state")))
    hf.ok("restore", line, "--repo", repo, "--to", "out")
    assert open(hf.path("out")).read() == "--password=xyzzy2\n"
    hf.ok("restore", "command:echo", "--repo", repo, "--to", "again")


def test_two_command_lines_are_not_mixed(hf):
    repo = hf.init()
    hf.backup("command:echo one", "--repo", repo)
    hf.backup("command:echo one", "--repo", repo)
    refused = hf.run("backup", "command:echo secret", "--repo", repo, check=REFUSED)
    assert "--name" in refused.err and "secret" not in refused.err
    hf.backup("command:echo two", "--repo", repo, "--name", "two")
    hf.backup("command:echo three", "--repo", repo, "--name", "two")
    # Adopting is the other way out.
    hf.ok("source", "adopt", "command:echo two", "--repo", repo)
    hf.backup("command:echo two", "--repo", repo)


# ---- damaged sources ------------------------------------------------------------------------------------------------


def test_a_damaged_database_kept_by_force_is_no_good_backup(hf):
    repo = hf.init()
    db = sqlite3.connect(hf.path("app.db"))
    db.execute("create table t(x)")
    db.executemany("insert into t values(?)", (("x" * 100,) for _ in range(1000)))
    db.commit()
    db.close()
    with open(hf.path("app.db"), "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    backup = ("backup", "sqlite:app.db", "--name", "app", "--repo", repo)
    assert hf.run(*backup).code == CORRUPT
    done = hf.run(*backup, "--force", "--json", check=PARTIAL)
    assert done.summary()["result"] == "partial" and done.summary()["damaged"] is True
    assert "damaged" in done.err
    (source,) = json.loads(hf.run("status", "--json").out)["sources"]
    assert source["repositories"][0]["last_result"] == "partial"
    assert source["repositories"][0]["last_success"] is None


# ---- hints ----------------------------------------------------------------------------------------------------------


def test_a_source_whose_first_backup_failed_is_not_offered(hf):
    repo = hf.init()
    assert hf.run("backup", "command:exit 3", "--name", "failing", "--repo", repo).code == UNREACHABLE
    nothing = hf.run("restore", "other", "--repo", repo, "--to", "out")
    assert "no snapshots yet" in nothing.err and "failing" not in nothing.err
    hf.backup("command:echo", "--name", "good", "--repo", repo)
    hint = hf.run("restore", "other", "--repo", repo, "--to", "out").err
    assert "good" in hint and "failing" not in hint


# ---- options that would do nothing ----------------------------------------------------------------------------------


def test_an_option_of_another_type_is_refused(hf):
    repo = hf.init()
    hf.write("tree/a", "a")
    hf.write("tree/b.tmp", "b")
    for option in (["--exclude", "*"], ["--preset", "logs"], ["--one-file-system"]):
        failed = hf.run("backup", "command:echo", "--name", "x", "--repo", repo, *option, check=USAGE)
        assert option[0] in failed.err and "files" in failed.err
    assert hf.run("backup", "files:tree", "--repo", repo, "--recover-copy").code == USAGE
    assert hf.run("backup", "files:tree", "--repo", repo, "--restore-command", "cat").code == USAGE
    assert hf.run("source", "add", "x", "sqlite:app.db", "--exclude", "*").code == USAGE
    # Of several sources each takes what is for it.
    hf.ok("backup", "files:tree", "command:echo", "--repo", repo, "--exclude", "*.tmp")
    assert "b.tmp" not in hf.ok("ls", "files:tree@latest", "--repo", repo).out
