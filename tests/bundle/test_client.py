"""Installing: what is whole and right is installed, anything else leaves what was there in use."""

import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from bundling import changed_weight, publish, write_manifest

from helpers import files
from helpers.bundle import archive, client, fetch, installation
from helpers.bundle.installation import Installation
from helpers.errors import BadInput, DamagedFile


def _version(folder) -> str:
    return json.loads((client.current(folder) / "model.json").read_text())["version"]


def _another(unpacked, tmp_path, ranking, version="v2"):
    """The descriptor of a second version with the same models."""
    folder = tmp_path / version
    shutil.copytree(unpacked, folder)
    (folder / "notes.txt").write_text(version)
    write_manifest(folder, ranking.schema, version)
    return publish(folder, tmp_path / f"server-{version}", version)


def _replaced(descriptor, content: bytes):
    """Put another zip in place of the announced one, and announce it: a server that is wrong or
    hostile.
    """
    (descriptor.parent / "bundle.zip").write_bytes(content)
    said = json.loads(descriptor.read_text())
    said |= {
        "size": len(content),
        "md5": hashlib.md5(content).hexdigest(),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    descriptor.write_text(json.dumps(said))


def test_the_same_content_is_the_same_bytes(unpacked, tmp_path):
    one = publish(unpacked, tmp_path / "one")
    again = tmp_path / "copy"
    shutil.copytree(unpacked, again)
    for path in again.iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    other = publish(again, tmp_path / "other")
    assert (one.parent / "bundle.zip").read_bytes() == (other.parent / "bundle.zip").read_bytes()
    assert one.read_text() == other.read_text()


def test_install_from_a_path_a_zip_and_a_server(published, server, tmp_path):
    for number, source in enumerate(
        (str(published), str(published.with_suffix(".zip")), published.as_uri(), server.url)
    ):
        into = tmp_path / f"phone-{number}"
        checked = client.install(source, into)
        assert checked.version == "v1" and set(checked.cases) == {"model.tflite", "model.mnn"}
        assert min(checked.cases.values()) == 8 and _version(into) == "v1"
        assert not list(into.rglob("*.zip")) and not list(into.rglob(".partial-*"))


def test_a_second_install_of_the_same_fetches_only_the_descriptor(published, server, tmp_path):
    client.install(server.url, tmp_path / "phone")
    sent = dict(server.sent)
    client.install(server.url, tmp_path / "phone")
    assert server.sent["bundle.zip"] == sent["bundle.zip"]


def test_an_interrupted_download_goes_on_where_it_stopped(published, server, tmp_path):
    size = published.with_suffix(".zip").stat().st_size
    server.cut = size // 3
    with pytest.raises(BadInput, match="the connection was cut after"):
        client.install(server.url, tmp_path / "phone")
    assert client.current(tmp_path / "phone") is None
    server.cut = None
    client.install(server.url, tmp_path / "phone")
    assert _version(tmp_path / "phone") == "v1"
    assert server.sent["bundle.zip"] == size, "no byte twice"


def test_switch_rollback_and_pruning(installed, unpacked, tmp_path, ranking):
    first = client.current(installed)
    client.install(str(_another(unpacked, tmp_path, ranking)), installed)
    assert _version(installed) == "v2" and first.exists()
    assert client.rollback(installed) == first and _version(installed) == "v1"
    client.rollback(installed)
    assert _version(installed) == "v2"
    client.install(str(_another(unpacked, tmp_path, ranking, "v3")), installed)
    assert (
        _version(installed) == "v3"
        and not first.exists()
        and len(list((installed / "versions").iterdir())) == 2
    )


def test_an_app_that_refuses_the_new_version_gets_the_old_one_back(
    installed, unpacked, tmp_path, ranking
):
    def refuse(folder):
        assert _version(installed) == "v2"
        raise RuntimeError("the app does not like it")

    with pytest.raises(RuntimeError):
        client.install(str(_another(unpacked, tmp_path, ranking)), installed, switch=refuse)
    assert _version(installed) == "v1"


def _refuse(folder):
    raise RuntimeError("the app does not like it")


def test_a_refused_version_leaves_the_one_before_to_roll_back_to(
    installed, unpacked, tmp_path, ranking
):
    first = client.current(installed)
    client.install(str(_another(unpacked, tmp_path, ranking, "v2")), installed)
    with pytest.raises(RuntimeError):
        client.install(str(_another(unpacked, tmp_path, ranking, "v3")), installed, switch=_refuse)
    assert len(list((installed / "versions").iterdir())) == 2, "what is refused does not stay"
    assert _version(installed) == "v2" and client.rollback(installed) == first


def test_a_first_version_that_the_app_refuses_is_not_in_use(published, tmp_path):
    with pytest.raises(RuntimeError):
        client.install(str(published), tmp_path / "phone", switch=_refuse)
    assert client.current(tmp_path / "phone") is None
    client.install(str(published), tmp_path / "phone")
    assert _version(tmp_path / "phone") == "v1"


def test_a_folder_behind_a_link_keeps_both_versions(published, unpacked, tmp_path, ranking):
    """The link is not as deep as its target: relative to one is not relative to the other."""
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    into = tmp_path / "phone"
    into.symlink_to(deep)
    client.install(str(published), into)
    client.install(str(_another(unpacked, tmp_path, ranking)), into)
    client.rollback(into)
    assert _version(into) == "v1"
    client.rollback(into)
    with pytest.raises(RuntimeError):
        client.install(str(_another(unpacked, tmp_path, ranking, "v3")), into, switch=_refuse)
    assert _version(into) == "v2"


def test_a_kill_between_the_links_does_not_forget_the_version_before(
    installed, unpacked, tmp_path, ranking, monkeypatch
):
    class Killed(BaseException):
        pass

    def link(self, name, version, whole=Installation.link):
        if done:
            raise Killed
        done.append(name)
        whole(self, name, version)

    done = []
    second = str(_another(unpacked, tmp_path, ranking))
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Installation, "link", link)
        client.install(second, installed)
    client.install(second, installed)
    client.rollback(installed)
    assert _version(installed) == "v1"


