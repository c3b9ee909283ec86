"""Does a converted file still rank as its reference does? Comparison, verdict, and the check before it counts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from helpers.errors import DamagedFile, ParityError
from helpers.evaluation import metrics
from helpers.runs import Stage
from helpers.runtimes import Runtime, batch_differences, open_model, runtime_of
from helpers.schema import Schema

FILE = "model/reference.npz"
"""Where a run keeps its `Reference`."""
SHIPS = ("same", "ships with loss")
"""Verdicts of files that may be shipped."""
SAME_ERROR = 1e-5
"""Largest score difference of a file that counts as the same: 60 float32 roundings at a score of 1, where
float32 conversions measure 2e-7 and the mildest reduced precision (fp16) 4e-4."""
SHIP_LOSS = 0.01
SHIP_KENDALL_TAU = 0.9
SHIP_CALIBRATION = 0.05
SHIP_LOGIT_SLOPE = (0.5, 2.0)
"""A reduced file ships with loss while the lower ends of the intervals of its AUC and NDCG@10 changes are above -0.01,
its order within requests agrees with the reference to a Kendall tau of at least 0.9, its calibration error is at
most 0.05 above the reference's (a file that lost its sigmoid still ranks), and its logits grow by 0.5 to 2 where the
reference's grow by 1 (scores that lie around 0.66 keep their mean in a second sigmoid, but not their distances: 0.2);
below it is broken."""
BATCH_ERROR = 1 / 256
"""By how much a row of a reduced file may score differently in another batch: a sum that is added up in another order
can be rounded to the next step of an eight-bit output. Rows of another batch differ by far more."""
BATCHES = (*range(1, 513), 1000, 1023, 1024, 1025, 2048, 4095, 4096)
"""Batch sizes that a file is scored in: every list that an app shows, and what lies around the blocks of runtimes."""


@dataclass(frozen=True)
class Parity:
    """A model file's scores held against its reference on one labelled set; changes are file minus reference.

    Attributes
    ----------
    max_abs_error, mean_abs_error : differences of scores, row by row.
    auc_delta_low, auc_delta_high, ndcg_delta_low, ndcg_delta_high : 95 % intervals, paired bootstrap over requests.
    request_auc : mean AUC within a request, that is for one user.
    kendall_tau, top10_overlap : means over requests of tau-b and of the share of the ten best in common.
    distinct_scores : how many different values; few mean ties, which an app breaks in whatever order it has.
    calibration_error : mean distance of score and observed rate over ten equally filled bins.
    logit_slope : by how much the file's logits grow where the reference's grow by 1.
    verdict, reason : ``same``, ``ships with loss`` or ``broken``, and why, in words.
    """

    max_abs_error: float
    mean_abs_error: float
    accuracy: float
    auc: float
    auc_delta: float
    auc_delta_low: float
    auc_delta_high: float
    log_loss: float
    request_auc: float
    ndcg_at_10: float
    ndcg_delta: float
    ndcg_delta_low: float
    ndcg_delta_high: float
    kendall_tau: float
    top10_overlap: float
    distinct_scores: int
    calibration_error: float
    logit_slope: float
    verdict: str
    reason: str

    @classmethod
    def broken(cls, reason: str, distinct_scores: int = 0) -> Parity:
        """A file that cannot be compared at all."""
        undefined = {name: float("nan") for name in cls.__dataclass_fields__}
        return cls(**{**undefined, "distinct_scores": distinct_scores, "verdict": "broken", "reason": reason})


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

    @classmethod
    def recorded(cls, stage: Stage, data) -> Reference:
        """Load the reference of a stage's run, which must be of the test split of its data set.

        Parameters
        ----------
        data : the `helpers.datasets.Dataset` that stage 01 recorded.

        Raises
        ------
        DamagedFile : its inputs, labels or requests are other rows: what it judges would mean nothing.
        """
        reference = cls.load(stage.input("02", FILE))
        inputs, labels, requests = data.arrays("test")
        wanted = {**inputs, "labels": labels, "requests": requests}
        found = {**reference.inputs, "labels": reference.labels, "requests": reference.requests}
        for name, array in wanted.items():
            if name not in found or found[name].shape != array.shape or (found[name] != array).any():
                raise DamagedFile(
                    f"{FILE} is not of the test split of this run's data set: its {name} are others; run stage 02 again"
                )
        return reference

    def judge(self, scores: np.ndarray) -> Parity:
        """Compare a file's scores with the reference; see `compare`."""
        return compare(scores, self.scores, self.labels, self.requests, reference_aucs=self._aucs)

    @cached_property
    def _aucs(self) -> np.ndarray:
        return metrics.bootstrap_aucs(self.scores.reshape(-1).astype(np.float64), self.labels, self.requests)


def error_text(error: float) -> str:
    """A largest difference to read; one that counts as none is shown as such, because its digits mean nothing."""
    return f"under {SAME_ERROR:.0e}" if error <= SAME_ERROR else f"{error:.0e}"


def distinct_text(scores: int) -> str:
    """A number of distinct scores to read; of more than a thousand the last digits are rounding."""
    return f"{scores}" if scores <= 1000 else "over 1000"


