#!/usr/bin/env python3
"""make bench: holdfast against restic, borg, tar|zstd, dd and a limit program, all measured in the same run.

Prints what was measured and the ratios that matter as two tables. Runs of the programs take turns, each figure is the
median of --runs. --write docs/performance.md replaces the part of that file between its two bench markers.
"""
import argparse
import datetime
import os
import platform
import re
import statistics
import subprocess
import sys
import traceback

sys.dont_write_bytecode = True
import cases  # noqa: E402  (beside this file)
import programs  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def parse_size(text):
    match = re.fullmatch(r"([\d.]+)([KMG]?)B?", text)
    if not match:
        raise argparse.ArgumentTypeError("a size looks like 500M or 2.28G")
    return int(float(match.group(1)) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match.group(2)])


class Bench:
    """What the cases share: the programs, the data, and the results."""

    def __init__(self, options):
        self.options = options
        self.runs = options.runs
        self.work = os.path.abspath(options.work)
        self.rows = []     # (case, program, Runs, bytes processed, bytes stored)
        self.figures = []  # (name, measured, wanted, met)
        self.notes = []
        os.makedirs(self.work, exist_ok=True)
        tools = os.path.join(os.path.abspath(options.build), "bench")
        self.make_data = os.path.join(tools, "make_data")
        self.codec_bench = os.path.join(tools, "codec_bench")
        self.holdfast = programs.Holdfast(self.work, os.path.abspath(options.holdfast or os.path.join(
            options.build, "src", "holdfast")), options.compression)
        self.restic = programs.Restic(self.work)
        self.borg = programs.Borg(self.work)
        self.limit = programs.Limit(self.work, os.path.join(tools, "limit"))

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def data(self, *arguments):
        """Runs make_data; its output as words."""
        return programs.run([self.make_data, *map(str, arguments)]).output.split()

    def warm(self, path):
        """Reads a file or a tree, so that every program finds it in memory."""
        subprocess.run(["bash", "-c", 'find "$1" -type f -print0 | xargs -0 cat >/dev/null', "warm", path], check=True)

    def database(self):
        """The database, made once per size; its folder holds nothing else."""
        folder = self.path("data", "db-%d" % self.options.size)
        path = os.path.join(folder, "shop.db")
        if not os.path.exists(path):
            self.say("making a database of %.2f GB" % (self.options.size / 1e9))
            os.makedirs(folder, exist_ok=True)
            self.data("create", path + ".new", "--size", self.options.size, "--journal", "delete")
            os.rename(path + ".new", path)
        self.warm(path)
        return path

    def tree(self):
        path = self.path("data", "tree-%d" % self.options.files)
        if not os.path.exists(path):
            self.say("making %d small files" % self.options.files)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            programs.remove(path + ".new")
            self.data("tree", path + ".new", "--files", self.options.files)
            os.rename(path + ".new", path)
        self.warm(path)
        return path

    def record(self, case, program, runs, size_bytes=0, stored_bytes=0):
        """Keeps a row and returns the median of the seconds."""
        self.rows.append((case, program, runs, size_bytes, stored_bytes))
        median = statistics.median(run.seconds for run in runs)
        self.say("  %-22s %-22s %7.2f s" % (case, program, median))
        return median

    def figure(self, name, value, unit, wanted=None, at_least=True):
        """One line of the second table; `wanted` None: for information."""
        met = "" if wanted is None else "yes" if (value >= wanted if at_least else value <= wanted) else "NO"
        sign = "" if wanted is None else "%s %g%s" % ("≥" if at_least else "≤", wanted, unit)
        self.figures.append((name, "%.2f%s" % (value, unit), sign, met))

    def fact(self, name, text, met):
        self.figures.append((name, text, "", "yes" if met else "NO"))


