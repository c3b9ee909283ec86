"""The clients that install bundles on a phone, in Kotlin and Swift, say to every attack what the
reference says.

Kotlin runs on the JVM of this machine and Swift on Linux, with TensorFlow Lite itself scoring the
golden cases; see `delivering` for the corpus.
"""

import contextlib
import hashlib
import json
import random
import re
import shutil
import signal
import time
import zlib
from pathlib import Path

import pytest
from bundling import ios_module, publish
from delivering import CASES, Process, Python, Server, meet, tree
from test_android import KOTLIN, STUBS, _kotlinc, natives, stubs  # noqa: F401 (a fixture)
from test_swift import _PLACES, LANGUAGES, swift  # noqa: F401 (a fixture)
from test_swift import STUBS as SWIFT_STUBS

from helpers import files
from helpers.bundle import archive, client, golden, native, rollout, sources
from helpers.errors import DamagedFile

slow = pytest.mark.slow
NAME = "UltraSimpleRankingModel"
SOURCES = (
    "ModelDelivery.kt",
    "Download.kt",
    "Bundle.kt",
    "Scorer.kt",
    "StrictJson.kt",
    f"{NAME}Inputs.kt",
    f"{NAME}.kt",
)


@pytest.fixture(scope="module")
def bundle(unpacked, tmp_path_factory) -> Path:
    """The bundle with the model that is scored on every device alone."""
    folder = tmp_path_factory.mktemp("bundle") / "v1"
    shutil.copytree(unpacked, folder)
    return folder


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory):
    running = Server(bundle, publish(bundle, tmp_path_factory.mktemp("server")))
    yield running
    running.close()


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Python:
    return Python(tmp_path_factory.mktemp("python"))


@pytest.fixture(scope="module")
def rendered(ranking) -> dict[str, str]:
    return sources.render(ranking.schema, ["model.tflite"], {"tflite": "2.9.0"})


@pytest.fixture(scope="module")
def kotlin(stubs, rendered, tmp_path_factory):  # noqa: F811
    """Start the Kotlin client; it has a process of its own."""
    folder = tmp_path_factory.mktemp("kotlin")
    texts = {Path(path).name: text for path, text in rendered.items() if Path(path).name in SOURCES}
    texts["Deliver.kt"] = (
        (STUBS / "Deliver.kt").read_text().replace("PACKAGE", NAME.lower()).replace("NAME", NAME)
    )
    (folder / "sources").mkdir()
    for name, text in texts.items():
        (folder / "sources" / name).write_text(text)
    done = _kotlinc("-cp", stubs, "-d", folder / "classes", *(folder / "sources").iterdir())
    assert done.returncode == 0 and not done.stderr, done.stderr
    (folder / "natives").mkdir()
    library, classes = natives(stubs, folder / "natives")
    path = ":".join(
        map(str, [classes, folder / "classes", stubs, KOTLIN / "lib" / "kotlin-stdlib.jar"])
    )
    command = [
        "java",
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        f"-Dinterpreter={library}",
        "-cp",
        path,
        f"{NAME.lower()}.DeliverKt",
    ]
    place = tmp_path_factory.mktemp("phones")
    running = Process("kotlin", command, place, place)
    yield running
    running.close()


@pytest.fixture(scope="module")
def iphone(swift, rendered):  # noqa: F811
    """Start the Swift client; it has a process of its own, and sees its folder as ``/work``."""
    texts = ios_module(rendered)
    texts = {name: text for name, text in texts.items() if "Tests" not in name}
    texts["Deliver.swift"] = (SWIFT_STUBS / "Deliver.swift").read_text().replace("NAME", NAME)
    (swift.folder / "delivery").mkdir()
    for name, text in texts.items():
        (swift.folder / "delivery" / name).write_text(text)
    link = ["-lTensorFlowLite", "-Xlinker", "-rpath", "-Xlinker", "/work", "-parse-as-library"]
    to = ["-module-name", "App", "-o", "deliver"]
    names = [f"delivery/{name}" for name in texts]
    done = swift("swiftc", *LANGUAGES["6, on the main actor"], *_PLACES, *link, *to, *names)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    (swift.folder / "phones").mkdir()
    enter = native.tools() / "swift" / "enter"
    command = [enter, swift.folder, "/work/deliver"]
    running = Process("swift", command, swift.folder / "phones", Path("/work/phones"))
    yield running
    running.close()


