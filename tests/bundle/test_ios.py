"""Sources for iOS: the Swift parses, the Objective-C++ compiles, runs on the real MNN, and notices
a wrong model.
"""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundling import SHAPED, changed_float, golden_cases
from scipy import special

from helpers.bundle import golden, sources
from helpers.schema import Dimension, Schema, Tensor

HEADERS = Path(sources.__file__).parent / "headers"
"""What is needed of MNN's headers, with the layout of the version in the Python wheel."""
FILES = ("model.tflite", "model.mnn")
MINIMUM = {"tflite": "2.17", "mnn": "3.4"}
MANY = Schema(
    "many_ids_model",
    tuple(
        Tensor(f"f{220000 + i}", "item", (Dimension(f"id{i}", "an id", 0, 99),), "int64")
        for i in range(20)
    ),
    (Tensor("score", "score", (Dimension("score", "probability of a tap"),)),),
)


@pytest.fixture(scope="module", params=["wide floats", "many ids", *SHAPED])
def rendered(request, ranking) -> dict[str, str]:
    schema = {"wide floats": ranking.schema, "many ids": MANY, **SHAPED}[request.param]
    return sources.render(schema, FILES, MINIMUM)


def _wrong_swift(text: str) -> list[str]:
    """What a Swift grammar does not understand, by line."""
    swift = pytest.importorskip("tree_sitter_swift", reason="tree-sitter-swift is not installed")
    tree_sitter = pytest.importorskip("tree_sitter", reason="tree-sitter is not installed")
    tree = tree_sitter.Parser(tree_sitter.Language(swift.language())).parse(text.encode())
    nodes, wrong = [tree.root_node], []
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.is_error or node.is_missing:
            wrong.append(f"line {node.start_point[0] + 1}: {node.type}")
    return wrong


def test_swift_is_understood_and_a_missing_brace_is_not(rendered):
    texts = {path: text for path, text in rendered.items() if path.endswith(".swift")}
    assert len(texts) == 12
    for text in texts.values():
        assert _wrong_swift(text) == []
        places = [match.start() for match in re.finditer(r"^ *}$", text, re.MULTILINE)]
        broken = text[: places[3]] + text[places[3] :].replace("}", "", 1)
        assert _wrong_swift(broken), "a brace less is noticed"


def test_swift_for_mnn_alone_is_understood(ranking):
    texts = sources.render(ranking.schema, ["model.mnn"], MINIMUM)
    own = {path: text for path, text in texts.items() if path.endswith((".swift", ".yml"))}
    for path, text in own.items():
        assert "model.tflite" not in text, path
        assert not path.endswith(".swift") or _wrong_swift(text) == [], path


def test_every_input_is_in_the_sources_with_its_type(ranking):
    for schema in (ranking.schema, MANY):
        name = sources.class_name(schema.model_name)
        texts = sources.render(schema, FILES, MINIMUM)
        for tensor in schema.inputs:
            ranges = "".join(
                f"            ({float(d.low)}, {float(d.high)}),\n" for d in tensor.dimensions
            )
            wanted = (
                f'Input(name: "{tensor.name}", dataType: .{tensor.dtype}, ranges: [\n{ranges}      '
                "  ]),"
            )
            assert wanted in texts[f"ios/Sources/{name}Inputs.swift"]
            assert (
                f'{{"{tensor.name}", {tensor.size}, INPUT_{tensor.dtype.upper()}, '
                in texts[f"c/{name}Inputs.h"]
            )
            for number, dimension in enumerate(tensor.dimensions):
                assert (
                    f"{number} `{dimension.name}` | {dimension.meaning} | "
                    in texts[f"ios/Sources/{name}.swift"]
                )


def test_nothing_beyond_the_ranges_is_asked_of_a_model_that_has_no_number_there(ranking):
    for beyond, mirrored in ((True, "true"), (False, "false")):
        texts = sources.render(ranking.schema, FILES, MINIMUM, beyond=beyond)
        (text,) = (text for path, text in texts.items() if path.endswith("MnnTests.mm"))
        assert f"i], {mirrored});" in text


