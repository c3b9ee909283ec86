"""The study `images`: what is drawn, and the two classifiers."""

import collections
import hashlib
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from helpers import datasets, learning, pictures, registry, tasks
from helpers.studies.images import world

EACH = 30


@pytest.fixture(scope="module")
def drawn():
    """Files by class."""
    return {
        name: [world.draw(np.random.default_rng([1, label, i]), label)[0] for i in range(EACH)]
        for label, name in enumerate(world.CLASSES)
    }


def test_pictures_are_of_every_kind(drawn):
    said, sides, seen = collections.Counter(), [], set()
    for content in sum(drawn.values(), []):
        found = pictures.described(content, "it")
        said.update(found["says"].split(", "))
        sides += [found["width"], found["height"]]
        seen.add(found["orientation"])
    assert said["JPEG"] > 150 and said["PNG"] > 40
    assert min(said[kind] for kind in ("grey", "CMYK", "partly transparent", "upside down")) >= 5
    assert seen == set(range(1, 9))
    assert min(sides) >= world.SHORTEST and max(sides) <= world.LONGEST and len(set(sides)) > 100


def test_the_same_stream_draws_the_same_file():
    first, again, other = (world.draw(np.random.default_rng(seed), 3)[0] for seed in (1, 1, 2))
    assert first == again != other


def test_the_object_is_within_what_the_model_sees():
    """Drawn alone, white on black, nothing of it is outside the square that is cut out."""
    prepared = registry.get("images").source("drawn").preparation
    for i in range(60):
        rng = np.random.default_rng(i)
        width, height = world._size(rng)
        name = world.CLASSES[i % 10]
        mask, place = world._mask(rng, name, width, height, min(width, height))
        alone = Image.new("L", (width, height))
        alone.paste(mask, place)
        cut = prepared.prepare(np.asarray(alone.convert("RGB")))
        share = (54 / min(width, height)) ** 2
        whole = np.asarray(alone).sum() / 255 * share
        assert cut[..., 0].sum() / 255 == pytest.approx(whole, rel=0.06), (name, i)
        assert whole > 150


def test_only_orientation_tells_the_arrows_and_only_colour_the_drops(drawn):
    np.testing.assert_array_equal(world.OBJECTS["arrow_up"][0], -world.OBJECTS["arrow_down"][0])
    np.testing.assert_array_equal(world.OBJECTS["drop"][0], world.OBJECTS["flame"][0])
    prepared = registry.get("images").source("drawn").preparation
    blue = {}
    for name in ("drop", "flame"):
        middles = [prepared.tensor(content, name)[20:28, 20:28] for content in drawn[name]]
        blue[name] = np.mean([middle[..., 2].mean() > middle[..., 0].mean() for middle in middles])
    assert blue["drop"] > 0.95 and blue["flame"] < 0.05
    stored = [pictures.described(content, "it")["orientation"] for content in drawn["arrow_up"]]
    assert 0.1 < np.mean(np.array(stored) != 1) < 0.5


def test_the_study_is_known_without_pytorch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from helpers import registry\n"
        "for name in ('images', 'images_224', 'images_digits'):\n"
        "    study = registry.get(name)\n"
        "    print(name, study.schema.inputs[0].shape, study.model_name('default'),\n"
        "          sorted(study.kinds('default')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kinds = "['classification', 'files', 'labelled', 'pictures', 'pytorch']"
    assert done.stdout.splitlines() == [
        f"images (48, 48, 3) small {kinds}",
        f"images_224 (224, 224, 3) resnet18 {kinds}",
        f"images_digits (28, 28, 3) small {kinds}",
    ]


def test_a_picture_of_224_pixels_is_of_the_same_file():
    small, large = (registry.get(name).source("drawn") for name in ("images", "images_224"))
    assert small.draw is large.draw and large.preparation.shorter == 256


