"""How far a running job is, for whoever looks at it: the field `progress` of its row."""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from maintenance import executor
from maintenance.models import Job

# A job may report each thing it does; its row is written once in so many seconds.
EVERY_SECONDS = 1.0

_written: ContextVar[tuple[str, float]] = ContextVar("progress_written", default=("", 0.0))


def report(done: int, total: int | None, note: str = "", *, result: Mapping[str, Any] | None = None) -> bool:
    """Write `{done, total, note}` for the job that runs here, and `report` where it has a `result` to show.

    `total` is None while it is not known. At most one write a second, except for the first, for the last (`done` is
    `total`) and for a result. False where nothing was written: too soon, no job, or its lease is lost and the row is
    another's.
    """
    current = executor.current()
    if current is None:
        return False
    token = current.execution.lease_token
    last_token, last_at = _written.get()
    now = time.monotonic()
    if result is None and done != total and token == last_token and now - last_at < EVERY_SECONDS:
        return False
    _written.set((token, now))
    value: dict[str, Any] = {"done": done, "total": total, "note": note[:200]}
    if result is not None:
        value["report"] = dict(result)
    held = Job.objects.filter(pk=current.execution.job.pk, lease_token=token, status=Job.Status.RUNNING)
    return bool(held.update(progress=value))
