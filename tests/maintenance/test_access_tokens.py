from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from rest_framework.test import APIClient

from maintenance.access import tokens
from maintenance.models import ApiToken

pytestmark = pytest.mark.django_db
Bearer = Callable[..., APIClient]


def with_token(text: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


def test_only_the_digest_is_stored(alice: User) -> None:
    token, text = tokens.issue(alice, "cli")
    row = ApiToken.objects.values().get(pk=token.pk)
    assert text not in str(row)
    assert row["digest"] == tokens.digest(text)


def test_a_token_says_who_asks(alice: User) -> None:
    _, text = tokens.issue(alice, "cli")
    assert with_token(text).get("/api/v1/auth/user").json() == {
        "id": alice.pk,
        "name": "alice",
        "email": "alice@example.test",
    }


def test_the_scheme_is_read_in_any_case(alice: User) -> None:
    _, text = tokens.issue(alice, "cli")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"bearer  {text} ")
    assert client.get("/api/v1/auth/user").status_code == 200


def test_an_expired_token_is_401(alice: User) -> None:
    token, text = tokens.issue(alice, "cli")
    ApiToken.objects.filter(pk=token.pk).update(expires_at=timezone.now())
    answer = with_token(text).get("/api/v1/auth/user")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_a_revoked_token_is_401(alice: User) -> None:
    token, text = tokens.issue(alice, "cli")
    assert tokens.revoke(token)
    assert not tokens.revoke(token)
    assert with_token(text).get("/api/v1/auth/user").status_code == 401


def test_the_token_of_an_inactive_user_is_401(alice: User) -> None:
    _, text = tokens.issue(alice, "cli")
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert with_token(text).get("/api/v1/auth/user").status_code == 401


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer nonsense", "Bearer ü", "Basic YTpi", "nonsense"])
def test_what_is_no_token_is_401(db: None, header: str) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=header.encode().decode("latin-1"))
    answer = client.get("/api/v1/auth/user")
    assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Bearer")


def test_the_expiry_slides_while_the_token_is_used(alice: User) -> None:
    token, text = tokens.issue(alice, "cli", lifetime=timedelta(minutes=5))
    with_token(text).get("/api/v1/auth/user")
    token.refresh_from_db()
    assert token.expires_at is not None
    assert token.expires_at > timezone.now() + timedelta(hours=23)


def test_an_expiry_further_away_stays(alice: User) -> None:
    token, text = tokens.issue(alice, "cli", lifetime=timedelta(days=90))
    with_token(text).get("/api/v1/auth/user")
    before = token.expires_at
    token.refresh_from_db()
    assert token.expires_at == before


def test_a_token_without_expiry_keeps_none(alice: User) -> None:
    token, text = tokens.issue(alice, "cli")
    ApiToken.objects.filter(pk=token.pk).update(expires_at=None)
    assert with_token(text).get("/api/v1/auth/user").status_code == 200
    token.refresh_from_db()
    assert token.expires_at is None


def test_use_is_written_at_most_once_a_minute(alice: User, django_assert_num_queries: Callable[..., object]) -> None:
    token, text = tokens.issue(alice, "cli")
    client = with_token(text)
    client.get("/api/v1/auth/user")
    with django_assert_num_queries(1):  # the token with its user, and no more
        client.get("/api/v1/auth/user")
    ApiToken.objects.filter(pk=token.pk).update(last_used_at=timezone.now() - timedelta(seconds=61))
    with django_assert_num_queries(2):
        client.get("/api/v1/auth/user")


def test_a_use_does_not_undo_a_revocation(alice: User) -> None:
    token, text = tokens.issue(alice, "cli")
    found = tokens.find(text)
    assert found
    tokens.revoke(token)
    tokens.touch(found)
    assert tokens.find(text) is None


