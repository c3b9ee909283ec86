import subprocess

import pytest

from helpers import parameters, pipeline
from helpers.errors import BadInput


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rows", -1, "rows must be between 0 and 1,000,000,000, not -1"),
        ("rows", -5, "not -5"),
        ("epochs", 0, "epochs must be between 1"),
        ("epochs", 2.5, "epochs must be a whole number, not 2.5"),
        ("epochs", True, "whole number"),
        ("epochs", "five", "whole number"),
        ("learning_rate", float("nan"), "learning_rate must be between"),
        ("learning_rate", 0.0, "learning_rate"),
        ("prefer", "size", r"prefer must be one of agreement, bytes, latency, not 'size'$"),
        ("prefer", 1, "prefer must be text, not 1"),
        ("run", 7, "run must be text, not 7"),
        ("run", "../elsewhere", "folder name"),
        ("run", "", "folder name"),
        ("run", ".hidden", "folder name"),
        ("run", "a" * 101, "folder name"),
        ("seed", 2**31, "seed"),
    ],
)
def test_refused_with_name_value_and_limit(name, value, message):
    with pytest.raises(BadInput, match=message):
        parameters.check(name, value)


def test_a_whole_number_serves_as_a_number():
    value = parameters.check("learning_rate", 1)
    assert (value, type(value)) == (1.0, float)


def test_a_name_the_table_does_not_know_is_held_to_its_declared_type():
    declaration = parameters.Declared("unheard_of", int, 1, "nobody asked")
    assert parameters.check("unheard_of", 3, declaration) == 3
    with pytest.raises(BadInput, match="unheard_of must be a whole number"):
        parameters.check("unheard_of", "3", declaration)
    assert parameters.check("unheard_of", "3") == "3"


@pytest.mark.parametrize(("name", "value"), [("epochs", 0), ("prefer", "size")])
def test_an_error_quotes_the_help_of_the_notebook_where_it_is_known(name, value):
    declaration = parameters.Declared(name, type(value), value, "as the notebook says")
    with pytest.raises(
        BadInput, match=rf"{name} must be .*, not {value!r} \(as the notebook says\)$"
    ):
        parameters.check(name, value, declaration)
    with pytest.raises(BadInput, match=rf"{name} must be .*, not {value!r}$"):
        parameters.check(name, value)


@pytest.mark.parametrize("content", [None, "{ half", '{"cells": 3}'])
def test_a_notebook_that_cannot_be_read_leaves_the_limits(tmp_path, content):
    notebook = tmp_path / "05_accuracy_latency.ipynb"
    if content is not None:
        notebook.write_text(content)
    values = {"thorough": 1, "learning_rate": 1}
    assert parameters.check_all(values, notebook) == values
    with pytest.raises(BadInput, match="epochs must be between 1 and 100,000, not 0$"):
        parameters.check_all({"epochs": 0}, notebook)


def test_a_command_survives_the_shell():
    address = "https://a.example/b?c=1&d='$HOME'"
    values = {"variant": "mnn fp16", "model_url": address, "batches": [1, 7], "rows": 1_000_001}
    command = parameters.command("ranking", "a,b=1", values)
    echo = subprocess.run(
        ["sh", "-c", f'printf "%s\\n" {command}'], capture_output=True, text=True, check=True
    )
    words = ["workbench", "run", "ranking", "--run", "a,b=1"]
    for name, value in values.items():
        words += ["-p", f"{name}={value}"]
    assert echo.stdout.splitlines() == words


def test_defaults_are_known_of_every_way_to_come_by_a_model():
    assert pipeline.default("images", "train") is True
    assert pipeline.default("images", "weights") == ""
    assert pipeline.default("images", "epochs") == 10
    assert pipeline.default("ranking", "epochs") == 5


def test_a_checkpoint_is_found_from_any_folder_or_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.pth").write_bytes(b"")
    wanted = pipeline.requested("images", {"weights": "best.pth", "train": "false"})
    assert wanted == {"weights": str(tmp_path / "best.pth"), "train": False}
    with pytest.raises(BadInput, match="there is no checkpoint gone.pth"):
        pipeline.requested("images", {"weights": "gone.pth"})
    with pytest.raises(BadInput, match="there is no parameter 'weights'"):
        pipeline.requested("ranking", {"weights": "best.pth"})
