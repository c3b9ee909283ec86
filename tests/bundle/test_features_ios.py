"""The encoding in Swift: it parses, and keeps to what the other two do. What it does is
test_swift.py's business.
"""

import re

import pytest
from bundling import feed_schema
from test_ios import _wrong_swift

from helpers.bundle import sources

KOTLIN = "android/src/main/kotlin/feedmodel"
PATHS = ("ios/Sources/FeedModelFeatures.swift", "ios/Tests/FeedModelSessionsTests.swift")


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    return sources.render(
        feed_schema(["f1", "l1"]), ["model.tflite"], {"tflite": "2.17"}, encoding=True
    )


@pytest.mark.parametrize("path", PATHS)
def test_it_is_understood_and_a_missing_brace_is_not(rendered, path):
    text = rendered[path]
    assert _wrong_swift(text) == []
    places = [match.start() for match in re.finditer(r"^ *}$", text, re.MULTILINE)]
    assert _wrong_swift(text[: places[3]] + text[places[3] :].replace("}", "", 1)), (
        "a brace less is noticed"
    )
    assert max(map(len, text.splitlines())) <= 125


def _numbers(text: str, name: str) -> set[int]:
    found = re.findall(
        rf"{name}\w*(?:: \w+)? = \(?(?:\(size_t\))?(1 (?:<<|shl) \d+|[\d_]+)", text, re.IGNORECASE
    )
    return {int(n.split()[-1]) if " " in n else int(n.replace("_", "")) for n in found}


@pytest.mark.parametrize(
    "what, value",
    [("most_?depth", 64), ("most_?digits", 4300), ("most_?bytes", 28), ("most_?raw", 26)],
)
def test_limits_are_the_same_everywhere(rendered, what, value):
    kotlin = rendered[f"{KOTLIN}/Features.kt"] + rendered[f"{KOTLIN}/StrictJson.kt"]
    assert _numbers(rendered[PATHS[0]], what) == {value} == _numbers(kotlin, what)
    c = rendered["c/encoding.h"] + rendered["c/json.h"]
    assert re.search(rf"{what}\D+?(\(\(size_t\)1 << )?{value}\b", c, re.IGNORECASE)


def test_without_an_encoding_there_are_no_sources_for_it():
    plain = sources.render(feed_schema(["f1"]), ["model.tflite"], {"tflite": "2.17"})
    own = {
        "c/encoding.h",
        "c/json.h",
        "c/rerank.h",
        "c/rerank_tflite.c",
        f"{KOTLIN}/Features.kt",
        *PATHS,
    }
    own |= {"android/src/androidTest/kotlin/feedmodel/FeedModelSessionsTest.kt"}
    made = sources.render(feed_schema(["f1"]), ["model.tflite"], {"tflite": "2.17"}, encoding=True)
    assert set(made) - set(plain) == own
    assert "rerank" not in plain["c/CMakeLists.txt"] and "features.json" not in plain["README.md"]
    assert "features.json" in made["README.md"] and "rerank_tflite" in made["c/CMakeLists.txt"]
