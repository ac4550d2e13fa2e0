"""JSON that keeps the order of its keys, on every database."""

import json
from typing import Any

import pytest
from django.core import serializers

from conversations.models import Conversation, Message, Run, Snapshot

pytestmark = pytest.mark.databases

TOOLS: list[dict[str, Any]] = [{"zebra": {"longer": 1, "b": "ü\x00", "a": [None, True]}, "ant": 2}]


@pytest.fixture
def snapshot(conversation: Conversation) -> Snapshot:
    message = Message.objects.create(conversation=conversation, position=1, role="user", content="x")
    run = Run.objects.create(conversation=conversation, user_message=message, status="completed")
    return Snapshot.objects.create(run=run, agent_name="a", system_prompt="", tools=TOOLS, backend="fake", model="echo")


def test_keys_come_back_in_the_order_in_which_they_went(snapshot: Snapshot) -> None:
    read = Snapshot.objects.get(pk=snapshot.pk)
    assert json.dumps(read.tools) == json.dumps(TOOLS)
    read.save()
    assert json.dumps(Snapshot.objects.get(pk=snapshot.pk).tools) == json.dumps(TOOLS)


def test_it_survives_a_dump(snapshot: Snapshot) -> None:
    dumped = serializers.serialize("json", [snapshot])
    [loaded] = serializers.deserialize("json", dumped)
    assert json.dumps(loaded.object.tools) == json.dumps(TOOLS)
