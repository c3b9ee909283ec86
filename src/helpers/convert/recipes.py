"""The recipes: every form of a model that the two toolchains offer, a row each. Adding one is
adding a row.

A recipe's name says what the numbers in the file are:

- ``fp32``, ``fp16``: floating point of that many bits
- ``weight_int8``, ``weight_int4``: weights stored as integers of that many bits and widened to
  float32 before they are used; the arithmetic is float32
- ``dynamic_int8``, ``dynamic_int4``: weights as above, and activations quantised to int8 while the
  model runs, with the range that each row happens to have; the arithmetic is integer
- ``int8``, ``int16x8``: activations quantised too, to int8 or int16, with ranges fixed beforehand
  by calibration on training rows; weights int8; inputs and output stay float32
- ``_symmetric``, ``_hqq``, ``_conv``: a variation of the recipe before the ending, told in its row

LiteRT's recipes are written in the entries of ai-edge-quantizer, because TFLiteConverter's own
optimisations leave tensors of fewer than 1024 values alone and say nothing. MNN's are arguments of
its converter; they start from the float32 ``.tflite`` file, because a quantised one converts
"successfully" to a file that ranks at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from helpers import runtimes
from helpers.errors import BadInput
from helpers.evaluation.comparison import names


@dataclass(frozen=True)
class Recipe:
    """One way to make a model file.

    Attributes
    ----------
    runtime, precision : the variant; the file is ``<precision>.tflite`` or ``<precision>.mnn``.
    decoded : what is stored and what is computed in.
    trade_off : one sentence on what is won and what is risked.
    options : what the tool is told: ai-edge-quantizer entries (litert) or converter arguments
        (mnn).
    calibration : None if the recipe needs no calibration rows; else what the calibrating tool is
        told besides.
    of_onnx : whether an MNN file is made of the ``.onnx`` form of a PyTorch model; the others are
        made of the ``.tflite`` file.
    """

    runtime: str
    precision: str
    decoded: str
    trade_off: str
    options: tuple = ()
    calibration: Mapping[str, str] | None = None
    of_onnx: bool = False

    @property
    def name(self) -> str:
        """How its file is called in tables, as ``mnn fp16``."""
        return f"{self.runtime} {self.precision}"

    @property
    def reduced(self) -> bool:
        """Whether the file should score differently from the float32 model: only then is a
        difference no fault.
        """
        return not self.precision.startswith("fp32")


def _entry(algorithm: str = "min_max_uniform_quantize", operation: str = "*", **config) -> dict:
    return {"regex": ".*", "operation": operation, "algorithm_key": algorithm, "op_config": config}


def _integers(bits: int, *, symmetric: bool = True, granularity: str = "CHANNELWISE") -> dict:
    return {"num_bits": bits, "symmetric": symmetric, "granularity": granularity, "dtype": "INT"}


def _weights(bits: int) -> tuple[dict, ...]:
    stored = _integers(bits)
    return (
        _entry(weight_tensor_config=stored, compute_precision="FLOAT", explicit_dequantize=True),
    )


def _dynamic(bits: int) -> tuple[dict, ...]:
    stored = _integers(bits)
    return (
        _entry(weight_tensor_config=stored, compute_precision="INTEGER", explicit_dequantize=False),
    )


def _static(activation_bits: int) -> tuple[dict, ...]:
    activations = _integers(
        activation_bits, symmetric=activation_bits > 8, granularity="TENSORWISE"
    )
    integer = {
        "activation_tensor_config": activations,
        "weight_tensor_config": _integers(8),
        "compute_precision": "INTEGER",
        "explicit_dequantize": False,
    }
    float_ends = [_entry("no_quantize", operation) for operation in ("INPUT", "OUTPUT")]
    return (_entry(**integer), *float_ends)


_HALF = _entry(
    "float_casting",
    weight_tensor_config={"num_bits": 16, "dtype": "FLOAT"},
    compute_precision="FLOAT",
    explicit_dequantize=True,
)
_KEEP_MATMUL = ("--convertMatmulToConv", "0")


def _mnn_weights(bits: int, *, asymmetric: bool = True) -> tuple[str, ...]:
    """MNN's options for weights of integers. The last is always given a value: without it, zero
    points are there if the option is left out and are not if it is there, against what the
    converter's help says (3.6).
    """
    return "--weightQuantBits", str(bits), f"--weightQuantAsymmetric={int(asymmetric)}"


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        "litert",
        "fp32",
        "weights and arithmetic float32",
        "Loses nothing: the file that every other one is made from and timed against.",
    ),
    Recipe(
        "litert",
        "fp16",
        "weights float16, widened to float32 when the file is opened",
        "Half the weights' bytes for errors in the fourth decimal; runs as fast as float32.",
        (_HALF,),
    ),
    Recipe(
        "litert",
        "dynamic_int8",
        "weights int8, a scale for each output channel; activations int8 as the model runs",
        "A quarter of the weights' bytes and integer arithmetic; quantising every row costs time in"
        " small models.",
        _dynamic(8),
    ),
    Recipe(
        "litert",
        "weight_int8",
        "weights int8, a scale for each output channel, widened to float32",
        "A quarter of the weights' bytes; activations lose nothing, and nothing gets faster.",
        _weights(8),
    ),
    Recipe(
        "litert",
        "int8",
        "weights and activations int8, ranges from calibration; inputs and output float32",
        "What integer accelerators need; 256 values of the output make ties, and new data can leave"
        " the ranges.",
        _static(8),
        {},
    ),
    Recipe(
        "litert",
        "int16x8",
        "weights int8, activations int16, ranges from calibration; inputs and output float32",
        "The weights' error without that of int8 activations, at a cost in speed.",
        _static(16),
        {},
    ),
    Recipe(
        "litert",
        "dynamic_int4",
        "weights int4, a scale for each output channel; activations int8 as the model runs",
        "An eighth of the weights' bytes; sixteen values a weight are few for a layer this narrow.",
        _dynamic(4),
    ),
    Recipe(
        "litert",
        "weight_int4",
        "weights int4, a scale for each output channel, widened to float32",
        "An eighth of the weights' bytes, with the same error as dynamic_int4 and float32 "
        "arithmetic.",
        _weights(4),
    ),
    Recipe(
        "mnn",
        "fp32",
        "weights and arithmetic float32, matrix products kept as such",
        "Loses nothing, and is smaller than the converter's default; with one thread also faster.",
        _KEEP_MATMUL,
    ),
    Recipe(
        "mnn",
        "fp32_conv",
        "weights and arithmetic float32, matrix products turned into 1x1 convolutions: the "
        "converter's default",
        "Loses nothing; larger and slower in small models, and the form that MNN's weight "
        "quantisation needs.",
    ),
    Recipe(
        "mnn",
        "fp16",
        "weights float16, widened to float32 when the file is opened; matrix products kept",
        "Half the weights' bytes for errors in the fourth decimal.",
        ("--fp16", *_KEEP_MATMUL),
    ),
    Recipe(
        "mnn",
        "weight_int8",
        "weights int8, a scale and a zero point for each output channel, as by default; 1x1 "
        "convolutions",
        "Small weights for large models; in a small one the convolutions cost more bytes than int8 "
        "saves.",
        _mnn_weights(8),
    ),
    Recipe(
        "mnn",
        "weight_int8_symmetric",
        "weights int8, a scale for each output channel and no zero point; 1x1 convolutions",
        "A few bytes less, and a larger error where weights are not centred on zero.",
        _mnn_weights(8, asymmetric=False),
    ),
    Recipe(
        "mnn",
        "weight_int4",
        "weights int4, a scale and a zero point for each output channel; 1x1 convolutions",
        "An eighth of the weights' bytes; scores move by some hundredths.",
        _mnn_weights(4),
    ),
    Recipe(
        "mnn",
        "weight_int4_hqq",
        "weights int4, scales and zero points fitted by half-quadratic quantisation (HQQ); 1x1 "
        "convolutions",
        "The bytes of weight_int4 with a somewhat smaller error.",
        (*_mnn_weights(4), "--hqq"),
    ),
    Recipe(
        "mnn",
        "int8",
        "activations and the weights of convolutions int8, ranges from calibration by "
        "Kullback-Leibler divergence; matrix products kept, their weights float32",
        "Integer arithmetic on the phone; the output has few values, so items tie, and a small file"
        " grows.",
        _KEEP_MATMUL,
        {"feature_quantize_method": "KL", "weight_quantize_method": "MAX_ABS"},
    ),
    Recipe(
        "mnn",
        "fp32_of_onnx",
        "weights and arithmetic float32",
        "The same model by another way: fewer transpositions, or more.",
        of_onnx=True,
    ),
    Recipe(
        "mnn",
        "weight_int8_of_onnx",
        "weights int8, a scale and a zero point for each output channel",
        "A quarter of the weights' bytes; activations lose nothing.",
        _mnn_weights(8),
        of_onnx=True,
    ),
    Recipe(
        "mnn",
        "weight_int4_of_onnx",
        "weights int4, a scale and a zero point for each output channel",
        "An eighth of the weights' bytes.",
        _mnn_weights(4),
        of_onnx=True,
    ),
    Recipe(
        "onnx",
        "fp32",
        "weights and arithmetic float32",
        "Loses nothing; the other ONNX files are made of it, and an MNN file can be.",
    ),
    Recipe(
        "onnx",
        "fp16",
        "weights and arithmetic float16, inputs and outputs float32",
        "Half the bytes; a processor without half floats widens every layer and is slower.",
    ),
    Recipe(
        "onnx",
        "dynamic_int8",
        "weights uint8, a scale for each output channel; activations uint8 as the model runs, with "
        "one range for all rows of a call",
        "A quarter of the bytes; a row's scores depend on the rows beside it.",
    ),
    Recipe(
        "onnx",
        "int8",
        "weights int8, activations uint8, ranges from calibration; inputs and output float32",
        "Integer arithmetic where the processor has it; new data can leave the ranges.",
        (),
        {},
    ),
    Recipe(
        "coreml",
        "fp32",
        "weights and arithmetic float32",
        "Runs on Apple's processors only, without the Neural Engine.",
    ),
    Recipe(
        "coreml",
        "fp16",
        "weights and arithmetic float16",
        "Core ML's default, which the Neural Engine needs.",
    ),
)


GIVEN = Recipe(
    "litert",
    "given",
    "as in the file that was given",
    "The file itself, which is quantised already: no other precision can be made of it.",
)
"""What a finished file of integers is; nothing makes it."""
_PLACES = {GIVEN.name: 0} | {recipe.name: place for place, recipe in enumerate(RECIPES)}
_NAMES = {"tflite": "TensorFlow Lite", "coreml": "Core ML of iOS", **runtimes.NAMES}
_OLDEST_TFLITE = {
    "fp32": ("tflite", "2.9.0"),
    "fp16": ("tflite", "2.9.0"),
    "weight_int8": ("tflite", "2.9.0"),
    "int8": ("tflite", "2.14.0"),
    "int16x8": ("tflite", "2.14.0"),
    "dynamic_int8": ("litert", "1.2.0"),
    "weight_int4": ("litert", "1.2.0"),
    "dynamic_int4": ("litert", "1.4.0"),
}


_OLDEST_GIVEN = ("litert", "2.1.0")
"""Of files that somebody else made nothing older was seen."""
_OLDEST_OF_PYTORCH = {"mnn": "3.6.1", "onnx": "1.23.2", "coreml": "16"}
"""Nor of these; of Core ML's it is what the package asks for."""


