"""From what a server answers instead of a reply to an error of ours whose message is safe to show."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from models_registry import errors

DETAIL_CHARACTERS = 500
CONTEXT = re.compile(
    r"context[ _-]?(length|window|size|limit)|exceed_context|maximum context|prompt is too long"
    r"|too many (input )?tokens",
    re.I,
)
_CREDIT = re.compile(r"insufficient_quota|billing|insufficient (credits|balance)|payment|spend[ _]limit", re.I)
_KINDS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"rate_?limit|too_many_requests|quota", re.I), HTTPStatus.TOO_MANY_REQUESTS),
    (re.compile(r"model_not_found|not_found", re.I), HTTPStatus.NOT_FOUND),
    (re.compile(r"billing_error", re.I), HTTPStatus.PAYMENT_REQUIRED),
    (re.compile(r"request_too_large", re.I), HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (re.compile(r"api_?key|authentication|unauthorized|permission", re.I), HTTPStatus.UNAUTHORIZED),
    (re.compile(r"invalid_request|bad_?request", re.I), HTTPStatus.BAD_REQUEST),
)
# What a provider's own words mean: a pattern, and the error with its message. The message may name {backend}, {model}
# and the named groups of the pattern.
Phrase = tuple[re.Pattern[str], type[errors.BackendError], str]
_REFUSED = (errors.Unauthorized, "{backend} refused the key, or the key may not do this (HTTP {status}).")
_LIMITED = (errors.RateLimited, "{backend} limits the rate of calls (HTTP {status}).")
_BY_STATUS: dict[int, tuple[type[errors.BackendError], str]] = {
    HTTPStatus.UNAUTHORIZED: _REFUSED,
    HTTPStatus.FORBIDDEN: _REFUSED,
    HTTPStatus.REQUEST_TIMEOUT: _LIMITED,
    HTTPStatus.TOO_MANY_REQUESTS: _LIMITED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (
        errors.BadRequest,
        "The request is larger than {backend} takes (HTTP {status}).",
    ),
}


def redact(text: str, *secrets: str) -> str:
    """`text` without the secrets and without logins in URLs, cut to what a log should hold."""
    for secret in secrets:
        for form in (secret, repr(secret)[1:-1]):
            text = text.replace(form, "[secret]")
    return re.sub(r"(://)[^/\s@]+@", r"\1[secret]@", text)[:DETAIL_CHARACTERS]


def secrets_of(api_key: str, base_url: str) -> tuple[str, ...]:
    """What no log may show: the key, and the password in the URL, or all of a URL that cannot be read."""
    try:
        password = urlsplit(base_url).password or ""
    except ValueError:
        password = base_url
    return tuple(secret for secret in (api_key, password) if secret)


def from_status(
    backend: str,
    status: int,
    headers: Mapping[str, str],
    body: str,
    *,
    model: str = "",
    secrets: tuple[str, ...] = (),
    phrases: Sequence[Phrase] = (),
    keyed: bool = True,
) -> errors.BackendError:
    """The error for an HTTP status and its body. `headers` must be looked up without regard to case.

    `keyed`: whether a key was sent. `phrases` of the provider in the body count for more than the status.
    """
    kind, message = _in_words(backend, body, model, phrases) or _classify(backend, status, body, model, keyed)
    wait = _retry_after(headers)
    if kind is errors.RateLimited and wait is not None:
        message = f"{message} Try again in {wait:g} s."
    return kind(message, detail=redact(f"HTTP {status}: {body}", *secrets), retry_after_seconds=wait)


def from_error(
    backend: str,
    error: Any,
    headers: Mapping[str, str],
    *,
    model: str = "",
    secrets: tuple[str, ...] = (),
    phrases: Sequence[Phrase] = (),
) -> errors.BackendError:
    """The error for an error object, or a text, that came in the body of a 200."""
    body = json.dumps(error)
    return from_status(backend, _status(error), headers, body, model=model, secrets=secrets, phrases=phrases)


def _in_words(
    backend: str, body: str, model: str, phrases: Sequence[Phrase]
) -> tuple[type[errors.BackendError], str] | None:
    for pattern, kind, message in phrases:
        if found := pattern.search(body):
            return kind, message.format(backend=backend, model=model, **found.groupdict())
    return None


def _classify(backend: str, status: int, body: str, model: str, keyed: bool) -> tuple[type[errors.BackendError], str]:
    if status >= HTTPStatus.BAD_REQUEST and CONTEXT.search(body):
        return errors.ContextWindowExceeded, "The messages do not fit the model's context window."
    if status == HTTPStatus.PAYMENT_REQUIRED or (status == HTTPStatus.TOO_MANY_REQUESTS and _CREDIT.search(body)):
        return errors.Unauthorized, f"The account at {backend} has no credit left."
    if status == HTTPStatus.UNAUTHORIZED and not keyed:
        return errors.Unauthorized, f"{backend} wants a key, and none is set here (HTTP 401)."
    if status == HTTPStatus.NOT_FOUND:
        return _not_found(backend, body, model)
    kind, message = _BY_STATUS.get(status) or _by_range(status)
    return kind, message.format(backend=backend, status=status)


def _by_range(status: int) -> tuple[type[errors.BackendError], str]:
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return errors.BackendError, "{backend} reported an error."
    if status < HTTPStatus.BAD_REQUEST:
        return errors.BackendMisconfigured, "{backend} redirects elsewhere (HTTP {status}): check its base URL."
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return errors.BadRequest, "{backend} refused the request (HTTP {status})."
    return errors.BackendError, "{backend} answered with an error (HTTP {status})."


def _not_found(backend: str, body: str, model: str) -> tuple[type[errors.BackendError], str]:
    if "model" in body.lower():
        return errors.ModelNotFound, f"{backend} does not have the model {model!r}."
    return errors.BackendMisconfigured, f"{backend} has nothing at this address (HTTP 404): check its base URL."


def _status(error: Any) -> int:
    """The HTTP status that an error object would have had, or 200 where it gives no hint."""
    if not isinstance(error, dict):
        return HTTPStatus.OK
    for field in ("code", "status", "status_code"):
        value = error.get(field)
        if isinstance(value, int) and HTTPStatus.BAD_REQUEST <= value < 600:
            return value
    hint = f"{error.get('code')} {error.get('type')}"
    if CONTEXT.search(hint) or CONTEXT.search(str(error.get("message"))):
        return HTTPStatus.BAD_REQUEST
    return next((status for pattern, status in _KINDS if pattern.search(hint)), HTTPStatus.OK)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` as seconds or as a date. None where it says nothing."""
    if milliseconds := _number(headers.get("retry-after-ms")):
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or not value:
        return seconds
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, round((at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 1))


def _number(value: str | None) -> float | None:
    return float(value) if value and re.fullmatch(r"\d{1,9}(\.\d+)?", value.strip()) else None
