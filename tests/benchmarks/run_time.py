"""Where the time of `make run` goes: one run of the ranking study in a throw-away home, stage by
stage.

    python tests/benchmarks/run_time.py

A stage's own seconds are from its first helper to its last cell; the rest is the kernel's start,
its imports and papermill. Environment set-up is not in it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from helpers import runs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["WORKBENCH_HOME"] = home
        rows = []
        for number in ("01", "02", "03", "04", "05", "06"):
            started = time.perf_counter()
            command = [
                sys.executable,
                "-m",
                "helpers.cli",
                "run",
                "ranking",
                "--run",
                "timed",
                "--stages",
                number,
            ]
            subprocess.run(command, check=True, capture_output=True)
            seconds = time.perf_counter() - started
            name, entry = list(runs.Run("ranking", "timed").record()["stages"].items())[-1]
            rows.append((name, seconds, entry["seconds"]))
        total = sum(seconds for _, seconds, _ in rows)
        print(f"{'stage':<24} {'seconds':>8} {'its own':>8} {'around it':>10} {'share':>6}")
        for name, seconds, own in [*rows, ("all", total, sum(own for *_, own in rows))]:
            print(
                f"{name:<24} {seconds:8.1f} {own:8.1f} {seconds - own:10.1f} {seconds / total:6.0%}"
            )


if __name__ == "__main__":
    main()