def oldest(runtime: str, precision: str) -> tuple[str, str]:
    """The oldest runtime seen to score such a file as it scores here: ``tflite``, ``litert`` or
    ``mnn``, and a version.

    Found by scoring with 2.9 and 2.14 of TensorFlow Lite, 1.2, 1.4 and 2.0 of LiteRT (which
    followed it) and 3.1 to 3.6 of MNN, see ``tests/benchmarks/oldest_runtimes.py``. What a
    converter writes into its file is no help (it said 1.14 of all of them, and is left out):
    TensorFlow Lite 2.9 opens the int8 ones and scores them wrong by 0.5 without an error.
    """
    if (runtime, precision) == (GIVEN.runtime, GIVEN.precision):
        return _OLDEST_GIVEN
    if get(runtime, precision).of_onnx or runtime in ("onnx", "coreml"):
        return runtime, _OLDEST_OF_PYTORCH[runtime]
    return _OLDEST_TFLITE[precision] if runtime == "litert" else ("mnn", "3.1.0")


RELEASES = {"tflite": "2.17.0", "litert": "1.4.2", "mnn": "3.6.1"}
"""What an app takes of a runtime where nothing later is needed: of ``tflite`` the release for iOS,
of ``litert`` that for Android. LiteRT's 1.4 and MNN's 3.6 are among those that were seen, see
`oldest`; the release for iOS was not: there the golden tests tell.
"""


