"""A sweep of 200 tiny runs: memory of its process, open files, processes that nobody waited for.

    python tests/benchmarks/sweep_leaks.py [--runs 200] [--workers 2]

The sweep's process is looked at after every 20 runs. Flat: the last looks are no higher than those
after the first fifth, by which everything is loaded.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, home = Path(folder) / "sweep.yaml", Path(folder) / "home"
        file.write_text(
            "study: ranking\nstages: '01'\nbase: {rows: 100, validation_rows: 100, test_rows: "
            f"200}}\ngrid: {{seed: {{range: [0, {options.runs}]}}}}\n"
        )
        command = [
            sys.executable,
            "-m",
            "helpers.cli",
            "sweep",
            str(file),
            "--workers",
            str(options.workers),
        ]
        environment = {
            **os.environ,
            "WORKBENCH_HOME": str(home),
            "XDG_RUNTIME_DIR": folder,
            "WORKBENCH_KERNEL_IDLE": "5",
        }
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        looked, started, seen = psutil.Process(process.pid), time.monotonic(), 0
        print(f"{'runs':>5} {'seconds':>8} {'MB':>7} {'files':>6} {'threads':>8} {'zombies':>8}")
        while process.poll() is None:
            done = len(list(home.glob("artifacts/ranking/*/report.html")))
            if seen + options.runs // 10 <= done < options.runs:  # at the end it takes itself down
                seen = done
                with looked.oneshot():
                    zombies = sum(
                        c.status() == psutil.STATUS_ZOMBIE for c in looked.children(recursive=True)
                    )
                    row = (
                        looked.memory_info().rss / 1e6,
                        looked.num_fds(),
                        looked.num_threads(),
                        zombies,
                    )
                print(
                    f"{done:5} {time.monotonic() - started:8.1f} {row[0]:7.1f} {row[1]:6} "
                    f"{row[2]:8} {row[3]:8}"
                )
            time.sleep(0.2)
        print(
            f"exit status {process.returncode}, "
            f"{options.runs / (time.monotonic() - started) * 60:.0f} runs a minute"
        )


if __name__ == "__main__":
    main()
