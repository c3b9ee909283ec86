"""How often latency claims a difference that is not there, and misses one of 10 %, in noise of
known kinds.

    python tests/benchmarks/latency_claims.py

Files are simulated whose true times are known: the reference, half of the others as fast as it,
half 10 % slower. The machine drifts twofold between rounds. False claims are to be at most 5 %,
power is to be at least 90 %, and the intervals are to hold the true ratio in at least 93 % of
cases.
"""

import argparse

import numpy as np
import pandas as pd

from helpers.evaluation import latency

CASES = {
    "independent": {},
    "processes differ": {"processes_differ": 0.02},
    "noise lasts": {"correlation": 0.8},
    "both": {"processes_differ": 0.02, "correlation": 0.8},
    "slow blocks": {"slow_share": 0.05},
    "all three": {"processes_differ": 0.02, "correlation": 0.8, "slow_share": 0.05},
}
"""Kinds of noise, as arguments of `blocks`."""
NOISE = (0.01, 0.03)
"""Standard deviations of the log time of a block."""
ROUNDS = (1, latency.LEAST_ROUNDS, 4, 7, 20)
"""In each set of processes; 5 s are three of the usual calls, and one of the other ways."""
FILES, SLOWER = 17, 1.1


def blocks(
    repetitions: int,
    rounds: int,
    noise: float,
    *,
    sets: int = latency.PROCESSES,
    processes_differ: float = 0.0,
    correlation: float = 0.0,
    slow_share: float = 0.0,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.Series]:
    """Simulate measurements; each is given as a batch size of its own.

    Parameters
    ----------
    noise : standard deviation of the log time of a block around its process's.
    processes_differ : standard deviation of the log of a process's own factor.
    correlation : of the noise of a process's successive rounds.
    slow_share : of blocks, that take half as long again.

    Returns
    -------
    blocks : DataFrame as `latency.measure` gives.
    truth : Series by variant, the true ratio to the reference.
    """
    rng = np.random.default_rng(seed)
    names = ["reference", *latency.AGAIN, *(f"file {number}" for number in range(1, FILES))]
    truth = pd.Series(1.0, index=names)
    truth.iloc[3 + (FILES - 1) // 2 :] = SLOWER
    shape = (repetitions, sets, len(names), rounds)
    lasting = rng.normal(0.0, noise, shape)
    for number in range(1, rounds):
        fresh = np.sqrt(1 - correlation**2) * lasting[..., number]
        lasting[..., number] = correlation * lasting[..., number - 1] + fresh
    logs = np.log(10.0 * truth.to_numpy())[:, None] + lasting
    logs += rng.normal(0.0, processes_differ, shape[:3])[..., None]
    logs += np.log(1.5) * (rng.random(shape) < slow_share)
    logs += np.log(2.0) * rng.integers(0, 2, (repetitions, sets, 1, rounds))
    batch, process, variant, number = (axis.ravel() for axis in np.indices(shape))
    columns = {"variant": np.array(names)[variant], "batch": batch, "mode": "run", "threads": 1}
    columns |= {"process": process + 1, "round": number + 1, "microseconds": np.exp(logs).ravel()}
    return pd.DataFrame(columns), truth


def rates(
    repetitions: int, rounds: int, noise: float, summarise=latency.summarise, **kinds
) -> dict[str, float]:
    """Shares of false claims and of claims of a true 10 %, coverage of the intervals, and the
    median floor.
    """
    timed, truth = blocks(repetitions, rounds, noise, **kinds)
    summary = summarise(timed, reference="reference").reset_index()
    summary = summary[~summary["variant"].isin(["reference", *latency.AGAIN])]
    true = summary["variant"].map(truth)
    return {
        "false claims": (summary["verdict"][true == 1] != "no difference").mean(),
        "power": (summary["verdict"][true > 1] == "slower").mean(),
        "coverage": (summary["ratio_low"].le(true) & summary["ratio_high"].ge(true)).mean(),
        "floor": summary["floor"].median(),
    }


def study(
    repetitions: int,
    *,
    noises=NOISE,
    rounds=ROUNDS,
    cases=tuple(CASES),
    summarise=latency.summarise,
    **more,
) -> pd.DataFrame:
    """Measure the rates of every kind of noise: DataFrame, a row a case, size of noise and number
    of rounds.

    Each repetition is a measurement of 16 files and the reference. `more` is for `blocks`.
    """
    rows = []
    for noise in noises:
        for case in cases:
            for number in rounds:
                found = rates(repetitions, number, noise, summarise, **CASES[case], **more)
                rows.append({"case": case, "noise": noise, "rounds": number, **found})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--repetitions", type=int, default=300, help="measurements of 17 files for each row"
    )
    print(
        study(parser.parse_args().repetitions).to_string(index=False, float_format="{:.3f}".format)
    )


if __name__ == "__main__":
    main()
