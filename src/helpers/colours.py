"""Colours of figures, in notebooks and on pages: a runtime has the same in all of them."""

COLOURS = ("#33658a", "#d1603d", "#5b8c5a", "#8e6c8a", "#c2a13e", "#5f6b73")
RUNTIME_COLOURS = {
    "keras": COLOURS[5],
    "pytorch": COLOURS[5],
    "litert": COLOURS[0],
    "mnn": COLOURS[1],
    "onnx": COLOURS[2],
}


def colour_of(variant: str) -> str:
    """Colour of a variant's runtime."""
    return RUNTIME_COLOURS.get(variant.split()[0], COLOURS[2])
