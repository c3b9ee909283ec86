import configparser
import html
import json
import os
import re
import shlex
import shutil
import time

import numpy as np
import pandas as pd
import pytest

from helpers import notebooks, pages, pipeline, plots, registry, report, results, runs
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
    assert '<p class="ship">Ship litert fp32 (3,196 bytes): its scores are the model' in page
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
        record["stages"]["01_synthetic_data"]["parameters"]["source"] = "<script>alert(1)</script>"
    page = report.render(finished_copy)
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page


def test_a_run_without_a_comparison_has_a_page_too(home):
    stage = runs.Stage("01_synthetic_data", study="ranking", run="early", seed=1)
    stage.finish(bayes_auc=0.9)
    page = report.render(stage.run)
    assert "<dt>bayes_auc</dt><dd>0.9000</dd>" in page
    assert "No comparison: no finished stage" in page


@pytest.mark.filterwarnings("error")
def test_files_that_are_not_shipped_are_told_although_they_have_no_figures():
    none = float("nan")
    table = pd.DataFrame(
        {
            "runtime": ["litert", "mnn", "mnn"],
            "precision": ["fp32", "fp16", "weight_int8_symmetric"],
            "bytes": [3196, 2624, none],
            "verdict": ["same", "broken", "not made"],
            "reason": [none, "scores differ", "the tool failed\nits log"],
        }
    )
    broken, missing = report.refused(table)
    assert re.fullmatch("mnn fp16 +broken: scores differ", broken)
    assert missing == "mnn weight_int8_symmetric not made: the tool failed"
    reason = "too few rows to tell: Kendall tau has no interval"
    few = table.assign(verdict=["same", "too few rows", "same"], reason=[none, reason, none])
    assert report.refused(few) == [f"{'mnn fp16':23} {reason}"]


def test_readable_shows_units_and_hides_meaningless_digits(finished):
    table = report.readable(
        MODEL, pd.read_csv(finished.home / "artifacts/ranking/default/comparison.csv")
    )
    plain = table["file"].str.contains(" fp32")
    assert list(table["file"][:2]) == ["keras fp32", "litert fp32"]
    assert set(table["largest difference"][plain]) == {"under 1e-05"} and plain.sum() == 4
    assert table["largest difference"][~plain].str.fullmatch(r"\de-0\d").all()
    assert table["batch 1"].str.fullmatch(r" *\d+\.\d\d us").all()
    assert table["time / LiteRT fp32's"].iloc[1].strip() == "1.00x (1.00-1.00x)"


def test_brief_tells_of_each_file_what_decides(finished):
    table = pd.read_csv(finished.home / "artifacts/ranking/default/comparison.csv")
    shown = report.brief(MODEL, table)
    assert list(shown.columns) == ["bytes", "AUC", "Kendall tau", "verdict"]
    assert list(shown.index) == list(table["runtime"] + " " + table["precision"])
    assert shown.loc["litert fp32", "verdict"] == "same"
    assert list(shown["bytes"]) == [f"{size:,}" for size in table["bytes"]]


@pytest.mark.parametrize("width", [70, 80, 100, 250])
def test_the_summary_fits_the_terminal(finished, width):
    table = pd.read_csv(finished.home / "artifacts/ranking/default/comparison.csv")
    lines = report.summary(MODEL, table, width).splitlines()
    assert max(map(len, lines)) <= width
    head, *rows = lines[: len(table) + 1]
    shown = re.split("  +", head)
    least = ["file", "bytes", "change", "latency", "verdict"]
    assert [name for name in shown if name in least] == least and ("AUC" in shown) == (width > 80)
    assert len({row.split("  ")[0] for row in rows}) == len(table)
    if width >= 80:
        made = table[table["file"] == "mnn/weight_int8_symmetric.mnn"].iloc[0]
        (row,) = (row for row in rows if row.startswith("mnn weight_int8_symmetric "))
        change = f"{made['auc_delta']:+.4f}".replace("-0.0000", "+0.0000")
        ratio = latency.interval_text(
            *(made[f"latency_ratio{end}"] for end in ("", "_low", "_high"))
        )
        assert row.endswith("  ships with loss") and ratio.strip() in row and change in row
    told = " ".join(lines[len(table) + 1 :])
    assert told.startswith("change: of AUC; latency: as a multiple of LiteRT fp32's")
    assert ("batch 1 (comparison.csv)" in told) == (width < 250) != ("batch 1" in head)
    assert ("Kendall tau" in head) == (width >= 100)


