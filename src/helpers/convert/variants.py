"""Make every variant that a toolchain offers, keep what can be judged, and say what could not be
made and why.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import ModuleType

import numpy as np

from helpers import child, files
from helpers.convert import mnn, onnx, pytorch, recipes, tflite
from helpers.convert.recipes import GIVEN, Recipe
from helpers.errors import ConversionFailed, DamagedFile, ParityError
from helpers.evaluation import parity
from helpers.evaluation.comparison import names
from helpers.runs import Stage
from helpers.runtimes import Runtime, open_model
from helpers.schema import Schema
from helpers.tasks.judgement import SAME, Judgement, error_text

PLAIN = recipes.get("litert", "fp32")
"""What every other ``.tflite`` file is made of."""
SUFFIXES = {
    "litert": ("tflite", ".tflite"),
    "mnn": ("mnn", ".mnn"),
    "onnx": ("onnx", ".onnx"),
    "coreml": ("coreml", pytorch.PACKAGE),
}
"""Runtime to folder of the run and suffix."""
_AT_ONCE = 2
"""Files that are made at once: each is in processes of its own."""
NOT_JUDGED = "Core ML runs on Apple's systems only; its inputs and outputs were read back"
_SMALLER = 0.9
"""A reduced file whose scores are all the float32 model's, and which is no smaller than this part
of its file, is not reduced. Half floats may move no score of a model with small weights."""
CALIBRATION_WIDTH = 3.0
"""How many times wider or narrower a feature's 5th to 95th percentile may be in the calibration
rows than in the test split: a hundred rows can be off by a factor of two, and units that were mixed
up are further apart."""


@dataclass(frozen=True)
class Outcome:
    """What became of a recipe: a file with its parity and its scores, or the tool's reason why
    there is none.

    `scores` are those of the test split, ``(n_rows, 1) float32``; None where the file gave none.
    """

    recipe: Recipe
    file: str | None
    bytes: int | None
    parity: Judgement | None
    reason: str
    scores: np.ndarray | None = None

    @property
    def name(self) -> str:
        """The variant's name, as ``mnn fp16``."""
        return self.recipe.name


