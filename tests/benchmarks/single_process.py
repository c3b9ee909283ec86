"""`workbench run ranking` against one Python process that executes the same code cells with one
TensorFlow import.

    python tests/benchmarks/single_process.py [--pairs 2]

The straight script is all code cells of 01 to 05, one after the other in one process. Both start
cold: no fork server is running when they begin. They alternate, and the ratio is of the sums.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import notebooks

STAGES = "01-05"
PARAMETERS = {"latency_seconds": 1.0}


def script() -> str:
    """All code cells; what a notebook shows is dropped."""
    import json

    lines = ["display = lambda *_: None", "import warnings; warnings.simplefilter('ignore')"]
    for notebook in notebooks.stages(STAGES).values():
        for cell in json.loads(notebook.read_text())["cells"]:
            if cell["cell_type"] == "code":
                lines.append("".join(cell["source"]))
                if cell["metadata"].get("tags") == ["parameters"]:
                    lines += [f"{name} = {value!r}" for name, value in PARAMETERS.items()]
    return "\n".join(lines)


def seconds(command: list[str], home: Path) -> float:
    environment = {
        **os.environ,
        "WORKBENCH_HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "MPLBACKEND": "agg",
    }
    home.mkdir()
    started = time.perf_counter()
    subprocess.run(
        command, check=True, env={**environment, "WORKBENCH_KERNEL_IDLE": "5"}, capture_output=True
    )
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=2)
    pairs = parser.parse_args().pairs
    given = [word for name, value in PARAMETERS.items() for word in ("-p", f"{name}={value}")]
    ways = {
        "one straight process": [sys.executable, "-c", script()],
        "workbench run ranking": [
            sys.executable,
            "-m",
            "helpers.cli",
            "run",
            "ranking",
            "--stages",
            STAGES,
            *given,
        ],
    }
    taken = dict.fromkeys(ways, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(pairs):
            for way, command in ways.items():
                taken[way] += seconds(command, Path(folder) / f"{pair} {way}")
    for way, total in taken.items():
        print(f"{way:<22} {total / pairs:6.1f} s")
    straight, run = taken.values()
    print(f"{'ratio':<22} {run / straight:6.2f}")


if __name__ == "__main__":
    main()
