"""Encoding: against the plain-Python rules on generated cases, every refusal with its words,
fitting, re-ranking.
"""

import copy
import json
import random
import re
import time

import encoding_reference as reference
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from helpers import features
from helpers.errors import BadInput, DamagedFile
from helpers.features import (
    MISSING,
    Bucketize,
    Encoding,
    Equal,
    FitBuckets,
    FitVocabulary,
    LabelEncode,
    Plain,
    bucketize,
    label_encode,
)

FIELDS = ["800026", "800027", "800031"]
ODD = [
    "",
    " 5",
    "5 ",
    "5\n",
    "+5",
    "1e3",
    "0x1A",
    "1_0",
    "12.5",
    "12.",
    ".5",
    "-",
    "--1",
    "NaN",
    "inf",
    "五",
    "５",
    "\ud800",
]
"""Text that is no whole number."""
WHOLE = [
    "0",
    "-0",
    "007",
    "-7",
    "5",
    "12",
    "887",
    "16777217",
    "-16777217",
    "9007199254740993",
    "-2147483648",
]
WHOLE += ["2147483647", "2147483648", "-2147483649", "9223372036854775807", "-9223372036854775808"]
WHOLE += [
    "9223372036854775808",
    "-9223372036854775809",
    "99999999999999999999",
    "000000000000000000012",
    "1" * 400,
]
NUMBERS = [
    "12.5",
    "-0.0",
    "0.1",
    "0.30000000000000004",
    "-2147483648.0",
    "-2147483648.5",
    "1.7976931348623157",
]
TEXTS = ODD + WHOLE + NUMBERS + [str(i) for i in range(-3, 12)]


def _boundaries(rng: random.Random) -> list[float]:
    pool = [
        -1.7e308,
        -(2.0**63),
        -2147483649,
        MISSING,
        -1,
        0,
        0.1,
        5,
        7,
        12.5,
        887,
        2**24 + 1,
        2.0**53,
        2.0**63,
        1.7e308,
    ]
    return sorted(rng.sample(pool, rng.randint(2, len(pool))))


def _vocabulary(rng: random.Random) -> list[int]:
    pool = [
        0,
        1,
        5,
        7,
        -7,
        12,
        887,
        2**24,
        2**24 + 1,
        2**53,
        2**53 + 1,
        2**63 - 1,
        -(2**63),
        MISSING - 1,
        -MISSING,
    ]
    return rng.choices(pool, k=rng.randint(1, 12))  # with repeats


def _encoding(rng: random.Random) -> Encoding:
    def encoder(i: int):
        name, source = f"f{i}", rng.choice(["last_click", "candidate"])
        return rng.choice(
            [
                lambda: Bucketize(name, source, rng.choice(FIELDS), _boundaries(rng)),
                lambda: LabelEncode(name, source, rng.choice(FIELDS), _vocabulary(rng)),
                lambda: Plain(name, source, rng.choice(FIELDS), rng.choice([1, 6, 2**31 - 3])),
                lambda: Equal(name, rng.choice(FIELDS), rng.choice(FIELDS)),
            ]
        )()

    return Encoding(
        [encoder(i) for i in range(rng.randint(1, 8))], rng.choice(["separate", "published"])
    )


def _raw(rng: random.Random, most: int = 9) -> dict:
    def post(info_id: str) -> dict:
        return {
            "info_id": info_id,
            "feature": {f: rng.choice(TEXTS) for f in FIELDS if rng.random() < 0.8},
        }

    return {
        "last_click": post("L"),
        "resort_list": [post(str(i)) for i in range(rng.randint(0, most))],
    }


def _lists(inputs: dict) -> dict:
    assert all(array.dtype == np.int64 and array.shape[1:] == (1,) for array in inputs.values())
    return {name: array[:, 0].tolist() for name, array in inputs.items()}


SMALL = Encoding(
    [
        Bucketize("f1", "last_click", "800026", (0, 887, 900)),
        LabelEncode("l1", "candidate", "800031", (5, 6, 5)),
        Plain("p1", "candidate", "800031", 9),
        Equal("d1", "800031", "800031"),
    ]
)
RAW = {
    "last_click": {"info_id": "7", "feature": {"800026": "887", "800031": "5"}},
    "resort_list": [
        {"info_id": "12", "feature": {"800031": "5"}},
        {"info_id": "9", "feature": {}},
        {"info_id": "10", "feature": {"800031": "7"}},
    ],
}


