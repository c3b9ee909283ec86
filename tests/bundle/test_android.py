"""Sources for Android: they compile with the Kotlin compiler, and do on the JVM what they promise.

The runtimes and Android are stubs with the true signatures (``stubs/android``). The stub of each
runtime scores a model by a formula of names and values, refuses what the true one refuses, and
fails where that one is silently wrong. In one test TensorFlow Lite's C library takes the place of
its stub; MNN's Java binding is never there.
"""

import os
import platform
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from bundling import SHAPED, publish_versions

from helpers.bundle import golden, sources
from helpers.schema import Dimension, Schema, Tensor

STUBS = Path(__file__).parent / "stubs" / "android"
TOOLS = Path(os.environ.get("WORKBENCH_TOOLS", Path.home() / ".cache" / "ranking-workbench"))
KOTLIN = TOOLS / "node_modules" / "kotlin-compiler"
TFLITE = TOOLS / "node_modules" / "tfjs-tflite-node" / "cc_deps"
FILES = ["model.tflite", "model.mnn"]
MINIMUM = {"tflite": "2.16.1", "mnn": "3.6.0"}


def _fields() -> Schema:
    """Twenty fields of one integer each, named as fields are, and words that no template may trip
    over.
    """
    meaning = 'ends */ a comment, "quotes" and takes ${it}'
    names = [f"f2200{i:02}" for i in range(20)]
    fields = tuple(
        Tensor(n, "item", (Dimension(f"{n} $1", meaning, 0, 2**31 - 1),), "int64") for n in names
    )
    return Schema(
        "1st_fields-model", fields, (Tensor("score", "score", (Dimension("score", "a | b"),)),)
    )


def _mixed() -> Schema:
    inputs = (
        Tensor(
            "ids", "item", (Dimension("id", "", 0, 1000), Dimension("parent", "", -5, 5)), "int32"
        ),
        Tensor("dense", "user", tuple(Dimension(f"d{i}", "", -1, 1) for i in range(3))),
        Tensor("long", "context", (Dimension("hour", "", 0, 23),), "int64"),
    )
    return Schema("mixed", inputs, (Tensor("p", "score", (Dimension("p", ""),)),))


def _whole() -> Schema:
    """Every dtype but float32 comes in and every dtype goes out, none of them as a score."""
    inputs = (
        Tensor("bytes", dtype="uint8", shape=(2, 2), low=3, high=9),
        Tensor("tags", "item", tuple(Dimension(f"t{i}", "", 2, 7) for i in range(4)), "uint8"),
        Tensor("grid", dtype="int32", shape=(2, 1, 3), low=-4, high=4),
    )
    dtypes = {"counts": "int32", "map": "uint8", "long": "int64", "share": "float32"}
    outputs = (
        Tensor(n, dtype=d, shape=(1 + i, 2), high=255) for i, (n, d) in enumerate(dtypes.items())
    )
    return Schema("whole", inputs, tuple(outputs))


SHAPES = {**SHAPED, "whole": _whole()}


@pytest.fixture(scope="module")
def schemas(ranking) -> dict[str, Schema]:
    return {"ranking": ranking.schema, "fields": _fields(), "mixed": _mixed()}


def _render(schema: Schema, files=FILES) -> dict[str, str]:
    rendered = sources.render(schema, files, MINIMUM)
    return {Path(path).name: text for path, text in rendered.items() if path.startswith("android/")}


def _kotlinc(*arguments) -> subprocess.CompletedProcess:
    quick = {
        "JAVA_OPTS": "-XX:TieredStopAtLevel=1"
    }  # compiling the compiler further does not pay in one run
    command = ["bash", KOTLIN / "bin" / "kotlinc", "-Werror", *arguments]
    return subprocess.run(command, env={**os.environ, **quick}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory) -> Path:
    """The compiled stubs."""
    return compiled_stubs(tmp_path_factory.mktemp("stubs"))


def compiled_stubs(folder: Path) -> Path:
    """The stubs, compiled into an empty folder."""
    missing = [tool for tool in ("java", "javac") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"compiling Kotlin needs {', '.join(missing)}: install a JDK, 11 or later")
    if not (KOTLIN / "bin" / "kotlinc").exists():
        pytest.skip(f"no Kotlin compiler in {TOOLS}: run .ci/tools (it needs node and npm)")
    subprocess.run(["javac", "-d", folder, *STUBS.rglob("*.java")], check=True)
    return folder


