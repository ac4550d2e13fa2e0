"""No other site can have an operator's browser do anything: every form wants the token of its page."""

from collections.abc import Iterator

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver
from rest_framework.test import APIClient

from conversations.models import Conversation

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


def _addresses(patterns: list[URLPattern | URLResolver], before: str = "/admin/") -> Iterator[str]:
    for pattern in patterns:
        route = before + str(pattern.pattern).lstrip("^").rstrip("$")
        if isinstance(pattern, URLResolver):
            yield from _addresses(pattern.url_patterns, route)
        else:
            yield route


def _filled(route: str) -> str:
    for kind in ("int", "str", "path"):
        while f"<{kind}:" in route:
            begin = route.index(f"<{kind}:")
            route = route[:begin] + "1" + route[route.index(">", begin) + 1 :]
    return route


def test_no_address_of_the_console_takes_a_form_without_its_token(bob: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(bob)
    addresses = [_filled(route) for route in _addresses(admin.site.urls[0]) if "(?P" not in route]
    taken = {address: client.post(address).status_code for address in addresses}
    # A redirect is of an old address, and does nothing.
    allowed = {address: code for address, code in taken.items() if code not in (403, 404)}
    assert len(addresses) > 60
    assert allowed == {}


def test_the_api_wants_it_too_where_a_session_speaks(bob: User, conversation: Conversation) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(bob)
    for route in ("agents", "tools", "auth/tokens", "ai-backends/fake/models/pull"):
        assert client.post(f"/api/v1/{route}", {}).status_code == 403
