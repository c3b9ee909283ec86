"""What a result depends on besides parameters and code."""

import subprocess

from helpers import environment, files


def _git(folder, *words: str) -> None:
    name = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *name, *words], check=True, capture_output=True)


def test_a_checkout_has_its_commit_and_says_if_files_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "project", lambda: tmp_path)
    _git(tmp_path, "init")
    (tmp_path / "a").write_text("a")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "-m", "First")
    found = environment.describe()
    assert len(found["commit"]) == 40 and found["no_commit"] is None
    assert {"numpy", "onnx", "onnxruntime"} <= set(found["packages"])
    (tmp_path / "a").write_text("b")
    assert environment.describe()["commit"] == found["commit"] + "+changes"


def test_without_a_commit_the_reason_is_recorded(tmp_path, monkeypatch):
    def reason() -> str:
        found = environment._commit(tmp_path)
        assert found["commit"] is None
        return found["no_commit"]

    assert reason() == f"{tmp_path} is not a git repository"
    _git(tmp_path, "init")
    assert "ambiguous argument 'HEAD'" in reason(), "nothing is committed"
    (tmp_path / "a").write_text("a")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "-m", "First")
    with monkeypatch.context() as patch:
        patch.setenv(
            "GIT_TEST_ASSUME_DIFFERENT_OWNER", "1"
        )  # git's own switch for its tests of ownership
        assert "dubious ownership" in reason()
    monkeypatch.setenv("PATH", "")
    assert reason() == "git cannot be run: No such file or directory"


def test_what_differs_between_stages_is_mixed():
    here = {
        "packages": {"numpy": "2.1", "keras": "3"},
        "commit": "a",
        "no_commit": None,
        "host": {"cores": 2},
    }
    there = {
        **here,
        "packages": {"numpy": "2.2", "MNN": "3.4", "keras": "3"},
        "commit": None,
        "no_commit": "no git",
    }
    assert environment.common([here, here]) == here and environment.common([]) == {}
    assert environment.common([here, there]) == {
        "packages": {"numpy": "mixed", "keras": "3", "MNN": "mixed"},
        "commit": "mixed",
        "no_commit": "mixed",
        "host": {"cores": 2},
    }
