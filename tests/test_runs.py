import io
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import code, figures, files, parameters, records, runs
from helpers.errors import BadInput, DamagedFile, MissingStage, WorkbenchError
from helpers.plots import training


def _stage(name: str, run: str = "r", **parameters) -> runs.Stage:
    return runs.Stage(name, study="ranking", run=run, **parameters)


def _made(name: str = "01_first", file: str = "a.txt", text: str = "a", **parameters) -> runs.Stage:
    stage = _stage(name, **parameters)
    with stage.output(file) as path:
        path.write_text(text)
    stage.finish(quality=1)
    return stage


def test_a_later_stage_reads_what_an_earlier_one_recorded(home):
    _made()
    second = _stage("02_second", seed=3)
    assert second.input("01", "a.txt").read_text() == "a"
    second.finish()
    record = json.loads((home / "artifacts/ranking/r/run.json").read_text())
    assert record["seed"] == 3 and record["packages"]["python"] and record["host"]["cores"]
    assert record["stages"]["02_second"]["inputs"] == record["stages"]["01_first"]["outputs"]


@pytest.mark.parametrize(
    ("stage", "name", "value", "message"),
    [
        ("01_synthetic_data", "source", 3, "source must be text, not 3"),
        ("02_keras_training", "epochs", 0, "epochs must be between 1 and 100,000, not 0 {help}"),
        ("05_accuracy_latency", "thorough", 1, "thorough must be True or False, not 1"),
        (
            "05_accuracy_latency",
            "prefer",
            "size",
            "one of agreement, bytes, latency, not 'size' {help}",
        ),
        ("06_device_bundle", "version", 1, "version must be text, not 1"),
    ],
)
def test_a_stage_holds_values_to_its_notebook_and_quotes_its_help(
    home, stage, name, value, message
):
    declared = parameters.declared(files.notebook(stage))[name]
    with pytest.raises(BadInput) as caught:
        _stage(stage, **{name: value})
    assert str(caught.value).endswith(message.format(help=f"({declared.help})"))
    assert not home.exists()


def test_a_stage_without_its_notebook_is_held_to_the_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "project", lambda: tmp_path)
    assert _stage("02_keras_training", learning_rate=1).parameters["learning_rate"] == 1.0
    with pytest.raises(BadInput, match="epochs must be between 1 and 100,000, not 0$"):
        _stage("02_keras_training", epochs=0)


def test_a_missing_stage_is_named_with_the_command_that_makes_it():
    with pytest.raises(
        MissingStage,
        match=(
            r"stage 01 of run 'r' has not been run.*workbench run ranking --run r` for all that is "
            r"missing"
        ),
    ):
        _stage("02_second").input("01", "a.txt")


def test_a_stage_that_did_not_finish_does_not_count():
    stage = _stage("01_first")
    with stage.output("a.txt") as path:
        path.write_text("a")
    with pytest.raises(MissingStage, match="did not finish"):
        _stage("02_second").input("01", "a.txt")


def test_a_file_the_stage_did_not_make():
    _made()
    with pytest.raises(MissingStage, match="did not make b.txt"):
        _stage("02_second").input("01", "b.txt")


def test_one_changed_byte_is_refused(home):
    _made(text="abc")
    path = home / "artifacts/ranking/r/a.txt"
    path.write_text("abd")
    with pytest.raises(
        DamagedFile, match="artifacts/ranking/r/a.txt is not the file that stage 01 recorded"
    ):
        _stage("02_second").input("01", "a.txt")
    path.unlink()
    with pytest.raises(DamagedFile, match="is gone"):
        _stage("02_second").input("01", "a.txt")


def test_an_input_made_anew_makes_later_stages_stale():
    _made()
    second = _stage("02_second")
    second.input("01", "a.txt")
    with second.output("b.txt") as path:
        path.write_text("b")
    second.finish()
    _made(text="other")
    with pytest.raises(MissingStage, match="used an earlier a.txt"):
        _stage("03_third").input("02", "b.txt")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic(target) as path:
        path.write_text("half of the new")
        raise RuntimeError("stopped")
    assert target.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_unwritable_home_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(WorkbenchError, match="WORKBENCH_HOME"):
        _stage("01_first")


