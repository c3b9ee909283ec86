"""The encoding in C: the same ids as `helpers.features` and the same refusals, and no input that
harms it.
"""

import json
import math
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import test_features as cases
from bundling import feed_schema

from helpers import features, strict_json
from helpers.bundle import native, sessions, sources
from helpers.errors import BadInput
from helpers.features import Bucketize, Encoding, Equal, LabelEncode, Plain

PROGRAM = Path(__file__).parent / "stubs" / "c" / "encode.c"
SANITISED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")
PLAIN = "-O2"


@pytest.fixture(scope="module")
def c(tmp_path_factory) -> Path:
    """The folder of the rendered C sources."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("sources")
    schema = feed_schema(["f1", "f2"])
    for name, text in sources.render(
        schema, ["model.tflite"], {"tflite": "2.9.0"}, encoding=True
    ).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "c"


@pytest.fixture(scope="module")
def run(c, tmp_path_factory):
    """Encodes in C, with the sanitisers if asked for: lines for frames."""
    folder, built = tmp_path_factory.mktemp("encode"), {}

    def run(frames: list[bytes], options: tuple[str, ...] = (PLAIN,)) -> list[str]:
        if options not in built:
            program = folder / f"encode{len(built)}"
            command = [
                "cc",
                "-std=c99",
                *native.WARNINGS,
                *options,
                f"-I{c}",
                PROGRAM,
                "-lm",
                "-o",
                program,
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            if "libasan" in done.stderr or "libubsan" in done.stderr:
                pytest.skip("the compiler has no sanitisers")
            assert done.returncode == 0, done.stderr
            built[options] = program
        (folder / "frames").write_bytes(b"".join(frames))
        command = [built[options], folder / "frames"]
        done = subprocess.run(command, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        lines = done.stdout.decode(errors="replace").split("\n")
        assert len(lines) == len(frames) + 1
        return lines[:-1]

    return run


def _frame(kind: str, content: str | bytes) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return kind.encode() + struct.pack("<I", len(content)) + content


def _line(encoding: Encoding, raw: str | bytes) -> str:
    """What the program must print of a session: the ids of `helpers.features`, or that it is
    refused.
    """
    try:
        session = features.read(raw)
        inputs = features.assemble(encoding, session)
    except BadInput:
        return "refused"
    words = [info_id.encode("utf-8", "surrogatepass").hex() for info_id in session.info_ids]
    for name, ids in inputs.items():
        words += [name, *map(str, ids[:, 0].tolist())]
    return " ".join(["ok", str(len(session.info_ids)), *words])


def _compare(run, pairs: list[tuple[Encoding, list[str | bytes]]], options=(PLAIN,)) -> list[str]:
    """Run sessions, each list with its encoding, and hold every line against `helpers.features`;
    the lines.
    """
    frames, expected, said = [], [], []
    for encoding, raws in pairs:
        frames += [_frame("E", json.dumps(encoding.to_json())), *(_frame("S", raw) for raw in raws)]
        expected += ["ok", *(_line(encoding, raw) for raw in raws)]
        said += ["encoding", *raws]
    lines = run(frames, options)
    for line, wanted, raw in zip(lines, expected, said, strict=True):
        assert (line[:7] if wanted == "refused" else line) == wanted, raw
    return lines


@pytest.mark.parametrize("seed", range(4))
def test_generated_sessions_have_the_same_ids(run, seed):
    rng = random.Random(seed)
    pairs = [
        (cases._encoding(rng), [json.dumps(cases._raw(rng)) for _ in range(10)]) for _ in range(100)
    ]
    lines = _compare(run, pairs)
    assert len(lines) == 1100 and sum(line.startswith("ok ") for line in lines) == 1000


def test_generated_sessions_under_the_sanitisers(run):
    rng = random.Random(9)
    pairs = [
        (cases._encoding(rng), [json.dumps(cases._raw(rng)) for _ in range(8)]) for _ in range(60)
    ]
    _compare(run, pairs, SANITISED)


@pytest.mark.parametrize("mode", features.encoders.MODES)
def test_every_text_has_the_same_id_with_every_encoder(run, mode):
    """One candidate a text, so that the pool is gone through and not drawn from."""
    vocabulary = [
        int(text)
        for text in cases.WHOLE
        if features.MISSING != int(text) < 2**63 and int(text) >= -(2**63)
    ]
    edges = [
        -1e300,
        -(2.0**63),
        -2147483649,
        -2147483648,
        -1,
        0,
        0.1,
        5,
        12.5,
        887,
        2**24 + 1,
        2.0**53,
        2.0**63,
        1e300,
    ]
    encoding = Encoding(
        [
            Bucketize("f", "candidate", "1", edges),
            LabelEncode("l", "candidate", "1", vocabulary * 2),
            Plain("p", "candidate", "1", 13),
            *(Equal(f"e{i}", str(i), "1") for i in range(len(cases.TEXTS))),
        ],
        mode,
    )
    last = {"info_id": "L", "feature": {str(i): text for i, text in enumerate(cases.TEXTS)}}
    posts = [{"info_id": str(i), "feature": {"1": text}} for i, text in enumerate(cases.TEXTS)]
    _compare(run, [(encoding, [json.dumps({"last_click": last, "resort_list": posts})])])


def test_numbers_fall_on_the_same_side_of_a_boundary(run):
    """Boundaries that are the float64 nearest to a decimal text, and its neighbours: one that
    rounds is noticed.
    """
    rng, posts, edges = random.Random(2), [], set()
    for _ in range(300):
        whole = str(rng.randrange(10 ** rng.randint(1, 20)))
        text = (
            rng.choice(["", "-"])
            + whole
            + rng.choice(["", f".{rng.randrange(10 ** rng.randint(1, 20))}"])
        )
        edges |= {math.nextafter(float(text), direction) for direction in (-math.inf, math.inf)} | {
            float(text)
        }
        posts += [{"info_id": str(len(posts)), "feature": {"1": text}}]
    halfway = [
        "9007199254740993",
        "9007199254740992.99999999999999999999",
        "0.50000000000000005551",
        "-0.0",
        "0.0",
    ]
    posts += [{"info_id": f"h{text}", "feature": {"1": text}} for text in halfway]
    encoding = Encoding([Bucketize("f", "candidate", "1", sorted(edges | {0.0}))])
    raw = {"last_click": {"info_id": "L", "feature": {}}, "resort_list": posts}
    _compare(run, [(encoding, [json.dumps(raw)])])


def test_the_decimal_point_of_the_locale_does_not_matter(run, tmp_path, monkeypatch):
    if shutil.which("localedef") is None:
        pytest.skip("localedef is not here")
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"], capture_output=True
    )
    if made.returncode:
        pytest.skip("the locale de_DE cannot be made here")
    monkeypatch.setenv("LOCPATH", str(tmp_path))
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    encoding = Encoding([Bucketize("f", "candidate", "1", (0.25, 12.1, 12.4, 12.6, 1.5e3))])
    texts = ["12.3", "12.5", "12,5", "12", "0.3", "1499.5", "1500.5"]
    posts = [{"info_id": str(i), "feature": {"1": text}} for i, text in enumerate(texts)]
    raw = {"last_click": {"info_id": "L", "feature": {}}, "resort_list": posts}
    assert _compare(run, [(encoding, [json.dumps(raw)])])[1].endswith("f 3 4 0 2 2 5 6")


def test_golden_sessions_have_the_same_ids(run):
    rng = random.Random(4)
    encodings = [cases._encoding(rng) for _ in range(12)]
    _compare(
        run, [(encoding, list(sessions.generate(encoding).values())) for encoding in encodings]
    )


@pytest.mark.parametrize("mode", features.encoders.MODES)
def test_a_large_vocabulary_is_looked_up(run, mode):
    rng = random.Random(5)
    vocabulary = [rng.randrange(-(2**63), 2**63) for _ in range(20_000)]
    vocabulary += vocabulary[:5000]
    values = [v + step for v in rng.sample(vocabulary, 1000) for step in (0, 0, 1)]
    posts = [{"info_id": str(i), "feature": {"1": str(value)}} for i, value in enumerate(values)]
    raw = json.dumps({"last_click": {"info_id": "L", "feature": {}}, "resort_list": posts})
    _compare(run, [(Encoding([LabelEncode("l", "candidate", "1", vocabulary)], mode), [raw])])


JSON = {
    "empty": b"",
    "white space": b" ",
    "byte order mark": b"\xef\xbb\xbf%s",
    "after the end": b"%s x",
    "a second value": b"%s%s",
    "a zero byte after": b"%s\0",
    "white space around": b" \t\r\n%s\n",
    "form feed": b"\f%s",
    "no-break space": "\u00a0%s".encode(),
    "utf-16": json.dumps(cases.RAW).encode("utf-16"),
    "utf-16 without a mark": json.dumps(cases.RAW).encode("utf-16-le"),
    "utf-32": json.dumps(cases.RAW).encode("utf-32"),
}
VALUES = [
    "01",
    "-",
    "-01",
    "+1",
    "1.",
    ".5",
    "1e",
    "1e+",
    "1.5e-7",
    "0",
    "-0",
    "-0.0e0",
    "1E9",
    "0x1",
    "1_0",
    "NaN",
]
VALUES += [
    "Infinity",
    "-Infinity",
    "nul",
    "nulll",
    "True",
    "true",
    "null",
    "[1,]",
    "[,1]",
    "{,}",
    '{"a":1,}',
    "{1:2}",
]
VALUES += [
    '{"a" 1}',
    '{"a":}',
    "[1 2]",
    "'a'",
    '"a',
    '"\t"',
    '"\x7f"',
    '"\\x41"',
    '"\\u12"',
    '"\\u12G4"',
    '"\\u 123"',
]
VALUES += [
    '"\\ud83d\\ude00"',
    '"\\ud83d"',
    '"\\ude00\\ud83d"',
    '"\\ud83d\\u0041"',
    '"\\ud83d\\"',
    '"\\u0000"',
    '"\\/"',
    '"\\"',
]
VALUES += [
    '{"a":1,"a":2}',
    '{"a":1,"\\u0061":2}',
    '{"a":{"b":1,"b":1}}',
    '{"":1,"":2}',
    '{"":1}',
    '"é"',
    "[]",
    "[[[]]]",
]
VALUES += [
    "/**/1",
    "1//",
    "\ufeff1",
    "１",
    "1" * 4300,
    "1" * 4301,
    "-" + "1" * 4300,
    "-" + "1" * 4301,
]
VALUES += [
    "1" * 5000 + ".0",
    "0." + "1" * 5000,
    "1e400",
    "-1e-400",
    "{" + ",".join(f'"{i}":0' for i in range(99)) + "}",
]
VALUES += ["{" + ",".join(f'"{i % 98}":0' for i in range(99)) + "}"]
BYTES = [
    b'"\xff"',
    b'"\xc0\x80"',
    b'"\xed\xa0\x80"',
    b'"\xf4\x90\x80\x80"',
    b'"\xe0\x80\x80"',
    b'"\xf0\x9f\x98\x80"',
]
BYTES += [
    b'"\xc3"',
    b'"\xe2\x82"',
    b'"\xf0\x9f\x98"',
    b'"\x80"',
    b'"\xef\xbf\xbf"',
    b'"\0"',
    b"\0",
    b'"\xf0\x80\x80\x80"',
]


def test_what_is_no_json_is_refused_and_nothing_else(run):
    raw = json.dumps(cases.RAW).encode()
    whole = [form.replace(b"%s", raw) for form in JSON.values()]
    placed = [
        raw[:-1] + b', "more": %s}' % value for value in [*(v.encode() for v in VALUES), *BYTES]
    ]
    fields = [raw.replace(b'"887"', value, 1) for value in [*(v.encode() for v in VALUES), *BYTES]]
    lines = _compare(run, [(cases.SMALL, [*whole, *placed, *fields])], SANITISED)
    accepted = sum(line.startswith("ok ") for line in lines)
    assert 20 < accepted < len(lines) - 60


def test_bad_sessions_are_refused_in_the_place_where_they_are_wrong(run):
    raws = [
        raw if isinstance(raw, str | bytes) else json.dumps(raw)
        for raw, _ in cases.BAD_SESSIONS.values()
    ]
    lines = _compare(run, [(cases.SMALL, raws)], SANITISED)
    assert all(line.startswith("refused") for line in lines[1:])
    told = dict(zip(cases.BAD_SESSIONS, lines[1:], strict=True))
    assert "resort_list[1].info_id must be text" in told["no id"]
    assert "resort_list[0] and resort_list[2] have the same info_id" in told["id twice"]
    assert "the session has no last_click" in told["no last click"]
    for value in ["5", "5.5", "true", "null", "[]", "{}"]:
        for place, where in (
            (0, 'last_click.feature["800026"]'),
            (1, 'resort_list[0].feature["800031"]'),
        ):
            raw = json.dumps(cases.RAW).replace(
                ('"887"', '"feature": {"800031": "5"}}, {"i')[place], "@", 1
            )
            raw = raw.replace("@", (value, f'"feature": {{"800031": {value}}}}}, {{"i')[place])
            line = _compare(run, [(cases.SMALL, [raw])])[1]
            assert where in line and "write numbers as text" in line


def test_nesting_has_a_limit(run):
    raw = json.dumps(cases.RAW)
    nested = [
        raw[:-1] + f', "more": {"[" * depth}{"]" * depth}}}' for depth in (60, 63, 64, 65, 900)
    ]
    lines = _compare(run, [(cases.SMALL, [*nested, *(raw.encode() for raw in nested)])])
    assert [line[:2] for line in lines[1:]] == ["ok", "ok", "re", "re", "re"] * 2
    for depth in (65, 10**6):
        frames = [_frame("E", json.dumps(cases.SMALL.to_json()))]
        for opened in ("[" * depth, '{"a":' * depth):
            frames += [
                _frame("S", raw[:-1] + f', "more": {opened}'),
                _frame("S", opened),
                _frame("E", opened),
            ]
        assert all(
            line.startswith("refused") and "not JSON: too deeply nested" in line
            for line in run(frames)[1:]
        )


@pytest.mark.parametrize("seed", range(2))
def test_damaged_sessions_are_refused_where_python_refuses_them(run, seed):
    """Every cut, and flipped, removed, doubled and inserted bytes, under the sanitisers."""
    rng, pairs = random.Random(seed), []
    for _ in range(8):
        encoding, raw = (
            cases._encoding(rng),
            json.dumps(cases._raw(rng, 3), ensure_ascii=rng.random() < 0.5),
        )
        raw = raw.encode("utf-8", "replace")
        damaged = [raw[:cut] for cut in range(0, len(raw), 1 if len(raw) < 150 else 7)]
        for _ in range(120):
            one = bytearray(raw)
            for _ in range(rng.choice([1, 1, 1, 2, 5])):
                place, action = rng.randrange(len(one)), rng.randrange(5)
                if action == 0:
                    one[place] ^= 1 << rng.randrange(8)
                elif action == 1:
                    del one[place]
                elif action == 2:
                    one[place:place] = rng.choice(
                        [
                            b'"',
                            b"{",
                            b"}",
                            b"[",
                            b"]",
                            b",",
                            b":",
                            b"\\",
                            b"0",
                            b"-",
                            b"\\u00",
                            b"\xc3",
                        ]
                    )
                elif action == 3:
                    end = min(len(one), place + rng.randrange(1, 40))
                    one[place:place] = one[place:end]
                else:
                    del one[place : place + rng.randrange(1, 20)]
            damaged.append(bytes(one))
        pairs.append((encoding, damaged))
    lines = _compare(run, pairs, SANITISED)
    assert sum(line.startswith("ok ") for line in lines) > 50


def test_damaged_encodings_are_refused_where_python_refuses_them(run):
    rng, frames, expected, said = random.Random(1), [], [], []
    strange = [
        None,
        True,
        False,
        -1,
        0.5,
        1e308,
        1.0,
        10**400,
        2**63,
        2**31,
        "",
        "x" * 101,
        "é" * 100,
        "é" * 101,
        "_a",
        "A",
    ]
    strange += [
        [],
        {},
        [[]],
        {"kind": "plain"},
        features.MISSING,
        "a" * 64,
        "a" * 65,
        "\ud800",
        "a\0",
        2**31 - 3,
        2**31 - 2,
    ]
    for _ in range(1500):
        content = json.loads(json.dumps(cases._encoding(rng).to_json()))
        place = rng.choice(list(cases._places(content))[1:])
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        action = rng.randrange(3)
        if action == 0:
            inner[place[-1]] = rng.choice(strange)
        elif action == 1:
            del inner[place[-1]]
        elif isinstance(inner, dict):
            inner[f"{place[-1]}x"] = inner.pop(place[-1])
        else:
            inner.reverse()
        text = json.dumps(content).encode()
        if rng.random() < 0.3:
            cut = rng.randrange(len(text))
            text = (
                text[:cut]
                + bytes([rng.randrange(256)]) * rng.randrange(2)
                + text[cut + rng.randrange(2) :]
            )
        try:
            Encoding.from_json(strict_json.read(text))
            expected.append("ok")
        except (BadInput, ValueError):
            expected.append("refused")
        frames.append(_frame("E", text))
        said.append(text)
    lines = run(frames, SANITISED)
    for line, wanted, text in zip(lines, expected, said, strict=True):
        assert line.split(" ")[0] == wanted, (line, text)
    assert 200 < expected.count("ok") < 1300


def test_ten_thousand_candidates(run):
    rng = random.Random(6)
    raw = {"last_click": cases.RAW["last_click"], "resort_list": []}
    raw["resort_list"] = [
        {"info_id": str(i), "feature": {"800031": rng.choice(cases.TEXTS)}} for i in range(10_000)
    ]
    _compare(run, [(cases.SMALL, [json.dumps(raw)])])
    raw["resort_list"][9_999]["info_id"] = "4711"
    line = _compare(run, [(cases.SMALL, [json.dumps(raw)])])[1]
    assert "resort_list[4711] and resort_list[9999] have the same info_id" in line
