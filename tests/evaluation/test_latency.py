import gc
import itertools
import os
import statistics
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from benchmarks import latency_claims
from brought import logistic
from scipy import stats
from support import random_inputs

from helpers import runtimes
from helpers.errors import BadInput, DamagedFile
from helpers.evaluation import comparison, latency
from helpers.schema import Schema, Tensor
from helpers.tasks.ranking import RANKING


@pytest.fixture(scope="module")
def measured(trained, ranking):
    files = {"litert fp32": trained.files["fp32.tflite"], "mnn fp32": trained.files["fp32.mnn"]}
    inputs = trained.reference.inputs
    return latency.measure(
        files, ranking.schema, inputs, reference="litert fp32", batches=(1, 4096), seconds=0.5
    )


def test_every_round_times_every_file_once_in_every_way(measured):
    blocks, memory, _ = measured
    counts = blocks.groupby(["variant", "batch", "mode", "threads", "process", "round"]).size()
    usual, others = 2, 2 + 1 + 2  # the calls without copies, opening, and two threads
    last = blocks.groupby("process")["round"].max()
    seldom = (last // latency.OTHER_WAYS + 1).sum()
    opened = blocks[blocks["mode"] == "open"]
    assert opened["round"].min() == latency.OTHER_WAYS, "every process opens it before it is timed"
    assert (counts == 1).all()
    assert len(counts) == 4 * (usual * (last + 1).sum() + others * seldom - len(last))
    assert (
        last.index.tolist() == list(range(1, latency.PROCESSES + 1))
        and last.min() >= latency.LEAST_ROUNDS
    )
    assert (
        set(memory.index) == {"litert fp32", "mnn fp32", *latency.AGAIN}
        and memory.between(0.5, 100).all()
    )


def test_blocks_are_long_enough_and_in_random_order_way_by_way(measured):
    blocks, *_ = measured
    assert (blocks["seconds"] >= latency.BLOCK_SECONDS).all()
    way = blocks[["batch", "mode", "threads"]].astype(str).agg(" ".join, axis=1)
    rounds = [(part, way[part.index]) for _, part in blocks.groupby(["process", "round"])]
    assert len({tuple(part["variant"] + ways) for part, ways in rounds}) == len(rounds)
    assert all((ways != ways.shift()).sum() == ways.nunique() for _, ways in rounds)


def _by_hand(blocks: pd.DataFrame, reference: str) -> dict[str, tuple[float, float, float, float]]:
    """Ratio, its interval and the noise floor by variant, of blocks timed in one way."""
    names, sets = sorted(blocks["variant"].unique()), sorted(blocks["process"].unique())
    references, values = [reference, *latency.AGAIN], {}
    for one in sets:
        part = blocks[(blocks["process"] == one) & (blocks["round"] > 0)]
        logs = {
            name: np.log(part[part["variant"] == name].set_index("round")["microseconds"])
            for name in names
        }
        for name in names:
            paired = []
            for number, log in logs[name].items():
                strays = [logs[other][number] - statistics.median(logs[other]) for other in names]
                paired.append(log - statistics.median(strays))
            values[name, one] = sorted(paired)[round((len(paired) - 1) / 4)]

    file_of = {name: reference if name in references else name for name in names}
    level = {
        f: np.mean([values[n, s] for n in names if file_of[n] == f for s in sets])
        for f in file_of.values()
    }
    rest = {(n, s): values[n, s] - level[file_of[n]] for n in names for s in sets}
    shift = {s: statistics.median(rest[n, s] for n in names) for s in sets}
    squares, freedom = dict.fromkeys(level, 0.0), dict.fromkeys(level, -1)
    for (name, one), value in rest.items():
        squares[file_of[name]] += (value - shift[one]) ** 2
        freedom[file_of[name]] += 1
    total = len(names) * len(sets) - len(level) - len(sets) + 1
    wildest = max(level, key=lambda f: squares[f] / freedom[f])
    others = [f for f in level if f != wildest]
    usual = sum(squares[f] for f in others) / sum(freedom[f] for f in others)
    squares[wildest] = min(squares[wildest], 12 * usual * freedom[wildest])
    variance = sum(squares.values()) / total

    student, found = stats.t.ppf(0.98, total), {}
    for name in names:
        others = [other for other in references if other != name]
        others = others if name in references else references
        differences = [
            values[name, s] - np.mean([values[other, s] for other in others]) for s in sets
        ]
        half = student * np.sqrt(variance / len(sets) * (1 + 1 / len(others)))
        mean = np.mean(differences)
        low, high = min(mean - half, *differences), max(mean + half, *differences)
        floor = student * np.sqrt(variance / len(sets) * (1 + 1 / len(references)))
        found[name] = (*np.exp([mean, low, high]), np.exp(floor) - 1)
    found[reference] = (1.0, 1.0, 1.0, found[reference][3])
    return found


@pytest.mark.parametrize("sets", [2, 3])
@pytest.mark.parametrize("rounds", [4, 5])
@pytest.mark.parametrize("wild", [1.0, 3.0])
def test_summary_is_that_of_an_independent_computation(sets, rounds, wild):
    blocks, _ = latency_claims.blocks(
        1, rounds, 0.02, sets=sets, processes_differ=0.02, slow_share=0.1
    )
    blocks.loc[(blocks["variant"] == "file 3") & (blocks["process"] == 2), "microseconds"] *= wild
    warm_up = blocks[blocks["round"] == 1].assign(round=0, microseconds=1e6)
    table = latency.summarise(pd.concat([warm_up, blocks]), reference="reference").droplevel(
        [1, 2, 3]
    )
    expected = pd.DataFrame(_by_hand(blocks, "reference")).T
    found = table.loc[expected.index, ["ratio", "ratio_low", "ratio_high", "floor"]]
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=1e-9)
    times = blocks.groupby("variant")["microseconds"]
    assert (table["microseconds"] == times.median()).all() and (
        table["p90"] == times.quantile(0.9)
    ).all()
    claims = np.select(
        [table["ratio_high"] < 1, table["ratio_low"] > 1], ["faster", "slower"], "no difference"
    )
    assert table["verdict"].tolist() == claims.tolist()


