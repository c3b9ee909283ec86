"""What judging files costs where the test split is larger than memory: seconds and the peak of
memory.

    python tests/benchmarks/large_pictures.py [--rows 50000] [--files 12]

Pictures of 64 x 64 x 3 float32 are drawn and stored as `workbench run` does; a small convolution
net is converted to every form there is, and files are examined as 03 and 04 do, each in a process
of its own. Beside it the time in which the same open file computes as many rows that are in memory
already: what is more than that is reading, copies, checks, and batches of other sizes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import large_tables
import numpy as np
import psutil

from helpers import datasets, runtimes, tasks
from helpers.convert import recipes, variants
from helpers.errors import ConversionFailed, DamagedFile
from helpers.evaluation import parity
from helpers.frameworks import keras
from helpers.schema import Schema, Tensor
from helpers.studies import Model, Simulated, Study

SHAPE = (64, 64, 3)
SCHEMA = Schema(
    "pictures",
    (Tensor("image", shape=SHAPE, low=0, high=1, meaning="pixels"),),
    (Tensor("quarter", shape=(4,), meaning="probability of each quarter"),),
)


def draw(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    image = rng.random((rows, *SHAPE), dtype=np.float32)
    for row, which in enumerate(rng.integers(0, 4, rows)):
        y, x = 32 * (which // 2), 32 * (which % 2)
        image[row, y : y + 32, x : x + 32] *= 0.8
    return {"image": image}


def utility(inputs: dict[str, np.ndarray]) -> np.ndarray:
    quarters = inputs["image"].reshape(-1, 2, 32, 2, 32, 3).mean(axis=(2, 4, 5), dtype=np.float64)
    return -40 * quarters.reshape(-1, 4)


def build(hidden_units: int = 16):
    import keras

    x = image = keras.Input(SHAPE, name="image")
    for filters in (16, 32, 32):
        x = keras.layers.Conv2D(filters, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dense(hidden_units, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(
        image, keras.layers.Dense(4, activation="softmax", name="quarter")(x), name="pictures"
    )


STUDY = Study(
    name="pictures",
    title="Quarters",
    schema=SCHEMA,
    sources={"drawn": Simulated("drawn", "noise, one quarter dark", draw, utility, None, 1.0, 1)},
    models={"small": Model("three convolutions", build)},
    task="classification",
)
TASK = tasks.get(STUDY.task)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000, help="of the test split")
    parser.add_argument("--files", type=int, default=12, help="most files that are examined")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.make, options)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORKBENCH_HOME"] = folder
        again = [sys.executable, __file__, "--make", folder, "--rows", str(options.rows)]
        subprocess.run([*again, "--files", str(options.files)], check=True)
        os.environ["XDG_RUNTIME_DIR"] = folder  # files are opened by forks of a server of its own
        with Children() as children:
            examine(Path(folder), options.rows)
    assert children.peak, "no process was seen that opened a file"
    print(f"largest process that opened a file {children.peak / 1e9:43.2f} GB")


def make(folder: Path, options: argparse.Namespace) -> None:
    """Leave data, a reference and converted files in a folder; TensorFlow takes a GB by itself."""
    started = time.perf_counter()
    sizes = {"rows": 2000, "validation_rows": 100, "test_rows": options.rows}
    data = datasets.make(STUDY, "drawn", seed=1, **sizes)
    data.save(folder / "data.json")
    train, validation = (data.arrays(split) for split in datasets.SPLITS[:2])
    model, _ = keras.train(
        build, SCHEMA, TASK, train[:2], validation[:2], seed=1, epochs=2, batch_size=64
    )
    reference = parity.Reference.of(
        TASK, data, SCHEMA, lambda inputs: keras.predict(model, SCHEMA, inputs)
    )
    reference.save(folder / "reference.npz")
    source, calibration = folder / "fp32.tflite", folder / "calibration.npz"
    keras.export(model, SCHEMA, source)
    np.savez(calibration, image=train[0]["image"][:64])
    made = [source]
    for recipe in (*recipes.reduced("litert"), *recipes.of("mnn")):
        made.append(folder / f"{recipe.precision}{variants.SUFFIXES[recipe.runtime][1]}")
        try:
            variants.make(recipe, source, SCHEMA, made[-1], calibration=calibration)
        except (ConversionFailed, DamagedFile) as error:
            print(f"{made.pop().name} was not made: {str(error).splitlines()[0]}")
        if len(made) == options.files:
            break
    names = [path.name for path in made]
    (folder / "files.json").write_text(json.dumps(names), encoding="utf-8")
    large_tables.say(f"{options.rows} pictures, a model and {len(made)} files made", started)


def examine(folder: Path, rows: int) -> None:
    started = time.perf_counter()
    reference = parity.Reference.load(
        folder / "reference.npz",
        TASK,
        *parity.test_inputs(datasets.load(folder / "data.json"), SCHEMA),
    )
    large_tables.say("the reference read, and its inputs found to be those of then", started)
    examined = in_memory = 0.0
    names = json.loads((folder / "files.json").read_text(encoding="utf-8"))
    for path in [folder / name for name in names]:
        began = time.perf_counter()
        with runtimes.open_model(path, SCHEMA) as opened:
            found = parity.examine(opened, reference)
        took, alone = time.perf_counter() - began, rows_in_memory(path, rows, reference)
        told = f"{path.name}: {found.verdict}, {took:.1f} s, the rows alone {alone:.1f} s"
        large_tables.say(told)
        examined, in_memory = examined + took, in_memory + alone
    ratio = examined / in_memory
    print(f"{len(names)} files examined in {ratio:.2f} times the time of their rows alone")


def rows_in_memory(path: Path, rows: int, reference: parity.Reference) -> float:
    """Seconds in which an open file computes so many rows, again and again the same ones."""
    model = runtimes.open_model(path, SCHEMA, trusted=True)
    step = model._rows_a_call()
    part = {name: array[:step] for name, array in reference.inputs.items()}
    model.predict(part)
    began = time.perf_counter()
    calls = max(1, rows // step // 10)
    for _ in range(calls):
        model.predict(part)
    return (time.perf_counter() - began) * rows / (calls * step)


class Children(threading.Thread):
    """Watches the processes that this one starts; `peak` is the most memory that one of them has
    held.
    """

    peak = 0

    def __enter__(self) -> "Children":
        self.over = threading.Event()
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        while not self.over.wait(0.05):
            for child in psutil.Process().children(recursive=True):
                try:
                    self.peak = max(self.peak, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue


if __name__ == "__main__":
    main()
