"""Microseconds to re-rank one list, in each language of a bundle that runs here.

    python tests/benchmarks/list_times.py

A list is one raw session of the study `feed` with 64 candidates: JSON in, encoded, scored, sorted,
`info_id`s out. Each language does all of it with the bundle's own sources and one thread, and all
must give the same order. The programs are those of the tests: C and C++ with the libraries
themselves; Swift built by SwiftPM, optimised, with MNN's library, and with TensorFlow Lite's C
library below the interface of its pod, which is a stand-in; Kotlin on a JVM that has warmed up,
with the same C library behind a stand-in for Android's `Interpreter`. MNN's Java binding and
Android's runtime are not here.

In each round every program is timed in turn: the shortest mean of blocks of 4 ms or more. Shown is
the median of the rounds, and the median of the ratios to C of the same round and runtime. What
cannot be built here is said and left out; without C nothing is timed.
"""

import argparse
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "bundle"))
import test_android as android
import test_swift as swift
import test_swift_package as packages
from delivering import Process

from helpers import features, registry
from helpers.bundle import make, native, sessions, sources
from helpers.convert import mnn
from helpers.frameworks import keras as framework
from helpers.quiet import tensorflow
from helpers.runtimes import open_model
from helpers.studies.feed import world
from helpers.studies.feed.model import build_model

FILES = ("model.tflite", "model.mnn")
RUNTIMES = {"model.tflite": "TensorFlow Lite", "model.mnn": "MNN"}
BLOCK_SECONDS = 0.004
Round = Callable[[float], list[float]]
"""Microseconds of each runtime, in the order of `FILES`; given how long to time each."""


