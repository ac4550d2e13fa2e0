"""The worker: RQ's, with a horse that stays, outcomes in the ledger, and nothing ever unpickled.

The parent takes dispatches from Redis, keeps RQ's own books (so that the django-rq pages are right), watches the
horse's time, and beats. The horse talks to the database. RQ's `perform_job`, its callbacks and its maintenance are not
used: they lose outcomes when a process dies.
"""

import logging
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from types import FrameType
from typing import Any

from django.db import connections
from rq import Queue as RQQueue
from rq import Worker
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.executions import Execution
from rq.job import Job as RQJob
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import WorkerStatus

from maintenance import attempts, broker, executor, pauses, process, queues
from maintenance.horse import JOBS_PER_HORSE, Death, Horse
from maintenance.models import Attempt
from maintenance.reconciler import Tick
from maintenance.ride import Ride
from maintenance.taking import Taker

logger = logging.getLogger(__name__)

Outcome = Attempt.Outcome
BEAT_SECONDS = 5
IDLE_WAIT_SECONDS = 1
AWAY_WAIT_SECONDS = 1
PAUSED_WAIT_SECONDS = 0.2
SHORT_JOB_SECONDS = 0.1


class LedgerWorker(Worker):  # type: ignore[misc]
    """`manage.py rqworker QUEUE…` runs this class; it needs no flags."""

    log_result_lifespan = False
    log_job_description = False

    def __init__(
        self, *args: Any, label: str = "", memory_mb: int = 0, paused: bool = False, mirrored: bool = False,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        kwargs |= {"serializer": JSONSerializer, "worker_ttl": 30, "job_monitoring_interval": 5}
        super().__init__(*args, **kwargs)
        self._horse: Horse | None = None
        self._in_pool = bool(label)
        self._label = label or f"{','.join(self.queue_names())}/{self.name[:8]}"
        # The master of a pool does this for its workers: it costs each of them a connection, and 10 MB of its own.
        self._tick = Tick("" if label else f"{socket.gethostname()}/{self.name}")
        self._memory_bytes = memory_mb * 1024 * 1024
        self._paused = paused
        self._taker = Taker(self.connection, self.queue_names(), pauses.mirror_from_worker, mirrored=mirrored)
        self._beat_due = 0.0

    def procline(self, message: str) -> None:
        """RQ's own titles are replaced by ours."""

    def bootstrap(self, *args: Any, **kwargs: Any) -> None:
        self._horse = self._new_horse()  # before there are threads
        super().bootstrap(*args, **kwargs)
        process.title(f"rqworker: {self._label} idle")

    def run_maintenance_tasks(self) -> None:
        """RQ's maintenance fails or repeats jobs on its own; the reconciler does that by the ledger."""
        self.last_cleaned_at = now()

    def check_for_suspension(self, burst: bool) -> None:
        """`rq suspend` stops everything; queues are paused one by one here, in the ledger."""

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """RQ beats around every job; every few seconds is enough."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
        elif time.monotonic() >= self._beat_due:
            self._register()

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Finish the job in hand, then end. Nothing is thrown into the middle of taking a job."""
        self._shutdown_requested_date = now()
        self._stop_requested = True
        # A pool's master kills who is late. It may ask after somebody who stops the whole control group: no hurry.
        again = signal.SIG_IGN if self._in_pool else self.request_force_stop
        signal.signal(signal.SIGINT, again)
        signal.signal(signal.SIGTERM, again)
        if self._horse:
            # A job that resumes elsewhere is not waited for.
            self._horse.kill(signal.SIGUSR1)

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()
        signal.signal(signal.SIGUSR2, lambda *_: self._pause(True))
        signal.signal(signal.SIGCONT, lambda *_: self._pause(False))

    def _pause(self, paused: bool) -> None:
        self._paused = paused

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """A second signal: take the horse down. The reconciler ends its job when the lease runs out."""
        if self._shutdown_requested_date and (now() - self._shutdown_requested_date).total_seconds() < 1:
            return
        self.kill_horse()
        raise SystemExit(1)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[str, RQQueue] | None:
        """RQ id and queue of the next dispatch, or None when it is time to end."""
        idle_since = time.monotonic()
        while not self._stop_requested:
            self._between_jobs()
            if self._paused:
                time.sleep(PAUSED_WAIT_SECONDS)
            elif taken := self._take(0 if timeout is None else IDLE_WAIT_SECONDS):
                name, rq_job_id = taken
                return rq_job_id, next(queue for queue in self.queues if queue.name == name)
            if timeout is None or (max_idle_time is not None and time.monotonic() - idle_since >= max_idle_time):
                return None
        return None

    def _take(self, wait_seconds: int) -> tuple[str, str] | None:
        try:
            return self._taker.take(wait_seconds)
        except queues.AWAY as error:
            logger.warning("worker %s: Redis is away (%s)", self._label, type(error).__name__)
            time.sleep(AWAY_WAIT_SECONDS)
            return None

    def _between_jobs(self) -> None:
        self.heartbeat()
        self._tick()
        if self._horse and (self._horse.jobs >= JOBS_PER_HORSE or self._too_large(self._horse)):
            self._retire_horse()

    def _too_large(self, horse: Horse) -> bool:
        return bool(self._memory_bytes) and horse.resident_bytes > self._memory_bytes

    def _register(self) -> None:
        """Beat, and be known: after Redis lost its data a worker must write itself anew."""
        self._beat_due = time.monotonic() + BEAT_SECONDS
        with suppress(*queues.AWAY), self.connection.pipeline() as pipeline:
            super().heartbeat(pipeline=pipeline)
            pipeline.hset(self.key, mapping=self.serialize())
            pipeline.sadd(self.redis_workers_keys, self.key)
            for queue in self.queues:
                pipeline.sadd(queues.WORKERS_BY_QUEUE_KEY % queue.name, self.key)
            pipeline.execute()

    def execute_job(self, rq_job_id: str, queue: RQQueue) -> None:
        """Have the horse run one dispatch, and keep RQ's books about it."""
        try:
            job_id, dispatch = queues.parse_rq_id(rq_job_id)
        except ValueError:
            logger.error("RQ job %.100r is not of the ledger; it is dropped", rq_job_id)
            queues.settle(self.connection, queue.name, rq_job_id)
            return
        process.title(f"rqworker: {self._label} {job_id}")
        ride = Ride(job_id, dispatch, rq_job_id, queue)
        self._close_books(ride, self._ride(ride))
        process.title(f"rqworker: {self._label} idle")

    def _ride(self, ride: Ride) -> str:
        """A horse may die before it has claimed the job, or after it has ended it: the next one sees which it was."""
        return self._try(ride) or self._try(ride) or Outcome.LOST.value

    def _try(self, ride: Ride) -> str | None:
        horse = self._horse or self._new_horse()
        if not horse.give(ride.order):  # it died while idle
            self._bury(horse)
            horse = self._new_horse()
            horse.give(ride.order)
        self._horse = horse
        try:
            return self._watch(horse, ride)
        except EOFError:
            return self._after_death(self._bury(horse), ride)

    def _watch(self, horse: Horse, ride: Ride) -> str:
        # Most jobs are over before it would be worth telling RQ that they began.
        patience = SHORT_JOB_SECONDS
        while True:
            answer = horse.wait(patience)
            if answer and "limit" in answer:
                ride.limit_seconds = answer["limit"]
                continue
            if answer:
                return str(answer["outcome"])
            patience = 1.0
            self._tell_rq(ride)
            if self._too_large(horse):
                ride.over_memory_bytes = horse.resident_bytes
            if ride.overdue or ride.over_memory_bytes:
                horse.kill()
            self._tick()

    def _tell_rq(self, ride: Ride) -> None:
        """Have the job in RQ's registry of started ones, and beat for it."""
        with suppress(*queues.AWAY, NoSuchJobError):
            if ride.execution is None:
                ride.rq_job = RQJob.fetch(ride.rq_job_id, self.connection, JSONSerializer)
                ride.rq_job.started_at = ride.started_at
                ride.execution = self.prepare_execution(ride.rq_job)
            elif ride.rq_job and time.monotonic() >= self._beat_due:
                self.maintain_heartbeats(ride.rq_job, ride.execution)
        if time.monotonic() >= self._beat_due:
            self._register()

    def _after_death(self, death: Death, ride: Ride) -> str | None:
        """The horse is dead: say in the ledger what it can no longer say itself. None where it did not have the job."""
        words = replace(
            ride.ending(stopped=self._stopped_job_id == ride.rq_job_id, memory_limit_bytes=self._memory_bytes),
            detail=death.words,
            peak_memory_bytes=max(death.peak_memory_bytes, ride.over_memory_bytes),
        )
        try:
            ended = attempts.lose(ride.job_id, ride.lease_token, words)
        except Exception:
            logger.exception("job %s: its end is left to the reconciler", ride.job_id)
            ended = True
        finally:
            connections.close_all()
        return words.outcome.value if ended or words.outcome == Outcome.CANCELLED else None

    def _close_books(self, ride: Ride, outcome: str) -> None:
        """RQ's registries and counters. What goes wrong here costs nothing but a line on a page."""
        try:
            if outcome in (Outcome.SUCCEEDED, executor.NOT_CLAIMED) and ride.execution is None:
                queues.settle(self.connection, ride.queue.name, ride.rq_job_id)
            else:
                self._close_long(ride, outcome)
        except queues.AWAY:
            logger.warning("worker %s: RQ's books on job %s are not closed", self._label, ride.rq_job_id)
        except (NoSuchJobError, InvalidJobOperation):
            logger.info("worker %s: RQ does not know job %s any more", self._label, ride.rq_job_id)

    def _close_long(self, ride: Ride, outcome: str) -> None:
        self._tell_rq(ride)
        queue, job, execution = ride.queue, ride.rq_job, ride.execution
        if job is None or execution is None:
            return
        job.ended_at = now()
        succeeded = outcome in (Outcome.SUCCEEDED, executor.NOT_CLAIMED)
        if succeeded:
            self._close_well(job, execution)
        else:
            self.executions.pop(execution.id, None)
            self.handle_job_failure(job, queue, exc_string=outcome, execution=execution)
            self.set_state(WorkerStatus.IDLE)
        queues.settle(self.connection, queue.name, job.id, keep=not succeeded)

    def _close_well(self, job: RQJob, execution: Execution) -> None:
        # RQ's own way looks for dependents, repeats and rate limits, which our jobs have not, in nine round trips; and
        # it raises where its record of the job is gone.
        with self.connection.pipeline() as pipeline:
            self.increment_successful_job_count(pipeline)
            self.increment_total_working_time(job.ended_at - job.started_at, pipeline)
            self.cleanup_execution(job, pipeline, execution)
            self.set_state(WorkerStatus.IDLE, pipeline)
            pipeline.execute()

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        if self._horse:
            self._horse.kill(sig)

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


def make_worker(names: Sequence[str], *, name: str | None = None, **options: Any) -> LedgerWorker:
    """A worker for these queues, in this order, with a connection that waits long. Options as of `LedgerWorker`."""
    connection = broker.patient()
    served = [RQQueue(str(queue), connection=connection, serializer=JSONSerializer) for queue in names]
    return LedgerWorker(served, connection=connection, name=name, **options)
