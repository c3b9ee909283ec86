"""Runs of a study to a running service."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

from helpers.bundle import rollout
from helpers.errors import BadInput
from helpers.runs import Run

MOST_CONNECTIONS, _LEAST_CONNECTIONS = 4096, 16
_AT_ONCE, _QUEUE, _OTHER_FILES = 64, 1024, 320
"""Connections that are let in at a time, of which four times as many may be open before any can be
turned away; that wait to be let in; and those four times and files that a process has open besides
its connections, at most."""
KEEP_SECONDS = 30
"""How long a connection without a request is kept."""


def serve(
    study: str,
    runs: Mapping[str, float],
    *,
    host: str = "127.0.0.1",
    port: int = 8501,
    token: str | None = None,
    features: str = "sqlite",
    model_server: str | None = None,
    echo: Callable[[str], None] = print,
) -> None:
    """Open the service of some runs and serve until the process is told to end.

    Parameters
    ----------
    runs : by name, its part of the users.

    Raises
    ------
    BadInput : an address that others reach and no token, runs of several data sets.
    """
    if not _is_local(host) and not token:
        raise BadInput(f"{host} is reached from other machines: give a --token, or leave --host")
    # requests are many and their matrices small: threads of their own would wait for each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    service = opened(study, runs, features=features, model_server=model_server)
    with closing(service.known.features.store):
        listen(service, host=host, port=port, token=token, echo=echo)


def listen(
    service,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    echo: Callable[[str], None] = print,
) -> None:
    """Answer requests to a `helpers.serving.service.Service` until the process is told to end."""
    import uvicorn

    from helpers.serving import app, guard

    hosts = ("localhost", "127.0.0.1", "[::1]", host) if _is_local(host) else ()
    config = uvicorn.Config(
        app.made(service, token=token, hosts=hosts),
        host=host,
        port=port,
        http=guard.Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        limit_concurrency=_connections(),
        backlog=_AT_ONCE,
        timeout_keep_alive=KEEP_SECONDS,
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    socket = config.bind_socket()
    socket.listen()  # from here on requests wait for the first answer
    models = ", ".join(version.run for version in service.versions)
    echo(f"serving {models} at http://{host}:{socket.getsockname()[1]}")
    echo(f"logs in {service.known.folder}")

    class Server(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets=sockets)
            socket.listen(_QUEUE)  # it was told of those that are let in at a time

    Server(config).run(sockets=[socket])


def _connections() -> int:
    """How many connections the process may hold: as many as it may open files for, which most
    systems set lower than they must.

    Raises
    ------
    BadInput : next to none.
    """
    import resource

    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + _OTHER_FILES
    if allowed < wanted:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    if allowed < _LEAST_CONNECTIONS + _OTHER_FILES:
        raise BadInput(
            f"this process may open {allowed} files, the service needs "
            f"{_LEAST_CONNECTIONS + _OTHER_FILES}: raise it with ulimit -n"
        )
    return min(wanted, allowed) - _OTHER_FILES


def opened(
    study: str,
    runs: Mapping[str, float],
    *,
    features: str = "sqlite",
    model_server: str | None = None,
):
    """The service of some runs, which must be of one data set.

    Raises
    ------
    BadInput : they are not.
    """
    from helpers.serving import known, models
    from helpers.serving.exposure import Log
    from helpers.serving.service import Service

    opened_runs = [Run(study, name) for name in runs]
    known_data = known.of(opened_runs[0], features)
    for run in opened_runs[1:]:
        if known.data_of(run).folder.name != known_data.folder.name:
            raise BadInput(
                f"run {run.name!r} is of other data than {opened_runs[0].name!r}: two models are "
                "compared on one data set"
            )
    versions = [
        models.opened(run, number, weight, model_server)
        for number, (run, weight) in enumerate(zip(opened_runs, runs.values(), strict=True), 1)
    ]
    logs = (Log(known_data.folder / f"{name}.jsonl") for name in ("exposures", "ratings"))
    return Service(known_data, versions, *logs)


def weights(study: str, runs: Sequence[str]) -> dict[str, float]:
    """``NAME`` or ``NAME=WEIGHT`` to weights by name; 1 where none is said. A name may have an
    equals sign of its own, as ``seed=3``, if there is such a run.
    """
    found: dict[str, float] = {}
    for run in runs:
        name, equals, weight = run.rpartition("=")
        if not equals or Run(study, run).folder.is_dir():
            found[run] = 1.0
            continue
        try:
            found[name] = float(weight)
        except ValueError as error:
            raise BadInput(f"the weight of run {name!r} is a number, not {weight!r}") from error
    rollout.assign("", found)
    return found


def _is_local(host: str) -> bool:
    """Whether an address is of this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
