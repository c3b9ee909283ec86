"""The page in a real browser: a list is shown, and a rating moves it."""

import json
import re
import shutil
import subprocess
import threading
import time

import pytest

from helpers.serving import app

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium to open the page in (.ci/run installs it)"
)
LOOK = """<script>addEventListener("load", async () => {
  const wait = async ready => { while (!ready()) await new Promise(next => setTimeout(next, 20)); };
  const films = () => [...document.querySelectorAll("#list li[data-film]")];
  await wait(() => films().length && document.querySelector("#seen").innerText === "0");
  const ids = films().map(film => film.dataset.film);
  const seen = document.querySelector("#rated").innerText;
  films()[0].querySelectorAll(".rate button")[0].click();
  await wait(() => document.querySelector("#seen").innerText === "1");
  document.title = JSON.stringify({
    before: ids, after: films().map(film => film.dataset.film), seen,
    ways: films().map(film => film.querySelector(".way").innerText),
    scores: films().map(film => parseFloat(film.querySelector(".why").innerText)),
    moved: films().map(film => film.querySelector("small").innerText),
    rated: document.querySelector("#rated").innerText,
    said: document.querySelector("#said").innerText,
    wide: document.documentElement.scrollWidth > innerWidth,
    fetched: performance.getEntriesByType("resource").map(r => new URL(r.name).host),
    host: location.host,
  }); });</script>"""


@pytest.fixture
def address(service):
    """The service over HTTP, its page with a script that rates a film and says what it sees."""
    import uvicorn

    made = app.made(service)

    async def looking(scope, receive, send):
        async def sent(message):
            if scope["path"] == "/" and message["type"] == "http.response.start":
                kept = [h for h in message["headers"] if h[0] != b"content-length"]
                message = {**message, "headers": kept}
            elif scope["path"] == "/":
                message = {**message, "body": message["body"] + LOOK.encode()}
            await send(message)

        await made(scope, receive, sent)

    config = uvicorn.Config(looking, port=0, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("width", [1280, 500])
def test_a_rating_moves_the_list(address, service, tmp_path, width):
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--window-size={width},1200", "--virtual-time-budget=9000", "--dump-dom"]
    done = subprocess.run(
        [*command, f"{address}/?user=60000"], capture_output=True, text=True, timeout=120
    )
    found = json.loads(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)[1])
    assert len(found["before"]) == len(found["after"]) == 20
    assert found["before"][0] not in found["after"], "rated, so it does not come back"
    assert found["after"] == [str(film["movieId"]) for film in service.recommend(60_000, 20).films]
    assert found["scores"] == sorted(found["scores"], reverse=True) and all(found["ways"])
    assert any("▲" in moved or moved == "new" for moved in found["moved"])
    title = service.known.titles[int(found["before"][0])]
    assert "nothing yet" in found["seen"] and title in found["rated"] and title in found["said"]
    assert set(found["fetched"]) == {found["host"]} and not found["wide"]