def test_one_session_by_hand():
    assert _lists(features.assemble(SMALL, json.dumps(RAW))) == {
        "f1": [3, 3, 3],
        "l1": [2, 0, 1],
        "p1": [7, 0, 9],
        "d1": [2, 0, 1],
    }
    published = Encoding(SMALL.encoders, "published")
    assert _lists(features.assemble(published, RAW)) == {
        "f1": [2, 2, 2],
        "l1": [0, 0, 0],
        "p1": [5, 0, 7],
        "d1": [1, 0, 0],
    }


@pytest.mark.parametrize("seed", range(8))
def test_generated_sessions_encode_as_the_reference_does(seed):
    rng = random.Random(seed)
    for _ in range(250):
        encoding, raw = _encoding(rng), _raw(rng)
        expected = reference.assemble(encoding.to_json(), raw)
        assert _lists(features.assemble(encoding, raw)) == expected
        assert _lists(features.assemble(encoding, json.dumps(raw))) == expected
        for name, size in encoding.sizes.items():
            assert all(0 <= i < size < 2**31 for i in expected[name])


@pytest.mark.parametrize("seed", range(4))
def test_a_table_of_sessions_encodes_as_each_session(seed):
    rng = random.Random(seed)
    encoding, raws = _encoding(rng), [_raw(rng, most=30) for _ in range(200)]
    each = [features.assemble(encoding, raw) for raw in raws]
    expected = _lists(
        {name: np.concatenate([one[name] for one in each]) for name in encoding.names}
    )
    columns = features.columns(raws)
    frame = pd.DataFrame({name: array.to_pandas() for name, array in columns.items()})
    for table in (
        columns,
        pa.table(columns),
        frame,
        frame.astype(object),
        frame.astype("category"),
    ):
        assert _lists(features.encode(encoding, table)) == expected


@pytest.mark.parametrize("seed", range(4))
def test_integers_encode_as_their_text(seed):
    rng = np.random.default_rng(seed)
    edges = np.array([MISSING, -(2**63), 2**63 - 1, 2**53 + 1, 2**24 + 1, 0, -1, 5, 7, 12, 887])
    whole = np.concatenate(
        [edges, rng.integers(-(2**63), 2**63 - 1, 500), rng.integers(-5, 900, 500)]
    )
    encoding = _encoding(random.Random(seed))
    written = {features.column(s, f): [str(x) for x in whole] for s, f in encoding.reads}
    expected = _lists(features.encode(encoding, written))
    for kind in ("int64", "Int64", "int64[pyarrow]"):
        frame = pd.DataFrame({name: pd.Series(whole, dtype=kind) for name in written})
        assert _lists(features.encode(encoding, frame)) == expected
        if kind != "int64":  # which has no gaps: pandas would make floats
            gaps = frame.mask(frame == MISSING)
            assert gaps.isna().any(axis=None)
            assert _lists(features.encode(encoding, gaps)) == expected


def test_published_functions_on_generated_values():
    rng = random.Random(1)
    for _ in range(500):
        x = np.array(
            [
                rng.choice([MISSING, 0, 1, 5, 7, 2**24 + 1, 2**53 + 1, 2**63 - 1, -(2**63)])
                for _ in range(20)
            ]
        )
        boundaries, vocabulary = _boundaries(rng), _vocabulary(rng)
        buckets = [
            (
                0
                if v == MISSING
                else next((j for j, b in enumerate(boundaries) if float(v) < b), len(boundaries))
            )
            for v in x.tolist()
        ]
        labels = [
            0 if v == MISSING or v not in vocabulary else vocabulary.index(v) for v in x.tolist()
        ]
        assert bucketize(x, boundaries, "published").tolist() == buckets
        assert label_encode(x, vocabulary, "published").tolist() == labels
        missing = x == MISSING
        assert (
            bucketize(x, boundaries).tolist()
            == np.where(missing, 0, np.array(buckets) + 1).tolist()
        )
        known = np.isin(x, vocabulary)
        separate = np.where(missing, 0, np.where(known, np.array(labels) + 2, 1))
        assert label_encode(x, vocabulary).tolist() == separate.tolist()


