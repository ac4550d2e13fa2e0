"""The tools that a client brings along, checked before they are stored."""

import json
from collections import Counter
from typing import Any

from django.conf import settings
from rest_framework import serializers

from conversations import tool_schemas
from maintenance.http.errors import TooLarge
from maintenance.http.serializers import JSONObject


class ClientTool(serializers.Serializer[Any]):
    name = serializers.RegexField(f"^{tool_schemas.NAME.pattern}$")
    description = serializers.CharField(max_length=20_000, allow_blank=True, default="")
    parameters = JSONObject(limit=256 * 1024, required=False)

    def validate_parameters(self, schema: dict[str, Any]) -> dict[str, Any]:
        if fault := tool_schemas.fault(schema):
            raise serializers.ValidationError(fault)
        return schema


class ClientTools(serializers.ListField):
    """`[{name, description, parameters}]`: at most `TOOL_SCHEMAS_MAX`, of `TOOL_SCHEMAS_MAX_BYTES` together."""

    child = ClientTool()

    def to_internal_value(self, data: Any) -> list[Any]:
        if isinstance(data, list) and len(data) > settings.TOOL_SCHEMAS_MAX:
            raise TooLarge(f"At most {settings.TOOL_SCHEMAS_MAX} tools can be offered.")
        if len(json.dumps(data).encode()) > settings.TOOL_SCHEMAS_MAX_BYTES:
            raise TooLarge(f"The tools' schemas have at most {settings.TOOL_SCHEMAS_MAX_BYTES} bytes together.")
        tools: list[Any] = super().to_internal_value(data)
        counts = Counter(tool["name"] for tool in tools)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise serializers.ValidationError(f"Two tools are called {twice[0]}.")
        return tools
