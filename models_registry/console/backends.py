"""Backends in the console: those of the environment to look at, those that operators added to edit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from maintenance.access import audit
from maintenance.console.audited import AuditedAdmin
from maintenance.console.operators import operator
from models_registry import catalog, drivers, environment, health, inventory, records, registration
from models_registry.backends.settings import BackendSettings
from models_registry.console.forms import BackendForm
from models_registry.health import Checked
from models_registry.models import BackendRecord, Driver, Model

TEST_SECONDS = 2.5


@dataclass(frozen=True, kw_only=True)
class Line:
    """A backend as the list shows it. `edit_url` is empty for those of the environment."""

    name: str
    driver: str
    address: str
    model: str
    is_default: bool
    enabled: bool
    checked: Checked | None
    edit_url: str


class BackendAdmin(AuditedAdmin):
    form = BackendForm
    change_form_template = "console/backend_form.html"
    actions = None
    save_on_top = False

    def get_fieldsets(self, request: HttpRequest, obj: BackendRecord | None = None) -> Any:
        may_edit = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        keys = ("stored_key",) if not may_edit else ("key", "remove_key") if obj and obj.encrypted_key else ("key",)
        return (
            (None, {"fields": ("name", "driver", "base_url", *keys, "enabled")}),
            ("Calls", {"fields": ("model", "context_length", "options")}),
        )

    def get_readonly_fields(self, request: HttpRequest, obj: BackendRecord | None = None) -> tuple[str, ...]:
        """Agents hold the name."""
        return ("name", "stored_key") if obj else ("stored_key",)

    @admin.display(description="key")
    def stored_key(self, record: BackendRecord) -> str:
        return "A key is stored." if record.encrypted_key else "No key is stored."

    def get_urls(self) -> list[URLPattern]:
        test = self.admin_site.admin_view(require_POST(self.test_view))
        return [path("test/", test, name="models_registry_backendrecord_test"), *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        shown = {
            **self.admin_site.each_context(request),
            "title": "Backends",
            "lines": lines(),
            "may_add": self.has_add_permission(request),
            "may_test": request.user.has_perm(inventory.CHANGE),
        }
        return render(request, "console/backends.html", shown)

    @method_decorator(sensitive_post_parameters("key", "base_url"))
    @method_decorator(sensitive_variables())
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        more = {"may_test": request.user.has_perm(inventory.CHANGE)}
        return super().changeform_view(request, object_id, form_url, {**more, **(extra_context or {})})

    @sensitive_variables()
    def save_model(self, request: HttpRequest, obj: BackendRecord, form: "ModelForm[Any]", change: bool) -> None:
        registration.save(obj, key=form.new_key)  # type: ignore[attr-defined]
        if obj.enabled:
            inventory.ask(obj.name, operator(request))

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What is stored of its models goes too; on its server they stay."""
        stored = Model.objects.filter(backend__in=[record.name for record in objs]).count()
        return [str(record) for record in objs], {"backends": len(objs), "models known of it": stored}, set(), []

    def delete_model(self, request: HttpRequest, obj: BackendRecord) -> None:
        registration.remove(obj)

    def test_view(self, request: HttpRequest) -> HttpResponse:
        """Ask the backend how it is, as it is stored, and say so. `back` is the id of the form that wants it back."""
        if not request.user.has_perm(inventory.CHANGE):
            raise PermissionDenied
        chosen = _all().get(request.POST.get("name", ""))
        if chosen is None:
            raise Http404("There is no such backend.")
        found = health.ask(chosen, seconds=TEST_SECONDS).health
        _tell(request, chosen.name, found.status, found.error, len(found.models))
        who, address = operator(request), audit.address_of(request)
        result = "ok" if found.status == "available" else found.error
        audit.record("backend.test", f"backend:{chosen.name}", actor=who, address=address, result=result)
        back = request.POST.get("back", "")
        if back.isdecimal():
            return redirect("admin:models_registry_backendrecord_change", back)
        return redirect("admin:models_registry_backendrecord_changelist")


def _tell(request: HttpRequest, name: str, status: str, error: str, models: int) -> None:
    if status == "available":
        messages.success(
            request, f"The backend {name} is available and lists {models} model{'' if models == 1 else 's'}."
        )
    else:
        messages.error(request, f"The backend {name} is {status}. {error}")


def _all() -> dict[str, BackendSettings]:
    """Every backend, the disabled ones too."""
    added = {record.name: records.settings_of(record) for record in BackendRecord.objects.all()}
    return {**added, **environment.backends()}


def lines() -> list[Line]:
    """Those of the environment, then the others by name."""
    named = environment.backends()
    rows = [record for record in BackendRecord.objects.all() if record.name not in named]
    added = {record.name: records.settings_of(record) for record in rows}
    enabled = {**named, **{record.name: added[record.name] for record in rows if record.enabled}}
    checked, default = health.of(enabled), catalog.default_name()
    return [*_lines(named, {}, checked, default), *_lines(added, {row.name: row for row in rows}, checked, default)]


def _lines(
    shown: Mapping[str, BackendSettings],
    rows: Mapping[str, BackendRecord],
    checked: Mapping[str, Checked],
    default: str,
) -> Iterator[Line]:
    for name, chosen in shown.items():
        row = rows.get(name)
        yield Line(
            name=name,
            driver=Driver(chosen.driver).label if chosen.driver in drivers.DRIVERS else chosen.driver,
            address=address_of(chosen.base_url),
            model=chosen.model,
            is_default=name == default,
            enabled=row is None or row.enabled,
            checked=checked.get(name),
            edit_url=reverse("admin:models_registry_backendrecord_change", args=[row.pk]) if row else "",
        )


def address_of(base_url: str) -> str:
    """A base URL without a login: one of the environment may hold one."""
    try:
        parts = urlsplit(base_url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}" if base_url else ""
    except ValueError:
        return "an address that cannot be read"
