"""What a stored notebook must be: executed, in order, small, of this project and of no machine."""

import base64
import io
import json
import re
import statistics
import subprocess
import sys

import nbformat
import pytest
from PIL import Image
from support import code_cells

from helpers import figures, notebooks, parameters, runs, tasks
from helpers.errors import StageFailed


def test_every_code_cell_was_executed_in_order_without_an_error(notebook):
    counts = [cell["execution_count"] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert not any(
        output["output_type"] == "error"
        for cell in code_cells(notebook)
        for output in cell["outputs"]
    )


def test_it_is_valid_and_normalised(notebook):
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    before = json.dumps(content, sort_keys=True)
    assert json.dumps(notebooks.normalised(content), sort_keys=True) == before


def test_it_reads_as_prose_with_short_cells(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    lengths = [len("".join(cell["source"]).splitlines()) for cell in code_cells(notebook)]
    assert statistics.median(lengths) <= 6 and max(lengths) <= 20
    tags = [set(cell["metadata"].get("tags", ())) for cell in cells]
    for task in tasks.NAMES:
        assert sum(not of & (set(tasks.NAMES) - {task}) for of in tags) <= 30, (
            f"as it is shown in runs of {task}"
        )
    assert cells[0]["cell_type"] == "markdown"
    first = "".join(cells[0]["source"])
    assert "**In:**" in first and "**Out:**" in first and "**Question:**" in first
    if notebook in notebooks.stages().values():
        assert "stage.finish(" in "".join(cells[-1]["source"])


def test_figures_are_small(notebook):
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            png = output.get("data", {}).get("image/png")
            assert png is None or len(base64.b64decode(png)) < 100_000


def test_figures_are_sharp_and_say_what_they_show(notebook):
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            if png := output.get("data", {}).get("image/png"):
                picture = Image.open(io.BytesIO(base64.b64decode(png)))
                assert round(picture.info["dpi"][0]) == figures.DOTS
                shown = output["metadata"]["image/png"]
                assert shown["alt"] == picture.info[figures.DESCRIPTION]
                assert shown["width"] == picture.width // 2


def test_it_shows_pictures_and_no_place_of_a_machine(notebook):
    text = notebook.read_text()
    assert "image/png" in text
    assert not re.search(
        r"/(home|root|tmp|work|Users|var)/", re.sub(r'"image/png": "[^"]*"', "", text)
    )


def test_parameters_are_typed_commented_and_known(notebook):
    cell = code_cells(notebook)[0]
    assert cell["metadata"]["tags"] == ["parameters"]
    for line in cell["source"]:
        assert re.fullmatch(r"\w+: (int|float|str|bool) = \S.*  # \S.*\n?", line), line
    declared = parameters.declared(notebook)
    if notebook in notebooks.stages().values():
        assert {"study", "run"} <= set(declared)
    for name, parameter in declared.items():
        limits = parameters.TABLE.get(name, ())
        assert parameter.help and {type(limit) for limit in limits} <= {parameter.kind}
        assert limits or parameter.kind in (bool, str), f"{name} is a number without a range"
        parameters.check(name, parameter.default, parameter)


def test_limits_are_of_parameters_that_a_notebook_declares():
    every = [parameters.declared(notebook) for notebook in notebooks.numbered().values()]
    assert set(parameters.TABLE) <= set().union(*every)


def test_one_name_has_one_kind_default_and_help_in_every_stage():
    seen: dict[str, parameters.Declared] = {}
    for notebook in notebooks.stages().values():
        for name, parameter in parameters.declared(notebook).items():
            assert seen.setdefault(name, parameter) == parameter, notebook.name


def test_what_was_timed_in_a_noisy_moment_is_not_stored(home):
    for run, floor in (("quiet", 0.05), ("noisy", 0.86)):
        runs.Stage("05_accuracy_latency", study="ranking", run=run).finish(noise_floor=floor)
        if run == "quiet":
            notebooks._require_quiet("05_accuracy_latency", home)
    notebooks._require_quiet("03_tflite_conversion", home)
    with pytest.raises(StageFailed, match=r"noise floor of 0.86, at most 0.2 is stored; try again"):
        notebooks._require_quiet("05_accuracy_latency", home)


@pytest.mark.slow
def test_only_training_and_tflite_conversion_import_tensorflow(notebook, finished_copy):
    """Every code cell of a stage that should not need TensorFlow, run as a script where importing
    it is an error.
    """
    if notebook.name[:2] in ("02", "03") or notebook not in notebooks.stages().values():
        return
    source = "\n".join("".join(cell["source"]) for cell in code_cells(notebook))
    blocked = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\nfrom IPython.display "
        "import display\nimport pandas as pd\nfrom helpers import runs\nfrom helpers.evaluation "
        "import latency\nmade = runs.Run('ranking', 'default').folder\nblocks = pd.read_csv(made / "
        "'latency.csv')\nmemory = dict.fromkeys(blocks['variant'], 1.0)\nlatency.measure = lambda "
        "*files, **how: (blocks, memory, {})  # timed in processes of its own, one of Keras\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", blocked + source],
        capture_output=True,
        text=True,
        cwd=notebook.parent,
    )
    assert done.returncode == 0, done.stderr
