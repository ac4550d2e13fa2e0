"""Event streams: an append-only log per key in Redis, with the entry's id as the reader's cursor.

Knows keys, not runs. An entry has two fields: `event`, its name, and `data`, one line of JSON.
"""

from maintenance.streams import checks
from maintenance.streams.append import Event, append, append_and_look, delete, dumps
from maintenance.streams.entries import START, Away, Entry, is_cursor

__all__ = ["START", "Away", "Entry", "Event", "append", "append_and_look", "checks", "delete", "dumps", "is_cursor"]
