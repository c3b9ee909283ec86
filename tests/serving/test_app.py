"""What the service answers over HTTP, and what it refuses."""

import asyncio
import json
import shutil
import sqlite3

import numpy as np
import pytest

from helpers import ratings, registry, runtimes
from helpers.errors import BadInput
from helpers.serving import app, exposure, guard, models, server
from helpers.serving.models import ModelUnavailable
from helpers.serving.service import Service

testclient = pytest.importorskip("fastapi.testclient", reason="needs the extra serve")
PREDICT = "/v1/models/recmodel:predict"


@pytest.fixture
def client(service):
    with testclient.TestClient(app.made(service), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def reader(made, tmp_path_factory):
    """A client of a service that the tests of this module only read from."""
    home = tmp_path_factory.mktemp("read") / "home"
    shutil.copytree(made, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(home))
        opened = server.opened("movies", {"small": 1.0})
    made_app = app.made(opened)
    with testclient.TestClient(made_app, raise_server_exceptions=False) as client:
        client.service = opened
        yield client
    opened.known.features.store.close()


def _list(client, user=1, size=10, **more):
    answer = client.get("/getrecforyou", params={"id": user, "size": size, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _rate(client, user, film, stars):
    return client.post("/rate", json={"userId": user, "movieId": film, "rating": stars})


def test_a_list_has_the_best_of_the_candidates_with_the_way_and_the_score(client, service):
    films = _list(client, size=15)
    scores = [film["score"] for film in films]
    assert scores == sorted(scores, reverse=True) and len(films) == 15
    features, recall = service.known.features, service.known.recall
    user = features.user(1)
    candidates, ways = recall.together(user.seen, user.liked())
    rows = features.rows(1, user, candidates)
    taken = {name: rows[name] for name in service.versions[0].schema.input_names}
    wanted = service.versions[0].scorer.score(taken)[:, 0]
    assert scores == np.sort(wanted)[::-1][:15].astype(float).tolist()
    found_by = dict(zip(candidates.tolist(), ways, strict=True))
    assert all(film["way"] == found_by[film["movieId"]] for film in films)


def test_a_rating_changes_the_user_the_film_and_the_next_list_at_once(client):
    before = _list(client, user=70_001)
    film = before[0]["movieId"]
    count = client.get("/getmovie", params={"id": film}).json()["ratingCount"]
    assert _rate(client, 70_001, film, 0.5).status_code == 200
    after = _list(client, user=70_001)
    assert film not in [each["movieId"] for each in after] and after != before[1:]
    assert client.get("/getmovie", params={"id": film}).json()["ratingCount"] == count + 1
    user = client.get("/getuser", params={"id": 70_001}).json()
    assert user["filmsSeen"] == 1 and user["averageRating"] == 0.5
    assert user["ratings"][0]["movieId"] == film


def test_films_seen_never_come_back_however_many(client, service):
    films = list(service.known.titles)
    for film in films[:-3]:
        assert _rate(client, 8, film, 4.0).status_code == 200
    left = {film["movieId"] for film in _list(client, user=8, size=50)}
    assert left <= set(films[-3:])
    for film in films[-3:]:
        _rate(client, 8, film, 4.0)
    assert _list(client, user=8) == []


def test_similar_films_are_there_without_the_film(reader):
    found = reader.get("/getsimilarmovie", params={"movieId": 3, "size": 5}).json()
    assert len(found) == 5 and 3 not in [film["movieId"] for film in found]


def test_predictions_of_ids_are_those_of_the_training_rows_form(client, service, served):
    """Ids alone: scored on what `as_of` says of a rating that comes after all others."""
    pack = _pack()
    given = pack.ratings
    one_more = ratings.Ratings(
        np.append(given.user, 5), np.append(given.film, 9), np.append(given.stars, 3.0),
        np.append(given.time, given.time.max() + 1),
    )  # fmt: skip
    columns = {n: values[-1:] for n, values in ratings.as_of(one_more, pack.films).items()}
    study, schema = registry.get("movies"), service.versions[0].schema
    rows = study.source("simulated").inputs(columns, service.known.features.ids)
    file = served / "artifacts/movies/small" / models.FILE
    with runtimes.open_model(file, schema) as opened:
        wanted = opened.score({name: rows[name] for name in schema.input_names})
    body = {"instances": [{"userId": 5, "movieId": 9}, {"userId": 99_999, "movieId": 1}]}
    found = client.post(PREDICT, json=body).json()
    assert found["predictions"][0] == wanted[0].tolist() and len(found["predictions"][1]) == 1
    columns_form = {"inputs": {"userId": [5, 99_999], "movieId": [[9], [1]]}}
    assert client.post(PREDICT, json=columns_form).json() == {"outputs": found["predictions"]}


def _pack():
    from helpers import rated
    from helpers.runs import Run
    from helpers.serving import known

    study = registry.get("movies")
    rows = sum(known.data_of(Run("movies", "small")).manifest["rows"].values())
    return rated.read(study, study.source("simulated"), rows, 1)


def _all_inputs(service, users, films):
    rows = service.known.features.pairs(np.array(users), np.array(films))
    return {name: rows[name].tolist() for name in service.versions[0].schema.input_names}


def test_all_inputs_are_taken_as_they_are_in_both_forms(reader):
    inputs = _all_inputs(reader.service, [1, 2], [3, 4])
    by_ids = {"instances": [{"userId": 1, "movieId": 3}, {"userId": 2, "movieId": 4}]}
    wanted = reader.post(PREDICT, json=by_ids).json()["predictions"]
    rows = [{name: values[i] for name, values in inputs.items()} for i in range(2)]
    assert reader.post(PREDICT, json={"instances": rows}).json() == {"predictions": wanted}
    named = {"signature_name": "serving_default", "inputs": inputs}
    assert reader.post(PREDICT, json=named).json() == {"outputs": wanted}
    some = {"inputs": {"userId": [1, 2], "movieId": [3, 4], "userNumbers": inputs["userNumbers"]}}
    assert reader.post(PREDICT, json=some).json() == {"outputs": wanted}


def test_status_and_metadata_are_tensorflow_servings(reader):
    (version,) = reader.get("/v1/models/recmodel").json()["model_version_status"]
    fine = {"error_code": "OK", "error_message": ""}
    assert version == {"version": "1", "state": "AVAILABLE", "status": fine}
    said = reader.get("/v1/models/recmodel/versions/1/metadata").json()
    assert said["model_spec"] == {"name": "recmodel", "signature_name": "", "version": "1"}
    signature = said["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert set(signature["inputs"]) == set(reader.service.versions[0].schema.input_names)
    assert signature["inputs"]["userNumbers"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "5", "name": ""}],
            "unknown_rank": False,
        },
        "name": "serving_default_userNumbers:0",
    }


IDS = {"userId": 1, "movieId": 2}
DEEP = b'{"instances": ' + 90 * b"[" + 90 * b"]" + b"}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "JSON Parse error"),
        (b"{", "JSON Parse error"),
        (b"\xff\xfe", "JSON Parse error"),
        (b"[1]", "not an object"),
        (b"{}", "either 'instances' or 'inputs'"),
        (b'{"instances": [], "inputs": {}}', "either 'instances' or 'inputs'"),
        (b'{"instances": []}', "list of rows"),
        (b'{"instances": 3}', "list of rows"),
        (b'{"instances": [3]}', "element: 0"),
        (b'{"instances": [{"userId": 1, "movieId": 2}, {"userId": 1}]}', "element: 1"),
        (b'{"instances": [{"userId": NaN, "movieId": 2}]}', "NaN is no value"),
        (b'{"instances": [{"userId": 1e999, "movieId": 2}]}', "a whole number"),
        (b'{"instances": [{"userId": 1.5, "movieId": 2}]}', "a whole number"),
        (b'{"instances": [{"userId": true, "movieId": 2}]}', "a whole number"),
        (b'{"instances": [{"userId": null, "movieId": 2}]}', "a whole number"),
        (b'{"instances": [{"userId": "1", "movieId": 2}]}', "a whole number"),
        (b'{"instances": [{"userId": [1, 2], "movieId": 2}]}', "a whole number"),
        (b'{"instances": [{"userId": 1, "movieId": 99999}]}', "there is no film 99999"),
        (b'{"instances": [{"userId": 1, "movieId": 0}]}', "there is no film 0"),
        (b'{"instances": [{"userId": -1, "movieId": 2}]}', "user -1"),
        (b'{"instances": [{"userId": 123456789012345678901234567890, "movieId": 2}]}', "userId"),
        (b'{"instances": [{"userId": 18446744073709551615, "movieId": 2}]}', "user -1"),
        (b'{"instances": [{"userId": 1, "movieId": 2, "x": 3}]}', "no input x"),
        (b'{"instances": [{"userId": 1}]}', "with movieId they would be filled in"),
        (b'{"instances": [{"userNumbers": [1,2,3,4,5]}]}', "no input movieNumbers"),
        (b'{"inputs": {"userId": 1, "movieId": 2}}', "not a list"),
        (b'{"inputs": {"userId": [1, 2], "movieId": [2]}}', "several numbers of rows"),
        (b'{"inputs": {"userId": [], "movieId": []}}', "no rows"),
        (b'{"signature_name": "x", "instances": [{"userId": 1, "movieId": 2}]}', 'name: "x"'),
        (b'{"signature_name": "serving_default", "instances": [{"userId": 1}]}', "has no input"),
        (DEEP, "nested deeper"),
        (b'{"instances": [' + b'{"userId":1,"movieId":2},' * 5000 + b"{}]}", "element: 5000"),
        (
            json.dumps({"inputs": {"userId": [1] * 5000, "movieId": [2] * 5000}}).encode(),
            "at most 4,096",
        ),
    ],
)
def test_a_wrong_prediction_request_is_refused(reader, body, said):
    answer = reader.post(PREDICT, content=body)
    assert answer.status_code == 400 and said in answer.json()["error"], answer.text


