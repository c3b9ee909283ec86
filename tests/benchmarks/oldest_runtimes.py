"""Which older runtimes score the files of a run as the runtimes here do; needs a network, nothing
else does.

    python tests/benchmarks/oldest_runtimes.py artifacts/ranking/default

Each release is installed alone into a temporary folder with pip and scores 257 rows of the run's
test split. What it says is what `helpers.convert.recipes.oldest` holds; TensorFlow Lite 2.9, of
which there is no wheel, is tried by the test of the C runner.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from helpers import datasets, registry, runtimes

RELEASES = {
    "tflite": ["tflite-runtime==2.14.0"],
    "litert": [f"ai-edge-litert=={version}" for version in ("1.2.0", "1.4.0", "2.0.2")],
    "mnn": [f"MNN=={version}" for version in ("3.1.0", "3.2.0", "3.4.0")],
}
NUMPY = {"tflite": "numpy<2", "litert": "numpy>=2,<2.3", "mnn": "numpy>=2,<2.3"}
NEEDED = ["flatbuffers", "tqdm", "typing_extensions", "backports.strenum<1.3"]

TFLITE = """
try:
    from tflite_runtime.interpreter import Interpreter
except ImportError:
    from ai_edge_litert.interpreter import Interpreter
def score(file, inputs):
    model = Interpreter(file)
    place = {entry["name"]: entry["index"] for entry in model.get_input_details()}
    for name in inputs:
        model.resize_tensor_input(place[name], inputs[name].shape)
    model.allocate_tensors()
    for name in inputs:
        model.set_tensor(place[name], inputs[name])
    model.invoke()
    return model.get_tensor(model.get_output_details()[0]["index"]).reshape(-1)
"""
MNN = """
import MNN
def host(shape, values):
    return MNN.Tensor(shape, MNN.Halide_Type_Float, values, MNN.Tensor_DimensionType_Tensorflow)
def score(file, inputs):
    model = MNN.Interpreter(file)
    session = model.createSession({"backend": "CPU", "numThread": 1})
    tensors = model.getSessionInputAll(session)
    for name in inputs:
        model.resizeTensor(tensors[name], inputs[name].shape)
    model.resizeSession(session)
    hosts = {name: host(inputs[name].shape, inputs[name]) for name in inputs}
    for name in inputs:
        tensors[name].copyFrom(hosts[name])
    assert model.runSession(session) == 0
    output = model.getSessionOutput(session)
    result = host(output.getShape(), np.zeros(output.getShape(), np.float32))
    output.copyToHostTensor(result)
    return np.array(result.getNumpyData()).reshape(-1)
"""
EACH = """
import os, sys
import numpy as np
{score}
inputs = dict(np.load(sys.argv[1]))
for file in sys.argv[2:]:
    expected = np.load(file + ".npy")
    try:
        said = f"{{np.abs(score(file, inputs) - expected).max():.0e}}"
    except (RuntimeError, ValueError, AssertionError) as error:
        said = f"refused: {{str(error).splitlines()[0][:60]}}"
    print(f"  {{os.path.basename(file):<28}}{{said}}", flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run")
    run = parser.parse_args().run
    schema = registry.get(run.parent.name).schema
    inputs = datasets.load(run / "data.json").arrays("test", 257)[0]
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "inputs.npz", **inputs)
        made = {"tflite": [], "mnn": []}
        for path in sorted([*run.glob("tflite/*.tflite"), *run.glob("mnn/*.mnn")]):
            copy = Path(folder) / path.name
            copy.write_bytes(path.read_bytes())
            np.save(
                f"{copy}.npy",
                runtimes.open_model(copy, schema, trusted=True).score(inputs).reshape(-1),
            )
            made[path.suffix[1:]].append(str(copy))
        for runtime, releases in RELEASES.items():
            files, score = (made["mnn"], MNN) if runtime == "mnn" else (made["tflite"], TFLITE)
            for release in releases:
                place = Path(folder) / release
                pip = [
                    sys.executable,
                    "-m",
                    "pip",
                    "install",
                    "-q",
                    "--target",
                    str(place),
                    "--no-deps",
                ]
                subprocess.run([*pip, release, NUMPY[runtime], *NEEDED], check=True)
                print(f"{release}: largest difference")
                code = f"import sys; sys.path.insert(0, {str(place)!r})\n{EACH.format(score=score)}"
                command = [sys.executable, "-c", code, f"{folder}/inputs.npz", *files]
                subprocess.run(command, stderr=subprocess.DEVNULL, check=False)


if __name__ == "__main__":
    main()
