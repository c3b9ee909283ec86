"""Split the model: a server computes the reader's half, the phone scores candidates with it."""

from __future__ import annotations

from helpers.schema import Dimension, Schema, Tensor
from helpers.studies.feed.fields import SCHEMA, SCORE
from helpers.studies.feed.model import READER


def split_model(model) -> tuple[tuple[object, Schema], tuple[object, Schema]]:
    """Return the two halves of a trained model with their schemas: the reader's, and the phone's.

    The server computes the first once a click and sends its vector; the phone gives it to the
    second with every candidate. Scores are those of the whole model.
    """
    reader, phone = model.get_layer(READER), model.get_layer(SCORE.name)
    width = reader.output_shape[-1]
    values = tuple(Dimension(f"{READER}_{i}", "of the reader", -1e3, 1e3) for i in range(width))
    of_reader = Schema("feed_reader", _inputs("user"), (Tensor("vector", "score", values),))
    received = Tensor(READER, "user", values)
    of_phone = Schema("feed_phone", (received, *_inputs("item"), *_inputs("cross")), (SCORE,))
    return (reader, of_reader), (phone, of_phone)


def _inputs(role: str) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in SCHEMA.inputs if tensor.role == role)
