from typing import Any

from django.core.management.base import CommandParser

from maintenance import pauses
from maintenance.output import OperatorCommand


class Command(OperatorCommand):
    help = "Let workers take jobs from a paused queue again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("queue", metavar="QUEUE")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        queue = options["queue"]
        was_paused = pauses.resume(queue, None)
        if was_paused:
            self.audit("queue.resume", f"queue:{queue}")
        line = f"{queue} is resumed." if was_paused else f"{queue} was not paused."
        self.show(options, {"queue": queue, "was_paused": was_paused}, [line])
        return 0
