from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from maintenance import removal
from maintenance.errors import Invalid
from maintenance.models import Job
from maintenance.output import OperatorCommand, counted


class Command(OperatorCommand):
    help = "Delete failed jobs, with their attempts. Asks first; without a terminal it wants --force. 1: not done."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--hours", type=int, default=0, metavar="N", help="only those that failed over N hours ago")
        parser.add_argument("--force", action="store_true", help="do not ask")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        if not 0 <= options["hours"] <= 24 * 3650:
            raise Invalid("--hours is a number of hours, 0 or more.")
        before = timezone.now() - timedelta(hours=options["hours"])
        found = Job.objects.filter(status=Job.Status.FAILED, finished_at__lt=before).count()
        if found and not self.confirmed(options, f"Delete {counted(found, 'failed job')} for good?", unasked=False):
            self.note(f"Nothing was deleted. --force deletes {counted(found, 'failed job')}.")
            return 1
        deleted = removal.flush(before, lambda done: self.note(f"{done:,} of {found:,}") if done < found else None)
        if deleted:
            self.audit("job.flush", "jobs", deleted=deleted, hours=options["hours"])
        line = f"{counted(deleted, 'failed job')} deleted." if deleted else "There is no failed job to delete."
        self.show(options, {"deleted": deleted}, [line])
        return 0