def machine():
    """The lines that name the machine."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        text = file.read()
    model = re.search(r"model name\s*: (.*)", text)
    flags = re.search(r"flags\s*: (.*)", text)
    have = [f for f in ("avx2", "avx512f", "sha_ni", "aes", "vaes") if flags and f in flags.group(1).split()]
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(re.search(r"MemTotal:\s*(\d+)", file.read()).group(1)) / 1024**2
    return "%s, %d processors (%s), %.0f GiB memory, Linux %s" % (
        model.group(1) if model else platform.machine(), os.cpu_count(), " ".join(have), memory, platform.release())


def table(heading, rows, right):
    rows = [heading] + rows
    widths = [max(len(row[i]) for row in rows) for i in range(len(heading))]
    lines = []
    for number, row in enumerate(rows):
        cells = [cell.rjust(width) if i in right else cell.ljust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("| " + " | ".join(cells) + " |")
        if number == 0:
            rule = ("-" * (width + 1) + (":" if i in right else "-") for i, width in enumerate(widths))
            lines.append("|" + "|".join(rule) + "|")
    return lines


def report(bench):
    rows = []
    for case, program, runs, size, stored in bench.rows:
        seconds = sorted(run.seconds for run in runs)
        median = statistics.median(seconds)
        rows.append((case, program, "%.2f" % median, "%.2f–%.2f" % (seconds[0], seconds[-1]),
                     "%.0f" % (size / median / 1e6) if size else "", "%.2f" % (stored / 1e6) if stored else "",
                     "%.0f" % (max(run.rss_bytes for run in runs) / 2**20)))
    versions = []
    for program in (bench.holdfast, bench.restic, bench.borg):
        try:
            versions.append(program.version())
        except (OSError, programs.Failed):
            pass
    lines = ["Machine: %s. %s." % (machine(), datetime.date.today().isoformat()),
             "Programs: %s. Median of %d, warm cache, repositories on the same disk, %.2f GB of database."
             % ("; ".join(versions), bench.runs, bench.options.size / 1e9), ""]
    if rows:
        heading = ("case", "program", "s", "min–max", "MB/s", "stored MB", "peak MiB")
        lines += table(heading, rows, (2, 3, 4, 5, 6)) + [""]
    if bench.figures:
        lines += table(("figure", "measured", "wanted", "met"), bench.figures, (1, 2)) + [""]
    return "\n".join(lines + bench.notes)


def write_section(path, text):
    old = ""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            old = file.read()
    section = "%s\n%s\n%s" % (BEGIN, text.rstrip(), END)
    if BEGIN in old and END in old:
        new = old[:old.index(BEGIN)] + section + old[old.index(END) + len(END):]
    else:
        new = (old or "# Performance\n\n") + "\n" * bool(old) + section + "\n"
    with open(path, "w", encoding="utf-8") as file:
        file.write(new)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"), help="a release build")
    parser.add_argument("--holdfast", help="the program, when it is not the build's")
    parser.add_argument("--work", default=os.path.join(ROOT, "build", "bench"), help="where data and repositories go")
    parser.add_argument("--size", type=parse_size, default=parse_size("2.28G"), help="of the database")
    parser.add_argument("--files", type=int, default=100000, help="of the tree of small files")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--compression", help="for holdfast's backups, instead of its default")
    parser.add_argument("--only", default=",".join(cases.CASES), help="cases: " + ",".join(cases.CASES))
    parser.add_argument("--no-peers", action="store_true", help="without restic and borg: for work on holdfast itself")
    parser.add_argument("--keep", action="store_true", help="keep repositories and restored files")
    parser.add_argument("--write", help="a Markdown file whose bench section is replaced")
    options = parser.parse_args()
    bench = Bench(options)
    failed = False
    for name in options.only.split(","):
        if name not in cases.CASES:
            parser.error("no case is called %s" % name)
    for name in options.only.split(","):
        bench.say("== %s" % name)
        try:
            cases.CASES[name](bench)
        except (programs.Failed, OSError) as error:
            failed = True
            bench.say("%s: %s" % (name, error))
            bench.fact("case " + name, "fails", False)
        except Exception:  # a mistake in the benchmark must not lose what was measured before it
            failed = True
            traceback.print_exc()
    text = report(bench)
    print(text)
    if options.write:
        write_section(options.write, text)
    if not options.keep:
        for name in ("holdfast", "restic", "borg", "limit", "out"):
            programs.remove(bench.path(name))
    return 1 if failed or any(met == "NO" for _, _, _, met in bench.figures) else 0


if __name__ == "__main__":
    sys.exit(main())
