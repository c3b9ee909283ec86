"""When a file still gives the trained model's values, whatever they mean."""

import numpy as np
import pytest

from helpers import tasks
from helpers.errors import BadInput, ParityError
from helpers.tasks import Truth
from helpers.tasks.tensors import TENSORS, compare, limited


@pytest.fixture(scope="module")
def reference():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 320, (500, 6, 4)).astype(np.float32)
    return {"boxes": boxes, "scores": rng.random((500, 6), dtype=np.float32)}


def _changed(reference, **changes):
    return {
        name: changes[name](array) if name in changes else array
        for name, array in reference.items()
    }


def test_rounding_of_large_values_is_the_same(reference):
    found = compare(_changed(reference, boxes=lambda b: b + np.float32(1e-3)), reference)
    assert found.verdict == "same" and found.max_abs_error > 5e-4


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"scores": lambda s: s + 0.01}, "ships with loss", "values of scores move by up to"),
        ({"boxes": lambda b: b[:, :, ::-1]}, "broken", "wrong values: of 100 rows one of boxes"),
        ({"boxes": lambda b: 1.2 * b}, "broken", "off by 0.2 of its length, more than 0.1"),
        ({"scores": lambda s: -s}, "broken", "of 100 rows one of scores"),
        ({"scores": lambda s: np.where(s > 0.9, np.inf, s)}, "broken", "non-finite: "),
    ],
)
def test_changes_are_judged_by_output(reference, changes, verdict, reason):
    found = compare(_changed(reference, **changes), reference)
    assert found.verdict == verdict and reason in found.reason


def test_limits_are_the_users(reference):
    changed = _changed(reference, boxes=lambda b: 1.2 * b)
    assert compare(changed, reference).verdict == "broken"
    assert limited(relative=0.25).judge(changed, reference, Truth()).verdict == "ships with loss"
    turned = _changed(reference, scores=lambda s: s[:, ::-1] * 0.1 + s)
    assert (
        limited(relative=0.5, cosine=0.9999).judge(turned, reference, Truth()).verdict == "broken"
    )
    with pytest.raises(BadInput, match="limits lie between 0 and 1"):
        limited(relative=0)


def test_a_limit_that_a_task_does_not_take_is_told_with_those_that_it_takes():
    assert tasks.get("tensors", relative=0.2).limits["relative"] == 0.2
    said = "the task ranking takes no limit 'relative'; it takes: activation"
    with pytest.raises(BadInput, match=said):
        tasks.get("ranking", relative=0.2)
    with pytest.raises(BadInput, match="no limit 'rel'; it takes: relative, cosine, activation"):
        tasks.get("tensors", rel=0.2)


def test_one_row_in_a_hundred_may_be_off_and_not_two(reference):
    def off(rows):
        def change(scores):
            changed = scores.copy()
            changed[:rows] *= -1
            return changed

        return compare(_changed(reference, scores=change), reference)

    assert off(5).verdict == "ships with loss" and off(10).verdict == "broken"


def test_a_static_batch_is_refused(reference):
    with pytest.raises(
        ParityError, match=r"static batch: boxes has the shape \(1, 6, 4\), not \(500, 6, 4\)"
    ):
        compare(_changed(reference, boxes=lambda b: b[:1]), reference)


def test_nothing_is_said_of_labels(reference):
    columns = {*TENSORS.columns, *TENSORS.more_columns, "max_abs_error"}
    found = compare(reference, reference)
    assert set(found.figures) == columns and not any("auc" in name for name in columns)
    for table in TENSORS.tables({"a": found}):
        assert not {"AUC", "accuracy"} & set(table.columns)