def test_lines_are_short_enough_to_read(rendered):
    """The table of inputs has a row a dimension, whatever its meaning; lines with the class's name
    grow with it.
    """
    for path, text in rendered.items():
        if path.startswith("ios/"):
            long = [
                line
                for line in text.splitlines()
                if len(line) > 140 and not line.startswith("/// |")
            ]
            assert not long, path


def _gnustep(what: str) -> list[str]:
    return subprocess.run(
        ["gnustep-config", what], capture_output=True, text=True, check=True
    ).stdout.split()


@pytest.fixture(scope="module")
def compiler() -> list[str]:
    """How Objective-C++ is compiled here."""
    if not shutil.which("gnustep-config") or not shutil.which("g++"):
        pytest.skip("GNUstep is not installed (gobjc++, gnustep-make, libgnustep-base-dev)")
    if not HEADERS.is_dir():
        pytest.skip("MNN's headers are not in the package")
    flags = [
        flag.replace("-I", "-isystem", 1)
        for flag in _gnustep("--objc-flags")
        if flag not in ("-MMD", "-MP")
    ]
    compiler = [
        "g++",
        "-x",
        "objective-c++",
        "-std=c++14",
        *flags,
        "-Wall",
        "-Werror",
        "-I",
        str(HEADERS),
    ]
    probe = "#import <Foundation/Foundation.h>\n"
    if subprocess.run(
        [*compiler, "-fsyntax-only", "-"], input=probe, text=True, capture_output=True
    ).returncode:
        pytest.skip(
            "g++ does not compile Objective-C++ with Foundation (gobjc++, libgnustep-base-dev)"
        )
    return compiler


def _written(texts: dict[str, str], folder: Path) -> Path:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


XCTEST = """
#import <Foundation/Foundation.h>
@interface XCTestCase : NSObject
@end
#define XCTAssertNotNil(value, ...) (void)(value)
#define XCTAssertEqual(one, other, ...) (void)((one) == (other))
"""


