"""Import native libraries without the lines they print, and set them up to repeat.

TensorFlow and MNN print on file descriptors 1 and 2 when they are imported, in ways that no setting
silences; with those lines in the way, the stored output of a notebook would never compare.

From here on TensorFlow computes without oneDNN, whoever imports it: oneDNN picks its kernels by the
processor's vector units, and the same seed would give other last digits on another machine. For
the same reason an operation of it has one thread: convolutions add up gradients in pieces, as many
as there are threads.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress

_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
"""Variable that TensorFlow reads while it is imported."""
if _ONEDNN not in os.environ:
    if "tensorflow" in sys.modules:
        warnings.warn(
            "TensorFlow was imported before helpers and computes with oneDNN: its last digits are "
            f"this processor's. Import helpers first, or set {_ONEDNN}=0",
            stacklevel=2,
        )
    os.environ[_ONEDNN] = "0"


_turns = threading.RLock()
"""Held by the thread whose output is caught: standard output belongs to the whole process."""


def _renew_turns() -> None:
    global _turns
    _turns = threading.RLock()


os.register_at_fork(after_in_child=_renew_turns)


@contextmanager
def native_output():
    """Catch what native and Python code prints on standard output and error; yields a function that
    reads it.

    If the body raises, what was caught is printed on standard error after all. Threads take turns.
    """
    with _turns, _caught() as read:
        yield read


@contextmanager
def _caught():
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with (
        tempfile.TemporaryFile() as log,
        open(log.fileno(), "w", encoding="utf-8", closefd=False) as text,
    ):

        def read() -> str:
            text.flush()
            position = log.tell()
            log.seek(0)
            caught = log.read().decode(errors="replace")
            log.seek(position)
            return caught

        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        failed = True
        try:
            with redirect_stdout(text), redirect_stderr(text):
                yield read
            failed = False
        finally:
            text.flush()
            for number, copy in enumerate(saved, start=1):
                os.dup2(copy, number)
                os.close(copy)
            if failed:
                sys.stderr.write(read())


@contextmanager
def without_uri_grammar():
    """Let the body import jsonschema without the grammar of URIs, which takes a second and a half
    to build.

    The schema of notebooks has no URIs to check, and jsonschema does without the package where it
    is not there.
    """
    name = "rfc3987_syntax"
    missing = name not in sys.modules
    if missing:
        sys.modules[name] = None
    try:
        yield
    finally:
        if missing:
            del sys.modules[name]


def tensorflow(*, first_operation: bool = True):
    """Import TensorFlow, on the CPU, with the same kernels and sums on every processor.

    `first_operation` runs one, which starts its threads and prints; a process that is going to fork
    must not have any.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    with native_output():
        import tensorflow as tf

        with suppress(RuntimeError):  # an operation ran before: its threads are there
            tf.config.threading.set_intra_op_parallelism_threads(1)
        if first_operation:
            tf.constant(0.0)
        tf.get_logger().setLevel("ERROR")
    return tf


def mnn():
    """Import MNN's runtime (not its tools: importing them installs packages and reports usage)."""
    with native_output():
        import MNN
    return MNN
