"""Noticing that jobs wait longer than their queue allows."""

from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.utils import timezone

from maintenance.models import Job
from maintenance.reactions import LongWait, announce
from maintenance.tables import Queue

REPEAT_SECONDS = 300


def notice() -> int:
    """Announce each queue whose oldest job has waited too long, once in five minutes. How many queues it were."""
    return sum(_notice(queue) for queue in Queue)


def _notice(queue: Queue) -> bool:
    limit = settings.QUEUE_WAIT_MAX_SECONDS[queue]
    now = timezone.now()
    late = _oldest(queue, now - timedelta(seconds=limit))
    if late is None or not cache.add(f"long_wait:{queue}", True, timeout=REPEAT_SECONDS):
        return False
    job, since = late
    waited = (now - since).total_seconds()
    announce(LongWait(queue=queue.value, job_id=job.pk, waited_seconds=waited, limit_seconds=limit))
    return True


def _oldest(queue: Queue, before: datetime) -> tuple[Job, datetime] | None:
    """In Redis; or not even there, unless it waits for a slot of its key: then it is not the queue that is slow."""
    rows = Job.objects.filter(queue=queue.value)
    queued = rows.filter(status=Job.Status.QUEUED, pushed_at__lt=before).order_by("pushed_at").first()
    pending = rows.filter(status=Job.Status.PENDING, concurrency_key="", created_at__lt=before)
    unpushed = pending.exclude(started_at__gte=before).order_by("created_at").first()
    found = [
        *([(queued, queued.pushed_at)] if queued and queued.pushed_at else []),
        *([(unpushed, unpushed.started_at or unpushed.created_at)] if unpushed else []),
    ]
    return min(found, key=lambda pair: pair[1], default=None)
