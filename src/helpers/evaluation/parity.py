"""Does a converted file still rank as its reference does? Comparison, verdict, and the check before it counts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.errors import DamagedFile, ParityError
from helpers.evaluation import metrics
from helpers.runs import Stage
from helpers.runtimes import Runtime, batch_differences, open_model, runtime_of
from helpers.schema import Schema

ENDS = ("low", "high")
MOST_REQUESTS = 1_000_000
"""More requests are not asked for: a limit that is so near is not reached by counting."""
_NINE_IN_TEN = (1.96 + 1.28) / 1.96
"""How much shorter an interval of 95 % must be to keep a limit nine times in ten, not every second time."""
FILE = "model/reference.npz"
"""Where a run keeps its `Reference`."""
SHIPS = ("same", "ships with loss")
"""Verdicts of files that may be shipped."""
TOO_FEW = "too few rows"
"""Verdict of a file that keeps a limit on one side of an interval and breaks it on the other: more rows would tell."""
SAME_ERROR = 1e-5
"""Largest score difference of a file that counts as the same: 60 float32 roundings at a score of 1, where
float32 conversions measure 2e-7 and the mildest reduced precision (fp16) 4e-4."""
SHIP_LOSS = 0.01
SHIP_KENDALL_TAU = 0.9
SHIP_CALIBRATION = 0.05
SHIP_LOGIT_SLOPE = (0.5, 2.0)
_LIMITS = {"kendall_tau": SHIP_KENDALL_TAU, "auc_delta": -SHIP_LOSS, "ndcg_delta": -SHIP_LOSS}
"""A reduced file ships with loss while the changes of its AUC and NDCG@10 are above -0.01 and its order within requests
agrees with the reference to a Kendall tau of at least 0.9, each with the whole of its 95 % interval; its probabilities
move by at most 0.05 (a file that lost its sigmoid still ranks); and its logits grow by 0.5 to 2 where the reference's
grow by 1 (scores that lie around 0.66 keep their mean in a second sigmoid, but not their distances: 0.2). If the whole
interval is beyond a limit, or one of the other two is, it is broken; if an interval only reaches beyond a limit, there
are too few rows to tell. Probabilities that move are refused even where they come to lie nearer to the labels: what an
app does with a score was chosen on the reference's, and a model is calibrated by training, not by converting it."""
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
    auc_delta, ndcg_delta : changes of AUC and of the mean NDCG@10.
    request_auc : mean AUC within a request, that is for one user.
    kendall_tau, top10_overlap, top1_agreement : means over requests of tau-b, of the share of the ten best in common,
        and of having the same first item.
    ..._low, ..._high : 95 % intervals, paired where it is a change, over requests, or over clusters of them.
    distinct_scores : how many different values; few mean ties, which an app breaks in whatever order it has.
    calibration_error : mean distance of score and observed rate over ten about equally filled bins.
    calibration_shift : mean distance of the file's and the reference's mean score over such bins of the reference.
    logit_slope : by how much the file's logits grow where the reference's grow by 1.
    verdict, reason : ``same``, ``ships with loss``, ``too few rows`` or ``broken``, and why, in words.
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
    kendall_tau_low: float
    kendall_tau_high: float
    top10_overlap: float
    top10_overlap_low: float
    top10_overlap_high: float
    top1_agreement: float
    top1_agreement_low: float
    top1_agreement_high: float
    distinct_scores: int
    calibration_error: float
    calibration_shift: float
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
    """The set that files are judged on, and what the trained model scored on it (``reference.npz``).

    `clusters` are ids ``(n_rows,)`` of what was drawn independently, users for example, where that is not the request.
    """

    inputs: Mapping[str, np.ndarray]
    scores: np.ndarray
    labels: np.ndarray
    requests: np.ndarray
    clusters: np.ndarray | None = None

    def save(self, path: Path) -> None:
        """Write as ``.npz``; the same content gives the same bytes."""
        fields = {"scores": self.scores, "labels": self.labels, "requests": self.requests}
        if self.clusters is not None:
            fields["clusters"] = self.clusters
        with open(path, "wb") as file:
            np.savez(file, **fields, **{f"input:{name}": array for name, array in self.inputs.items()})

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read what `save` wrote; nothing is unpickled."""
        with np.load(path, allow_pickle=False) as file:
            inputs = {name.removeprefix("input:"): file[name] for name in file.files if name.startswith("input:")}
            clusters = file["clusters"] if "clusters" in file.files else None
            return cls(inputs, file["scores"], file["labels"], file["requests"], clusters)

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
        wanted = {**inputs, "labels": labels, "requests": requests, "clusters": data.users("test")}
        found = {**reference.inputs, "labels": reference.labels, "requests": reference.requests}
        found["clusters"] = reference.clusters
        for name, array in wanted.items():
            if not np.array_equal(found.get(name), array):  # of two that are None, too
                raise DamagedFile(
                    f"{FILE} is not of the test split of this run's data set: its {name} are others; run stage 02 again"
                )
        return reference

    def judge(self, scores: np.ndarray) -> Parity:
        """Compare a file's scores with the reference; see `compare`."""
        return compare(scores, self.scores, self.labels, self.requests, self.clusters)