def test_buckets_are_closed_on_the_left_and_open_at_both_ends():
    x = [-np.inf, -1, 0, 0.5, 1, 2, np.inf, np.nan, MISSING]
    assert bucketize(x, [0, 1], "published").tolist() == [0, 0, 1, 1, 2, 2, 2, 0, 0]
    assert bucketize(x, [0, 1]).tolist() == [1, 1, 2, 2, 3, 3, 3, 0, 0]


def test_ids_that_float32_or_float64_would_merge_are_told_apart():
    for bits in (24, 53, 62):
        entries = [2**bits, 2**bits + 1, 2**bits + 2]
        assert label_encode(entries, entries).tolist() == [2, 3, 4]
        text = {
            "candidate_1": [str(entry) for entry in entries],
            "last_click_1": [str(entries[0])] * 3,
        }
        encoding = Encoding([LabelEncode("l", "candidate", "1", entries), Equal("e", "1", "1")])
        assert _lists(features.encode(encoding, text)) == {"l": [2, 3, 4], "e": [2, 1, 1]}


@pytest.mark.parametrize("bits", [24, 53, 62])
def test_a_neighbour_of_an_id_is_unknown(bits):
    entries = np.arange(0, 64, 4) + 2**bits
    for step in (-1, 1, 2):
        assert set(label_encode(entries + step, entries).tolist()) == {1}
        assert set(label_encode(entries + step, entries, "published").tolist()) == {0}


@pytest.mark.parametrize("x", [2**24 + 1, 2**53 - 1])
def test_numbers_are_compared_with_boundaries_as_float64(x):
    encoding = Encoding([Bucketize("f", "candidate", "1", (x - 1, x))])
    for column in ([x, x - 1], [str(x), str(x - 1)], [float(x), float(x - 1)]):
        assert _lists(features.encode(encoding, {"candidate_1": column})) == {"f": [3, 2]}


def test_lists_of_numpy_numbers_are_lists_of_numbers():
    assert Bucketize("f", "candidate", "1", list(np.arange(3))).boundaries == (0.0, 1.0, 2.0)
    assert LabelEncode("f", "candidate", "1", list(np.arange(3))).vocabulary == (0, 1, 2)


