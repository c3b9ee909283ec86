"""The service as a process: killed under load, asked slowly, asked for long."""

import http.client
import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest
from click.testing import CliRunner
from redis_process import redis_server

from helpers import cli
from helpers.ratings import states
from helpers.serving import stores

pytest.importorskip("uvicorn", reason="needs the extra serve")
WAIT_SECONDS = 60


class Process:
    """A service of the run `small` on a free port."""

    def __init__(self, *options: str, run: str = "small"):
        command = [sys.executable, "-m", "helpers.cli", "serve", "movies", "--run", run]
        self.process = subprocess.Popen(
            [*command, "--port", "0", *options], stdout=subprocess.PIPE, text=True
        )
        said = self.process.stdout.readline()
        assert "http://" in said, said
        self.port = int(said.rsplit(":", 1)[1])
        assert self.ask("GET", "/getrecforyou?id=1&size=1")[0] == 200
        times = psutil.Process(self.process.pid).cpu_times()
        self.seconds = times.user + times.system

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        result = answer.status, json.loads(answer.read())
        connection.close()
        return result

    def end(self, sent=signal.SIGKILL):
        self.process.send_signal(sent)
        self.process.wait(timeout=WAIT_SECONDS)
        self.process.stdout.close()
        return self.process.returncode


@pytest.fixture
def process(served):
    opened = Process()
    yield opened
    if opened.process.poll() is None:
        opened.end()


def _kept(home):
    (file,) = home.glob("data/movies/serving/*/features.sqlite")
    store = stores.SQLite(file)
    rows = dict(store._connection().execute("SELECT key, content FROM features"))
    store.close()
    users = {k: states.UserRecord.from_bytes(v) for k, v in rows.items() if k.startswith("uf:")}
    films = {k: states.film_state(v) for k, v in rows.items() if k.startswith("mf:")}
    return users, films


def test_killed_under_load_no_rating_is_torn_and_it_starts_again_soon(process, served):
    """Nobody rates a film twice, so that films count as many ratings as users have seen films:
    a rating of which only one half is there would show. Those that were answered are all there.
    """
    film_ids = range(1, 60)
    answered: list[tuple[int, int]] = []

    def rate(first: int) -> None:
        for user in range(first, first + 1000):
            for film in film_ids:
                rating = {"userId": user, "movieId": film, "rating": 4.5}
                try:
                    if process.ask("POST", "/rate", rating)[0] == 200:
                        answered.append((user, film))
                except (OSError, http.client.HTTPException):
                    return

    before = sum(len(user.seen) for user in _kept(served)[0].values())
    threads = [threading.Thread(target=rate, args=(10_000 * i,)) for i in range(1, 5)]
    [thread.start() for thread in threads]
    while len(answered) < 150:
        time.sleep(0.01)
    assert process.end() == -signal.SIGKILL
    [thread.join() for thread in threads]
    users, films = _kept(served)
    seen = sum(len(user.seen) for user in users.values())
    assert seen == sum(film.count for film in films.values())
    assert len(answered) <= seen - before <= len(answered) + len(threads)
    assert all(film in users[f"uf:{user}"].seen for user, film in answered)
    again = Process()
    assert again.seconds < 2, "seconds of a processor until the first list"
    user, film = answered[-1]
    assert film in [r["movieId"] for r in again.ask("GET", f"/getuser?id={user}")[1]["ratings"]]
    assert again.end(signal.SIGTERM) in (0, -signal.SIGTERM)


def test_an_answer_does_not_wait_for_the_client(process):
    """Over a connection that is kept, no request takes the 40 ms of a delayed acknowledgement."""
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=WAIT_SECONDS)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        connection.request("GET", "/getmovie?id=1")
        connection.getresponse().read()
        times.append(time.perf_counter() - start)
    connection.close()
    assert sorted(times)[15] < 0.035


def test_two_processes_share_a_redis_and_outlive_it(served, tmp_path):
    """A rating that one is told of is in the other's lists; without Redis both give the popular
    list.
    """
    with redis_server(tmp_path) as redis:
        features = ("--features", f"unix://{redis.socket}")
        first, second = Process(*features), Process(*features)
        try:
            films = second.ask("GET", "/getrecforyou?id=9001&size=3")[1]
            best = films[0]["movieId"]
            rating = {"userId": 9001, "movieId": best, "rating": 0.5}
            assert first.ask("POST", "/rate", rating)[0] == 200
            after = second.ask("GET", "/getrecforyou?id=9001&size=3")[1]
            assert best not in [film["movieId"] for film in after]
            assert second.ask("GET", "/getuser?id=9001")[1]["filmsSeen"] == 1
            redis.process.kill()
            redis.process.wait()
            for process in (first, second):
                status, popular = process.ask("GET", "/getrecforyou?id=9001&size=3")
                assert status == 200 and {film["way"] for film in popular} == {"popular"}
                assert process.ask("POST", "/rate", rating)[0] == 503
        finally:
            first.end()
            second.end()
    assert not list(served.glob("data/movies/serving/*/features.sqlite-*"))


def _tensorflow_is_in(pid: int) -> bool:
    return any("/tensorflow/" in m.path for m in psutil.Process(pid).memory_maps())


