from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from conversations.models import Conversation, Message, Run, Snapshot, ToolCall
from maintenance.http import UserThrottle


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
    said = Message.objects.create(
        conversation=conversation, run=run, position=position + 2, role="assistant", content=answer
    )
    ToolCall.objects.create(
        message=said, run=run, call_id="c1", name="look", kind="client", status="succeeded", result="seen"
    )
    Snapshot.objects.create(run=run, agent_name="Parrot", system_prompt="You are Parrot.", backend="fake", model="echo")
    return run


@pytest.fixture
def run(conversation: Conversation) -> Run:
    return ended_run(conversation)
