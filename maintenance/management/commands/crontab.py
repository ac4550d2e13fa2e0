import shutil
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django_crontab.crontab import Crontab  # type: ignore[import-untyped]
from django_crontab.management.commands.crontab import Command as DjangoCrontabCommand  # type: ignore[import-untyped]


class Command(DjangoCrontabCommand):  # type: ignore[misc]
    help = "Put the line that fires the schedule every minute into this user's crontab: add, show or remove it."

    def handle(self, *args: Any, **options: Any) -> None:
        subcommand = options["subcommand"]
        if subcommand == "run":
            super().handle(*args, **options)
            return
        # Where the program is missing, django-crontab changes nothing and says that all went well.
        if not shutil.which(settings.CRONTAB_EXECUTABLE):
            raise CommandError(f"There is no program {settings.CRONTAB_EXECUTABLE!r} here: cron is not installed.")
        if subcommand != "show":
            # Quietly: it breaks off at a line of ours that an older version of CRONJOBS wrote, when it is to name it.
            super().handle(*args, **{**options, "verbosity": 0})
        lines = self._installed()
        if subcommand != "show" and bool(lines) != (subcommand == "add"):
            raise CommandError("The crontab could not be changed; the lines above say why.")
        self.stdout.write("\n".join(lines) or "Nothing of the schedule is in this user's crontab.")

    def _installed(self) -> list[str]:
        with Crontab(readonly=True) as crontab:
            ours = f"# {settings.CRONTAB_COMMENT}"
            return [line.strip() for line in crontab.crontab_lines if line.strip().endswith(ours)]
