"""Raw behaviour to the integer inputs of a model: the same rules in training, in Python and on the
phone.

A session says which post the reader came back from and which posts can still be re-ordered::

    {"last_click": {"info_id": "7", "feature": {"800026": "887", "800031": "5"}},
     "resort_list": [{"info_id": "12", "feature": {"800031": "5"}}, {"info_id": "9", "feature":
     {}}]}

An `Encoding` (``features.json`` in a bundle) lists encoders, each of which makes one input
``(n_candidates, 1) int64`` from a field of the last click, a field of the candidate, or one of
each.

**Values.** A field's value is text. A *whole number* is an optional ``-`` and 1 to 20 digits,
within int64; a *number* may go on with a point and 1 to 20 digits. Anything else (empty text,
spaces, ``+5``, ``1e3``, ``0x1A``, a whole number beyond int64) is *missing*, like a field that is
not there and like the sentinel -2147483648. ``007`` is 7, ``-0`` is 0. Ids are compared as int64
and never pass through a float; only `Bucketize` computes in float64.

**Ids.** A value has a position j, or is missing; with m boundaries, or m entries of a vocabulary:

============== ====================================================================
==================== kind           position of a value
positions ============== ====================================================================
==================== bucketize      the first j with value < boundaries[j], m if there is none
0 to m label_encode   where the whole number first occurs in the vocabulary, or *unknown*  0 to m -
1 plain          the whole number itself; negative or at least ``count``: *unknown*   0 to count - 1
equal          1 if both whole numbers are the same, else 0                         0 to 1
============== ====================================================================
====================

In mode ``published``, which does what the published pipeline does, the id is the position, and 0
for missing and unknown: position 0 shares its id with them. In the default, ``separate``, missing
is 0, then comes unknown, 1, for the two kinds that know it, then the positions. Ids are at least 0,
below the encoder's `size`, and fit int32, which MNN is fed with.
"""

from helpers.features.assembly import assemble, column, columns, encode, explain, to_sessions
from helpers.features.encoders import Bucketize, Equal, LabelEncode, Plain, bucketize, label_encode
from helpers.features.encoding import Encoding, load
from helpers.features.fitting import FitBuckets, FitVocabulary, fit
from helpers.features.sessions import Session, read, rerank
from helpers.features.values import MISSING

__all__ = [
    "MISSING",
    "Bucketize",
    "Encoding",
    "Equal",
    "FitBuckets",
    "FitVocabulary",
    "LabelEncode",
    "Plain",
    "Session",
    "assemble",
    "bucketize",
    "column",
    "columns",
    "encode",
    "explain",
    "fit",
    "label_encode",
    "load",
    "read",
    "rerank",
    "to_sessions",
]
