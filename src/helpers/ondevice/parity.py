"""Whether a training file learns what Keras learns: every weight after every step.

From the same weights and the same batches two implementations stay within a few roundings of each
other, for a while: then a rounding decides whether a unit is on, and they part, as Keras parts from
itself when one weight is moved by its last bit. That distance is the noise floor of training. A
file is held to a fixed limit over the first steps, and to the noise floor wherever that is wider:
no training can be held closer to Keras than Keras is to itself.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers.ondevice import keras, litert
from helpers.ondevice.faults import FAULTS
from helpers.ondevice.program import WEIGHTS, Program, State, arrays, vector
from helpers.ondevice.rows import Rows
from helpers.ondevice.trainer import Trainer, means
from helpers.quiet import tensorflow
from helpers.runtimes.keras import structured
from helpers.studies import Inputs

LIMITS = {"sgd": (1e-6, 50), "adam": (1e-5, 10)}
"""By optimiser: how far a weight may be from Keras', and over how many steps."""
OUTPUT_ERROR = 1e-5
"""How far an output, and a loss, may be from Keras' of the same weights."""
TIES_ERROR = 1e-2
"""How far steps may lead from Keras', as a part of their length: a fault leads 6e-2 and more away.
Of single weights nothing can be said there: Adam divides by gradients that are almost zero, and
behind a constant map values tie but for a rounding."""
RUNS = 20
"""Of Keras with one weight moved, for the noise floor."""
_OUTLINED = 3
"""Steps over which a fault is looked for."""


@dataclass(frozen=True)
class Found:
    """What came of following a file step by step.

    Attributes
    ----------
    steps : DataFrame by step from 1 on: ``loss`` of the file, ``keras_loss``, ``difference`` the
        largest of any weight, ``limit`` what it may be.
    ties : how far two steps lead from Keras' two, as a part of their length, from weights with
        which all values of a pooling window are equal; 0 where there is no convolution.
    outputs : largest difference of an output, from the same weights.
    losses : largest difference of the loss that ``train`` and ``evaluate`` say, from the same
        weights, as a part of it where it is above 1; infinite where they count more than one row
        of a batch more or less as correct.
    continued : largest difference of a weight of training that was saved, restored in a fresh
        interpreter and went on, from training that was not interrupted; must be 0.
    fault : name of what is wrong, of `helpers.ondevice.faults`; empty if nothing is or nobody
        knows.
    """

    steps: object
    ties: float
    outputs: float
    losses: float
    continued: float
    fault: str = ""

    @property
    def departs(self) -> int | None:
        """The first step after which a weight is further away than it may be."""
        apart = self.steps.index[~(self.steps["difference"] <= self.steps["limit"])]
        return int(apart[0]) if len(apart) else None

    @property
    def same(self) -> bool:
        """Whether it learns what Keras learns."""
        return (
            self.departs is None
            and self.ties <= TIES_ERROR
            and self.outputs <= OUTPUT_ERROR
            and self.losses <= OUTPUT_ERROR
            and self.continued == 0
        )

    def conclusion(self) -> str:
        """What was found, in words."""
        if self.same:
            most = self.steps["difference"].max()
            return (
                f"It learns as Keras does: over {len(self.steps)} steps no weight is further than "
                f"{most:.1e} from Keras'."
            )
        said = []
        if self.departs is not None:
            row = self.steps.loc[self.departs]
            said.append(
                f"After step {self.departs} a weight is {row['difference']:.1e} from Keras', "
                f"{row['limit']:.1e} are allowed."
            )
        if not self.ties <= TIES_ERROR:
            said.append(
                f"Where the values of a pooling window are equal, steps are {self.ties:.1e} of "
                "their length from Keras'."
            )
        if not self.outputs <= OUTPUT_ERROR:
            said.append(f"infer is {self.outputs:.1e} from the outputs of the same weights.")
        if not self.losses <= OUTPUT_ERROR:
            said.append(f"The loss it says is {self.losses:.1e} from that of the same weights.")
        if self.continued != 0:
            said.append(
                f"Training that was saved and restored is {self.continued:.1e} from training that "
                "was not."
            )
        if self.fault:
            said.append(f"Cause: {FAULTS[self.fault].says}.")
        return " ".join(said)


