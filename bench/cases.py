"""The cases of bench/run.py: each measures one promise and adds rows and figures to the Bench it gets."""
import os
import shutil
import statistics

import programs

MEMORY_LIMIT = 256 * 2**20


def peers(bench):
    return [] if bench.options.no_peers else [bench.restic, bench.borg]


def full(bench):
    """A whole database for the first time, by the SQLite engine and as a file."""
    database = bench.database()
    folder, size = os.path.dirname(database), os.path.getsize(database)
    archive = bench.path("out.tar.zst")
    runs = {name: [] for name in ("sqlite", "files", "restic", "borg", "tar", "limit")}
    stored = {}
    for _ in range(bench.runs):
        for name, source in (("sqlite", "sqlite:" + database), ("files", "files:" + folder)):
            bench.holdfast.fresh()
            runs[name].append(bench.holdfast.backup(source))
            stored[name] = bench.holdfast.stored()
        for program in peers(bench):
            program.fresh()
            runs[program.name].append(program.backup(folder))
            stored[program.name] = program.stored()
        runs["tar"].append(programs.tar_zstd(folder, archive))
        stored["tar"] = os.path.getsize(archive)
        runs["limit"].append(bench.limit.full(database))
        stored["limit"] = runs["limit"][-1].stored
    os.unlink(archive)
    labels = {"sqlite": "holdfast sqlite:", "files": "holdfast files:", "tar": "tar, zstd -1 -T2",
              "limit": "limit program"}
    seconds = {name: bench.record("full backup", labels.get(name, name), some, size, stored[name])
               for name, some in runs.items() if some}
    for name in ("sqlite", "files"):
        mine = seconds[name]
        if "restic" in seconds:
            bench.figure("full, %s: restic's time / ours" % name, seconds["restic"] / mine, "×", 4.5)
            bench.figure("full, %s: borg's time / ours" % name, seconds["borg"] / mine, "×", 3.5)
            smaller = min(stored["restic"], stored["borg"])
            bench.figure("full, %s: stored / the smaller of restic and borg" % name, stored[name] / smaller, "×", 1.03,
                         False)
        bench.figure("full, %s: tar and zstd -T2's time / ours" % name, seconds["tar"] / mine, "×", 1)
        bench.figure("full, %s: share of the limit program's rate" % name, 100 * seconds["limit"] / mine, " %", 90)


def restore(bench):
    """A whole database back, verified and on disk; and the same bytes as many small files."""
    database = bench.database()
    folder, size = os.path.dirname(database), os.path.getsize(database)
    out = bench.path("out")
    pieces = bench.path("data", "pieces-%d" % bench.options.size)
    if not os.path.exists(pieces):
        bench.data("split", database, pieces + ".new", "--piece", "100K")
        os.rename(pieces + ".new", pieces)
    bench.holdfast.fresh()
    for source in ("sqlite:" + database, "files:" + folder, "files:" + pieces):
        bench.holdfast.backup(source)
    for program in peers(bench):
        program.fresh()
        program.backup(folder)
    sources = {"sqlite": "sqlite:" + database, "files": "files:" + folder, "pieces": "files:" + pieces}
    runs = {name: [] for name in ("sqlite", "files", "pieces", "restic", "borg", "dd")}
    for _ in range(bench.runs):
        for name, source in sources.items():
            runs[name].append(bench.holdfast.restore(source + "@latest", out))
            programs.remove(out)
        for program in peers(bench):
            runs[program.name].append(program.restore(out))
            programs.remove(out)
        runs["dd"].append(programs.dd(database, out))
        programs.remove(out)
    labels = {"sqlite": "holdfast sqlite:", "files": "holdfast files:", "pieces": "holdfast, 100 KiB files",
              "dd": "dd conv=fdatasync"}
    seconds = {name: bench.record("restore", labels.get(name, name), some, size) for name, some in runs.items() if some}
    for name in ("sqlite", "files"):
        if "restic" in seconds:
            bench.figure("restore, %s: restic's time / ours" % name, seconds["restic"] / seconds[name], "×", 4)
        bench.figure("restore, %s: share of dd's rate" % name, 100 * seconds["dd"] / seconds[name], " %", 75)
    bench.figure("restore: time of many files / time of one", seconds["pieces"] / seconds["files"], "×", 1)


