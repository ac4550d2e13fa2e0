"""Turns and the model's window: what was sent is estimated, counted, learnt from, and never cut in silence."""

from collections.abc import Callable
from typing import Any

import pytest

from conversations import answers, runs
from conversations.answers import Result
from conversations.models import Agent, Conversation
from tests.conversations import events
from tests.conversations.scripts import Step, call, say, script, turns

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]


@pytest.fixture
def scripted(agent: Agent) -> Agent:
    """An agent whose model does what the message says."""
    agent.model_config = {"model": "script"}
    agent.save()
    return agent


def usage(prompt: int | None) -> Step:
    return {"usage": None if prompt is None else {"prompt": prompt, "completion": 1}}


def test_a_backend_that_read_only_a_part_of_it_raises_an_alarm(
    work: Work, conversation: Conversation, scripted: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    run = runs.start(conversation, script(say("a" * 6000), usage(300)))
    work()
    run.refresh_from_db()
    assert run.status == "completed"
    [warning] = run.warnings
    assert (warning["code"], warning["turn"]) == ("prompt_truncated", 1)
    assert "The backend counted 300 tokens where about 2," in warning["message"]
    assert f"run {run.pk}, turn 1: The backend counted 300 tokens" in caplog.text
    assert run.messages.get().request["suspect"] is True


@pytest.mark.parametrize("counted", [None, 1500, 3000])
def test_a_count_that_fits_or_none_raises_no_alarm(
    work: Work, conversation: Conversation, scripted: Agent, counted: int | None
) -> None:
    run = runs.start(conversation, script(say("a" * 6000), usage(counted)))
    work()
    run.refresh_from_db()
    assert run.warnings == []
    assert "suspect" not in run.messages.get().request


def test_the_estimate_learns_from_what_the_backend_counted(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    def note_of(*steps: Step) -> dict[str, Any]:
        run = runs.start(conversation, script(*steps))
        work()
        return run.messages.get().request

    first = note_of(say("a" * 5000), usage(3000))
    assert (first["scale"], first["counted"]) == (1.0, 3000)
    second = note_of(say("b" * 5000), usage(9000))
    assert second["scale"] == round(3000 / first["estimated"], 4)
    suspect = note_of(say("c" * 5000), usage(100))
    assert suspect["suspect"] is True
    assert note_of(say("d"))["scale"] == suspect["scale"]  # it taught nothing
    Agent.objects.filter(pk=scripted.pk).update(model_config={"model": "echo"})
    assert note_of(say("e"))["scale"] == 1.0  # another model, of which nothing is known


def test_the_conversation_knows_the_window_of_its_model(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    scripted.model_config = {"model": "script", "context_length": 9000}
    scripted.save()
    runs.start(conversation, script(say("half"), {"error": "backend_error"}))
    work()
    conversation.refresh_from_db()
    assert conversation.context_limit == 9000


def test_an_answer_of_a_tool_that_is_too_long_is_shortened_in_what_is_sent_and_nowhere_else(
    work: Work, conversation: Conversation, scripted: Agent
) -> None:
    scripted.model_config = {"model": "script", "context_length": 3000, "max_tokens": 500}
    scripted.save()
    conversation.client_tool_schemas = [{"name": "look", "description": "Look."}]
    conversation.save()
    run = runs.start(conversation, turns([call("look")], [say("done")]))
    work()
    long = Result(call_id=run.tool_calls.get().call_id, outcome="ok", text="x" * 20_000)
    answers.submit(conversation, [long])
    work()
    run.refresh_from_db()
    assert (run.status, run.context_trimmed) == ("completed", 1)
    told = [data for name, data in events.published(conversation.pk) if name == "context_trimmed"]
    assert [(data["messages"], data["shortened"]) for data in told] == [(0, 1)]
    assert run.messages.get(role="tool").content == "x" * 20_000
