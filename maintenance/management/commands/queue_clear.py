from typing import Any

from django.core.management.base import CommandParser

from maintenance import figures, removal
from maintenance.management import filters
from maintenance.output import OperatorCommand, counted


class Command(OperatorCommand):
    help = "Cancel every job that waits in a queue, due or not. 1: refused without --force."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queue", metavar="QUEUE")
        parser.add_argument("--force", action="store_true", help="do it; without, it is only said how many wait")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        queue = filters.queue_named(options["queue"])
        found = sum(one.waiting + one.scheduled for one in figures.of_queues(None) if one.name == queue)
        if not options["force"]:
            self.note(f"Nothing was done. --force cancels {counted(found, 'job')} that wait in {queue}.")
            return 1
        cancelled = removal.clear(queue, lambda done: self.note(f"{done:,} of {found:,}") if done < found else None)
        self.audit("queue.clear", f"queue:{queue}", cancelled=cancelled)
        line = f"{counted(cancelled, 'job')} of {queue} cancelled." if cancelled else f"No job waits in {queue}."
        self.show(options, {"queue": queue, "cancelled": cancelled}, [line])
        return 0
