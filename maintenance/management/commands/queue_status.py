from collections.abc import Iterator
from typing import Any

from django.conf import settings

from maintenance import figures
from maintenance.figures import Figures, QueueFigures, Verdict
from maintenance.models import QueuePause
from maintenance.output import OperatorCommand, counted, redis_name, table
from maintenance.templatetags.console import duration, relative

WORDS = {
    Verdict.OK: "All is well.",
    Verdict.PAUSED: "Something is paused.",
    Verdict.NO_WORKERS: "There are no workers.",
    Verdict.LATE: "Jobs wait longer than they should.",
    Verdict.FAILING: "Too many jobs fail.",
    Verdict.NO_LEADER: "Nobody leads: what is lost or stuck is not found.",
}


class Command(OperatorCommand):
    help = (
        "Show how queues, workers and Redis are. The first that applies: 2 no workers, 5 no leader, 1 a queue or the "
        "workers are paused, 3 a queue waits too long, 4 too many failures, 0."
    )

    def act(self, options: dict[str, Any]) -> int:
        found = figures.now()
        self.show(options, _value(found), _lines(found))
        return int(found.verdict)


def _lines(found: Figures) -> Iterator[str]:
    yield f"Redis     {_redis(found)}"
    yield f"Workers   {_workers(found)}"
    yield f"Leader    {found.leader or 'none'}"
    yield f"Failures  {counted(found.failures, 'job')} in 15 minutes, at most {settings.FAILURES_MAX} are expected"
    yield ""
    headings = ("queue", "waiting", "oldest", "at most", "scheduled", "running", "workers", "state")
    yield from table(headings, [_row(queue) for queue in found.queues])
    yield ""
    blind = found.verdict is Verdict.NO_WORKERS and found.redis_seconds is None
    yield "Without Redis nobody can tell whether there are workers." if blind else WORDS[found.verdict]


def _redis(found: Figures) -> str:
    if settings.QUEUE_CONNECTION == "sync":
        return "not used"
    seconds = found.redis_seconds
    return f"{redis_name()} does not answer" if seconds is None else f"ok, {seconds * 1000:.1f} ms"


def _workers(found: Figures) -> str:
    if settings.QUEUE_CONNECTION == "sync":
        return "not needed: jobs run where they are enqueued"
    if found.workers is None:
        return "not known"
    paused = ", paused" if found.workers_paused else ""
    return f"{len(found.workers)}, with {counted(len(found.masters or []), 'master')}{paused}"


def _row(queue: QueueFigures) -> tuple[object, ...]:
    oldest, most = duration(queue.oldest_seconds), duration(queue.wait_max_seconds)
    state = _pause(queue.pause) if queue.pause else "LATE" if queue.late else "ok"
    return (queue.name, queue.waiting, oldest, most, queue.scheduled, queue.running, queue.workers, state)


def _pause(pause: QueuePause) -> str:
    end = f", ends {relative(pause.until)}" if pause.until else ""
    by = f" by {pause.paused_by}" if pause.paused_by else ""
    return f"PAUSED {relative(pause.paused_at)}{by}{end}: {pause.reason}"


def _value(found: Figures) -> dict[str, Any]:
    latency = found.redis_seconds
    return {
        "exit_code": int(found.verdict),
        "verdict": found.verdict.name.lower(),
        "driver": settings.QUEUE_CONNECTION,
        "redis": {"ok": latency is not None, "latency_ms": None if latency is None else round(latency * 1000, 3)},
        "workers": None if found.workers is None else len(found.workers),
        "workers_paused": found.workers_paused,
        "leader": found.leader,
        "failures": found.failures,
        "failures_max": settings.FAILURES_MAX,
        "queues": [_queue(queue) for queue in found.queues],
    }


def _queue(queue: QueueFigures) -> dict[str, Any]:
    pause = queue.pause
    paused = pause and {
        "reason": pause.reason,
        "by": str(pause.paused_by or ""),
        "since": pause.paused_at,
        "until": pause.until,
    }
    return {**vars(queue), "late": queue.late, "pause": paused}
