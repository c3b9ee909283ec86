"""Which variant to ship under a budget, and why, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from helpers.errors import BadInput
from helpers.evaluation import latency
from helpers.evaluation.comparison import NOT_MADE, latency_label
from helpers.evaluation.metrics import CHANCE_AUC
from helpers.evaluation.parity import SHIPS

PREFERENCES = {
    "agreement": "ranks most like the trained model",
    "bytes": "is the smallest",
    "latency": "is the fastest",
}
"""What decides between the files that a budget admits; the other two decide ties, in this order."""
LATENCY_TOLERANCE, TAU_TOLERANCE = 0.05, 0.001
"""Latencies and Kendall taus that are so close to the best decide nothing: noise, and a swap in a thousand."""
_OBJECTIVES = {"bytes": "bytes", "auc_loss": "AUC loss", "latency_ratio": "latency ratio"}


@dataclass(frozen=True)
class Budget:
    """Limits a file has to keep; None is no limit.

    Attributes
    ----------
    bytes : size of the file.
    auc_loss : AUC that the file may lose against the trained model, held against the pessimistic end of the interval.
    latency_ratio : time a call at batch 1 by the reference's.
    """

    bytes: float | None = None
    auc_loss: float | None = None
    latency_ratio: float | None = None

    def text(self, label: str) -> str:
        """The limits in words; `label` is what the latency reference is called."""
        units = {"bytes": " bytes", "auc_loss": " AUC lost", "latency_ratio": f"x the latency of {label}"}
        parts = [f"at most {limit:,g}{units[name]}" for name, limit in vars(self).items() if limit is not None]
        return ", ".join(parts) or "no limits"


@dataclass(frozen=True)
class Choice:
    """What to ship. `met` is False if nothing keeps the budget and `file` is only what comes closest.

    `file` is None if no file may be shipped at all. `table` has a row a file: bytes, auc_loss, latency_ratio,
    kendall_tau, verdict, within (the budget), pareto (no other file that may be shipped is better in one of the
    three and as good in the others).
    """

    file: str | None
    met: bool
    sentence: str
    table: object


def candidates(comparison, budget: Budget):
    """The converted files of a comparison with what is to be weighed, see `Choice.table`; index: variant names."""
    frame = comparison[(comparison["runtime"] != "keras") & (comparison["verdict"] != NOT_MADE)]
    table = frame[["bytes", "kendall_tau", "latency_ratio", "verdict", "file"]].copy()
    table.index = frame["runtime"] + " " + frame["precision"]
    table["auc_loss"] = (-frame["auc_delta_low"]).clip(lower=0).to_numpy() + 0.0  # no negative zero
    table["excess"] = [_excess(row, budget) for _, row in table.iterrows()]
    table["within"] = table["excess"].eq(0) & table["verdict"].isin(SHIPS)
    table["pareto"] = _pareto(table)
    return table


def _excess(row, budget: Budget) -> float:
    """By what share the worst broken limit is exceeded; 0 within the budget."""
    worst = 0.0
    for name, limit in vars(budget).items():
        if limit is not None and not row[name] <= limit:
            worst = max(worst, (row[name] - limit) / limit if limit else float("inf"))
    return worst


def _pareto(table) -> list[bool]:
    """Whether no other file that may be shipped is as good in every objective and better in one."""
    values = table[list(_OBJECTIVES)]
    may = table["verdict"].isin(SHIPS)
    result = []
    for name, own in values.iterrows():
        others = values[may & (values.index != name)]
        beaten = (others.le(own).all(axis=1) & others.lt(own).any(axis=1)).any()
        result.append(bool(may[name] and not beaten))
    return result


def recommend(comparison, budget: Budget, prefer: str = "agreement") -> Choice:
    """The file to ship of a comparison table.

    Of the files that are not broken and within the budget, the one that `prefer` says; ties are decided by agreement
    with the trained model (`same` before any loss, then Kendall tau), then size, then latency.

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
            raise BadInput(f"the budget's {_OBJECTIVES[name]} must not be negative: {limit!r}")
    table, label = candidates(comparison, budget), latency_label(comparison)
    usable = table[table["verdict"].isin(SHIPS)]
    if usable.empty:
        return Choice(None, False, f"Ship nothing: all {len(table)} converted files are broken.", table)
    within = usable[usable["within"]]
    if within.empty:
        closest = usable.sort_values(["excess", "bytes"]).iloc[0]
        return Choice(closest["file"], False, _closest(closest, budget, label), table)
    first = _best(within, prefer)
    best = first
    for other in PREFERENCES:
        best = _best(best, other)
    best = best.sort_values(["latency_ratio", "bytes"], kind="stable").iloc[0]
    sentence = _why(best, within, len(first), table, budget, prefer, label) + _warning(comparison)
    return Choice(best["file"], True, sentence, table)


