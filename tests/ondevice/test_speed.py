"""Time and memory of training, each way beside Keras."""

import pytest

from helpers.ondevice import speed
from helpers.ondevice.rows import joined


@pytest.mark.slow
def test_every_way_has_a_time_and_the_memory_of_its_own_process(program, training, batches):
    table = speed.table(program, training, joined(*batches[:6]), batch_size=16, rounds=3)
    assert tuple(table.index) == speed.WAYS
    assert table.loc["Keras", "seconds an epoch"] > 0 and (table["MB"] > 0).all()
    assert table.loc["Keras", ["times Keras", "lowest", "highest"]].tolist() == [1, 1, 1]
    assert (table["lowest"] <= table["times Keras"]).all()
    assert (table["times Keras"] <= table["highest"]).all()
