"""The rules of `helpers.features` once more, value by value in plain Python, to hold the vectorised
code against.
"""

import re

MISSING = -2147483648


def number(text, exact):
    """int of a whole number within int64, float of a number, or MISSING."""
    form = r"-?[0-9]{1,20}" if exact else r"-?[0-9]{1,20}(\.[0-9]{1,20})?"
    if text is None or not re.fullmatch(form, text):
        return MISSING
    value = int(text) if exact else float(text)
    return MISSING if exact and not -(2**63) <= value < 2**63 else value


def position(encoder, x, y=None):
    """Position of a value that is not missing, None if unknown."""
    if encoder["kind"] == "bucketize":
        boundaries = encoder["boundaries"]
        return next((j for j, b in enumerate(boundaries) if x < b), len(boundaries))
    if encoder["kind"] == "label_encode":
        vocabulary = encoder["vocabulary"]
        return next((j for j, v in enumerate(vocabulary) if v == x), None)
    if encoder["kind"] == "plain":
        return x if 0 <= x < encoder["count"] else None
    return int(x == y)


def encode(encoder, mode, *values):
    """Id of one or two values that `number` made."""
    if MISSING in values:
        return 0
    place = position(encoder, *values)
    if mode == "published":
        return place or 0
    unknown = encoder["kind"] in ("label_encode", "plain")
    return 1 if place is None else 1 + unknown + place


def assemble(encoding, raw):
    """Ids by input, one a candidate, of an encoding and a session as the values of their JSON."""
    made = {}
    for e in encoding["encoders"]:
        both = e["kind"] == "equal"
        fields = (
            [(s, e[s]) for s in ("last_click", "candidate")]
            if both
            else [(e["source"], e["field"])]
        )
        made[e["name"]] = []
        for post in raw["resort_list"]:
            posts = {"last_click": raw["last_click"]["feature"], "candidate": post["feature"]}
            values = [
                number(posts[source].get(field), e["kind"] != "bucketize")
                for source, field in fields
            ]
            made[e["name"]].append(encode(e, encoding["mode"], *values))
    return made