def test_the_baseline_sees_pictures_coarsely():
    from helpers.learning import classification

    rows = np.random.default_rng(1).random((3, 48, 50, 3), np.float32)
    coarse = classification._coarse(rows)
    assert coarse.shape == (3, 8, 7, 3)
    np.testing.assert_allclose(coarse[1, 2, 3], rows[1, 12:18, 21:28].mean(axis=(0, 1)), rtol=1e-6)
    few = np.zeros((2, 12, 12, 3), np.uint8)
    assert classification._coarse(few) is few


@pytest.mark.slow
def test_colours_and_places_alone_say_something_but_not_much(home):
    study = registry.get("images")
    data = datasets.make(study, "drawn", rows=1500, validation_rows=20, test_rows=500, seed=1)
    splits, rules = data.splits(study.schema), learning.of(tasks.get("classification"))
    scores = rules.baseline_scores(study.schema, splits["train"][:2], splits["test"][0])
    table = rules.table(scores, splits["test"][1], splits["test"][2])
    assert 0.2 < table.loc["logistic regression", "accuracy"] < 0.6


# ---------------------------------------------------------------- models


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs PyTorch: make pytorch")


def _built(torch, name: str, study: str = "images"):
    torch.manual_seed(1)
    return registry.get(study).models[name].build().eval()


