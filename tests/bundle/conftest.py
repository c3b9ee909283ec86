import contextlib
import http.server
import shutil
import threading
from pathlib import Path

import pytest
from bundling import SHAPED, publish, shaped_model, typical_inputs, write_manifest

from helpers.bundle import client, golden, make


@pytest.fixture(scope="session")
def unpacked(trained, ranking, tmp_path_factory) -> Path:
    """A bundle of the small trained model, as a folder. Tests must not change it."""
    folder = tmp_path_factory.mktemp("unpacked")
    files = {"model.tflite": trained.files["fp32.tflite"], "model.mnn": trained.files["fp32.mnn"]}
    cases = make.cases(
        ranking.schema, trained.files["model.keras"], files, trained.reference.inputs
    )
    for name, path in files.items():
        shutil.copy(path, folder / name)
    (folder / "golden.bin").write_bytes(golden.to_bytes(cases))
    (folder / "golden.json").write_text(golden.to_json(cases))
    write_manifest(folder, ranking.schema)
    return folder


@pytest.fixture
def published(unpacked, tmp_path) -> Path:
    """The descriptor of the bundle, with its zip beside it."""
    return publish(unpacked, tmp_path / "server")


@pytest.fixture
def installed(published, tmp_path) -> Path:
    """A folder with version v1 in use."""
    client.install(str(published), tmp_path / "phone")
    return tmp_path / "phone"


@pytest.fixture
def server(tmp_path):
    """An HTTP server of ``tmp_path/server`` that answers ranges, can cut an answer short, and
    counts bytes sent.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = tmp_path / "server" / self.path.lstrip("/")
            if not path.is_file():
                self.send_error(404)
                return
            content = path.read_bytes()
            asked = self.headers.get("Range")
            first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            part = content[first : self.server.cut if path.suffix == ".zip" else None]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - first))
            self.end_headers()
            self.server.sent[path.name] = self.server.sent.get(path.name, 0) + len(part)
            self.wfile.write(part)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.cut, running.sent = None, {}
        running.url = f"http://127.0.0.1:{running.server_port}/bundle.json"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def hostile():
    """An HTTP server that calls ``answers[suffix](handler)`` for a path that ends so; counts
    requests.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append((self.path, self.headers.get("Range")))
            with contextlib.suppress(OSError):
                self.server.answers[Path(self.path).suffix](self)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.answers, running.asked = {}, []
        running.url = f"http://127.0.0.1:{running.server_port}/bundle.json"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture(scope="session")
def shaped(tmp_path_factory) -> dict[str, Path]:
    """By model name, unpacked bundles of the models of `bundling.SHAPED`. Tests must not change
    them.
    """
    from helpers.convert import mnn
    from helpers.frameworks import keras as framework

    made = {}
    for name, schema in SHAPED.items():
        folder = made[name] = tmp_path_factory.mktemp(name)
        model, keras = shaped_model(schema), tmp_path_factory.mktemp("keras") / "model.keras"
        framework.save(model, keras)
        framework.export(model, schema, folder / "model.tflite")
        mnn.convert(folder / "model.tflite", schema, folder / "model.mnn")
        files = {file: folder / file for file in ("model.tflite", "model.mnn")}
        for file, content in make.contents(
            files, make.cases(schema, keras, files, typical_inputs(schema))
        ).items():
            (folder / file).write_bytes(content)
        write_manifest(folder, schema)
    return made
