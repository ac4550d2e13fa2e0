"""The hub against a real Valkey: who joins gets everything after its cursor, each entry once, in order."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import RedisError

from maintenance import broker, streams
from maintenance.streams.hub import Hub
from maintenance.streams.subscription import Subscription
from tests.services import Valkey

ROOM = 1000
PATIENCE_SECONDS = 10


@pytest.fixture(autouse=True)
def _valkey(valkey: Valkey) -> None:
    pass


@asynccontextmanager
async def running_hub() -> AsyncIterator[Hub]:
    hub = Hub()
    task = asyncio.create_task(hub.run())
    try:
        yield hub
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await hub.close()


def with_hub(body: Callable[[Hub], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with running_hub() as hub:
            await body(hub)

    asyncio.run(run())


def append(key: str, *numbers: int) -> list[str]:
    return streams.append(key, [("counted", {"n": number}) for number in numbers])


async def collect(subscription: Subscription, count: int) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found) < count:
            found += [entry.data["n"] for entry in await subscription.take()]
    return found


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def xread_calls() -> int:
    stats: Any = broker.quick().info("commandstats")
    return int(stats.get("cmdstat_xread", {"calls": 0})["calls"])


def test_two_readers_of_a_key_get_the_same_entries_in_order() -> None:
    async def body(hub: Hub) -> None:
        first, second = (hub.join("stream:a", streams.START, ROOM) for _ in range(2))
        await asyncio.to_thread(append, "stream:a", *range(50))
        assert await collect(first, 50) == await collect(second, 50) == list(range(50))

    with_hub(body)


def test_a_reader_that_joins_while_the_read_blocks_is_served_soon() -> None:
    async def body(hub: Hub) -> None:
        hub.join("stream:a", streams.START, ROOM)
        await until(lambda: hub._blocked)
        await asyncio.to_thread(append, "stream:b", 1)
        started = time.monotonic()
        late = hub.join("stream:b", streams.START, ROOM)
        assert await collect(late, 1) == [1]
        assert time.monotonic() - started < 5 * 0.05

    with_hub(body)


def test_a_reader_that_joins_further_back_gets_what_the_others_have_had() -> None:
    async def body(hub: Hub) -> None:
        early = hub.join("stream:a", streams.START, ROOM)
        await asyncio.to_thread(append, "stream:a", *range(10))
        assert await collect(early, 10) == list(range(10))
        late = hub.join("stream:a", streams.START, ROOM)
        assert await collect(late, 10) == list(range(10))
        await asyncio.to_thread(append, "stream:a", 10)
        assert await collect(early, 1) == await collect(late, 1) == [10]

    with_hub(body)


def test_joining_while_events_pour_in_loses_and_repeats_nothing() -> None:
    async def body(hub: Hub) -> None:
        def pour() -> None:
            for number in range(500):
                append("stream:a", number)

        pouring = asyncio.create_task(asyncio.to_thread(pour))
        readers = []
        for _ in range(20):
            readers.append(hub.join("stream:a", streams.START, ROOM))
            await asyncio.sleep(0.005)
        for reader in readers:
            assert await collect(reader, 500) == list(range(500))
        await pouring

    with_hub(body)


def test_200_readers_of_50_keys_are_served_by_one_read() -> None:
    async def body(hub: Hub) -> None:
        readers = [hub.join(f"stream:{number % 50}", streams.START, ROOM) for number in range(200)]
        await until(lambda: hub._blocked)
        before = xread_calls()

        def append_at_once() -> None:
            with broker.quick().pipeline(transaction=True) as pipeline:
                for number in range(50):
                    pipeline.xadd(f"stream:{number}", {"event": "counted", "data": '{"n":1}'})
                pipeline.execute()

        await asyncio.to_thread(append_at_once)
        for reader in readers:
            assert await collect(reader, 1) == [1]
        await until(lambda: hub._blocked)
        clients: Any = await asyncio.to_thread(lambda: broker.quick().client_list())
        assert sum(client["cmd"] == "xread" for client in clients) == 1
        assert xread_calls() - before <= 2

    with_hub(body)


def test_a_blocked_read_is_at_rest() -> None:
    async def body(hub: Hub) -> None:
        hub.join("stream:a", streams.START, ROOM)
        await until(lambda: hub._blocked)
        before, cpu = xread_calls(), time.process_time()
        await asyncio.sleep(0.5)
        assert xread_calls() - before <= 1
        assert time.process_time() - cpu < 0.25

    with_hub(body)


def test_nobody_reading_asks_redis_for_nothing() -> None:
    async def body(hub: Hub) -> None:
        subscription = hub.join("stream:a", streams.START, ROOM)
        append("stream:a", 1)
        assert await collect(subscription, 1) == [1]
        hub.leave(subscription)
        hub.leave(hub.join("stream:b", streams.START, ROOM))  # wakes the read that may still ask for the first key
        await until(lambda: not hub._blocked)
        before = xread_calls()
        await asyncio.sleep(0.1)
        assert xread_calls() == before

    with_hub(body)


def test_a_flush_in_the_middle_ends_nothing() -> None:
    async def body(hub: Hub) -> None:
        reader = hub.join("stream:a", streams.START, ROOM)
        await asyncio.to_thread(append, "stream:a", 1)
        assert await collect(reader, 1) == [1]
        await asyncio.to_thread(broker.quick().flushall)
        await asyncio.to_thread(append, "stream:a", 2)
        assert await collect(reader, 1) == [2]

    with_hub(body)


def test_an_outage_ends_nothing(valkey: Valkey) -> None:
    async def body(hub: Hub) -> None:
        reader = hub.join("stream:a", streams.START, ROOM)
        await asyncio.to_thread(append, "stream:a", 1)
        assert await collect(reader, 1) == [1]
        valkey.stop()
        await until(lambda: hub.away)
        with pytest.raises(streams.Away):
            await hub.span("stream:a")
        valkey.start()  # not in a thread: the process would end with it
        await asyncio.to_thread(append_patiently, "stream:a", 2)
        assert await collect(reader, 1) == [2]
        assert not hub.away

    with_hub(body)


def append_patiently(key: str, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            append(key, number)
            return
        except RedisError:
            if time.monotonic() > deadline:
                raise


def test_a_reader_that_does_not_keep_up_is_dropped_and_the_others_go_on() -> None:
    async def body(hub: Hub) -> None:
        slow, quick = hub.join("stream:a", streams.START, 10), hub.join("stream:a", streams.START, ROOM)
        await asyncio.to_thread(append, "stream:a", *range(11))
        assert await collect(quick, 11) == list(range(11))
        assert slow.dropped
        assert await slow.take() == []
        await asyncio.to_thread(append, "stream:a", 11)
        assert await collect(quick, 1) == [11]

    with_hub(body)


def test_a_span_gives_entries_between_two_ids_from_either_end() -> None:
    async def body(hub: Hub) -> None:
        ids = await asyncio.to_thread(append, "stream:a", *range(5))
        forward = await hub.span("stream:a", f"({ids[0]}", ids[3])
        backward = await hub.span("stream:a", count=2, newest_first=True)
        assert [entry.data["n"] for entry in forward] == [1, 2, 3]
        assert [entry.data["n"] for entry in backward] == [4, 3]

    with_hub(body)


def test_what_was_not_written_by_append_is_left_out() -> None:
    async def body(hub: Hub) -> None:
        reader = hub.join("stream:a", streams.START, ROOM)
        await asyncio.to_thread(broker.quick().xadd, "stream:a", {"other": "thing"})
        await asyncio.to_thread(append, "stream:a", 1)
        assert await collect(reader, 1) == [1]

    with_hub(body)


@pytest.mark.parametrize("text", ["", "0", "$", "1-", "-1", "1-2-3", "1-x", "٣-1", "18446744073709551616-0", " 1-1"])
def test_what_redis_would_not_take_for_an_id_is_no_cursor(text: str) -> None:
    assert not streams.is_cursor(text)


def test_an_id_is_a_cursor() -> None:
    assert streams.is_cursor("1732000000000-12")
