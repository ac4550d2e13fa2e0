"""Who is asking: a bearer token, or the console's session cookie together with its CSRF token."""

from typing import Any, NoReturn, cast

from django.contrib.auth.models import User
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework import authentication, exceptions
from rest_framework.request import Request

from maintenance.access import tokens
from maintenance.models import ApiToken

REFUSED = "The token is unknown, expired or revoked."


class TokenAuthentication(authentication.BaseAuthentication):
    """`Authorization: Bearer TOKEN`. `request.auth` is then the token."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        scheme, _, text = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = tokens.find(text.strip())
        if token is None:
            raise exceptions.AuthenticationFailed(REFUSED)
        tokens.touch(token)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class SessionAuthentication(authentication.SessionAuthentication):
    """Django's session; `request.auth` is None and every scope the user may have holds."""

    def enforce_csrf(self, request: Request) -> None:
        try:
            super().enforce_csrf(request)
        except exceptions.PermissionDenied as error:
            self._refuse(error)

    def _refuse(self, error: exceptions.PermissionDenied) -> NoReturn:
        raise exceptions.PermissionDenied("The CSRF token is missing or wrong.", code="csrf_failed") from error


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = TokenAuthentication
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = SessionAuthentication
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


def user_of(request: Request) -> User:
    """Whoever is signed in; only for views that demand it."""
    return cast(User, request.user)


def token_of(request: Request) -> ApiToken | None:
    """The token that the request came with; None for a session."""
    return cast("ApiToken | None", request.auth)
