import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError

from maintenance import schedule


class Command(BaseCommand):
    help = (
        "Fire what the schedule has due, for one line of crontab that runs this every minute. Safe beside the leader."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print a JSON array of the slots that were dealt with")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            slots = schedule.fire_due(by="cron")
        except DatabaseError as error:
            raise CommandError(f"The database does not answer ({type(error).__name__}).") from None
        if options["json"]:
            values = [
                {"task": slot.task, "due_at": slot.due_at, "result": slot.result, "job_id": slot.job_id}
                for slot in slots
            ]
            self.stdout.write(json.dumps(values, cls=DjangoJSONEncoder, indent=2))
            return
        for slot in slots:
            job = f", job {slot.job_id}" if slot.job_id else ""
            self.stdout.write(f"{slot.task} of {slot.due_at:%Y-%m-%d %H:%M} UTC: {slot.get_result_display()}{job}")
        if not slots:
            self.stdout.write("Nothing is due.")