def test_downloads_that_were_given_up_do_not_pile_up(
    published, server, unpacked, tmp_path, ranking
):
    into = tmp_path / "phone"
    server.cut = 1000
    for number, version in enumerate(("v2", "v3"), start=1):
        shutil.rmtree(tmp_path / "server")
        _another(unpacked, tmp_path, ranking, version).parent.rename(tmp_path / "server")
        with pytest.raises(BadInput, match="the connection was cut after 1,000 of"):
            client.install(server.url, into)
        assert [path.stat().st_size for path in (into / "downloads").iterdir()] == [
            1000
        ] * number, "all are kept"
    server.cut = None
    client.install(server.url, into)
    assert not list((into / "downloads").iterdir())


def test_nothing_to_roll_back_to(installed, tmp_path):
    with pytest.raises(BadInput, match="no version before"):
        client.rollback(installed)
    with pytest.raises(BadInput, match="nothing is installed in"):
        client.rollback(tmp_path / "mistyped")
    assert not (tmp_path / "mistyped").exists()


def test_a_damaged_version_is_not_rolled_back_to(installed, unpacked, tmp_path, ranking):
    first = client.current(installed)
    client.install(str(_another(unpacked, tmp_path, ranking)), installed)
    (first / "model.mnn").write_bytes(b"cut short")
    with pytest.raises(DamagedFile, match=r"model.mnn is not the file"):
        client.rollback(installed)
    assert _version(installed) == "v2"


def test_a_repair_keeps_the_version_before(installed, unpacked, tmp_path, ranking):
    first, second = client.current(installed), str(_another(unpacked, tmp_path, ranking))
    client.install(second, installed)
    (client.current(installed) / "model.mnn").write_bytes(b"cut short")
    client.install(second, installed)
    assert _version(installed) == "v2" and client.rollback(installed) == first


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(published, tmp_path):
    described = archive.Descriptor.from_json(published.read_text())
    with installation.opened(tmp_path / "phone", print) as empty:
        files.partial(empty.versions / installation.name(described)).mkdir()
    client.install(str(published), tmp_path / "phone")
    assert _version(tmp_path / "phone") == "v1"


