from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from maintenance.errors import Invalid
from maintenance.models import Attempt, Job
from maintenance.selection import Selection, count
from tests.maintenance.commands import failed, waiting

HOUR = timedelta(hours=1)


def chosen(**filters: Any) -> list[str]:
    return [job.pk for job in Selection(**filters).rows()]


@pytest.mark.django_db
def test_without_filters_it_is_every_job_newest_first() -> None:
    rows = [waiting(), failed(), waiting("low")]
    assert chosen() == [row.pk for row in reversed(rows)]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "filters",
    [
        {"status": "failed"},
        {"queue": "low"},
        {"name": "tidy"},
        {"tag": "conversation:7"},
        {"exception": "KeyError"},
        {"exception": "builtins.KeyError"},
        {"exception": "not_there"},
        {"since": timezone.now() - HOUR},
    ],
)
def test_each_filter_finds_what_it_names(filters: dict[str, Any]) -> None:
    waiting(ago=2 * HOUR)
    failed(queue="high", ago=2 * HOUR, tags=["conversation:70"], exception="tests.NoKeyError", status="completed")
    found = failed(
        name="tidy", queue="low", tags=["agent:1", "conversation:7"], exception="builtins.KeyError",
        error="not_there: It is gone.",
    )  # fmt: skip
    assert chosen(**filters) == [found.pk]


@pytest.mark.django_db
def test_filters_add_up() -> None:
    both = failed(queue="low", tags=["a:1"])
    failed(queue="low")
    failed(tags=["a:1"])
    assert chosen(queue="low", tag="a:1") == [both.pk]


@pytest.mark.django_db
def test_an_exception_is_that_of_the_last_attempt() -> None:
    job = failed(exception="builtins.KeyError")
    last = job.executions.get()
    Job.objects.filter(pk=job.pk).update(starts=2)
    Attempt.objects.create(
        job=job, number=2, worker="w", host="h", pid=1, lease_token="2", started_at=last.started_at,
        exception_class="builtins.OSError",
    )  # fmt: skip
    assert chosen(exception="KeyError") == []
    assert chosen(exception="OSError") == [job.pk]


@pytest.mark.django_db
def test_since_counts_from_the_end_or_where_there_is_none_from_the_beginning() -> None:
    old, new = waiting(ago=3 * HOUR), waiting()
    ended = failed()
    Job.objects.filter(pk=ended.pk).update(created_at=timezone.now() - 3 * HOUR)
    assert {*chosen(since=timezone.now() - HOUR)} == {ended.pk, new.pk}
    assert old.pk in chosen(since=timezone.now() - 4 * HOUR)


@pytest.mark.parametrize(("field", "value"), [("status", "broken"), ("queue", "slow")])
def test_it_refuses_a_status_or_queue_that_there_is_not(field: str, value: str) -> None:
    with pytest.raises(Invalid, match=f"no {field} {value!r}") as refused:
        Selection(**{field: value})
    assert refused.value.errors is not None
    assert list(refused.value.errors) == [field]


@pytest.mark.django_db
def test_it_counts_no_further_than_is_worth_waiting_for() -> None:
    for _ in range(4):
        waiting()
    rows = Job.objects.all()
    assert (str(count(rows, 3)), str(count(rows, 4)), str(count(rows.none()))) == ("3+", "4", "0")
