"""Turns with Anthropic's protocol: what a model thought before it called a tool reaches it again, signed as it was."""

from collections.abc import Callable, Iterator

import pytest
from pytest_django.fixtures import Settings

from conversations import runs
from conversations.models import Agent, Conversation, Run
from models_registry.fakes.anthropic import SIGNED, AnthropicServer
from models_registry.fakes.http import Play, Received, Script

THINKER = "claude-sonnet-4-5"


@pytest.fixture
def server(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicServer]:
    """Backend `anthropic`: it thinks and asks for a tool, and says a word when it has the answer."""
    with AnthropicServer(tokens=1) as running:
        refusing = running.answer

        def answer(received: Received) -> Script | Play:
            answered = received.body["messages"][-1]["content"][0]["type"] == "tool_result"
            running.scripts[THINKER] = running.scripts["stub" if answered else "stub-thinking"]
            return refusing(received)

        monkeypatch.setattr(running, "answer", answer)
        settings.ANTHROPIC_BASE_URL, settings.ANTHROPIC_API_KEY = running.base_url, "sk-ant-planted"
        yield running


def test_signed_thinking_survives_the_database(
    server: AnthropicServer, agent: Agent, conversation: Conversation, work: Callable[[], list[str]]
) -> None:
    agent.ai_backend, agent.model_config = "claude", {"model": THINKER, "think": True}
    agent.save()
    run = runs.start(conversation, "What does f say?")
    work()
    run = Run.objects.get(pk=run.pk)
    assert (run.status, run.error, run.turn_count) == ("completed", "", 2)
    first, second = server.received
    assert first.body["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    said, result = second.body["messages"][1:]
    assert said["content"][0] == SIGNED
    assert (said["content"][1]["type"], said["content"][1]["name"]) == ("tool_use", "f")
    assert result["content"][0]["tool_use_id"] == said["content"][1]["id"]
    assert run.prompt_tokens == 24
