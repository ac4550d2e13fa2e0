"""Objects that operators edit in forms: each change leaves a row in the audit, besides the object's own history."""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import Model, QuerySet
from django.http import HttpRequest

from maintenance.access import audit
from maintenance.console.operators import operator


class AuditedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The audit names the fields that changed, never their values."""

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        self._note(request, "add", [obj], message)
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> LogEntry:
        self._note(request, "change", [obj], message)
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: "QuerySet[Any] | Sequence[Any]") -> Any:
        self._note(request, "delete", queryset, "")
        return super().log_deletions(request, queryset)  # type: ignore[arg-type]

    def _note(self, request: HttpRequest, verb: str, objects: "QuerySet[Any] | Sequence[Any]", message: Any) -> None:
        who, address = operator(request), audit.address_of(request)
        for one in objects:
            target = f"{self.opts.model_name}:{one.pk}"
            detail = {"name": str(one)[:100], "what": message}
            audit.record(f"{self.opts.model_name}.{verb}", target, actor=who, address=address, detail=detail)