def test_a_file_whose_processes_disagree_is_not_claimed_and_does_not_drown_the_others():
    blocks, _ = latency_claims.blocks(20, 5, 0.01, processes_differ=0.02)
    wild = (blocks["variant"] == "file 1") & (blocks["process"] == 2)
    calm = latency.summarise(blocks, reference="reference")
    blocks.loc[wild, "microseconds"] *= 3
    table = latency.summarise(blocks, reference="reference")
    row = table.loc["file 1"]
    assert (row["ratio_low"] < 1.1).all() and (row["ratio_high"] > 2.7).all()
    assert table["floor"].max() < 0.1 and table["floor"].median() < 1.6 * calm["floor"].median()


def test_summary_of_a_measurement_names_every_file(measured):
    blocks, *_ = measured
    table = latency.summarise(blocks, reference="litert fp32")
    row = table.loc["litert fp32"]
    assert (row[["ratio", "ratio_low", "ratio_high"]] == 1).all(axis=None) and (
        row["verdict"] == "no difference"
    ).all()
    assert latency.variants(table) == ["litert fp32", "mnn fp32"] and table["floor"].gt(0).all()
    assert table.groupby(["batch", "mode", "threads"]).size().eq(4).all() and len(table) == 4 * 7


def test_one_set_of_processes_has_the_reference_alone_to_tell_the_noise():
    blocks, _ = latency_claims.blocks(1, 5, 0.01, sets=1)
    table = latency.summarise(blocks, reference="reference")
    references = table.loc[["reference", *latency.AGAIN]]
    assert (
        table["floor"].between(0.001, 0.2).all()
        and (references["verdict"] == "no difference").all()
    )


def test_more_rows_take_longer_and_copies_cost_something(measured):
    """By the shortest block of each: other tests share the machine, and some ways are timed
    seldom.
    """
    table = measured[0].groupby(["variant", "batch", "mode", "threads"])["microseconds"].min()
    for variant in ("litert fp32", "mnn fp32"):
        assert table[variant, 4096, "run", 1] > 5 * table[variant, 1, "run", 1]
        assert table[variant, 1, "copy_and_run", 1] > table[variant, 1, "run", 1]
        assert table[variant, 1, "open", 1] > 10 * table[variant, 1, "copy_and_run", 1]


def _blocks(ratio: float, differ: float, noise: float) -> pd.DataFrame:
    """Blocks of a machine that drifts twofold between rounds: the pairing must cancel it.

    Processes of a file differ by the factor 1 + `differ`, one set to the other, some this way and
    some that.
    """
    rng = np.random.default_rng(0)
    rows = []
    factors = {"base": (1, 1), latency.AGAIN[0]: (1 + differ, 1), latency.AGAIN[1]: (1, 1 + differ)}
    factors["other"] = (ratio, ratio)
    for process, number in itertools.product((1, 2), range(1, 16)):
        speed = rng.choice([1.0, 2.0])
        for variant, factor in factors.items():
            time = 10.0 * speed * factor[process - 1] * np.exp(rng.normal(0, noise))
            rows += [(variant, 1, mode, 1, process, number, time) for mode in ("run", "open")]
    return pd.DataFrame(
        rows, columns=["variant", "batch", "mode", "threads", "process", "round", "microseconds"]
    )


