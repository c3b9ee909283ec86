"""Lists of films a second, from HTTP to HTTP, with LiteRT in the service and with Keras in it.

    python tests/benchmarks/serving.py [--seconds 8] [--clients 1 4]

Ratings of 1,500 films are simulated and `residual_mlp` and `deep_fm` are trained for an epoch. The
service runs in a process of its own; `wrk` asks it for the lists of users at random, 800 candidates
each, over connections that each wait for their answer (a closed loop). Without wrk a Python client
does, whose own time is then in the figures. Everything shares one machine.
"""

from __future__ import annotations

import argparse
import http.client
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "serving"))
MODELS = ("residual_mlp", "deep_fm")
USERS = 600
PATH = "/getrecforyou?size=20&id="
LUA = f'request = function() return wrk.format("GET", "{PATH}" .. math.random(1, {USERS})) end\n'


def serve(run: str, scorer: str) -> None:
    """Serve a run until killed, scored by its LiteRT file or by Keras' predict."""
    from helpers.runs import Run
    from helpers.runtimes.keras import load
    from helpers.serving import server

    class Predict:
        def __init__(self, schema):
            self.schema, self.lock = schema, threading.Lock()
            self.model = load(Run("movies", run).folder / "model/model.keras")

        def score(self, inputs):
            with self.lock:
                return self.model.predict(dict(inputs), verbose=0, batch_size=1024)

    service = server.opened("movies", {run: 1.0})
    if scorer == "keras":
        versions = [replace(v, scorer=Predict(v.schema)) for v in service.versions]
        service = replace(service, versions=versions)
    server.listen(service, echo=lambda line: print(line, flush=True))


def asked(port: int, clients: int, seconds: float) -> tuple[float, float, float]:
    """Requests a second, median and 99th percentile in milliseconds."""
    if not shutil.which("wrk"):
        return _asked_here(port, clients, seconds)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA)
        script.flush()
        words = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--latency", "-s", script.name]
        said = subprocess.run(
            [*words, f"http://127.0.0.1:{port}"], capture_output=True, text=True, check=True
        ).stdout
    assert "Non-2xx" not in said, said
    times = {}
    for share in (50, 99):
        value, unit = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)\b", said).groups()
        times[share] = float(value) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1]), times[50], times[99]


def _asked_here(port: int, clients: int, seconds: float) -> tuple[float, float, float]:
    times: list[float] = []
    end = time.perf_counter() + seconds

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (start := time.perf_counter()) < end:
            connection.request("GET", f"{PATH}{random.randint(1, USERS)}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            times.append(time.perf_counter() - start)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    return len(times) / seconds, *(1e3 * np.quantile(times, (0.5, 0.99)))


def main(seconds: float, clients: list[int]) -> None:
    import conftest

    conftest.SIZES.update(rows=50_000, validation_rows=4000, test_rows=6000)
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"WORKBENCH_HOME": home, "TQDM_DISABLE": "1"}
        for model in MODELS:
            conftest.make_run(model.replace("_", "-"), model)
        print("model         scored by      clients  lists/s  p50 ms  p99 ms")
        for model in MODELS:
            for scorer, name in {"litert": "LiteRT", "keras": "Keras predict"}.items():
                words = [sys.executable, __file__, "--serve", model.replace("_", "-"), scorer]
                environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as the service has it
                with subprocess.Popen(
                    words, stdout=subprocess.PIPE, text=True, env=environment
                ) as process:
                    port = int(process.stdout.readline().rsplit(":", 1)[1])
                    asked(port, 1, 2)  # warm
                    for count in clients:
                        rate, median, late = asked(port, count, seconds)
                        print(
                            f"{model:<13} {name:<14} {count:>7} {rate:>8.1f} "
                            f"{median:>7.2f} {late:>7.2f}",
                            flush=True,
                        )
                    process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
    else:
        main(options.seconds, options.clients)
