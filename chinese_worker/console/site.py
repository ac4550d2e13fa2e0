"""Django's admin as the operations console: its own front page, navigation and the pages of django-rq."""

from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver

from chinese_worker import rq_dashboard
from chinese_worker.console import navigation, overview
from conversations.console import waiting
from maintenance.console import queues
from models_registry.console import models


class ConsoleSite(AdminSite):
    site_header = settings.APP_NAME
    site_title = settings.APP_NAME
    index_title = "Overview"
    site_url = None

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "navigation": navigation.groups(request, self.name)}

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The overview. Whoever may not see operations is told so, and finds what they may see in the sidebar."""
        allowed = request.user.has_perm("maintenance.view_operations")
        context = {
            **self.each_context(request),
            "title": self.index_title,
            "figures": overview.figures(request.user) if allowed else None,
            **(extra_context or {}),
        }
        request.current_app = self.name
        return TemplateResponse(request, "admin/index.html", context, status=200 if allowed else 403)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        return [
            *rq_dashboard.urls(self),
            *queues.urls(self),
            *models.urls(self),
            *waiting.urls(self),
            *super().get_urls(),
        ]
