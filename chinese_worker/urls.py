"""Every address of the server, but the event streams: those are served in front of Django."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from chinese_worker import views
from maintenance import health

api: list[URLPattern | URLResolver] = [
    path("", include("maintenance.access.urls")),
    path("", include("models_registry.urls")),
    path("", include("conversations.urls")),
    path(
        "schema",
        SpectacularAPIView.as_view(renderer_classes=[OpenApiJsonRenderer2, OpenApiYamlRenderer]),
        name="schema",
    ),
    path("docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
]
urlpatterns = [
    path("admin/", admin.site.urls),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("api/v1/", include(api)),
    re_path(r"^(?P<path>(?:api|health)/.*)$", views.unknown),
]
handler400 = "chinese_worker.views.bad_request"
handler403 = "chinese_worker.views.permission_denied"
handler404 = "chinese_worker.views.not_found"
handler500 = "chinese_worker.views.server_error"
