"""The bundle as a Swift package: the package manager builds it, its tests pass, and two of them
live in one app.

Packages are built by SwiftPM on Linux, over TensorFlow Lite's C library; ``stubs/swift_package``
takes the place of the package that ``runtimes/tensorflow-lite-ios.sh`` makes on a Mac.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundling import PICTURE, publish_versions
from test_rerank_native import model  # noqa: F401 (a fixture)
from test_swift import STUBS as RUNTIME
from test_swift import _golden, swift  # noqa: F401

from helpers.bundle import archive, golden, native, sources

STUBS = Path(__file__).parent / "stubs" / "swift_package"
FILE, MNN = "model.tflite", "model.mnn"
ONE, OTHER, ALONE, VALUES = "UltraSimpleRankingModel", "FeedModel", "MnnAlone", "PictureModel"
TOOLS = Path("/usr/libexec/swift/bin")


@pytest.fixture(scope="module")
def packages(swift, ranking, unpacked, model):  # noqa: F811
    """Two bundles as handover.zip unfolds, the runtime beside them; run a command of SwiftPM on
    one.
    """
    run = manager(swift)
    home = run.home
    for schema, place, encoding in (
        (ranking.schema, unpacked, False),
        (model.schema, model.folder, True),
    ):
        content = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
        if encoding:
            content["golden.json"] = golden.to_json(_golden(model)).encode()
            content["golden.bin"] = golden.to_bytes(_golden(model))
        code = sources.render(schema, [FILE], {"tflite": "2.9.0"}, encoding=encoding)
        content |= {name: text.encode() for name, text in code.items()}
        archive.pack(content, home / "handover.zip")
        shutil.unpack_archive(home / "handover.zip", home / sources.class_name(schema.model_name))
    return run


def manager(swift):  # noqa: F811
    """Run a command of SwiftPM on a package below `home`, where the runtime is a package too."""
    if not (native.tools() / "swift" / TOOLS.relative_to("/") / "swift-package").exists():
        pytest.skip("this Swift has no package manager: run .ci/swift again")
    home = swift.folder / "packages"
    runtime = home / "TensorFlowLite"
    (runtime / "Sources").mkdir(parents=True)
    shutil.copy(RUNTIME / "TensorFlowLite.swift", runtime / "Sources")
    shutil.copytree(swift.folder / "tensorflow", runtime / "C" / "tensorflow")
    shutil.copy(RUNTIME / "module.modulemap", runtime / "C")
    shutil.copy(STUBS / "TensorFlowLite.Package.swift", runtime / "Package.swift")
    (home / "lib_Testing_Foundation.a").write_bytes(
        b"!<arch>\n"
    )  # Debian's Swift asks for it, and has none

    def run(tool: str, package: str, *arguments: str) -> tuple[int, str]:
        link = ["-L/work", "-L/work/packages", "-rpath", "/work"]
        flags = ["-Xcc", "-I/work", *(word for flag in link for word in ("-Xlinker", flag))]
        done = swift(str(TOOLS / tool), "--package-path", f"packages/{package}", *flags, *arguments)
        return done.returncode, done.stdout + done.stderr

    run.home = home
    return run


@pytest.mark.slow
@pytest.mark.parametrize("name, tests", [(ONE, 9), (OTHER, 10 + 2)])
def test_a_bundle_is_a_package_whose_tests_pass(packages, name, tests):
    status, said = packages("swift-test", name, "--disable-swift-testing")
    assert status == 0, said[-3000:]
    assert "warning" not in said, said
    assert f"Executed {tests} tests, with 0 failures" in said, said[-3000:]


@pytest.mark.slow
def test_two_bundles_live_side_by_side_in_an_app_on_the_main_actor(packages, unpacked, model):  # noqa: F811
    case = golden.from_bytes((unpacked / "golden.bin").read_bytes()).cases[0]
    sessions = json.loads((model.folder / "sessions.json").read_text())["sessions"]
    session = next(one for one in sessions if len(one["order"][FILE]) > 2)
    words = {
        "OTHER": OTHER,
        "ONE": ONE,
        "INPUTS": _inputs(case),
        "RAW": f'#"""\n{session["raw"]}\n"""#',
    }
    places = {"App.Package.swift": "Package.swift", "App.swift": "Sources/App/App.swift"}
    _fill(packages.home / "App", places, words)
    status, said = packages("swift-run", "App")
    assert status == 0 and "warning" not in said, said[-3000:]
    scores, order, *rest = re.findall(r"^says (.*)$", said, re.MULTILINE)
    (expected,) = case.expected[FILE].values()
    assert np.allclose(json.loads(scores), expected.reshape(-1), rtol=0, atol=1e-5)
    assert json.loads(order) == session["order"][FILE]
    assert rest == ["true true", "true", "true"]


def _inputs(case: golden.Case) -> str:
    given = {name: values.reshape(-1).tolist() for name, values in case.inputs.items()}
    return ", ".join(f'"{name}": .float32({values})' for name, values in given.items())


def _fill(app: Path, places: dict[str, str], words: dict[str, str]) -> None:
    """Write an app of stubs, with words in them replaced."""
    for file, place in places.items():
        text = (STUBS / file).read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        (app / place).parent.mkdir(parents=True, exist_ok=True)
        (app / place).write_text(text)


@pytest.fixture(scope="module")
def mnn(packages) -> list[str]:
    """MNN as a package, of the library in its wheel, which wants a Python: what to link."""
    return mnn_package(packages.home)


def mnn_package(home: Path) -> list[str]:
    """What the fixture `mnn` gives, beside the packages in `home`."""
    import importlib.util

    wheel = Path(importlib.util.find_spec("_mnncengine").origin)
    python = sorted((native.tools() / "swift/usr/lib").glob("*-linux-gnu/libpython3*.so.1.0"))
    if not python:
        pytest.skip("MNN's wheel needs a Python where Swift is")
    shutil.copy(wheel, home / "libMNN.so")
    for library in wheel.parent.glob("mnn.libs/*"):
        shutil.copy(library, home)
    shutil.copytree(native.HEADERS / "MNN", home / "include" / "MNN")
    (home / "MNN" / "C").mkdir(parents=True)
    shutil.copy(STUBS / "MNN.Package.swift", home / "MNN" / "Package.swift")
    (home / "MNN" / "C" / "nothing.h").touch()
    (home / "MNN" / "C" / "module.modulemap").write_text(
        'module MNN [system] { header "nothing.h" }\n'
    )
    library = "/" + str(python[0].relative_to(native.tools() / "swift"))
    words = ["-lMNN", library, "--disable-new-dtags", "-rpath", "/work/packages"]
    words += ["--allow-shlib-undefined"]
    flags = [word for flag in words for word in ("-Xlinker", flag)]
    return ["-Xcxx", "-I/work/packages/include", *flags]


@pytest.mark.slow
def test_mnn_takes_the_place_of_tensorflow_lite_while_an_app_scores(
    packages, mnn, ranking, unpacked
):
    minimum = {"tflite": "2.9.0", "mnn": "3.1.0"}
    shutil.rmtree(packages.home / ONE)
    content = {path.name: path.read_bytes() for path in unpacked.iterdir() if path.is_file()}
    code = sources.render(ranking.schema, [FILE, MNN], minimum, names=content)
    _write(packages.home / ONE, content, code)
    case = golden.from_bytes((unpacked / "golden.bin").read_bytes()).cases[0]
    places = {
        "MnnApp.Package.swift": "Package.swift",
        "MnnApp.swift": "Sources/MnnApp/MnnApp.swift",
    }
    _fill(packages.home / "MnnApp", places, {"ONE": ONE, "INPUTS": _inputs(case)})
    status, said = packages("swift-run", "MnnApp", *mnn, "MnnApp")
    assert status == 0 and "warning" not in said, said[-3000:]
    *scores, missing, refused, version = re.findall(r"^says (.*)$", said, re.MULTILINE)
    (expected,) = case.expected[FILE].values()
    for found in scores:
        assert np.allclose(json.loads(found), expected.reshape(-1), rtol=0, atol=1e-5)
    assert len(scores) == 3 and "/nowhere is missing or no MNN model" in missing
    assert ranking.schema.input_names[0] in refused and version.startswith("3.")


@pytest.mark.slow
def test_memory_stays_as_it_is_over_fifty_thousand_calls(packages):
    """A leak of twenty bytes a call would be a megabyte."""
    places = {"Many.Package.swift": "Package.swift", "Many.swift": "Sources/Many/Many.swift"}
    words = {"ONE": ONE, "GOLDEN": f"/work/packages/{ONE}/golden.bin"}
    _fill(packages.home / "Many", places, words)
    status, said = packages("swift-run", "Many", "-c", "release")
    assert status == 0 and "warning" not in said, said[-3000:]
    assert int(re.search(r"^grew (-?\d+) KB", said, re.MULTILINE)[1]) < 1000, said[:500]


def _write(package: Path, content: dict[str, bytes], code: dict[str, str]) -> None:
    for name, data in {**content, **{name: text.encode() for name, text in code.items()}}.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(data)


@pytest.fixture(scope="module")
def alone(packages, ranking, unpacked) -> Path:
    """The package of a bundle that has ``model.mnn`` and no ``model.tflite``; no TensorFlow Lite is
    in it.
    """
    both = golden.from_bytes((unpacked / "golden.bin").read_bytes())
    cases = (replace(case, expected={MNN: case.expected[MNN]}) for case in both.cases)
    own = replace(both, tolerance={MNN: both.tolerance[MNN]}, cases=tuple(cases))
    content = {MNN: (unpacked / MNN).read_bytes(), "golden.bin": golden.to_bytes(own)}
    schema = replace(ranking.schema, model_name="mnn_alone")
    code = sources.render(schema, [MNN], {"mnn": "3.1.0"}, names=content)
    _write(packages.home / ALONE, content, code)
    assert not [name for name, text in code.items() if "import TensorFlowLite" in text]
    return packages.home / ALONE


@pytest.fixture(scope="module")
def values(packages, shaped) -> Path:
    """The package of a bundle whose first output has several values a row."""
    place = shaped[PICTURE.model_name]
    content = {name: (place / name).read_bytes() for name in (FILE, MNN, "golden.bin")}
    code = sources.render(PICTURE, [FILE], {"tflite": "2.9.0"}, names=content)
    _write(packages.home / VALUES, content, code)
    return packages.home / VALUES


@pytest.mark.slow
@pytest.mark.parametrize("name", [ONE, OTHER, ALONE, VALUES])
def test_the_sample_shows_installs_refuses_and_rolls_back(packages, ranking, model, request, name):  # noqa: F811
    """The sample app without its looks: what SampleApp.swift shows is what is held here."""
    file, schema, kits, link = FILE, ranking.schema, ["NAMEKit"], []
    if name == OTHER:
        schema = model.schema
    if name == VALUES:
        request.getfixturevalue("values")
        schema = PICTURE
    if name == ALONE:
        request.getfixturevalue("alone")
        file, kits, link = MNN, ["NAMEKit", "NAMEKitMnn"], request.getfixturevalue("mnn")
    place, served = packages.home / name, packages.home / f"served-{name}"
    others = {OTHER: ["features.json", "sessions.json"], ALONE: []}.get(name, [MNN])
    paths = [place / of for of in (file, "golden.bin", *others)]
    publish_versions(paths, schema, served, file)
    within = {path: f"/work/{path.relative_to(packages.home.parent)}" for path in (place, served)}
    words = {"PRODUCTS": json.dumps(kits), "NAME": name}
    words |= {"BUNDLED": within[place], "SERVED": f"file://{within[served]}"}
    words["PHONE"] = f"{within[served]}/phone"
    places = {
        "Sample.Package.swift": "Package.swift",
        "Probe.swift": "Sources/NAMEProbe/Probe.swift",
    }
    places = {file: target.replace("NAME", name) for file, target in places.items()}
    app = packages.home / f"{name}Probe"
    _fill(app, places, words)
    shutil.copy(place / f"ios/Sample/{name}Sample.swift", app / f"Sources/{name}Probe")
    status, said = packages("swift-run", app.name, *link)
    assert status == 0 and "warning" not in said, said[-3000:]
    shown = {
        key: re.findall(rf"^{key} (.*)$", said, re.MULTILINE)
        for key in ("version", "reason", "before", "after")
    }
    versions = ["in the app", "good", "good", "good", "good", "better", "good", "good"]
    assert shown["version"] == versions, shown["reason"]
    alone, good, same, broken, missing, better, back, again = shown["reason"]
    cases = len(golden.from_bytes((place / "golden.bin").read_bytes()).cases)
    reproduced = f"and reproduced {cases} golden cases"
    assert alone.startswith("nothing has changed (folder): nothing is installed in ")
    assert good == f"it replaced the one in the app, {reproduced}"
    assert same == "it was in use already"
    assert broken.startswith(f"nothing has changed (damaged): {file} does not score as it should")
    assert missing.startswith("nothing has changed (fetch): ")
    assert better == f"it replaced the one good, {reproduced}"
    assert back == "went back to it" and again == "it was installed earlier"
    before, after = (
        [[row.split(" ", 1) for row in rows.split("|")] for rows in shown[key]]
        for key in ("before", "after")
    )
    if name == VALUES:
        largest = [words for _, words in after[0]]
        assert after == [[[str(row + 1), words] for row, words in enumerate(largest)]] * 7
        for row, (values, words) in enumerate(zip(_longest(place, file), largest, strict=True)):
            place = int(np.argmax(values))
            said = f"row {row + 1} value {place} is the largest, "
            assert words.startswith(said) and abs(float(words[len(said) :]) - values[place]) < 6e-4
        return
    wanted = _order(place, file)
    before, after = ([[row for row, _ in rows] for rows in lists] for lists in (before, after))
    assert before == [[str(place + 1) for place in range(len(wanted))]] * 7
    assert after == [wanted] * 7 and 5 < len(wanted) <= 20


def _order(place: Path, file: str) -> list[str]:
    """Places, from 1 on, in the order that the sample must show."""
    if (place / "sessions.json").exists():
        sessions = json.loads((place / "sessions.json").read_text())["sessions"]
        lists = [one for one in sessions if len(one["order"][file]) <= 20]
        longest = max(lists, key=lambda one: len(one["order"][file]))
        delivered = [post["info_id"] for post in json.loads(longest["raw"])["resort_list"]]
        return [str(delivered.index(one) + 1) for one in longest["order"][file]]
    scores = _longest(place, file)
    return [str(row + 1) for row in np.argsort(-scores.reshape(-1), kind="stable")]


def _longest(place: Path, file: str) -> np.ndarray:
    """The first output of a file for the longest golden case of at most twenty rows."""
    cases = golden.from_bytes((place / "golden.bin").read_bytes()).cases
    few = [case for case in cases if case.rows <= 20]
    return next(iter(max(few, key=lambda case: case.rows).expected[file].values()))
