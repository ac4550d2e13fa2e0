"""The only user of RQ: carrying a dispatch of a job to its queue, and looking at what Redis holds.

RQ moves work; the ledger remembers it. An RQ job carries no more than "please try job J, dispatch N": whoever
executes it must claim exactly that dispatch in the ledger first, so a copy too many does nothing.
"""

import logging
from functools import lru_cache

from redis.exceptions import ConnectionError, TimeoutError
from rq import Queue as RQQueue
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer
from rq.worker_registration import WORKERS_BY_QUEUE_KEY as WORKERS_BY_QUEUE_KEY

from maintenance import broker
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


def carry(job: Job) -> None:
    """Put this dispatch of the job into its queue. Raises RedisError; then it may or may not be there.

    `unique` makes a second copy impossible: a client that lost the reply and tries again finds the job present.
    """
    try:
        _queue(job.queue).enqueue(
            PERFORM,
            kwargs={"job_id": job.pk, "dispatch": job.dispatch},
            job_id=rq_id(job.pk, job.dispatch),
            unique=True,
            description=f"{job.name}({', '.join(f'{k}={v}' for k, v in job.arguments.items())})"[:200],
            job_timeout=job.timeout_seconds + 60,
            result_ttl=0,
            failure_ttl=FAILED_KEPT_SECONDS,
        )
    except DuplicateJobError:
        logger.debug("dispatch %s of job %s is in Redis already", job.dispatch, job.pk)


def waiting_ids(name: str) -> set[str]:
    """RQ ids that wait in a queue, those just taken by a worker included."""
    queue = _queue(name)
    with broker.quick().pipeline(transaction=False) as pipeline:
        pipeline.lrange(queue.key, 0, -1)
        pipeline.lrange(queue.intermediate_queue_key, 0, -1)
        waiting, taken = pipeline.execute()
    return {raw.decode() for raw in (*waiting, *taken)}


def sizes() -> dict[str, int]:
    """Jobs waiting in Redis, by queue."""
    names = broker.queue_names()
    with broker.quick().pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.llen(_queue(name).key)
        return dict(zip(names, pipeline.execute(), strict=True))


def worker_counts() -> dict[str, int]:
    """Workers that are registered for each queue."""
    names = broker.queue_names()
    with broker.quick().pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.scard(WORKERS_BY_QUEUE_KEY % name)
        return dict(zip(names, pipeline.execute(), strict=True))


def drop(job: Job) -> None:
    """Remove what Redis holds of the job's present dispatch. Raises RedisError."""
    name = rq_id(job.pk, job.dispatch)
    queue = _queue(job.queue)
    with broker.quick().pipeline(transaction=False) as pipeline:
        pipeline.lrem(queue.key, 0, name)
        pipeline.delete(f"rq:job:{name}")
        pipeline.execute()
