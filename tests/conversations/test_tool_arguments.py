"""Arguments against schemas that somebody wrote to do harm."""

import time
from typing import Any

import pytest

from conversations import tool_arguments, tool_schemas

Schema = dict[str, Any]


def nested(levels: int) -> Schema:
    """A schema of 2 ** levels branches."""
    steps = {f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2} for level in range(levels)}
    return {"$defs": {**steps, f"a{levels}": {}}, "$ref": "#/$defs/a0"}


def of(**schema: Any) -> Schema:
    return {"type": "object", "properties": {"x": schema}}


SLOW = [
    (nested(30), {}),
    (of(uniqueItems=True), {"x": [{"a": number} for number in range(5000)]}),
    (of(items={"anyOf": [{"type": "string"}] * 500}), {"x": [1] * 5000}),
    (of(pattern="^(a+)+$"), {"x": "a" * 60 + "!"}),
    ({"patternProperties": {"^(a+)+$": {}}}, {"a" * 60 + "!": 1}),
    ({"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False}, {"a" * 60 + "!": 1}),
    (of(propertyNames={"pattern": "(a|aa)+$"}), {"x": {"a" * 60 + "!": 1}}),
    (of(pattern="^a*a*a*a*$"), {"x": "a" * 10_000 + "!"}),
]
UNREADABLE = [
    ({"$ref": "#"}, {}),
    ({"$ref": "#/nowhere"}, {}),
    ({"$dynamicRef": "#nowhere"}, {}),
    ({"$id": "http://127.0.0.1:1/x", "$ref": "y"}, {}),
    ({"title": "abc", **of(**{"$ref": "#/title"})}, {"x": 1}),
    ({"allOf": [{}], **of(**{"$ref": "#/allOf/zz"})}, {"x": 1}),
    ({"const": None, **of(**{"$ref": "#/const/a"})}, {"x": 1}),
    ({"enum": [{"type": "bogus"}], **of(**{"$ref": "#/enum/0"})}, {"x": 1}),
    (of(multipleOf=0.1), {"x": 10**400}),
]


# An alarm that goes off inside a finaliser is lost, which Python says; the next one ends it.
LOST_ALARM = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@LOST_ALARM
@pytest.mark.parametrize(("schema", "arguments"), SLOW)
def test_a_check_that_would_take_for_ever_ends_and_does_not_let_the_call_pass(
    schema: Schema, arguments: Schema
) -> None:
    started = time.process_time()
    assert tool_arguments.fault(schema, arguments)
    assert time.process_time() - started < 15


@pytest.mark.parametrize(("schema", "arguments"), UNREADABLE)
def test_a_schema_that_cannot_be_read_is_a_fault_and_no_crash(schema: Schema, arguments: Schema) -> None:
    assert tool_arguments.fault(schema, arguments)


def test_patterns_are_still_kept() -> None:
    schema = {**of(pattern="^[a-z]+(-[a-z]+)*$"), "patternProperties": {"^n_": {"type": "integer"}}}
    assert tool_arguments.fault(schema, {"x": "one-two", "n_1": 3}) == ""
    assert tool_arguments.fault(schema, {"x": "One"}) == "x: 'One' does not match '^[a-z]+(-[a-z]+)*$'"
    assert tool_arguments.fault(schema, {"n_1": "three"}) == "n_1: 'three' is not of type 'integer'"


@pytest.mark.parametrize("schema", [of(pattern="^(a+)+$"), {"patternProperties": {"(a|aa)+$": {}}}])
def test_a_schema_with_an_endless_pattern_is_not_stored(schema: Schema) -> None:
    assert "can take for ever" in tool_schemas.fault(schema)


def test_a_schema_that_takes_long_to_read_is_not_stored() -> None:
    started = time.process_time()
    assert tool_schemas.fault({"type": [{"a": number} for number in range(20_000)]})
    assert time.process_time() - started < 10
