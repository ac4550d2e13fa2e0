"""Columns that Django has not."""

import json
from typing import TYPE_CHECKING, Any

from django.db import models

if TYPE_CHECKING:
    _Text = models.TextField[Any, Any]
else:
    _Text = models.TextField


class OrderedJSONField(_Text):
    """JSON as text, which keeps the order of keys: PostgreSQL's jsonb has an order of its own.

    What is made of such a value is the same to the byte, whether it was just stored or is read again. It cannot be
    searched.
    """

    def from_db_value(self, value: str | None, expression: object, connection: object) -> Any:
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False)

    def value_to_string(self, row: models.Model) -> Any:
        return self.value_from_object(row)
