"""Training in PyTorch, checkpoints, and what is exported of a trained program."""

import dataclasses
import pickle
import zipfile

import numpy as np
import pytest

from helpers import datasets, runtimes, tasks
from helpers.convert import mnn, onnx
from helpers.convert import pytorch as convert
from helpers.errors import BadInput, ConversionFailed
from helpers.frameworks import pytorch as framework
from helpers.schema import Dimension, Schema, Tensor

torch = pytest.importorskip("torch", reason="needs PyTorch: make pytorch")
pytestmark = pytest.mark.slow
SIZE, CLASSES = 12, 3
TASK = tasks.get("classification")
SCHEMA = Schema(
    "stripes",
    (Tensor("image", shape=(SIZE, SIZE, 3)),),
    (Tensor("probabilities", "", tuple(Dimension(f"stripe {i}", "") for i in range(CLASSES))),),
)


class Net(torch.nn.Sequential):
    def __init__(self, width: int):
        super().__init__(
            torch.nn.Conv2d(3, width, 3, 2, 1, bias=False),
            torch.nn.BatchNorm2d(width),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(width * (SIZE // 2) ** 2, CLASSES),
        )


class Classifier(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]), persistent=False)

    def forward(self, image):
        logits = self.net((image - self.mean).permute(0, 3, 1, 2))
        return {"probabilities": torch.softmax(logits, 1)}


def build(hidden_units: int):
    return Classifier(Net(hidden_units))


def _rows(count: int, seed: int):
    """Noise with a bright stripe, whose place is the class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    image = rng.random((count, SIZE, SIZE, 3), np.float32) * 0.8
    for row, label in zip(image, labels, strict=True):
        row[4 * label : 4 * label + 2] += 0.2
    return {"image": image}, labels


LEARNT, HELD = _rows(700, 1), _rows(300, 2)


def _train(**options):
    given = {"hidden_units": 4, "epochs": 3, "progress": False, **options}
    return framework.train(build, SCHEMA, TASK, LEARNT, HELD, **given)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained module, its history, its file, and what it gives for `HELD`."""
    folder = tmp_path_factory.mktemp("trained")
    model, history = _train()
    framework.save(model, SCHEMA, folder / "model.pt2")
    scores = framework.predict(model, SCHEMA, HELD[0])["probabilities"]
    return model, history, folder / "model.pt2", scores


def test_figures_of_the_history_are_those_of_a_plain_loop(trained):
    model, history, _, scores = trained
    assert list(history.columns) == framework.HISTORY and list(history.index) == [1, 2, 3]
    last = history.iloc[-1]
    assert last["val_accuracy"] == (scores.argmax(1) == HELD[1]).mean() > 0.9
    loss = -np.log(scores[np.arange(len(scores)), HELD[1]].astype(np.float64)).mean()
    assert last["val_loss"] == pytest.approx(loss, rel=1e-5)
    assert history["loss"].is_monotonic_decreasing


def test_the_first_step_is_that_of_a_plain_loop():
    """One epoch of one batch: the loss is that of the first weights, on all rows."""
    _, history = _train(epochs=1, batch_size=700, seed=5)
    torch.manual_seed(5)
    model = build(4).train()
    found = model(torch.from_numpy(LEARNT[0]["image"]))["probabilities"]
    wanted = torch.nn.functional.nll_loss(found.log(), torch.from_numpy(LEARNT[1]))
    assert history["loss"][1] == pytest.approx(float(wanted.detach()), rel=1e-5)


def test_the_same_arguments_give_the_same_weights_and_bytes(trained, tmp_path):
    model, _, file, _ = trained
    again, _ = _train()
    for ours, theirs in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert (ours == theirs).all()
    framework.save(again, SCHEMA, tmp_path / "again.pt2")
    assert (tmp_path / "again.pt2").read_bytes() == file.read_bytes()
    other, _ = _train(seed=7)
    assert (other.net[0].weight != model.net[0].weight).any()


def test_the_file_scores_as_the_module_at_any_batch_and_tells_no_path(trained):
    _, _, file, scores = trained
    with runtimes.open_model(file, SCHEMA) as opened:
        for rows in (1, 2, 300):
            found = opened.score({"image": HELD[0]["image"][:rows]})
            assert np.abs(found - scores[:rows]).max() < 1e-6
    with zipfile.ZipFile(file) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    assert b".py" not in content


