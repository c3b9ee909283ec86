"""What is read of a ``.pt2`` file: operators and weights, and nothing that would be executed.

`torch.export.load` takes a file for its own. Here an archive is read part by part, and a new one is
written of what is needed, in which every word is known to be harmless:

- what is unpickled (examples of inputs, weights marked so, constants that are no tensors, weights
  of older forms) is left out or refused
- what is run as Python (guards) is left out
- sizes are evaluated: they are parsed, and may be symbols, whole numbers and a list of functions
- operators are found by attributes of ``torch``: they must be operators of ATen that compute
- how inputs and outputs are put together may import modules: tuples, lists and dictionaries alone
- names are written into Python source: they must be names, and none that this source uses itself
- compiled parts (``data/aotinductor``) are native code: left out
- members of the archive must be stored as they are, so that none is larger than the file
"""

from __future__ import annotations

import ast
import functools
import io
import json
import keyword
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from helpers.errors import DamagedFile

MOST_BYTES = 2 << 30
"""Largest archive."""
MOST_BYTES_OF_PROGRAM = 64 << 20
"""Largest description of operators; ResNet-152 has 2 MB."""
_DATE = (1980, 1, 1, 0, 0, 0)
_MOST_LETTERS = 1000
_MOST_SYMBOLS = 12
"""In one size: what sympy multiplies out grows as two to the power of them."""
_MOST_NUMBER = 1 << 63

_NAME = re.compile(r"(?!__)[A-Za-z_]\w*", re.ASCII)
_PATH = re.compile(r"(?:(?!__)\w+(?:\.(?!__)\w+)*)?", re.ASCII)
_KEY = re.compile(r"(?!__)\w[\w ./:-]*", re.ASCII)
_TEXT = re.compile(r"[ -~]*")
_SIZE = re.compile(r"[su]\d{1,5}", re.ASCII)
_OF_SOURCE = {"self", "torch", "device", "inf", "nan", "NoneType", "fx_pytree", "pytree"} | {
    *("getattr", "slice", "print")
}
"""Names that the Python source of a program uses itself."""
_OF_SYMBOLS = {"integer", "positive", "nonnegative"}
_FUNCTIONS = {
    *("Integer", "Rational", "Add", "Mul", "Max", "Min", "Mod", "PythonMod", "Identity"),
    *("FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "ToFloat"),
    *("FloorToInt", "CeilToInt", "TruncToInt", "Not"),
    *("Equality", "Unequality", "LessThan", "GreaterThan", "StrictLessThan", "StrictGreaterThan"),
    *("Eq", "Ne", "Le", "Ge", "Lt", "Gt"),
}
"""What a size may be computed by, besides whole powers of one symbol."""
_OPERATOR = re.compile(r"torch\.ops\.(aten|prims)\.([A-Za-z_]\w*)\.([A-Za-z_]\w*)", re.ASCII)
_OF_SIZES = {
    *(f"_operator.{name}" for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "getitem")),
    *(f"_operator.{name}" for name in ("eq", "ne", "ge", "gt", "le", "lt", "truediv")),
    *(f"torch.sym_{name}" for name in ("int", "float", "max", "min", "not", "ite")),
    "math.ceil",
    "math.floor",
    "math.trunc",
}
_REFUSED = re.compile(
    r"sparse|backward|quantize_weight|quantized|qparams|prepack|fbgemm|^_test_|sobol|nested|"
    r"_cufft|cudnn|miopen|mkldnn|nnpack|vulkan|batch_dim|autocast|_debug|pin_memory|"
    r"^set_|^resize|requires_grad|retain|_make_token|_sink_tokens|copy_to|^device_put"
)
"""Operators that change what is not theirs, trust their arguments, or are of other machines."""
_ACCEPTED = {
    *("_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range"),
    *("sym_constrain_range_for_size", "lift_fresh_copy", "detach_", "copy_", "detach_copy"),
    *("squeeze_", "unsqueeze_", "transpose_", "t_", "masked_select", "nonzero_static"),
    *("cummax", "cummin", "logcumsumexp", "bincount", "histc", "searchsorted", "kthvalue"),
    *("median", "nanmedian", "mode", "multinomial", "rand_like", "randn_like", "randint"),
    *("view_as_complex", "view_as_real", "_fft_c2c", "empty_permuted", "grid_sampler_3d"),
    *("unique_consecutive", "unique_dim", "_unique2", "_native_multi_head_attention"),
    *("_transformer_encoder_layer_fwd", "hamming_window", "blackman_window", "kaiser_window"),
    *("bartlett_window", "fft_fftfreq", "fft_rfftfreq", "linalg_inv_ex", "linalg_cholesky_ex"),
    *("linalg_solve_triangular", "linalg_qr", "degrees", "angle", "conv_tbc", "addbmm"),
}
"""Operators that compute, without a mark that tells it, see `_computes`."""
_REFUSED_KEYS = {
    *("as_operator", "as_graph", "as_custom_obj", "custom_obj", "token"),
    *("class_fqn", "as_string_to_argument"),
}
_CONTAINERS = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
_LISTS = {"builtins.tuple", "builtins.list"}
_PATHS = {"parameter_name", "buffer_name", "tensor_constant_name", "path_name"}
_TEXTS = {"as_string", "as_strings", "torch_version", "verifiers"}
_NUMBERS = {"as_float", "as_floats", "real", "imag"}
_KEPT = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|models/model\.json|"
    r"data/weights/(?:model_weights_config\.json|weight_\d+)|"
    r"data/constants/(?:model_constants_config\.json|tensor_\d+)",
    re.ASCII,
)
_PROGRAM = "models/model.json"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")


