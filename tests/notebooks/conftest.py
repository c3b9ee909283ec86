from pathlib import Path

import pytest

from helpers import pipeline


@pytest.fixture(params=pipeline.notebooks().values(), ids=lambda path: path.stem)
def notebook(request) -> Path:
    return request.param
