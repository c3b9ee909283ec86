"""`feed`: the simulated world, its raw form, the model's halves, integers on both runtimes."""

import json

import numpy as np
import pytest
from support import Scoring

from helpers import datasets, features, registry, runtimes
from helpers.bundle import archive, client, make, native, sources
from helpers.convert import mnn
from helpers.errors import BadInput, DamagedFile, ParityError
from helpers.evaluation import parity
from helpers.frameworks import keras as framework
from helpers.metrics import ranking as metrics
from helpers.quiet import tensorflow
from helpers.schema import Dimension, Schema, Tensor
from helpers.studies.feed import fields, world
from helpers.studies.feed.model import READER, build_model
from helpers.studies.feed.split import split_model
from helpers.tasks import Truth
from helpers.tasks.ranking import RANKING

SIZES = {"rows": 20_000, "validation_rows": 2000, "test_rows": 2000}


@pytest.fixture(scope="module")
def study():
    return registry.get("feed")


@pytest.fixture(scope="module")
def drawn():
    return world.draw(np.random.default_rng(3), 40_000)


@pytest.fixture
def data(study, home):
    return datasets.make(study, "default", seed=5, **SIZES)


@pytest.fixture(scope="module")
def files(study, tmp_path_factory):
    """The untrained model as Keras, TFLite and MNN: what it scores is as good as any other."""
    tensorflow()
    import keras

    keras.utils.set_random_seed(1)
    folder, model = tmp_path_factory.mktemp("feed"), build_model()
    for layer in (model.get_layer(READER), model.get_layer("click")):
        layer.set_weights(
            [w + 0.3 * np.random.default_rng(0).normal(size=w.shape) for w in layer.get_weights()]
        )
    framework.export(model, study.schema, folder / "feed.tflite")
    mnn.convert(folder / "feed.tflite", study.schema, folder / "feed.mnn")
    return model, folder


def test_no_list_holds_a_post_twice_nor_lacks_one(drawn):
    posts = drawn["candidate_800030"].reshape(-1, fields.CANDIDATES)
    assert (np.diff(np.sort(posts, axis=1), axis=1) > 0).all()
    assert posts.min() > 2**24 and len(np.unique(posts)) > 5000


def test_the_true_preference_is_the_best_ranking_there_is(drawn, study):
    source = study.source("default")
    probability = source.probability(source.utility(drawn), source.threshold)
    clicked = np.random.default_rng(1).random(len(probability)) < probability
    assert 0.08 < clicked.mean() < 0.15
    best = metrics.auc(probability, clicked)
    assert best == pytest.approx(metrics.bayes_auc(probability), abs=0.01)
    for worse in (
        world.preference(drawn),
        drawn["_candidate_popularity"],
        -drawn["_candidate_position"],
    ):
        assert metrics.auc(worse, clicked) < best


def test_upper_places_are_clicked_more(drawn, study):
    source = study.source("default")
    probability = source.probability(source.utility(drawn), source.threshold).reshape(
        -1, fields.CANDIDATES
    )
    assert probability[:, 0].mean() > 1.5 * probability[:, -1].mean()
    same = np.tile(np.arange(fields.CANDIDATES), (len(probability), 1))
    np.testing.assert_allclose(world.clicks(drawn)(same), probability, rtol=1e-12)


def test_signals_show_taste_and_nothing_hidden_is_written(drawn, data):
    liked = drawn["_liking"][:: fields.CANDIDATES]
    for field in ("800002", "800003", "800010"):
        signal = drawn[f"last_click_{field}"][:: fields.CANDIDATES].astype(float)
        known = signal != features.MISSING
        assert np.corrcoef(np.log1p(signal[known]), liked[known])[0, 1] > 0.2, field
    assert len(fields.SIGNALS) == 23
    assert not [name for name in data.read("test", limit=20) if name.startswith("_")]


def test_the_raw_form_and_the_columns_give_the_same_ids(data, study):
    sessions = data.sessions("test", 50)
    inputs = data.arrays("test", 50 * fields.CANDIDATES)[0]
    for i, session in enumerate(sessions):
        rows = slice(i * fields.CANDIDATES, (i + 1) * fields.CANDIDATES)
        for name, ids in features.assemble(data.encoding, json.dumps(session)).items():
            np.testing.assert_array_equal(ids, inputs[name][rows], err_msg=name)
    assert all(len(session["resort_list"]) == fields.CANDIDATES for session in sessions)