def test_the_first_of_repeated_entries_counts():
    assert label_encode([5, 6], [6, 5, 5, 6], "published").tolist() == [1, 0]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: bucketize([], [0, 1]), r"bucketize: no values \(shape \(0,\)\)"),
        (lambda: bucketize([[1.0]], [0, 1]), r"bucketize: no values \(shape \(1, 1\)\)"),
        (lambda: bucketize(["1"], [0, 1]), "bucketize: values are <U1, not numbers"),
        (
            lambda: bucketize([1], [0]),
            "bucketize: at least two boundaries are needed, there are 1: label-encode",
        ),
        (lambda: bucketize([1], []), "there are 0"),
        (lambda: bucketize([1], [1, 0]), "boundary 0.0 follows 1.0: sort them"),
        (
            lambda: bucketize([1], [0, 1, 1]),
            "boundary 1.0 follows 1.0: sort them and leave out repeated",
        ),
        (lambda: bucketize([1], [2**53, 2**53 + 1]), "follows"),
        (lambda: bucketize([1], [0, np.nan]), "boundary nan is not finite: leave it out"),
        (lambda: bucketize([1], [0, 10**400]), "is not finite"),
        (lambda: bucketize([1], [0, 10**5000]), "boundary a int too long to print is not finite"),
        (lambda: bucketize([1], [0, "1"]), "boundary '1' is not a number"),
        (lambda: bucketize([1], [0, True]), "boundary True is not a number"),
        (
            lambda: bucketize([1], np.array(5)),
            r"boundaries must be a list of numbers, not array\(5\)",
        ),
        (
            lambda: label_encode([1], np.array([[5]])),
            r"the vocabulary must be a list of whole numbers, not array",
        ),
        (
            lambda: label_encode([1], [np.bool_(True)]),
            "vocabulary entry True is not a whole number",
        ),
        (lambda: bucketize([1], "01"), "boundaries must be a list of numbers, not '01'"),
        (
            lambda: bucketize([1], [0, 1], "best"),
            "mode must be one of separate, published, not 'best'",
        ),
        (lambda: label_encode([], [1]), "label_encode: no values"),
        (lambda: label_encode([1.0], [1]), "label_encode: values are float64, not integers"),
        (lambda: label_encode([2**63], [1]), "values beyond int64"),
        (lambda: label_encode([1], []), "the vocabulary has 0 entries"),
        (lambda: label_encode([1], [1.0]), "vocabulary entry 1.0 is not a whole number"),
        (
            lambda: label_encode([1], [2**63]),
            "vocabulary entry 9223372036854775808 is beyond int64",
        ),
        (
            lambda: label_encode([1], [MISSING]),
            "vocabulary entry -2147483648 means missing: leave it out",
        ),
        (
            lambda: label_encode([1], {1}),
            r"the vocabulary must be a list of whole numbers, not \{1\}",
        ),
        (
            lambda: Bucketize("1f", "candidate", "1", (0, 1)),
            "encoder name '1f' cannot name a tensor",
        ),
        (
            lambda: Bucketize("f", "cross", "1", (0, 1)),
            "encoder f: source must be one of last_click, candidate, not 'c",
        ),
        (
            lambda: LabelEncode("f", "candidate", 1, (0, 1)),
            "encoder f: a field id is text of 1 to 100 characters, not 1",
        ),
        (
            lambda: LabelEncode("f", "candidate", "1", ("5",)),
            "encoder f: vocabulary entry '5' is not a whole number",
        ),
        (
            lambda: Plain("f", "candidate", "1", 0),
            "encoder f: count must be a whole number from 1 to 2,147,483,645, not 0",
        ),
        (
            lambda: Plain("f", "candidate", "1", 2**31),
            "not 2147483648: label-encode ids that are larger",
        ),
        (lambda: Equal("f", "1", ""), "a field id is text of 1 to 100 characters, not ''"),
        (
            lambda: Equal("f", "1", "1", "candidate"),
            "encoder f: source must be cross, not 'candidate'",
        ),
        (lambda: Encoding([]), "at least one encoder"),
        (
            lambda: Encoding(SMALL.encoders + SMALL.encoders[:1]),
            "encoder f1 is there more than once",
        ),
        (
            lambda: Encoding(SMALL.encoders, "best"),
            "mode must be one of separate, published, not 'best'",
        ),
        (lambda: Encoding([1]), "1 is no encoder; there is: bucketize, label_encode, plain, equal"),
    ],
)
def test_what_cannot_be_encoded_with_is_refused(call, message):
    with pytest.raises(BadInput, match=message):
        call()


def _session(change) -> dict:
    raw = copy.deepcopy(RAW)
    change(raw)
    return raw


