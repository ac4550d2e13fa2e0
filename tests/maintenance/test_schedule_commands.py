import json
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from maintenance import schedule
from maintenance.models import Job, ScheduleSlot
from maintenance.tables import Missed, Overlap, Task
from tests.services import Valkey

pytestmark = pytest.mark.django_db
TERMS = {"time_zone": "Europe/Berlin", "overlap": Overlap.SKIP, "missed": Missed.SKIP}


@pytest.fixture(autouse=True)
def _table(settings: Settings, valkey: Valkey) -> None:
    settings.SCHEDULE = (
        Task(name="often", cron="* * * * *", job="prune_history", **TERMS),
        Task(name="yearly", cron="30 2 1 1 *", job="clean_temporary_files", **TERMS),
    )


def run(*command: str) -> str:
    out = StringIO()
    call_command(*command, stdout=out)
    return out.getvalue()


def next_year() -> int:
    return (timezone.now() - timedelta(hours=1, minutes=30)).year + 1  # until half past one it is still to come


def test_the_list_shows_what_comes_and_what_was(alice: User) -> None:
    schedule.pause("yearly", alice, "until the audit is over")
    run("schedule_run")
    heading, often, yearly = run("schedule_list").splitlines()
    assert heading.split() == ["TASK", "CRON", "ZONE", "NEXT", "LAST", "RESULT", "PAUSED"]
    assert often.split()[0] == "often"
    assert "fired" in often
    assert f"{next_year()}-01-01 02:30" in yearly  # in the task's own zone
    assert yearly.endswith("by alice: until the audit is over")


def test_the_list_as_json(alice: User) -> None:
    schedule.pause("yearly", alice, "not now")
    often, yearly = json.loads(run("schedule_list", "--json"))
    assert (often["name"], often["cron"], often["time_zone"]) == ("often", "* * * * *", "Europe/Berlin")
    assert (often["last_at"], often["last_result"], often["paused"]) == (None, "", False)
    assert (yearly["paused"], yearly["paused_by"], yearly["paused_reason"]) == (True, "alice", "not now")
    assert yearly["next_at"] == f"{next_year()}-01-01T01:30:00Z"


def test_run_fires_what_is_due_and_says_so() -> None:
    text = run("schedule_run")
    row = Job.objects.get()
    assert text.startswith("often of ")
    assert text.rstrip().endswith(f"UTC: fired, job {row.pk}")
    assert ScheduleSlot.objects.get().fired_by == "cron"


def test_run_as_json() -> None:
    (slot,) = json.loads(run("schedule_run", "--json"))
    assert (slot["task"], slot["result"], slot["job_id"]) == ("often", "fired", Job.objects.get().pk)


def test_run_tells_of_slots_that_were_missed() -> None:
    due_at = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=9)
    ScheduleSlot.objects.create(task="often", due_at=due_at, result="fired", fired_by="x")
    results = [slot["result"] for slot in json.loads(run("schedule_run", "--json"))]
    assert (set(results[:-1]), results[-1]) == ({"missed"}, "fired")


def test_run_has_nothing_to_do_where_nothing_is_due(settings: Settings) -> None:
    settings.SCHEDULE = settings.SCHEDULE[1:]
    assert run("schedule_run") == "Nothing is due.\n"
    assert json.loads(run("schedule_run", "--json")) == []


@pytest.mark.django_db(transaction=True)
def test_run_ends_with_an_error_where_the_database_is_away() -> None:
    def away(*_: object) -> None:
        raise DatabaseError("no such host")

    with connection.execute_wrapper(away), pytest.raises(CommandError, match="does not answer"):
        run("schedule_run")


@pytest.mark.parametrize("command", ["schedule_list", "schedule_run", "clean_temporary_files"])
def test_an_unknown_option_is_refused(command: str) -> None:
    with pytest.raises(CommandError):
        call_command(command, "--sideways")
