"""What open event streams cost: `python -m benchmarks.streams [--readers 1000] [--seconds 10] [--json]`.

Opens so many streams of a private server's web process over HTTP, of one conversation, of fifty and of as many as there
are readers, and publishes text chunks that say when they were sent. Readers and writer are this process: on a small
machine they take CPU time that the server would have had.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any, cast

import uvloop
from django.utils import timezone

from benchmarks import environment, processes, table
from benchmarks.account import MODELS, Account
from benchmarks.stack import Stack
from conversations import stream
from conversations.models import Message, Run
from maintenance import broker, streams

WAKE_SECONDS = 3.0  # for what is under way when publishing ends
OPENING_AT_ONCE = 50


@dataclass(frozen=True)
class Scenario:
    """`per_second` events in each conversation."""

    readers: int
    conversations: int
    per_second: float


@dataclass(frozen=True)
class Figures:
    """One column of the table. CPU in hundredths of one core."""

    readers: int
    conversations: int
    open_per_second: float
    opening_cpu_ms: float
    memory_kib_each: float
    threads: int
    redis_clients: int
    idle_cpu_percent: float
    delivered_per_second: float
    busy_cpu_percent: float
    delay_p50_ms: float
    delay_p99_ms: float
    missing: int


class Reader(asyncio.Protocol):
    """A client that notes when each chunk came; it does not parse more than it must."""

    _SENT = re.compile(rb'"chunk":"([0-9.]+)"')

    def __init__(self, path: str, token: str) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        self._rest = b""
        self.connected = asyncio.get_running_loop().create_future()
        self.delays: list[float] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        data = self._rest + data
        if not self.connected.done() and b"event: connected" in data:
            self.connected.set_result(None)
        end = data.rfind(b"\n\n") + 2
        self.delays += [(now - float(sent)) * 1000 for sent in self._SENT.findall(data, 0, end)]
        self._rest = data[end:]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.connected.done():
            self.connected.set_exception(ConnectionError(f"refused: {self._rest[:200]!r}"))


def _begin(conversation_id: int) -> Run:
    question = Message.objects.create(conversation_id=conversation_id, role="user", content="?", position=1)
    return Run.objects.create(
        conversation_id=conversation_id,
        user_message=question,
        status=Run.Status.RUNNING,
        attempt=1,
        turn_count=1,
        started_at=timezone.now(),
    )


class Writer:
    """Publishes in all runs, evenly over the time, from a process of its own."""

    def __init__(self, runs: Sequence[Run], seconds: float, per_second: float) -> None:
        self.count = int(seconds * per_second) * len(runs)
        self._runs = runs
        self._interval = seconds / self.count
        self._sent = dict.fromkeys((run.pk for run in runs), 0)

    async def work(self) -> None:
        """Returns when everything is published."""
        process = multiprocessing.get_context("fork").Process(target=self._write)
        process.start()
        await asyncio.to_thread(process.join)

    def _write(self) -> None:
        broker.forget()  # the parent's connection
        began = time.monotonic()
        for number in range(self.count):
            pause = began + number * self._interval - time.monotonic()
            if pause > 0.001:
                time.sleep(pause)
            self._publish(self._runs[number % len(self._runs)], number // len(self._runs) + 1)

    def _publish(self, run: Run, seq: int) -> None:
        chunk = f"{time.time():.6f}"
        data = {"chunk": chunk, "type": "content", "offset": self._sent[run.pk], **stream.envelope(run, 1, seq)}
        self._sent[run.pk] += len(chunk)
        streams.append(stream.key(run.conversation_id), [("text_chunk", data)])


async def _open(readers: Sequence[Reader]) -> float:
    """Seconds until all are connected."""
    loop, room = asyncio.get_running_loop(), asyncio.Semaphore(OPENING_AT_ONCE)

    async def one(reader: Reader) -> None:
        async with room:
            await loop.create_connection(lambda: reader, "127.0.0.1", environment.port)
            await reader.connected

    began = time.monotonic()
    await asyncio.gather(*map(one, readers))
    return time.monotonic() - began


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


async def _run(web: int, token: str, runs: Sequence[Run], scenario: Scenario, seconds: float) -> Figures:
    ids = [run.conversation_id for run in runs]
    readers = [
        Reader(f"/api/v1/conversations/{ids[number % len(ids)]}/stream", token) for number in range(scenario.readers)
    ]
    before, cpu = processes.memory_mb([web]), processes.cpu_seconds([web])
    took = await _open(readers)
    opening = (processes.cpu_seconds([web]) - cpu) / scenario.readers * 1000
    each = (processes.memory_mb([web]) - before) * 1024 / scenario.readers
    cpu = processes.cpu_seconds([web])
    await asyncio.sleep(seconds / 2)
    idle = (processes.cpu_seconds([web]) - cpu) / (seconds / 2)
    writer, cpu = Writer(runs, seconds, scenario.per_second), processes.cpu_seconds([web])
    await writer.work()
    busy = (processes.cpu_seconds([web]) - cpu) / seconds
    await asyncio.sleep(WAKE_SECONDS)
    threads, clients = _threads(web), len(broker.quick().client_list())
    for reader in readers:
        if reader.transport:
            reader.transport.close()
    delays = sorted(delay for reader in readers for delay in reader.delays)
    cuts = quantiles(delays, n=100)
    return Figures(
        readers=scenario.readers, conversations=scenario.conversations, open_per_second=scenario.readers / took,
        opening_cpu_ms=opening,
        memory_kib_each=each, threads=threads, redis_clients=clients, idle_cpu_percent=idle * 100,
        delivered_per_second=len(delays) / seconds, busy_cpu_percent=busy * 100,
        delay_p50_ms=cuts[49], delay_p99_ms=cuts[98],
        missing=writer.count * scenario.readers // scenario.conversations - len(delays),
    )  # fmt: skip


def measure(readers: int, seconds: float) -> list[Figures]:
    os.environ |= {"STREAMS_PER_USER": str(2 * readers), "STREAMS_MAX": str(2 * readers)}
    found = []
    with Stack(tokens=1, delay_ms=0) as stack:
        account = Account()
        for conversations, per_second in ((1, 5.0), (min(50, readers), 5.0), (readers, 1.0)):
            scenario = Scenario(readers, conversations, per_second)
            runs = [_begin(number) for number in account.conversations(MODELS[0], conversations)]
            found.append(uvloop.run(_run(stack.parts["web"], account.token, runs, scenario, seconds)))
            time.sleep(1)
    return found


ROWS = {
    "streams opened per second": "open_per_second",
    "CPU for opening one, ms": "opening_cpu_ms",
    "memory of the web process per stream, KiB": "memory_kib_each",
    "threads of the web process": "threads",
    "connections to Redis, with the writer's": "redis_clients",
    "CPU without events, % of a core": "idle_cpu_percent",
    "events delivered per second": "delivered_per_second",
    "CPU with them, % of a core": "busy_cpu_percent",
    "delay, median, ms": "delay_p50_ms",
    "delay, 99th percentile, ms": "delay_p99_ms",
    "events that did not come": "missing",
}


def shown(found: Sequence[Figures]) -> str:
    head = [f"{found[0].readers:,} open streams", *(f"of {one.conversations:,}" for one in found)]
    rows = [[title, *(table.number(getattr(one, name)) for one in found)] for title, name in ROWS.items()]
    return table.render([head, *rows])


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10, help="of publishing, for each column")
    parser.add_argument("--json", action="store_true", help="for programs")
    options: Any = parser.parse_args(arguments)
    found = measure(options.readers, options.seconds)
    print(json.dumps([asdict(one) for one in found], indent=1) if options.json else shown(found))


if __name__ == "__main__":
    main(sys.argv[1:])
