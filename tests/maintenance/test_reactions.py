"""What follows when something goes wrong with a job, and that a queue waits too long."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from maintenance import attempts, ledger, long_waits, reactions, reconciler
from maintenance.attempts import Ending, Execution
from maintenance.ledger import Failure
from maintenance.logs import ContextFilter
from maintenance.models import Attempt, CacheEntry, Job, new_job_id
from maintenance.reactions import REACTIONS, Event, JobNews, LongWait
from maintenance.tables import Queue
from tests.maintenance import jobs
from tests.maintenance.batch_jobs import batch_step
from tests.services import Valkey
from tests.source import ROOT, rows
from tests.test_documents import code_in

Outcome = Attempt.Outcome
FOR_GOOD = Failure("no", "It cannot work.", permanent=True)

told: list[JobNews | LongWait] = []


def note(news: JobNews | LongWait) -> None:
    told.append(news)


def breaks(news: JobNews | LongWait) -> None:
    raise RuntimeError("a bad reaction")


@pytest.fixture(autouse=True)
def _noted(valkey: Valkey, transactional_db: None, settings: Settings) -> None:
    told.clear()
    cache.clear()
    settings.REACTIONS = {event.value: [f"{__name__}.note"] for event in Event}


def claim(row: Job) -> Execution:
    row.refresh_from_db()
    execution = attempts.claim(row.pk, row.dispatch, lease_token=new_job_id(), worker="w")
    assert execution
    return execution


def end(row: Job, outcome: Outcome, failure: Failure | None = None) -> None:
    assert attempts.finish(claim(row), Ending(outcome=outcome, failure=failure))


def events() -> list[str]:
    return [news.event.value for news in told]


def test_every_event_has_its_line_in_the_table_and_in_the_document() -> None:
    assert set(REACTIONS) == set(Event)
    documented = rows(ROOT / "docs" / "job-lifecycle.md", "Reactions")
    assert [code_in(row[0])[0] for row in documented] == [event.value for event in Event]


def test_an_error_is_told_with_its_next_attempt_and_at_last_as_a_failure() -> None:
    row = batch_step.tagged("conversation:7").enqueue(number=1)
    end(row, Outcome.FAILED, Failure("odd", "It was odd."))
    end(row, Outcome.TIMEOUT, Failure("timeout", "It took too long."))
    again, last = told
    assert isinstance(again, JobNews)
    assert isinstance(last, JobNews)
    assert (again.event, again.code, again.message, again.attempts) == (Event.JOB_RETRYING, "odd", "It was odd.", 1)
    assert (last.event, last.code, last.attempts, last.not_before) == (Event.JOB_FAILED, "timeout", 2, None)
    assert (last.job_id, last.name, last.queue, last.tags) == (row.pk, "batch_step", "default", ["conversation:7"])
    assert last.arguments == {"number": 1}
    with pytest.raises(FrozenInstanceError):
        last.code = "other"  # type: ignore[misc]


def test_the_next_attempt_is_told_with_its_time() -> None:
    row = jobs.always_fails.enqueue(path="")
    end(row, Outcome.FAILED)
    row.refresh_from_db()
    (news,) = told
    assert isinstance(news, JobNews)
    assert news.not_before == row.not_before


def test_each_death_of_a_worker_is_told_and_the_last_as_poison() -> None:
    row = jobs.write_line.enqueue(path="", text="")
    for _ in range(row.max_recoveries):
        claim(row)
        Job.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        reconciler.end_expired()
    assert events() == ["worker_lost", "worker_lost", "worker_lost", "poison", "job_failed"]


def test_what_is_cancelled_or_handed_back_or_succeeds_is_no_news() -> None:
    row = jobs.write_line.enqueue(path="", text="")
    end(row, Outcome.HANDED_BACK)
    end(row, Outcome.SUCCEEDED)
    other = jobs.write_line.enqueue(path="", text="")
    end(other, Outcome.CANCELLED, Failure("cancelled", "Stopped.", permanent=True))
    ledger.cancel(jobs.write_line.enqueue(path="", text="").pk)
    assert told == []


def test_nothing_is_told_of_what_was_not_committed() -> None:
    execution = claim(jobs.write_line.enqueue(path="", text=""))
    with transaction.atomic():
        attempts.finish(execution, Ending(outcome=Outcome.FAILED, failure=FOR_GOOD))
        assert told == []
        transaction.set_rollback(True)
    assert told == []


def test_a_bad_reaction_stops_neither_the_others_nor_the_job(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REACTIONS = {"job_failed": [f"{__name__}.breaks", "no.such.module", f"{__name__}.note"]}
    row = jobs.write_line.enqueue(path="", text="")
    end(row, Outcome.FAILED, FOR_GOOD)
    row.refresh_from_db()
    assert row.status == "failed"
    assert events() == ["job_failed"]
    assert [record.getMessage() for record in caplog.records if record.exc_info] == [
        f"the reaction {__name__}.breaks to job_failed failed",
        "the reaction no.such.module to job_failed failed",
    ]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the log has of the reactions: level, text and context."""
    caplog.handler.addFilter(ContextFilter())

    def read() -> list[str]:
        records = [record for record in caplog.records if record.name == reactions.__name__]
        return [f"{record.levelname} {record.getMessage()}{vars(record)['context']}" for record in records]

    return read


