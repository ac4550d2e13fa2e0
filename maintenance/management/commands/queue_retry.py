from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser

from maintenance import ledger
from maintenance.errors import Refusal
from maintenance.management import failures, filters
from maintenance.models import Job
from maintenance.output import USAGE, OperatorCommand, counted
from maintenance.selection import count

PROGRESS_EVERY = 200
LISTED = 50


class Command(OperatorCommand):
    help = "Run failed jobs again: those named, or all that the filters let through. 1: one could not be retried."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="*", metavar="ID", help="run this job again; a cancelled one too")
        parser.add_argument("--all", action="store_true", help="every failed job that the filters let through")
        filters.add(parser)
        parser.add_argument("--dry-run", action="store_true", help="only say which they are")
        parser.add_argument("--force", action="store_true", help="do not ask before more than one job is retried")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        _refuse_mixture(options)
        rows = filters.failed(options).rows() if options["all"] else _named(options["ids"])
        if options["dry_run"]:
            return self._say_which(options, rows)
        # Oldest first, and none twice: one that fails again meanwhile is not retried again.
        ids = (
            [*rows.order_by("pk").values_list("pk", flat=True)] if options["all"] else [*dict.fromkeys(options["ids"])]
        )
        question = f"Run {counted(len(ids), 'job')} again?"
        if len(ids) > 1 and not self.confirmed(options, question, unasked=True):
            self.note("Nothing was done.")
            return 1
        return self._retry(options, ids)

    def _retry(self, options: dict[str, Any], ids: list[str]) -> int:
        retried: dict[str, str] = {}
        refused: dict[str, str] = {}
        for number, job_id in enumerate(ids, 1):
            try:
                retried[job_id] = ledger.retry(job_id).pk
            except Refusal as refusal:
                refused[job_id] = refusal.message
            if number % PROGRESS_EVERY == 0:
                self.note(f"{number:,} of {len(ids):,}")
        self._record(options, retried, refused)
        value = {
            "retried": [{"id": old, "job": new} for old, new in retried.items()],
            "refused": [{"id": job_id, "reason": reason} for job_id, reason in refused.items()],
        }
        self.show(options, value, _lines(retried, refused, each=not options["all"]))
        return 1 if refused else 0

    def _record(self, options: dict[str, Any], retried: dict[str, str], refused: dict[str, str]) -> None:
        if not retried and not refused:
            return
        which = filters.failed(options).stated() if options["all"] else {"ids": options["ids"][:LISTED]}
        target = f"job:{options['ids'][0]}" if len(options["ids"]) == 1 else "jobs"
        result = "ok" if not refused else f"{len(refused)} refused"
        self.audit("job.retry", target, result, retried=len(retried), **which)

    def _say_which(self, options: dict[str, Any], rows: Any) -> int:
        missing = set(options["ids"]) - {*rows.values_list("pk", flat=True)} if options["ids"] else set()
        number, shown = count(rows), failures.newest(rows, LISTED)
        value = {
            "dry_run": True, "count": number.number, "count_is_capped": number.capped,
            "ids": [job.pk for job in shown], "refused": sorted(missing),
        }  # fmt: skip
        lines = [*failures.lines(shown), ""] if shown else []
        lines += [f"{job_id} cannot be retried: it is unknown, or did not fail." for job_id in sorted(missing)]
        self.show(options, value, [*lines, f"{number} would be run again. Nothing was done."])
        return 1 if missing else 0


def _refuse_mixture(options: dict[str, Any]) -> None:
    if options["all"] == bool(options["ids"]):
        raise CommandError("Name jobs by their ids, or say --all.", returncode=USAGE)
    if options["ids"] and filters.given(options):
        raise CommandError("Filters go with --all.", returncode=USAGE)


def _named(ids: list[str]) -> Any:
    return Job.objects.filter(pk__in=ids, status__in=(Job.Status.FAILED, Job.Status.CANCELLED)).order_by("-pk")


def _lines(retried: dict[str, str], refused: dict[str, str], *, each: bool) -> Iterator[str]:
    if not retried and not refused:
        yield "No failed job matches."
        return
    if each:
        yield from (f"{old} queued again" if old == new else f"{old} queued as {new}" for old, new in retried.items())
        yield from (f"{job_id} not retried: {reason}" for job_id, reason in refused.items())
        return
    yield f"{counted(len(retried), 'job')} queued again."
    yield from (f"{number:,} not: {reason}" for reason, number in Counter(refused.values()).most_common())
