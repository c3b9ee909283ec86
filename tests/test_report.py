import configparser
import html
import re
import shlex

import pandas as pd
import pytest

from helpers import notebooks, registry, report, runs
from helpers.evaluation import latency
from helpers.tasks.ranking import RANKING
from helpers.trained import Trained

MODEL = Trained(
    "hidden_layer", "keras", "model/model.keras", registry.get("ranking").schema, RANKING
)


def test_the_page_is_one_file_that_needs_no_network(finished):
    page = (finished.home / "artifacts/ranking/default/report.html").read_text()
    assert "http:" not in page and "https:" not in page and 'src="data:image/png' in page
    figures = list((finished.home / "artifacts/ranking/default/figures").glob("*.png"))
    assert page.count("<figure>") == len(figures) > 8
    assert "workbench run ranking --run default -p latency_seconds=1.0" in page
    assert '<p class="ship">Ship litert fp32: of the 16 files within the budget' in page
    for word in (
        "litert",
        "mnn",
        "weight_int4_hqq",
        "Kendall tau",
        "learning_rate",
        "05_accuracy_latency",
    ):
        assert word in page


def test_values_are_escaped(finished_copy):
    with finished_copy.edit() as record:
        record["parameters"]["source"] = "<script>alert(1)</script>"
    assert "<script>" not in report.render(finished_copy)


def test_a_run_without_a_comparison_has_a_page_too(home):
    stage = runs.Stage("01_synthetic_data", study="ranking", run="early", seed=1)
    stage.finish(bayes_auc=0.9)
    page = report.render(stage.run)
    assert "bayes_auc 0.9000" in page and "No comparison: no finished stage" in page


@pytest.mark.filterwarnings("error")
def test_files_that_are_not_shipped_are_told_although_they_have_no_figures():
    none = float("nan")
    table = pd.DataFrame(
        {
            "runtime": ["litert", "mnn", "mnn"],
            "precision": ["fp32", "fp16", "int8"],
            "bytes": [3196, 2624, none],
            "verdict": ["same", "broken", "not made"],
            "reason": [none, "scores differ", "the tool failed\nits log"],
        }
    )
    broken, missing = report.refused(table)
    assert re.fullmatch("mnn fp16 +broken: scores differ", broken)
    assert re.fullmatch("mnn int8 +not made: the tool failed", missing)


def test_readable_shows_units_and_hides_meaningless_digits(finished):
    table = report.readable(
        MODEL, pd.read_csv(finished.home / "artifacts/ranking/default/comparison.csv")
    )
    plain = table["precision"].str.startswith("fp32")
    assert set(table["largest difference"][plain]) == {"under 1e-05"} and plain.sum() == 4
    assert table["largest difference"][~plain].str.fullmatch(r"\de-0\d").all()
    assert table["batch 1"].str.fullmatch(r" *\d+\.\d\d us").all()
    assert table["by LiteRT fp32's"].iloc[1].strip() == "1.00x (1.00-1.00x)"


def _edited_since(run: runs.Run, stage: str, module: str) -> None:
    """As if a module that a stage used had been edited since."""
    with run.edit() as record:
        record["stages"][stage]["code"][module] = "of another version"


def test_a_stale_stage_is_told_and_its_figures_and_recommendation_are_left_out(finished_copy, home):
    whole = report.render(finished_copy)
    assert "Stale" not in whole and report.recommendation(finished_copy)
    _edited_since(finished_copy, "04_mnn_conversion", "helpers.convert.mnn")
    page = report.render(finished_copy)
    reason = "was executed with other code: helpers.convert.mnn has changed since"
    assert f"<li>04_mnn_conversion {reason}</li>" in page and "<li>06_device_bundle used " in page
    assert "<code>workbench run ranking --run default</code> makes it again" in page
    assert (
        "No comparison: stage 05" in page
        and "Ship " not in page
        and report.recommendation(finished_copy) is None
    )
    assert 0 < page.count("<figure>") < whole.count("<figure>")
    assert re.search(r'<tr class="stale"><td>05_accuracy_latency</td>.*\n.*>stale</td>', page), (
        "no metrics of it"
    )
    index = report.write_index("ranking").read_text(encoding="utf-8")
    assert (
        f'class="stale" title="stage 04 {reason}; stage 05 used ' in index and ">04 05 06<" in index
    )
    assert "Ship" not in index and ">to ship<" not in index


@pytest.mark.parametrize("file", ["comparison.csv", "recommendation.json", "tflite/fp32.tflite"])
def test_nothing_is_recommended_by_a_damaged_file_nor_a_damaged_file(finished_copy, file):
    assert report.recommendation(finished_copy).startswith("Ship litert fp32")
    path = finished_copy.folder / file
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    assert report.recommendation(finished_copy) is None and "Ship " not in report.render(
        finished_copy
    )


