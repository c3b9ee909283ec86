"""A page is one file that a browser opens without a network: a template, with its data and the
libraries that it uses inside.

Tables are DataTables', as the package itables has them, and figures that can be pointed at are
Bokeh's. Only the files of these packages are read: importing Bokeh takes a second. They are packed,
and a browser unpacks them after it has shown the page, which says the same in plain tables and
still figures where no script runs. The page's content security policy allows no request, and no
script but these.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers import __version__, files

LARGEST = 3_000_000
"""Bytes of a page at most."""
_TABLES = ("itables", "html/dt_bundle.js", "html/dt_bundle.css")
_FIGURES = ("bokeh", "server/static/js/bokeh.min.js", "server/static/js/bokeh-api.min.js")
_EXPORT = re.compile(r"export\s*\{([^}]*)\}")


@dataclass(frozen=True)
class _Library:
    """A script as the page holds it: packed, and the hash by which the policy allows it."""

    packed: str
    sha256: str


def render(template: str, scripts: Sequence[str], data: object, **values) -> str:
    """The text of a page.

    Parameters
    ----------
    template : name in `templates`; it extends ``page.html``.
    scripts : names in `templates`, executed in order behind ``page.js`` once the page is shown.
    data : what the scripts work on, of JSON's types.
    **values : what the template is filled with. All text is escaped.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "ensure_ascii": False}
    loader = environment.loader
    parts = [loader.get_source(environment, name)[0] for name in ("page.js", *scripts)]
    script = "\n".join(["(async () => {", *parts, "})();"])
    libraries = _libraries()
    allowed = " ".join(
        f"'{digest}'" for digest in (_sha256(script), *(x.sha256 for x in libraries))
    )
    return environment.get_template(template).render(
        version=__version__,
        policy="default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
        f"form-action 'none'; script-src {allowed}",
        table_style=Markup(_style()),
        libraries=[library.packed for library in libraries],
        script=Markup(script),
        data=data,
        **values,
    )


def write(page: Path, text: str) -> Path:
    """Write a page, unless what stands there already says the same; returns its path."""
    if not page.is_file() or page.read_text(encoding="utf-8", errors="replace") != text:
        with files.atomic(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return page


def _file(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported."""
    return Path(importlib.util.find_spec(package).origin).parent / name


@functools.cache
def _libraries() -> tuple[_Library, ...]:
    """The scripts of `_TABLES`, whose exports are ``window.tables``, and of `_FIGURES`."""
    package, tables, _ = _TABLES
    package_of_figures, *figures = _FIGURES
    module = _EXPORT.sub(_exported, _file(package, tables).read_text(encoding="utf-8"))
    scripts = [f"(() => {{{module}\n}})();"]
    scripts += [_file(package_of_figures, name).read_text(encoding="utf-8") for name in figures]
    return tuple(
        _Library(base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode(), _sha256(text))
        for text in scripts
    )


def _exported(match: re.Match) -> str:
    """An export of a module as an object: a page has no address to import a module from."""
    pairs = re.findall(r"([\w$]+)\s+as\s+([\w$]+)", match[1])
    return f"window.tables={{{','.join(f'{name}:{local}' for local, name in pairs)}}}"


def _style() -> str:
    package, _, style = _TABLES
    return _file(package, style).read_text(encoding="utf-8")


def _sha256(script: str) -> str:
    """A script's hash as a content security policy has it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
