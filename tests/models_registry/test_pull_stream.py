"""A pull's events, as readers get them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import User

from chinese_worker.asgi import Server
from maintenance import streams
from maintenance.access import tokens
from models_registry import pulls
from models_registry.models import Pull
from models_registry.pulling import events, transitions
from tests.asgi import Client, Event
from tests.models_registry.downloads import Warehouse
from tests.models_registry.pull_fixtures import PULLS, fresh, warehouse
from tests.services import Valkey

__all__ = ["warehouse"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.databases]
Status = Pull.Status


class Writer:
    """Moves a pull by hand: what its worker would store and publish."""

    def __init__(self, pull: Pull) -> None:
        self.pull, self.seq = pull, 0

    def claim(self) -> None:
        transitions.claim(self.pull.pk, "t")

    def publish(self, name: str, **data: Any) -> str:
        self.seq += 1
        body = {**data, **events.envelope(self.pull.pk, self.seq)}
        return streams.append(events.key(self.pull.pk), [(name, body)])[0]

    def progress(self, percentage: float) -> str:
        """Published, and stored."""
        Pull.objects.filter(pk=self.pull.pk).update(percentage=percentage, last_seq=self.seq + 1, phase="pulling a")
        return self.publish("progress", status="pulling a", percentage=percentage)

    def end(self, status: str = "completed", **changes: Any) -> None:
        """Stored and published."""
        transitions.end(self.pull.pk, status, origin=Pull.UNFINISHED, **changes)

    def end_silently(self) -> None:
        Pull.objects.filter(pk=self.pull.pk).update(status="completed", percentage=100)


@pytest.fixture
def pull(warehouse: Warehouse, alice: User, valkey: Valkey) -> Pull:
    return pulls.start("ollama", "llama3", alice)[0]


@pytest.fixture
def writer(pull: Pull) -> Writer:
    writer = Writer(pull)
    writer.claim()
    return writer


@pytest.fixture
def bearer(alice: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.issue(alice, 'test')[1]}"}


def path(pull: Pull) -> str:
    return f"{PULLS}/{pull.pk}/stream"


@asynccontextmanager
async def serving(headers: dict[str, str]) -> AsyncIterator[Client]:
    server = Server()
    try:
        yield Client(server, headers)
    finally:
        await server.readership.stop()


def told(some: list[Event]) -> list[tuple[str, Any]]:
    return [(event.name, event.data.get("percentage")) for event in some if event.name != ":"]


Do = Callable[..., Any]


def later(what: Do, *values: Any, **named: Any) -> Any:
    return sync_to_async(what, thread_sensitive=True)(*values, **named)


def test_a_pull_is_read_from_start_to_end(pull: Pull, bearer: dict[str, str]) -> None:
    writer = Writer(pull)

    async def read() -> None:
        async with serving(bearer) as client, client.open(path(pull)) as reader:
            first = await reader.event()
            assert (first.name, first.data["status"], first.id) == ("connected", "queued", "")
            state = await reader.event()
            assert (state.name, state.data["status"], state.data["percentage"]) == ("progress", "queued", 0)
            await later(writer.claim)
            await later(writer.publish, "started", model="m", backend="b")
            await later(writer.progress, 10.0)
            await later(writer.end, percentage=100)
            assert told(await reader.rest()) == [("started", None), ("progress", 10.0), ("completed", 100)]

    async_to_sync(read)()


def test_who_comes_late_gets_the_state_and_then_what_happens(writer: Writer, bearer: dict[str, str]) -> None:
    writer.publish("started")
    writer.progress(10.0)
    cursor = writer.progress(20.0)
    Pull.objects.update(layers=[{"digest": "sha256:a", "total": 10, "completed": 2}], speed_bytes_per_second=7)

    async def read() -> None:
        async with serving(bearer) as client, client.open(path(writer.pull)) as reader:
            begun = await reader.until("progress")
            assert told(begun) == [("connected", None), ("started", None), ("progress", 20.0)]
            assert begun[-1].id == cursor
            assert begun[-1].data["layers"] == [{"digest": "sha256:a", "total": 10, "completed": 2}]
            assert begun[-1].data["speed_bytes_per_second"] == 7
            assert "eta_seconds" not in begun[-1].data
            await later(writer.progress, 30.0)
            await later(writer.end, "failed", error_code="disk_full", error="The disk is full.")
            rest = await reader.rest()
            assert told(rest) == [("progress", 30.0), ("failed", 30.0)]
            assert (rest[-1].data["error_code"], rest[-1].data["error"]) == ("disk_full", "The disk is full.")

    async_to_sync(read)()


@pytest.mark.parametrize("by", ["header", "parameter"])
def test_with_a_cursor_exactly_what_is_missing_comes(writer: Writer, bearer: dict[str, str], by: str) -> None:
    writer.publish("started")
    cursor = writer.progress(10.0)
    writer.progress(20.0)
    writer.end(percentage=100)
    headers = {"Last-Event-ID": cursor} if by == "header" else {}
    address = path(writer.pull) + ("" if headers else f"?after={cursor}")

    async def read() -> None:
        async with serving(bearer) as client:
            whole = await client.get(address, headers)
            assert whole.status == 200
            assert told(await whole.rest()) == [("connected", None), ("progress", 20.0), ("completed", 100)]

    async_to_sync(read)()


def test_after_the_end_nothing_more_comes(writer: Writer, bearer: dict[str, str]) -> None:
    writer.progress(10.0)
    writer.end()

    async def read() -> None:
        async with serving(bearer) as client:
            first = await (await client.get(path(writer.pull))).rest()
            assert told(first)[-1][0] == "completed"
            again = await client.get(path(writer.pull), {"Last-Event-ID": first[-1].id})
            assert told(await again.rest()) == [("connected", None)]

    async_to_sync(read)()


def test_any_number_of_readers_get_everything(writer: Writer, bearer: dict[str, str]) -> None:
    async def read() -> None:
        async with (
            serving(bearer) as client,
            client.open(path(writer.pull)) as one,
            client.open(path(writer.pull)) as other,
        ):
            for reader in (one, other):
                await reader.until("progress")
            await later(writer.progress, 50.0)
            await later(writer.end, percentage=100)
            expected = [("progress", 50.0), ("completed", 100)]
            assert told(await one.rest()) == told(await other.rest()) == expected

    async_to_sync(read)()


def test_the_percentage_never_falls_for_a_reader_and_late_writers_are_not_heard(
    writer: Writer, bearer: dict[str, str]
) -> None:
    writer.progress(50.0)

    async def read() -> None:
        async with serving(bearer) as client, client.open(path(writer.pull)) as reader:
            await reader.until("progress")
            await later(writer.publish, "progress", status="pulling manifest", percentage=0.0)
            writer.seq = 1
            await later(writer.publish, "progress", status="late", percentage=90.0)
            writer.seq = 9
            await later(writer.publish, "progress", status="pulling a", percentage=60.0)
            await later(writer.end, percentage=100)
            assert told(await reader.rest()) == [("progress", 50.0), ("progress", 60.0), ("completed", 100)]

    async_to_sync(read)()


def test_an_end_that_was_never_published_comes_from_the_database(
    writer: Writer, bearer: dict[str, str], settings: Any
) -> None:
    settings.STREAM_HEARTBEAT_SECONDS = 0.2

    async def read() -> None:
        async with serving(bearer) as client, client.open(path(writer.pull)) as reader:
            await reader.until("progress")
            await later(writer.end_silently)
            assert told(await reader.rest()) == [("completed", 100)]

    async_to_sync(read)()


def test_history_that_redis_lost_is_told_by_the_database(
    writer: Writer, bearer: dict[str, str], valkey: Valkey
) -> None:
    cursor = writer.progress(40.0)
    streams.delete(events.key(writer.pull.pk))

    async def read() -> None:
        async with (
            serving(bearer) as client,
            client.open(path(writer.pull), {"Last-Event-ID": cursor}) as reader,
        ):
            assert told(await reader.until("progress"))[-1] == ("progress", 40.0)
            await later(writer.progress, 41.0)
            assert told([await reader.event()]) == [("progress", 41.0)]

    async_to_sync(read)()


def test_without_redis_the_state_comes_and_the_end(
    writer: Writer, bearer: dict[str, str], valkey: Valkey, settings: Any
) -> None:
    settings.STREAM_HEARTBEAT_SECONDS = 0.2
    writer.progress(40.0)
    valkey.stop()

    async def read() -> None:
        async with serving(bearer) as client, client.open(path(writer.pull)) as reader:
            assert told(await reader.until("progress"))[-1] == ("progress", 40.0)
            await later(writer.end_silently)
            assert told(await reader.rest()) == [("completed", 100)]

    async_to_sync(read)()


def test_a_pull_that_is_forgotten_ends_its_streams(writer: Writer, bearer: dict[str, str], settings: Any) -> None:
    settings.STREAM_HEARTBEAT_SECONDS = 0.2

    async def read() -> None:
        async with serving(bearer) as client, client.open(path(writer.pull)) as reader:
            await reader.until("progress")
            await later(Pull.objects.all().delete)
            assert told(await reader.rest()) == []

    async_to_sync(read)()


def test_f39_the_stream_is_its_owners_and_operators_alone(
    writer: Writer, bearer: dict[str, str], charlie: User, bob: User
) -> None:
    writer.end()
    strangers = {"Authorization": f"Bearer {tokens.issue(charlie, 'test')[1]}"}
    operators = {"Authorization": f"Bearer {tokens.issue(bob, 'test')[1]}"}

    async def read() -> None:
        async with serving({}) as client:
            address = path(writer.pull)
            assert (await client.get(address)).status == 401
            assert (await client.get(address, strangers)).status == 404
            assert (await client.get(address, operators)).status == 200
            assert (await client.get(address, bearer)).status == 200
            assert (await client.get(f"{PULLS}/{'0' * 32}/stream", bearer)).status == 404
            other = address.replace("/ollama/", "/fake/")
            assert (await client.get(other, bearer)).status == 404

    async_to_sync(read)()
    assert fresh(writer.pull).status == Status.COMPLETED