@pytest.mark.parametrize(
    "values", [[[1, 2, 3, 4]], [[1, 2, 3, 4, 1e39]], [["a", 2, 3, 4, 5]], [[1, [2], 3, 4, 5]], [1]]
)
def test_wrong_tensors_are_refused(reader, values):
    inputs = _all_inputs(reader.service, [1], [2]) | {"userNumbers": values}
    answer = reader.post(PREDICT, json={"inputs": inputs})
    assert answer.status_code == 400 and "userNumbers" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"userId": 1, "movieId": 2, "rating": 3.3}, 400),
        ({"userId": 1, "movieId": 2, "rating": 99}, 400),
        ({"userId": 1, "movieId": 2, "rating": "5"}, 400),
        ({"userId": 1, "movieId": 2, "rating": True}, 400),
        ({"userId": 0, "movieId": 2, "rating": 3}, 400),
        ({"userId": 1, "movieId": 99_999, "rating": 3}, 404),
        ({"userId": 1.0, "movieId": 2, "rating": 3}, 400),
        ({"userId": 1, "movieId": 2}, 400),
        ([1, 2, 3], 400),
    ],
)
def test_a_wrong_rating_is_refused_and_changes_nothing(reader, body, status):
    before = reader.service.known.features.store.get(["uf:1", "mf:2", "uf:0"])
    answer = reader.post("/rate", json=body)
    assert answer.status_code == status and answer.json()["error"]
    assert reader.service.known.features.store.get(["uf:1", "mf:2", "uf:0"]) == before
    assert not list(exposure.lines(reader.service.ratings.path))


