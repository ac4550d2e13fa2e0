"""The web process: event streams are served here, everything else by Django."""

import asyncio
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "chinese_worker.settings")
django.setup(set_prefix=False)

from chinese_worker.django_threads import DjangoThreads  # noqa: E402  (these need Django to be ready)
from conversations.api.stream import ConversationStream  # noqa: E402
from maintenance.streams.connection import Receive, Scope, Send  # noqa: E402
from maintenance.streams.readership import Readership  # noqa: E402
from models_registry.stream import PullStream  # noqa: E402

django_application = DjangoThreads()


class Server:
    """The ASGI application. All streams of the process share one readership."""

    def __init__(self) -> None:
        self.readership = Readership()
        self.endpoints = (ConversationStream(self.readership), PullStream(self.readership))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        path = _path_info(scope)
        endpoint = next((one for one in self.endpoints if one.serves(path)), django_application)
        await endpoint(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        _allow_many_files()
        with _on_termination(self.readership.end_all):
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self.readership.stop()
        await send({"type": "lifespan.shutdown.complete"})


def _allow_many_files() -> None:
    """An open stream is an open file, and many systems begin with 1,024 of them though they allow more."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _path_info(scope: Scope) -> str:
    path: str = scope.get("path", "")
    return path.removeprefix(scope.get("root_path", "").rstrip("/"))


@contextmanager
def _on_termination(act: Callable[[], None]) -> Iterator[None]:
    """Hear SIGTERM and Ctrl-C beside the server, which waits for open responses and tells them nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def hear(number: int, frame: FrameType | None) -> None:
        with suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(act)
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)

    heard = [number for number, handler in before.items() if callable(handler)]
    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


application = Server()
