"""What of the registry is removed when its time is over: see `maintenance/cleanup.py`."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q, QuerySet

from models_registry.models import Pull

Status = Pull.Status


def ended_pulls(now: datetime) -> QuerySet[Pull]:
    """Pulls are kept as long as the jobs that moved them."""
    kept, failed_kept = timedelta(days=settings.JOB_HISTORY_DAYS), timedelta(days=settings.JOB_FAILED_HISTORY_DAYS)
    done = Q(status__in=(Status.COMPLETED, Status.CANCELLED), finished_at__lt=now - kept)
    return Pull.objects.filter(done | Q(status=Status.FAILED, finished_at__lt=now - failed_kept))
