import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from maintenance import process
from maintenance.stack import composition
from maintenance.stack.errors import StackError
from maintenance.stack.report import Report


class Command(BaseCommand):
    help = "Runs everything the server is made of, and stops it again: what `make run` runs."

    def handle(self, *args: Any, **options: Any) -> None:
        process.title("runstack")
        report = Report(self.stdout, colour=self.stdout.isatty() and "NO_COLOR" not in os.environ)
        try:
            composition.run(report)
        except (StackError, OSError) as error:
            raise CommandError(str(error)) from None