@pytest.mark.parametrize(
    ("ratio", "differ", "verdict"),
    [
        (1.3, 0.0, "slower"),
        (0.7, 0.0, "faster"),
        (1.0, 0.0, "no difference"),
        (1.06, 0.08, "no difference"),
        (0.94, 0.08, "no difference"),
        (1.3, 0.08, "slower"),
    ],
)
def test_verdict_of_known_ratios(ratio, differ, verdict):
    table = latency.summarise(_blocks(ratio, differ, noise=0.005), reference="base")
    row = table.loc[("other", 1, "run", 1)]
    assert row["verdict"] == verdict and abs(row["ratio"] / ratio * (1 + differ / 3) - 1) < 0.02
    assert row["ratio_low"] < row["ratio"] < row["ratio_high"]
    assert row["floor"] > 0.06 if differ else row["floor"] < 0.02


def test_a_measurement_too_noisy_for_a_tenth_says_so_and_what_to_do():
    calm, wild = (latency_claims.blocks(1, 5, noise)[0] for noise in (0.002, 0.2))
    assert latency.warning(latency.summarise(calm, reference="reference")) == ""
    both = pd.concat([calm, wild.assign(mode="open"), wild.assign(batch=8)])
    summary = latency.summarise(both, reference="reference")
    said = latency.warning(summary)
    batch, mode, _ = summary["floor"].idxmax()[1:]
    assert (
        f"largest: {100 * summary['floor'].max():.0f} %, batch {batch}, {mode}, threads 1)" in said
    )
    assert (
        "a true difference of 10 % may go unseen in 2 of 3 ways of timing" in said
        and "above 6 %" in said
    )
    assert "latency_seconds" in said and "thorough" in said


@pytest.mark.slow
def test_claims_are_right_in_every_kind_of_noise_and_a_tenth_is_seen():
    table = latency_claims.study(300, rounds=(5, 7, 20))
    assert (table["false claims"] <= 0.05).all() and (table["coverage"] >= 0.93).all(), (
        table.to_string()
    )
    lasting = table["case"].isin(["both", "all three"]) & (
        table["noise"] == latency_claims.NOISE[-1]
    )
    assert (table["power"] >= np.where(lasting, 0.88, 0.95)).all(), table.to_string()


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
    assert latency.floor_text(0.0421) == "   ±4 %" and latency.floor_text(1.4) == " ±140 %"
    table = latency.interval_table(
        latency.summarise(_blocks(1.2, 1.06, 0.01), reference="base"), mode="run"
    )
    assert (
        table["noise floor"].str.fullmatch(r" *±\d+ %").all()
        and table["noise floor"].nunique() == 1
    )


def test_faults_are_named(trained, ranking, tmp_path):
    with pytest.raises(BadInput, match="the reference 'x' is not among the files: a"):
        latency.measure(
            {"a": trained.files["fp32.mnn"]},
            ranking.schema,
            trained.reference.inputs,
            reference="x",
        )
    damaged = tmp_path / "damaged.mnn"
    damaged.write_bytes(b"not a model")
    with pytest.raises(DamagedFile, match="damaged.mnn"):
        latency.measure({"a": damaged}, ranking.schema, trained.reference.inputs, reference="a")


@pytest.mark.slow
@pytest.mark.parametrize("doomed", [1, latency.PROCESSES])
def test_a_file_whose_process_dies_while_it_is_timed_is_left_out(
    monkeypatch, trained, ranking, doomed
):
    opened = []

    class Dying(latency.Child):
        def call(self, function, **arguments):
            if (
                self.purpose == "time fp32.mnn"
                and function.endswith(":_block")
                and arguments["mode"] == "open"
            ):
                opened.append(self)
                if len(set(opened)) == doomed:
                    self.kill()
            return super().call(function, **arguments)

    monkeypatch.setattr(latency, "Child", Dying)
    files = {"litert fp32": trained.files["fp32.tflite"], "mnn fp32": trained.files["fp32.mnn"]}
    options = {"reference": "litert fp32", "batches": (1,), "threads": (1,), "seconds": 0.1}
    blocks, memory, failed = latency.measure(
        files, ranking.schema, trained.reference.inputs, **options
    )
    assert (
        list(failed) == ["mnn fp32"]
        and "time fp32.mnn: the native code ended the process" in failed["mnn fp32"]
    )
    assert set(blocks["variant"]) == set(memory.index) == {"litert fp32", *latency.AGAIN}
    assert blocks["process"].max() == latency.PROCESSES
    assert latency.variants(latency.summarise(blocks, reference="litert fp32")) == ["litert fp32"]


