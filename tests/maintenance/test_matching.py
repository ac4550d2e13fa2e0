"""Acting on every job that a selection means."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from maintenance import jobs, matching
from maintenance.errors import Invalid
from maintenance.models import Attempt, Job
from maintenance.selection import Selection
from tests.maintenance.commands import failed, waiting
from tests.services import Valkey

Work = Callable[[], list[str]]
DAY = timedelta(days=1)
pytestmark = pytest.mark.django_db


def ignore(report: matching.Report) -> None:
    """Few jobs need no progress."""


def statuses(*rows: Job) -> list[str]:
    return [Job.objects.get(pk=row.pk).status for row in rows]


def test_it_retries_what_failed_or_was_cancelled_and_nothing_else(valkey: Valkey) -> None:
    ended = [failed(), failed(status="cancelled")]
    others = [failed(status="completed"), waiting(), waiting(status="running")]
    report = matching.retry(Selection(), ignore)
    assert (report.done, report.refused.total()) == (2, 0)
    assert not {*statuses(*ended)} & {"failed", "cancelled"}
    assert statuses(*others) == ["completed", "queued", "running"]


def test_it_goes_part_by_part_and_tells_of_each(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "AT_ONCE", 2)
    for _ in range(5):
        failed()
    heard: list[int] = []
    matching.retry(Selection(status="failed"), lambda report: heard.append(report.seen))
    assert heard == [2, 4, 5]


def test_a_refusal_is_counted_and_the_rest_goes_on(valkey: Valkey) -> None:
    gone, good = failed(name="no_such_function"), failed()
    report = matching.retry(Selection(), ignore)
    assert report.done == 1
    assert report.in_words("queued again") == (
        "1 queued again, 1 refused: There is no job function no_such_function any more."
    )
    assert statuses(gone) == ["failed"]
    assert statuses(good) != ["failed"]


@pytest.mark.parametrize("name", matching.CONFIRMED)
def test_what_was_confirmed_once_is_not_run_again_among_others(name: str) -> None:
    row = failed(name=name)
    assert matching.retry(Selection(), ignore).refused.total() == 1
    assert statuses(row) == ["failed"]


def test_the_names_of_what_is_confirmed_are_those_of_the_jobs() -> None:
    assert set(matching.CONFIRMED) == {jobs.retry_matching.name, jobs.forget_matching.name}


def test_what_ends_later_than_it_was_confirmed_is_left_alone(valkey: Valkey) -> None:
    moment = timezone.now() - DAY
    old, new = failed(ago=2 * DAY), failed()
    assert matching.retry(Selection(before=moment), ignore).done == 1
    assert statuses(new) == ["failed"]
    assert statuses(old) != ["failed"]


def test_it_forgets_jobs_with_their_attempts() -> None:
    failed(error_fingerprint="a" * 16)
    kept = failed(error_fingerprint="b" * 16)
    assert matching.forget(Selection(fingerprint="a" * 16), ignore).done == 1
    assert [*Job.objects.all()] == [kept]
    assert [attempt.job for attempt in Attempt.objects.all()] == [kept]


def test_a_selection_comes_back_from_its_words() -> None:
    meant = Selection(status="failed", queue="low", tag="a:1", since=timezone.now() - DAY, before=timezone.now(),
                      fingerprint="f", words="it broke")  # fmt: skip
    assert Selection.restored(meant.stated()) == meant


@pytest.mark.parametrize("stated", [{"queue": "nowhere"}, {"status": "odd"}])
def test_a_selection_of_nothing_that_there_is_does_not_come_back(stated: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        Selection.restored(stated)


def progress_of(row: Job) -> Any:
    return Job.objects.get(pk=row.pk).progress


@pytest.mark.django_db(transaction=True)
def test_the_job_reports_how_far_it_is_and_what_was_refused(work: Work) -> None:
    broken = [failed(name="always_fails", arguments={"path": "/dev/null"}) for _ in range(3)]
    failed(name="no_such_function")
    row = jobs.retry_matching.enqueue(filters=Selection(status="failed", before=timezone.now()).stated())
    assert work().count("failed") == len(broken)
    assert progress_of(row)["report"] == {
        "done": 3, "refused": {"There is no job function no_such_function any more.": 1},
    }  # fmt: skip
    assert progress_of(row)["done"] == progress_of(row)["total"] == 4


@pytest.mark.django_db(transaction=True)
def test_nothing_that_matches_is_done_at_once(work: Work) -> None:
    row = jobs.forget_matching.enqueue(filters={"status": "failed"})
    assert work() == ["succeeded"]
    assert progress_of(row)["report"] == {"done": 0, "refused": {}}


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_job_stops_between_two_parts(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "AT_ONCE", 1)
    for _ in range(3):
        failed()
    row = jobs.forget_matching.enqueue(filters={"status": "failed"})
    Job.objects.filter(pk=row.pk).update(cancel_requested_at=timezone.now())
    work()
    assert Job.objects.filter(name="write_line").count() == 2
    row.refresh_from_db()
    assert (row.status, row.error) == ("cancelled", "cancelled: Cancelled with 1 forgotten.")


@pytest.mark.django_db(transaction=True)
def test_a_job_whose_time_is_nearly_over_goes_on_in_another_attempt(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "AT_ONCE", 1)
    monkeypatch.setattr(jobs, "SPARE_SECONDS", 10.0**9)
    for _ in range(2):
        failed()
    row = jobs.forget_matching.enqueue(filters={"status": "failed"})
    work()
    assert Job.objects.filter(name="write_line").count() == 1
    row.refresh_from_db()
    assert row.status == "scheduled"
