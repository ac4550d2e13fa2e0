"""Filters over fixed choices: none of them asks the database which values there are."""

from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Concat
from django.http import HttpRequest

from maintenance import broker, ledger
from maintenance.models import Job
from maintenance.selection import with_fingerprint


class QueueFilter(SimpleListFilter):
    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(name, name) for name in broker.queue_names()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        return _narrowed(request, queryset, "queue", self.value())


class NameFilter(SimpleListFilter):
    """By job function, of those that the code declares."""

    title = "job"
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(name, name) for name in ledger.names()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        return _narrowed(request, queryset, "name", self.value())


class FingerprintFilter(SimpleListFilter):
    """By what broke the job; offered only where somebody comes from such a group."""

    title = "group"
    parameter_name = "fingerprint"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        value = self.value()
        return [(value, "same error")] if value else []

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        value = self.value()
        return with_fingerprint(queryset, value) if value else queryset


def _narrowed(request: HttpRequest, rows: "QuerySet[Job]", column: str, value: str | None) -> "QuerySet[Job]":
    """Rows with this value. Beside a status that few jobs have, the column's own index is kept out of use.

    A database without statistics might choose it, and walk through a million completed jobs of a queue to find the
    three that are pending.
    """
    if not value:
        return rows
    if request.GET.get("status__exact", Job.Status.COMPLETED) == Job.Status.COMPLETED:
        return rows.filter(**{column: value})
    return rows.alias(**{f"plain_{column}": Concat(F(column), Value(""))}).filter(**{f"plain_{column}": value})
