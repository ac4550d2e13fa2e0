from typing import Any

from django.core.management.base import CommandParser

from maintenance.output import OperatorCommand, table
from maintenance.templatetags.console import relative
from models_registry.models import Pull
from models_registry.pulls_api import PullSerializer

SHOWN = 20


class Command(OperatorCommand):
    help = "List the newest pulls."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=SHOWN, help=f"how many; {SHOWN} by default")
        super().add_arguments(parser)

    def act(self, options: dict[str, Any]) -> int:
        found = list(Pull.objects.select_related("created_by").order_by("-id")[: max(0, options["limit"])])
        rows = [
            (
                pull.pk,
                pull.status,
                f"{int(pull.percentage)} %",
                pull.backend,
                pull.model,
                pull.created_by.get_username() if pull.created_by else "",
                relative(pull.created_at),
                pull.error_code,
            )
            for pull in found
        ]
        headings = ("id", "status", "", "backend", "model", "by", "started", "error")
        lines = table(headings, rows) if rows else ["Nothing was pulled yet: manage.py pull_model BACKEND MODEL"]
        self.show(options, PullSerializer(found, many=True).data, lines)
        return 0
