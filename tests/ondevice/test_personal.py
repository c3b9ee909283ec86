"""Owners that a phone learns from, and phones that learn together."""

import numpy as np
import pytest
from ondevice_net import pictures

from helpers.errors import BadInput
from helpers.ondevice import federated, litert, personal
from helpers.ondevice.program import WEIGHTS, Program
from helpers.ondevice.trainer import Trainer, batches, fit, with_weights
from helpers.quiet import tensorflow
from helpers.studies import ranking


def test_the_usual_hand_leaves_digits_as_they_are():
    images = pictures(6)[0]["image"]
    plain = personal.Writer(slant=0.0, width=1.0, turn=0.0, weight=0.0)
    np.testing.assert_allclose(plain.write(images), images, atol=1e-6)


def test_a_hand_is_the_same_each_time_and_stays_ink_on_paper():
    images = pictures(20)[0]["image"]
    hand = personal.writer(np.random.default_rng(3))
    assert hand == personal.writer(np.random.default_rng(3))
    written = hand.write(images)
    np.testing.assert_array_equal(written, hand.write(images))
    assert written.min() >= 0 and written.max() <= 1 + 1e-6
    assert np.abs(written - images).mean() > 0.01


def test_slant_moves_the_top_and_the_bottom_apart():
    bar = np.zeros((1, 11, 11, 1), np.float32)
    bar[:, 2:9, 5] = 1.0
    written = personal.Writer(slant=0.5, width=1.0, turn=0.0, weight=0.0).write(bar)[0, ..., 0]
    middles = [float(row @ np.arange(11) / row.sum()) for row in written[2:9]]
    np.testing.assert_allclose(np.diff(middles), -0.5, atol=0.01)


def test_rehearsed_rows_are_in_every_batch(program, training):
    (own, rows), (kept, labels) = pictures(8, seed=2), pictures(5, seed=9)
    trainer, state = Trainer(training), program.initial()
    found = personal.learn(
        trainer, state, (own, rows), rehearsed=(kept, labels), epochs=2, batch_size=4, seed=7
    )
    other, rng = Trainer(training), np.random.default_rng(7)
    other.restore(with_weights(state, state[WEIGHTS]))
    for _, places in batches(8, 4, 2, 7):
        more = rng.integers(0, 5, 4)
        image = np.concatenate([own["image"][places], kept["image"][more]])
        other.train({"image": image}, np.concatenate([rows[places], labels[more]]), 0.001)
    np.testing.assert_array_equal(found[WEIGHTS], other.save()[WEIGHTS])


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    """A ranker that has learnt the study, where it began, and rows that it was shipped with."""
    tensorflow()
    import keras

    keras.utils.set_random_seed(0)
    program = Program(ranking.build_model(), ranking.SCHEMA)
    path = tmp_path_factory.mktemp("ranker") / "training.tflite"
    litert.write(program, path)
    source = ranking.STUDY.sources["personalised"]
    rng = np.random.default_rng(0)
    inputs = source.draw(rng, 8000)
    clicked = rng.random(8000) < source.probability(source.utility(inputs), source.threshold)
    trainer = Trainer(path)
    fit(trainer, inputs, clicked.astype(np.int32), epochs=12, batch_size=64, progress=False)
    shipped = {name: array[:1000] for name, array in inputs.items()}, clicked[:1000].astype(int)
    return trainer, trainer.save(), shipped


def test_a_phone_learns_its_owners_taste(ranker):
    owner = personal.shopper(np.random.default_rng(4))
    days = personal.days(*ranker[:2], owner, ranker[2], days=6, requests=20)
    assert days["personal"].iloc[-1] > days["shipped"].iloc[-1] + 0.03
    assert (days["personal"] <= days["best"]).all()


def test_a_day_that_makes_it_worse_for_shipped_rows_does_not_count(ranker):
    owner = personal.shopper(np.random.default_rng(4))
    days = personal.days(*ranker[:2], owner, ranker[2], feedback="hostile", days=3, epochs=20)
    assert not days["kept"].iloc[1:].any()
    assert (days["personal"] == days["shipped"]).all()
    assert (days["rehearsed"].iloc[1:] < days["rehearsed"].iloc[0] - 0.03).all()


def test_a_day_without_a_click_says_nothing(ranker):
    owner = personal.shopper(np.random.default_rng(4))
    days = personal.days(*ranker[:2], owner, ranker[2], feedback="empty", days=2)
    assert not days["kept"].iloc[1:].any()
    assert (days["personal"] == days["shipped"]).all()
    assert (days["rehearsed"] == days["rehearsed"].iloc[0]).all()


def test_the_average_counts_each_phone_by_its_rows():
    found = [(np.array([1.0, 2.0]), 3), (np.array([5.0, 0.0]), 1)]
    np.testing.assert_allclose(federated.average(found), [2.0, 1.5])


@pytest.mark.parametrize("classes", [0, 2])
def test_rows_are_dealt_once(classes):
    inputs, labels = pictures(90)
    inputs = {"image": inputs["image"] + np.arange(90)[:, None, None, None]}
    parts = federated.divided((inputs, labels), 5, classes=classes)
    dealt = np.concatenate([part["image"][:, 0, 0, 0] for part, _ in parts])
    assert sorted(dealt) == list(range(90))
    if classes:
        # a shard may hold the end of one class and the beginning of the next
        assert max(len(set(part_labels)) for _, part_labels in parts) <= classes + 1


def test_one_phone_alone_learns_as_if_it_were_not_federated(program, training):
    rows, test = pictures(32, seed=4), pictures(32, seed=5)
    start = program.initial()[WEIGHTS]
    found = federated.rounds(training, start, [rows], test, count=1, progress=False)
    trainer = Trainer(training)
    seed = int(np.random.SeedSequence([42 * 1000 + 1, 0]).generate_state(1)[0])
    personal.learn(trainer, program.initial(), rows, epochs=1, batch_size=16, seed=seed)
    assert found.loc[1, "loss"] == trainer.evaluate(*test)["loss"]


def test_phones_on_a_dask_cluster_learn_the_same(program, training):
    import distributed

    parts = federated.divided(pictures(64), 4)
    start = program.initial()[WEIGHTS]
    settings = {"count": 2, "progress": False}
    here = federated.rounds(training, start, parts, pictures(32, 5), **settings)
    with distributed.LocalCluster(
        n_workers=1, processes=False, dashboard_address=None, threads_per_worker=2
    ) as there:
        with federated.cluster(there.scheduler_address) as over:
            found = federated.rounds(training, start, parts, pictures(32, 5), over=over, **settings)
        left = [name for name in there.scheduler.clients if name.startswith("Client-")]
        assert not left, "a client that is not closed asks again and again"
    assert found.equals(here)


def test_gains_are_of_rows_that_nobody_learnt_from(program, training):
    ways = {"all layers": (Trainer(training), program.initial(), None)}
    settings = {"writers": 2, "samples": (4, 16), "tested": 20, "epochs": 1, "progress": False}
    found = personal.gains(ways, pictures(60, 1), pictures(30, 2), **settings)
    assert len(found) == 4 and set(found["samples"]) == {4, 16}
    spread = personal.spread(found, "owner")
    assert ((spread["low"] <= spread["mean"]) & (spread["mean"] <= spread["high"])).all()
    with pytest.raises(BadInput, match="too few"):
        personal.gains(ways, pictures(10, 1), pictures(30, 2), **settings)