class TestScopes:
    pytestmark = pytest.mark.urls("tests.maintenance.probe_urls")

    def statuses(self, client: APIClient) -> list[int]:
        return [getattr(client, method)("/scoped").status_code for method in ("get", "post", "put", "delete", "patch")]

    def test_f47_a_token_may_do_what_it_was_given(self, alice: User, bearer: Bearer) -> None:
        assert self.statuses(bearer(alice, granted=["read"])) == [200, 403, 403, 403, 200]
        assert self.statuses(bearer(alice, granted=["chat"])) == [403, 200, 403, 403, 200]
        assert self.statuses(bearer(alice, granted=["manage"])) == [403, 403, 200, 403, 200]

    def test_a_missing_scope_is_named(self, alice: User, bearer: Bearer) -> None:
        answer = bearer(alice, granted=["read"]).post("/scoped")
        assert answer.json() == {"message": "This needs the scope chat.", "code": "scope_missing"}

    def test_operate_needs_the_permission_of_the_console_too(self, alice: User, bob: User, bearer: Bearer) -> None:
        assert bearer(alice, granted=["operate"]).delete("/scoped").status_code == 403
        assert bearer(bob, granted=["operate"]).delete("/scoped").status_code == 200

    def test_a_permission_taken_away_counts_at_once(self, alice: User, bearer: Bearer) -> None:
        permission = Permission.objects.get(codename="view_operations", content_type__app_label="maintenance")
        alice.user_permissions.add(permission)
        User.objects.filter(pk=alice.pk).update(is_staff=True)
        client = bearer(User.objects.get(pk=alice.pk))
        assert client.delete("/scoped").status_code == 200
        alice.user_permissions.remove(permission)
        assert client.delete("/scoped").status_code == 403

    def test_a_session_may_do_what_its_user_may(self, alice: User, client: APIClient) -> None:
        signed_in = APIClient()
        signed_in.force_login(alice)
        assert self.statuses(signed_in) == [200, 200, 200, 403, 200]


class TestSessions:
    def test_a_session_needs_the_csrf_token_to_change_anything(self, alice: User) -> None:
        client = APIClient(enforce_csrf_checks=True)
        client.force_login(alice)
        assert client.get("/api/v1/auth/user").status_code == 200
        answer = client.post("/api/v1/auth/logout")
        assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")

    def test_logging_out_ends_the_session(self, alice: User) -> None:
        client = APIClient()
        client.force_login(alice)
        assert client.post("/api/v1/auth/logout").json() == {"message": "Logged out."}
        assert client.get("/api/v1/auth/user").status_code == 401


class TestOwnTokens:
    def test_a_token_is_shown_once(self, alice: User, bearer: Bearer) -> None:
        client = bearer(alice)
        answer = client.post("/api/v1/auth/tokens", {"name": "ci", "scopes": ["read", "chat"], "expires_in_days": 30})
        assert answer.status_code == 201
        text = answer.json()["token"]
        assert with_token(text).get("/api/v1/auth/user").status_code == 200
        listed = client.get("/api/v1/auth/tokens").json()["data"]
        assert {row["name"] for row in listed} == {"ci", "test"}
        assert text not in str(listed)

    def test_a_token_cannot_give_what_it_lacks(self, bob: User, bearer: Bearer) -> None:
        client = bearer(bob, granted=["read", "manage"])
        answer = client.post("/api/v1/auth/tokens", {"name": "more", "scopes": ["read", "operate"]})
        assert (answer.status_code, answer.json()["errors"]) == (422, {"scopes": ["operate"]})

    def test_nobody_gives_what_he_may_not(self, alice: User, bearer: Bearer) -> None:
        client = bearer(alice, granted=["manage", "operate"])
        assert client.post("/api/v1/auth/tokens", {"name": "x", "scopes": ["operate"]}).status_code == 422

    def test_a_revoked_token_is_gone(self, alice: User, bearer: Bearer) -> None:
        client = bearer(alice)
        made = client.post("/api/v1/auth/tokens", {"name": "ci", "scopes": ["read"]}).json()
        assert client.delete(f"/api/v1/auth/tokens/{made['id']}").status_code == 204
        assert with_token(made["token"]).get("/api/v1/auth/user").status_code == 401
        assert client.delete(f"/api/v1/auth/tokens/{made['id']}").status_code == 404

    def test_a_stranger_does_not_see_it(self, alice: User, charlie: User, bearer: Bearer) -> None:
        token, _ = tokens.issue(alice, "mine")
        assert bearer(charlie).delete(f"/api/v1/auth/tokens/{token.pk}").status_code == 404
        assert tokens.revoke(token)

    def test_chatting_is_not_managing(self, alice: User, bearer: Bearer) -> None:
        assert bearer(alice, granted=["read", "chat"]).get("/api/v1/auth/tokens").status_code == 403