def contents(path: Path) -> io.BytesIO:
    """An archive with the same operators and weights, which executes nothing when it is loaded.

    Left out: examples of inputs, guards, what the exporter noted about each node, and how inner
    modules were called.

    Raises
    ------
    DamagedFile : it is no such archive, or has a word in it that is not known to be harmless.
    """
    try:
        members = _members(path)
        program, *configs = (_parsed(members[name]) for name in (_PROGRAM, *_CONFIGS))
        members[_PROGRAM] = json.dumps(_program(program)).encode()
        for name, config in zip(_CONFIGS, configs, strict=True):
            sizes = {n: len(content) for n, content in members.items()}
            members[name] = json.dumps(_config(config, Path(name).parent, sizes)).encode()
        members["data/sample_inputs/model.pt"] = b""
        result = io.BytesIO()
        with zipfile.ZipFile(result, "w") as target:
            for name, content in members.items():
                target.writestr(zipfile.ZipInfo(f"model/{name}", _DATE), content)
    except _Refused as refused:
        raise DamagedFile(f"{path.name} {refused}") from refused
    except Exception as error:  # whatever a damaged archive leads its readers to
        said = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        raise DamagedFile(
            f"{path.name} is not a usable PyTorch program (what torch.export.save writes in 2.9 or "
            f"later): {said}"
        ) from error
    result.seek(0)
    return result


class _Refused(Exception):
    """What is wrong, to follow the file's name."""


def _members(path: Path) -> dict[str, bytes]:
    """Those that are kept, by their name without the folder that all are in."""
    found: dict[str, bytes] = {}
    if path.stat().st_size > MOST_BYTES:
        raise _Refused(f"has more than {MOST_BYTES >> 30} GB")
    with zipfile.ZipFile(path) as archive:
        kept = [i for i in archive.infolist() if _KEPT.fullmatch(i.filename.partition("/")[2])]
        if sum(info.file_size for info in kept) > MOST_BYTES:
            raise _Refused(f"has more than {MOST_BYTES >> 30} GB in it")
        for info in kept:
            name = info.filename.partition("/")[2]
            if name in found:
                raise _Refused(f"has {name} more than once")
            if info.compress_type or info.flag_bits & 1:  # else it is stored as it is
                raise _Refused(f"has {name} compressed or encrypted")
            if name.endswith(".json") and info.file_size > MOST_BYTES_OF_PROGRAM:
                raise _Refused(f"has {info.file_size >> 20} MB in {name}")
            found[name] = archive.read(info)
    return found


def _parsed(content: bytes) -> dict:
    parsed = json.loads(content)
    if not isinstance(parsed, dict):
        raise _Refused(f"has a {type(parsed).__name__} where its parts are described")
    return parsed


