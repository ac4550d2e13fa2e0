"""Below `/api/v1/`."""

from django.urls import path

from models_registry import api

urlpatterns = [
    path("ai-backends", api.BackendsView.as_view(), name="ai-backends"),
    path("ai-backends/<str:backend>", api.BackendView.as_view(), name="ai-backend"),
    path("ai-backends/<str:backend>/models", api.ModelsView.as_view(), name="ai-backend-models"),
    path("ai-backends/<str:backend>/models/<path:model>", api.ModelView.as_view(), name="ai-backend-model"),
]
