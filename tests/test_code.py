"""Which code made a result: what is executed, what can be imported, and what has changed since."""

import ast
import json
import os
import shutil
import subprocess
import sys

import pytest

from helpers import code
from helpers.errors import BadInput
from helpers.forks import server


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of five modules in place of this one, to be edited at will."""
    sources = {
        "__init__": "",
        "low": "",
        "late": "from . import low",
        "high": "import os\ndef f():\n    from helpers.part import leaf\n    return leaf",
        "part/__init__": "",
        "part/leaf": "from helpers import late\nCALL = 'helpers.native:score'",
        "native": "",
        "other": "import helpers.low",
    }
    for name, text in sources.items():
        path = tmp_path / "helpers" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(code, "FOLDER", tmp_path / "helpers")
    return tmp_path / "helpers"


def test_imports_are_followed_into_functions_packages_and_children(package):
    below = ["helpers.late", "helpers.low", "helpers.native", "helpers.part", "helpers.part.leaf"]
    assert code.imported(["helpers.high"]) == sorted(["helpers.high", *below])
    assert code.imported(["helpers.part.leaf"]) == below
    assert code.imported(["helpers.other"]) == ["helpers.low", "helpers.other"]
    assert code.imported(["helpers.nothing", "os", "__main__"]) == []


def test_an_edit_changes_what_can_import_the_module_and_nothing_else(package):
    high, other = (code.sha256s(code.imported([f"helpers.{name}"])) for name in ("high", "other"))
    assert code.changed(high) is None and code.changed(other) is None
    (package / "late.py").write_text("from . import low  # and more")
    assert code.changed(high) == "helpers.late has changed since"
    assert code.changed(other) is None
    (package / "low.py").unlink()
    assert code.changed(other) == "helpers.low is gone"


def test_many_records_are_compared_with_sources_that_are_looked_at_once(package):
    record = code.sha256s(code.modules())
    with code.at_once():
        assert code.changed(record) is None
        (package / "low.py").write_text("edited")
        assert code.changed(record) is None
    assert code.changed(record) == "helpers.low has changed since"


def test_files_that_a_module_copies_count_as_it_does(package, monkeypatch):
    monkeypatch.setattr(code, "DATA", {"helpers.native": "headers"})
    (package / "headers" / "c").mkdir(parents=True)
    (package / "headers" / "c" / "a.h").write_text("int a;")
    record = code.sha256s(["helpers.native", "helpers.low"])
    (package / "headers" / ".a.h.swp").write_text("of an editor")
    assert (
        list(record) == ["helpers.low", "helpers.native", "headers/c/a.h"]
        and code.changed(record) is None
    )
    (package / "headers" / "b.h").write_text("int b;")
    assert code.changed(record) == "headers/b.h has changed since"
    (package / "headers" / "b.h").unlink()
    (package / "headers" / "c" / "a.h").write_text("int c;")
    assert code.changed(record) == "headers/c/a.h has changed since"


def test_every_folder_of_data_is_there_and_the_package_holds_nothing_but_its_version():
    for name, folder in code.DATA.items():
        assert code._source(name) and any((code.FOLDER / folder).iterdir())
    body = ast.parse((code.FOLDER / "__init__.py").read_text()).body
    assert len(body) == 2 and ast.unparse(body[1]).startswith("__version__ = ")


def _python(script: str, source: str = str(code.FOLDER.parent)) -> dict:
    """What a script in a fresh process prints as JSON, with the package of another place."""
    environment = {**os.environ, "PYTHONPATH": source}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_a_process_has_loaded():
    script = "import json; from helpers import code, schema; print(json.dumps(code.loaded()))"
    assert _python(script) == code.sha256s(["helpers.code", "helpers.errors", "helpers.schema"])


def test_what_a_child_has_loaded_counts_for_its_parent():
    script = (
        "import json; from helpers import child, code\nbefore = code.loaded(); child.run('look', "
        "'helpers.registry:names'); print(json.dumps([before, code.loaded()]))"
    )
    before, after = _python(script)
    assert set(after) - set(before) == {
        "helpers.files",
        "helpers.registry",
        "helpers.schema",
        "helpers.studies",
    }
    assert after == code.sha256s(after)


def test_a_child_that_crashes_counts_with_what_it_could_import():
    script = (
        "import json; from helpers import child, code\n"
        "try: child.run('crash', 'helpers.convert.mnn:no_such_function')\n"
        "except Exception: pass\n"
        "with child.Child('crash') as process:\n "
        "   process.kill()\n "
        "   try: process.call('helpers.convert.recipes:of', runtime='mnn')\n "
        "   except child.ChildDied: pass\n"
        "print(json.dumps(code.loaded()))"
    )
    assert {"helpers.convert.mnn", "helpers.convert.recipes"} <= set(_python(script))


def test_a_source_edited_after_it_was_loaded_is_not_taken_for_what_was_executed(tmp_path):
    shutil.copytree(code.FOLDER, tmp_path / "helpers")
    script = (
        "import json, time; from pathlib import Path; from helpers import code, schema\n"
        "first = code.loaded(); from helpers import files; time.sleep(0.05)\n"
        "for module in (schema, files):\n "
        "   path = Path(module.__file__); path.write_text(path.read_text() + '# edited')\n"
        "time.sleep(0.05); print(json.dumps([first, code.loaded(), code.changed(code.loaded())]))"
    )
    first, later, reason = _python(script, str(tmp_path))
    assert later["helpers.schema"] == first["helpers.schema"], "what was executed"
    assert later["helpers.files"] == code.EDITED and "has changed since" in reason


def test_a_notebook_counts_by_its_code(tmp_path):
    notebook = tmp_path / "n.ipynb"
    cells = [
        {"cell_type": "markdown", "source": ["a"]},
        {"cell_type": "code", "source": ["b"], "outputs": []},
    ]

    def digest() -> str:
        notebook.write_text(json.dumps({"cells": cells}))
        return code.cells_sha256(notebook)

    first = digest()
    cells[0]["source"], cells[1]["outputs"] = ["other prose"], [1]
    assert digest() == first
    cells[1]["source"] = ["c"]
    assert digest() != first


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cells": [{}]}', "\udcff"])
def test_what_is_no_notebook_is_named(tmp_path, content):
    (tmp_path / "n.ipynb").write_text(content, errors="surrogateescape")
    with pytest.raises(BadInput, match="n.ipynb is not a notebook"):
        code.cells_sha256(tmp_path / "n.ipynb")


def test_all_modules_are_found(package):
    parts = ["part", "part.leaf"]
    assert code.modules() == [
        f"helpers.{name}" for name in ("high", "late", "low", "native", "other", *parts)
    ]


def test_what_a_fork_server_executes_of_the_package_replaces_it_when_it_is_edited(
    tmp_path, monkeypatch
):
    for name in ("forks/server.py", "quiet.py", "files.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(code.FOLDER / name, tmp_path / name)
    monkeypatch.setattr(server, "__file__", str(tmp_path / "forks" / "server.py"))
    marks = [server.fingerprint()]
    for name in ("files.py", "quiet.py", "forks/server.py"):
        os.utime(tmp_path / name, (1, 1))
        marks.append(server.fingerprint())
    assert marks[0] == marks[1] and len(set(marks)) == 3
