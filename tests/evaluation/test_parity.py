import dataclasses
import re

import numpy as np
import pytest
from support import Scoring

from helpers import datasets, runtimes
from helpers.errors import DamagedFile, ParityError
from helpers.evaluation import parity
from helpers.metrics import ranking as metrics
from helpers.tasks import Truth
from helpers.tasks import ranking as task
from helpers.tasks.judgement import SAME_ERROR, TOO_FEW
from helpers.tasks.ranking import RANKING


@pytest.fixture
def judge(trained):
    return lambda scores: trained.reference.judge({"ranking_score": scores})


def test_the_reference_is_the_same_as_itself(trained, judge):
    result = judge(trained.reference.scores)
    assert (result.verdict, result.max_abs_error, result.kendall_tau, result.top10_overlap) == (
        "same",
        0,
        1,
        1,
    )
    assert (result.auc_delta, result.auc_delta_low, result.auc_delta_high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        (lambda s: s + np.float32(2e-7), "same", "no score moves by more than 1e-05"),
        (lambda s: s + np.float32(2e-5), "ships with loss", "scores move by up to 2e-05"),
        (lambda s: np.round(s * 128) / 128, "ships with loss", "scores move"),
        (lambda s: np.full_like(s, 0.5), "broken", "constant"),
        (lambda s: 1 - s, "broken", "wrong order"),
        (lambda s: np.random.default_rng(0).permutation(s), "broken", "wrong order"),
        (
            lambda s: np.where(np.arange(len(s))[:, None] == 17, np.nan, s),
            "broken",
            "non-finite: 1 of",
        ),
        (lambda s: s * np.float32(np.inf), "broken", "non-finite"),
    ],
)
def test_verdicts_and_their_reasons(trained, judge, change, verdict, reason):
    result = judge(change(trained.reference.scores))
    assert result.verdict == verdict and reason in result.reason


def test_one_score_for_all_rows_is_a_static_batch(judge):
    with pytest.raises(ParityError, match="static batch: 1 scores for 4200 rows"):
        judge(np.zeros((1, 1)))


def test_a_loss_of_auc_that_keeps_the_order_is_below_threshold():
    """Order within requests kept, scores between requests shuffled: only the overall AUC tells."""
    rng = np.random.default_rng(0)
    requests = np.repeat(np.arange(200), 20)
    reference = rng.random(4000)
    labels = (rng.random(4000) < reference).astype(int)
    shifted = reference + np.repeat(rng.normal(0, 2, 200), 20)
    result = task.compare(shifted, reference, labels, requests)
    assert (
        result.kendall_tau == 1
        and result.verdict == "broken"
        and "below threshold" in result.reason
    )


class StaleBatch(Scoring):
    """A runtime that answers with the rows of an earlier batch when the batch shrinks, as an
    unresized session does.
    """

    def __init__(self, model):
        self.model, self.kept = model, None

    def score(self, inputs):
        scores = self.model.score(inputs)
        if self.kept is not None and len(scores) < len(self.kept):
            return self.kept[: len(scores)]
        self.kept = scores
        return scores


def test_batches_must_agree(trained, ranking):
    model = runtimes.open_model(trained.files["fp32.tflite"], ranking.schema, trusted=True)
    parity.check_batches(model, trained.reference.inputs)
    with pytest.raises(
        ParityError, match="batches disagree: in batches of 1 rows score differently"
    ):
        parity.check_batches(StaleBatch(model), trained.reference.inputs)


def test_examine_gives_a_verdict_where_scoring_fails(trained, ranking):
    model = runtimes.open_model(trained.files["fp32.tflite"], ranking.schema, trusted=True)
    assert parity.examine(model, trained.reference).verdict == "same"
    stale = parity.examine(StaleBatch(model), trained.reference)
    assert stale.verdict == "broken" and stale.reason.startswith("batches disagree")

    class Static(Scoring):
        def score(self, inputs):
            return np.zeros((1, 1), np.float32)

    assert (
        parity.examine(Static(), trained.reference).reason == "static batch: 1 scores for 4200 rows"
    )