def test_a_form_of_another_site_cannot_rate(client):
    body = json.dumps({"userId": 1, "movieId": 2, "rating": 5})
    assert client.post("/rate", content=body).status_code == 400
    kind = {"content-type": "text/plain"}
    assert client.post("/rate", content=body, headers=kind).status_code == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/getrecforyou", 400),
        ("/getrecforyou?id=x", 400),
        ("/getrecforyou?id=0", 400),
        ("/getrecforyou?id=99999999999999", 400),
        ("/getrecforyou?id=1&size=0", 400),
        ("/getrecforyou?id=1&size=100000", 400),
        ("/getrecforyou?id=1&model=nobody", 404),
        ("/getsimilarmovie?movieId=99999", 404),
        ("/getmovie?id=99999", 404),
        ("/getuser?id=-4", 400),
        ("/v1/models/other", 404),
        ("/v1/models/other/metadata", 404),
        ("/v1/models/recmodel/versions/7", 404),
        ("/v1/models/recmodel/versions/x/metadata", 404),
        ("/v1/models/recmodel/labels/x", 404),
        ("/docs", 404),
        ("/v1/models/recmodel:predict", 404),
        ("/rate", 405),
    ],
)
def test_what_is_not_there_is_told(reader, path, status):
    answer = reader.get(path)
    assert answer.status_code == status and answer.json()["error"]