CLIENTS = {"python": "python", "kotlin": "kotlin", "swift": "iphone"}


def _is_quick(name: str) -> bool:
    """Whether the reference refuses it before it starts a process that scores."""
    kind, _, rest = name.partition(":")
    refused = CASES[name].verdict == "DAMAGED" and kind in ("descriptor", "zip", "layout", "entry")
    return refused and rest != " another version"


@pytest.mark.parametrize(
    ("which", "name"),
    [
        pytest.param(which, name, marks=() if which == "python" and _is_quick(name) else slow)
        for which in CLIENTS
        for name in CASES
    ],
)
def test_every_client_gives_the_same_verdict(request, server, tmp_path, which, name):
    phone, case = request.getfixturevalue(CLIENTS[which]), CASES[name]
    folder = phone.folder / f"case-{list(CASES).index(name)}" / "phone"
    folder.parent.mkdir()
    kind, said = meet(case, server, folder, tmp_path, phone.call)
    if case.on_phone and which != "python":
        assert kind == case.on_phone, (kind, said)
    else:
        assert kind == case.verdict and re.search(case.said, said), (kind, said)
    if case.current is not ...:
        now = client.current(folder)
        assert (archive.manifest(now)["version"] if now else None) == case.current
    assert not list(folder.rglob(".partial-*")) and not list(folder.parent.rglob("outside"))


PHONES = [pytest.param("kotlin", marks=slow), pytest.param("iphone", marks=slow)]


@pytest.mark.parametrize("which", PHONES)
def test_users_get_the_versions_that_the_server_says(request, tmp_path, which):
    """Of weights that differ much and little, ids in other alphabets, and several tests."""
    phone = request.getfixturevalue(which)
    rng = random.Random(5)
    names = ("v1", "v2", "2026-09.b", "a_long-version.name")
    for number in range(2000):
        user = rng.choice((f"user-{number}", f"\u7528\u6237{number}", f"\U0001f600 {number}", ""))
        weights = {name: rng.choice((1.0, 0.1, 1e-9, 3.7)) for name in names[: rng.randint(1, 4)]}
        weights["never"] = 0.0
        test = rng.choice(("", "first", "zweiter \u00e4"))
        said = [f"{name}={weight!r}" for name, weight in weights.items()]
        found = phone.ask("assign", "-", user, test, *said)
        assert found == ["assigned", rollout.assign(user, weights, test=test)], (
            user,
            weights,
            test,
        )


@pytest.mark.parametrize("which", PHONES)
def test_the_reference_reads_what_a_phone_installed_and_the_other_way_round(
    request, server, tmp_path, which
):
    phone, case = request.getfixturevalue(which), CASES["then: a second"]
    folder = phone.folder / "shared"
    case.prepare(server, tmp_path)
    server.reset()
    assert phone.call("install", folder, server.url)[0] == "accepted"
    first = client.current(folder)
    assert client.verify(first).version == "v1"
    case.between[0](server, tmp_path, folder)
    assert client.install(server.url, folder).replaced == "v1"
    second = client.current(folder)
    assert phone.ask("current", phone.seen(folder)) == ["current", second.name]
    assert phone.call("rollback", folder) == ("accepted", first.name)
    assert client.rollback(folder) == second
    assert {path.name for path in folder.iterdir()} == {
        ".workbench-bundles",
        "versions",
        "current",
        "previous",
        "downloads",
    }


