"""A backend over HTTP that lies, stalls and breaks off: the run ends right, with one terminal event."""

from collections.abc import Callable, Iterator

import pytest
from pytest_django.fixtures import Settings

from conversations import runs
from conversations.models import Agent, Conversation, Run
from maintenance.models import Job
from models_registry.fakes.openai import OpenAIServer
from tests.conversations import events

Work = Callable[[], list[str]]
TERMINAL = {"completed", "failed", "cancelled"}


@pytest.fixture
def server(settings: Settings) -> Iterator[OpenAIServer]:
    """A server that speaks the OpenAI protocol, as backend `openai`, with short patience on our side."""
    with OpenAIServer(tokens=9, delay_seconds=0.001) as running:
        settings.OPENAI_BASE_URL = running.base_url
        settings.OPENAI_API_KEY = "sk-planted-secret"
        settings.BACKEND_IDLE_TIMEOUT_SECONDS = 0.3
        yield running


@pytest.fixture
def ask(server: OpenAIServer, agent: Agent, conversation: Conversation, work: Work) -> Callable[[str], Run]:
    """Send a message to an agent whose model makes the server misbehave in this way."""

    def send(model: str) -> Run:
        agent.ai_backend, agent.model_config = "openai", {"model": model}
        agent.save()
        run = runs.start(conversation, "hello")
        work()
        return Run.objects.get(pk=run.pk)

    return send


@pytest.mark.parametrize(
    ("model", "status", "code", "text"),
    [
        ("stub", "completed", "", "The quick brown fox jumps over the lazy dog. "),
        ("split-utf8", "completed", "", "漢字"),
        ("stall-body", "failed", "backend_timeout", "So "),
        ("cut", "incomplete", "", "So "),
        ("cut-headers", "failed", "backend_unreachable", ""),
        ("error-in-200", "failed", "backend_error", "So "),
        ("context", "incomplete", "", ""),
        ("http-400", "failed", "bad_request", ""),
        ("http-401", "failed", "unauthorized", ""),
        ("http-404", "failed", "model_not_found", ""),
        ("http-429", "failed", "rate_limited", ""),
        ("http-500", "failed", "backend_error", ""),
        ("http-529", "failed", "backend_error", ""),
    ],
)
def test_f25_each_misbehaviour_ends_the_run_in_its_own_way(
    ask: Callable[[str], Run], model: str, status: str, code: str, text: str
) -> None:
    run = ask(model)
    assert (run.status, run.error_code) == (status, code)
    assert "".join(message.content for message in run.messages.all()) == text
    assert events.text_of(run.conversation_id, run.pk) == text
    ends = [name for name in events.names(run.conversation_id) if name in TERMINAL]
    assert len(ends) == 1
    assert events.names(run.conversation_id)[-1] == ends[0]


@pytest.mark.parametrize("model", ["http-401", "http-500", "error-in-200"])
def test_f10_secrets_and_raw_bodies_stay_away_from_clients(ask: Callable[[str], Run], model: str) -> None:
    run = ask(model)
    shown = f"{run.error} {Job.objects.get().error} {events.published(run.conversation_id)}"
    for planted in ("sk-planted-secret", "sk-1234", "/secret/paths", "127.0.0.1"):
        assert planted not in shown


def test_f09_tokens_are_counted(ask: Callable[[str], Run]) -> None:
    run = ask("stub")
    assert (run.prompt_tokens, run.completion_tokens, run.usage_estimated) == (12, 9, False)


def test_f09_tokens_that_a_backend_does_not_count_are_estimated_and_marked(ask: Callable[[str], Run]) -> None:
    run = ask("split-utf8")
    assert run.usage_estimated
    assert run.prompt_tokens > 0


def test_a_backend_that_is_not_there_fails_the_run(
    ask: Callable[[str], Run], settings: Settings, server: OpenAIServer
) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    run = ask("stub")
    assert (run.status, run.error_code) == ("failed", "backend_unreachable")


def test_a_tool_call_that_nobody_offered_gets_an_answer_for_the_next_request(
    ask: Callable[[str], Run], agent: Agent, server: OpenAIServer
) -> None:
    agent.max_turns = 2
    agent.save()
    run = ask("stub-tool")
    assert (run.status, run.reason, run.turn_count) == ("incomplete", "max_turns", 2)
    second = server.received[-1].body["messages"]
    asked, answered = second[-2], second[-1]
    assert answered["role"] == "tool"
    assert answered["tool_call_id"] == asked["tool_calls"][0]["id"]
