"""What is known of the backends' health, without ever waiting for a dead server.

A probe runs in a thread of its own; who asks gets the last result at once, and starts the next probe when that
result has become old. Only the very first question about a backend waits, and not for long.
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings

from models_registry import catalog
from models_registry.backends.base import Health
from models_registry.backends.settings import BackendSettings

FIRST_ANSWER_SECONDS = 1.0
BAD_NEWS_SECONDS = 5  # a server that is only starting should not look dead for long


@dataclass(frozen=True)
class Checked:
    """The result of a probe and when it ended."""

    health: Health
    checked_at: datetime


# A fork has none of its parent's threads, and other settings are another server: both start anew.
_Key = tuple[int, BackendSettings]
_known: dict[_Key, Checked] = {}
_probes: dict[_Key, threading.Thread] = {}


def status(name: str) -> Checked:
    """The health of a configured backend."""
    return statuses([name])[name]


def statuses(names: Iterable[str]) -> dict[str, Checked]:
    """The health of each backend; they are probed side by side, so together they take no longer than one."""
    known = catalog.configured()
    return of({name: known.get(catalog.canonical(name)) for name in names})


def of(configured: Mapping[str, BackendSettings | None]) -> dict[str, Checked]:
    """The health of these backends, which need not be enabled. None stands for one that there is not."""
    keys = {name: (os.getpid(), chosen) for name, chosen in configured.items() if chosen}
    waited_for = [probe for key in keys.values() if (probe := _refresh(key)) and key not in _known]
    end_at = time.monotonic() + FIRST_ANSWER_SECONDS
    for probe in waited_for:
        probe.join(max(0.0, end_at - time.monotonic()))
    return {name: _result(name, keys.get(name)) for name in configured}


def ask(chosen: BackendSettings, *, seconds: float) -> Checked:
    """Probe now, whatever is known, and wait so long for the answer."""
    key = (os.getpid(), chosen)
    probe = _running(key) or _start(key)
    probe.join(seconds)
    unanswered = Health(status="unreachable", error=f"{chosen.name} did not answer within {seconds:g} s.")
    return Checked(unanswered, datetime.now(UTC)) if probe.is_alive() else _known[key]


def _result(name: str, key: _Key | None) -> Checked:
    if key is None:
        return Checked(Health(status="misconfigured", error=f"{name} is not configured."), datetime.now(UTC))
    unanswered = Health(status="unreachable", error=f"{name} has not answered yet.")
    return _known.get(key) or Checked(unanswered, datetime.now(UTC))


def _refresh(key: _Key) -> threading.Thread | None:
    """Start a probe where the last result is missing or old; the probe that is under way, if any."""
    known = _known.get(key)
    if probe := _running(key):
        return probe
    if known and datetime.now(UTC) - known.checked_at < _kept(known.health):
        return None
    return _start(key)


def _running(key: _Key) -> threading.Thread | None:
    probe = _probes.get(key)
    return probe if probe and probe.is_alive() else None


def _start(key: _Key) -> threading.Thread:
    _probes[key] = probe = threading.Thread(target=_probe, args=[key], name="backend-probe", daemon=True)
    probe.start()
    return probe


def _kept(health: Health) -> timedelta:
    seconds = settings.BACKEND_HEALTH_KEPT_SECONDS
    return timedelta(seconds=seconds if health.status == "available" else min(seconds, BAD_NEWS_SECONDS))


def _probe(key: _Key) -> None:
    _known[key] = Checked(catalog.probe(key[1]), datetime.now(UTC))