@pytest.mark.parametrize("which", PHONES)
def test_a_phone_leaves_alone_what_is_not_its_own(request, server, tmp_path, which):
    phone = request.getfixturevalue(which)
    folder, digits = phone.folder / "foreign", "0123456789abcdef" * 4
    server.reset()
    assert phone.call("install", folder, server.url)[0] == "accepted"
    foreign = [
        "letter.txt", "downloads/photo.jpg", "downloads/v9.zip", f"downloads/v9-{digits}.zip.bak",
        "versions/v1/model.tflite", f"versions/{digits}/letter.txt", f"versions/v9-{digits}-x/a",
        "versions/.partial-phone-letter.txt", f"versions/.partial-0123abcd-7-v9-{digits}/a",
        ".partial-phone-letter.txt",
    ]  # fmt: skip
    for name in foreign:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    outside = folder.with_name("foreign-outside")
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "letter.txt").write_text("dear")
    links = [f"versions/v8-{digits}", "downloads/all", f"downloads/v8-{digits}.zip"]
    for name in links:
        (folder / name).symlink_to(Path("../..") / outside.name)
    ours = [
        f"versions/v6-{digits}",
        f"versions/v6-{digits[:12]}-2",
        f"versions/.partial-phone-v6-{digits}",
    ]
    for name in ours:
        (folder / name).mkdir()
        (folder / name / "model.json").write_text("{}")
    (folder / "downloads" / f"v6-{digits}.zip").write_text("half")
    before = tree(outside)
    CASES["then: a second"].between[0](server, tmp_path, folder)
    assert phone.call("install", folder, server.url)[0] == "accepted"
    assert [name for name in foreign if (folder / name).read_text() != name] == []
    assert all((folder / name).is_symlink() for name in links) and tree(outside) == before
    assert not any((folder / name).exists() for name in (*ours, f"downloads/v6-{digits}.zip"))


def _version(folder: Path) -> str:
    return archive.manifest(client.current(folder))["version"]


@pytest.mark.parametrize("which", PHONES)
def test_a_kill_at_any_moment_leaves_a_whole_version_in_use(request, server, tmp_path, which):
    phone = request.getfixturevalue(which)
    folder, rng, seen = phone.folder / "killed", random.Random(3), set()
    second = CASES["then: a second"].between[0]
    server.reset()
    assert phone.call("install", folder, server.url)[0] == "accepted"
    took = []
    for version in (second, lambda *_: server.reset()):
        version(server, tmp_path, folder)
        phone.close()
        phone.start()  # what it takes in a fresh process, as after a kill
        phone.ask("current", phone.seen(folder))
        started = time.monotonic()
        assert phone.call("install", folder, server.url)[0] == "accepted"
        took.append(time.monotonic() - started)
    try:
        for number in range(20):
            (lambda *_: server.reset(), second)[number % 2](server, tmp_path, folder)
            phone.ask("current", phone.seen(folder))  # it is up
            phone.send("install", phone.seen(folder), server.url)
            if number < 18:
                time.sleep(rng.uniform(0, 1.2) * max(took))
            else:  # however slow the machine has become: as soon as the new version is in use
                wanted, deadline = ("v1", "v2")[number % 2], time.monotonic() + 120
                while time.monotonic() < deadline and _version(folder) != wanted:
                    time.sleep(0.001)
            phone.process.send_signal(signal.SIGKILL)
            phone.process.communicate()
            phone.start()
            seen.add(_version(folder))
            archive.check_files(client.current(folder))
    finally:
        if phone.process.poll() is not None:
            phone.start()
    assert seen == {"v1", "v2"}
    server.reset()
    assert phone.call("install", folder, server.url)[0] == "accepted"
    assert client.verify(client.current(folder)).version == "v1"
    assert not list(folder.rglob(".partial-*")) and not list((folder / "downloads").iterdir())
    assert len(list((folder / "versions").iterdir())) <= 2


