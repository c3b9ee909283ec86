import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers import datasets, files, pipeline, registry, simulation, studies
from helpers.errors import BadInput, DamagedFile, WorkbenchError

SIZES = {"rows": 250_000, "validation_rows": 1000, "test_rows": 1000}
SMALL = {"rows": 400, "validation_rows": 100, "test_rows": 200}


def _bytes(data: datasets.Dataset) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(data.folder.iterdir())}


@pytest.mark.parametrize("source", ["simple", "personalised"])
def test_same_bytes_however_many_workers(ranking, source):
    made = {}
    for workers in (1, 2, 5):
        data = datasets.make(ranking, source, seed=3, workers=workers, **SIZES)
        made[workers] = _bytes(data)
        shutil.rmtree(data.folder)
    assert len(made[1]) == 3 + 1 + 1 + 1  # parts of train, validation, test; dataset.json
    assert made[1] == made[2] == made[5]


def test_other_seed_other_rows(ranking):
    first, second = (datasets.make(ranking, "simple", seed=seed, **SMALL) for seed in (1, 2))
    assert first.folder != second.folder
    assert not np.array_equal(first.read("train")["user_age"], second.read("train")["user_age"])
    train, test = first.read("train", limit=100), first.read("test")
    assert not np.isin(train["user_age"], test["user_age"]).any(), (
        "no row of the training set is in the test set"
    )


def test_a_sample_is_the_start_of_the_set(ranking):
    data = datasets.make(ranking, "simple", seed=1, **SMALL)
    for split in datasets.SPLITS:
        sample = simulation.sample(ranking, "simple", rows=data.rows(split), seed=1, split=split)
        assert data.read(split).equals(sample)


def test_made_once_and_shared(ranking):
    data = datasets.make(ranking, "simple", seed=1, **SMALL)
    before = {path: path.stat().st_mtime_ns for path in data.folder.iterdir()}
    again = datasets.make(ranking, "simple", seed=1, **SMALL)
    assert (
        again.folder == data.folder
        and {p: p.stat().st_mtime_ns for p in data.folder.iterdir()} == before
    )


def test_limit_and_columns(ranking):
    data = datasets.make(ranking, "simple", seed=1, **SIZES)
    frame = data.read("train", ["label"], limit=150_000)
    assert list(frame) == ["label"] and len(frame) == 150_000
    assert len(data.read("train")) == 250_000
    with pytest.raises(BadInput, match="train, validation, test"):
        data.read("tset")


