"""Where a model file departs from the trained model: layer by layer, and what each layer costs.

A file is held to the run's float32 ``.tflite`` file, or to its float32 ``.onnx`` file where it is
made of that; they compute as the trained model does, on the same rows, and have the same layers.
Those two, and what is made of one that the run does not have, are held to the trained model itself,
see `helpers.convert.alignment`. Of a reduced ``.tflite`` file, and of those of ONNX Runtime and
MNN with integer weights, two more are made for each layer: with that layer alone reduced, and with
all but it; of MNN's ``int8`` the second. So a layer's cost is told in what the model is for, not in
differences of numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import child, datasets, runtimes, trained
from helpers.convert import alignment, layers, mnn, onnx, recipes, tflite
from helpers.errors import BadInput, ConversionFailed, DamagedFile, WorkbenchError
from helpers.evaluation import parity
from helpers.evaluation.comparison import names
from helpers.runs import Run
from helpers.schema import Schema
from helpers.tasks import Task
from helpers.tasks.judgement import BROKEN, LOSS, SAME_ERROR, TOO_FEW

ROWS = 256
"""Test rows that layers are run on, at most."""
_INPUT_BYTES, _SEARCHED_BYTES = 4 << 20, 1 << 20
"""Of wide inputs, as pictures, whose layers are many times as wide, fewer rows are taken; still
fewer where layers are found by their values."""
_OF_TFLITE, _OF_ONNX = "litert fp32", "onnx fp32"
_TRAINED = tuple(f"{runtimes.MODULES[suffix]} fp32" for suffix in alignment.SUFFIXES)
"""What files are held to."""
_STAGES = {".tflite": "03", ".onnx": "03", ".mnn": "04"}
"""Files whose layers can be read, and who makes them."""
_RUNTIMES = [runtimes.MODULES[suffix] for suffix in _STAGES]


@dataclass(frozen=True)
class Explanation:
    """What was found of a file.

    Attributes
    ----------
    source : what it is held to: another variant, or the trained model.
    headline : of the task, what `alone` and `spared` are.
    trained, found : that figure of the trained model and of the file.
    layers : DataFrame by number of the layer, from 1 on: ``layer``, ``operator``; ``error``, how
        far its values are from the source's, as a part of their size (root mean square); ``adds``,
        how much that is more than of what it takes; ``alone`` and ``spared``, the figure of files
        in which that layer alone is reduced, and all but that one. NaN where the file has no such
        layer, or no such file can be made. Empty where no layer could be read.
    reason : why not.
    """

    variant: str
    source: str
    headline: str
    trained: float
    found: float
    layers: object
    reason: str = ""

    @property
    def first(self) -> int | None:
        """The first layer with an error above `SAME_ERROR`; None if there is none."""
        departs = self.layers.index[self.layers["error"] > SAME_ERROR]
        return int(departs[0]) if len(departs) else None

    @property
    def costly(self) -> int | None:
        """The layer that brings back most if it is left in float; None where nobody knows."""
        if self.layers["spared"].isna().all():
            return None
        return int(self.layers["spared"].idxmax())

    def conclusion(self) -> str:
        """What was found, in words."""
        figure = "not known" if np.isnan(self.found) else f"{self.found:.4f}"
        said = [f"{self.headline} {figure}, of the trained model {self.trained:.4f}."]
        if self.reason:
            said.append(f"Its layers cannot be read: {self.reason}")
            return " ".join(said)
        if self.first is None:
            whose = "the trained model's" if self.source in _TRAINED else "the float32 file's"
            said.append(f"No layer departs from {whose} by more than float32 rounding.")
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
    """Hold a file of a run to the float32 file of its kind, or that to the trained model, layer by
    layer, and tell what each layer costs.

    Parameters
    ----------
    variant : runtime and precision, as ``litert int8``.
    rows : of the test split, that layers are run on, at most; costs are taken on all of it.
    progress : show a bar while files are made.

    Raises
    ------
    BadInput : the run has no such file, or none that it could be held to.
    MissingStage : what it has does not count any more.
    """
    model = trained.Trained.load(run.verified("02", trained.CONFIG, any_code=True))
    data = datasets.load(run.verified("01", "data.json", any_code=True))
    inputs, parts = parity.test_inputs(data, model.schema)
    kept = run.verified("02", parity.FILE, any_code=True)
    reference = parity.Reference.load(kept, model.task, inputs, parts)
    path, name, source = _files(run, variant, model.file)
    calibration = run.verified("02", "model/calibration.npz", any_code=True)
    pairs, table = _held(path, source, model.schema, inputs, rows)
    reducible = source.suffix not in alignment.SUFFIXES
    parts = _parts(variant, path, source, calibration, model.schema) if reducible else None
    if parts is not None:
        imports = "quantizer" if source.suffix == ".tflite" else "bare"
        bar = {"suffix": path.suffix, "imports": imports, "progress": progress}
        table[["alone", "spared"]] = _costs(parts, pairs, model.schema, reference, **bar)
    with runtimes.open_model(path, model.schema) as opened:
        found = _headline(reference, opened)
    own = reference.judge(reference.outputs).figures[model.task.headline]
    heading = model.task.shown[model.task.headline].heading
    return Explanation(variant, name, heading, own, found, table)


def look(
    task: Task, comparison, files: Mapping[str, Path], schema: Schema, inputs: parity.Inputs
) -> Explanation | None:
    """Hold the `worst` file of a comparison to the float32 file of its kind, or that to the trained
    model, layer by layer, without what layers cost; None if there is none.

    Where no layer can be read, the explanation is the reason.

    Parameters
    ----------
    comparison : as `comparison.build` makes it; its first row is the trained model.
    files : paths by variant, the trained model's among them.
    inputs : rows to take some of.
    """
    variant = worst(task, comparison)
    if variant is None:
        return None
    source, reason = source_of(variant, files), ""
    try:
        _, table = _held(files[variant], files[source], schema, inputs)
    except WorkbenchError as error:
        table, reason = _table([]), str(error)
    figures = comparison.set_index(names(comparison))[task.headline].astype(float)
    heading = task.shown[task.headline].heading
    return Explanation(variant, source, heading, figures.iloc[0], figures[variant], table, reason)


def worst(task: Task, comparison) -> str | None:
    """The variant to look into: of the files that can be explained and do not score the same, the
    one that loses most; of the broken ones, where there are any. One that is held to another of
    them is passed over: what is wrong in that is wrong in both.
    """
    called = names(comparison)
    there = set(called[comparison["file"].notna()])
    departing = comparison.set_index(called)[
        comparison["verdict"].isin((LOSS, TOO_FEW, BROKEN)).to_numpy()
        & np.array([name in explainable(there) for name in called], dtype=bool)
    ]
    if departing["verdict"].eq(BROKEN).any():
        departing = departing[departing["verdict"] == BROKEN]
    if departing.empty:
        return None
    roots = [source_of(name, there) not in departing.index for name in departing.index]
    departing = departing[roots]
    lost = task.loss_sign * departing[task.loss].astype(float)
    return str(lost.fillna(-np.inf).idxmax())


def source_of(variant: str, variants: Collection[str]) -> str | None:
    """Which of some variants the file of one is held to: the float32 file of its kind, or the
    trained model; None if they are not there.
    """
    plain = _plain(variant)
    if variant != plain and plain in variants:
        return plain
    return next((name for name in _TRAINED if name in variants), None)


def _plain(variant: str) -> str:
    """The float32 file of a variant's kind."""
    runtime, _, precision = variant.partition(" ")
    of_onnx = runtime == "mnn" and precision.endswith("_of_onnx")
    return _OF_ONNX if runtime == "onnx" or of_onnx else _OF_TFLITE