def test_each_step_of_an_encoding_can_be_looked_at(data):
    session = data.sessions("test", 3)[2]
    steps, ids = (
        features.explain(data.encoding, session, candidates=2),
        features.assemble(data.encoding, session),
    )
    assert list(steps.index) == data.encoding.names
    for name in data.encoding.names:
        assert [steps.loc[name, "id 1"], steps.loc[name, "id 2"]] == ids[name][:2, 0].tolist()
    assert steps.loc["f220031", "candidate 2"] == session["resort_list"][1]["feature"]["800031"]
    assert steps.loc["d11", "reads"] == "last_click 800031, candidate 800031"


def test_every_id_is_within_the_schema(data, study):
    for split in datasets.SPLITS:
        study.schema.check(data.arrays(split)[0])
    assert all(data.encoding.sizes[t.name] <= t.dimensions[0].high + 1 for t in study.schema.inputs)
    assert len(study.schema.inputs) >= 20 and all(
        t.dtype == "int64" and t.size == 1 for t in study.schema.inputs
    )


@pytest.mark.parametrize("suffix", ["tflite", "mnn"])
def test_both_runtimes_score_as_keras_at_every_batch_size(files, study, suffix):
    model, folder = files
    opened = runtimes.open_model(folder / f"feed.{suffix}", study.schema)
    rng = np.random.default_rng(2)
    every = {t.name: rng.integers(0, t.bounds[1] + 1, (500, 1)) for t in study.schema.inputs}
    for t in study.schema.inputs:  # missing, unknown and the last id come first
        every[t.name][:3, 0] = [0, 1, t.bounds[1][0]]
    expected = np.asarray(model(every, training=False))
    for rows in [*range(1, 501), 7, 500, 1]:
        scores = opened.score({name: ids[:rows] for name, ids in every.items()})
        assert scores.shape == (rows, 1) and np.abs(scores - expected[:rows]).max() < 1e-6, rows


@pytest.mark.parametrize("suffix", ["tflite", "mnn"])
@pytest.mark.parametrize("value", [-1, 10**6, 2**31, -(2**31), 2**40])
def test_an_id_that_no_table_has_is_refused(files, study, suffix, value):
    opened = runtimes.open_model(files[1] / f"feed.{suffix}", study.schema, trusted=True)
    inputs = {t.name: np.zeros((2, 1), np.int64) for t in study.schema.inputs}
    inputs["f220031"][1] = value
    with pytest.raises(
        BadInput, match=rf"f220031 has 1 values out of range, first {value} at row 1: .* from 0 to"
    ):
        opened.score(inputs)


def test_mnn_never_narrows_in_silence(files):
    wide = Schema(
        "wide",
        tuple(
            Tensor(t.name, t.role, (Dimension(t.name, "", -(2**62), 2**62),), "int64")
            for t in fields.SCHEMA.inputs
        ),
        (fields.SCORE,),
    )
    opened = runtimes.open_model(files[1] / "feed.mnn", wide, trusted=True)
    inputs = {t.name: np.zeros((2, 1), np.int64) for t in wide.inputs}
    opened.score(inputs)
    inputs["d11"][0] = 2**32  # its low half is 0
    with pytest.raises(
        BadInput, match="d11 holds 4294967296, MNN takes integers from -2147483648 to 2147483647"
    ):
        opened.score(inputs)


def test_the_halves_score_as_the_whole(files, study, tmp_path):
    model, folder = files
    (reader, of_reader), (phone, of_phone) = split_model(model)
    rng = np.random.default_rng(4)
    rows = {t.name: rng.integers(0, t.bounds[1] + 1, (300, 1)) for t in study.schema.inputs}
    vector = np.array(reader({t.name: rows[t.name] for t in of_reader.inputs}))
    framework.export(phone, of_phone, tmp_path / "phone.tflite")
    part = {t.name: rows[t.name] for t in of_phone.inputs[1:]} | {READER: vector}
    scores = runtimes.open_model(tmp_path / "phone.tflite", of_phone).score(part)
    whole = runtimes.open_model(folder / "feed.tflite", study.schema, trusted=True).score(rows)
    assert np.abs(scores - whole).max() < 1e-5
    assert (tmp_path / "phone.tflite").stat().st_size < (folder / "feed.tflite").stat().st_size
    vector[:, 0] += 0.5
    assert (
        np.abs(runtimes.open_model(tmp_path / "phone.tflite", of_phone).score(part) - whole).max()
        > 1e-4
    )


def test_two_fields_of_one_size_are_swapped_and_noticed(files, study):
    rng = np.random.default_rng(5)
    rows = {t.name: rng.integers(0, t.bounds[1] + 1, (2000, 1)) for t in study.schema.inputs}
    for t in study.schema.inputs:
        rows[t.name][0] = t.bounds[1]
    opened = runtimes.open_model(files[1] / "feed.tflite", study.schema, trusted=True)
    scores = opened.score(rows)
    requests = np.arange(2000) // 20
    reference = parity.Reference(
        RANKING,
        rows,
        {"click": scores},
        Truth((scores[:, 0] > np.median(scores)).astype(np.int8), requests),
    )
    with pytest.raises(ParityError, match="feed.tflite does not score as its reference"):
        parity.require_same(_Swapping(opened), reference, "feed.tflite")


