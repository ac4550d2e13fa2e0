"""Accounts and roles in the console. Only a superuser makes superusers, or changes one."""

from typing import Any

from django.contrib.admin import ShowFacets
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import User
from django.http import HttpRequest

from maintenance.console.audited import AuditedAdmin

RESERVED = ("is_superuser", "user_permissions")


class ConsoleUserAdmin(AuditedAdmin, UserAdmin):  # type: ignore[type-arg]
    list_display = ("username", "email", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active")
    sortable_by = ()
    show_full_result_count = False
    show_facets = ShowFacets.NEVER

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Roles are given by groups. Whoever could give single permissions could give themselves all."""
        return () if _is_superuser(request) else RESERVED

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        protected = obj is not None and obj.is_superuser and not _is_superuser(request)
        return not protected and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        protected = obj is not None and obj.is_superuser and not _is_superuser(request)
        return not protected and super().has_delete_permission(request, obj)


def _is_superuser(request: HttpRequest) -> bool:
    return bool(getattr(request.user, "is_superuser", False))


class ConsoleGroupAdmin(AuditedAdmin, GroupAdmin):
    """Groups, which are the roles."""