def explainable(variants: Collection[str]) -> list[str]:
    """Those that are held to another of them."""
    return [
        name
        for name in variants
        if name.partition(" ")[0] in _RUNTIMES and source_of(name, variants) is not None
    ]


def _files(run: Run, variant: str, model: str) -> tuple[Path, str, Path]:
    """The file of a variant, what it is held to, and the file of that.

    Parameters
    ----------
    model : file of the trained model.
    """
    made = {
        " ".join(runtimes.variant_of(file)): (stage, file)
        for suffix, stage in _STAGES.items()
        for file in run.files(suffix, stage=stage)
    }
    if variant not in made:
        raise BadInput(
            f"run {run.name!r} has no file {variant!r}; it has: {', '.join(made) or 'none'}"
        )
    there = made | {" ".join(runtimes.variant_of(model)): ("02", model)}
    if (source := source_of(variant, there)) is None:
        plain = _plain(variant)
        lacks = "" if variant == plain else f"run {run.name!r} has no file {plain!r}, and "
        rest = ", ".join(explainable(made)) or "nothing"
        raise BadInput(
            f"{lacks}{variant!r} cannot be held to the trained model: {model} has no layers that "
            f"can be read, as {' and '.join(alignment.SUFFIXES)} files have; what can be explained "
            f"of run {run.name!r}: {rest}"
        )
    path, held = (run.verified(*there[name], any_code=True) for name in (variant, source))
    return path, source, held


