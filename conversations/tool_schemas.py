"""What the arguments of a tool look like: a JSON Schema of an object, checked before it is stored."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, SchemaError

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NAME_RULE = "A name has 1 to 64 of the characters A-Z, a-z, 0-9, _ and -."


def fault(schema: Mapping[str, Any]) -> str:
    """Why this is no JSON Schema of an object; empty where it is one. Without a `type` it is one of an object."""
    try:
        Draft202012Validator.check_schema(dict(schema))
        elsewhere = [target for target in _references(schema) if not target.startswith("#")]
    except (SchemaError, RecursionError):
        return "This is not a JSON Schema."
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
