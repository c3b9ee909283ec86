"""Deterministic Keras training, and the baselines a network has to beat."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers import leaks
from helpers.errors import BadInput
from helpers.metrics import intervals, ranking
from helpers.quiet import tensorflow
from helpers.runtimes import scale_of
from helpers.runtimes.keras import named_outputs
from helpers.schema import Schema
from helpers.studies import Inputs, Study
from helpers.tasks.judgement import SAME_ERROR

_SCORE_ROWS, _SCORE_VALUES = 65_536, 8 << 20
"""Most rows and most values that the model is called with."""
_CHECKED_ROWS = 4096
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_ANY_AUC = (0.0, 1.0)


def train(
    study: Study,
    training: tuple[Inputs, np.ndarray],
    validation: tuple[Inputs, np.ndarray],
    *,
    seed: int = 42,
    hidden_units: int = 16,
    epochs: int = 5,
    batch_size: int = 64,
    learning_rate: float = 0.001,
    progress: bool = True,
):
    """Train the study's model with Adam on binary cross-entropy; the same arguments give the same weights.

    XLA is off, because the code it generates depends on the processor.

    Parameters
    ----------
    training, validation : named inputs and labels ``(n_rows,)``.
    seed : initial weights and shuffling.
    progress : show a bar when it takes longer than two seconds.

    Returns
    -------
    model : the trained Keras model.
    history : DataFrame by epoch (from 1): accuracy, loss, val_accuracy, val_loss.

    Raises
    ------
    BadInput : the model has no scores of its own, see `scores`.
    """
    tensorflow()
    import keras
    import pandas as pd
    from tqdm import tqdm

    keras.utils.set_random_seed(seed)
    model = study.build_model(hidden_units=hidden_units)
    scores(model, {name: array[:_CHECKED_ROWS] for name, array in training[0].items()})
    model.compile(
        keras.optimizers.Adam(learning_rate),
        loss="binary_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
        steps_per_execution=16,
    )
    with tqdm(total=epochs, desc="training", unit=" epochs", delay=2, leave=False, disable=not progress or None) as bar:
        fitted = model.fit(
            training[0],
            training[1].astype(np.float32),
            validation_data=(validation[0], validation[1].astype(np.float32)),
            epochs=epochs,
            batch_size=batch_size,
            validation_batch_size=4096,
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: bar.update())],
            verbose=0,
        )
    history = pd.DataFrame(fitted.history).sort_index(axis=1)
    history.index = pd.RangeIndex(1, epochs + 1, name="epoch")
    return model, history


def check_learnable(
    schema: Schema,
    training: tuple[Inputs, np.ndarray, np.ndarray],
    scores: Mapping[str, np.ndarray],
    test: tuple[Inputs, np.ndarray, np.ndarray],
    best: np.ndarray | None = None,
) -> None:
    """Refuse labels that nothing can be learned from, and inputs that hold them: the two ends of what can be learned.

    Labels that nothing relates to are shuffled, or belong to other rows. Too much is told by `helpers.leaks`. Whether
    scores tell labels is judged by the 95 % interval of their AUC, see `_auc_interval`: they surely do if it lies above
    one half, and surely do not if it lies below `ranking.CHANCE_AUC`. Where rows are too few for either a UserWarning
    says so (of 1 % positives a thousand test rows may be), and where baselines rank the test rows, but learned from one
    half of the training rows not the other: a model of shuffled labels ranks, too, if few features decide.

    Passing proves that some scorer tells test labels, not that all labels are right: where half of them were shuffled,
    half of the relation is left. Of training labels it proves little: a model of shuffled ones may rank by luck, in
    either direction. Nor does it prove that the model learned what can be learned.

    Parameters
    ----------
    training, test : named inputs, labels and requests.
    scores : of the model and of its baselines on the test rows, by scorer; the model is called ``this model``. What was
        not learned, as the true probability, says nothing of what can be.
    best : that true probability ``(n_rows,)`` of the test rows, where it is known.

    Raises
    ------
    BadInput : an input tells the label alone, or a scorer ranks better than the best possible; on the test rows every
        scorer is surely at chance; or the model is, and so are baselines learned from one half of the training rows on
        the other half.
    """
    leaks.check_inputs(schema, training, test)
    if best is not None:
        leaks.check_possible(schema, test, scores, best)
    why = "the labels were shuffled, or belong to other rows"
    told = {name: _auc_interval(score, *test[1:]) for name, score in scores.items()}
    highest, (low, high) = max(told.items(), key=lambda item: item[1][1])
    if high < ranking.CHANCE_AUC:
        raise BadInput(
            f"nothing relates features to labels: on {len(test[1]):,} test rows the best scorer ({highest}) has an AUC "
            f"of at most {high:.3f}; {why}"
        )
    doubts = []
    if not any(low > 0.5 for low, _ in told.values()):
        doubts.append(
            f"on {len(test[1]):,} test rows the best scorer ({highest}) has an AUC of {low:.3f} to {high:.3f}"
        )
    halves = _told_by_halves(schema, training)
    low, high = max(halves.values(), key=lambda interval: interval[1])
    learned = f"learned from half of the {len(training[1]):,} training rows, the best baseline has an AUC"
    if high < ranking.CHANCE_AUC:
        said = f"{learned} of at most {high:.3f} on the other half"
        if told["this model"][1] < ranking.CHANCE_AUC:
            raise BadInput(f"nothing relates features to labels: {said}; {why}")
        off = [name for name in halves if name in told and not _near_chance(told[name])]
        doubts += [f"{said}, but {' and '.join(off)} tell test labels"] if off else []
    elif told["this model"][0] <= 0.5 and not any(low > 0.5 for low, _ in halves.values()):
        doubts.append(f"{learned} of {low:.3f} to {high:.3f} on the other half")
    if doubts:
        warnings.warn(
            f"it cannot be told whether features relate to labels: {'; '.join(doubts)}. The labels may be right, or "
            "shuffled: give more rows, of the rarer label above all, or look where the labels come from",
            stacklevel=2,
        )


def _near_chance(interval: tuple[float, float]) -> bool:
    """Whether an AUC may be that of chance, in either direction."""
    return interval[0] <= ranking.CHANCE_AUC and interval[1] >= 1 - ranking.CHANCE_AUC


def _told_by_halves(schema: Schema, training: tuple[Inputs, np.ndarray, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Intervals of the AUC of baselines learned from one half of the training rows, on the other half, by baseline."""
    half = len(training[1]) // 2
    learn, tell = (
        ({name: array[part] for name, array in training[0].items()}, training[1][part], training[2][part])
        for part in (slice(half), slice(half, None))
    )
    if len(np.unique(learn[1])) < 2:
        return {"none": _ANY_AUC}
    found = baseline_scores(schema, learn[:2], tell[0])
    return {name: _auc_interval(score, *tell[1:]) for name, score in found.items()}


