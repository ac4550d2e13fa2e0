import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from maintenance import cleanup, jobs
from maintenance.errors import Refusal


class Command(BaseCommand):
    help = "Do the nightly clean-up here and now: stray uploads, old logs, expired rows. Prints what was removed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
        parser.add_argument("--json", action="store_true", help="print the report as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            report = cleanup.clean(cleanup.TEMPORARY, dry_run=options["dry_run"])
        except Refusal as refusal:
            raise CommandError(refusal.message) from None
        self.stdout.write(json.dumps(report, indent=2) if options["json"] else self._text(report))
        if report["broken"]:
            raise CommandError(f"Not cleaned: {', '.join(report['broken'])}. The log says why.")

    def _text(self, report: dict[str, Any]) -> str:
        lines = [f"{name:<20} {tally['removed']:>8}" for name, tally in report["sections"].items()]
        lines += [f"{bad['section']}: {bad['item']}: {bad['error']}" for bad in report["failures"]]
        return "\n".join([*lines, jobs.in_words(report)])
