"""Does a converted file still rank as its reference does? Comparison, verdict, and the check before it counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import ParityError
from helpers.evaluation import metrics
from helpers.runtimes import Runtime

SAME_ERROR = 1e-5
"""Largest score difference of a file that counts as the same: 60 float32 roundings at a score of 1, where
float32 conversions measure 2e-7 and the mildest reduced precision (fp16) 4e-4."""
SHIP_AUC_LOSS = 0.01
SHIP_KENDALL_TAU = 0.9
"""A reduced file ships with loss while the lower end of its AUC interval is above -0.01 and its order within
requests agrees with the reference to a Kendall tau of at least 0.9; below it is broken."""
BATCHES = (1, 7, 64, 4096)


@dataclass(frozen=True)
class Parity:
    """A model file's scores held against its reference on one labelled set."""

    max_abs_error: float
    mean_abs_error: float
    accuracy: float
    auc: float
    auc_delta: float
    auc_delta_low: float
    auc_delta_high: float
    ndcg_at_10: float
    kendall_tau: float
    top10_overlap: float
    distinct_scores: int
    verdict: str
    reason: str


@dataclass(frozen=True)
class Reference:
    """The set that files are judged on, and what the trained model scored on it (``reference.npz``)."""

    inputs: Mapping[str, np.ndarray]
    scores: np.ndarray
    labels: np.ndarray
    requests: np.ndarray

    def save(self, path: Path) -> None:
        """Write as ``.npz``; the same content gives the same bytes."""
        fields = {"scores": self.scores, "labels": self.labels, "requests": self.requests}
        with open(path, "wb") as file:
            np.savez(file, **fields, **{f"input:{name}": array for name, array in self.inputs.items()})

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read what `save` wrote; nothing is unpickled."""
        with np.load(path, allow_pickle=False) as file:
            inputs = {name.removeprefix("input:"): file[name] for name in file.files if name.startswith("input:")}
            return cls(inputs, file["scores"], file["labels"], file["requests"])

    def judge(self, scores: np.ndarray) -> Parity:
        """Compare a file's scores with the reference; see `compare`."""
        return compare(scores, self.scores, self.labels, self.requests)


def error_text(error: float) -> str:
    """A largest difference to read; one that counts as none is shown as such, because its digits mean nothing."""
    return f"under {SAME_ERROR:.0e}" if error <= SAME_ERROR else f"{error:.1e}"


def table(parities: Mapping[str, Parity]):
    """Parities by name as a DataFrame of text to read; differences that count as none are shown as such."""
    import pandas as pd

    def row(p: Parity) -> dict[str, str]:
        return {
            "largest difference": error_text(p.max_abs_error),
            "accuracy": f"{p.accuracy:.4f}",
            "AUC": f"{p.auc:.4f}",
            "NDCG@10": f"{p.ndcg_at_10:.4f}",
            "Kendall tau": f"{p.kendall_tau:.4f}",
            "top-10 overlap": f"{p.top10_overlap:.4f}",
            "verdict": p.verdict,
        }

    return pd.DataFrame({name: row(parity) for name, parity in parities.items()}).T


