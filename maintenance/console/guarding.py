"""Pages of the console that are plain functions, each behind a permission."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

Page = Callable[..., HttpResponse]


def guarded(site: AdminSite, answer: Page, permission: str) -> Page:
    """`answer(request, site=site, …)` for staff with this permission; 403 for others."""

    @wraps(answer)
    def view(request: HttpRequest, **arguments: Any) -> HttpResponse:
        if not request.user.has_perm(permission):
            raise PermissionDenied
        return answer(request, site=site, **arguments)

    return site.admin_view(view)
