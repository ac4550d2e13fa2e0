"""The record of who did what. Entries are added, never changed."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from maintenance.models import AuditEntry


def record(
    verb: str,
    target: object,
    *,
    actor: User | None,
    address: str | None = None,
    result: str = "ok",
    detail: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """`verb` is what was done, as in `token.revoke`; `target` names the object; `detail` holds no secret."""
    return AuditEntry.objects.create(
        actor=actor,
        verb=verb,
        target=str(target)[:200],
        address=address,
        result=result[:200],
        detail=dict(detail or {}),
    )


def address_of(request: HttpRequest | Request) -> str | None:
    """The client's address, through a proxy only where one is trusted (`TRUST_PROXY`)."""
    text = BaseThrottle().get_ident(request)  # type: ignore[arg-type]
    try:
        return str(ip_address(text))
    except ValueError:
        return None  # a Unix socket has none
