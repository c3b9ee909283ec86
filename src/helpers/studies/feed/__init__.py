"""`feed`: re-rank the posts that were delivered already, from what the reader just did.

The published system (a community app) re-ranks on the phone when a reader taps back from a post to
the list. Its model takes many integers, one a field: of the post that was clicked last and how it
was read, of each candidate, and of both. Its data is not published; here readers, posts and
sessions are simulated, so that the best possible ranking is known.

A reader likes some groups of topics more than others, hidden from the model; what they do with the
last post shows it. The server delivers twenty posts in an order of its own, and whoever comes back
clicks some of them, the upper ones more often. Fields and their numbers follow the published form:
8000xx in the raw data, l (last click), f (candidate) and d (both) in the model.

`fields` lists them and what the model takes, `world` simulates sessions and clicks, `model` builds
the model, and `split` takes it apart: a half for the reader, a half for each candidate.
"""

from __future__ import annotations

from helpers.studies import Model, Study
from helpers.studies.feed.fields import FEATURES, SCHEMA
from helpers.studies.feed.model import build_model
from helpers.studies.feed.split import split_model
from helpers.studies.feed.world import SESSIONS

STUDY = Study(
    name="feed",
    title="Re-ranking a feed on the phone from raw behaviour",
    schema=SCHEMA,
    sources={SESSIONS.name: SESSIONS},
    models={
        "two_halves": Model(
            summary=(
                "a small table a field; reader and candidate meet in a hidden layer and in a "
                "product"
            ),
            build=build_model,
            split=split_model,
        ),
    },
    features=FEATURES,
    id_field="800030",
    defaults={
        "rows": 400_000,
        "validation_rows": 20_000,
        "test_rows": 20_000,
        "batch_size": 512,
        "epochs": 3,
    },
)
