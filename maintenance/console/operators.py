"""Who does something in the console."""

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest


def operator(request: HttpRequest) -> User:
    """The user who is signed in; the console's views let nobody else in. Raises PermissionDenied."""
    if not isinstance(request.user, User):
        raise PermissionDenied
    return request.user