def change_text(delta: float, low: float, high: float) -> str:
    """A change with its 95 % interval to read."""
    return f"{delta:+.4f} ({low:+.4f} to {high:+.4f})".replace("-0.0000", "+0.0000")


def table(parities: Mapping[str, Parity]):
    """Parities by name as a DataFrame of text to read: order and quality against the reference, and the verdict."""
    import pandas as pd

    def row(p: Parity) -> dict[str, str]:
        return {
            "largest difference": error_text(p.max_abs_error),
            "accuracy": f"{p.accuracy:.4f}",
            "AUC": f"{p.auc:.4f}",
            "change of AUC": change_text(p.auc_delta, p.auc_delta_low, p.auc_delta_high),
            "NDCG@10": f"{p.ndcg_at_10:.4f}",
            "change of NDCG": change_text(p.ndcg_delta, p.ndcg_delta_low, p.ndcg_delta_high),
            "Kendall tau": f"{p.kendall_tau:.3f}",
            "top-10 overlap": f"{p.top10_overlap:.3f}",
            "verdict": p.verdict,
        }

    return pd.DataFrame({name: row(parity) for name, parity in parities.items()}).T


def score_table(parities: Mapping[str, Parity]):
    """What scores are worth as numbers, DataFrame of text: distinct values, log loss, calibration, AUC by request."""
    import pandas as pd

    def row(p: Parity) -> dict[str, str]:
        return {
            "mean difference": error_text(p.mean_abs_error),
            "distinct scores": distinct_text(p.distinct_scores),
            "log loss": f"{p.log_loss:.4f}",
            "calibration error": f"{p.calibration_error:.4f}",
            "AUC within a request": f"{p.request_auc:.4f}",
            "why": p.reason,
        }

    return pd.DataFrame({name: row(parity) for name, parity in parities.items()}).T


def compare(
    scores: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    requests: np.ndarray,
    *,
    reference_aucs: np.ndarray | None = None,
) -> Parity:
    """Hold `scores` against `reference`, both ``(n_rows,)`` or ``(n_rows, 1)``, and give a verdict.

    `reference_aucs` is what `metrics.bootstrap_aucs` gives for the reference, where it is known already.

    Raises
    ------
    ParityError : not one score a row.
    """
    scores, reference = (np.asarray(s, np.float64).reshape(-1) for s in (scores, reference))
    if scores.shape != reference.shape:
        raise ParityError(f"static batch: {len(scores)} scores for {len(reference)} rows")
    if not np.isfinite(reference).all():
        raise ParityError("the reference itself has scores that are not finite: train the model again")
    finite = np.isfinite(scores)
    if not finite.all():
        reason = f"non-finite: {np.count_nonzero(~finite)} of {len(scores)} scores"
        return Parity.broken(reason, distinct_scores=len(np.unique(scores)))
    error = np.abs(scores - reference)
    auc_low, auc_high = metrics.bootstrap_auc_delta(scores, reference, labels, requests, reference_aucs=reference_aucs)
    ndcg, before = (metrics.ndcg(s, labels, requests) for s in (scores, reference))
    spread = float(reference.std())
    ndcg_low, ndcg_high = metrics.bootstrap_mean_delta(ndcg, before)
    values = {
        **metrics.summary(scores, labels, requests),
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.mean()),
        "auc_delta": metrics.auc(scores, labels) - metrics.auc(reference, labels),
        "auc_delta_low": auc_low,
        "auc_delta_high": auc_high,
        "ndcg_delta": metrics.mean_defined(ndcg - before),
        "ndcg_delta_low": ndcg_low,
        "ndcg_delta_high": ndcg_high,
        "kendall_tau": metrics.mean_defined(metrics.kendall_tau(scores, reference, requests)),
        "top10_overlap": metrics.mean_defined(metrics.top_overlap(scores, reference, requests)),
        "distinct_scores": len(np.unique(scores)),
        "logit_slope": metrics.logit_slope(scores, reference),
    }
    same = min(SAME_ERROR, spread / 100) if spread else SAME_ERROR
    verdict, reason = _verdict(values, same, metrics.calibration_error(reference, labels))
    return Parity(**values, verdict=verdict, reason=reason)


def _verdict(values: Mapping[str, float], same: float, calibration_before: float) -> tuple[str, str]:
    """Verdict and reason; `same` is what counts as no difference: below `SAME_ERROR` if all scores are that close."""
    error, tau = values["max_abs_error"], values["kendall_tau"]
    if error <= same:
        return "same", f"no score moves by more than {same:.0e}"
    if values["distinct_scores"] == 1:
        return "broken", "constant: every row gets the same score"
    if not tau >= SHIP_KENDALL_TAU:
        return "broken", f"wrong order: Kendall tau {tau:.3f} is below {SHIP_KENDALL_TAU}"
    for measure, low in (("AUC", values["auc_delta_low"]), ("NDCG@10", values["ndcg_delta_low"])):
        if not low >= -SHIP_LOSS:
            return "broken", f"below threshold: it may lose {-low:.4f} {measure}, more than {SHIP_LOSS}"
    worse = values["calibration_error"] - calibration_before
    if not worse <= SHIP_CALIBRATION:
        return "broken", f"below threshold: its calibration error grows by {worse:.3f}, more than {SHIP_CALIBRATION}"
    slope, (least, most) = values["logit_slope"], SHIP_LOGIT_SLOPE
    if not least <= slope <= most:
        change = "squeezed together" if slope < least else "pulled apart"
        reason = f"its logits grow by {slope:.2f} where the model's grow by 1 ({least:g} to {most:g} is allowed)"
        return "broken", f"scores are {change}: {reason}"
    return "ships with loss", f"scores move by up to {error:.0e}, Kendall tau {tau:.3f}"


