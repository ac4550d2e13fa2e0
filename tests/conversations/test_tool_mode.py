"""A whole run whose tools go by a schema: JSON becomes a call, its result is told, the answer is streamed."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from conversations import runs, toolbox
from conversations.models import Agent, Conversation, Run, TodoItem
from maintenance import executor
from models_registry.fakes.http import Received, Script, Server
from models_registry.fakes.openai import DONE, completion, streamed
from tests.conversations import events
from tests.queue import take

Work = Callable[[], list[str]]


class Model:
    """A server that gives these replies, one after another, in small pieces, and keeps what it was asked."""

    def __init__(self, *replies: str) -> None:
        self._replies = iter(replies)
        self.asked: list[Any] = []

    def answer(self, received: Received) -> Script:
        self.asked.append(received.body)
        reply = next(self._replies)
        pieces = [reply[at : at + 7] for at in range(0, len(reply), 7)]
        said = (completion(delta={"content": piece}) for piece in pieces)
        return streamed(*said, completion(finish_reason="stop"), DONE)


@pytest.fixture
def model(settings: Settings, agent: Agent) -> Iterator[Model]:
    """Calls a tool, then answers. Alice's agent is on its server."""
    arguments = {"item": "Zürich", "priority": "high"}
    settings.TITLES = False
    playing = Model(json.dumps({"tool": "todo_add", "arguments": arguments}), '{"answer": "It is \\"noted\\"."}')
    with Server(playing.answer) as server:
        settings.OPENAI_BASE_URL, settings.OPENAI_MODEL = f"{server.url}/v1", "small"
        agent.ai_backend, agent.model_config, agent.tool_mode = "openai", {}, Agent.ToolMode.JSON_SCHEMA
        agent.save()
        yield playing


def test_a_tool_is_called_and_the_answer_streamed(model: Model, conversation: Conversation, work: Work) -> None:
    runs.start(conversation, "Note that.")
    assert work() == ["succeeded", "succeeded"]
    run = Run.objects.get()
    assert (run.status, run.turn_count, run.snapshot.tool_mode) == ("completed", 2, "json_schema")
    assert [(item.item, item.priority) for item in TodoItem.objects.all()] == [("Zürich", "high")]
    (call,) = run.tool_calls.all()
    assert (call.name, call.status) == ("todo_add", "succeeded")
    assert events.text_of(conversation.pk, run.pk) == 'It is "noted".'
    assert run.messages.order_by("position").last().content == 'It is "noted".'

    first, second = model.asked
    assert "tools" not in first
    assert first["response_format"]["type"] == "json_schema"
    assert second["messages"][0] == first["messages"][0]  # the same instructions: prompt caches hold
    assert json.loads(second["messages"][-2]["content"]) == {
        "tool": "todo_add",
        "arguments": {"item": "Zürich", "priority": "high"},
    }
    assert second["messages"][-1]["role"] == "user"
    assert second["messages"][-1]["content"] == f"Result of todo_add:\n{call.result}"


def test_a_run_keeps_its_way_when_the_agent_changes_it(model: Model, conversation: Conversation, work: Work) -> None:
    runs.start(conversation, "Note that.")
    dispatch = take()
    assert dispatch
    executor.perform(job_id=dispatch[0], dispatch=dispatch[1], worker="test")
    Agent.objects.update(tool_mode=Agent.ToolMode.NATIVE)
    assert work() == ["succeeded"]
    assert Run.objects.get().status == "completed"
    assert ["tools" in body for body in model.asked] == [False, False]


def test_a_model_that_is_bound_to_a_schema_is_offered_the_servers_tools_only_where_they_are_chosen(
    model: Model, agent: Agent, conversation: Conversation
) -> None:
    agent.tool_mode = Agent.ToolMode.AUTO
    conversation.client_tool_schemas = [{"name": "look", "description": "Look."}]
    assert [tool.name for tool in toolbox.of_conversation(agent, conversation, by_schema=True)] == ["look"]
    agent.system_tools = ["todo_list"]
    assert [tool.name for tool in toolbox.of_conversation(agent, conversation, by_schema=True)] == ["todo_list", "look"]
    agent.system_tools = None
    assert "todo_add" in [tool.name for tool in toolbox.of_conversation(agent, conversation)]
