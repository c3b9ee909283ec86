"""Values encoded a second on one core, and how much faster that is than plain Python in the same
run.

    python tests/benchmarks/encoding.py

Columns: a million values of one encoder, from integers and from text. Raw JSON: sessions of 20 and
of 500 candidates with 24 inputs, a third of them of the last click, from JSON text to arrays, one
session at a time as the phone does it; then the same sessions through `columns` and `encode`, as
training does it. A value is one id of one candidate. Fails below a million a second.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import encoding_reference as reference

from helpers import features

ASKED = 1e6
BOUNDARIES = [float(b) for b in np.unique(np.geomspace(1, 1e6, 32).round())]
VOCABULARY = (np.random.default_rng(0).permutation(50_000)[:20_000] + 2**53).tolist()
"""20,000 ids that float64 could not tell apart."""
FEW = VOCABULARY[:500]
"""What the plain-Python reference, which searches a vocabulary from its beginning, is timed with as
well.
"""


def seconds(call, repeats: int) -> float:
    """The shortest of `repeats` calls, in seconds of this process (others use the machine too)."""
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        taken.append(time.process_time() - start)
    return min(taken)


def report(name: str, values: int, taken: float, reference_rate: float) -> float:
    rate = values / taken
    print(f"{name:<44} {rate / 1e6:>9.2f} {rate / reference_rate:>12.1f}")
    return rate


def of_columns(rows: int, repeats: int) -> list[float]:
    """Values a second of one encoder over a column, bucketize then label-encode, integers then
    text.
    """
    rng = np.random.default_rng(1)
    rates = []
    encoders = {
        "bucketize, 32 boundaries": features.Bucketize("x", "candidate", "1", BOUNDARIES),
        "label_encode, 500 ids": features.LabelEncode("x", "candidate", "1", FEW),
        "label_encode, 20,000 ids": features.LabelEncode("x", "candidate", "1", VOCABULARY),
    }
    for name, encoder in encoders.items():
        pool = (
            rng.integers(0, 2_000_000, rows)
            if encoder.kind == "bucketize"
            else rng.choice(encoder.vocabulary, rows)
        )
        pool[rng.random(rows) < 0.1] = features.MISSING
        encoding = features.Encoding([encoder])
        config = encoding.to_json()["encoders"][0]
        text = pa.array(pool.astype(str).tolist())
        some = text[:: rows // 1000].to_pylist()
        taken = seconds(
            lambda c=config, s=some: [
                reference.encode(c, "separate", reference.number(t, c["kind"] != "bucketize"))
                for t in s
            ],
            repeats,
        )
        plain = len(some) / taken
        print(f"{name + ', plain Python':<44} {plain / 1e6:>9.2f} {1:>12.1f}")
        for kind, column in (("int64", pool), ("text", text)):
            call = lambda e=encoding, c=column: features.encode(e, {"candidate_1": c})  # noqa: E731
            rates.append(report(f"{name}, from {kind}", rows, seconds(call, repeats), plain))
    return rates


def sessions(number: int, candidates: int) -> tuple[features.Encoding, list[str]]:
    """JSON text of sessions with 24 fields, seven of ten there, and an encoding of 24 inputs."""
    rng = np.random.default_rng(2)
    encoders = []
    for i in range(8):
        encoders.append(features.Bucketize(f"l{i}", "last_click", f"80000{i}", BOUNDARIES))
        encoders.append(features.Bucketize(f"f{i}", "candidate", f"80001{i}", BOUNDARIES))
    for i in range(6):
        encoders.append(features.LabelEncode(f"v{i}", "candidate", f"80002{i}", FEW))
    encoders += [features.Equal(f"d{i}", f"80002{i}", f"80002{i}") for i in range(2)]

    def post(info_id: int) -> dict:
        there = rng.random(24) < 0.7
        values = [
            str(rng.choice(FEW)) if i >= 16 else str(rng.integers(0, 2_000_000)) for i in range(24)
        ]
        feature = {f"8000{i // 8}{i % 8}": v for i, v in enumerate(values) if there[i]}
        return {"info_id": str(info_id), "feature": feature}

    made = [
        json.dumps({"last_click": post(0), "resort_list": [post(i) for i in range(candidates)]})
        for _ in range(number)
    ]
    return features.Encoding(encoders), made


def of_sessions(repeats: int) -> list[float]:
    """Values a second from JSON text, session by session and as a table."""
    rates = []
    for number, candidates in ((100, 20), (10, 500)):
        encoding, texts = sessions(number, candidates)
        values, config = number * candidates * len(encoding.names), encoding.to_json()
        name = f"raw JSON, {candidates} candidates"
        plain = values / seconds(
            lambda c=config, t=texts: [reference.assemble(c, json.loads(x)) for x in t], repeats
        )
        print(f"{name + ', plain Python':<44} {plain / 1e6:>9.2f} {1:>12.1f}")
        each = seconds(lambda e=encoding, t=texts: [features.assemble(e, x) for x in t], repeats)
        rates.append(report(f"{name}, one session", values, each, plain))
        table = seconds(
            lambda e=encoding, t=texts: features.encode(e, features.columns(t)), repeats
        )
        rates.append(report(f"{name}, as a table", values, table, plain))
        only = seconds(lambda t=texts: [json.loads(x) for x in t], repeats)
        report("  (json.loads of them alone)", values, only, plain)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="values of a column")
    parser.add_argument(
        "--repeats", type=int, default=7, help="of each timing, the shortest counts"
    )
    options = parser.parse_args()
    pa.set_cpu_count(1)
    print(f"{'':<44} {'million/s':>9} {'plain Python':>12}")
    rates = of_columns(options.rows, options.repeats) + of_sessions(options.repeats)
    slowest = min(rates)
    print(f"slowest: {slowest / 1e6:.2f} million values a second and core")
    if slowest < ASKED:
        raise SystemExit(f"less than the {ASKED / 1e6:.0f} million asked for")


if __name__ == "__main__":
    main()
