"""Requests with NUL in their address or in a form: PostgreSQL takes none, and nobody types one."""

from collections.abc import Callable, Iterator

from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse, QueryDict

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
NUL = "\x00"


def without_null_characters(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: answers them with 400 (BadRequest). The API's bodies are JSON, and read elsewhere."""

    def middleware(request: HttpRequest) -> HttpResponse:
        if any(NUL in text for text in _texts(request)):
            raise BadRequest("The request holds a null character.")
        return get_response(request)

    return middleware


def _texts(request: HttpRequest) -> Iterator[str]:
    yield request.path_info
    yield from _values(request.GET)
    if request.method == "POST" and request.content_type in FORMS:
        yield from _values(request.POST)


def _values(given: QueryDict) -> Iterator[str]:
    for name, values in given.lists():
        yield name
        yield from map(str, values)
