"""ResNet18 at 224 x 224 pixels, as it was published, in the forms that matter: bytes, what they
decide, and time.

    workbench run images_224 --stages 01-02
    python tests/benchmarks/resnet18.py artifacts/images_224/default [--pictures 2000]

All six stages make every form and judge it on the whole test split, which takes an hour and more;
this takes half an hour. Files are timed in turns, one picture a call, so that a drift of the
machine cancels in the ratios. Files that a runtime has no fast kernels for are judged on fewer
pictures. How far a float32 file is from PyTorch is told as a part of each probability, too: what
`numpy.testing.assert_allclose` takes as ``rtol``, with nothing beside it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from helpers import datasets, runtimes
from helpers.convert import onnx, pytorch, recipes, tflite, variants
from helpers.errors import ConversionFailed
from helpers.frameworks import pytorch as framework
from helpers.schema import Schema
from helpers.tasks import classification
from helpers.trained import Trained

LITERT = ("fp16", "dynamic_int8", "int8", "int16x8", "weight_int8", "weight_int4")
ONNX = ("fp16", "dynamic_int8", "int8")
MNN = ("fp32", "fp16", "int8", "fp32_of_onnx", "weight_int8_of_onnx", "weight_int4_of_onnx")
SLOW = {"litert int16x8": 200}
"""Files that are judged on so many pictures at most."""
CALIBRATION = 100
ROUNDS = 15


def make(run: Path, trained: Trained, folder: Path) -> dict[str, Path]:
    """The files of a run's program, by name."""
    program, schema = run / trained.file, trained.schema
    (folder / "onnx").mkdir()
    files = {"PyTorch": program, "litert fp32": folder / "fp32.tflite"}
    framework.export(program, schema, files["litert fp32"])
    with np.load(run / "model/calibration.npz", allow_pickle=False) as file:
        rows = {name: file[name][:CALIBRATION] for name in schema.input_names}
    np.savez(calibration := folder / "calibration.npz", **rows)
    for precision in LITERT:
        path = files[f"litert {precision}"] = folder / f"{precision}.tflite"
        entries = recipes.get("litert", precision).options
        tflite.quantise(files["litert fp32"], schema, path, entries, calibration=calibration)
    plain = files["onnx fp32"] = folder / "onnx" / "fp32.onnx"
    pytorch.to_onnx(program, schema, plain)
    for precision in ONNX:
        path = files[f"onnx {precision}"] = folder / "onnx" / f"{precision}.onnx"
        onnx.reduce(plain, path, precision, calibration)
    for precision in MNN:
        path, recipe = folder / f"{precision}.mnn", recipes.get("mnn", precision)
        source = plain if recipe.of_onnx else files["litert fp32"]
        try:
            variants.make(recipe, source, schema, path, calibration=calibration)
        except ConversionFailed as error:
            say(f"mnn {precision} cannot be made: {error}")
            continue
        files[f"mnn {precision}"] = path
    return files


def milliseconds(files: dict[str, Path], trained: Trained, row: dict, threads: int) -> dict:
    """Of one picture a call, ``(ROUNDS,)`` by file, in turns."""
    steps = {}
    for name, path in files.items():
        opened = runtimes.open_model(path, trained.schema, threads=threads, trusted=True)
        steps[name] = (opened, opened.steps(row).copy_and_run)
    found = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, (_, call) in steps.items():
            found[name].append(1000 * call.timeit(1))
    return {name: np.array(each) for name, each in found.items()}


def opened_here(path: str, schema: str) -> tuple[float, float]:
    """Megabytes that a process grows by when it loads a runtime, opens a file and scores a picture;
    and milliseconds in which it opens and scores once more.
    """
    import psutil

    described = Schema.from_json(json.loads(schema))
    row = {tensor.name: tensor.zeros(1) for tensor in described.inputs}
    before = psutil.Process().memory_info().rss
    first = runtimes.open_model(Path(path), described, trusted=True)
    first.score(row)
    grown = (psutil.Process().memory_info().rss - before) / 1e6
    start = time.perf_counter()
    runtimes.open_model(Path(path), described, trusted=True).score(row)
    return grown, 1000 * (time.perf_counter() - start)


def opened_alone(path: Path, trained: Trained) -> tuple[float, float]:
    """`opened_here` in a process of its own."""
    code = "import json, sys, resnet18; print(json.dumps(resnet18.opened_here(*sys.argv[1:])))"
    schema = json.dumps(trained.schema.to_json())
    command = [sys.executable, "-c", code, str(path), schema]
    done = subprocess.run(
        command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
    )
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def relative(found: np.ndarray, wanted: np.ndarray) -> str:
    """The largest difference as a part of what is wanted, value by value."""
    wanted = wanted[: len(found)].astype(np.float64)
    return f"{(np.abs(found - wanted) / np.abs(wanted)).max():.0e}"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a run of images_224, stages 01 and 02")
    parser.add_argument("--pictures", type=int, default=2000, help="of the test split")
    chosen = parser.parse_args()
    trained = Trained.load(chosen.run / "model/config.json")
    inputs, labels, _ = datasets.load(chosen.run / "data.json").arrays("test", chosen.pictures)
    with tempfile.TemporaryDirectory() as folder:
        say("making the files")
        files = make(chosen.run, trained, Path(folder))
        say("timing: let nothing else run")
        opening = [opened_alone(path, trained) for path in files.values()]
        row = {name: array[:1].copy() for name, array in inputs.items()}
        timed = {}
        for threads in (1, 2):
            took = milliseconds(files, trained, row, threads)
            ratios = {n: np.median(ms / took["litert fp32"]) for n, ms in took.items()}
            timed[f"ms, {threads} thread{'s' * (threads > 1)}"] = {
                n: f"{np.median(took[n]):.1f} ({ratios[n]:.2f}x)" for n in took
            }
        say(pd.DataFrame(timed).to_string())
        scores = {}
        for name, path in files.items():
            few = SLOW.get(name, len(labels))
            say(f"scoring {min(few, len(labels)):,} pictures with {name}")
            opened = runtimes.open_model(path, trained.schema, trusted=True)
            scores[name] = opened.score({n: a[:few] for n, a in inputs.items()})
        right = scores["PyTorch"]
        judged = {
            n: classification.compare(s, right[: len(s)], labels[: len(s)])
            for n, s in scores.items()
        }
        table = classification.agreement_table(judged).drop(columns=["top-3 accuracy"])
        table.insert(0, "bytes", [f"{path.stat().st_size:,}" for path in files.values()])
        table.insert(1, "pictures", [len(scores[name]) for name in files])
        table.insert(2, "rtol", [relative(scores[name], right) for name in files])
        table["MB with its runtime"] = [f"{grown:.0f}" for grown, _ in opening]
        table["ms to open"] = [f"{ms:.0f}" for _, ms in opening]
        table = table.assign(**{heading: pd.Series(cells) for heading, cells in timed.items()})
    with pd.option_context("display.width", 250, "display.max_columns", None):
        print(table.to_string())


if __name__ == "__main__":
    main()
