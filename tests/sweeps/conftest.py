from pathlib import Path

import pytest

from helpers.forks import server


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "sweep.yaml"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """Fork servers of a module's own, so that whatever they forked was forked for its tests."""
    from sweeping import servers

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        patch.setenv("WORKBENCH_KERNEL_IDLE", "60")
        yield server.folder()
        for process in servers():
            process.kill()
