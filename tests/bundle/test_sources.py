"""Templates know no study: whatever the schema says is what the sources say."""

import re
import subprocess

import pytest

from helpers import registry
from helpers.bundle import sources
from helpers.convert import recipes
from helpers.schema import Dimension, Schema, Tensor

MINIMUM = {"tflite": "2.9.0", "mnn": "3.1.0"}
FILES = ["model.tflite", "model.mnn"]


def _ids_schema() -> Schema:
    inputs = tuple(
        Tensor(
            f"f{220000 + i}",
            "item",
            (Dimension(f"id_{i}", 'a "quoted" $id */ of /* topic', 0, 999),),
            "int64",
        )
        for i in range(20)
    )
    return Schema(
        "2nd-list model", inputs, (Tensor("click", "score", (Dimension("score", "probability"),)),)
    )


def _own(rendered: dict[str, str]) -> set[str]:
    return {path.rsplit("/", 1)[-1] for path in rendered}


@pytest.mark.parametrize("model", ["ranking", "ids"])
@pytest.mark.parametrize("minimum", [MINIMUM, {"litert": "1.2.0", "mnn": "3.1.0"}])
def test_every_input_is_named_and_nothing_is_left_to_fill_in(ranking, model, minimum):
    schema = ranking.schema if model == "ranking" else _ids_schema()
    rendered = sources.render(schema, FILES, minimum)
    name = sources.class_name(schema.model_name)
    assert {
        "README.md",
        "c/golden.h",
        "c/run_tflite.c",
        f"ios/Sources/{name}.swift",
        f"android/src/main/kotlin/{name.lower()}/{name}.kt",
    } <= set(rendered)
    for path, text in rendered.items():
        assert (
            "{%" not in text
            and not re.search(r"(?<!\$)\{\{ ?\w+", text)
            and not re.search("__(name|package)__", path + text)
        ), path
    for path in (
        "README.md",
        f"ios/Sources/{name}.swift",
        f"android/src/main/kotlin/{name.lower()}/{name}Inputs.kt",
    ):
        assert all(tensor.name in rendered[path] for tensor in schema.inputs), path


def test_templates_name_no_study_and_no_input():
    words = set()
    for name in registry.names():
        schema = registry.get(name).schema
        words |= {schema.model_name, *schema.input_names}
        words |= {d.name for t in schema.inputs for d in t.dimensions if "_" in d.name}
    words -= {"image"}  # which is what iOS calls a picture
    for path in sources.FOLDER.rglob("*"):
        if path.is_file():
            found = words & set(re.findall(r"\w+", path.read_text()))
            assert not found, path


def test_one_runtime_alone_has_its_sources_only(ranking):
    name = sources.class_name(ranking.schema.model_name)
    only = sources.render(ranking.schema, ["model.tflite"], {"tflite": "2.9.0"})
    assert {f"{name}.kt"} == _own(only) & {f"{name}.kt", f"{name}Mnn.kt"}
    only = sources.render(ranking.schema, ["model.mnn"], {"mnn": "3.1.0"})
    assert {f"{name}Mnn.kt"} == _own(only) & {f"{name}.kt", f"{name}Mnn.kt"}
    texts = [text for path, text in only.items() if path.endswith(".swift")]
    assert len(texts) > 8 and not [text for text in texts if "import TensorFlowLite" in text]


@pytest.mark.parametrize(
    "model, name",
    [
        ("ultra_simple_ranking_model", "UltraSimpleRankingModel"),
        ("2nd-list model", "Model2ndListModel"),
        ("a", "A"),
    ],
)
def test_a_class_is_named_after_the_model(model, name):
    assert sources.class_name(model) == name


def test_text_from_a_schema_cannot_leave_its_comment_or_string(ranking):
    from helpers.bundle.sources import _comment, _kotlin, _quoted

    assert (
        "*/" not in _comment("a */ b")
        and "\n" not in _comment("a\nb")
        and "\\" not in _comment("a\\")
    )
    assert _quoted('a"b\n') == r'"a\"b\n"' and _kotlin("$x") == r'"\$x"'


@pytest.mark.parametrize("files", [FILES, FILES[:1], FILES[1:]])
def test_recipes_of_runtimes_are_scripts_that_a_shell_reads(ranking, files):
    rendered = sources.render(ranking.schema, files, MINIMUM)
    scripts = {path: text for path, text in rendered.items() if path.endswith(".sh")}
    assert len(scripts) == ("model.tflite" in files) + 2 * ("model.mnn" in files)
    for path, text in scripts.items():
        assert text.startswith("#!/bin/sh\n"), path
        for broken in (False, True):
            text = text.replace("\nfi\n", "\n", 1).replace("\ndone\n", "\n", 1) if broken else text
            read = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True)
            assert (read.returncode != 0) == (broken and "\ndone" in scripts[path]), read.stderr
    version = recipes.RELEASES["mnn"]
    assert all(f'VERSION:-{version}}}"' in text for path, text in scripts.items() if "mnn" in path)


@pytest.mark.parametrize("files", [FILES, FILES[:1], FILES[1:]])
def test_workflows_call_what_is_in_the_bundle(ranking, files):
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    rendered = sources.render(ranking.schema, files, MINIMUM)
    folder = f"Packages/{sources.class_name(ranking.schema.model_name)}"
    flows = {path: text for path, text in rendered.items() if path.startswith("workflows/")}
    assert len(flows) == 2
    for path, text in flows.items():
        assert "It did not run where it was written" in " ".join(text.split("\n# ")), path
        steps = yaml.safe_load(text)["jobs"]["golden"]["steps"]
        said = " ".join(
            step.get("run", "") + step.get("with", {}).get("script", "") for step in steps
        )
        called = set(re.findall(rf"{folder}/(\S+\.sh|android)", said))
        assert called and all(any(p.startswith(one) for p in rendered) for one in called), called
        assert ("mnn" in said) == ("model.mnn" in files)


def test_the_text_of_the_swift_package_follows_the_names_of_the_files(ranking):
    """SwiftPM remembers what a manifest said of its folder, by the manifest's text."""

    def text(*names: str) -> str:
        return sources.render(ranking.schema, FILES, MINIMUM, names=names)["Package.swift"]

    assert text("a", "b") == text("b", "a") != text("a")
