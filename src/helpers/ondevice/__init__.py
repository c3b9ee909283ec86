"""Training on the device: files that a phone trains with, and proof that they learn what Keras
learns.

``Program(model, schema)`` is what is computed, `litert.write` makes the file of it,
`trainer.Trainer` trains with the file as an app does, and `parity.check` holds every weight after
every step to Keras'. `mnn.Trainer` does the same with MNN, `coreml.write` writes Core ML's form,
and `faults` are what goes wrong. `personal` and `federated` are what it is for, and `bundle.make`
is what an app gets.
"""
