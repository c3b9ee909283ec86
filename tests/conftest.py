"""Fixtures: a home of its own for every test, one small trained model, one finished run."""

import contextlib
import fcntl
import functools
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from brought import NUMBERS, TABLE
from support import QUICKLY, servers, train, workbench

from helpers import datasets, quiet, registry, runs, simulation
from helpers.forks import server
from helpers.tasks import Truth
from helpers.tasks.ranking import RANKING

LONGEST = (
    "test_run",
    "test_stored_outputs",
    "test_fork",
    "test_headless",
    "test_feed",
    "test_latency",
    "test_tracking",
)
"""Modules that `make test` begins with, so that no worker is left with one of them at the end."""


def pytest_configure() -> None:
    os.environ.setdefault("WORKBENCH_KERNEL_IDLE", "120")  # fork servers end soon after the tests
    os.environ.pop("COLUMNS", None)  # commands print as where there is no terminal
    # A shell ignores Ctrl-C for what it starts in the background, and whatever that starts ignores
    # it, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: (
            LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
        )
    )


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """WORKBENCH_HOME of the test, so that nobody's runs are touched."""
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def ranking():
    return registry.get("ranking")


@contextlib.contextmanager
def _once(tmp_path_factory, name: str):
    """A folder that all pytest-xdist workers share, locked for the body; and whether it is the
    first to be here.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder, not (folder / "made").exists()
        (folder / "made").touch()


@dataclass
class Trained:
    """The published model after two epochs as files, its reference and history, and the splits it
    was made of.
    """

    folder: Path
    reference: object
    history: pd.DataFrame
    splits: dict[str, tuple]

    @property
    def files(self) -> dict[str, Path]:
        return {
            name: self.folder / name
            for name in ("model.keras", "fp32.tflite", "fp32.mnn", "reference.npz")
        }

    @functools.cached_property
    def model(self):
        """The Keras model itself; asking for it imports TensorFlow."""
        quiet.tensorflow()
        import keras

        return keras.models.load_model(self.files["model.keras"])


@pytest.fixture(scope="session")
def trained(ranking, tmp_path_factory) -> Trained:
    """A small trained model, made once also for several pytest-xdist workers. Tests must not change
    its files.
    """
    from helpers.convert import mnn
    from helpers.evaluation import parity
    from helpers.frameworks import keras as framework

    splits = {}
    for split in datasets.SPLITS:
        frame = simulation.sample(ranking, "simple", rows=4200, seed=7, split=split)
        splits[split] = (
            ranking.schema.arrays(frame),
            frame[datasets.LABEL].to_numpy(),
            frame[datasets.REQUEST].to_numpy(),
        )
    with _once(tmp_path_factory, "trained") as (folder, first):
        small = Trained(folder, None, None, splits)
        if first:
            model, history = train(
                ranking, splits["train"][:2], splits["validation"][:2], seed=7, epochs=2
            )
            framework.save(model, small.files["model.keras"])
            framework.export(model, ranking.schema, small.files["fp32.tflite"])
            mnn.convert(small.files["fp32.tflite"], ranking.schema, small.files["fp32.mnn"])
            inputs, labels, requests = splits["test"]
            outputs = framework.predict(model, ranking.schema, inputs)
            reference = parity.Reference(RANKING, inputs, outputs, Truth(labels, requests))
            reference.save(small.files["reference.npz"])
            history.to_pickle(folder / "history.pickle")
        small.history = pd.read_pickle(folder / "history.pickle")
        small.reference = parity.Reference.load(
            small.files["reference.npz"], RANKING, splits["test"][0]
        )
    return small


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Home of a run ``default`` that `workbench run` finished, and what that printed.

    Made once, also for several pytest-xdist workers. Tests must not change it: see `finished_copy`.
    """
    with _once(tmp_path_factory, "finished") as (folder, first):
        made = SimpleNamespace(home=folder / "home", output=folder / "output.txt")
        if first:
            done = workbench("run", "ranking", "--run", "default", *QUICKLY, home=made.home)
            assert done.returncode == 0, done.stdout + done.stderr
            made.output.write_text(done.stdout)
    return made


@pytest.fixture
def finished_copy(finished, home, monkeypatch) -> runs.Run:
    """The finished run in the test's own home, to be changed at will."""
    shutil.copytree(finished.home, home)
    return runs.Run("ranking", "default")


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """Fork servers of a module's own, so that whatever they forked was forked for its tests; yields
    their folder.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        patch.setenv("WORKBENCH_KERNEL_IDLE", "60")
        yield server.folder()
        for process in servers(server.folder()):
            process.kill()


@pytest.fixture
def small_tmpfs(tmp_path):
    """A file system of 256 KiB, to be full soon."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root and the right to mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def pytest_terminal_summary(terminalreporter):
    """The table of planted faults: what was caught, by what, with which words."""
    reports = [
        r for outcome in ("passed", "failed") for r in terminalreporter.stats.get(outcome, [])
    ]
    planted = [
        r
        for r in reports
        if re.search("test_a_(planted_fault|file_of_another_run)_is_caught", r.nodeid)
    ]
    caught = [
        value for r in planted if r.passed for name, value in r.user_properties if name == "fault"
    ]
    if not planted:
        return
    terminalreporter.section(f"planted faults: caught {len(caught)} of {len(planted)}")
    width = max((len(row[0]) for row in caught), default=0)
    for name, stage, error, said in sorted(caught, key=lambda row: row[1]):
        terminalreporter.line(
            f"{name:<{width}}  {stage:<13}  {error}: "
            f"{said if len(said) < 110 else said[:107] + '...'}"
        )


@pytest.fixture(scope="session")
def rows():
    """Inputs of a model for docs/clicks.csv, by column."""
    table = pd.read_csv(TABLE)
    numbers = {name: table[[name]].to_numpy(np.float32) for name in NUMBERS}
    return {"kind": table[["kind"]].to_numpy(np.int32), **numbers}


@pytest.fixture(scope="session")
def theirs(tmp_path_factory, rows):
    """A Keras model with an Embedding and a batch normalisation, in three forms."""
    import keras
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("theirs")
    keras.utils.set_random_seed(1)
    kind = keras.Input((1,), dtype="int32", name="kind")
    numbers = [keras.Input((1,), name=name) for name in NUMBERS]
    looked_up = keras.layers.Flatten()(keras.layers.Embedding(12, 4, name="kinds")(kind))
    x = keras.layers.BatchNormalization()(keras.layers.Concatenate()([looked_up, *numbers]))
    x = keras.layers.Dense(16, "relu")(x)
    model = keras.Model([kind, *numbers], keras.layers.Dense(1, "sigmoid", name="click")(x))
    model.compile("adam", "binary_crossentropy", jit_compile=False)
    labels = pd.read_csv(TABLE)["clicked"].to_numpy()
    model.fit(rows, labels, epochs=1, verbose=0)
    model.save(folder / "theirs.keras")
    model.export(folder / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    (folder / "theirs.tflite").write_bytes(converter.convert())
    return folder
