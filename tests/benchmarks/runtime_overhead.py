"""What the wrapper costs: our timers and `Runtime.score` against a bare loop over the same runtime
calls, in one run.

    python tests/benchmarks/runtime_overhead.py

``steps`` is what notebook 05 times, with the copy in and out and without; the bare loop is written
out by hand for this model's three inputs. ``score`` validates names, shapes, dtypes and finiteness
besides. Blocks are interleaved and ratios taken within a round; absolute times are of this machine
and moment.
"""

import argparse
import gc
import tempfile
import time
from pathlib import Path

import numpy as np

from helpers import datasets, registry, simulation
from helpers.convert import mnn
from helpers.frameworks import keras as framework
from helpers.runtimes import open_model
from helpers.tasks.ranking import RANKING

BLOCK_SECONDS = 0.004


def bare_litert(model, inputs):
    """Loops over LiteRT's own calls: three set_tensor, invoke, get_tensor; and invoke alone."""
    interpreter, output = model._interpreter, model._output
    set_tensor, invoke, get_tensor = (
        interpreter.set_tensor,
        interpreter.invoke,
        interpreter.get_tensor,
    )
    (i, a), (j, b), (k, c) = ((index, inputs[name]) for name, index in model._inputs.items())

    def copy_and_run(calls: int) -> None:
        for _ in range(calls):
            set_tensor(i, a)
            set_tensor(j, b)
            set_tensor(k, c)
            invoke()
            get_tensor(output)

    def run(calls: int, invoke=invoke) -> None:  # as a local, the fastest there is
        for _ in range(calls):
            invoke()

    return copy_and_run, run


def bare_mnn(model, inputs):
    """Loops over MNN's own calls: write and copyFrom three times, runSession, copyToHostTensor;
    runSession alone.
    """
    run_session, session = model._interpreter.runSession, model._session
    copy_out, result, copy = model._output.copyToHostTensor, model._result, model._result_view.copy
    (p, s, u, a), (q, t, v, b), (r, w, x, c) = (
        (tensor.copyFrom, host, view, inputs[name]) for tensor, host, view, name in model._feeds
    )

    def copy_and_run(calls: int) -> None:
        for _ in range(calls):
            u[...] = a
            p(s)
            v[...] = b
            q(t)
            x[...] = c
            r(w)
            run_session(session)
            copy_out(result)
            copy()

    def run(
        calls: int, run_session=run_session, session=session
    ) -> None:  # as locals, the fastest there is
        for _ in range(calls):
            run_session(session)

    return copy_and_run, run


def timed(function, calls: int) -> float:
    gc.disable()  # as timeit does
    start = time.perf_counter()
    function(calls)
    seconds = time.perf_counter() - start
    gc.enable()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    rounds = parser.parse_args().rounds
    study = registry.get("ranking")
    splits = {}
    for split in ("train", "validation"):
        frame = simulation.sample(study, "simple", rows=5000, seed=0, split=split)
        splits[split] = study.schema.arrays(frame), frame[datasets.LABEL].to_numpy()
    build = study.models[study.model_name("default")].build
    model, _ = framework.train(
        build,
        study.schema,
        RANKING,
        splits["train"],
        splits["validation"],
        epochs=1,
        progress=False,
    )
    print(
        f"{'file':<12} {'batch':>5} {'calls':<14} {'bare us':>9} {'steps / bare':>14} "
        f"{'score / bare':>14}"
    )
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("fp32.tflite", "fp32.mnn")]
        framework.export(model, study.schema, files[0])
        mnn.convert(files[0], study.schema, files[1])
        for path, bare in zip(files, (bare_litert, bare_mnn), strict=True):
            for batch in (1, 8, 64, 512, 4096):
                inputs = {name: array[:batch].copy() for name, array in splits["train"][0].items()}
                opened = open_model(path, study.schema, trusted=True)
                steps = opened.steps(inputs)
                copying, running = bare(opened, inputs)

                def score(calls: int, opened=opened, inputs=inputs) -> None:
                    for _ in range(calls):
                        opened.score(inputs)

                ways = {
                    "bare copy": lambda n, f=copying: timed(f, n),
                    "steps copy": steps.copy_and_run.timeit,
                    "score copy": lambda n, f=score: timed(f, n),
                    "bare run": lambda n, f=running: timed(f, n),
                    "steps run": steps.run.timeit,
                }
                counts = {}
                for name, way in ways.items():
                    way(50)
                    counts[name] = max(1, int(1.5 * BLOCK_SECONDS / (way(50) / 50)))
                order, times = np.random.default_rng(0), {name: [] for name in ways}
                for _ in range(rounds):
                    for name in order.permutation(list(ways)):
                        times[name].append(ways[name](counts[name]) / counts[name] * 1e6)
                times = {name: np.array(values) for name, values in times.items()}
                for calls, label in (("copy", "copy, run, copy"), ("run", "run alone")):
                    base = times[f"bare {calls}"]
                    ours = np.median(times[f"steps {calls}"] / base)
                    full = (
                        f"{np.median(times['score copy'] / base):13.2f}x" if calls == "copy" else ""
                    )
                    print(
                        f"{path.name:<12} {batch:>5} {label:<14} {np.median(base):9.2f} "
                        f"{ours:13.2f}x {full}"
                    )


if __name__ == "__main__":
    main()