def bundle(folder: Path, candidates: int) -> list[str]:
    """Write a bundle of `feed`, sources included, and one session: its order is returned.

    The model is not trained: what it scores takes as long.
    """
    tensorflow()
    import keras

    keras.utils.set_random_seed(1)
    study, model, rng = registry.get("feed"), build_model(), np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([w + 0.3 * rng.normal(size=w.shape) for w in layer.get_weights()])
    models = {name: folder / name for name in FILES}
    framework.export(model, study.schema, models["model.tflite"])
    mnn.convert(models["model.tflite"], study.schema, models["model.mnn"])
    framework.save(model, folder / "model.keras")
    drawn = world.draw(np.random.default_rng(9), 40_000)
    encoding = features.fit(drawn, study.features)
    typical = features.encode(encoding, drawn)
    cases = make.cases(study.schema, folder / "model.keras", models, typical)
    (folder / "model.keras").unlink()
    text = json.dumps(_session(drawn, study.id_field, candidates))
    score = {
        name: open_model(path, study.schema, trusted=True).score for name, path in models.items()
    }
    allowed = {name: by_output["click"] for name, by_output in cases.tolerance.items()}
    golden = sessions.make(encoding, {"list": text}, score, allowed)
    content = make.contents(models, cases)
    content["features.json"] = json.dumps(encoding.to_json()).encode()
    content[sessions.FILE] = sessions.to_json(golden).encode()
    content["session.json"] = text.encode()
    minimum = {"tflite": "2.9.0", "mnn": "3.1.0"}
    code = sources.render(study.schema, FILES, minimum, encoding=True, names=content)
    for name, data in {**content, **{name: c.encode() for name, c in code.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return golden.cases[0].order["model.tflite"]


def _session(drawn, id_field: str, candidates: int) -> dict:
    """A last click with candidates of as many lists as it takes, none twice."""
    shown = {name: values[: 4 * candidates] for name, values in drawn.items() if name[0] != "_"}
    raws = features.to_sessions(shown, 20, id_field)
    posts = {post["info_id"]: post for raw in raws for post in raw["resort_list"]}
    return {**raws[0], "resort_list": list(posts.values())[:candidates]}


def in_c(folder: Path, scratch: Path, order: list[str]) -> Round:
    raw = (folder / "features.json", folder / sessions.FILE)
    programs = [native.build_rerank(folder / "c", scratch, file) for file in FILES]

    def timed(seconds: float) -> list[float]:
        said = [
            native.run(program, folder / file, *raw, seconds=seconds)
            for program, file in zip(programs, FILES, strict=True)
        ]
        wrong = [outcome.lines for outcome in said if outcome.status]
        if wrong:
            raise SystemExit(f"C does not reproduce the list: {wrong}")
        return [outcome.microseconds["list"] for outcome in said]

    return timed


def in_python(folder: Path, scratch: Path, order: list[str]) -> Round:
    schema, text = registry.get("feed").schema, (folder / "session.json").read_text()
    encoding = features.load(folder / "features.json")
    models = [open_model(folder / file, schema, trusted=True) for file in FILES]

    def once(model) -> list[str]:
        return features.rerank(text, model.score(features.assemble(encoding, text))[:, 0])

    def timed(seconds: float) -> list[float]:
        found = []
        for model in models:
            calls, best, start = 1, float("inf"), time.perf_counter()
            while time.perf_counter() - start < seconds or best == float("inf"):
                begun = time.perf_counter()
                for _ in range(calls):
                    once(model)
                taken = time.perf_counter() - begun
                if taken < BLOCK_SECONDS:
                    calls *= 2
                else:
                    best = min(best, taken / calls)
            found.append(best * 1e6)
        return found

    _same("Python", [once(model) for model in models], order)
    return timed


def in_swift(folder: Path, scratch: Path, order: list[str]) -> Round:
    (scratch / "swift").mkdir()
    run = packages.manager(swift.compiler(scratch / "swift"))
    name = sources.class_name(registry.get("feed").schema.model_name)
    shutil.copytree(folder, run.home / name)
    link = packages.mnn_package(run.home)
    words = {"ONE": name, "SCORER_MNN": f"{name}Mnn.shared", "IMPORT_MNN": f"import {name}KitMnn"}
    words["KIT_MNN"] = f', .product(name: "{name}KitMnn", package: "{name}")'
    places = {"Times.Package.swift": "Package.swift", "Times.swift": "Sources/Times/Times.swift"}
    packages._fill(run.home / "Times", places, words)
    status, said = run("swift-build", "Times", "-c", "release", *link)
    if status:
        raise SystemExit(f"Swift does not build: {said[-3000:]}")
    enter = native.tools() / "swift" / "enter"
    program = [enter, scratch / "swift", "packages/Times/.build/release/Times", f"packages/{name}"]
    return _talking("Swift", program, order, runtimes=2)


def in_kotlin(folder: Path, scratch: Path, order: list[str]) -> Round:
    name = sources.class_name(registry.get("feed").schema.model_name)
    stubs, place = scratch / "stubs", scratch / "kotlin"
    stubs.mkdir(), place.mkdir()
    android.compiled_stubs(stubs)
    built, classes = android.natives(stubs, scratch)
    for path in (folder / "android" / "src" / "main").rglob("*.kt"):
        shutil.copy(path, place)
    text = (android.STUBS / "Times.kt").read_text()
    text = text.replace("NAME", name).replace("PACKAGE", name.lower())
    (place / "Times.kt").write_text(text)
    done = android._kotlinc("-cp", stubs, "-d", place / "classes", *place.glob("*.kt"))
    if done.returncode:
        raise SystemExit(f"Kotlin does not compile: {done.stderr[-3000:]}")
    library = android.KOTLIN / "lib" / "kotlin-stdlib.jar"
    path = ":".join(map(str, [classes, place / "classes", stubs, library]))
    program = ["java", f"-Dinterpreter={built}", "-cp", path, f"{name.lower()}.TimesKt", folder]
    return _talking("Kotlin", program, order, runtimes=1)


def _talking(language: str, program: list, order: list[str], runtimes: int) -> Round:
    """A program that says its orders, and then the times of a round for each line of seconds."""
    process = Process(language, program, Path(), Path())
    atexit.register(process.close)
    _same(language, [process.answer() for _ in range(runtimes)], order)

    def timed(seconds: float) -> list[float]:
        return [float(time) for time in process.ask(seconds)]

    for _ in range(3):  # what compiles while it runs has compiled then
        timed(1.0)
    return timed


def _same(language: str, found: list[list[str]], order: list[str]) -> None:
    if any(one != order for one in found):
        raise SystemExit(f"{language} gives another order than was made here")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, default=64, help="in the list")
    parser.add_argument("--rounds", type=int, default=15, help="of every program in turn")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each program a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        (scratch / "bundle").mkdir()
        order = bundle(scratch / "bundle", options.candidates)
        rounds: dict[str, Round] = {}
        for language, made in (
            ("C", in_c),
            ("Swift", in_swift),
            ("Kotlin", in_kotlin),
            ("Python", in_python),
        ):
            try:
                rounds[language] = made(scratch / "bundle", scratch, order)
            except (pytest.skip.Exception, native.NotHere) as reason:
                print(f"{language}: {reason}")
        if "C" not in rounds:
            print("without C there is nothing to compare with: nothing is timed")
            return
        times = {language: [] for language in rounds}
        for _ in range(options.rounds):
            for language, timed in rounds.items():
                times[language].append(timed(options.seconds))
    print(f"one list of {options.candidates}, {options.rounds} rounds, {_versions()}")
    print(f"{'language':<10} {'runtime':<16} {'us a list':>10} {'to C':>6}")
    for at, file in enumerate(FILES):
        in_turn = np.array([one[at] for one in times["C"]])
        for language, found in times.items():
            if at < len(found[0]):
                own = np.array([one[at] for one in found])
                ratio = np.median(own / in_turn)
                print(f"{language:<10} {RUNTIMES[file]:<16} {np.median(own):>10.1f} {ratio:>6.2f}")


def _versions() -> str:
    from importlib.metadata import version

    said = subprocess.run(["java", "-version"], capture_output=True, text=True).stderr
    java = said.splitlines()[0] if said else "no JVM"
    own = version("ai-edge-litert")
    return f"{os.cpu_count()} processors; {java}; Python's LiteRT {own}, MNN {version('MNN')}"


if __name__ == "__main__":
    main()