def test_read_only_home_says_what_to_do(small_tmpfs, monkeypatch):
    subprocess.run(["mount", "-o", "remount,ro", str(small_tmpfs)], check=True)
    monkeypatch.setenv("WORKBENCH_HOME", str(small_tmpfs / "home"))
    with pytest.raises(WorkbenchError, match="read-only"):
        _stage("01_first")


def test_full_disk_leaves_the_old_file(small_tmpfs):
    target = small_tmpfs / "file.bin"
    target.write_bytes(b"old")
    with pytest.raises(WorkbenchError, match="the disk is full"), files.atomic(target) as path:
        path.write_bytes(bytes(1 << 20))
    assert target.read_bytes() == b"old" and os.listdir(small_tmpfs) == ["file.bin"]


def test_a_record_that_is_not_json(home):
    _made()
    (home / "artifacts/ranking/r/run.json").write_text("{ half")
    with pytest.raises(DamagedFile, match="--force"):
        _stage("02_second")


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A project of our own: notebooks to be edited at will."""
    folder = tmp_path / "project" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.setattr(files, "project", lambda: folder.parent)
    return folder


def _executed(folder, name: str = "01_first", **options) -> runs.Run:
    """A stage as `workbench run` leaves it behind: with its notebook."""
    cells = [{"cell_type": "code", "source": [f"# {options}"], "outputs": []}]
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    run = _made(name, **options).run
    (run.folder / "notebooks").mkdir(exist_ok=True)
    (run.folder / "notebooks" / f"{name}.ipynb").write_text(f"{options} executed")
    with run.edit() as record:
        record["stages"][name]["notebook_sha256"] = code.cells_sha256(folder / f"{name}.ipynb")
    return run


def test_what_must_be_executed_again_and_why(notebooks):
    run = _made(seed=1).run
    assert run.unfinished("01", {"seed": 1}) == "was executed by hand"
    run = _executed(notebooks, seed=1)
    assert run.unfinished("01", {"seed": 1}) is None
    assert "seed=1, not 2" in run.unfinished("01", {"seed": 2})
    (run.folder / "a.txt").write_text("changed")
    assert "changed" in run.unfinished("01", {"seed": 1})
    (run.folder / "a.txt").unlink()
    assert "recorded a.txt, which is gone" in run.unfinished("01", {"seed": 1})
    assert run.unfinished("02", {"seed": 1}) == "has not been run"
    (notebooks / "01_first.ipynb").write_text(
        '{"cells": [{"cell_type": "code", "source": ["other"]}]}'
    )
    assert (
        run.unfinished("01", {}) == "was executed with other code: 01_first.ipynb has changed since"
    )
    (notebooks / "01_first.ipynb").write_text("broken")
    assert (
        run.unfinished("01", {}) == "was executed with other code: 01_first.ipynb has changed since"
    )


def test_what_used_an_edited_module_does_not_count_nor_what_was_made_of_it(home, capsys):
    first, second = _made(), _stage("02_second")
    second.input("01", "a.txt")
    with second.output("b.txt") as path:
        path.write_text("b")
    second.finish()
    _made("03_third", "c.txt")
    assert records.stale(first.run.record()) == {}
    with first.run.edit() as record:
        record["stages"]["01_first"]["code"]["helpers.files"] = "of another version"
    reason = "was executed with other code: helpers.files has changed since"
    assert records.stale(first.run.record()) == {
        "01_first": reason,
        "02_second": f"used a.txt of stage 01, which {reason}",
    }
    assert first.run.recorded("c.txt") and records.stale(first.run.record(), any_code=True) == {}
    with pytest.raises(
        MissingStage, match="helpers.files has changed since: run notebook 02 for it"
    ):
        first.run.recorded("b.txt")
    capsys.readouterr()
    fourth = _stage("04_fourth")
    assert fourth.input("02", "b.txt").read_text() == fourth.input("02", "b.txt").read_text() == "b"
    assert (
        capsys.readouterr().out
        == f"stage 02 used a.txt of stage 01, which {reason}: what is made of it does not count "
        "until it is executed again\n"
    ), "told once: work by hand goes on"


def test_a_record_without_its_code_does_not_count():
    run = _made().run
    with run.edit() as record:
        record["stages"]["01_first"]["code_sha256"] = record["stages"]["01_first"].pop("code")
    assert records.stale(run.record()) == {
        "01_first": "was executed with code that it has no record of"
    }


def test_a_renamed_notebook_takes_the_place_of_its_old_self(notebooks, home):
    run = _executed(notebooks, "02_training", seed=1)
    third = _stage("03_third")
    third.input("02", "a.txt")
    third.finish()
    os.rename(notebooks / "02_training.ipynb", notebooks / "02_keras.ipynb")
    assert run.unfinished("02", {}) == "was executed as 02_training.ipynb, which is gone"
    _executed(notebooks, "02_keras", text="other", seed=1)
    assert [*run.record()["stages"]] == ["03_third", "02_keras"] and run.unfinished(
        "02", {}
    ) is None
    assert run.recorded("a.txt").read_text() == "other"
    assert os.listdir(run.folder / "notebooks") == ["02_keras.ipynb"]
    assert "earlier a.txt" in records.stale(run.record())["03_third"]


def test_what_another_notebook_of_the_number_made_is_not_taken_for_it(notebooks):
    run = _executed(notebooks, "02_keras", seed=1)
    said = "was executed as another notebook, 02_keras"
    assert run.unfinished("02_keras", {}) is None and run.unfinished("02_trained", {}) == said
    taker = runs.Run("ranking", "taker")
    assert not taker.reuse("02_trained", run, {}) and not taker.record()["stages"]
    assert taker.reuse("02_keras", run, {})


def test_a_file_belongs_to_the_stage_that_wrote_it_last():
    run = _made("04_parity").run
    _made("05_parity", text="other")
    assert (
        run.recorded("a.txt").read_text() == "other"
        and run.record()["stages"]["04_parity"]["outputs"] == {}
    )


def test_a_stage_is_reused_with_its_code_notebook_and_environment(notebooks, home):
    other, taker = _executed(notebooks, run="other", seed=1), runs.Run("ranking", "taker")
    assert taker.reuse("01", other, {"seed": 1})
    entry = taker.record()["stages"]["01_first"]
    assert entry["from_run"] == "other" and entry["parameters"]["run"] == "taker"
    assert taker.unfinished("01", {"seed": 1}) is None and taker.recorded("a.txt")
    assert taker.record()["packages"] == other.record()["packages"]


def test_a_stage_that_was_executed_anew_with_another_seed_is_not_reused(notebooks, home):
    """The other run was finished when the sweep was planned, and is executed anew before or while
    it is asked.
    """
    other, taker = _executed(notebooks, run="other", seed=1), runs.Run("ranking", "taker")
    again = _stage("01_first", run="other", seed=2)
    assert not taker.reuse("01", other, {"seed": 1}), "it is being executed"
    again.finish()
    assert not taker.reuse("01", other, {"seed": 2}), "not yet by its notebook"
    _executed(notebooks, run="other", seed=2)
    assert not taker.reuse("01", other, {"seed": 1}) and not taker.record()["stages"]
    with other.edit() as record:
        record["stages"]["01_first"]["code"]["helpers.files"] = "of another version"
    assert not taker.reuse("01", other, {"seed": 2})
    assert (
        not taker.reuse("01", runs.Run("ranking", "nobody"), {})
        and not (home / "artifacts/ranking/nobody").exists()
    )


def test_nobody_begins_a_stage_that_is_being_reused(notebooks, home):
    other, taker = _executed(notebooks, run="other", seed=1), runs.Run("ranking", "taker")
    script = (
        "from helpers import runs; runs.Stage('01_first', study='ranking', run='other', seed=2)"
    )
    with other._locked():  # as `reuse` holds it while it copies
        process = subprocess.Popen([sys.executable, "-c", script])
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        assert other.unfinished("01", {"seed": 1}) is None
    assert (
        process.wait(timeout=30) == 0
        and other.unfinished("01", {}) == "was started and did not finish"
    )
    assert not taker.reuse("01", other, {"seed": 1})


def test_run_names_cannot_leave_the_folder():
    with pytest.raises(BadInput):
        runs.Run("ranking", "../x")


def test_a_changed_input_or_shared_file_means_executing_again(notebooks, home):
    first = _made()
    (notebooks / "02_second.ipynb").write_text('{"cells": []}')
    second = _stage("02_second")
    second.input("01", "a.txt")
    (home / "data").mkdir()
    (home / "data" / "part").write_text("rows")
    second.share({"data/part": files.sha256(home / "data" / "part")})
    second.finish()
    with first.run.edit() as record:
        record["stages"]["02_second"]["notebook_sha256"] = code.cells_sha256(
            notebooks / "02_second.ipynb"
        )
    assert first.run.unfinished("02", {}) is None
    (home / "data" / "part").unlink()
    assert first.run.unfinished("02", {}) == "made data/part, which is gone"
    (first.run.folder / "a.txt").write_text("b")
    assert first.run.unfinished("02", {}) == "used a.txt, which has been changed since"


@pytest.mark.parametrize(
    "file",
    [
        *(
            "../../elsewhere.txt",
            "/elsewhere.txt",
            "run.json",
            "notebooks/../run.json",
            "./run.json",
            "RUN.JSON",
            "",
        ),
        *(
            "a//b",
            ".lock",
            ".executing",
            "figures/.hidden",
            "notebooks/01_first.ipynb",
            "report.html",
        ),
    ],
)
def test_a_stage_writes_in_its_folder_and_nothing_of_the_runs_own(file):
    stage = _stage("01_first")
    with pytest.raises(BadInput, match="not a file that a stage may write"), stage.output(file):
        pass
    with pytest.raises(BadInput, match="not a file that a stage may write"):
        stage.discard(file)
    assert stage.run.record()["stages"]


_ENTRY = {"status": "done", "parameters": {}, "inputs": {}, "outputs": {}, "metrics": {}}


@pytest.mark.parametrize(
    "content",
    [
        *("{}", "[]", "null", '{"stages": {"01_x": {}}}', "\x00"),
        json.dumps({"stages": {"01_x": {**_ENTRY, "code": []}}}),
        json.dumps({"stages": {"01_x": {**_ENTRY, "outputs": ["a"]}}}),
    ],
)
def test_a_record_of_another_form_is_an_error_in_words(home, content):
    _made()
    (home / "artifacts/ranking/r/run.json").write_text(content)
    with pytest.raises(DamagedFile, match="not the record of a run"):
        runs.Run("ranking", "r").record()


def test_what_killed_processes_left_is_removed_and_what_living_ones_write_is_not(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    dead = tmp_path / "a" / f".partial-{files._machine()}-{process.pid}-x.bin"
    dead.mkdir(parents=True)
    (dead / "part").write_text("half")
    living = files.partial(tmp_path / "y.bin")
    living.write_text("being written")
    huge = tmp_path / f".partial-{files._machine()}-{'9' * 40}-x.bin"
    huge.write_text("no process has this number")
    files.clear_partial(tmp_path)
    assert not dead.exists() and living.exists() and huge.exists()


def test_an_undefined_metric_is_null_and_not_nan(home):
    stage = _stage("01_first")
    stage.finish(auc=float("nan"))
    assert json.loads((home / "artifacts/ranking/r/run.json").read_text())["stages"]["01_first"][
        "metrics"
    ] == {"auc": None}


def test_an_infinite_metric_is_undefined_too_and_said(home):
    said = _stage("01_first").finish(divergence=float("inf"), auc=0.5)
    assert said.endswith("; infinite, recorded as undefined: divergence")
    text = (home / "artifacts/ranking/r/run.json").read_text()
    assert (
        "Infinity" not in text
        and json.loads(text)["stages"]["01_first"]["metrics"]["divergence"] is None
    )


def test_replacing_a_stage_with_other_parameters_is_said(capsys):
    _made(seed=1)
    _made(seed=1)
    assert capsys.readouterr().out == ""
    _made(seed=2)
    assert "this replaces what 01_first made in run 'r': seed=1 is now 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    "home_value", ["~nobody-of-this-name/x", "/proc/nope", "/tmp/" + "x" * 300]
)
def test_an_impossible_home_is_an_error_in_words(monkeypatch, home_value):
    monkeypatch.setenv("WORKBENCH_HOME", home_value)
    with pytest.raises(WorkbenchError, match="WORKBENCH_HOME|cannot make the folder"):
        _stage("01_first")


def test_commit_packages_and_host_are_of_each_stage(home):
    run = _made().run
    record = run.record()
    assert record["packages"] == record["stages"]["01_first"]["environment"]["packages"]
    with run.edit() as record:
        earlier = record["stages"]["01_first"]["environment"]
        earlier["commit"], earlier["packages"]["numpy"] = "0" * 40, "1.0"
    _made("02_second", "b.txt")
    record = run.record()
    assert record["commit"] == record["packages"]["numpy"] == "mixed"
    assert record["packages"]["keras"] != "mixed" and record["host"]["cores"]
    assert record["stages"]["01_first"]["environment"]["packages"]["numpy"] == "1.0"


def test_clearing_passes_over_what_vanishes_meanwhile(tmp_path):
    """Other processes put their half-written folders in place while this one looks through them."""
    stop = threading.Event()

    def come_and_go(number: int) -> None:
        while not stop.is_set():
            folder = tmp_path / f"{number}" / "made"
            folder.mkdir(parents=True)
            (folder / "part").touch()
            shutil.rmtree(tmp_path / f"{number}")

    with ThreadPoolExecutor(3) as others:
        working = [others.submit(come_and_go, number) for number in range(3)]
        left = tmp_path / f".partial-{files._machine()}-{2**22 + 1}-folder"
        try:
            for _ in range(300):
                left.mkdir()
                (left / "file").touch()
                files.clear_partial(tmp_path)
                assert not left.exists()
        finally:
            stop.set()
    for one in working:
        one.result()


def test_a_figure_is_a_sharp_picture_of_few_bytes_that_says_what_it_shows(home):
    table = pd.Series([0.5, 0.7], index=pd.RangeIndex(2, name="day"))
    figure = training.curves({"honest": table}, "day", "AUC")
    stage = runs.Stage("05_accuracy_latency", study="ranking", run="default")
    shown = stage.figure("curves", figure)
    picture = Image.open(stage.run.folder / "figures" / "curves.png")
    wide, high = figure.get_size_inches()
    assert picture.size == (round(wide * figures.DOTS), round(high * figures.DOTS))
    assert picture.mode == "P" and round(picture.info["dpi"][0]) == figures.DOTS
    assert picture.info[figures.DESCRIPTION] == shown.alt == figure.get_label() != ""
    assert (shown.width, shown.height) == (picture.width // 2, picture.height // 2)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=figures.DOTS)
    whole = np.asarray(Image.open(drawn).convert("RGB"), float)
    few = np.asarray(picture.convert("RGB"), float)
    assert np.abs(whole - few).mean() < 1 and (whole == 255).all(axis=2).mean() > 0.8