def release(runtime: str, minimum: Mapping[str, str]) -> str:
    """The release of a runtime for an app: that of `RELEASES`, or the least one, if that is
    later.
    """

    def order(version: str) -> list[int]:
        return [int(part) for part in version.split(".")]

    return max(RELEASES[runtime], minimum.get(runtime, "0"), key=order)


def of(runtime: str, *, of_onnx: bool = False) -> list[Recipe]:
    """The recipes of a runtime, in the order of the table; see `Recipe.of_onnx`."""
    return [recipe for recipe in RECIPES if (recipe.runtime, recipe.of_onnx) == (runtime, of_onnx)]


def reduced(runtime: str) -> list[Recipe]:
    """Those of them that store or compute less than float32."""
    return [recipe for recipe in of(runtime) if recipe.reduced]


def get(runtime: str, precision: str) -> Recipe:
    """One recipe; BadInput lists those there are."""
    for recipe in RECIPES:
        if (recipe.runtime, recipe.precision) == (runtime, precision):
            return recipe
    known = ", ".join(recipe.name for recipe in RECIPES)
    raise BadInput(f"there is no recipe {runtime} {precision}; there is: {known}")


def place(name: str, *, trained: bool = False) -> int:
    """Where a file stands in every table: the trained model before all others, which follow in the
    order of `RECIPES`.
    """
    return -1 if trained else _PLACES.get(name, len(RECIPES))


