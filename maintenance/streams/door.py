"""Who may open a stream. An ASGI callable in front of Django passes by its middleware, so it asks here."""

from dataclasses import dataclass
from importlib import import_module

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest

from maintenance.access import scopes, tokens
from maintenance.access.authentication import REFUSED
from maintenance.errors import Refusal


@dataclass(frozen=True)
class Visitor:
    """Whoever asks for a stream, with a token or with the console's session."""

    user: User
    by_session: bool

    def sees_all(self, permission: str) -> bool:
        """Whether the console shows this visitor other people's objects. A token is for its owner's own."""
        return self.by_session and self.user.is_staff and self.user.has_perm(permission)


def admit(request: ASGIRequest) -> Visitor:
    """Check host, and token or session. Raises Refusal: 400, 401 or 403. Asks the database."""
    _check_host(request)
    scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "bearer":
        return Visitor(_user_of_token(text.strip()), by_session=False)
    return Visitor(_user_of_session(request), by_session=True)


def _check_host(request: ASGIRequest) -> None:
    try:
        request.get_host()
    except DisallowedHost:
        raise Refusal("This host name is not served here.", code="malformed", status_code=400) from None


def _user_of_token(text: str) -> User:
    token = tokens.find(text)
    if token is None:
        raise Refusal(REFUSED, code="unauthenticated", status_code=401)
    if not scopes.allows(token.user, token.scopes, scopes.Scope.READ):
        raise Refusal("The token lacks the scope read.", code="forbidden", status_code=403)
    tokens.touch(token)
    return token.user


def _user_of_session(request: ASGIRequest) -> User:
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if key:
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
        user = auth.get_user(request)
        if user.is_authenticated:
            return user
    raise Refusal("Sign in, or send a token.", code="unauthenticated", status_code=401)
