"""Which variant to ship under a budget, and why, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from helpers.errors import BadInput

PREFERENCES = {
    "agreement": "ranks most like the trained model",
    "bytes": "is the smallest",
    "latency": "is the fastest",
}
"""What decides between the files that a budget admits; the other two decide ties, in this order."""
_LATENCY_STEP, _TAU_STEP = 0.05, 0.001
"""Ratios and Kendall taus that differ by less decide nothing: the first is noise, the second a swap in a thousand."""
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

    def __str__(self) -> str:
        units = {"bytes": " bytes", "auc_loss": " AUC lost", "latency_ratio": "x the latency of the reference"}
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
    frame = comparison[comparison["runtime"] != "keras"]
    table = frame[["bytes", "kendall_tau", "latency_ratio", "verdict", "file"]].copy()
    table.index = frame["runtime"] + " " + frame["precision"]
    table["auc_loss"] = (-frame["auc_delta_low"]).clip(lower=0).to_numpy() + 0.0  # no negative zero
    table["excess"] = [_excess(row, budget) for _, row in table.iterrows()]
    table["within"] = table["excess"].eq(0) & table["verdict"].ne("broken")
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
    may = table["verdict"].ne("broken")
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
    table = candidates(comparison, budget)
    usable = table[table["verdict"] != "broken"]
    if usable.empty:
        return Choice(None, False, f"Ship nothing: all {len(table)} converted files are broken.", table)
    within = usable[usable["within"]]
    if within.empty:
        closest = usable.sort_values(["excess", "bytes"]).iloc[0]
        return Choice(closest["file"], False, _closest(closest, budget), table)
    best = within.loc[min(within.index, key=lambda name: _order(within.loc[name], prefer))]
    return Choice(best["file"], True, _why(best, within, table, budget, prefer), table)


def _order(row, prefer: str) -> tuple:
    agreement = (row["verdict"] != "same", -round(row["kendall_tau"] / _TAU_STEP))
    keys = {"agreement": agreement, "bytes": row["bytes"], "latency": round(row["latency_ratio"] / _LATENCY_STEP)}
    return tuple(keys[name] for name in sorted(keys, key=lambda name: name != prefer))


def _figures(row) -> str:
    agreement = "same scores" if row["verdict"] == "same" else f"Kendall tau {row['kendall_tau']:.3f}"
    loss = "no AUC lost" if row["auc_loss"] < 5e-5 else f"at most {row['auc_loss']:.4f} AUC lost"
    return f"{row['bytes']:,} bytes, {agreement}, {loss}, {row['latency_ratio']:.2f}x the latency"


def _why(best, within, table, budget: Budget, prefer: str) -> str:
    broken = int((table["verdict"] == "broken").sum())
    outside = len(table) - len(within) - broken
    left_out = [f"{outside} exceed the budget" if outside else "", f"{broken} are broken" if broken else ""]
    left_out = f" ({' and '.join(part for part in left_out if part)})" if outside or broken else ""
    return (
        f"Ship {best.name}: of the {len(within)} files within the budget ({budget}){left_out} it "
        f"{PREFERENCES[prefer]}{_tie(best, within, prefer)}: {_figures(best)}."
    )


def _tie(best, within, prefer: str) -> str:
    """What decided between files that the preference does not tell apart."""
    key = _order(best, prefer)[0]
    equal = [name for name in within.index if _order(within.loc[name], prefer)[0] == key]
    if len(equal) == 1:
        return ""
    less = "rank less like it" if prefer == "bytes" else "are no smaller"
    return f" ({len(equal) - 1} more {'does' if len(equal) == 2 else 'do'} so too, and {less})"


def _closest(row, budget: Budget) -> str:
    broken = [
        f"{_OBJECTIVES[name]} {row[name]:,.4g} where {limit:,.4g} is allowed"
        for name, limit in vars(budget).items()
        if limit is not None and not row[name] <= limit
    ]
    return (
        f"Nothing meets the budget ({budget}). Closest is {row.name}: {'; '.join(broken)}. Otherwise {_figures(row)}."
    )


def table(choice: Choice):
    """The candidates to read: DataFrame of text, a row a file, the recommended one marked."""
    import pandas as pd

    rows = {}
    for name, row in choice.table.iterrows():
        rows[name] = {
            "bytes": f"{row['bytes']:,}",
            "AUC lost at most": f"{row['auc_loss']:.4f}",
            "Kendall tau": f"{row['kendall_tau']:.3f}",
            "latency": f"{row['latency_ratio']:7.2f}x",
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
