import numpy as np
import pandas as pd
import pytest

from helpers import parameters
from helpers.errors import BadInput
from helpers.evaluation import choice
from helpers.evaluation.choice import Budget

FILES = [
    # runtime, precision, bytes, auc_delta_low, latency_ratio, kendall_tau, verdict
    ("keras", "fp32", 35000, 0.0, 100.0, 1.0, "same"),
    ("litert", "fp32", 4000, 0.0, 1.0, 1.0, "same"),
    ("mnn", "fp32", 5000, 0.0, 0.8, 1.0, "same"),
    ("litert", "fp16", 3000, -0.0001, 1.0, 0.9999, "ships with loss"),
    ("litert", "weight_int4", 2000, -0.005, 1.2, 0.97, "ships with loss"),
    ("mnn", "weight_int4", 6000, -0.005, 0.9, 0.98, "ships with loss"),
    ("mnn", "int8", 1000, -0.2, 0.5, 0.3, "broken"),
]


@pytest.fixture
def comparison():
    names = ["runtime", "precision", "bytes", "auc_delta_low", "latency_ratio", "kendall_tau", "verdict"]
    table = pd.DataFrame(FILES, columns=names)
    table["file"] = table["runtime"] + "/" + table["precision"]
    table["auc"] = 0.9
    return _without_intervals(table)


def _without_intervals(table):
    return table.assign(latency_ratio_low=table["latency_ratio"], latency_ratio_high=table["latency_ratio"])


@pytest.mark.parametrize(
    ("budget", "prefer", "file"),
    [
        (Budget(), "agreement", "litert/fp32"),
        (Budget(), "bytes", "litert/weight_int4"),
        (Budget(), "latency", "mnn/fp32"),
        (Budget(bytes=3500), "agreement", "litert/fp16"),
        (Budget(bytes=2000), "agreement", "litert/weight_int4"),
        (Budget(auc_loss=0.001), "bytes", "litert/fp16"),
        (Budget(latency_ratio=0.85), "bytes", "mnn/fp32"),
        (Budget(latency_ratio=0.95), "bytes", "mnn/fp32"),
        (Budget(bytes=4000, auc_loss=0.01, latency_ratio=1.0), "agreement", "litert/fp32"),
    ],
)
def test_the_file_that_keeps_the_budget_and_is_preferred(comparison, budget, prefer, file):
    found = choice.recommend(comparison, budget, prefer)
    assert found.met and found.file == file
    assert found.sentence.startswith(f"Ship {file.replace('/', ' ')}: ")
    row = found.table[found.table["file"] == file].iloc[0]
    assert f"{row['bytes']:,} bytes" in found.sentence and f"{row['latency_ratio']:.2f}x" in found.sentence


def test_against_a_search_over_random_tables():
    """The recommended file by brute force: filter, then the smallest key, written out for each preference."""
    rng = np.random.default_rng(0)
    for _ in range(100):
        size = rng.integers(1, 9)
        table = pd.DataFrame(
            {
                "runtime": "mnn",
                "precision": [f"p{i}" for i in range(size)],
                "file": [f"f{i}" for i in range(size)],
                "bytes": rng.integers(1, 5, size) * 1000,
                "auc_delta_low": -rng.integers(0, 3, size) / 100,
                "latency_ratio": rng.integers(1, 4, size) / 2,
                "kendall_tau": rng.integers(90, 100, size) / 100,
                "verdict": rng.choice(["same", "ships with loss", "broken"], size),
                "auc": 0.9,
            }
        )
        table = _without_intervals(table)
        budget = Budget(
            bytes=rng.integers(1, 6) * 1000, auc_loss=rng.integers(1, 3) / 100, latency_ratio=rng.integers(1, 4) / 2
        )
        prefer = rng.choice(list(choice.PREFERENCES))
        found = choice.recommend(table, budget, prefer)
        good = [r for r in table.itertuples() if r.verdict != "broken"]
        kept = [
            r
            for r in good
            if r.bytes <= budget.bytes
            and -r.auc_delta_low <= budget.auc_loss
            and r.latency_ratio <= budget.latency_ratio
        ]
        keys = {
            "agreement": lambda r: (r.verdict != "same", -r.kendall_tau, r.bytes, r.latency_ratio),
            "bytes": lambda r: (r.bytes, r.verdict != "same", -r.kendall_tau, r.latency_ratio),
            "latency": lambda r: (r.latency_ratio, r.verdict != "same", -r.kendall_tau, r.bytes),
        }
        if kept:
            assert found.met and found.file == min(kept, key=keys[prefer]).file
        else:
            assert not found.met and (found.file is None) == (not good)
        beaten = {
            r.file
            for r in good
            for o in good
            if (o.bytes, -o.auc_delta_low, o.latency_ratio) != (r.bytes, -r.auc_delta_low, r.latency_ratio)
            and o.bytes <= r.bytes
            and o.auc_delta_low >= r.auc_delta_low
            and o.latency_ratio <= r.latency_ratio
        }
        assert set(found.table.loc[found.table["pareto"], "file"]) == {r.file for r in good} - beaten