def error_text(error: float) -> str:
    """A largest difference to read; one that counts as none is shown as such, because its digits mean nothing."""
    return f"under {SAME_ERROR:.0e}" if error <= SAME_ERROR else f"{error:.0e}"


def distinct_text(scores: int) -> str:
    """A number of distinct scores to read; of more than a thousand the last digits are rounding."""
    return f"{scores}" if scores <= 1000 else "over 1000"


def change_text(delta: float, low: float, high: float) -> str:
    """A change with its 95 % interval to read."""
    return f"{delta:+.4f} ({low:+.4f} to {high:+.4f})".replace("-0.0000", "+0.0000")


def agreement_text(value: float, low: float, high: float) -> str:
    """An agreement with its 95 % interval to read; without it where all requests agree alike."""
    return f"{value:.3f}" if low == high else f"{value:.3f} ({low:.3f} to {high:.3f})"


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
            "Kendall tau": agreement_text(p.kendall_tau, p.kendall_tau_low, p.kendall_tau_high),
            "top-10 overlap": f"{p.top10_overlap:.3f}",
            "verdict": p.verdict,
        }

    return pd.DataFrame({name: row(parity) for name, parity in parities.items()}).T


def score_table(parities: Mapping[str, Parity]):
    """What scores are worth as numbers, and the first item, which is what a user sees: DataFrame of text."""
    import pandas as pd

    def row(p: Parity) -> dict[str, str]:
        return {
            "mean difference": error_text(p.mean_abs_error),
            "distinct scores": distinct_text(p.distinct_scores),
            "log loss": f"{p.log_loss:.4f}",
            "calibration error": f"{p.calibration_error:.4f}",
            "moved by": f"{p.calibration_shift:.4f}",
            "AUC within a request": f"{p.request_auc:.4f}",
            "same first item": agreement_text(p.top1_agreement, p.top1_agreement_low, p.top1_agreement_high),
            "why": p.reason,
        }

    return pd.DataFrame({name: row(parity) for name, parity in parities.items()}).T