def test_a_damaged_installation_is_repaired_beside_itself(installed, published):
    model = client.current(installed) / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(DamagedFile, match=r"model.tflite is not the file that model.json lists"):
        client.verify(client.current(installed))
    client.install(str(published), installed)
    assert client.verify(client.current(installed)).version == "v1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"md5": "0" * 32}, "its md5 differs"),
        ({"sha256": "0" * 64}, "its sha256 differs"),
        ({"size": 10**12}, "the descriptor's size"),
        ({"size": -1}, "the descriptor's size"),
        ({"size": True}, "the descriptor's size"),
        ({"size": 100}, "were announced"),
        ({"version": "../../etc"}, "the descriptor's version"),
        ({"version": ""}, "the descriptor's version"),
        ({"version": "v9"}, "the bundle says it is version 'v1', announced was 'v9'"),
        ({"modelUrl": None}, "the descriptor's modelUrl"),
        ({"modelUrl": "ftp://x/y.zip"}, "neither http, https nor a file"),
        ({"modelUrl": "missing.zip"}, "cannot fetch"),
        ({"scene": "1"}, "the descriptor's scene"),
        ({"minimum": [1]}, "does not map"),
    ],
)
def test_a_wrong_descriptor_is_refused(installed, published, unpacked, tmp_path, change, message):
    published.write_text(json.dumps(json.loads(published.read_text()) | change))
    with pytest.raises((DamagedFile, BadInput), match=message):
        client.install(str(published), tmp_path / "new")
    assert client.current(tmp_path / "new") is None and _version(installed) == "v1"


def _raw(content: bytes):
    return lambda handler: handler.wfile.write(content)


