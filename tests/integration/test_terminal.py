"""holdfast on a terminal, a real pseudo terminal that is the process's own: what is asked, what shows while it is typed,
the progress bar, and Ctrl-C."""
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time

import pytest

USAGE, NOT_EMPTY, WRONG_KEY = 2, 14, 12
STOPPED = 128 + signal.SIGINT
PASSPHRASE = "correct horse battery staple"
PATIENCE_S = 60


class Terminal:
    """One run with a terminal of its own. What goes to a `data` file does not show on it."""

    def __init__(self, hf, *args, asks=False, data=None):
        self.master, slave = pty.openpty()
        self.shown, self.seen, self.slave = "", 0, slave  # kept open, so that its settings can be looked at afterwards
        env = {name: value for name, value in hf.env.items() if not asks or name != "HOLDFAST_KEY_FILE"}

        def take_terminal():
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        self.child = subprocess.Popen(hf.command(*args), env=env, stdin=slave, stdout=data or slave, stderr=slave,
                                      cwd=hf.home, start_new_session=True, preexec_fn=take_terminal)

    def read(self, wait_s):
        """False when nothing came."""
        if not select.select([self.master], [], [], wait_s)[0]:
            return False
        self.shown += os.read(self.master, 1 << 16).decode(errors="replace")
        return True

    def expect(self, pattern):
        """Waits until it shows behind what was expected before."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            match = re.compile(pattern).search(self.shown, self.seen)
            if match:
                self.seen = match.end()
                return match
            assert time.monotonic() < deadline and self.child.poll() is None or self.read(0.2), \
                "%r never showed in %r" % (pattern, self.shown)
            self.read(0.05)

    def echoes(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def type(self, text):
        os.write(self.master, text.encode())

    def end(self, code=None):
        """The rest of what it shows, and the exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.child.poll() is None:
            self.read(0.05)
            if time.monotonic() > deadline:
                self.child.kill()
                pytest.fail("it does not end: %r" % self.shown)
        while self.read(0):
            pass
        assert self.echoes(), "the terminal was left without echo"
        os.close(self.master)
        os.close(self.slave)
        assert code is None or self.child.returncode == code, "exit %d: %r" % (self.child.returncode, self.shown)
        return self.child.returncode


def init(hf, name="repo", passphrase=PASSPHRASE):
    terminal = Terminal(hf, "init", "--repo", hf.path(name), asks=True)
    terminal.expect("New passphrase: ")
    terminal.type(passphrase + "\n")
    terminal.expect("New passphrase, again: ")
    terminal.type(passphrase + "\n")
    terminal.end(0)
    return hf.path(name), terminal.shown


def answer(hf, text, *args, prompt="Passphrase: "):
    """A run that asks once."""
    terminal = Terminal(hf, *args, asks=True)
    terminal.expect(prompt)
    terminal.type(text + "\n")
    terminal.end()
    return terminal


def temporary(repo):
    folder = os.path.join(repo, "tmp")
    return os.listdir(folder) if os.path.isdir(folder) else []


# ---- passphrases --------------------------------------------------------------------------------------------------


def test_typed_passphrase_does_not_show(hf):
    repo, shown = init(hf)
    assert PASSPHRASE not in shown and "Recovery code" in shown
    terminal = answer(hf, PASSPHRASE, "ls", "--repo", repo)
    assert terminal.child.returncode == 0 and PASSPHRASE not in terminal.shown
    assert terminal.shown.count("assphrase") == 1
    terminal = answer(hf, "another one", "ls", "--repo", repo)
    assert terminal.child.returncode == WRONG_KEY and "another one" not in terminal.shown


def test_echo_is_off_before_the_prompt_shows(hf):
    """Whoever types as soon as the prompt is there loses nothing and shows nothing."""
    terminal = Terminal(hf, "init", "--repo", hf.path("repo"), asks=True)
    for prompt in ("New passphrase: ", "New passphrase, again: "):
        terminal.expect(prompt)
        assert not terminal.echoes()
        terminal.type(PASSPHRASE + "\n")
    terminal.end(0)


