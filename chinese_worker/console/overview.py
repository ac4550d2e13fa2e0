"""The figures of the front page, true now and from the database. Every query is bounded: see `COUNT_MAX`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Min, QuerySet
from django.utils import timezone
from redis.exceptions import RedisError

from chinese_worker.rq_dashboard import reading
from conversations.console import waiting
from conversations.models import Agent, Conversation, Run
from maintenance import broker, pauses
from maintenance.console.lists import COUNT_MAX
from maintenance.models import Job, QueuePause

LATEST = 6
Status = Job.Status


@dataclass(frozen=True)
class Figure:
    """One number with what it means. `query` filters the list that the figure links to."""

    title: str
    value: str
    note: str
    view: str
    query: str = ""
    alarming: bool = False


@dataclass(frozen=True)
class QueueLine:
    """A queue as the ledger and Redis see it. `workers` is None where Redis does not answer."""

    name: str
    waiting: int
    oldest: datetime | None
    workers: int | None
    paused: QueuePause | None


@dataclass(frozen=True)
class Figures:
    """Everything on the front page."""

    figures: Sequence[Figure]
    queues: Sequence[QueueLine]
    redis_away: bool
    failed: Sequence[Job]
    conversations: Sequence[Conversation]
    agent: Agent | None


def figures(user: User | AnonymousUser) -> Figures:
    """What the front page shows; records only where `user` may see them."""
    workers = _workers()
    return Figures(
        figures=_numbers(),
        queues=_queues(workers),
        redis_away=workers is None,
        failed=_failed() if user.has_perm("maintenance.view_job") else (),
        conversations=_latest_conversations() if user.has_perm("conversations.view_conversation") else (),
        agent=Agent.objects.filter(status=Agent.Status.ACTIVE).order_by("id").first(),
    )


def _numbers() -> list[Figure]:
    jobs = "maintenance_job_changelist"
    ready = sum(_count(Job.objects.filter(status=status)) for status in (Status.PENDING, Status.QUEUED))
    scheduled = _count(Job.objects.filter(status=Status.SCHEDULED))
    yesterday = timezone.now() - timedelta(hours=24)
    failed = _count(Job.objects.filter(status=Status.FAILED, finished_at__gte=yesterday))
    open_runs = _count(Run.objects.filter(status__in=Run.OPEN))
    pending = _count(Run.objects.filter(status=Run.Status.PENDING))
    return [
        Figure("Running jobs", _text(_count(Job.objects.filter(status=Status.RUNNING))), "now", jobs,
               "status__exact=running"),
        Figure("Waiting jobs", _text(ready), f"{_text(scheduled)} scheduled for later", jobs,
               "status__exact=queued"),
        Figure("Failed jobs", _text(failed), "in the last 24 hours", jobs, "status__exact=failed",
               alarming=failed > 0),
        Figure("Open runs", _text(open_runs), f"{_text(pending)} more wait their turn",
               "conversations_run_changelist"),
        Figure("Waiting runs", _text(waiting.count()), "for an approval or their client", "waiting"),
    ]  # fmt: skip


def _count(rows: "QuerySet[Job] | QuerySet[Run]") -> int:
    return rows.order_by()[: COUNT_MAX + 1].count()


def _text(number: int) -> str:
    return f"{COUNT_MAX:,}+" if number > COUNT_MAX else f"{number:,}"


def _queues(workers: dict[str, int] | None) -> list[QueueLine]:
    """Waiting jobs per queue, of the `COUNT_MAX` oldest ones: enough to see who waits longest."""
    ready = (Status.PENDING, Status.QUEUED)
    oldest = Job.objects.filter(status__in=ready).order_by("pk").values("pk")[:COUNT_MAX]
    rows = Job.objects.filter(pk__in=oldest).order_by().values("queue")
    found = {row["queue"]: row for row in rows.annotate(number=Count("pk"), oldest=Min("created_at"))}
    paused = pauses.paused()
    return [
        QueueLine(
            name=name,
            waiting=found[name]["number"] if name in found else 0,
            oldest=found[name]["oldest"] if name in found else None,
            workers=workers.get(name, 0) if workers is not None else None,
            paused=paused.get(name),
        )
        for name in broker.queue_names()
    ]


def _workers() -> dict[str, int] | None:
    try:
        found = [reading.queue_at(number) for number in range(len(broker.queue_names()))]
        return {queue.name: reading.live_workers(queue) for queue in found}
    except RedisError:
        return None


def _failed() -> list[Job]:
    shown = Job.objects.filter(status=Status.FAILED).only("id", "name", "queue", "error", "status", "finished_at")
    newest = list(shown.order_by("-id")[:LATEST])
    return sorted(newest, key=lambda job: job.finished_at or timezone.now(), reverse=True)


def _latest_conversations() -> list[Conversation]:
    """The newest of each status, merged: so every query walks an index."""
    found: list[Conversation] = []
    for status in Conversation.Status:
        rows = Conversation.objects.filter(status=status, last_activity_at__isnull=False)
        found += rows.select_related("agent", "user").order_by("-last_activity_at", "-id")[:LATEST]
    return sorted(found, key=lambda row: (row.last_activity_at, row.pk), reverse=True)[:LATEST]
