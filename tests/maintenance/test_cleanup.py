import ctypes
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django.fixtures import Settings

from maintenance import cleanup, jobs
from maintenance.access import audit, tokens
from maintenance.errors import Refusal
from maintenance.models import (
    ApiToken,
    Attempt,
    AuditEntry,
    Batch,
    CacheEntry,
    IdempotentRequest,
    Job,
    JobTag,
    ScheduleSlot,
)
from maintenance.sweep import BATCH, Sweep, silent
from tests.services import Valkey

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data(settings: Settings, tmp_path: Path) -> Path:
    """An empty data folder."""
    settings.DATA_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "uploads"
    return tmp_path


def put(path: Path, *, age: timedelta, text: str = "1234567") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return aged(path, age)


def aged(path: Path, age: timedelta) -> Path:
    moment = time.time() - age.total_seconds()
    os.utime(path, (moment, moment), follow_symlinks=False)
    return path


def clean(**options: Any) -> dict[str, Any]:
    return cleanup.clean(cleanup.TEMPORARY, **options)


def tally(report: dict[str, Any], section: str) -> tuple[int, int, int, int]:
    found = report["sections"][section]
    return found["removed"], found["bytes"], found["kept"], found["errors"]


def in_use(names: Sequence[str]) -> set[str]:
    """What a live row needs, as another app would say."""
    return {name for name in names if "needed" in name}


def breaks(names: Sequence[str]) -> set[str]:
    raise RuntimeError("the table is locked")


# Uploads


def test_temporary_uploads_are_removed_after_a_day(data: Path) -> None:
    old = put(data / "uploads/temp/a.png", age=25 * HOUR)
    deep = put(data / "uploads/temp/7/b.png", age=25 * HOUR)
    young = put(data / "uploads/temp/c.png", age=23 * HOUR)
    kept = put(data / "uploads/kept/d.png", age=900 * DAY)
    assert tally(clean(), "temporary_files") == (2, 14, 0, 0)
    assert [old.exists(), deep.exists(), young.exists(), kept.exists()] == [False, False, True, True]


def test_partial_files_are_removed_wherever_they_lie(data: Path) -> None:
    stray = [put(data / f"uploads/images/a{suffix}", age=2 * DAY) for suffix in cleanup.PARTIAL_SUFFIXES]
    young = put(data / "uploads/images/b.part", age=HOUR)
    assert tally(clean(), "temporary_files")[0] == 2
    assert young.exists()
    assert not any(path.exists() for path in stray)


def test_a_file_that_a_live_row_needs_stays(data: Path, settings: Settings) -> None:
    settings.FILES_IN_USE = [f"{__name__}.in_use"]
    needed = put(data / "uploads/temp/needed.png", age=9 * DAY)
    put(data / "uploads/temp/other.png", age=9 * DAY)
    assert tally(clean(), "temporary_files") == (1, 7, 1, 0)
    assert needed.exists()


def test_no_file_is_removed_where_nobody_can_say_what_is_needed(data: Path, settings: Settings) -> None:
    settings.FILES_IN_USE = [f"{__name__}.in_use", f"{__name__}.breaks"]
    upload = put(data / "uploads/temp/a.png", age=9 * DAY)
    old_log = put(data / "logs/web.log", age=90 * DAY)
    report = clean()
    assert report["broken"] == ["temporary_files"]
    assert upload.exists()
    assert not old_log.exists()


def test_no_link_is_followed_out_of_the_folder(data: Path) -> None:
    outside = put(data / "precious/a.png", age=9 * DAY)
    (data / "uploads/temp").mkdir(parents=True)
    links = [data / "uploads/temp/folder", data / "uploads/temp/a.png", data / "uploads/elsewhere"]
    for link, target in zip(links, (outside.parent, outside, outside.parent), strict=True):
        link.symlink_to(target)
        aged(link, 9 * DAY)
    assert tally(clean(), "temporary_files")[0] == 2
    assert outside.exists()
    assert [link.is_symlink() for link in links] == [False, False, True]


def test_a_temporary_folder_that_is_a_link_is_left_alone(data: Path) -> None:
    outside = put(data / "precious/a.png", age=9 * DAY)
    (data / "uploads").mkdir()
    (data / "uploads/temp").symlink_to(outside.parent)
    assert tally(clean(), "temporary_files") == (0, 0, 0, 0)
    assert outside.exists()


def test_uploads_may_lie_on_another_disk(data: Path, settings: Settings) -> None:
    upload = put(data / "disk/temp/a.png", age=9 * DAY)
    (data / "uploads").symlink_to(data / "disk")
    assert tally(clean(), "temporary_files")[0] == 1
    assert not upload.exists()