def compare(scores: np.ndarray, reference: np.ndarray, labels: np.ndarray, requests: np.ndarray) -> Parity:
    """Hold `scores` against `reference`, both ``(n_rows,)`` or ``(n_rows, 1)``, and give a verdict.

    Raises
    ------
    ParityError : not one score a row.
    """
    scores, reference = (np.asarray(s, np.float64).reshape(-1) for s in (scores, reference))
    if scores.shape != reference.shape:
        raise ParityError(f"{len(scores)} scores for {len(reference)} rows: the file's batch is static")
    if not np.isfinite(reference).all():
        raise ParityError("the reference itself has scores that are not finite: train the model again")
    finite = np.isfinite(scores)
    if not finite.all():
        nan = float("nan")
        reason = f"non-finite: {np.count_nonzero(~finite)} of {len(scores)} scores"
        return Parity(nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, len(np.unique(scores)), "broken", reason)
    error = np.abs(scores - reference)
    delta = metrics.auc(scores, labels) - metrics.auc(reference, labels)
    low, high = metrics.bootstrap_auc_delta(scores, reference, labels, requests)
    values = {
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.mean()),
        "accuracy": metrics.accuracy(scores, labels),
        "auc": metrics.auc(scores, labels),
        "auc_delta": delta,
        "auc_delta_low": low,
        "auc_delta_high": high,
        "ndcg_at_10": metrics.mean_defined(metrics.ndcg(scores, labels, requests)),
        "kendall_tau": metrics.mean_defined(metrics.kendall_tau(scores, reference, requests)),
        "top10_overlap": metrics.mean_defined(metrics.top_overlap(scores, reference, requests)),
        "distinct_scores": len(np.unique(scores)),
    }
    return Parity(**values, **_verdict(values))


def _verdict(values: Mapping[str, float]) -> dict[str, str]:
    error, tau, low = values["max_abs_error"], values["kendall_tau"], values["auc_delta_low"]
    if error <= SAME_ERROR:
        return {"verdict": "same", "reason": f"largest difference {error:.0e} is at most {SAME_ERROR:.0e}"}
    if values["distinct_scores"] == 1:
        return {"verdict": "broken", "reason": "constant: every row gets the same score"}
    if not tau >= SHIP_KENDALL_TAU:
        return {"verdict": "broken", "reason": f"wrong order: Kendall tau {tau:.3f} is below {SHIP_KENDALL_TAU}"}
    if not low >= -SHIP_AUC_LOSS:
        return {
            "verdict": "broken",
            "reason": f"below threshold: it may lose {-low:.3f} AUC, more than {SHIP_AUC_LOSS}",
        }
    return {"verdict": "ships with loss", "reason": f"scores move by up to {error:.1e}, Kendall tau {tau:.3f}"}


def require_same(model: Runtime, reference: Reference, name: str) -> Parity:
    """Refuse a conversion that does not score as its reference on the whole test split, at every batch size.

    Raises
    ------
    ParityError : with the reason in words, for a message that names the file.
    """
    parity = reference.judge(model.score(reference.inputs))
    if parity.verdict != "same":
        raise ParityError(f"{name} does not score as its reference: {parity.reason} (allowed {SAME_ERROR:.0e})")
    check_batches(model, reference.inputs, name)
    return parity


def swapped(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The same inputs with two of one width and dtype exchanged: what binding by position does in silence.

    None if no two inputs have the same width and dtype; a runtime then refuses the exchange by itself.
    """
    names = list(inputs)
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if inputs[first].shape == inputs[second].shape and inputs[first].dtype == inputs[second].dtype:
                return {**inputs, first: inputs[second], second: inputs[first]}
    return None


def check_batches(
    model: Runtime, inputs: Mapping[str, np.ndarray], name: str, batches: tuple[int, ...] = BATCHES
) -> None:
    """Refuse a file that scores the same rows differently when they come in other batches.

    The first rows are scored one, 7, 64 and 4096 at a time, and then one at a time again, because a runtime
    that keeps the shape of an earlier batch only shows it when the batch changes back.

    Raises
    ------
    ParityError : rows differ by more than `SAME_ERROR` between batch sizes.
    """
    whole = model.score(inputs)
    for batch in (*batches, batches[0]):
        rows = min(len(whole), 8 * batch)
        parts = [
            model.score({n: a[i : min(i + batch, rows)] for n, a in inputs.items()}) for i in range(0, rows, batch)
        ]
        error = np.abs(np.concatenate(parts) - whole[:rows]).max()
        if not error <= SAME_ERROR:
            raise ParityError(
                f"{name} scores {rows} rows differently in batches of {batch}: they differ by {error:.1e}"
            )
