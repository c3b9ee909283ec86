"""The pages in a real browser: nothing is fetched, every picture shows, nothing runs out of the
page; printing.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers import report, runs

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to open the pages in (.ci/run installs it)"
)
LOOK = """<script>addEventListener("load", () => {
  const tables = [...document.querySelectorAll("table")].filter(t => !t.closest(".wide"));
  document.title = JSON.stringify({
    pictures: [...document.images].map(i => i.naturalWidth),
    cut: [...document.querySelectorAll(".wide")].some(w => w.scrollWidth > w.clientWidth),
    wide: document.documentElement.scrollWidth > innerWidth
      || tables.some(t => t.scrollWidth > innerWidth),
    headings: [...document.querySelectorAll("h2")].map(h => h.innerText),
    fetched: performance.getEntriesByType("resource")
      .filter(r => !r.name.startsWith("data:")).map(r => r.name),
    links: [...document.querySelectorAll("a")].map(a => a.href),
  }); })</script>"""


def _browser(page: Path, folder: Path, *options: str) -> str:
    quiet = [
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *quiet]
    command += [
        f"--user-data-dir={folder / 'profile'}",
        "--window-size=1280,2000",
        "--virtual-time-budget=5000",
    ]
    done = subprocess.run(
        [*command, *options, page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _looked_at(page: Path, folder: Path, script: str = LOOK) -> dict:
    """What the browser makes of a copy of the page that also says what it shows."""
    copy = page.with_name(f"looked-at-{page.name}")
    copy.write_text(page.read_text().replace("</html>", script + "</html>"))
    title = re.search(r"<title>(.*?)</title>", _browser(copy, folder, "--dump-dom"), re.DOTALL)[1]
    copy.unlink()
    return json.loads(title.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


def _pixels(page: Path, folder: Path):
    import matplotlib.image

    picture = folder / "page.png"
    _browser(page, folder, f"--screenshot={picture}")
    return matplotlib.image.imread(picture)[..., :3]


def test_the_page_of_a_run(finished_copy, tmp_path):
    page = finished_copy.folder / "report.html"
    seen = _looked_at(page, tmp_path)
    assert len(seen["pictures"]) > 8 and min(seen["pictures"]) > 100, "every picture is there"
    assert not seen["wide"] and not seen["cut"] and seen["fetched"] == [] and seen["links"] == []
    assert {"Comparison", "Figures", "Stages", "Parameters", "Reproduce"} <= set(seen["headings"])
    pixels = _pixels(page, tmp_path)
    assert 0.02 < (pixels < 0.9).any(axis=2).mean() < 0.6, "neither blank nor black"
    _browser(page, tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    content = (tmp_path / "page.pdf").read_bytes()
    assert (
        content.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type\s*/Page[^s]", content)) <= 20
    )


def test_the_page_over_all_runs(finished_copy, home, tmp_path):
    shutil.copytree(finished_copy.folder, finished_copy.folder.with_name("another"))
    stage = runs.Stage(
        "01_synthetic_data",
        study="ranking",
        run="begun & <b>".replace(" & <b>", ""),
        seed=7,
        rows=300,
    )
    stage.finish(bayes_auc=1.0)
    page = report.write_index("ranking")
    assert page == home / "artifacts/ranking/index.html"
    seen = _looked_at(page, tmp_path)
    assert not seen["wide"] and seen["fetched"] == []
    assert [link.rsplit("/", 2)[1:] for link in seen["links"]] == [
        ["another", "report.html"],
        ["default", "report.html"],
    ]
    sort = """<script>addEventListener("load", () => {
        const head = document.querySelector("#runs th");
        const rows = () => [...document.querySelectorAll("#runs tr")];
        head.click(); head.click();
        document.title = JSON.stringify(rows().slice(1).map(row => row.cells[0].innerText));
    })</script>"""
    assert _looked_at(page, tmp_path, sort) == [
        "default",
        "begun",
        "another",
    ], "a heading sorts by its column"


def test_a_heading_sorts_numbers_as_numbers(home, tmp_path):
    for name, rate in (("seed=10", 0.1), ("seed=9", 3e-5), ("c", 0.003), ("d", 0.01)):
        runs.Stage("02_keras_training", study="ranking", run=name, learning_rate=rate).finish()
    page = report.write_index("ranking")
    sort = """<script>addEventListener("load", () => {
        const heads = [...document.querySelectorAll("#runs th")];
        const rows = () => [...document.querySelectorAll("#runs tr")];
        const column = i => (heads[i].click(), rows().slice(1).map(row => row.cells[i].innerText));
        const rate = heads.findIndex(h => h.innerText === "learning_rate");
        document.title = JSON.stringify([column(0), column(rate)]);
    })</script>"""
    assert _looked_at(page, tmp_path, sort) == [
        ["c", "d", "seed=9", "seed=10"],
        ["3e-05", "0.003", "0.01", "0.1"],
    ]
