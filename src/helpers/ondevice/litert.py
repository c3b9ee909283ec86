"""Training files of TensorFlow Lite: builtin operators only, and nothing that a phone lacks.

Two forms of the same functions. ``training.tflite`` holds its state and has the signatures
``train``, ``infer``, ``evaluate``, ``save`` and ``restore``. Runtimes that know no signatures take
a file each, whose state goes in and comes out: ``train_step.tflite`` and ``infer.tflite``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from helpers.convert import tflite
from helpers.errors import ConversionFailed
from helpers.ondevice.program import IGNORED, STEP, WEIGHTS, Program
from helpers.quiet import native_output, tensorflow

SIGNATURES = ("train", "infer", "evaluate", "save", "restore")
AFTER = "_after"
"""Ends the name of what a stateless file gives back of its state."""


def write(program: Program, path: Path) -> Path:
    """Write the file that holds its state; returns its path.

    Raises
    ------
    ConversionFailed : TensorFlow's converter refused it, in its words.
    """
    tf = tensorflow()
    module = tf.Module()
    initial = program.initial()
    module.state = {name: tf.Variable(value, name=name) for name, value in initial.items()}

    def held():
        return {name: variable.read_value() for name, variable in module.state.items()}

    def train(labels, learning_rate, **inputs):
        after, found = program.stepped(held(), inputs, labels, learning_rate)
        for name, value in after.items():
            module.state[name].assign(value)
        return found

    def infer(**inputs):
        return program.outputs(module.state[WEIGHTS].read_value(), inputs)

    def evaluate(labels, **inputs):
        return program.evaluated(module.state[WEIGHTS].read_value(), inputs, labels)

    def save(ignored):
        return held()

    def restore(**state):
        for name, value in program.restored(state).items():
            module.state[name].assign(value)
        return {"steps": state[STEP] + 0.0}

    rate = {"learning_rate": tf.TensorSpec([], tf.float32)}
    _write(
        module,
        {
            "train": (train, {**program.specs(labels=True), **rate}),
            "infer": (infer, program.specs()),
            "evaluate": (evaluate, program.specs(labels=True)),
            "save": (save, {IGNORED: tf.TensorSpec([], tf.float32)}),
            "restore": (restore, _state_specs(program)),
        },
        path,
    )
    return path


def write_stateless(program: Program, train: Path, infer: Path) -> None:
    """Write the two files for runtimes that know no signatures.

    ``train`` takes the state, a batch, ``labels`` and ``learning_rate``, and gives ``loss``,
    ``correct`` and the state with names that end with `AFTER`; ``infer`` takes ``weights`` and a
    batch.
    """
    tf = tensorflow()
    state = _state_specs(program)

    def step(labels, learning_rate, **named):
        held = {name: named.pop(name) for name in state}
        after, found = program.stepped(held, named, labels, learning_rate)
        return {**found, **{f"{name}{AFTER}": value for name, value in after.items()}}

    def outputs(weights, **inputs):
        return program.outputs(weights, inputs)

    rate = {"learning_rate": tf.TensorSpec([], tf.float32)}
    _write(tf.Module(), {"train": (step, {**state, **program.specs(labels=True), **rate})}, train)
    _write(tf.Module(), {"infer": (outputs, {WEIGHTS: state[WEIGHTS], **program.specs()})}, infer)


def _state_specs(program: Program) -> dict:
    tf = tensorflow()
    return {name: tf.TensorSpec(shape, tf.float32) for name, shape in program.sizes.items()}


def _write(module, functions: dict, path: Path) -> None:
    """Convert functions, each with its specifications by name, to the signatures of one file."""
    tf = tensorflow()
    path.unlink(missing_ok=True)
    signatures = {
        name: tf.function(function, autograph=False).get_concrete_function(**specs)
        for name, (function, specs) in functions.items()
    }
    with tempfile.TemporaryDirectory() as folder, native_output():
        try:
            tf.saved_model.save(module, folder, signatures=signatures)
            converter = tf.lite.TFLiteConverter.from_saved_model(
                folder, signature_keys=list(functions)
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            converter.experimental_enable_resource_variables = True
            content = converter.convert()
        except Exception as error:  # whatever TensorFlow raises is its reason
            said = str(error).strip().splitlines()
            raise ConversionFailed(
                f"the training file could not be made: {said[0] if said else type(error).__name__}"
            ) from error
    orders = {name: list(specs) for name, (_, specs) in functions.items()}
    path.write_bytes(tflite.signed(content, orders))
