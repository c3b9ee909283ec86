"""What native and Python code prints is caught, by one thread at a time."""

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.quiet import native_output


def test_what_is_printed_by_any_way_is_caught_and_then_no_more(capfd):
    with native_output() as read:
        print("python")
        os.write(1, b"native\n")
        os.write(2, b"error\n")
        assert {"python", "native", "error"} == set(read().split())
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_what_was_caught_is_told_when_the_body_fails(capfd):
    with pytest.raises(RuntimeError), native_output():
        print("the reason")
        raise RuntimeError
    assert capfd.readouterr() == ("", "the reason\n")


def test_threads_take_turns_and_leave_the_streams_as_they_were(capfd):
    streams = sys.stdout, sys.stderr
    count = 8
    start = threading.Barrier(count)

    def caught(name: str) -> str:
        start.wait(10)
        found = ""
        for _ in range(20):
            with native_output() as read, native_output():
                pass
            with native_output() as read:
                os.write(1, name.encode())
                found += read()
        return found

    with ThreadPoolExecutor(count) as pool:
        names = [chr(ord("a") + number) for number in range(count)]
        assert list(pool.map(caught, names)) == [name * 20 for name in names]
    assert (sys.stdout, sys.stderr) == streams
    print("after")
    assert capfd.readouterr() == ("after\n", "")


def test_a_process_forked_meanwhile_can_catch_its_own():
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with native_output():
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if not child:
        with native_output():
            os._exit(0)
    ended = 0
    for _ in range(100):
        ended = ended or os.waitpid(child, os.WNOHANG)[0]
        if ended:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    done.set()
    thread.join()
    assert ended == child