class Reference:
    """What Keras learns from some batches, and what a file learns that has a fault; each is
    computed when it is asked for, and once.

    Parameters
    ----------
    program : what a file should compute, without a fault.
    batches : of the steps to follow, inputs and labels; more than the limit's steps reach into the
        noise floor.
    runs : of Keras, for the noise floor.
    """

    def __init__(
        self,
        program: Program,
        batches: Sequence[Rows],
        learning_rate: float = 0.001,
        *,
        runs: int = RUNS,
        seed: int = 42,
        progress: bool = True,
    ):
        self.program, self.batches, self.learning_rate = program, batches, learning_rate
        self.runs, self.seed, self.progress = runs, seed, progress
        self.start = program.initial()
        self.tied = _tied(program)

    @functools.cached_property
    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Keras' weights ``(n_steps, n)`` after each step, and its losses."""
        return steps_of(self._keras, self.start, self.batches, self.learning_rate)

    @functools.cached_property
    def floor(self) -> np.ndarray:
        """The noise floor of these steps, see `noise_floor`."""
        fixed = self.runs, self.seed, self.progress
        return noise_floor(self.program, self.batches, self.learning_rate, *fixed)

    @functools.cached_property
    def tied_steps(self) -> list[np.ndarray]:
        """Keras' weights after each of two steps, from starts with equal values in windows."""
        few, rate = self.batches[:2], self.learning_rate
        return [steps_of(self._keras, each, few, rate)[0] for each in self.tied]

    def said(self, trainer) -> np.ndarray:
        """Loss and share of correct rows ``(4, 2)`` that a trainer says of the first batch:
        ``evaluate`` and ``train``, from the start and from the weights after Keras' last step.
        """
        rows = self.batches[0]
        found = []
        for weights in (self.start[WEIGHTS], self.steps[0][-1]):
            trainer.restore({**self.start, WEIGHTS: weights})
            told = trainer.evaluate(*rows), trainer.train(*rows, self.learning_rate)
            found += [[each["loss"], each["correct"]] for each in told]
        return np.array(found)

    @functools.cached_property
    def keras_said(self) -> np.ndarray:
        """What Keras says, see `said`."""
        return self.said(self._keras)

    @functools.cached_property
    def faulty(self) -> dict[str, tuple[Program, list[np.ndarray]]]:
        """By fault, the program that has it and its weights after `_OUTLINED` steps from each
        start; without one by an empty name.
        """
        planted = {n: made for n, fault in FAULTS.items() if (made := fault.plant(self.program))}
        few = self.batches[:_OUTLINED], self.learning_rate
        starts = [self.start, *self.tied]
        return {
            name: (made, _eager_steps(made, starts, *few))
            for name, made in {"": self.program, **planted}.items()
        }

    @functools.cached_property
    def _keras(self) -> keras.Trainer:
        return keras.Trainer(self.program)


def check(reference: Reference, trainer: Callable[[], object]) -> Found:
    """Follow a training file beside Keras.

    Parameters
    ----------
    trainer : opens the file anew, as a `helpers.ondevice.trainer.Trainer` or alike.
    """
    import pandas as pd

    program, batches, rate = reference.program, reference.batches, reference.learning_rate
    followed, losses = steps_of(trainer(), reference.start, batches, rate)
    wanted, keras_losses = reference.steps
    difference = np.abs(followed - wanted).max(axis=1)
    most, steps = LIMITS[program.optimiser.name]
    limit = np.full(len(batches), most)
    if len(batches) > steps or (difference > most).any():
        limit = np.maximum(limit, reference.floor)
    table = pd.DataFrame(
        {"loss": losses, "keras_loss": keras_losses, "difference": difference, "limit": limit},
        index=pd.RangeIndex(1, len(batches) + 1, name="step"),
    )
    ties = 0.0
    for tied, told in zip(reference.tied, reference.tied_steps, strict=True):
        led, _ = steps_of(trainer(), tied, batches[:2], rate)
        ties = max(ties, _relative(led, told, tied))
    outputs = _outputs(program, trainer(), reference.start, batches[0][0])
    losses = _away(reference.said(trainer()), reference.keras_said, len(batches[0][1]))
    found = Found(table, ties, outputs, losses, _continued(trainer, reference))
    return found if found.same else replace(found, fault=diagnose(reference, trainer))