@pytest.mark.filterwarnings("error")
def test_the_summary_has_a_row_for_what_was_not_made(finished):
    table = pd.read_csv(finished.home / "artifacts/ranking/default/comparison.csv")
    figures = table.columns.drop(["runtime", "precision", "file", "verdict", "reason"])
    table[figures] = table[figures].astype(float)
    table.loc[5, figures] = float("nan")
    table.loc[5, "verdict"] = "not made"
    assert "litert int8 not made" in " ".join(report.summary(MODEL, table, 80).split())


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
    (section,) = re.findall(
        r'<section id="05_accuracy_latency" class="stale">.*?</section>', page, re.S
    )
    assert "<b>Stale:</b> it used " in section
    assert "<dl>" not in section and "<img" not in section, "nothing that it made"
    index = report.write_index("ranking").read_text(encoding="utf-8")
    assert f"<summary>04 05 06</summary>stage 04 {reason}; stage 05 used " in index
    assert "litert fp32" not in index and ">to ship<" not in index


@pytest.mark.parametrize("file", ["comparison.csv", "recommendation.json", "tflite/fp32.tflite"])
def test_nothing_is_recommended_by_a_damaged_file_nor_a_damaged_file(finished_copy, file):
    assert report.recommendation(finished_copy).startswith("Ship litert fp32")
    path = finished_copy.folder / file
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    assert report.recommendation(finished_copy) is None and "Ship " not in report.render(
        finished_copy
    )
    (row,) = results.rows("ranking")
    assert results.plain(row)["ships"] is None
    index = report.write_index("ranking").read_text(encoding="utf-8")
    assert "litert fp32" not in index and ">to ship<" not in index


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
    first, second = re.findall(r"<section id=.*?</section>", page, re.DOTALL)
    assert "01_synthetic_data" in first and "no commit (dubious ownership)" in first
    assert "02_keras_training" in second and "commit 111111111111<" in second


def test_the_page_over_all_runs_shows_parameters_exactly(home):
    for name, rate in (("a", 3e-5), ("b", 1e-5)):
        stage = runs.Stage(
            "02_keras_training", study="ranking", run=name, learning_rate=rate, seed=2**31 - 1
        )
        stage.finish(bytes=1000001)
    index = report.write_index("ranking").read_text(encoding="utf-8")
    assert "<td>learning_rate=3e-05</td>" in index
    texts = {column["title"]: column["texts"] for column in _data(index)["columns"]}
    assert set(texts["learning_rate"]) == {"3e-05", "1e-05"}
    assert texts["02 bytes"] == {"of": ["1000001"], "at": [0, 0]}, "equal values once"
    assert "2147483647" in report.render(runs.Run("ranking", "a"))


