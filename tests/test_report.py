import pandas as pd

from helpers import report, runs


def test_the_page_is_one_file_that_needs_no_network(finished):
    page = (finished.home / "artifacts/ranking/default/report.html").read_text()
    assert "http:" not in page and "https:" not in page and 'src="data:image/png' in page
    figures = list((finished.home / "artifacts/ranking/default/figures").glob("*.png"))
    assert page.count("<figure>") == len(figures) > 8
    assert "workbench run ranking --run default -p latency_seconds=1.0" in page
    assert '<p class="ship">Ship litert fp32: of the 16 files within the budget' in page
    for word in ("litert", "mnn", "weight_int4_hqq", "Kendall tau", "learning_rate", "05_accuracy_latency"):
        assert word in page


def test_values_are_escaped(finished_copy):
    with finished_copy.edit() as record:
        record["parameters"]["scenario"] = "<script>alert(1)</script>"
    assert "<script>" not in report.render(finished_copy)


def test_a_run_without_a_comparison_has_a_page_too(home):
    stage = runs.Stage("01_synthetic_data", study="ranking", run="early", seed=1)
    stage.finish(bayes_auc=0.9)
    page = report.render(stage.run)
    assert "bayes_auc 0.9" in page and "No comparison: no finished stage" in page


def test_readable_shows_units_and_hides_meaningless_digits(finished):
    table = report.readable(pd.read_csv(finished.home / "artifacts/ranking/default/comparison.csv"))
    plain = table["precision"].str.startswith("fp32")
    assert set(table["largest difference"][plain]) == {"under 1e-05"} and plain.sum() == 4
    assert table["largest difference"][~plain].str.fullmatch(r"\de-0\d").all()
    assert table["batch 1"].str.fullmatch(r" *\d+\.\d\d us").all()
    assert table["by LiteRT fp32's"].iloc[1].strip() == "1.00x (1.00-1.00x)"