def test_unknown_users_are_served(reader):
    assert len(_list(reader, user=2_000_000_000)) == 10
    user = reader.get("/getuser", params={"id": 2_000_000_000}).json()
    assert user["ratings"] == [] and user["filmsSeen"] == 0


def test_a_huge_body_is_refused_whether_it_says_so_or_not(reader):
    for body in (b" " * (guard.MOST_BYTES + 1), (b" " * 2**20 for _ in range(6))):
        answer = reader.post(PREDICT, content=body)
        assert answer.status_code == 413 and "bytes" in answer.json()["error"]


def test_with_a_token_every_request_needs_it(service):
    with testclient.TestClient(app.made(service, token="secret")) as client:
        for path in ("/", "/getuser?id=1", "/v1/models/recmodel", "/nothing"):
            assert client.get(path).status_code == 401
            wrong = {"authorization": "Bearer secre"}
            assert client.get(path, headers=wrong).status_code == 401
        right = {"authorization": "Bearer secret"}
        assert client.get("/getuser?id=1", headers=right).status_code == 200


def test_another_name_of_this_machine_is_refused(service):
    made = app.made(service, hosts=("localhost", "[::1]"))
    with testclient.TestClient(made) as client:
        for host, status in {"localhost:8501": 200, "[::1]:9": 200, "evil.example": 421}.items():
            assert client.get("/", headers={"host": host}).status_code == status


def test_an_address_that_others_reach_needs_a_token():
    from helpers.errors import BadInput

    for host in ("0.0.0.0", "192.168.1.4", "::", "example.org"):
        with pytest.raises(BadInput, match="--token"):
            server.serve("movies", {"small": 1.0}, host=host)


def _broken(service) -> None:
    """Take the features' file away from under the service."""
    store = service.known.features.store
    store.close()
    for path in store.file.parent.glob("features.sqlite*"):
        path.unlink()
    store.file.mkdir()


def test_a_store_that_is_down_gives_the_popular_list_and_says_so(client, service):
    _broken(service)
    with pytest.raises(sqlite3.Error):
        sqlite3.connect(service.known.features.store.file).execute("SELECT 1 FROM features")
    answer = client.get("/getrecforyou", params={"id": 1})
    assert answer.status_code == 200 and answer.headers["x-features"] == "unavailable"
    films = [film["movieId"] for film in answer.json()]
    assert films == service.known.recall.found("popular", [], [], 10).tolist()
    for answer in (_rate(client, 1, 2, 3.0), client.post(PREDICT, json={"instances": [IDS]})):
        assert answer.status_code == 503 and answer.json()["error"]
    assert list(exposure.lines(service.exposures.path)) == [], "no model was shown"


def test_a_model_server_that_is_down_gives_the_popular_list(service):
    version = service.versions[0]
    remote = models.Remote("http://127.0.0.1:9", version.schema)
    down = models.Version(1, version.run, version.schema, remote)
    other = Service(service.known, [down], service.exposures, service.ratings)
    with testclient.TestClient(app.made(other)) as client:
        answer = client.get("/getrecforyou", params={"id": 1})
        assert answer.status_code == 200 and answer.headers["x-model"] == "unavailable"
        seen = set(service.known.features.user(1).seen.tolist())
        assert seen and not seen & {film["movieId"] for film in answer.json()}
        assert client.post(PREDICT, json={"instances": [IDS]}).status_code == 503


