"""A table with a sentence over it."""

import pandas as pd

from helpers.captions import captioned


def test_the_sentence_stands_over_the_table_as_html_and_as_text():
    frame = pd.DataFrame({"bytes": [1, 2]})
    shown = captioned(frame, "Files < 3 bytes")
    assert shown._repr_html_() == f"<p><b>Files &lt; 3 bytes</b></p>\n{frame._repr_html_()}"
    assert repr(shown) == f"Files < 3 bytes\n\n{frame!r}"
    assert captioned(None, "nothing") is None
