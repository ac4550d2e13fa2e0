"""Django behind the ASGI application: which threads and connections it uses, and what it sends."""

import asyncio
import io
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import signals
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from chinese_worker.django_threads import THREADS, DjangoThreads

SECRET = b"one\ntwo"
started = threading.Semaphore(0)
released = threading.Event()


def thread(request: HttpRequest) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


@csrf_exempt
def echo(request: HttpRequest) -> HttpResponse:
    response = HttpResponse(request.body, status=201)
    response.set_cookie("seen", "yes")
    return response


def waits(request: HttpRequest) -> HttpResponse:
    started.release()
    released.wait(10)
    return HttpResponse("done")


def breaks(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("it broke")


def file(request: HttpRequest) -> HttpResponseBase:
    return FileResponse(io.BytesIO(SECRET), filename="a.txt")


def pieces(request: HttpRequest) -> HttpResponseBase:
    return StreamingHttpResponse(iter([b"one", b"", b"two"]))


handler500 = "tests.chinese_worker.test_django_threads.sorry"
urlpatterns = [path(f"{view.__name__}/", view) for view in (thread, echo, waits, breaks, file, pieces)]


def sorry(request: HttpRequest) -> HttpResponse:
    return HttpResponse("sorry", status=500)


@pytest.fixture
def application(settings: Any) -> Iterator[DjangoThreads]:
    settings.ROOT_URLCONF = __name__
    application = DjangoThreads()
    released.clear()
    yield application
    released.set()


async def ask(application: DjangoThreads, name: str, body: bytes = b"") -> tuple[int, dict[str, str], list[bytes]]:
    """Status, headers and the pieces of the body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": "POST" if body else "GET", "path": f"/{name}/", "query_string": b"",
             "headers": headers}  # fmt: skip
    await application(scope, receive, send)
    assert not sent[-1].get("more_body")
    named = {key.decode().lower(): value.decode() for key, value in sent[0]["headers"]}
    return sent[0]["status"], named, [message["body"] for message in sent[1:] if message.get("body")]


def test_threads_stay_and_their_connections_with_them(application: DjangoThreads) -> None:
    async def names() -> set[bytes]:
        return {(await ask(application, "thread"))[2][0] for _ in range(3 * THREADS)}

    assert asyncio.run(names()) <= {b"django_%d" % number for number in range(THREADS)}


def test_a_request_ends_in_the_thread_that_served_it(application: DjangoThreads) -> None:
    ended: list[str] = []

    def note(**_: Any) -> None:
        ended.append(threading.current_thread().name)

    signals.request_finished.connect(note)
    try:
        asyncio.run(ask(application, "echo"))
    finally:
        signals.request_finished.disconnect(note)
    assert ended == ["django_0"]


def test_body_status_headers_and_cookies_arrive(application: DjangoThreads) -> None:
    status, headers, body = asyncio.run(ask(application, "echo", b"hello"))
    assert (status, body) == (201, [b"hello"])
    assert headers["set-cookie"].startswith("seen=yes")


def test_a_file_is_sent_with_its_headers(application: DjangoThreads) -> None:
    status, headers, body = asyncio.run(ask(application, "file"))
    assert (status, b"".join(body)) == (200, SECRET)
    assert headers["content-length"] == str(len(SECRET))
    assert "a.txt" in headers["content-disposition"]


def test_an_empty_piece_does_not_end_a_stream(application: DjangoThreads) -> None:
    assert asyncio.run(ask(application, "pieces"))[2] == [b"one", b"two"]


def test_a_view_that_raises_is_answered(application: DjangoThreads) -> None:
    assert asyncio.run(ask(application, "breaks"))[0] == 500


def test_requests_wait_when_all_threads_are_busy_and_the_loop_does_not(application: DjangoThreads) -> None:
    async def crowd() -> list[Any]:
        asked = [asyncio.ensure_future(ask(application, "waits")) for _ in range(THREADS)]
        for _ in range(THREADS):
            await asyncio.to_thread(started.acquire)
        late = asyncio.ensure_future(ask(application, "thread"))
        done, _ = await asyncio.wait([late, *asked], timeout=0.05)
        assert not done
        released.set()
        return await asyncio.gather(late, *asked)

    assert [status for status, _, _ in asyncio.run(crowd())] == [200] * (THREADS + 1)
