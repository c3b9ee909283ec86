"""Golden pictures: planted faults are caught by them, and a bundle that has them is installed only
if they are reproduced.
"""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from bundling import publish, write_manifest
from picturing import Stored, encoded, pam, stored
from PIL import Image
from test_pictures_native import LABELS, picture_schema

from helpers.bundle import client, golden, make, native, pictures, sources
from helpers.errors import BadInput, DamagedFile
from helpers.pictures import Preparation, faults
from helpers.schema import Dimension, Tensor

FILE = "model.tflite"
PREPARATION = Preparation(shorter=14, size=12)


def _originals() -> list[tuple[str, bytes, str]]:
    rng = np.random.default_rng(6)

    def noise(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape, dtype=np.uint8)

    lying = encoded(Stored(noise(44, 60, 3), 6), "JPEG", quality=95)
    return [
        ("lying.JPEG", lying, "JPEG, lying on its side"),
        ("small.png", encoded(Stored(noise(13, 9, 3))), "PNG, smaller than what is taken"),
        ("glass.png", encoded(Stored(noise(40, 50, 4))), "PNG, partly transparent"),
        ("wide.png", encoded(Stored(noise(31, 120, 3))), "PNG, wide"),
    ]


def _score(inputs) -> np.ndarray:
    """Probabilities by a formula of every value, of which each has its own weight."""
    values = inputs["image"].reshape(len(inputs["image"]), -1)
    weights = np.random.default_rng(0).normal(size=(values.shape[1], len(LABELS)))
    logits = values @ weights / 4
    parts = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (parts / parts.sum(axis=1, keepdims=True)).astype(np.float32)


