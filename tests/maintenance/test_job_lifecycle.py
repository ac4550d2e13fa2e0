"""Every verb is tried on a job in every state, and the database itself notes what changes: docs/job-lifecycle.md
must say the same, no more and no less."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from redis.exceptions import RedisError

from maintenance import attempts, ledger, outbox, reconciler
from maintenance.attempts import Ending, Execution
from maintenance.errors import Refusal
from maintenance.ledger import Failure
from maintenance.models import Attempt, Job
from tests.maintenance import jobs
from tests.services import Valkey
from tests.source import ROOT, rows
from tests.test_documents import code_in

Outcome = Attempt.Outcome
FOR_GOOD = Failure("cannot_work", "It cannot work.", permanent=True)
STOPPED = Failure("cancelled", "Stopped.", permanent=True)
Verb = Callable[[Job], object]


class Moves:
    """What the database saw change: pairs of states."""

    def __enter__(self) -> "Moves":
        self._run("CREATE TEMP TABLE moves (origin text, target text)")
        self._run(
            "CREATE TEMP TRIGGER note_move AFTER UPDATE OF status ON main.jobs WHEN old.status <> new.status"
            " BEGIN INSERT INTO moves VALUES (old.status, new.status); END"
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._run("DROP TRIGGER note_move")
        self._run("DROP TABLE moves")

    def seen(self) -> set[tuple[str, str]]:
        return set(self._run("SELECT origin, target FROM moves"))

    def _run(self, statement: str) -> list[tuple[str, str]]:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


@pytest.fixture
def moves(transactional_db: None, valkey: Valkey) -> Iterator[Moves]:
    if connection.vendor != "sqlite":
        pytest.skip("the triggers of this test are SQLite's")
    with Moves() as noted:
        yield noted


def claim(job: Job) -> object:
    return attempts.claim(job.pk, job.dispatch, lease_token=job.pk, worker="w")


def finish(outcome: Outcome, failure: Failure | None = None) -> Verb:
    return lambda job: attempts.finish(Execution(job, job.pk), Ending(outcome=outcome, failure=failure))


def expire(job: Job) -> object:
    Job.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    return reconciler.end_expired()


def come_due(job: Job) -> object:
    Job.objects.filter(pk=job.pk, status=Job.Status.SCHEDULED).update(not_before=timezone.now())
    return outbox.relay()


def be_lost(job: Job) -> object:
    Job.objects.filter(pk=job.pk).update(pushed_at=timezone.now() - timedelta(hours=1))
    return outbox.recover_lost()


VERBS: dict[str, Verb] = {
    "push": lambda job: outbox.push(job.pk),
    "come due": come_due,
    "be lost in Redis": be_lost,
    "claim": claim,
    "cancel": lambda job: ledger.cancel(job.pk),
    "retry": lambda job: ledger.retry(job.pk),
    "succeed": finish(Outcome.SUCCEEDED),
    "fail": finish(Outcome.FAILED),
    "fail for good": finish(Outcome.FAILED, FOR_GOOD),
    "take too long": finish(Outcome.TIMEOUT),
    "be stopped": finish(Outcome.CANCELLED, STOPPED),
    "hand back": finish(Outcome.HANDED_BACK),
    "lose the worker": finish(Outcome.LOST),
    "use too much memory": finish(Outcome.MEMORY_LIMIT),
    "let the lease run out": expire,
}


def scheduled() -> Job:
    return jobs.always_fails.after(timedelta(hours=1)).enqueue(path="")


def queued() -> Job:
    return jobs.always_fails.enqueue(path="")


def after(*verbs: str) -> Callable[[], Job]:
    def make() -> Job:
        job = queued()
        for verb in verbs:
            job.refresh_from_db()
            VERBS[verb](job)
        return job

    return make


STATES: dict[str, Callable[[], Job]] = {
    "scheduled": scheduled,
    "queued": queued,
    "running": after("claim"),
    "completed": after("claim", "succeed"),
    "failed": after("claim", "fail for good"),
    "cancelled": after("cancel"),
}


def try_everything(state: str, make: Callable[[], Job]) -> None:
    for verb in VERBS.values():
        job = make()
        job.refresh_from_db()
        assert job.status == state
        with suppress(Refusal, RedisError):
            verb(job)


def test_the_document_has_every_change_of_state_and_no_other(moves: Moves, valkey: Valkey) -> None:
    for state, make in STATES.items():
        try_everything(state, make)
    valkey.stop()
    try_everything("pending", queued)  # what is enqueued while Redis is away stays pending
    table = rows(ROOT / "docs" / "job-lifecycle.md", "Transitions of a job")
    documented = {(origin, target) for row in table for origin in code_in(row[0]) for target in code_in(row[1])}
    assert moves.seen() == documented