def test_prompt_is_asked_on_the_terminal_when_output_goes_elsewhere(hf):
    repo, _ = init(hf)
    with open(hf.path("out"), "wb") as out:
        terminal = Terminal(hf, "ls", "--json", "--repo", repo, asks=True, data=out)
        terminal.expect("Passphrase: ")
        terminal.type(PASSPHRASE + "\n")
        terminal.end(0)
    with open(hf.path("out"), "rb") as out:
        assert b"assphrase" not in out.read()


@pytest.mark.parametrize("typed", [(PASSPHRASE, "correct horse battery stable"), (PASSPHRASE, PASSPHRASE + " "),
                                   (PASSPHRASE, ""), ("",)])
def test_passphrases_that_differ_are_refused(hf, typed):
    terminal = Terminal(hf, "init", "--repo", hf.path("repo"), asks=True)
    for text in typed:
        terminal.expect("New passphrase.*: ")
        terminal.type(text + "\n")
    terminal.end(USAGE)
    assert not os.path.exists(hf.path("repo", "holdfast.json"))
    assert PASSPHRASE not in terminal.shown
    assert ("not the same" if len(typed) == 2 else "nothing was entered") in terminal.shown
    init(hf)


def test_line_editing_and_other_alphabets(hf):
    """The terminal's own line editing goes on; what is no ASCII counts byte for byte."""
    repo, _ = init(hf, passphrase="Schlüssel № 5")
    assert answer(hf, "wrong\x15Schlüssel № 55\x7f", "ls", "--repo", repo).child.returncode == 0
    assert answer(hf, "Schlussel № 5", "ls", "--repo", repo).child.returncode == WRONG_KEY


def test_another_passphrase_is_added(hf):
    repo, _ = init(hf)
    terminal = Terminal(hf, "key", "add", "--repo", repo, asks=True)
    for prompt, text in (("(?<!New )[Pp]assphrase: ", PASSPHRASE), ("New passphrase: ", "second"),
                         ("again: ", "second")):
        terminal.expect(prompt)
        terminal.type(text + "\n")
    terminal.end(0)
    assert "second" not in terminal.shown
    for text in ("second", PASSPHRASE):
        assert answer(hf, text, "ls", "--repo", repo).child.returncode == 0


@pytest.mark.parametrize("prompts", [1, 2])
def test_ctrl_c_at_a_prompt(hf, prompts):
    terminal = Terminal(hf, "init", "--repo", hf.path("repo"), asks=True)
    terminal.expect("New passphrase: ")
    if prompts == 2:
        terminal.type("half\n")
        terminal.expect("again: ")
    terminal.type("ha\x03")
    terminal.end(STOPPED)  # which also looks whether echo is on again
    assert not os.path.exists(hf.path("repo", "holdfast.json"))
    init(hf)


# ---- nothing is overwritten for want of an answer ------------------------------------------------------------------


def test_overwriting_is_not_asked_but_refused(hf):
    """A terminal makes no difference: --confirm names what may be overwritten."""
    repo = hf.init()
    hf.write("src/f", b"old")
    source = "files:" + hf.path("src")
    hf.backup(source, "--repo", repo)
    hf.write("out/f", b"mine")
    for confirm, code in (([], NOT_EMPTY), (["--confirm", "src"], USAGE)):
        terminal = Terminal(hf, "restore", source, "--to", hf.path("out"), "--repo", repo, *confirm)
        terminal.end(code)
        assert "--confirm" in terminal.shown
        with open(hf.path("out/f"), "rb") as file:
            assert file.read() == b"mine"
    Terminal(hf, "restore", source, "--to", hf.path("out"), "--repo", repo, "--confirm", "out").end(0)
    with open(hf.path("out/f"), "rb") as file:
        assert file.read() == b"old"


# ---- progress -----------------------------------------------------------------------------------------------------

WAITING = "command:head -c 3000000 /dev/zero; while [ ! -e %s ]; do sleep 0.05; done"


