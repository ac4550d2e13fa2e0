"""Who may open a stream, how many may be open, and how they end."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from pytest_django import Settings

from conversations.models import Conversation
from maintenance.access import tokens
from maintenance.models import ApiToken
from tests.asgi import Client
from tests.conversations.api.streaming import Writer
from tests.conversations.api.test_stream import serve
from tests.services import Valkey

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _world(valkey: Valkey, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    settings.STREAM_HEARTBEAT_SECONDS = 0.2


@pytest.fixture
def path(conversation: Conversation) -> str:
    Writer(conversation)
    return f"/api/v1/conversations/{conversation.pk}/stream"


def refused(path: str, headers: dict[str, str], status: int, code: str, method: str = "GET") -> None:
    async def body(client: Client) -> None:
        response = await client.get(path, headers, method)
        assert (response.status, response.json["code"]) == (status, code)
        assert response.json["message"]
        assert response.headers["content-type"] == "application/json"

    serve(None, body)


def admitted(path: str, headers: dict[str, str]) -> None:
    async def body(client: Client) -> None:
        async with client.open(path, headers) as stream:
            assert stream.status == 200
            assert (await stream.event()).name == "connected"

    serve(None, body)


def bearer(user: User, **terms: object) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens.issue(user, 'test', **terms)[1]}"}  # type: ignore[arg-type]


def cookie(user: User) -> dict[str, str]:
    browser = Browser()
    browser.force_login(user)
    return {"cookie": f"sessionid={browser.cookies['sessionid'].value}"}


def test_without_a_token_it_is_refused(path: str) -> None:
    refused(path, {}, 401, "unauthenticated")


@pytest.mark.parametrize("header", ["Bearer", "Bearer nonsense", "Basic YTpi", "Bearer \u00e9"])
def test_with_a_token_that_is_none_it_is_refused(path: str, header: str) -> None:
    refused(path, {"authorization": header}, 401, "unauthenticated")


def test_a_revoked_token_is_refused(path: str, alice: User) -> None:
    headers = bearer(alice)
    tokens.revoke(ApiToken.objects.get(user=alice))
    refused(path, headers, 401, "unauthenticated")


def test_a_token_without_the_scope_is_refused(path: str, alice: User) -> None:
    refused(path, bearer(alice, granted=["chat"]), 403, "forbidden")


def test_the_scope_to_read_is_enough(path: str, alice: User) -> None:
    admitted(path, bearer(alice, granted=["read"]))


def test_somebody_elses_conversation_is_not_there(path: str, charlie: User) -> None:
    refused(path, bearer(charlie), 404, "not_found")


def test_an_unknown_conversation_is_not_there(alice: User) -> None:
    refused("/api/v1/conversations/999999999999/stream", bearer(alice), 404, "not_found")


def test_the_owners_session_is_admitted(path: str, alice: User) -> None:
    admitted(path, cookie(alice))


def test_a_strangers_session_sees_nothing(path: str, charlie: User) -> None:
    refused(path, cookie(charlie), 404, "not_found")


def test_a_session_that_is_none_is_refused(path: str) -> None:
    refused(path, {"cookie": "sessionid=nonsense"}, 401, "unauthenticated")


def test_an_operators_session_sees_all_conversations_but_the_token_only_the_own(path: str, bob: User) -> None:
    admitted(path, cookie(bob))
    refused(path, bearer(bob), 404, "not_found")


def test_staff_sees_others_conversations_only_with_the_permission(path: str, charlie: User) -> None:
    User.objects.filter(pk=charlie.pk).update(is_staff=True)
    refused(path, cookie(charlie), 404, "not_found")
    charlie.user_permissions.add(Permission.objects.get(codename="view_conversation"))
    admitted(path, cookie(charlie))


def test_a_host_that_is_not_served_is_refused(path: str, alice: User) -> None:
    refused(path, {**bearer(alice), "host": "evil.example"}, 400, "malformed")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_streams_are_only_read(path: str, alice: User, method: str) -> None:
    refused(path, bearer(alice), 405, "method_not_allowed", method)


def test_other_paths_are_djangos(alice: User) -> None:
    async def body(client: Client) -> None:
        assert (await client.get("/health/live")).status == 200
        assert (await client.get("/api/v1/conversations/x/stream")).status == 404

    serve(None, body)


def test_a_user_may_have_so_many_streams_and_a_closed_one_makes_room(
    path: str, alice: User, bob: User, settings: Settings
) -> None:
    settings.STREAMS_PER_USER = 2
    others = cookie(bob)

    async def body(client: Client) -> None:
        async with client.open(path):
            async with client.open(path):
                full = await client.get(path)
                assert (full.status, full.json["code"]) == (429, "too_many_streams")
                assert full.headers["retry-after"]
                async with client.open(path, {"authorization": "", **others}) as stream:
                    assert stream.status == 200
            async with client.open(path) as again:
                assert again.status == 200

    serve(alice, body)


def test_the_server_has_room_for_so_many_streams(path: str, alice: User, settings: Settings) -> None:
    settings.STREAMS_MAX = 1

    async def body(client: Client) -> None:
        async with client.open(path):
            full = await client.get(path)
            assert (full.status, full.json["code"]) == (503, "busy")

    serve(alice, body)


def test_a_client_that_leaves_is_forgotten(path: str, alice: User) -> None:
    async def body(client: Client) -> None:
        readership = client.application.readership  # type: ignore[attr-defined]
        async with client.open(path) as stream:
            await stream.until(":")
            assert len(readership) == 1
            stream.leave()
            async with asyncio.timeout(10):
                while len(readership):
                    await asyncio.sleep(0.005)
        assert readership.hub._subscriptions == {}

    serve(alice, body)


@contextmanager
def thread_count_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before + 6


def test_f35_two_hundred_readers_hold_no_thread_each(
    path: str, alice: User, conversation: Conversation, settings: Settings
) -> None:
    settings.STREAMS_PER_USER = 200
    writer = Writer(Conversation.objects.create(user=alice, agent=conversation.agent))
    writer.say("Hello")

    async def body(client: Client) -> None:
        with thread_count_stays():
            async with AsyncExitStack() as stack:
                own = f"/api/v1/conversations/{writer.run.conversation_id}/stream"
                streams = [await stack.enter_async_context(client.open(own)) for _ in range(200)]
                for stream in streams:
                    await stream.until("text_chunk")
                writer.say(" there")
                for stream in streams:
                    assert (await stream.until("text_chunk"))[-1].data["chunk"] == " there"

    serve(alice, body)


def test_a_client_that_takes_nothing_is_dropped(alice: User, conversation: Conversation, settings: Settings) -> None:
    settings.STREAM_READER_MAX_EVENTS = 20
    writer = Writer(conversation)

    async def body(client: Client) -> None:
        readership = client.application.readership  # type: ignore[attr-defined]
        async with client.open(f"/api/v1/conversations/{conversation.pk}/stream") as stream:
            await stream.until(":")
            stream.become_deaf()
            for _ in range(50):
                await asyncio.to_thread(writer.say, "x")
            async with asyncio.timeout(10):
                while len(readership):
                    await asyncio.sleep(0.005)
            assert not stream.over

    serve(alice, body)


def test_streams_end_properly_when_the_server_stops(path: str, alice: User) -> None:
    async def body(client: Client) -> None:
        readership = client.application.readership  # type: ignore[attr-defined]
        async with client.open(path) as stream:
            await stream.until("connected")
            readership.end_all()
            await stream.rest()
            assert stream.over
        assert (await client.get(path)).status == 503

    serve(alice, body)


def test_a_deleted_conversation_ends_its_streams(path: str, alice: User, conversation: Conversation) -> None:
    async def body(client: Client) -> None:
        async with client.open(path) as stream:
            await stream.until("connected")
            conversation.delete()
            await stream.rest()

    serve(alice, body)