def test_objective_c_compiles_without_a_warning(compiler, rendered, tmp_path):
    folder = _written(rendered, tmp_path)
    (folder / "XCTest").mkdir()
    (folder / "XCTest" / "XCTest.h").write_text(XCTEST)
    for path in sorted((folder / "ios" / "MnnTests").glob("*.mm")):
        command = [
            *compiler,
            "-I",
            str(folder / "c"),
            "-I",
            str(folder),
            "-fsyntax-only",
            str(path),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def run(compiler, ranking, tmp_path_factory):
    """Runs the tests of an app as it would: their own ``main``, with the MNN that the Python wheel
    carries.
    """
    folder = _written(
        sources.render(ranking.schema, FILES, MINIMUM), tmp_path_factory.mktemp("ios")
    )
    return _runner(compiler, folder)


@pytest.fixture(scope="module")
def run_many(compiler, tmp_path_factory):
    """The same for a model of twenty ids."""
    return _runner(
        compiler, _written(sources.render(MANY, FILES, MINIMUM), tmp_path_factory.mktemp("many"))
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """A folder with models of twenty ids, and the cases that NumPy says ``model.mnn`` must
    reproduce.
    """
    folder = tmp_path_factory.mktemp("ids")
    weights, bias = _convert(folder, "sigmoid").get_weights()
    typical = {t.name: np.random.default_rng(0).integers(0, 99, (30, 1)) for t in MANY.inputs}
    scored = {}
    for name, values in golden.draw(MANY, typical).items():
        rows = np.concatenate([values[n] for n in MANY.input_names], axis=1) / 100
        scores = special.expit(rows @ weights + bias).reshape(-1).astype(np.float32)
        scored[name] = values, scores, {"model.mnn": scores}
    (folder / "golden.bin").write_bytes(golden.to_bytes(golden_cases(MANY, scored)))
    return folder


def _convert(folder: Path, activation: str):
    """Write ``model.tflite`` and ``model.mnn`` of twenty ids; their last layer, which has an
    activation.
    """
    import keras

    from helpers.convert import mnn
    from helpers.frameworks import keras as framework

    keras.utils.set_random_seed(3)
    ids = [keras.Input((1,), name=t.name, dtype=t.dtype) for t in MANY.inputs]
    joined = keras.layers.Concatenate()([keras.ops.cast(values, "float32") / 100 for values in ids])
    last = keras.layers.Dense(
        1, activation=activation, bias_initializer=keras.initializers.Constant(0.4375)
    )
    model = keras.Model(ids, last(joined), name=MANY.model_name)
    framework.export(model, MANY, folder / "model.tflite")
    narrow = replace(
        MANY, inputs=tuple(replace(t, dtype="int32") for t in MANY.inputs)
    )  # which MNN makes of int64
    mnn.convert(folder / "model.tflite", narrow, folder / "model.mnn", trusted=True)
    return last


@pytest.fixture(scope="module")
def nan(tmp_path_factory) -> Path:
    """A folder with models of twenty ids that score NaN. (After a sigmoid, MNN would score 1.)"""
    folder = tmp_path_factory.mktemp("nan")
    _convert(folder, "linear")
    for file in FILES:
        content, bias = (folder / file).read_bytes(), np.float32(0.4375).tobytes()
        assert bias in content
        (folder / file).write_bytes(content.replace(bias, np.float32(np.nan).tobytes()))
    return folder


def _runner(compiler, folder: Path):
    files = [
        str(path)
        for path in (folder / "ios" / "MnnTests").glob("*.mm")
        if "XCTests" not in path.name
    ]
    library = folder / "tests.so"
    build = [
        *compiler,
        "-I",
        str(folder / "c"),
        "-shared",
        *files,
        "-o",
        str(library),
        "-x",
        "none",
    ]
    done = subprocess.run([*build, *_gnustep("--base-libs")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = (
        "import ctypes, os, sys; sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL); import "
        "_mnncengine;words = [os.fsencode(word) for word in "
        "sys.argv[1:]];sys.exit(ctypes.CDLL(words[0]).main(len(words), (ctypes.c_char_p * "
        "len(words))(*words)))"
    )

    def run(*arguments) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", code, str(library), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


def test_the_app_s_tests_pass_on_the_real_mnn(run, unpacked):
    done = run(unpacked / "model.mnn", unpacked / "golden.bin")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ok")]
    scores = [
        float(score) for score in re.findall(r"random cases?(?:, \d)?: score ([\d.]+)", done.stdout)
    ]
    assert len(scores) == 6 and len(set(scores)) == 6, "one case and five, a score each"
    assert (
        len([line for line in lines if "largest difference" in line]) == 8
        and "FAIL" not in done.stdout
    )
    assert done.stdout.rstrip().endswith("0 failed")


def test_a_changed_weight_fails(run, unpacked, trained, tmp_path):
    content = bytearray((unpacked / "model.mnn").read_bytes())
    weight = trained.model.get_weights()[0].astype("<f4")
    place = content.find(np.ascontiguousarray(weight.T)[0, :4].tobytes())
    place = content.find(weight[0, :4].tobytes()) if place < 0 else place
    content[place : place + 4] = np.float32(weight[0, 0] + 0.05).tobytes()
    (tmp_path / "model.mnn").write_bytes(content)
    done = run(tmp_path / "model.mnn", unpacked / "golden.bin")
    assert done.returncode == 1 and done.stdout.count("FAIL") >= 6, done.stdout + done.stderr


def test_a_weight_that_is_not_a_number_fails_every_check(run, unpacked, trained, tmp_path):
    content = bytearray((unpacked / "model.mnn").read_bytes())
    bias = trained.model.get_weights()[3].astype("<f4").tobytes()
    places = [match.start() for match in re.finditer(re.escape(bias), bytes(content))]
    assert places
    for place in places:
        content[place : place + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "model.mnn").write_bytes(content)
    done = run(tmp_path / "model.mnn", unpacked / "golden.bin")
    assert done.returncode == 1 and done.stdout.count("FAIL") == 14, done.stdout + done.stderr


def test_files_that_cannot_be_used_fail(run, unpacked, tmp_path):
    (tmp_path / "model.mnn").write_bytes(b"not a model")
    (tmp_path / "golden.bin").write_bytes((unpacked / "golden.bin").read_bytes()[:-1])
    for model, cases, said in (
        (tmp_path / "missing.mnn", unpacked / "golden.bin", "missing or no MNN model"),
        (tmp_path / "model.mnn", unpacked / "golden.bin", "FAIL  model: "),
        (unpacked / "model.mnn", tmp_path / "golden.bin", "missing or no golden cases"),
    ):
        done = run(model, cases)
        assert done.returncode == 1 and said in done.stdout, done.stdout + done.stderr
    assert run("only one").returncode == 2


@pytest.mark.slow
def test_twenty_ids_are_narrowed_to_what_mnn_takes(run_many, many):
    done = run_many(many / "model.mnn", many / "golden.bin")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("largest difference") == 7 and done.stdout.count("random cases, ") == 5


@pytest.mark.parametrize("wrong", [-1, 100, 10**6, 2**40])
def test_an_id_outside_its_table_fails_its_case_only(run_many, many, tmp_path, wrong):
    whole = golden.from_bytes((many / "golden.bin").read_bytes())
    first = whole.cases[0]
    outside = replace(first, inputs={**first.inputs, "f220003": np.array([[wrong]])})
    (tmp_path / "golden.bin").write_bytes(
        golden.to_bytes(replace(whole, cases=(outside, *whole.cases[1:])))
    )
    done = run_many(many / "model.mnn", tmp_path / "golden.bin")
    assert (
        done.returncode == 1
        and f"f220003 is {wrong} in row 0, column 0: it takes 0 to 99" in done.stdout
    ), done.stdout
    assert done.stdout.count("FAIL") == 1


def test_a_score_that_is_no_number_is_refused(run_many, many, nan):
    done = run_many(nan / "model.mnn", many / "golden.bin")
    assert (
        done.returncode == 1
        and done.stdout.count("score 0 is nan: the model file is damaged") == 13
    ), done.stdout


def test_a_model_with_other_inputs_fails(run_many, unpacked, many):
    done = run_many(unpacked / "model.mnn", many / "golden.bin")
    assert done.returncode == 1 and "the model has no input f220000" in done.stdout, (
        done.stdout + done.stderr
    )
    done = run_many(many / "model.mnn", unpacked / "golden.bin")
    assert done.returncode == 1 and "the golden cases are of another model" in done.stdout, (
        done.stdout + done.stderr
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPED)
def test_tensors_of_any_shape_go_in_and_out(compiler, shaped, tmp_path, name):
    run = _runner(
        compiler, _written(sources.render(SHAPED[name], FILES, MINIMUM), tmp_path / "sources")
    )
    done = run(shaped[name] / "model.mnn", shaped[name] / "golden.bin")
    cases = golden.from_bytes((shaped[name] / "golden.bin").read_bytes()).cases
    assert done.returncode == 0 and done.stdout.count("largest difference") == len(cases), (
        done.stdout + done.stderr
    )
    lines = [
        line for line in done.stdout.splitlines() if "random case" in line and "largest" not in line
    ]
    assert len(lines) == {"picture_model": 6 * 2, "mixed_model": 6 * 4}[name]
    (tmp_path / "model.mnn").write_bytes(changed_float((shaped[name] / "model.mnn").read_bytes()))
    done = run(tmp_path / "model.mnn", shaped[name] / "golden.bin")
    assert done.returncode == 1 and "FAIL" in done.stdout, done.stdout
