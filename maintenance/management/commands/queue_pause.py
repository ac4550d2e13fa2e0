from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from maintenance import durations, pauses
from maintenance.output import OperatorCommand, redis_name


class Command(OperatorCommand):
    help = "Let no worker take jobs from a queue. What is running goes on, and new jobs wait."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queue", metavar="QUEUE")
        parser.add_argument("--for", dest="span", metavar="TIME", help="resume by itself after 10m, 2h or 1d")
        parser.add_argument("--reason", required=True, metavar="TEXT", help="why, for whoever finds it paused")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        queue, reason = options["queue"], options["reason"]
        until = timezone.now() + durations.parse(options["span"]) if options["span"] else None
        in_effect = pauses.pause(queue, None, reason, until)
        self.audit("queue.pause", f"queue:{queue}", reason=reason, until=until and until.isoformat())
        line = f"{queue} is paused until {until:%Y-%m-%d %H:%M:%S %Z}." if until else f"{queue} is paused."
        if not in_effect:
            self.note(f"{redis_name()} does not answer: the pause begins within seconds of its return.")
        self.show(options, {"queue": queue, "reason": reason, "until": until, "in_effect": in_effect}, [line])
        return 0
