"""Faults as they happen in practice, planted one by one: each must be caught, by the stage that
should, and named.

`make test` ends with the table of what was caught by what. The other side, that a sound file raises
no alarm, is measured by ``tests/benchmarks/false_alarms.py`` and tested on fewer comparisons below.
"""

import dataclasses

import numpy as np
import pytest
from support import Scoring, replace_recorded, train

from helpers import datasets, overlap, runs, runtimes, simulation
from helpers.convert import mnn, recipes, tflite, variants
from helpers.errors import BadInput, ConversionFailed, DamagedFile, ParityError, WorkbenchError
from helpers.evaluation import parity
from helpers.frameworks import keras as framework
from helpers.learning import ranking as learning
from helpers.quiet import native_output, tensorflow
from helpers.tasks import ranking as task
from helpers.tasks.ranking import RANKING
from helpers.trained import Trained

FAULTS = []


def fault(name: str, stage: str, error: type[WorkbenchError], message: str):
    """Register a function that commits a fault; it gets the test's `world` and must end in `error`
    with `message`.
    """

    def register(function):
        FAULTS.append(
            pytest.param(name, stage, error, message, function, id=name.replace(" ", "-"))
        )
        return function

    return register


class World:
    """What the faults are committed on: the trained model, its files, and a folder to spoil things
    in.
    """

    def __init__(self, trained, study, folder):
        self.trained, self.study, self.schema, self.folder = trained, study, study.schema, folder
        self.reference, self.files = trained.reference, trained.files
        self.calibration = folder / "calibration.npz"
        self.train = trained.splits["train"]

    def calibrate(self, rows) -> None:
        np.savez(self.calibration, **rows)

    def require_same(self, path) -> None:
        """The check of 03 and 04."""
        parity.require_same(runtimes.open_model(path, self.schema), self.reference, path.name)

    def require_same_scores(self, change) -> None:
        """The same for an app (or wrapper) that treats inputs or scores in a way of its own."""
        model = runtimes.open_model(self.files["fp32.tflite"], self.schema, trusted=True)
        parity.require_same(
            Changed(model, change), self.reference, "the app's way of calling fp32.tflite"
        )

    def with_weights(self, change):
        """The .tflite file with its weights changed in place, as a bad conversion writes them."""
        import flatbuffers
        from ai_edge_litert import schema_py_generated as flat

        model = flat.ModelT.InitFromObj(
            flat.Model.GetRootAs(self.files["fp32.tflite"].read_bytes())
        )
        graph = model.subgraphs[0]
        weights = {}
        for operator in graph.operators[1:3]:  # the two layers
            buffer = model.buffers[graph.tensors[operator.inputs[1]].buffer]
            shape = graph.tensors[operator.inputs[1]].shape
            weights[len(weights)] = (
                np.frombuffer(bytes(buffer.data), np.float32).reshape(shape).copy(),
                buffer,
            )
        change(*(array for array, _ in weights.values()))
        for array, buffer in weights.values():
            buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        builder = flatbuffers.Builder(8192)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        path = self.folder / "weights.tflite"
        path.write_bytes(bytes(builder.Output()))
        return path


class Changed(Scoring):
    """A runtime called in another way than by name with the schema's inputs."""

    def __init__(self, model, change):
        self.model, self.change = model, change

    def score(self, inputs):
        return self.change(self.model, inputs)


@fault("two inputs of one width swapped", "03 conversion", ParityError, "wrong order")
def _(world):
    content = world.files["fp32.tflite"].read_bytes()
    for old, new in (("user", "USER"), ("item", "user"), ("USER", "item")):
        content = content.replace(f"{old}_features".encode(), f"{new}_features".encode())
    path = world.folder / "swapped.tflite"
    path.write_bytes(content)
    world.require_same(path)