def _whole(content: bytes, status: str = "200 OK"):
    return _raw(f"HTTP/1.0 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)


def _slowly(content: bytes):
    def answer(handler):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
        for i in range(len(content)):
            handler.wfile.write(content[i : i + 1])
            time.sleep(0.05)

    return answer


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (_raw(b""), "closed connection"),
        (_raw(b"garbage\r\n\r\n"), "garbage"),
        (_raw(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"), "65536 bytes"),
        (_raw(_CHUNKED + b"zzzz\r\n"), "IncompleteRead"),
        (_raw(_CHUNKED + b"1000\r\nshort"), "IncompleteRead"),
        (
            _raw(b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/x\r\n\r\n"),
            "neither http nor https",
        ),
        (_raw(b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n"), "neither http"),
        (_raw(b"HTTP/1.1 302 Found\r\nLocation: http://a b/\r\n\r\n"), "control characters"),
        (_slowly(b"x" * 4000), "too slowly"),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".zip"])
def test_a_server_that_does_not_speak_http_is_refused(
    published, hostile, tmp_path, monkeypatch, suffix, answer, message
):
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(fetch, "SLOWEST", 1 << 20)
    hostile.answers = {".json": _whole(published.read_bytes()), suffix: answer}
    with pytest.raises(BadInput, match=f"cannot fetch .*{suffix}: .*{message}"):
        client.install(hostile.url, tmp_path / "phone")
    assert client.current(tmp_path / "phone") is None


def test_a_server_that_knows_no_ranges_is_asked_for_all(published, hostile, tmp_path):
    content = published.with_suffix(".zip").read_bytes()
    hostile.answers = {".json": _whole(published.read_bytes()), ".zip": _whole(content[:1000])}
    with pytest.raises(DamagedFile):
        client.install(hostile.url, tmp_path / "phone")

    def answer(handler):
        (_whole(b"", "416 No") if handler.headers.get("Range") else _whole(content))(handler)

    hostile.answers[".zip"] = answer
    client.install(hostile.url, tmp_path / "phone")
    assert [asked for path, asked in hostile.asked if path.endswith(".zip")] == [
        None,
        "bytes=1000-",
        None,
    ]


@pytest.mark.parametrize("url", ["my bundle.zip", "b\u00fcndel.zip"])
def test_an_address_with_blanks_or_umlauts_is_quoted(published, hostile, tmp_path, url):
    described = json.dumps(json.loads(published.read_text()) | {"modelUrl": url}).encode()
    content = published.with_suffix(".zip").read_bytes()
    hostile.answers = {".json": _whole(described), ".zip": _whole(content)}
    client.install(hostile.url, tmp_path / "phone")
    assert _version(tmp_path / "phone") == "v1"


@pytest.mark.parametrize(
    "url", ["file:///dev/zero", "http://[::1/x.zip", "http://127.0.0.1:x/x.zip"]
)
def test_a_descriptor_from_the_net_with_an_odd_address_is_refused(
    published, hostile, tmp_path, url
):
    hostile.answers = {
        ".json": _whole(json.dumps(json.loads(published.read_text()) | {"modelUrl": url}).encode())
    }
    with pytest.raises((DamagedFile, BadInput), match="names a file of this machine|is no URL"):
        client.install(hostile.url, tmp_path / "phone")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.json", "there is no file .*nothing.json: give bundle.json"),
        ("nothing.zip", "there is no file .*nothing.json: give bundle.json"),
        ("", "there is no file"),
        (".", "there is no file"),
        ("ftp://x/bundle.json", "neither http, https, a file nor a path"),
        ("http://[::1/bundle.json", "is no URL"),
        ("http://127.0.0.1:x/bundle.json", "is no URL"),
        ("http://127.0.0.1:1/a b.json", "refused"),
    ],
)
def test_a_source_that_is_none_is_refused(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=message):
        client.install(source, tmp_path / "phone")
    assert not list(tmp_path.iterdir())


def test_a_descriptor_is_not_verified_as_a_zip(published):
    with pytest.raises(BadInput, match="only announces a bundle: give the zip"):
        client.verify(published)


def _zip_with(tmp_path, unpacked, *entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    target = tmp_path / "hostile.zip"
    with zipfile.ZipFile(target, "w") as hostile:
        for path in unpacked.iterdir():
            hostile.write(path, path.name)
        for info, content in entries:
            hostile.writestr(info, content, zipfile.ZIP_DEFLATED)
    return target.read_bytes()


def _link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("../outside", b"x", "a file named '../outside'"),
        ("a/../../outside", b"x", "a file named"),
        ("/etc/outside", b"x", "a file named"),
        ("C:\\outside", b"x", "a file named"),
        ("a\\..\\outside", b"x", "a file named"),
        ("a//b", b"x", "a file named"),
        ("./a", b"x", "a file named"),
        ("name.", b"x", "a file named"),
        ("name ", b"x", "a file named"),
        (" name", b"x", "a file named"),
        (".name", b"x", "a file named '.name'"),
        ("a/.name", b"x", "a file named"),
        (f".partial-{files._machine()}-{'9' * 40}-x", b"x", "a file named '.partial"),
        ("CON", b"x", "a file named 'CON'"),
        ("a/aux.txt", b"x", "a file named"),
        ("LPT1.tar.gz", b"x", "a file named"),
        ("nul .txt", b"x", "a file named"),
        ("model.json/x", b"x", "model.json twice"),
        ("a\u0308", b"x", "a file named"),
        ("\u202egpj.exe", b"x", "a file named"),
        ("model.TFLITE", b"x", "twice"),
        ("extra.txt", b"x", "extra.txt is not listed in model.json"),
        ("bomb.txt", b"\0" * (300 << 20), "unfolds to"),
    ],
)
def test_hostile_names_and_sizes_are_refused(published, unpacked, tmp_path, name, content, message):
    _replaced(published, _zip_with(tmp_path, unpacked, (zipfile.ZipInfo(name), content)))
    before = {path for path in tmp_path.parent.rglob("outside")}
    with pytest.raises(DamagedFile, match=message):
        client.install(str(published), tmp_path / "phone")
    assert (
        client.current(tmp_path / "phone") is None
        and {path for path in tmp_path.parent.rglob("outside")} == before
    )


def test_folders_that_differ_by_case_are_refused(published, unpacked, tmp_path):
    entries = [(zipfile.ZipInfo(name), b"x") for name in ("Docs/a.txt", "docs/b.txt")]
    _replaced(published, _zip_with(tmp_path, unpacked, *entries))
    with pytest.raises(DamagedFile, match="holds docs twice"):
        client.install(str(published), tmp_path / "phone")


def test_a_name_that_a_zero_byte_cuts_is_refused(published, unpacked, tmp_path):
    content = _zip_with(tmp_path, unpacked, (zipfile.ZipInfo("noteA.txt"), b"x"))
    _replaced(published, content.replace(b"noteA.txt", b"note\0.txt"))
    with pytest.raises(DamagedFile, match=r"a file named 'note.x00.txt'"):
        client.install(str(published), tmp_path / "phone")


def _with_local(content: bytes, place: int, value: bytes) -> bytes:
    """A zip with other bytes in the header before its last file."""
    header = content.rfind(b"PK\x03\x04")
    return content[: header + place] + value + content[header + place + len(value) :]


LAYOUTS = {
    "bytes before": lambda c: b"#!/bin/sh\n" + c,
    "bytes after": lambda c: c + b"\0",
    "a comment": lambda c: c[:-2] + b"\x05\0hello",
    "another zip after": lambda c: c + c,
    "bytes before the directory": lambda c: (
        lambda at, end: (
            c[:at] + b"??" + c[at:end] + c[end : end + 16] + (at + 2).to_bytes(4, "little") + c[-2:]
        )
    )(c.find(b"PK\x01\x02"), len(c) - 22),
    "flags": lambda c: _with_local(c, 6, b"\x08"),
    "method": lambda c: _with_local(c, 8, b"\0\0"),
    "crc": lambda c: _with_local(c, 14, b"abcd"),
    "packed size": lambda c: _with_local(c, 18, b"\x01\0\0\0"),
    "size": lambda c: _with_local(c, 22, b"\x01\0\0\0"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_zip_that_readers_understand_differently_is_refused(published, tmp_path, layout):
    _replaced(published, LAYOUTS[layout](published.with_suffix(".zip").read_bytes()))
    with pytest.raises(DamagedFile, match="say different things|belong to no"):
        client.install(str(published), tmp_path / "phone")


def test_links_are_refused(published, unpacked, tmp_path):
    _replaced(published, _zip_with(tmp_path, unpacked, (_link("notes.txt"), b"/etc/passwd")))
    with pytest.raises(DamagedFile, match="is a link, a device or encrypted"):
        client.install(str(published), tmp_path / "phone")


def test_a_zip_that_is_all_directory_is_refused_before_it_is_read(published, tmp_path, monkeypatch):
    entry = b"PK\x01\x02" + b"\0" * 24 + b"\x01" + b"\0" * 17 + b"x"
    size = len(entry) * 2000
    end = b"PK\x05\x06" + b"\0" * 8 + size.to_bytes(4, "little") + b"\0" * 6
    _replaced(published, entry * 2000 + end)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("opened"))
    with pytest.raises(DamagedFile, match="too many files"):
        client.install(str(published), tmp_path / "phone")


def test_a_manifest_that_fills_the_memory_is_refused(unpacked, tmp_path):
    shutil.copytree(unpacked, tmp_path / "bundle")
    (tmp_path / "bundle" / "model.json").write_bytes(b"[" + b"[]," * archive.MOST_MANIFEST + b"[]]")
    with pytest.raises(DamagedFile, match="model.json is damaged: .* bytes, at most"):
        client.verify(tmp_path / "bundle")


def test_what_cannot_be_read_is_named(unpacked, tmp_path, monkeypatch):
    shutil.copytree(unpacked, tmp_path / "bundle")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    with (
        monkeypatch.context() as patch,
        pytest.raises(DamagedFile, match="golden.bin cannot be read: Permission"),
    ):
        patch.setattr(files, "sha256", refuse)
        client.verify(tmp_path / "bundle")
    (tmp_path / "bundle" / "model.json").unlink()
    (tmp_path / "bundle" / "model.json").mkdir()
    with pytest.raises(DamagedFile, match="model.json is damaged: .* no plain file"):
        client.verify(tmp_path / "bundle")


@pytest.mark.parametrize("url", ["", "a\nb", "x" * 3000])
def test_an_address_that_would_be_refused_is_not_published(published, url):
    with pytest.raises(BadInput, match="model_url"):
        archive.describe(published.with_suffix(".zip"), url=url, version="v1", minimum={})


@pytest.mark.parametrize("by", [-1, 1, 1000])
def test_a_size_in_a_header_that_is_not_the_contents_is_refused(published, tmp_path, by):
    content = bytearray(published.with_suffix(".zip").read_bytes())
    entry = content.find(
        b"PK\x01\x02"
    )  # of the central directory; its uncompressed size is 24 bytes on
    size = int.from_bytes(content[entry + 24 : entry + 28], "little")
    content[entry + 24 : entry + 28] = (size + by).to_bytes(4, "little")
    _replaced(published, bytes(content))
    with pytest.raises(DamagedFile):
        client.install(str(published), tmp_path / "phone")
    assert client.current(tmp_path / "phone") is None


def test_a_changed_weight_is_refused_although_every_hash_is_right(
    installed, unpacked, tmp_path, ranking, trained
):
    folder = tmp_path / "v2"
    shutil.copytree(unpacked, folder)
    path = folder / "model.tflite"
    path.write_bytes(changed_weight(path, trained.model))
    write_manifest(folder, ranking.schema, "v2")
    with pytest.raises(
        DamagedFile, match=r"model.tflite does not score as it should in \d of 8 cases: typical"
    ):
        client.install(str(publish(folder, tmp_path / "server2", "v2")), installed)
    assert _version(installed) == "v1"


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_version_in_use(unpacked, tmp_path, ranking, published):
    sources = [published, _another(unpacked, tmp_path, ranking)]
    into, rng = tmp_path / "phone", random.Random(3)
    code = "import sys; from helpers.bundle import client; client.install(sys.argv[1], sys.argv[2])"
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code, str(sources[0]), str(into)], check=True)
    undisturbed = time.monotonic() - started  # on this machine, at this moment
    seen = set()
    for i in range(40):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(sources[(i + 1) % 2]), str(into)],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.1, 1.6) * undisturbed)
        process.send_signal(signal.SIGKILL)
        process.wait()
        archive.check_files(client.current(into))
        seen.add(_version(into))
    assert seen == {"v1", "v2"}
    client.install(str(sources[1]), into)
    assert client.verify(client.current(into)).version == "v2"
    assert (
        not [path for path in into.rglob(".partial-*")]
        and len(list((into / "versions").iterdir())) <= 2
    )


