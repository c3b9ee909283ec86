"""How a picture is resized and cropped, written out slowly: what Python, C, Swift and Kotlin are
held to.

Knows nothing of the helpers or of Pillow. Loops over pixels, all arithmetic in integers but for the
coefficients, which are float64 until they are rounded.
"""

import math

import numpy as np

PRECISION_BITS = 32 - 8 - 2


def triangle(x: float) -> float:
    x = abs(x)
    return 1.0 - x if x < 1.0 else 0.0


def cubic(x: float) -> float:
    a, x = -0.5, abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    if x < 2.0:
        return (((x - 5) * x + 8) * x - 4) * a
    return 0.0


FILTERS = {"triangle": (triangle, 1.0), "cubic": (cubic, 2.0)}


def coefficients(before: int, after: int, filter: str) -> list[tuple[int, list[int]]]:
    """Of every place after resizing, the first place before it, and a fixed-point coefficient for
    this and each of those that follow.
    """
    function, support = FILTERS[filter]
    scale = before / after
    widened = max(scale, 1.0)
    support, inverse = support * widened, 1.0 / widened
    result = []
    for place in range(after):
        centre = (place + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), before)
        weights = [function((x - centre + 0.5) * inverse) for x in range(first, last)]
        # as C adds: `x + xmin - center + 0.5` from left to right
        total = 0.0
        for weight in weights:
            total += weight
        if total != 0.0:
            weights = [weight * (1.0 / total) for weight in weights]
        fixed = []
        for weight in weights:
            value = weight * (1 << PRECISION_BITS)
            fixed.append(int(value - 0.5) if weight < 0 else int(value + 0.5))
        result.append((first, fixed))
    return result


def byte(total: int) -> int:
    """A sum of 22 fixed-point bits, to which one half was added, as a byte."""
    return min(max(total >> PRECISION_BITS, 0), 255)


def along(pixels: np.ndarray, after: int, filter: str) -> np.ndarray:
    """Resize the second axis of ``(rows, columns, 3) uint8``."""
    if pixels.shape[1] == after:
        return pixels
    result = np.zeros((len(pixels), after, 3), np.uint8)
    for place, (first, weights) in enumerate(coefficients(pixels.shape[1], after, filter)):
        for row in range(len(pixels)):
            for channel in range(3):
                total = 1 << (PRECISION_BITS - 1)
                for i, weight in enumerate(weights):
                    total += int(pixels[row, first + i, channel]) * weight
                result[row, place, channel] = byte(total)
    return result


def half_to_even(value: float) -> int:
    below = math.floor(value)
    rest = value - below
    if rest != 0.5:
        return below + (rest > 0.5)
    return below + below % 2


def prepare(pixels: np.ndarray, shorter: int, size: int, filter: str) -> np.ndarray:
    """``(height, width, 3) uint8`` to ``(size, size, 3) uint8``: steps 4 and 5 of the encoding."""
    height, width, _ = pixels.shape
    if width <= height:
        new_width, new_height = shorter, int(shorter * height / width)
    else:
        new_width, new_height = int(shorter * width / height), shorter
    wide = along(pixels, new_width, filter)
    tall = along(wide.transpose(1, 0, 2), new_height, filter).transpose(1, 0, 2)
    left, top = (half_to_even((side - size) / 2) for side in (new_width, new_height))
    return tall[top : top + size, left : left + size]
