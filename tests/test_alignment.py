"""Which tensors of a file are the layers of the trained model: found by what they compute."""

import json

import numpy as np
import pytest
from support import larger, planted, replace_recorded, workbench

from helpers import explain, tasks
from helpers.convert import alignment, layers
from helpers.errors import DamagedFile
from helpers.frameworks import keras as framework
from helpers.runtimes import keras as runtime
from helpers.runtimes.runtime import Computed
from helpers.schema import Schema, Tensor

ROWS = 24
RNG = np.random.default_rng(6)


def _relu(x):
    return np.maximum(x, 0)


def _softmax(x):
    exponentials = np.exp(x - x.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True)


def _mixed(before: int, after: int, seed: int):
    """A 1 x 1 convolution with the channels second."""
    weights = np.random.default_rng(seed).normal(0, before**-0.5, (before, after))
    return lambda x: np.einsum("nchw,ck->nkhw", x, weights)


def _scaled(channels: int, seed: int):
    rng = np.random.default_rng(seed)
    scale, bias = rng.uniform(0.5, 1.5, channels), rng.normal(0, 0.3, channels)
    return lambda x: x * scale[:, None, None] + bias[:, None, None]


DENSE = RNG.normal(0, 0.2, (5 * 9, 4))
NET = [
    ("permuted", lambda x: np.moveaxis(x, -1, 1), ("image",)),
    ("conv_1", _mixed(3, 5, 1), ("permuted",)),
    ("norm_1", _scaled(5, 2), ("conv_1",)),
    ("relu_1", _relu, ("norm_1",)),
    ("conv_2", _mixed(5, 5, 3), ("relu_1",)),
    ("norm_2", _scaled(5, 4), ("conv_2",)),
    ("sum", np.add, ("norm_2", "relu_1")),
    ("relu_2", _relu, ("sum",)),
    ("flat", lambda x: x.reshape(len(x), -1), ("relu_2",)),
    ("dense", lambda x: x @ DENSE, ("flat",)),
    ("softmax", _softmax, ("dense",)),
    ("output", lambda x: x[:, None], ("softmax",)),
]
"""A trained model: name, what it computes, what it takes."""
IMAGE = {"image": RNG.normal(0, 1, (ROWS, 3, 3, 3)).astype(np.float32)}
HELD = ("relu_1", "norm_2", "relu_2", "dense", "softmax")
"""What a file has of it, which joins layers."""


def _ran(wrong=None, held=None) -> list[Computed]:
    """What the net computes; `wrong` is a layer with another function."""
    names, made, computed = [name for name, *_ in NET], dict(IMAGE), []
    for place, (name, function, takes) in enumerate(NET):
        function = (wrong or {}).get(name, function)
        values = function(*(made[taken] for taken in takes)).astype(np.float32)
        places = tuple(names.index(taken) for taken in takes if taken in names)
        computed.append(Computed(name, "", values, places))
        made[name] = (held or {}).get(place, values)
    return computed


def _file(wrong=None, kept=HELD) -> list[np.ndarray]:
    """The tensors of a file of the net, with the channels last."""
    computed = {layer.name: layer.values for layer in _ran(wrong)}
    return [
        np.moveaxis(computed[name], 1, -1) if computed[name].ndim == 4 else computed[name]
        for name in kept
    ]


def _search(tensors) -> alignment._Search:
    return alignment._Search(lambda held: _ran(held=held), IMAGE, tensors)


def _found(tensors, ends=True) -> dict[str, int]:
    """The place of the tensor of each layer that is found."""
    search = _search(tensors)
    last = {len(NET) - 1: len(tensors) - 1} if ends else {}
    pairs = search.pairs(last)
    for place, (j, found) in pairs.items():
        assert found.shape == search.computed[place].values.shape
        np.testing.assert_array_equal(np.sort(found, None), np.sort(tensors[j], None))
    return {NET[place][0]: j for place, (j, _) in sorted(pairs.items())}


WANTED = {name: place for place, name in enumerate(HELD)}


@pytest.mark.parametrize("ends", [True, False])
def test_layers_are_found_with_their_channels_moved_and_others_joined(ends):
    assert _found(_file(), ends) == WANTED


def test_a_file_has_copies_parts_and_its_own_order():
    """A tensor that is only moved, one of a layer that the file makes of several, and branches in
    another order.
    """
    tensors = _file()
    relu_1, norm_2, relu_2, dense, softmax = tensors
    exponentials = np.exp(dense - dense.max(1, keepdims=True))
    many = [relu_1, np.moveaxis(relu_1, -1, 1), norm_2 * 2, norm_2, relu_2, dense, exponentials]
    assert _found([*many, softmax]) == {
        "relu_1": 0, "norm_2": 3, "relu_2": 4, "dense": 5, "softmax": 7,
    }  # fmt: skip
    assert _found([norm_2, relu_1, relu_2, dense, softmax])["norm_2"] == 0