@fault("inputs bound by position", "03 conversion", ParityError, "wrong order")
def _(world):
    """The app fills the file's inputs in the order in which the runtime lists them: LiteRT's
    signature, by alphabet.
    """
    from ai_edge_litert.interpreter import Interpreter

    def by_position(model, inputs):
        interpreter = Interpreter(str(world.files["fp32.tflite"]))
        runner = interpreter.get_signature_runner(tflite.SIGNATURE)
        wide = [name for name in runner.get_input_details() if "context" not in name]
        given = [name for name in inputs if "context" not in name]
        bound = {listed: inputs[name] for listed, name in zip(wide, given, strict=True)}
        return runner(**bound, context_features=inputs["context_features"])[
            world.schema.output.name
        ]

    world.require_same_scores(by_position)


@fault(
    "plain converter's tensor names",
    "runtime",
    DamagedFile,
    "takes inputs .*serving_default_user_features",
)
def _(world):
    with framework.plain(world.trained.model) as path:
        runtimes.open_model(path, world.schema)


@fault(
    "one feature column shifted by one",
    "03 conversion",
    ParityError,
    "does not score as its reference",
)
def _(world):
    def shifted(model, inputs):
        return model.score({**inputs, "user_features": np.roll(inputs["user_features"], 1, axis=1)})

    world.require_same_scores(shifted)


@fault("int8 without calibration", "03 conversion", ConversionFailed, "it needs calibration rows")
def _(world):
    recipe = recipes.get("litert", "int8")
    variants.make(recipe, world.files["fp32.tflite"], world.schema, world.folder / "int8.tflite")


@fault("int8 asked for and nothing quantised", "04 conversion", ParityError, "reduced nothing")
def _(world):
    """MNN quantises convolutions; told to keep matrix products as well, it reports success all the
    same.
    """
    source, path = world.files["fp32.tflite"], world.folder / "int8.mnn"
    options = [*recipes.get("mnn", "weight_int8").options, *recipes.get("mnn", "fp32").options]
    mnn.convert(source, world.schema, path, options=options)
    with runtimes.open_model(path, world.schema) as model:
        found = parity.examine(model, world.reference)
    share = path.stat().st_size / source.stat().st_size
    variants._check(recipes.get("mnn", "weight_int8"), found, None, share)


@fault(
    "calibration on features of the wrong scale",
    "03 conversion",
    ConversionFailed,
    "most of user_features.0. is between .* in them",
)
def _(world):
    rows = {
        name: 100 * array[:512] for name, array in world.train[0].items()
    }  # per cent in place of shares
    variants.check_calibration(rows, world.reference.inputs)


@fault(
    "a quantised .tflite given to MNN",
    "04 conversion",
    ConversionFailed,
    "is quantised .it holds int8",
)
def _(world):
    path = world.folder / "dynamic_int8.tflite"
    recipe = recipes.get("litert", "dynamic_int8")
    tflite.quantise(world.files["fp32.tflite"], world.schema, path, recipe.options)
    mnn.convert(path, world.schema, world.folder / "constant.mnn")


@fault(
    "a quantised .tflite past that check",
    "04 conversion",
    ParityError,
    "constant: every row|wrong order|not repeatable",  # by what its unwritten memory holds
)
def _(world):
    path = world.folder / "dynamic_int8.tflite"
    recipe = recipes.get("litert", "dynamic_int8")
    tflite.quantise(world.files["fp32.tflite"], world.schema, path, recipe.options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tflite, "require_float32", lambda path: None)
        mnn.convert(path, world.schema, world.folder / "constant.mnn")
    world.require_same(world.folder / "constant.mnn")


@fault(
    "--saveStaticModel",
    "04 conversion",
    ConversionFailed,
    "static batch: static.mnn answers shape .1, 1. for 3 rows",
)
def _(world):
    mnn.convert(
        world.files["fp32.tflite"],
        world.schema,
        world.folder / "static.mnn",
        options=["--saveStaticModel"],
    )