def conclusion(table, history, published: Sequence[float] | None) -> str:
    """Say in words whether a model beats what is simple, and whether it reaches what was published.

    Parameters
    ----------
    table : metrics by scorer (`ranking.summary`), with ``this model``, its baselines and what is best possible.
    history : of `train`.
    published : validation accuracy by epoch, or None.
    """
    baselines = table.drop(index=["this model", *(name for name in table.index if name.startswith("best possible"))])
    simple = baselines["auc"].idxmax()
    ours, theirs = table.loc["this model"], baselines.loc[simple]
    gain = round(ours["auc"], 3) - round(theirs["auc"], 3)
    comparison = "ranks better than" if gain > 0 else "ranks worse than" if gain < 0 else "ranks as well as"
    pairs = {"AUC": "auc", "accuracy": "accuracy"}
    figures = ", ".join(f"{name} {ours[key]:.3f} against {theirs[key]:.3f}" for name, key in pairs.items())
    lines = [f"The model {comparison} {simple}: {figures}."]
    if gain <= 0:
        lines.append(f"On this data nothing needs the model: {simple} is smaller.")
    if published:
        reached, wanted = history["val_accuracy"].iloc[-1], published[-1]
        word = "reaches" if reached >= wanted else "does not reach"
        said = f"{reached:.3f}, published {wanted:.3f}"
        lines.append(f"After {len(history)} epochs it {word} the published validation accuracy: {said}.")
    return "\n".join(lines)


def _auc_interval(scores: np.ndarray, labels: np.ndarray, requests: np.ndarray) -> tuple[float, float]:
    """95 % interval of an AUC over requests; 0 to 1 where nothing can be told.

    The error is at least that of labels at random: few positives may all have won by luck.
    """
    scores = np.asarray(scores, np.float64).reshape(-1)
    ones = np.count_nonzero(labels)
    if np.isnan(scores).any() or not 0 < ones < len(labels):
        return _ANY_AUC
    at_random = np.sqrt((len(labels) + 1) / (12 * ones * (len(labels) - ones)))
    interval = intervals.auc_interval(intervals.placements(scores, labels), labels, requests, least_error=at_random)
    return _ANY_AUC if np.isnan(interval).any() else interval