def _program(program: dict) -> dict:
    """A program of the parts that are needed, whose words have all been looked at."""
    module, graph = program["graph_module"], program["graph_module"]["graph"]
    (root,) = [entry for entry in module["module_call_graph"] if entry["fqn"] == ""]
    signature = root["signature"]
    specs = {
        "in_spec": _spec(signature["in_spec"], _NAME, _count(module, "input_specs")),
        "out_spec": _spec(signature["out_spec"], _KEY, _count(module, "output_specs")),
    }
    nodes = [_node(node) for node in graph["nodes"]]
    ends = {name: graph[name] for name in ("inputs", "outputs", "is_single_tensor_return")}
    values = {name: graph[name] for name in _VALUES}
    called = {name: signature[name] for name in ("inputs", "outputs", "forward_arg_names")}
    _check([ends, values, called, module["signature"]], "")
    ranges = {name: _range(name, ends) for name, ends in program["range_constraints"].items()}
    about = {
        name: program[name]
        for name in ("opset_version", "schema_version", "verifiers", "torch_version")
    }
    _check(about, "")
    whole = {"fqn": "", "signature": called | specs}
    return about | {
        "graph_module": {
            "graph": ends | values | {"nodes": nodes, "custom_obj_values": {}},
            "signature": module["signature"],
            "module_call_graph": [whole],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "range_constraints": ranges,
        "guards_code": [],
    }


def _count(module: Mapping, ends: str) -> int:
    """How many inputs or outputs are not the program's own."""
    theirs = {"user_input", "constant_input", "user_output"}
    return sum(not theirs.isdisjoint(entry) for entry in module["signature"][ends])


_VALUES = ("tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values")


def _node(node: Mapping) -> dict:
    """A call of an operator; names of its arguments are those of the operator's."""
    _check_operator(node["target"])
    for given in node["inputs"]:
        _check_word(given["name"], _NAME, "an argument")
        _check(given["arg"], "")
    _check([node["outputs"], {"name": node.get("name")}], "")
    inputs = [{key: given.get(key) for key in ("name", "arg", "kind")} for given in node["inputs"]]
    return {
        "target": node["target"],
        "inputs": inputs,
        "outputs": node["outputs"],
        "metadata": {},
        "is_hop_single_tensor_return": None,
        "name": node.get("name"),
    }


def _range(name: str, ends: Mapping) -> dict:
    """The smallest and largest number that a symbol stands for."""
    _check_word(name, _SIZE, "a size")
    _check(ends, "")
    return {end: ends[end] for end in ("min_val", "max_val")}


def _config(config: dict, folder: Path, sizes: Mapping[str, int]) -> dict:
    """Where weights are, none of them pickled."""
    for name, entry in config["config"].items():
        _check_word(name, _PATH, "a weight")
        _check(entry, "")
        if entry.get("use_pickle"):
            raise _Refused(
                "has pickled values, which may execute anything: export the model with weights "
                "that are plain tensors"
            )
        meta, member = entry["tensor_meta"], str(folder / entry["path_name"])
        if not sizes.get(member) and {"as_int": 0} not in meta["sizes"]:
            raise _Refused(f"has no values of {name}")
    return {"config": config["config"]}


def _check(value: object, key: str) -> None:
    """Refuse a key or a text that may mean more than a name, a path or a size."""
    if isinstance(value, dict):
        for inner, of_inner in value.items():
            if inner in _REFUSED_KEYS and of_inner:
                raise _Refused(f"has {inner} in it, which is no tensor: export the model without")
            _check_word(inner, _PATH, "a key")
            _check(of_inner, inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, key)
    elif isinstance(value, int) and abs(value) >= _MOST_NUMBER:
        raise _Refused(f"has a number of {len(str(abs(value)))} digits where {key} is given")
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key == "expr_str":
        _check_size(text)
    elif key == "type":
        if text != "cpu":
            raise _Refused(
                f"has tensors of the device {text[:80]!r}: move the model to the CPU, "
                "model.cpu(), before it is exported"
            )
    elif key in _NUMBERS:
        if text not in ("Infinity", "-Infinity", "NaN"):
            raise _Refused(f"has {text[:80]!r} where a number is given")
    elif key in _PATHS:
        _check_word(text, _PATH, key)
    elif key in _TEXTS:
        _check_word(text, _TEXT, key)
    else:
        _check_word(text, _NAME, key)
        if keyword.iskeyword(text) or text in _OF_SOURCE:
            raise _Refused(
                f"calls something {text!r}, which is a word of Python: name it otherwise"
            )


def _check_word(word: str, form: re.Pattern, what: str) -> None:
    if not isinstance(word, str) or len(word) > _MOST_LETTERS or not form.fullmatch(word):
        raise _Refused(f"has {str(word)[:80]!r} where {what} is named")


def _check_size(text: str) -> None:
    """Refuse a size that is not said by symbols, whole numbers and `_FUNCTIONS`."""
    short = len(text) <= _MOST_LETTERS and text.count("Symbol(") <= _MOST_SYMBOLS
    try:
        fine = short and text.isascii() and _is_size(ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        fine = False
    if not fine:
        raise _Refused(f"says a size by {text[:80]!r}, which is no arithmetic")


def _is_size(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=int() as number):
            return number < _MOST_NUMBER
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int()) as operand):
            return _is_size(operand)
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str() as name)]):
            known = all(k.arg in _OF_SYMBOLS for k in node.keywords)
            flags = all(isinstance(k.value, ast.Constant) for k in node.keywords)
            return known and flags and bool(_SIZE.fullmatch(name))
        case ast.Call(func=ast.Name(id="Pow"), args=[base, power], keywords=[]):
            plain = isinstance(base, ast.Call) and ast.unparse(base.func) == "Symbol"
            return plain and _is_size(base) and ast.unparse(power) in _POWERS
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            return name in _FUNCTIONS and all(map(_is_size, args))
    return False