class _Swapping(Scoring):
    def __init__(self, model):
        self.model, self.schema = model, model.schema

    def score(self, inputs):
        pair = parity.alike(inputs)
        return self.model.score(parity.swapped(inputs, pair) if pair else inputs)


def test_a_study_has_defaults_of_its_own(study):
    from helpers import notebooks, pipeline

    first = notebooks.stages()["01"]
    assert pipeline.effective("feed", first, {})["rows"] == 400_000
    assert pipeline.effective("feed", first, {"rows": 100})["rows"] == 100
    assert pipeline.effective("ranking", first, {})["rows"] == 5000


@pytest.fixture(scope="module")
def bundle(files, study, tmp_path_factory):
    """Everything that a phone downloads of the study, in memory."""
    model, folder = files
    drawn = world.draw(np.random.default_rng(9), 20_000)
    encoding = features.fit(drawn, study.features)
    raws = features.to_sessions(
        {name: values[:60] for name, values in drawn.items() if not name.startswith("_")},
        20,
        study.id_field,
    )
    models = {"model.tflite": folder / "feed.tflite", "model.mnn": folder / "feed.mnn"}
    typical = features.encode(encoding, drawn)
    framework.save(model, folder / "model.keras")
    cases = make.cases(study.schema, folder / "model.keras", models, typical)
    content = make.contents(models, cases)
    content |= make.raw_contents(encoding, raws, models, study.schema, cases.tolerance)
    files = {name: {"tolerance": value} for name, value in cases.tolerance.items()}
    manifest = {
        "format": archive.FORMAT,
        "version": "v1",
        "files": files,
        "schema": study.schema.to_json(),
    }
    content[archive.MANIFEST] = json.dumps({**manifest, "sha256": {}}).encode()
    for name in list(content):
        if name != archive.MANIFEST:
            content = make.with_file(content, name, content[name])
    return content


def test_a_raw_bundle_is_installed_after_its_sessions_came_out_right(bundle, tmp_path):
    checked = client.install(
        str(make.publish(bundle, tmp_path / "server", "v1")), tmp_path / "phone"
    )
    assert set(checked.cases) == {"model.tflite", "model.mnn"} and checked.cases["model.mnn"] > 20


def test_another_boundary_is_noticed_before_the_switch(bundle, tmp_path):
    told = json.loads(bundle["features.json"])
    buckets = next(one for one in told["encoders"] if one["name"] == "f220041")
    buckets["boundaries"][3] += 1
    wrong = make.with_file(bundle, "features.json", json.dumps(told).encode())
    with pytest.raises(
        DamagedFile, match="does not make of raw sessions what it should.*input f220041, row"
    ):
        client.install(str(make.publish(wrong, tmp_path / "server", "v2")), tmp_path / "phone")
    assert client.current(tmp_path / "phone") is None


def test_an_encoding_without_sessions_is_refused(bundle, tmp_path):
    told = json.loads(bundle[archive.MANIFEST])
    del told["sha256"]["sessions.json"]
    alone = {name: data for name, data in bundle.items() if name != "sessions.json"}
    alone[archive.MANIFEST] = json.dumps(told).encode()
    with pytest.raises(DamagedFile, match="has features.json alone"):
        client.install(str(make.publish(alone, tmp_path / "server", "v3")), tmp_path / "phone")


def test_the_c_program_re_ranks_the_raw_lists(bundle, study, tmp_path):
    for name, data in bundle.items():
        (tmp_path / name).write_bytes(data)
    for name, text in sources.render(
        study.schema, ["model.tflite"], {"tflite": "2.9.0"}, encoding=True
    ).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    try:
        command = native.build_rerank(tmp_path / "c", tmp_path)
    except native.NotHere as reason:
        pytest.skip(str(reason))
    of_raw = (tmp_path / "features.json", tmp_path / "sessions.json")
    outcome = native.run(command, tmp_path / "model.tflite", *of_raw, seconds=0.001)
    assert outcome.status == 0 and "session 1" in outcome.microseconds, outcome.lines[-3:]
    told = json.loads((tmp_path / "features.json").read_text())
    next(one for one in told["encoders"] if one["name"] == "f220042")["boundaries"][2] += 1
    (tmp_path / "features.json").write_text(json.dumps(told))
    assert native.run(command, tmp_path / "model.tflite", *of_raw).status == 1
