"""A JSON Schema as the provider can constrain its output by: closed objects, and few of the keywords.

What it cannot enforce it refuses; so that stands in the description instead, where the model can still read it.
"""

import json
from collections.abc import Mapping
from typing import Any

_KEPT = {"type", "enum", "const", "required", "title", "description", "$ref", "default"}
_NESTED = {"properties", "$defs", "definitions"}
_CHOICES = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
_IGNORED = {"additionalProperties", "$schema", "$id"}
Schema = dict[str, Any]


def strict(schema: Mapping[str, Any]) -> Schema:
    """The schema with what can be enforced in place, and the rest in descriptions."""
    built: Schema = {}
    unenforced: Schema = {}
    for name, value in schema.items():
        if name in _KEPT or _is_enforced(name, value):
            built[name] = value
        elif name in _NESTED and isinstance(value, Mapping):
            built[name] = {key: _nested(item) for key, item in value.items()}
        elif name in _CHOICES and isinstance(value, list):
            built[_CHOICES[name]] = [_nested(item) for item in value]
        elif name == "items":
            built[name] = _nested(value)
        elif name not in _IGNORED:
            unenforced[name] = value
    if built.get("type") == "object" or "properties" in built:
        built |= {"type": "object", "properties": built.get("properties", {}), "additionalProperties": False}
    return _described(built, unenforced)


def _nested(value: Any) -> Any:
    return strict(value) if isinstance(value, Mapping) else value


def _is_enforced(name: str, value: Any) -> bool:
    return (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1))


def _described(built: Schema, unenforced: Schema) -> Schema:
    if unenforced:
        rules = json.dumps(unenforced, ensure_ascii=False)
        built["description"] = f"{built.get('description', '')}\n\nMust fit {rules}".strip()
    return built
