"""PyTorch programs: what is read of a file, what it scores, and what becomes of it."""

import contextlib
import dataclasses
import io
import json
import pickle
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helpers import frameworks, runtimes
from helpers.convert import tflite
from helpers.errors import BadInput, DamagedFile
from helpers.frameworks import pytorch as framework
from helpers.runtimes import pt2, pytorch
from helpers.schema import Schema, Tensor

pytest.importorskip("torch", reason="needs PyTorch: make pytorch")
pytestmark = pytest.mark.slow
MAKE = '''
import sys
import numpy as np
import torch
from torch import nn

torch.manual_seed(3)


class Net(nn.Module):
    """Pictures and numbers; the last map is 1 x 1, so that the converter writes its batch down."""

    def __init__(self):
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 8)
        )
        self.last = nn.Linear(18, 4)

    def forward(self, image, numbers):
        maps = self.maps(image.permute(0, 3, 1, 2)).flatten(1)
        found = self.last(torch.cat([maps, numbers], 1))
        return {"probabilities": torch.softmax(found, -1), "largest": found.amax(1, keepdim=True)}


class Fixed(nn.Module):
    def forward(self, x):
        return torch.sigmoid(x).sum(1, keepdim=True)


class Attention(nn.Module):
    """Patches, a class token in front, two heads: the batch is multiplied by heads and places."""

    def __init__(self):
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8))
        self.norm, self.qkv, self.last = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        rows = x.shape[0]
        maps = self.patches(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        maps = torch.cat([self.token.expand(rows, -1, -1), maps], 1)
        q, k, v = self.qkv(self.norm(maps)).view(rows, 17, 3, 2, 4).permute(2, 0, 3, 1, 4)
        found = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.last((maps + found.transpose(1, 2).reshape(rows, 17, 8))[:, 0])


class Recurrent(nn.Module):
    """States of zeros that have a row each."""

    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x):
        return self.last(self.inner(x)[0][:, -1])


class Pooled(nn.Module):
    """Means over maps, and scales that are multiplied in."""

    def __init__(self):
        super().__init__()
        self.maps, self.deep = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=8)

    def forward(self, x):
        maps = nn.functional.hardswish(self.maps(x.permute(0, 3, 1, 2)))
        maps = maps + self.deep(maps)
        return (maps * torch.sigmoid(maps.mean((2, 3), keepdim=True))).mean((2, 3))


class Odd(nn.Module):
    """Tied and strided weights, a buffer that is not saved, constants, halves."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.strided = nn.Parameter(torch.randn(3, 6)[:, ::2])
        self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0]), persistent=False)
        self.constant = torch.tensor([float("inf"), 2.0, 3.0])

    def forward(self, input, *, type, scale=2.0):
        found = self.second(self.first(input)) * self.mask @ self.strided
        found = torch.minimum(found, self.constant).half().float() + type * scale
        weight = self.first.weight
        return {"found": found, "nothing": None, "rows": input.shape[0], "weight": weight}


class Nested(nn.Module):
    def forward(self, x):
        return {"a": x + 1, "b": (x * 2, x > 0)}


class NoGradient(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            y = x * 2
        return y + x


folder = sys.argv[1]
batch = torch.export.Dim("batch", min=1)


def save(name, net, *given, kept=None, decomposed=False, **named):
    given = [torch.randn(16, *shape) for shape in given]
    free = {name: {0: batch} for name in named if torch.is_tensor(named[name])}
    free |= {name: None for name in named if name not in free}
    free = free | {"input": {0: batch}} if free else {"x": {0: batch}}
    program = torch.export.export(net.eval(), tuple(given), named, dynamic_shapes=free)
    if decomposed:
        program = program.run_decompositions({})
    torch.export.save(program, f"{folder}/{name}.pt2")
    with torch.no_grad():
        found = net(*given, **named)
    if torch.is_tensor(found):
        found = {"output_0": found}
    keep = {name: found[name].numpy() for name in kept or found}
    tensors = {name: value.numpy() for name, value in named.items() if torch.is_tensor(value)}
    first = "input" if tensors else "x"
    arrays = {"out_" + n: v for n, v in keep.items()} | {"in_" + n: v for n, v in tensors.items()}
    np.savez(f"{folder}/{name}.npz", **arrays, **{"in_" + first: given[0].numpy()})


save("attention", Attention(), (16, 16, 3))
save("attention_decomposed", Attention(), (16, 16, 3), decomposed=True)
save("recurrent", Recurrent(), (6, 4))
save("pooled", Pooled(), (16, 16, 3))
save("odd", Odd(), (3,), kept=["found"], type=torch.randn(16, 3), scale=3.0)
save("no_gradient_decomposed", NoGradient(), (3,), decomposed=True)
save("no_gradient", NoGradient(), (3,))
torch.export.save(
    torch.export.export(Nested(), (torch.randn(3, 2),), dynamic_shapes={"x": {0: batch}}),
    f"{folder}/nested.pt2",
)
net = Net().eval()
image, numbers = torch.rand(800, 16, 16, 3), torch.randn(800, 2)
free = {"image": {0: batch}, "numbers": {0: batch}}
program = torch.export.export(net, (image[:3],), {"numbers": numbers[:3]}, dynamic_shapes=free)
torch.export.save(program, f"{folder}/net.pt2")
torch.export.save(torch.export.export(Fixed().eval(), (torch.rand(4, 3),)), f"{folder}/fixed.pt2")
torch.save(net.state_dict(), f"{folder}/weights.pt")
with torch.no_grad():
    given = {name: value.numpy() for name, value in net(image, numbers).items()}
np.savez(f"{folder}/rows.npz", image=image.numpy(), numbers=numbers.numpy(), **given)
'''
SCHEMA = Schema(
    "net",
    (Tensor("image", "", shape=(16, 16, 3)), Tensor("numbers", "", shape=(2,), low=-9.0, high=9.0)),
    (Tensor("probabilities", "", shape=(4,)), Tensor("largest", "", shape=(1,))),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Programs, and what PyTorch gives for 800 rows, made in a process of their own."""
    folder = tmp_path_factory.mktemp("pytorch")
    subprocess.run([sys.executable, "-c", MAKE, folder], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def rows(made) -> dict[str, np.ndarray]:
    return dict(np.load(made / "rows.npz"))


def _inputs(rows, count: int) -> dict[str, np.ndarray]:
    return {name: rows[name][:count] for name in SCHEMA.input_names}


def _largest_difference(outputs, rows, count: int) -> float:
    return max(np.abs(outputs[name] - rows[name][:count]).max() for name in SCHEMA.output_names)


def test_inputs_and_outputs_have_their_names(made):
    inputs, outputs = runtimes.interface(made / "net.pt2")
    assert inputs == {"image": [[-1, 16, 16, 3], "float32"], "numbers": [[-1, 2], "float32"]}
    assert outputs == {"probabilities": [[-1, 4], "float32"], "largest": [[-1, 1], "float32"]}
    assert runtimes.interface(made / "fixed.pt2") == [
        {"x": [[4, 3], "float32"]},
        {"output_0": [[4, 1], "float32"]},
    ]


@pytest.mark.parametrize("count", [1, 7, 800])
def test_it_scores_as_pytorch(made, rows, count):
    with runtimes.open_model(made / "net.pt2", SCHEMA) as model:
        outputs = model.predict(_inputs(rows, count))
    assert _largest_difference(outputs, rows, count) < 1e-6


def test_the_tflite_file_has_the_names_and_any_batch(made, rows, tmp_path):
    """The converter takes one row, and writes it down in a RESHAPE."""
    path = tmp_path / "net.tflite"
    assert frameworks.of(made / "net.pt2") == "pytorch"
    framework.export(made / "net.pt2", SCHEMA, path)
    described = tflite.interface(path).set_index("tensor")["shape"].to_dict()
    assert described["image"] == "[-1, 16, 16, 3]" and described["largest"] == "[-1, 1]"
    assert list(described)[:2] == SCHEMA.input_names
    with runtimes.open_model(path, SCHEMA) as model:
        for count in (1, 7, 800):
            outputs = model.predict(_inputs(rows, count))
            assert _largest_difference(outputs, rows, count) < 1e-5
    with framework.plain(made / "net.pt2") as plain:
        assert "serving_default" in tflite.interface(plain)["tensor"][0], "what is put right here"


def _kept(made: Path, name: str) -> tuple[Schema, dict, dict]:
    """Schema, inputs and outputs of a program as they were when it was made."""
    arrays = dict(np.load(made / f"{name}.npz"))
    inputs = {key[3:]: array for key, array in arrays.items() if key.startswith("in_")}
    outputs = {key[4:]: array for key, array in arrays.items() if key.startswith("out_")}
    ends = {"low": -9.0, "high": 9.0}
    schema = Schema(
        name,
        tuple(Tensor(key, "", shape=array.shape[1:], **ends) for key, array in inputs.items()),
        tuple(Tensor(key, "", shape=array.shape[1:]) for key, array in outputs.items()),
    )
    return schema, inputs, outputs


@pytest.mark.parametrize(
    "name", ["attention", "attention_decomposed", "recurrent", "odd", "no_gradient_decomposed"]
)
def test_legitimate_programs_score_as_pytorch(made, name):
    schema, inputs, outputs = _kept(made, name)
    with runtimes.open_model(made / f"{name}.pt2", schema) as model:
        for count in (1, 3, 16):
            found = model.predict({key: array[:count] for key, array in inputs.items()})
            for key, array in outputs.items():
                assert np.abs(found[key] - array[:count]).max() < 1e-6


def test_what_is_no_tensor_has_no_name(made):
    inputs, outputs = runtimes.interface(made / "odd.pt2")
    assert list(inputs) == ["input", "type"] and list(outputs) == ["found", "weight"]
    assert list(runtimes.interface(made / "nested.pt2")[1]) == ["output_0", "output_1", "output_2"]


def test_a_higher_operator_is_refused_with_its_cure(made):
    with pytest.raises(DamagedFile, match=r"program.run_decompositions\({}\)"):
        runtimes.interface(made / "no_gradient.pt2")


@pytest.mark.parametrize("name", ["attention", "recurrent", "pooled"])
def test_the_batch_is_freed_wherever_it_is_written_down(made, tmp_path, name):
    schema, inputs, outputs = _kept(made, name)
    path = tmp_path / "net.tflite"
    framework.export(made / f"{name}.pt2", schema, path)
    with runtimes.open_model(path, schema) as model:
        for count in (1, 3, 16):
            given = {key: array[:count] for key, array in inputs.items()}
            found = model.predict_at_once(given)["output_0"]
            assert np.abs(found - outputs["output_0"][:count]).max() < 1e-5


def test_a_fixed_batch_stays(made, tmp_path):
    schema, inputs, outputs = _kept(made, "recurrent")
    schema = dataclasses.replace(schema, batch=4)
    framework.export(made / "recurrent.pt2", schema, tmp_path / "net.tflite")
    assert "[4, 6, 4]" in tflite.interface(tmp_path / "net.tflite")["shape"].tolist()
    with runtimes.open_model(tmp_path / "net.tflite", schema) as model:
        found = model.predict(inputs)["output_0"]
    assert np.abs(found - outputs["output_0"]).max() < 1e-5


def test_weights_without_their_model_are_refused_with_the_way_out(tmp_path):
    """What the message says is done, to the letter."""
    import torch

    model = torch.nn.Linear(3, 2)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(BadInput, match="weights without their model") as refused:
        frameworks.of(tmp_path / "weights.pt")
    lines = [line.strip() for line in str(refused.value).splitlines() if line.startswith("    ")]
    with contextlib.chdir(tmp_path):
        exec("\n".join(lines), {"torch": torch, "model": model, "example": torch.zeros(2, 3)})
    inputs, _ = runtimes.interface(tmp_path / "model.pt2")
    assert inputs == {"input": [[-1, 3], "float32"]}


def _changed(source: Path, path: Path, changes: dict[str, object]) -> Path:
    """A copy of a program with parts replaced: bytes, or a function of the parsed JSON."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            change = changes.get(name.partition("/")[2])
            if callable(change):
                content = json.dumps(change(json.loads(content))).encode()
            elif change is not None:
                content = change
            new.writestr(name, content)
    return path


class _Writes:
    """Pickled, it writes a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def _pickled_by_torch(value) -> bytes:
    import torch

    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.fixture
def written(tmp_path) -> Path:
    return tmp_path / "written"


def test_what_a_file_would_execute_is_left_out(made, rows, tmp_path, written):
    """Examples of inputs and guards are in every file; PyTorch unpickles the first and runs the
    second.
    """
    code = f"open({str(written)!r}, 'w')"
    changes = {
        "data/sample_inputs/model.pt": _pickled_by_torch(_Writes(written)),
        "models/model.json": lambda program: program | {"guards_code": [code]},
    }
    path = _changed(made / "net.pt2", tmp_path / "guarded.pt2", changes)
    with runtimes.open_model(path, SCHEMA) as model:
        assert _largest_difference(model.predict(_inputs(rows, 7)), rows, 7) < 1e-6
    assert not written.exists()
    import torch

    with contextlib.suppress(Exception):
        torch.export.load(path)
    assert written.exists(), "the file would have been written"


def _walk(value, change):
    """Change every dictionary of a JSON."""
    if isinstance(value, dict):
        change(value)
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _walk(inner, change)


def _with(change):
    def changed(program):
        _walk(program, change)
        return program

    return changed


def _calls(target: str):
    def change(part: dict) -> None:
        if "inputs" in part and str(part.get("target", "")).endswith("relu.default"):
            part["target"] = target

    return {"models/model.json": _with(change)}


def _says(expression: str):
    def change(part: dict) -> None:
        if "expr_str" in part:
            part["expr_str"] = expression

    return {"models/model.json": _with(change)}


def _pickles(part: dict) -> None:
    if "use_pickle" in part:
        part["use_pickle"] = True


def _replaces(old: str, new: str):
    """A name replaced wherever it is one."""

    def change(value):
        if isinstance(value, dict):
            return {new if k == old else k: change(inner) for k, inner in value.items()}
        if isinstance(value, list):
            return [change(inner) for inner in value]
        return new if value == old else value

    return dict.fromkeys(
        ("models/model.json", "data/weights/model_weights_config.json"), lambda part: change(part)
    )


def _puts(into: str, **values):
    """Entries put into every dictionary that has such a key."""

    def change(part: dict) -> None:
        if into in part:
            part.update(values)

    return {"models/model.json": _with(change)}


def _gives(kind: str, context: object = None):
    """Outputs put together otherwise."""
    leaf = {"type": None, "context": None, "children_spec": []}
    spec = {"type": kind, "context": context, "children_spec": [leaf, leaf]}

    def change(part: dict) -> None:
        if "out_spec" in part:
            part["out_spec"] = json.dumps([1, spec])

    return {"models/model.json": _with(change)}


_ENUM = json.dumps({"__enum__": True, "fqn": "ctypes:cdll", "name": "evil.so"})
_EXPANDS = "Mul({})".format(
    ", ".join(f"Add(Symbol('s{2 * i}'), Symbol('s{2 * i + 1}'))" for i in range(14))
)


def _calls_each(*targets: str) -> list:
    return [(_calls(target), f"calls {target}") for target in targets]


@pytest.mark.parametrize(
    "changes, said",
    [
        *_calls_each(
            "torch.load",
            "torch.hub.load",
            "#somebody.own",
            "_operator.attrgetter",
            "_operator.methodcaller",
            "math.__loader__.load_module",
            "torch.ops.aten.from_file.default",
            "torch.ops.aten._print.default",
            "torch.ops.aten.manual_seed.default",
            "torch.ops.aten.warn.default",
            "torch.ops.aten.set_grad_enabled.default",
            "torch.ops.aten.set_.source_Tensor",
            "torch.ops.aten.set_data.default",
            "torch.ops.aten.resize_.default",
            "torch.ops.aten._assert_async.default",
            "torch.ops.aten._sparse_csr_tensor_unsafe.default",
            "torch.ops.aten.relu.__class__",
            "torch.ops.aten.__class__.mro",
            "torch.ops.aten.relu.out",
            "torch.ops.prims._make_token.default",
            "torch.ops.higher_order.cond",
        ),
        (_calls("torch.ops.higher_order.cond"), r"program.run_decompositions\({}\)"),
        (_replaces("relu", "r=__import__('os').system('true')"), "where name is named"),
        (_replaces("relu", "import"), "calls something 'import'"),
        (_replaces("image", "x: print(1)"), "where .* is named"),
        (_replaces("image", "getattr"), "calls something 'getattr'"),
        (_replaces("image", "torch"), "calls something 'torch'"),
        (_replaces("image", "__builtins__"), "where .* is named"),
        (_replaces("last.weight", 'w", exec("1")) or getattr(self, "b'), "parameter_name is named"),
        (_replaces("last.weight", "last.__class__.forward"), "parameter_name is named"),
        (_puts("forward_arg_names", forward_arg_names=["x=print(1)"]), "forward_arg_names"),
        (_gives("collections.namedtuple", '["a", "b"]'), "gives a collections.namedtuple"),
        (_gives("collections.defaultdict", "{}"), "gives a collections.defaultdict"),
        (_gives("somebody.Dataclass", "[]"), "gives a somebody.Dataclass"),
        (_gives("builtins.dict", _ENUM), "where arguments or outputs are named"),
        (_gives("builtins.dict", '["a", "__class__"]'), "an argument or an output is named"),
        (_puts("as_tensor", as_operator="torch.load"), "has as_operator in it"),
        (_puts("as_tensor", as_graph={"name": "g"}), "has as_graph in it"),
        (_puts("as_tensor", as_custom_obj={"name": "o"}), "has as_custom_obj in it"),
        (_puts("user_input", token={"arg": {"name": "t"}}), "has token in it"),
        (_puts("index", type="cuda"), r"model.cpu\(\), before it is exported"),
        (_says("__import__('os').system('true')"), "which is no arithmetic"),
        (_says("Symbol('s0').__class__"), "which is no arithmetic"),
        (_says("Symbol('s0', **{})"), "which is no arithmetic"),
        (_says("Pow(Integer(9), Integer(4))"), "which is no arithmetic"),
        (_says("9**9**9**9"), "which is no arithmetic"),
        (_says("1" * 900), "which is no arithmetic"),
        (_says("1" * 10**6), "which is no arithmetic"),
        (_says("Add(" * 240 + ")" * 240), "which is no arithmetic"),
        (_says(_EXPANDS), "which is no arithmetic"),
        (_puts("hint", hint={"as_int": 10**40}), "a number of 41 digits"),
        (
            {
                "models/model.json": lambda program: (
                    program
                    | {"range_constraints": {"u99999999999": {"min_val": 0, "max_val": None}}}
                )
            },
            "where a size is named",
        ),
        (
            {"data/weights/model_weights_config.json": _with(_pickles)},
            "has pickled values, which may execute anything",
        ),
        ({"data/weights/weight_0": b""}, "has no values of"),
        ({"models/model.json": b"{"}, "not a usable PyTorch program"),
        ({"models/model.json": b"[]"}, "has a list where its parts are described"),
        ({"models/model.json": b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}"}, "not a usable"),
        ({"archive_format": b"pt2", "models/model.json": b"\xff"}, "not a usable PyTorch program"),
    ],
)
def test_what_a_file_would_execute_otherwise_is_refused(made, tmp_path, changes, said):
    path = _changed(made / "net.pt2", tmp_path / "bad.pt2", changes)
    start = time.monotonic()
    with pytest.raises(DamagedFile, match=said):
        pt2.contents(path)
    assert time.monotonic() - start < 5


def _repacked(source: Path, path: Path, **options) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", **options) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_refused(made, tmp_path, method):
    path = _repacked(made / "net.pt2", tmp_path / "packed.pt2", compression=method)
    with pytest.raises(DamagedFile, match="compressed or encrypted"):
        pt2.contents(path)


def test_a_member_that_is_there_twice_is_refused(made, tmp_path):
    path = _repacked(made / "net.pt2", tmp_path / "twice.pt2")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        name = next(n for n in archive.namelist() if n.endswith("models/model.json"))
        archive.writestr(name, b"{}")
    with pytest.raises(DamagedFile, match="models/model.json more than once"):
        pt2.contents(path)


@pytest.mark.parametrize(
    "offset, value, said",
    [
        (8, b"\x01\x00", "compressed or encrypted"),  # flags
        (10, b"\x61\x00", "compressed or encrypted"),  # method
        (24, b"\xfe\xff\xff\xff", "has more than 2 GB in it"),  # size
        (24, b"\x03\x00\x00\x00", "not a usable PyTorch program"),
        (42, b"\x00\x00\x00\x70", "not a usable PyTorch program"),  # where it lies
    ],
)
def test_members_that_lie_are_told(made, tmp_path, offset, value, said):
    path = _repacked(made / "net.pt2", tmp_path / "lies.pt2")
    content = bytearray(path.read_bytes())
    name = content.rfind(b"models/model.json")
    entry = content.rfind(b"PK\x01\x02", 0, name)
    content[entry + offset : entry + offset + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match=said):
        pt2.contents(path)


def test_a_pickled_weight_is_never_unpickled(made, tmp_path, written):
    changes = {
        "data/weights/model_weights_config.json": _with(_pickles),
        "data/weights/weight_0": pickle.dumps(_Writes(written)),
    }
    path = _changed(made / "net.pt2", tmp_path / "pickled.pt2", changes)
    with pytest.raises(DamagedFile, match="pickled"):
        pt2.contents(path)
    assert not written.exists()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_damaged_files_are_told(tmp_path, content):
    path = tmp_path / "damaged.pt2"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match="damaged.pt2 is not a usable PyTorch program"):
        runtimes.interface(path)


def test_without_pytorch_the_one_command_is_said(monkeypatch):
    monkeypatch.setattr(pytorch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="make pytorch"):
        pytorch.torch()


def test_a_program_goes_the_whole_way(made, home):
    """`workbench check` on a file: six stages, verdicts, a bundle."""
    from support import workbench

    done = workbench("check", str(made / "net.pt2"), "--output", "probabilities")
    assert done.returncode == 0, done.stderr[-3000:]
    said = " ".join(done.stdout.split())
    assert "pytorch fp32" in said and "litert fp32" in said and "mnn fp32" in said
    (bundle,) = home.glob("artifacts/net/default/bundle/bundle.zip")
    assert bundle.stat().st_size > 10_000
