"""Drawn pictures: one of ten objects, turned, lit, blurred, in front of clutter, in a file as
cameras and programs write them.

`arrow_up` and `arrow_down` are one shape: who ignores a file's orientation takes one for the other.
`drop` and `flame` are one shape, blue and orange: who exchanges red and blue does the same to them.
"""

from __future__ import annotations

import io

import numpy as np

SHORTEST, LONGEST = 80, 300
"""Sides of a picture, in pixels."""
_SUPERSAMPLED = 2
_TURNED = 0.3
"""Share of JPEG and PNG files whose pixels are stored in another orientation than 1."""
_UNTURN = (2, 3, 4, 5, 8, 7, 6)
"""For orientations 2 to 8, the one whose turn undoes theirs."""


def _angles(first: float, last: float, count: int = 40) -> np.ndarray:
    return np.radians(np.linspace(first, last, count))


def _arc(first: float, last: float, radius: float = 1.0, x: float = 0.0) -> np.ndarray:
    angles = _angles(first, last)
    return np.stack([x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _star() -> np.ndarray:
    angles, radii = _angles(-90, 270, 11)[:-1], np.tile([1.0, 0.42], 5)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def _heart() -> np.ndarray:
    t = _angles(0, 360)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([np.sin(t) ** 3, -y / 16], axis=1)


def _drop() -> np.ndarray:
    below = _arc(-20, 200, 0.66)
    below[:, 1] += 0.3
    return np.concatenate([[[0.0, -1.0]], below])


_ARROW = np.array(
    [[0, -1], [0.8, -0.1], [0.3, -0.1], [0.3, 1], [-0.3, 1], [-0.3, -0.1], [-0.8, -0.1]]
)
_HOUSE = np.array(
    [[0, -0.95], [0.95, -0.1], [0.7, -0.1], [0.7, 0.85], [-0.7, 0.85], [-0.7, -0.1], [-0.95, -0.1]]
)
OBJECTS: dict[str, tuple[np.ndarray, float]] = {
    "circle": (_arc(0, 360), 180.0),
    "square": (np.array([[-0.8, -0.8], [0.8, -0.8], [0.8, 0.8], [-0.8, 0.8]]), 180.0),
    "star": (_star(), 180.0),
    "heart": (_heart(), 25.0),
    "moon": (np.concatenate([_arc(50, 310), _arc(290, 70, 0.8, 0.42)]), 60.0),
    "house": (_HOUSE, 20.0),
    "arrow_up": (_ARROW, 25.0),
    "arrow_down": (-_ARROW, 25.0),
    "drop": (_drop(), 25.0),
    "flame": (_drop(), 25.0),
}
"""By class, the corners of its outline ``(n, 2)`` in a unit circle, y downwards, and how far it is
turned at most, in degrees."""
CLASSES = tuple(OBJECTS)
_HUES = {"drop": (190.0, 250.0), "flame": (-5.0, 50.0)}
"""Degrees of hue of the classes that are told by it; others have any."""


def draw(rng: np.random.Generator, label: int) -> tuple[bytes, str]:
    """A picture file of a class, and the end of its name."""
    name = CLASSES[label]
    width, height = _size(rng)
    image = _scene(rng, name, width, height)
    return _file(rng, image, coloured=name in _HUES)


def _size(rng: np.random.Generator) -> tuple[int, int]:
    side = np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST)))
    shape = np.exp(rng.uniform(-0.45, 0.45, 2))
    return tuple(int(n) for n in np.clip(side * shape, SHORTEST, LONGEST))


def _scene(rng: np.random.Generator, name: str, width: int, height: int):
    """The object and what is around it, RGBA: the alpha is that of the object alone."""
    from PIL import Image, ImageFilter

    shorter = min(width, height)
    mask, place = _mask(rng, name, width, height, shorter)
    ground = rng.uniform(0, 360), rng.uniform(0, 0.6), rng.uniform(0.15, 0.95)
    hue = rng.uniform(*_HUES.get(name, (0.0, 360.0)))
    value = rng.uniform(0.55, 1.0) if ground[2] < 0.55 else rng.uniform(0.1, 0.55)
    if name in _HUES:
        value = rng.uniform(0.6, 1.0)
        ground = ground[0], ground[1] / 2, ground[2] * 0.5
    image = _shaded(rng, ground, width, height, 0.25)
    _clutter(rng, image, shorter)
    inside = _shaded(rng, (hue, rng.uniform(0.6, 1.0), value), *mask.size, 0.15)
    image.paste(inside, place, mask)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.004, 0.03) * shorter))
    image = _exposed(rng, image)
    alpha = Image.new("L", image.size)
    alpha.paste(mask, place)
    image.putalpha(alpha)
    return image


