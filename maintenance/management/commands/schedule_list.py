import json
from dataclasses import asdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import BaseCommand, CommandParser
from django.core.serializers.json import DjangoJSONEncoder

from maintenance import schedule
from maintenance.schedule import Upcoming

HEADINGS = ("TASK", "CRON", "ZONE", "NEXT", "LAST", "RESULT", "PAUSED")


class Command(BaseCommand):
    help = "List the tasks of the schedule: when each is due next, what became of its last slot, whether it is paused."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print a JSON array")

    def handle(self, *args: Any, **options: Any) -> None:
        tasks = schedule.upcoming()
        if options["json"]:
            self.stdout.write(json.dumps([asdict(task) for task in tasks], cls=DjangoJSONEncoder, indent=2))
            return
        rows = [HEADINGS, *(self._row(task) for task in tasks)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        for row in rows:
            self.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _row(self, task: Upcoming) -> tuple[str, ...]:
        paused = f"by {task.paused_by or 'somebody'}: {task.paused_reason}" if task.paused else ""
        next_at, last_at = (self._when(moment, task.time_zone) for moment in (task.next_at, task.last_at))
        return (task.name, task.cron, task.time_zone, next_at, last_at, task.last_result or "-", paused)

    def _when(self, moment: datetime | None, zone: str) -> str:
        return moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M") if moment else "-"