def unchanged(bench):
    """Nothing changed since the last backup."""
    database = bench.database()
    folder, size = os.path.dirname(database), os.path.getsize(database)
    bench.holdfast.fresh()
    bench.holdfast.backup("sqlite:" + database)
    bench.holdfast.backup("files:" + folder)
    for program in peers(bench):
        program.fresh()
        program.backup(folder)
    runs = {name: [] for name in ("sqlite", "files", "restic", "restic --force", "borg")}
    for _ in range(bench.runs):
        runs["sqlite"].append(bench.holdfast.backup("sqlite:" + database))
        runs["files"].append(bench.holdfast.backup("files:" + folder))
        if peers(bench):
            runs["restic"].append(bench.restic.backup(folder))
            runs["restic --force"].append(bench.restic.backup(folder, "--force"))
            runs["borg"].append(bench.borg.backup(folder))
    labels = {"sqlite": "holdfast sqlite:", "files": "holdfast files:"}
    seconds = {name: bench.record("nothing changed", labels.get(name, name), some, size)
               for name, some in runs.items() if some}
    if "restic" in seconds:
        bench.figure("unchanged, files: our time / restic's", seconds["files"] / seconds["restic"], "×", 1, False)
        bench.figure("unchanged, sqlite: our time / restic --force", seconds["sqlite"] / seconds["restic --force"],
                     "×", 1, False)


def small(bench):
    """Many small files, for the first time and again."""
    tree = bench.tree()
    size = programs.folder_bytes(tree)
    mine = bench.holdfast
    first, again = {}, {}
    stored = {}
    for program in [mine] + peers(bench):
        first[program.name], again[program.name] = [], []
    for _ in range(bench.runs):
        for program in [mine] + peers(bench):
            source = "files:" + tree if program is mine else tree
            program.fresh()
            first[program.name].append(program.backup(source))
            stored[program.name] = program.stored()
            again[program.name].append(program.backup(source))
    count = bench.options.files
    full_seconds = {n: bench.record("%d files, full" % count, n, some, size, stored[n]) for n, some in first.items()}
    again_seconds = {n: bench.record("%d files, unchanged" % count, n, some, size) for n, some in again.items()}
    if "restic" in full_seconds:
        bench.figure("small files, full: restic's time / ours", full_seconds["restic"] / full_seconds["holdfast"],
                     "×", 1.5)
        bench.figure("small files, unchanged: restic's time / ours",
                     again_seconds["restic"] / again_seconds["holdfast"], "×", 3)


