"""Accounts, tokens and the audit."""

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from maintenance.access import tokens
from maintenance.models import ApiToken, AuditEntry

pytestmark = pytest.mark.django_db


def user_form(user: User, **values: object) -> dict[str, object]:
    """The change form of an account, as it stands."""
    form = {
        "username": user.username, "email": user.email, "first_name": "", "last_name": "", "is_active": "on",
        "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00",
    }  # fmt: skip
    return {**form, **values}


def address(user: User) -> str:
    return f"/admin/auth/user/{user.pk}/change/"


def test_an_administrator_gives_roles(with_role: Callable[[str], Client], charlie: User) -> None:
    operators = Group.objects.get(name="Operator")
    form = user_form(charlie, is_staff="on", groups=[operators.pk])
    assert with_role("Administrator").post(address(charlie), form).status_code == 302
    charlie.refresh_from_db()
    assert charlie.is_staff
    assert list(charlie.groups.all()) == [operators]


def test_an_administrator_makes_no_superuser(with_role: Callable[[str], Client], charlie: User) -> None:
    form = user_form(charlie, is_superuser="on", user_permissions=[1])
    with_role("Administrator").post(address(charlie), form)
    charlie.refresh_from_db()
    assert not charlie.is_superuser
    assert not charlie.user_permissions.exists()


def test_an_administrator_does_not_touch_a_superuser(with_role: Callable[[str], Client], bob: User) -> None:
    administrator = with_role("Administrator")
    assert administrator.post(address(bob), user_form(bob, email="mine@example.test")).status_code == 403
    assert (
        administrator.post(f"/admin/auth/user/{bob.pk}/password/", {"password1": "x", "password2": "x"}).status_code
        == 403
    )
    bob.refresh_from_db()
    assert bob.email == "bob@example.test"


def test_a_superuser_makes_one(bobs: Client, charlie: User) -> None:
    bobs.post(address(charlie), user_form(charlie, is_superuser="on"))
    charlie.refresh_from_db()
    assert charlie.is_superuser


def test_a_token_is_revoked(bobs: Client, alice: User) -> None:
    token, text = tokens.issue(alice, "laptop")
    form = {"action": "revoke", "_selected_action": [token.pk]}
    assert "1 token revoked." in bobs.post("/admin/maintenance/apitoken/", form, follow=True).content.decode()
    assert tokens.find(text) is None
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.target) == ("token.revoke", f"token:{token.pk}")


def test_a_token_is_revoked_once(bobs: Client, alice: User) -> None:
    token, _text = tokens.issue(alice, "laptop")
    tokens.revoke(token)
    form = {"action": "revoke", "_selected_action": [token.pk]}
    assert "0 tokens revoked." in bobs.post("/admin/maintenance/apitoken/", form, follow=True).content.decode()
    assert not AuditEntry.objects.exists()


def test_the_token_itself_is_shown_nowhere(bobs: Client, alice: User) -> None:
    token, text = tokens.issue(alice, "laptop")
    for page in ("/admin/maintenance/apitoken/", f"/admin/maintenance/apitoken/{token.pk}/change/"):
        shown = bobs.get(page).content.decode()
        assert "laptop" in shown
        assert text not in shown
        assert token.digest not in shown


def test_the_audit_is_read_only(bobs: Client, bob: User) -> None:
    entry = AuditEntry.objects.create(actor=bob, verb="job.retry", target="job:1")
    page = f"/admin/maintenance/auditentry/{entry.pk}/"
    assert "job.retry" in bobs.get(f"{page}change/").content.decode()
    assert bobs.post(f"{page}change/", {"verb": "nothing"}).status_code == 403
    assert bobs.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    assert AuditEntry.objects.get().verb == "job.retry"


@pytest.mark.parametrize("page", ["maintenance/apitoken", "maintenance/auditentry", "auth/user", "auth/group"])
@pytest.mark.parametrize("role", ["Viewer", "Operator"])
def test_access_is_for_administrators(with_role: Callable[[str], Client], page: str, role: str) -> None:
    client = with_role(role)
    assert client.get(f"/admin/{page}/").status_code == 403
    assert client.get(f"/admin/{page}/add/").status_code == 403


@pytest.mark.parametrize("page", ["maintenance/apitoken", "maintenance/auditentry", "auth/user", "auth/group"])
def test_staff_without_permission_are_refused(alices: Client, page: str) -> None:
    assert alices.get(f"/admin/{page}/").status_code == 403
    assert alices.post(f"/admin/{page}/", {"action": "revoke"}).status_code == 403
    assert not ApiToken.objects.exists()


def test_a_change_of_an_account_is_noted_without_its_values(bobs: Client, charlie: User) -> None:
    bobs.post(address(charlie), user_form(charlie, email="new@example.test"))
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.target) == ("user.change", f"user:{charlie.pk}")
    assert "Email address" in entry.detail["what"][0]["changed"]["fields"]
    assert "new@example.test" not in str(entry.detail)


def test_a_new_and_a_deleted_group_are_noted(bobs: Client) -> None:
    bobs.post("/admin/auth/group/add/", {"name": "Night shift"})
    pk = Group.objects.get(name="Night shift").pk
    bobs.post(f"/admin/auth/group/{pk}/delete/", {"post": "yes"})
    noted = AuditEntry.objects.order_by("id").values_list("verb", "target")
    assert list(noted) == [("group.add", f"group:{pk}"), ("group.delete", f"group:{pk}")]