def _best(rows, measure: str):
    """Those rows that nothing in the table beats in one of `PREFERENCES`, within what counts as equal."""
    if measure == "bytes":
        return rows[rows["bytes"] == rows["bytes"].min()]
    if measure == "latency":
        return rows[rows["latency_ratio"] <= (1 + LATENCY_TOLERANCE) * rows["latency_ratio"].min()]
    rows = rows[rows["verdict"] == "same"] if (rows["verdict"] == "same").any() else rows
    return rows[rows["kendall_tau"] >= rows["kendall_tau"].max() - TAU_TOLERANCE]


def _warning(comparison) -> str:
    """What no conversion can mend: a trained model that ranks no better than chance."""
    trained = comparison.loc[comparison["runtime"] == "keras", "auc"]
    if len(trained) and not trained.iloc[0] >= CHANCE_AUC:
        chance = f"hardly better than chance (AUC {trained.iloc[0]:.3f})"
        return f" But the trained model itself ranks {chance}: train it again."
    return ""


def _figures(row, label: str, but: tuple[str, ...] = ()) -> str:
    """What a file is, in words; without the measures in `but`, which were told already."""
    agreement = "same scores" if row["verdict"] == "same" else f"Kendall tau {row['kendall_tau']:.3f}"
    loss = "no AUC lost" if row["auc_loss"] < 5e-5 else f"at most {row['auc_loss']:.4f} AUC lost"
    parts = {
        "bytes": f"{row['bytes']:,} bytes",
        "agreement": agreement,
        "auc_loss": loss,
        "latency_ratio": f"{latency.ratio_text(row['latency_ratio']).strip()} the latency of {label}",
    }
    return ", ".join(part for name, part in parts.items() if name not in but)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _why(best, within, equal: int, table, budget: Budget, prefer: str, label: str) -> str:
    broken = int((table["verdict"] == "broken").sum())
    outside = len(table) - len(within) - broken
    notes = [budget.text(label)]
    notes += [_count(outside, "file exceeds it", "files exceed it")] if outside else []
    notes += [_count(broken, "is broken", "are broken")] if broken else []
    among = "the only file within the budget" if len(within) == 1 else f"of the {len(within)} files within the budget"
    said = "" if len(within) == 1 else f" it {PREFERENCES[prefer]}{_tie(equal - 1, prefer)}"
    return f"Ship {best.name}: {among} ({'; '.join(notes)}){said}: {_figures(best, label)}."


_LESS = {
    "agreement": "no smaller",
    "bytes": "less like the trained model, or no faster",
    "latency": "less like the trained model, or no smaller",
}


def _tie(others: int, prefer: str) -> str:
    """What decided between files that the preference does not tell apart."""
    return f" (as {_count(others, 'other does, which is', 'others do, which are')} {_LESS[prefer]})" if others else ""


def _closest(row, budget: Budget, label: str) -> str:
    broken = {
        name: f"{_OBJECTIVES[name]} {_number(row[name])} where {_number(limit)} is allowed"
        for name, limit in vars(budget).items()
        if limit is not None and not row[name] <= limit
    }
    what, rest = "; ".join(broken.values()), _figures(row, label, tuple(broken))
    return f"Nothing meets the budget ({budget.text(label)}). Closest is {row.name}: {what}. Besides: {rest}."


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def table(choice: Choice):
    """The candidates to read: DataFrame of text, a row a file, the recommended one marked."""
    import pandas as pd

    rows = {}
    for name, row in choice.table.iterrows():
        rows[name] = {
            "bytes": f"{row['bytes']:,}",
            "AUC lost at most": f"{row['auc_loss']:.4f}",
            "Kendall tau": f"{row['kendall_tau']:.3f}",
            "latency": latency.ratio_text(row["latency_ratio"]),
            "verdict": row["verdict"],
            "within budget": "yes" if row["within"] else "no",
            "": "" if row["file"] != choice.file else "ship" if choice.met else "closest",
        }
    return pd.DataFrame(rows).T


def to_json(choice: Choice, budget: Budget, prefer: str) -> dict:
    """What ``recommendation.json`` of a run says: file, whether it is within the budget, why, budget, preference."""
    said = {"file": choice.file, "met": choice.met, "sentence": choice.sentence}
    return {**said, "budget": vars(budget), "prefer": prefer}


def from_parameters(limits: Mapping[str, float]) -> Budget:
    """A budget from notebook parameters ``budget_bytes`` and so on, where 0 means no limit."""
    return Budget(**{name.removeprefix("budget_"): limit or None for name, limit in limits.items()})
