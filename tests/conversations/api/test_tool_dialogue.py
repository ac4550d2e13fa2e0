"""A whole exchange as clients have it: stream, answer, stream again, through the ASGI application and the worker."""

import asyncio

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from conversations.models import Agent, Conversation
from tests.asgi import Client
from tests.conversations.api.conftest import ask, of
from tests.conversations.api.test_stream import in_thread, names, serve, text
from tests.conversations.scripts import call, say
from tests.queue import drain

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # the test's own look at the database, from the event loop


def test_f04_a_client_that_streams_answers_and_streams_again_misses_and_repeats_nothing(
    alice: User, api: APIClient, conversation: Conversation, scripted: Agent
) -> None:
    looks = [[say("One. "), call("look", path="a"), call("todo_list"), call("peek", path="b")]]
    looks += [[say("Two. "), call("look", path="c")], [say("Three.")]]
    ask(api, conversation, *looks)
    said, asked = "", list[int]()

    async def body(client: Client) -> None:
        nonlocal said
        for _ in range(5):
            events = await (await client.get(of(conversation, "stream"))).rest()
            said += text(events)
            if events[-1].name != "tool_request":
                break
            asked.append(len(events[-1].data["tool_requests"]))
            for request in events[-1].data["tool_requests"]:
                result = {"call_id": request["call_id"], "success": True, "output": "seen"}
                answer = api.post(events[-1].data["submit_url"], result)
                assert answer.status_code == 200
            await asyncio.to_thread(in_thread, drain)
        assert events[-1].name == "completed"
        # The last stream was opened when all was over: the answer is in its end.
        said += "".join(one["content"] for one in events[-1].data["messages"] if not text(events))

    serve(alice, body)
    assert asked == [2, 1]
    assert said == "One. Two. Three."


def test_an_approval_leaves_the_stream_open_and_is_no_request_to_the_client(
    alice: User, api: APIClient, conversation: Conversation, scripted: Agent
) -> None:
    scripted.approvals = {"todo_add": "always"}
    scripted.save()
    run = ask(api, conversation, [say("May I? "), call("todo_add", item="rice")], [say("Done.")])

    async def body(client: Client) -> None:
        async with client.open(of(conversation, "stream")) as stream:
            events = await stream.until("approval_request")
            (wanted,) = events[-1].data["approvals"]
            decision = {"call_id": wanted["call_id"], "decision": "approve"}
            assert api.post(f"/api/v1/runs/{run.pk}/approve", decision).status_code == 200
            await asyncio.to_thread(in_thread, drain)
            events += await stream.rest()
        assert text(events) == "May I? Done."
        assert names(events)[-1] == "completed"
        assert "tool_request" not in names(events)
        assert names(events).count("approval_request") == 1

    serve(alice, body)