def test_bar_on_a_terminal(hf):
    repo = hf.init()
    terminal = Terminal(hf, "backup", WAITING % hf.path("go"), "--repo", repo)
    terminal.expect(r"\r[^\n]*2\.\d MiB")
    hf.write("go", b"")
    terminal.end(0)
    for line in terminal.shown.split("\n"):
        assert "\r\x1b[K" in line or "reading " not in line, "the bar was left: %r" % terminal.shown
        assert not re.search("reading [^\x1b]*snapshot", line), "the bar was written over: %r" % terminal.shown


@pytest.mark.parametrize("quiet", [[], ["--quiet"], ["--no-progress"], ["--json"]])
def test_no_bar_in_a_pipe_or_when_unwanted(hf, quiet):
    """In a pipe never; on a terminal not when it is switched off, or when there is JSON."""
    repo = hf.init()
    source = "command:head -c 3000000 /dev/zero; sleep 0.7"  # longer than a bar needs to come
    result = hf.ok("backup", source, "--repo", repo, *quiet)
    for text in (result.out, result.err):
        assert "\r" not in text and "\x1b" not in text
    if quiet:
        terminal = Terminal(hf, "backup", source, "--repo", repo, *quiet)
        terminal.end(0)
        assert "\r" not in terminal.shown.replace("\r\n", "") and "\x1b" not in terminal.shown


# ---- Ctrl-C -------------------------------------------------------------------------------------------------------


def large_source(hf):
    os.mkdir(hf.path("src"))
    for number in range(6):
        hf.write("src/f%d" % number, os.urandom(8 << 20))
    return "files:" + hf.path("src")


def test_ctrl_c_during_a_backup(hf):
    repo, source = hf.init(), large_source(hf)
    terminal = Terminal(hf, "backup", source, "--repo", repo, "--limit-read", "12MiB")
    terminal.expect(r"\r[^\n]*\d MiB")
    terminal.type("\x03")
    terminal.expect("stopping")
    terminal.end(STOPPED)
    assert temporary(repo) == [] and os.listdir(hf.path("state", "scratch")) == []
    assert hf.ok("ls", "--json", "--repo", repo).of("snapshot") == []
    jobs = hf.ok("status", "--json").out
    assert "running" not in jobs
    hf.backup(source, "--repo", repo)
    hf.ok("verify", "--level", "3", "--repo", repo)
    assert temporary(repo) == []


def test_second_ctrl_c_ends_at_once(hf):
    """What it leaves is removed by a later run, once it is old enough to be nobody's."""
    repo, source = hf.init(), large_source(hf)
    terminal = Terminal(hf, "backup", source, "--repo", repo, "--limit-read", "12MiB")
    terminal.expect(r"\r[^\n]*\d MiB")
    os.kill(terminal.child.pid, signal.SIGSTOP)  # so that both are there when it goes on: two at once are one
    terminal.type("\x03")
    os.kill(terminal.child.pid, signal.SIGTERM)
    os.kill(terminal.child.pid, signal.SIGCONT)
    assert terminal.end() in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    for name in temporary(repo):
        os.utime(os.path.join(repo, "tmp", name), (1, 1))
    hf.backup(source, "--repo", repo)
    assert temporary(repo) == [] and os.listdir(hf.path("state", "scratch")) == []
    hf.ok("verify", "--level", "3", "--repo", repo)


def test_ctrl_c_while_a_command_runs(hf):
    """The command is ended too, and it is the cancelling that counts, not the command's end."""
    repo = hf.init()
    terminal = Terminal(hf, "backup", WAITING % hf.path("never") + " # " + hf.home, "--repo", repo)
    terminal.expect(r"\r[^\n]*2\.\d MiB")
    terminal.type("\x03")
    terminal.end(STOPPED)
    assert temporary(repo) == []
    assert hf.ok("ls", "--json", "--repo", repo).of("snapshot") == []
    mine = hf.home.encode()
    running = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                running += [pid] if mine in file.read() and pid != str(os.getpid()) else []
        except OSError:
            pass
    assert not running