def test_a_failure_is_one_line_of_the_log_with_the_ids_it_is_about(lines: Callable[[], list[str]]) -> None:
    news = JobNews(
        event=Event.JOB_FAILED, job_id="j1", name="process_turn", queue="default", arguments={"run_id": 5, "text": "x"},
        tags=["conversation:7", "urgent"], attempts=1, recoveries=0, code="timeout", message="It took too long.",
    )  # fmt: skip
    reactions.log(news)
    assert lines() == ["ERROR job_failed: process_turn: timeout: It took too long. job=j1 run=5 conversation=7"]


def test_the_first_attempts_of_a_job_are_warnings(lines: Callable[[], list[str]]) -> None:
    row = batch_step.enqueue(number=1)
    end(row, Outcome.FAILED, Failure("odd", "It was odd."))
    end(row, Outcome.FAILED, Failure("odd", "It was odd."))
    assert lines() == [
        f"WARNING job_retrying: batch_step: odd: It was odd. job={row.pk}",
        f"ERROR job_failed: batch_step: odd: It was odd. job={row.pk}",
    ]


def wait(row: Job, seconds: float) -> None:
    then = timezone.now() - timedelta(seconds=seconds)
    Job.objects.filter(pk=row.pk).update(created_at=then)
    Job.objects.filter(pk=row.pk, pushed_at__isnull=False).update(pushed_at=then)


def test_a_queue_that_waits_too_long_is_told_once_in_five_minutes(lines: Callable[[], list[str]]) -> None:
    oldest, younger = (jobs.write_line.enqueue(path="", text="") for _ in range(2))
    wait(oldest, 90)
    wait(younger, 70)
    assert long_waits.notice() == 1
    assert long_waits.notice() == 0
    (news,) = told
    assert isinstance(news, LongWait)
    assert (news.queue, news.job_id, news.limit_seconds) == ("default", oldest.pk, 60)
    assert 90 <= news.waited_seconds < 100
    assert lines() == [f"WARNING long_wait: in the queue default for 90 s, more than 60 s job={oldest.pk}"]
    CacheEntry.objects.update(expires_at=timezone.now())  # five minutes later
    assert long_waits.notice() == 1


def test_each_queue_has_its_own_limit_and_its_own_news() -> None:
    for queue in Queue:
        wait(jobs.write_line.on(queue).enqueue(path="", text=""), 100)
    assert long_waits.notice() == 2
    assert [news.queue for news in told] == ["high", "default"]


def test_a_job_that_never_reached_redis_waits_too(valkey: Valkey) -> None:
    valkey.stop()
    wait(jobs.write_line.enqueue(path="", text=""), 90)
    assert long_waits.notice() == 1


def test_what_waits_for_its_time_or_its_turn_makes_no_queue_slow() -> None:
    wait(jobs.write_line.after(timedelta(hours=1)).enqueue(path="", text=""), 90)
    running = jobs.write_line.limited("key", 1).enqueue(path="", text="")
    wait(jobs.write_line.limited("key", 1).enqueue(path="", text=""), 90)
    claim(running)
    wait(running, 90)
    assert long_waits.notice() == 0


def test_the_leader_notices() -> None:
    wait(jobs.write_line.enqueue(path="", text=""), 90)
    reconciler.Tick("the leader")()
    assert events() == ["long_wait"]


def test_a_job_that_is_only_in_redis_waits_too(settings: Settings) -> None:
    settings.QUEUE_CONNECTION = "redis"
    settings.QUEUE_WAIT_MAX_SECONDS = dict.fromkeys(Queue, 0)
    jobs.write_line.enqueue(path="", text="")
    assert not Job.objects.exists()
    assert long_waits.notice() == 1
    assert isinstance(told[0], LongWait)
    assert told[0].job_id == ""
