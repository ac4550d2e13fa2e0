"""One shape for every error: `{message, code, errors?}`. Never a traceback, a provider's body or a secret."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from maintenance.errors import Refusal

logger = logging.getLogger(__name__)

INVALID = "Some values are not valid."
NOT_FOUND = "There is no such thing here."
FAILED = "Something went wrong here. It has been logged."
# For a refusal that passes when other work is done, and nobody knows when.
RETRY_AFTER_SECONDS = 5
# DRF's codes, under the names that clients are told.
CODES = {
    "parse_error": "malformed",
    "not_authenticated": "unauthenticated",
    "authentication_failed": "unauthenticated",
    "permission_denied": "forbidden",
    "throttled": "too_many_requests",
}


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """The answer to anything that a view raises; what nobody expected is logged and answered with 500."""
    if isinstance(error, Refusal):
        answer = _answer(error.status_code, error.message, error.code, error.errors, error.extra)
        if error.status_code == 429:
            answer["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return answer
    known = _as_api_exception(error)
    if known is None:
        logger.error("a view failed", exc_info=error)
        return _answer(500, FAILED, "server_error")
    if isinstance(known, exceptions.ValidationError):
        return _answer(422, INVALID, "invalid", flatten(known.detail))
    code = str(known.get_codes())
    response = _answer(known.status_code, str(known.detail), CODES.get(code, code))
    return _with_headers(response, known)


def _as_api_exception(error: Exception) -> exceptions.APIException | None:
    if isinstance(error, exceptions.NotFound | Http404):
        return exceptions.NotFound(NOT_FOUND)
    if isinstance(error, exceptions.APIException):
        return error
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied()
    if isinstance(error, RequestDataTooBig):
        return TooLarge()
    if isinstance(error, SuspiciousOperation):
        return exceptions.ParseError()
    return None


class TooLarge(exceptions.APIException):
    """More bytes than the server takes."""

    status_code = 413
    default_detail = "The request is too large."
    default_code = "too_large"


def _answer(
    status: int,
    message: str,
    code: str,
    errors: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Response:
    body: dict[str, Any] = {"message": _sayable(message), "code": code}
    if errors:
        body["errors"] = {_sayable(name): [_sayable(text) for text in texts] for name, texts in errors.items()}
    return Response(body | dict(extra or {}), status=status)


def _sayable(text: str) -> str:
    """What was sent may be quoted, and it may hold surrogates without a partner, which UTF-8 has not."""
    return text.encode(errors="backslashreplace").decode()


def _with_headers(response: Response, error: exceptions.APIException) -> Response:
    if header := getattr(error, "auth_header", None):
        response["WWW-Authenticate"] = header
    wait = getattr(error, "wait", None)
    if wait is not None:
        response["Retry-After"] = str(max(1, int(wait)))
    return response


def flatten(detail: Any) -> dict[str, list[str]]:
    """Nested validation errors as one level: `{"client_tool_schemas.0.name": ["This field is required."]}`."""
    errors: dict[str, list[str]] = {}
    for path, text in _leaves(detail, ()):
        errors.setdefault(".".join(path) or "body", []).append(text)
    return errors


def _leaves(detail: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            step = () if name == "non_field_errors" else (str(name),)
            yield from _leaves(inner, (*path, *step))
    elif isinstance(detail, list):
        for index, inner in enumerate(detail):
            yield from _leaves(inner, path if isinstance(inner, str) else (*path, str(index)))
    else:
        yield path, str(detail)
