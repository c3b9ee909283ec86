"""Models that score candidates: a run's file in this process, or a server of TensorFlow Serving's
API.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from helpers import runtimes, trained
from helpers.errors import BadInput, WorkbenchError
from helpers.runs import Run
from helpers.schema import Schema

FILE = "tflite/fp32.tflite"
_WAIT_SECONDS = 2.0


class ModelUnavailable(WorkbenchError):
    """The model server does not answer, or not as one does."""


class Scorer(Protocol):
    """What puts candidates in order."""

    def score(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scores ``(n_rows, 1) float32`` of the model's named inputs."""


@dataclass(frozen=True)
class Version:
    """A model that is served.

    Attributes
    ----------
    number : its version in TensorFlow Serving's sense, from 1 on.
    run : the run that made it, which is its label.
    weight : its part of the users.
    """

    number: int
    run: str
    schema: Schema
    scorer: Scorer
    weight: float = 1.0


def opened(run: Run, number: int = 1, weight: float = 1.0, server: str | None = None) -> Version:
    """The model of a run.

    Parameters
    ----------
    server : URL of a model server that scores instead, ``http://HOST:8501``.

    Raises
    ------
    MissingStage : the run has no trained model, or no LiteRT file that scores as it does.
    """
    config = run.verified("02", trained.CONFIG, any_code=True)
    schema = trained.Trained.load(config).schema
    if server is not None:
        return Version(number, run.name, schema, Remote(server, schema), weight)
    file = run.verified("03", FILE, any_code=True)
    return Version(number, run.name, schema, Local(file, schema), weight)


class Local:
    """A LiteRT file; one row is scored when it is opened, so that the first list is not late."""

    def __init__(self, file, schema: Schema):
        self._model = runtimes.open_model(file, schema, trusted=True)
        self._lock = threading.Lock()  # an interpreter is for one thread at a time
        self.score({tensor.name: tensor.zeros(1) for tensor in schema.inputs})

    def score(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        with self._lock:
            return self._model.score(inputs)


class Remote:
    """A server of TensorFlow Serving's REST API."""

    def __init__(self, url: str, schema: Schema):
        import httpx

        if not url.startswith(("http://", "https://")):
            raise BadInput(f"the model server has a http:// URL, not {url!r}")
        self._failures = (httpx.HTTPError, ValueError, KeyError, TypeError)
        self._schema = schema
        self._client = httpx.Client(timeout=_WAIT_SECONDS, trust_env=False)
        self._url = f"{url.rstrip('/')}/v1/models/{schema.model_name}:predict"

    def score(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        rows = self._schema.check(inputs)
        request = {
            "signature_name": "serving_default",
            "inputs": {name: array.tolist() for name, array in inputs.items()},
        }
        try:
            answer = self._client.post(self._url, content=json.dumps(request))
            scores = np.array(answer.raise_for_status().json()["outputs"], np.float32)
        except self._failures as error:
            raise ModelUnavailable(f"the model server does not answer: {error}") from error
        if scores.shape != (rows, 1) or not np.isfinite(scores).all():
            raise ModelUnavailable(f"the model server gives {scores.shape} for {rows} rows")
        return scores
