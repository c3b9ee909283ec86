"""The pages in a real browser: nothing is fetched or complained of, tables sort and filter, keys
reach what the mouse does, text stays text; printing.
"""

import json
import re
import shutil
import time

import pytest
from browsing import browser, needed

from helpers import pages, report, runs

pytestmark = needed
ALL = "[...document.querySelectorAll('{}')]".format
"""Elements of a page, in JavaScript."""
FILES = '[aria-label="Comparison of the files"] table'
TOLD = """(function within(root) {
  return [...root.querySelectorAll("*")].flatMap(e => e.className === "bk-tooltip-content" ? [e]
    : e.shadowRoot ? within(e.shadowRoot) : []);
})(document)"""
"""What figures tell of what is pointed at, in JavaScript."""
HOSTILE = "</script><img src=x onerror=\"document.title='hit'\">`${1}`&amp;$$x$$"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """The browser of this module."""
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def opened(chromium):
    """What opens a new page, to be closed behind the test."""
    there = []
    yield lambda: there.append(chromium()) or there[-1]
    for page in there:
        page.close()


def _rows(page, table: str) -> list[list[str]]:
    """The texts of a table's body as they are shown."""
    return page.look(
        f"[...document.querySelectorAll('{table} tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )


def _column(page, table: str, heading: str) -> list[str]:
    titles = page.look(
        f"[...document.querySelectorAll('{table} thead th')].map(head => head.innerText.trim())"
    )
    return [row[titles.index(heading)] for row in _rows(page, table)]


def _sort(page, heading: str) -> None:
    """Click the first control of a column of the index, and wait until it is sorted by."""
    words = json.dumps(heading)
    head = f"{ALL('#runs thead th')}.find(head => head.innerText.trim() === {words})"
    page.look(f"{head}.querySelector('button').click()")
    page.until(f"{head}.ariaSort === 'ascending'")


def _point(page, figure: str, renderer: int, x: str, y: str, *words: str) -> None:
    """Move the mouse to the star of a figure, or to its first point, until it tells these words."""
    place = f"""(() => {{
        const figure = document.getElementById("{figure}");
        const view = Bokeh.index.roots.find(root => figure.contains(root.el));
        const found = view.model.renderers[{renderer}].data_source.data;
        const place = Math.max(0, (found.marker ?? []).indexOf("star"));
        const box = view.el.getBoundingClientRect(), frame = view.frame;
        return [box.x + frame.x_scale.compute(found.{x}[place]),
          box.y + frame.y_scale.compute(found.{y}[place])];
    }})()"""
    for tenths in range(150):  # a figure is drawn some time after its data has changed
        if tenths % 15 == 0:
            across, up = page.look(place)
            page.point(across + 40, up)
            page.point(across, up)
        told = page.look(f"{TOLD}.map(told => told.innerText)")
        if all(word in "".join(told) for word in words):
            return
        time.sleep(0.1)
    raise AssertionError(f"{words} are not in {told}")


def _close_menu(page) -> None:
    """Press Escape until the menu is gone: one that is still being opened does not hear it."""
    for _ in range(100):
        page.press("Escape")
        if not page.look("document.querySelectorAll('.dt-button-collection').length"):
            return
        time.sleep(0.1)
    raise AssertionError("the menu stays open")


def _focused(page) -> str:
    """What has the focus, in its own words."""
    return page.look(
        "(e => e.ariaLabel || e.innerText || e.placeholder || e.tagName)(document.activeElement)"
    )


def _tab_to(page, words: str, most: int = 60) -> None:
    for _ in range(most):
        page.press("Tab")
        if words in _focused(page):
            return
    raise AssertionError(f"{most} times Tab do not reach {words!r}")


def _alone(page, file) -> None:
    """A page that is content and asked for nothing but itself."""
    assert page.complaints == []
    assert [url for url in page.fetched if not url.startswith(("data:", "blob:"))] == [
        file.as_uri()
    ]
    assert file.stat().st_size < pages.LARGEST


def test_the_page_of_a_run(opened, finished_copy):
    file = finished_copy.folder / "report.html"
    page = opened().open(file)
    pictures = page.look("[...document.images].map(i => [i.naturalWidth, i.alt])")
    assert len(pictures) > 8 and min(width for width, _ in pictures) > 100
    assert all(alt.endswith(".") and " " in alt for _, alt in pictures), "a sentence each"
    captions = page.look("[...document.querySelectorAll('figcaption')].map(c => c.innerText)")
    assert {alt for _, alt in pictures} <= set(captions)
    assert page.look("document.documentElement.scrollWidth <= innerWidth")
    assert page.look(f"{ALL('.wide')}.every(wide => wide.scrollWidth <= wide.clientWidth)")
    assert page.look(f"{ALL('.points')}.filter(figure => figure.checkVisibility()).length") == 3
    assert page.look(f"{ALL('.chart')}.filter(chart => chart.clientHeight > 300).length") == 3
    headings = page.look(f"{ALL('main h2, main h3')}.map(heading => heading.innerText)")
    stages = [heading for heading in headings if re.match(r"0\d ", heading)]
    assert stages == sorted(stages) and len(stages) == 6
    assert headings.index("Comparison") < headings.index(stages[0])
    _alone(page, file)


def test_the_recommended_file_stands_first_and_its_row_is_marked(opened, finished_copy):
    page = opened().open(finished_copy.folder / "report.html")
    chosen = json.loads((finished_copy.folder / "recommendation.json").read_text())
    assert page.look("document.querySelector('h1 ~ p.ship').innerText") == chosen["sentence"]
    ((text, link),) = page.look(
        f"{ALL('tr.ship')}.map(row => [row.innerText, row.querySelector('a').href])"
    )
    assert "recommended" in text and link.endswith(chosen["file"])


def test_every_link_of_a_run_leads_somewhere(opened, finished_copy):
    page = opened().open(finished_copy.folder / "report.html")
    links = set(page.look("[...document.links].map(a => a.getAttribute('href'))"))
    missing = [
        link
        for link in links
        if not (
            page.look(f"!!document.getElementById({json.dumps(link[1:])})")
            if link.startswith("#")
            else (finished_copy.folder / link).exists()
        )
    ]
    assert missing == []
    assert {"../index.html", "bundle/bundle.zip", "notebooks/05_accuracy_latency.ipynb"} <= links


def test_a_table_is_filtered_and_sorted_by_keys_alone(opened, finished_copy):
    page = opened().open(finished_copy.folder / "report.html")
    every = _column(page, FILES, "bytes")
    _tab_to(page, "Filter")
    page.type("mnn")
    kept = _rows(page, FILES)
    assert 0 < len(kept) < len(every) and {row[0].split()[0] for row in kept} == {"mnn"}
    _tab_to(page, "bytes")
    found = [int(row[1].replace(",", "")) for row in kept if row[1]]
    for order, first in (("ascending", min(found)), ("descending", max(found))):
        page.press("Enter")
        page.until(f"!!document.querySelector('{FILES} th[aria-sort={order}]')")
        assert _column(page, FILES, "bytes")[0] == f"{first:,}"


@pytest.mark.parametrize(
    "figure, renderer, x, y, words",
    [
        ("files", 0, "x", "y", ("litert fp32", "recommended", "bytes of the file: 3,196")),
        ("latency", 1, "batch", "median", ("keras fp32", "rows:", "a call:", " us (")),
        ("scores", 1, "reference", "score", ("row ", "trained model:", "difference:")),
    ],
)
def test_what_is_pointed_at_is_told(opened, finished_copy, figure, renderer, x, y, words):
    page = opened().open(finished_copy.folder / "report.html", height=3000)
    _point(page, figure, renderer, x, y, *words)


def test_without_scripts_the_page_says_the_same(opened, finished_copy):
    page = opened()
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.call("Page.navigate", url=(finished_copy.folder / "report.html").as_uri())
    page.until("document.images.length > 8")
    assert "recommended" in page.look("document.querySelector('tr.ship').innerText")
    assert page.look("[...document.querySelectorAll('.points')].every(f => !f.offsetParent)")


def test_a_page_is_printed(opened, finished_copy):
    page = opened().open(finished_copy.folder / "report.html")
    content = page.pdf()
    assert (
        content.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type\s*/Page[^s]", content)) <= 20
    )


def test_stale_stages_are_red(opened, finished_copy):
    with finished_copy.edit() as record:
        record["stages"]["04_mnn_conversion"]["code"]["helpers.convert.mnn"] = "of another version"
    page = opened().open(report.write(finished_copy))
    red = "getComputedStyle(document.getElementById('04_mnn_conversion')).color"
    assert page.look(red) == "rgb(170, 0, 0)"
    assert page.look(red.replace("04_mnn_conversion", "03_tflite_conversion")) == "rgb(34, 34, 34)"
    index = report.write_index("ranking")
    page = opened().open(index)
    assert (
        page.look("getComputedStyle(document.querySelector('#runs td.stale')).color")
        == "rgb(170, 0, 0)"
    )
    assert _column(page, "#runs", "stale") == ["04 05 06"]


def test_two_runs_are_compared_by_keys_alone(opened, finished_copy, home):
    shutil.copytree(finished_copy.folder, finished_copy.folder.with_name("another"))
    another = runs.Run("ranking", "another")
    with another.edit() as record:
        record["stages"]["02_keras_training"]["parameters"]["epochs"] = 7
        record["stages"]["02_keras_training"]["metrics"]["auc"] = 0.5
    stage = runs.Stage("01_synthetic_data", study="ranking", run="begun", seed=7, rows=300)
    stage.finish(bayes_auc=1.0)
    file = report.write_index("ranking")
    page = opened().open(file)
    assert len(_rows(page, "#runs")) == 3
    assert not page.look("document.getElementById('compared').checkVisibility()")
    for name in ("another", "default"):
        page.look("document.activeElement.blur()")
        _tab_to(page, f"Compare run {name}")
        page.press(" ")
    assert page.look("document.getElementById('compared').checkVisibility()")
    lines = {row[0]: row[1:] for row in _rows(page, "#compared")}
    command = page.look("document.querySelector('#paired code').textContent")
    assert re.fullmatch(r"workbench compare ranking/\S+ ranking/\S+ --html compared.html", command)
    assert lines["epochs"] in (["7", "5", "-2"], ["5", "7", "+2"])
    assert "0.5000" in lines["AUC"] and "seed" not in lines, "of parameters only what differs"
    assert lines["verdict"] == ["same", "same", ""]
    page.look("document.getElementById('only').click()")
    shown = page.look(f"{ALL('#compared tbody tr')}.filter(row => row.checkVisibility()).length")
    assert 1 < shown < len(lines)
    _tab_to(page, "Compare no runs")
    page.press("Enter")
    assert not page.look("document.getElementById('compared').checkVisibility()")
    assert page.look("[...document.links].map(a => a.getAttribute('href'))") == [
        "another/report.html",
        "default/report.html",
    ]
    _alone(page, file)


def test_the_index_sorts_numbers_as_numbers_to_the_last_digit(opened, home):
    for name, rate, auc in (
        ("seed=10", 0.1, 0.91434),
        ("seed=9", 3e-5, 0.91431),
        ("c", 0.003, 0.91433),
        ("d", 0.01, 0.91432),
    ):
        stage = runs.Stage("02_keras_training", study="ranking", run=name, learning_rate=rate)
        stage.finish(auc=auc)
    page = opened().open(report.write_index("ranking"))
    _tab_to(page, "Columns")
    page.press("Enter")
    for column in ("learning_rate", "02 auc"):
        _tab_to(page, column)
        page.press("Enter")
    _close_menu(page)
    _sort(page, "run")
    assert _column(page, "#runs", "run") == ["c", "d", "seed=9", "seed=10"]
    _sort(page, "learning_rate")
    assert _column(page, "#runs", "learning_rate") == ["3e-05", "0.003", "0.01", "0.1"]
    _sort(page, "02 auc")
    assert _column(page, "#runs", "run") == ["seed=9", "d", "c", "seed=10"]
    assert set(_column(page, "#runs", "02 auc")) == {"0.9143"}


def test_the_scatter_shows_the_runs_that_the_filter_leaves(opened, home):
    for name, rate in (("a", 0.1), ("b", 3e-5), ("ab", 0.003)):
        runs.Stage("02_keras_training", study="ranking", run=name, learning_rate=rate).finish(
            auc=rate
        )
    page = opened().open(report.write_index("ranking"))
    points = "Bokeh.index.roots[0].model.renderers[0].data_source.data"
    assert sorted(page.look(f"{points}.name")) == ["a", "ab", "b"]
    _tab_to(page, "Filter")
    page.type("b")
    assert sorted(page.look(f"{points}.name")) == ["ab", "b"]
    assert page.look("document.getElementById('count').innerText") == "2 of 3 runs are shown"
    choose = """(() => { const select = document.querySelector("#scatter select");
        select.value = [...select.options].findIndex(o => o.text === "02 auc");
        select.dispatchEvent(new Event("change")); })()"""
    page.look(choose)
    assert sorted(page.look(f"[...{points}.x]")) == [3e-5, 0.003]


def test_text_of_a_run_stays_text(opened, finished_copy, home):
    with finished_copy.edit() as record:
        for entry in record["stages"].values():
            entry["parameters"] |= {"version": HOSTILE, HOSTILE: 3}
            entry["metrics"][HOSTILE] = 1.5
            entry["from_run"] = HOSTILE
        record["requested"]["version"] = HOSTILE
    stage = runs.Stage("01_synthetic_data", study="ranking", run="other", **{HOSTILE: "4"})
    stage.finish(**{HOSTILE: 2.5})
    page = opened().open(report.write(finished_copy))
    assert HOSTILE in page.look("document.body.innerText")
    page.look("document.querySelector('table.sorted th').click()")
    assert page.complaints == [] and page.look("document.title") != "hit"
    page = opened().open(report.write_index("ranking"))
    _tab_to(page, "Columns")
    page.press("Enter")
    assert f"01 {HOSTILE}" in page.look(f"{ALL('.dt-button')}.map(button => button.innerText)")
    _close_menu(page)
    page.look("document.querySelectorAll('#runs input').forEach(box => box.click())")
    assert {HOSTILE, f"01 {HOSTILE}"} <= {row[0] for row in _rows(page, "#compared")}
    assert f"01 {HOSTILE}" in page.look(f"{ALL('#scatter option')}.map(option => option.text)")
    page.look("""document.querySelectorAll("#scatter select").forEach(select => {
        select.value = [...select.options].findIndex(o => o.text.startsWith("01 </script>"));
        select.dispatchEvent(new Event("change")); })""")
    page.look("document.getElementById('scatter').scrollIntoView()")
    _point(page, "scatter", 0, "x", "y", f"01 {HOSTILE}")
    assert page.look(f"{TOLD}.every(told => !told.querySelector('img'))")
    assert page.look("document.images.length") == 0
    assert page.complaints == [] and page.look("document.title") == "ranking: 2 runs"
