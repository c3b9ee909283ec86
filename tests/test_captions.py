"""A table with a sentence over it."""

import re

import pandas as pd

from helpers.captions import captioned, sideways

TABLE = pd.DataFrame(
    {
        "file": ["fp32", "int8"],
        "bytes": [3196, 2624],
        "loss": ["-0.001 (-0.002 to 0.000)", "under 1e-05"],
        "latency": [" 0.73x", "12.50x"],
        "why": ["it is what was trained", "its weights have 256 values, and activations as well"],
    },
    index=["a", "b"],
)


def test_the_sentence_stands_over_the_table_as_html_and_as_text():
    shown = captioned(TABLE, "Files < 3 bytes")
    assert shown._repr_html_().startswith("<p><b>Files &lt; 3 bytes</b></p>\n<div>")
    assert repr(shown) == f"Files < 3 bytes\n\n{TABLE!r}"
    assert captioned(None, "nothing") is None
    plain = re.sub(
        r' style="text-align: (?!right)[^"]*"| style="white[^"]*"', "", shown._repr_html_()
    )
    assert plain.endswith(TABLE._repr_html_())


def test_text_begins_on_the_left_and_no_figure_is_broken():
    shown = captioned(TABLE, "Files")._repr_html_()
    for text in ("fp32", "it is what was trained"):
        assert f'text-align: left; white-space: nowrap">{text}<' in shown or (
            f'text-align: left; min-width: 20em">{text}<' in shown
        )
    for figure in ("3196", "-0.001 (-0.002 to 0.000)", "under 1e-05", "0.73x"):
        assert f'<td style="white-space: nowrap">{figure}<' in shown
    assert '<th style="text-align: left; min-width: 20em">why</th>' in shown
    assert "<th>bytes</th>" in shown
    assert '<th style="text-align: left; white-space: nowrap">a</th>' in shown
    long = captioned(TABLE.set_index("why"), "Files")._repr_html_()
    assert '<th style="text-align: left">it is what was trained</th>' in long


def test_levels_of_an_index_and_columns_that_are_left_out_are_no_trouble():
    levels = TABLE.set_index(["file", "bytes"])
    shown = captioned(levels, "Files")._repr_html_()
    assert '<td style="white-space: nowrap">under 1e-05</td>' in shown
    both = pd.concat({"one thread": levels, "two": levels})
    shown = captioned(both, "Files")._repr_html_()
    assert shown.count('<th style="text-align: left; white-space: nowrap">3196</th>') == 2
    wide = pd.DataFrame([range(40)] * 2)
    with pd.option_context("display.max_columns", 6):
        assert captioned(wide, "Wide")._repr_html_().endswith(wide._repr_html_())


def test_rows_that_lie_sideways_keep_their_integers():
    frame = pd.DataFrame({"clicks": [3, 0], "score": [0.5, 1.25]}).astype({"score": "float32"})
    table = sideways(frame, 3)
    assert table.loc["clicks"].tolist() == ["3", "0"]
    assert table.loc["score"].tolist() == ["0.500", "1.250"]
