"""From what a caller wants to the answer: what may be sent, redirects, and second attempts."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from django.conf import settings
from django.utils import timezone

from maintenance.outbound import resolving, targets, wire
from maintenance.outbound.allowed import Allowed
from maintenance.outbound.deadline import Deadline
from maintenance.outbound.errors import OutboundFailed, OutboundRefused
from maintenance.outbound.wire import Answer, Message

MAX_REDIRECTS = 5
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REPEATABLE = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS")
BUSY = (429, 502, 503, 504)
FIRST_PAUSE_SECONDS = 0.5
_REDIRECTS = (301, 302, 303, 307, 308)
# What another origin may be told; any other header may be somebody's key.
_FOR_EVERYONE = {"accept", "accept-encoding", "accept-language", "connection", "content-type", "user-agent"}
# What says where a message ends and to whom it goes is ours to say.
_OURS = {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade",
         "expect", "accept-encoding"}  # fmt: skip
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")


def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_seconds: float | None = None,
    max_bytes: int | None = None,
    allow: Sequence[str] = (),
    attempts: int = 1,
    ending: Callable[[Callable[[], None]], object] | None = None,
) -> Answer:
    """Make a request whose address is somebody else's choice, and return the answer of whatever status.

    `timeout_seconds` is for everything: name, connections, redirects, attempts, and bodies that trickle. `max_bytes` of
    the decompressed body are read. Both are settings where not given. `allow` opens addresses as OUTBOUND_ALLOWED does.
    With more than one of `attempts`, a request that can be repeated is made again where no answer came, or one that
    says busy, after the pause that the server asks for. `ending` is given a function that ends the request from
    another thread; what is raised then is OutboundFailed.

    Raises OutboundRefused where a rule forbids it, and OutboundFailed where no whole answer came.
    """
    message = Message(
        method=_method(method),
        target=targets.parse(url),
        headers=_headers(headers or {}),
        body=body,
        max_bytes=settings.OUTBOUND_MAX_BYTES if max_bytes is None else max_bytes,
    )
    deadline = Deadline(timeout_seconds or settings.OUTBOUND_TIMEOUT_SECONDS)
    if ending:
        ending(deadline.end)
    return _attempts(message, Allowed(allow), deadline, attempts if message.method in REPEATABLE else 1)


def _method(method: str) -> str:
    if method not in METHODS:
        raise OutboundRefused(f"The method must be one of {', '.join(METHODS)}.")
    return method


def check_headers(given: Mapping[str, str]) -> None:
    """Raises OutboundRefused for headers that a request cannot have; the value is not in its message."""
    for name, value in given.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise OutboundRefused("A header holds characters that no header has.")
        if name.lower() in _OURS or name.lower().startswith("proxy-"):
            raise OutboundRefused(f"The header {name} cannot be chosen.")


def _headers(given: Mapping[str, str]) -> Mapping[str, str]:
    check_headers(given)
    names = {name.lower() for name in given}
    ours = {"Accept-Encoding": "gzip, deflate", "Connection": "close"}
    if "user-agent" not in names and _HEADER_VALUE.fullmatch(settings.APP_NAME):
        ours["User-Agent"] = settings.APP_NAME
    return {**given, **ours}


def _attempts(message: Message, allowed: Allowed, deadline: Deadline, attempts: int) -> Answer:
    for attempt in range(1, attempts):
        pause = FIRST_PAUSE_SECONDS * 2 ** (attempt - 1)
        try:
            answer = _follow(message, allowed, deadline)
            if answer.status not in BUSY:
                return answer
            pause = max(pause, _asked_pause(answer))
            if pause >= deadline.left():
                return answer
        except OutboundFailed as error:
            if error.permanent or pause >= deadline.left():
                raise
        deadline.pause(pause)
    return _follow(message, allowed, deadline)


def _asked_pause(answer: Answer) -> float:
    """The seconds that the server wants to be left alone for; 0 where it does not say."""
    text = answer.headers.get("retry-after", "")
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - timezone.now()) / timedelta(seconds=1)
    except (TypeError, ValueError):
        return 0


def _follow(message: Message, allowed: Allowed, deadline: Deadline) -> Answer:
    for _ in range(MAX_REDIRECTS + 1):
        routes = resolving.routes(message.target, allowed, deadline)
        answer = wire.exchange(message, routes, deadline)
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or not location:
            return answer
        message = _redirected(message, answer.status, location)
    raise OutboundFailed(f"More than {MAX_REDIRECTS} redirects.", code="outbound_broken", permanent=True)


def _redirected(message: Message, status: int, location: str) -> Message:
    """The request that a redirect asks for; it is judged like any other."""
    target = targets.parse(_text(location), base=message.target)
    headers, method, body = message.headers, message.method, message.body
    if (status == HTTPStatus.SEE_OTHER and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method, body = "GET", None
        headers = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    if target.origin != message.target.origin:
        headers = {name: value for name, value in headers.items() if name.lower() in _FOR_EVERYONE}
    return replace(message, target=target, headers=headers, method=method, body=body)


def _text(location: str) -> str:
    # Headers are read as Latin-1; addresses in them that are not ASCII are UTF-8 in practice.
    try:
        return location.encode("latin-1").decode()
    except UnicodeError:
        return location
