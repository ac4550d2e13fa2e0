import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.test.utils import isolate_apps

from chinese_worker import roles

pytestmark = pytest.mark.django_db


def permissions_of(role: str) -> set[str]:
    found = Group.objects.get(name=role).permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in found}


def wanted_by(role: str) -> set[str]:
    return {f"{app}.{name}" for part in roles.ROLES[role] for app, names in part.items() for name in names}


@pytest.mark.parametrize("role", roles.ROLES)
def test_every_permission_of_a_role_exists_and_is_given(role: str) -> None:
    assert permissions_of(role) == wanted_by(role)


def test_each_role_has_what_the_one_below_has() -> None:
    assert permissions_of("Viewer") < permissions_of("Operator") < permissions_of("Administrator")


def test_a_viewer_changes_nothing() -> None:
    assert all(name.split(".")[1].startswith("view_") for name in permissions_of("Viewer"))


def test_a_migration_completes_a_role_and_keeps_what_was_added() -> None:
    viewer = Group.objects.get(name="Viewer")
    viewer.permissions.remove(Permission.objects.get(codename="view_job"))
    viewer.permissions.add(Permission.objects.get(codename="retry_job"))
    call_command("migrate", verbosity=0)
    assert permissions_of("Viewer") == wanted_by("Viewer") | {"maintenance.retry_job"}


def test_a_role_that_was_deleted_comes_back() -> None:
    Group.objects.all().delete()
    call_command("migrate", verbosity=0)
    assert permissions_of("Operator") == wanted_by("Operator")


def test_roles_wait_for_the_tables_of_groups() -> None:
    with isolate_apps() as none:
        roles.grant(apps.get_app_config("maintenance"), "default", none)
    assert permissions_of("Viewer") == wanted_by("Viewer")
