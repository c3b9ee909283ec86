"""Differences of outputs against NumPy and SciPy, row by row."""

import numpy as np
import pytest
from scipy.spatial import distance

from helpers.errors import BadInput
from helpers.metrics import outputs


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 2), ()])
def test_rows_against_scipy(shape):
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(50, *shape))
    found = reference + 0.1 * rng.normal(size=reference.shape)
    measured = outputs.differences(found.astype(np.float32), reference.astype(np.float32))
    for i, (a, b) in enumerate(
        zip(found.astype(np.float32), reference.astype(np.float32), strict=True)
    ):
        a, b = np.float64(a).ravel(), np.float64(b).ravel()
        assert measured["largest"][i] == np.abs(a - b).max()
        assert measured["mean"][i] == pytest.approx(np.abs(a - b).mean(), abs=1e-12)
        assert measured["relative"][i] == pytest.approx(
            distance.euclidean(a, b) / np.linalg.norm(b), abs=1e-12
        )
        assert measured["cosine"][i] == pytest.approx(1 - distance.cosine(a, b), abs=1e-12)


def test_rows_of_zeros_and_whole_numbers():
    found = outputs.differences(
        np.array([[0, 0], [3, 4], [0, 0]]), np.array([[0, 0], [0, 0], [3, 4]])
    )
    assert found["relative"].tolist() == [0, np.inf, 1] and found["cosine"].tolist() == [1, 0, 0]
    assert found["largest"].tolist() == [0, 4, 4] and found["mean"].tolist() == [0, 3.5, 3.5]
    wrapped = outputs.differences(np.array([[0]], np.uint8), np.array([[255]], np.uint8))
    assert wrapped["largest"].tolist() == [255]


def test_other_shapes_are_refused():
    with pytest.raises(BadInput, match=r"outputs \(3, 2\) cannot be compared with \(3, 1\)"):
        outputs.differences(np.zeros((3, 2)), np.zeros((3, 1)))
    with pytest.raises(BadInput, match="cannot be compared"):
        outputs.differences(np.zeros((0, 2)), np.zeros((0, 2)))
