from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "sweep.yaml"
