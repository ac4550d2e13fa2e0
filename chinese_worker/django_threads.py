"""Django beside an event loop: one thread of a few serves a request from its beginning to its end.

Django's own ASGI handler gives each request a new thread, and so a new connection to the database, which it then
leaves behind; and it changes threads at every middleware that is not asynchronous. Here threads and connections stay.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from maintenance.streams.connection import Receive, Scope, Send

THREADS = 8  # requests at work at once in this process; the next ones wait


class DjangoThreads(ASGIHandler):
    """An ASGI application. Its middleware and views are called as they would be by a WSGI server."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(THREADS, "django")

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        loop = asyncio.get_running_loop()
        with body:
            response = await loop.run_in_executor(self._threads, self._serve, scope, body)
            if response.streaming:
                await self._send_pieces(cast(StreamingHttpResponse, response), send)
            else:
                await self.send_response(cast(HttpResponse, response), cast(Any, send))

    def _serve(self, scope: Scope, body: IO[bytes]) -> HttpResponseBase:
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, refusal = self.create_request(scope, body)
        response = cast(HttpResponseBase, refusal if request is None else self.get_response(request))
        response._handler_class = self.__class__  # type: ignore[attr-defined]
        if not response.streaming:
            response.close()  # here, where the request's connection is
        return response

    async def _send_pieces(self, response: StreamingHttpResponse, send: Send) -> None:
        """A file, for instance: read in the threads, a piece at a time, and never held as a whole."""
        loop = asyncio.get_running_loop()
        pieces: Iterator[bytes] = iter(response)
        try:
            await send(_beginning(response))
            while (piece := await loop.run_in_executor(self._threads, next, pieces, None)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})
        finally:
            await loop.run_in_executor(self._threads, response.close)


def _beginning(response: HttpResponseBase) -> dict[str, Any]:
    headers = [(name.encode("ascii"), value.encode("latin1")) for name, value in response.items()]
    headers += [(b"Set-Cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}
