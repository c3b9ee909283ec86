import numpy as np
import pandas as pd
import pytest

from helpers.errors import BadInput, WorkbenchError
from helpers.evaluation import comparison, latency


@pytest.fixture(scope="module")
def measured(trained, ranking):
    files = {"litert fp32": trained.files["fp32.tflite"], "mnn fp32": trained.files["fp32.mnn"]}
    return latency.measure(
        files, ranking.schema, trained.files["reference.npz"], reference="litert fp32", batches=(1, 4096)
    )


def test_every_round_times_every_file_once(measured):
    counts = measured.groupby(["variant", "batch", "mode", "round"]).size()
    assert (counts == 1).all() and len(counts) == 3 * 2 * 2 * (latency.QUICK_ROUNDS + 1)


def test_blocks_are_long_enough_and_in_random_order(measured):
    timed = measured[measured["round"] > 0]
    assert (measured["seconds"] >= latency.BLOCK_SECONDS).all()
    orders = {tuple(part["variant"] + part["batch"].astype(str) + part["mode"]) for _, part in timed.groupby("round")}
    assert len(orders) > latency.QUICK_ROUNDS / 2


def test_summary_is_medians_and_paired_ratios(measured):
    table = latency.summarise(measured, reference="litert fp32")
    timed = measured[measured["round"] > 0].set_index("round")
    here = timed[(timed["batch"] == 4096) & (timed["mode"] == "run")]
    ours, base = (here[here["variant"] == v]["microseconds"] for v in ("mnn fp32", "litert fp32"))
    row = table.loc[("mnn fp32", 4096, "run")]
    assert row["microseconds"] == ours.median() and row["ratio"] == (ours / base).median()
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert table.loc[("litert fp32", 1, "run"), "verdict"] == "no difference"


def test_more_rows_take_longer_and_copies_cost_something(measured):
    table = latency.summarise(measured, reference="litert fp32")["microseconds"]
    for variant in ("litert fp32", "mnn fp32"):
        assert table[variant, 4096, "run"] > 5 * table[variant, 1, "run"]
        assert table[variant, 1, "copy_and_run"] > table[variant, 1, "run"]


def _blocks(ratio: float, again: float, noise: float) -> pd.DataFrame:
    """Blocks of a machine that drifts twofold between rounds: the pairing must cancel it."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(1, 31):
        speed = rng.choice([1.0, 2.0])
        for variant, factor in (("base", 1.0), ("other", ratio), (latency.AGAIN, again)):
            rows.append((variant, 1, "run", 1, number, 10.0 * speed * factor * np.exp(rng.normal(0, noise))))
    return pd.DataFrame(rows, columns=["variant", "batch", "mode", "process", "round", "microseconds"])


@pytest.mark.parametrize(
    ("ratio", "again", "verdict"),
    [(1.3, 1.0, "slower"), (0.7, 1.0, "faster"), (1.0, 1.0, "no difference"), (1.03, 1.06, "no difference")],
)
def test_verdict_of_known_ratios(ratio, again, verdict):
    table = latency.summarise(_blocks(ratio, again, noise=0.01), reference="base")
    row = table.loc[("other", 1, "run")]
    assert row["verdict"] == verdict and abs(row["ratio"] - ratio) < 0.02


def test_cells_have_one_width_whatever_the_numbers():
    for ratio in (0.001, 1.0, 900.0):
        cells = latency.table(latency.summarise(_blocks(ratio, 1.0, 0.01), reference="base"), mode="run")
        assert set(cells["batch 1"].str.len()) == {latency._CELL_WIDTH}


def test_faults_are_named(trained, ranking, tmp_path):
    with pytest.raises(BadInput, match="the reference 'x' is not among the files: a"):
        latency.measure({"a": trained.files["fp32.mnn"]}, ranking.schema, trained.files["reference.npz"], reference="x")
    damaged = tmp_path / "damaged.mnn"
    damaged.write_bytes(b"not a model")
    with pytest.raises(WorkbenchError, match="damaged.mnn"):
        latency.measure({"a": damaged}, ranking.schema, trained.files["reference.npz"], reference="a")


def test_comparison_has_the_columns_of_the_contract(trained, measured):
    files = {"tflite/fp32.tflite": trained.files["fp32.tflite"], "mnn/fp32.mnn": trained.files["fp32.mnn"]}
    parities = {comparison.name_of(file): trained.reference.judge(trained.reference.scores) for file in files}
    table = comparison.build(files, parities, latency.summarise(measured, reference="litert fp32"))
    contract = (
        "runtime, precision, file, bytes, max_abs_error, accuracy, auc, auc_delta, auc_delta_low, auc_delta_high, "
        "ndcg_at_10, kendall_tau, top10_overlap, distinct_scores, latency_us, latency_ratio, latency_ratio_low, "
        "latency_ratio_high, verdict"
    )
    assert list(table.columns) == contract.split(", ")
    assert table["bytes"].tolist() == [path.stat().st_size for path in files.values()]
    assert table["latency_ratio"].iloc[0] == 1.0


def test_a_count_from_a_slow_moment_does_not_make_short_blocks(monkeypatch):
    monkeypatch.setitem(latency._steps, (1, "run"), lambda: None)
    for counted in (None, 1, 10):
        calls, seconds = latency._block(1, "run", counted)
        assert seconds >= latency.BLOCK_SECONDS and calls > 1000
