"""Templates know no study: whatever the schema says is what the sources say."""

import re

import pytest

from helpers import registry
from helpers.bundle import sources
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
        f"ios/{name}.swift",
        f"android/{name}.kt",
    } <= set(rendered)
    for path, text in rendered.items():
        assert (
            "{%" not in text and not re.search(r"\{\{ ?\w+", text) and "__name__" not in path + text
        ), path
    for path in ("README.md", f"ios/{name}.swift", f"android/{name}Inputs.kt"):
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
    assert f"android/{name}.kt" in only and f"android/{name}Mnn.kt" not in only
    only = sources.render(ranking.schema, ["model.mnn"], {"mnn": "3.1.0"})
    assert f"android/{name}Mnn.kt" in only and f"android/{name}.kt" not in only


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