def check_calibration(rows: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> None:
    """Refuse calibration rows that are not like the inputs a file will see: it would clip or waste
    its integers.

    Values of one axis are compared place by place. Of several axes, as of a picture, those along
    the last one are: what is at a place near the edge of a picture is hardly ever ink.

    Raises
    ------
    ConversionFailed : names the input, its range in both, and what to do.
    """
    for name, values in inputs.items():
        if name not in rows or rows[name].shape[1:] != values.shape[1:]:
            shape = list(values.shape[1:])
            raise ConversionFailed(
                f"the calibration rows lack {name}, or are not of its shape {shape}"
            )
        if not np.issubdtype(values.dtype, np.floating):
            continue
        alike = tuple(range(values.ndim - 1)) if values.ndim > 2 else 0
        levels = [0.05, 0.95, 0.25, 0.75]
        present, expected = (np.quantile(a, levels, axis=alike) for a in (rows[name], values))
        wrong, _ = _unlike(present[:2], expected[:2])
        # few values of another kind, as a 0 for what is not known, reach the ends and no further
        inside, varies = _unlike(present[2:], expected[2:])
        wrong &= inside | ~varies
        present, expected = present[:2], expected[:2]
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            (low, high), (least, most) = present[:, *place], expected[:, *place]
            at = ", ".join([*["..."] * (values.ndim > 2), *map(str, place)])
            raise ConversionFailed(
                f"the calibration rows are not of this data: most of {name}[{at}] is between "
                f"{low:.3g} and {high:.3g} in them and between {least:.3g} and {most:.3g} in the "
                "test split; give rows that were scaled and ordered as the model's inputs are"
            )


def _unlike(present: np.ndarray, expected: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where a low and a high quantile of values ``(2, *shape)`` are not those of others, and where
    that can be told: a rare flag is constant between them.
    """
    width, usual = present[1] - present[0], expected[1] - expected[0]
    varies = (width > 0) & (usual > 0)
    wrong = (width > CALIBRATION_WIDTH * usual) | (usual > CALIBRATION_WIDTH * width)
    moved = np.abs(present.mean(axis=0) - expected.mean(axis=0)) > np.maximum(width, usual)
    return varies & (wrong | moved), varies


def make(
    recipe: Recipe,
    source: Path,
    schema: Schema,
    path: Path,
    *,
    calibration: Path | None = None,
    process=None,
    examine: Callable[[Runtime], None] | None = None,
) -> None:
    """Write one recipe's file from a file that must be trusted.

    Parameters
    ----------
    source : the float32 ``.tflite`` file, or ``.onnx`` for MNN; for ONNX Runtime the float32
        ``.onnx`` file, and for that itself the ``.pt2`` program.
    calibration : ``.npz`` of training rows by input name; needed by recipes that calibrate.
    process : child process for the quantizer, see `tflite.quantise`.
    examine : called with the file, open in a process of its own.

    Raises
    ------
    ConversionFailed : the tool's reason.
    DamagedFile : the file cannot be opened.
    """
    if recipe.calibration is not None and calibration is None:
        raise ConversionFailed(
            f"{recipe.precision} fixes the range of its activations: it needs calibration rows"
        )
    if recipe.runtime == "litert":
        tflite.quantise(
            source, schema, path, recipe.options, calibration=calibration, process=process
        )
    elif recipe.runtime == "onnx" and not recipe.reduced:
        pytorch.to_onnx(source, schema, path)
    elif recipe.runtime == "onnx":
        onnx.reduce(source, path, recipe.precision, calibration)
    elif recipe.calibration is None:
        mnn.convert(source, schema, path, options=recipe.options, trusted=True, examine=examine)
    else:
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder) / "fp32.mnn"
            mnn.convert(source, schema, plain, options=recipe.options, trusted=True)
            mnn.quantise(plain, schema, path, calibration, recipe.calibration, examine=examine)
    if examine is not None and recipe.runtime != "mnn":
        with open_model(path, schema) as model:
            examine(model)


def make_onnx(
    stage: Stage, source: Path, schema: Schema, reference: parity.Reference, calibration: Path
) -> list[Outcome]:
    """Make the ``.onnx`` form of a ``.pt2`` program and what is reduced of it, see `make_all`."""
    given = {"schema": schema, "reference": reference, "calibration": calibration}
    plain = make_all(stage, [r for r in recipes.of("onnx") if not r.reduced], source, **given)
    made = plain[0].file and stage.run.folder / plain[0].file
    without = "there is no onnx/fp32.onnx to make it of"
    return plain + make_all(stage, recipes.reduced("onnx"), made, **given, without=without)


def make_packages(stage: Stage, source: Path, schema: Schema) -> list[Outcome]:
    """Make the Core ML packages of a ``.pt2`` program; they are read back, and cannot be judged."""
    outcomes = []
    with child.Child("export PyTorch to Core ML") as process:
        for recipe in recipes.of("coreml"):
            name = name_of(recipe)
            try:
                with stage.output(name) as path:
                    given = {"half": recipe.reduced, "process": process}
                    pytorch.to_coreml(source, schema, path, **given)
                    size = path.stat().st_size
                outcomes.append(Outcome(recipe, name, size, None, NOT_JUDGED))
            except ConversionFailed as error:
                stage.discard(name)
                outcomes.append(Outcome(recipe, None, None, None, str(error)))
    return outcomes


def plain_recipe(trained: Path) -> Recipe:
    """What a plain ``.tflite`` of a trained model is: float32, or of a finished file that is
    quantised, as it was given.
    """
    if trained.suffix == ".tflite":
        try:
            tflite.require_float32(trained)
        except ConversionFailed:
            return GIVEN
    return PLAIN


def make_plain(
    stage: Stage,
    framework: ModuleType,
    trained: Path,
    model,
    schema: Schema,
    reference: parity.Reference,
) -> tuple[Outcome, list[str]]:
    """Make the ``.tflite`` file that a framework exports, which must score as the trained model.

    `model` is what `helpers.frameworks.load` gave of the file `trained`.

    Returns
    -------
    What became of it, and what was changed in the model for it. Of a framework that has no
    converter the outcome is its reason.

    Raises
    ------
    ConversionFailed, ParityError : the conversion failed, or is not the model.
    """
    recipe = plain_recipe(trained)
    if reason := getattr(framework, "WITHOUT", ""):
        return Outcome(recipe, None, None, None, reason), []
    name = f"tflite/{recipe.precision}.tflite"
    with stage.output(name) as path:
        said = framework.export(model, schema, path)
        with open_model(path, schema) as converted:
            result, scores = parity.require_same(converted, reference, name)
        size = path.stat().st_size
    return Outcome(recipe, name, size, result, "", scores), said


def make_all(
    stage: Stage,
    todo: Iterable[Recipe],
    source: Path | None,
    schema: Schema,
    reference: parity.Reference,
    calibration: Path,
    *,
    without: str = "",
    echo: Callable[[str], None] = lambda line: None,
) -> list[Outcome]:
    """Make the files of `todo` as outputs of a stage; a recipe that fails does not stop the others.

    A float32 file must score as the trained model. A reduced one must open, bind by name, score
    alike in every batch size, and differ from the trained model, because tools report success also
    when they reduced nothing; how good it is, notebook 05 says. Files are made and scored in
    processes of their own, some at once.

    Parameters
    ----------
    source : what they are made of; None if there is nothing, for the reason `without`.

    Raises
    ------
    WorkbenchError : what is no fault of a recipe, as a full disk.
    """
    from tqdm import tqdm

    if source is None:
        return [Outcome(recipe, None, None, None, without) for recipe in todo]

    with np.load(calibration, allow_pickle=False) as file:
        rows = dict(file)
    idle: SimpleQueue[child.Child] = SimpleQueue()

    def made(recipe: Recipe) -> Outcome:
        name, found = name_of(recipe), []
        process = None
        try:
            if recipe.calibration is not None:
                check_calibration(rows, reference.inputs)
            if recipe.runtime == "litert":
                process = _taken(idle, stack)
            with stage.output(name) as path:
                make(
                    recipe,
                    source,
                    schema,
                    path,
                    calibration=calibration,
                    process=process,
                    examine=lambda model: found.append(parity.examine_scores(model, reference)),
                )
                ((result, scores),) = found
                size = path.stat().st_size
                _check(recipe, result, reference, size / source.stat().st_size)
            return Outcome(recipe, name, size, result, "", scores)
        except (ConversionFailed, DamagedFile) as error:
            stage.discard(name)
            process = None if isinstance(error.__cause__, child.ChildDied) else process
            reason = files.without_partial(str(error))  # the name that it would have had
            echo(f"{name} was not made: {reason.splitlines()[0]}")
            return Outcome(recipe, None, None, None, reason)
        finally:
            if process is not None:
                idle.put(process)

    todo = list(todo)
    bar = {"desc": "converting", "unit": " files", "delay": 2, "leave": False, "total": len(todo)}
    with ExitStack() as stack, ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = list(tqdm(pool.map(made, todo), **bar))
    there = {name: stage.outputs.pop(name) for name in map(name_of, todo) if name in stage.outputs}
    stage.outputs |= there  # in the order of the recipes, whichever was first
    return outcomes


def name_of(recipe: Recipe) -> str:
    """The file of a recipe in a run."""
    folder, suffix = SUFFIXES[recipe.runtime]
    return f"{folder}/{recipe.precision}{suffix}"


def _taken(idle: SimpleQueue, stack: ExitStack) -> child.Child:
    """A process for the quantizer that is idle, or another one, which ends with the stack."""
    try:
        return idle.get_nowait()
    except Empty:
        return stack.enter_context(child.Child("quantise", imports="quantizer"))


def _check(recipe: Recipe, result: Judgement, reference: parity.Reference, share: float) -> None:
    """Refuse a float32 file that is not the model, and a reduced one that is nothing else, `share`
    of the float32 file's bytes.
    """
    error = parity.WINOGRAD_ERROR if recipe.runtime == "mnn" else parity.FLOAT_ERROR
    if not recipe.reduced and not parity.is_near(result, reference, error):
        raise ParityError(f"it does not score as the trained model: {result.reason}")
    if recipe.reduced and result.verdict == SAME and share > _SMALLER:
        raise ParityError(
            "the tool reported success and reduced nothing: every score is the float32 model's"
        )


def table(outcomes: Iterable[Outcome]):
    """Outcomes to read: DataFrame of text by file, what was made and what was not, with the
    reason.
    """
    import pandas as pd

    rows = {}
    for outcome in outcomes:
        judged, there = outcome.parity, outcome.file is not None
        without = "not judged" if there else "not made"
        rows[outcome.name] = {
            "bytes": f"{outcome.bytes:,}" if there else "",
            "largest difference": "" if judged is None else error_text(judged.max_abs_error),
            "verdict": without if judged is None else judged.verdict,
            "why": outcome.reason.splitlines()[0] if judged is None else judged.reason,
        }
    return pd.DataFrame(rows).T


def plain_figures(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Metrics of the ``fp32`` file among them: its bytes and largest difference; nothing if it
    could not be made.
    """
    for outcome in outcomes:
        if outcome.recipe.precision == "fp32" and outcome.parity is not None:
            return {"bytes": outcome.bytes, "max_abs_error": outcome.parity.max_abs_error}
    return {}


def not_judged(records: Iterable[Path]):
    """From files that `record` wrote, what has no verdict: DataFrame by variant of ``file`` and
    ``bytes``, NaN where nothing could be made, and ``reason``, the tool's or why nobody could judge
    it.
    """
    import pandas as pd

    tried = pd.concat([pd.read_csv(path) for path in records])
    tried.index = names(tried)
    missing = tried["file"].isna() | (tried["runtime"] == "coreml")
    return tried.loc[missing, ["file", "bytes", "reason"]]


def record(stage: Stage, folder: str, outcomes: Iterable[Outcome]) -> None:
    """Write what became of every recipe, as outputs of a stage: ``recipes.csv`` (runtime,
    precision, file, bytes, reason of those not made) and ``judged.npz``, see `parity.keep`.
    """
    import pandas as pd

    outcomes = list(outcomes)
    rows = [(o.recipe.runtime, o.recipe.precision, o.file, o.bytes, o.reason) for o in outcomes]
    frame = pd.DataFrame(rows, columns=["runtime", "precision", "file", "bytes", "reason"])
    with stage.output(f"{folder}/recipes.csv") as path:
        frame.astype({"bytes": "Int64"}).to_csv(path, index=False)
    made = {o.name: o for o in outcomes if o.parity is not None}
    judged = {name: (o.parity, o.scores) for name, o in made.items()}
    digests = {name: stage.outputs[o.file] for name, o in made.items()}
    with stage.output(f"{folder}/judged.npz") as path:
        parity.keep(judged, digests, path)
