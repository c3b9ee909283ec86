"""What a model learned, by task: what it has to beat, and whether there is anything to learn at
all.

Each module here is of the task that it is named after, with the same functions:

- ``baseline_scores(schema, training, inputs)``: outputs of simple models, by name
- ``check_learnable(schema, training, scores, test, best)``: refuses labels that nothing relates to,
  and inputs that hold them
- ``table(scores, labels, groups)``: metrics by scorer
- ``conclusion(table, history, published)``: what the figures say, in words
- ``figure(scores, labels)``: what the model's probabilities are worth
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType

from helpers.tasks import Task


def of(task: Task) -> ModuleType:
    """Return the module of a task."""
    return importlib.import_module(f"{__name__}.{task.name}")


def need_and_published(
    simple: str, gain: float, history, published: Sequence[float] | None
) -> list[str]:
    """Say that nothing needs a model which gains nothing over `simple`, and, where a validation
    accuracy was published, whether the last epoch of `history` reaches it.
    """
    lines = []
    if gain <= 0:
        lines.append(f"On this data nothing needs the model: {simple} is smaller.")
    if published:
        reached, wanted = history["val_accuracy"].iloc[-1], published[-1]
        verb = "reaches" if reached >= wanted else "does not reach"
        said = f"{reached:.3f}, published {wanted:.3f}"
        lines.append(
            f"After {len(history)} epochs it {verb} the published validation accuracy: {said}."
        )
    return lines
