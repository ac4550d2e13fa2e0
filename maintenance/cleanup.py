"""All retention on one page: what is removed, and when. The numbers are settings; `docs/configuration.md` has them.

What is not named here is kept until somebody deletes it. The audit is kept for good.
"""

import fcntl
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.module_loading import import_string

from maintenance.errors import Refusal
from maintenance.models import ApiToken, Batch, CacheEntry, IdempotentRequest, Job, ScheduleSlot
from maintenance.stale_files import Entry, Folder, is_open, remove_stale
from maintenance.sweep import Sweep, Tell, remove_rows, silent

Status = Job.Status

# An upload is written to this folder of MEDIA_ROOT, or under such a name, and renamed when it is complete and wanted.
TEMPORARY_FOLDER = "temp"
PARTIAL_SUFFIXES = (".part", ".partial")
LOG_FILE = re.compile(r"[^/]+\.log(\.\d+)?(\.gz)?")


@dataclass(frozen=True)
class Section:
    """One kind of thing that is removed; `clean` is told the sweep it belongs to and the time it began."""

    name: str
    clean: Callable[[Sweep, datetime], None]


def _rows(which: Callable[[datetime], QuerySet[Any, Any]]) -> Callable[[Sweep, datetime], None]:
    return lambda sweep, now: remove_rows(sweep, which(now))


def temporary_files(sweep: Sweep, now: datetime) -> None:
    """Uploads that nothing came of, and what no row owns: after TEMPORARY_KEPT_HOURS, unless a live row names them."""
    kept = timedelta(hours=settings.TEMPORARY_KEPT_HOURS)
    remove_stale(
        sweep, Folder(root=Path(settings.MEDIA_ROOT), older_than=now - kept, wanted=_is_temporary, needed=_used)
    )


def _is_temporary(path: str) -> bool:
    folder, _, inside = path.partition("/")
    owned = folder == TEMPORARY_FOLDER or folder in settings.OWNED_FOLDERS
    return (owned and bool(inside)) or path.endswith(PARTIAL_SUFFIXES)


def _used(_: int, entries: Sequence[Entry]) -> set[str]:
    names = [entry.path for entry in entries]
    return {name for path in settings.FILES_IN_USE for name in import_string(path)(names)} & set(names)


def log_files(sweep: Sweep, now: datetime) -> None:
    """Logs that nothing was written to for LOG_KEPT_DAYS, unless a process has them open."""
    kept = timedelta(days=settings.LOG_KEPT_DAYS)
    logs = Folder(
        root=Path(settings.DATA_DIR) / "logs",
        older_than=now - kept,
        wanted=lambda path: LOG_FILE.fullmatch(path) is not None,
        needed=partial(_open, sweep),
    )
    remove_stale(sweep, logs)


def _open(sweep: Sweep, folder: int, entries: Sequence[Entry]) -> set[str]:
    found = set()
    for entry in entries:
        try:
            if is_open(folder, entry.name):
                found.add(entry.path)
        except OSError as error:
            sweep.failed(entry.path, error)
            found.add(entry.path)
    return found


def _expired_cache(now: datetime) -> QuerySet[CacheEntry]:
    return CacheEntry.objects.filter(expires_at__lte=now)


def _ended_sessions(now: datetime) -> QuerySet[Session]:
    return Session.objects.filter(expire_date__lte=now)


def _dead_tokens(now: datetime) -> QuerySet[ApiToken]:
    return ApiToken.objects.filter(Q(expires_at__lte=now) | Q(revoked_at__isnull=False))


def _old_answers(now: datetime) -> QuerySet[IdempotentRequest]:
    kept = timedelta(seconds=settings.IDEMPOTENCY_KEPT_SECONDS)
    return IdempotentRequest.objects.filter(created_at__lt=now - kept)


# A batch that is under way counts its rows.
_UNDER_WAY = Q(batch__isnull=False, batch__finished_at__isnull=True)


def _ended_jobs(now: datetime) -> QuerySet[Job]:
    kept = timedelta(days=settings.JOB_HISTORY_DAYS)
    ended = Job.objects.filter(status__in=[Status.COMPLETED, Status.CANCELLED], finished_at__lt=now - kept)
    return ended.exclude(_UNDER_WAY)


def _failed_jobs(now: datetime) -> QuerySet[Job]:
    kept = timedelta(days=settings.JOB_FAILED_HISTORY_DAYS)
    return Job.objects.filter(status=Status.FAILED, finished_at__lt=now - kept).exclude(_UNDER_WAY)


def _empty_batches(now: datetime) -> QuerySet[Batch]:
    kept = timedelta(days=settings.JOB_HISTORY_DAYS)
    return Batch.objects.filter(~Exists(Job.objects.filter(batch=OuterRef("pk"))), finished_at__lt=now - kept)


def _old_slots(now: datetime) -> QuerySet[ScheduleSlot]:
    # The newest of each task stays: what was missed is counted from there.
    later = ScheduleSlot.objects.filter(task=OuterRef("task"), due_at__gt=OuterRef("due_at"))
    kept = timedelta(days=settings.SCHEDULE_HISTORY_DAYS)
    return ScheduleSlot.objects.filter(Exists(later), due_at__lt=now - kept)


def _of_other_apps(sweep: Sweep, now: datetime) -> None:
    """What apps above this one name in HISTORY_ROWS, by functions of the time."""
    for path in settings.HISTORY_ROWS:
        remove_rows(sweep, import_string(path)(now))


TEMPORARY = (
    Section("temporary_files", temporary_files),
    Section("log_files", log_files),
    Section("cache_entries", _rows(_expired_cache)),
    Section("sessions", _rows(_ended_sessions)),
    Section("api_tokens", _rows(_dead_tokens)),
    Section("idempotent_requests", _rows(_old_answers)),
)
# Attempts and tags of a job go with it.
HISTORY = (
    Section("jobs", _rows(_ended_jobs)),
    Section("failed_jobs", _rows(_failed_jobs)),
    Section("batches", _rows(_empty_batches)),  # after their jobs
    Section("schedule_slots", _rows(_old_slots)),
    Section("other_apps", _of_other_apps),
)


def clean(
    sections: Sequence[Section], *, dry_run: bool = False, seconds: float | None = None, tell: Tell = silent
) -> dict[str, Any]:
    """Remove what its time is over for, section by section, and report; see `Sweep` for the terms and the report.

    Raises Refusal while another clean-up runs on this machine.
    """
    now = timezone.now()
    sweep = Sweep([section.name for section in sections], dry_run=dry_run, seconds=seconds, tell=tell)
    with _alone():
        for section in sections:
            sweep.begin(section.name)
            try:
                section.clean(sweep, now)
            except Exception as error:
                sweep.broke_off(error)
    return sweep.report()


@contextmanager
def _alone() -> Iterator[None]:
    path = Path(settings.DATA_DIR) / "cleanup.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal("Another clean-up is under way.", code="under_way") from None
        yield