def _made(preparation=PREPARATION, **changed) -> dict[str, bytes]:
    arguments = {"originals": _originals(), "trained": _score, "score": {FILE: _score}}
    arguments |= {"tolerance": {FILE: 1e-5}, "labels": LABELS} | changed
    return pictures.make(preparation, **arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for name, content in _made().items():
        (folder / name).write_bytes(content)
    return folder


def test_pictures_come_back_from_their_files(folder):
    read = pictures.read(folder, 12)
    assert pictures.to_json(read).encode() == (folder / "pictures.json").read_bytes()
    assert [case.file for case in read.cases] == [
        "picture-01.jpg",
        "picture-02.png",
        "picture-03.png",
        "picture-04.png",
    ]
    first = read.cases[0]
    assert (first.width, first.height, first.orientation) == (60, 44, 6)
    assert (folder / "pictures.bin").stat().st_size == 4 * 12 * 12 * 3
    assert pictures.failures(read, FILE, PREPARATION, _score) == []


def test_golden_pictures_are_of_every_kind_and_not_too_many():
    rng = np.random.default_rng(1)

    def file(name: str, orientation: int = 1, channels: int = 3, side: int = 60, **more):
        pixels = rng.integers(0, 256, (side, side, channels), dtype=np.uint8)
        return name, encoded(Stored(pixels, orientation), **more)

    plain = [file(f"{i}.png") for i in range(20)]
    printed = io.BytesIO()
    Image.new("CMYK", (9, 9)).save(printed, "JPEG")
    plain.insert(0, ("print.jpg", printed.getvalue()))
    odd = [file("a.jpg", 6, form="JPEG"), file("b.png", 3), file("c.png", channels=4)]
    large = file("d.jpg", side=500, form="JPEG", quality=100)
    assert len(large[1]) > pictures.MOST_FILES_BYTES
    chosen = pictures.choose([*plain, large, *odd])
    names = [name for name, _, _ in chosen]
    assert names[:4] == ["0.png", "a.jpg", "b.png", "c.png"] and names[4] == "1.png"
    assert len(chosen) == pictures.MOST_PICTURES and "d.jpg" not in names
    assert len({says for _, _, says in chosen}) == 4
    assert [content for _, content, _ in chosen[:1]] == [plain[1][1]]
    assert len(_made(originals=chosen)) == 2 + len(chosen)


MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FAULTS = {
    **faults.planted(PREPARATION, MEAN, DEVIATION),
    "another filter": replace(PREPARATION, filter="cubic"),
    "another background": replace(PREPARATION, background=0),
    "another shorter side": replace(PREPARATION, shorter=15),
}
SAID = {
    "resized without a filter": "of its bytes are more than 1 apart",
    "another filter": "of its bytes are more than 1 apart",
    "another shorter side": "bytes are more than 1 apart",
    "EXIF orientation ignored": "picture-01.jpg",
    "another background": "picture-03.png",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_preparation_is_caught(folder, fault):
    wrong = pictures.failures(pictures.read(folder, 12), FILE, FAULTS[fault], _score)
    everywhere = fault not in ("EXIF orientation ignored", "another background")
    said = SAID.get(fault, "and not")
    assert len(wrong) == (4 if everywhere else 1) and all(said in line for line in wrong), wrong


def test_planted_faults_are_what_they_are_called():
    """Each held to a line of its own."""
    pixels = PREPARATION.prepare(np.random.default_rng(3).integers(0, 256, (20, 30, 3), np.uint8))
    planted = faults.planted(PREPARATION, MEAN, DEVIATION)
    values = {name: way.values(pixels) for name, way in planted.items()}
    right = pixels / np.float32(255)
    assert np.array_equal(values["BGR for RGB"], right[..., ::-1])
    assert np.array_equal(values["levels 0 to 255, not 0 to 1"], pixels.astype(np.float32))
    twice = (right - np.float32(MEAN)) / np.float32(DEVIATION)
    assert np.allclose(values["normalised twice"], twice, atol=1e-6)
    first = values["channels first in a tensor of channels last"].reshape(3, 12, 12)
    assert np.array_equal(first, right.transpose(2, 0, 1))
    read = values["bytes in a float tensor"].tobytes()
    there, wanted = (np.frombuffer(b[: pixels.size], "<f4") for b in (read, pixels.tobytes()))
    plain = np.abs(wanted) < 1e15
    assert plain.mean() > 0.5 and (there[plain] == wanted[plain]).all()
    assert not any(read[pixels.size :]) and (np.abs(there) <= np.float32(1e15)).all()
    shapes = {(value.shape, value.dtype.name) for value in values.values()}
    assert shapes == {(right.shape, "float32")}


def test_pixels_that_are_one_step_apart_are_held_by_the_class_alone(folder):
    read = pictures.read(folder, 12)

    class Rounds(Preparation):
        def prepare(self, pixels):
            prepared = super().prepare(pixels).copy()
            prepared[5, 5, 1] ^= 1  # a step, up or down
            return prepared

    rounds = Rounds(shorter=14, size=12)
    assert pictures.failures(read, FILE, rounds, _score) == []
    other = pictures.failures(read, FILE, rounds, lambda inputs: _score(inputs)[:, ::-1])
    leading = [np.sort(case.expected[FILE])[-1] > 0.6 for case in read.cases]
    assert sum(leading) and all("it is of class" in line for line in other)
    nan = pictures.failures(read, FILE, PREPARATION, lambda x: _score(x) * np.float32("nan"))
    assert len(nan) == len(read.cases)


def test_pictures_that_prove_nothing_are_refused(folder, tmp_path):
    with pytest.raises(BadInput, match="needs a tolerance"):
        _made(tolerance={FILE: 0.5})
    with pytest.raises(BadInput, match="0 pictures"):
        _made(originals=[])
    with pytest.raises(BadInput, match="at most 327,680 bytes together"):
        _made(originals=[("a.png", bytes(400_000), "too long")])
    with pytest.raises(BadInput, match=r"a\.tiff cannot be a golden picture"):
        _made(originals=[("a.tiff", b"", "TIFF")])
    with pytest.raises(DamagedFile, match=r"a\.png"):
        _made(originals=[("a.png", b"no picture", "")])
    with pytest.raises(BadInput, match="no probability for each of 2 labels"):
        _made(labels=LABELS[:2])
    with pytest.raises(BadInput, match=r"model\.tflite gives .* no probability"):
        _made(score={FILE: lambda inputs: _score(inputs) * np.float32("nan")})
    content = json.loads((folder / "pictures.json").read_text())
    for change in (
        lambda c: c.update(format=2),
        lambda c: c.update(pictures=[]),
        lambda c: c["tolerance"].update({FILE: 1}),
        lambda c: c["pictures"].pop(),
        lambda c: c["pictures"][0].update(file="../model.tflite"),
        lambda c: c["pictures"][0].update(width="60"),
        lambda c: c["pictures"][0]["expected"][FILE].pop(),
        lambda c: c["pictures"][0]["expected"].update({FILE: [1e300, 0, 0]}),
        lambda c: c["pictures"][1].update(more=1),
        lambda c: c["labels"].append("more"),
    ):
        damaged = json.loads(json.dumps(content))
        change(damaged)
        for path in folder.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / "pictures.json").write_text(json.dumps(damaged))
        with pytest.raises(DamagedFile, match="golden pictures cannot be read"):
            pictures.read(tmp_path, 12)


FIXED = replace(picture_schema(), model_name="other_kinds", batch=3)
"""Of a model that takes three pictures at a time."""


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """An unpacked bundle of a small model of pictures. Tests must not change it."""
    return _bundle(picture_schema(), tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="session")
def fixed(tmp_path_factory):
    """The same, of `FIXED`."""
    return _bundle(FIXED, tmp_path_factory.mktemp("fixed"))


def _bundle(schema, folder):
    import keras

    from helpers.frameworks import keras as framework

    keras.utils.set_random_seed(3)
    image = keras.Input((12, 12, 3), name="image")
    edges = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(image)
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(
        keras.layers.Flatten()(edges) * 8
    )
    model = keras.Model([image], {"kind": kind}, name=schema.model_name)
    trained = folder.with_name(folder.name + "-trained") / "model.keras"
    trained.parent.mkdir()
    framework.save(model, trained)
    framework.export(model, schema, folder / FILE)
    files = {FILE: folder / FILE}
    typical = {"image": np.random.default_rng(0).random((20, 12, 12, 3), np.float32)}
    cases = make.cases(schema, trained, files, typical)
    parts = make.contents(files, cases) | make.picture_contents(
        PREPARATION, _originals(), trained, files, schema, cases.tolerance
    )
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    write_manifest(folder, schema)
    return folder


def test_a_bundle_with_pictures_is_installed(classifier, tmp_path):
    descriptor = publish(classifier, tmp_path / "server")
    checked = client.install(str(descriptor), tmp_path / "phone")
    assert checked.cases == {FILE: len(golden.read(classifier).cases) + 4}
    leads = [np.diff(np.sort(case.trained))[-1] for case in pictures.read(classifier, 12).cases]
    assert max(leads) > pictures.LEAD, "a model that sees nothing proves nothing"


@pytest.mark.parametrize(
    "name, change, said",
    [
        ("features.json", lambda c: c.replace(b"triangle", b"cubic"), "bytes are more than 1"),
        ("features.json", lambda c: c.replace(b"RGB", b"BGR"), "class . has"),
        ("features.json", lambda c: c.replace(b'"high": 1.0', b'"high": 2.0'), "class . has"),
        ("features.json", lambda c: c.replace(b'"size": 12', b'"size": 13'), "the model takes"),
        ("features.json", None, "no features.json"),
        ("pictures.json", None, "no pictures.json"),
        ("pictures.bin", None, "no pictures.bin"),
        ("pictures.bin", lambda c: bytes(len(c)), "bytes are more than 1"),
        ("pictures.bin", lambda c: c[1:], "cannot be read"),
        ("picture-02.png", None, "picture-02.png"),
        ("picture-02.png", lambda c: c[:-40], "picture-02.png"),
        ("pictures.json", lambda c: c.replace(b'"square"', b'"ring"'), "model.json names circle"),
    ],
)
def test_a_bundle_whose_pictures_are_not_reproduced_is_refused(
    classifier, tmp_path, name, change, said
):
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in classifier.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    if change is None:
        (changed / name).unlink()
    else:
        content = change((changed / name).read_bytes())
        assert content != (changed / name).read_bytes()
        (changed / name).write_bytes(content)
    write_manifest(changed, picture_schema())
    with pytest.raises(DamagedFile, match=said):
        client._score_here(str(changed))


def test_a_model_that_does_not_classify_pictures_gets_no_sources_for_it():
    schema = picture_schema()
    image, kind = schema.inputs[0], schema.output
    for wrong in (
        replace(schema, inputs=(replace(image, dtype="uint8"),)),
        replace(schema, inputs=(replace(image, shape=(12, 10, 3)),)),
        replace(schema, inputs=(replace(image, shape=(3, 12, 12)),)),
        replace(schema, inputs=(image, replace(image, name="other"))),
        replace(schema, outputs=(Tensor("kind", shape=(3,)),)),
        replace(schema, outputs=(Tensor("kind", "", (Dimension("one", ""),)),)),
    ):
        with pytest.raises(BadInput, match="classifier of pictures"):
            sources.render(wrong, [FILE], {"tflite": "2.9.0"}, pictures=True)
    assert kind.size == 3


def _program(schema, folder) -> list[str]:
    """The command of the program in C, built in a folder."""
    rendered = sources.render(schema, [FILE], {"tflite": "2.9.0"}, pictures=True)
    (folder / "c").mkdir()
    for path, text in rendered.items():
        if path.startswith("c/"):
            (folder / path).write_text(text)
    try:
        return native.build_classify(folder / "c", folder)
    except native.NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return _program(picture_schema(), tmp_path_factory.mktemp("classify"))


def _decoded(folder, into):
    for path in folder.glob("picture-*"):
        (into / f"{path.name}.pam").write_bytes(pam(stored(path.read_bytes())))
    return into


def test_the_program_in_c_reproduces_every_picture(program, classifier, tmp_path):
    cases = [classifier / name for name in ("features.json", "pictures.json", "pictures.bin")]
    given = native.run(program, classifier / FILE, *cases)
    assert given.status == 0 and given.lines[-1].startswith(f"{FILE}: 4 of 4 pictures"), given
    decoded = native.run(program, classifier / FILE, *cases, _decoded(classifier, tmp_path))
    assert decoded.status == 0 and sum("at most 0 apart" in line for line in decoded.lines) == 4
    timed = native.run(program, classifier / FILE, *cases, tmp_path, seconds=0.01)
    assert len(timed.microseconds) == 4


@pytest.mark.slow
def test_the_program_in_c_fills_a_fixed_batch_up(fixed, tmp_path):
    cases = [fixed / name for name in ("features.json", "pictures.json", "pictures.bin")]
    command = _program(FIXED, tmp_path)
    outcome = native.run(command, fixed / FILE, *cases, _decoded(fixed, tmp_path))
    assert outcome.status == 0 and outcome.lines[-1].startswith(f"{FILE}: 4 of 4"), outcome


@pytest.mark.parametrize(
    "old, new, said",
    [
        ('"triangle"', '"cubic"', "row"),
        ('"RGB"', '"BGR"', "class"),
        ('"high": 1.0', '"high": 255.0', "class"),
        ('"shorter": 14', '"shorter": 15', "row"),
        ('"size": 12', '"size": 11', "another model"),
    ],
)
def test_the_program_in_c_notices_another_preparation(
    program, classifier, tmp_path, old, new, said
):
    text = (classifier / "features.json").read_text()
    assert old in text
    (tmp_path / "features.json").write_text(text.replace(old, new))
    cases = [classifier / name for name in ("pictures.json", "pictures.bin")]
    outcome = native.run(
        program,
        classifier / FILE,
        tmp_path / "features.json",
        *cases,
        _decoded(classifier, tmp_path),
    )
    assert outcome.status != 0 and any(said in line for line in outcome.lines), outcome
