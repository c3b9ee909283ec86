"""What validation costs: `Runtime.score` against the bare runtime calls, and both against a bare loop, in one run.

    python tests/benchmarks/runtime_overhead.py

Blocks are interleaved and ratios taken within a round, as in `helpers.evaluation.latency`; absolute times are of this
machine and moment.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from helpers import datasets, studies, training
from helpers.convert import mnn, tflite
from helpers.runtimes import open_model

BLOCK_SECONDS = 0.004


def loop(step, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    rounds = parser.parse_args().rounds
    study = studies.get("ranking")
    splits = {}
    for split in ("train", "validation"):
        frame = datasets.sample(study, "simple", rows=5000, seed=0, split=split)
        splits[split] = study.schema.arrays(frame), frame[datasets.LABEL].to_numpy()
    model, _ = training.train(study, splits["train"], splits["validation"], epochs=1, progress=False)
    print(f"{'file':<12} {'batch':>6} {'bare us':>9} {'score us':>9} {'score / bare':>13}")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("fp32.tflite", "fp32.mnn")]
        tflite.convert(model, study.schema, files[0])
        mnn.convert(files[0], study.schema, files[1])
        for path in files:
            for batch in (1, 64, 4096):
                inputs = {name: array[:batch].copy() for name, array in splits["train"][0].items()}
                opened = open_model(path, study.schema, trusted=True)
                steps = {"bare": opened.steps(inputs).copy_and_run, "score": lambda: opened.score(inputs)}  # noqa: B023
                calls = max(1, int(BLOCK_SECONDS / (loop(steps["score"], 50) / 50)))
                order = np.random.default_rng(0)
                times = {name: [] for name in steps}
                for _ in range(rounds):
                    for name in order.permutation(list(steps)):
                        times[name].append(loop(steps[name], calls) / calls * 1e6)
                bare, score = (np.array(times[name]) for name in ("bare", "score"))
                medians = f"{np.median(bare):9.2f} {np.median(score):9.2f} {np.median(score / bare):12.2f}x"
                print(f"{path.name:<12} {batch:>6} {medians}")


if __name__ == "__main__":
    main()
