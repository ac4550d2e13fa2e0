"""The schedule with real workers: whoever leads them fires it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from maintenance.models import Job, ScheduleSlot
from tests.acceptance.conftest import Workers
from tests.processes import until

pytestmark = pytest.mark.acceptance


def test_the_leader_makes_up_for_a_missed_night_and_a_worker_does_it(workers: Workers) -> None:
    night = timezone.now().replace(hour=2, minute=0, second=0, microsecond=0) - timedelta(days=3)
    ScheduleSlot.objects.create(task="clean_temporary_files", due_at=night, result="fired", fired_by="leader")
    completed = Job.objects.filter(name="clean_temporary_files", status="completed")
    until(completed.exists, seconds=60)
    row = completed.get()
    assert row.progress["report"]["broken"] == []
    assert row.executions.get().outcome == "succeeded"
    slots = ScheduleSlot.objects.filter(task="clean_temporary_files", due_at__gt=night)
    assert {slot.fired_by for slot in slots} == {"leader"}
    assert [slot.result for slot in slots[:2]] == ["fired", "missed"]
