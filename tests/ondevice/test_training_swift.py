"""The Swift class that trains, compiled by the Swift compiler and run over TensorFlow Lite's C
library; ``stubs/swift`` is what it calls of CryptoKit.
"""

import random
import shutil
import subprocess
import time
from pathlib import Path

import ondevice_bundle
import pytest
from test_swift import _PLACES, LANGUAGES, swift  # noqa: F401 (a fixture)

from helpers.bundle import native
from helpers.ondevice import bundle
from helpers.ondevice.trainer import Trainer

pytestmark = pytest.mark.slow
STUBS = Path(__file__).parent / "stubs" / "swift"
CHECKS = ("golden", "round", "worse", "refuses", "versions")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return ondevice_bundle.shared(tmp_path_factory)


@pytest.fixture(scope="module")
def place(swift, folder) -> Path:  # noqa: F811
    """Where Swift runs, with the bundle, the sources and CryptoKit in it."""
    shutil.copytree(folder, swift.folder / "bundle")
    shutil.copytree(STUBS, swift.folder, dirs_exist_ok=True)
    shutil.copy(folder / "ios" / "Training.swift", swift.folder)
    module = ["-emit-module", "-emit-library", "-parse-as-library", "-module-name", "CryptoKit"]
    done = swift("swiftc", "-O", *module, "CryptoKit.swift", "-o", "libCryptoKit.so")
    assert done.returncode == 0, done.stderr
    return swift.folder


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_compiles_without_a_warning(swift, place, language):  # noqa: F811
    done = swift(
        "swiftc",
        "-typecheck",
        *LANGUAGES[language],
        "-module-name",
        "App",
        *_PLACES,
        "Training.swift",
    )
    assert done.returncode == 0 and not done.stderr and not done.stdout, done.stdout + done.stderr


@pytest.fixture(scope="module")
def program(swift, place) -> list:  # noqa: F811
    """The command that runs a check."""
    link = ["-lTensorFlowLite", "-lCryptoKit", "-Xlinker", "-rpath", "-Xlinker", "/work"]
    sources = ["Training.swift", "main.swift"]
    done = swift("swiftc", *LANGUAGES["5"], *_PLACES, *link, *sources, "-o", "exercise")
    assert done.returncode == 0, done.stdout + done.stderr
    return [native.tools() / "swift" / "enter", place, "./exercise", "bundle", "personal"]


@pytest.fixture
def run(program, place):
    for file in place.glob("personal*"):
        file.unlink()

    def run(what: str) -> str:
        done = subprocess.run([*program, what], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("what", CHECKS)
def test_the_class_does_what_it_promises(run, what):
    assert run(what).splitlines()[-1] == f"ok {what}"


def test_a_round_rehearses_the_rows_that_are_next(run, place, folder):
    run("rehearsed")
    ondevice_bundle.require_rehearsed(folder, place / "personal")


def test_a_model_of_a_fixed_number_of_rows_rehearses_in_steps_of_its_own(program, place):
    folder = ondevice_bundle.fixed(place / "fixed")
    others = {"bundle": folder.name, "personal": "personal-fixed"}
    command = [others.get(word, word) for word in program]
    done = subprocess.run([*command, "rehearsed"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    ondevice_bundle.require_rehearsed(folder, place / others["personal"])


def test_golden_steps_that_it_does_not_make_are_refused(program, place, folder):
    copy = ondevice_bundle.spoiled(folder, place / "spoiled")
    command = [copy.name if word == "bundle" else word for word in program]
    done = subprocess.run([*command, "golden"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "golden step 3 is" in done.stdout, done.stdout


def test_a_state_that_python_saved_is_saved_again_byte_for_byte(run, place, folder):
    ondevice_bundle.state_of(folder, 3, place / "personal")
    content = (place / "personal").read_bytes()
    run("again")
    assert (place / "personal").read_bytes() == content
    assert (place / "personal.before").read_bytes() == content


def test_the_accuracy_is_that_of_python(run, place, folder):
    trainer = ondevice_bundle.state_of(folder, 4, place / "personal")
    inputs, labels = bundle.read_rehearsal((folder / bundle.REHEARSAL).read_bytes())
    wanted = trainer.evaluate(inputs, labels)["correct"]
    assert float(run("accuracy").splitlines()[0]) == pytest.approx(wanted, abs=1e-7)


def test_a_kill_while_saving_leaves_the_old_or_the_new_state(run, program, place, folder):
    rng, seen = random.Random(5), set()
    for _ in range(5):
        process = subprocess.Popen([*program, "loop"], stdout=subprocess.PIPE)
        process.stdout.read(2)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.communicate()
        for path in (place / "personal", place / "personal.before"):
            Trainer(folder / bundle.TRAINING).resume(path)
            seen.add(path.read_bytes())
    assert len(seen) == 2
