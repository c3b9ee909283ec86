"""pyproject.toml, requirements.lock and environment.yml say the same."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).resolve().parents[1]
LOCK = (PROJECT / "requirements.lock").read_text()
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text())
ENVIRONMENT = yaml.safe_load((PROJECT / "environment.yml").read_text())


def _locked() -> dict[str, str]:
    return {
        canonicalize_name(name): version
        for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", LOCK, re.MULTILINE)
    }


def _declared() -> list[Requirement]:
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    return [
        Requirement(line)
        for line in [*PYPROJECT["project"]["dependencies"], *(r for extra in extras for r in extra)]
    ]


def test_every_declared_dependency_is_locked_at_a_version_it_allows():
    locked = _locked()
    for requirement in _declared():
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), (
            requirement
        )


def test_lock_is_hashed_and_names_no_host():
    entries = re.split(r"^(?=[A-Za-z0-9._-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) > 100 and all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|@ ", LOCK)


def test_one_version_of_each_package_for_every_python():
    names = re.findall(r"^([A-Za-z0-9._-]+)==", LOCK, re.MULTILINE)
    assert len(names) == len(set(names))


def test_this_environment_is_the_locked_one():
    locked = _locked()
    for requirement in _declared():
        assert metadata.version(requirement.name) == locked[canonicalize_name(requirement.name)], (
            requirement.name
        )


def test_pytorchs_lock_only_adds():
    """It has what the other has not; torch is in neither: which build it is, the machine says."""
    more = (PROJECT / "requirements-pytorch.lock").read_text()
    entries = re.split(r"^(?=[A-Za-z0-9._-]+==)", more, flags=re.MULTILINE)[1:]
    names = {canonicalize_name(entry.partition("==")[0]) for entry in entries}
    assert not names & set(_locked()) and "torch" not in names
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|@ ", more)
    wanted = {Requirement(line).name: line for line in PYPROJECT["dependency-groups"]["pytorch"]}
    assert set(wanted) - {"torch"} <= names and wanted["torch"].startswith("torch==")


def test_conda_installs_the_same_lock_for_the_same_pythons():
    (pip,) = [entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    assert pip == ["--require-hashes", "-r requirements.lock"]
    assert f"python{PYPROJECT['project']['requires-python']}" in ENVIRONMENT["dependencies"]
    assert ENVIRONMENT["name"] == PYPROJECT["project"]["name"]


@pytest.mark.parametrize("platform", ["x86_64-manylinux_2_28", "aarch64-apple-darwin"])
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.slow
def test_wheels_for_linux_and_mac(platform, python, tmp_path):
    """Asks the package index; `make lock` does the same."""
    import subprocess
    import sys

    uv = Path(sys.executable).parent / "uv"
    command = [
        uv,
        "pip",
        "compile",
        "-q",
        PROJECT / "requirements.lock",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    options = [
        "--python-platform",
        platform,
        "--python-version",
        python,
        "-o",
        tmp_path / "out.txt",
    ]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_licence_is_there_and_named():
    assert PYPROJECT["project"]["license"] == "Apache-2.0" and PYPROJECT["project"][
        "license-files"
    ] == ["LICENSE"]
    assert "Apache License" in (PROJECT / "LICENSE").read_text(encoding="utf-8").splitlines()[1]


def test_types_are_published():
    """PEP 561: type checkers of users read this package's annotations only if this file is
    installed.
    """
    assert (PROJECT / "src/helpers/py.typed").is_file()
    assert "py.typed" in PYPROJECT["tool"]["setuptools"]["package-data"]["helpers"]


def test_every_template_is_packaged():
    package = PROJECT / "src" / "helpers"
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["helpers"]
    packaged = {path for pattern in patterns for path in package.glob(pattern)}
    assert {
        path
        for folder in ("templates", "bundle/headers")
        for path in (package / folder).rglob("*")
        if path.is_file()
    } <= packaged
