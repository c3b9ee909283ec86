"""`images`: which of ten objects a picture shows (after the published way of a PyTorch classifier
to the phone).

A row is a picture file, prepared as the app prepares it: `helpers.pictures` says how, and that
travels with the model. Pictures are drawn, or those of a folder of the user's.

`world` draws them, `models` builds the classifiers, and `study` makes the same study of other
classes or of another size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from helpers.pictures import Preparation
from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Model, Pictures, Study
from helpers.studies.images import models, world

_DRAWN = "ten objects: turned, lit, blurred, in clutter; JPEG and PNG of many kinds"


def study(
    name: str,
    labels: Sequence[str] = (),
    *,
    title: str = "Which of these a picture shows",
    size: int = 48,
    shorter: int | None = None,
    sources: Sequence[Pictures] | None = None,
    first: str = "small",
    defaults: Mapping[str, object] | None = None,
) -> Study:
    """A study of pictures.

    Parameters
    ----------
    name : of the study; of one's own, that of its file.
    labels : names of the classes and of their folders in ``data/<name>/raw``.
    size : side of the square that the model takes, in pixels.
    shorter : shorter side of the picture that it is cut from; default an eighth more.
    sources : default the folder.
    first : the default model.
    defaults : see `Study.defaults`; default all pictures there are.
    """
    prepared = Preparation(shorter=shorter or size + size // 8, size=size)
    if sources is None:
        sources = [Pictures("folder", "pictures of your own, in a folder a class", prepared)]
    image = Tensor(
        prepared.input, shape=(size, size, 3), meaning="a picture, row by row, red, green and blue"
    )
    classes = tuple(Dimension(label, f"probability of {label}") for label in labels)
    there = {
        "small": Model(
            "four convolutions, below 300 KB",
            models.builder(models.small, len(labels), size),
            framework="pytorch",
        ),
        "resnet18": Model(
            "ResNet18, as torchvision names its weights",
            models.builder(models.resnet18, len(labels), size),
            framework="pytorch",
        ),
    }
    return Study(
        name=name,
        title=title,
        schema=Schema(f"{name}_model", (image,), (Tensor("probabilities", "", classes),)),
        sources={source.name: source for source in sources},
        models={first: there[first], **there},
        defaults={"rows": 0, "validation_rows": 0, "test_rows": 0}
        if defaults is None
        else defaults,
        task="classification",
    )


def drawn(name: str, *, size: int, shorter: int, **options) -> Study:
    """A study of the drawn objects, and of a folder of such."""
    prepared = Preparation(shorter=shorter, size=size)
    sources = [
        Pictures("drawn", _DRAWN, prepared, world.draw),
        Pictures("folder", "pictures of your own, in a folder a class", prepared),
    ]
    title = f"Which of ten objects a picture shows, {size} x {size} pixels"
    return study(
        name, world.CLASSES, title=title, size=size, shorter=shorter, sources=sources, **options
    )


STUDY = drawn(
    "images",
    size=48,
    shorter=54,
    defaults={
        "rows": 4000,
        "validation_rows": 500,
        "test_rows": 2000,
        "epochs": 10,
        "batch_size": 64,
        "learning_rate": 0.003,
    },
)
