"""What readers of a pull's stream are told. A number is there or absent, never null."""

import logging
from collections.abc import Mapping
from typing import Any

from django.utils import timezone
from redis.exceptions import RedisError

from maintenance import streams
from maintenance.streams import Away, Entry, Event
from maintenance.streams.read import span
from models_registry.models import Pull

logger = logging.getLogger(__name__)

Status = Pull.Status
TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


def key(pull_id: str) -> str:
    return f"stream:pull:{pull_id}"


def envelope(pull_id: str, seq: int) -> dict[str, Any]:
    """What every event carries. `seq` counts the events of a pull."""
    now = timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"pull_id": pull_id, "seq": seq, "ts": now}


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not known."""
    return {name: value for name, value in values.items() if value is not None}


def started(pull: Pull, seq: int) -> Event:
    return "started", {"model": pull.model, "backend": pull.backend, **envelope(pull.pk, seq)}


def state(pull: Pull) -> Event:
    """All that the database knows of a pull under way, as one `progress`."""
    data = {
        "status": pull.phase or pull.status,
        "pull_status": pull.status,
        "percentage": round(pull.percentage, 1),
        "completed_bytes": pull.completed_bytes,
        "total_bytes": pull.total_bytes,
        "speed_bytes_per_second": pull.speed_bytes_per_second,
        "eta_seconds": pull.eta_seconds,
        "layers": pull.layers,
    }
    return "progress", {**present(data), **envelope(pull.pk, pull.last_seq)}


def terminal(pull: Pull) -> Event:
    """The event that ends the stream of a pull that has ended."""
    data: dict[str, Any] = {
        "status": pull.status,
        "model": pull.model,
        "backend": pull.backend,
        "percentage": round(pull.percentage, 1),
        "completed_bytes": pull.completed_bytes,
        "total_bytes": pull.total_bytes,
        "layers": pull.layers,
    }
    if pull.status == Status.FAILED or pull.error_code:
        data |= {"error": pull.error, "error_code": pull.error_code}
    return str(pull.status), {**data, **envelope(pull.pk, pull.last_seq)}


def announce_end(pull: Pull) -> None:
    """Where Redis is away, readers get it from the database."""
    try:
        streams.append(key(pull.pk), [terminal(pull)])
    except RedisError as error:
        logger.warning("the end of pull %s is not in its stream (%s)", pull.pk, type(error).__name__)


def newest(pull_id: str) -> Entry | None:
    """The last event that was told; None where there is none, or Redis does not answer."""
    try:
        found = span(key(pull_id), count=1, newest_first=True)
    except Away:
        return None
    return found[0] if found else None


def told_percentage(pull: Pull) -> float:
    """What readers were told last; the database may be a second behind."""
    last = newest(pull.pk) if pull.status in Pull.UNFINISHED else None
    return max(pull.percentage, last.data.get("percentage", 0.0)) if last else pull.percentage
