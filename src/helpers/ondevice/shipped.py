"""What a phone begins with: the model that a run has trained, and rows of its data."""

from __future__ import annotations

from dataclasses import dataclass

from helpers import datasets, frameworks, trained
from helpers.errors import BadInput
from helpers.ondevice.rows import Rows
from helpers.runs import Run
from helpers.schema import Schema


@dataclass(frozen=True)
class Shipped:
    """A trained Keras model with the data that it was trained and tested on."""

    model: object
    schema: Schema
    train: Rows
    validation: Rows
    test: Rows


def of(run: Run) -> Shipped:
    """The model of a run whose stages 01 and 02 are finished.

    Raises
    ------
    WorkbenchError : a stage is missing, the model is not one of Keras, or its rows have no labels.
    """
    told = trained.of(run)
    if told.framework != "keras":
        raise BadInput(
            f"the model of run {run.name!r} is one of {told.framework}: a training file is made of "
            "a Keras model"
        )
    data = datasets.load(run.recorded("data.json"))
    rows = {name: data.arrays(name, schema=told.schema)[:2] for name in datasets.SPLITS}
    if rows["train"][1] is None:
        raise BadInput(f"the rows of study {run.study!r} have no labels: nothing can be learnt")
    model = frameworks.load(frameworks.get("keras"), run.recorded(told.file), told.schema)
    return Shipped(model, told.schema, **rows)
