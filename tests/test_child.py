import os
import signal
import subprocess

import pytest

from helpers import child, forks
from helpers.errors import BadInput, WorkbenchError


@pytest.fixture(params=["forked", "a fresh Python"], autouse=True)
def how(request, monkeypatch) -> str:
    """Both ways to start a child, which must behave alike."""
    if request.param == "a fresh Python":
        monkeypatch.setattr(forks.sys, "platform", "darwin")
    elif forks.sys.platform != "linux":
        pytest.skip("processes are forked on Linux only")
    return request.param


def test_it_is_started_as_asked(how):
    with child.Child("look") as process:
        assert isinstance(process._process, forks.Forked if how == "forked" else subprocess.Popen)


def test_arguments_and_results_pass_as_json():
    with child.Child("work") as process:
        assert process.call("json:loads", s="[1, 2]") == [1, 2]
        assert process.call("os.path:basename", p="a/b") == "b"


def test_a_workbench_error_comes_back_as_itself():
    with pytest.raises(BadInput, match="no study 'x'"):
        child.run("look", "helpers.registry:get", name="x")


def test_any_other_error_is_named():
    with pytest.raises(WorkbenchError, match="could not read: JSONDecodeError"):
        child.run("read", "json:loads", s="{")


def test_a_crash_is_an_error_and_the_next_child_works():
    with pytest.raises(
        child.ChildDied,
        match=r"could not crash: the native code ended the process \(Segmentation fault\)",
    ):
        child.run("crash", "ctypes:string_at", ptr=1)
    assert child.run("go on", "json:loads", s="1") == 1


def test_no_answer_in_time_ends_the_child():
    with child.Child("sleep") as process:
        with pytest.raises(child.ChildDied, match="no answer in 0.3 s"):
            process.call("os:system", timeout=0.3, command="sleep 5")
        assert process._process.wait(timeout=5) == -signal.SIGKILL


def test_what_native_code_prints_is_in_the_message():
    with child.Child("print") as process:
        process.call("os:system", command="echo from native code; echo and an error >&2")
        assert "from native code" in process.log_tail() and "and an error" in process.log_tail()


def test_killed_from_outside():
    with child.Child("wait") as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(child.ChildDied, match="Killed"):
            process.call("json:loads", s="1")


def test_environment_and_folder_are_the_askers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with child.Child("look", {"FOO": "bar"}) as process:
        assert process.call("os:getenv", key="FOO") == "bar" and process.call("os:getcwd") == str(
            tmp_path
        )
        assert process.call("os:getenv", key="PATH") == os.environ["PATH"]


def test_large_requests_pass_and_closing_twice_is_harmless():
    process = child.Child("echo")
    assert process.call("json:loads", s='"' + "x" * 1_000_000 + '"') == "x" * 1_000_000
    process.close()
    process.close()
    assert process._process.poll() == 0