def test_patience_keeps_the_lowest_validation_loss():
    model, history = _train(epochs=30, patience=2, learning_rate=0.05)
    assert len(history) < 30 and history["val_loss"].idxmin() == len(history) - 2
    scores = framework.predict(model, SCHEMA, HELD[0])["probabilities"]
    loss = -np.log(np.maximum(scores[np.arange(len(scores)), HELD[1]], 1e-7)).mean()
    assert loss == pytest.approx(history["val_loss"].min(), rel=1e-5)


class _Parts(datasets.Stream):
    """Training rows in two parts, as of a data set that is larger than memory."""

    def __init__(self):
        pass

    def epoch(self, number, batch_size):
        for part in (slice(0, 320), slice(320, None)):
            yield {"image": LEARNT[0]["image"][part]}, LEARNT[1][part]


def test_rows_that_come_in_parts_are_all_learnt_from():
    _, history = framework.train(
        build, SCHEMA, TASK, _Parts(), HELD, epochs=3, hidden_units=4, progress=False
    )
    assert history["val_accuracy"].iloc[-1] > 0.9


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 7},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
    ],
)
def test_checkpoints_as_people_have_them(trained, tmp_path, wrap):
    model, _, _, scores = trained
    torch.save(wrap(model.net.state_dict()), tmp_path / "best.pth")
    again, history = _train(epochs=0, weights=tmp_path / "best.pth", seed=9)
    assert len(history) == 0
    found = framework.predict(again, SCHEMA, HELD[0])["probabilities"]
    assert (found == scores).all()


def test_weights_go_through_safetensors(trained, tmp_path):
    framework.save_weights(trained[0], tmp_path / "weights.safetensors")
    again, _ = _train(epochs=0, weights=tmp_path / "weights.safetensors")
    assert (framework.predict(again, SCHEMA, HELD[0])["probabilities"] == trained[3]).all()


class _Writes:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    written = tmp_path / "written"
    for name, save in (("a.pth", torch.save), ("b.pth", _pickled)):
        save({"0.weight": _Writes(written)}, tmp_path / name)
        with pytest.raises(BadInput, match=f"{name} cannot be read as weights"):
            _train(epochs=0, weights=tmp_path / name)
        assert not written.exists()


def _pickled(value, path):
    path.write_bytes(pickle.dumps(value))


def test_checkpoints_of_another_model_are_told(trained, tmp_path):
    state = trained[0].net.state_dict()
    wrong = {
        "renamed": {f"x{name}": value for name, value in state.items()},
        "more": state | {"fc.weight": torch.zeros(1)},
        "wider": {
            name: torch.cat([value, value]) if value.ndim else value
            for name, value in state.items()
        },
        "numbers": {"0.weight": 3},
    }
    said = {
        "renamed": "it lacks 0.weight, .* and 5 more and has x0.weight, .* and 5 more besides",
        "more": "has fc.weight besides",
        "wider": r"0.weight has the shape \[8, 3, 3, 3\] in it, and \[4, 3, 3, 3\] here",
        "numbers": "holds no state_dict",
    }
    for name, content in wrong.items():
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(BadInput, match=said[name]):
            _train(epochs=0, weights=tmp_path / f"{name}.pth")
    with pytest.raises(BadInput, match="there is no checkpoint"):
        _train(epochs=0, weights=tmp_path / "gone.pth")


@pytest.mark.parametrize(
    "made, said",
    [
        (lambda hidden_units: 1 / 0, "raised .*ZeroDivisionError"),
        (lambda hidden_units: "net", "gives a str"),
        (lambda hidden_units: torch.nn.Identity(), "takes other inputs than image"),
        (lambda hidden_units: _without_last(), r"of shape \[144\] a row"),
        (lambda hidden_units: _Named(), "gives logits, the schema says probabilities"),
        (lambda hidden_units: _Noisy(), "two different scores for the same rows"),
    ],
)
def test_what_is_no_such_model_is_told(made, said):
    with pytest.raises(BadInput, match=said):
        framework.train(made, SCHEMA, TASK, LEARNT, HELD, epochs=1, progress=False)


def _without_last():
    return Classifier(torch.nn.Sequential(*list(Net(4))[:4]))


