"""What workers that died left in Redis: dispatches they took, and RQ's books about jobs they had begun."""

import logging

from redis.exceptions import RedisError

from maintenance import queues
from maintenance.models import Job
from maintenance.tables import Queue

logger = logging.getLogger(__name__)

# Dispatches without a row that were seen taken on the last pass: with the driver `redis` a row comes with the claim.
_seen: set[str] = set()


def sweep() -> int:
    """Remove what is neither running nor waiting to start; put back what was taken and never started. How many."""
    queues.forget_dead_workers()
    unstarted: set[str] = set()
    swept = sum(_sweep(queue.value, unstarted) for queue in Queue)
    _seen.clear()
    _seen.update(unstarted)
    return swept


def _sweep(name: str, unstarted: set[str]) -> int:
    found = set(queues.leftovers(name))
    if not found:
        return 0
    rows = Job.objects.filter(pk__in=[rq_job_id.rpartition("-")[0] for rq_job_id in found])
    known = {pk: (dispatch, status) for pk, dispatch, status in rows.values_list("pk", "dispatch", "status")}
    swept = 0
    for rq_job_id in found:
        job_id, _, dispatch = rq_job_id.rpartition("-")
        if job_id not in known:
            swept += _without_row(name, rq_job_id, unstarted)
        elif known[job_id] not in [(int(dispatch), status) for status in (Job.Status.QUEUED, Job.Status.RUNNING)]:
            queues.sweep(name, rq_job_id)
            swept += 1
    return swept


def _without_row(name: str, rq_job_id: str, unstarted: set[str]) -> bool:
    if queues.whole_call(rq_job_id) is None:
        queues.sweep(name, rq_job_id)
        return True
    if rq_job_id in _seen:
        logger.warning("dispatch %s was taken and not started; it goes back to its queue", rq_job_id)
        queues.put_back(name, rq_job_id)
        return True
    unstarted.add(rq_job_id)
    return False


def lost(job_id: str) -> bool:
    """Whether a call that was sent to Redis alone is not there any more. False while Redis is away."""
    try:
        return not queues.known(queues.rq_id(job_id, 1))
    except RedisError:
        return False