def test_no_tensorflow_and_flat_memory(process):
    memory = psutil.Process(process.process.pid)
    instances = [{"userId": 1 + i % 4, "movieId": 1 + i % 60} for i in range(200)]
    wrong = [b"{", b'{"instances": [{"userId": NaN}]}', b" " * 100_000]
    sizes = []
    for _ in range(4):
        for i in range(30):
            process.ask("GET", f"/getrecforyou?id={1 + i}&size=50")
            answer = process.ask("POST", "/v1/models/recmodel:predict", {"instances": instances})
            assert answer[0] == 200
            connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=WAIT_SECONDS)
            connection.request("POST", "/v1/models/recmodel:predict", wrong[i % 3])
            assert connection.getresponse().status == 400
            connection.close()
        sizes.append(memory.memory_info().rss)
    assert sizes[-1] - sizes[1] < 8 << 20, sizes
    assert not _tensorflow_is_in(process.process.pid)


@pytest.fixture
def many_files():
    """This process may open files for a thousand clients."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, before[1]), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
def test_a_thousand_slow_clients_are_let_go_and_nobody_waits_for_them(served, many_files):
    """Heads and bodies that never end: the service answers others meanwhile, holds no more of the
    bodies than it may, and hangs up.
    """
    script = (
        "from helpers.serving import guard, server\n"
        "guard.HEAD_SECONDS = guard.BODY_SECONDS = 6.0\n"
        "guard.MOST_BYTES_TOGETHER, guard.LARGE_BYTES = 3_000_000, 10_000\n"
        "server.serve('movies', {'small': 1.0}, port=0,"
        " echo=lambda line: print(line, flush=True))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        address = ("127.0.0.1", port)
        head = b"POST /rate HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        large = head + b"Content-Length: 2000000\r\n\r\n" + b" " * 20_000 + b"{"
        beginnings = [b"", b"GET / HT", head, head + b"Content-Length: 50\r\n\r\n{", large]

        def answered() -> int:
            connection = http.client.HTTPConnection(*address, timeout=WAIT_SECONDS)
            connection.request("GET", "/getrecforyou?id=1&size=3")
            return connection.getresponse().status

        assert answered() == 200
        memory = psutil.Process(process.pid)
        before = memory.memory_info().rss
        clients = [socket.create_connection(address, timeout=20) for _ in range(1000)]
        for number, client in enumerate(clients):
            client.sendall(beginnings[number % len(beginnings)])
        start = time.perf_counter()
        assert answered() == 200
        assert memory.num_fds() > 900, "the others are still there"
        assert memory.memory_info().rss - before < 64 << 20
        codes = []
        for number, client in enumerate(clients):
            received = b"".join(iter(lambda c=client: c.recv(4096), b""))
            if beginnings[number % len(beginnings)].endswith(b"{"):
                codes.append(received.split(b" ")[1])
            client.close()
        few, many = 3_000_000 // 20_001, 200 + 200
        assert codes.count(b"408") in range(200 + few - 60, 200 + few + 1)
        assert codes.count(b"408") + codes.count(b"503") == many
        assert time.perf_counter() - start < 60
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _limited(most: int):
    """Start the service where it may open so many files."""
    return subprocess.Popen(
        [sys.executable, "-m", "helpers.cli", "serve", "movies", "--run", "small", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)),
    )


def test_more_clients_than_files_are_turned_away_and_the_others_are_served(served, many_files):
    process = _limited(400)
    try:
        address = ("127.0.0.1", int(process.stdout.readline().rsplit(":", 1)[1]))
        open_before = http.client.HTTPConnection(*address, timeout=WAIT_SECONDS)
        open_before.request("GET", "/getmovie?id=1")
        assert open_before.getresponse().read()
        clients = [socket.create_connection(address, timeout=20) for _ in range(600)]
        time.sleep(1)
        open_before.request("GET", "/getmovie?id=2")
        assert open_before.getresponse().status == 200
        assert psutil.Process(process.pid).num_fds() < 400
        [client.close() for client in clients]
        deadline = time.monotonic() + WAIT_SECONDS
        status = 503
        while status == 503 and time.monotonic() < deadline:
            after = http.client.HTTPConnection(*address, timeout=WAIT_SECONDS)
            after.request("GET", "/getmovie?id=2")
            status = after.getresponse().status
        assert status == 200
    finally:
        process.kill()
        _, said = process.communicate()
    assert "resource" not in said and len(said) < 2000


def test_too_few_files_to_serve_anybody_are_told(served):
    process = _limited(300)
    _, said = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 2 and "300 files" in said and "ulimit -n" in said


def test_wrong_words_are_one_line(served):
    for words, said in {
        ("--host", "0.0.0.0"): "give a --token",
        ("--run", "nobody"): "has not been run",
        ("--run", "small=x"): "the weight of run 'small'",
        ("--features", "mongo"): "sqlite or at a redis:// URL",
        ("--model-server", "x"): "has a http:// URL",
    }.items():
        options = words if "--run" in words else ("--run", "small", *words)
        done = CliRunner().invoke(cli.main, ["serve", "movies", "--port", "0", *options])
        assert done.exit_code in (1, 2) and said in done.stderr, done.output
