"""A sweep against a plain shell loop of papermill commands, in one run on this machine; the results
must be equal.

    python tests/benchmarks/sweep_throughput.py [--runs 16] [--loop-runs 4] [--workers 2]

The loop executes notebooks 01 to 05 of every run one after the other with `papermill -k python3`,
as one would without this package's commands. It is measured on the first `--loop-runs` of the runs
(each takes it as long as any other) and compared by runs an hour. Both time latency as shortly as
they can, in five rounds with one thread. What `workbench sweep` needs beyond that is read from its
own records: the time between the start and the end of the whole, less what the notebooks' cells
took.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from helpers import notebooks
from helpers.parameters import declared
from helpers.sweeps import plan

STAGES = "01-05"
FILES = (
    "data.json",
    "model/model.keras",
    "model/reference.npz",
    "tflite/int8.tflite",
    "mnn/int8.mnn",
)
SCORES = [
    "runtime",
    "precision",
    "bytes",
    "max_abs_error",
    "auc",
    "ndcg_at_10",
    "kendall_tau",
    "verdict",
]


def sweep_file(folder: Path, runs: int) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(
        f"study: ranking\nstages: {STAGES}\nbase: {{latency_seconds: 0.1, threads: 1}}\ngrid: "
        f"{{seed: {{range: [0, {max(1, runs // 4)}]}}, hidden_units: [8, 16], learning_rate: "
        "[0.001, 0.003]}\n"
    )
    return file


def loop(home: Path, made: plan.Plan, count: int, stages: str = STAGES) -> float:
    """Seconds a run of the shell loop."""
    lines = []
    for name, given in list(made.runs.items())[:count]:
        for number, notebook in notebooks.stages(stages).items():
            parameters = {k: v for k, v in given.items() if k in declared(notebook)}
            words = " ".join(
                f"-p {key} {value}"
                for key, value in {"study": "ranking", "run": name, **parameters}.items()
            )
            output = home / f"{name}-{number}.ipynb"
            lines.append(
                f"{sys.executable} -m papermill -k python3 '{notebook}' '{output}' {words} || "
                "exit 1"
            )
    started = time.perf_counter()
    subprocess.run(
        ["sh", "-c", "\n".join(lines)], check=True, env=_environment(home), capture_output=True
    )
    return (time.perf_counter() - started) / count


def sweep(home: Path, file: Path, workers: int) -> float:
    """Seconds of the sweep."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "helpers.cli", "sweep", str(file), "--workers", str(workers)]
    subprocess.run(command, check=True, env=_environment(home), capture_output=True)
    return time.perf_counter() - started


def _environment(home: Path) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    return {
        **os.environ,
        "WORKBENCH_HOME": str(home),
        "TQDM_DISABLE": "1",
        "XDG_RUNTIME_DIR": str(home),
    }


def equal(one: Path, other: Path, names: list[str]) -> int:
    """How many runs are equal: files byte for byte, and every column of the comparison that is not
    a time.
    """
    count = 0
    for name in names:
        folders = [home / "artifacts/ranking" / name for home in (one, other)]
        same = all(len({(folder / file).read_bytes() for folder in folders}) == 1 for file in FILES)
        tables = [pd.read_csv(folder / "comparison.csv")[SCORES] for folder in folders]
        count += same and tables[0].equals(tables[1])
    return count


def overhead(home: Path) -> tuple[float, int]:
    """Seconds of executing notebooks that are not seconds of their cells, and how many notebooks
    were executed.
    """
    beyond, count = 0.0, 0
    for record in home.glob("artifacts/ranking/*/run.json"):
        for stage, entry in json.loads(record.read_text())["stages"].items():
            if "from_run" not in entry:
                metadata = json.loads((record.parent / f"notebooks/{stage}.ipynb").read_text())
                cells = sum(
                    cell["metadata"].get("papermill", {}).get("duration") or 0
                    for cell in metadata["cells"]
                )
                beyond += metadata["metadata"]["papermill"]["duration"] - cells
                count += 1
    return beyond, count


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--loop-runs", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = sweep_file(Path(folder), options.runs)
        homes = {way: Path(folder) / way for way in ("loop", "sweep")}
        os.environ["WORKBENCH_HOME"] = str(homes["sweep"])
        made = plan.read(file)
        by_loop = loop(homes["loop"], made, options.loop_runs)
        print(
            f"shell loop of papermill   {by_loop:6.1f} s a run ({options.loop_runs} runs, one after"
            " the other)"
        )
        seconds = sweep(homes["sweep"], file, options.workers)
        by_sweep = seconds / len(made.runs)
        print(
            f"workbench sweep           {by_sweep:6.1f} s a run ({len(made.runs)} runs, "
            f"{options.workers} workers)"
        )
        print(f"throughput                {by_loop / by_sweep:6.1f} times the loop's")
        names = list(made.runs)[: options.loop_runs]
        print(
            f"results equal             {equal(homes['loop'], homes['sweep'], names)} of "
            f"{len(names)} runs"
        )
        beyond, count = overhead(homes["sweep"])
        print(
            f"beyond the cells          {beyond / count:6.2f} s a notebook ({count} notebooks "
            "executed)"
        )


if __name__ == "__main__":
    main()
