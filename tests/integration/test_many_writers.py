"""Several programs at one repository at the same time."""
import os
import random


def test_first_backups_at_once_make_one_source(hf):
    repo = hf.init()
    hf.write("src/a", random.Random(1).randbytes(3000000))
    for name in ("x", "y", "z"):
        runs = [hf.start("backup", "files:src", "--name", name, "--repo", repo, "--json") for _ in range(4)]
        for run in runs:
            out, err = run.communicate(timeout=120)
            assert run.returncode == 0, err
        snapshots = hf.ok("ls", name, "--repo", repo, "--json").of("snapshot")
        assert len(snapshots) == 4
    assert len(os.listdir(os.path.join(repo, "series"))) == 3
    hf.ok("verify", "--level", "3", "--repo", repo)
