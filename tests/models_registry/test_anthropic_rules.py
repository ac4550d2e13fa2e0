"""The test server refuses what Anthropic refuses: else it would prove nothing of the driver."""

from typing import Any

import pytest

from models_registry.fakes.anthropic_rules import broken, broken_header, signature

CALL = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
OTHER = {**CALL, "id": "b"}
RESULT = {"type": "tool_result", "tool_use_id": "a"}
TOOLS = [{"name": "f", "input_schema": {"type": "object"}}]
THINKING = {"type": "enabled", "budget_tokens": 1024}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": signature("hm")}


def text(words: str = "So") -> dict[str, Any]:
    return {"type": "text", "text": words}


def body(*contents: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    """A request with these messages, a user's and an assistant's in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[number % 2], "content": content} for number, content in enumerate(contents)]
    return {"model": "m", "max_tokens": 2000, "messages": messages, **values}


GOOD = {
    "a question": body([text()]),
    "calls and their results": body([text()], [CALL, OTHER], [RESULT, {**RESULT, "tool_use_id": "b"}], tools=TOOLS),
    "signed thinking": body([text()], [SIGNED, CALL], [RESULT], tools=TOOLS, thinking=THINKING),
    "a second call without thinking": body(
        [text()], [SIGNED, CALL], [RESULT], [OTHER], [{**RESULT, "tool_use_id": "b"}], tools=TOOLS, thinking=THINKING
    ),
}
BAD = {
    "Extra inputs": body([text()], frequency_penalty=1),
    "max_tokens: Field required": {"model": "m", "messages": []},
    "at least one message": body(),
    "temperature: range": body([text()], temperature=1.5),
    "Please use only one": body([text()], temperature=1, top_p=0.5),
    "text content blocks must be non-empty": body([text()], system=""),
    "may only be set to 1": body([text()], temperature=0.5, thinking=THINKING),
    "greater than or equal to 1024": body([text()], thinking={**THINKING, "budget_tokens": 1000}),
    "must be greater than `thinking.budget_tokens`": body([text()], max_tokens=1024, thinking=THINKING),
    "Expected `thinking`": body([text()], [CALL], [RESULT], tools=TOOLS, thinking=THINKING),
    "Invalid `signature`": body([text()], [{**SIGNED, "thinking": "changed"}]),
    'must use the "user" role': {**body(), "messages": [{"role": "assistant", "content": [text()]}]},
    "Input should be 'user' or 'assistant'": {
        **body(),
        "messages": [{"role": role, "content": [text()]} for role in ("user", "system")],
    },
    "non-whitespace": body([text(" \n")]),
    "valid dictionary": body([text()], [{**CALL, "input": "{}"}], [RESULT], tools=TOOLS),
    "base64": body([{"type": "image", "source": {"data": "data:image/png;base64,iVBORw0="}}]),
    "unexpected `tool_use_id`": body([RESULT]),
    "messages.2: `tool_use` ids were found without": body([text()], [CALL, OTHER], [RESULT], tools=TOOLS),
    "`tool_use` ids were found without": body([text()], [CALL], tools=TOOLS),
    "`tool_use` ids were found without `tool_result` blocks immediately": body(
        [text()], [CALL], [text(), RESULT], tools=TOOLS
    ),
    "ids must be unique": body([text()], [CALL], [RESULT], [CALL], [RESULT], tools=TOOLS),
    "must define tools": body([text()], [CALL], [RESULT]),
    "'additionalProperties' must be set to false": body(
        [text()], output_config={"format": {"schema": {"anyOf": [{"type": "object", "properties": {}}]}}}
    ),
}


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD.keys())
def test_a_good_request_is_taken(good: dict[str, Any]) -> None:
    assert broken(good) is None


@pytest.mark.parametrize("words", BAD)
def test_a_bad_request_is_refused_in_the_providers_words(words: str) -> None:
    assert words in (broken(BAD[words]) or "")


def test_a_key_and_a_version_are_demanded() -> None:
    assert broken_header({"x-api-key": "k", "anthropic-version": "2023-06-01"}) is None
    assert (broken_header({"anthropic-version": "2023-06-01"}) or [0])[0] == 401
    assert (broken_header({"x-api-key": "k"}) or [0])[0] == 400
