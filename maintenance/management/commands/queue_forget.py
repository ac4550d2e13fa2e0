from typing import Any

from django.core.management.base import CommandParser

from maintenance import removal
from maintenance.errors import Refusal
from maintenance.output import OperatorCommand


class Command(OperatorCommand):
    help = "Delete jobs that ended, with their attempts. 1: one could not be deleted."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ids", nargs="+", metavar="ID")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        refused: dict[str, str] = {}
        forgotten: list[str] = []
        for job_id in dict.fromkeys(options["ids"]):
            try:
                removal.forget(job_id)
                forgotten.append(job_id)
            except Refusal as refusal:
                refused[job_id] = refusal.message
            self.audit("job.forget", f"job:{job_id}", refused.get(job_id, "ok"))
        value = {
            "forgotten": forgotten,
            "refused": [{"id": job_id, "reason": reason} for job_id, reason in refused.items()],
        }
        lines = [f"{job_id} forgotten" for job_id in forgotten]
        lines += [f"{job_id} not forgotten: {reason}" for job_id, reason in refused.items()]
        self.show(options, value, lines)
        return 1 if refused else 0
