from typing import Any

import pytest
from django.contrib.auth import hashers
from django.contrib.auth.models import User
from rest_framework.settings import api_settings
from rest_framework.test import APIClient

from maintenance.models import ApiToken, AuditEntry

pytestmark = pytest.mark.django_db
LOGIN = "/api/v1/auth/login"
REGISTER = "/api/v1/auth/register"
NEW = {"name": "Dora", "email": "Dora@example.test", "password": "explorer-9-map"}


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {**api_settings.DEFAULT_THROTTLE_RATES, "login": "1000/min"}
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", rates, raising=False)


@pytest.fixture
def open_door(settings: Any) -> None:
    settings.REGISTRATION_OPEN = True


def test_a_login_gives_a_token_that_works(alice: User, anybody: APIClient) -> None:
    answer = anybody.post(LOGIN, {"email": "alice@example.test", "password": "wonderland-7"})
    assert answer.status_code == 200
    assert answer.json()["user"] == {"id": alice.pk, "name": "alice", "email": "alice@example.test"}
    anybody.credentials(HTTP_AUTHORIZATION=f"Bearer {answer.json()['token']}")
    assert anybody.get("/api/v1/auth/user").status_code == 200


def test_the_address_is_read_in_any_case(alice: User, anybody: APIClient) -> None:
    assert anybody.post(LOGIN, {"email": " ALICE@example.TEST", "password": "wonderland-7"}).status_code == 200


def test_a_login_carries_every_scope_its_user_may_have(alice: User, bob: User, anybody: APIClient) -> None:
    anybody.post(LOGIN, {"email": "alice@example.test", "password": "wonderland-7"})
    anybody.post(LOGIN, {"email": "bob@example.test", "password": "operator-7-house"})
    assert ApiToken.objects.get(user=alice).scopes == ["read", "chat", "manage"]
    assert ApiToken.objects.get(user=bob).scopes == ["read", "chat", "manage", "operate"]


def test_logging_out_revokes_this_token_alone(alice: User, anybody: APIClient) -> None:
    body = {"email": "alice@example.test", "password": "wonderland-7"}
    texts = [anybody.post(LOGIN, body).json()["token"] for _ in range(2)]
    clients = [APIClient(headers={"Authorization": f"Bearer {text}"}) for text in texts]
    assert clients[0].post("/api/v1/auth/logout").json() == {"message": "Logged out."}
    assert [client.get("/api/v1/auth/user").status_code for client in clients] == [401, 200]


def test_f47_errors_do_not_tell_whether_an_account_exists(alice: User, anybody: APIClient) -> None:
    wrong = anybody.post(LOGIN, {"email": "alice@example.test", "password": "wrong"})
    unknown = anybody.post(LOGIN, {"email": "nobody@example.test", "password": "wrong"})
    assert wrong.status_code == unknown.status_code == 422
    assert wrong.json() == unknown.json()


@pytest.mark.parametrize("email", ["alice@example.test", "nobody@example.test", "idle@example.test"])
def test_f47_time_does_not_tell_either(
    alice: User, anybody: APIClient, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    User.objects.create_user("idle", "idle@example.test", "idle-7-house", is_active=False)
    hashed: list[str] = []
    hasher = hashers.get_hasher()
    encode = type(hasher).encode

    def counted(self: Any, password: str, *args: Any, **kwargs: Any) -> str:
        hashed.append(password)
        return str(encode(self, password, *args, **kwargs))

    monkeypatch.setattr(type(hasher), "encode", counted)
    anybody.post(LOGIN, {"email": email, "password": "wrong"})
    assert hashed == ["wrong"]


def test_an_inactive_user_cannot_sign_in(alice: User, anybody: APIClient) -> None:
    User.objects.update(is_active=False)
    assert anybody.post(LOGIN, {"email": "alice@example.test", "password": "wonderland-7"}).status_code == 422


def test_wildcards_in_an_address_match_nobody(alice: User, anybody: APIClient) -> None:
    assert anybody.post(LOGIN, {"email": "%@example.test", "password": "wonderland-7"}).status_code == 422


def test_attempts_are_in_the_audit_log_without_the_password(alice: User, anybody: APIClient) -> None:
    anybody.post(LOGIN, {"email": "alice@example.test", "password": "wrong-secret"})
    anybody.post(LOGIN, {"email": "alice@example.test", "password": "wonderland-7"})
    entries = list(AuditEntry.objects.order_by("id").values_list("verb", "actor", "address", "result"))
    assert entries == [("login", None, "127.0.0.1", "refused"), ("login", alice.pk, "127.0.0.1", "ok")]
    assert "secret" not in str(list(AuditEntry.objects.values()))


def test_f47_the_sixth_attempt_in_a_minute_is_refused(
    alice: User, anybody: APIClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    body = {"email": "alice@example.test", "password": "wrong"}
    assert [anybody.post(LOGIN, body).status_code for _ in range(6)] == [422] * 5 + [429]
    right = anybody.post(LOGIN, {"email": "alice@example.test", "password": "wonderland-7"})
    assert right.status_code == 429
    assert int(right["Retry-After"]) > 0


def test_registration_is_closed_unless_it_is_opened(anybody: APIClient, db: None) -> None:
    answer = anybody.post(REGISTER, NEW)
    assert (answer.status_code, answer.json()["code"]) == (403, "registration_closed")
    assert not User.objects.exists()


@pytest.mark.usefixtures("open_door")
class TestOpenRegistration:
    def test_it_makes_a_user_and_signs_in(self, anybody: APIClient) -> None:
        answer = anybody.post(REGISTER, NEW)
        assert answer.status_code == 201
        assert answer.json()["user"]["name"] == "Dora"
        assert (
            APIClient(headers={"Authorization": f"Bearer {answer.json()['token']}"})
            .get("/api/v1/auth/user")
            .json()["email"]
            == "Dora@example.test"
        )

    def test_a_new_user_has_no_rights_beyond_his_own_things(self, anybody: APIClient) -> None:
        anybody.post(REGISTER, NEW)
        user = User.objects.get()
        assert (user.is_staff, user.is_superuser) == (False, False)

    def test_f17_rights_cannot_be_asked_for(self, anybody: APIClient) -> None:
        answer = anybody.post(REGISTER, {**NEW, "is_staff": True})
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["is_staff"])

    def test_a_weak_password_is_refused_with_the_reason(self, anybody: APIClient) -> None:
        answer = anybody.post(REGISTER, {**NEW, "password": "password"})
        assert (answer.status_code, list(answer.json()["errors"])) == (422, ["password"])

    def test_a_taken_address_is_refused_without_saying_so(self, alice: User, anybody: APIClient) -> None:
        answer = anybody.post(REGISTER, {**NEW, "email": "Alice@Example.test"})
        assert answer.status_code == 422
        assert "errors" not in answer.json()
        assert "alice" not in answer.content.decode().lower()
        assert User.objects.count() == 1

    def test_a_name_that_is_taken_is_refused_the_same_way(self, anybody: APIClient) -> None:
        User.objects.create_user("dora@example.test", "other@example.test")
        assert anybody.post(REGISTER, NEW).json()["code"] == "registration_refused"
