"""What was sent can be shown exactly: the bytes of a request are made again from the database."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from conversations import answers, forks, rebuild, requests, runs
from conversations.answers import Result
from conversations.models import Agent, Conversation, Message, Run, SystemPrompt
from maintenance.errors import Refusal
from models_registry.backends import openai_request
from models_registry.fakes.http import Received, Script
from models_registry.fakes.openai import DONE, OpenAIServer, completion, streamed
from tests.conversations.scripts import call, say, script, turns

pytestmark = pytest.mark.databases

Work = Callable[[], list[str]]
LOOK = {"name": "look", "description": "Look at a file.", "parameters": {
    "type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}}  # fmt: skip


def asks(name: str, arguments: dict[str, Any], number: int = 0) -> bytes:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return completion(delta={"tool_calls": [{"index": number, "id": "x", "type": "function", "function": function}]})


def ending(counted: int, *events: bytes) -> Script:
    usage = {"prompt_tokens": counted, "completion_tokens": 3, "total_tokens": counted + 3}
    return streamed(*events, completion(finish_reason="stop"), completion(choices=[], usage=usage), DONE)


def about(received: Received) -> int:
    """Tokens as a real server would count them."""
    return len(json.dumps(received.body)) // 4


@pytest.fixture
def replies() -> list[Sequence[bytes]]:
    """What the model says, one after another; then always the same word."""
    return []


@pytest.fixture
def server(
    settings: Settings, replies: list[Sequence[bytes]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:

        def answer(received: Received) -> Script:
            said = replies.pop(0) if replies else [completion(delta={"content": "Yes. "})]
            return ending(about(received), *said)

        monkeypatch.setattr(running, "answer", answer)
        settings.OPENAI_BASE_URL = running.base_url
        settings.OPENAI_API_KEY = "sk-planted"
        yield running


@pytest.fixture
def talking(server: OpenAIServer, agent: Agent, conversation: Conversation) -> Conversation:
    agent.ai_backend = "openai"
    agent.model_config = {"model": "stub", "temperature": 0.5, "stop_sequences": ["END"], "context_length": 3000}
    agent.save()
    conversation.client_tool_schemas = [LOOK]
    conversation.save()
    return Conversation.objects.get(pk=conversation.pk)


def rebuilt() -> list[bytes]:
    """The bodies of all requests, made again, in the order in which they were sent."""
    said = Message.objects.filter(role="assistant").select_related("run__snapshot").order_by("pk")
    return [body_of(rebuild.request_of(message)) for message in said]


def body_of(request: Any) -> bytes:
    return json.dumps(openai_request.body(request, extensions=True)).encode()


def sent(server: OpenAIServer) -> list[bytes]:
    return [json.dumps(received.body).encode() for received in server.received]


def test_every_request_of_a_run_with_tools_is_rebuilt_to_the_byte(
    server: OpenAIServer, replies: list[Sequence[bytes]], talking: Conversation, work: Work
) -> None:
    replies += [
        [completion(delta={"content": "Let me see. "}), asks("todo_add", {"item": "rice"}), asks("nope", {}, 1)],
        [asks("look", {"path": "ü"})],
    ]
    run = runs.start(talking, "Häh?")
    work()
    answers.submit(talking, [Result(call_id=run.tool_calls.get(name="look").call_id, outcome="ok", text="seen")])
    work()
    run.refresh_from_db()
    assert (run.status, run.turn_count) == ("completed", 3)
    assert len(server.received) == 3
    assert rebuilt() == sent(server)


def test_it_stays_so_after_later_messages_a_retry_and_a_changed_agent(
    server: OpenAIServer, talking: Conversation, work: Work, agent: Agent, prompt: SystemPrompt
) -> None:
    runs.start(talking, "one")
    work()
    last = runs.start(talking, "two")
    work()
    last.refresh_from_db()
    runs.regenerate(last)
    work()
    Run.objects.filter(pk=last.pk).update(status="failed")
    SystemPrompt.objects.filter(pk=prompt.pk).update(template="You are somebody else.")
    Agent.objects.filter(pk=agent.pk).update(model_config={"model": "other"}, system_tools=[])
    runs.start(Conversation.objects.get(pk=talking.pk), "three")
    work()
    assert [json.loads(body)["model"] for body in sent(server)] == ["stub", "stub", "stub", "other"]
    assert rebuilt() == sent(server)


def test_it_stays_so_where_messages_were_left_out_and_answers_of_tools_shortened(
    server: OpenAIServer, replies: list[Sequence[bytes]], talking: Conversation, work: Work, agent: Agent
) -> None:
    Agent.objects.filter(pk=agent.pk).update(system_tools=[])
    for number in range(6):
        runs.start(talking, f"question {number} " + "word " * 300)
        work()
    replies += [[asks("look", {"path": "big"})]]
    run = runs.start(talking, "look")
    work()
    big = Result(call_id=run.tool_calls.get().call_id, outcome="ok", text="zeile " * 5000)
    answers.submit(talking, [big])
    work()
    run.refresh_from_db()
    note = run.messages.get(content="Yes. ").request
    assert run.status == "completed"
    assert note["trimmed"]
    assert list(note["shortened"]) == [str(run.messages.get(role="tool").position)]
    assert "[shortened to fit the model's window: " in server.received[-1].body["messages"][-1]["content"]
    assert run.messages.get(role="tool").content == "zeile " * 5000
    assert rebuilt() == sent(server)


def test_f32_the_next_turn_of_a_run_sends_the_same_beginning(
    server: OpenAIServer, replies: list[Sequence[bytes]], talking: Conversation, work: Work, prompt: SystemPrompt
) -> None:
    SystemPrompt.objects.filter(pk=prompt.pk).update(template="It is {{ time }}. {{ message_count }} messages.")
    replies += [[asks("todo_list", {})], [asks("todo_list", {})]]
    runs.start(talking, "go")
    work()
    bodies = [received.body for received in server.received]
    assert len(bodies) == 3
    for before, after in pairwise(bodies):
        assert after["messages"][: len(before["messages"])] == before["messages"]
        assert json.dumps(after["tools"]) == json.dumps(before["tools"])


def test_the_note_is_the_digest_of_what_was_sent(work: Work, conversation: Conversation, agent: Agent) -> None:
    run = runs.start(conversation, "hello there")
    work()
    said = Message.objects.select_related("run__snapshot").get(run=run)
    assert said.request["sha256"] == requests.digest(rebuild.request_of(said))
    assert said.request["sent"] == [[1, 1]]
    assert rebuild.shown(Run.objects.get(pk=run.pk), 1)["exact"] is True
    Message.objects.filter(pk=run.user_message_id).update(content="tampered")
    assert rebuild.shown(Run.objects.get(pk=run.pk), 1)["exact"] is False


def test_what_was_sent_is_noted_for_an_answer_that_broke_off(
    work: Work, conversation: Conversation, agent: Agent
) -> None:
    Agent.objects.filter(pk=agent.pk).update(model_config={"model": "script"})
    run = runs.start(conversation, script(say("half"), {"error": "backend_error"}))
    work()
    said = Message.objects.select_related("run__snapshot").get(run=run)
    assert said.status == "incomplete"
    assert requests.digest(rebuild.request_of(said)) == said.request["sha256"]


def test_of_a_copy_nothing_was_sent(work: Work, conversation: Conversation) -> None:
    runs.start(conversation, "hello")
    work()
    copied = forks.fork(conversation, 2).messages.get(role="assistant")
    with pytest.raises(Refusal, match="was not noted"):
        rebuild.request_of(copied)


def test_a_turn_that_there_was_not_has_no_request(work: Work, conversation: Conversation) -> None:
    run = runs.start(conversation, turns([call("todo_list")], [say("x")]))
    for number in (0, 1, 2):
        with pytest.raises(Refusal, match="no answer"):
            rebuild.shown(run, number)