def test_of_several_tensors_that_are_near_the_nearest_is_taken():
    relu_1, *rest = _file()
    assert _found([1.05 * relu_1, relu_1, *rest])["relu_1"] == 1
    assert _found([relu_1, 1.05 * relu_1, *rest])["relu_1"] == 0


def test_layers_are_found_where_each_departs_a_little():
    """As of half floats or integers: what adds up is further off than any layer's own."""
    noise = np.random.default_rng(8)

    def rough(function):
        def noisy(*given):
            found = function(*given)
            return found + noise.normal(0, 0.08 * found.std(), found.shape)

        return noisy

    wrong = {name: rough(f) for name, f, _ in NET if name in ("conv_1", "conv_2", "sum", "dense")}
    tensors, exact = _file(wrong), _file()
    assert _found(tensors) == WANTED
    assert alignment._far(exact[3], tensors[3]) > alignment.NEAR
    pairs, _ = _search(tensors)._scan({})
    assert {NET[place][0] for place in pairs} == set(HELD), "in one go through the file"


FAULTS = {
    "half": lambda function: lambda *x: 0.5 * function(*x),
    "negated": lambda function: lambda *x: -function(*x),
    "turned": lambda function: lambda *x: function(*(np.flip(array, (1, 2)) for array in x)),
    "rolled": lambda function: lambda *x: np.roll(function(*x), 1, 1),
    "slight": lambda function: lambda *x: function(*x) * 1.002,
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("layer", "named"),
    [("conv_1", "relu_1"), ("norm_1", "relu_1"), ("conv_2", "norm_2"), ("sum", "relu_2")],
)
def test_layers_are_found_behind_a_fault_of_any_size(layer, named, fault):
    """The first tensor that departs is that of the layer which is at fault, or is joined with it:
    all behind it are found, and those before it are what they were.
    """
    function = {name: function for name, function, _ in NET}[layer]
    tensors = _file({layer: FAULTS[fault](function)})
    assert _found(tensors) == WANTED
    plain = _file()
    same = [np.allclose(a, b, atol=1e-6) for a, b in zip(plain, tensors, strict=True)]
    assert same.index(False) == HELD.index(named)


def test_a_fault_of_the_last_layers_is_seen_by_the_outputs():
    for layer in ("dense", "softmax"):
        function = {name: function for name, function, _ in NET}[layer]
        assert _found(_file({layer: lambda x, f=function: -f(x)})) == WANTED


def test_the_model_is_run_no_more_often_than_there_is_something_to_find():
    """Once more than it must be for a file without a fault; where one layer departs, what is joined
    with others that do not is not tried.
    """
    half = _file()[0] * 0.5  # of no layer, and as large as three that are joined with others
    ran = []

    def runs(tensors) -> int:
        ran.clear()
        search = alignment._Search(lambda held: ran.append(1) or _ran(held=held), IMAGE, tensors)
        search.pairs({len(NET) - 1: len(tensors) - 1})
        return len(ran)

    assert runs(_file()) == 2
    dense = {"dense": lambda x: 1.05 * (x @ DENSE)}
    assert runs([half, *_file()]) == 2 and runs([half, *_file(dense)]) == 3


def test_nothing_is_guessed():
    """Two faults one after the other: the first cannot be known, and is a part of the second."""
    wrong = {name: FAULTS["negated"](f) for name, f, _ in NET if name in ("conv_1", "conv_2")}
    found = _found(_file(wrong, ("relu_1", "norm_2", "softmax")))
    assert found == {"softmax": 2}
    other = RNG.normal(0, 1, (ROWS, 3, 3, 5)).astype(np.float32)
    assert _found([other, *_file()[1:]]) == {n: p for n, p in WANTED.items() if n != "relu_1"}
    assert _found([other], ends=False) == {}


def test_values_that_are_not_finite_are_held_to_their_places():
    masked = np.array([[1.0, -np.inf, 2.0, 4.0]], np.float32)
    assert alignment._far(masked, masked + np.float32(0)) == 0
    assert alignment._far(masked, np.roll(masked, 1)) == np.inf
    assert alignment._far(masked, np.float32([[1, -np.inf, 2, np.nan]])) == np.inf
    assert alignment._far(np.ones((2, 4), np.float32), np.ones((2, 4), np.float32)) == np.inf


# ---------------------------------------------------------------- Keras

PICTURES = Schema(
    "pictures",
    (Tensor("image", "", shape=(12, 12, 3), low=-3.0, high=3.0),),
    (Tensor("probabilities", "", shape=(4,)),),
)
GROUPS = ["first + norm + act", "pool", "second", "sum", "dense", "probabilities"]
HEAVY = {0: GROUPS[0], 1: "second", 2: "dense", 3: "probabilities"}
"""Which of them the weights of the file belong to."""