def test_empty_folders_go_once_they_are_old(data: Path) -> None:
    put(data / "uploads/temp/full/a.png", age=HOUR)
    for name in ("full", "empty"):
        (data / "uploads/temp" / name).mkdir(exist_ok=True)
        aged(data / "uploads/temp" / name, 9 * DAY)
    assert tally(clean(), "temporary_files") == (0, 0, 0, 0)
    assert sorted(path.name for path in (data / "uploads/temp").iterdir()) == ["full"]


@contextmanager
def nobody() -> Iterator[None]:
    """File permissions hold inside, also where the tests run as root."""
    set_user = ctypes.CDLL(None).setfsuid
    if os.geteuid() == 0:
        set_user(65534)
    try:
        yield
    finally:
        set_user(os.geteuid())


def test_f41_one_bad_file_does_not_stop_the_rest(settings: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:  # not pytest's own, which are for one user alone
        settings.MEDIA_ROOT = root = Path(folder)
        locked = put(root / "temp/locked/a.png", age=9 * DAY)
        put(root / "temp/open/b.png", age=9 * DAY)
        put(root / "temp/z.png", age=9 * DAY)
        (root / "temp/folder.png").mkdir()
        for path in (root, *root.rglob("*")):
            path.chmod(0o777)
        locked.parent.chmod(0o555)
        sweep = Sweep(["temporary_files"], dry_run=False, seconds=None, tell=silent)
        sweep.begin("temporary_files")
        with nobody():
            cleanup.temporary_files(sweep, timezone.now())
        assert locked.exists()
        locked.parent.chmod(0o777)
    report = sweep.report()
    assert tally(report, "temporary_files") == (2, 14, 0, 1)
    failure = {"section": "temporary_files", "item": "temp/locked/a.png", "error": "Permission denied"}
    assert report["failures"] == [failure]


def vanishing(names: Sequence[str]) -> set[str]:
    """Somebody else removes the file between look and deed."""
    Path(os.environ["VANISHING"]).unlink(missing_ok=True)
    return set()


def test_f41_a_file_that_vanishes_is_no_error(data: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FILES_IN_USE = [f"{__name__}.vanishing"]
    monkeypatch.setenv("VANISHING", str(put(data / "uploads/temp/a.png", age=9 * DAY)))
    put(data / "uploads/temp/b.png", age=9 * DAY)
    assert tally(clean(), "temporary_files") == (1, 7, 0, 0)


def test_f41_many_files_are_asked_about_in_batches(data: Path, settings: Settings) -> None:
    settings.FILES_IN_USE = [f"{__name__}.few_at_a_time"]
    for number in range(2 * BATCH + 1):
        put(data / f"uploads/temp/{number}", age=9 * DAY)
    report = clean()
    assert (report["broken"], tally(report, "temporary_files")[0]) == ([], 2 * BATCH + 1)


def few_at_a_time(names: Sequence[str]) -> set[str]:
    assert len(names) <= BATCH
    return set()


# Logs


def test_old_logs_are_removed_and_young_ones_stay(data: Path) -> None:
    old = [put(data / "logs" / name, age=15 * DAY) for name in ("model.log", "web.log.1", "web.log.2.gz")]
    kept = [put(data / "logs/web.log", age=13 * DAY), put(data / "logs/notes.txt", age=90 * DAY)]
    kept.append(put(data / "logs/archive/web.log", age=90 * DAY))
    assert tally(clean(), "log_files") == (3, 21, 0, 0)
    assert [path.exists() for path in (*old, *kept)] == [False] * 3 + [True] * 3


def test_a_log_that_is_open_stays_however_old(data: Path) -> None:
    path = put(data / "logs/web.log", age=90 * DAY)
    with path.open("a"):
        assert tally(clean(), "log_files") == (0, 0, 1, 0)
        assert path.exists()
    assert tally(clean(), "log_files") == (1, 7, 0, 0)


def test_a_log_that_is_a_link_stays_and_is_told(data: Path) -> None:
    outside = put(data / "precious/web.log", age=90 * DAY)
    (data / "logs").mkdir()
    (data / "logs/web.log").symlink_to(outside)
    aged(data / "logs/web.log", 90 * DAY)
    assert tally(clean(), "log_files") == (0, 0, 1, 1)
    assert outside.exists()


# Rows


def test_expired_cache_entries_are_removed() -> None:
    cache.set("fresh", 1, timeout=3600)
    cache.set("for-good", 1, timeout=None)
    CacheEntry.objects.create(key="stale", value=1, expires_at=timezone.now() - HOUR)
    assert tally(clean(), "cache_entries")[0] == 1
    assert (cache.get("fresh"), cache.get("for-good")) == (1, 1)


def test_expired_and_revoked_tokens_are_removed_and_live_ones_stay(alice: User) -> None:
    live, text = tokens.issue(alice, "live")
    tokens.issue(alice, "expired", lifetime=-HOUR)
    tokens.revoke(tokens.issue(alice, "revoked")[0])
    assert tally(clean(), "api_tokens")[0] == 2
    assert list(ApiToken.objects.all()) == [live]
    assert tokens.find(text) == live


def test_ended_sessions_and_old_answers_are_removed(alice: User, settings: Settings) -> None:
    for key, age in (("ended", HOUR), ("lives", -HOUR)):
        Session.objects.create(session_key=key, session_data="", expire_date=timezone.now() - age)
        row = IdempotentRequest.objects.create(user=alice, key=key, fingerprint="x")
        created = timezone.now() - timedelta(seconds=settings.IDEMPOTENCY_KEPT_SECONDS) - age
        IdempotentRequest.objects.filter(pk=row.pk).update(created_at=created)
    report = clean()
    assert (tally(report, "sessions")[0], tally(report, "idempotent_requests")[0]) == (1, 1)
    assert Session.objects.get().session_key == IdempotentRequest.objects.get().key == "lives"


def test_f41_rows_go_in_batches(django_assert_max_num_queries: Any) -> None:
    stale = [CacheEntry(key=f"{number}", value=0, expires_at=timezone.now() - HOUR) for number in range(2 * BATCH + 1)]
    CacheEntry.objects.bulk_create(stale)
    told: list[str] = []
    with django_assert_max_num_queries(7 + 8):
        report = clean(tell=lambda done, total, note: told.append(note))
    assert tally(report, "cache_entries")[0] == 2 * BATCH + 1
    assert f"cache entries: {2 * BATCH}" in told


# The whole


def test_a_dry_run_removes_nothing_and_counts_the_same(data: Path, alice: User) -> None:
    upload = put(data / "uploads/temp/a.png", age=9 * DAY)
    log = put(data / "logs/web.log", age=90 * DAY)
    tokens.issue(alice, "expired", lifetime=-HOUR)
    foretold = clean(dry_run=True)
    assert foretold["dry_run"] is True
    assert (upload.exists(), log.exists(), ApiToken.objects.count()) == (True, True, 1)
    done = clean()
    assert foretold["sections"] == done["sections"]
    assert (done["removed"], done["bytes"]) == (3, 14)


def test_an_empty_server_has_nothing_to_clean() -> None:
    report = clean()
    assert (report["removed"], report["errors"], report["broken"], report["unfinished"]) == (0, 0, [], False)


def test_what_its_time_does_not_suffice_for_is_left_for_the_next(data: Path) -> None:
    upload = put(data / "uploads/temp/a.png", age=9 * DAY)
    CacheEntry.objects.create(key="stale", value=1, expires_at=timezone.now() - HOUR)
    assert clean(seconds=-1.0)["unfinished"] is True
    assert upload.exists()
    assert CacheEntry.objects.exists()


def under_another(names: Sequence[str]) -> set[str]:
    with pytest.raises(Refusal, match="under way"):
        clean()
    return set()


def test_f41_two_clean_ups_do_not_run_at_once(data: Path, settings: Settings) -> None:
    settings.FILES_IN_USE = [f"{__name__}.under_another"]
    put(data / "uploads/temp/a.png", age=9 * DAY)
    assert clean()["broken"] == []
    assert clean()["broken"] == []


# History


def ended(status: str, days: int) -> Job:
    row = Job.objects.create(
        name="x", queue="low", max_attempts=1, timeout_seconds=1, status=status,
        finished_at=timezone.now() - days * DAY,
    )  # fmt: skip
    Attempt.objects.create(
        job=row, number=1, worker="w", host="h", pid=1, lease_token=row.pk, started_at=row.finished_at
    )
    JobTag.objects.create(job=row, tag="x")
    return row


def test_finished_jobs_go_after_a_month_and_failed_ones_after_three() -> None:
    gone = [ended("completed", 31), ended("cancelled", 31), ended("failed", 91)]
    kept = [ended("completed", 29), ended("failed", 89)]
    waiting = Job.objects.create(name="x", queue="low", max_attempts=1, timeout_seconds=1)
    Job.objects.filter(pk=waiting.pk).update(created_at=timezone.now() - 400 * DAY)
    report = cleanup.clean(cleanup.HISTORY)
    assert (tally(report, "jobs")[0], tally(report, "failed_jobs")[0]) == (2, 1)
    assert set(Job.objects.all()) == {*kept, waiting}
    assert {row.job_id for row in Attempt.objects.all()} == {row.pk for row in kept}
    assert not JobTag.objects.filter(job__in=[row.pk for row in gone]).exists()


def test_old_slots_go_but_the_newest_of_a_task_stays() -> None:
    job = ended("completed", 1)
    for task, ages in {"nightly": (1, 89, 91, 92), "yearly": (300, 665)}.items():
        for age in ages:
            due_at = timezone.now() - age * DAY
            ScheduleSlot.objects.create(task=task, due_at=due_at, result="fired", fired_by="x", job=job)
    assert tally(cleanup.clean(cleanup.HISTORY), "schedule_slots")[0] == 3
    left = [
        (slot.task, (timezone.now() - slot.due_at).days) for slot in ScheduleSlot.objects.order_by("task", "-due_at")
    ]
    assert left == [("nightly", 1), ("nightly", 89), ("yearly", 300)]


def test_the_audit_is_kept_for_good(alice: User) -> None:
    entry = audit.record("job.retry", "job:1", actor=alice)
    AuditEntry.objects.filter(pk=entry.pk).update(created_at=timezone.now() - 4000 * DAY)
    clean()
    cleanup.clean(cleanup.HISTORY)
    assert AuditEntry.objects.count() == 1


# As jobs


@pytest.mark.django_db(transaction=True)
def test_the_nightly_jobs_leave_their_report_on_their_rows(data: Path, work: Callable[[], list[str]]) -> None:
    put(data / "uploads/temp/a.png", age=9 * DAY)
    ended("completed", 31)
    rows = [jobs.clean_temporary_files.enqueue(), jobs.prune_history.enqueue()]
    assert work() == ["succeeded", "succeeded"]
    for row, total in zip(rows, (len(cleanup.TEMPORARY), len(cleanup.HISTORY)), strict=True):
        row.refresh_from_db()
        assert (row.queue, row.timeout_seconds, row.max_attempts) == ("low", 120, 3)
        assert (row.progress["done"], row.progress["total"], row.progress["report"]["removed"]) == (total, total, 1)
        assert row.progress["note"].startswith("1 removed")


def batch_of(*rows: Job, finished_at: datetime | None) -> Batch:
    batch = Batch.objects.create(name="b", total=len(rows), pending=0, finished_at=finished_at)
    Job.objects.filter(pk__in=[row.pk for row in rows]).update(batch=batch)
    return batch


def test_jobs_of_a_batch_stay_while_it_is_under_way_and_it_goes_with_the_last_of_them() -> None:
    """It counts them."""
    under_way = batch_of(ended("completed", 31), ended("failed", 91), finished_at=None)
    half_gone = batch_of(ended("completed", 31), ended("failed", 31), finished_at=timezone.now() - 31 * DAY)
    batch_of(ended("completed", 31), finished_at=timezone.now() - 31 * DAY)
    cleanup.clean(cleanup.HISTORY)
    assert {*Batch.objects.all()} == {under_way, half_gone}
    assert (under_way.jobs.count(), half_gone.jobs.count()) == (2, 1)


@pytest.mark.django_db(transaction=True)
def test_a_section_that_breaks_off_is_tried_again(
    data: Path, settings: Settings, valkey: Valkey, work: Callable[[], list[str]]
) -> None:
    settings.FILES_IN_USE = [f"{__name__}.breaks"]
    put(data / "uploads/temp/a.png", age=9 * DAY)
    row = jobs.clean_temporary_files.enqueue()
    assert work() == ["failed"]
    row.refresh_from_db()
    assert (row.status, row.progress["report"]["broken"]) == ("scheduled", ["temporary_files"])
    assert "temporary_files" in row.executions.get().message


# As a command


def told(*options: str) -> str:
    out = StringIO()
    call_command("clean_temporary_files", *options, stdout=out)
    return out.getvalue()


def test_the_command_prints_what_it_did(data: Path) -> None:
    put(data / "uploads/temp/a.png", age=9 * DAY)
    assert "1 would be removed, 7 bytes" in told("--dry-run")
    text = told()
    assert "1 removed, 7 bytes" in text
    assert text.splitlines()[0].split() == ["temporary_files", "1"]


def test_the_command_prints_json(data: Path) -> None:
    put(data / "uploads/temp/a.png", age=9 * DAY)
    report = json.loads(told("--dry-run", "--json"))
    assert (report["dry_run"], report["removed"]) == (True, 1)
    assert json.loads(told("--json"))["sections"]["temporary_files"]["bytes"] == 7


def test_the_command_ends_with_an_error_where_a_section_broke_off(data: Path, settings: Settings) -> None:
    settings.FILES_IN_USE = [f"{__name__}.breaks"]
    put(data / "uploads/temp/a.png", age=9 * DAY)
    with pytest.raises(CommandError, match="temporary_files"):
        told()
