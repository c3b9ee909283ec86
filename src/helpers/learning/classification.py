"""Classification: what a model has to beat, and whether there is anything to learn at all."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from helpers.datasets import Dataset
from helpers.errors import BadInput
from helpers.learning import need_and_published
from helpers.metrics import classification, intervals
from helpers.schema import Schema
from helpers.studies import Inputs

LABELLED, CHANCE = True, 0.0
BEST = "best possible (Bayes)"
"""The scorer that is the true probability of each class, where it is known."""
FREQUENT = "most frequent class"
_BASELINE_VALUES = 4 << 20
"""Values that the logistic regression learns from at most: of wide inputs fewer rows."""
_WIDE, _PLACES = 1024, 8
"""Values of a tensor of three axes above which the logistic regression sees means over pieces of
its first two, and into how many pieces these are cut at most."""


def baseline_scores(
    schema: Schema, training: tuple[Inputs, np.ndarray], inputs: Inputs
) -> dict[str, np.ndarray]:
    """Return probabilities ``(n_rows, n_classes)`` of what any classifier has to beat.

    ``most frequent class`` gives every row the shares of the training labels. ``logistic
    regression`` sees every value of the inputs, but no products of them; it learns from as many
    rows as have `_BASELINE_VALUES` values. Of pictures it sees `_PLACES` by `_PLACES` means.

    Raises
    ------
    BadInput : a label is no class of the model, or all are the same.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    classes, labels = schema.output.size, training[1]
    if len(wrong := labels[(labels < 0) | (labels >= classes)]):
        raise BadInput(
            f"label {wrong[0]} is none of the {classes} classes of {schema.output.name}: they count"
            " from 0"
        )
    shares = np.bincount(labels, minlength=classes) / len(labels)
    if shares.max() == 1:
        raise BadInput(f"all {len(labels)} training labels are {labels[0]}: give more rows")

    def columns(rows: Inputs, most: int | None = None) -> np.ndarray:
        parts = [_coarse(rows[name][:most]) for name in schema.input_names]
        return np.hstack([part.reshape(len(part), -1) for part in parts])

    wide = columns(inputs)
    most = max(20 * classes, _BASELINE_VALUES // wide.shape[1])
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    learned = np.zeros((len(wide), classes))
    with threadpool_limits(
        1
    ):  # products this small are slower on several, on a busy machine by far
        model.fit(columns(training[0], most), labels[:most])
        learned[:, model.classes_] = model.predict_proba(wide)
    return {FREQUENT: np.tile(shares, (len(wide), 1)), "logistic regression": learned}


def _coarse(values: np.ndarray) -> np.ndarray:
    """Means over pieces of wide rows of three axes, ``(n_rows, pieces, pieces, depth)``; what is at
    the far ends and fills no piece is left out. Other values are as they are.
    """
    if values.ndim != 4 or values[0].size <= _WIDE:
        return values
    rows, height, width, depth = values.shape
    down, across = (-(-side // _PLACES) for side in (height, width))
    whole = values[:, : height // down * down, : width // across * across]
    pieces = whole.reshape(rows, height // down, down, width // across, across, depth)
    return pieces.mean(axis=(2, 4), dtype=np.float32)


def check_learnable(
    schema: Schema,
    training: tuple[Inputs, np.ndarray, np.ndarray],
    scores: Mapping[str, np.ndarray],
    test: tuple[Inputs, np.ndarray, np.ndarray],
    best: np.ndarray | None = None,
) -> None:
    """Refuse labels that nothing can be learned from, and scorers that are better than can be.

    Whether a scorer tells labels is judged by the 95 % interval of its accuracy minus that of the
    most frequent class, paired by row. Where none is surely above it a UserWarning says so.

    Raises
    ------
    BadInput : every scorer is surely no better than the most frequent class; or one is surely
        better than the best possible, so that an input holds the label.
    """
    labels, groups = test[1:]
    simple = classification.top_k(scores[FREQUENT], labels)
    gains = {
        name: intervals.paired_interval(classification.top_k(score, labels) - simple, groups)
        for name, score in scores.items()
        if name != FREQUENT
    }
    highest, (low, high) = max(gains.items(), key=lambda item: item[1][1])
    why = "the labels were shuffled, or belong to other rows"
    if high <= 0:
        raise BadInput(
            f"nothing relates features to labels: on {len(labels):,} test rows no scorer is right "
            f"more often than the most frequent class; {why}"
        )
    if best is not None:
        possible = classification.top_k(best, labels)
        for name, score in scores.items():
            gained = intervals.paired_interval(
                classification.top_k(score, labels) - possible, groups
            )
            if gained[0] > 0.01:
                raise BadInput(
                    f"{name} is right more often than the best possible ({possible.mean():.3f}), by"
                    f" at least {gained[0]:.3f}: an input holds the label"
                )
    if not any(low > 0 for low, _ in gains.values()):
        warnings.warn(
            f"it cannot be told whether features relate to labels: on {len(labels):,} test rows the"
            f" best scorer ({highest}) is right {low:+.3f} to {high:+.3f} more often than the most "
            "frequent class. The labels may be right, or shuffled: give more rows, or look where "
            "the labels come from",
            stacklevel=2,
        )


def doubted(data: Dataset, splits: Mapping[str, tuple], score: Callable[[Inputs], np.ndarray]):
    """Rows that a model takes for another class, the surest first: wrong labels, and hard rows.

    Of rows that the model has learnt from it doubts only the labels that it has not learnt by
    heart.

    Parameters
    ----------
    splits : what `Dataset.splits` gives.
    score : the model's probabilities ``(n_rows, n_classes)`` of inputs.

    Returns
    -------
    DataFrame by the name of the file, or of split and row where rows are no files: ``split``,
    ``row``, ``label`` and ``looks like`` by name, and ``probability`` of each, as text.
    """
    import pandas as pd

    output, found = data.schema.output, []
    classes = [d.name for d in output.dimensions] or list(map(str, range(output.size)))
    for split, (inputs, labels, _) in splits.items():
        given, names = score(inputs), data.pictures(split)
        own, other = given[np.arange(len(given)), labels], given.argmax(axis=1)
        for row in np.flatnonzero(other != labels):
            name = f"{split} row {row}" if names is None else names[row]
            pair, sure = (labels[row], other[row]), (own[row], given[row, other[row]])
            said = " / ".join(f"{each:.3f}" for each in sure)
            found.append((name, split, row, *(classes[i] for i in pair), said, sure[0] - sure[1]))
    columns = ["file", "split", "row", "label", "looks like", "probability", "margin"]
    table = pd.DataFrame(found, columns=columns).sort_values("margin", kind="stable")
    return table.drop(columns="margin").set_index("file").rename_axis(None)


def possible(best) -> float:
    """The accuracy that no model can be expected to pass, of the probabilities of each class by
    row.
    """
    return float(np.stack(list(best)).max(axis=1).mean())


def table(scores: Mapping[str, np.ndarray], labels: np.ndarray, groups: np.ndarray):
    """Metrics by scorer: DataFrame with the columns of `metrics.classification.summary`."""
    import pandas as pd

    return pd.DataFrame(
        {name: classification.summary(score, labels) for name, score in scores.items()}
    ).T


def conclusion(table, history, published: Sequence[float] | None) -> str:
    """Say in words whether a model beats what is simple, and reaches what was published."""
    baselines = table.drop(index=["this model", BEST], errors="ignore")
    simple = baselines["accuracy"].idxmax()
    ours, theirs = table.loc["this model", "accuracy"], baselines.loc[simple, "accuracy"]
    gain = round(ours, 3) - round(theirs, 3)
    word = (
        "more often right than"
        if gain > 0
        else "less often right than"
        if gain < 0
        else "as often right as"
    )
    lines = [f"The model is {word} {simple}: accuracy {ours:.3f} against {theirs:.3f}."]
    return "\n".join([*lines, *need_and_published(simple, gain, history, published)])


def figure(scores: Mapping[str, np.ndarray], labels: np.ndarray):
    """Which class is taken for which, and how often the model's first class is right by its
    probability.
    """
    from helpers.plots import classification as plots

    return plots.confusion(scores["this model"], labels)
