import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django.fixtures import Settings

from chinese_worker.settings import SCHEDULE
from maintenance import checks, schedule
from maintenance.errors import Refusal
from maintenance.ledger import job
from maintenance.models import Job, ScheduleSlot
from maintenance.reconciler import Tick
from maintenance.tables import Missed, Overlap, Queue, Task
from tests.services import Valkey

TWO = datetime(2026, 5, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
Result = ScheduleSlot.Result

pytestmark = pytest.mark.django_db


@job(queue=Queue.LOW, timeout=timedelta(seconds=30), max_attempts=1)
def strike() -> None:
    """What the schedule of these tests enqueues."""


def task(**terms: Any) -> Task:
    usual = {
        "name": "nightly",
        "cron": "0 2 * * *",
        "time_zone": "UTC",
        "job": "strike",
        "overlap": Overlap.SKIP,
        "missed": Missed.SKIP,
    }
    return Task(**{**usual, **terms})


@pytest.fixture(autouse=True)
def table(settings: Settings, valkey: Valkey) -> Settings:
    settings.SCHEDULE = (task(),)
    return settings


def fired_at(moment: datetime, by: str = "leader") -> list[tuple[datetime, str]]:
    return [(slot.due_at, slot.result) for slot in schedule.fire_due(by, now=moment)]


def results() -> dict[datetime, str]:
    return dict(ScheduleSlot.objects.values_list("due_at", "result"))


def finish_all() -> None:
    Job.objects.update(status=Job.Status.COMPLETED, finished_at=timezone.now())


# Firing


def test_a_slot_that_is_due_enqueues_its_job_with_a_tag() -> None:
    assert fired_at(TWO + timedelta(seconds=3)) == [(TWO, Result.FIRED)]
    row = Job.objects.get()
    slot = ScheduleSlot.objects.get()
    assert (row.name, row.queue, row.tags) == ("strike", "low", ["schedule:nightly"])
    assert (slot.job, slot.fired_by, slot.due_at) == (row, "leader", TWO)


def test_a_slot_is_fired_once_however_often_somebody_looks() -> None:
    fired_at(TWO)
    finish_all()
    assert fired_at(TWO) == fired_at(TWO + timedelta(seconds=5), "cron") == []
    assert Job.objects.count() == 1


def test_the_next_slot_is_fired_again() -> None:
    fired_at(TWO)
    finish_all()
    assert fired_at(TWO + DAY) == [(TWO + DAY, Result.FIRED)]
    assert Job.objects.count() == 2


def test_nothing_is_fired_before_its_time() -> None:
    assert fired_at(TWO - timedelta(seconds=1)) == []
    assert not ScheduleSlot.objects.exists()


def test_a_new_task_has_missed_nothing() -> None:
    assert fired_at(TWO + timedelta(hours=9)) == []
    assert not ScheduleSlot.objects.exists()


def test_looking_costs_one_query_where_nothing_is_due(table: Settings) -> None:
    table.SCHEDULE = tuple(task(name=f"task-{number}", cron="*/5 * * * *") for number in range(8))
    fired_at(TWO)
    with CaptureQueriesContext(
        connection,
    ) as seen:
        assert fired_at(TWO + timedelta(minutes=4)) == []
    assert len(seen) == 1


def test_a_job_function_may_be_named_by_its_path(table: Settings) -> None:
    table.SCHEDULE = (task(job=f"{__name__}.strike"),)
    assert fired_at(TWO) == [(TWO, Result.FIRED)]
    assert Job.objects.get().name == "strike"


def test_a_task_that_cannot_be_fired_does_not_stop_the_others(table: Settings) -> None:
    table.SCHEDULE = (task(name="broken", job="nowhere"), task(name="mad", cron="often"), task())
    assert fired_at(TWO) == [(TWO, Result.FIRED)]
    assert list(ScheduleSlot.objects.values_list("task", flat=True)) == ["nightly"]


def test_a_slot_and_its_job_are_there_together_or_not_at_all(table: Settings) -> None:
    table.SCHEDULE = (task(job="nowhere"),)
    fired_at(TWO)
    assert not ScheduleSlot.objects.exists()
    table.SCHEDULE = (task(),)
    assert fired_at(TWO + timedelta(seconds=5)) == [(TWO, Result.FIRED)]


@pytest.mark.django_db(transaction=True)
def test_the_leader_fires_it(table: Settings) -> None:
    table.SCHEDULE = (task(cron="* * * * *"),)
    assert "maintenance.schedule.fire_due" in table.RECONCILERS
    table.RECONCILERS = ["maintenance.schedule.fire_due"]
    Tick("a leader")()
    assert ScheduleSlot.objects.get().fired_by == "leader"


@pytest.mark.django_db(transaction=True)
def test_leaders_and_cron_at_once_fire_a_slot_once(table: Settings) -> None:
    table.SCHEDULE = (task(overlap=Overlap.ALLOW), task(name="other", missed=Missed.RUN_ONCE))
    together = threading.Barrier(6)
    answers: list[list[tuple[datetime, str]]] = []

    def look(by: str) -> None:
        try:
            for day in range(5):
                together.wait()
                answers.append(fired_at(TWO + day * DAY, by))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=look, args=(by,)) for by in ("leader", "leader", "leader", "cron", "cron", "x")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 30
    assert ScheduleSlot.objects.count() == 10
    assert sum(map(len, answers)) == 10
    assert Job.objects.filter(tags=["schedule:nightly"]).count() == 5