def test_comparison_has_the_columns_of_the_contract_first(trained, measured):
    blocks, memory, _ = measured
    files = {
        "tflite/fp32.tflite": trained.files["fp32.tflite"],
        "mnn/fp32.mnn": trained.files["fp32.mnn"],
    }
    parities = {
        comparison.name_of(file): trained.reference.judge(trained.reference.outputs)
        for file in files
    }
    table = comparison.build(
        RANKING, files, parities, latency.summarise(blocks, reference="litert fp32"), memory
    )
    contract = (
        "runtime, precision, file, bytes, max_abs_error, accuracy, auc, auc_delta, auc_delta_low, "
        "auc_delta_high, ndcg_at_10, kendall_tau, top10_overlap, distinct_scores, latency_us, "
        "latency_ratio, latency_ratio_low, latency_ratio_high, verdict"
    )
    contract = contract.split(", ")
    assert list(table.columns)[: len(contract)] == contract
    assert table["bytes"].tolist() == [path.stat().st_size for path in files.values()]
    assert (
        table["latency_ratio"].iloc[0] == 1.0
        and (table["open_ms"] > 0.01).all()
        and (table["memory_mb"] > 0).all()
    )


def test_a_count_from_a_slow_moment_does_not_make_short_blocks(monkeypatch):
    """By a clock that no other process stops: calls of a tenth of a microsecond."""

    class Steady:
        @staticmethod
        def timeit(calls: int) -> float:
            return calls * 1e-7

    monkeypatch.setitem(latency._timers, (1, "run", 1), Steady)
    for counted in (None, 1, 10, 19_999):
        calls, seconds = latency._block(1, "run", 1, counted)
        assert latency.BLOCK_SECONDS <= seconds <= 1.2 * latency.BLOCK_SECONDS
        assert calls == pytest.approx(seconds / 1e-7)
    assert latency._block(1, "run", 1, 50_000)[0] == 50_000, "long enough already"


@pytest.mark.parametrize("file", ["fp32.tflite", "fp32.mnn", "model.keras"])
@pytest.mark.parametrize("fault", ["half the rows", "old rows", "an input left out"])
def test_timed_calls_that_do_not_score_what_they_should_are_refused(trained, ranking, file, fault):
    model = runtimes.open_model(trained.files[file], ranking.schema, trusted=True)
    inputs = random_inputs(ranking.schema, 64)
    expected = model.predict(inputs)
    latency.check_steps(model.steps(inputs), inputs, expected)
    if fault == "half the rows":
        steps = model.steps({name: array[:32] for name, array in inputs.items()})
    elif fault == "old rows":
        steps = model.steps(
            {
                name: array.copy()
                for name, array in random_inputs(ranking.schema, 64, seed=1).items()
            }
        )
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
            [sys.executable, "-c", script],
            env={**os.environ, **places},
            stdout=subprocess.PIPE,
            text=True,
        )

    processes = [start(name) for name in ("a", "b", "c")]
    spans = sorted(
        [float(line) for line in process.communicate(timeout=60)[0].split()]
        for process in processes
    )
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_trained_file_is_timed_with_the_threads_that_are_said(tmp_path, monkeypatch):
    """Of ONNX Runtime; TensorFlow's are those of the process."""
    path, _ = logistic(tmp_path / "trained.onnx")
    declared = Schema("s", (Tensor("X", shape=(5,)),), (Tensor("y", shape=(1,)),))
    inputs, asked, used = tmp_path / "rows.npz", [], []
    np.savez(inputs, X=np.ones((4, 5), np.float32))

    def recorded(*arguments, threads, **options):
        asked.append(threads)
        model = runtimes.open_model(*arguments, threads=threads, **options)
        steps = model.steps
        model.steps = lambda rows: (used.append(threads), steps(rows))[1]
        return model

    monkeypatch.setattr(latency, "open_model", recorded)
    monkeypatch.setattr(latency, "_timers", {})
    monkeypatch.setattr(gc, "disable", lambda: None)
    ways = [(1, "copy_and_run", 1), (2, "copy_and_run", 1), (1, "copy_and_run", 2)]
    latency._open(str(path), declared.to_json(), str(inputs), ways)
    assert asked == [1, 2] and used == [1, 1, 2]