def pages(bench):
    """One percent of the pages changed at random places, round after round."""
    original = bench.database()
    folder = bench.path("pages")
    programs.remove(folder)
    os.makedirs(folder)
    database, before = os.path.join(folder, "shop.db"), bench.path("pages-before.db")
    shutil.copyfile(original, database)
    size = os.path.getsize(database)
    everyone = [("sqlite", bench.holdfast, "sqlite:" + database)] + [(p.name, p, folder) for p in peers(bench)]
    for _, program, source in everyone:
        program.fresh()
        program.backup(source)
    runs = {name: [] for name, _, _ in everyone}
    stored = {name: [] for name in runs}
    ideal, share, hash_one, hash_two = [], [], [], []
    for number in range(bench.runs):
        shutil.copyfile(database, before)
        bench.data("touch", database, "--percent", 1, "--seed", 1000 + number)
        count, zstd_bytes, _ = map(int, bench.data("changed", before, database))
        ideal.append(zstd_bytes)
        share.append(100 * count * 4096 / size)
        hash_one.append(bench.limit.hash(database, 1))
        hash_two.append(bench.limit.hash(database, 2))
        for name, program, source in everyone:
            had = program.stored()
            runs[name].append(program.backup(source))
            stored[name].append(program.stored() - had)
    programs.remove(folder)
    programs.remove(before)
    cost = {name: statistics.median(some) for name, some in stored.items()}
    for name, some in runs.items():
        bench.record("1 % of pages changed", "holdfast sqlite:" if name == "sqlite" else name, some, size, cost[name])
    one = bench.record("read and hash", "BLAKE3, 1 thread", hash_one, size)
    two = bench.record("read and hash", "BLAKE3, 2 threads", hash_two, size)
    mine = statistics.median(run.seconds for run in runs["sqlite"])
    bench.notes.append("1 %% case: %.2f %% of the pages differ; concatenated and compressed with zstd -1 in pieces of "
                       "256 KiB they are %.2f MB." % (statistics.median(share), statistics.median(ideal) / 1e6))
    bench.figure("1 %: stored / the changed pages compressed", cost["sqlite"] / statistics.median(ideal), "×", 1.15,
                 False)
    for name in ("restic", "borg"):
        if name in cost:
            bench.figure("1 %%: %s's stored bytes / ours" % name, cost[name] / cost["sqlite"], "×", 10)
    bench.figure("1 %: time / reading and hashing on two cores", mine / two, "×", 1.5, False)
    bench.figure("1 %: time / reading and hashing on one core", mine / one, "×")


def memory(bench):
    """Everything again inside a memory cgroup of 256 MiB."""
    database = bench.database()
    folder, out = os.path.dirname(database), bench.path("out")
    tree = bench.tree()
    changed = bench.path("memory.db")
    group = programs.MemoryGroup(MEMORY_LIMIT)
    try:
        mine = bench.holdfast
        mine.fresh()
        shutil.copyfile(database, changed)
        steps = [("full, sqlite", lambda: mine.backup("sqlite:" + changed, group=group)),
                 ("full, files", lambda: mine.backup("files:" + folder, group=group)),
                 ("small files, full", lambda: mine.backup("files:" + tree, group=group)),
                 ("small files, unchanged", lambda: mine.backup("files:" + tree, group=group)),
                 ("nothing changed, sqlite", lambda: mine.backup("sqlite:" + changed, group=group)),
                 ("nothing changed, files", lambda: mine.backup("files:" + folder, group=group)),
                 ("1 % changed", lambda: (bench.data("touch", changed, "--percent", 1, "--seed", 77),
                                          mine.backup("sqlite:" + changed, group=group))[1]),
                 ("restore, sqlite", lambda: mine.restore("sqlite:%s@latest" % changed, out, group=group)),
                 ("restore, files", lambda: mine.restore("files:%s@latest" % folder, out, group=group)),
                 ("restore, small files", lambda: mine.restore("files:%s@latest" % tree, out, group=group)),
                 ("verify, level 3", lambda: mine.verify(3, group=group))]
        for name, step in steps:
            try:
                bench.record("256 MiB: " + name, "holdfast", [step()])
                bench.fact("256 MiB: " + name, "completes", True)
            except programs.Failed as error:
                bench.say("  256 MiB: %s: %s" % (name, error))
                bench.fact("256 MiB: " + name, "fails, killed %d times" % group.kills(), False)
    finally:
        group.close()
        programs.remove(out)
        programs.remove(changed)


def codec(bench):
    """One core: hashing, chunking, compressing, by the codec layer's own benchmark."""
    if not os.path.exists(bench.codec_bench):
        raise programs.Failed("no program %s" % bench.codec_bench)
    bench.notes += ["One core, bench/codec_bench:", "", "```", programs.run([bench.codec_bench]).output.rstrip(), "```"]


CASES = {"full": full, "restore": restore, "unchanged": unchanged, "small": small, "pages": pages, "memory": memory,
         "codec": codec}
