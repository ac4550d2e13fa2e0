from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from maintenance import process
from models_registry import embedded


class Command(BaseCommand):
    help = "Serves the model that ships with the server, in the OpenAI-compatible form, on loopback."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, help="default: the one in EMBEDDED_MODEL_URL, or 8081")

    def handle(self, *args: Any, port: int | None, **options: Any) -> None:
        process.title("modelserver")
        try:
            embedded.serve(port or embedded.port())
        except embedded.NotInstalled as error:
            raise CommandError(str(error)) from None
