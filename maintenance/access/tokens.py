"""Bearer tokens: issue, find, revoke. Only a token's SHA-256 is stored; its text is shown once."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Q
from django.utils import timezone

from maintenance.access import scopes
from maintenance.models import ApiToken

# Recognisable, so that scanners find a token that was committed by mistake.
PREFIX = "cw_"
# A token in steady use is written this often, not with every request.
TOUCH_EVERY = timedelta(minutes=1)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def issue(
    user: User, name: str, *, granted: Iterable[str] | None = None, lifetime: timedelta | None = None
) -> tuple[ApiToken, str]:
    """A new token and its text. Without `granted` it has every scope its user may have."""
    text = PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        digest=digest(text),
        scopes=[str(scope) for scope in (scopes.of_user(user) if granted is None else granted)],
        expires_at=timezone.now() + (lifetime or _sliding_lifetime()),
    )
    return token, text


def find(text: str) -> ApiToken | None:
    """The live token with this text, its user loaded: not expired, not revoked, of an active user. One query."""
    return (
        ApiToken.objects.filter(
            Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()),
            digest=digest(text),
            revoked_at__isnull=True,
            user__is_active=True,
        )
        .select_related("user")
        .first()
    )


def touch(token: ApiToken) -> None:
    """Note the use and move the expiry on, at most once a minute; an expiry further away stays."""
    now = timezone.now()
    if token.last_used_at and token.last_used_at > now - TOUCH_EVERY:
        return
    token.last_used_at = now
    token.expires_at = _moved_on(token.expires_at, now)
    # Not save(): a revocation that happens at the same time must stand.
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=now, expires_at=token.expires_at)


def _moved_on(expires_at: datetime | None, now: datetime) -> datetime | None:
    return expires_at and max(expires_at, now + _sliding_lifetime())


def _sliding_lifetime() -> timedelta:
    return timedelta(seconds=settings.TOKEN_LIFETIME_SECONDS)


def revoke(token: ApiToken) -> bool:
    """False where it was revoked already."""
    return bool(ApiToken.objects.filter(pk=token.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()))
