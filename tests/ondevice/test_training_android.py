"""The Kotlin class that trains, compiled and run on the JVM with TensorFlow Lite's C library.

That library calls no signatures. ``stubs/android`` gives it those of ``training.tflite`` as
TensorFlow Lite's Java has them, computed by the two files without signatures.
"""

import os
import random
import shutil
import subprocess
import time
from pathlib import Path

import ondevice_bundle
import pytest
import test_android as android

from helpers.ondevice import bundle

pytestmark = pytest.mark.slow
STUBS = Path(__file__).parent / "stubs" / "android"
stubs = android.stubs
CHECKS = ("golden", "round", "worse", "refuses", "versions")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return ondevice_bundle.shared(tmp_path_factory)


@pytest.fixture(scope="module")
def signatures(stubs, folder, tmp_path_factory) -> tuple[Path, str]:
    """The class that has signatures, compiled, and the class path that begins with it."""
    made = tmp_path_factory.mktemp("signatures")
    subprocess.run(
        ["javac", "-cp", stubs, "-d", made, *(STUBS / "org").rglob("*.java")], check=True
    )
    return made, f"{made}{os.pathsep}{stubs}"


@pytest.fixture(scope="module")
def compiled(signatures, folder, tmp_path_factory) -> Path:
    classes = tmp_path_factory.mktemp("kotlin")
    sources = [folder / "android" / "Training.kt", STUBS / "ExerciseTraining.kt"]
    done = android._kotlinc("-cp", signatures[1], "-d", classes, *sources)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return classes


@pytest.fixture(scope="module")
def command(compiled, signatures, stubs, tmp_path_factory) -> list:
    built, _ = android.natives(stubs, tmp_path_factory.mktemp("natives"))
    path = [compiled, signatures[1], android.KOTLIN / "lib" / "kotlin-stdlib.jar"]
    options = ["-XX:TieredStopAtLevel=1", f"-Dinterpreter={built}"]
    return ["java", *options, "-cp", os.pathsep.join(map(str, path)), "ondevice.ExerciseTrainingKt"]


@pytest.fixture
def run(command, folder, tmp_path):
    def run(what: str, store: Path = tmp_path / "personal") -> str:
        done = subprocess.run(
            [*command, folder, store, what], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("what", CHECKS)
def test_the_class_does_what_it_promises(run, what):
    assert run(what).splitlines()[-1] == f"ok {what}"


def test_a_round_rehearses_the_rows_that_are_next(run, folder, tmp_path):
    run("rehearsed")
    ondevice_bundle.require_rehearsed(folder, tmp_path / "personal")


def test_a_model_of_a_fixed_number_of_rows_rehearses_in_steps_of_its_own(command, tmp_path):
    folder, store = ondevice_bundle.fixed(tmp_path / "fixed"), tmp_path / "personal"
    done = subprocess.run([*command, folder, store, "rehearsed"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ondevice_bundle.require_rehearsed(folder, store)


def test_golden_steps_that_it_does_not_make_are_refused(command, folder, tmp_path):
    copy = ondevice_bundle.spoiled(folder, tmp_path / "copy")
    given = [copy, tmp_path / "personal", "golden"]
    done = subprocess.run([*command, *given], capture_output=True, text=True)
    assert done.returncode == 1 and "golden step 3 is" in done.stderr, done.stderr


def test_a_state_that_python_saved_is_saved_again_byte_for_byte(run, folder, tmp_path):
    ondevice_bundle.state_of(folder, 3, tmp_path / "personal")
    content = (tmp_path / "personal").read_bytes()
    run("again")
    assert (tmp_path / "personal").read_bytes() == content
    assert (tmp_path / "personal.before").read_bytes() == content


def test_the_accuracy_is_that_of_python(run, folder, tmp_path):
    trainer = ondevice_bundle.state_of(folder, 4, tmp_path / "personal")
    inputs, labels = bundle.read_rehearsal((folder / bundle.REHEARSAL).read_bytes())
    wanted = trainer.evaluate(inputs, labels)["correct"]
    assert float(run("accuracy").splitlines()[0]) == pytest.approx(wanted, abs=1e-7)


def test_a_kill_while_saving_leaves_the_old_or_the_new_state(command, folder, tmp_path):
    from helpers.ondevice.trainer import Trainer

    store, rng, seen = tmp_path / "personal", random.Random(5), set()
    for _ in range(5):
        process = subprocess.Popen([*command, folder, store, "loop"], stdout=subprocess.PIPE)
        process.stdout.read(2)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.communicate()
        for path in (store, store.with_name("personal.before")):
            Trainer(folder / bundle.TRAINING).resume(path)
            seen.add(path.read_bytes())
    assert len(seen) == 2


def test_another_training_file_is_refused(command, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    with open(copy / bundle.TRAINING, "ab") as file:
        file.write(b"\0")
    done = subprocess.run(
        [*command, copy, tmp_path / "personal", "golden"], capture_output=True, text=True
    )
    assert done.returncode == 1 and "is not the file that" in done.stderr


def test_a_signature_without_inputs_would_be_refused(folder):
    """As Java refuses it: every signature of the file takes something."""
    from ai_edge_litert.interpreter import Interpreter

    listed = Interpreter(str(folder / bundle.TRAINING)).get_signature_list()
    assert len(listed) == 5 and all(each["inputs"] for each in listed.values())


def test_the_java_of_the_readme_compiles_and_trains(
    signatures,
    compiled,
    stubs,  # noqa: F811
    folder,
    tmp_path,
):
    text = (folder / "README.md").read_text()
    snippet = text.split("```java\n")[1].split("```")[0]
    (tmp_path / "Snippet.java").write_text(snippet)
    done = subprocess.run(
        ["javac", "-cp", signatures[1], "-d", tmp_path, tmp_path / "Snippet.java"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    built, _ = android.natives(stubs, tmp_path)
    path = os.pathsep.join([str(tmp_path), signatures[1]])
    done = subprocess.run(
        ["java", f"-Dinterpreter={built}", "-cp", path, "Snippet", folder / bundle.TRAINING],
        capture_output=True,
        text=True,
    )
    losses = [float(line) for line in done.stdout.split()]
    assert done.returncode == 0 and len(losses) == 2 and losses[1] < losses[0], done.stderr
