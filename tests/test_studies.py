import resource
import shlex

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from support import workbench

from helpers import notebooks, pipeline, registry, simulation, studies
from helpers.errors import BadInput
from helpers.metrics import ranking as metrics

THERE = "digits, feed, images, images_224, images_digits, movies, ranking"


def test_registry_finds_modules_and_names_them_when_asked_for_another():
    assert "ranking" in registry.names()
    with pytest.raises(
        BadInput,
        match=f"no study 'rankin' .did you mean ranking..; there is: {THERE}, or",
    ):
        registry.get("rankin")
    with pytest.raises(BadInput, match="'hard'; it has: simple, personalised"):
        registry.get("ranking").source("hard")


def test_simple_is_the_published_rule(ranking):
    """Twenty lines that know nothing of the helpers: standard normal features, label above the
    set's median.
    """
    frame = simulation.sample(ranking, "simple", rows=5000, seed=0)
    parts = {
        role: frame.filter(regex=f"^{role}_").to_numpy(np.float64)
        for role in ("user", "item", "context")
    }
    assert [parts[role].shape[1] for role in parts] == [10, 10, 5]
    total = sum(part.mean(axis=1) for part in parts.values())
    np.testing.assert_array_equal(frame["label"], total > np.median(total))
    for part in parts.values():
        assert abs(part.mean()) < 0.02 and abs(part.std() - 1) < 0.02
    assert frame["label"].mean() == 0.5


def test_personalised_stays_in_its_ranges_and_shares_user_and_context_within_a_request(ranking):
    frame = simulation.sample(ranking, "personalised", rows=4000, seed=0)
    columns = ranking.schema.columns
    assert frame[columns].min().min() >= 0 and frame[columns].max().max() <= 1
    shared = [c for c in columns if not c.startswith("item_")]
    assert (frame.groupby("request")[shared].nunique() == 1).all().all()
    assert (frame.groupby("request").size() == 20).all()
    assert set(frame["user_gender"]) == {0.0, 1.0}


def test_labels_follow_the_stated_probability(ranking):
    frame = simulation.sample(ranking, "personalised", rows=100_000, seed=1)
    for _, part in frame.groupby(np.digitize(frame["bayes_probability"], np.linspace(0, 1, 11))):
        p = part["bayes_probability"]
        deviation = (part["label"] - p).sum() / np.sqrt((p * (1 - p)).sum())
        assert abs(deviation) < 4.5  # standard deviations: one in 100,000 for each of ten bins


def test_bayes_auc_is_what_the_true_probability_reaches(ranking):
    frame = simulation.sample(ranking, "personalised", rows=100_000, seed=2)
    reached = roc_auc_score(frame["label"], frame["bayes_probability"])
    assert abs(reached - metrics.bayes_auc(frame["bayes_probability"].to_numpy())) < 0.004
    assert metrics.bayes_auc(np.array([0.0, 1.0, 1.0])) == 1.0


def test_simple_is_not_personal_and_personalised_is(ranking):
    agreement = {
        name: metrics.mean_agreement(
            studies.cross_utility(ranking, name, users=40, items=20, seed=0)
        )
        for name in ranking.sources
    }
    assert agreement["simple"] == 1.0
    assert agreement["personalised"] < 0.5


def test_model_is_the_published_one(trained):
    model = trained.model
    assert model.count_params() == 433 and model.name == "ultra_simple_ranking_model"
    assert [layer.name for layer in model.layers if layer.count_params()] == [
        "hidden_layer",
        "ranking_score",
    ]
    assert [tensor.name for tensor in model.inputs] == [
        "user_features",
        "item_features",
        "context_features",
    ]


@pytest.mark.parametrize(
    "words", [("feed", "--help"), ("-h", "feed"), ("-p", "seed=1", "feed", "-h")]
)
def test_help_of_a_run_teaches_what_its_study_takes(home, words):
    told = workbench("run", *words)
    assert told.returncode == 0 and told.stderr == "" and not home.exists()
    text = " ".join(told.stdout.split())
    stage = pipeline.stages_of("feed", {})["02"].stem
    for name, declared in notebooks.parameters(stage).items():
        chosen = {"source": "sessions", "model": "two_halves"}
        used = shlex.quote(str(chosen.get(name, pipeline.default("feed", name))))
        assert f" {name}={used} {declared.help} [stage" in text
    assert " rows=400000 training rows [stage 01] " in text and "[stages 01, 02, 05, 06]" in text
    assert "What source can be: sessions a reader comes back" in text


def test_help_without_a_study_says_where_parameters_are_and_a_wrong_one_is_named():
    alone, nope = workbench("run", "--help"), workbench("run", "fed", "--help")
    assert "`workbench run STUDY --help`" in alone.stdout and "epochs" not in alone.stdout
    assert nope.returncode == 2 and "no study 'fed' (did you mean feed?)" in nope.stderr


def test_help_of_a_run_takes_no_longer_than_a_mistyped_parameter():
    """Processor time, the shortest of five in turns; both are told before anything is imported."""

    def seconds(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        workbench("run", "ranking", *words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    taken = [(seconds("--help"), seconds("-p", "epoch=3")) for _ in range(5)]
    helped, refused = map(min, zip(*taken, strict=True))
    assert helped < 1.25 * refused


def test_the_list_shows_what_each_study_uses(home):
    both, feed = workbench("studies"), workbench("studies", "feed")
    assert (
        "  rows = 5000, 0 in digits, 400000 in feed, 4000 in images, " in both.stdout
        and "  seed = 42  " in both.stdout
    )
    assert "feed: Re-ranking" in feed.stdout and "ranking: " not in feed.stdout
    assert (
        "  rows = 400000  " in feed.stdout
        and "  epochs = 3  " in feed.stdout
        and "  seed = 42  " in feed.stdout
    )
    assert " (default)" in next(
        line for line in both.stdout.splitlines() if "source simple" in line
    )
    nope = workbench("studies", "nope")
    assert nope.returncode == 2 and nope.stderr.startswith(
        f"workbench: there is no study 'nope'; there is: {THERE}, or "
    )
