"""What a process inherits from who starts it: a fork has it of its asker, not of its server.

A child of ``subprocess.Popen`` inherits more than environment, folder and streams, which a request
names anyway:

- `settable`: umask, soft resource limits, blocked and ignored signals. A request carries them, and
  the fork sets them.
- `fixed`: what an unprivileged process cannot take back (niceness and scheduling, hard limits,
  user, groups and capabilities, sandbox, memory killer's score, cgroup, namespaces), and what
  libraries read while they are imported (processors, stack size, which threads get). It is part of
  a server's address: another server inherits other values.

Not carried over: the parent (it is the server); session and process group (a fork leads its own,
as Jupyter's kernels do); timers, which no child inherits; and personality, timer slack, NUMA
policy, keyrings, which nobody sets for a notebook.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Mapping
from pathlib import Path

_LIMITS = sorted(name for name in dir(resource) if name.startswith("RLIMIT_"))
_STACK, _CORE = "RLIMIT_STACK", "RLIMIT_CORE"
_STATUS = (
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "THP_enabled",
    "Cpus_allowed",
    "Mems_allowed",
)
"""Fields of ``/proc/thread-self/status``, see proc(5): credentials, sandbox, processors, memory."""
_PYTHON_IGNORES = {signal.SIGPIPE, signal.SIGXFSZ}


def fixed() -> list:
    """What a child of this process inherits and a fork of another cannot set, as JSON values."""
    import psutil

    status = _status()
    limits = [_limit(name)[1] for name in _LIMITS]
    scheduling = [os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)]
    scheduling += [os.sched_getparam(0).sched_priority, *map(int, psutil.Process().ionice())]
    files = [
        Path(f"/proc/self/{name}").read_text(encoding="utf-8")
        for name in ("oom_score_adj", "cgroup")
    ]
    namespaces = [os.readlink(entry) for entry in sorted(Path("/proc/self/ns").iterdir())]
    credentials = [status.get(name) for name in _STATUS]
    return [credentials, limits, _limit(_STACK), scheduling, files, namespaces]


def settable() -> dict:
    """What a child of this process inherits and a fork of another can set, for `apply`."""
    status = _status()
    return {
        "umask": int(status["Umask"], 8),
        "limits": {name: _limit(name)[0] for name in _LIMITS},
        "blocked": int(status["SigBlk"], 16),
        "ignored": int(status["SigIgn"], 16),
    }


def apply(attributes: Mapping) -> None:
    """Give this process the `settable` attributes of another one with the same `fixed` ones."""
    os.umask(attributes["umask"])
    for name, soft in attributes["limits"].items():
        resource.setrlimit(getattr(resource, name), (soft, _limit(name)[1]))
    ignored = _signals(attributes["ignored"]) | _PYTHON_IGNORES
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if number in ignored:
            signal.signal(number, signal.SIG_IGN)
        elif signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, _signals(attributes["blocked"]))


def unrestrict() -> None:
    """Lift what could end or hinder a server: blocked signals, and soft limits but two.

    The stack's stays, which new threads get; so does that of memory dumps.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for name in set(_LIMITS) - {_STACK, _CORE}:
        hard = _limit(name)[1]
        resource.setrlimit(getattr(resource, name), (hard, hard))


def _limit(name: str) -> tuple[int, int]:
    return resource.getrlimit(getattr(resource, name))


def _status() -> dict[str, str]:
    """This thread's entry in /proc: reading the umask elsewhere means to change it for a moment."""
    lines = Path("/proc/thread-self/status").read_text(encoding="utf-8").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _signals(mask: int) -> set[int]:
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}
