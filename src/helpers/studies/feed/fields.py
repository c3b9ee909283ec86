"""Fields of the raw data, and the tensors that go into the model and out of it.

A raw field is one of the `SIGNALS` of the last click, or a field of a `POST`. `FEATURES` says which
of them become inputs, and how; `SIZES` and `SCHEMA` follow from it.
"""

from __future__ import annotations

from dataclasses import replace

from helpers.features import Equal, FitBuckets, FitVocabulary, Plain
from helpers.schema import Dimension, Schema, Tensor

CANDIDATES = 20
"""Posts in a list."""
TOPICS, COMMUNITIES, POSTS = 40, 100, 20_000
LAST_CLICK, CANDIDATE = "last_click", "candidate"
"""Sources of a field: the post that was clicked last, or one of the list."""

SIGNALS = {
    "800001": "enter: milliseconds since the list was shown",
    "800002": "leave: milliseconds since entering",
    "800003": "like",
    "800004": "favourite",
    "800005": "comment",
    "800006": "video played",
    "800007": "images opened",
    "800008": "related posts clicked",
    "800009": "scrolled: 0 not at all, 1 down, 2 down and up",
    "800010": "scroll count",
    "800011": "share",
    "800012": "reward for the author",
    "800013": "agreed with the tag",
    "800014": "took the agreement back",
    "800015": "follow",
    "800016": "author's page opened",
    "800017": "author reported",
    "800018": "topic tapped",
    "800019": "community tapped",
    "800020": "comments liked",
    "800021": "likes of comments taken back",
    "800022": "comments exposed",
    "800023": "comment reported",
}
"""The 23 signals that the client reports of the post clicked last."""
POST = {
    "800030": "post",
    "800031": "topic",
    "800032": "author",
    "800033": "community",
    "800041": "clicks so far",
    "800042": "age in hours",
    "800043": "comments",
    "800044": "medium: 0 text, 1 images, 2 video, 3 vote",
}
"""Fields of a post, on both sides; a candidate also has its delivered position, 800045."""
POSITION = "800045"

FEATURES = (
    FitBuckets("l300001", LAST_CLICK, "800001", 8),
    FitBuckets("l300002", LAST_CLICK, "800002", 16),
    FitBuckets("l300010", LAST_CLICK, "800010", 8),
    Plain("l300003", LAST_CLICK, "800003", 2),
    Plain("l300004", LAST_CLICK, "800004", 2),
    Plain("l300005", LAST_CLICK, "800005", 2),
    Plain("l300006", LAST_CLICK, "800006", 2),
    Plain("l300007", LAST_CLICK, "800007", 9),
    Plain("l300008", LAST_CLICK, "800008", 4),
    Plain("l300009", LAST_CLICK, "800009", 3),
    Plain("l300011", LAST_CLICK, "800011", 2),
    Plain("l300015", LAST_CLICK, "800015", 2),
    Plain("l300016", LAST_CLICK, "800016", 2),
    Plain("l300017", LAST_CLICK, "800017", 2),
    FitVocabulary("l300031", LAST_CLICK, "800031", 5, TOPICS),
    FitVocabulary("l300032", LAST_CLICK, "800032", 5, 500),
    FitVocabulary("l300033", LAST_CLICK, "800033", 5, COMMUNITIES),
    FitVocabulary("f220030", CANDIDATE, "800030", 5, 2_000),
    FitVocabulary("f220031", CANDIDATE, "800031", 5, TOPICS),
    FitVocabulary("f220032", CANDIDATE, "800032", 5, 500),
    FitVocabulary("f220033", CANDIDATE, "800033", 5, COMMUNITIES),
    FitBuckets("f220041", CANDIDATE, "800041", 16),
    FitBuckets("f220042", CANDIDATE, "800042", 16),
    FitBuckets("f220043", CANDIDATE, "800043", 8),
    Plain("f220044", CANDIDATE, "800044", 4),
    Plain("f220045", CANDIDATE, POSITION, CANDIDATES),
    Equal("d11", "800031", "800031"),
    Equal("d12", "800032", "800032"),
    Equal("d13", "800033", "800033"),
    Equal("d14", "800018", "800031"),
)
"""Plan of the encoding: fitted on training data, it travels with the model as features.json.

In the order of the model's inputs.
"""


def _size(feature) -> int:
    """Return the most ids that an input can have: rows of its table."""
    if isinstance(feature, FitBuckets):
        return feature.buckets + 2
    return feature.most + 2 if isinstance(feature, FitVocabulary) else feature.size("separate")


def _meaning(feature) -> str:
    meanings = {**SIGNALS, **POST, POSITION: "delivered position"}
    if not isinstance(feature, Equal):
        return meanings[feature.field]
    last_click, candidate = meanings[feature.last_click], meanings[feature.candidate]
    return f"last click's {last_click} is the candidate's {candidate}: 0 one lacks it, 1 no, 2 yes"


def _tensor(feature) -> Tensor:
    role = {LAST_CLICK: "user", CANDIDATE: "item", "cross": "cross"}[feature.source]
    ids = Dimension(feature.name, _meaning(feature), 0, SIZES[feature.name] - 1)
    return Tensor(feature.name, role, (ids,), "int64")


SIZES = {feature.name: _size(feature) for feature in FEATURES}
"""Most ids of each input, by name: rows of its table."""
SCORE = Tensor(
    "click",
    "score",
    (Dimension("click", "probability that the reader clicks the post"),),
)
SCHEMA = Schema("feed_reranking", tuple(_tensor(feature) for feature in FEATURES), (SCORE,))


def plan(floor: int) -> tuple:
    """Return `FEATURES` with another floor under every vocabulary, and no limit above."""
    return tuple(
        replace(feature, floor=floor, most=POSTS) if isinstance(feature, FitVocabulary) else feature
        for feature in FEATURES
    )
