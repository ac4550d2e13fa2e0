"""What follows when something goes wrong with jobs: one table, from event to the functions that are told.

A reaction gets one value, `JobNews` or `LongWait`, after the change has been committed, in the process that made it:
a worker that ran the job, its parent, or the leader. It should be quick: to send something, enqueue a job. If it
raises, that is logged, and the other reactions follow all the same. The setting REACTIONS adds to this table.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from maintenance.commits import after_commit
from maintenance.logs import log_context

logger = logging.getLogger(__name__)


class Event(StrEnum):
    """What can be reacted to."""

    JOB_RETRYING = "job_retrying"  # its own error ended an attempt, and another one follows
    JOB_FAILED = "job_failed"  # for good
    WORKER_LOST = "worker_lost"  # the process that ran a job died
    POISON = "poison"  # a job killed its last worker; `job_failed` follows
    LONG_WAIT = "long_wait"  # a job waits longer than its queue allows


LOG = "maintenance.reactions.log"

REACTIONS: Mapping[Event, Sequence[str]] = {
    Event.JOB_RETRYING: [LOG],
    Event.JOB_FAILED: [LOG],
    Event.WORKER_LOST: [LOG],
    Event.POISON: [LOG],
    Event.LONG_WAIT: [LOG],
}


@dataclass(frozen=True, kw_only=True)
class JobNews:
    """What happened to a job. `code` and `message` say why, safe to show; `not_before` is when it is tried again."""

    event: Event
    job_id: str
    name: str
    queue: str
    arguments: Mapping[str, Any]
    tags: Sequence[str]
    attempts: int
    recoveries: int
    code: str
    message: str
    not_before: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LongWait:
    """A queue's oldest job has waited for so long, in seconds. `job_id` is empty where the job has no row yet."""

    queue: str
    job_id: str
    waited_seconds: float
    limit_seconds: int
    event: Event = Event.LONG_WAIT


News = JobNews | LongWait


def announce(news: News) -> None:
    """Tell the reactions when the caller's transaction commits."""
    after_commit(_tell, news)


def paths(event: Event) -> list[str]:
    """Dotted paths of the reactions to an event, in their order."""
    return [*REACTIONS[event], *settings.REACTIONS.get(event.value, [])]


def faults() -> list[str]:
    """What is wrong with the setting REACTIONS, in words."""
    known = set(Event)
    unknown = [f"REACTIONS names {event!r}, which is no event." for event in settings.REACTIONS if event not in known]
    return unknown + [
        f"REACTIONS names {path!r}, which cannot be called."
        for added in settings.REACTIONS.values()
        for path in added
        if not _is_function(path)
    ]


def _is_function(path: str) -> bool:
    try:
        return callable(import_string(path))
    except ImportError:
        return False


def _tell(news: News) -> None:
    for path in paths(news.event):
        try:
            import_string(path)(news)
        except Exception:
            logger.exception("the reaction %s to %s failed", path, news.event)


def log(news: News) -> None:
    """One line, with the ids of what the job was about as its context: `job=… run=… conversation=…`."""
    mark = log_context.set(_ids(news))
    try:
        if isinstance(news, LongWait):
            text = f"for {news.waited_seconds:.0f} s, more than {news.limit_seconds} s"
            logger.warning("%s: in the queue %s %s", news.event, news.queue, text)
        else:
            level = logging.ERROR if news.event in (Event.JOB_FAILED, Event.POISON) else logging.WARNING
            logger.log(level, "%s: %s: %s: %s", news.event, news.name, news.code, news.message)
    finally:
        log_context.reset(mark)


def _ids(news: News) -> dict[str, object]:
    """`run_id=5` among the arguments and the tag `conversation:7` give `run=5 conversation=7`."""
    found: dict[str, object] = {"job": news.job_id}
    if isinstance(news, JobNews):
        found |= {name[:-3]: value for name, value in news.arguments.items() if name.endswith("_id")}
        found |= dict(tag.split(":", 1) for tag in news.tags if ":" in tag)
    return found
