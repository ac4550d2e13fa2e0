"""A small, fast HTTP/1.1 server that does what a script says and records when its clients hang up.

It runs in a thread of its own. A script is a sequence of moves: bytes to send, seconds to wait (a float), and `CUT`,
which drops the connection. A script of bytes alone is answered at once, without a task. A script may also be a
generator, which decides as it goes; it is closed when the client hangs up.
"""

import asyncio
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, Self, cast

KEPT_REQUESTS = 1000
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


class Cut(Enum):
    CUT = "cut"


CUT = Cut.CUT
Move = bytes | float | Cut
Play = Generator[Move, None, None]
Script = Sequence[Move]


@dataclass
class Received:
    """One request. `answered` when the script has ended; `hung_up_at` (monotonic) if the client left before that."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    connection: int
    answered: bool = False
    hung_up_at: float | None = field(default=None)


Answer = Callable[[Received], Script | Play]


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """The beginning of a response; without a length or a transfer encoding, its end is the end of the connection."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


def chunk(data: bytes) -> bytes:
    """One piece of a body in chunks; an empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def document(status: int, value: Any, headers: Mapping[str, str] | None = None) -> Script:
    """A whole response with a JSON body."""
    body = json.dumps(value).encode()
    own = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
    return [head(status, own) + body]


class Server:
    """Answers what `answer` says, on a port of 127.0.0.1. A context manager."""

    def __init__(self, answer: Answer, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.received: deque[Received] = deque(maxlen=KEPT_REQUESTS)
        self.connections = 0
        self.answer = answer
        self._address = (host, port)
        self._loop = asyncio.new_event_loop()
        self._transports: set[asyncio.Transport] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fake-server", daemon=True)
        self._failure: OSError | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self._address)

    def wait(self) -> None:
        """Until the server ends, which it does not do by itself."""
        self._thread.join()

    def _serve(self) -> None:
        try:
            listening = self._loop.run_until_complete(
                self._loop.create_server(lambda: _Connection(self), *self._address, backlog=1024)
            )
            self._address = listening.sockets[0].getsockname()[:2]
        except OSError as error:
            self._failure = error
            self._loop.close()
            self._ready.set()
            return
        self._ready.set()
        self._loop.run_forever()
        listening.close()
        for transport in list(self._transports):
            transport.abort()
        self._loop.run_until_complete(self._end_tasks())
        self._loop.close()

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def opened(self, transport: asyncio.Transport) -> int:
        """Count a connection, and remember it until `closed`."""
        self._transports.add(transport)
        self.connections += 1
        return self.connections

    def closed(self, transport: asyncio.Transport) -> None:
        self._transports.discard(transport)

    def play(self, script: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._loop.create_task(script)


class _Connection(asyncio.Protocol):
    """One client. Its requests are answered in turn."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._playing: asyncio.Task[None] | None = None
        self._request: Received | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._number = self._server.opened(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._server.closed(self._transport)
        if self._playing:
            self._playing.cancel()
        if self._request and not self._request.answered:
            self._request.hung_up_at = time.monotonic()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._playing and (received := self._next()):
            self._request = received
            self._server.received.append(received)
            self._answer(received, self._server.answer(received))

    def _next(self) -> Received | None:
        """The next whole request in the buffer."""
        top, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return None
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        method, path, _ = first.split(" ", 2)
        body = json.loads(rest[:length]) if length else None
        return Received(method, path, headers, body, self._number)

    def _answer(self, received: Received, script: Script | Play) -> None:
        if isinstance(script, Sequence) and all(isinstance(move, bytes) for move in script):
            sent = b"".join(cast(Iterable[bytes], script))
            self._transport.write(sent)
            self._answered(received, sent)
        else:
            self._playing = self._server.play(self._play(received, script))

    async def _play(self, received: Received, script: Script | Play) -> None:
        first = b""
        try:
            for move in script:
                if isinstance(move, bytes):
                    first = first or move
                    self._transport.write(move)
                elif isinstance(move, float):
                    await asyncio.sleep(move)
                else:
                    received.answered = True
                    self._transport.abort()
                    return
        finally:
            if isinstance(script, Generator):
                script.close()
        self._playing = None
        self._answered(received, first)
        self.data_received(b"")

    def _answered(self, received: Received, sent: bytes) -> None:
        received.answered = True
        top = sent.partition(b"\r\n\r\n")[0].lower()
        if b"content-length" not in top and b"chunked" not in top:
            self._transport.close()
