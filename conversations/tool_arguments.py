"""Checking what a model, or somebody in its place, gives a tool: against a schema that somebody else wrote.

Neither can be trusted to end: schemas branch without end, and patterns take years. So a check has its time, and a
pattern is only searched for in texts that are short enough for it. What cannot be checked does not fit.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from conversations import tool_patterns
from maintenance.deadline import TimeOver, time_limited

CHECK_SECONDS = 0.5
MESSAGE_MAX_CHARACTERS = 500
_NOTHING: Registry[Any] = Registry()  # a schema that refers to another one elsewhere makes no request


def fault(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """What is wrong with these arguments, in words for the model; empty where nothing is."""
    try:
        with time_limited(CHECK_SECONDS, each_line=False):
            return _names_fault(schema, arguments) or _fault(schema, arguments)
    except TimeOver:
        return "to check them against the schema of the tool takes too long."
    except (Unresolvable, RecursionError):
        return "the schema of the tool refers to what is not there, or to itself without end."
    except Exception:  # a reference may lead to a part of the schema that is no schema
        return "the schema of the tool cannot be read, or a number is too large for it."


def _fault(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    error = best_match(_Validator(dict(schema), registry=_NOTHING).iter_errors(dict(arguments)))
    if error is None:
        return ""
    place = ".".join(str(step) for step in error.absolute_path)
    return f"{place}: {error.message}"[:MESSAGE_MAX_CHARACTERS] if place else error.message[:MESSAGE_MAX_CHARACTERS]


def _pattern(validator: Any, pattern: str, text: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(text, str):
        return
    if len(text) > tool_patterns.longest(pattern):
        yield ValidationError(f"its pattern {pattern!r} would take too long to check in {len(text)} characters")
    elif not re.search(pattern, text):
        yield ValidationError(f"{text!r} does not match {pattern!r}")


_Validator = validators.extend(Draft202012Validator, {"pattern": _pattern})


def _names_fault(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """Patterns for the names of properties are searched for in many places of jsonschema, so all names must do."""
    most = min(map(_longest_name, _objects(schema)), default=tool_patterns.TEXT_MAX)
    names = (name for inner in _objects(arguments) for name in inner if len(name) > most)
    long = next(names, "")
    return f"the name of a property is too long for the patterns of the schema: {long[:50]!r}" if long else ""


def _longest_name(schema: Mapping[str, Any]) -> int:
    patterns = schema.get("patternProperties")
    # jsonschema joins them so, too.
    return tool_patterns.longest("|".join(patterns)) if isinstance(patterns, dict) else tool_patterns.TEXT_MAX


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)
