"""What a token may be used for."""

from collections.abc import Iterable
from enum import StrEnum

from django.contrib.auth.models import User


class Scope(StrEnum):
    READ = "read"
    CHAT = "chat"
    MANAGE = "manage"
    OPERATE = "operate"


def of_user(user: User) -> list[Scope]:
    """Every scope the user may have: `operate` only with the permission to see the operations pages."""
    operates = user.is_staff and user.has_perm("maintenance.view_operations")
    return [scope for scope in Scope if scope is not Scope.OPERATE or operates]


def allows(user: User, granted: Iterable[str], scope: Scope) -> bool:
    """Whether a token of this user with these scopes may do it now: a permission taken away counts at once."""
    return scope in granted and (scope is not Scope.OPERATE or scope in of_user(user))