def test_a_changed_byte_is_refused_and_the_set_is_made_anew(ranking, tmp_path):
    data = datasets.make(ranking, "simple", seed=1, **SMALL)
    good = _bytes(data)
    data.save(tmp_path / "data.json")
    part = data.folder / "test-00000.parquet"
    damaged = bytearray(part.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    part.write_bytes(damaged)
    with pytest.raises(
        DamagedFile, match="test-00000.parquet is gone or is not the file.*notebook 01"
    ):
        datasets.load(tmp_path / "data.json").read("test")
    assert _bytes(datasets.make(ranking, "simple", seed=1, **SMALL)) == good


MAKE = """
import sys
from helpers import datasets, registry
sizes = dict(rows=12_000, validation_rows=20, test_rows=200, seed=1)
for name in ("ranking", "feed"):
    data = datasets.make(registry.get(name), "default", **sizes)
    print(data.folder.name, *(part["sha256"] for part in data.manifest["parts"]["train"]))
"""


def _made_by(package, home, script=MAKE, **edits) -> list[list[str]]:
    """Folder and parts of a data set of `ranking` and one of `feed`, made by a copy of the package
    with edits.
    """
    if not package.exists():
        shutil.copytree(
            files.project() / "src/helpers", package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for module, (old, new) in edits.items():
        path = package / f"{module.replace('__', '/')}.py"
        text = path.read_text()
        assert old in text, f"{module} has no {old!r}"
        path.write_text(text.replace(old, new))
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "WORKBENCH_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    return [line.split() for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """What an unchanged copy of the package makes, in a home of its own."""
    folder = tmp_path_factory.mktemp("sound")
    return _made_by(folder / "helpers", folder / "home"), folder / "home"


@pytest.mark.parametrize(
    ("edits", "other"),
    [
        (
            {"simulation": ("np.median(utilities, overwrite_input=True)", "np.mean(utilities)")},
            ["ranking", "feed"],
        ),
        ({"features__fitting": ('"inverted_cdf"', '"median_unbiased"')}, ["ranking", "feed"]),
        ({"features__encoders": ('side="right"', 'side="left"')}, ["ranking", "feed"]),
        ({"studies__feed__world": ("POSITION_EFFECT = 0.08", "POSITION_EFFECT = 0.8")}, ["feed"]),
    ],
)
def test_whatever_code_makes_the_rows_makes_another_data_set(sound, tmp_path, edits, other):
    """Median to mean, another bucket rule, another study: in the same home, the old data is not
    used again.
    """
    before, home = sound
    after = _made_by(tmp_path / "helpers", home, **edits)
    for study, old, new in zip(("ranking", "feed"), before, after, strict=True):
        assert (old[0] != new[0]) == (study in other)
    assert before[1][1:] != after[1][1:] or before[0][1:] != after[0][1:], "the edit changes rows"


def test_other_code_makes_no_other_data_set(sound, tmp_path):
    before, home = sound
    elsewhere = (
        "plots__ranking",
        "evaluation__latency",
        "files",
        "overlap",
        "datasets",
        "learning__ranking",
        "code",
    )
    edits = {module: ("from __future__", "# edited\nfrom __future__") for module in elsewhere}
    assert _made_by(tmp_path / "helpers", home, **edits) == before


def test_an_edit_counts_from_when_it_is_executed(sound, tmp_path):
    """A kernel that has loaded the old code goes on with it; its data set keeps the old name."""
    before, home = sound
    edit = """
from helpers import code, registry, simulation
registry.get("feed"), registry.get("ranking"), code.loaded()
with open(simulation.__file__, "a") as file:
    file.write("# edited")
"""
    package = tmp_path / "helpers"
    assert _made_by(package, home, script=edit + MAKE) == before
    assert [name for name, *_ in _made_by(package, home)] != [name for name, *_ in before]


def test_another_plan_of_features_is_another_data_set(home):
    feed = registry.get("feed")
    plan = (dataclasses.replace(feed.features[0], buckets=4), *feed.features[1:])
    sizes = {**SMALL, "rows": 12_000}
    changed = dataclasses.replace(feed, features=plan)
    first, second = (datasets.make(study, "default", seed=1, **sizes) for study in (feed, changed))
    assert first.folder != second.folder and first.encoding != second.encoding


def test_users_with_several_requests_are_a_column(ranking, home):
    source = dataclasses.replace(ranking.source("simple"), requests_a_user=5)
    several = dataclasses.replace(ranking, sources={**ranking.sources, "simple": source})
    data = datasets.make(several, "simple", seed=1, **SMALL)
    frame = data.read("train", [simulation.USER, datasets.REQUEST])
    assert (frame[simulation.USER] == frame[datasets.REQUEST] // 5).all()
    np.testing.assert_array_equal(data.users("train"), frame[simulation.USER])
    assert data.raw_columns == []
    plain = datasets.make(ranking, "simple", seed=1, **SMALL)
    assert plain.folder != data.folder and plain.users("train") is None


def test_full_disk_is_an_error_and_leaves_nothing(ranking, small_tmpfs, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(small_tmpfs))
    with pytest.raises(WorkbenchError, match="disk is full"):
        datasets.make(ranking, "simple", seed=1, **{**SMALL, "rows": 20_000})
    assert [name for _, _, files in os.walk(small_tmpfs) for name in files] == []
    data = datasets.make(ranking, "simple", seed=1, **SMALL)
    data.verify()


MAKERS = """
import multiprocessing, os, sys, threading
from helpers import datasets, registry
study = registry.get("ranking")

def make():
    sizes = {"rows": 400, "validation_rows": 100, "test_rows": 200}
    return datasets.make(study, "simple", seed=1, workers=1, **sizes)

def maker(barrier, rounds, failures):
    for number in range(rounds):
        barrier.wait(60)
        try:
            made = make()
            for _ in range(20):
                datasets.Dataset(made.folder, made.manifest).verify()
        except BaseException as error:
            failures.put(f"round {number}: {error!r}")
        barrier.wait(60)

def intrude(folder, stop):
    while not stop.is_set():
        (folder / "dataset.json").write_text("half {")

if __name__ == "__main__":
    rounds, processes = 25, 3
    context = multiprocessing.get_context("fork")
    barrier, failures, stop = context.Barrier(processes + 1), context.Queue(), context.Event()
    folder = make().folder
    shared = (barrier, rounds, failures)
    children = [context.Process(target=maker, args=shared) for _ in range(processes)]
    if sys.argv[1] == "and one who meddles":
        children.append(context.Process(target=intrude, args=(folder, stop)))
    for child in children:
        child.start()
    for number in range(rounds):
        (folder / "dataset.json").write_text("half {")
        if number % 2:
            (folder / "test-00000.parquet").unlink()
        barrier.wait(60)
        barrier.wait(60)
        datasets.Dataset(folder, make().manifest).verify()
    stop.set()
    for child in children:
        child.join()
    while not failures.empty():
        print(failures.get())
    print(*(name for name in os.listdir(folder.parent) if name not in (folder.name, ".lock")))
"""


@pytest.mark.parametrize("others", ["alone", "and one who meddles"])
def test_makers_at_once_all_end_with_the_whole_set(ranking, others):
    """Each finds a damaged set, makes it anew and puts it in its place, at the same moment as the
    others.
    """
    done = subprocess.run(
        [sys.executable, "-c", MAKERS, others], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stdout + done.stderr[-2000:]


OUT_OF_FILES = """
import os, resource, threading, time
from helpers import datasets, errors, registry
study = registry.get("ranking")

def make():
    sizes = {"rows": 400, "validation_rows": 100, "test_rows": 200}
    return datasets.make(study, "simple", seed=1, workers=1, **sizes)

folder = make().folder
make()
mark = lambda path: (path.name, path.stat().st_ino, path.stat().st_mtime_ns)
state = lambda: sorted(mark(path) for path in [folder, *folder.iterdir()])
before = state()

def attempt():
    try:
        make()
        return "there"
    except errors.WorkbenchError as error:
        return str(error)
    except BaseException as error:
        return repr(error)

limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
never = attempt()
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
print(never)

stop, said = threading.Event(), set()
def come_and_go():
    while not stop.is_set():
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        time.sleep(0.002)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        time.sleep(0.002)
thread = threading.Thread(target=come_and_go)
thread.start()
for _ in range(100):
    said.add(attempt())
stop.set()
thread.join()
print(state() == before, sorted(os.listdir(folder.parent)) == sorted([folder.name, ".lock"]))
print(*sorted(said), sep="\\n")
"""


def test_too_many_open_files_are_no_reason_to_make_a_set_anew(ranking):
    """A set that cannot be read just now is not one that is not there: it stays, and the user is
    told.
    """
    done = subprocess.run(
        [sys.executable, "-c", OUT_OF_FILES], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    never, same, *said = done.stdout.splitlines()
    wanted = r"cannot read data/ranking/\w{16}/\S+ \(Too many open files\): nothing was changed"
    assert re.match(wanted, never) and same == "True True", done.stdout
    assert all(line == "there" or re.match(wanted, line) for line in said), done.stdout


TEN_MILLION = r"""
import re, resource, sys
from helpers import datasets, registry
sizes = dict(rows=10_000_000, validation_rows=1000, test_rows=1000)
data = datasets.make(registry.get("ranking"), "simple", seed=1, workers=2, **sizes)
if sys.platform == "linux":  # ru_maxrss there begins with what the parent had
    memory = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) * 1024
else:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(data.rows("train"), len(data.manifest["parts"]["train"]), memory)
"""


@pytest.mark.slow
def test_ten_million_rows_in_bounded_memory_with_a_progress_bar(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE")
    done = subprocess.run(
        [sys.executable, "-c", TEN_MILLION], capture_output=True, text=True, check=True
    )
    assert "train: write:" in done.stderr and "rows/s" in done.stderr
    rows, parts, memory = map(int, done.stdout.split())
    assert (rows, parts) == (10_000_000, 100)
    assert memory < 1e9, f"{memory / 1e6:.0f} MB"


def test_home_moves_the_data(ranking, home):
    data = datasets.make(ranking, "simple", seed=1, **SMALL)
    assert data.folder.is_relative_to(home / "data" / "ranking") and files.home() == home.resolve()


def test_other_noise_or_threshold_is_another_data_set(ranking):
    data = datasets.make(ranking, "personalised", seed=1, **SMALL)
    source = dataclasses.replace(ranking.sources["personalised"], threshold=-3.0)
    other = dataclasses.replace(ranking, sources={"personalised": source})
    assert datasets.make(other, "personalised", seed=1, **SMALL).folder != data.folder


@pytest.mark.parametrize("content", ["{}", "[]", "null", "half {", None])
def test_a_damaged_manifest_is_made_anew(ranking, content):
    data = datasets.make(ranking, "simple", seed=1, **SMALL)
    good = _bytes(data)
    edited = (data.folder / "dataset.json").read_text().replace('"train": -', '"train": -1')
    assert edited.encode() != good["dataset.json"]
    (data.folder / "dataset.json").write_text(edited if content is None else content)
    assert _bytes(datasets.make(ranking, "simple", seed=1, **SMALL)) == good


@pytest.mark.parametrize(
    ("name", "value"), [("rows", 0), ("rows", -5), ("rows", 30.5), ("seed", -1), ("workers", -1)]
)
def test_impossible_sizes_are_refused(ranking, name, value):
    with pytest.raises(BadInput, match=name):
        datasets.make(ranking, "simple", **{"seed": 1, **SMALL, name: value})


def test_unknown_columns_and_empty_limits_are_refused(ranking):
    data = datasets.make(ranking, "simple", seed=1, **SMALL)
    with pytest.raises(BadInput, match="no column bogus; there is: user_age"):
        data.read("train", ["bogus"])
    with pytest.raises(BadInput, match="at least 1 row"):
        data.read("train", limit=0)


@pytest.mark.parametrize("name", ["label", "request", "user", "bayes_probability"])
def test_an_input_with_the_name_of_a_column_beside_the_inputs_is_refused(ranking, name):
    first, *rest = ranking.schema.inputs
    schema = dataclasses.replace(
        ranking.schema, inputs=(dataclasses.replace(first, name=name), *rest)
    )
    with pytest.raises(BadInput, match=f"'{name}': give the input another name"):
        datasets.make(dataclasses.replace(ranking, schema=schema), "simple", seed=1, **SMALL)


@pytest.mark.slow
def test_chunks_go_through_every_row_once_in_another_order_each_time(ranking, monkeypatch):
    monkeypatch.setattr(datasets, "MEMORY_BYTES", 100_000)
    sizes = {"rows": 250_000, "validation_rows": 20, "test_rows": 200}
    data = datasets.make(ranking, "simple", seed=1, **sizes)
    stream = data.stream(ranking.schema, seed=3)
    assert stream.rows == 250_000 and len(data.splits(ranking.schema)["train"][1]) < 250_000
    whole, labels, _ = data.arrays("train")
    wanted = np.concatenate([a.reshape(250_000, -1) for a in whole.values()], axis=1)
    wanted = np.concatenate([wanted, labels[:, None]], axis=1)

    def stacked(chunks) -> np.ndarray:
        parts = []
        for inputs, found in chunks:
            flat = [a.reshape(len(found), -1) for a in inputs.values()]
            parts.append(np.concatenate([*flat, found[:, None]], axis=1))
        assert all(len(part) % 64 == 0 for part in parts[:-1])
        return np.concatenate(parts)

    first, again, next_one = (stacked(stream.epoch(epoch, 64)) for epoch in (0, 0, 1))
    assert (first == again).all() and not (first == next_one).all()
    for found in (first, next_one):
        assert np.array_equal(*(rows[np.lexsort(rows.T)] for rows in (found, wanted)))
    assert (stacked(data.chunks("train", schema=ranking.schema, multiple=64)) == wanted).all()


def test_chunks_without_labels_have_none(ranking):
    drawn = studies.drawn(ranking.schema)
    study = dataclasses.replace(ranking, sources={"drawn": drawn}, task="tensors")
    data = datasets.make(study, "drawn", seed=1, **SMALL)
    ((inputs, labels),) = data.chunks("train", schema=ranking.schema, seed=1)
    assert labels is None and list(inputs) == ranking.schema.input_names


def test_what_fits_is_not_streamed(ranking):
    data = datasets.make(ranking, "simple", rows=400, validation_rows=20, test_rows=200, seed=1)
    assert data.stream(ranking.schema, seed=1) is None
    assert len(data.splits(ranking.schema)["train"][1]) == 400


def test_augmented_rows_have_a_stream_of_chance_for_each_part_of_each_epoch(ranking, monkeypatch):
    monkeypatch.setattr(simulation, "CHUNK_ROWS", 200)
    data = datasets.make(ranking, "simple", rows=600, validation_rows=20, test_rows=200, seed=1)

    def drawn(rng, inputs):
        return {name: np.full_like(array, rng.random()) for name, array in inputs.items()}

    stream = data.stream(ranking.schema, 3, drawn)
    epochs = [list(stream.epoch(epoch, 50)) for epoch in (0, 1, 0)]
    values = [[inputs["user_features"][0, 0] for inputs, _ in epoch] for epoch in epochs]
    assert values[0] == values[2] and len({*values[0], *values[1]}) == 6
    plain = datasets.Stream(data, ranking.schema, 3)
    for (_, labels), (_, expected) in zip(epochs[1], plain.epoch(1, 50), strict=True):
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        (
            lambda rng, inputs: {n: a[:-1] for n, a in inputs.items()},
            "400 rows are augmented to 399",
        ),
        (lambda rng, inputs: {n: a.astype(float) for n, a in inputs.items()}, "float64"),
        (lambda rng, inputs: {n: a * np.nan for n, a in inputs.items()}, "nan"),
        (lambda rng, inputs: {}, "user_features"),
    ],
)
def test_augmented_rows_that_a_model_does_not_take_are_refused(ranking, augment, said):
    data = datasets.make(ranking, "simple", rows=400, validation_rows=20, test_rows=200, seed=1)
    with pytest.raises(BadInput, match=said):
        list(data.stream(ranking.schema, 1, augment).epoch(0, 50))


@pytest.mark.parametrize("name", ["ranking", "feed"])
def test_what_the_studies_of_the_house_draw_by_default_is_not_streamed(name):
    """Rows in another order are other weights, and the figures that are published would move."""
    study = registry.get(name)
    rows = dict.fromkeys(datasets.SPLITS, pipeline.default(name, "rows"))
    assert datasets.Dataset(Path(), {"rows": rows}).in_memory(study.schema) == rows
