"""Whether the scopes of a token suffice for a view."""

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from maintenance.access import scopes
from maintenance.access.authentication import token_of, user_of
from maintenance.access.scopes import Scope

# For views on what others are configured with: to change it is more than to chat.
MANAGED = dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), Scope.MANAGE)


def required_scope(view: Any, method: str) -> Scope | None:
    """What a view demands: its `required_scopes[method]`, else `read` for safe methods and `chat` for others.

    None: any token will do.
    """
    default = Scope.READ if method in SAFE_METHODS else Scope.CHAT
    stated: dict[str, Scope | None] = getattr(view, "required_scopes", {})
    return stated.get(method, default)


class HasScope(BasePermission):
    """A session may do whatever its user may; a token no more than it was given."""

    code = "scope_missing"

    def has_permission(self, request: Request, view: Any) -> bool:
        scope = required_scope(view, str(request.method))
        if scope is None:
            return True
        self.message = f"This needs the scope {scope.value}."
        user, token = user_of(request), token_of(request)
        return scopes.allows(user, token.scopes if token else scopes.of_user(user), scope)