def _held(
    path: Path, source: Path, schema: Schema, inputs: parity.Inputs, rows: int = ROWS
) -> tuple[list[tuple], object]:
    """The layers of a float32 file, or of a trained model, on some rows, each with the file's or
    None, and how far these are from them, as `Explanation` has it without costs.

    Raises
    ------
    DamagedFile : one of them cannot be run, or they have no layer in common.
    """
    named = source.suffix not in alignment.SUFFIXES
    there = len(next(iter(inputs.values())))
    most = (_INPUT_BYTES if named else _SEARCHED_BYTES) // schema.row_bytes
    places = np.arange(schema.batch or min(rows, there, max(2, most))) % there
    few = {name: array[places] for name, array in inputs.items()}
    found = layers.values(path, few)
    if named:
        wanted = layers.values(source, few)
        found = layers.matched(wanted, found)
    else:
        wanted, found = alignment.aligned(source, schema, few, found)
    if not any(found):
        how = "has the name of one" if named else "computes what one does"
        raise DamagedFile(f"no layer of {path.name} {how} of {source.name}")
    return list(zip(wanted, found, strict=True)), _table(_errors(wanted, found))


def _table(rows: list[dict]):
    """Rows of `_errors` as `Explanation` has them, without costs."""
    import pandas as pd

    index = pd.RangeIndex(1, len(rows) + 1, name="layer number")
    columns = ["layer", "operator", "error", "adds"]
    return pd.DataFrame(rows, columns=columns, index=index).assign(alone=np.nan, spared=np.nan)


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
    parts: Callable[[layers.Layer, layers.Layer | None, bool, Path, child.Child], None],
    pairs: list[tuple],
    schema: Schema,
    reference: parity.Reference,
    *,
    suffix: str,
    imports: str,
    progress: bool,
) -> np.ndarray:
    """The headline with each layer alone reduced, and with each spared, ``(n_layers, 2)``."""
    from tqdm import tqdm

    result = np.full((len(pairs), 2), np.nan)
    bar = {"desc": "layers", "unit": " layers", "delay": 2, "leave": False}
    with (
        tempfile.TemporaryDirectory() as folder,
        child.Child("quantise", imports=imports) as process,
    ):
        path = Path(folder) / runtimes.MODULES[suffix] / f"part{suffix}"
        path.parent.mkdir()
        for i, (layer, own) in enumerate(tqdm(pairs, disable=not progress or None, **bar)):
            for column, alone in enumerate((True, False)):
                try:
                    parts(layer, own, alone, path, process)
                    with runtimes.open_model(path, schema) as opened:
                        result[i, column] = _headline(reference, opened)
                except (ConversionFailed, DamagedFile):
                    continue  # nothing can be made of such an operator alone
    return result


def _parts(
    variant: str, file: Path, source: Path, calibration: Path, schema: Schema
) -> Callable[[layers.Layer, layers.Layer | None, bool, Path, child.Child], None] | None:
    """What writes a file with one layer alone reduced, or all but it, of a layer and the file's own
    of it; None where nothing can.
    """
    runtime, precision = variant.split(" ", 1)
    recipe = recipes.get(runtime, precision)

    def of_tflite(layer, own, alone: bool, path: Path, process: child.Child) -> None:
        entries = (layers.only if alone else layers.without)(recipe, layer)
        tflite.quantise(source, schema, path, entries, calibration=calibration, process=process)

    def of_onnx(layer, own, alone: bool, path: Path, process: child.Child) -> None:
        told = {"only" if alone else "without": [layer.name]}
        onnx.reduce(source, path, precision, calibration, process=process, **told)

    def of_mnn(layer, own, alone: bool, path: Path, process: child.Child) -> None:
        chosen = {name for name in stored if own and layers.own_name(name) == own.name}
        if not chosen:
            raise ConversionFailed(f"{layer.name} has no integer weights in {file.name}")
        if recipe.calibration is None:
            rest = chosen if alone else stored.keys() - chosen
            mnn.reduce_only(source, schema, path, recipe.options, rest)
            return
        if alone:
            raise ConversionFailed("MNN's quantizer leaves out convolutions, and nothing else")
        plain = path.with_name("fp32.mnn")
        mnn.convert(source, schema, plain, options=recipe.options, trusted=True)
        told = {**recipe.calibration, "skip_quant_op_names": sorted(chosen)}
        mnn.quantise(plain, schema, path, calibration, told)

    if runtime == "onnx":
        return of_onnx if precision in ("int8", "dynamic_int8") else None
    if runtime == "mnn" and (stored := mnn.integer_weights(file)):
        return of_mnn
    return of_tflite if runtime == "litert" and recipe.reduced else None


def readable(layers):
    """The layers of an explanation to read: DataFrame of text; columns without a figure are left
    out, and digits of errors that count as none.
    """
    import pandas as pd

    forms = {"error": "{:.2g}", "adds": "{:+.2g}", "alone": "{:.4f}", "spared": "{:.4f}"}
    shown = layers[["layer", "operator"]].copy()

    def text(value: float, form: str, least: float) -> str:
        if pd.isna(value):
            return ""
        return f"under {least:.0e}" if abs(value) < least else form.format(value)

    for name, form in forms.items():
        if layers[name].notna().any():
            least = SAME_ERROR if name in ("error", "adds") else 0.0
            shown[name] = [text(value, form, least) for value in layers[name]]
    return shown.rename_axis(index=None)
