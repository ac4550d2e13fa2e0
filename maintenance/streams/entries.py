"""What readers of a stream get."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from maintenance.streams import sse

START = "0-0"  # the cursor before every entry
_CURSOR = re.compile(r"[0-9]{1,20}-[0-9]{1,20}", re.ASCII)
_LARGEST = 2**64 - 1


class Away(Exception):
    """Redis does not answer. The database still does."""


@dataclass(frozen=True)
class Entry:
    """One event in a stream: its id, its name, and its data as one line of JSON. Shared by all readers of a key."""

    id: str
    event: str
    line: bytes

    @cached_property
    def data(self) -> Mapping[str, Any]:
        return dict(json.loads(self.line))

    @cached_property
    def order(self) -> tuple[int, int]:
        return order(self.id)

    @cached_property
    def block(self) -> bytes:
        return sse.block(self.event, self.line, self.id)


def order(cursor: str) -> tuple[int, int]:
    """What cursors are compared by: milliseconds and number."""
    milliseconds, _, number = cursor.partition("-")
    return int(milliseconds), int(number)


def is_cursor(text: str) -> bool:
    """Whether Redis would take it for an id; not whether there is such an entry."""
    return bool(_CURSOR.fullmatch(text)) and max(order(text)) <= _LARGEST


def parse(raw: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Entry]:
    """Entries as redis-py gives them. What was not written by `append` is left out."""
    return [
        Entry(name.decode(), fields[b"event"].decode(), fields[b"data"])
        for name, fields in raw
        if fields and b"event" in fields and b"data" in fields
    ]
