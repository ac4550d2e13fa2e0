"""Running commands as an operator does, in the test's own process, and jobs for them to find."""

import json
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any

from django.core.management import CommandError, call_command
from django.utils import timezone

from maintenance.models import Attempt, Job, JobTag


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


def manage(*words: str) -> Said:
    """`manage.py WORD…`"""
    out, err, code = StringIO(), StringIO(), 0
    try:
        call_command(*words, stdout=out, stderr=err)
    except SystemExit as end:
        code = int(end.code or 0)
    except CommandError as error:
        code = error.returncode
        err.write(str(error))
    return Said(code, out.getvalue(), err.getvalue())


def failed(
    *,
    name: str = "write_line",
    queue: str = "default",
    ago: timedelta = timedelta(0),
    exception: str = "",
    **fields: Any,
) -> Job:
    """A job that failed so long ago, in one attempt."""
    moment = timezone.now() - ago
    job = Job.objects.create(
        name=name, queue=queue, max_attempts=1, timeout_seconds=30, starts=1, attempts=1, started_at=moment,
        finished_at=moment, **{"status": "failed", "error": "job_failed: It broke.", "arguments": {}, **fields},
    )  # fmt: skip
    Attempt.objects.create(
        job=job, number=1, worker="w", host="h", pid=1, lease_token=job.pk, started_at=moment, finished_at=moment,
        outcome="failed", exception_class=exception or "builtins.RuntimeError", message="it broke",
        traceback="Traceback (most recent call last):\n  File x\nRuntimeError: it broke\n", run_seconds=0.5,
    )  # fmt: skip
    JobTag.objects.bulk_create(JobTag(job=job, tag=tag) for tag in job.tags)
    return job


def waiting(queue: str = "default", ago: timedelta = timedelta(0), **fields: Any) -> Job:
    """A job that was pushed so long ago."""
    job = Job.objects.create(
        **{"name": "write_line", "queue": queue, "max_attempts": 1, "timeout_seconds": 30, "status": "queued", **fields}
    )
    Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - ago, pushed_at=timezone.now() - ago)
    return job
