"""Lists come in pages: `{data, links: {first, last, prev, next}, meta: {current_page, per_page, total, last_page}}`."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

PER_PAGE = 15
PER_PAGE_MAX = 100
PAGE_MAX = 1_000_000


class Pages(BasePagination):
    """`page` counts from 1, `per_page` is cut at 100. A page after the last is empty, not an error."""

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: object = None
    ) -> list[Any]:
        self.request = request
        self.number = min(self._whole_number("page", 1), PAGE_MAX)
        self.size = min(self._whole_number("per_page", PER_PAGE), PER_PAGE_MAX)
        self.total = queryset.count() if isinstance(queryset, QuerySet) else len(queryset)
        self.last = max(1, -(-self.total // self.size))
        start = (self.number - 1) * self.size
        return list(queryset[start : start + self.size])

    def _whole_number(self, name: str, default: int) -> int:
        text = self.request.query_params.get(name, "")
        if not text:
            return default
        # Longer ones cost time to parse and mean nothing.
        if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text)):
            raise ValidationError({name: ["A whole number of 1 or more is required."]})
        return int(text)

    def _link(self, number: int) -> str | None:
        if not 1 <= number <= self.last:
            return None
        return str(replace_query_param(self.request.get_full_path(), "page", number))

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "data": data,
                "links": {
                    "first": self._link(1),
                    "last": self._link(self.last),
                    "prev": self._link(min(self.number - 1, self.last)),
                    "next": self._link(self.number + 1),
                },
                "meta": {
                    "current_page": self.number,
                    "per_page": self.size,
                    "total": self.total,
                    "last_page": self.last,
                },
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "nullable": True}
        number = {"type": "integer"}
        links = dict.fromkeys(("first", "last", "prev", "next"), link)
        meta = dict.fromkeys(("current_page", "per_page", "total", "last_page"), number)
        return {
            "type": "object",
            "required": ["data", "links", "meta"],
            "properties": {
                "data": schema,
                "links": {"type": "object", "required": list(links), "properties": links},
                "meta": {"type": "object", "required": list(meta), "properties": meta},
            },
        }

    def get_schema_operation_parameters(self, view: object) -> list[dict[str, Any]]:
        ranges = {
            "page": {"type": "integer", "minimum": 1, "default": 1},
            "per_page": {"type": "integer", "minimum": 1, "maximum": PER_PAGE_MAX, "default": PER_PAGE},
        }
        return [{"name": name, "required": False, "in": "query", "schema": schema} for name, schema in ranges.items()]
