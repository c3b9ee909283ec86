"""How often a file raises an alarm against itself: the price of all the checks, to be at most 5 %.

    python tests/benchmarks/false_alarms.py

Parity: every variant of a trained model, scored on another test set and in another batch split,
against its own scores of the whole set; an alarm is any verdict but ``same``, or an interval of the
AUC change that leaves 0 out by more than a rounding. Latency: the same file under eight names,
quick mode; an alarm is any claim of a difference.
"""

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

from helpers import datasets, registry, runs, simulation
from helpers.convert import recipes, variants
from helpers.evaluation import latency, parity
from helpers.frameworks import keras as framework
from helpers.runtimes import open_model
from helpers.tasks import Truth
from helpers.tasks import ranking as task
from helpers.tasks.ranking import RANKING

ROUNDING = 1e-6


def parity_alarms(study, files: dict[str, Path], comparisons: int) -> int:
    """Alarms among `comparisons` of a file with itself; prints each."""
    alarms, names = 0, list(files)
    for number in range(comparisons):
        name, rng = names[number % len(names)], np.random.default_rng(number)
        frame = simulation.sample(study, "simple", rows=2000, seed=1000 + number, split="test")
        inputs, labels = study.schema.arrays(frame), frame[datasets.LABEL].to_numpy()
        model, size = (
            open_model(files[name], study.schema, trusted=True),
            int(rng.integers(1, 2000)),
        )
        parts = [
            model.score({n: a[i : i + size] for n, a in inputs.items()})
            for i in range(0, 2000, size)
        ]
        whole, again = model.score(inputs), np.concatenate(parts)
        result = task.compare(again, whole, labels, frame[datasets.REQUEST].to_numpy())
        moved = result.auc_delta_low > ROUNDING or result.auc_delta_high < -ROUNDING
        if result.verdict != "same" or moved:
            alarms += 1
            print(f"  {name} in batches of {size}: {result.verdict}, {result.reason}")
    return alarms


def latency_claims(study, path: Path, inputs, measurements: int) -> tuple[int, int, float]:
    """Claims of a difference, comparisons, and the median noise floor: a large one makes it easy to
    claim nothing.
    """
    claims = comparisons = 0
    floors = []
    for seed in range(measurements):
        files = {f"copy {i}": path for i in range(8)}
        blocks, *_ = latency.measure(files, study.schema, inputs, reference="copy 0", seed=seed)
        summary = latency.summarise(blocks, reference="copy 0")
        others = summary.loc[[name for name in latency.variants(summary) if name != "copy 0"]]
        claims += int((others["verdict"] != "no difference").sum())
        comparisons += len(others)
        floors += others["floor"].tolist()
    return claims, comparisons, float(np.median(floors))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--comparisons", type=int, default=240, help="of parity")
    parser.add_argument(
        "--measurements",
        type=int,
        default=2,
        help="of latency for each runtime, 112 comparisons each; 0 leaves it out",
    )
    options = parser.parse_args()
    study = registry.get("ranking")
    splits = {}
    for split in datasets.SPLITS:
        frame = simulation.sample(study, "simple", rows=5000, seed=0, split=split)
        labels, requests = frame[datasets.LABEL].to_numpy(), frame[datasets.REQUEST].to_numpy()
        splits[split] = study.schema.arrays(frame), labels, requests
    build = study.models[study.model_name("default")].build
    model, _ = framework.train(
        build, study.schema, RANKING, splits["train"][:2], splits["validation"][:2], progress=False
    )
    inputs, labels, requests = splits["test"]
    reference = parity.Reference(
        RANKING, inputs, framework.predict(model, study.schema, inputs), Truth(labels, requests)
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["WORKBENCH_HOME"] = folder
        source = Path(folder) / "fp32.tflite"
        calibration = Path(folder) / "calibration.npz"
        framework.export(model, study.schema, source)
        np.savez(calibration, **{name: array[:512] for name, array in splits["train"][0].items()})
        stage = runs.Stage("03_variants", study=study.name, run="alarms")
        todo = [*recipes.reduced("litert"), *recipes.of("mnn")]
        made = variants.make_all(stage, todo, source, study.schema, reference, calibration)
        files = {"litert fp32": source} | {
            f"{o.recipe.runtime} {o.recipe.precision}": stage.run.folder / o.file
            for o in made
            if o.file
        }
        alarms = parity_alarms(study, files, options.comparisons)
        share = alarms / options.comparisons
        print(
            f"parity: {alarms} alarms in {options.comparisons} comparisons of a file with itself "
            f"({share:.1%})"
        )
        for name in ("litert fp32", "mnn fp32") if options.measurements else ():
            claims, comparisons, floor = latency_claims(
                study, files[name], inputs, options.measurements
            )
            print(
                f"latency, {name}: {claims} claims in {comparisons} comparisons of a file with "
                f"itself ({claims / comparisons:.1%}); noise floor {floor:.1%} (median)"
            )


if __name__ == "__main__":
    main()
