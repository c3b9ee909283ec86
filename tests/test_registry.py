"""Studies in files somewhere else: found by path and then by name, wrong ones told in one line."""

import sys

import pytest
from click.testing import CliRunner
from support import workbench

from helpers import cli, code, datasets, registry, runs
from helpers.errors import BadInput

STUDY = """
from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Model, Simulated, Study

X = Tensor("x", "item", (Dimension("a", "one"), Dimension("b", "two")))
SCHEMA = Schema("own_model", (X,), (Tensor("y", "score", (Dimension("p", ""),)),))


def draw(rng, rows):
    return {"x": rng.random((rows, 2)).astype("float32")}


def build(hidden_units=16):
    import keras

    x = keras.Input((2,), name="x")
    return keras.Model(x, keras.layers.Dense(1, "sigmoid", name="y")(x))


DRAWN = Simulated("drawn", "two numbers", draw, lambda inputs: inputs["x"].sum(axis=1) * 1.0)
STUDY = Study("NAME", "Own", SCHEMA, {"drawn": DRAWN}, {"plain": Model("one layer", build)})
"""


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("study_", "beside")) or name == "more":
            del sys.modules[name]


def _file(place, name="own_one", text=STUDY):
    path = place / f"{name}.py"
    path.write_text(text.replace("NAME", name))
    return path


def test_a_study_of_a_file_is_found_by_its_path_and_then_by_its_name(place):
    path = _file(place)
    assert registry.link(str(path)) == "own_one"
    assert registry.get("own_one").folder == str(place)
    assert registry.names()[-1] == "own_one" and registry.link("own_one") == "own_one"
    data = datasets.make(registry.get("own_one"), "default", rows=40, validation_rows=20,
                         test_rows=200, seed=1)  # fmt: skip
    assert data.rows("train") == 40 and data.folder.parent.name == "own_one"
    path.unlink()
    with pytest.raises(BadInput, match=r"there is no file .*own_one.py, where the study 'own_one'"):
        registry.get("own_one")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none", "X = 1\n", "none.py: defines no STUDY: end it with STUDY = Study"),
        ("other", "STUDY = 3\n", "other.py: STUDY is a int: end it with"),
        ("broken", "def f(:\n", r"broken.py, line 1: SyntaxError: "),
        ("raises", "\n\nimport not_there\n", "raises.py, line 3: ModuleNotFoundError: No module"),
        ("named", STUDY.replace("NAME", "else_where"), "is called 'else_where': give it the name"),
        ("ranking", STUDY, "there is a study 'ranking' already"),
        ("two-words", STUDY, "study name 'two-words' must be a letter, then letters"),
        ("wrong", STUDY.replace('"two")', '"two", 3, 1)'), "b goes from 3 to 1, which is no range"),
    ],
)
def test_a_file_that_is_no_study_is_told_in_one_line(place, name, text, said):
    path = _file(place, name, text)
    with pytest.raises(BadInput, match=said) as error:
        registry.link(str(path))
    assert "\n" not in str(error.value)
    assert registry.names() == registry.modules(), "nothing is kept"


def test_a_path_that_is_not_there_is_told_by_the_command_line(home, tmp_path):
    for command in ("run", "results", "studies"):
        done = workbench(command, str(tmp_path / "nowhere.py"), home=home)
        assert done.returncode == 2 and done.stderr.startswith("workbench: there is no file"), (
            command
        )


def test_what_a_study_is_made_of_counts_as_code(place, home):
    (place / "beside.py").write_text("A = 1\n")
    path = _file(place, text="import beside\n" + STUDY)
    used = code.outside(registry.definition(registry.link(str(path))))
    record = home / "artifacts/own_one/study.json"
    assert {str(record), str(path), str(place / "beside.py")} == set(used)
    assert code.changed(used) is None
    (place / "beside.py").write_text("A = 22\n")
    assert code.changed(used) == f"{place / 'beside.py'} has changed since"
    (place / "beside.py").unlink()
    assert code.changed(used) == f"{place / 'beside.py'} is gone"


