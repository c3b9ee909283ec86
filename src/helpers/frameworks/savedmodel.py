"""SavedModel: TensorFlow's own form, packed in a zip, as somebody brought it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.convert import tflite
from helpers.errors import ConversionFailed
from helpers.quiet import native_output, tensorflow
from helpers.runtimes import savedmodel
from helpers.schema import Schema

SUFFIX = ".zip"


def export(model: Path, schema: Schema, path: Path) -> list[str]:
    """Write its signature as a float32 ``.tflite``, with the schema's names.

    Raises
    ------
    ConversionFailed : the converter failed, or lost an input, an output or the batch.
    """
    tf = tensorflow()
    loaded, signature = savedmodel.load(model)
    specs = {
        t.name: tf.TensorSpec((schema.batch, *t.shape), t.dtype, name=t.name) for t in schema.inputs
    }
    given = schema.as_given()

    def endpoint(**inputs):
        found = given.by_name(
            signature(**{given.name_in(t): inputs[t.name] for t in schema.inputs})
        )
        return {name: tf.identity(found[name], name=name) for name in schema.output_names}

    module = tf.Module()
    module.loaded = loaded
    with tempfile.TemporaryDirectory() as folder, native_output():
        try:
            function = tf.function(endpoint).get_concrete_function(**specs)
            tf.saved_model.save(module, folder, signatures={tflite.SIGNATURE: function})
            converter = tf.lite.TFLiteConverter.from_saved_model(
                folder, signature_keys=[tflite.SIGNATURE]
            )
            content = converter.convert()
        except Exception as error:  # whatever TensorFlow and the converter raise
            said = " ".join(str(error).split())[:400]
            raise ConversionFailed(f"SavedModel to TFLite failed: {said}") from error
    path.write_bytes(tflite.named(content, schema))
    return []


@contextmanager
def plain(model: Path, *, optimise: bool = False) -> Iterator[Path]:
    """What the plain converter makes of it, as a file that is gone afterwards: to look at."""
    tf = tensorflow()
    with tempfile.TemporaryDirectory() as folder:
        unpacked = Path(folder) / "model"
        savedmodel.unpack(model, unpacked)
        with native_output():
            converter = tf.lite.TFLiteConverter.from_saved_model(str(unpacked))
            converter.optimizations = [tf.lite.Optimize.DEFAULT] if optimise else []
            content = converter.convert()
        path = Path(folder) / "plain.tflite"
        path.write_bytes(content)
        yield path
