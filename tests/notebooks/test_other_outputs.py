"""nbval on the notebooks that are no stages of the default run."""

import pytest
from test_batch_outputs import BATCH

from helpers import notebooks


@pytest.mark.slow
def test_executing_the_other_notebooks_gives_their_stored_outputs():
    stages = notebooks.stages().values()
    others = {key: path for key, path in notebooks.numbered().items() if path not in stages}
    apart = {BATCH, *notebooks.OF_PYTORCH}
    chosen = [path for key, path in others.items() if not {key, path.stem} & apart]
    assert len(chosen) == len(others) - len(apart)
    done = notebooks.check(chosen)
    assert done.returncode == 0, done.stdout[-5000:]
