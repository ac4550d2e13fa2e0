from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from maintenance import attempts, ledger
from maintenance.attempts import Ending
from maintenance.ledger import Call, job
from maintenance.models import Attempt, Job, new_job_id
from maintenance.tables import Queue
from tests.maintenance import jobs
from tests.services import Valkey

TERMS = {"queue": Queue.LOW, "timeout": timedelta(seconds=30)}


@job(**TERMS, max_attempts=5, back_off=[10, 60, 300])
def has_its_own_pauses() -> None:
    """Is tried again after 10 s, 60 s and 300 s, and 300 s again."""


def fail(row: Job) -> float:
    """Let its next attempt fail, and answer with the seconds until the one after."""
    Job.objects.filter(pk=row.pk).update(status="queued")
    execution = attempts.claim(row.pk, row.dispatch, lease_token=new_job_id(), worker="w")
    assert execution
    before = timezone.now()
    attempts.finish(execution, Ending(outcome=Attempt.Outcome.FAILED))
    row.refresh_from_db()
    assert row.not_before
    return (row.not_before - before).total_seconds()


def test_a_job_waits_for_its_moment(db: None) -> None:
    moment = timezone.now() + timedelta(days=1)
    row = jobs.write_line.at(moment).enqueue(path="", text="")
    assert (row.status, row.not_before) == ("scheduled", moment)


def test_a_moment_that_has_passed_is_now(valkey: Valkey, transactional_db: None) -> None:
    row = jobs.write_line.at(timezone.now() - timedelta(days=1)).enqueue(path="", text="")
    row.refresh_from_db()
    assert (row.status, row.not_before) == ("queued", None)


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        jobs.write_line.at(datetime(2030, 1, 1))


def test_of_moment_and_delay_the_last_one_counts() -> None:
    moment = timezone.now() + timedelta(days=1)
    assert jobs.write_line.after(timedelta(hours=1)).at(moment).row({}).not_before == moment
    delayed = jobs.write_line.at(moment).after(timedelta(hours=1)).row({}).not_before
    assert delayed
    assert delayed < moment


def test_a_declaration_can_say_how_long_the_pauses_are(valkey: Valkey, transactional_db: None) -> None:
    row = has_its_own_pauses.enqueue()
    row.refresh_from_db()
    assert [round(fail(row)) for _ in range(4)] == [10, 60, 300, 300]


def test_without_that_the_pause_doubles() -> None:
    assert [jobs.always_fails.pause(attempts).total_seconds() for attempts in (1, 2, 3)] == [10, 20, 40]


@pytest.mark.parametrize(("max_attempts", "back_off"), [(3, [-1]), (1, [10])])
def test_pauses_that_contradict_the_other_terms_fail_when_declared(max_attempts: int, back_off: list[int]) -> None:
    with pytest.raises(ValueError, match="pauses are not negative"):
        job(**TERMS, max_attempts=max_attempts, back_off=back_off)


def test_a_call_is_a_value_that_is_not_in_the_ledger(db: None) -> None:
    call = jobs.write_line.on(Queue.HIGH).call(path="p", text="t")
    assert call == Call(jobs.write_line.on(Queue.HIGH), {"path": "p", "text": "t"})
    row = call.row()
    assert (row.name, row.queue, row.arguments) == ("write_line", "high", {"path": "p", "text": "t"})
    assert not Job.objects.exists()


def test_a_call_has_named_arguments_only() -> None:
    with pytest.raises(TypeError, match="named arguments only"):
        jobs.write_line.call("p", "t")


def test_a_declaration_is_found_by_its_name() -> None:
    assert ledger.function_named("has_its_own_pauses") is has_its_own_pauses
    assert ledger.function_named("nothing") is None


@job(**TERMS, max_attempts=1, max_recoveries=2)
def survives_one_death() -> None:
    """Ends with the second death of its worker."""


def test_a_declaration_can_say_how_many_deaths_of_its_worker_end_a_job(valkey: Valkey, transactional_db: None) -> None:
    row = survives_one_death.enqueue()
    lost = Ending(outcome=Attempt.Outcome.LOST, failure=attempts.WORKER_LOST)
    seen = []
    for _ in range(2):
        row.refresh_from_db()
        execution = attempts.claim(row.pk, row.dispatch, lease_token=new_job_id(), worker="w")
        assert execution
        attempts.lose(row.pk, execution.lease_token, lost)
        row.refresh_from_db()
        seen.append(row.status)
    assert seen == ["queued", "failed"]
    assert row.error.startswith("poison")


def test_a_job_that_no_death_may_end_is_refused() -> None:
    with pytest.raises(ValueError, match="first death"):
        job(**TERMS, max_attempts=1, max_recoveries=0)