@fault("a weight off by 1 %", "03 conversion", ParityError, "does not score as its reference")
def _(world):
    def change(first, second):
        first[8, 12] *= 1.01

    world.require_same(world.with_weights(change))


@fault(
    "a sign flipped in one unit", "03 conversion", ParityError, "does not score as its reference"
)
def _(world):
    def change(first, second):
        second[0, 3] *= -1

    world.require_same(world.with_weights(change))


@fault("scores rounded to 1/128", "03 conversion", ParityError, "scores move by up to 4e-03")
def _(world):
    world.require_same_scores(lambda model, inputs: np.round(model.score(inputs) * 128) / 128)


@fault(
    "scores from unfrozen variables",
    "03 conversion",
    ParityError,
    "does not score as its reference",
)
def _(world):
    tf = tensorflow()
    signature = {
        t.name: tf.TensorSpec((None, *t.shape), t.dtype, name=t.name) for t in world.schema.inputs
    }
    call = tf.function(
        lambda **inputs: {world.schema.output.name: world.trained.model(inputs, training=False)}
    )
    with native_output():
        function = call.get_concrete_function(**signature)
        content = tf.lite.TFLiteConverter.from_concrete_functions(
            [function], world.trained.model
        ).convert()
    path = world.folder / "unfrozen.tflite"  # whatever the memory held: NaN most of the time
    path.write_bytes(tflite.named(content, world.schema))
    world.require_same(path)


@fault(
    "labels shuffled",
    "02 training",
    BadInput,
    "nothing relates features to labels: on 4,200 test rows",
)
def _(world):
    rng = np.random.default_rng(0)
    splits = {name: (x, rng.permutation(y), r) for name, (x, y, r) in world.trained.splits.items()}
    model, _ = train(
        world.study, splits["train"][:2], splits["validation"][:2], epochs=2, progress=False
    )
    inputs, labels, _ = splits["test"]
    scores = learning.baseline_scores(world.schema, splits["train"][:2], inputs)
    scores["this model"] = next(iter(framework.predict(model, world.schema, inputs).values()))[:, 0]
    learning.check_learnable(
        world.schema, splits["train"], scores, (inputs, labels, world.reference.truth.groups)
    )


def _with_label(inputs, labels, requests, name: str, column: int) -> tuple:
    """Rows whose label is one of their features."""
    array = inputs[name].copy()
    array[:, column] = labels
    return {**inputs, name: array}, labels, requests


@fault(
    "samples with replacement",
    "02 training",
    BadInput,
    r"2,\d\d\d of the 4,200 test rows are train rows too",
)
def _(world):
    inputs, labels, requests = world.trained.splits["train"]
    rows = {
        split: np.random.default_rng(i).integers(0, 4200, 4200)
        for i, split in enumerate(("train", "test"))
    }
    drawn = {
        s: ({n: a[i] for n, a in inputs.items()}, labels[i], requests[i]) for s, i in rows.items()
    }
    overlap.check_separate(drawn)


@fault(
    "train rows leaked into test",
    "02 training",
    BadInput,
    "420 of the 4,200 test rows are train rows too",
)
def _(world):
    leaked = {name: array.copy() for name, array in world.reference.inputs.items()}
    for name, array in leaked.items():
        array[100:520] = world.train[0][name][1000:1420]
    overlap.check_separate({"train": world.train[0], "test": leaked})


@fault(
    "an input is the label",
    "02 training",
    BadInput,
    r"the label is told by item_design \(AUC 1.000\) alone",
)
def _(world):
    train, test = (
        _with_label(*world.trained.splits[split], "item_features", 5) for split in ("train", "test")
    )
    learning.check_learnable(
        world.schema, train, {"this model": world.reference.scores[:, 0]}, test
    )