# Overlap


def test_a_task_whose_last_job_still_runs_is_skipped() -> None:
    fired_at(TWO)
    assert fired_at(TWO + DAY) == [(TWO + DAY, Result.SKIPPED_OVERLAP)]
    assert Job.objects.count() == 1
    finish_all()
    assert fired_at(TWO + 2 * DAY) == [(TWO + 2 * DAY, Result.FIRED)]


def test_a_task_may_overlap_where_it_says_so(table: Settings) -> None:
    table.SCHEDULE = (task(overlap=Overlap.ALLOW),)
    fired_at(TWO)
    assert fired_at(TWO + DAY) == [(TWO + DAY, Result.FIRED)]
    assert Job.objects.count() == 2


# Missed slots


def test_slots_of_a_downtime_are_recorded_as_missed_and_not_made_up_for() -> None:
    fired_at(TWO)
    finish_all()
    back = TWO + 3 * DAY + timedelta(hours=5)
    assert fired_at(back) == [(TWO + number * DAY, Result.MISSED) for number in (1, 2, 3)]
    assert Job.objects.count() == 1
    assert fired_at(back + timedelta(seconds=5)) == []


def test_a_task_that_makes_up_for_a_downtime_runs_once(table: Settings) -> None:
    table.SCHEDULE = (task(missed=Missed.RUN_ONCE),)
    fired_at(TWO)
    finish_all()
    back = TWO + 3 * DAY + timedelta(hours=5)
    missed = [(TWO + number * DAY, Result.MISSED) for number in (1, 2)]
    assert fired_at(back) == [*missed, (TWO + 3 * DAY, Result.FIRED)]
    assert Job.objects.count() == 2
    assert fired_at(back + timedelta(seconds=5)) == []


def test_the_time_that_another_leader_needs_misses_nothing() -> None:
    fired_at(TWO)
    finish_all()
    assert fired_at(TWO + DAY + timedelta(seconds=90)) == [(TWO + DAY, Result.FIRED)]


def test_of_a_long_downtime_the_newest_slots_are_recorded(table: Settings) -> None:
    table.SCHEDULE = (task(cron="* * * * *"),)
    fired_at(TWO)
    finish_all()
    found = fired_at(TWO + 30 * DAY)
    assert found[-1] == (TWO + 30 * DAY, Result.FIRED)
    assert len(found) == schedule.MISSED_RECORDED + 1
    assert {result for _, result in found[:-1]} == {Result.MISSED}


def test_a_clock_that_was_wrong_does_not_silence_a_task() -> None:
    fired_at(TWO + 3650 * DAY)
    finish_all()
    assert fired_at(TWO + DAY) == [(TWO + DAY, Result.FIRED)]


def test_a_task_in_the_spring_gap_is_fired_once(table: Settings) -> None:
    table.SCHEDULE = (task(cron="30 2 * * *", time_zone="Europe/Berlin"),)
    moment, end = datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 30, 3, tzinfo=UTC)
    while moment < end:
        moment += timedelta(minutes=15)
        fired_at(moment)
        finish_all()
    gap = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert results() == {gap: Result.FIRED, gap + timedelta(hours=23, minutes=30): Result.FIRED}


# What an operator does


