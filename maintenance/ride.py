"""One dispatch on its way through a worker: what the parent knows of it while the horse runs it."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime

from rq import Queue as RQQueue
from rq.executions import Execution
from rq.job import Job as RQJob
from rq.utils import now

# How long the job's own alarm may take to end it before the worker kills the horse.
KILL_GRACE_SECONDS = 10


@dataclass
class Ride:
    """`limit_seconds` comes from the horse once it has claimed the job; None means no limit, or not claimed yet.

    `rq_job` and `execution` stand for what RQ was told; None while it was told nothing. `over_memory_bytes` is what
    the horse used when it was ended for that.
    """

    job_id: str
    dispatch: int
    rq_job_id: str
    queue: RQQueue
    lease_token: str = field(default_factory=lambda: secrets.token_hex(16))
    started_at: datetime = field(default_factory=now)
    limit_seconds: float | None = None
    rq_job: RQJob | None = None
    execution: Execution | None = None
    over_memory_bytes: int = 0

    @property
    def order(self) -> dict[str, str | int]:
        """What the horse is told."""
        return {"job_id": self.job_id, "dispatch": self.dispatch, "lease_token": self.lease_token}

    @property
    def overdue(self) -> bool:
        """Whether the job's own alarm has had its chance."""
        if self.limit_seconds is None:
            return False
        return bool((now() - self.started_at).total_seconds() > self.limit_seconds + KILL_GRACE_SECONDS)