@fault(
    "better than the best possible",
    "02 training",
    BadInput,
    r"popularity only \(AUC 1.000\).* rank better",
)
def _(world):
    frames = [
        simulation.sample(world.study, "personalised", rows=5000, seed=1, split=s)
        for s in ("train", "test")
    ]
    train, test = (
        (world.schema.arrays(f), f["label"].to_numpy(), f["request"].to_numpy()) for f in frames
    )
    for inputs, labels, _ in (
        train,
        test,
    ):  # no input tells it alone: the label is the difference of two
        inputs["item_features"][:, 5] = inputs["item_features"][:, 4] + 0.2 * labels
    scores = learning.baseline_scores(world.schema, train[:2], test[0]) | {"this model": test[1]}
    learning.check_learnable(
        world.schema, train, scores, test, frames[1]["bayes_probability"].to_numpy()
    )


@fault(
    "the runtime fed float64",
    "runtime",
    BadInput,
    "user_features is float64, the model takes float32",
)
def _(world):
    model = runtimes.open_model(world.files["fp32.mnn"], world.schema, trusted=True)
    model.score({name: array.astype(np.float64) for name, array in world.reference.inputs.items()})


@fault(
    "the runtime fed int64", "runtime", BadInput, "item_features is int64, the model takes float32"
)
def _(world):
    model = runtimes.open_model(world.files["fp32.mnn"], world.schema, trusted=True)
    model.score({**world.reference.inputs, "item_features": np.zeros((4200, 10), np.int64)})


@fault(
    "an .mnn truncated",
    "runtime",
    DamagedFile,
    "cut.mnn is not a usable MNN file|cut.mnn is not a usable model file",
)
def _(world):
    path = world.folder / "cut.mnn"
    path.write_bytes(world.files["fp32.mnn"].read_bytes()[:3000])
    runtimes.open_model(path, world.schema)


@fault("an .mnn with 64 bytes overwritten", "04 conversion", WorkbenchError, "overwritten.mnn")
def _(world):
    content = bytearray(world.files["fp32.mnn"].read_bytes())
    start = content.find(
        world.trained.model.get_weights()[2].T.tobytes()[:16]
    )  # the weights of the last layer
    assert start > 0
    content[start : start + 64] = np.random.default_rng(0).bytes(64)
    path = world.folder / "overwritten.mnn"
    path.write_bytes(content)
    world.require_same(path)


@pytest.mark.parametrize(("name", "stage", "error", "message", "commit"), FAULTS)
def test_a_planted_fault_is_caught_and_named(
    trained, ranking, tmp_path, record_property, name, stage, error, message, commit
):
    with pytest.raises(error, match=message) as caught:
        commit(World(trained, ranking, tmp_path))
    said = str(caught.value).splitlines()[0]
    record_property("fault", [name, stage, type(caught.value).__name__, said])


@pytest.mark.parametrize("file", ["tflite/fp32.tflite", "mnn/fp32.mnn"])
def test_a_file_of_another_run_is_caught(finished_copy, trained, record_property, file):
    other = trained.files["fp32.tflite" if file.endswith("tflite") else "fp32.mnn"]
    (finished_copy.folder / file).write_bytes(other.read_bytes())
    stage = runs.Stage("05_accuracy_latency", study="ranking", run="default")
    with pytest.raises(
        DamagedFile, match=f"{file} is not the file that stage .. recorded"
    ) as caught:
        stage.input(file[:1] == "t" and "03" or "04", file)
    record_property(
        "fault",
        [f"a file of another run ({file[-6:]})", "run folder", "DamagedFile", str(caught.value)],
    )


def test_a_file_of_another_run_that_was_recorded_is_broken(finished_copy, trained, ranking):
    """Even where the record was made to believe it, its scores are not this run's model's."""
    replace_recorded(finished_copy, "mnn/fp32.mnn", trained.files["fp32.mnn"].read_bytes())
    path = finished_copy.verified("04", "mnn/fp32.mnn")
    data = datasets.load(finished_copy.verified("01", "data.json"))
    reference = parity.Reference.load(
        finished_copy.verified("02", parity.FILE), RANKING, data.arrays("test")[0]
    )
    result = parity.examine(runtimes.open_model(path, ranking.schema), reference)
    assert result.verdict != "same" and result.max_abs_error > 0.01


