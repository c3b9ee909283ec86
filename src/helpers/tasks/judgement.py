"""What all tasks share: a file's figures with a verdict and its reason, and how figures are
written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

SAME, LOSS, TOO_FEW, BROKEN = "same", "ships with loss", "too few rows", "broken"
"""Verdicts. `TOO_FEW` is that of a file that keeps a limit on one side of an interval and breaks it
on the other: more rows would tell."""
SHIPS = (SAME, LOSS)
"""Verdicts of files that may be shipped."""
SAME_ERROR = 1e-5
"""Largest difference of a file's values that counts as none: 60 float32 roundings at 1, where
float32 conversions measure 2e-7 and the mildest reduced precision (fp16) 4e-4. Of an output whose
values are larger than 1, as a part of the largest."""
BATCH_ERROR = 1 / 256
"""By how much a row of a reduced file may differ in another batch: a sum that is added up in
another order can be rounded to the next step of an eight-bit output. Rows of another batch differ
by far more."""
MOST_UNITS = 1_000_000
"""More rows or groups are not asked for: a limit that is so near is not reached by counting."""
ENDS = ("low", "high")
_NINE_IN_TEN = (1.96 + 1.28) / 1.96
"""How much shorter an interval of 95 % must be to keep a limit nine times in ten, not every second
time."""


@dataclass(frozen=True)
class Judgement:
    """A file's figures, by column of ``comparison.csv``, its verdict, and why, in words.

    Figures are attributes too; one that could not be taken is NaN.
    """

    verdict: str
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)

    def __getattr__(self, name: str) -> float:
        if name.startswith("_"):
            raise AttributeError(name)
        return self.figures.get(name, float("nan"))

    @classmethod
    def broken(cls, reason: str, **figures: float) -> Judgement:
        """A file that cannot be compared."""
        return cls(BROKEN, reason, figures)


def with_ends(intervals: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Name the ends of intervals: ``auc_delta_low``, ``auc_delta_high``."""
    return {
        f"{name}_{end}": value
        for name, ends in intervals.items()
        for end, value in zip(ENDS, ends, strict=True)
    }


def same_error(reference: np.ndarray) -> float:
    """Largest difference that counts as none: below `SAME_ERROR` where all scores are close."""
    spread = float(reference.std())
    return min(SAME_ERROR, spread / 100) if spread else SAME_ERROR


def missed(figures: Mapping[str, float], limits: Mapping[str, float]) -> str | None:
    """The first figure that surely misses its lower limit; where it has no interval, by itself."""
    for name, limit in limits.items():
        if figures[name] < limit and not figures[f"{name}_high"] >= limit:
            return name
    return None


def too_few(
    figures: Mapping[str, float],
    limits: Mapping[str, float],
    names: Mapping[str, str],
    count: int,
    unit: str,
) -> str | None:
    """Say which limit cannot be told to hold, and how many units would tell; None if all hold.

    Of several limits the one that takes most. An interval shrinks with the square root of the
    number of units. It is asked for as many that its end would keep the limit, or miss it, nine
    times in ten if the estimate were true.

    Parameters
    ----------
    figures : each of `limits` with the ends of its 95 % interval.
    limits : lower limits, by figure.
    names : what figures are called in words.
    count, unit : how many units there are, and what they are, as ``requests``.
    """
    open_limits = [name for name, limit in limits.items() if not figures[f"{name}_low"] >= limit]
    if not open_limits:
        return None

    def needed(name: str) -> float:
        estimate, low, high = (figures[name + end] for end in ("", "_low", "_high"))
        reach = estimate - low if estimate >= limits[name] else high - estimate
        gap = abs(estimate - limits[name])
        return count * (_NINE_IN_TEN * reach / gap) ** 2 if gap and low <= high else math.inf

    name = max(open_limits, key=needed)
    low, high, wanted = figures[f"{name}_low"], figures[f"{name}_high"], needed(name)
    said = f"too few rows to tell: {names[name]} is {low:.3f} to {high:.3f} and must be at least"
    if not low <= high:
        return (
            f"too few rows to tell: the {names[name]} has no interval with what {count:,} {unit} "
            "tell of it"
        )
    if wanted > MOST_UNITS:
        return f"{said} {limits[name]:g}; it lies so near that {MOST_UNITS:,} {unit} may not tell"
    digits = 10 ** max(0, len(str(int(wanted))) - 2)
    enough = math.ceil(wanted / digits) * digits
    return f"{said} {limits[name]:g}; about {enough:,} {unit} would tell, there are {count:,}"


def error_text(error: float) -> str:
    """A largest difference to read; one that counts as none is shown as such: its digits mean
    nothing.
    """
    return f"under {SAME_ERROR:.0e}" if error <= SAME_ERROR else f"{error:.0e}"


def distinct_text(scores: float) -> str:
    """A number of distinct scores to read; of more than a thousand the last digits are rounding."""
    return "over 1000" if scores > 1000 else f"{scores:g}"


def change_text(delta: float, low: float, high: float) -> str:
    """A change with its 95 % interval to read."""
    return f"{delta:+.4f} ({low:+.4f} to {high:+.4f})".replace("-0.0000", "+0.0000")


def agreement_text(value: float, low: float, high: float) -> str:
    """An agreement with its 95 % interval to read; without it where all units agree alike."""
    return f"{value:.3f}" if low == high else f"{value:.3f} ({low:.3f} to {high:.3f})"
