"""What Redis holds, read without changing it.

RQ's own counters (`registry.count`, `len`, `Worker.all`) clean up as they read, and building one of its `Worker`
objects raises the time limit of a shared connection to minutes. So counts are taken with `cleanup=False`, and
workers are read as the plain hashes they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import Http404
from rq import Queue as RQQueue
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job as RQJob
from rq.registry import (
    BaseRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    FinishedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.serializers import JSONSerializer
from rq.utils import utcparse
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from maintenance import broker, queues
from maintenance.models import Job

QUEUES_PERMISSION = "maintenance.view_operations"
WORKER_PREFIX = "rq:worker:"
REGISTRIES: dict[str, type[BaseRegistry]] = {
    "started": StartedJobRegistry,
    "finished": FinishedJobRegistry,
    "failed": FailedJobRegistry,
    "scheduled": ScheduledJobRegistry,
    "deferred": DeferredJobRegistry,
}


@dataclass(frozen=True, kw_only=True)
class WorkerLine:
    """A registered worker. `rq_job_ids` is what it executes now."""

    key: str
    name: str
    state: str
    host: str
    pid: str
    queues: str
    born_at: datetime | None
    seen_at: datetime | None
    succeeded: int
    failed: int
    working_seconds: float
    rq_job_ids: Sequence[str] = ()


def queue_at(index: int) -> RQQueue:
    """django-rq numbers queues in the order of their names. Raises Http404."""
    names = sorted(broker.queue_names())
    if not 0 <= index < len(names):
        raise Http404("There is no such queue.")
    return RQQueue(names[index], connection=broker.quick(), serializer=JSONSerializer)


def index_of(queue_name: str) -> int:
    return sorted(broker.queue_names()).index(queue_name)


def registry_of(queue: RQQueue, kind: str) -> BaseRegistry:
    return REGISTRIES[kind](queue.name, connection=queue.connection, serializer=JSONSerializer)


def counts(queue: RQQueue) -> dict[str, int]:
    """Jobs by kind, and workers."""
    numbers = {kind: registry_of(queue, kind).get_job_count(cleanup=False) for kind in REGISTRIES}
    return {"queued": queue.count, **numbers, "workers": live_workers(queue)}


def live_workers(queue: RQQueue) -> int:
    """Workers of the queue that still beat; the set that names them keeps the dead until somebody cleans up."""
    keys = queue.connection.smembers(WORKERS_BY_QUEUE_KEY % queue.name)
    return int(queue.connection.exists(*keys)) if keys else 0


def job_ids(queue: RQQueue, kind: str, start: int, length: int) -> list[str]:
    """RQ ids of one page, newest first except for what waits."""
    if kind == "queued":
        return list(queue.get_job_ids(start, length))
    registry = registry_of(queue, kind)
    if isinstance(registry, StartedJobRegistry):
        keys = registry.get_job_and_execution_ids(start, start + length - 1, cleanup=False)
        return [job_id for job_id, _execution in keys]
    return list(registry.get_job_ids(start, start + length - 1, desc=True, cleanup=False))


def jobs(queue: RQQueue, ids: Sequence[str]) -> list[RQJob]:
    """Those of the ids that Redis still has, in order."""
    found = RQJob.fetch_many(list(ids), connection=queue.connection, serializer=JSONSerializer)
    return [job for job in found if job is not None]


def job_of(queue: RQQueue, rq_id: str) -> RQJob:
    """Raises Http404."""
    try:
        return RQJob.fetch(rq_id, connection=queue.connection, serializer=JSONSerializer)
    except (NoSuchJobError, ValueError):
        raise Http404("Redis has no such job.") from None


def ledger_id(rq_id: str) -> str:
    """The ledger's id of a dispatch, where there is such a row. Raises Http404."""
    try:
        job_id, _dispatch = queues.parse_rq_id(rq_id)
    except ValueError:
        raise Http404("That job is not one of the ledger's.") from None
    if not Job.objects.filter(pk=job_id).exists():
        raise Http404("The ledger has no such job.")
    return job_id


def ledger_ids(found: Sequence[RQJob]) -> dict[str, str]:
    """By RQ id, the ledger's id of those jobs that have a row."""
    split = {job.id: job.id.rpartition("-")[0] for job in found}
    known = set(Job.objects.filter(pk__in=split.values()).values_list("pk", flat=True))
    return {rq_id: job_id for rq_id, job_id in split.items() if job_id in known}


def workers_of(queue: RQQueue) -> list[WorkerLine]:
    keys = sorted(key.decode() for key in queue.connection.smembers(WORKERS_BY_QUEUE_KEY % queue.name))
    with queue.connection.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hgetall(key)
        return [_worker(key, raw) for key, raw in zip(keys, pipeline.execute(), strict=True) if raw]


def worker_at(queue: RQQueue, key: str) -> WorkerLine:
    """Raises Http404 for a key that is not one of a worker, or that is gone."""
    name = key.removeprefix(WORKER_PREFIX)
    if name == key or ":" in name:
        raise Http404("There is no such worker.")
    raw = queue.connection.hgetall(key)
    if not raw:
        raise Http404("There is no such worker.")
    executions = queue.connection.smembers(f"rq:worker:{name}:executions")
    return _worker(key, raw, [member.decode().split(":")[0] for member in executions])


def executions_of(queue: RQQueue, start: int, length: int) -> list[Execution]:
    registry = StartedJobRegistry(queue.name, connection=queue.connection, serializer=JSONSerializer)
    found = []
    for job_id, execution_id in registry.get_job_and_execution_ids(start, start + length - 1, cleanup=False):
        try:
            found.append(Execution.fetch(id=execution_id, job_id=job_id, connection=queue.connection))
        except ValueError:
            continue  # it ended while the page was made
    return found


def _worker(key: str, raw: dict[bytes, bytes], rq_job_ids: Sequence[str] = ()) -> WorkerLine:
    text = {name.decode(): value.decode(errors="replace") for name, value in raw.items()}
    return WorkerLine(
        key=key,
        name=key.removeprefix(WORKER_PREFIX),
        state=text.get("state", "?"),
        host=text.get("hostname", ""),
        pid=text.get("pid", ""),
        queues=text.get("queues", "").replace(",", ", "),
        born_at=_time(text.get("birth")),
        seen_at=_time(text.get("last_heartbeat")),
        succeeded=int(text.get("successful_job_count", 0)),
        failed=int(text.get("failed_job_count", 0)),
        working_seconds=float(text.get("total_working_time", 0)),
        rq_job_ids=rq_job_ids,
    )


def _time(text: str | None) -> Any:
    return utcparse(text) if text else None
