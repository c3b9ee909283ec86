import json
import os
import subprocess

import pytest

from helpers import files, runs
from helpers.errors import BadInput, DamagedFile, MissingStage, WorkbenchError


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


def test_a_missing_stage_is_named_with_the_command_that_makes_it():
    with pytest.raises(
        MissingStage,
        match=r"stage 01 of run 'r' has not been run.*workbench run ranking --run r` for all that is missing",
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
    with pytest.raises(DamagedFile, match="artifacts/ranking/r/a.txt is not the file that stage 01 recorded"):
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


def test_what_must_be_executed_again_and_why():
    requested, source = {"seed": 1}, "sha of the notebook"
    run = _made(seed=1).run
    assert run.unfinished("01", requested, source) == "was executed by hand"
    with run.edit() as record:
        record["stages"]["01_first"]["code_sha256"] = source
    assert run.unfinished("01", requested, source) is None
    assert "seed=1, not 2" in run.unfinished("01", {"seed": 2}, source)
    assert "other code" in run.unfinished("01", requested, "other")
    (run.folder / "a.txt").write_text("changed")
    assert "changed" in run.unfinished("01", requested, source)
    (run.folder / "a.txt").unlink()
    assert "recorded a.txt, which is gone" in run.unfinished("01", requested, source)
    assert run.unfinished("02", requested, source) == "has not been run"


def test_run_names_cannot_leave_the_folder():
    with pytest.raises(BadInput):
        runs.Run("ranking", "../x")


def test_a_changed_input_or_shared_file_means_executing_again(home):
    first = _made()
    second = _stage("02_second")
    second.input("01", "a.txt")
    (home / "data").mkdir()
    (home / "data" / "part").write_text("rows")
    second.share({"data/part": files.sha256(home / "data" / "part")})
    second.finish()
    with first.run.edit() as record:
        record["stages"]["02_second"]["code_sha256"] = "s"
    assert first.run.unfinished("02", {}, "s") is None
    (home / "data" / "part").unlink()
    assert first.run.unfinished("02", {}, "s") == "made data/part, which is gone"
    (first.run.folder / "a.txt").write_text("b")
    assert first.run.unfinished("02", {}, "s") == "used a.txt, which has been changed since"


@pytest.mark.parametrize("file", ["../../elsewhere.txt", "/elsewhere.txt", "run.json"])
def test_a_stage_writes_in_its_folder_and_not_the_record(file):
    with pytest.raises(BadInput, match="not a file that a stage may write"), _stage("01_first").output(file):
        pass


@pytest.mark.parametrize("content", ["{}", "[]", "null", '{"stages": {"01_x": {}}}', "\x00"])
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
    files.clear_partial(tmp_path)
    assert not dead.exists() and living.exists()


def test_an_undefined_metric_is_null_and_not_nan(home):
    stage = _stage("01_first")
    stage.finish(auc=float("nan"))
    assert json.loads((home / "artifacts/ranking/r/run.json").read_text())["stages"]["01_first"]["metrics"] == {
        "auc": None
    }


def test_replacing_a_stage_with_other_parameters_is_said(capsys):
    _made(seed=1)
    _made(seed=1)
    assert capsys.readouterr().out == ""
    _made(seed=2)
    assert "this replaces what 01_first made in run 'r': seed=1 is now 2" in capsys.readouterr().out


@pytest.mark.parametrize("home_value", ["~nobody-of-this-name/x", "/proc/nope", "/tmp/" + "x" * 300])
def test_an_impossible_home_is_an_error_in_words(monkeypatch, home_value):
    monkeypatch.setenv("WORKBENCH_HOME", home_value)
    with pytest.raises(WorkbenchError, match="WORKBENCH_HOME|cannot make the folder"):
        _stage("01_first")
