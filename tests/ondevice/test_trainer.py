"""Training with a file as an app does: batches of any size, saving, restoring, and bad input."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ondevice_net import pictures

from helpers.errors import BadInput, DamagedFile
from helpers.ondevice import litert
from helpers.ondevice.program import STEP, WEIGHTS
from helpers.ondevice.trainer import Trainer, batches, fit


def test_any_number_of_rows_from_1_to_128(program, training):
    trainer, start = Trainer(training), program.initial()
    for rows in (1, 2, 33, 128):
        inputs, labels = pictures(rows, seed=rows)
        trainer.restore(start)
        found = trainer.train(inputs, labels, 0.01)
        after, told = program.stepped(start, inputs, labels, 0.01)
        assert found["loss"] == pytest.approx(float(told["loss"]), rel=1e-6)
        assert found["correct"] == float(told["correct"]) / rows
        np.testing.assert_allclose(trainer.save()[WEIGHTS], after[WEIGHTS].numpy(), atol=1e-5)
        assert trainer.infer(inputs)["probabilities"].shape == (rows, 3)


def test_files_without_signatures_give_the_same_weights(program, training, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    step, infer = tmp_path / "train_step.tflite", tmp_path / "infer.tflite"
    litert.write_stateless(program, step, infer)
    run = Interpreter(str(step)).get_signature_runner("train")
    score = Interpreter(str(infer)).get_signature_runner("infer")
    trainer, state = Trainer(training), program.initial()
    for seed in range(4):
        inputs, labels = pictures(16, seed)
        trainer.train(inputs, labels, 0.01)
        after = run(**state, **inputs, labels=labels, learning_rate=np.float32(0.01))
        state = {name: after[f"{name}{litert.AFTER}"] for name in state}
    for name, value in trainer.save().items():
        np.testing.assert_array_equal(value, state[name], err_msg=name)
    given = score(weights=state[WEIGHTS], **inputs)["probabilities"]
    np.testing.assert_array_equal(given, trainer.infer(inputs)["probabilities"])


def test_a_file_is_small_and_made_of_builtin_operators(program, training, tmp_path):
    from helpers.convert import tflite

    weights = 4 * program.sizes[WEIGHTS][0]
    assert training.stat().st_size < weights + 70_000  # the optimiser's zeros are not in it
    kinds = set()
    for graph in range(5):
        kinds |= set(tflite.operators(training, graph=graph)["operator"])
    assert "CUSTOM" not in kinds and {"READ_VARIABLE", "ASSIGN_VARIABLE", "CONV_2D"} <= kinds
    again = tmp_path / "again.tflite"
    litert.write(program, again)
    assert again.read_bytes() == training.read_bytes()


_CONTINUE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from ondevice_net import pictures
from helpers.ondevice.trainer import Trainer, fit
trainer = Trainer(Path(sys.argv[1]))
inputs, labels = pictures(64)
fit(trainer, inputs, labels, epochs=3, batch_size=16, path=Path(sys.argv[2]), every=1)
"""


def test_training_goes_on_in_another_process_as_if_nothing_had_been(training, tmp_path):
    inputs, labels = pictures(64)
    whole = Trainer(training)
    fit(whole, inputs, labels, epochs=3, batch_size=16)
    begun, kept = Trainer(training), tmp_path / "state.bin"
    for _, places in list(batches(64, 16, 3, 42))[:5]:  # an epoch and a step
        begun.train({"image": inputs["image"][places]}, labels[places], 0.001)
    begun.keep(kept)
    here = os.path.dirname(os.path.dirname(__file__))
    subprocess.run([sys.executable, "-c", _CONTINUE, training, kept, here], check=True)
    resumed = Trainer(training)
    resumed.resume(kept)
    for name, value in whole.save().items():
        np.testing.assert_array_equal(resumed.save()[name], value, err_msg=name)


_KEEP = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from ondevice_net import pictures
from helpers.ondevice.trainer import Trainer
trainer, rows = Trainer(Path(sys.argv[1])), pictures(16)
print("ready", flush=True)
while True:
    trainer.train(*rows, 0.01)
    trainer.keep(Path(sys.argv[2]))
"""


def test_a_kill_while_saving_leaves_a_whole_state(training, tmp_path):
    """One of those that were saved one after the other, whichever it is."""
    kept, trainer = tmp_path / "state.bin", Trainer(training)
    trainer.keep(kept)
    here, after = os.path.dirname(os.path.dirname(__file__)), []
    for wait in (0.003, 0.011, 0.029, 0.1):
        command = [sys.executable, "-c", _KEEP, training, kept, here]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        trainer.resume(kept)
        after.append(int(trainer.save()[STEP]))
    assert max(after) > 0, "no process came to save anything"
    steps, rows = Trainer(training), pictures(16)
    for _ in range(after[-1]):
        steps.train(*rows, 0.01)
    for name, value in steps.save().items():
        np.testing.assert_array_equal(trainer.save()[name], value, err_msg=name)


def test_what_is_no_state_of_this_file_is_refused(program, training, tmp_path):
    trainer, kept = Trainer(training), tmp_path / "state.bin"
    inputs, labels = pictures(16)
    trainer.train(inputs, labels, 0.01)
    before = trainer.save()
    trainer.keep(kept)
    content = kept.read_bytes()
    for damaged in (content[:-1], content[:100], b"", content[:60] + b"x" + content[61:]):
        kept.write_bytes(damaged)
        with pytest.raises(DamagedFile):
            trainer.resume(kept)
    with pytest.raises(BadInput, match="not finite"):
        trainer.restore({**before, WEIGHTS: before[WEIGHTS] * np.nan})
    with pytest.raises(BadInput, match="has the state"):
        trainer.restore({WEIGHTS: before[WEIGHTS]})
    for name, value in trainer.save().items():
        np.testing.assert_array_equal(value, before[name])


def test_bad_batches_are_refused_and_change_nothing(training):
    trainer = Trainer(training)
    inputs, labels = pictures(4)
    with pytest.raises(BadInput, match="same number of rows"):
        trainer.train(inputs, labels[:3], 0.01)
    with pytest.raises(BadInput, match="same number of rows"):
        trainer.train({"image": inputs["image"][:0]}, labels[:0], 0.01)
    with pytest.raises(BadInput, match="not finite"):
        trainer.train({"image": inputs["image"] * np.inf}, labels, 0.01)
    with pytest.raises(BadInput, match="takes"):
        trainer.train({"picture": inputs["image"]}, labels, 0.01)
    with pytest.raises(BadInput, match="labels"):
        trainer.train(inputs, labels + 3, 0.01)
    with pytest.raises(BadInput, match="shape"):
        trainer.train({"image": inputs["image"][:, :9]}, labels, 0.01)
    assert trainer.save()[STEP] == 0


def test_another_file_is_no_training_file(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"no model")
    with pytest.raises(DamagedFile):
        Trainer(tmp_path / "a.tflite")


def test_epochs_go_through_all_rows_in_an_order_of_their_own():
    seen = list(batches(10, 4, 2, seed=3))
    assert [len(places) for _, places in seen] == [4, 4, 2, 4, 4, 2]
    for epoch in (0, 1):
        assert sorted(np.concatenate([p for e, p in seen if e == epoch])) == list(range(10))
    rest = list(batches(10, 4, 2, seed=3, first=4))
    assert [p.tolist() for _, p in rest] == [p.tolist() for _, p in seen[4:]]
