"""Split the model: the reader's half is computed once a session, the other scores candidates."""

from __future__ import annotations

from dataclasses import replace

from helpers.schema import Dimension, Schema, Tensor
from helpers.studies.feed.fields import SCHEMA, SCORE
from helpers.studies.feed.model import READER


def split_model(model) -> tuple[tuple[object, Schema], tuple[object, Schema]]:
    """Return the two halves of a trained model with their schemas: the reader's, the candidates'.

    A server, or the phone, computes the first once a click; the phone gives its vector, of the name
    `READER`, to the second with every candidate. Scores are those of the whole model.
    """
    reader, candidate = model.get_layer(READER), model.get_layer(SCORE.name)
    width = reader.output_shape[-1]
    values = tuple(Dimension(f"{READER}_{i}", "of the reader", -1e3, 1e3) for i in range(width))
    vector = Tensor(READER, "user", values)
    given = replace(vector, in_file=reader.output_names[0])
    of_reader = Schema("feed_reader", _inputs("user"), (given,))
    of_candidate = Schema("feed_candidate", (vector, *_inputs("item"), *_inputs("cross")), (SCORE,))
    return (reader, of_reader), (candidate, of_candidate)


def _inputs(role: str) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in SCHEMA.inputs if tensor.role == role)
