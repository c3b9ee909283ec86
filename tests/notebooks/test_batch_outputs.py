"""nbval on notebook 07, which executes 95 runs: other tests run beside a file of its own."""

import pytest

from helpers import notebooks

BATCH = "07"


@pytest.mark.slow
def test_executing_the_batch_reruns_gives_their_stored_outputs():
    done = notebooks.check([notebooks.numbered()[BATCH]])
    assert done.returncode == 0, done.stdout[-5000:]
