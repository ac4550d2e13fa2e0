"""Noticing that jobs wait longer than their queue allows."""

from datetime import datetime

from django.conf import settings
from django.core.cache import cache
from django.db.models import Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from maintenance import figures
from maintenance.models import Job
from maintenance.reactions import LongWait, announce
from maintenance.tables import Queue

REPEAT_SECONDS = 300


def notice() -> int:
    """Announce each queue whose oldest job has waited too long, once in five minutes. How many queues it were."""
    since = figures.waiting_since()
    return sum(_notice(queue, since[queue.value]) for queue in Queue if queue.value in since)


def _notice(queue: Queue, since: datetime) -> bool:
    limit = settings.QUEUE_WAIT_MAX_SECONDS[queue]
    waited = (timezone.now() - since).total_seconds()
    if waited <= limit or not cache.add(f"long_wait:{queue}", True, timeout=REPEAT_SECONDS):
        return False
    announce(LongWait(queue=queue.value, job_id=_oldest(queue), waited_seconds=waited, limit_seconds=limit))
    return True


def _oldest(queue: Queue) -> str:
    in_turn = Q(status=Job.Status.QUEUED) | Q(status=Job.Status.PENDING, concurrency_key="")
    waiting = Job.objects.filter(in_turn, queue=queue.value).order_by(Coalesce("pushed_at", "created_at"))
    return waiting.values_list("pk", flat=True).first() or ""
