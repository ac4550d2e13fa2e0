"""The schedule: the tasks of SCHEDULE, fired when they are due, and what an operator does to them.

A slot is one time at which a task was due. Whoever fires it inserts its row in the transaction that enqueues its job,
so the leader, a second leader and cron may all try at once. The newest slot that is due decides whether there is a job
now; older ones passed while nobody looked, and are recorded as missed.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from maintenance import ledger
from maintenance.cron import Cron
from maintenance.errors import Refusal
from maintenance.ledger import JobFunction
from maintenance.models import Job, ScheduledTask, ScheduleSlot, new_job_id
from maintenance.tables import Missed, Overlap, Task

logger = logging.getLogger(__name__)

Result = ScheduleSlot.Result

# A slot that old was missed: electing another leader, or restarting everything, takes less.
ON_TIME = timedelta(minutes=2)
# How far a task without any history looks back: what was due before it came was not missed.
FIRST_LOOK = timedelta(minutes=1)
# Of a long absence, so many slots of a task are recorded, the newest.
MISSED_RECORDED = 100


@dataclass(frozen=True, kw_only=True)
class Upcoming:
    """A task as it stands now. `next_at` is None where no calendar has such a day; `last_…` are of its newest slot."""

    name: str
    job: str
    cron: str
    time_zone: str
    overlap: Overlap
    missed: Missed
    next_at: datetime | None
    last_at: datetime | None
    last_result: str
    last_fired_by: str
    last_job_id: str | None
    paused: bool
    paused_at: datetime | None
    paused_by: str
    paused_reason: str


def tasks() -> list[Task]:
    """The table, in its order."""
    return list(settings.SCHEDULE)


def named(name: str) -> Task:
    """Raises Refusal for an unknown name."""
    for task in tasks():
        if task.name == name:
            return task
    raise Refusal(f"There is no task {name!r} in the schedule.", code="not_found", status_code=404)


def cron_of(task: Task) -> Cron:
    """Raises ValueError."""
    return Cron(task.cron, task.time_zone)


def function_of(task: Task) -> JobFunction[Any]:
    """What it enqueues. Raises ValueError where there is no such job function."""
    found: object = ledger.function_named(task.job)
    if found is None and "." in task.job:
        try:
            found = import_string(task.job)
        except ImportError:
            found = None
    if not isinstance(found, JobFunction):
        raise ValueError(f"{task.job!r} is no job function")
    return found


def faults(task: Task) -> list[str]:
    """Why it can never be fired; none where all is well."""
    found = []
    try:
        if cron_of(task).after(timezone.now()) is None:
            found.append(f"no day is ever {task.cron!r}")
    except ValueError as error:
        found.append(str(error))
    try:
        function_of(task)
    except ValueError as error:
        found.append(str(error))
    return found


def fire_due(by: str = "leader", *, now: datetime | None = None) -> list[ScheduleSlot]:
    """Deal with every slot that is due and was not dealt with: enqueue its job, or record why not.

    Answers with the slots that this call dealt with. Where nothing is due it costs one query.
    """
    moment = now or timezone.now()
    dealt_with: list[ScheduleSlot] = []
    for task in _unhandled(moment):
        try:
            dealt_with += _catch_up(task, moment, by)
        except Exception:
            # One task that cannot be fired is no reason to skip the others. It is tried again with the next pass.
            logger.exception("the scheduled task %s could not be fired", task.name)
    return dealt_with


def _unhandled(moment: datetime) -> list[Task]:
    latest = {task.name: due for task in tasks() if (due := _latest(task, moment))}
    slots = ScheduleSlot.objects.filter(task__in=latest, due_at__in=set(latest.values()))
    known = set(slots.order_by().values_list("task", "due_at"))
    return [task for task in tasks() if task.name in latest and (task.name, latest[task.name]) not in known]


def _latest(task: Task, moment: datetime) -> datetime | None:
    try:
        return cron_of(task).latest(moment)
    except ValueError as error:
        logger.error("the scheduled task %s is never due: %s", task.name, error)
        return None


def _catch_up(task: Task, moment: datetime, by: str) -> list[ScheduleSlot]:
    last = _last_slot(task.name, moment)
    since = last.due_at if last else moment - FIRST_LOOK
    due = cron_of(task).between(since, moment, at_most=MISSED_RECORDED + 1)
    if not due:
        return []
    missed = [ScheduleSlot(task=task.name, due_at=one, result=Result.MISSED, fired_by=by) for one in due[:-1]]
    ScheduleSlot.objects.bulk_create(missed, ignore_conflicts=True)
    slot = _deal_with(task, due[-1], moment - due[-1] > ON_TIME, by)
    return [*missed, *([slot] if slot else [])]


def _last_slot(name: str, moment: datetime) -> ScheduleSlot | None:
    # Not later than now: a clock that was wrong for a while must not silence the task until that time comes.
    return ScheduleSlot.objects.filter(task=name, due_at__lte=moment).order_by("-due_at").first()


@transaction.atomic
def _deal_with(task: Task, due_at: datetime, late: bool, by: str) -> ScheduleSlot | None:
    """The slot, or None where somebody else has it."""
    slot, ours = ScheduleSlot.objects.get_or_create(
        task=task.name, due_at=due_at, defaults={"result": _result(task, late), "fired_by": by}
    )
    if not ours:
        return None
    if slot.result == Result.FIRED:
        slot.job = _enqueue(task, due_at, None)
        slot.result = Result.FIRED if slot.job else Result.SKIPPED_OVERLAP
        slot.save(update_fields=["job", "result"])
    # cron mails what a command logs: what went as it should is no news.
    level = logging.DEBUG if slot.result == Result.FIRED else logging.INFO
    logger.log(level, "the scheduled task %s of %s: %s", task.name, due_at, slot.result)
    return slot


def _result(task: Task, late: bool) -> Result:
    if ScheduledTask.objects.filter(name=task.name, paused_at__isnull=False).exists():
        return Result.SKIPPED_PAUSED
    return Result.MISSED if late and task.missed == Missed.SKIP else Result.FIRED


def _enqueue(task: Task, due_at: datetime, by: User | None) -> Job | None:
    """Its job, or None where the last one has not ended and two must not overlap."""
    tag, job_id = f"schedule:{task.name}", new_job_id()
    key = tag if task.overlap == Overlap.SKIP else f"{tag}:{due_at:%Y-%m-%dT%H:%M:%S.%f}"
    job = function_of(task).tagged(tag).keyed(key).by(by).identified(job_id).enqueue()
    return job if job.pk == job_id else None


@transaction.atomic
def run_now(name: str, by: User | None) -> Job:
    """Enqueue its job at once, paused or not.

    Raises Refusal for an unknown name, and where the last job has not ended and two must not overlap.
    """
    task, now = named(name), timezone.now()
    job = _enqueue(task, now, by)
    if job is None:
        raise Refusal(f"The last job of {name} has not ended.", code="still_running")
    fired_by = by.get_username() if by else "command line"
    ScheduleSlot.objects.create(task=name, due_at=now, result=Result.FIRED, fired_by=fired_by, job=job)
    return job


def pause(name: str, by: User | None, reason: str) -> None:
    """Let its slots pass until it is resumed. Pausing it again changes the reason. Raises Refusal."""
    terms = {"paused_by": by, "paused_at": timezone.now(), "reason": reason.strip()[:500]}
    ScheduledTask.objects.update_or_create(name=named(name).name, defaults=terms)
    logger.info("the scheduled task %s was paused by %s: %s", name, by, reason)


def resume(name: str, by: User | None) -> bool:
    """Fire it again from its next slot on. False where it was not paused. Raises Refusal for an unknown name."""
    paused = ScheduledTask.objects.filter(name=named(name).name, paused_at__isnull=False)
    if not paused.update(paused_by=None, paused_at=None, reason=""):
        return False
    logger.info("the scheduled task %s was resumed by %s", name, by)
    return True


def upcoming(now: datetime | None = None) -> list[Upcoming]:
    """Every task, in the order of the table."""
    moment = now or timezone.now()
    paused = ScheduledTask.objects.filter(paused_at__isnull=False).select_related("paused_by").in_bulk()
    return [_upcoming(task, moment, _last_slot(task.name, moment), paused.get(task.name)) for task in tasks()]


def _upcoming(task: Task, moment: datetime, last: ScheduleSlot | None, pause: ScheduledTask | None) -> Upcoming:
    return Upcoming(
        name=task.name,
        job=task.job,
        cron=task.cron,
        time_zone=task.time_zone,
        overlap=task.overlap,
        missed=task.missed,
        next_at=cron_of(task).after(moment),
        last_at=last.due_at if last else None,
        last_result=last.result if last else "",
        last_fired_by=last.fired_by if last else "",
        last_job_id=last.job_id if last else None,
        paused=pause is not None,
        paused_at=pause.paused_at if pause else None,
        paused_by=pause.paused_by.get_username() if pause and pause.paused_by else "",
        paused_reason=pause.reason if pause else "",
    )
