import os
from typing import Any

from django.core.management.base import BaseCommand

from conversations import first_steps
from models_registry import inventory


class Command(BaseCommand):
    help = "Makes the first admin and a ready agent, where they are missing, and has backends asked for their models."

    def handle(self, *args: Any, **options: Any) -> None:
        for line in first_steps.take(os.environ):
            self.stdout.write(line)
        inventory.catch_up()
