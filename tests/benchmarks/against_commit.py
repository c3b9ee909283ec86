"""This commit against an earlier one, and a sweep against a shell loop of papermill, in one run.

    python tests/benchmarks/against_commit.py [--commit 01f088f] [--rounds 2] [--study ranking]

The earlier commit is unpacked beside this one, and both are executed by this environment, each in a
throw-away home, in turns: all stages of a study again and again with kernels that are warm (the
seconds of its stages), and stages 01 to 03 of six runs by two workers, kernels cold. In each round
a shell loop executes the same notebooks of one of these runs with `papermill -k python3`, and is
compared by runs an hour. Smallest times of all rounds are compared.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import sweep_throughput

from helpers import files, notebooks
from helpers.sweeps import plan

COMMIT = "01f088f"
STAGES = "01-03"
SWEEP = f"study: ranking\nstages: {STAGES}\ngrid: {{seed: [0, 1, 2], hidden_units: [8, 16]}}\n"


def workbench(tree: Path, home: Path, *arguments: str) -> float:
    """Seconds of a command of a checkout."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(tree / "src"),
        "WORKBENCH_HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
    }
    home.mkdir(exist_ok=True)
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "helpers.cli", *arguments],
        check=True,
        env=environment,
        cwd=tree,
        capture_output=True,
    )
    return time.perf_counter() - started


def stage_seconds(tree: Path, home: Path, study: str) -> dict[str, float]:
    """Seconds by stage of a whole run."""
    workbench(tree, home, "run", study, "--force")
    record = json.loads((home / f"artifacts/{study}/default/run.json").read_text())
    return {stage[:2]: entry["seconds"] for stage, entry in record["stages"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--commit", default=COMMIT, help="compared with this one")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--study", default="ranking")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        now, before = files.project(), Path(folder) / "tree"
        archive = Path(folder) / "tree.tar"
        git = ["git", "-C", str(now), "archive", "--output", str(archive), options.commit]
        subprocess.run(git, check=True)
        shutil.unpack_archive(archive, before, filter="data")
        compare({options.commit: before, "now": now}, Path(folder), options)


def compare(trees: dict[str, Path], folder: Path, options: argparse.Namespace) -> None:
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for round_ in range(options.rounds + 1):
        for name, tree in trees.items():
            seconds = stage_seconds(tree, folder / f"run-{name}", options.study)
            if round_:  # the first is with cold kernels
                found[name].append(seconds)
    best = {name: min(runs, key=lambda run: sum(run.values())) for name, runs in found.items()}
    for name, seconds in best.items():
        each = "  ".join(f"{stage} {value:4.1f}" for stage, value in seconds.items())
        print(f"run {options.study}, {name:8s} {each}   all {sum(seconds.values()):5.1f} s")
    old, new = (sum(seconds.values()) for seconds in best.values())
    print(f"stages of a run      {new / old:5.2f} of the time of {options.commit}", flush=True)

    file = folder / "sweep.yaml"
    file.write_text(SWEEP)
    times: dict[str, list[float]] = {name: [] for name in trees}
    os.environ["WORKBENCH_HOME"] = str(folder / "plan")
    made, loops = plan.read(file), []
    for round_ in range(options.rounds):
        for name, tree in [*trees.items()][:: 1 - 2 * (round_ % 2)]:
            home = folder / f"sweep-{name}-{round_}"
            times[name].append(workbench(tree, home, "sweep", str(file), "--workers", "2"))
        loops.append(sweep_throughput.loop(folder / f"loop-{round_}", made, 1, STAGES))
    old, new = (min(seconds) for seconds in times.values())
    loop = min(loops)
    print(f"sweep of six runs    {new / old:5.2f} of the time of {options.commit}: {new:.1f} s")
    stages = len(notebooks.stages(STAGES))
    print(
        f"against papermill    {loop / (new / len(made.runs)):5.1f} times the runs an hour of a "
        f"shell loop, which takes {loop:.1f} s a run of {stages} notebooks"
    )


if __name__ == "__main__":
    main()
