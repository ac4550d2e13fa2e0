"""`manage.py check_backend NAME`: ask a backend now how it is. Exit 0 when it is available, else 1."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from models_registry import catalog
from models_registry.backends.base import Health


class Command(BaseCommand):
    help = "Probe a backend and print its health and models."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", default="", help="default: the default backend")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def handle(self, **options: Any) -> None:
        name = options["name"] or catalog.default_name()
        health = _probe(name)
        self.stdout.write(json.dumps({"name": name, **asdict(health)}) if options["json"] else _lines(name, health))
        if health.status != "available":
            sys.exit(1)


def _probe(name: str) -> Health:
    chosen = catalog.find(name)
    if chosen is None:
        known = ", ".join(catalog.configured()) or "none"
        return Health(status="misconfigured", error=f"There is no backend {name!r}. Configured: {known}.")
    return catalog.probe(chosen)


def _lines(name: str, health: Health) -> str:
    told = health.error or f"models: {', '.join(health.models) or 'none listed'}"
    return f"{name}: {health.status}\n{told}"