@slow
def test_two_hundred_damaged_bundles_get_one_verdict(request, server, tmp_path):
    """Bits flipped and bytes cut in descriptors, zips, manifests and golden cases, under hashes
    that fit. Of the schema in ``model.json`` phones read what the golden cases must agree with.
    """
    rng, phones = (
        random.Random(7),
        {which: request.getfixturevalue(CLIENTS[which]) for which in CLIENTS},
    )
    outcomes, differing = {"accepted": 0, "DAMAGED": 0, "FETCH": 0}, []

    def damaged(content: bytes) -> bytes:
        if rng.random() < 0.2:
            return content[: rng.randrange(len(content))]
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 3))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    for number in range(200):
        server.reset()
        kind = ("descriptor", "zip", "golden.bin", "model.json")[number % 4]
        if kind == "descriptor":
            server.descriptor = damaged(json.dumps(server.descriptor).encode())
        elif kind == "zip":
            server.announce(damaged(server.zip))
        else:
            folder = tmp_path / f"damaged-{number}"
            shutil.copytree(server.unpacked, folder)
            (folder / kind).write_bytes(damaged((folder / kind).read_bytes()))
            if kind == "golden.bin":
                said = json.loads((folder / "model.json").read_text())
                said["sha256"][kind] = files.sha256(folder / kind)
                (folder / "model.json").write_text(json.dumps(said))
                with contextlib.suppress(DamagedFile):  # else golden.json tells them apart
                    cases = golden.from_bytes((folder / kind).read_bytes())
                    (folder / "golden.json").write_text(golden.to_json(cases))
                    said["sha256"]["golden.json"] = files.sha256(folder / "golden.json")
                    (folder / "model.json").write_text(json.dumps(said))
            server.publish(folder)
        verdicts = {
            which: phone.call("install", phone.folder / f"damaged-{number}", server.url)
            for which, phone in phones.items()
        }
        if verdicts["python"][1].startswith("the schema in model.json is damaged"):
            verdicts["python"] = verdicts["kotlin"]
        if len({verdict[0] for verdict in verdicts.values()}) > 1:
            differing.append((number, kind, verdicts))
        outcomes[verdicts["python"][0]] += 1
    assert not differing, differing
    assert outcomes["DAMAGED"] > 100 and outcomes["accepted"] > 5, outcomes


@slow
def test_swift_inflates_what_zlib_does_and_refuses_what_it_refuses(iphone):
    """Streams of every kind and level, whole, cut, and with flipped bits."""
    rng = random.Random(11)
    given, made = iphone.folder / "given", iphone.folder / "made"
    outcomes = {"inflated": 0, "damaged": 0}
    for number in range(600):
        alphabet = rng.choice((b"ab", bytes(range(256)), b"the quick brown fox "))
        content = bytes(rng.choices(alphabet, k=rng.choice((0, 1, 100, 5000, 70_000))))
        content *= rng.choice((1, 1, 1, 5))
        strategy = rng.choice(
            (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
        )
        packer = zlib.compressobj(rng.choice((0, 1, 6, 9)), zlib.DEFLATED, -15, 9, strategy)
        stream = bytearray(packer.compress(content) + packer.flush())
        if number % 3 == 1:
            for _ in range(rng.choice((1, 1, 3))):
                stream[rng.randrange(min(len(stream), rng.choice((8, 200, 1 << 20))))] ^= (
                    1 << rng.randrange(8)
                )
        elif number % 3 == 2:
            stream = stream[: rng.randrange(len(stream))] if rng.random() < 0.5 else stream + b"x"
        given.write_bytes(stream)
        kind = iphone.ask("inflate", iphone.seen(given), iphone.seen(made))[0]
        reference = zlib.decompressobj(-15)
        try:
            wanted = reference.decompress(bytes(stream))
            whole = reference.eof and not reference.unused_data
        except zlib.error:
            whole = False
        assert kind == ("inflated" if whole else "damaged"), number
        assert not whole or made.read_bytes() == wanted
        outcomes[kind] += 1
    assert min(outcomes.values()) > 150


@slow
def test_swift_computes_the_digests_that_hashlib_does(iphone):
    rng = random.Random(2)
    given = iphone.folder / "given"
    for size in (*range(130), 1 << 18, (1 << 18) + 1, 1_000_003):
        content = rng.randbytes(size)
        given.write_bytes(content)
        wanted = [hashlib.new(name, content).hexdigest() for name in ("md5", "sha256")]
        assert iphone.ask("digests", iphone.seen(given)) == ["digests", *wanted]
