"""Answering a request for a stream: who may, what it is about, then events until it is over."""

import io
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError

from maintenance.errors import Refusal
from maintenance.streams import door
from maintenance.streams.append import dumps
from maintenance.streams.connection import Connection, Receive, Scope, Send
from maintenance.streams.door import Visitor
from maintenance.streams.readership import Readership

logger = logging.getLogger(__name__)

Subject = TypeVar("Subject")


async def respond(
    readership: Readership,
    scope: Scope,
    receive: Receive,
    send: Send,
    find: Callable[[Visitor, ASGIRequest], Subject],
    feed: Callable[[Connection, Subject], Coroutine[Any, Any, None]],
) -> None:
    """Open a stream about what `find` finds (in a thread; raises Refusal), and let `feed` write to it.

    Refusals are answered in JSON: `{message, code}`.
    """
    try:
        subject, connection = await _enter(readership, scope, receive, send, find)
    except Refusal as refusal:
        await refuse(send, refusal)
        return
    try:
        await connection.run(feed(connection, subject))
    finally:
        readership.leave(connection)


async def _enter(
    readership: Readership,
    scope: Scope,
    receive: Receive,
    send: Send,
    find: Callable[[Visitor, ASGIRequest], Subject],
) -> tuple[Subject, Connection]:
    if scope["method"] != "GET":
        raise Refusal("Streams are read with GET.", code="method_not_allowed", status_code=405)
    readership.require_room()
    readership.start()

    def ask() -> tuple[Visitor, Subject]:
        request = ASGIRequest(dict(scope), io.BytesIO())
        visitor = door.admit(request)
        return visitor, find(visitor, request)

    try:
        visitor, subject = await readership.database.ask(ask)
    except (SuspiciousOperation, RequestDataTooBig):
        raise Refusal("The request is malformed.", code="malformed", status_code=400) from None
    except DatabaseError:
        logger.exception("event streams: the database does not answer")
        raise Refusal("The database does not answer.", code="unavailable", status_code=503) from None
    return subject, readership.enter(visitor.user.pk, receive, send)


async def refuse(send: Send, refusal: Refusal) -> None:
    """Answer with the refusal in JSON."""
    body = dumps({"message": refusal.message, "code": refusal.code}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *_EXTRA_HEADERS.get(refusal.status_code, []),
    ]
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_RETRY_AFTER = [(b"retry-after", b"5")]
_EXTRA_HEADERS = {
    401: [(b"www-authenticate", b"Bearer")],
    405: [(b"allow", b"GET")],
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}