def table(found: Mapping[str, Found]):
    """Files by name: DataFrame of ``same``, ``furthest`` that a weight was from Keras', ``departs``
    the step after which it leaves what is allowed, and how it goes on ``after an interruption``
    from what was saved.
    """
    import pandas as pd

    columns = ["same", "furthest", "departs", "after an interruption"]
    rows = {
        name: [
            "yes" if each.same else "NO",
            f"{each.steps['difference'].max():.0e}",
            "never" if each.departs is None else f"after step {each.departs}",
            "bit for bit" if each.continued == 0 else f"{each.continued:.0e} away",
        ]
        for name, each in found.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def planted(reference: Reference):
    """Plant each fault in a LiteRT file and follow it: DataFrame by what is wrong, whether it was
    ``found`` and whether it was ``named``. A fault that makes no difference to this optimiser is
    left out.
    """
    import pandas as pd
    from tqdm import tqdm

    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faulty.tflite"
        for name, fault in tqdm(
            FAULTS.items(),
            desc="faults",
            delay=2,
            leave=False,
            disable=not reference.progress or None,
        ):
            faulty = fault.plant(reference.program)
            if faulty is None:
                continue
            litert.write(faulty, path)
            said = check(reference, lambda: Trainer(path))
            rows[fault.says] = ["NO" if said.same else "yes", "yes" if said.fault == name else "NO"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["found", "named"])


def _relative(found: np.ndarray, wanted: np.ndarray, start: State) -> float:
    """How far the weights after some steps are apart, as a part of the way from the start."""
    way = np.linalg.norm(wanted - start[WEIGHTS], axis=1)
    return float((np.linalg.norm(found - wanted, axis=1) / way).max())


def _tied(program: Program) -> list[State]:
    """For each convolution a state in which half of its maps are one number, so that pooling
    windows hold equal values; the others are as they were, so that nothing behind it ties by
    rounding alone. Biases keep relu open.
    """
    result = []
    for place, (_, shape) in enumerate(program.layout):
        if len(shape) != 4:
            continue
        state = program.initial()
        values = [
            np.full(each.shape, 0.5) if each.ndim == 1 else each.copy()
            for each in arrays(program, state[WEIGHTS])
        ]
        values[place][..., ::2] = 0
        result.append({**state, WEIGHTS: vector(values)})
    return result


def steps_of(
    trainer, start: State, batches: Sequence[Rows], learning_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``(n_steps, n)`` after each step from a state on, and each step's loss."""
    trainer.restore(start)
    weights, losses = [], []
    for inputs, labels in batches:
        losses.append(trainer.train(inputs, labels, learning_rate)["loss"])
        weights.append(trainer.save()[WEIGHTS])
    return np.array(weights), np.array(losses)


def keras_steps(
    program: Program, batches: Sequence[Rows], learning_rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """The same as `steps_of`, of Keras' own training from the model's weights."""
    return steps_of(keras.Trainer(program), program.initial(), batches, learning_rate)


def noise_floor(
    program: Program,
    batches: Sequence[Rows],
    learning_rate: float,
    runs: int = RUNS,
    seed: int = 42,
    progress: bool = True,
    *,
    every: bool = False,
) -> np.ndarray:
    """How far Keras strays from itself when one weight is moved by its last bit: the largest
    difference of any weight in any of `runs` runs, up to each step.

    Parameters
    ----------
    every : move every weight, each up or down, as another order of sums does in a wide net, where
        one weight in a million moves no sum by more than its own rounding.
    """
    from tqdm import tqdm

    learner, rng = keras.Trainer(program), np.random.default_rng(seed)
    state = program.initial()
    start = state[WEIGHTS]
    own, _ = steps_of(learner, state, batches, learning_rate)
    floor = np.zeros(len(batches))
    moving = np.flatnonzero(start)
    for _ in tqdm(
        range(runs),
        desc="noise floor",
        unit=" runs",
        delay=2,
        leave=False,
        disable=not progress or None,
    ):
        moved = start.copy()
        place = moving if every else rng.choice(moving)
        toward = rng.choice([-np.inf, np.inf], np.shape(place))
        moved[place] = np.nextafter(moved[place], np.float32(toward))
        strayed, _ = steps_of(learner, {**state, WEIGHTS: moved}, batches, learning_rate)
        floor = np.maximum(floor, np.abs(strayed - own).max(axis=1))
    return np.maximum.accumulate(floor)


def diagnose(reference: Reference, trainer: Callable[[], object]) -> str:
    """The fault that makes a file what it is: the one with which a program computes its weights,
    its outputs, or how it goes on; empty if none does.
    """
    few, rate = reference.batches[:_OUTLINED], reference.learning_rate
    starts, (_, sound) = [reference.start, *reference.tied], reference.faulty[""]
    followed = [steps_of(trainer(), each, few, rate)[0] for each in starts]
    apart = {
        name: max(
            np.linalg.norm(f - t) / np.linalg.norm(s - start[WEIGHTS])
            for f, t, s, start in zip(followed, told, sound, starts, strict=True)
        )
        for name, (_, told) in reference.faulty.items()
    }
    nearest = min(apart, key=apart.get)
    if apart[nearest] <= TIES_ERROR < apart[""]:
        return nearest
    inputs = reference.batches[0][0]
    found = _infer(reference.program, trainer(), reference.start, inputs)
    away = {
        name: _apart(found, made, reference.start, inputs)
        for name, (made, _) in reference.faulty.items()
    }
    nearest = min(away, key=away.get)
    if away[nearest] <= OUTPUT_ERROR < away[""]:
        return nearest
    told, rows = reference.said(trainer()), len(reference.batches[0][1])
    if _away(told, reference.keras_said, rows) > OUTPUT_ERROR:
        for name, (made, _) in reference.faulty.items():
            if name and _away(told, reference.said(_Computed(made)), rows) <= OUTPUT_ERROR:
                return name
    return "optimiser not restored" if _continued(trainer, reference) else ""


class _Computed:
    """A program that TensorFlow computes, as a trainer that says losses."""

    def __init__(self, program: Program):
        self._program = program

    def restore(self, state: State) -> None:
        self._state = {name: tensorflow().constant(value) for name, value in state.items()}

    def evaluate(self, inputs: Inputs, labels: np.ndarray) -> dict[str, float]:
        given = self._given(inputs, labels)
        return means(self._program.evaluated(self._state[WEIGHTS], *given), len(labels))

    def train(self, inputs: Inputs, labels: np.ndarray, learning_rate: float) -> dict[str, float]:
        given = self._given(inputs, labels)
        return means(self._program.stepped(self._state, *given, learning_rate)[1], len(labels))

    def _given(self, inputs: Inputs, labels: np.ndarray) -> tuple:
        tf = tensorflow()
        return (
            {name: tf.constant(array) for name, array in inputs.items()},
            tf.constant(labels, tf.int32),
        )


def _away(told: np.ndarray, wanted: np.ndarray, rows: int) -> float:
    """How far losses are apart, see `Found.losses`."""
    if (np.abs(told - wanted)[:, 1] * rows > 1.5).any():
        return np.inf
    losses, own = told[:, 0], wanted[:, 0]
    return float((np.abs(losses - own) / np.maximum(1, np.abs(own))).max())


def _eager_steps(
    program: Program, starts: Sequence[State], batches, learning_rate
) -> list[np.ndarray]:
    """Weights after each step, by start, as TensorFlow computes the program itself."""
    tf, result = tensorflow(), []
    step = tf.function(program.stepped, autograph=False)
    for start in starts:
        state = {name: tf.constant(value) for name, value in start.items()}
        weights = []
        for inputs, labels in batches:
            given = {name: tf.constant(array) for name, array in inputs.items()}
            rate = tf.constant(learning_rate, tf.float32)
            state, _ = step(state, given, tf.constant(labels, tf.int32), rate)
            weights.append(state[WEIGHTS].numpy())
        result.append(np.array(weights))
    return result


def _infer(program: Program, trainer, start: State, inputs: Inputs) -> np.ndarray:
    trainer.restore(start)
    return trainer.infer(inputs)[program.schema.output.name]


def _outputs(program: Program, trainer, start: State, inputs: Inputs) -> float:
    wanted = np.asarray(program.model(structured(program.model, dict(inputs)), training=False))
    return float(np.abs(_infer(program, trainer, start, inputs) - wanted).max())


def _apart(found: np.ndarray, program: Program, start: State, inputs: Inputs) -> float:
    tf = tensorflow()
    given = {name: tf.constant(array) for name, array in inputs.items()}
    wanted = program.outputs(tf.constant(start[WEIGHTS]), given)[program.schema.output.name]
    return float(np.abs(found - wanted.numpy()).max())


def _continued(trainer, reference: Reference) -> float:
    """How far training that was saved and restored is from training that was not."""
    few, rate = reference.batches[: 2 * _OUTLINED], reference.learning_rate
    half = len(few) // 2
    whole, _ = steps_of(trainer(), reference.start, few, rate)
    first = trainer()
    steps_of(first, reference.start, few[:half], rate)
    rest, _ = steps_of(trainer(), first.save(), few[half:], rate)
    return float(np.abs(rest[-1] - whole[-1]).max())
