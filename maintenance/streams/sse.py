"""Server-sent events: how an event looks on the wire."""

RETRY = b"retry: 2000\n\n"
HEARTBEAT = b": heartbeat\n\n"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]


def block(event: str, line: bytes, cursor: str = "") -> bytes:
    """One event. `line` has no line break; without a cursor the client keeps the one that it has."""
    head = f"id: {cursor}\nevent: {event}\n" if cursor else f"event: {event}\n"
    return b"%bdata: %b\n\n" % (head.encode(), line)
