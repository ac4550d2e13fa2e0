"""Filters over fixed choices: none of them asks the database which values there are."""

from typing import Any

from django.contrib.admin import ModelAdmin, SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest

from maintenance import broker, ledger
from maintenance.models import Job


class QueueFilter(SimpleListFilter):
    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(name, name) for name in broker.queue_names()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        return queryset.filter(queue=self.value()) if self.value() else queryset


class NameFilter(SimpleListFilter):
    """By job function, of those that the code declares."""

    title = "job"
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: "ModelAdmin[Any]") -> list[tuple[str, str]]:
        return [(name, name) for name in ledger.names()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Job]") -> "QuerySet[Job]":
        return queryset.filter(name=self.value()) if self.value() else queryset
