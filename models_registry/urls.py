"""Below `/api/v1/`."""

from django.urls import path

from models_registry import api, models_api, pulls_api

urlpatterns = [
    path("ai-backends", api.BackendsView.as_view(), name="ai-backends"),
    path("ai-backends/<str:backend>", api.BackendView.as_view(), name="ai-backend"),
    path("ai-backends/<str:backend>/models", models_api.ModelsView.as_view(), name="ai-backend-models"),
    # Before the models: their names may hold any path.
    path("ai-backends/<str:backend>/models/pull", pulls_api.PullsView.as_view(), name="ai-backend-pulls"),
    path("ai-backends/<str:backend>/models/pull/<str:pull_id>", pulls_api.PullView.as_view(), name="ai-backend-pull"),
    path(
        "ai-backends/<str:backend>/models/pull/<str:pull_id>/cancel",
        pulls_api.PullCancelView.as_view(),
        name="ai-backend-pull-cancel",
    ),
    path(
        "ai-backends/<str:backend>/models/refresh",
        models_api.ModelsRefreshView.as_view(),
        name="ai-backend-models-refresh",
    ),
    path(
        "ai-backends/<str:backend>/models/<path:model>/unload",
        models_api.ModelUnloadView.as_view(),
        name="ai-backend-model-unload",
    ),
    path("ai-backends/<str:backend>/models/<path:model>", models_api.ModelView.as_view(), name="ai-backend-model"),
]