def test_a_budget_that_nothing_meets_names_the_closest_and_by_how_much(comparison):
    found = choice.recommend(comparison, Budget(bytes=1900, latency_ratio=1.2))
    assert not found.met and found.file == "litert/weight_int4"
    assert "Nothing meets the budget (at most 1,900 bytes, at most 1.2x the latency of LiteRT fp32)" in found.sentence
    assert "bytes 2,000 where 1,900 is allowed" in found.sentence and "latency ratio" not in found.sentence


def test_a_broken_file_is_never_shipped(comparison):
    assert choice.recommend(comparison, Budget(bytes=1000)).file != "mnn/int8"
    comparison["verdict"] = "broken"
    comparison["auc_delta_low"] = np.nan
    found = choice.recommend(comparison, Budget())
    assert found.file is None and found.sentence == "Ship nothing: all 6 converted files are broken."
    assert not found.table["pareto"].any()


def test_less_than_the_noise_decides_nothing(comparison):
    comparison.loc[comparison["file"] == "mnn/fp32", "latency_ratio"] = 0.99
    comparison.loc[comparison["file"] == "mnn/weight_int4", "latency_ratio"] = 1.0
    assert choice.recommend(comparison, Budget(), "latency").file == "litert/fp32"


def test_a_model_that_learned_nothing_is_not_shipped_in_silence(comparison):
    comparison["auc"] = 0.501
    assert (
        "ranks hardly better than chance (AUC 0.501): train it again."
        in choice.recommend(comparison, Budget()).sentence
    )
    comparison["auc"] = 0.9
    assert "chance" not in choice.recommend(comparison, Budget()).sentence


def test_bad_budgets_are_refused(comparison):
    with pytest.raises(BadInput, match="prefer must be one of agreement, bytes, latency, not 'size'"):
        choice.recommend(comparison, Budget(), "size")
    with pytest.raises(BadInput, match="the budget's AUC loss must not be negative: -1"):
        choice.recommend(comparison, Budget(auc_loss=-1))
    assert parameters.TABLE["prefer"].among == tuple(choice.PREFERENCES)


def test_parameters_say_no_limit_with_zero():
    limits = {"budget_bytes": 4000, "budget_auc_loss": 0.0, "budget_latency_ratio": 0.0}
    assert choice.from_parameters(limits) == Budget(bytes=4000)
    assert (
        Budget().text("x") == "no limits"
        and Budget(bytes=4000, auc_loss=0.01).text("x") == "at most 4,000 bytes, at most 0.01 AUC lost"
    )


def test_the_table_marks_what_is_shipped(comparison):
    shown = choice.table(choice.recommend(comparison, Budget(bytes=4000)))
    assert shown.loc["litert fp32", ""] == "ship" and (shown[""] == "ship").sum() == 1
    assert shown.loc["mnn fp32", "within budget"] == "no"
