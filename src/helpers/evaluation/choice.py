"""Which variant to ship under a budget, and why, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from helpers.errors import BadInput
from helpers.evaluation import latency
from helpers.evaluation.comparison import (
    LATENCY_REFERENCES,
    NOT_JUDGED,
    NOT_MADE,
    latency_label,
    names,
)
from helpers.runtimes import PHONE
from helpers.tasks import Task
from helpers.tasks.judgement import SHIPS, TOO_FEW

PREFERENCES = ("agreement", "bytes", "latency")
"""What decides between the files that a budget admits; the other two decide ties, in this order."""
LATENCY_STEP, AGREEMENT_STEP = 0.05, 0.001
"""Steps of fixed grids: within one, latencies (the reference stands in the middle of its step) and
agreements (from 1 down) decide nothing before all else is equal: noise, and a swap in a thousand.
"""
_LIMITED = {"bytes": "bytes", "loss": "loss", "latency_ratio": "latency_ratio_high"}
"""What each limit of a budget is held against: a column of `Choice.table`."""
_OBJECTIVES = ("bytes", "loss", "latency_ratio")
_LEFT_OUT = {
    "broken": ("is broken", "are broken"),
    TOO_FEW: ("has too few test rows to tell", "have too few test rows to tell"),
    "not timed": ("could not be timed", "could not be timed"),
    "undefined": ("has undefined figures", "have undefined figures"),
}
"""Why a file is never shipped, in words: of one, of many."""


@dataclass(frozen=True)
class Budget:
    """Limits that a file has to keep; None is no limit.

    Attributes
    ----------
    bytes : size of the file.
    loss : what it may lose against the trained model, as AUC, held against the pessimistic end of
        the interval.
    latency_ratio : time a call at batch 1 by the reference's, held against the pessimistic end of
        the interval.
    """

    bytes: float | None = None
    loss: float | None = None
    latency_ratio: float | None = None

    def text(self, task: Task, label: str) -> str:
        """The limits in words; `label` is what the latency reference is called."""
        units = {
            "bytes": " bytes",
            "loss": f" {task.lost}",
            "latency_ratio": f"x the latency of {label}",
        }
        parts = [
            f"at most {limit:,g}{units[name]}"
            for name, limit in vars(self).items()
            if limit is not None
        ]
        return ", ".join(parts) or "no limits"


@dataclass(frozen=True)
class Choice:
    """What to ship. `met` is False if nothing keeps the budget and `file` is only what comes
    closest.

    `file` is None if no file may be shipped at all. `table` has a row a file: bytes, loss,
    agreement, latency_ratio, latency_ratio_high, verdict, file, left_out (why it is never shipped,
    empty if it may be), excess (by what share it exceeds the limit that it exceeds most), within
    (the budget), pareto (no other file that may be shipped is better in bytes, loss or
    latency_ratio and as good in the others).
    """

    task: Task
    file: str | None
    met: bool
    sentence: str
    table: object


def candidates(task: Task, comparison, budget: Budget):
    """The converted files of a comparison with what is to be weighed, see `Choice.table`; index:
    variant names.
    """
    frame = comparison[comparison["runtime"].isin(PHONE) & (comparison["verdict"] != NOT_MADE)]
    table = frame[["bytes", "latency_ratio", "latency_ratio_high", "verdict", "file"]].copy()
    table.index = names(frame)
    table["agreement"] = frame[task.agreement].to_numpy()
    table["loss"] = (task.loss_sign * frame[task.loss]).clip(
        lower=0
    ).to_numpy() + 0.0  # no negative zero
    rows = [row for _, row in table.iterrows()]
    table["left_out"] = np.array([_left_out(row) for row in rows], object)
    table["excess"] = np.array([_excess(row, budget) for row in rows], float)
    table["within"] = table["left_out"].eq("") & table["excess"].eq(0)
    table["pareto"] = _pareto(table)
    return table


def _left_out(row) -> str:
    """Why a file is never shipped, a key of `_LEFT_OUT`; empty if it may be."""
    if row["verdict"] not in SHIPS:
        return TOO_FEW if row["verdict"] == TOO_FEW else "broken"
    if not np.isfinite([row["latency_ratio"], row["latency_ratio_high"]]).all():
        return "not timed"
    return "" if np.isfinite([row["loss"], _agreement(row)]).all() else "undefined"


def _agreement(row) -> float:
    """Agreement of a file; 1 where it is undefined (requests of one row), but the scores are the
    same.
    """
    return 1.0 if row["verdict"] == "same" and np.isnan(row["agreement"]) else row["agreement"]


def _excess(row, budget: Budget) -> float:
    """By what share the worst broken limit is exceeded; 0 within the budget, infinite where a
    figure is undefined.
    """
    worst = 0.0
    for name, limit in vars(budget).items():
        value = row[_LIMITED[name]]
        if limit is not None and not value <= limit:
            worst = max(worst, (value - limit) / limit if limit and value > limit else float("inf"))
    return worst


def _pareto(table) -> list[bool]:
    """Whether no other file that may be shipped is as good in every objective and better in one."""
    values = table[list(_OBJECTIVES)]
    may = table["left_out"].eq("")
    result = []
    for name, row in values.iterrows():
        others = values[may & (values.index != name)]
        beaten = (others.le(row).all(axis=1) & others.lt(row).any(axis=1)).any()
        result.append(bool(may[name] and not beaten))
    return result


def recommend(task: Task, comparison, budget: Budget, prefer: str = "agreement") -> Choice:
    """The file to ship of a comparison table.

    Of the files that are not left out (broken, judged on too few rows, not timed) and within the
    budget, the one that `prefer` says; ties are decided by agreement with the trained model (`same`
    before any loss, then its figure), then size, then latency. Files are ordered by their own
    figures alone, so neither the order of rows nor files that are not chosen matter; a file that is
    as good in each measure and better in one comes first.

    Parameters
    ----------
    comparison : table of `helpers.evaluation.comparison.build`.
    prefer : one of `PREFERENCES`.

    Raises
    ------
    BadInput : an unknown preference, or a limit that is negative.
    """
    if prefer not in PREFERENCES:
        raise BadInput(f"prefer must be one of {', '.join(PREFERENCES)}, not {prefer!r}")
    for name, limit in vars(budget).items():
        if limit is not None and not limit >= 0:
            raise BadInput(f"the budget's {_objective(task, name)} must not be negative: {limit!r}")
    table, label = candidates(task, comparison, budget), latency_label(comparison)
    usable = [row for _, row in table[table["left_out"].eq("")].iterrows()]
    if not usable:
        return Choice(task, None, False, _nothing(table), table)
    within = [row for row in usable if row["within"]]
    if not within:
        closest = min(usable, key=lambda row: (row["excess"], *_order(row, prefer)))
        return Choice(
            task, closest["file"], False, _closest(task, closest, table, budget, label), table
        )
    best = min(within, key=lambda row: _order(row, prefer))
    sentence = _why(task, best, within, table, budget, prefer, label) + _warning(task, comparison)
    return Choice(task, best["file"], True, sentence, table)


def _steps(row) -> dict[str, tuple]:
    """Where a file stands in each of `PREFERENCES`, lower is better; equal within a step of the
    grids.
    """
    return {
        "agreement": (row["verdict"] != "same", math.floor((1 - _agreement(row)) / AGREEMENT_STEP)),
        "bytes": (row["bytes"],),
        "latency": (round(math.log(row["latency_ratio"], 1 + LATENCY_STEP)),),
    }


def _exact(row) -> dict[str, tuple]:
    """Where a file stands in each of `PREFERENCES` to the last digit, lower is better."""
    agreement = (row["verdict"] != "same", -_agreement(row))
    return {"agreement": agreement, "bytes": (row["bytes"],), "latency": (row["latency_ratio"],)}


def _order(row, prefer: str) -> tuple:
    """What files are sorted by: the preference, then the other steps, then every figure, then the
    name.
    """
    steps, exact = _steps(row), _exact(row)
    return (
        steps[prefer],
        *steps.values(),
        exact["latency"],
        exact["agreement"],
        row["loss"],
        row["file"],
    )


def _warning(task: Task, comparison) -> str:
    """What no conversion can mend: a trained model that decides no better than chance."""
    made = comparison[~comparison["verdict"].isin([NOT_MADE, NOT_JUDGED])]
    brought = (made["runtime"] == "onnx") & made["file"].astype(str).str.startswith("model/")
    trained = made[~made["runtime"].isin([*PHONE, "onnx"]) | brought]
    chance = task.chance(trained.iloc[0]) if len(trained) else ""
    return f" But the trained model itself {chance}: train it again." if chance else ""


def _objective(task: Task, name: str) -> str:
    """What a limit is called in words."""
    return {"bytes": "bytes", "loss": task.lost, "latency_ratio": "latency ratio"}[name]


def _figures(task: Task, row, label: str, but: tuple[str, ...] = ()) -> str:
    """What a file is, in words; without the measures in `but`, which were told already."""
    loss = f"no {task.lost}" if row["loss"] < 5e-5 else f"at most {row['loss']:.4f} {task.lost}"
    parts = {"bytes": f"{row['bytes']:,.0f} bytes", "agreement": _agrees(task, row), "loss": loss}
    if LATENCY_REFERENCES.get(row.name) != label:  # not beside itself
        ratio = latency.ratio_text(row["latency_ratio"]).strip()
        parts["latency_ratio"] = f"{ratio} the latency of {label}"
    return ", ".join(part for name, part in parts.items() if name not in but)


def _agrees(task: Task, row) -> str:
    """How alike the trained model a file decides."""
    if row["verdict"] == "same":
        return f"its {task.gives} are the model's"
    return f"{task.agreement_name} {row['agreement']:.3f}"


def _count(number: int, singular: str, many: str) -> str:
    return f"{number} {singular if number == 1 else many}"


def _never(table) -> list[str]:
    """How many files are never shipped, by why: ``2 are broken``."""
    counts = table["left_out"].value_counts()
    return [_count(counts[why], *words) for why, words in _LEFT_OUT.items() if why in counts]


def _nothing(table) -> str:
    reasons = _never(table)
    if not reasons:
        return "Ship nothing: no file was converted."
    if len(reasons) > 1:
        said = f"of the {len(table)} converted files {', '.join(reasons[:-1])} and {reasons[-1]}"
    else:
        number, _, reason = reasons[0].partition(" ")
        said = (
            f"{'the only converted file' if number == '1' else f'all {number} converted files'} "
            f"{reason}"
        )
    return f"Ship nothing: {said}."


def _why(task: Task, best, within, table, budget: Budget, prefer: str, label: str) -> str:
    """The file, what the preference says of it, and what there was to choose from."""
    costs = _figures(task, best, label, ("agreement", "loss"))
    claim, others = _preferred(task, best, within, prefer)
    if best["verdict"] == "same":
        is_, between = _agrees(task, best), "; "
    else:
        is_, between = _figures(task, best, label, ("bytes", "latency_ratio")), ", with "
    said = between.join(part for part in (claim, is_) if part)
    kept = _kept(task, len(within), table, budget, label)
    return " ".join([f"Ship {best.name} ({costs}): {said}.", *others, *kept])


def _kept(task: Task, within: int, table, budget: Budget, label: str) -> list[str]:
    """How many files there were to choose from, and why there were no more; nothing where there is
    nothing to tell.
    """
    total, limits = len(table), budget.text(task, label)
    free, never = limits == Budget().text(task, label), _never(table)
    if free and not never:
        return []
    kept = "may be shipped" if free else f"keep{'s' * (within == 1)} the budget ({limits})"
    if total == 1:
        said = f"It is the only file, and {kept}"
    elif within == total:
        said = f"All {total} files {kept}"
    elif within == 1:
        said = f"Of {total} files it alone {kept}"
    else:
        said = f"{within} of {total} files {kept}"
    return [f"{'; '.join([said, ', '.join(never)]) if never else said}."]


_LESS = {
    "agreement": "no smaller",
    "bytes": "less like the trained model, or no faster",
    "latency": "less like the trained model, or no smaller",
}
_COUNTS = ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"]


def _preferred(task: Task, best, within, prefer: str) -> tuple[str, list[str]]:
    """What the preference says of the best file, empty where that says nothing; and in a sentence
    what decided between it and those that the preference does not tell apart.
    """
    tied = [row for row in within if _steps(row)[prefer] == _steps(best)[prefer]]
    others, less = len(tied) - 1, _LESS[prefer]
    if len(within) == 1:
        return "", []
    if prefer == "agreement" and best["verdict"] == "same":
        return "", [_alike(others, f"the same {task.gives}")] if others else []
    if all(_exact(row)[prefer] == _exact(best)[prefer] for row in tied):
        most, alike = {
            "agreement": (f"it {task.verbs[0]} most like the trained model", "as close"),
            "bytes": ("it is the smallest", "as small"),
            "latency": ("it is the fastest", "as fast"),
        }[prefer]
        are = "is" if others == 1 else "are"
        return most, [f"{_number_of(others)} {are} {alike}, and {less}."] if others else []
    kind, step = {
        "agreement": (
            f"that {task.verbs[1]} most like the trained model",
            f"{AGREEMENT_STEP:g} of {task.agreement_name}",
        ),
        "latency": ("fastest", f"{100 * LATENCY_STEP:g} %"),
    }[prefer]
    rest = "the other is" if others == 1 else "the others are"
    said = f"it is one of the {len(tied)} {kind} ({step} counts as none; {rest} {less})"
    return said, []


def _number_of(others: int) -> str:
    """``Two others``, to begin a sentence with."""
    count = _COUNTS[others] if others < len(_COUNTS) else str(others)
    return f"{count} other{'s' * (others > 1)}"


def _alike(others: int, have: str) -> str:
    """That so many other files have something, and are no smaller."""
    if others == 1:
        return f"One other file has {have}; it is no smaller."
    count = _number_of(others).removesuffix("s")
    return f"{count} files have {have}; {'neither' if others == 2 else 'none'} is smaller."


def _closest(task: Task, row, table, budget: Budget, label: str) -> str:
    exceeded = {
        name: f"{_objective(task, name)} {_number(row[column])} where {_number(limit)} is allowed"
        for name, column in _LIMITED.items()
        if (limit := getattr(budget, name)) is not None and not row[column] <= limit
    }
    what, rest = "; ".join(exceeded.values()), _figures(task, row, label, tuple(exceeded))
    notes = "; ".join([budget.text(task, label), *_never(table)])
    return f"Nothing meets the budget ({notes}). Closest is {row.name}: {what}. Besides: {rest}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def table(choice: Choice):
    """The candidates to read: DataFrame of text, a row a file, the recommended one marked."""
    import pandas as pd

    rows = {}
    for name, row in choice.table.iterrows():
        rows[name] = {
            "bytes": f"{row['bytes']:,.0f}",
            f"{choice.task.lost} at most": f"{row['loss']:.4f}",
            choice.task.agreement_name: f"{row['agreement']:.3f}",
            "latency": latency.ratio_text(row["latency_ratio"]),
            "latency at most": latency.ratio_text(row["latency_ratio_high"]),
            "verdict": row["verdict"],
            "within budget": "yes" if row["within"] else "no",
            "choice": "" if row["file"] != choice.file else "ship" if choice.met else "closest",
        }
    return pd.DataFrame(rows).T


def to_json(choice: Choice, budget: Budget, prefer: str) -> dict:
    """What ``recommendation.json`` of a run says: file, whether it is within the budget, why,
    budget, preference.
    """
    said = {"file": choice.file, "met": choice.met, "sentence": choice.sentence}
    return {**said, "budget": vars(budget), "prefer": prefer}


def from_parameters(limits: Mapping[str, float]) -> Budget:
    """A budget from notebook parameters ``budget_bytes`` and so on, where 0 means no limit."""
    return Budget(**{name.removeprefix("budget_"): limit or None for name, limit in limits.items()})
