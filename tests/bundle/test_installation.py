"""The folder of an installation: nothing that is not the client's is touched, and the disk holds
what is linked.
"""

import _thread
import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import pytest
from support import STRACE, workbench
from test_client import _another, _version

from helpers import files
from helpers.bundle import archive, client, installation
from helpers.errors import BadInput, DamagedFile


def _tree(folder: Path) -> dict[str, object]:
    """What is in a folder: links by where they lead, files by their bytes, others by their kind."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = path.read_bytes() if path.is_file() else mode
    return found


def _unreachable(published: Path) -> str:
    """A descriptor whose zip cannot be fetched."""
    descriptor = published.with_name("away.json")
    descriptor.write_text(
        json.dumps(json.loads(published.read_text()) | {"modelUrl": "http://127.0.0.1:1/b.zip"})
    )
    return str(descriptor)


@pytest.mark.parametrize(
    "name", ["letter.txt", "downloads/letter.txt", "versions/v1/letter.txt", "current", ".lock"]
)
@pytest.mark.parametrize("fetched", [True, False])
def test_a_folder_of_somebody_else_is_refused_and_left_alone(published, tmp_path, name, fetched):
    path = tmp_path / "home" / name
    path.parent.mkdir(parents=True)
    path.write_text("dear")
    before = _tree(tmp_path / "home")
    with pytest.raises(
        BadInput, match=r"home is not empty \(it holds '.*'\) and was not made by `workbench bundle"
    ):
        client.install(str(published) if fetched else _unreachable(published), tmp_path / "home")
    assert _tree(tmp_path / "home") == before


def test_the_folders_that_clients_before_the_mark_made_are_taken_over(
    installed, unpacked, tmp_path, ranking
):
    first = client.current(installed)
    short = first.rename(first.with_name(first.name[: -64 + 12]))
    (installed / "current").unlink()
    (installed / "current").symlink_to(f"versions/{short.name}")
    (installed / installation.MARK).rename(installed / ".lock")
    (installed / ".lock").write_bytes(b"")
    client.install(str(_another(unpacked, tmp_path, ranking)), installed)
    assert _version(installed) == "v2" and client.rollback(installed) == short
    assert (installed / installation.MARK).is_file()


def test_other_names_in_an_installation_stay(installed, unpacked, published, tmp_path, ranking):
    dead = subprocess.Popen(["true"])
    dead.wait()
    digits = "0123456789abcdef" * 4
    foreign = {
        "letter.txt",
        "downloads/photo.jpg",
        "downloads/v9.zip",
        f"downloads/v9-{digits}.zip.bak",
        "versions/v1/model.tflite",
        f"versions/{digits}/letter.txt",
        f"versions/v9-{digits}-x/letter.txt",
        f"versions/.partial-{files._machine()}-{dead.pid}-letter.txt",
        f"versions/.partial-{files._machine()}-{'9' * 40}-v9-{digits}/letter.txt",
        f".partial-{files._machine()}-{dead.pid}-letter.txt",
    }
    for name in foreign:
        (installed / name).parent.mkdir(parents=True, exist_ok=True)
        (installed / name).write_text(name)
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "letter.txt").write_text("dear")
    links = {
        f"versions/v8-{digits}": outside,
        "downloads/all": outside,
        f"downloads/v8-{digits}.zip": outside / "deep",
    }
    for name, target in links.items():
        (installed / name).symlink_to(target)
    os.mkfifo(installed / "downloads" / "pipe")
    os.mkfifo(installed / "downloads" / f"v7-{digits}.zip")
    os.mknod(installed / "downloads" / "socket", stat.S_IFSOCK | 0o600)
    ours = [installed / "versions" / f"v6-{digits}", installed / "versions" / f"v6-{digits[:12]}-2"]
    left = installed / "versions" / f".partial-{files._machine()}-{dead.pid}-v6-{digits}"
    for folder in (*ours, left):
        folder.mkdir()
        (folder / "model.json").write_text("{}")
    (installed / "downloads" / f"v6-{digits}.zip").write_text("half")
    with pytest.raises(BadInput, match="cannot fetch"):
        client.install(_unreachable(_another(unpacked, tmp_path, ranking)), installed)
    assert all(folder.is_dir() for folder in (*ours, left)), "a download that fails removes nothing"
    client.install(str(tmp_path / "server-v2" / "bundle.json"), installed)
    client.install(str(published), installed)
    assert {name for name in foreign if (installed / name).read_text() != name} == set()
    assert (
        all((installed / name).is_symlink() for name in links)
        and (outside / "deep" / "letter.txt").exists()
    )
    kinds = ("pipe", f"v7-{digits}.zip", "socket")
    assert all(os.path.lexists(installed / "downloads" / kind) for kind in kinds)
    assert not any(
        map(os.path.lexists, (*ours, left, installed / "downloads" / f"v6-{digits}.zip"))
    )


PARTS = {
    "versions": "folder",
    "downloads": "folder",
    "current": "",
    "previous": "",
    installation.MARK: "file",
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (n, k)
        for n, usual in PARTS.items()
        for k in ("link", "file", "fifo", "folder")
        if k != usual
    ],
)
def test_another_kind_in_the_place_of_a_part_is_refused_at_once(
    installed,
    unpacked,
    published,
    tmp_path,
    ranking,
    name,
    kind,
):
    part, outside = installed / name, tmp_path / "outside"
    if part.is_symlink() or part.is_file():
        part.unlink()
    elif part.is_dir():
        shutil.rmtree(part)
    outside.mkdir()
    (outside / f"v1-{'0' * 64}").mkdir()
    {
        "link": lambda: part.symlink_to(outside),
        "file": lambda: part.write_text("dear"),
        "fifo": lambda: os.mkfifo(part),
        "folder": part.mkdir,
    }[kind]()
    before = _tree(tmp_path)
    second = str(_another(unpacked, tmp_path, ranking))
    for call in (lambda: client.install(second, installed), lambda: client.rollback(installed)):
        with pytest.raises(BadInput, match=f"{re.escape(name)} (is|leads)"):
            call()
    shutil.rmtree(tmp_path / "v2")
    shutil.rmtree(tmp_path / "server-v2")
    after = _tree(tmp_path)
    made = {"phone/versions", "phone/downloads"}  # which an installation lacks that lost them
    assert {k: v for k, v in after.items() if k not in made} == {
        k: v for k, v in before.items() if k not in made
    }


@pytest.mark.parametrize("kind", ["fifo", "link", "hard link", "folder", "socket"])
def test_a_download_is_not_written_into_anything_but_its_own_file(published, tmp_path, kind):
    into, letter = tmp_path / "phone", tmp_path / "letter.txt"
    letter.write_text("dear")
    with pytest.raises(BadInput, match="cannot fetch"):
        client.install(_unreachable(published), into)
    zipped = (
        into
        / "downloads"
        / f"{installation.name(archive.Descriptor.from_json(published.read_text()))}.zip"
    )
    zipped.unlink()
    {
        "fifo": lambda: os.mkfifo(zipped),
        "link": lambda: zipped.symlink_to(letter),
        "hard link": lambda: zipped.hardlink_to(letter),
        "folder": zipped.mkdir,
        "socket": lambda: os.mknod(zipped, stat.S_IFSOCK | 0o600),
    }[kind]()
    started = time.monotonic()
    with pytest.raises(BadInput, match="zip is no plain file: move it away"):
        client.install(str(published), into)
    assert letter.read_text() == "dear" and time.monotonic() - started < 20


def test_a_version_is_known_by_all_of_its_hash(installed, published):
    said = json.loads(published.read_text())
    said["sha256"] = said["sha256"][:12] + "0" * 52
    published.write_text(json.dumps(said))
    with pytest.raises(DamagedFile, match="its sha256 differs"):
        client.install(str(published), installed)


def test_an_older_version_may_follow_a_newer_one(published, unpacked, tmp_path, ranking):
    newer, into = str(_another(unpacked, tmp_path, ranking, "v2")), tmp_path / "phone"
    assert client.install(newer, into).replaced == ""
    assert client.install(str(published), into).replaced == "v2" and _version(into) == "v1"
    assert client.install(str(published), into).replaced == ""
    done = workbench("bundle", "install", newer, "--into", str(into))
    assert (
        done.returncode == 0
        and f"before  version v1: `workbench bundle rollback {into}` goes back" in done.stdout
    )


@pytest.mark.parametrize("runtime, package", [("litert", "ai-edge-litert"), ("mnn", "MNN")])
def test_a_bundle_that_needs_later_runtimes_is_refused_in_one_line(
    installed, published, runtime, package
):
    said = json.loads(published.read_text())
    there = metadata.version(package)
    for least, status in ((there, 0), (f"{int(there.split('.')[0]) + 1}.0", 2)):
        published.write_text(json.dumps(said | {"minimum": {runtime: least}}))
        done = workbench("bundle", "install", str(published), "--into", str(installed))
        assert done.returncode == status, done.stderr
    assert done.stderr == (
        f"workbench: the bundle needs {runtime} {least} or later, there is {runtime} {there}: "
        "update the app first (for `workbench bundle install`, this environment)\n"
    )
    assert _version(installed) == "v1"


def test_going_back_after_the_first_install_fails_in_one_line(published, tmp_path):
    into = tmp_path / "phone"
    client.install(str(published), into)
    for expected in (
        "has only version v1 and no version before it to go back to",
        "nothing is installed in",
    ):
        done = workbench("bundle", "rollback", str(into))
        assert done.returncode == 2 and expected in done.stderr
        assert (
            done.stdout == ""
            and done.stderr.startswith("workbench: ")
            and done.stderr.count("\n") == 1
        )
        into = tmp_path / "mistyped"
    assert _version(tmp_path / "phone") == "v1" and not into.exists()


def test_the_disk_holds_a_version_before_it_is_linked(published, tmp_path):
    """Every file and folder of it is flushed, then renamed, flushed, linked, flushed."""
    log, into = tmp_path / "log", tmp_path / "phone"
    trace = ["strace", "-f", "-y", "-o", str(log), "-e", "trace=fsync,rename"]
    if shutil.which(STRACE[0]) is None:
        pytest.skip("strace is not here")
    done = workbench("bundle", "install", str(published), "--into", str(into), before=trace)
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr
    calls = [line.split(maxsplit=1)[1] for line in log.read_text().splitlines() if "phone" in line]
    (put,) = [
        i for i, call in enumerate(calls) if call.startswith("rename(") and "/versions/v1-" in call
    ]
    (link,) = [
        i
        for i, call in enumerate(calls)
        if call.startswith("rename(") and call.rstrip().split('"')[3].endswith("/current")
    ]
    fresh, version = calls[put].split('"')[1:4:2]
    flushed = {re.search("<(.*)>", call)[1] for call in calls[:put] if call.startswith("fsync(")}
    assert {fresh, *(f"{fresh}/{path.name}" for path in Path(version).iterdir())} <= flushed
    assert any(
        call.startswith("fsync(") and f"<{into}/versions>" in call for call in calls[put:link]
    )
    assert any(call.startswith("fsync(") and f"<{into}>" in call for call in calls[link:])


def test_who_waits_for_another_process_is_told_so_and_can_give_up(installed, published, tmp_path):
    command = [
        sys.executable,
        "-m",
        "helpers.cli",
        "bundle",
        "install",
        str(published),
        "--into",
        str(installed),
    ]
    with open(installed / installation.MARK, "r+b") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        waiting = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for process in waiting:
            assert (
                f"another process changes {installed}: waiting until it is done"
                in process.stderr.readline()
            )
        waiting[0].send_signal(signal.SIGINT)
        assert waiting[0].wait(timeout=20) == 130 and "interrupted" in waiting[0].stderr.read()
        assert waiting[1].poll() is None
    assert (
        waiting[1].wait(timeout=120) == 0 and f"{installed} is free now" in waiting[1].stderr.read()
    )


def test_an_interruption_that_wakes_nobody_ends_the_wait(installed, published):
    with open(installed / installation.MARK, "r+b") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        free = threading.Timer(6.0, lambda: fcntl.flock(mark, fcntl.LOCK_UN))

        def interrupt_soon(line: str) -> None:
            threading.Timer(0.5, _thread.interrupt_main).start()
            free.start()

        with pytest.raises(KeyboardInterrupt):
            client.install(str(published), installed, echo=interrupt_soon)
        assert free.is_alive(), "not only when the lock was free"
        free.cancel()
        free.join()


def test_two_first_installations_at_once_both_succeed(published, tmp_path):
    results = []

    def install():
        results.append(
            client.install(str(published), tmp_path / "phone", echo=lambda _: None).version
        )

    threads = [threading.Thread(target=install) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["v1", "v1"]


def test_a_version_that_cannot_be_removed_is_no_obstacle(installed, unpacked, tmp_path, ranking):
    stuck = installed / "versions" / f"v0-{'0' * 64}"
    stuck.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "none", stuck], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("making a folder that cannot be removed needs the right to mount")
    try:
        client.install(str(_another(unpacked, tmp_path, ranking)), installed)
        assert _version(installed) == "v2"
    finally:
        for path in (installed / "versions").glob("*v0-*"):
            subprocess.run(["umount", "--lazy", path], check=True)