def test_a_paused_task_lets_its_slots_pass(alice: User) -> None:
    schedule.pause("nightly", alice, "the disk is full")
    assert fired_at(TWO) == [(TWO, Result.SKIPPED_PAUSED)]
    assert schedule.resume("nightly", alice) is True
    assert fired_at(TWO + timedelta(minutes=1)) == []
    assert fired_at(TWO + DAY) == [(TWO + DAY, Result.FIRED)]
    assert schedule.resume("nightly", alice) is False


def test_pausing_again_changes_the_reason(alice: User, bob: User) -> None:
    schedule.pause("nightly", alice, "why not")
    schedule.pause("nightly", bob, "the disk is full")
    (shown,) = schedule.upcoming()
    assert (shown.paused, shown.paused_by, shown.paused_reason) == (True, "bob", "the disk is full")


def test_run_now_enqueues_at_once_in_the_name_of_who_asked(alice: User) -> None:
    schedule.pause("nightly", alice, "by day only")
    row = schedule.run_now("nightly", alice)
    slot = ScheduleSlot.objects.get()
    assert (row.created_by, row.tags) == (alice, ["schedule:nightly"])
    assert (slot.job, slot.fired_by, slot.result) == (row, "alice", Result.FIRED)


def test_run_now_refuses_while_the_last_job_has_not_ended(alice: User) -> None:
    schedule.run_now("nightly", alice)
    with pytest.raises(Refusal) as refused:
        schedule.run_now("nightly", alice)
    assert refused.value.code == "still_running"
    assert (Job.objects.count(), ScheduleSlot.objects.count()) == (1, 1)


def test_a_slot_that_comes_while_run_now_is_at_work_is_skipped(alice: User) -> None:
    schedule.run_now("nightly", alice)
    assert fired_at(TWO + 3650 * DAY)[-1] == (TWO + 3650 * DAY, Result.SKIPPED_OVERLAP)


VERBS: list[Callable[[str, User], object]] = [
    schedule.run_now,
    lambda name, by: schedule.pause(name, by, "because"),
    schedule.resume,
]


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_task_is_refused(verb: Callable[[str, User], object], alice: User) -> None:
    with pytest.raises(Refusal) as refused:
        verb("weekly", alice)
    assert (refused.value.code, refused.value.status_code) == ("not_found", 404)


def test_upcoming_tells_what_comes_and_what_was(table: Settings) -> None:
    table.SCHEDULE = (task(), task(name="never", cron="0 0 30 2 *"))
    fired_at(TWO)
    nightly, never = schedule.upcoming(TWO + timedelta(hours=1))
    assert (nightly.name, nightly.cron, nightly.time_zone) == ("nightly", "0 2 * * *", "UTC")
    assert (nightly.next_at, nightly.last_at, nightly.last_result) == (TWO + DAY, TWO, Result.FIRED)
    assert (nightly.last_job_id, nightly.paused) == (Job.objects.get().pk, False)
    assert (never.next_at, never.last_at, never.last_result) == (None, None, "")


# The table


def test_the_schedule_of_the_project_holds_the_nightly_jobs(settings: Settings) -> None:
    nightly = {("clean_temporary_files", "0 2 * * *"), ("prune_history", "0 3 * * *")}
    assert {(one.name, one.cron) for one in SCHEDULE} >= nightly
    settings.SCHEDULE = SCHEDULE
    assert checks.schedule_terms(None) == []


@pytest.mark.parametrize(
    "terms",
    [{"cron": "often"}, {"cron": "0 0 30 2 *"}, {"time_zone": "Nowhere"}, {"job": "nowhere"}, {"job": "os.path"}],
)
def test_a_task_that_can_never_be_fired_is_found_at_the_start(terms: dict[str, str], table: Settings) -> None:
    table.SCHEDULE = (task(name="good"), task(**terms))
    (found,) = checks.schedule_terms(None)
    assert (found.id, "nightly" in found.msg) == ("maintenance.E010", True)


def test_two_tasks_of_one_name_are_found_at_the_start(table: Settings) -> None:
    table.SCHEDULE = (task(), task(cron="0 5 * * *"))
    assert {found.id for found in checks.schedule_terms(None)} == {"maintenance.E010"}


def test_a_retention_of_nothing_is_found_at_the_start(settings: Settings) -> None:
    assert checks.retention(None) == []
    settings.LOG_KEPT_DAYS = 0
    assert [found.id for found in checks.retention(None)] == ["maintenance.E011"]
