from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from conversations.models import Agent, Conversation, Message, Run, Snapshot, ToolCall
from maintenance.http import UserThrottle
from tests.conversations.scripts import turns
from tests.queue import drain


@pytest.fixture(autouse=True)
def _fresh_throttle() -> None:
    UserThrottle.counter.clear()


def client_of(user: User) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def stranger(charlie: User) -> APIClient:
    """A client of the REST API, signed in as Charlie."""
    return client_of(charlie)


def ended_run(conversation: Conversation, *, answer: str = "Hello.", **columns: Any) -> Run:
    """A run as it is when it has ended: question, answer, one tool call, snapshot."""
    position = conversation.messages.count()
    question = Message.objects.create(conversation=conversation, position=position + 1, role="user", content="Hi.")
    run = Run.objects.create(
        conversation=conversation, user_message=question, **{"status": "completed", "turn_count": 1, **columns}
    )
    note = {"sent": [[position + 1, position + 1]], "shortened": {}, "trimmed": 0, "sha256": "noted"}
    said = Message.objects.create(
        conversation=conversation, run=run, position=position + 2, role="assistant", content=answer, request=note
    )
    ToolCall.objects.create(
        message=said, run=run, call_id="c1", name="look", kind="client", status="succeeded", result="seen"
    )
    Snapshot.objects.create(
        run=run, agent_name="Parrot", system_prompt="You are Parrot.", backend="fake", model="echo",
        config={"model": "echo"},
    )  # fmt: skip
    return run


@pytest.fixture
def run(conversation: Conversation) -> Run:
    return ended_run(conversation)


LOOK = {
    "name": "look",
    "description": "Look at a file.",
    "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}


@pytest.fixture
def scripted(conversation: Conversation) -> Agent:
    """The conversation's agent, whose model does what it is told; the client brings along `look` and `peek`."""
    conversation.client_tool_schemas = [LOOK, {**LOOK, "name": "peek"}]
    conversation.save()
    agent = conversation.agent
    agent.model_config = {"model": "script"}
    agent.save()
    return agent


def of(conversation: Conversation, tail: str) -> str:
    return f"/api/v1/conversations/{conversation.pk}/{tail}"


def ask(api: APIClient, conversation: Conversation, *each: list[dict[str, Any]]) -> Run:
    """Post what makes the model do this, turn by turn, and let the workers work as far as they can."""
    answer = api.post(of(conversation, "messages"), {"content": turns(*each)})
    assert answer.status_code == 202, answer.json()
    drain()
    return Run.objects.get(pk=answer.json()["run_id"])


def calls_of(api: APIClient, conversation: Conversation) -> list[str]:
    """The ids of the calls that the client is asked to answer."""
    return [call["call_id"] for call in api.get(of(conversation, "status")).json().get("tool_requests", [])]
