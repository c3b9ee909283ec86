import itertools
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from support import random_inputs

from helpers import runtimes
from helpers.errors import BadInput, DamagedFile
from helpers.evaluation import comparison, latency


@pytest.fixture(scope="module")
def measured(trained, ranking):
    files = {"litert fp32": trained.files["fp32.tflite"], "mnn fp32": trained.files["fp32.mnn"]}
    reference_file = trained.files["reference.npz"]
    return latency.measure(
        files, ranking.schema, reference_file, reference="litert fp32", batches=(1, 4096), seconds=0.5
    )


def test_every_round_times_every_file_once_in_every_way(measured):
    blocks, memory, _ = measured
    counts = blocks.groupby(["variant", "batch", "mode", "threads", "round"]).size()
    ways = 2 * 2 + 1 + 2  # both modes at both batches, opening, and both batches with two threads
    assert (counts == 1).all() and len(counts) == 4 * ways * (blocks["round"].max() + 1)
    assert blocks["round"].max() >= latency.LEAST_ROUNDS
    assert set(memory.index) == {"litert fp32", "mnn fp32", *latency.AGAIN} and memory.between(0.5, 100).all()


def test_blocks_are_long_enough_and_in_random_order(measured):
    blocks, *_ = measured
    assert (blocks["seconds"] >= latency.BLOCK_SECONDS).all()
    orders = {tuple(part["variant"] + part["batch"].astype(str) + part["mode"]) for _, part in blocks.groupby("round")}
    assert len(orders) == blocks["round"].max() + 1


def test_summary_is_medians_and_paired_ratios(measured):
    blocks, *_ = measured
    table = latency.summarise(blocks, reference="litert fp32")
    timed = blocks[blocks["round"] > 0].set_index("round")
    here = timed[(timed["batch"] == 4096) & (timed["mode"] == "run")]
    ours, base = (here[here["variant"] == v]["microseconds"] for v in ("mnn fp32", "litert fp32"))
    row = table.loc[("mnn fp32", 4096, "run", 1)]
    assert row["microseconds"] == ours.median() and row["ratio"] == (ours / base).median()
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert table.loc[("litert fp32", 1, "run", 1), "verdict"] == "no difference"
    assert latency.variants(table) == ["litert fp32", "mnn fp32"]


def test_more_rows_take_longer_and_copies_cost_something(measured):
    table = latency.summarise(measured[0], reference="litert fp32")["microseconds"]
    for variant in ("litert fp32", "mnn fp32"):
        assert table[variant, 4096, "run", 1] > 5 * table[variant, 1, "run", 1]
        assert table[variant, 1, "copy_and_run", 1] > table[variant, 1, "run", 1]
        assert table[variant, 1, "open", 1] > 10 * table[variant, 1, "copy_and_run", 1]


def _blocks(ratio: float, again: float, noise: float) -> pd.DataFrame:
    """Blocks of a machine that drifts twofold between rounds: the pairing must cancel it."""
    rng = np.random.default_rng(0)
    rows = []
    factors = {"base": 1.0, "other": ratio, latency.AGAIN[0]: 1.0, latency.AGAIN[1]: again}
    for number in range(1, 31):
        speed = rng.choice([1.0, 2.0])
        for variant, factor in factors.items():
            time = 10.0 * speed * factor * np.exp(rng.normal(0, noise))
            rows += [(variant, 1, mode, 1, 1, number, time) for mode in ("run", "open")]
    return pd.DataFrame(rows, columns=["variant", "batch", "mode", "threads", "process", "round", "microseconds"])


@pytest.mark.parametrize(
    ("ratio", "again", "verdict"),
    [
        (1.3, 1.0, "slower"),
        (0.7, 1.0, "faster"),
        (1.0, 1.0, "no difference"),
        (1.03, 1.06, "no difference"),
        (0.97, 1.06, "no difference"),
        (1.2, 1.06, "slower"),
    ],
)
def test_verdict_of_known_ratios(ratio, again, verdict):
    table = latency.summarise(_blocks(ratio, again, noise=0.01), reference="base")
    row = table.loc[("other", 1, "run", 1)]
    assert row["verdict"] == verdict and abs(row["ratio"] - ratio) < 0.02
    assert row["floor"] == pytest.approx(max(again - 1, 0.005), abs=0.01)