class _Named(Classifier):
    def __init__(self):
        super().__init__(Net(4))

    def forward(self, image):
        return {"logits": super().forward(image)["probabilities"]}


class _Noisy(Classifier):
    def __init__(self):
        super().__init__(Net(4))

    def forward(self, image):
        return super().forward(torch.nn.functional.dropout(image, training=True))


def test_onnx_has_the_names_a_free_batch_and_the_same_scores(trained, tmp_path):
    _, _, file, scores = trained
    path = tmp_path / "onnx" / "fp32.onnx"
    path.parent.mkdir()
    convert.to_onnx(file, SCHEMA, path)
    inputs, outputs = runtimes.interface(path)
    assert inputs == {"image": [[-1, SIZE, SIZE, 3], "float32"]}
    assert outputs == {"probabilities": [[-1, CLASSES], "float32"]}
    with runtimes.open_model(path, SCHEMA) as opened:
        for rows in (1, 5, 300):
            found = opened.score({"image": HELD[0]["image"][:rows]})
            assert np.abs(found - scores[:rows]).max() < 1e-5
    assert b".py" not in path.read_bytes()
    mnn.convert(path, SCHEMA, tmp_path / "a.mnn")
    with runtimes.open_model(tmp_path / "a.mnn", SCHEMA) as opened:
        assert np.abs(opened.score(HELD[0]) - scores).max() < 1e-5


@pytest.mark.parametrize("form, most", [("fp16", 0.01), ("dynamic_int8", 0.05), ("int8", 0.05)])
def test_reduced_onnx_files_are_near(trained, tmp_path, form, most):
    _, _, file, scores = trained
    folder = tmp_path / "onnx"
    folder.mkdir()
    convert.to_onnx(file, SCHEMA, folder / "fp32.onnx")
    np.savez(tmp_path / "rows.npz", **LEARNT[0])
    onnx.reduce(folder / "fp32.onnx", folder / f"{form}.onnx", form, tmp_path / "rows.npz")
    with runtimes.open_model(folder / f"{form}.onnx", SCHEMA) as opened:
        difference = np.abs(opened.score(HELD[0]) - scores).max()
    assert 0 < difference < most
    with pytest.raises(ConversionFailed, match="makes no form 'int2'"):
        onnx.reduce(folder / "fp32.onnx", folder / "x.onnx", "int2")


@pytest.mark.parametrize("half", [False, True])
def test_a_core_ml_package_is_read_back(trained, tmp_path, half):
    path = tmp_path / f"model{convert.PACKAGE}"
    described = convert.to_coreml(trained[2], SCHEMA, path, half=half)
    assert [(d["name"], d["kind"]) for d in described] == [
        ("image", "input"),
        ("probabilities", "output"),
    ]
    content = path.read_bytes()
    convert.to_coreml(trained[2], SCHEMA, path, half=half)
    assert path.read_bytes() == content, "the same bytes"
    with zipfile.ZipFile(path) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"stripes.mlpackage"}
        (weights,) = [i for i in archive.infolist() if i.filename.endswith("weight.bin")]
    count = sum(p.numel() for p in trained[0].parameters())
    assert (weights.file_size < 3 * count) == half
    other = dataclasses.replace(SCHEMA, inputs=(Tensor("image", shape=(SIZE, SIZE, 4)),))
    with pytest.raises(ConversionFailed, match="the Core ML package has"):
        convert.to_coreml(trained[2], other, path)


def test_without_pytorch_the_one_command_is_said(monkeypatch):
    from helpers.runtimes import pytorch

    monkeypatch.setattr(pytorch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="make pytorch"):
        _train()


def test_layers_are_told_in_order_with_what_they_take():
    table = framework.layers(build(8), SCHEMA)
    assert list(table["type"]) == [
        *("input", "sub", "permute", "Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear"),
        "softmax",
    ]
    assert list(table["gives"])[3:] == ["8x6x6", "8x6x6", "8x6x6", "288", "3", "3"]
    assert table["parameters"].sum() == sum(p.numel() for p in build(8).parameters())
    assert list(table["takes"]) == [[], *([name] for name in table.index[:-1])]

    class Choosing(Classifier):
        def forward(self, image):
            return super().forward(image if image.mean() > 0 else -image)

    assert framework.layers(Choosing(Net(8)), SCHEMA) is None, "its way depends on values"
