from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from maintenance.access import tokens
from maintenance.http import UserThrottle


@pytest.fixture(autouse=True)
def _fresh_throttle() -> None:
    UserThrottle.counter.clear()


@pytest.fixture
def anybody() -> APIClient:
    """A client that is not signed in."""
    return APIClient()


@pytest.fixture
def bearer() -> Callable[..., APIClient]:
    """A client with a new token of this user: `bearer(alice, granted=["read"])`."""

    def client(user: User, **options: Any) -> APIClient:
        _, text = tokens.issue(user, "test", **options)
        made = APIClient()
        made.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
        return made

    return client