@pytest.fixture(scope="module")
def convolved(tmp_path_factory):
    """A net with a convolution, a batch norm, a branch and a model inside it, as it was trained and
    as a file, and rows for it.
    """
    import keras
    from keras import layers as of

    keras.utils.set_random_seed(3)
    given = keras.Input((12, 12, 3), name="image")
    x = of.Conv2D(6, 3, padding="same", use_bias=False, name="first")(given)
    norm = of.BatchNormalization(name="norm")
    x = of.MaxPooling2D(name="pool")(of.ReLU(name="act")(norm(x)))
    inner = keras.Sequential(
        [keras.Input((6, 6, 6)), of.Conv2D(6, 3, padding="same", activation="relu", name="second")]
    )
    x = of.Dropout(0.3)(of.Add(name="sum")([x, inner(x)]))
    x = of.Dense(16, activation="swish", name="dense")(of.Flatten()(x))
    scores = of.Dense(4, activation="softmax", name="probabilities")(x)
    model = keras.Model(given, scores)
    rng = np.random.default_rng(0)
    norm.set_weights([rng.uniform(0.5, 1.5, 6), *rng.normal(0, 0.3, (2, 6)), np.full(6, 0.7)])
    folder = tmp_path_factory.mktemp("convolved")
    framework.save(model, folder / "model.keras")
    framework.export(model, PICTURES, folder / "fp32.tflite")
    return folder, {"image": rng.normal(0, 1, (48, 12, 12, 3)).astype(np.float32)}


CHANGES = {
    "one": lambda weights: larger(weights, 1.2),
    "turned": lambda weights: weights[::-1],
    "negated": lambda weights: -weights,
}


def _errors(folder, path, schema, rows) -> dict[str, float]:
    ours, theirs = alignment.aligned(
        folder / "model.keras", schema, rows, layers.values(path, rows)
    )
    return {row["layer"]: row["error"] for row in explain._errors(ours, theirs)}


def test_a_keras_model_and_its_file_are_the_same_layer_by_layer(convolved):
    """Also those of the model inside it; layers that are joined have the names of all."""
    folder, rows = convolved
    ours, theirs = alignment.aligned(
        folder / "model.keras", PICTURES, rows, layers.values(folder / "fp32.tflite", rows)
    )
    assert [layer.name for layer in ours] == GROUPS == [layer.name for layer in theirs]
    assert ours[0].operator == "Conv2D + BatchNormalization + ReLU"
    assert [layer.takes for layer in ours] == [(), (0,), (1,), (1, 2), (3,), (4,)]
    assert max(row["error"] for row in explain._errors(ours, theirs)) < 1e-6
    plain = framework.load(folder / "model.keras", PICTURES)
    np.testing.assert_allclose(
        ours[-1].values,
        np.asarray(plain(rows["image"])),
        atol=1e-6,
        err_msg="the last is the score",
    )


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("number", HEAVY)
def test_a_fault_in_one_layer_of_the_float32_file_is_named(convolved, tmp_path, number, how):
    folder, rows = convolved
    planted(folder / "fp32.tflite", tmp_path / "bad.tflite", number, CHANGES[how])
    errors = _errors(folder, tmp_path / "bad.tflite", PICTURES, rows)
    assert list(errors) == GROUPS, "all are found"
    departing = [name for name, error in errors.items() if error > 1e-5]
    assert departing[0] == HEAVY[number]


def test_layers_go_on_from_what_is_held(convolved):
    """By hand: with the branch's values doubled, the sum is that of these."""
    folder, rows = convolved
    graph = runtime.Graph(folder / "model.keras", PICTURES)
    computed = graph.run(rows, {})
    places = {layer.name: place for place, layer in enumerate(computed)}
    assert graph.outputs == {"probabilities": places["probabilities"]}
    branch = computed[places["second"]].values
    held = graph.run(rows, {places["second"]: 2 * branch})
    np.testing.assert_array_equal(held[places["second"]].values, branch, err_msg="its own")
    wanted = computed[places["pool"]].values + 2 * branch
    np.testing.assert_array_equal(held[places["sum"]].values, wanted)
    assert (held[places["first"]].values == computed[places["first"]].values).all()