def test_a_lost_sigmoid_ranks_the_same_and_is_broken(trained, judge):
    scores = np.clip(trained.reference.scores.astype(np.float64), 1e-6, 1 - 1e-6)
    result = judge(np.log(scores / (1 - scores)))
    assert result.kendall_tau == 1 and result.verdict == "broken"
    assert result.reason.startswith("shifted: its probabilities move by 0.8")
    assert result.reason.endswith("its scores leave 0 to 1, as if the last sigmoid were missing")


def test_a_second_sigmoid_near_its_fixed_point_is_broken():
    """Scores around 0.66 keep their order and nearly their mean: AUC, Kendall tau and calibration
    see nothing.
    """
    rng = np.random.default_rng(0)
    scores = 1 / (1 + np.exp(-(0.66 + 0.3 * rng.standard_normal(5000))))
    labels, requests = (rng.random(5000) < scores).astype(np.int8), np.arange(5000) // 20
    doubled = task.compare(1 / (1 + np.exp(-scores)), scores, labels, requests)
    assert doubled.kendall_tau == 1 and doubled.auc_delta == 0
    assert (
        doubled.calibration_error
        < metrics.calibration_error(scores, labels) + task.SHIP_CALIBRATION
    )
    assert doubled.verdict == "broken" and doubled.reason.startswith(
        "scores are squeezed together: its logits grow by 0.2"
    )


def test_logit_slope_against_a_regression():
    from scipy import stats

    rng = np.random.default_rng(0)
    reference = rng.uniform(0.1, 0.9, 500)
    scores = np.clip(reference + 0.02 * rng.standard_normal(500), 0.05, 0.95)
    expected = stats.linregress(*(np.log(p / (1 - p)) for p in (reference, scores))).slope
    assert metrics.logit_slope(scores, reference) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(metrics.logit_slope(scores, np.full(500, 0.5)))


class Drawing(Scoring):
    """A file with dropout left on: every call draws anew."""

    def __init__(self, model, noise):
        self.model, self.noise, self.rng = model, noise, np.random.default_rng(0)

    def score(self, inputs):
        scores = self.model.score(inputs)
        return np.clip(
            scores + self.rng.normal(0, self.noise, scores.shape).astype(np.float32), 0, 1
        )


@pytest.mark.parametrize("noise", [0.001, 0.5])
def test_scores_that_are_drawn_at_random_are_told_as_such(trained, ranking, noise):
    """Whether the order survives it or not."""
    model = runtimes.open_model(trained.files["fp32.tflite"], ranking.schema, trusted=True)
    result = parity.examine(Drawing(model, noise), trained.reference)
    assert result.verdict == "broken" and result.reason.startswith(
        "not repeatable: the same rows score differently"
    )
    assert "dropout" in result.reason


def test_scores_that_hardly_differ_are_not_the_same_in_another_order(trained):
    """All within 1e-5 of each other: a file that reverses them moves none by more than that."""
    reference = trained.reference
    close = 0.5 + 4e-6 * (reference.scores[:, 0] - 0.5)
    result = task.compare(1 - close, close, reference.truth.labels, reference.truth.groups)
    assert result.max_abs_error < SAME_ERROR and result.verdict == "broken"
    assert (
        task.compare(close, close, reference.truth.labels, reference.truth.groups).verdict == "same"
    )
    constant = np.full(4200, 0.5)
    assert (
        task.compare(constant, constant, reference.truth.labels, reference.truth.groups).verdict
        == "same"
    )


class Jitter(Scoring):
    """A runtime that rounds differently in batches of more than one row, by `step`."""

    def __init__(self, model, step):
        self.model, self.step = model, step

    def score(self, inputs):
        scores = np.round(self.model.score(inputs) * 256) / 256
        return scores if len(scores) == 1 else scores + np.float32(self.step)


def test_a_reduced_file_may_round_another_way_in_another_batch_and_keeps_its_figures(
    trained, ranking
):
    model = runtimes.open_model(trained.files["fp32.tflite"], ranking.schema, trusted=True)
    assert parity.examine(Jitter(model, 1 / 512), trained.reference).verdict == "ships with loss"
    far = parity.examine(Jitter(model, 1 / 64), trained.reference)
    assert far.verdict == "broken" and far.reason.startswith("batches disagree") and far.auc > 0.5