def _data(page: str) -> dict:
    """What the scripts of a page work on."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


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
        tables = [report.readable(MODEL, table).set_index("file") for table in (here, there)]
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
    for row in ("2.25 us 1.05x   ±4 %  no difference", "62.25 us 237x ±140 %     is slower"):
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
            plots.values(np.linspace(0, 1, 9)).savefig(path, format="png")
    stage.finish()
    page = report.render(stage.run)
    assert page.count("<figure>") == 1
    assert 'alt="latency"' in page and "picture-01" in page, "its name among the files"


def test_a_stage_is_shown_with_the_question_that_its_notebook_asks(finished_copy):
    executed = finished_copy.folder / "notebooks" / "03_tflite_conversion.ipynb"
    content = json.loads(executed.read_text(encoding="utf-8"))
    text = ["# 03 Another title\n", "\n", "**Question:** is `a < b`,\n", "or not? Nobody knows.\n"]
    content["cells"][0]["source"] = text
    executed.write_text(json.dumps(content), encoding="utf-8")
    page = report.render(finished_copy)
    assert "<h3>03 Another title</h3>" in page
    assert '<p class="question">Is <code>a &lt; b</code>, or not?</p>' in page
    assert "<h3>04 MNN conversion</h3>" in page
    executed.unlink()
    assert "<h3>03 TFLite conversion</h3>" in report.render(finished_copy), "as it is in notebooks/"


@pytest.mark.slow
def test_many_large_figures_still_make_a_page_of_allowed_size(home):
    noise = np.random.default_rng(0)
    stage = runs.Stage("05_accuracy_latency", study="ranking", run="r")
    for number in range(12):
        figure, axes = plots.axes_of(size=(6, 4))
        axes[0, 0].imshow(noise.random((400, 600, 3)), interpolation="nearest")
        figure.set_label(f"Noise {number}.")
        stage.figure(f"noise_{number}", figure)
    stage.finish()
    drawn = sum(file.stat().st_size for file in (stage.run.folder / "figures").iterdir())
    page = report.write(stage.run)
    assert drawn > pages.LARGEST > page.stat().st_size
    assert page.read_text(encoding="utf-8").count('width="600" height="400"') == 12


def test_the_index_shows_eight_columns_and_holds_the_others(finished_copy):
    shutil.copytree(finished_copy.folder, finished_copy.folder.with_name("another"))
    another = runs.Run("ranking", "another")
    with another.edit() as record:
        record["stages"]["02_keras_training"]["parameters"]["epochs"] = 7
        record["stages"]["06_device_bundle"]["code"]["helpers.bundle.make"] = "of another version"
    index = report.write_index("ranking").read_text(encoding="utf-8")
    heads = re.findall(r'<th scope="col" class="([^"]*)">([^<]+)</th>', index)
    assert [title for kind, title in heads if "more" not in kind] == [
        *("run", "what differs", "AUC", "bytes", "latency ratio", "verdict", "finished", "stale")
    ]
    assert {"epochs", "02 auc", "to ship", "stages"} <= {t for kind, t in heads if "more" in kind}
    row = re.search(r"<tr>(?:(?!</tr>).)*>another<.*?</tr>", index, re.DOTALL)[0]
    _, *shown = re.findall(r"<td[^>]*>([^<]*)</td>", row)
    comparison = pd.read_csv(finished_copy.folder / "comparison.csv")
    file = comparison[comparison["file"] == "tflite/fp32.tflite"].iloc[0]
    assert shown[0] == "epochs=7" and shown[2:5] == [str(file["bytes"]), "1.00x", "same"]
    assert shown[1] == f"{comparison['auc'].iloc[0]:.4f}"


def test_an_index_of_many_runs_takes_no_longer_than_two_seconds(finished_copy):
    others = shutil.ignore_patterns("notebooks", "bundle", "figures", "*.html")
    for number in range(94):
        target = finished_copy.folder.with_name(f"seed={number}")
        shutil.copytree(finished_copy.folder, target, ignore=others)
    begun = time.process_time()
    page = report.write_index("ranking")
    assert time.process_time() - begun < 2 and page.stat().st_size < pages.LARGEST


def test_the_index_of_a_thousand_runs_is_one_file_of_three_megabytes_at_most(finished_copy):
    """Runs of a random search: all figures differ, and names are as long as such names are."""
    few = shutil.ignore_patterns("notebooks", "bundle", "figures", "*.html", "*.npz", "*.keras")
    random = np.random.default_rng(0)
    for number in range(1000):
        rate, units = float(random.uniform(1e-4, 1e-2)), int(random.integers(4, 256))
        requested = {"epochs": 20, "hidden_units": units, "learning_rate": rate, "seed": number}
        name = pipeline.default_name(requested)
        run = runs.Run("ranking", name)
        shutil.copytree(finished_copy.folder, run.folder, ignore=few, copy_function=os.link)
        (run.folder / "report.html").touch()
        record = run.record()
        for entry in record["stages"].values():
            entry["metrics"] = {
                key: value if value is None or value % 1 == 0 else value * random.uniform(0.9, 1.1)
                for key, value in entry["metrics"].items()
            }
        parameters = {**record["parameters"], **requested}
        record |= {"run": name, "requested": requested, "parameters": parameters}
        run.record_file.unlink()
        run.record_file.write_text(json.dumps(record), encoding="utf-8")
    page = report.write_index("ranking")
    assert page.stat().st_size < pages.LARGEST, page.stat().st_size
    found = _data(page.read_text(encoding="utf-8"))
    assert len(found["names"]) == 1001
    shown = {column["title"]: column for column in found["columns"]}
    assert len(shown["02 auc"]["values"]) == len(shown["learning_rate"]["texts"]) == 1001
