"""YAML as people mean it: numbers as in JSON, no aliases, no key twice.

The library reads YAML 1.1, which takes ``1:30`` for 90, ``no`` for false, ``010`` for 8 and
``1e-4`` for text. Here plain words are numbers, true, false and null as in YAML 1.2 (core schema,
without octal and hexadecimal), and text elsewhere. Aliases are refused, because a few lines of them
unfold to gigabytes, and repeated keys, because all but one are lost.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import ClassVar

from helpers.errors import BadInput


def read(text: str) -> object:
    """Read a YAML document.

    Raises
    ------
    BadInput : not YAML, an alias, a key twice in one mapping, a number with a zero before it; the
        message says the line.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: ClassVar = {}

        def compose_node(self, parent, index):
            if self.check_event(yaml.AliasEvent):
                raise BadInput(
                    f"{_line(self.peek_event())}: aliases (*name) are not taken, write it out"
                )
            return super().compose_node(parent, index)

        def construct_mapping(self, node, deep=False):
            names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
            if twice := [name for name, times in names.items() if times > 1]:
                raise BadInput(f"{_line(node)}: {twice[0]} is given twice")
            return super().construct_mapping(node, deep)

        def construct_octal(self, node):
            raise BadInput(
                f"{_line(node)}: {node.value} is read as octal by some: write it without the zero, "
                "or in quotes"
            )

        def construct_whole(self, node):
            return int(node.value)

        def construct_number(self, node):
            return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))

    words = {
        "null": (r"~|null|Null|NULL|", "~nN\0", Loader.construct_yaml_null),
        "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF", Loader.construct_yaml_bool),
        "octal": (r"[-+]?0[0-9]+", "-+0", Loader.construct_octal),
        "int": (r"[-+]?[0-9]+", "-+0123456789", Loader.construct_whole),
        "float": (
            r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
            "-+.0123456789",
            Loader.construct_number,
        ),
    }
    for kind, (form, first, construct) in words.items():
        tag = f"tag:yaml.org,2002:{kind}"
        Loader.add_implicit_resolver(
            tag, re.compile(rf"(?:{form})\Z"), [c.strip("\0") for c in first]
        )
        Loader.add_constructor(tag, construct)

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise BadInput(f"not YAML: {' '.join(str(error).split())}") from error
    except BadInput:
        raise
    except (RecursionError, ValueError, TypeError) as error:
        raise BadInput(f"not a sweep file: {type(error).__name__}: {str(error)[:200]}") from error


def _line(part) -> str:
    return f"line {part.start_mark.line + 1}"