def test_the_command_can_be_pasted_into_a_shell(home):
    stage = runs.Stage("01_synthetic_data", study="ranking", run="early", seed=1)
    stage.finish()
    with stage.run.edit() as record:
        record["requested"] = {
            "variant": "mnn fp16",
            "model_url": "https://a.example/?b=1&c=2",
            "learning_rate": 3e-5,
        }
    (line,) = re.findall(
        r"^(?:<pre>)?(workbench run .* -p .*)$", report.render(stage.run), re.MULTILINE
    )
    assert shlex.split(html.unescape(line))[5:] == [
        *(
            "-p",
            "variant=mnn fp16",
            "-p",
            "model_url=https://a.example/?b=1&c=2",
            "-p",
            "learning_rate=3e-05",
        )
    ]


def test_the_page_says_why_there_is_no_commit_and_where_commits_differ(home):
    stage = runs.Stage("01_synthetic_data", study="ranking", run="early", seed=1)
    stage.finish()
    with stage.run.edit() as record:
        record["stages"]["01_synthetic_data"]["environment"] |= {
            "commit": None,
            "no_commit": "dubious ownership",
        }
    assert "no commit (dubious ownership)" in report.render(stage.run)
    runs.Stage("02_keras_training", study="ranking", run="early").finish()
    with stage.run.edit() as record:
        record["stages"]["02_keras_training"]["environment"]["commit"] = "1" * 40
    page = report.render(stage.run)
    assert "commits differ between stages" in page and "git checkout" not in page
    assert "01_synthetic_data, no commit (dubious ownership)" in page
    assert "02_keras_training, commit 111111111111<" in page


def test_the_page_over_all_runs_shows_parameters_exactly(home):
    for name, rate in (("a", 3e-5), ("b", 1e-5)):
        stage = runs.Stage(
            "02_keras_training", study="ranking", run=name, learning_rate=rate, seed=2**31 - 1
        )
        stage.finish(bytes=1000001)
    index = report.write_index("ranking").read_text(encoding="utf-8")
    assert "<td>3e-05</td>" in index and "<td>1e-05</td>" in index and "<td>1000001</td>" in index
    assert "2147483647" in report.render(runs.Run("ranking", "a"))


def _masked(text: str) -> str:
    """`text` as nbval compares it."""
    masks = configparser.ConfigParser()
    masks.read(notebooks.folder() / "sanitize.cfg")
    for section in masks.sections():
        text = re.sub(masks[section]["regex"], masks[section]["replace"], text)
    return text


def test_a_table_with_masked_times_is_the_same_on_any_machine(finished):
    times = ["latency_us", "latency_ratio", "latency_ratio_low", "latency_ratio_high"]
    here = pd.read_csv(finished.home / "artifacts/ranking/default/comparison.csv")
    for factor in (0.01, 10, 100):
        there = here.copy()
        there[times] *= factor
        tables = [
            report.readable(MODEL, table).set_index(["runtime", "precision"])
            for table in (here, there)
        ]
        for form in (lambda table: table.to_string(line_width=80), lambda table: table.to_html()):
            texts = [form(table) for table in tables]
            assert texts[0] != texts[1] and _masked(texts[0]) == _masked(texts[1])


def test_only_times_and_their_ratios_are_masked():
    for kept in (
        "litert int16x8",
        "2x4",
        "16 files",
        "4,136",
        "0.9504",
        "+0.0000 (-0.0001 to +0.0001)",
        "1x1 convolutions",
    ):
        assert _masked(kept) == kept
    for ratio in ("1.00x", "186x", "99.9x"):
        assert _masked(f"a {ratio} b") == "aRATIO b"
    assert _masked("  186x (174-197x)") == _masked("0.77x (0.75-0.77x)") == "RATIO"
    assert _masked("  1.48 us    1.05x slower") == "TIMERATIO"
    for row in ("2.25 us 1.05x   +-4 %  no difference", "62.25 us 237x +-140 %     is slower"):
        assert _masked(row) == "TIMERATIOFLOORCLAIM"


def test_cells_with_times_have_one_width():
    values = (0.01, 0.994, 9.996, 99.96, 280.0, 1234.5, 99999.0)
    assert {len(latency.time_text(value)) for value in values} == {12}
    assert {len(latency.ratio_text(value)) for value in values} == {8}
    assert {len(latency.interval_text(value, value, value)) for value in values} == {24}
    assert latency.interval_text(185.64, 174.46, 196.75).strip() == "186x (174-197x)"
    assert latency.interval_text(0.9951, 0.98, 1.02).strip() == "1.00x (0.98-1.02x)"


def test_pictures_of_a_bundle_are_no_figures(home):
    stage = runs.Stage("06_device_bundle", study="ranking", run="r")
    for file in ("figures/latency.png", "bundle/picture-01.png"):
        with stage.output(file) as path:
            path.write_bytes(file.encode())
    stage.finish()
    page = report.render(stage.run)
    assert page.count("<figure>") == 1 and "latency" in page and "picture-01" not in page
