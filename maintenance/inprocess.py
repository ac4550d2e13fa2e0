"""Redis's part inside one process, for the driver `sync`: event streams and signals, and nothing that outlives it.

Two faces of one store: `Client` for threads, `AsyncClient` for an event loop. They have only the commands that the
writer and the readers of event streams use, with redis-py's signatures and answers.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self

Fields = dict[bytes, bytes]
Stored = tuple[tuple[int, int], Fields]
LONGEST_STREAM = 20_000


class Store:
    """Keys of two kinds: streams, and plain values that are there or not."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.streams: dict[str, deque[Stored]] = {}
        self.values: dict[str, bytes] = {}
        self._last = (0, 0)

    def add(self, key: str, fields: Mapping[Any, Any]) -> bytes:
        with self.lock:
            now = int(time.time() * 1000)
            self._last = (now, 0) if now > self._last[0] else (self._last[0], self._last[1] + 1)
            encoded = {str(name).encode(): str(value).encode() for name, value in fields.items()}
            self.streams.setdefault(key, deque(maxlen=LONGEST_STREAM)).append((self._last, encoded))
            return _name(self._last)

    def span(self, key: str, low: tuple[int, int], high: tuple[int, int]) -> list[Stored]:
        with self.lock:
            return [entry for entry in self.streams.get(key, ()) if low <= entry[0] <= high]

    def forget(self, key: str) -> int:
        with self.lock:
            return int((self.streams.pop(key, None) or self.values.pop(key, None)) is not None)


def _name(number: tuple[int, int]) -> bytes:
    return b"%d-%d" % number


def _number(text: str, default: int) -> tuple[int, int]:
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence) if sequence else default


_SMALLEST, _LARGEST = (0, 0), (2**64, 2**64)


def _low(text: str) -> tuple[int, int]:
    if text == "-":
        return _SMALLEST
    if text.startswith("("):
        milliseconds, sequence = _number(text[1:], 0)
        return milliseconds, sequence + 1
    return _number(text, 0)


def _high(text: str) -> tuple[int, int]:
    return _LARGEST if text == "+" else _number(text, 2**64)


def _raw(entries: list[Stored]) -> list[tuple[bytes, Fields]]:
    return [(_name(number), fields) for number, fields in entries]


class Client:
    """For threads. A pipeline is the client itself with its commands noted until `execute`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def pipeline(self, transaction: bool = True) -> "Pipeline":
        return Pipeline(self)

    def xadd(self, key: str, fields: Mapping[Any, Any], maxlen: int = 0, approximate: bool = True) -> bytes:
        return self._store.add(key, fields)

    def expire(self, key: str, seconds: int) -> bool:
        return True

    def exists(self, key: str) -> int:
        return int(key in self._store.values or key in self._store.streams)

    def set(self, key: str, value: Any, ex: int | None = None) -> bool:
        self._store.values[key] = str(value).encode()
        return True

    def delete(self, *keys: str) -> int:
        return sum(self._store.forget(key) for key in keys)

    def ping(self) -> bool:
        return True


class Pipeline:
    """Commands that are run together by `execute`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._noted: list[Callable[[], Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._noted.clear()

    def xadd(self, key: str, fields: Mapping[Any, Any], maxlen: int = 0, approximate: bool = True) -> None:
        self._noted.append(lambda: self._client.xadd(key, fields))

    def expire(self, key: str, seconds: int) -> None:
        self._noted.append(lambda: True)

    def exists(self, key: str) -> None:
        self._noted.append(lambda: self._client.exists(key))

    def execute(self) -> list[Any]:
        noted, self._noted = self._noted, []
        return [command() for command in noted]


class AsyncPipeline:
    """As `Pipeline`, in an event loop."""

    def __init__(self, client: Client) -> None:
        self._pipeline = Pipeline(client)
        self.xadd, self.expire = self._pipeline.xadd, self._pipeline.expire

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def execute(self) -> list[Any]:
        return self._pipeline.execute()


class AsyncClient:
    """For an event loop."""

    poll_seconds = 0.02

    def __init__(self, store: Store) -> None:
        self._store = store

    def set_retry(self, retry: object) -> None:
        """There is nothing to try again."""

    def pipeline(self, transaction: bool = True) -> AsyncPipeline:
        return AsyncPipeline(Client(self._store))

    async def xrange(self, key: str, low: str, high: str, count: int) -> list[tuple[bytes, Fields]]:
        return _raw(self._store.span(key, _low(low), _high(high))[:count])

    async def xrevrange(self, key: str, high: str, low: str, count: int) -> list[tuple[bytes, Fields]]:
        return _raw(self._store.span(key, _low(low), _high(high))[::-1][:count])

    async def xread(self, streams: Mapping[str, str], count: int, block: int) -> list[list[Any]]:
        """Entries after the cursors; waits `block` milliseconds for the first. Looks again and again: the writer is
        another thread, and this is for debugging."""
        until = time.monotonic() + block / 1000
        while True:
            found = [[key.encode(), _raw(self._after(key, cursor)[:count])] for key, cursor in streams.items()]
            found = [item for item in found if item[1]]
            if found or time.monotonic() >= until:
                return found
            await asyncio.sleep(self.poll_seconds)

    def _after(self, key: str, cursor: str) -> list[Stored]:
        return self._store.span(key, _low(f"({cursor}"), _LARGEST)

    async def aclose(self) -> None:
        """There is nothing to close."""


STORE = Store()
