"""The test server refuses a history that OpenAI refuses."""

from typing import Any

import pytest

from models_registry.fakes.openai_rules import broken

ASKED = {"role": "user", "content": "Go"}
CALLED = {"role": "assistant", "content": "", "tool_calls": [{"id": "a"}, {"id": "b"}]}


def answer(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": ""}


@pytest.mark.parametrize(
    "messages",
    [[ASKED], [ASKED, CALLED, answer("b"), answer("a")], [ASKED, CALLED, answer("a"), answer("b"), ASKED]],
)
def test_a_good_history_is_taken(messages: list[dict[str, Any]]) -> None:
    assert broken(messages) is None


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([ASKED, CALLED], "did not have responses: a"),
        ([ASKED, CALLED, answer("a")], "did not have responses: b"),
        ([ASKED, CALLED, answer("a"), ASKED, answer("b")], "did not have responses: b"),
        ([ASKED, answer("a")], "must be a response"),
        ([ASKED, CALLED, answer("a"), answer("a"), answer("b")], "must be a response"),
    ],
)
def test_a_call_has_one_answer_and_an_answer_has_its_call(messages: list[dict[str, Any]], words: str) -> None:
    said = broken(messages)
    assert said is not None
    assert words in said
