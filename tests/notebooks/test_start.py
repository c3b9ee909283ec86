"""A kernel that does not start is started again."""

import os

import pytest

from helpers import pipeline, runs
from helpers.errors import KernelDied
from helpers.kernels.client import Client, NotStarted
from helpers.kernels.manager import Manager


@pytest.mark.parametrize("faults", [2, 99])
def test_a_kernel_that_ends_before_it_is_ready_is_started_again(home, monkeypatch, faults):
    ready, started = Client.wait_for_ready, []

    async def sometimes(self, timeout=None):
        started.append(self)
        if len(started) <= faults:
            raise NotStarted("it ended before it was ready")
        await ready(self, timeout)

    monkeypatch.setattr(Client, "wait_for_ready", sometimes)
    if faults < pipeline.START_ATTEMPTS:
        pipeline.run("ranking", "r", {"rows": 200}, chosen="01", echo=lambda line: None)
        assert (
            len(started) == 3
            and runs.Run("ranking", "r").record()["stages"]["01_synthetic_data"]["status"] == "done"
        )
    else:
        with pytest.raises(KernelDied, match="its kernel died"):
            pipeline.run("ranking", "r", {"rows": 200}, chosen="01", echo=lambda line: None)
        assert len(started) == pipeline.START_ATTEMPTS


def test_a_kernel_that_ends_while_the_file_of_its_ports_is_read_is_started_again(home, monkeypatch):
    reconciled, started = Manager._reconcile_connection_info, []

    def removed(self, info):
        started.append(self)
        if len(started) == 1:
            os.remove(self.connection_file)
            with monkeypatch.context() as patch:
                patch.setattr(os.path, "exists", lambda path: True)
                return reconciled(self, info)
        return reconciled(self, info)

    monkeypatch.setattr(Manager, "_reconcile_connection_info", removed)
    pipeline.run("ranking", "r", {"rows": 200}, chosen="01", echo=lambda line: None)
    assert len(started) == 2