def test_a_package_beside_a_study_counts_as_code_with_what_it_imports(place):
    package = place / "beside"
    (package / "deep").mkdir(parents=True)
    (place / "more.py").write_text("")
    (package / "__init__.py").write_text("from .more import A\nimport more\n")
    (package / "deep/rest.py").write_text("")
    path = _file(place, text="import beside.deep\n" + STUDY)
    (package / "more.py").write_text("A = 1\n")
    used = code.outside(registry.definition(registry.link(str(path))))
    names = {"__init__.py", "more.py", "deep/rest.py"}
    assert {str(package / name) for name in names} | {str(place / "more.py")} <= set(used)
    (package / "more.py").write_text("A = 22\n")
    assert code.changed(used) == f"{package / 'more.py'} has changed since"


def test_another_study_of_the_name_makes_the_results_of_the_first_stale(place):
    first, second = place / "a", place / "b"
    for folder in (first, second):
        folder.mkdir()
        _file(folder)
    registry.link(str(first / "own_one.py"))
    used = code.outside(registry.definition("own_one"))
    registry.link(str(first / "own_one.py"))
    assert code.changed(used) is None, "the same file again"
    registry.link(str(second / "own_one.py"))
    assert code.changed(used).endswith("own_one/study.json has changed since")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2", "own_one/study.json cannot be read .*: remove it"),
        ('{"a": 1}', "own_one/study.json says of no study where it is: remove it"),
        ('{"model": "m", "schema": "s"}', "says of no study where it is: remove it"),
    ],
)
def test_a_record_that_is_none_is_told_with_its_file(place, home, content, said):
    folder = home / "artifacts/own_one"
    folder.mkdir(parents=True)
    (folder / "study.json").write_text(content)
    with pytest.raises(BadInput, match=said):
        registry.get("own_one")


def test_a_study_whose_file_is_gone_is_told_and_the_others_are_listed(place, home):
    path = _file(place)
    registry.link(str(path))
    path.unlink()
    listed = CliRunner().invoke(cli.main, ["studies"])
    assert f"own_one: there is no file {path}, where the study 'own_one' was" in listed.output
    assert "ranking: " in listed.output and "feed: " in listed.output and listed.exit_code == 0
    runs.Stage("01_first", study="own_one", run="r").finish(rows=3)
    found = CliRunner().invoke(cli.main, ["results", "own_one"])
    assert found.exit_code == 0 and found.output.startswith("\nown_one, 1 run\n")


@pytest.mark.slow
def test_a_study_in_a_file_runs_by_path_and_an_edit_makes_its_stages_again(place, home):
    path = _file(place)
    arguments = ["-p", "rows=400", "-p", "validation_rows=100", "-p", "test_rows=300"]
    arguments += ["-p", "epochs=1", "--run", "one", "--stages", "01-02"]
    first = workbench("run", str(path), *arguments, home=home)
    assert first.returncode == 0, first.stdout + first.stderr
    assert workbench("run", "own_one", *arguments, home=home).stdout.count("nothing to do") == 2
    path.write_text(path.read_text().replace("hidden_units=16):", "hidden_units=16):\n    pass"))
    again = workbench("run", str(path), *arguments, home=home)
    assert f"{path} has changed since: executing it again" in again.stdout
    assert runs.Run("own_one", "one").record()["parameters"]["epochs"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("import keras\n", "import keras\n\n    oops()\n"),
            "build(hidden_units=16) raised NameErr",
        ),
        (('name="x")', 'name="z")'), "takes the inputs {'z': (2,)}, the schema says {'x': (2,)}"),
        (("keras.Input((2,)", "keras.Input((3,)"), "takes the inputs {'x': (3,)}, the schema says"),
        (("return keras.Model(x, ", "return (x, "), "returns a tuple, not a keras.Model"),
    ],
)
def test_a_builder_that_does_not_fit_is_told_in_one_line(place, change, said):
    from helpers.frameworks import keras as framework

    study = registry.get(registry.link(str(_file(place, text=STUDY.replace(*change)))))
    with pytest.raises(BadInput) as error:
        framework.built(study.models["plain"].build, study.schema)
    assert said in str(error.value) and "\n" not in str(error.value)
