"""One dispatch on its way through a worker: what the parent knows of it while the horse runs it."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime

from rq import Queue as RQQueue
from rq.executions import Execution
from rq.job import Job as RQJob
from rq.utils import now

from maintenance.attempts import Ending
from maintenance.ledger import Failure
from maintenance.models import Attempt

Outcome = Attempt.Outcome
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

    def ending(self, *, stopped: bool, memory_limit_bytes: int) -> Ending:
        """What the death of its horse was: the worker's own doing, for one of three reasons, or not."""
        if stopped:
            return Ending(outcome=Outcome.CANCELLED, failure=Failure("cancelled", "Stopped by an operator.", True))
        if self.over_memory_bytes:
            used, limit = self.over_memory_bytes // 2**20, memory_limit_bytes // 2**20
            text = f"The job used {used} MB; its worker's limit is {limit} MB."
            return Ending(outcome=Outcome.MEMORY_LIMIT, failure=Failure("memory_limit", text, True))
        if self.overdue:
            return Ending(outcome=Outcome.TIMEOUT, failure=Failure("timeout", "The job took too long."))
        return Ending(outcome=Outcome.LOST, failure=Failure("worker_lost", "The process that ran it died."))
