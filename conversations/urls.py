"""What this app serves below `/api/v1/`."""

from django.urls import include, path

urlpatterns = [path("", include("conversations.api.urls"))]
