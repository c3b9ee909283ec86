"""The C and C++ runners, compiled and run against the real libraries."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundling import changed_weight, feed_schema
from test_ios import MANY, many, nan  # noqa: F401 (fixtures)

from helpers.bundle import golden, make, native, sources
from helpers.convert import recipes
from helpers.errors import BadInput, WorkbenchError
from helpers.schema import Dimension, Schema, Tensor

MODELS = ["model.tflite", "model.mnn"]
STUBS = Path(__file__).parent / "stubs" / "c"


def _rendered(schema, folder: Path, **options) -> Path:
    """The folder of the rendered C and C++ sources."""
    for name, text in sources.render(
        schema, MODELS, {"tflite": "2.9.0", "mnn": "3.1.0"}, **options
    ).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "c"


@pytest.fixture(scope="module")
def c(ranking, tmp_path_factory) -> Path:
    return _rendered(ranking.schema, tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def commands(c, tmp_path_factory) -> dict[str, list[str]]:
    return _built(c, tmp_path_factory)


def _built(c, tmp_path_factory) -> dict[str, list[str]]:
    """The command of each runner, or why there is none."""
    made = {}
    for file in MODELS:
        try:
            made[file] = native.build(c, tmp_path_factory.mktemp("built"), file)
        except native.NotHere as reason:
            made[file] = str(reason)
    return made


def _command(commands, file: str) -> list[str]:
    if isinstance(commands[file], str):
        pytest.skip(commands[file])
    return commands[file]


@pytest.mark.parametrize("file", MODELS)
def test_the_runner_reproduces_every_case(commands, unpacked, file):
    outcome = native.run(_command(commands, file), unpacked / file, unpacked / "golden.bin")
    said = [line for line in outcome.lines if line.startswith("ok ")]
    assert outcome.status == 0 and len(said) == 8, outcome.lines
    assert any("257 rows" in line for line in said) and any("   1 rows" in line for line in said)


@pytest.mark.slow
@pytest.mark.parametrize("file", MODELS)
def test_memory_stays_as_it_is_over_fifty_thousand_calls(c, unpacked, tmp_path, file):
    """A leak of twenty bytes a call would be a megabyte."""
    own, runtime = shutil.copytree(c, tmp_path / "c"), file.partition(".")[2]
    program = own / {"tflite": "run_tflite.c", "mnn": "run_mnn.cpp"}[runtime]
    text = (STUBS / "many_calls.h").read_text()
    (own / "golden_run.h").write_text(text.replace("NAME", "UltraSimpleRankingModel"))
    program.write_text(program.read_text().replace("golden_run(", "many_calls("))
    (tmp_path / "built").mkdir()
    try:
        command = native.build(own, tmp_path / "built", file)
    except native.NotHere as reason:
        pytest.skip(str(reason))
    given = [*command, unpacked / file, unpacked / "golden.bin"]
    done = subprocess.run(given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(re.search(r"grew (-?\d+) KB", done.stdout)[1]) < 1000, done.stdout


@pytest.mark.parametrize("file", MODELS)
def test_the_runner_fails_a_model_with_one_weight_changed(
    commands, unpacked, trained, tmp_path, file
):
    (tmp_path / file).write_bytes(changed_weight(unpacked / file, trained.model))
    outcome = native.run(_command(commands, file), tmp_path / file, unpacked / "golden.bin")
    assert outcome.status == 1 and sum(line.startswith("FAIL") for line in outcome.lines) >= 7


@pytest.mark.parametrize("file", MODELS)
def test_the_runner_refuses_what_it_cannot_use(commands, unpacked, tmp_path, file):
    command = _command(commands, file)
    (tmp_path / file).write_bytes(b"not a model" * 100)
    assert native.run(command, tmp_path / file, unpacked / "golden.bin").status == 2
    assert native.run(command, unpacked / file, unpacked / "model.json").status == 2
    assert native.run(command, unpacked / "golden.json", unpacked / "golden.bin").status == 2


@pytest.mark.parametrize("file", MODELS)
def test_a_model_with_an_input_of_another_name_is_refused(commands, unpacked, tmp_path, file):
    content = (unpacked / "golden.bin").read_bytes()
    (tmp_path / "golden.bin").write_bytes(content.replace(b"user_features", b"user_featureS"))
    outcome = native.run(_command(commands, file), unpacked / file, tmp_path / "golden.bin")
    assert outcome.status == 2 and any("user_featureS" in line for line in outcome.lines)


@pytest.mark.parametrize("file", MODELS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_input_that_is_no_number_is_refused(commands, unpacked, tmp_path, file, value):
    whole = golden.from_bytes((unpacked / "golden.bin").read_bytes())
    first = whole.cases[1]
    wrong = first.inputs["user_features"].copy()
    wrong[0, 2] = value
    wrong = replace(first, inputs={**first.inputs, "user_features": wrong})
    (tmp_path / "golden.bin").write_bytes(
        golden.to_bytes(replace(whole, cases=(wrong, *whole.cases[2:])))
    )
    outcome = native.run(_command(commands, file), unpacked / file, tmp_path / "golden.bin")
    failed = [line for line in outcome.lines if line.startswith("FAIL")]
    assert outcome.status == 1 and len(failed) == 1, outcome.lines
    assert f"user_features is {value:g} in row 0, column 2: it must be finite" in failed[0]


@pytest.fixture(scope="module")
def commands_of_ids(tmp_path_factory) -> dict[str, list[str]]:
    return _built(_rendered(MANY, tmp_path_factory.mktemp("ids")), tmp_path_factory)


@pytest.mark.parametrize("file", MODELS)
@pytest.mark.parametrize("wrong", [-1, 100, 10**6, 2**40])
def test_an_id_outside_its_table_is_refused(commands_of_ids, many, tmp_path, file, wrong):  # noqa: F811
    """MNN reads what lies beside the table and scores it; TensorFlow Lite does so where an operator
    does not look.
    """
    whole = golden.from_bytes((many / "golden.bin").read_bytes())
    cases = list(whole.cases)
    outside = np.resize(cases[1].inputs["f220003"], (cases[1].rows, 1))
    outside[-1] = wrong
    cases[1] = replace(cases[1], inputs={**cases[1].inputs, "f220003": outside})
    _write_cases(tmp_path / "golden.bin", whole, cases)
    outcome = native.run(_command(commands_of_ids, file), many / file, tmp_path / "golden.bin")
    failed = [line for line in outcome.lines if line.startswith("FAIL")]
    said = f"f220003 is {wrong} in row {cases[1].rows - 1}, column 0: it takes 0 to 99"
    assert outcome.status == 1 and len(failed) == 1 and said in failed[0], outcome.lines


@pytest.mark.parametrize("file", MODELS)
def test_a_score_that_is_no_number_is_refused(commands_of_ids, many, nan, tmp_path, file):  # noqa: F811
    whole = golden.from_bytes((many / "golden.bin").read_bytes())
    _write_cases(tmp_path / "golden.bin", whole, whole.cases)
    outcome = native.run(_command(commands_of_ids, file), nan / file, tmp_path / "golden.bin")
    refused = [
        line
        for line in outcome.lines
        if "could not be scored: score 0 is nan: the model file" in line
    ]
    assert outcome.status == 1 and len(refused) == 7, outcome.lines


def _write_cases(path: Path, whole: golden.Golden, cases) -> None:
    """Write cases of ``model.mnn`` as cases of both files."""
    both = [
        replace(case, expected=dict.fromkeys(MODELS, case.expected["model.mnn"])) for case in cases
    ]
    allowed = dict.fromkeys(MODELS, whole.tolerance["model.mnn"])
    path.write_bytes(golden.to_bytes(replace(whole, tolerance=allowed, cases=tuple(both))))


def test_integers_beyond_32_bits_are_not_rendered_for_mnn():
    wide = Tensor("f", "item", (Dimension("id", "a hash", 0, 2**32),), "int64")
    schema = Schema("wide", (wide,), MANY.outputs)
    assert sources.render(schema, ["model.tflite"], {"tflite": "2.9.0"})
    with pytest.raises(BadInput, match="f takes integers from 0 to 4294967296, MNN has 32 bits"):
        sources.render(schema, MODELS, {"tflite": "2.9.0", "mnn": "3.1.0"})


def test_two_bundles_live_in_one_program(c, tmp_path):
    """A part for each bundle, and one that knows both tables, with the headers of both bundles in
    the search path.
    """
    try:
        include, library = native._tflite()
    except native.NotHere as reason:
        pytest.skip(str(reason))
    feed = _rendered(feed_schema(["f1", "f2"], {"f1": 7, "f2": 9}), tmp_path, encoding=True)
    for name, extra in (("UltraSimpleRankingModel", ""), ("FeedModel", '#include "encoding.h"\n')):
        (tmp_path / f"{name}.c").write_text(
            f'#include "golden.h"\n#include "tflite.h"\n{extra}#include "{name}Inputs.h"\nconst'
            f" char *open_{name}(const char *path) {{\n  const char *detail;\n  tflite model;\n "
            f" const char *wrong = tflite_open(&model, path, {name}Inputs, {name}InputCount, "
            f"{name}Output, &detail);\n  tflite_close(&model);\n  return wrong;\n}}\n"
        )
    (tmp_path / "main.c").write_text(
        '#include "UltraSimpleRankingModelInputs.h"\n#include "FeedModelInputs.h"\nconst char'
        " *open_UltraSimpleRankingModel(const char *);\nconst char *open_FeedModel(const char"
        ' *);\nint main(void) {\n  printf("%s %s\\n", open_UltraSimpleRankingModel("nowhere"),'
        ' open_FeedModel("nowhere"));\n  printf("%d %d %s %s\\n",'
        " UltraSimpleRankingModelInputCount, FeedModelInputCount,\n        "
        " UltraSimpleRankingModelInputs[0].name, FeedModelInputs[0].name);\n  return "
        "strcmp(UltraSimpleRankingModelOutput, FeedModelOutput) == 1000;\n}\n"
    )
    sources_of = [
        tmp_path / name for name in ("UltraSimpleRankingModel.c", "FeedModel.c", "main.c")
    ]
    places = [f"-I{c}", f"-I{feed}", f"-I{include}", library, f"-Wl,-rpath,{library.parent}", "-lm"]
    command = ["cc", "-std=c99", *native.WARNINGS, *sources_of, *places, "-o", tmp_path / "both"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = subprocess.run([tmp_path / "both"], capture_output=True, text=True).stdout.splitlines()
    assert said == ["not a TFLite model not a TFLite model", "3 2 user_features f1"]


def test_cmake_builds_and_runs_what_is_there(c, commands, unpacked, tmp_path):
    _command(commands, "model.tflite")
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not here")
    include, library = native._tflite()
    shutil.copytree(unpacked, tmp_path / "bundle")
    shutil.copytree(c, tmp_path / "bundle" / "c")
    (tmp_path / "tflite" / "lib").mkdir(parents=True)
    (tmp_path / "tflite" / "include").symlink_to(include)
    (tmp_path / "tflite" / "lib" / library.name).symlink_to(library)
    build = [
        "cmake",
        "-S",
        tmp_path / "bundle" / "c",
        "-B",
        tmp_path / "build",
        f"-DTFLITE_ROOT={tmp_path / 'tflite'}",
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0 and "run_mnn is left out" in done.stdout, done.stderr
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True, capture_output=True)
    done = subprocess.run(
        ["ctest", "--test-dir", tmp_path / "build"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "100% tests passed, 0 tests failed out of 1" in done.stdout


def test_it_is_timed_beside_python(commands, unpacked, ranking):
    there = {file: _command(commands, file) for file in MODELS}
    timed = native.beside_python(there, unpacked, ranking.schema, rounds=1, seconds=0.01)
    assert (
        list(timed["rows"]) == [1, 20, 257] * 2
        and (timed[["native_us", "python_us"]] > 0).all().all()
    )
    assert list(native.table(timed).index)[0] == "model.tflite, batch 1"


def test_what_is_not_reproduced_is_not_timed(commands, unpacked, ranking, trained, tmp_path):
    """A library that is too old for a file: notebook 06 shows what the others take and does not
    end.
    """
    command = _command(commands, "model.mnn")
    shutil.copy(unpacked / "golden.bin", tmp_path)
    (tmp_path / "model.mnn").write_bytes(changed_weight(unpacked / "model.mnn", trained.model))
    timed = native.beside_python(
        {"model.mnn": command}, tmp_path, ranking.schema, rounds=1, seconds=0.01
    )
    assert len(timed) < 3
    timed = native.beside_python({}, tmp_path, ranking.schema, rounds=1, seconds=0.01)
    assert len(timed) == 0 and len(native.table(timed)) == 0


def test_a_runner_that_crashes_says_so(unpacked):
    outcome = native.run(
        ["sh", "-c", "kill -SEGV $$"], unpacked / "model.mnn", unpacked / "golden.bin"
    )
    assert outcome.lines[-1] == "the runner ended before it was done, with status -11"


def test_what_is_said_of_the_oldest_runtime_is_true_of_2_9(
    commands, unpacked, finished, ranking, trained, tmp_path
):
    """Files that are said to run on TensorFlow Lite 2.9 do; those that need a later one fail there,
    and are noticed.
    """
    command = _command(commands, "model.tflite")
    if (
        "TensorFlow Lite 2.9"
        not in native.run(command, unpacked / "model.tflite", unpacked / "golden.bin").lines[-1]
    ):
        pytest.skip("the C library is not version 2.9")
    run = finished.home / "artifacts/ranking/default"
    right = set()
    for recipe in recipes.of("litert"):
        file = {"model.tflite": run / f"tflite/{recipe.precision}.tflite"}
        cases = make.cases(
            ranking.schema, run / "model/model.keras", file, trained.reference.inputs
        )
        (tmp_path / "golden.bin").write_bytes(golden.to_bytes(cases))
        shutil.copy(file["model.tflite"], tmp_path / "model.tflite")
        if native.run(command, tmp_path / "model.tflite", tmp_path / "golden.bin").status == 0:
            right.add(recipe.precision)
    assert right == {
        r.precision
        for r in recipes.of("litert")
        if recipes.oldest("litert", r.precision)[1] == "2.9.0"
    }


def test_damaged_cases_do_not_harm_the_reader(c, unpacked, tmp_path):
    """Cuts and flipped bits under the address and undefined-behaviour sanitisers."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    program = tmp_path / "read"
    (tmp_path / "read.c").write_text(
        '#include "golden.h"\nint main(int n, char **v) { int i, whole = 0; for (i = 1; i < n; i++)'
        ' {\ngolden g; whole += golden_read(v[i], &g); golden_free(&g); }\nprintf("%d\\n", whole);'
        " (void)golden_file; (void)golden_compare; return 0; }\n"
    )
    options = ["-std=c99", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", f"-I{c}"]
    built = subprocess.run(
        ["cc", *native.WARNINGS, *options, str(tmp_path / "read.c"), "-lm", "-o", str(program)],
        capture_output=True,
        text=True,
    )
    if "libasan" in built.stderr or "libubsan" in built.stderr:
        pytest.skip("the compiler has no sanitisers")
    assert built.returncode == 0, built.stderr
    content, rng = (unpacked / "golden.bin").read_bytes(), np.random.default_rng(3)
    files = [unpacked / "golden.bin"]
    for i in range(600):
        damaged = bytearray(content[: rng.integers(0, len(content))] if i % 3 == 0 else content)
        for _ in range(int(rng.integers(0 if i % 3 == 0 else 1, 4))):
            if damaged:
                damaged[int(rng.integers(0, min(len(damaged), 400)))] ^= 1 << int(
                    rng.integers(0, 8)
                )
        files.append(tmp_path / f"{i}.bin")
        files[-1].write_bytes(damaged)
    done = subprocess.run([program, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 1 <= int(done.stdout) < 500


def test_a_compiler_that_refuses_is_told(c, tmp_path, monkeypatch):
    shutil.copytree(c, tmp_path / "c")
    (tmp_path / "c" / "run_mnn.cpp").write_text("int main( {")
    with pytest.raises(WorkbenchError, match="refuses run_mnn.cpp"):
        native.build(tmp_path / "c", tmp_path, "model.mnn")
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(native.NotHere, match="no-such-compiler"):
        native.build(c, tmp_path, "model.mnn")
    monkeypatch.setenv("WORKBENCH_TOOLS", str(tmp_path))
    monkeypatch.delenv("TFLITE_ROOT", raising=False)
    with pytest.raises(native.NotHere, match="set TFLITE_ROOT"):
        native.build(c, tmp_path, "model.tflite")