@pytest.mark.slow
def test_three_hundred_damaged_bundles(installed, unpacked, published, tmp_path, ranking):
    """Bit flips, cuts, swaps and hostile names in zips, descriptors, golden cases and models;
    hashes are right.
    """
    rng = np.random.default_rng(7)
    good_zip, good_descriptor = published.with_suffix(".zip").read_bytes(), published.read_text()
    outcomes = {"refused": 0, "harmless": 0}

    def flip(content: bytes, bits: int = 1) -> bytes:
        damaged = bytearray(content)
        for _ in range(bits):
            damaged[rng.integers(0, len(damaged))] ^= 1 << rng.integers(0, 8)
        return bytes(damaged)

    def cut(content: bytes) -> bytes:
        return content[: rng.integers(0, len(content))]

    for i in range(300):
        published.with_suffix(".zip").write_bytes(good_zip)
        published.write_text(good_descriptor)
        kind = i % 5
        if kind == 0:
            published.write_bytes((flip if i % 2 else cut)(good_descriptor.encode()))
        elif kind == 1:
            published.with_suffix(".zip").write_bytes((flip if i % 2 else cut)(good_zip))
        elif kind == 2:
            _replaced(
                published, flip(good_zip, int(rng.integers(1, 5))) if i % 2 else cut(good_zip)
            )
        else:
            folder = tmp_path / "damaged"
            shutil.copytree(unpacked, folder)
            name = ("model.tflite", "model.mnn", "golden.bin", "model.json")[i // 5 % 4]
            path = folder / name
            path.write_bytes((flip if i % 2 else cut)(path.read_bytes()))
            if i % 7 == 0:
                swapped = (folder / "model.tflite").read_bytes()
                (folder / "model.tflite").write_bytes((folder / "model.mnn").read_bytes())
                (folder / "model.mnn").write_bytes(swapped)
            if name != "model.json":
                write_manifest(folder, ranking.schema, "v1")
            publish(folder, published.parent)
            shutil.rmtree(folder)
        into = tmp_path / "phone-fuzz"
        try:
            client.install(str(published), into)
            outcomes["harmless"] += (
                1  # a bit that nothing reads: it must score as it should all the same
            )
            client.verify(client.current(into))
            shutil.rmtree(into)
        except (DamagedFile, BadInput):
            outcomes["refused"] += 1
            assert client.current(into) is None
    assert outcomes["refused"] > 260 and _version(installed) == "v1"
    client.verify(client.current(installed))
