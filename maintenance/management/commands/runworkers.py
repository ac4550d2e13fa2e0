"""`manage.py runworkers [POOL…]`: one master that starts every pool and keeps it full."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from maintenance.pools import Master


class Command(BaseCommand):
    help = "Start the worker pools of WORKER_POOLS and keep them running. TERM or Ctrl-C lets current jobs finish."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pools", nargs="*", metavar="POOL", help="only these pools; default: all")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.QUEUE_CONNECTION == "sync":
            raise CommandError(
                "QUEUE_CONNECTION is sync: jobs run where they are enqueued, and there is nothing to take."
            )
        unknown = [name for name in options["pools"] if name not in settings.WORKER_POOLS]
        if unknown:
            raise CommandError(f"There is no pool {unknown[0]!r}. Pools: {', '.join(settings.WORKER_POOLS)}")
        chosen = options["pools"] or settings.WORKER_POOLS
        Master({name: settings.WORKER_POOLS[name] for name in chosen}).run()