BAD_SESSIONS = {
    "no JSON": ("{", "the session is not JSON: Expecting"),
    "no text": (b"\xff\xfe\xfa", "the session is not JSON"),
    "deep": ("[" * 100_000, "the session is not JSON"),
    "long number": ('{"last_click": ' + "1" * 5000 + "}", "the session is not JSON"),
    "a list": ("[]", r"must be an object with last_click and resort_list, not \[\]"),
    "None": (None, "must be an object with last_click and resort_list, not None"),
    "a field twice": ('{"a": {"5": "1", "5": "2"}}', "'5' is there twice in one object"),
    "nothing": ({}, "the session has no last_click .it has nothing"),
    "no last click": (
        {"resort_list": []},
        "the session has no last_click .it has 'resort_list'.: it needs",
    ),
    "no list": (
        {"last_click": RAW["last_click"]},
        "the session has no resort_list .it has 'last_click'.",
    ),
    "last click null": (
        _session(lambda r: r.update(last_click=None)),
        "last_click must be an object with info_id and",
    ),
    "list is an object": (
        _session(lambda r: r.update(resort_list={})),
        r"resort_list must be a list of posts, not \{\}",
    ),
    "post is text": (
        _session(lambda r: r["resort_list"].append("9")),
        r"resort_list\[3\] must be an object .* not '9'",
    ),
    "no id": (
        _session(lambda r: r["resort_list"][1].pop("info_id")),
        r"resort_list\[1\].info_id is missing or null",
    ),
    "id is a number": (
        _session(lambda r: r["resort_list"][1].update(info_id=9)),
        r"resort_list\[1\].info_id is the number 9: write it as text, some parsers lose digits",
    ),
    "id is empty": (
        _session(lambda r: r["last_click"].update(info_id="")),
        "last_click.info_id is '': .* not empty",
    ),
    "id twice": (
        _session(lambda r: r["resort_list"][2].update(info_id="12")),
        (
            r"info_id '12' is there twice, as resort_list\[0\] and resort_list\[2\]: list each post"
            r" once"
        ),
    ),
    "no feature": (
        _session(lambda r: r["last_click"].pop("feature")),
        "last_click.feature must be an object, .* not None",
    ),
    "feature is a list": (
        _session(lambda r: r["resort_list"][0].update(feature=[])),
        r"resort_list\[0\].feature must be",
    ),
}
_TEXT = json.dumps(RAW)
NOT_FOR_PHONES = {
    "byte order mark": (b"\xef\xbb\xbf" + _TEXT.encode(), "BOM"),
    "byte order mark in text": ("\ufeff" + _TEXT, "BOM"),
    "UTF-16": (_TEXT.encode("utf-16"), "can't decode"),
    "UTF-16 without a mark": (_TEXT.encode("utf-16-le"), "Expecting"),
    "UTF-32": (_TEXT.encode("utf-32"), "can't decode"),
    "half of a pair as bytes": (
        _TEXT.encode().replace(b'"887"', b'"\xed\xa0\x80"'),
        "can't decode",
    ),
    "half of a pair in text": (_TEXT.replace('"887"', '"\ud800"'), "surrogates not allowed"),
    "a deep field": (
        _TEXT[:-1] + ', "more": ' + "[" * 64 + "]" * 64 + "}",
        "nested deeper than 64",
    ),
    "too long": (b" " * (1 << 26) + _TEXT.encode(), "67,1.* bytes, at most 67,108,864 are read"),
}
"""What Python's own parser reads, or read once, and a phone refuses."""


@pytest.mark.parametrize("fault", NOT_FOR_PHONES)
def test_what_phones_refuse_is_refused_here_in_one_line(fault):
    raw, message = NOT_FOR_PHONES[fault]
    with pytest.raises(BadInput, match=f"the session is not JSON: .*{message}") as refused:
        features.read(raw)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_an_escaped_half_of_a_pair_and_nesting_of_64_are_read():
    raw = _TEXT.replace('"887"', r'"\ud800"')[:-1] + ', "more": ' + "[" * 63 + "]" * 63 + "}"
    assert (
        features.read(raw).last_click["800026"]
        == features.read(raw.encode()).last_click["800026"]
        == "\ud800"
    )


def test_a_key_that_is_there_twice_among_many_is_found_at_once():
    members = ",".join(f'"{i}":0' for i in range(300_000))
    started = time.monotonic()
    with pytest.raises(BadInput, match="'299999' is there twice in one object"):
        features.read("{" + members + ',"299999":0}')
    assert time.monotonic() - started < 5


BAD_VALUES = {
    "number": (5, "is the number 5: write it as text"),
    "huge number": (10**5000, "is the number a int too long to print"),
    "fraction": (5.5, "is 5.5: it must be text"),
    "true": (True, "is True: it must be text"),
    "null": (None, "is missing or null: it must be text .a field that a post has not is left out"),
    "list": (["5"], r"is \['5'\]: it must be text"),
    "object": ({}, r"is \{\}: it must be text"),
    "bytes": (b"\xff", "is b'.xff': it must be text"),
}


@pytest.mark.parametrize("fault", BAD_SESSIONS)
def test_bad_sessions_are_refused_with_the_reason(fault):
    raw, message = BAD_SESSIONS[fault]
    for call in (
        features.read,
        lambda r: features.assemble(SMALL, r),
        lambda r: features.rerank(r, []),
    ):
        with pytest.raises(BadInput, match=message):
            call(raw)
    with pytest.raises(BadInput, match="session 1: .*" + message):
        features.columns([RAW, raw])


