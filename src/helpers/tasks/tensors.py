"""Tensors: any outputs, without labels; a file is held to the trained model's values, row by row.

Each output of a row is a vector. A file ships with loss while of each output, in 99 of 100 rows,
the length of the difference is at most a tenth of the length of the reference's vector and the
cosine of the angle between the two is at least 0.99; `limited` makes a task with other limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from helpers.errors import BadInput, ParityError
from helpers.metrics import outputs as metrics
from helpers.tasks import Outputs, Shown, Task, Truth
from helpers.tasks.judgement import BROKEN, LOSS, SAME, SAME_ERROR, Judgement, error_text

RELATIVE, COSINE = 0.1, 0.99
"""Limits of the relative error and of the cosine, unless a study says others."""
ROWS = 0.99
"""Share of the rows that keep the limits."""


def compare(
    outputs: Outputs, reference: Outputs, *, relative: float = RELATIVE, cosine: float = COSINE
) -> Judgement:
    """Hold outputs against a reference's of the same names and shapes, and give a verdict.

    Returns
    -------
    Figures, each that of the output where it is worst: max_abs_error and mean_abs_error,
    relative_error and cosine (means over rows), relative_error_p99 and cosine_p01 (what 99 of 100
    rows keep).

    Raises
    ------
    ParityError : an output is not one row a row.
    """
    found: dict[str, dict[str, float]] = {}
    same = True
    for name, wanted in reference.items():
        values = np.asarray(outputs[name])
        if values.shape != wanted.shape:
            raise ParityError(
                f"static batch: {name} has the shape {values.shape}, not {wanted.shape}"
            )
        if not np.isfinite(wanted).all():
            raise ParityError(f"the reference itself has values of {name} that are not finite")
        if not (finite := np.isfinite(values)).all():
            return Judgement.broken(f"non-finite: {np.count_nonzero(~finite)} values of {name}")
        rows = metrics.differences(values, wanted)
        found[name] = {
            "max_abs_error": float(rows["largest"].max()),
            "mean_abs_error": float(rows["mean"].mean()),
            "relative_error": float(rows["relative"].mean()),
            "relative_error_p99": _kept(rows["relative"]),
            "cosine": float(rows["cosine"].mean()),
            "cosine_p01": -_kept(-rows["cosine"]),
        }
        largest = max(1.0, float(np.abs(wanted).max()))
        same &= found[name]["max_abs_error"] <= SAME_ERROR * largest
    figures = {
        figure: (min if figure.startswith("cosine") else max)(
            each[figure] for each in found.values()
        )
        for figure in next(iter(found.values()))
    }
    if same:
        return Judgement(
            SAME, f"no value moves by more than {SAME_ERROR:.0e} of the largest", figures
        )
    for name, each in found.items():
        of = f" of {name}" if len(found) > 1 else ""
        if not each["relative_error_p99"] <= relative:
            said = f"of 100 rows one{of} is off by {each['relative_error_p99']:.2g} of its length"
            return Judgement(BROKEN, f"wrong values: {said}, more than {relative:g}", figures)
        if not each["cosine_p01"] >= cosine:
            said = f"of 100 rows one{of} has a cosine of {each['cosine_p01']:.3f}"
            return Judgement(BROKEN, f"wrong direction: {said}, less than {cosine:g}", figures)
    worst = max(found, key=lambda name: found[name]["relative_error_p99"])
    moved = found[worst]["relative_error_p99"]
    of = f" of {worst}" if len(found) > 1 else ""
    return Judgement(
        LOSS, f"values{of} move by up to {moved:.1g} of their length in 99 of 100 rows", figures
    )


def _kept(values: np.ndarray) -> float:
    """The smallest value that `ROWS` of the rows do not exceed."""
    return float(np.quantile(values, ROWS, method="inverted_cdf"))


def agreement_table(judgements: Mapping[str, Judgement]):
    """How far rows are from the reference's, and the verdict, by variant: DataFrame of text."""
    import pandas as pd

    def row(f: Judgement) -> dict[str, str]:
        return {
            "largest difference": error_text(f.max_abs_error),
            "relative error": error_text(f.relative_error),
            "in 99 of 100 rows": error_text(f.relative_error_p99),
            "cosine": f"{f.cosine:.5f}",
            "verdict": f.verdict,
        }

    return pd.DataFrame({name: row(found) for name, found in judgements.items()}).T


def value_table(judgements: Mapping[str, Judgement]):
    """Differences value by value, and why the verdict is what it is: DataFrame of text."""
    import pandas as pd

    def row(f: Judgement) -> dict[str, str]:
        return {
            "mean difference": error_text(f.mean_abs_error),
            "cosine in 99 of 100 rows": f"{f.cosine_p01:.5f}",
            "why": f.reason,
        }

    return pd.DataFrame({name: row(found) for name, found in judgements.items()}).T


TENSORS = Task(
    name="tensors",
    training_loss=None,
    columns=("relative_error", "relative_error_p99", "cosine", "cosine_p01"),
    more_columns=("mean_abs_error",),
    shown={
        "relative_error": Shown("relative error", "{:.5f}", alike=True),
        "cosine": Shown("cosine", "{:.5f}", alike=True),
    },
    headline="cosine",
    loss="relative_error_p99",
    loss_sign=1,
    lost="relative error",
    agreement="cosine",
    agreement_name="cosine",
    verbs=("computes", "compute"),
    gives="values",
    judge=lambda outputs, reference, truth: compare(outputs, reference),
    tables=lambda judgements: (agreement_table(judgements), value_table(judgements)),
    chance=lambda row: "",
)


def limited(*, relative: float = RELATIVE, cosine: float = COSINE) -> Task:
    """The task with other limits.

    Raises
    ------
    BadInput : a limit that every file or none would keep.
    """
    if not 0 < relative < 1 or not 0 < cosine < 1:
        raise BadInput(
            f"limits lie between 0 and 1, not relative {relative!r} and cosine {cosine!r}"
        )

    def judge(outputs: Outputs, reference: Outputs, truth: Truth) -> Judgement:
        return compare(outputs, reference, relative=relative, cosine=cosine)

    return replace(TENSORS, judge=judge, limits={"relative": relative, "cosine": cosine})
