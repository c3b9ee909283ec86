"""What TensorFlow Serving gets: its layout, and the scores of the file that is served here."""

import numpy as np
import pytest
from click.testing import CliRunner

from helpers import cli, runtimes
from helpers.errors import BadInput
from helpers.serving import export, models, server


@pytest.mark.slow
def test_the_exported_model_scores_as_the_file_that_is_served(served, tmp_path):
    import tensorflow as tf

    words = ["serve", "movies", "--run", "small", "--run", "ids", "--export", str(tmp_path / "out")]
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == 0, done.output
    service = server.opened("movies", {"small": 1.0, "ids": 1.0})
    films = np.arange(1, 51)
    rows = service.known.features.rows(3, service.known.features.user(3), films)
    for version in service.versions:
        folder = tmp_path / "out/recmodel" / str(version.number)
        assert (folder / "saved_model.pb").is_file() and str(folder) in done.output
        signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
        taken = {name: rows[name] for name in version.schema.input_names}
        assert set(signature.structured_input_signature[1]) == set(taken)
        found = signature(**{name: tf.constant(array) for name, array in taken.items()})
        file = served / "artifacts/movies" / version.run / models.FILE
        with runtimes.open_model(file, version.schema) as opened:
            assert np.abs(found["score"].numpy() - opened.score(taken)).max() < 1e-5
    with pytest.raises(BadInput, match="is there already"):
        export.write("movies", {"small": 1.0}, tmp_path / "out")
