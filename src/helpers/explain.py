"""Where a model file departs from the trained model: layer by layer, and what each layer costs.

A file is held to the run's float32 ``.tflite`` file, which computes as the trained model does, on
the same rows. Of a reduced ``.tflite`` file two more are made for each layer: with that layer alone
reduced, and with all but it. So a layer's cost is told in what the model is for, not in differences
of numbers.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import child, datasets, runtimes, trained
from helpers.convert import layers, recipes, tflite
from helpers.errors import BadInput, ConversionFailed, DamagedFile
from helpers.evaluation import parity
from helpers.runs import Run
from helpers.schema import Schema
from helpers.tasks.judgement import SAME_ERROR

ROWS = 256
"""Test rows that layers are run on."""
_FLOAT32 = "tflite/fp32.tflite"


@dataclass(frozen=True)
class Explanation:
    """What was found of a file.

    Attributes
    ----------
    headline : of the task, what `alone` and `spared` are.
    trained, found : that figure of the trained model and of the file.
    layers : DataFrame by number of the layer, from 1 on: ``layer``, ``operator``; ``error``, how
        far its values are from the float32 file's, as a part of their size (root mean square);
        ``adds``, how much that is more than of what it takes; of a reduced ``.tflite`` file
        ``alone`` and ``spared``, the figure of files in which that layer alone is reduced, and all
        but that one. NaN where the file has no such layer, or no such file can be made.
    first : the first layer with an error above `SAME_ERROR`; None if there is none.
    """

    variant: str
    headline: str
    trained: float
    found: float
    layers: object
    first: int | None

    @property
    def costly(self) -> int | None:
        """The layer that brings back most if it is left in float; None where nobody knows."""
        if self.layers["spared"].isna().all():
            return None
        return int(self.layers["spared"].idxmax())

    def conclusion(self) -> str:
        """What was found, in words."""
        said = [f"{self.headline} {self.found:.4f}, of the trained model {self.trained:.4f}."]
        if self.first is None:
            said.append("No layer departs from the float32 file's by more than float32 rounding.")
            return " ".join(said)
        if (costly := self.costly) is None:
            worst = int(self.layers["adds"].idxmax())
            names = self.layers["layer"]
            said.append(f"The first layer that departs is {self.first}, {names[self.first]}.")
            said.append(f"Most is added by {worst}, {names[worst]}.")
            return " ".join(said)
        row = self.layers.loc[costly]
        said.append(
            f"With layer {costly}, {row['layer']}, left in float it is {row['spared']:.4f} "
            f"({row['spared'] - self.found:+.4f}); no other layer brings back more."
        )
        alone = self.layers["alone"]
        if alone.notna().any():
            worst = int(alone.idxmin())
            said.append(
                f"Of files with one layer reduced the worst is that of {worst}, "
                f"{self.layers.loc[worst, 'layer']}: {alone[worst]:.4f}."
            )
        return " ".join(said)


def explain(run: Run, variant: str, *, rows: int = ROWS, progress: bool = True) -> Explanation:
    """Hold a file of a run to its float32 ``.tflite`` file, layer by layer.

    Parameters
    ----------
    variant : runtime and precision, as ``litert int8``.
    rows : of the test split, that layers are run on; costs are taken on all of it.
    progress : show a bar while files are made.

    Raises
    ------
    BadInput : the run has no such file.
    MissingStage : it has no float32 ``.tflite`` file, or what it has does not count any more.
    """
    import pandas as pd

    model = trained.Trained.load(run.verified("02", trained.CONFIG, any_code=True))
    data = datasets.load(run.verified("01", "data.json", any_code=True))
    inputs, parts = parity.test_inputs(data, model.schema)
    kept = run.verified("02", parity.FILE, any_code=True)
    reference = parity.Reference.load(kept, model.task, inputs, parts)
    if _FLOAT32 not in run.files(".tflite"):
        raise BadInput(
            f"run {run.name!r} has no float32 .tflite file, which layers are held to: of a model "
            "that was brought as ONNX, or as integers, there is none"
        )
    source, path = run.verified("03", _FLOAT32, any_code=True), _file(run, variant)
    there = len(next(iter(inputs.values())))
    places = np.arange(model.schema.batch or min(rows, there)) % there
    few = {name: array[places] for name, array in inputs.items()}
    wanted = layers.values(source, few)
    table = _errors(wanted, layers.matched(wanted, layers.values(path, few)))
    calibration = run.verified("02", "model/calibration.npz", any_code=True)
    costs = _costs(variant, source, calibration, model.schema, wanted, reference, progress)
    table = pd.DataFrame(table, index=pd.RangeIndex(1, len(table) + 1, name="layer number"))
    table[["alone", "spared"]] = costs
    with runtimes.open_model(path, model.schema) as opened:
        found = _headline(reference, opened)
    own = reference.judge(reference.outputs).figures[model.task.headline]
    departs = table.index[table["error"] > SAME_ERROR]
    heading = model.task.shown[model.task.headline].heading
    return Explanation(variant, heading, own, found, table, *[*map(int, departs[:1]), None][:1])


def _file(run: Run, variant: str) -> Path:
    """The file of a variant; BadInput lists those that layers can be read of."""
    made = (*run.files(".tflite", stage="03"), *run.files(".mnn", stage="04"))
    there = {" ".join(runtimes.variant_of(file)): file for file in made}
    if variant not in there:
        raise BadInput(
            f"run {run.name!r} has no file {variant!r}; it has: {', '.join(there) or 'none'}"
        )
    stage = "03" if there[variant].endswith(".tflite") else "04"
    return run.verified(stage, there[variant], any_code=True)


def _errors(wanted: list, found: list) -> list[dict]:
    """A row a layer: how far it is off, and how much of that is its own."""
    errors: list[float] = []
    rows = []
    for layer, other in zip(wanted, found, strict=True):
        before = max((errors[place] for place in layer.takes), default=0.0)
        error = float("nan") if other is None else _error(layer.values, other.values)
        errors.append(before if other is None else error)
        adds = error - before
        rows.append({"layer": layer.name, "operator": layer.operator, "error": error, "adds": adds})
    return rows


def _error(wanted: np.ndarray, found: np.ndarray) -> float:
    """Root mean square of the difference as a part of the values'; 1 where one is not finite and
    not the same in both.
    """
    wanted, found = (array.reshape(-1).astype(np.float64) for array in (wanted, found))
    same = ~np.isfinite(wanted) & ((wanted == found) | (np.isnan(wanted) & np.isnan(found)))
    if same.any():
        wanted, found = wanted[~same], found[~same]
    if not len(wanted):
        return 0.0
    if not (np.isfinite(wanted).all() and np.isfinite(found).all()):
        return 1.0
    size = np.sqrt(np.mean(wanted**2))
    off = np.sqrt(np.mean((found - wanted) ** 2))
    return float(off / size) if size else float(off)


def _headline(reference: parity.Reference, opened) -> float:
    task = reference.task
    return reference.judge(reference.predict(opened.predict)).figures.get(
        task.headline, float("nan")
    )


def _costs(
    variant: str,
    source: Path,
    calibration: Path,
    schema: Schema,
    wanted: list,
    reference: parity.Reference,
    progress: bool,
) -> np.ndarray:
    """The headline with each layer alone reduced, and with each spared, ``(n_layers, 2)``."""
    from tqdm import tqdm

    result = np.full((len(wanted), 2), np.nan)
    runtime, precision = variant.split(" ", 1)
    if runtime != "litert" or not recipes.get(runtime, precision).reduced:
        return result
    recipe = recipes.get(runtime, precision)
    bar = {"desc": "layers", "unit": " layers", "delay": 2, "leave": False}
    with (
        tempfile.TemporaryDirectory() as folder,
        child.Child("quantise", imports="quantizer") as process,
    ):
        path = Path(folder) / "part.tflite"
        given = {"calibration": calibration, "process": process}
        for i, layer in enumerate(tqdm(wanted, disable=not progress or None, **bar)):
            for column, entries in enumerate(
                (layers.only(recipe, layer), layers.without(recipe, layer))
            ):
                try:
                    tflite.quantise(source, schema, path, entries, **given)
                    with runtimes.open_model(path, schema) as opened:
                        result[i, column] = _headline(reference, opened)
                except (ConversionFailed, DamagedFile):
                    continue  # nothing can be made of such an operator alone
    return result


def readable(layers):
    """The layers of an explanation to read: DataFrame of text; columns without a figure are left
    out.
    """
    import pandas as pd

    forms = {"error": "{:.2g}", "adds": "{:+.2g}", "alone": "{:.4f}", "spared": "{:.4f}"}
    shown = layers[["layer", "operator"]].copy()
    for name, form in forms.items():
        if layers[name].notna().any():
            texts = ["" if pd.isna(value) else form.format(value) for value in layers[name]]
            shown[name] = texts
    return shown.rename_axis(index=None)
