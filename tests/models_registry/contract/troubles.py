"""What goes wrong, what takes too long, and what is cancelled."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from models_registry import errors
from models_registry.backends.base import (
    Cancellation,
    ChatRequest,
    DeltaType,
)
from models_registry.fakes.http import chunk
from tests.models_registry.conftest import KEY, PATIENT, Calling, Listener
from tests.models_registry.contract.asking import (
    PROMPTLY,
    SHORT,
    ask,
    case,
    failure,
    so,
)
from tests.models_registry.contract.wire import Wire
from tests.services import free_port
from tests.waiting import eventually

# What goes wrong


@case
def error_before_the_first_byte(wire: Wire) -> None:
    error, heard = failure(wire, wire.answered(wire.dialect.refuse(500, "it broke at /secret/paths", {})))
    assert (type(error), error.permanent) == (errors.BackendError, False)
    assert wire.name == "fake" or ("/secret" not in error.message and "/secret" in error.detail)
    assert not heard.deltas


@case
def error_after_the_first_byte(wire: Wire) -> None:
    error, heard = failure(wire, wire.whole(*so(wire), *wire.dialect.error("it broke"), *wire.dialect.end()))
    assert type(error) is errors.BackendError
    assert "it broke" in error.message + error.detail
    assert heard.text() == "So "


@case
def context_overflow(wire: Wire) -> None:
    error, _ = failure(wire, wire.answered(wire.dialect.overflow()))
    assert (type(error), error.code, error.permanent) == (errors.ContextWindowExceeded, "context_window", True)


def refused(wire: Wire, status: int, kind: type[errors.BackendError], headers: dict[str, str]) -> errors.BackendError:
    error, heard = failure(wire, wire.answered(wire.dialect.refuse(status, "it will not", headers)))
    assert type(error) is kind
    assert not heard.deltas
    return error


@case
def http_401(wire: Wire) -> None:
    assert refused(wire, 401, errors.Unauthorized, {}).permanent


@case
def http_403(wire: Wire) -> None:
    assert refused(wire, 403, errors.Unauthorized, {}).permanent


@case
def http_404(wire: Wire) -> None:
    assert "case-" in refused(wire, 404, errors.ModelNotFound, {}).message


@case
def http_429(wire: Wire) -> None:
    error = refused(wire, 429, errors.RateLimited, {"retry-after": "7"})
    assert (error.permanent, error.retry_after_seconds) == (False, 7)
    assert "7 s" in error.message
    assert refused(wire, 429, errors.RateLimited, {}).retry_after_seconds is None


@case
def http_500(wire: Wire) -> None:
    assert not refused(wire, 500, errors.BackendError, {}).permanent


@case
def http_503(wire: Wire) -> None:
    assert refused(wire, 503, errors.BackendError, {"retry-after": "3"}).retry_after_seconds == 3


@case
def http_529(wire: Wire) -> None:
    assert not refused(wire, 529, errors.BackendError, {}).permanent


@case
def nobody_there(wire: Wire) -> None:
    backend = wire.dialect.backend(KEY, f"http://127.0.0.1:{free_port()}")
    with pytest.raises(errors.BackendUnreachable):
        backend.stream(wire.whole(), Listener(), Cancellation())


# Limits


@case
def slow_first_byte(wire: Wire) -> None:
    patient, hasty = replace(PATIENT, idle=4 * SHORT), replace(PATIENT, first_byte=SHORT)
    reply, _ = ask(wire, wire.answered([6 * SHORT, *wire_of(wire)], timeouts=patient))
    assert reply.whole
    for request in (wire.stalled(), wire.stalled(*wire.dialect.begin()), silent(wire)):
        error, heard = failure(wire, replace(request, timeouts=hasty))
        assert (type(error), "begin to answer" in error.message) == (errors.BackendTimeout, True)
        assert not heard.deltas


def wire_of(wire: Wire) -> list[Any]:
    """A short reply as the server sends it."""
    return [wire.dialect.head, *(chunk(event) for event in [*so(wire), *wire.dialect.end()]), chunk(b"")]


def silent(wire: Wire) -> ChatRequest:
    """Answered with what says nothing, again and again."""
    request: ChatRequest = wire.answered(
        [wire.dialect.head, *(move for _ in range(2000) for move in (chunk(b"\n"), 0.01))]
    )
    return request


@case
def idle_gap(wire: Wire) -> None:
    events = [*so(wire), *wire.dialect.say("it ", "is"), *wire.dialect.end()]
    reply, _ = ask(wire, wire.paused(0.02, *events))
    assert (reply.content, reply.whole) == ("So it is", True)
    error, heard = failure(wire, wire.stalled(*so(wire), timeouts=replace(PATIENT, idle=SHORT)))
    assert (type(error), "went silent" in error.message) == (errors.BackendTimeout, True)
    assert heard.text() == "So "


@case
def total_limit(wire: Wire) -> None:
    babble = [piece for _ in range(300) for piece in wire.dialect.say("la ")]
    request = wire.paused(0.02, *wire.dialect.begin(), *babble, timeouts=replace(PATIENT, total=6 * SHORT))
    error, heard = failure(wire, request)
    assert (type(error), "did not finish" in error.message) == (errors.BackendTimeout, True)
    assert 0 < len(heard.deltas) < 300


# Cancelling


@case
def cancel_at_each_chunk(wire: Wire) -> None:
    dialect = wire.dialect
    said = [*dialect.begin(), *dialect.think("h", "m"), *dialect.say("a", "b", "c")]
    for heard_until in range(1, 6):
        request = wire.stalled(*said)
        heard, cancellation = Listener(), Cancellation()

        def on_delta(
            kind: DeltaType, text: str, until: int = heard_until, to: Listener = heard, by: Cancellation = cancellation
        ) -> None:
            to(kind, text)
            if len(to.deltas) == until:
                by.cancel()

        with pytest.raises(errors.Cancelled):
            wire.backend().stream(request, on_delta, cancellation)
        assert len(heard.deltas) == heard_until
        eventually(wire.has_hung_up, within=PROMPTLY)


@case
def cancel_before_the_first_byte(wire: Wire) -> None:
    cancel_while(wire, wire.stalled(), lambda calling: None)


@case
def cancel_while_silent(wire: Wire) -> None:
    cancel_while(wire, wire.stalled(*so(wire)), lambda calling: eventually(lambda: calling.heard.deltas))


def cancel_while(wire: Wire, request: ChatRequest, begun: Callable[[Calling], Any]) -> None:
    """A call that is blocked ends at once, and its connection with it."""
    asked = None if wire.name == "fake" else len(wire.dialect.server.received)
    calling = Calling(wire.backend(), request)
    if asked is not None:
        eventually(lambda: len(wire.dialect.server.received) > asked)
    begun(calling)
    at = time.monotonic()
    calling.cancellation.cancel()
    calling.join(timeout=2 * PROMPTLY)
    assert isinstance(calling.error, errors.Cancelled)
    assert calling.ended_at - at < PROMPTLY
    eventually(wire.has_hung_up, within=PROMPTLY)


@case
def cancel_before_the_call(wire: Wire) -> None:
    cancellation, heard = Cancellation(), Listener()
    cancellation.cancel()
    with pytest.raises(errors.Cancelled):
        wire.backend().stream(wire.whole(*so(wire), *wire.dialect.end()), heard, cancellation)
    assert not heard.deltas
