"""What the arguments of a tool look like: a JSON Schema of an object, checked before it is stored."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, SchemaError

from conversations import tool_patterns
from maintenance.deadline import TimeOver, time_limited

CHECK_SECONDS = 1
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NAME_RULE = "A name has 1 to 64 of the characters A-Z, a-z, 0-9, _ and -."


def fault(schema: Mapping[str, Any]) -> str:
    """Why this is no JSON Schema of an object; empty where it is one. Without a `type` it is one of an object."""
    try:
        with time_limited(CHECK_SECONDS, each_line=False):
            Draft202012Validator.check_schema(dict(schema))
        elsewhere = [target for target in _references(schema) if not target.startswith("#")]
        endless = [pattern for pattern in _patterns(schema) if not tool_patterns.longest(pattern)]
    except (SchemaError, RecursionError):
        return "This is not a JSON Schema."
    except TimeOver:
        return "This schema takes too long to read."
    if endless:
        return f"The pattern {endless[0][:100]!r} can take for ever to check. Repeat nothing that is repeated inside."
    if elsewhere:  # nothing is fetched to check an argument
        return f"It refers to {elsewhere[0]!r}, and only what is in the schema itself can be used."
    if schema.get("type", "object") != "object":
        return "The arguments of a tool are an object, so the schema's type must be object."
    return ""


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in ("$ref", "$dynamicRef") and isinstance(inner, str):
                yield inner
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _patterns(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        one, several = value.get("pattern"), value.get("patternProperties")
        if isinstance(one, str):
            yield one
        if isinstance(several, Mapping) and several:
            yield "|".join(several)
        for inner in value.values():
            yield from _patterns(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _patterns(inner)