def test_cells_have_one_width_whatever_the_numbers():
    for ratio in (0.001, 1.0, 900.0):
        summary = latency.summarise(_blocks(ratio, 1.0, 0.01), reference="base")
        memory = pd.Series({"base": 1.0, "other": ratio})
        tables = [
            latency.table(summary, mode="run"),
            latency.interval_table(summary, mode="run"),
            latency.footprint_table(summary, memory),
        ]
        for table in tables:
            for column in table:
                assert table[column].str.len().nunique() == 1, table[column]


def test_a_noise_floor_is_no_ratio():
    assert latency.floor_text(0.0421) == "   +-4 %" and latency.floor_text(1.4) == " +-140 %"
    table = latency.interval_table(latency.summarise(_blocks(1.2, 1.06, 0.01), reference="base"), mode="run")
    assert table["noise floor"].str.fullmatch(r" *\+-[5-7] %").all()


def test_faults_are_named(trained, ranking, tmp_path):
    with pytest.raises(BadInput, match="the reference 'x' is not among the files: a"):
        latency.measure({"a": trained.files["fp32.mnn"]}, ranking.schema, trained.files["reference.npz"], reference="x")
    damaged = tmp_path / "damaged.mnn"
    damaged.write_bytes(b"not a model")
    with pytest.raises(DamagedFile, match="damaged.mnn"):
        latency.measure({"a": damaged}, ranking.schema, trained.files["reference.npz"], reference="a")


def test_comparison_has_the_columns_of_the_contract_first(trained, measured):
    blocks, memory, _ = measured
    files = {"tflite/fp32.tflite": trained.files["fp32.tflite"], "mnn/fp32.mnn": trained.files["fp32.mnn"]}
    parities = {comparison.name_of(file): trained.reference.judge(trained.reference.scores) for file in files}
    table = comparison.build(files, parities, latency.summarise(blocks, reference="litert fp32"), memory)
    contract = (
        "runtime, precision, file, bytes, max_abs_error, accuracy, auc, auc_delta, auc_delta_low, auc_delta_high, "
        "ndcg_at_10, kendall_tau, top10_overlap, distinct_scores, latency_us, latency_ratio, latency_ratio_low, "
        "latency_ratio_high, verdict"
    )
    contract = contract.split(", ")
    assert list(table.columns)[: len(contract)] == contract
    assert table["bytes"].tolist() == [path.stat().st_size for path in files.values()]
    assert table["latency_ratio"].iloc[0] == 1.0 and (table["open_ms"] > 0.01).all() and (table["memory_mb"] > 0).all()


def test_a_count_from_a_slow_moment_does_not_make_short_blocks(monkeypatch):
    from timeit import Timer

    monkeypatch.setitem(latency._timers, (1, "run", 1), Timer("pass"))
    for counted in (None, 1, 10):
        calls, seconds = latency._block(1, "run", 1, counted)
        assert seconds >= latency.BLOCK_SECONDS and calls > 1000


@pytest.mark.parametrize("file", ["fp32.tflite", "fp32.mnn", "model.keras"])
@pytest.mark.parametrize("fault", ["half the rows", "old rows", "an input left out"])
def test_timed_calls_that_do_not_score_what_they_should_are_refused(trained, ranking, file, fault):
    model = runtimes.open_model(trained.files[file], ranking.schema, trusted=True)
    inputs = random_inputs(ranking.schema, 64)
    expected = model.score(inputs)
    latency.check_steps(model.steps(inputs), inputs, expected)
    if fault == "half the rows":
        steps = model.steps({name: array[:32] for name, array in inputs.items()})
    elif fault == "old rows":
        steps = model.steps({name: array.copy() for name, array in random_inputs(ranking.schema, 64, seed=1).items()})
    else:
        steps = model.steps({**inputs, "user_features": inputs["user_features"].copy() * 0})
    with pytest.raises(DamagedFile, match="what is timed is not the scoring"):
        latency.check_steps(steps, inputs, expected)


def test_only_one_process_of_a_machine_times_whatever_its_temporary_folder_and_home(tmp_path, home):
    script = (
        "import time; from helpers.evaluation import latency\n"
        "with latency._alone(): print(time.monotonic()); time.sleep(0.5); print(time.monotonic())"
    )

    def start(name: str) -> subprocess.Popen:
        (tmp_path / name).mkdir()
        places = {"TMPDIR": str(tmp_path / name), "WORKBENCH_HOME": str(tmp_path / name)}
        return subprocess.Popen(
            [sys.executable, "-c", script], env={**os.environ, **places}, stdout=subprocess.PIPE, text=True
        )

    processes = [start(name) for name in ("a", "b", "c")]
    spans = sorted([float(line) for line in process.communicate(timeout=60)[0].split()] for process in processes)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
