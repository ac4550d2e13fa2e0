from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from maintenance import executor, progress
from maintenance.ledger import job
from maintenance.models import Job
from maintenance.tables import Queue

Work = Callable[[], list[str]]
seen: list[Any] = []


def written() -> Any:
    current = executor.current()
    assert current
    return Job.objects.get(pk=current.execution.job.pk).progress


@job(queue=Queue.LOW, timeout=timedelta(seconds=30), max_attempts=1)
def counts(*, to: int) -> None:
    """Reports each step, and notes what stands in its row then."""
    for number in range(to + 1):
        progress.report(number, to, f"step {number}")
        seen.append(written())


@job(queue=Queue.LOW, timeout=timedelta(seconds=30), max_attempts=1)
def measures() -> None:
    """Has something to show before it is done."""
    progress.report(0, None, "measuring")
    seen.append(written())
    progress.report(1, 3, result={"bytes": 7})
    seen.append(written())


@job(queue=Queue.LOW, timeout=timedelta(seconds=30), max_attempts=1)
def is_fenced_off() -> None:
    """Goes on reporting while another process holds its job."""
    current = executor.current()
    assert current
    row = Job.objects.filter(pk=current.execution.job.pk)
    seen.append(progress.report(1, 9))
    row.update(lease_token="another")
    seen.append(progress.report(9, 9))
    row.update(lease_token=current.execution.lease_token)


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


def test_progress_stands_in_the_row_of_the_job(work: Work) -> None:
    row = counts.enqueue(to=1)
    assert work() == ["succeeded"]
    row.refresh_from_db()
    assert row.progress == {"done": 1, "total": 1, "note": "step 1"}


def test_only_the_first_and_the_last_of_many_quick_steps_are_written(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 3600.0)
    counts.enqueue(to=50)
    work()
    assert [one["done"] for one in seen[:50]] == [0] * 50
    assert seen[50]["done"] == 50


def test_it_is_written_again_after_a_while(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    counts.enqueue(to=5)
    work()
    assert [one["done"] for one in seen] == [0, 1, 2, 3, 4, 5]


def test_the_next_job_of_the_same_process_begins_anew(work: Work) -> None:
    counts.enqueue(to=1)
    counts.enqueue(to=9)
    work()
    assert [one["total"] for one in seen] == [1] * 2 + [9] * 10


def test_a_result_is_written_at_once(work: Work) -> None:
    measures.enqueue()
    work()
    assert seen == [
        {"done": 0, "total": None, "note": "measuring"},
        {"done": 1, "total": 3, "note": "", "report": {"bytes": 7}},
    ]


def test_a_process_that_lost_its_lease_writes_nothing(work: Work) -> None:
    row = is_fenced_off.enqueue()
    work()
    row.refresh_from_db()
    assert seen == [True, False]
    assert row.progress["done"] == 1


def test_outside_of_a_job_there_is_nothing_to_write() -> None:
    assert progress.report(1, 2) is False
