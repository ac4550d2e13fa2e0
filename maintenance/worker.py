"""The worker: RQ's, with a horse that stays, outcomes in the ledger, and nothing ever unpickled.

The parent takes dispatches from Redis, keeps RQ's own books (so that the django-rq pages are right), watches the
horse's time, and beats. The horse talks to the database. RQ's `perform_job`, its callbacks and its maintenance are not
used: they lose outcomes when a process dies.
"""

import logging
import secrets
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from django.conf import settings
from django.db import connections
from rq import Queue as RQQueue
from rq import Worker
from rq.exceptions import DequeueTimeout
from rq.executions import Execution
from rq.job import Job as RQJob
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import WorkerStatus

from maintenance import attempts, broker, executor, process, queues
from maintenance.attempts import Ending
from maintenance.horse import JOBS_PER_HORSE, Death, Horse
from maintenance.ledger import Failure
from maintenance.models import Attempt
from maintenance.reconciler import Tick

logger = logging.getLogger(__name__)

Outcome = Attempt.Outcome
# How long the job's own alarm may take to end it before the worker kills the horse.
KILL_GRACE_SECONDS = 10


class LedgerWorker(Worker):  # type: ignore[misc]
    """`manage.py rqworker QUEUE…` runs this class; it needs no flags."""

    max_connection_wait_time = 5.0
    log_result_lifespan = False
    log_job_description = False

    def __init__(self, *args: Any, label: str = "", **kwargs: Any) -> None:
        kwargs |= {"serializer": JSONSerializer, "worker_ttl": 30, "job_monitoring_interval": 5}
        super().__init__(*args, **kwargs)
        self._horse: Horse | None = None
        self._label = label or f"{','.join(self.queue_names())}/{self.name[:8]}"
        self._tick = Tick(f"{socket.gethostname()}/{self.name}")
        self._beat_due = 0.0

    # A short wait for jobs, so that stopping and ticking need no exception thrown into the middle of a pop.
    @property
    def dequeue_timeout(self) -> int:
        return 1

    def procline(self, message: str) -> None:
        """RQ's own titles are replaced by ours."""

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        self._horse = self._new_horse()  # before there are threads
        super().bootstrap(*args, **kwargs)

    def run_maintenance_tasks(self) -> None:
        """RQ's maintenance fails or repeats jobs on its own; the reconciler does that by the ledger."""
        self.last_cleaned_at = now()

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Finish the job in hand, then end. A second signal after a second ends at once."""
        self._shutdown_requested_date = now()
        self._stop_requested = True
        signal.signal(signal.SIGINT, self.request_force_stop)
        signal.signal(signal.SIGTERM, self.request_force_stop)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[RQJob, RQQueue] | None:
        """The next dispatch, or None when it is time to end."""
        self.set_state(WorkerStatus.IDLE)
        process.title(f"rqworker: {self._label} idle")
        idle_since = time.monotonic()
        while not self._stop_requested:
            self._between_jobs()
            with suppress(DequeueTimeout):
                return self._pop(timeout)
            if max_idle_time is not None and time.monotonic() - idle_since >= max_idle_time:
                return None
        return None

    def _pop(self, timeout: int | None) -> tuple[RQJob, RQQueue] | None:
        wait = 0.5
        while not self._stop_requested:
            try:
                popped: tuple[RQJob, RQQueue] | None = self.queue_class.dequeue_any(
                    self._ordered_queues,
                    timeout,
                    connection=self.connection,
                    job_class=self.job_class,
                    serializer=self.serializer,
                    death_penalty_class=self.death_penalty_class,
                )
                return popped
            except queues.AWAY as error:
                logger.warning("worker %s: Redis is away (%s)", self._label, type(error).__name__)
                time.sleep(wait)
                wait = min(2 * wait, self.max_connection_wait_time)
                self._tick()
        return None

    def _between_jobs(self) -> None:
        if time.monotonic() >= self._beat_due:
            self._beat_due = time.monotonic() + 5
            self._register()
        self._tick()
        if self._horse and self._horse.jobs >= JOBS_PER_HORSE:
            self._retire_horse()

    def _register(self) -> None:
        """Beat, and be known: after Redis lost its data a worker must write itself anew."""
        with suppress(*queues.AWAY), self.connection.pipeline() as pipeline:
            self.heartbeat(pipeline=pipeline)
            pipeline.hset(self.key, mapping=self.serialize())
            pipeline.sadd(self.redis_workers_keys, self.key)
            for queue in self.queues:
                pipeline.sadd(queues.WORKERS_BY_QUEUE_KEY % queue.name, self.key)
            pipeline.execute()

    def execute_job(self, job: RQJob, queue: RQQueue) -> None:
        """Have the horse run one dispatch, and keep RQ's books about it."""
        try:
            job_id, dispatch = queues.parse_rq_id(job.id)
        except ValueError:
            logger.error("RQ job %s is not of the ledger; it is dropped", job.id)
            job.delete()
            return
        execution = self.prepare_execution(job)
        job.started_at = now()
        process.title(f"rqworker: {self._label} {job_id}")
        outcome = self._ride(job, execution, job_id, dispatch)
        job.ended_at = now()
        self.executions.pop(execution.id, None)
        self._close_books(job, queue, execution, outcome)

    def _ride(self, job: RQJob, execution: Execution, job_id: str, dispatch: int) -> str:
        token = secrets.token_hex(16)
        order = {"job_id": job_id, "dispatch": dispatch, "lease_token": token}
        horse = self._horse or self._new_horse()
        if not horse.give(order):  # it died while idle
            self._bury(horse)
            horse = self._new_horse()
            horse.give(order)
        self._horse = horse
        try:
            return self._watch(horse, job, execution)
        except EOFError:
            return self._after_death(self._bury(horse), job_id, token, job)

    def _watch(self, horse: Horse, job: RQJob, execution: Execution) -> str:
        limit = self._kill_after(job)
        while True:
            answer = horse.wait(1.0)
            if answer is not None:
                return str(answer["outcome"])
            if limit is not None and (now() - job.started_at).total_seconds() > limit:
                horse.kill()
            if time.monotonic() >= self._beat_due:
                self._beat_due = time.monotonic() + 5
                with suppress(*queues.AWAY):
                    self.maintain_heartbeats(job, execution)
                self._register()
            self._tick()

    def _kill_after(self, job: RQJob) -> float | None:
        # `carry` gave RQ the job's own limit plus a minute.
        return float(job.timeout) - 60 + KILL_GRACE_SECONDS if settings.JOB_TIMEOUTS and job.timeout else None

    def _after_death(self, death: Death, job_id: str, token: str, job: RQJob) -> str:
        """The horse is dead: say in the ledger what it can no longer say itself."""
        limit = self._kill_after(job)
        timed_out = limit is not None and (now() - job.started_at).total_seconds() > limit
        if self._stopped_job_id == job.id:
            ending = Ending(outcome=Outcome.CANCELLED, failure=Failure("cancelled", "Stopped by an operator.", True))
        elif timed_out:
            ending = Ending(outcome=Outcome.TIMEOUT, failure=Failure("timeout", "The job took too long."))
        else:
            ending = Ending(outcome=Outcome.LOST, failure=Failure("worker_lost", "The process that ran it died."))
        words = Ending(**{**vars(ending), "detail": death.words, "peak_memory_bytes": death.peak_memory_bytes})
        try:
            attempts.lose(job_id, token, words)
        except Exception:
            logger.exception("job %s: its end is left to the reconciler", job_id)
        finally:
            connections.close_all()
        return words.outcome.value

    def _close_books(self, job: RQJob, queue: RQQueue, execution: Execution, outcome: str) -> None:
        """RQ's registries and counters. What goes wrong here costs nothing but a line on a page."""
        try:
            if outcome in (Outcome.SUCCEEDED, executor.NOT_CLAIMED):
                self.handle_job_success(job, queue, queue.started_job_registry, execution)
            else:
                self.handle_job_failure(job, queue, exc_string=outcome, execution=execution)
        except queues.AWAY:
            logger.warning("worker %s: RQ's books on job %s are not closed", self._label, job.id)

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        if self._horse:
            self._horse.kill(sig)

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """A second signal: take the horse down. The reconciler ends its job when the lease runs out."""
        if self._shutdown_requested_date and (now() - self._shutdown_requested_date).total_seconds() < 1:
            return
        self.kill_horse()
        raise SystemExit(1)

    def teardown(self) -> None:
        self._retire_horse()
        self._tick.resign()
        with suppress(*queues.AWAY):
            super().teardown()

    def _new_horse(self) -> Horse:
        return Horse(self.name, self._label)

    def _bury(self, horse: Horse) -> Death:
        self._horse = None
        return horse.bury()

    def _retire_horse(self) -> None:
        if self._horse:
            self._bury(self._horse)


def make_worker(names: Sequence[str], *, label: str = "", name: str | None = None) -> LedgerWorker:
    """A worker for these queues, in this order, with a connection that waits long."""
    connection = broker.patient()
    served = [RQQueue(str(queue), connection=connection, serializer=JSONSerializer) for queue in names]
    return LedgerWorker(served, connection=connection, name=name, label=label)
