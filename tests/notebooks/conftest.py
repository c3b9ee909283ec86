from pathlib import Path

import pytest

from helpers import notebooks


@pytest.fixture(params=notebooks.numbered().values(), ids=lambda path: path.stem)
def notebook(request) -> Path:
    return request.param
