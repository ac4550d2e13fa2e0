"""A run of ten turns with tools on the model that is shipped: nothing in it is played."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pytest_django.fixtures import Settings

from conversations import runs
from conversations.models import Agent, Conversation, Run, Tool
from models_registry.backends.base import Cancellation, ChatRequest, OnDelta, Reply
from models_registry.backends.tool_mode import SchemaToolBackend
from models_registry.fakes.http import Server
from tests.conversations import events
from tests.conversations.tool_plots import CountingTool
from tests.embedded import model_server

pytestmark = pytest.mark.acceptance

TURNS = 10
PLACES = ("Vienna", "Zurich", "Hangzhou")


@pytest.fixture
def insisting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the last turn the model may call tools and nothing else, in the last one answer and nothing else.

    A model of this size would answer whenever it likes.
    """
    stream = SchemaToolBackend.stream

    def insist(backend: SchemaToolBackend, asked: ChatRequest, on_delta: OnDelta, cancellation: Cancellation) -> Reply:
        turn = 1 + sum(message.role == "assistant" for message in asked.messages)
        held = replace(asked, answer_allowed=False) if turn < TURNS else replace(asked, tools=())
        return stream(backend, held, on_delta, cancellation)

    monkeypatch.setattr(SchemaToolBackend, "stream", insist)


@pytest.fixture
def tool(settings: Settings, agent: Agent, tmp_path: Path) -> Iterator[CountingTool]:
    """The agent is on the model, and has a tool whose server counts."""
    counting = CountingTool()
    places = {"type": "object", "properties": {"place": {"enum": list(PLACES)}}, "required": ["place"]}
    with model_server(tmp_path, EMBEDDED_MODEL_SLOTS="1") as model, Server(counting.answer) as server:
        settings.EMBEDDED_MODEL_URL, settings.OUTBOUND_ALLOWED = f"{model}/v1", [urlsplit(server.url).netloc]
        agent.ai_backend, agent.tool_mode = "embedded", Agent.ToolMode.JSON_SCHEMA
        agent.model_config = {"temperature": 0, "seed": 7, "max_tokens": 256}
        agent.system_tools = ["todo_list"]
        agent.save()
        weather = Tool.objects.create(
            user=agent.user, name="weather", description="The weather of a place.", parameters=places,
            url=f"{server.url}/weather/{{place}}",
        )  # fmt: skip
        agent.tools.add(weather)
        yield counting


def test_ten_turns_with_tools_on_a_real_model(
    tool: CountingTool, insisting: None, conversation: Conversation, work: Callable[[], list[str]]
) -> None:
    runs.start(conversation, "How is the weather in Vienna, Zurich and Hangzhou? Look several times.")
    assert work() == ["succeeded"] * TURNS
    run = Run.objects.get()
    assert (run.status, run.turn_count, run.snapshot.tool_mode) == ("completed", TURNS, "json_schema")
    made = list(run.tool_calls.all())
    assert [call.status for call in made] == ["succeeded"] * (TURNS - 1)
    asked = Counter(call.arguments["place"] for call in made if call.name == "weather")
    assert asked
    assert tool.counted == asked
    said = run.messages.order_by("position").last()
    assert said is not None
    assert said.content.strip()
    assert events.text_of(conversation.pk, run.pk) == said.content
    assert events.names(conversation.pk)[-1] == "completed"
    assert (run.usage_estimated, run.prompt_tokens > 0) == (False, True)
