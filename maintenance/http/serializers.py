"""What the API's serializers share: bodies whose unknown fields are refused, and JSON that the database can hold."""

import json
import re
from collections.abc import Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

UNKNOWN = "This field is not known."
# The escape itself, not a backslash that is escaped and then followed by these letters.
NULL_CHARACTER = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


class Body(serializers.Serializer[Any]):
    """A request's body. `null` counts as absent; a top-level field that is not declared is refused.

    `ignored_fields` are those that old clients send and that mean nothing here: they end up in `warnings`.
    `nullable_fields` are those of which null is a value.
    """

    ignored_fields: tuple[str, ...] = ()
    nullable_fields: tuple[str, ...] = ()

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            kept = self.nullable_fields
            data = {name: value for name, value in data.items() if value is not None or name in kept}
            self._refuse_unknown(data)
        return super().to_internal_value(data)

    def _refuse_unknown(self, data: Mapping[str, Any]) -> None:
        known = {name for name, field in self.fields.items() if not field.read_only} | set(self.ignored_fields)
        if unknown := sorted(set(data) - known):
            raise serializers.ValidationError({name: [UNKNOWN] for name in unknown})

    def warnings(self) -> list[dict[str, str]]:
        """`{field, message}` for each ignored field that was sent."""
        sent = self.initial_data if isinstance(self.initial_data, Mapping) else {}
        names = [name for name in self.ignored_fields if sent.get(name) is not None]
        return [{"field": name, "message": "This field is ignored."} for name in names]


def require_storable(value: Any, limit: int) -> None:
    """Raises ValidationError where the database could not hold this JSON, or it has more than `limit` bytes."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise serializers.ValidationError("Text that is not valid Unicode cannot be stored.") from None
    if NULL_CHARACTER.search(text):
        raise serializers.ValidationError("Null characters cannot be stored.")
    if size > limit:
        raise serializers.ValidationError(f"At most {limit} bytes of JSON can be stored.")


@extend_schema_field(OpenApiTypes.OBJECT)
class JSONObject(serializers.Field[dict[str, Any], Any, Any, Any]):
    """A JSON object of at most `limit` bytes, stored as it is. An empty list counts as an empty object, for PHP."""

    def __init__(self, *, limit: int = 64 * 1024, **options: Any) -> None:
        super().__init__(**options)
        self.limit = limit

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        data = {} if data == [] else data
        if not isinstance(data, dict):
            raise serializers.ValidationError("A JSON object is required.")
        require_storable(data, self.limit)
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class Number(serializers.IntegerField):
    """The id of a row: a whole number that the database can hold."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=2**63 - 1, **options)
