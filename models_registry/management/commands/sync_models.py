"""`manage.py sync_models [BACKEND]`: store now which models the backends have. Exit 0 when each told, else 1."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from maintenance.errors import Refusal
from models_registry import catalog, sync
from models_registry.errors import BackendError


class Command(BaseCommand):
    help = "Ask the backends for their models and store the answer."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("backend", nargs="?", default="", help="default: every backend")
        parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")

    def handle(self, **options: Any) -> None:
        names = [options["backend"]] if options["backend"] else list(catalog.configured())
        reports = {name: _report(name) for name in names}
        self.stdout.write(json.dumps(reports) if options["json"] else _lines(reports))
        if any("error" in report for report in reports.values()):
            sys.exit(1)


def _report(name: str) -> dict[str, Any]:
    try:
        return asdict(sync.sync(name))
    except (Refusal, BackendError) as error:
        return {"error": error.message}


def _lines(reports: dict[str, dict[str, Any]]) -> str:
    lines = [
        f"{name}: {report.get('error') or '{models} models, {added} new, {removed} gone'.format(**report)}"
        for name, report in reports.items()
    ]
    return "\n".join(lines) or "No backend is configured."