def ordered(comparison):
    """A comparison with its rows in the order of `place`."""
    made = {recipe.runtime for recipe in RECIPES}
    trained = [
        runtime not in made
        or (runtime == "onnx" and isinstance(file, str) and not runtimes.is_converted(file))
        for runtime, file in zip(comparison["runtime"], comparison["file"], strict=True)
    ]
    called = zip(names(comparison), trained, strict=True)
    places = [place(name, trained=first) for name, first in called]
    order = sorted(range(len(places)), key=places.__getitem__)
    return comparison.iloc[order].reset_index(drop=True)


def oldest_text(recipe: Recipe) -> str:
    """`oldest` to read: ``TensorFlow Lite 2.9``."""
    name, version = oldest(recipe.runtime, recipe.precision)
    return f"{_NAMES[name]} {version.removesuffix('.0')}"


def table(runtime: str, made_of: str = "", *, of_onnx: bool = False):
    """The recipes of a runtime to read: DataFrame of text by file; with what they are made of, if
    it is given.
    """
    import pandas as pd

    said = {"made of": made_of} if made_of else {}
    rows = {
        recipe.name: {
            "stored and computed": recipe.decoded,
            **said,
            "trade-off": recipe.trade_off,
            "oldest runtime": oldest_text(recipe),
        }
        for recipe in of(runtime, of_onnx=of_onnx)
    }
    return pd.DataFrame(rows).T
