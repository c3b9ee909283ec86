"""The halves of a split model in a bundle: made, verified, run in C; a wrong half is named."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from bundling import changed_weight

from helpers import features, registry
from helpers.bundle import archive, client, golden, halves, make, native, sessions, sources
from helpers.convert import mnn
from helpers.errors import BadInput, DamagedFile
from helpers.frameworks import keras as framework
from helpers.quiet import tensorflow
from helpers.studies.feed import world
from helpers.studies.feed.model import READER, build_model
from helpers.studies.feed.split import split_model
from helpers.tasks.ranking import RANKING
from helpers.trained import Trained

STUDY = registry.get("feed")
WHOLES = ("model.tflite", "model.mnn")
FILES = {whole: halves.names(whole) for whole in WHOLES}


def _model():
    """The untrained model with weights that are far from 0: what it scores is as good as any."""
    tensorflow()
    import keras

    keras.utils.set_random_seed(1)
    model, rng = build_model(), np.random.default_rng(0)
    for layer in (model.get_layer(READER), model.get_layer("click")):
        layer.set_weights([w + 0.3 * rng.normal(size=w.shape) for w in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of `feed` with its halves: what a phone downloads, in memory, and what it was made
    of. Tests must not change it.
    """
    folder, model = tmp_path_factory.mktemp("halves"), _model()
    whole = {name: folder / name for name in WHOLES}
    framework.export(model, STUDY.schema, whole["model.tflite"])
    mnn.convert(whole["model.tflite"], STUDY.schema, whole["model.mnn"])
    framework.save(model, folder / "model.keras")
    drawn = world.draw(np.random.default_rng(9), 20_000)
    encoding = features.fit(drawn, STUDY.features)
    first = {name: values[:60] for name, values in drawn.items() if not name.startswith("_")}
    typical = features.encode(encoding, drawn)
    cases = make.cases(STUDY.schema, folder / "model.keras", whole, typical)
    content = make.contents(whole, cases)
    raws = features.to_sessions(first, 20, STUDY.id_field)
    content |= make.raw_contents(encoding, raws, whole, STUDY.schema, cases.tolerance)
    trained = Trained("two_halves", "keras", "model.keras", STUDY.schema, RANKING)
    of_study = trained, folder / "model.keras", cases
    split, parts = halves.contents("feed", *of_study)
    content |= parts
    for name, data in parts.items():
        (folder / name).write_bytes(data)
    said = {
        "format": archive.FORMAT,
        "version": "v1",
        "files": {name: {"tolerance": value} for name, value in cases.tolerance.items()},
        "schema": STUDY.schema.to_json(),
        "halves": split.to_json(),
        "sha256": {},
    }
    content[archive.MANIFEST] = json.dumps(said).encode()
    for name in [name for name in content if name != archive.MANIFEST]:
        content = make.with_file(content, name, content[name])
    return SimpleNamespace(
        model=model, content=content, split=split, cases=cases, of_study=of_study, folder=folder
    )


def _written(content, folder):
    folder.mkdir()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return folder


def _refused(content, folder, said):
    with pytest.raises(DamagedFile, match=said):
        client.verify(_written(content, folder / "wrong"))


def test_the_halves_are_described_and_verified(made, tmp_path):
    folder = _written(made.content, tmp_path / "bundle")
    checked = client.verify(folder)
    names = {f"{reader} and {candidate}" for reader, candidate in FILES.values()}
    assert set(checked.cases) == {*WHOLES, *names}
    assert min(checked.cases.values()) == max(checked.cases.values()) > 50, "sessions too"
    said = json.loads(made.content[archive.MANIFEST])["halves"]
    assert said["files"] == {whole: list(pair) for whole, pair in FILES.items()}
    (vector,) = said["reader"]["outputs"]
    assert (vector["name"], vector["shape"], vector["dtype"]) == ("reader", [-1, 24], "float32")
    taken = {t["name"]: t for t in said["reader"]["inputs"] + said["candidate"]["inputs"]}
    assert {*STUDY.schema.input_names, "reader"} == set(taken) and "in_file" not in vector
    for reader, candidate in FILES.values():
        whole = len(made.content[f"model.{reader.split('.')[1]}"])
        assert len(made.content[reader]) < len(made.content[candidate]) < whole
    place = make.publish(made.content, tmp_path / "server", "v1")
    assert client.install(str(place), tmp_path / "phone").cases == checked.cases


@pytest.mark.parametrize("pair", FILES.values(), ids=WHOLES)
def test_a_wrong_half_is_named(made, pair, tmp_path):
    """Each with its hash made right: only the golden values can notice."""
    reader, candidate = pair
    content = made.content
    swapped = make.with_file(content, reader, content[candidate])
    swapped = make.with_file(swapped, candidate, content[reader])
    _refused(swapped, tmp_path, rf"{reader} takes inputs .*'reader'\], the model takes")
    for number, (file, said) in enumerate(
        (
            (reader, f"{reader} does not give the golden reader: "),
            (candidate, f"{candidate} does not score as model.* with the golden reader: "),
        )
    ):
        wrong = make.with_file(content, file, _moved(made, file))
        (tmp_path / str(number)).mkdir()
        _refused(wrong, tmp_path / str(number), said)