def _mask(rng: np.random.Generator, name: str, width: int, height: int, shorter: int):
    """Where the object is, and its left upper corner."""
    from PIL import Image, ImageDraw

    outline, turned = OBJECTS[name]
    angle = np.radians(rng.uniform(-turned, turned))
    radius = rng.uniform(0.2, 0.36) * shorter
    sides = radius * np.exp(rng.uniform(-0.12, 0.12, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    points = outline * sides @ np.array([[cos, sin], [-sin, cos]])
    least, most = points.min(axis=0), points.max(axis=0)
    size = np.maximum(np.ceil(most - least).astype(int), 2)
    drawn = Image.new("L", tuple(int(n) for n in size * _SUPERSAMPLED))
    corners = ((points - least) * _SUPERSAMPLED).ravel().tolist()
    ImageDraw.Draw(drawn).polygon(corners, fill=255)
    centre = np.array([width, height]) / 2 + rng.uniform(-0.1, 0.1, 2) * shorter
    return drawn.reduce(_SUPERSAMPLED), tuple(int(n) for n in centre + least)


def _shaded(rng: np.random.Generator, colour, width: int, height: int, much: float):
    """A picture of one colour (hue, saturation, value) in a light that is not even."""
    from PIL import Image

    light = 1 + rng.uniform(-much, much, (2, 2, 1))
    corners = np.clip(255 * _rgb(*colour) * light, 0, 255).astype(np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Red, green and blue, 0 to 1, of a hue in degrees."""
    sector = (np.array([5.0, 3.0, 1.0]) + hue / 60) % 6
    return value - value * saturation * np.clip(np.minimum(sector, 4 - sector), 0, 1)


def _clutter(rng: np.random.Generator, image, shorter: int) -> None:
    """A few lines, ellipses and boxes behind the object, of dull colours."""
    from PIL import ImageDraw

    drawing = ImageDraw.Draw(image)
    for kind in rng.integers(0, 3, rng.integers(0, 8)):
        x, y = rng.uniform(-0.1, 1.1, 2) * image.size
        w, h = rng.uniform(0.05, 0.3, 2) * shorter
        colour = tuple(int(n) for n in 255 * _rgb(rng.uniform(0, 360), 0.35, rng.uniform(0.2, 0.9)))
        if kind == 0:
            end = x + rng.uniform(-3, 3) * w, y + rng.uniform(-3, 3) * h
            drawing.line([(x, y), end], colour, width=1 + int(0.02 * shorter))
        elif kind == 1:
            drawing.ellipse([x, y, x + w, y + h], colour)
        else:
            drawing.rectangle([x, y, x + w, y + h], colour)


def _exposed(rng: np.random.Generator, image):
    """The picture as a sensor sees it: brighter or darker, with noise."""
    from PIL import Image

    pixels = np.asarray(image)
    height, width, _ = pixels.shape
    light = np.exp(rng.uniform(-0.5, 0.25))
    seen = pixels * np.float32(light)
    if rng.random() < 0.6:
        noise = np.frombuffer(rng.bytes(height * width), np.int8).reshape(height, width, 1)
        seen += noise * np.float32(rng.uniform(0, 0.3))
    return Image.fromarray(np.clip(seen, 0, 255, out=seen).astype(np.uint8))


def _file(rng: np.random.Generator, image, coloured: bool) -> tuple[bytes, str]:
    """A picture as a JPEG or PNG file of one of their kinds; `coloured` ones are never grey."""
    from PIL import Image
    from PIL.ImageOps import exif_transpose

    options: dict[str, object] = {"compress_level": 1}
    grey, kind, jpeg = rng.random() < 0.12 and not coloured, rng.random(), rng.random() < 0.75
    if jpeg:
        image = image.convert("RGB").convert("L" if grey else "CMYK" if kind < 0.1 else "RGB")
        options = {"quality": int(rng.integers(40, 96)), "subsampling": int(rng.integers(0, 3))}
    elif grey:
        image = image.convert("LA" if kind < 0.4 else "L")
    elif kind < 0.2:
        image = image.convert("RGB").quantize(64, Image.Quantize.FASTOCTREE)
    elif kind < 0.6:
        image = image.convert("RGB")
    if rng.random() < _TURNED:
        orientation = int(rng.integers(2, 9))
        image.getexif()[274] = _UNTURN[orientation - 2]
        exif = Image.Exif()
        exif[274] = orientation
        image, options["exif"] = exif_transpose(image), exif.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if jpeg else "PNG", **options)
    return buffer.getvalue(), ".jpg" if jpeg else ".png"