@pytest.fixture(scope="module")
def compiled(stubs, schemas, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """Everything for all schemas, compiled in one call: it takes as long as one of them would."""
    folder = tmp_path_factory.mktemp("kotlin")
    for which, schema in {**schemas, **SHAPES}.items():
        rendered = _render(schema)
        name = sources.class_name(schema.model_name)
        words = {"PACKAGE": name.lower(), "FIXED": "" if schema.batch else ", fixedRows = 8"}
        words["SCORE"] = "model::score" if schema.output.dtype == "float32" else "null"
        for file in ("Instrumented.kt", "Exercise.kt", "Probe.kt")[: 1 if which in SHAPES else 3]:
            rendered[file] = (STUBS / file).read_text().replace("NAME", name)
            for word, text in words.items():
                rendered[file] = rendered[file].replace(word, text)
        (folder / which).mkdir()
        for path, text in rendered.items():
            (folder / which / path).write_text(text)
    done = _kotlinc("-cp", stubs, "-d", folder / "classes", *folder.glob("*/*.kt"))
    return folder / "classes", done


def _predict(schema: Schema, inputs) -> dict[str, np.ndarray]:
    """What the stubs of the runtimes give."""
    rows = len(next(iter(inputs.values())))
    total = np.zeros(rows)
    for tensor in schema.inputs:
        weights = (
            zlib.crc32(tensor.name.encode()) % 1000 + 37 * np.arange(tensor.size) % 1000
        ) / 10000
        given = (
            inputs[tensor.name]
            .reshape(rows, -1)
            .astype(np.float64 if tensor.dtype == "float32" else np.int64)
        )
        total += (given if tensor.dtype == "float32" else given % 1009 / 1009) @ weights
    outputs = {}
    for tensor in schema.outputs:
        values = np.sin(
            total[:, None] + 0.1 * (zlib.crc32(tensor.name.encode()) % 10 + np.arange(tensor.size))
        )
        values = values if tensor.dtype == "float32" else np.rint(100 + 100 * values)
        outputs[tensor.name] = values.astype(tensor.dtype).reshape(rows, *tensor.shape)
    return outputs


def _score(schema: Schema, inputs) -> np.ndarray:
    return _predict(schema, inputs)[schema.output.name].reshape(-1)


def _assets(schema: Schema, folder: Path) -> None:
    """Golden cases and the stubs' model files, which list the inputs in another order than the
    schema.
    """
    drawn = golden.draw(
        schema, {t.name: np.full((1, *t.shape), t.bounds[1], t.dtype) for t in schema.inputs}
    )
    cases = []
    for name, inputs in drawn.items():
        outputs = _predict(schema, inputs)
        cases.append(golden.Case(name, inputs, outputs, dict.fromkeys(FILES, outputs)))
    folder = folder / sources.class_name(schema.model_name)
    folder.mkdir(parents=True)
    ends = golden.described(schema.inputs), golden.described(schema.outputs)
    allowed = dict.fromkeys(FILES, dict.fromkeys(schema.output_names, 1e-5))
    told = golden.Golden(*ends, allowed, tuple(cases))
    (folder / "golden.json").write_text(golden.to_json(told))
    (folder / "golden.bin").write_bytes(golden.to_bytes(told))

    def line(kind: str, t: Tensor) -> str:
        return f"{kind} {t.name} {t.dtype} {'x'.join(map(str, t.shape))}"

    lines = [line("input", t) for t in schema.inputs]
    lines = [*lines[1::2], *lines[::2], *(line("output", t) for t in reversed(schema.outputs))]
    lines += [f"batch {schema.batch}"] * bool(schema.batch)
    for file in FILES:
        (folder / file).write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_everything_compiles_without_a_warning(compiled):
    _, done = compiled
    assert done.returncode == 0 and not done.stderr, done.stderr


HEAP = ("-Xms128m", "-Xmx128m", "-XX:+AlwaysPreTouch")
"""Memory of a fixed size, so that what grows is outside of it."""


def _run(
    schema: Schema,
    assets: Path,
    path: list[Path],
    *arguments: str,
    file: str = "Exercise",
    **properties: Path,
) -> list[str]:
    """Run ``Exercise.kt``; its lines, each of which must say ok."""
    path = ":".join(map(str, [*path, KOTLIN / "lib" / "kotlin-stdlib.jar"]))
    said = [f"-D{name}={value}" for name, value in (properties | {"assets": assets}).items()]
    main = f"{sources.class_name(schema.model_name).lower()}.{file}Kt"
    command = ["java", "-XX:TieredStopAtLevel=1", *HEAP, *said, "-cp", path, main, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0 and not [line for line in lines if not line.startswith("ok ")], (
        ran.stdout + ran.stderr
    )
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ranking", "fields", "mixed"])
def test_the_classes_do_what_they_promise(compiled, stubs, schemas, tmp_path, which):
    classes, done = compiled
    assert done.returncode == 0, done.stderr
    _assets(schemas[which], tmp_path / "assets")
    lines = _run(schemas[which], tmp_path / "assets", [classes, stubs])
    instrumented = [line for line in lines if "GoldenTest." in line]
    assert len(lines) - len(instrumented) == 19
    assert len(instrumented) == {"ranking": 8, "fields": 8, "mixed": 10}[which]


def natives(stubs: Path, folder: Path) -> tuple[Path, Path]:
    """TensorFlow Lite itself in the place of its stub, made in `folder`: a library, and the classes
    that call it.
    """
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    library = TFLITE / f"linux_{machine}"
    headers = Path(shutil.which("javac")).resolve().parents[1] / "include"
    if shutil.which("gcc") is None or not library.is_dir() or not (headers / "linux").is_dir():
        pytest.skip(
            "needs gcc, the headers of a JDK and, of .ci/tools, libtensorflowlite_c for this "
            "machine (Linux)"
        )
    built = folder / "libinterpreter.so"
    include = [f"-I{place}" for place in (headers, headers / "linux", TFLITE / "include")]
    link = [f"-L{library}", "-ltensorflowlite_c", f"-Wl,-rpath,{library}"]
    sources_of = STUBS.with_name("android_native")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", *include, sources_of / "interpreter.c", "-o", built, *link],
        check=True,
    )
    subprocess.run(
        ["javac", "-cp", stubs, "-d", folder / "classes", *sources_of.rglob("*.java")], check=True
    )
    return built, folder / "classes"


@pytest.mark.slow
def test_tensorflow_lite_itself_reproduces_the_golden_cases(
    compiled, stubs, unpacked, ranking, tmp_path
):
    """The compiled classes with a real model file, where TensorFlow Lite takes the place of its
    stub.
    """
    built, classes = natives(stubs, tmp_path)
    (tmp_path / "UltraSimpleRankingModel").symlink_to(unpacked)
    lines = _run(
        ranking.schema, tmp_path, [classes, compiled[0], stubs], "tflite", interpreter=built
    )
    assert len(lines) == 4 and any("reproducesEveryCase" in line for line in lines)


@pytest.mark.slow
def test_the_sample_shows_installs_refuses_and_rolls_back(
    compiled, stubs, unpacked, ranking, tmp_path
):
    """What its screen says, with TensorFlow Lite itself, while its buttons are pressed."""
    built, classes = natives(stubs, tmp_path)
    files = [path for path in unpacked.iterdir() if path.is_file()]
    publish_versions(files, ranking.schema, tmp_path / "served")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "UltraSimpleRankingModel").symlink_to(unpacked)
    path = map(str, [classes, compiled[0], stubs, KOTLIN / "lib" / "kotlin-stdlib.jar"])
    given = {"interpreter": built, "assets": tmp_path / "assets", "files": tmp_path / "phone"}
    command = [
        "java",
        *(f"-D{name}={value}" for name, value in given.items()),
        "-cp",
        ":".join(path),
    ]
    command += ["ultrasimplerankingmodel.sample.ProbeKt", f"file:{tmp_path}/served"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    said = [line[5:] for line in done.stdout.splitlines() if line.startswith("said ")]
    cases = golden.from_bytes((unpacked / "golden.bin").read_bytes()).cases
    replaced = f"and reproduced {len(cases)} golden cases."
    begins = [
        "Version in the app: nothing is installed.",
        "Version in the app: nothing has changed (FOLDER): ",
        f"Version good: it replaced the one in the app, {replaced}",
        "Version good: it was in use already.",
        "Version good: nothing has changed (DAMAGED): model.tflite does not score as it should",
        "Version good: nothing has changed (FETCH): ",
        f"Version better: it replaced the one good, {replaced}",
        "Version good: went back to it.",
    ]
    assert len(said) == len(begins), done.stdout
    assert all(map(str.startswith, said, begins)), done.stdout
    scores = next(case for case in cases if case.rows == 20).expected["model.tflite"]
    scores = next(iter(scores.values())).reshape(-1)
    order = np.argsort(-scores, kind="stable")
    rows = [
        f"{f'row {at + 1}':<8}{f'row {row + 1}':<8}{scores[row]:.3f}"
        for at, row in enumerate(order)
    ]
    lists = [line[5:] for line in done.stdout.splitlines() if line.startswith("list ")]
    assert lists == ["|".join(["before  after", *rows])] * len(begins)


@pytest.mark.slow
@pytest.mark.parametrize("which", SHAPES)
def test_tensors_of_any_shape_go_in_and_out(compiled, stubs, tmp_path, which):
    classes, done = compiled
    assert done.returncode == 0, done.stderr
    _assets(SHAPES[which], tmp_path / "assets")
    lines = _run(SHAPES[which], tmp_path / "assets", [classes, stubs], file="Instrumented")
    assert len(lines) == 5 + 2 * {"picture_model": 3, "mixed_model": 6, "whole": 4}[which]


@pytest.mark.slow
def test_two_bundles_live_side_by_side_in_one_process(compiled, stubs, tmp_path):
    """Their classes on one class path, their files in one folder of assets."""
    names = [sources.class_name(which) for which in SHAPED]
    calls = [f"{name.lower()}.InstrumentedKt.main(said);" for name in names]
    main = f"class Both {{ public static void main(String[] said) {{ {' '.join(calls)} }} }}"
    (tmp_path / "Both.java").write_text(main)
    path = [tmp_path, compiled[0], stubs, KOTLIN / "lib" / "kotlin-stdlib.jar"]
    words = ["-cp", ":".join(map(str, path)), f"-Dassets={tmp_path}"]
    for schema in SHAPED.values():
        _assets(schema, tmp_path)
    subprocess.run(["javac", *words[:2], "-d", tmp_path, tmp_path / "Both.java"], check=True)
    ran = subprocess.run(["java", *words, "Both"], capture_output=True, text=True)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0 and all(line.startswith("ok ") for line in lines), ran.stdout
    assert {line.split()[1].split(".")[0] for line in lines} >= {f"{n}GoldenTest" for n in names}


@pytest.mark.slow
@pytest.mark.parametrize("which", SHAPED)
def test_tensorflow_lite_itself_gives_every_output(compiled, stubs, shaped, tmp_path, which):
    built, classes = natives(stubs, tmp_path)
    (tmp_path / sources.class_name(which)).symlink_to(shaped[which])
    path = [classes, compiled[0], stubs]
    lines = _run(SHAPED[which], tmp_path, path, "tflite", file="Instrumented", interpreter=built)
    assert len(lines) == 3 + {"picture_model": 3, "mixed_model": 6}[which]


@pytest.mark.slow
def test_memory_stays_as_it_is_over_lists_of_changing_length(
    compiled, stubs, unpacked, ranking, tmp_path
):
    built, classes = natives(stubs, tmp_path)
    (tmp_path / "UltraSimpleRankingModel").symlink_to(unpacked)
    lines = _run(
        ranking.schema, tmp_path, [classes, compiled[0], stubs], "memory", interpreter=built
    )
    assert len(lines) == 1 and "MB" in lines[0]


@pytest.mark.slow
def test_a_call_that_the_runtime_does_not_have_is_not_compiled(stubs, tmp_path):
    """One file of the schema suffices: what is compiled with the stubs is held against them."""
    rendered = _render(_mixed(), ["model.tflite"])
    for path in ("MixedInputs.kt", "Mixed.kt"):
        (tmp_path / path).write_text(
            rendered[path].replace("interpreter.allocateTensors()", "interpreter.allocate()")
        )
    done = _kotlinc("-cp", stubs, "-d", tmp_path / "classes", *tmp_path.glob("*.kt"))
    assert done.returncode != 0 and "unresolved reference 'allocate'" in done.stderr, done.stderr


@pytest.mark.parametrize("file", FILES)
def test_a_runtime_without_its_file_gets_no_sources(file, schemas):
    rendered = _render(schemas["ranking"], [file])
    name = "UltraSimpleRankingModel"
    own = name if file == "model.tflite" else f"{name}Mnn"
    kotlin = {f"{own}.kt", f"{own}GoldenTest.kt", f"{name}Inputs.kt", "GoldenCases.kt"}
    kotlin |= {"GoldenChecks.kt", "Scorer.kt"}
    kotlin |= {"ModelDelivery.kt", "Download.kt", "Bundle.kt", "StrictJson.kt"}
    kotlin |= {f"{name}Sample.kt", f"{name}SampleActivity.kt"}
    rules = {"consumer-rules.pro"} if file == "model.mnn" else set()
    module = {"build.gradle.kts", "settings.gradle.kts", "gradle.properties", "AndroidManifest.xml"}
    assert set(rendered) == {*kotlin, *rules, *module}
    other = "com.taobao" if file == "model.tflite" else "litert:litert"
    assert other not in "".join(rendered.values())


def test_the_table_says_what_every_dimension_is(schemas):
    for schema in schemas.values():
        name = sources.class_name(schema.model_name)
        text = _render(schema)[f"{name}Inputs.kt"]
        rows = [line for line in text.splitlines() if line.startswith(" * |")][2:]
        assert len(rows) == sum(t.size for t in schema.inputs)
        assert {line.count("|") for line in rows} == {7}
    assert (
        " * | user_features | float32 | 4 | brand_preference | 0 prefers value, 1 prefers brands | "
        "0.0 to 1.0 |" in _render(schemas["ranking"])["UltraSimpleRankingModelInputs.kt"]
    )
