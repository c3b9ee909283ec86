"""How often the intervals hold the true value, and what the verdicts say of files whose loss is
known.

    python tests/benchmarks/coverage.py

Requests are drawn from a population in which the true change of every measure is known (from a
sample of 20,000 or more requests), each time anew; a 95 % interval should hold it in 95 of 100
draws. The population: an item's utility has a part of its own and one of its request, labels are
drawn from a logistic of it, the reference is a noisy view of it, and the file is the reference with
errors on its logits that are larger in some requests than in others. In the designs of users, the
file also errs in one direction for all requests of a user.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from helpers.tasks import ranking as task
from helpers.tasks.judgement import SHIPS, TOO_FEW, Judgement

MEASURES = {
    "AUC": "auc_delta",
    "NDCG@10": "ndcg_delta",
    "Kendall tau": "kendall_tau",
    "top-10": "top10_overlap",
    "first item": "top1_agreement",
}


@dataclass(frozen=True)
class Design:
    """What is drawn: requests, items a request (0 draws 5, 10, 20 or 80), and how the file errs.

    Attributes
    ----------
    rate : share of positive labels.
    levels : into how many steps both scores are rounded; 0 leaves them as they are.
    requests_a_user : how many requests share the user's own error; 1 has none.
    error : deviation of the file's logits from the reference's.
    """

    requests: int
    items: int = 20
    rate: float = 0.3
    levels: int = 0
    requests_a_user: int = 1
    error: float = 0.15


DESIGNS = {
    "250 x 20": Design(250),
    "100 x 50": Design(100, 50),
    "50 x 20": Design(50),
    "10 x 20": Design(10),
    "100 of 5 to 80": Design(100, 0),
    "250 x 20, 2 % positive": Design(250, rate=0.02),
    "100 x 20, 2 % positive": Design(100, rate=0.02),
    "100 x 20, ties": Design(100, levels=8),
    "200 users x 5 x 20": Design(1000, requests_a_user=5),
    "40 users x 25 x 20": Design(1000, requests_a_user=25),
}
ERRORS = (0.15, 0.6)
"""As four bits and two bits do: the true losses of AUC are .002 and .025."""
OFFSETS = {0.3: 1.254, 0.02: 5.135}
"""What is subtracted from logits for that share of positive labels; utility has a deviation of 1.5
times 1.118.
"""
POPULATION = 20_000


def draw(rng: np.random.Generator, design: Design) -> tuple[np.ndarray, ...]:
    """Scores of the file and of its reference, labels, requests and users, ``(n_rows,)`` each."""
    sizes = (
        np.full(design.requests, design.items)
        if design.items
        else rng.choice([5, 10, 20, 80], design.requests)
    )
    request = np.repeat(np.arange(design.requests), sizes)
    user = request // design.requests_a_user
    item = rng.normal(0, 1, len(request))
    logit = 1.5 * (item + rng.normal(0, 0.5, design.requests)[request]) - OFFSETS[design.rate]
    labels = (rng.random(len(request)) < _sigmoid(logit)).astype(np.int8)
    reference = logit + rng.normal(0, 0.5, len(request))
    file = reference + design.error * rng.normal(1, 0.5, design.requests)[request] * rng.normal(
        0, 1, len(request)
    )
    if design.requests_a_user > 1:
        offset, slope = rng.normal(0, 2 * design.error, (2, user[-1] + 1))[:, user]
        file += offset + slope * item
    scores = [_sigmoid(values) for values in (file, reference)]
    if design.levels:
        scores = [np.round(values * design.levels) / design.levels for values in scores]
    return *scores, labels, request, user


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def truth(design: Design) -> Judgement:
    """What every measure is in the population."""
    scores, reference, labels, request, _ = draw(
        np.random.default_rng(1), replace(design, requests=POPULATION)
    )
    return task.compare(scores, reference, labels, request)


def _cover(design: Design, true: Judgement, by_user: bool, seed: int) -> dict[str, float]:
    """Whether each interval of one draw holds the truth, 1 or 0; NaN where there is no interval."""
    *columns, user = draw(np.random.default_rng([2, seed]), design)
    found = task.compare(*columns, user if by_user else None)
    result = {}
    for measure, name in MEASURES.items():
        low, high = getattr(found, f"{name}_low"), getattr(found, f"{name}_high")
        result[measure] = np.nan if np.isnan(low) else float(low <= getattr(true, name) <= high)
    return result


def intervals(
    repetitions: int, designs: dict[str, Design] = DESIGNS, errors=ERRORS
) -> pd.DataFrame:
    """Share of intervals that hold the truth, a row a design and error; of users also without their
    clusters.
    """
    rows = {}
    with ProcessPoolExecutor() as pool:
        for name, design in designs.items():
            for error in errors:
                case = replace(design, error=error)
                true = truth(case)
                for by_user in (True, False) if design.requests_a_user > 1 else (False,):
                    unsaid = design.requests_a_user > 1 and not by_user
                    label = f"{name}{', users not given' if unsaid else ''}"
                    covered = pool.map(
                        partial(_cover, case, true, by_user), range(repetitions), chunksize=10
                    )
                    rows[label, f"{true.auc_delta:+.4f}"] = pd.DataFrame(list(covered)).mean()
    table = pd.DataFrame(rows).T
    table.index.names = ["design", "true change of AUC"]
    return table


def _judge(rows: int, error: float, shift: float, seed: int) -> str:
    """Verdict of one file with errors on its logits and its probabilities moved."""
    scores, reference, labels, request, _ = draw(
        np.random.default_rng([3, seed]), Design(rows // 20, error=error)
    )
    return task.compare(np.clip(scores + shift, 0, 1), reference, labels, request).verdict


def verdicts(repetitions: int) -> pd.DataFrame:
    """Share of each verdict, a row a kind of file and number of test rows."""
    kinds = {
        "good, AUC -.0002": (0.05, 0.0),
        "four bits, AUC -.002": (0.15, 0.0),
        "two bits, AUC -.025": (0.6, 0.0),
        "moved by .04": (0.0, 0.0408),  # clipping at 1 takes a fiftieth of it away
        "moved by .06": (0.0, 0.0612),
        "moved by .08": (0.0, 0.0816),
    }
    rows = {}
    with ProcessPoolExecutor() as pool:
        for kind, (error, shift) in kinds.items():
            for size in (200, 1000, 5000):
                found = pool.map(
                    partial(_judge, size, error, shift), range(repetitions), chunksize=10
                )
                rows[kind, size] = pd.Series(list(found)).value_counts(normalize=True)
    table = pd.DataFrame(rows).T.reindex(columns=[*SHIPS, TOO_FEW, "broken"]).fillna(0.0)
    table.index.names = ["file", "test rows"]
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=1000, help="draws a design")
    arguments = parser.parse_args()
    with pd.option_context("display.width", 160):
        print("Share of 95 % intervals that hold the true value\n")
        print(intervals(arguments.repetitions).to_string(float_format="{:.3f}".format))
        print("\nShare of verdicts\n")
        print(verdicts(arguments.repetitions // 2).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
