"""Which notebooks are stages, and what is said of a folder that is not in order."""

import ast
import shutil

import papermill
import pytest
from support import PROJECT

from helpers import files, notebooks, parameters, pipeline
from helpers.errors import BadInput


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the notebooks, to be spoiled."""
    shutil.copytree(PROJECT / "notebooks", tmp_path / "notebooks")
    monkeypatch.setattr(files, "project", lambda: tmp_path)
    return tmp_path / "notebooks"


def test_two_notebooks_of_one_number_are_refused_by_name(folder):
    shutil.copy(folder / "03_tflite_conversion.ipynb", folder / "03_zzz.ipynb")
    with pytest.raises(
        BadInput, match=r"^03_tflite_conversion.ipynb and 03_zzz.ipynb in .* have one number"
    ):
        pipeline.run("ranking")


def test_scratch_and_later_notebooks_are_no_stages(folder):
    for name in ("00_scratch", "00_another", "99_notes", "3_x", "x_03"):
        (folder / f"{name}.ipynb").write_text("not even a notebook")
    assert list(notebooks.stages()) == ["01", "02", "03", "04", "05", "06"]
    assert "00" not in notebooks.numbered() and "99" in notebooks.numbered()
    with pytest.raises(BadInput, match="are not like 03, 02-04"):
        notebooks.stages("00-02")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{ half",
        "[]",
        "{}",
        '{"cells": 3, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": [{"cell_type": "code"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        b"\xff\xfe\x00",
    ],
)
def test_a_broken_notebook_is_one_line_that_names_it(folder, content, home):
    broken = folder / "03_tflite_conversion.ipynb"
    broken.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadInput, match="03_tflite_conversion.ipynb is not a notebook") as caught:
        pipeline.run("ranking", values={"rows": 200})
    assert "\n" not in str(caught.value) and not home.exists()


def test_declared_parameters_are_those_that_papermill_finds():
    for notebook in notebooks.numbered().values():
        found = papermill.inspect_notebook(str(notebook))
        declared = parameters.declared(notebook)
        assert list(declared) == list(found)
        for name, entry in found.items():
            assert (
                declared[name].kind.__name__ == entry["inferred_type_name"]
                and declared[name].help == entry["help"]
            )
            assert repr(declared[name].default) == repr(ast.literal_eval(entry["default"]))


def test_a_default_that_is_no_value_is_named(folder):
    notebook = folder / "03_tflite_conversion.ipynb"
    text = notebook.read_text(encoding="utf-8")
    assert 'run: str = \\"default\\"' in text
    notebook.write_text(
        text.replace('run: str = \\"default\\"', "run: str = max(1, 2)"), encoding="utf-8"
    )
    with pytest.raises(
        BadInput, match="03_tflite_conversion.ipynb is not a notebook with parameters"
    ):
        pipeline.run("ranking", values={"rows": 200})