@pytest.mark.parametrize("fault", BAD_VALUES)
def test_fields_that_are_not_text_are_refused_where_they_are(fault):
    value, message = BAD_VALUES[fault]
    last = _session(lambda r: r["last_click"]["feature"].update({"800026": value}))
    candidate = _session(lambda r: r["resort_list"][2]["feature"].update({"800031": value}))
    every = _session(
        lambda r: [post["feature"].update({"800031": value}) for post in r["resort_list"]]
    )
    for raw, where in (
        (last, "last_click"),
        (candidate, "resort_list[2]"),
        (every, "resort_list[0]"),
    ):
        field = "800026" if raw is last else "800031"
        place = re.escape(f"{where}.feature['{field}'] ") + message
        with pytest.raises(BadInput, match=place):
            features.assemble(SMALL, raw)
        with pytest.raises(BadInput, match="session 1: " + place):
            features.columns([RAW, raw])


def test_what_the_encoding_does_not_read_is_ignored():
    more = _session(
        lambda r: [
            r.update(scene=1),
            r["last_click"]["feature"].update(new=[1]),
            r["last_click"].update(a=1),
        ]
    )
    assert _lists(features.assemble(SMALL, more)) == _lists(features.assemble(SMALL, RAW))


@pytest.mark.parametrize("n", [0, 1, 500, 10_000])
def test_any_number_of_candidates(n):
    rng = random.Random(n)
    posts = [{"info_id": str(i), "feature": {"800031": rng.choice(TEXTS)}} for i in range(n)]
    raw = {"last_click": RAW["last_click"], "resort_list": posts}
    inputs = features.assemble(SMALL, json.dumps(raw))
    assert all(array.shape == (n, 1) and array.flags.c_contiguous for array in inputs.values())
    assert _lists(inputs) == reference.assemble(SMALL.to_json(), raw)
    assert features.rerank(raw, np.arange(n, dtype=np.float32)) == [
        str(i) for i in reversed(range(n))
    ]


def test_a_table_without_rows_gives_inputs_without_rows():
    assert all(a.shape == (0, 1) for a in features.encode(SMALL, {"candidate_800031": []}).values())
    assert features.columns([]) == {}


def test_a_column_that_is_not_there_is_missing():
    assert _lists(features.encode(SMALL, {"candidate_800031": ["5", None]})) == {
        "f1": [0, 0],
        "l1": [2, 0],
        "p1": [7, 0],
        "d1": [0, 0],
    }
    assert _lists(features.encode(SMALL, {}, rows=2)) == {name: [0, 0] for name in SMALL.names}


@pytest.mark.parametrize(
    "table, message",
    [
        ({}, "the table has none of the encoding's columns .last_click_800026, candidate_800031"),
        (
            {"candidate_800031": ["5"], "last_click_800026": ["5", "6"]},
            "column .* has . rows, the table has .$",
        ),
        (
            {"candidate_800031": [5.0, None]},
            "column candidate_800031 holds double, ids are whole numbers: read it as",
        ),
        ({"candidate_800031": [True]}, "column candidate_800031 holds bool, ids are whole numbers"),
        ({"last_click_800026": [True]}, "column last_click_800026 holds bool, which is no number"),
        (
            {"candidate_800031": ["5", 5]},
            "column candidate_800031 cannot be read .* one type a column",
        ),
        ({"candidate_800031": [2**70]}, "column candidate_800031 cannot be read"),
        (
            {"candidate_800031": np.array([2**63], np.uint64)},
            "column candidate_800031 holds values beyond int64",
        ),
        (
            {"candidate_800031": np.zeros((2, 1), int)},
            "column candidate_800031 cannot be read .*1-dimensional",
        ),
        ({"candidate_800031": 5}, "column candidate_800031 cannot be read"),
    ],
)
def test_tables_that_cannot_be_encoded_are_refused(table, message):
    with pytest.raises(BadInput, match=message):
        features.encode(SMALL, table)


def test_rerank_sorts_by_score_and_keeps_the_delivered_order_of_ties():
    assert features.rerank(RAW, [0.1, 0.9, 0.5]) == ["9", "10", "12"]
    assert features.rerank(RAW, np.array([[0.5], [0.9], [0.5]], np.float32)) == ["9", "12", "10"]
    assert features.rerank(json.dumps(RAW), [0.0, -0.0, 0]) == ["12", "9", "10"]
    assert features.rerank(_session(lambda r: r.update(resort_list=[])), []) == []


