"""The reconciler's part on pulls: whatever happened to jobs and workers, no pull stays unfinished without a job."""

import logging
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from maintenance.ledger import Failure
from maintenance.models import Job, new_job_id
from models_registry import jobs
from models_registry.models import Pull
from models_registry.pulling import transitions

logger = logging.getLogger(__name__)

Status = Pull.Status
# A transaction under way elsewhere may be about to end it.
SETTLED = timedelta(seconds=15)
BATCH = 200


def reconcile() -> None:
    """Pulls whose job has ended or is gone get what it came to, or a new job."""
    unfinished = Job.objects.filter(pk=OuterRef("job_id"), status__in=Job.UNFINISHED)
    now = timezone.now()
    stranded = Pull.objects.filter(~Exists(unfinished), status__in=Pull.UNFINISHED, created_at__lt=now - SETTLED)
    for pull in stranded.order_by("pk")[:BATCH]:
        job = Job.objects.filter(pk=pull.job_id).first()
        if job is None or (job.finished_at and job.finished_at < now - SETTLED):
            _settle(pull, job)


@transaction.atomic
def _settle(pull: Pull, job: Job | None) -> None:
    if pull.status == Status.CANCELLING or (job and job.status == Job.Status.CANCELLED):
        transitions.end(pull.pk, Status.CANCELLED, origin=Pull.UNFINISHED)
    elif job and job.status == Job.Status.FAILED:
        code, _, message = job.error.partition(": ")
        jobs.fail_pull(Failure(code or "job_failed", message or "The job failed."), pull_id=pull.pk)
    else:
        _revive(pull)


def _revive(pull: Pull) -> None:
    new_id = new_job_id()
    found = Pull.objects.filter(pk=pull.pk, job_id=pull.job_id, status__in=(Status.QUEUED, Status.RUNNING))
    if not found.update(job_id=new_id, status=Status.QUEUED, lease_token=""):
        return
    logger.warning("pull %s had no job; it gets a new one", pull.pk)
    pull.job_id = new_id
    jobs.enqueue_pull(pull)
