import numpy as np
import pytest

from helpers import runtimes
from helpers.errors import ParityError
from helpers.evaluation import parity


@pytest.fixture
def judge(trained):
    return trained.reference.judge


def test_the_reference_is_the_same_as_itself(trained, judge):
    result = judge(trained.reference.scores)
    assert (result.verdict, result.max_abs_error, result.kendall_tau, result.top10_overlap) == ("same", 0, 1, 1)
    assert (result.auc_delta, result.auc_delta_low, result.auc_delta_high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        (lambda s: s + np.float32(2e-7), "same", "at most"),
        (lambda s: s + np.float32(2e-5), "ships with loss", "scores move by up to 2.0e-05"),
        (lambda s: np.round(s * 128) / 128, "ships with loss", "scores move"),
        (lambda s: np.full_like(s, 0.5), "broken", "constant"),
        (lambda s: 1 - s, "broken", "wrong order"),
        (lambda s: np.random.default_rng(0).permutation(s), "broken", "wrong order"),
        (lambda s: np.where(np.arange(len(s))[:, None] == 17, np.nan, s), "broken", "non-finite: 1 of"),
        (lambda s: s * np.float32(np.inf), "broken", "non-finite"),
    ],
)
def test_verdicts_and_their_reasons(trained, judge, change, verdict, reason):
    result = judge(change(trained.reference.scores))
    assert result.verdict == verdict and reason in result.reason


def test_one_score_for_all_rows_is_a_static_batch(judge):
    with pytest.raises(ParityError, match="1 scores for 4200 rows: the file's batch is static"):
        judge(np.zeros((1, 1)))


def test_a_loss_of_auc_that_keeps_the_order_is_below_threshold():
    """Order within requests kept, scores between requests shuffled: only the overall AUC tells."""
    rng = np.random.default_rng(0)
    requests = np.repeat(np.arange(200), 20)
    reference = rng.random(4000)
    labels = (rng.random(4000) < reference).astype(int)
    shifted = reference + np.repeat(rng.normal(0, 2, 200), 20)
    result = parity.compare(shifted, reference, labels, requests)
    assert result.kendall_tau == 1 and result.verdict == "broken" and "below threshold" in result.reason


class StaleBatch:
    """A runtime that answers with the rows of an earlier batch when the batch shrinks, as an unresized session does."""

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
    parity.check_batches(model, trained.reference.inputs, "good")
    with pytest.raises(ParityError, match="stale scores .* rows differently in batches of 1"):
        parity.check_batches(StaleBatch(model), trained.reference.inputs, "stale")


def test_swapping_inputs_of_one_width_is_seen(trained, ranking, judge):
    model = runtimes.open_model(trained.files["fp32.tflite"], ranking.schema, trusted=True)
    swapped = parity.swapped(trained.reference.inputs)
    np.testing.assert_array_equal(swapped["user_features"], trained.reference.inputs["item_features"])
    assert judge(model.score(swapped)).verdict == "broken"
    assert parity.swapped({"a": np.zeros((2, 3)), "b": np.zeros((2, 4))}) is None


def test_reference_survives_the_disk(trained, tmp_path):
    loaded = parity.Reference.load(trained.files["reference.npz"])
    np.testing.assert_array_equal(loaded.scores, trained.reference.scores)
    assert list(loaded.inputs) == list(trained.reference.inputs)
    loaded.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == trained.files["reference.npz"].read_bytes()


def test_table_hides_digits_that_mean_nothing(trained, judge):
    table = parity.table(
        {"a": judge(trained.reference.scores + np.float32(3e-7)), "b": judge(1 - trained.reference.scores)}
    )
    assert table.loc["a", "largest difference"] == "under 1e-05" and table.loc["b", "verdict"] == "broken"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reference_that_is_not_finite_judges_nothing(trained, value):
    broken = trained.reference.scores.copy()
    broken[3] = value
    with pytest.raises(ParityError, match="the reference itself"):
        parity.compare(trained.reference.scores, broken, trained.reference.labels, trained.reference.requests)