@pytest.mark.parametrize(
    "scores, message",
    [
        ([1, 2], r"scores have shape \(2,\), the session has 3 candidates"),
        (np.zeros((1, 3)), r"shape \(1, 3\)"),
        ([0, np.nan, 1], r"the score of resort_list\[1\] is nan: keep the delivered order"),
        ([0, 1, np.inf], r"resort_list\[2\] is inf"),
        (["a", "b", "c"], "scores must be numbers"),
        ([[1], [2, 3], 4], "scores must be numbers"),
    ],
)
def test_scores_that_cannot_order_are_refused(scores, message):
    with pytest.raises(BadInput, match=message):
        features.rerank(RAW, scores)


def test_fitted_boundaries_split_the_data_into_equal_parts():
    values = np.random.default_rng(0).permutation(10_000)
    encoding = features.fit({"candidate_1": values}, [FitBuckets("f", "candidate", "1", buckets=8)])
    ids = features.encode(encoding, {"candidate_1": values})["f"]
    assert encoding.sizes == {"f": 10}
    counts = np.bincount(ids[:, 0], minlength=10)
    assert counts[:2].tolist() == [0, 0]  # nothing is missing, nothing is below the smallest
    assert abs(counts[2:] - 1250).max() <= 1


def test_few_different_values_get_a_bucket_each():
    encoding = features.fit(
        {"candidate_1": ["0", "1", "0.5", None, "x"] * 5}, [FitBuckets("f", "candidate", "1")]
    )
    assert encoding.encoders[0].boundaries == (0.0, 0.5, 1.0)


def test_fitted_vocabularies_are_ordered_by_frequency_then_value():
    ids = [3] * 5 + [-9] * 5 + [2**60] * 9 + [4] * 2 + [MISSING] * 50
    plan = [
        FitVocabulary("l", "candidate", "1", floor=3),
        FitVocabulary("m", "candidate", "1", floor=1, most=3),
    ]
    given = Plain("p", "candidate", "2", 3)
    for column in (ids, [str(i) for i in ids], ids[::-1]):
        encoding = features.fit({"candidate_1": column}, [*plan, given], mode="published")
        assert encoding.encoders[0].vocabulary == (2**60, -9, 3)
        assert encoding.encoders[1].vocabulary == (2**60, -9, 3)
        assert encoding.encoders[2] == given and encoding.mode == "published"


@pytest.mark.parametrize(
    "plan, message",
    [
        (
            FitBuckets("f", "candidate", "9"),
            "encoder f: the table has no column candidate_9 .did you mean candidate_",
        ),
        (
            FitBuckets("f", "candidate", "1"),
            "candidate_1 does not give two boundaries, all quantiles of its 9 numbers are 4",
        ),
        (
            FitBuckets("f", "candidate", "2", 4),
            "ask for more buckets than 4, label-encode it, give a Bucketize",
        ),
        (FitBuckets("f", "candidate", "3"), "it holds no numbers"),
        (
            FitVocabulary("f", "candidate", "1", 10),
            "no id of candidate_1 occurs 10 times, the most frequent, 4, occurs 9",
        ),
        (FitVocabulary("f", "candidate", "3"), "it holds no ids: lower the floor"),
        (FitBuckets("f", "shop", "1"), "the table has no column shop_1"),
    ],
)
def test_fields_that_cannot_be_fitted_are_named(plan, message):
    table = {
        "candidate_1": ["4"] * 9,
        "candidate_2": [0] * 95 + list(range(5)),
        "candidate_3": ["x", None],
    }
    with pytest.raises(BadInput, match=message):
        features.fit(table, [plan])


@pytest.mark.parametrize(
    "make",
    [lambda: FitBuckets("f", "candidate", "1", 1), lambda: FitVocabulary("f", "c", "1", 0.5)],
)
def test_plans_out_of_range_are_refused(make):
    with pytest.raises(BadInput, match="encoder f: .* must be a whole number of at least"):
        make()


