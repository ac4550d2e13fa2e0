"""Event streams through the ASGI application: who may read them, and what they say whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from chinese_worker.asgi import Server
from conversations import resumption, runs
from conversations.models import Conversation
from maintenance import broker
from maintenance.access import tokens
from tests.asgi import Client, Event
from tests.conversations.api.streaming import Writer
from tests.conversations.scripts import say, script, wait
from tests.services import Valkey

pytestmark = pytest.mark.django_db(transaction=True)

Body = Callable[[Client], Coroutine[Any, Any, None]]


@pytest.fixture(autouse=True)
def _world(valkey: Valkey, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests' own look at the database, from the thread that the streams' event loop runs in.
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    settings.STREAM_HEARTBEAT_SECONDS = 0.2


@asynccontextmanager
async def serving(user: User | None = None) -> AsyncIterator[Client]:
    """The application, and a client of it that is signed in with a token."""
    server = Server()
    token = tokens.issue(user, "test")[1] if user else ""
    try:
        yield Client(server, {"authorization": f"Bearer {token}"} if token else {})
    finally:
        await server.readership.stop()


def serve(user: User | None, body: Body) -> None:
    async def run() -> None:
        try:
            async with serving(user) as client:
                await body(client)
        finally:
            connections.close_all()  # a task has connections of its own

    asyncio.run(run())


@pytest.fixture
def path(conversation: Conversation) -> str:
    return f"/api/v1/conversations/{conversation.pk}/stream"


@pytest.fixture
def writer(conversation: Conversation) -> Writer:
    return Writer(conversation)


def in_thread(work: Callable[[], list[str]]) -> None:
    try:
        work()
    finally:
        connections.close_all()


def text(events: list[Event], kind: str = "content") -> str:
    chunks = [event.data for event in events if event.name == "text_chunk"]
    return "".join(chunk["chunk"] for chunk in chunks if chunk["type"] == kind)


def names(events: list[Event]) -> list[str]:
    return [event.name for event in events if event.name != ":"]


# What a stream looks like


def test_a_stream_has_the_headers_that_keep_proxies_from_holding_it_back(
    alice: User, path: str, writer: Writer
) -> None:
    async def body(client: Client) -> None:
        async with client.open(path) as stream:
            assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert stream.headers["cache-control"] == "no-cache, no-transform"
            assert stream.headers["x-accel-buffering"] == "no"
            connected = await stream.event()
            assert stream.body.startswith("retry: 2000\n\nevent: connected\n")
            assert connected.data["status"] == "processing"
            assert connected.id == ""

    serve(alice, body)


def test_a_run_is_told_from_its_start_and_its_end_closes_the_stream(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        writer.say("Hel")
        async with client.open(path) as stream:
            await stream.until("text_chunk")
            writer.say("lo")
            writer.store("Hello")
            writer.end()
            writer.announce_end()
            rest = await stream.rest()
            assert names(rest) == ["text_chunk", "completed"]
            assert rest[-1].data["status"] == "completed"
            assert rest[-1].data["messages"][0]["content"] == "Hello"
            assert all(event.id for event in rest)
            assert stream.over

    serve(alice, body)


def test_a_real_run_streams_what_it_stores(
    alice: User, conversation: Conversation, path: str, work: Callable[[], list[str]]
) -> None:
    async def body(client: Client) -> None:
        run = runs.start(conversation, "Say this again, with an é and 𝄞.")
        async with client.open(path) as stream:
            await asyncio.to_thread(in_thread, work)
            events = await stream.rest()
        answer = run.messages.get(role="assistant")
        assert text(events) == answer.content != ""
        assert names(events)[0] == "connected"
        assert names(events)[-1] == "completed"

    serve(alice, body)


def test_f36_a_heartbeat_comes_only_in_silence(alice: User, path: str, writer: Writer, settings: Settings) -> None:
    async def body(client: Client) -> None:
        async with client.open(path) as stream:
            await stream.until(":")
            before = stream.body.count(": heartbeat")
            settings.STREAM_HEARTBEAT_SECONDS = 30
            for _ in range(20):
                writer.say("x")
            events: list[Event] = []
            while len(events) < 20:
                events.append(await stream.event())
            assert names(events) == ["text_chunk"] * 20
            assert stream.body.count(": heartbeat") <= before + 1

    serve(alice, body)


# Reading again


def test_f33_two_readers_get_all_events_each(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        async with client.open(path) as first, client.open(path) as second:
            for word in ("One ", "two ", "three"):
                writer.say(word)
            writer.store("One two three")
            writer.end()
            writer.announce_end()
            assert text(await first.rest()) == text(await second.rest()) == "One two three"

    serve(alice, body)


@pytest.mark.parametrize("how", ["header", "parameter"])
def test_f33_a_reader_that_comes_back_with_its_cursor_goes_on_there(
    alice: User, path: str, writer: Writer, how: str
) -> None:
    async def body(client: Client) -> None:
        writer.say("One ")
        cursor = writer.say("two ")
        writer.say("three")
        writer.store("One two three")
        again = (
            client.open(path, {"last-event-id": cursor}) if how == "header" else client.open(f"{path}?after={cursor}")
        )
        async with again as stream:
            assert [event.name for event in (await stream.event(), await stream.event())] == ["connected", "text_chunk"]
            writer.end()
            writer.announce_end()
            assert names(await stream.rest()) == ["completed"]
            assert "three" in stream.body
            assert "two" not in stream.body.split("completed")[0]

    serve(alice, body)


def test_f33_every_cut_point_leads_to_the_same_text(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        ids = [writer.say(word) for word in ("a", "b", "c", "d")]
        writer.store("abcd")
        writer.end()
        writer.announce_end()
        for had, cursor in enumerate(ids, start=1):
            response = await client.get(path, {"last-event-id": cursor})
            events = await response.rest()
            assert "abcd"[:had] + text(events) == "abcd"
            assert names(events)[-1] == "completed"

    serve(alice, body)


def test_a_reader_that_had_the_end_is_told_nothing_twice(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        writer.say("Done.")
        writer.store("Done.")
        writer.end()
        writer.announce_end()
        last = (await (await client.get(f"{path}?after=0-0")).rest())[-1]
        assert last.name == "completed"
        assert names(await (await client.get(path, {"last-event-id": last.id})).rest()) == ["connected"]

    serve(alice, body)


@pytest.mark.parametrize("cursor", ["1-1", "99999999999999-0", "nonsense", "0-0", "-", "18446744073709551616-0"])
def test_an_unknown_cursor_gets_the_state_of_things_then_goes_on(
    alice: User, path: str, writer: Writer, cursor: str
) -> None:
    async def body(client: Client) -> None:
        writer.store("Hello")
        last = writer.say("Hello")
        async with client.open(path, {"last-event-id": cursor}) as stream:
            resync = (await stream.until("resync"))[-1]
            assert resync.id == last
            assert {"status": "processing", "text": "Hello", "thinking": "", "run_id": writer.run.pk, "attempt": 1,
                    "turn": 1, "tool_requests": []}.items() <= resync.data.items()  # fmt: skip
            assert set(resync.data["stats"]) == {"turns", "tokens"}
            writer.say(" there")
            assert (await stream.event()).data["chunk"] == " there"

    serve(alice, body)


def test_a_resync_holds_what_was_published_and_is_not_stored_yet(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        writer.say("Hello")
        writer.store("Hello")
        writer.say(" there")
        writer.say("hm", "thinking")
        async with client.open(path, {"last-event-id": "nonsense"}) as stream:
            resync = (await stream.until("resync"))[-1]
            assert (resync.data["text"], resync.data["thinking"]) == ("Hello there", "hm")

    serve(alice, body)


# Runs


def test_f34_the_end_of_an_old_run_does_not_close_the_stream_of_a_new_one(
    alice: User, conversation: Conversation, path: str
) -> None:
    async def body(client: Client) -> None:
        old = Writer(conversation)
        cursor = old.say("old")
        old.store("old")
        old.end()
        new = Writer(conversation)
        async with client.open(path) as fresh, client.open(path, {"last-event-id": cursor}) as returned:
            await fresh.event()
            await returned.event()
            old.announce_end()  # late
            new.say("new")
            new.store("new")
            new.end()
            new.announce_end()
            events = await fresh.rest()
            assert names(events) == ["text_chunk", "completed"]
            assert {event.data["run_id"] for event in events} == {new.run.pk}
            ends = [event.data["run_id"] for event in await returned.rest() if event.name == "completed"]
            assert ends == [old.run.pk, new.run.pk]

    serve(alice, body)


def test_of_a_run_that_is_over_only_its_end_is_told(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        writer.say("Hello")
        writer.store("Hello")
        writer.end("failed", error="No.", error_code="backend_error")
        writer.announce_end()
        events = await (await client.get(path)).rest()
        assert names(events) == ["connected", "failed"]
        assert events[0].data["status"] == events[1].data["status"] == "failed"
        assert (events[1].data["error"], events[1].data["error_code"]) == ("No.", "backend_error")

    serve(alice, body)


@pytest.mark.parametrize(
    ("status", "name"), [("incomplete", "completed"), ("expired", "failed"), ("cancelled", "cancelled")]
)
def test_f07_every_run_has_its_end_whatever_it_was(
    alice: User, path: str, writer: Writer, status: str, name: str
) -> None:
    async def body(client: Client) -> None:
        async with client.open(path) as stream:
            await stream.event()
            writer.end(status, reason="max_turns" if status == "incomplete" else "")
            end = (await stream.rest())[-1]
            assert end.name == name
            assert end.data.get("reason", "") == ("max_turns" if status == "incomplete" else "")

    serve(alice, body)


def test_a_pending_run_is_the_one_that_is_read_when_no_other_is_open(
    alice: User, conversation: Conversation, path: str
) -> None:
    async def body(client: Client) -> None:
        old = Writer(conversation)
        old.end()
        new = Writer(conversation, status="pending", started_at=None, attempt=0)
        async with client.open(path) as stream:
            connected = await stream.event()
            assert connected.data == {
                "conversation_id": conversation.pk,
                "status": "processing",
                "run_id": new.run.pk,
            }
            new.end("cancelled")
            new.announce_end()
            assert names(await stream.rest()) == ["cancelled"]

    serve(alice, body)


def test_where_nothing_ever_ran_the_stream_waits_for_the_first_run(
    alice: User, conversation: Conversation, path: str
) -> None:
    async def body(client: Client) -> None:
        async with client.open(path) as stream:
            assert (await stream.event()).data["status"] == "completed"
            await stream.until(":")
            writer = Writer(conversation)
            writer.say("Hi.")
            writer.store("Hi.")
            writer.end()
            writer.announce_end()
            assert names(await stream.rest()) == ["text_chunk", "completed"]

    serve(alice, body)


def test_a_stream_that_follows_stays_open_across_runs(alice: User, conversation: Conversation, path: str) -> None:
    async def body(client: Client) -> None:
        async with client.open(f"{path}?follow=1") as stream:
            for word in ("one", "two"):
                writer = Writer(conversation)
                writer.say(word)
                writer.store(word)
                writer.end()
                writer.announce_end()
                events = await stream.until("completed")
                assert text(events) == word
            await stream.until(":")
            assert not stream.over

    serve(alice, body)


# Tools


def test_f05_an_unanswered_tool_request_is_sent_again_and_closes(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        writer.say("Let me look.")
        asked = writer.ask(writer.store("Let me look."))
        for headers in ({}, {"last-event-id": asked}, {"last-event-id": "nonsense"}):
            events = await (await client.get(path, headers)).rest()
            assert names(events)[-1] == "tool_request"
            assert events[-1].data["tool_requests"][0]["call_id"] == "c1"
            assert events[0].data["status"] == "waiting_for_tool"

    serve(alice, body)


def test_f05_a_tool_request_that_is_answered_is_neither_repeated_nor_closes(
    alice: User, path: str, writer: Writer
) -> None:
    async def body(client: Client) -> None:
        writer.say("Let me look.")
        writer.ask(writer.store("Let me look."))
        writer.answer()
        writer.publish("turn_started")
        async with client.open(path) as stream:
            assert names([await stream.event(), await stream.event()]) == ["connected", "turn_started"]
            writer.say(" Seen.")
            assert (await stream.event()).data["chunk"] == " Seen."

    serve(alice, body)


def test_a_tool_request_that_redis_lost_comes_from_the_database(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        async with client.open(path) as stream:
            await stream.event()
            writer.ask(writer.store("Let me look."))
            await asyncio.to_thread(broker.quick().flushall)
            assert names(await stream.rest()) == ["text_chunk", "tool_request"]

    serve(alice, body)


# What is lost


def test_f37_a_real_run_loses_nothing_when_redis_forgets_everything(
    alice: User, conversation: Conversation, path: str, work: Callable[[], list[str]]
) -> None:
    words = [f"word {number}, " for number in range(30)]
    conversation.agent.model_config = {"model": "script"}
    conversation.agent.save()

    async def body(client: Client) -> None:
        run = runs.start(conversation, script(*[step for word in words for step in (say(word), wait(20))]))
        async with client.open(path) as stays:
            working = asyncio.create_task(asyncio.to_thread(in_thread, work))
            begun = await stays.until("text_chunk")
            for _ in range(3):
                await asyncio.to_thread(broker.quick().flushall)
                begun += await stays.until("text_chunk")
            async with client.open(path) as comes_late:
                late = await comes_late.rest()
            await working
            events = begun + await stays.rest()
        answer = run.messages.get(role="assistant").content
        assert answer == "".join(words)
        assert text(events) == text(late) == answer

    serve(alice, body)


def test_f37_text_that_redis_lost_comes_from_the_database(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        async with client.open(path) as stream:
            writer.say("One ")
            await stream.until("text_chunk")
            await asyncio.to_thread(broker.quick().flushall)
            writer_skips(writer, "two ")
            writer.store("One two ")
            writer.say("three")
            events = [await stream.event() for _ in range(3)]
            assert names(events) == ["text_chunk", "resync", "text_chunk"]
            assert text(events) == "two three"
            assert events[1].data["text"] == "One two "

    serve(alice, body)


def writer_skips(writer: Writer, chunk: str) -> None:
    """Published, and lost before anybody read it."""
    writer.sent["content"] += len(chunk)
    writer.seq += 1


def test_f37_a_late_reader_gets_lost_history_as_one_chunk(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        writer.say("One two ")
        writer.store("One two ")
        await asyncio.to_thread(broker.quick().flushall)
        async with client.open(path) as stream:
            events = [await stream.event(), await stream.event()]
            assert names(events) == ["connected", "text_chunk"]
            assert text(events) == "One two "
            writer.say("three")
            assert (await stream.event()).data["chunk"] == "three"

    serve(alice, body)


def test_a_database_that_is_behind_is_waited_for(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        writer.store("One ")
        writer_skips(writer, "One two ")
        async with client.open(path) as stream:
            assert text([await stream.event(), await stream.event()]) == "One "
            writer.say("three")
            await asyncio.sleep(0.3)
            assert "three" not in stream.body
            writer.store("One two ")
            assert text([await stream.event(), await stream.event(), await stream.event()]) == "two three"

    serve(alice, body)


def test_f07_an_end_that_never_came_is_told_by_the_database(alice: User, path: str, writer: Writer) -> None:
    async def body(client: Client) -> None:
        writer.say("Hel")
        async with client.open(path) as first, client.open(path) as second:
            for stream in (first, second):
                await stream.until("text_chunk")
            writer.store("Hello")
            writer.end()
            for stream in (first, second):
                events = await stream.rest()
                assert names(events) == ["text_chunk", "resync", "completed"]
                assert text(events) == "lo"

    serve(alice, body)


def test_all_watched_runs_are_looked_up_by_one_query(alice: User, conversation: Conversation) -> None:
    writers = [Writer(Conversation.objects.create(user=alice, agent=conversation.agent)) for _ in range(30)]
    watched = [writer.run.pk for writer in writers]
    with CaptureQueriesContext(connection) as queries:
        assert resumption.changes(watched, [conversation.pk], 15) == resumption.Changes([], set())
    assert len(queries) == 1
    ended, deleted = writers[3].run, writers[4].run
    writers[3].end()
    Conversation.objects.get(pk=deleted.conversation_id).delete()
    assert resumption.changes(watched, [], 15) == resumption.Changes([(ended.conversation_id, ended.pk)], {deleted.pk})


def test_without_redis_the_database_tells_what_there_is(alice: User, path: str, writer: Writer, valkey: Valkey) -> None:
    async def body(client: Client) -> None:
        writer.say("Hel")
        writer.store("Hello")
        valkey.stop()
        async with client.open(path) as old, client.open(path, {"last-event-id": "1-1"}) as returned:
            events = [await old.event(), await old.event()]
            assert names(events) == ["connected", "text_chunk"]
            assert text(events) == "Hello"
            assert names([await returned.event(), await returned.event()]) == ["connected", "resync"]
            writer.end()
            assert names(await old.rest()) == ["completed"]
            assert names(await returned.rest()) == ["completed"]

    serve(alice, body)


def test_a_stream_that_began_without_redis_goes_on_when_it_is_back(
    alice: User, path: str, writer: Writer, valkey: Valkey
) -> None:
    async def body(client: Client) -> None:
        writer.say("Hel")
        writer.store("Hello")
        valkey.stop()
        async with client.open(path) as stream:
            await stream.until("text_chunk")
            valkey.start()
            await asyncio.to_thread(say_patiently, writer, "lo there")
            assert (await stream.until("text_chunk"))[-1].data["chunk"] == " there"

    serve(alice, body)


def say_patiently(writer: Writer, chunk: str) -> None:
    broker.patient().ping()
    broker.forget()
    writer.say(chunk)
