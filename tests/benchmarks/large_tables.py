"""What a table larger than memory costs: seconds and the peak of memory after each step.

    python tests/benchmarks/large_tables.py [--rows 10000000]

A table of sessions of 20 rows is written as Parquet, then read, split and stored as
`workbench run` does, learnt from for one epoch and scored, all in this process.
"""

import argparse
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from helpers import datasets, registry, tasks
from helpers.frameworks import keras
from helpers.own import start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=1024, help="rows of a step of training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORKBENCH_HOME"] = folder
        measure(Path(folder), options.rows, options.batch)


def measure(folder: Path, rows: int, batch: int) -> None:
    table = folder / "big.parquet"
    write(table, rows)
    say(f"{table.stat().st_size / 1e6:.0f} MB of Parquet")
    study, _ = start.write("big", table, start.guess(table), folder)
    chosen = registry.get(registry.link(str(study)))
    schema, task = chosen.schema, tasks.get("ranking")

    started = time.perf_counter()
    data = datasets.make(chosen, "table", rows=0, validation_rows=0, test_rows=0, seed=1)
    made = sum(data.rows(split) for split in datasets.SPLITS)
    say(f"{made} rows read twice, split and stored", started)

    started = time.perf_counter()
    stream, splits = data.stream(schema, 1), data.splits(schema)
    training = stream or splits["train"][:2]
    model, history = keras.train(
        chosen.models["plain"].build,
        schema,
        task,
        training,
        splits["validation"][:2],
        seed=1,
        epochs=1,
        batch_size=batch,
    )
    how = "a part at a time" if stream else "all in memory"
    say(f"an epoch in batches of {batch}, {how}: loss {history['val_loss'].iloc[-1]:.4f}", started)

    started = time.perf_counter()
    scored = sum(
        len(keras.predict(model, schema, inputs)["score"])
        for split in datasets.SPLITS
        for inputs, _ in data.chunks(split, schema=schema)
    )
    say(f"{scored} rows scored", started)


def write(path: Path, rows: int, session: int = 20, part: int = 500_000) -> None:
    """Clicks that depend on the product of two inputs: a linear model learns nothing of them."""
    rng = np.random.default_rng(0)
    columns = {"session": "int64", "age": "float64", "price": "float64", "clicked": "int64"}
    with pq.ParquetWriter(path, pa.schema(list(columns.items()))) as writer:
        for first in range(0, rows, part):
            sessions = np.arange(first, min(first + part, rows)) // session
            age, price = (sessions % 97) / 97, rng.random(len(sessions))
            chance = 1 / (1 + np.exp(-6 * (age - 0.5) * (price - 0.5)))
            clicked = (rng.random(len(sessions)) < chance).astype(int)
            drawn = dict(zip(columns, (sessions, age, price, clicked), strict=True))
            writer.write_table(pa.table(drawn))


def say(what: str, started: float | None = None) -> None:
    seconds = "" if started is None else f"  {time.perf_counter() - started:.1f} s"
    print(f"{what:70s}{seconds:>8s}  peak {peak_bytes() / 1e9:.2f} GB", flush=True)


def peak_bytes() -> int:
    """The most memory that this process has held; on Linux ru_maxrss begins with what the process
    held that started this one.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