def test_an_encoding_comes_back_from_its_file(tmp_path):
    rng = random.Random(3)
    for i in range(50):
        encoding, path = _encoding(rng), tmp_path / f"{i}.json"
        encoding.save(path)
        assert features.load(path) == encoding
        first = path.read_bytes()
        features.load(path).save(path)
        assert path.read_bytes() == first


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.update(format=2), "the encoding's format is 2, this version reads 1"),
        (
            lambda c: (c.clear(), c.update(format=2, new=1)),
            "the encoding's format is 2, this version reads 1",
        ),
        (lambda c: c.pop("format"), "the encoding's format is None, this version reads 1"),
        (
            lambda c: c.update(missing=0),
            "the encoding's missing is 0, this version reads -2147483648",
        ),
        (lambda c: c.pop("mode"), "the encoding has no mode"),
        (lambda c: c.update(mod="x"), "the encoding has an unknown 'mod' .did you mean mode"),
        (lambda c: c.update(encoders={}), r"encoders must be a list, not \{\}"),
        (lambda c: c["encoders"].append(1), "encoder number 4 must be an object, not 1"),
        (
            lambda c: c["encoders"][0].update(kind="bucketise"),
            "number 0: kind must be one of .*did you mean bucketize",
        ),
        (lambda c: c["encoders"][0].update(kind=[]), r"kind must be one of .* not \[\]"),
        (lambda c: c["encoders"][1].pop("field"), "encoder number 1 .label_encode. has no field"),
        (
            lambda c: c["encoders"][1].update(boundaries=[]),
            "number 1 .label_encode. has an unknown 'boundaries'",
        ),
        (
            lambda c: c["encoders"][0].update(boundaries=[3, 1]),
            "encoder f1: boundary 1.0 follows 3.0",
        ),
    ],
)
def test_a_damaged_encoding_is_refused_with_the_reason(tmp_path, change, message):
    content = json.loads(json.dumps(SMALL.to_json()))
    change(content)
    path = tmp_path / "features.json"
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match=f"features.json: .*{message}"):
        features.load(path)


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000, "folder"]
)
def test_a_file_that_is_not_json_is_damaged(tmp_path, content):
    path = tmp_path / "features.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    with pytest.raises(DamagedFile, match="features.json cannot be read as JSON"):
        features.load(path)


def test_a_file_that_is_too_long_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("helpers.features.encoding.MOST_BYTES", 10)
    SMALL.save(tmp_path / "features.json")
    with pytest.raises(DamagedFile, match="bytes, at most 10 are read: raise vocabulary floors"):
        features.load(tmp_path / "features.json")


def _places(value, path=()):
    yield path
    for key, inner in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield from _places(inner, (*path, key))


def test_no_mutation_of_an_encoding_fails_in_another_way(tmp_path):
    rng, path, refused = random.Random(0), tmp_path / "features.json", 0
    strange = [
        None,
        True,
        -1,
        0.5,
        1e308,
        float("nan"),
        10**400,
        "",
        "x" * 1000,
        [],
        {},
        [[]],
        {"kind": "plain"},
        MISSING,
    ]
    for number in range(600):
        content = json.loads(json.dumps(_encoding(rng).to_json()))
        place = rng.choice(list(_places(content))[1:])
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        action = rng.randrange(3)
        if action == 0:
            inner[place[-1]] = rng.choice(strange)
        elif action == 1:
            del inner[place[-1]]
        elif isinstance(inner, dict):
            inner[f"{place[-1]}{number}"] = inner.pop(place[-1])
        else:
            inner.reverse()
        text = json.dumps(content).encode()
        cut = rng.randrange(len(text))
        path.write_bytes(
            text
            if rng.random() < 0.8
            else text[:cut] + bytes([rng.randrange(256)]) + text[cut + 1 :]
        )
        try:
            encoding = features.load(path)
        except (BadInput, DamagedFile):
            refused += 1
        else:
            features.assemble(encoding, RAW)
            assert Encoding.from_json(json.loads(json.dumps(encoding.to_json()))) == encoding
    assert refused > 300


def test_no_mutation_of_a_session_fails_in_another_way():
    rng = random.Random(0)
    strange = [None, True, 5, 0.5, 10**400, "", "x" * 1000, [], {}, [[]], RAW]
    for _ in range(600):
        raw = _raw(rng)
        encoding = _encoding(rng)
        place = rng.choice(list(_places(raw))[1:])
        inner = raw
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = rng.choice(strange)
        text = json.dumps(raw)
        if rng.random() < 0.2:
            text = text[: rng.randrange(len(text))]
        try:
            inputs = features.assemble(encoding, text)
        except BadInput:
            continue
        assert _lists(inputs) == reference.assemble(encoding.to_json(), json.loads(text))
