"""HTTP: paths, statuses and the page.

Every answer to what cannot be served is ``{"error": "..."}`` with a status that says whose fault it
is: 400 and 404 the request's, 503 a store's that does not answer.
"""

from __future__ import annotations

import functools
import math
from typing import Annotated

import jinja2
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from helpers import strict_json
from helpers.errors import BadInput
from helpers.ratings.recall import MOST
from helpers.serving import tfserving
from helpers.serving.features import MOST_ID
from helpers.serving.guard import Guard
from helpers.serving.models import ModelUnavailable, Version
from helpers.serving.service import Absent, Service
from helpers.serving.stores import Unavailable

Id = Annotated[int, Query(ge=1, le=MOST_ID)]
Size = Annotated[int, Query(ge=1, le=MOST)]
_MODEL = "/v1/models/{name}"
_POLICY = "default-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
"""The page's own style and script, requests to this service, and nothing from anywhere else."""


def made(service: Service, *, token: str | None = None, hosts: tuple[str, ...] = ()) -> Guard:
    """The application of a service.

    Parameters
    ----------
    token : that every request must bring.
    hosts : names by which the service may be called, see `Guard`; default any.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _lists(app, service)
    _models(app, service)
    _page(app, service)
    for kind, status in {
        Absent: 404,
        BadInput: 400,
        Unavailable: 503,
        ModelUnavailable: 503,
    }.items():
        app.add_exception_handler(kind, functools.partial(_refused, status))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _unknown)
    return Guard(app, token=token, hosts=hosts)


def _lists(app: FastAPI, service: Service) -> None:
    """The recommender's own paths."""

    @app.get("/getrecforyou")
    def recommended(id: Id, response: Response, size: Size = 10, model: str | None = None):
        found = service.recommend(id, size, model)
        headers = {"X-Model": found.model or "unavailable"}
        if found.missing == "features":
            headers = {"X-Features": "unavailable"}
        return JSONResponse(found.films, headers=headers)

    @app.get("/getsimilarmovie")
    def similar(movieId: Id, size: Size = 10):
        return JSONResponse(service.similar(movieId, size))

    @app.get("/getuser")
    def user(id: Id):
        return JSONResponse(service.user(id))

    @app.get("/getmovie")
    def film(id: Id):
        return JSONResponse(service.film(id))

    @app.post("/rate")
    async def rate(request: Request):
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise BadInput("a rating is JSON: send Content-Type: application/json")
        user, film, stars = _rating(await request.body())
        await run_in_threadpool(service.rate, user, film, stars)
        return JSONResponse({"userId": user, "movieId": film, "rating": stars})


def _models(app: FastAPI, service: Service) -> None:
    """The paths of TensorFlow Serving's REST API."""

    def version(name: str, number: str | None = None, label: str | None = None) -> Version:
        newest = service.versions[-1]
        if name != newest.schema.model_name:
            raise Absent(f"Servable not found for request: Latest({name})")
        if label is not None:
            return service.by_label(label)
        found = [v for v in service.versions if number in (None, str(v.number))]
        if not found:
            raise Absent(f"Servable not found for request: Specific({name}, {number})")
        return found[-1]

    async def predict(request: Request, name: str, number: str = None, label: str = None):
        chosen = version(name, number, label)
        body = await request.body()

        def answer() -> dict:
            asked = tfserving.read(body)
            return tfserving.answer(asked, service.predict(chosen, asked))

        return JSONResponse(await run_in_threadpool(answer))

    def status(name: str, number: str = None, label: str = None):
        chosen = version(name, number, label)
        every = [v.number for v in service.versions]
        return JSONResponse(tfserving.status(every if number is label is None else [chosen.number]))

    def metadata(name: str, number: str = None, label: str = None):
        chosen = version(name, number, label)
        return JSONResponse(tfserving.metadata(chosen.schema, chosen.number))

    for path in (_MODEL, f"{_MODEL}/versions/{{number}}", f"{_MODEL}/labels/{{label}}"):
        app.post(f"{path}:predict")(predict)
        app.get(f"{path}/metadata")(metadata)
        app.get(path)(status)


def _page(app: FastAPI, service: Service) -> None:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers", "templates/serving"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    models = [version.run for version in service.versions]
    page = environment.get_template("page.html").render(models=models, most=MOST)
    headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}

    @app.get("/")
    def shown():
        return HTMLResponse(page, headers=headers)


def _rating(body: bytes) -> tuple[int, int, float]:
    """User, film and stars of the body of a rating."""
    try:
        content = strict_json.read(body)
    except ValueError as error:
        raise BadInput(f"JSON Parse error: {error}") from error
    if not isinstance(content, dict) or set(content) != {"userId", "movieId", "rating"}:
        raise BadInput('a rating is {"userId": 1, "movieId": 2, "rating": 4.5}')
    ids, stars = (content["userId"], content["movieId"]), content["rating"]
    if any(type(value) is not int for value in ids):
        raise BadInput("userId and movieId are ids, a whole number each")
    if type(stars) not in (int, float) or not math.isfinite(stars):
        raise BadInput("a rating is a number of stars, .5 to 5 in steps of .5")
    return (*ids, float(stars))


def _refused(status: int, request: Request, error: Exception) -> JSONResponse:
    headers = {"X-Features": "unavailable"} if isinstance(error, Unavailable) else {}
    return JSONResponse({"error": str(error)}, status, headers)


def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    said = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
    return JSONResponse({"error": said}, 400)


def _unknown(request: Request, error: HTTPException) -> JSONResponse:
    said = f"Malformed request: {request.method} {request.url.path}"
    return JSONResponse({"error": said}, error.status_code, error.headers)
