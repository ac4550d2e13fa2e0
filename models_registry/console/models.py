"""The models of each backend: what the registry knows, and what is done to them. Pulls stand on the same page."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST, require_safe

from maintenance.access import audit
from maintenance.console.guarding import guarded
from maintenance.console.operators import operator
from maintenance.errors import Refusal
from models_registry import catalog, drivers, health, inventory, records
from models_registry.backends.settings import BackendSettings
from models_registry.console import pulling
from models_registry.models import Model

VIEW = "models_registry.view_model"


def urls(site: AdminSite) -> list[URLPattern]:
    """The addresses below `models/`. Names of models hold `/` and `:`, so they are in the form or the query."""
    return [
        path("models/", guarded(site, first_page, VIEW), name="models"),
        path("models/<str:backend>/", guarded(site, page, VIEW), name="models_of"),
        path("models/<str:backend>/refresh/", guarded(site, refresh, inventory.CHANGE), name="models_refresh"),
        path("models/<str:backend>/unload/", guarded(site, unload, inventory.CHANGE), name="model_unload"),
        path("models/<str:backend>/delete/", guarded(site, delete, inventory.DELETE), name="model_delete"),
    ]


@require_safe
def first_page(request: HttpRequest, site: AdminSite) -> HttpResponse:
    """The default backend's, or what to do where there is none."""
    backends = catalog.configured()
    default = catalog.default_name()
    first = default if default in backends else next(iter(backends), "")
    if first:
        return page(request, site=site, backend=first)
    return render(request, "console/models.html", {**site.each_context(request), "title": "Models"})


@require_safe
def page(request: HttpRequest, site: AdminSite, backend: str) -> HttpResponse:
    """The models of one backend. Raises Http404."""
    backends = catalog.configured()
    chosen = _chosen(backends, backend)
    rows = list(Model.objects.filter(backend=chosen.name))
    shown = {
        "title": "Models",
        "backends": list(backends),
        "backend": chosen,
        "health": health.of({chosen.name: chosen})[chosen.name].health,
        "manages": drivers.backend(chosen).capabilities.model_management,
        "models": rows,
        "defaults": [row.name for row in rows if records.is_meant(row.name, chosen.model)],
        "synced_at": max((row.synced_at for row in rows), default=None),
        "refreshing": inventory.refreshing(chosen.name),
        "panel": pulling.panel(request, chosen.name),
        "may_change": request.user.has_perm(inventory.CHANGE),
        "may_delete": request.user.has_perm(inventory.DELETE),
    }
    return render(request, "console/models.html", {**site.each_context(request), **shown})


@require_POST
def refresh(request: HttpRequest, site: AdminSite, backend: str) -> HttpResponse:
    def act(**who: Any) -> str:
        inventory.refresh(backend, **who)
        return f"The backend {backend} is asked for its models."

    return _carry_out(request, backend, act)


@require_POST
def unload(request: HttpRequest, site: AdminSite, backend: str) -> HttpResponse:
    model = request.POST.get("model", "")

    def act(**who: Any) -> str:
        inventory.unload(backend, model, **who)
        return f"The model {model} is no longer in memory. The next call loads it again."

    return _carry_out(request, backend, act)


def delete(request: HttpRequest, site: AdminSite, backend: str) -> HttpResponse:
    """GET asks, POST deletes. Raises Http404."""
    chosen = _chosen(catalog.configured(), backend)
    if request.method == "POST":
        model = request.POST.get("model", "")
        return _carry_out(request, chosen.name, lambda **who: _deleted(chosen.name, model, **who))
    row = Model.objects.filter(backend=chosen.name, name=request.GET.get("model", "")).first()
    if row is None:
        raise Http404("There is no such model.")
    shown = {"title": f"Delete {row.name}", "model": row, "backend": chosen}
    return render(request, "console/model_delete.html", {**site.each_context(request), **shown})


def _deleted(backend: str, model: str, **who: Any) -> str:
    inventory.delete(backend, model, **who)
    return f"The model {model} was deleted from {backend}."


def _chosen(backends: dict[str, BackendSettings], name: str) -> BackendSettings:
    """Raises Http404."""
    if name not in backends:
        raise Http404("There is no such backend.")
    return backends[name]


def _carry_out(request: HttpRequest, backend: str, act: Callable[..., str]) -> HttpResponse:
    """Do it and say how it went. Raises Http404 for a backend that there is not."""
    if backend not in catalog.configured():
        raise Http404("There is no such backend.")
    try:
        messages.success(request, act(by=operator(request), address=audit.address_of(request)))
    except Refusal as refusal:
        messages.error(request, f"Not done. {refusal.message}")
    return redirect("admin:models_of", backend)
