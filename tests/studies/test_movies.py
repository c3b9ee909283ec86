"""The film recommender: its simulated world, and its models on both runtimes."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from helpers import datasets, ratings, registry, runtimes
from helpers.convert import mnn
from helpers.errors import BadInput
from helpers.frameworks import keras as framework
from helpers.studies.movies import inputs, world

MOVIES = registry.get("movies")


@pytest.fixture(scope="module")
def pack():
    return world.draw(np.random.default_rng(1), 20_000)


def test_the_chance_of_each_label_is_true(pack):
    """In tenths of the chance, the rate of liked films is it, within four standard errors."""
    liked = pack.ratings.stars >= 3.5
    tenths = np.minimum((10 * pack.chance).astype(int), 9)
    for tenth in range(10):
        rows = tenths == tenth
        error = np.sqrt(0.25 / max(rows.sum(), 1))
        assert abs(liked[rows].mean() - pack.chance[rows].mean()) < 4 * error, tenth


def test_the_world_is_as_it_is_said_to_be(pack):
    given = pack.ratings
    pairs = given.user * 10_000 + given.film
    assert len(given) == 20_000 and len(np.unique(pairs)) == len(pairs), "nobody sees a film twice"
    counts = np.sort(np.bincount(given.film)[1:])[::-1]
    assert counts[: len(counts) // 10].sum() > 0.3 * counts.sum(), "a long tail"
    assert 0.5 < (given.stars >= 3.5).mean() < 0.7
    columns = ratings.as_of(given, pack.films)
    label, simple = columns["label"], columns["userAvgRating"] + columns["movieAvgRating"]
    last = given.order()[16_000:]
    possible = roc_auc_score(label[last], pack.chance[last])
    assert possible - roc_auc_score(label[last], simple[last]) > 0.1, "room for taste"


def test_tastes_drift():
    """What the same user thinks of the same genres moves from session to session."""
    rng = np.random.default_rng(3)
    places = np.eye(6)
    films = np.tile(places, (200, 1))
    _, film, _, worth, *_ = world._of_user(rng, 1, 900, np.zeros(1200), films, np.zeros(1200))
    likes = [
        np.bincount((film[part] - 1) % 6, worth[part], 6) for part in np.split(np.arange(900), 3)
    ]
    assert np.abs(likes[0] - likes[2]).max() > 1


def _rows(model: str, count: int) -> dict[str, np.ndarray]:
    """Inputs as they come: some users and films unknown."""
    data = datasets.make(MOVIES, "simulated", rows=2000, validation_rows=100, test_rows=900, seed=1)
    rows = {n: array[:count].copy() for n, array in data.arrays("test")[0].items()}
    rows["userId"][:3], rows["movieId"][:2] = 0, 0
    return {name: rows[name] for name in MOVIES.schema_of(model).input_names}


QUICK = ("residual_mlp", "two_tower")


@pytest.mark.parametrize(
    "model",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
        for name in MOVIES.models
        if not name.endswith("as_published")
    ],
)
def test_both_runtimes_score_every_model_as_keras_does(model, tmp_path):
    import keras

    keras.utils.set_random_seed(2)
    schema = MOVIES.schema_of(model)
    built = framework.built(MOVIES.models[model].build, schema)
    framework.export(built, schema, tmp_path / "m.tflite")
    mnn.convert(tmp_path / "m.tflite", schema, tmp_path / "m.mnn")
    rows = _rows(model, 800)
    wanted = framework.predict(built, schema, rows)["score"]
    assert np.isfinite(wanted).all() and wanted.std() > 0
    for file in ("m.tflite", "m.mnn"):
        with runtimes.open_model(tmp_path / file, schema) as opened:
            for count in (1, 7, 800):
                found = opened.score({name: array[:count] for name, array in rows.items()})
                assert np.abs(found - wanted[:count]).max() < 1e-5, (file, count)


@pytest.mark.parametrize("wrong", [-1, inputs.FILMS])
def test_an_id_outside_its_table_never_reaches_it(wrong):
    rows = _rows("neural_cf", 4)
    rows["movieId"][2] = wrong
    with pytest.raises(BadInput, match=f"movieId.*{wrong}"):
        MOVIES.schema_of("neural_cf").check(rows)


@pytest.mark.parametrize("model", ["embedding_mlp", "wide_deep", "deep_fm"])
def test_numbers_as_published_are_not_scaled(model):
    import keras

    def largest(name: str) -> float:
        built = MOVIES.models[name].build()
        joined = next(x for x in built.layers if type(x) is keras.layers.Concatenate)
        rows = _rows(name, 50)
        return np.abs(keras.Model(built.inputs, joined.output).predict(rows, verbose=0)).max()

    assert largest(model) < 10 and largest(f"{model}_as_published") > 1900
