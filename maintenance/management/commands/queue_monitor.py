from typing import Any

from django.core.management.base import CommandError, CommandParser

from maintenance import figures
from maintenance.management import filters
from maintenance.output import USAGE, OperatorCommand, table


class Command(OperatorCommand):
    help = "Compare how many jobs wait with a limit for each queue: `queue_monitor default:100 low:50`. 1: one is over."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("limits", nargs="+", metavar="QUEUE:MAX")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        limits = dict(map(_limit, options["limits"]))
        waiting = figures.waiting()
        found = [
            {"queue": name, "waiting": waiting[name], "max": limit, "over": waiting[name] > limit}
            for name, limit in limits.items()
        ]
        rows = [(row["queue"], row["waiting"], row["max"], "OVER" if row["over"] else "ok") for row in found]
        self.show(options, {"queues": found}, table(("queue", "waiting", "max", "state"), rows))
        return 1 if any(row["over"] for row in found) else 0


def _limit(text: str) -> tuple[str, int]:
    name, colon, limit = text.partition(":")
    if not colon or not limit.isascii() or not limit.isdigit():
        raise CommandError(f"{text!r} is not a queue and its limit, such as default:100.", returncode=USAGE)
    return filters.queue_named(name), int(limit)