def config(model, schema: Schema) -> dict:
    """What the published pipeline keeps beside a model: name, shapes, parameters, layers; and the schema."""
    return {
        "model_name": model.name,
        "input_shapes": {tensor.name: list(tensor.shape) for tensor in model.inputs},
        "output_shapes": {name: list(value.shape) for name, value in named_outputs(model, model.output).items()},
        "total_parameters": model.count_params(),
        "architecture": [{"layer": layer.name, "type": type(layer).__name__} for layer in model.layers],
        "schema": schema.to_json(),
    }


def predict(model, inputs: Inputs) -> dict[str, np.ndarray]:
    """All outputs of the Keras model by name, ``(n_rows, *shape)``: the reference for every converted file.

    Raises
    ------
    BadInput : rows score differently the second time, among fewer others: nothing could be held against such scores.
    """
    rows = len(next(iter(inputs.values())))

    def part(first: int, end: int) -> dict[str, np.ndarray]:
        result = model({name: array[first:end] for name, array in inputs.items()}, training=False)
        return {name: np.asarray(value) for name, value in named_outputs(model, result).items()}

    step = max(1, min(_SCORE_ROWS, _SCORE_VALUES * rows // sum(array.size for array in inputs.values())))
    parts = [part(i, i + step) for i in range(0, rows, step)]
    outputs = {name: np.concatenate([each[name] for each in parts]) for name in parts[0]}
    for name, again in part(0, max(1, min(rows, step, _CHECKED_ROWS) // 2)).items():
        first = outputs[name][: len(again)]
        if (difference := np.abs(again - first).max()) > SAME_ERROR * scale_of(first):
            raise BadInput(
                f"the model gives two different scores for the same rows (up to {difference:.2g} apart): a layer such "
                "as dropout or batch normalisation is active outside training: build it without training=True"
            )
    return outputs


def scores(model, inputs: Inputs) -> np.ndarray:
    """The first of the outputs that `predict` gives, which a task decides by: ``(n_rows, *shape)``."""
    return next(iter(predict(model, inputs).values()))


def save(model, path: Path) -> None:
    """Save as ``.keras`` so that the same weights are the same bytes.

    Keras writes the time of day and memory addresses (as ids of shared objects) into the archive; the first
    is dropped, the second are numbered in order of appearance.
    """
    raw = path.with_name(f"{path.stem}-raw{path.suffix}")
    try:
        model.save(raw)
        with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":
                    content = json.dumps({"keras_version": json.loads(content)["keras_version"]}).encode()
                elif name == "config.json":
                    content = _numbered_ids(content)
                target.writestr(zipfile.ZipInfo(name, _ZIP_DATE), content)
    finally:
        raw.unlink(missing_ok=True)


def _numbered_ids(config: bytes) -> bytes:
    numbers: dict[bytes, int] = {}
    pattern = rb'("shared_object_id": )(\d+)'
    return re.sub(pattern, lambda m: m[1] + str(numbers.setdefault(m[2], len(numbers))).encode(), config)


def baseline_scores(schema: Schema, training: tuple[Inputs, np.ndarray], inputs: Inputs) -> dict[str, np.ndarray]:
    """Scores ``(n_rows,)`` of what any ranking model has to beat.

    ``popularity only`` is a logistic regression on the item features alone: the same order for every user (left
    out if the schema has no item input). ``logistic regression`` sees all features, but no interactions.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(training[1])) < 2:
        raise BadInput(f"all {len(training[1])} training labels are {training[1][0]}: give more rows")
    every = schema.input_names
    items = [tensor.name for tensor in schema.inputs if tensor.role == "item"]
    result = {}
    looks_at = {"popularity only": items} if items else {}

    def columns(rows: Inputs, names: Sequence[str]) -> np.ndarray:
        return np.hstack([rows[name].reshape(len(rows[name]), -1) for name in names])

    for name, used in {**looks_at, "logistic regression": every}.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(columns(training[0], used), training[1])
        result[name] = model.predict_proba(columns(inputs, used))[:, 1]
    return result