def examine(model: Runtime, reference: Reference) -> Parity:
    """Judge an open file: its scores on the whole test split, and that they do not depend on the batch they come in."""
    return examine_scores(model, reference)[0]


def examine_scores(model: Runtime, reference: Reference) -> tuple[Parity, np.ndarray | None]:
    """`examine` an open file, and keep its scores ``(n_rows, 1)``; None where it gave none that can be compared."""
    scores = result = None
    try:
        scores = model.score(reference.inputs)
        result = reference.judge(scores)
        if result.verdict != "broken":
            check_batches(model, reference.inputs, SAME_ERROR if result.verdict == "same" else BATCH_ERROR)
        if result.verdict == "broken":
            check_repeats(model, reference.inputs, scores)
    except (DamagedFile, ParityError) as error:
        if result is None:
            return Parity.broken(str(error)), None
        result = replace(result, verdict="broken", reason=str(error))
    return result, scores


def check_repeats(model: Runtime, inputs: Mapping[str, np.ndarray], scores: np.ndarray) -> None:
    """Refuse a file that scores the same rows differently a second time.

    Raises
    ------
    ParityError : by how much, and what usually does it.
    """
    again = model.score(inputs)
    if not np.array_equal(again, scores, equal_nan=True):
        raise ParityError(
            f"not repeatable: the same rows score differently a second time, by {np.abs(again - scores).max():.1e}; a "
            "layer that draws at random, such as dropout, is active outside training"
        )


def examine_files(
    files: Mapping[str, Path], schema: Schema, reference: Reference
) -> tuple[dict[str, Parity], dict[str, np.ndarray]]:
    """Judge model files by name, each in a process of its own: whatever it does to that is its verdict.

    Returns
    -------
    What was found by name, and the scores of those files that gave any. The trained model is its own reference, and is
    not scored again.
    """
    from tqdm import tqdm

    parities, scores = {}, {}
    for name, path in tqdm(files.items(), desc="judging", unit=" files", delay=2, leave=False):
        if runtime_of(path) == "keras":
            parities[name] = reference.judge(reference.scores)
            continue
        try:
            with open_model(path, schema) as model:
                parities[name], scored = examine_scores(model, reference)
        except DamagedFile as error:
            parities[name], scored = Parity.broken(str(error)), None
        if scored is not None:
            scores[name] = scored
    return parities, scores


def require_same(model: Runtime, reference: Reference, name: str) -> Parity:
    """Refuse a conversion that does not score as its reference on the whole test split, at every batch size.

    Raises
    ------
    ParityError : with the reason in words, for a message that names the file.
    """
    result = examine(model, reference)
    if result.verdict != "same":
        raise ParityError(f"{name} does not score as its reference: {result.reason} (allowed {SAME_ERROR:.0e})")
    return result


def swapped(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The same inputs with two of one width and dtype exchanged: what binding by position does in silence.

    Of integers, two that have the same largest value, the larger the better: an id beyond the other's table is refused.
    None if there are no two such inputs; a runtime then refuses the exchange by itself.
    """
    pairs = [
        (first, second)
        for first, second in itertools.combinations(inputs, 2)
        if inputs[first].shape == inputs[second].shape
        and inputs[first].dtype == inputs[second].dtype
        and (inputs[first].dtype.kind == "f" or inputs[first].max() == inputs[second].max())
    ]
    if not pairs:
        return None
    first, second = max(pairs, key=lambda pair: inputs[pair[0]].max() if inputs[pair[0]].dtype.kind == "i" else 0)
    return {**inputs, first: inputs[second], second: inputs[first]}


def check_batches(
    model: Runtime,
    inputs: Mapping[str, np.ndarray],
    allowed: float = SAME_ERROR,
    batches: Sequence[int] = BATCHES,
) -> None:
    """Refuse a file that scores the same rows differently when they come in other batches.

    Raises
    ------
    ParityError : rows differ by more than `allowed`; names the first batch size where they do.
    """
    differences = np.array(batch_differences(model, inputs, batches))
    wrong = np.flatnonzero(~(differences <= allowed))  # written so that NaN is wrong
    if len(wrong):
        check_repeats(model, inputs, model.score(inputs))
        batch, difference = batches[wrong[0]], differences[wrong[0]]
        others = f", and so do {len(wrong) - 1} other batch sizes of {len(batches)}" if len(wrong) > 1 else ""
        reason = f"in batches of {batch} rows score differently, by {difference:.1e}{others}"
        raise ParityError(f"batches disagree: {reason}")
