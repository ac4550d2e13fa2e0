"""`GET /api/v1/conversations/{id}/stream`: the events of a conversation, as an ASGI callable in front of Django.

A thousand readers cost a thousand small tasks: no thread, no database connection and no connection to Redis each.
"""

import re
from typing import Any
from urllib.parse import parse_qs

from django.core.handlers.asgi import ASGIRequest

from conversations import resumption
from conversations.api.readers import Reader, Readers
from conversations.models import Conversation
from conversations.resumption import Opening
from maintenance.errors import Refusal
from maintenance.streams.connection import Connection, Receive, Scope, Send
from maintenance.streams.door import Visitor
from maintenance.streams.endpoint import respond
from maintenance.streams.readership import Readership

PATH = re.compile(r"/api/v1/conversations/([0-9]{1,18})/stream/?", re.ASCII)


class ConversationStream:
    """The endpoint: who asks, for which conversation, from where on."""

    def __init__(self, readership: Readership) -> None:
        self._readership = readership
        self._readers = Readers(readership)

    @staticmethod
    def serves(path: str) -> bool:
        return PATH.fullmatch(path) is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def feed(connection: Connection, opening: Opening) -> None:
            await self._readers.serve(Reader(connection, opening, follow=_follows(scope), cursor=_cursor(scope)))

        await respond(self._readership, scope, receive, send, _find, feed)


def _find(visitor: Visitor, request: ASGIRequest) -> Opening:
    match = PATH.fullmatch(request.path_info)
    conversations = Conversation.objects.all()
    if not visitor.sees_all("conversations.view_conversation"):
        conversations = conversations.filter(user=visitor.user)
    conversation = conversations.filter(pk=int(match[1])).first() if match else None
    if conversation is None:
        raise Refusal("There is no such thing here.", code="not_found", status_code=404)
    return resumption.opening(conversation)


def _cursor(scope: Scope) -> str | None:
    """What the client had last. The header is newer: a browser repeats the address as it was at first."""
    headers = dict(scope["headers"])
    sent = headers.get(b"last-event-id", b"").decode("latin-1").strip()
    return sent or _parameter(scope, "after")


def _follows(scope: Scope) -> bool:
    return _parameter(scope, "follow") in {"1", "true"}


def _parameter(scope: Any, name: str) -> str | None:
    values = parse_qs(scope["query_string"].decode("latin-1")).get(name)
    return values[-1] if values else None
