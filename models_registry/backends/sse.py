"""Server-sent events, from bytes as they come off the wire. Knows nothing of what the data mean."""

from collections.abc import Iterator
from dataclasses import dataclass

_ENDS = (b"\n", b"\r")


@dataclass(frozen=True)
class Event:
    """One event: its `event:` name, empty where none was sent, and its `data:` lines joined by a line feed."""

    name: str
    data: str


class TooLong(ValueError):
    """A line, or the data of one event, is longer than the parser's cap."""


class Parser:
    """Turns bytes, cut anywhere, into events. The same bytes give the same events however they are cut.

    Lines end in LF, CR or CRLF. Comments and unknown fields are ignored. Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = bytearray()
        self._after_cr = False
        self._started = False
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes. Raises TooLong."""
        if not data:
            return
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._after_cr = False
            if not data:
                return
        self._after_cr = data.endswith(b"\r")
        yield from self._split(data)

    def finish(self) -> Iterator[Event]:
        """The event that the end of the stream left open, if any: some servers omit the last blank line."""
        if self._rest:
            yield from self._split(b"\n")
        if event := self._complete():
            yield event

    def _split(self, data: bytes) -> Iterator[Event]:
        # Joining only when a line ends keeps a long line in many small pieces linear.
        if b"\n" not in data and b"\r" not in data:
            self._keep(data)
            return
        lines = (bytes(self._rest) + data).splitlines(keepends=True)
        self._rest.clear()
        if not lines[-1].endswith(_ENDS):
            self._keep(lines.pop())
        for line in lines:
            if event := self._line(line.rstrip(b"\r\n")):
                yield event

    def _keep(self, data: bytes) -> None:
        self._rest += data
        self._limit(len(self._rest))

    def _limit(self, size: int) -> None:
        if size > self._max_bytes:
            raise TooLong(f"an event is longer than {self._max_bytes} bytes")

    def _line(self, line: bytes) -> Event | None:
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._complete()
        field, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if field == b"data":
            self._size += len(line)
            self._limit(self._size)
            self._data.append(text)
        elif field == b"event":
            self._name = text
        return None

    def _complete(self) -> Event | None:
        name, data = self._name, self._data
        self._name, self._data, self._size = "", [], 0
        return Event(name, "\n".join(data)) if data else None
