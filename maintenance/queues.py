"""The only user of RQ: carrying a dispatch of a job to its queue, and looking at what Redis holds.

RQ moves work; the ledger remembers it. An RQ job carries no more than "please try job J, dispatch N": whoever
executes it must claim exactly that dispatch in the ledger first, so a copy too many does nothing.
"""

import logging
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

import redis
from django.utils.dateparse import parse_datetime
from redis.exceptions import ConnectionError, TimeoutError
from rq import Queue as RQQueue
from rq.job import Job as RQJob
from rq.job import JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker_registration import WORKERS_BY_QUEUE_KEY as WORKERS_BY_QUEUE_KEY
from rq.worker_registration import clean_worker_registry

from maintenance import broker, taking
from maintenance.models import Job

logger = logging.getLogger(__name__)

AWAY = (ConnectionError, TimeoutError)
PERFORM = "maintenance.executor.perform"
# How long RQ keeps its own copy of a failed dispatch; the ledger keeps the outcome.
FAILED_KEPT_SECONDS = 24 * 3600


@lru_cache
def _queue(name: str) -> RQQueue:
    return RQQueue(name, connection=broker.quick(), serializer=JSONSerializer)


def forget() -> None:
    """Drop cached queues together with their connections."""
    _queue.cache_clear()
    broker.forget()


def rq_id(job_id: str, dispatch: int) -> str:
    return f"{job_id}-{dispatch}"


def parse_rq_id(text: str) -> tuple[str, int]:
    """Job id and dispatch number. Raises ValueError for an id that is not ours."""
    job_id, _, dispatch = text.rpartition("-")
    if not job_id:
        raise ValueError(f"{text!r} is not a dispatch of a ledger job")
    return job_id, int(dispatch)


def carry(job: Job, whole: Mapping[str, Any] | None = None) -> None:
    """Put this dispatch of the job into its queue. Raises RedisError; then it may or may not be there.

    `whole` is the call itself, for a job that has no row yet.

    A second copy is impossible: a client that lost the reply and tries again finds the job present.
    """
    rq_job = RQJob.create(
        PERFORM,
        kwargs={"job_id": job.pk, "dispatch": job.dispatch, **({"whole": whole} if whole else {})},
        connection=broker.quick(),
        id=rq_id(job.pk, job.dispatch),
        status=JobStatus.QUEUED,
        origin=job.queue,
        description=f"{job.name}({', '.join(f'{k}={v}' for k, v in job.arguments.items())})"[:200],
        timeout=job.timeout_seconds + 60,
        result_ttl=0,
        failure_ttl=FAILED_KEPT_SECONDS,
        serializer=JSONSerializer,
    )
    rq_job.enqueued_at = now()
    if not taking.put(broker.quick(), job.queue, rq_job.id, rq_job.to_dict()):
        logger.debug("dispatch %s of job %s is in Redis already", job.dispatch, job.pk)


def whole_call(rq_job_id: str) -> dict[str, Any] | None:
    """What `carry` was given as `whole`; None where Redis does not have it. Raises RedisError."""
    packed = cast("bytes | None", broker.patient().hget(f"rq:job:{rq_job_id}", "data"))
    try:
        whole = JSONSerializer.loads(zlib.decompress(packed or b""))[3]["whole"]
    except (zlib.error, ValueError, LookupError, TypeError):
        return None
    return whole if isinstance(whole, dict) else None


def known(rq_job_id: str) -> bool:
    """Whether Redis holds anything of this dispatch. Raises RedisError."""
    return bool(broker.quick().exists(f"rq:job:{rq_job_id}"))


def forget_dead_workers() -> None:
    """Take workers whose record has expired off RQ's lists, which its pages show. Raises RedisError."""
    for name in broker.queue_names():
        clean_worker_registry(_queue(name))


def put_back(name: str, rq_job_id: str) -> None:
    """A dispatch that a worker took and did not start goes to the head of its queue again. Raises RedisError."""
    with broker.quick().pipeline(transaction=True) as pipeline:
        pipeline.lrem(taking.taken_key(name), 0, rq_job_id)
        pipeline.lpush(taking.queue_key(name), rq_job_id)
        pipeline.execute()
    taking.wake(broker.quick(), name)


def waiting_ids(name: str) -> set[str]:
    """RQ ids that wait in a queue."""
    waiting = cast("list[bytes]", broker.quick().lrange(taking.queue_key(name), 0, -1))
    return {raw.decode(errors="replace") for raw in waiting}


def settle(connection: "redis.Redis", name: str, rq_job_id: str, *, keep: bool = False) -> None:
    """A dispatch is over: remove what is left of it in Redis; with `keep`, all but RQ's own record of the job."""
    with connection.pipeline(transaction=False) as pipeline:
        pipeline.lrem(taking.taken_key(name), 1, rq_job_id)
        if not keep:
            pipeline.delete(f"rq:job:{rq_job_id}")
        pipeline.execute()


def leftovers(name: str) -> list[str]:
    """RQ ids that a worker took from this queue and has not settled: at work, or left by a worker that died."""
    started = StartedJobRegistry(name, connection=broker.quick()).key
    with broker.quick().pipeline(transaction=False) as pipeline:
        pipeline.lrange(taking.taken_key(name), 0, -1)
        pipeline.zrange(started, 0, -1)
        taken, begun = pipeline.execute()
    return [raw.decode(errors="replace").split(":")[0] for raw in (*taken, *begun)]


def sweep(name: str, rq_job_id: str) -> None:
    """Remove what a dead worker left of a dispatch."""
    connection = broker.quick()
    started = StartedJobRegistry(name, connection=connection).key
    begun = cast("list[bytes]", connection.zrange(started, 0, -1))
    for member in begun:
        if member.decode(errors="replace").startswith(rq_job_id):
            connection.zrem(started, member)
    settle(connection, name, rq_job_id)


def sizes() -> dict[str, int]:
    """Jobs waiting in Redis, by queue."""
    names = broker.queue_names()
    with broker.quick().pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.llen(_queue(name).key)
        return dict(zip(names, pipeline.execute(), strict=True))


@dataclass(frozen=True)
class Backlog:
    """What waits in one queue in Redis, and since when its first job does."""

    size: int
    since: datetime | None


def backlog() -> dict[str, Backlog]:
    """For each queue. Raises RedisError."""
    names = broker.queue_names()
    with broker.quick().pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.lindex(taking.queue_key(name), 0)
        heads = [raw.decode(errors="replace") if raw else "" for raw in pipeline.execute()]
        for name, head in zip(names, heads, strict=True):
            pipeline.llen(taking.queue_key(name))
            pipeline.hget(f"rq:job:{head}", "enqueued_at")
        answers = iter(pipeline.execute())
    return {name: Backlog(size, _moment(text)) for name, size, text in zip(names, answers, answers, strict=True)}


def _moment(text: bytes | None) -> datetime | None:
    return parse_datetime(text.decode(errors="replace")) if text else None


def withdraw(jobs: Iterable[Job]) -> None:
    """Take jobs that wait out of their queues, all at once. Raises RedisError."""
    with broker.quick().pipeline(transaction=False) as pipeline:
        for job in jobs:
            name = rq_id(job.pk, job.dispatch)
            pipeline.lrem(taking.queue_key(job.queue), 1, name)
            pipeline.delete(f"rq:job:{name}")
        pipeline.execute()


def drop(job: Job) -> None:
    """Remove what Redis holds of the job's present dispatch. Raises RedisError."""
    name = rq_id(job.pk, job.dispatch)
    broker.quick().lrem(taking.queue_key(job.queue), 0, name)
    settle(broker.quick(), job.queue, name)
