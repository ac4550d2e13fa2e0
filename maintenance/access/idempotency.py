"""A POST that is sent again does its work once: `Idempotency-Key`.

The key is claimed in a transaction of its own, so that a second request sees the first while it is under way. The
work and its stored answer are then one transaction: either both are there or neither.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.db import IntegrityError, transaction
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from maintenance.access.authentication import user_of
from maintenance.errors import Invalid, Refusal
from maintenance.models import IdempotentRequest

P = ParamSpec("P")
V = TypeVar("V")

KEY_MAX_LENGTH = 200
HEADER = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, description="sent again with the same body: the same answer"
)
# A request cannot take that long: its process died, and its work was rolled back with it.
ABANDONED_AFTER = timedelta(minutes=2)


def idempotent(
    handler: Callable[Concatenate[V, Request, P], Response],
) -> Callable[Concatenate[V, Request, P], Response]:
    """Decorates the `post` of a view. Only what succeeded is remembered: a refused request may be tried again.

    The answer is stored, so this is not for views that answer with a secret.
    """

    @wraps(handler)
    def post(view: V, request: Request, /, *args: P.args, **kwargs: P.kwargs) -> Response:
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            return handler(view, request, *args, **kwargs)
        claim = _claim(request, key)
        if claim.status_code is not None:
            return Response(claim.answer, status=claim.status_code, headers={"Idempotent-Replayed": "true"})
        try:
            with transaction.atomic():
                response = handler(view, request, *args, **kwargs)
                _store(claim, response)
        except BaseException:
            _release(claim)
            raise
        return response

    return extend_schema(parameters=[HEADER])(post)


def _claim(request: Request, key: str) -> IdempotentRequest:
    """This request's row, without an answer, or the first one's with it. Raises Refusal."""
    if len(key) > KEY_MAX_LENGTH:
        raise Invalid(f"An Idempotency-Key has at most {KEY_MAX_LENGTH} characters.")
    fingerprint, user = _fingerprint(request), user_of(request)
    try:
        with transaction.atomic():
            return IdempotentRequest.objects.create(user=user, key=key, fingerprint=fingerprint)
    except IntegrityError:
        first = IdempotentRequest.objects.filter(user=user, key=key).first()
    if first is None:
        raise _under_way()  # it was released just now
    if first.fingerprint != fingerprint:
        raise Refusal("This Idempotency-Key came with another request before.", code="idempotency_conflict")
    return first if first.status_code is not None else _take_over(first)


def _take_over(first: IdempotentRequest) -> IdempotentRequest:
    now = timezone.now()
    abandoned = IdempotentRequest.objects.filter(
        pk=first.pk, status_code__isnull=True, created_at=first.created_at, created_at__lt=now - ABANDONED_AFTER
    )
    if not abandoned.update(created_at=now):
        raise _under_way()
    first.created_at = now
    return first


def _under_way() -> Refusal:
    return Refusal("The first request with this Idempotency-Key is still under way.", code="idempotency_in_progress")


def _fingerprint(request: Request) -> str:
    body = json.dumps(request.data, sort_keys=True)
    return hashlib.sha256(f"{request.method} {request.path} {body}".encode()).hexdigest()


def _mine(claim: IdempotentRequest) -> Any:
    # `created_at` is the token of ownership: whoever took the key over has changed it.
    return IdempotentRequest.objects.filter(pk=claim.pk, status_code__isnull=True, created_at=claim.created_at)


def _store(claim: IdempotentRequest, response: Response) -> None:
    """Raises Refusal, which undoes the work, where another request has taken the key over."""
    answer = json.loads(json.dumps(response.data, cls=JSONEncoder))
    if not _mine(claim).update(status_code=response.status_code, answer=answer):
        raise _under_way()


def _release(claim: IdempotentRequest) -> None:
    _mine(claim).delete()