def _moved(made, file: str) -> bytes:
    """A half with one weight of its last layer changed by 0.01."""
    (reader, _), (candidate, _) = split_model(made.model)
    half, layer = (reader, "user_hidden") if file.startswith("reader") else (candidate, "output")
    return changed_weight(made.folder / file, half.get_layer(layer), 0.01)


def _in_another_order(made, folder, which: str) -> dict[str, bytes]:
    """A half whose vector has its first two values exchanged, in both runtimes."""
    import keras

    halves_of = dict(zip(halves.NAMES, split_model(made.model), strict=True))
    half, schema = halves_of[which]
    order = [
        1,
        0,
        *range(2, schema.inputs[0].size if which == "candidate" else half.output.shape[1]),
    ]
    if which == "reader":
        inputs = half.input
        wrong = keras.Model(inputs, keras.ops.take(half(inputs), order, axis=1))
    else:
        inputs = {t.name: keras.Input(t.shape, name=t.name, dtype=t.dtype) for t in schema.inputs}
        vector = keras.ops.take(inputs[READER], order, axis=1)
        wrong = keras.Model(inputs, half({**inputs, READER: vector}))
    framework.export(wrong, schema, folder / f"{which}.tflite")
    mnn.convert(folder / f"{which}.tflite", schema, folder / f"{which}.mnn")
    return {f"{which}.{s}": (folder / f"{which}.{s}").read_bytes() for s in ("tflite", "mnn")}


@pytest.mark.parametrize("suffix", ["tflite", "mnn"])
def test_another_order_of_the_vector_is_named(made, suffix, tmp_path):
    reader, candidate = (
        _in_another_order(made, tmp_path, which)[f"{which}.{suffix}"] for which in halves.NAMES
    )
    other = make.with_file(made.content, f"reader.{suffix}", reader)
    _refused(
        other,
        tmp_path,
        f"reader.{suffix} does not give the golden reader, but its values in another order: ",
    )
    both = make.with_file(other, f"candidate.{suffix}", candidate)
    (tmp_path / "both").mkdir()
    _refused(both, tmp_path / "both", f"reader.{suffix} does not .* in another order")
    alone = make.with_file(made.content, f"candidate.{suffix}", candidate)
    (tmp_path / "alone").mkdir()
    _refused(
        alone, tmp_path / "alone", f"candidate.{suffix} does not score as .* with the golden reader"
    )


def test_halves_that_agree_with_their_vectors_are_held_to_the_whole(made, tmp_path):
    """A table that no small case reads is damaged: both in turn score another list."""
    known = {
        name: np.concatenate([c.inputs[name] for c in made.cases.cases if c.rows <= 20])
        for name in made.split.reader.input_names
    }
    (reader, schema), _ = split_model(made.model)
    name, row = next(
        (name, int(ids[0]))
        for name in known
        for ids in made.cases.cases[4].inputs[name]
        if ids[0] not in known[name]
    )
    layer = reader.get_layer(f"table_{name}")
    (table,) = before = layer.get_weights()
    table = table.copy()
    table[row] += 0.5
    layer.set_weights([table])
    try:
        framework.export(reader, schema, tmp_path / "reader.tflite")
    finally:
        layer.set_weights(before)
    wrong = make.with_file(made.content, "reader.tflite", (tmp_path / "reader.tflite").read_bytes())
    _refused(
        wrong, tmp_path, "reader.tflite and candidate.tflite in turn do not score as model.tflite"
    )


def _said(change):
    def changed(content):
        said = json.loads(content[archive.MANIFEST])
        change(said)
        return {**content, archive.MANIFEST: json.dumps(said).encode()}

    return changed


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda s: s.pop("halves"), "has candidate.mnn, model.json does not say what the halves"),
        (lambda s: s["halves"].pop("reader"), "halves in model.json are damaged: KeyError"),
        (lambda s: s["halves"].update(files={}), "the halves are of"),
        (lambda s: s["halves"]["files"].pop("model.mnn"), "candidate.mnn is one of the halves"),
        (
            lambda s: s["halves"]["files"]["model.mnn"].reverse(),
            "the halves of model.mnn are candidate.mnn, reader.mnn and not reader.mnn and",
        ),
        (
            lambda s: s["halves"]["candidate"]["inputs"].pop(),
            "the halves take .* is not what the model takes",
        ),
        (
            lambda s: s["halves"]["reader"]["outputs"][0].update(name="vector"),
            "the reader gives vector float32",
        ),
    ],
)
def test_a_description_that_does_not_fit_is_refused(made, change, message, tmp_path):
    _refused(_said(change)(made.content), tmp_path, message)