def _weights(model) -> int:
    return sum(value.numel() for value in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small", "resnet18"])
def test_a_model_gives_probabilities_of_pictures_with_the_channels_last(torch, name):
    model = _built(torch, name)
    image = torch.rand(3, 48, 48, 3)
    with torch.no_grad():
        (key, found), *none = model(image).items()
        normalised = (image - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
            [0.229, 0.224, 0.225]
        )
        logits = model.net(normalised.permute(0, 3, 1, 2))
    assert key == "probabilities" and not none and found.shape == (3, 10)
    torch.testing.assert_close(found.sum(1), torch.ones(3))
    torch.testing.assert_close(found, logits.softmax(1))
    assert all(key.startswith("net.") for key in model.state_dict())


@pytest.mark.slow
def test_the_small_one_is_small_at_every_size(torch):
    model = _built(torch, "small")
    assert sum(v.numel() * v.element_size() for v in model.state_dict().values()) < 300_000
    for study, size in (("images_digits", 28), ("images_224", 224)):
        with torch.no_grad():
            found = _built(torch, "small", study)(torch.rand(1, size, size, 3))["probabilities"]
        assert found.shape == (1, 10)
    wider = registry.get("images").models["small"].build(hidden_units=32)
    assert 3 < _weights(wider) / _weights(model) < 4


@pytest.mark.slow
def test_resnet18_has_torchvisions_names(torch):
    """Names and shapes as torchvision's checkpoints have them, put together from the paper."""
    expected = {"conv1.weight": (64, 3, 7, 7), "fc.weight": (10, 512), "fc.bias": (10,)}

    def normalisation(name: str, width: int) -> None:
        for key in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{name}.{key}"] = (width,)
        expected[f"{name}.num_batches_tracked"] = ()

    normalisation("bn1", 64)
    for layer, width in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            before = width if block or layer == 1 else width // 2
            here = f"layer{layer}.{block}"
            expected[f"{here}.conv1.weight"] = (width, before, 3, 3)
            expected[f"{here}.conv2.weight"] = (width, width, 3, 3)
            normalisation(f"{here}.bn1", width)
            normalisation(f"{here}.bn2", width)
            if before != width:
                expected[f"{here}.downsample.0.weight"] = (width, before, 1, 1)
                normalisation(f"{here}.downsample.1", width)
    model = _built(torch, "resnet18")
    assert {k: tuple(v.shape) for k, v in model.net.state_dict().items()} == expected
    assert _weights(model) == 11_181_642
    other = _built(torch, "resnet18")
    buffer = io.BytesIO()
    torch.save({key: value + 1 for key, value in model.net.state_dict().items()}, buffer)
    buffer.seek(0)
    other.net.load_state_dict(torch.load(buffer, weights_only=True))
    assert (other.net.fc.bias == model.net.fc.bias + 1).all()


@pytest.mark.slow
def test_resnet18_computes_what_the_paper_says(torch):
    """Against the same in functions, on the weights by their names."""
    from torch.nn import functional as f

    model = _built(torch, "resnet18")
    w = model.net.state_dict()
    for name in w:  # statistics that are not those of an untrained net
        if name.endswith(("running_mean", "bn1.bias", "bn2.bias")):
            w[name].uniform_(-0.2, 0.2)
        if name.endswith("running_var"):
            w[name].uniform_(0.5, 2)

    def normalised(x, name):
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return f.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"])

    x = image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        x = f.relu(normalised(f.conv2d(x, w["conv1.weight"], stride=2, padding=3), "bn1"))
        x = f.max_pool2d(x, 3, 2, 1)
        for layer in (1, 2, 3, 4):
            for block in (0, 1):
                here, stride = f"layer{layer}.{block}", 2 if layer > 1 and not block else 1
                y = f.conv2d(x, w[f"{here}.conv1.weight"], stride=stride, padding=1)
                y = f.relu(normalised(y, f"{here}.bn1"))
                y = normalised(f.conv2d(y, w[f"{here}.conv2.weight"], padding=1), f"{here}.bn2")
                if stride == 2:
                    x = f.conv2d(x, w[f"{here}.downsample.0.weight"], stride=2)
                    x = normalised(x, f"{here}.downsample.1")
                x = f.relu(x + y)
        expected = x.mean(dim=(2, 3)) @ w["fc.weight"].T + w["fc.bias"]
        torch.testing.assert_close(model.net(image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_small_one_learns_and_loses_where_pictures_are_prepared_otherwise(torch, home):
    """The whole study in a plain training loop: more than .9 right, and each fault of the
    preparation costs what it should.
    """
    from dataclasses import replace

    from helpers import pictured

    study = registry.get("images")
    sizes = {name: study.defaults[name] for name in ("rows", "validation_rows")}
    data = datasets.make(study, "drawn", **sizes, test_rows=1000, seed=1)
    model, rng = _built(torch, "small").train(), np.random.default_rng(1)
    inputs, labels, _ = data.arrays("train")
    optimizer = torch.optim.Adam(model.parameters(), study.defaults["learning_rate"])
    for _ in range(study.defaults["epochs"]):
        for rows in np.split(rng.permutation(len(labels))[:3968], 62):
            found = model(torch.tensor(inputs["image"][rows]))["probabilities"]
            chosen = found[torch.arange(len(rows)), torch.tensor(labels[rows].astype(np.int64))]
            optimizer.zero_grad()
            (-chosen.clamp_min(1e-7).log().mean()).backward()
            optimizer.step()
    model.eval()

    def accuracy(images, labels) -> float:
        with torch.no_grad():
            return (model(torch.tensor(images))["probabilities"].argmax(1).numpy() == labels).mean()

    test = data.arrays("test")
    assert accuracy(test[0]["image"], test[1]) > 0.9
    first = [
        original
        for split in ("test", "validation", "train")
        for original in pictured.originals(study, data.manifest, split, 64)
    ]
    of = np.array([original.label for original in first])

    def prepared(**fault) -> float:
        wrong = replace(data.preparation, **fault)
        return accuracy(np.stack([wrong.tensor(o.content, o.name) for o in first]), of)

    right = prepared()
    assert right - prepared(colours="BGR") > 0.1
    assert right - prepared(orientation=False) > 0.05


def test_stored_bytes_are_the_same_in_another_process(drawn):
    code = (
        "import hashlib, numpy as np\nfrom helpers.studies.images import world\n"
        "print(hashlib.sha256(world.draw(np.random.default_rng([1, 7, 0]), 7)[0]).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    name = world.CLASSES[7]
    assert done.stdout.strip() == hashlib.sha256(drawn[name][0]).hexdigest()
