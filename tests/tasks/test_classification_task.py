"""When a file still classifies as the trained model does."""

import numpy as np
import pytest

from helpers.errors import ParityError
from helpers.evaluation.parity import Reference
from helpers.metrics import classification as metrics
from helpers.tasks import Truth
from helpers.tasks.classification import CLASSIFICATION, compare

ROWS, CLASSES = 4000, 5


@pytest.fixture(scope="module")
def trained():
    """Probabilities of a model that is right in about nine of ten rows, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, ROWS)
    logits = rng.normal(size=(ROWS, CLASSES)) + 3.3 * np.eye(CLASSES)[labels]
    return _softmax(logits), labels, logits


def _softmax(logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def test_the_reference_is_the_same_as_itself(trained):
    p, labels, _ = trained
    found = compare(p + 3e-7, p, labels)
    assert found.verdict == "same" and found.top1_agreement == 1 and found.accuracy_delta == 0
    assert found.accuracy == (p.argmax(axis=1) == labels).mean()


def _classes_swapped(p, logits):
    return p[:, [1, 0, 2, 3, 4]]


def _nearly_right(p, logits):
    """Another first class in 3 of 100 rows."""
    wrong = p.copy()
    rows = np.random.default_rng(1).choice(ROWS, 3 * ROWS // 100, replace=False)
    wrong[rows] = np.roll(wrong[rows], 1, axis=1)
    return wrong


FAULTS = {
    "two classes swapped": (_classes_swapped, "other classes: the first agrees in"),
    "another class in 3 %": (
        _nearly_right,
        "other classes: the first agrees in 97.0%, less than 98%",
    ),
    "constant": (lambda p, _: np.full_like(p, 0.2), "constant: every row gets the same"),
    "no softmax": (lambda p, logits: logits, "as if the last softmax were missing"),
    "a second softmax": (
        lambda p, _: _softmax(p),
        "shifted: the first class's probability moves by",
    ),
    "not a number": (lambda p, _: np.where(p > 0.5, np.nan, p), "non-finite: "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_broken_and_named(trained, fault):
    p, labels, logits = trained
    change, reason = FAULTS[fault]
    found = compare(change(p, logits), p, labels)
    assert found.verdict == "broken" and reason in found.reason


def test_a_static_batch_is_refused(trained):
    p, labels, _ = trained
    with pytest.raises(ParityError, match=r"static batch: probabilities \(1, 5\) for \(4000, 5\)"):
        compare(p[:1], p, labels)


def test_eight_bits_ship_with_loss_and_few_rows_tell_nothing(trained):
    p, labels, _ = trained
    rounded = np.round(p * 256) / 256
    found = compare(rounded, p, labels)
    assert found.verdict == "ships with loss" and found.top1_agreement > 0.99
    few = compare(rounded[:150], p[:150], labels[:150])
    assert few.verdict == "too few rows" and "rows would tell, there are 150" in few.reason


def test_as_many_rows_as_it_asks_for_tell(trained):
    """Of files that lose nothing, nine in ten are told with as many rows as 150 asked for."""
    rng = np.random.default_rng(3)
    told = []
    for _ in range(40):
        rows = rng.choice(ROWS, 150, replace=False)
        p, labels = trained[0][rows], trained[1][rows]
        found = compare(p + 1e-3 * rng.normal(size=p.shape), p, labels)
        told.append(found.verdict)
        if found.verdict == "too few rows":
            wanted = int(found.reason.split("about ")[1].split(" rows")[0].replace(",", ""))
            assert 150 < wanted < 20_000
    assert "broken" not in told


def test_figures_of_a_file_by_their_definitions(trained):
    p, labels, _ = trained
    rng = np.random.default_rng(5)
    file = _softmax(np.log(p) + 0.3 * rng.normal(size=p.shape))
    found = compare(file, p, labels)
    right = [(q.argmax(axis=1) == labels) for q in (file, p)]
    assert found.accuracy_delta == pytest.approx(right[0].mean() - right[1].mean(), abs=1e-12)
    assert found.top1_agreement == (file.argmax(axis=1) == p.argmax(axis=1)).mean()
    assert found.accuracy_delta_low < found.accuracy_delta < found.accuracy_delta_high
    assert found.max_abs_error == np.abs(file - p).max()
    assert found.lowest_recall == np.nanmin(metrics.recalls(file, labels))
    first = p.argmax(axis=1)
    assert found.shift == pytest.approx(np.abs(file - p)[np.arange(ROWS), first].mean(), abs=1e-12)
    every = {*CLASSIFICATION.columns, *CLASSIFICATION.more_columns, "max_abs_error"}
    assert set(found.figures) == every


def test_clusters_widen_intervals(trained):
    p, labels, _ = trained
    rng = np.random.default_rng(6)
    clusters = np.repeat(np.arange(40), ROWS // 40)
    file = p.copy()
    bad = np.isin(clusters, rng.choice(40, 4, replace=False))
    file[bad] = np.roll(file[bad], 1, axis=1)
    by_row, by_cluster = (compare(file, p, labels, c) for c in (None, clusters))
    width = [f.accuracy_delta_high - f.accuracy_delta_low for f in (by_row, by_cluster)]
    assert width[1] > 3 * width[0]


def test_another_output_is_held_to_the_model_too(trained):
    p, labels, _ = trained
    embedding = np.random.default_rng(7).normal(size=(ROWS, 8))
    reference = Reference(CLASSIFICATION, {}, {"class": p, "embedding": embedding}, Truth(labels))

    def verdict(changed):
        return reference.judge({"class": p, "embedding": changed})

    assert verdict(embedding).verdict == "same"
    assert verdict(embedding + 1e-3).verdict == "ships with loss"
    swapped = verdict(embedding[:, ::-1])
    assert swapped.verdict == "broken" and "wrong values" in swapped.reason
    assert swapped.accuracy == verdict(embedding).accuracy, "the figures stay the task's"


def test_tables_are_text(trained):
    p, labels, _ = trained
    judged = {"a": compare(np.round(p * 64) / 64, p, labels), "b": compare(p * np.nan, p, labels)}
    for table in CLASSIFICATION.tables(judged):
        assert table.index.tolist() == ["a", "b"] and table.map(
            lambda cell: isinstance(cell, str)
        ).all(None)