def test_every_figure_against_its_own_definition(trained, judge):
    """Row by row in float64, from scikit-learn and scipy, request by request."""
    from scipy import stats
    from sklearn import metrics as sk

    reference = trained.reference
    scores = np.round(reference.scores * 50) / 50
    result = judge(scores)
    labels = reference.truth.labels
    ours, before = (values[:, 0].astype(np.float64) for values in (scores, reference.scores))
    groups = [
        np.flatnonzero(reference.truth.groups == r) for r in np.unique(reference.truth.groups)
    ]
    assert result.max_abs_error == pytest.approx(np.abs(ours - before).max(), abs=1e-12)
    assert result.mean_abs_error == pytest.approx(np.abs(ours - before).mean(), abs=1e-12)
    assert result.auc_delta == pytest.approx(
        sk.roc_auc_score(labels, ours) - sk.roc_auc_score(labels, before), abs=1e-12
    )
    assert result.log_loss == pytest.approx(sk.log_loss(labels, ours), abs=1e-9)
    taus = [stats.kendalltau(ours[g], before[g]).statistic for g in groups]
    assert result.kendall_tau == pytest.approx(np.nanmean(taus), abs=1e-12)
    change = [
        sk.ndcg_score([labels[g]], [ours[g]], k=10) - sk.ndcg_score([labels[g]], [before[g]], k=10)
        for g in groups
    ]
    assert result.ndcg_delta == pytest.approx(np.mean(change), abs=1e-12)
    assert result.ndcg_delta_low <= result.ndcg_delta <= result.ndcg_delta_high
    within = [sk.roc_auc_score(labels[g], ours[g]) for g in groups if 0 < labels[g].sum() < len(g)]
    assert result.request_auc == pytest.approx(np.mean(within), abs=1e-12)
    assert result.distinct_scores == len(set(scores[:, 0].tolist())) < 52


NAN = float("nan")


@pytest.mark.parametrize(
    ("changed", "verdict", "reason"),
    [
        ({}, "ships with loss", "scores move by up to 2e-02, Kendall tau 0.950"),
        ({"max_abs_error": 1e-6}, "same", "no score moves"),
        ({"distinct_scores": 1}, "broken", "constant"),
        (
            {"kendall_tau": (0.87, 0.86, 0.89)},
            "broken",
            "wrong order: Kendall tau 0.870 is below 0.9",
        ),
        ({"kendall_tau": (0.5, NAN, NAN)}, "broken", "wrong order"),
        (
            {"kendall_tau": (0.91, 0.89, 0.93)},
            "too few rows",
            "too few rows to tell: Kendall tau is 0.890 to 0.930",
        ),
        (
            {"kendall_tau": (NAN, NAN, NAN)},
            "too few rows",
            "too few rows to tell: the Kendall tau has no interval",
        ),
        (
            {"auc_delta": (-0.02, -0.025, -0.015)},
            "broken",
            "below threshold: it loses 0.0200 AUC, more than 0.01",
        ),
        (
            {"auc_delta": (-0.002, -0.012, 0.008)},
            "too few rows",
            "too few rows to tell: change of AUC is -0.012 to",
        ),
        (
            {"ndcg_delta": (-0.02, -0.025, -0.015)},
            "broken",
            "below threshold: it loses 0.0200 NDCG@10, more than",
        ),
        (
            {"ndcg_delta": (-0.012, -0.02, -0.004)},
            "too few rows",
            "too few rows to tell: change of NDCG@10",
        ),
        (
            {"ndcg_delta": (NAN, NAN, NAN)},
            "too few rows",
            "too few rows to tell: the change of NDCG@10 has no",
        ),
        (
            {"calibration_shift": 0.06},
            "broken",
            "shifted: its probabilities move by 0.060 on average, more than 0.05",
        ),
        ({"calibration_shift": NAN}, "broken", "shifted"),
        ({"logit_slope": 0.2}, "broken", "scores are squeezed together: its logits grow by 0.20"),
        ({"logit_slope": 3.0}, "broken", "scores are pulled apart: its logits grow by 3.00"),
        ({"logit_slope": NAN}, "broken", "scores are pulled apart"),
    ],
)
def test_each_threshold_on_its_own(changed, verdict, reason):
    fine = {
        "max_abs_error": 0.02,
        "distinct_scores": 50,
        "calibration_shift": 0.04,
        "logit_slope": 1.1,
    }
    fine |= {
        "kendall_tau": (0.95, 0.94, 0.96),
        "auc_delta": (0, -0.001, 0.001),
        "ndcg_delta": (0, 0, 0),
    }
    values = {}
    for name, value in {**fine, **changed}.items():
        values |= dict(
            zip((name, f"{name}_low", f"{name}_high"), np.atleast_1d(value), strict=False)
        )
    found = task._verdict(values, SAME_ERROR, 100)
    assert found[0] == verdict and found[1].startswith(reason)