@pytest.mark.parametrize("run", ["small", "ids"])
def test_a_model_server_is_asked_with_all_inputs_and_gives_the_same_list(served, run):
    """This service stands for TensorFlow Serving: a request that names its signature is tensors."""
    alone = server.opened("movies", {run: 1.0})
    version = alone.versions[0]
    remote = models.Remote("http://127.0.0.1:1", version.schema)
    remote._client = testclient.TestClient(app.made(alone))
    asking = models.Version(1, run, version.schema, remote)
    other = Service(alone.known, [asking], alone.exposures, alone.ratings)
    assert other.recommend(3, 20) == alone.recommend(3, 20)


def test_a_model_server_that_answers_nonsense_is_down(service):
    schema = service.versions[0].schema
    remote = models.Remote("http://127.0.0.1:1", schema)
    rows = {tensor.name: tensor.zeros(2) for tensor in schema.inputs}
    for content in (b"", b"[]", b'{"outputs": [[0.5]]}', b'{"outputs": [[0.5], ["x"]]}'):
        transport = remote_transport(content)
        remote._client = transport
        with pytest.raises(ModelUnavailable):
            remote.score(rows)


def remote_transport(content: bytes):
    import httpx

    return httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    )


def test_two_models_share_the_users_and_each_list_is_logged(served):
    two = server.opened("movies", {"small": 1.0, "ids": 1.0})
    with testclient.TestClient(app.made(two)) as client:
        for user in range(1, 101):
            films = _list(client, user, size=3)
            line = list(exposure.lines(two.exposures.path))[-1]
            assert line["user"] == user and line["time"] > 1e9
            assert line["films"] == [film["movieId"] for film in films]
        lines = list(exposure.lines(two.exposures.path))
        by_model = {user: two.version_of(user).run for user in range(1, 101)}
        assert {line["user"]: line["model"] for line in lines} == by_model
        assert 30 < sum(run == "ids" for run in by_model.values()) < 70
        assert _list(client, 1, model="small") != _list(client, 1, model="ids")
        assert client.get("/v1/models/recmodel/labels/ids").json()["model_version_status"][0][
            "version"
        ] == "2"  # fmt: skip


def test_the_page_needs_nothing_from_elsewhere(reader):
    page = reader.get("/")
    assert page.status_code == 200 and "default-src 'self'" in page.headers[
        "content-security-policy"
    ]  # fmt: skip
    assert "http://" not in page.text and "https://" not in page.text


def test_a_run_may_have_an_equals_sign_in_its_name(served):
    """Those that are named by their parameters have."""
    runs = served / "artifacts/movies"
    (runs / "seed=3").mkdir()
    (runs / "model=deep_fm,seed=0").mkdir()
    assert server.weights("movies", ["seed=3"]) == {"seed=3": 1}
    assert server.weights("movies", ["small=9", "seed=3=1"]) == {"small": 9, "seed=3": 1}
    assert server.weights("movies", ["model=deep_fm,seed=0"]) == {"model=deep_fm,seed=0": 1}
    with pytest.raises(BadInput, match="the weight of run 'model' is a number, not 'x'"):
        server.weights("movies", ["model=x"])


def test_large_bodies_are_held_to_what_is_allowed_until_they_are_answered(monkeypatch):
    """Those that wait for their turn count; small ones are served beside them."""
    monkeypatch.setattr(guard, "MOST_BYTES_TOGETHER", 500_000)

    async def scenario():
        waiting, answers = asyncio.Event(), {}

        async def slow(scope, receive, send):
            await receive()
            if scope["slow"]:
                await waiting.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        guarded = guard.Guard(slow)

        async def ask(name, size, slow=True):
            parts = [{"type": "http.request", "body": b" " * size, "more_body": False}]

            async def receive():
                return parts.pop() if parts else {"type": "http.disconnect"}

            async def send(message):
                answers.setdefault(name, message.get("status"))

            await guarded({"type": "http", "headers": [], "slow": slow}, receive, send)

        tasks = [asyncio.create_task(ask(i, 200_000)) for i in range(2)]
        await asyncio.sleep(0)
        await ask("third", 200_000)
        await ask("small", 1000, slow=False)
        assert answers == {"third": 503, "small": 200}
        waiting.set()
        await asyncio.gather(*tasks)
        await ask("after", 200_000, slow=False)
        return answers

    assert asyncio.run(scenario()) == {"third": 503, "small": 200, 0: 200, 1: 200, "after": 200}