def test_golden_vectors_of_other_cases_are_refused(made, tmp_path):
    vectors = golden.from_bytes(made.content[halves.GOLDEN])
    fewer = golden.to_bytes(replace(vectors, cases=vectors.cases[1:]))
    wrong = make.with_file(made.content, halves.GOLDEN, fewer)
    _refused(wrong, tmp_path, "reader.bin is not of the halves and the golden cases")


def test_a_reduced_file_and_a_model_of_one_piece_have_no_halves(made):
    trained, file, cases = made.of_study
    case = cases.cases[0]
    expected = {f: {"click": case.trained["click"] + np.float32(1e-3)} for f in WHOLES}
    reduced = replace(cases, cases=(replace(case, expected=expected), *cases.cases[1:]))
    assert halves.contents("feed", trained, file, reduced) == (None, {})
    assert halves.contents("ranking", trained, file, cases) == (None, {})


WRONG = """
from dataclasses import replace
from helpers.studies.feed import STUDY as FEED
from helpers.studies.feed.split import split_model

def split(model):
    (reader, of_reader), (candidate, of_candidate) = split_model(model)
    layer = candidate.get_layer("item_hidden")
    layer.set_weights([layer.get_weights()[0] * 1.01])
    return (reader, of_reader), (candidate, of_candidate)

MODELS = {"two_halves": replace(FEED.models["two_halves"], split=split)}
STUDY = replace(FEED, name="wrong", models=MODELS)
"""


def test_a_split_that_is_wrong_fails_where_the_bundle_is_made(made, home, tmp_path):
    (tmp_path / "wrong.py").write_text(WRONG)
    name = registry.link(str(tmp_path / "wrong.py"))
    said = "two_halves' do not ship: candidate.tflite does not score as model.tflite"
    with pytest.raises(BadInput, match=said):
        halves.contents(name, *made.of_study)


BY_ROW = """
#include "golden_run.h"
#include "halves.h"
#include "runner_tflite.h"

static int open_halves(runner *self, const char *path, const input_tensor *inputs, uint32_t n,
                       const input_tensor *outputs, uint32_t n_outputs, uint32_t batch) {
  return runner_open_halves(self, runner_open_tflite, path, inputs, n, outputs, n_outputs, batch);
}

int main(int argc, char **argv) { return golden_run(argc, argv, open_halves); }
"""


@pytest.fixture(scope="module")
def in_c(made, tmp_path_factory):
    """The unpacked bundle with its sources in C."""
    folder = _written(made.content, tmp_path_factory.mktemp("c") / "bundle")
    minimum = {"tflite": "2.9.0", "mnn": "3.1.0"}
    rendered = sources.render(STUDY.schema, WHOLES, minimum, encoding=True, halves=made.split)
    for name, text in rendered.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def _built(builder, *arguments, **options):
    try:
        return builder(*arguments, **options)
    except native.NotHere as reason:
        pytest.skip(str(reason))


def _all(made) -> str:
    count = len(sessions.from_json(made.content[sessions.FILE]).cases)
    return f": {count} of {count} sessions reproduced by "


@pytest.mark.parametrize("whole", WHOLES)
def test_the_c_program_re_ranks_with_the_halves(in_c, made, whole, tmp_path):
    command = _built(native.build_rerank, in_c / "c", tmp_path, whole, halves=True)
    raw = (in_c / "features.json", in_c / "sessions.json")
    outcome = native.run(command, in_c / whole, *raw)
    assert outcome.status == 0 and _all(made) in outcome.lines[-1], outcome.lines[-3:]
    reader, candidate = FILES[whole]
    for file in (reader, candidate):
        wrong = _written(made.content, tmp_path / f"wrong-{file}")
        (wrong / file).write_bytes(_moved(made, file))
        outcome = native.run(command, wrong / whole, *raw)
        failed = [line for line in outcome.lines if line.startswith("FAIL")]
        assert outcome.status == 1 and "scores" in failed[0], outcome.lines[:3]
        (wrong / file).unlink()
        outcome = native.run(command, wrong / whole, *raw)
        assert outcome.status == 2 and file.split(".")[0] in outcome.lines[-1], outcome.lines


def test_rows_of_many_readers_get_the_vector_of_their_own(in_c, made, tmp_path):
    source = in_c / "c" / "by_row.c"
    source.write_text("#define _POSIX_C_SOURCE 199309L\n" + BY_ROW)
    command = _built(native._build_tflite, source, tmp_path)
    outcome = native.run(command, in_c / "model.tflite", in_c / "golden.bin")
    assert outcome.status == 0 and "7 of 7 cases" in outcome.lines[-1], outcome.lines
