"""`manage.py rqworker high default`: django-rq's command with our worker, our serializer and our defaults."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import connections
from django_rq.management.commands.rqworker import Command as DjangoRQCommand

from maintenance.worker import make_worker


class Command(DjangoRQCommand):  # type: ignore[misc]
    help = "Run a worker. Queues are served strictly in the order given; without any, in the order of settings."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(serializer=None, worker_ttl=None)

    def handle(self, *names: str, **options: Any) -> None:
        if settings.QUEUE_CONNECTION == "sync":
            raise CommandError(
                "QUEUE_CONNECTION is sync: jobs run where they are enqueued, and there is nothing to take."
            )
        for name in names:
            if name not in settings.RQ_QUEUES:
                self.stderr.write(f"There is no queue {name!r}. Queues: {', '.join(settings.RQ_QUEUES)}")
                sys.exit(1)
        worker = make_worker(names or list(settings.RQ_QUEUES), name=options["name"])
        connections.close_all()
        worker.work(
            burst=options["burst"],
            logging_level="WARNING",
            max_jobs=options["max_jobs"],
            max_idle_time=options["max_idle_time"],
        )