def _judged(rng, requests: int, noise: float, shift: float = 0.0):
    """A file that moves logits by noise and probabilities by a shift, on requests of twenty."""
    rows = np.repeat(np.arange(requests), 20)
    reference = 1 / (1 + np.exp(-rng.normal(0, 1.5, len(rows))))
    labels = (rng.random(len(rows)) < reference).astype(np.int8)
    file = 1 / (
        1 + np.exp(-(np.log(reference / (1 - reference)) + rng.normal(0, noise, len(rows))))
    )
    return task.compare(np.clip(file + shift, 0, 1), reference, labels, rows)


def test_few_rows_are_not_called_broken_and_not_shipped_by_luck():
    """Files that lose next to nothing: with ten requests nobody can tell, with four hundred they
    ship.
    """
    rng = np.random.default_rng(0)
    few = [_judged(rng, 10, noise=0.15) for _ in range(60)]
    assert {found.verdict for found in few} == {"too few rows", "ships with loss"}
    assert sum(found.verdict == "too few rows" for found in few) > 30
    for found in few:
        assert (
            found.verdict == "ships with loss"
            or "requests would tell, there are 10" in found.reason
        )
    assert {_judged(rng, 400, noise=0.15).verdict for _ in range(20)} == {"ships with loss"}


def test_the_number_of_requests_that_would_tell_tells():
    rng = np.random.default_rng(1)
    few = [_judged(rng, 10, noise=0.15) for _ in range(60)]
    said = [
        re.search(r"about ([\d,]+) requests", found.reason)
        for found in few
        if found.verdict == TOO_FEW
    ]
    enough = int(np.median([int(match[1].replace(",", "")) if match else np.inf for match in said]))
    assert 10 < enough < 1000
    verdicts = [_judged(rng, enough, noise=0.15).verdict for _ in range(40)]
    assert verdicts.count("ships with loss") >= 30, (
        "nine in ten, if the estimates of few requests were exact"
    )


@pytest.mark.parametrize(
    ("shift", "requests", "refused"), [(0.06, 250, True), (0.08, 10, True), (0.04, 250, False)]
)
def test_a_shift_of_probabilities_is_refused_by_its_size_whatever_the_labels_do(
    shift, requests, refused
):
    """Clipping at 1 takes a little of it away."""
    rng = np.random.default_rng(2)
    found = [_judged(rng, requests, noise=0.0, shift=1.02 * shift) for _ in range(50)]
    said = {f.reason.partition(":")[0] for f in found if f.verdict == "broken"}
    assert said == ({"shifted"} if refused else set())
    assert not refused or all(f.verdict == "broken" for f in found)