@pytest.mark.parametrize("changed", ["labels", "groups", "clusters", "user_features"])
def test_a_reference_of_another_split_judges_nothing(finished_copy, changed):
    """Every file would be judged same by it, whatever its AUC."""
    data = datasets.load(finished_copy.verified("01", "data.json"))
    reference = parity.Reference.load(
        finished_copy.verified("02", parity.FILE), RANKING, data.arrays("test")[0]
    )
    other = data.arrays("train", limit=len(reference.truth.labels))
    values = {"labels": other[1], "groups": other[2] + 1, "clusters": reference.truth.groups // 5}
    if changed in reference.inputs:
        wrong = dataclasses.replace(
            reference, inputs={**reference.inputs, changed: other[0][changed]}
        )
    else:
        truth = dataclasses.replace(reference.truth, **{changed: values[changed]})
        wrong = dataclasses.replace(reference, truth=truth)
    wrong.save(finished_copy.folder / "wrong.npz")
    replace_recorded(finished_copy, parity.FILE, (finished_copy.folder / "wrong.npz").read_bytes())
    stage = runs.Stage("05_accuracy_latency", study="ranking", run="default")
    data = datasets.load(stage.input("01", "data.json"))
    with pytest.raises(
        DamagedFile, match=f"(its {changed} are|made with) other.*; run stage 02 again"
    ):
        parity.Reference.recorded(stage, Trained.recorded(stage), data)


def test_overwritten_anywhere_an_mnn_is_caught_or_scores_the_same(trained, ranking, tmp_path):
    """Some bytes mean nothing (padding, the identifier); none may crash the parent or change scores
    unseen.
    """
    world, content = World(trained, ranking, tmp_path), trained.files["fp32.mnn"].read_bytes()
    rng, caught = np.random.default_rng(1), 0
    for start in rng.integers(0, len(content) - 64, 12):
        damaged = bytearray(content)
        damaged[start : start + 64] = rng.bytes(64)
        path = tmp_path / "overwritten.mnn"
        path.write_bytes(damaged)
        try:
            world.require_same(path)
        except WorkbenchError:
            caught += 1
    assert caught >= 9


def test_sound_calibration_rows_and_splits_pass(trained, ranking):
    rows = {name: array[:512] for name, array in trained.splits["train"][0].items()}
    variants.check_calibration(rows, trained.reference.inputs)
    overlap.check_separate({split: arrays[0] for split, arrays in trained.splits.items()})
    for source in ranking.sources:
        inputs = [
            ranking.schema.arrays(simulation.sample(ranking, source, rows=2000, seed=s))
            for s in (1, 2)
        ]
        variants.check_calibration(
            {name: array[:512] for name, array in inputs[0].items()}, inputs[1]
        )
        overlap.check_separate({"train": inputs[0], "test": inputs[1]})


def test_an_undertrained_model_is_no_fault_of_the_labels(trained, ranking):
    """Only if the baselines find nothing either."""
    inputs, labels, requests = trained.splits["test"]
    nothing = np.random.default_rng(0).random(len(labels))
    test, train = (inputs, labels, requests), trained.splits["train"]
    with pytest.raises(BadInput, match="nothing relates"):
        learning.check_learnable(ranking.schema, train, {"this model": nothing}, test)
    learned = {"this model": nothing, "logistic regression": trained.reference.scores[:, 0]}
    learning.check_learnable(ranking.schema, train, learned, test)


def test_training_labels_of_other_rows_are_caught_even_if_a_baseline_is_lucky(trained, ranking):
    """Only the training labels are shuffled, and a random direction happens to rank the test rows a
    little.
    """
    inputs, labels, requests = trained.splits["test"]
    rng, (x, y, r) = np.random.default_rng(0), trained.splits["train"]
    lucky = {
        "this model": rng.random(len(labels)),
        "popularity only": labels + rng.normal(0, 5, len(labels)),
    }
    with pytest.raises(BadInput, match="learned from half of the 4,200 training rows"):
        learning.check_learnable(
            ranking.schema, (x, rng.permutation(y), r), lucky, (inputs, labels, requests)
        )


@pytest.mark.parametrize("kind", ["normal", "lognormal", "student", "rare flag", "uniform ids"])
def test_calibration_rows_of_the_same_data_pass_whatever_its_shape(kind):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        draw = {
            "normal": lambda n, rng=rng: rng.normal(size=(n, 10)),
            "lognormal": lambda n, rng=rng: rng.lognormal(size=(n, 10)),
            "student": lambda n, rng=rng: rng.standard_t(3, size=(n, 10)),
            "rare flag": lambda n, rng=rng: (rng.random((n, 10)) < 0.001).astype(float),
            "uniform ids": lambda n, rng=rng: rng.integers(0, 10_000, (n, 10)).astype(float),
        }[kind]
        for rows in (100, 512):
            variants.check_calibration(
                {"x": draw(rows).astype(np.float32)}, {"x": draw(2000).astype(np.float32)}
            )


def test_a_few_more_values_of_another_kind_are_no_other_data():
    """A 0 for what is not known reaches the 5th percentile of some rows and not of others; rows of
    another scale are refused with or without them.
    """
    rng = np.random.default_rng(3)

    def stars(rows: int, unknown: float) -> np.ndarray:
        values = rng.normal(3.5, 0.3, (rows, 2)).astype(np.float32)
        values[rng.random(rows) < unknown] = 0
        return values

    variants.check_calibration({"x": stars(512, 0.07)}, {"x": stars(5000, 0.03)})
    variants.check_calibration({"x": stars(512, 0.03)}, {"x": stars(5000, 0.07)})
    for unknown in (0.0, 0.07):
        with pytest.raises(ConversionFailed, match="calibration rows are not of this data"):
            variants.check_calibration({"x": 20 * stars(512, unknown)}, {"x": stars(5000, 0.03)})


def test_one_column_of_another_scale_or_place_is_caught(trained):
    inputs = trained.reference.inputs
    for change in (
        lambda a: a * np.float32([1e-6] + [1] * 9),
        lambda a: a + np.float32([0] * 9 + [50]),
    ):
        rows = {name: array[:512] for name, array in inputs.items()}
        rows["item_features"] = change(rows["item_features"])
        with pytest.raises(ConversionFailed, match="item_features"):
            variants.check_calibration(rows, inputs)
    with pytest.raises(ConversionFailed, match="lack item_features"):
        variants.check_calibration({"user_features": inputs["user_features"]}, inputs)


def test_sound_files_raise_no_alarm(trained, ranking):
    """A file against itself on other test sets, in other batch splits; the benchmark makes 240 such
    comparisons.
    """
    alarms = 0
    for seed in range(6):
        frame = simulation.sample(ranking, "simple", rows=2000, seed=100 + seed, split="test")
        inputs = ranking.schema.arrays(frame)
        for file in ("fp32.tflite", "fp32.mnn"):
            model = runtimes.open_model(trained.files[file], ranking.schema, trusted=True)
            whole = model.score(inputs)
            size = int(np.random.default_rng(seed).integers(1, 2000))
            parts = [
                model.score({n: a[i : i + size] for n, a in inputs.items()})
                for i in range(0, 2000, size)
            ]
            labels, requests = frame[datasets.LABEL].to_numpy(), frame[datasets.REQUEST].to_numpy()
            alarms += task.compare(np.concatenate(parts), whole, labels, requests).verdict != "same"
    assert alarms == 0
