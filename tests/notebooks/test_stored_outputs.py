"""nbval: executing the notebooks gives the outputs that are stored in them, and planted changes are
noticed.
"""

import json
import re

import pytest
from support import replace_recorded

from helpers import notebooks, runtimes
from helpers.convert import mnn, recipes

ELSEWHERE = {
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "NPY_DISABLE_CPU_FEATURES": (
        "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3"
    ),
    "OPENBLAS_CORETYPE": "Nehalem",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA",
    "TF_ENABLE_ONEDNN_OPTS": "1",
}
"""One thread, and a processor without newer vector units."""


def test_executing_the_stages_gives_their_stored_outputs():
    done = notebooks.check(list(notebooks.stages().values()))
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"\d+ passed", done.stdout) and "failed" not in done.stdout


def _planted(notebook: str, tmp_path, *changes: tuple[str, str]):
    """A copy of a stored notebook with its code changed and its outputs kept."""
    path = notebooks.stages()[notebook]
    content = json.loads(path.read_text())
    for old, new in changes:
        hits = 0
        for cell in content["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and old in source:
                cell["source"], hits = source.replace(old, new), hits + 1
        assert hits == 1, f"{old!r} stands in {hits} cells"
    copy = tmp_path / path.name
    copy.write_text(json.dumps(content))
    return copy


def _forget(run, stage: str) -> None:
    """Drop a stage from the record, or its notebook would print first that it replaces it."""
    with run.edit() as record:
        record["stages"].pop(stage)


def _failures(done) -> str:
    assert done.returncode == 1, done.stdout[-5000:]
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


@pytest.mark.slow
def test_a_changed_label_rule_is_noticed(tmp_path):
    """The context no longer counts."""
    patch = (
        "chosen = registry.get(study)\nimport dataclasses\n"
        'chosen.sources["simple"] = dataclasses.replace(chosen.sources["simple"], '
        'utility=lambda x: x["user_features"].mean(axis=1) + x["item_features"].mean(axis=1))'
    )
    copy = _planted("01", tmp_path, ("chosen = registry.get(study)", patch))
    assert "mismatch" in _failures(notebooks.check([copy], ("-x",)))


@pytest.mark.slow
def test_a_lower_training_rate_is_noticed(tmp_path, finished_copy, home):
    copy = _planted(
        "02", tmp_path, ("learning_rate: float = 0.001", "learning_rate: float = 0.0009")
    )
    _forget(finished_copy, "02_keras_training")
    output = _failures(notebooks.check([copy], ("-x",), home=home))
    assert "curves.tail" in output and "mismatch" in output


@pytest.mark.slow
def test_two_swapped_inputs_are_noticed_where_the_file_is_made(tmp_path, finished_copy, home):
    patch = (
        "from helpers.convert import recipes, tflite, variants\n_named = tflite.named\ntflite.named"
        " = lambda content, schema: _named(content, schema).replace(b'user_features', "
        "b'USER_FEATURES').replace(b'item_features', b'user_features').replace(b'USER_FEATURES', "
        "b'item_features')"
    )
    copy = _planted(
        "03", tmp_path, ("from helpers.convert import recipes, tflite, variants", patch)
    )
    assert (
        "ParityError: tflite/fp32.tflite does not score as its reference: wrong order"
        in _failures(notebooks.check([copy], ("-x",), home=home))
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["04", "05"])
def test_two_swapped_inputs_are_noticed_downstream(finished_copy, home, stage):
    file = "tflite/fp32.tflite"
    content = (finished_copy.folder / file).read_bytes()
    swapped = content.replace(b"user_features", b"USER_FEATURES").replace(
        b"item_features", b"user_features"
    )
    replace_recorded(finished_copy, file, swapped.replace(b"USER_FEATURES", b"item_features"))
    _forget(finished_copy, "05_accuracy_latency")
    output = _failures(notebooks.check([notebooks.stages()[stage]], ("-x",), home=home))
    assert "wrong order" in output if stage == "04" else "broken" in output


@pytest.mark.slow
def test_a_quantised_file_in_place_of_fp32_is_noticed(finished_copy, home, tmp_path, ranking):
    quantised = tmp_path / "quantised.mnn"
    options = recipes.get("mnn", "weight_int8").options
    mnn.convert(
        finished_copy.folder / "tflite/fp32.tflite", ranking.schema, quantised, options=options
    )
    runtimes.open_model(
        quantised, ranking.schema
    )  # a good file of another precision: only its scores tell
    replace_recorded(finished_copy, "mnn/fp32.mnn", quantised.read_bytes())
    _forget(finished_copy, "05_accuracy_latency")
    output = _failures(notebooks.check([notebooks.stages()["05"]], home=home))
    assert re.search(r"[-+] +<td[^>]*>5e-03</td>", output), (
        "the largest difference of mnn fp32, stored as under 1e-05"
    )


@pytest.mark.slow
def test_executing_the_notebooks_of_pytorch_gives_their_stored_outputs():
    """The second trains on the data set that the first has made."""
    pytest.importorskip("torch", reason="needs PyTorch: make pytorch")
    there = {path.stem: path for path in notebooks.numbered().values()}
    done = notebooks.check([there[name] for name in notebooks.OF_PYTORCH])
    assert done.returncode == 0, done.stdout[-5000:]


@pytest.mark.slow
def test_stored_outputs_hold_elsewhere(monkeypatch):
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    done = notebooks.check(list(notebooks.stages().values()))
    assert done.returncode == 0, done.stdout[-5000:]