def test_clusters_widen_intervals_and_survive_the_disk(tmp_path):
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(40), 100)
    reference = rng.random(4000)
    labels = (rng.random(4000) < reference).astype(np.int8)
    scores = np.clip(reference + 0.1 * rng.normal(0, 1, 40)[user] * (reference - 0.5), 0, 1)
    inputs = {"x": np.zeros((4000, 1), np.float32)}
    alone = parity.Reference(
        RANKING, inputs, {"p": reference[:, None]}, Truth(labels, np.arange(4000) // 20)
    )
    together = dataclasses.replace(alone, truth=dataclasses.replace(alone.truth, clusters=user))
    together.save(tmp_path / "reference.npz")
    loaded = parity.Reference.load(tmp_path / "reference.npz", RANKING, inputs)
    np.testing.assert_array_equal(loaded.truth.clusters, user)
    by_request, by_user = (found.judge({"p": scores}) for found in (alone, loaded))
    assert (
        by_user.auc_delta == by_request.auc_delta and by_user.kendall_tau == by_request.kendall_tau
    )
    width = [found.auc_delta_high - found.auc_delta_low for found in (by_request, by_user)]
    assert width[1] > 1.3 * width[0]


def test_swapping_inputs_of_one_width_is_seen(trained, ranking, judge):
    model = runtimes.open_model(trained.files["fp32.tflite"], ranking.schema, trusted=True)
    pair = parity.alike(trained.reference.inputs)
    swapped = parity.swapped(trained.reference.inputs, pair)
    np.testing.assert_array_equal(
        swapped["user_features"], trained.reference.inputs["item_features"]
    )
    assert judge(model.score(swapped)).verdict == "broken"
    assert parity.alike({"a": np.zeros((2, 3)), "b": np.zeros((2, 4))}) is None


def test_reference_survives_the_disk(trained, tmp_path):
    loaded = parity.Reference.load(
        trained.files["reference.npz"], RANKING, trained.reference.inputs
    )
    np.testing.assert_array_equal(loaded.scores, trained.reference.scores)
    assert list(loaded.inputs) == list(trained.reference.inputs)
    loaded.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == trained.files["reference.npz"].read_bytes()


def test_a_split_that_does_not_fit_is_judged_a_part_at_a_time(
    ranking, trained, tmp_path, monkeypatch
):
    sizes = {"rows": 200, "validation_rows": 20, "test_rows": 120_000}
    data = datasets.make(ranking, "simple", seed=1, **sizes)
    model = runtimes.open_model(trained.files["fp32.tflite"], ranking.schema, trusted=True)
    make = (RANKING, data, ranking.schema, model.predict)
    whole = parity.Reference.of(*make)
    monkeypatch.setattr(parity, "INPUT_BYTES", 1 << 20)
    streamed = parity.Reference.of(*make)
    rows = [len(next(iter(r.inputs.values()))) for r in (whole, streamed)]
    assert rows[0] == 120_000 and rows[1] * ranking.schema.row_bytes <= 1 << 20
    assert [len(part["user_features"]) for part in streamed.parts()] == [100_000, 20_000]
    np.testing.assert_allclose(streamed.scores, whole.scores, rtol=0, atol=1e-6)
    streamed.save(tmp_path / "reference.npz")
    read = parity.Reference.load(tmp_path / "reference.npz", RANKING, whole.inputs)
    assert read.scores.tobytes() == streamed.scores.tobytes(), "the digest is that of all rows"
    with pytest.raises(DamagedFile, match="made with other inputs"):
        parity.Reference.load(tmp_path / "reference.npz", RANKING, streamed.inputs)
    found, scores = parity.examine_scores(model, streamed)
    assert found.verdict == "same" and len(scores) == 120_000


def test_table_hides_digits_that_mean_nothing(trained, judge):
    table = task.agreement_table(
        {
            "a": judge(trained.reference.scores + np.float32(3e-7)),
            "b": judge(1 - trained.reference.scores),
        }
    )
    assert (
        table.loc["a", "largest difference"] == "under 1e-05"
        and table.loc["b", "verdict"] == "broken"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reference_that_is_not_finite_judges_nothing(trained, value):
    broken = trained.reference.scores.copy()
    broken[3] = value
    with pytest.raises(ParityError, match="the reference itself"):
        task.compare(
            trained.reference.scores,
            broken,
            trained.reference.truth.labels,
            trained.reference.truth.groups,
        )
