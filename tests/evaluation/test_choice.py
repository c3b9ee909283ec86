import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import parameters
from helpers.errors import BadInput
from helpers.evaluation import choice
from helpers.evaluation.choice import Budget
from helpers.tasks.ranking import RANKING

NAMES = [
    "runtime",
    "precision",
    "bytes",
    "auc_delta_low",
    "latency_ratio",
    "kendall_tau",
    "verdict",
]
FILES = [
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
    table = pd.DataFrame(FILES, columns=NAMES)
    table["file"] = table["runtime"] + "/" + table["precision"]
    table["auc"] = 0.9
    return _without_intervals(table)


def _without_intervals(table):
    return table.assign(
        latency_ratio_low=table["latency_ratio"], latency_ratio_high=table["latency_ratio"]
    )


@pytest.mark.parametrize(
    ("budget", "prefer", "file"),
    [
        (Budget(), "agreement", "litert/fp32"),
        (Budget(), "bytes", "litert/weight_int4"),
        (Budget(), "latency", "mnn/fp32"),
        (Budget(bytes=3500), "agreement", "litert/fp16"),
        (Budget(bytes=2000), "agreement", "litert/weight_int4"),
        (Budget(loss=0.001), "bytes", "litert/fp16"),
        (Budget(latency_ratio=0.85), "bytes", "mnn/fp32"),
        (Budget(latency_ratio=0.95), "bytes", "mnn/fp32"),
        (Budget(bytes=4000, loss=0.01, latency_ratio=1.0), "agreement", "litert/fp32"),
    ],
)
def test_the_file_that_keeps_the_budget_and_is_preferred(comparison, budget, prefer, file):
    found = choice.recommend(RANKING, comparison, budget, prefer)
    assert found.met and found.file == file
    row = found.table[found.table["file"] == file].iloc[0]
    costs = f"{row['bytes']:,} bytes, {row['latency_ratio']:.2f}x the latency of LiteRT fp32"
    if file == "litert/fp32":  # is that itself
        costs = "4,000 bytes"
    assert found.sentence.startswith(f"Ship {file.replace('/', ' ')} ({costs}): ")


@pytest.mark.parametrize(
    ("budget", "prefer", "sentence"),
    [
        (
            Budget(),
            "agreement",
            "Ship litert fp32 (4,000 bytes): its scores are the model's. One other file has the "
            "same scores; it is no smaller. 5 of 6 files may be shipped; 1 is broken.",
        ),
        (
            Budget(bytes=3500),
            "agreement",
            "Ship litert fp16 (3,000 bytes, 1.00x the latency of LiteRT fp32): it ranks most like "
            "the trained model, with Kendall tau 1.000, at most 0.0001 AUC lost. 2 of 6 files "
            "keep the budget (at most 3,500 bytes); 1 is broken.",
        ),
        (
            Budget(bytes=2000),
            "agreement",
            "Ship litert weight_int4 (2,000 bytes, 1.20x the latency of LiteRT fp32): Kendall tau "
            "0.970, at most 0.0050 AUC lost. Of 6 files it alone keeps the budget (at most 2,000 "
            "bytes); 1 is broken.",
        ),
        (
            Budget(loss=0.0),
            "latency",
            "Ship mnn fp32 (5,000 bytes, 0.80x the latency of LiteRT fp32): it is the fastest; its "
            "scores are the model's. 2 of 6 files keep the budget (at most 0 AUC lost); 1 is "
            "broken.",
        ),
    ],
)
def test_the_sentence_in_full(comparison, budget, prefer, sentence):
    assert choice.recommend(RANKING, comparison, budget, prefer).sentence == sentence


def test_files_of_the_same_scores_are_counted_and_said_to_be_no_smaller(comparison):
    same = comparison[comparison["verdict"] == "same"]
    third = same.iloc[-1:].assign(precision="fp32_conv", file="mnn/fp32_conv")
    of_three = choice.recommend(RANKING, pd.concat([same, third]), Budget(loss=0.01)).sentence
    assert of_three == (
        "Ship litert fp32 (4,000 bytes): its scores are the model's. Two other files have the same "
        "scores; neither is smaller. All 3 files keep the budget (at most 0.01 AUC lost)."
    )
    of_one = choice.recommend(RANKING, same[:2], Budget(loss=0.01)).sentence
    assert of_one == (
        "Ship litert fp32 (4,000 bytes): its scores are the model's. It is the only file, and "
        "keeps the budget (at most 0.01 AUC lost)."
    )


def test_against_a_search_over_random_tables():
    """The recommended file by brute force: filter, then the smallest key, written out for each
    preference.
    """
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
        table["latency_ratio_low"] = table["latency_ratio"]
        table["latency_ratio_high"] = table["latency_ratio"] + rng.integers(0, 3, size) / 2
        budget = Budget(
            bytes=rng.integers(1, 6) * 1000,
            loss=rng.integers(1, 3) / 100,
            latency_ratio=rng.integers(1, 4) / 2,
        )
        prefer = rng.choice(list(choice.PREFERENCES))
        found = choice.recommend(RANKING, table, budget, prefer)
        good = [r for r in table.itertuples() if r.verdict != "broken"]
        kept = [
            r
            for r in good
            if r.bytes <= budget.bytes
            and -r.auc_delta_low <= budget.loss
            and r.latency_ratio_high <= budget.latency_ratio
        ]
        keys = {
            "agreement": lambda r: (r.verdict != "same", -r.kendall_tau, r.bytes, r.latency_ratio),
            "bytes": lambda r: (r.bytes, r.verdict != "same", -r.kendall_tau, r.latency_ratio),
            "latency": lambda r: (r.latency_ratio, r.verdict != "same", -r.kendall_tau, r.bytes),
        }
        if kept:
            kept.sort(key=lambda r: (-r.auc_delta_low, r.file))
            assert found.met and found.file == min(kept, key=keys[prefer]).file
        else:
            assert not found.met and (found.file is None) == (not good)
        beaten = {
            r.file
            for r in good
            for o in good
            if (o.bytes, -o.auc_delta_low, o.latency_ratio)
            != (r.bytes, -r.auc_delta_low, r.latency_ratio)
            and o.bytes <= r.bytes
            and o.auc_delta_low >= r.auc_delta_low
            and o.latency_ratio <= r.latency_ratio
        }
        assert (
            set(found.table.loc[found.table["pareto"], "file"]) == {r.file for r in good} - beaten
        )


RANDOM = settings(max_examples=100, deadline=None, derandomize=True, database=None)
VERDICTS = ("same", "ships with loss", "broken", "too few rows", "not made")
NAN = float("nan")


@st.composite
def tables(draw):
    """Comparison tables of up to eight files: every verdict, ties, figures that are nearly equal or
    undefined.
    """

    def figure(*values: float):
        return st.sampled_from([*values, *values, NAN])

    size = draw(st.integers(0, 8))
    rows = [
        {
            "runtime": "mnn",
            "precision": f"p{name}",
            "file": f"f{name}",
            "bytes": 1000 * draw(st.integers(1, 3)),
            "auc_delta_low": draw(figure(-0.02, -0.005, -0.001, 0.0, 0.001)),
            "latency_ratio": (ratio := draw(figure(0.5, 0.97, 0.98, 1.0, 1.02, 1.03, 1.06, 1.5))),
            "latency_ratio_low": ratio,
            "latency_ratio_high": ratio * draw(figure(1.0, 1.04, 2.0)),
            "kendall_tau": draw(figure(0.91, 0.9978, 0.9985, 0.9991, 0.9995, 1.0)),
            "verdict": draw(st.sampled_from(VERDICTS[:2]) | st.sampled_from(VERDICTS)),
        }
        for name in draw(st.permutations(range(size)))
    ]
    keras = pd.DataFrame([FILES[0]], columns=NAMES).assign(file="model.keras")
    return pd.concat([_without_intervals(keras), pd.DataFrame(rows)], ignore_index=True).assign(
        auc=0.9
    )


def _limit(*values: float):
    return st.none() | st.sampled_from(values)


BUDGETS = st.builds(
    Budget,
    bytes=_limit(1000, 2000),
    loss=_limit(0.0, 0.005, 0.01),
    latency_ratio=_limit(0.5, 1.0, 1.05, 1.5),
)
PREFERENCES = st.sampled_from(list(choice.PREFERENCES))


def _measures(row) -> tuple:
    """What a file costs, lower is better; Kendall tau does not count where scores are the same."""
    tau = 1.0 if row.verdict == "same" and np.isnan(row.kendall_tau) else row.kendall_tau
    return row.bytes, max(-row.auc_delta_low, 0), row.latency_ratio, (row.verdict != "same", -tau)


def _whole(row) -> bool:
    """Whether a file may be shipped and every figure that counts is defined."""
    _, loss, ratio, (_, tau) = _measures(row)
    return (
        row.verdict in ("same", "ships with loss")
        and not np.isnan([loss, ratio, row.latency_ratio_high, tau]).any()
    )


def _within(row, budget: Budget) -> bool:
    pairs = (
        (row.bytes, budget.bytes),
        (-row.auc_delta_low, budget.loss),
        (row.latency_ratio_high, budget.latency_ratio),
    )
    return all(limit is None or value <= limit for value, limit in pairs)


@pytest.mark.slow
@RANDOM
@given(table=tables(), budget=BUDGETS, prefer=PREFERENCES)
def test_what_is_recommended_is_whole_within_the_budget_and_never_dominated(table, budget, prefer):
    found = choice.recommend(RANKING, table, budget, prefer)
    files = {row.file: row for row in table.itertuples() if row.runtime != "keras" and _whole(row)}
    within = {name: row for name, row in files.items() if _within(row, budget)}
    assert found.met == bool(within) and (found.file is None) == (not files)
    assert set(found.table.loc[found.table["within"], "file"]) == set(within)
    assert found.file in (within or files or [None])
    if found.met:
        own = _measures(within[found.file])
        for other in map(_measures, within.values()):
            assert other == own or any(
                theirs > ours for theirs, ours in zip(other, own, strict=True)
            )


@pytest.mark.parametrize(
    ("measure", "better"),
    [("latency_ratio", 0.99), ("kendall_tau", 0.9998), ("auc_delta_low", 0.0)],
)
@pytest.mark.parametrize("prefer", choice.PREFERENCES)
def test_of_files_that_steps_do_not_tell_apart_the_better_is_chosen(
    comparison, measure, better, prefer
):
    both = comparison[comparison["file"].isin(["litert/fp16", "mnn/fp32"])].copy()
    both = both.assign(bytes=3000, auc_delta_low=-0.001, latency_ratio=1.0, kendall_tau=0.9995)
    both["verdict"] = "ships with loss"
    both.loc[both["file"] == "mnn/fp32", measure] = better
    assert choice.recommend(RANKING, both, Budget(), prefer).file == "mnn/fp32"


@pytest.mark.slow
@RANDOM
@given(table=tables(), budget=BUDGETS, prefer=PREFERENCES, random=st.randoms(use_true_random=False))
def test_the_order_of_rows_and_files_that_are_not_chosen_change_nothing(
    table, budget, prefer, random
):
    found = choice.recommend(RANKING, table, budget, prefer)
    order = random.sample(range(len(table)), len(table))
    again = choice.recommend(RANKING, table.iloc[order], budget, prefer)
    assert (again.file, again.met, again.sentence) == (found.file, found.met, found.sentence)
    without = table[(table["file"] == found.file) | (np.array(order) % 2 == 0)]
    fewer = choice.recommend(RANKING, without, budget, prefer)
    assert (fewer.file, fewer.met) == (found.file, found.met)


@RANDOM
@given(table=tables(), budget=BUDGETS, prefer=PREFERENCES)
def test_the_sentence_says_what_is_true(table, budget, prefer):
    found = choice.recommend(RANKING, table, budget, prefer)
    converted = table[(table["runtime"] != "keras") & (table["verdict"] != "not made")]
    few, broken = (
        (converted["verdict"] == verdict).sum() for verdict in ("too few rows", "broken")
    )
    untimed = converted[
        converted["verdict"].isin(VERDICTS[:2]) & converted["latency_ratio_high"].isna()
    ]
    for number, said in (
        (few, "too few test rows to tell"),
        (broken, "broken"),
        (len(untimed), "could not be timed"),
    ):
        assert (said in found.sentence) == bool(number)
    if found.met:
        rows = [row for row in converted.itertuples() if _whole(row) and _within(row, budget)]
        size, _, ratio, agreement = _measures(next(row for row in rows if row.file == found.file))
        sizes, _, ratios, agreements = zip(*map(_measures, rows), strict=True)
        assert "is the smallest" not in found.sentence or size == min(sizes)
        assert "is the fastest" not in found.sentence or ratio == min(ratios)
        assert "it ranks most like" not in found.sentence or agreement == min(agreements)
        if "have the same scores" in found.sentence or "has the same scores" in found.sentence:
            assert agreement[0] == 0 and sum(other[0] == 0 for other in agreements) > 1
        assert "fastest (5 % counts" not in found.sentence or ratio <= 1.05 * min(ratios)


def test_a_budget_that_nothing_meets_names_the_closest_and_by_how_much(comparison):
    found = choice.recommend(RANKING, comparison, Budget(bytes=1900, latency_ratio=1.2))
    assert not found.met and found.file == "litert/weight_int4"
    assert (
        "Nothing meets the budget (at most 1,900 bytes, at most 1.2x the latency of LiteRT fp32; 1 "
        "is broken)" in found.sentence
    )
    assert (
        "bytes 2,000 where 1,900 is allowed" in found.sentence
        and "latency ratio" not in found.sentence
    )


def test_a_broken_file_is_never_shipped(comparison):
    assert choice.recommend(RANKING, comparison, Budget(bytes=1000)).file != "mnn/int8"
    comparison["verdict"] = "broken"
    comparison["auc_delta_low"] = np.nan
    found = choice.recommend(RANKING, comparison, Budget())
    assert (
        found.file is None and found.sentence == "Ship nothing: all 6 converted files are broken."
    )
    assert not found.table["pareto"].any()


@pytest.mark.parametrize(
    ("few", "left", "sentence"),
    [
        (
            3,
            0,
            (
                "Ship nothing: of the 6 converted files 3 are broken and 3 have too few test rows "
                "to tell."
            ),
        ),
        (6, 0, "Ship nothing: all 6 converted files have too few test rows to tell."),
        (
            5,
            0,
            (
                "Ship nothing: of the 6 converted files 1 is broken and 5 have too few test rows to"
                " tell."
            ),
        ),
        (
            2,
            4,
            "Ship litert fp16 (3,000 bytes, 1.00x the latency of LiteRT fp32): it ",
        ),
    ],
)
def test_files_judged_on_too_few_rows_are_not_shipped_and_counted(comparison, few, left, sentence):
    files = comparison["runtime"] != "keras"
    comparison.loc[files, "verdict"] = ["too few rows"] * few + [
        "ships with loss" if left else "broken"
    ] * (6 - few)
    found = choice.recommend(RANKING, comparison, Budget()).sentence
    assert found.startswith(sentence)
    if left:
        assert "4 of 6 files may be shipped; 2 have too few test rows to tell." in found


def test_a_file_that_could_not_be_timed_is_not_recommended(comparison):
    comparison.loc[comparison["file"] == "litert/fp32", ["latency_ratio", "latency_ratio_high"]] = (
        np.nan
    )
    found = choice.recommend(RANKING, comparison, Budget())
    assert (
        found.file == "mnn/fp32"
        and "4 of 6 files may be shipped; 1 is broken, 1 could not be timed." in found.sentence
    )
    assert "1 could not be timed" in choice.recommend(RANKING, comparison, Budget(bytes=1)).sentence
    one = choice.recommend(RANKING, comparison[comparison["file"] == "litert/fp32"], Budget())
    assert one.sentence == "Ship nothing: the only converted file could not be timed."
    assert (
        choice.recommend(RANKING, comparison[:1], Budget()).sentence
        == "Ship nothing: no file was converted."
    )


def test_an_undefined_loss_is_not_within_any_budget(comparison):
    comparison.loc[comparison["file"] == "litert/fp32", "auc_delta_low"] = np.nan
    found = choice.recommend(RANKING, comparison, Budget(loss=0.01))
    assert found.file == "mnn/fp32" and "1 has undefined figures" in found.sentence


def test_where_requests_have_one_row_no_kendall_tau_is_needed_of_the_same_scores(comparison):
    comparison["kendall_tau"] = np.nan
    assert choice.recommend(RANKING, comparison, Budget()).file == "litert/fp32"


def test_a_budget_of_latency_looks_at_the_pessimistic_end(comparison):
    comparison.loc[comparison["file"] == "mnn/fp32", "latency_ratio_high"] = 0.9
    found = choice.recommend(RANKING, comparison, Budget(latency_ratio=0.85))
    assert not found.met and found.file == "mnn/fp32"
    assert "latency ratio 0.9 where 0.85 is allowed" in found.sentence
    assert choice.recommend(RANKING, comparison, Budget(latency_ratio=0.9)).met


def test_less_than_the_noise_decides_nothing_and_is_not_called_more(comparison):
    files = ["mnn/fp32", "mnn/weight_int4"]
    comparison.loc[comparison["file"].isin(files), "latency_ratio"] = [0.99, 1.0]
    found = choice.recommend(RANKING, comparison, Budget(), "latency")
    assert found.file == "litert/fp32"
    said = (
        " it is one of the 4 fastest (5 % counts as none; the others are less like the trained "
        "model, or no smaller)"
    )
    assert said in found.sentence
    comparison.loc[comparison["file"] == "mnn/fp32", "latency_ratio"] = 0.97
    found = choice.recommend(RANKING, comparison, Budget(), "latency")
    assert found.file == "mnn/fp32" and ": it is the fastest; its scores" in found.sentence


def test_a_model_that_learned_nothing_is_not_shipped_in_silence(comparison):
    comparison["auc"] = 0.501
    assert (
        "ranks hardly better than chance (AUC 0.501): train it again."
        in choice.recommend(RANKING, comparison, Budget()).sentence
    )
    comparison["auc"] = 0.9
    assert "chance" not in choice.recommend(RANKING, comparison, Budget()).sentence


def test_bad_budgets_are_refused(comparison):
    with pytest.raises(
        BadInput, match="prefer must be one of agreement, bytes, latency, not 'size'"
    ):
        choice.recommend(RANKING, comparison, Budget(), "size")
    with pytest.raises(BadInput, match="the budget's AUC lost must not be negative: -1"):
        choice.recommend(RANKING, comparison, Budget(loss=-1))
    assert parameters.TABLE["prefer"] == tuple(choice.PREFERENCES)


def test_parameters_say_no_limit_with_zero():
    limits = {"budget_bytes": 4000, "budget_loss": 0.0, "budget_latency_ratio": 0.0}
    assert choice.from_parameters(limits) == Budget(bytes=4000)
    assert (
        Budget().text(RANKING, "x") == "no limits"
        and Budget(bytes=4000, loss=0.01).text(RANKING, "x")
        == "at most 4,000 bytes, at most 0.01 AUC lost"
    )


def test_the_table_marks_what_is_shipped(comparison):
    shown = choice.table(choice.recommend(RANKING, comparison, Budget(bytes=4000)))
    assert shown.loc["litert fp32", "choice"] == "ship" and (shown["choice"] == "ship").sum() == 1
    assert shown.loc["mnn fp32", "within budget"] == "no"
    comparison["latency_ratio_high"] = np.nan
    shown = choice.table(choice.recommend(RANKING, comparison, Budget()))
    assert "ship" not in set(shown["choice"])