def test_a_model_of_several_inputs_and_names_of_its_own_is_run_by_layers(tmp_path):
    """Embeddings, ids of integers, and a layer that is called twice."""
    import keras
    from keras import layers as of

    keras.utils.set_random_seed(1)
    kind = keras.Input((1,), dtype="int32", name="their_kind")
    size = keras.Input((3,), name="size")
    twice = of.Dense(4, activation="tanh", name="twice")
    x = of.Concatenate(name="both")([of.Flatten()(of.Embedding(9, 4, name="kinds")(kind)), size])
    x = twice(of.Dense(4, name="narrow")(x)) + twice(size @ np.eye(3, 4, dtype=np.float32))
    model = keras.Model([kind, size], of.Dense(1, activation="sigmoid", name="their_score")(x))
    schema = Schema(
        "own",
        (
            Tensor("size", "", shape=(3,), low=-3.0, high=3.0),
            Tensor("kind", "", shape=(1,), dtype="int32", low=0, high=8, in_file="their_kind"),
        ),
        (Tensor("score", "", shape=(1,), in_file="their_score"),),
    )
    framework.save(model, tmp_path / "model.keras")
    named = framework.load(tmp_path / "model.keras", schema.as_given())
    framework.export(named, schema, tmp_path / "fp32.tflite")
    rng = np.random.default_rng(2)
    rows = {
        "size": rng.normal(0, 1, (64, 3)).astype(np.float32),
        "kind": rng.integers(0, 9, (64, 1)).astype(np.int32),
    }
    errors = _errors(tmp_path, tmp_path / "fp32.tflite", schema, rows)
    assert {"narrow", "their_score"} <= set(errors) and max(errors.values()) < 1e-5


def test_a_keras_file_that_is_none_is_told(convolved, tmp_path):
    folder, rows = convolved
    (tmp_path / "model.keras").write_bytes((folder / "model.keras").read_bytes()[:500])
    found = layers.values(folder / "fp32.tflite", rows)
    with pytest.raises(DamagedFile, match="model.keras is not a usable Keras file"):
        alignment.aligned(tmp_path / "model.keras", PICTURES, rows, found)


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("number", range(2))
def test_a_fault_in_the_float32_file_of_a_run_is_named(finished_copy, tmp_path, number):
    run = finished_copy
    sound = explain.explain(run, "litert fp32", progress=False)
    assert sound.source == "keras fp32" and sound.first is None and len(sound.layers) >= 3
    assert "No layer departs from the trained model's by more" in sound.conclusion()
    source = run.folder / "tflite/fp32.tflite"
    bad = planted(source, tmp_path / "bad.tflite", number, CHANGES["one"])
    replace_recorded(run, "tflite/fp32.tflite", bad.read_bytes())
    config = json.loads((run.folder / "model/config.json").read_text())
    dense = [entry["layer"] for entry in config["architecture"] if entry["type"] == "Dense"]
    found = explain.explain(run, "litert fp32", progress=False)
    table = found.layers
    assert table.loc[found.first, "layer"] == dense[number]
    assert table["adds"].idxmax() == found.first and found.costly is None
    assert f"The first layer that departs is {found.first}, {dense[number]}." in found.conclusion()


def test_a_float32_file_is_explained_on_the_command_line(finished_copy, home):
    done = workbench("explain", "ranking", "litert fp32")
    assert done.returncode == 0, done.stderr
    assert "No layer departs from the trained model's" in done.stdout
    folder = home / "artifacts/ranking/default/explain"
    assert {f.name for f in folder.iterdir()} == {"litert_fp32.csv", "litert_fp32.png"}


def test_of_a_run_without_a_float32_file_a_reduced_one_is_held_to_the_trained_model(finished_copy):
    """As where stage 03 could not make it; nothing can be made of it to tell what layers cost."""
    run = finished_copy
    wanted = explain.explain(run, "litert int8", progress=False).layers
    with run.edit() as record:
        for entry in record["stages"].values():
            entry["outputs"].pop("tflite/fp32.tflite", None)
            entry["inputs"].pop("tflite/fp32.tflite", None)
    found = explain.explain(run, "litert int8", progress=False)
    assert found.source == "keras fp32" and found.layers["spared"].isna().all()
    assert found.layers["error"].iloc[-1] == pytest.approx(wanted["error"].iloc[-1], rel=1e-3)


def test_a_float32_file_that_departs_is_looked_into(convolved, tmp_path):
    """In notebook 05, where a comparison says that it does."""
    import pandas as pd

    folder, rows = convolved
    planted(folder / "fp32.tflite", tmp_path / "fp32.tflite", 1, CHANGES["one"])
    names = ["runtime", "precision", "file", "verdict", "cosine"]
    given = [("keras", "fp32", "m", "same", 1.0), ("litert", "fp32", "f", "broken", 0.9)]
    table = pd.DataFrame(given, columns=names)
    task = tasks.get("tensors")
    table[task.loss] = [0.0, 0.1]
    files = {"keras fp32": folder / "model.keras", "litert fp32": tmp_path / "fp32.tflite"}
    found = explain.look(task, table, files, PICTURES, rows)
    assert (found.variant, found.source, found.reason) == ("litert fp32", "keras fp32", "")
    assert found.layers.loc[found.first, "layer"] == "second"