def compare(
    scores: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    requests: np.ndarray,
    clusters: np.ndarray | None = None,
) -> Parity:
    """Hold `scores` against `reference`, both ``(n_rows,)`` or ``(n_rows, 1)``, and give a verdict.

    Parameters
    ----------
    clusters : ids ``(n_rows,)`` of what was drawn independently, each of whole requests; default the requests.

    Raises
    ------
    ParityError : not one score a row.
    BadInput : a request is in several clusters.
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
    clusters = requests if clusters is None else clusters
    groups = metrics.clusters_of_requests(requests, clusters)
    error = np.abs(scores - reference)
    placed = metrics.placements(scores, labels) - metrics.placements(reference, labels)
    ndcg = metrics.ndcg(scores, labels, requests) - metrics.ndcg(reference, labels, requests)
    tau = metrics.kendall_tau(scores, reference, requests)
    top10, top1 = (metrics.top_overlap(scores, reference, requests, k) for k in (10, 1))
    intervals = {
        "auc_delta": metrics.auc_interval(placed, labels, clusters),
        "ndcg_delta": metrics.mean_interval(ndcg, groups),
        "kendall_tau": metrics.mean_interval(tau, groups, skewed=True),
        "top10_overlap": metrics.mean_interval(top10, groups, skewed=True),
        "top1_agreement": metrics.share_interval(top1, groups),
    }
    values = {
        **metrics.summary(scores, labels, requests),
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.mean()),
        "auc_delta": metrics.auc(scores, labels) - metrics.auc(reference, labels),
        "ndcg_delta": metrics.mean_defined(ndcg),
        "kendall_tau": metrics.mean_defined(tau),
        "top10_overlap": metrics.mean_defined(top10),
        "top1_agreement": metrics.mean_defined(top1),
        **{f"{name}_{end}": value for name, ends in intervals.items() for end, value in zip(ENDS, ends, strict=True)},
        "distinct_scores": len(np.unique(scores)),
        "calibration_shift": metrics.calibration_shift(scores, reference),
        "logit_slope": metrics.logit_slope(scores, reference),
    }
    spread = float(reference.std())
    same = min(SAME_ERROR, spread / 100) if spread else SAME_ERROR
    verdict, reason = _verdict(values, same, len(groups))
    if verdict == "broken" and scores.min() < 0 <= reference.min() and reference.max() <= 1 < scores.max():
        reason += "; its scores leave 0 to 1, as if the last sigmoid were missing"
    return Parity(**values, verdict=verdict, reason=reason)


def _verdict(values: Mapping[str, float], same: float, requests: int) -> tuple[str, str]:
    """Verdict and reason; `same` is what counts as no difference: below `SAME_ERROR` if all scores are that close."""
    error, tau = values["max_abs_error"], values["kendall_tau"]
    if error <= same:
        return "same", f"no score moves by more than {same:.0e}"
    if values["distinct_scores"] == 1:
        return "broken", "constant: every row gets the same score"
    said = {
        "kendall_tau": f"wrong order: Kendall tau {tau:.3f} is below {SHIP_KENDALL_TAU}",
        "auc_delta": f"below threshold: it loses {-values['auc_delta']:.4f} AUC, more than {SHIP_LOSS}",
        "ndcg_delta": f"below threshold: it loses {-values['ndcg_delta']:.4f} NDCG@10, more than {SHIP_LOSS}",
    }
    for name, limit in _LIMITS.items():
        if values[name] < limit and not values[f"{name}_high"] >= limit:  # NaN: the estimate decides
            return "broken", said[name]
    shift = values["calibration_shift"]
    if not shift <= SHIP_CALIBRATION:
        return "broken", f"shifted: its probabilities move by {shift:.3f} on average, more than {SHIP_CALIBRATION}"
    slope, (least, most) = values["logit_slope"], SHIP_LOGIT_SLOPE
    if not least <= slope <= most:
        change = "squeezed together" if slope < least else "pulled apart"
        reason = f"its logits grow by {slope:.2f} where the model's grow by 1 ({least:g} to {most:g} is allowed)"
        return "broken", f"scores are {change}: {reason}"
    if open_limits := [name for name, limit in _LIMITS.items() if not values[f"{name}_low"] >= limit]:
        return TOO_FEW, _too_few(values, open_limits, requests)
    return "ships with loss", f"scores move by up to {error:.0e}, Kendall tau {tau:.3f}"


def _too_few(values: Mapping[str, float], open_limits: Sequence[str], requests: int) -> str:
    """Say which limit cannot be told to hold, and how many requests would tell; of several, the one that takes most.

    An interval shrinks with the square root of the number of requests. It is asked for as many that its end would keep
    the limit, or miss it, nine times in ten if the estimate were true.
    """
    names = {"kendall_tau": "Kendall tau", "auc_delta": "change of AUC", "ndcg_delta": "change of NDCG@10"}

    def needed(name: str) -> float:
        estimate, low, high = (values[name + end] for end in ("", "_low", "_high"))
        reach = estimate - low if estimate >= _LIMITS[name] else high - estimate
        gap = abs(estimate - _LIMITS[name])
        return requests * (_NINE_IN_TEN * reach / gap) ** 2 if gap and low <= high else math.inf

    name = max(open_limits, key=needed)
    low, high, told = values[f"{name}_low"], values[f"{name}_high"], needed(name)
    if not low <= high:
        return f"too few rows to tell: the {names[name]} has no interval with what {requests:,} requests tell of it"
    form = f"too few rows to tell: {names[name]} is {low:.3f} to {high:.3f} and must be at least {_LIMITS[name]:g}"
    if told > MOST_REQUESTS:
        return f"{form}; it lies so near that {MOST_REQUESTS:,} requests may not tell"
    digits = 10 ** max(0, len(str(int(told))) - 2)
    return f"{form}; about {math.ceil(told / digits) * digits:,} requests would tell, there are {requests:,}"


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
