from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from maintenance.console.masking import masked
from maintenance.errors import Invalid, Refusal
from maintenance.management import failures, filters
from maintenance.models import Attempt, Job
from maintenance.output import OperatorCommand, counted, table
from maintenance.selection import count
from maintenance.templatetags.console import duration, relative

ATTEMPTS_SHOWN = 20


class Command(OperatorCommand):
    help = "List failed jobs, newest first; with an ID, show one job with its attempts. 1: there is no such job."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("id", nargs="?", metavar="ID", help="show this job")
        filters.add(parser)
        parser.add_argument("--limit", type=int, default=50, help="how many are listed (50)")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        if options["id"]:
            return self._one(options)
        if options["limit"] < 1:
            raise Invalid("--limit is at least 1.")
        rows = filters.failed(options).rows()
        jobs, number = failures.newest(rows, options["limit"]), count(rows)
        value = {"count": number.number, "count_is_capped": number.capped, "jobs": [*map(failures.values, jobs)]}
        self.show(options, value, self._list(jobs, str(number), filters.given(options)))
        return 0

    def _list(self, jobs: list[Job], number: str, given: list[str]) -> Iterator[str]:
        if not jobs:
            yield f"No failed job matches {' '.join(given)}." if given else "No job has failed."
            return
        yield from failures.lines(jobs)
        yield ""
        yield f"{len(jobs)} of {number}. `queue_failed ID` shows one, `queue_retry ID…` runs it again."

    def _one(self, options: dict[str, Any]) -> int:
        job = Job.objects.filter(pk=options["id"]).first()
        if job is None:
            raise Refusal(f"There is no job {options['id']}.", code="not_found")
        attempts = list(job.executions.order_by("-number")[:ATTEMPTS_SHOWN])
        value = failures.values(job) | {
            "arguments": masked(job.arguments),
            "exception_class": attempts[0].exception_class if attempts else "",
            "attempts": [_attempt(attempt) for attempt in attempts],
        }
        self.show(options, value, _page(job, attempts))
        return 0


def _attempt(attempt: Attempt) -> dict[str, Any]:
    names = (
        "number", "outcome", "worker", "host", "pid", "started_at", "finished_at", "wait_seconds", "run_seconds",
        "cpu_seconds", "peak_memory_bytes", "exception_class", "message", "traceback",
    )  # fmt: skip
    return {name: getattr(attempt, name) for name in names}


def _page(job: Job, attempts: list[Attempt]) -> Iterator[str]:
    yield f"{job.name} {job.pk}"
    yield f"  status     {job.status}, {counted(job.starts, 'start')}, at most {counted(job.max_attempts, 'attempt')}"
    yield f"  queue      {job.queue}"
    yield f"  created    {relative(job.created_at)}, {job.created_at.isoformat(timespec='seconds')}"
    if job.error:
        yield f"  error      {job.error}"
    if job.tags:
        yield f"  tags       {', '.join(map(str, job.tags))}"
    yield "  arguments  " + (", ".join(f"{name}={value!r}" for name, value in masked(job.arguments).items()) or "none")
    yield ""
    yield from _history(attempts)


def _history(attempts: list[Attempt]) -> Iterator[str]:
    if not attempts:
        yield "It was never started."
        return
    headings = ("attempt", "outcome", "began", "waited", "ran", "peak MB", "worker", "exception")
    yield from table(headings, [_row(attempt) for attempt in attempts])
    last = attempts[0]
    if last.message:
        yield ""
        yield f"The last one: {last.message}"
    if last.traceback:
        yield ""
        yield from last.traceback.rstrip().splitlines()


def _row(one: Attempt) -> tuple[object, ...]:
    peak = None if one.peak_memory_bytes is None else one.peak_memory_bytes // 2**20
    began, waited, ran = relative(one.started_at), duration(one.wait_seconds), duration(one.run_seconds)
    return (one.number, one.outcome or "running", began, waited, ran, peak, one.worker, one.exception_class)