_POWERS = {f"Integer({power})" for power in (2, 3, 4)}


def _check_operator(target: str) -> None:
    """Refuse what is no operator of arithmetic."""
    _check_word(target, _TEXT, "an operator")
    if target in _OF_SIZES:
        return
    found = _OPERATOR.fullmatch(target)
    if found is None or not _computes(*found.groups()):
        cure = ""
        if target.startswith("torch.ops.higher_order."):
            cure = ", or save what program.run_decompositions({}) gives"
        raise _Refused(
            f"calls {target[:80]}, which is no operator of arithmetic: export the model without "
            f"it{cure}"
        )


@functools.cache
def _computes(library: str, name: str, overload: str) -> bool:
    """Whether an operator is one of PyTorch's that gives numbers for numbers and does nothing else.

    Those are: the operators of Core ATen, those that are made of others or that PyTorch can say by
    others, and `_ACCEPTED`.
    """
    import torch
    from torch._decomp import decomposition_table

    found = getattr(getattr(getattr(torch.ops, library), name, None), overload, None)
    if not isinstance(found, torch._ops.OpOverload) or _REFUSED.search(name):
        return False
    if name in _ACCEPTED:
        return True
    if torch.Tag.out in found.tags or not found._schema.returns:
        return False
    marks = {torch.Tag.core, torch.Tag.pointwise, torch.Tag.reduction}
    made_of_others = torch._C._dispatch_has_kernel_for_dispatch_key(
        found.name(), "CompositeImplicitAutograd"
    )
    known = bool(marks & set(found.tags)) or found in decomposition_table or made_of_others
    return known or library == "prims"


def _spec(text: str, form: re.Pattern, count: int) -> str:
    """How arguments or outputs are put together: tuples, lists and dictionaries alone."""
    version, tree = json.loads(text)
    leaves = []

    def checked(node: Mapping) -> dict:
        kind, context = node["type"], node["context"]
        if kind is None:
            leaves.append(node)
            return {"type": None, "context": None, "children_spec": []}
        if kind not in _CONTAINERS:
            raise _Refused(
                f"takes or gives a {str(kind)[:80]}: give tensors, or a dictionary of tensors"
            )
        keys = None if context is None else json.loads(context)
        inner = [checked(child) for child in node["children_spec"]]
        if kind in _LISTS:
            keys = None
        elif not isinstance(keys, list) or len(keys) != len(inner):
            raise _Refused(f"has {str(context)[:80]!r} where arguments or outputs are named")
        for name in keys or []:
            if not isinstance(name, int):
                _check_word(name, form, "an argument or an output")
        return {"type": kind, "context": json.dumps(keys), "children_spec": inner}

    done = json.dumps([int(version), checked(tree)])
    if len(leaves) != count:
        raise _Refused(f"has {len(leaves)} arguments or outputs named, and {count} in its graph")
    return done
